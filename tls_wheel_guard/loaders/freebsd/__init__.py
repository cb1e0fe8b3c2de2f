"""FreeBSD's ld-elf.so.1: 128 bytes for all that comes late.

``block``: the reserve and where modules go in it, by release. ``process``: dlopen and dlclose, step by step. ``verdicts``: what that
means for one module.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.freebsd.block import EXTRA, NO_SPACE, TUNABLE_SINCE, State, allocate, extra_from, fresh_state, rule_set
from tls_wheel_guard.loaders.freebsd.process import step
from tls_wheel_guard.loaders.freebsd.verdicts import judge

__all__ = ["EXTRA", "NO_SPACE", "TUNABLE_SINCE", "State", "allocate", "extra_from", "fresh_state", "judge", "rule_set", "step"]
