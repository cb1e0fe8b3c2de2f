"""glibc's ld.so: a surplus of 1664 bytes for all that comes late.

``block``: how large the static TLS block is and where modules go in it. ``order``: in which order modules are relocated and
unloaded. ``process``: dlopen and dlclose, step by step.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.glibc.block import (
    CURRENT,
    MEASURED,
    OLDEST,
    OPTIONAL,
    SURPLUS,
    State,
    allocate,
    fresh_state,
    has_optional,
    place_at_start,
    state_with_room,
    surplus,
    tcb_alignment,
    tuned,
)
from tls_wheel_guard.loaders.glibc.process import step

__all__ = [
    "CURRENT",
    "MEASURED",
    "OLDEST",
    "OPTIONAL",
    "SURPLUS",
    "State",
    "allocate",
    "fresh_state",
    "has_optional",
    "place_at_start",
    "state_with_room",
    "step",
    "surplus",
    "tcb_alignment",
    "tuned",
]
