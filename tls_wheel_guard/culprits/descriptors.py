"""Who made a module's code use TLS descriptors, where its own data say so. Pure: texts in, suspects out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tls_wheel_guard.culprits.advice import advice, build_systems, remedies_for, sentence
from tls_wheel_guard.culprits.clues import Clues
from tls_wheel_guard.culprits.identify import Match
from tls_wheel_guard.culprits.model import Culprit
from tls_wheel_guard.culprits.result import Suspect

__all__ = ["descriptor_suspects"]


def descriptor_suspects(texts: Collection[str], culprits: Iterable[Culprit], generator: str | None) -> tuple[Suspect, ...]:
    """The culprits whose builds choose descriptors and who have one of the texts that a module holds. ``generator``: WHEEL's Generator."""
    builds = build_systems(generator, Clues("x86_64", 8, 0, ()))
    found = []
    for culprit in culprits:
        if any(text in texts for text in culprit.words.descriptors):
            said = f"it holds the code of {culprit.name}, whose build passes -mtls-dialect=gnu2"
            match = Match(culprit, "likely", (said,))
            found.append(Suspect(match, sentence(match), advice(match, builds), remedies_for(match, builds)))
    return tuple(found)
