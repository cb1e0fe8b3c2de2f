"""What auditwheel would copy into a wheel that has only a linux tag: libraries of this machine with initial-exec TLS."""

from __future__ import annotations

from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.host_libraries import needed_from_outside
from tls_wheel_guard.rules import Graft

__all__ = ["grafts_of"]


def grafts_of(contents: Contents) -> tuple[Graft, ...]:
    """The libraries, each once; none for a wheel that is repaired already, or that is no wheel."""
    if not contents.is_archive or not contents.tags or not all("-linux_" in tag for tag in contents.tags):
        return ()
    inside = {name.rsplit("/", 1)[-1] for name, _ in contents.modules} | {facts.soname for _, facts in contents.modules if facts.soname}
    found: dict[str, Graft] = {}
    for name, facts in contents.modules:
        if facts.kind == "shared":
            for library, path, other in needed_from_outside(facts, inside):
                if other.initial_exec.own and other.tls_segment is not None:
                    found.setdefault(library, Graft(library, str(path), name, other.tls_segment.memsz, other.initial_exec.count))
    return tuple(found.values())
