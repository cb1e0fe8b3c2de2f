"""FreeBSD's ld-elf.so.1: 128 bytes for all that comes late.

``block``: the reserve and where modules go in it, by release. ``process``: dlopen and dlclose, step by step.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.freebsd.block import EXTRA, NEWEST, TUNABLE_SINCE, State, allocate, extra_from, fresh_state, is_no_number, rule_set
from tls_wheel_guard.loaders.freebsd.process import step

__all__ = ["EXTRA", "NEWEST", "TUNABLE_SINCE", "State", "allocate", "extra_from", "fresh_state", "is_no_number", "rule_set", "step"]
