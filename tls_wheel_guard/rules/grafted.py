"""The rule about libraries with initial-exec TLS that are not in the wheel yet, and that auditwheel will copy into it."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.rules.input import RuleInput, hints
from tls_wheel_guard.rules.phrases import bytes_of

__all__ = ["grafts"]


def grafts(case: RuleInput) -> Iterator[Finding]:
    """Libraries of this machine that a wheel with a linux tag needs and that ask for static TLS."""
    for graft in case.grafts:
        yield Finding(
            "grafted-initial-exec",
            "note",
            graft.needed_by,
            (f"auditwheel will copy {graft.library} ({graft.path}) into the wheel: initial-exec, {bytes_of(graft.size)}.",),
            hints(
                "check the wheel again after auditwheel repair",
                f"or keep the library out: auditwheel repair --exclude {graft.library}",
                module=graft.needed_by,
                rule="grafted-initial-exec",
            ),
            relocs_total=graft.relocations,
        )
