"""Who brought initial-exec TLS in, and what helps: clues and data files' values in, matches and remedies out."""

from tls_wheel_guard.culprits.advice import Suspect, Traced, remedy_line, sentence, trace
from tls_wheel_guard.culprits.clues import Clues, Component, Reached
from tls_wheel_guard.culprits.culprit import Culprit, DataError, Remedy, culprit_from
from tls_wheel_guard.culprits.identify import Confidence, Match, identify

__all__ = [
    "Clues",
    "Component",
    "Confidence",
    "Culprit",
    "DataError",
    "Match",
    "Reached",
    "Remedy",
    "Suspect",
    "Traced",
    "culprit_from",
    "identify",
    "remedy_line",
    "sentence",
    "trace",
]
