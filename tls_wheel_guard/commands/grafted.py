"""What auditwheel would copy into a wheel that has only a linux tag: libraries of this machine with initial-exec TLS."""

from __future__ import annotations

from tls_wheel_guard.inputs.host_libraries import needed_from_outside
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.rules import Graft

__all__ = ["grafts_of"]


def grafts_of(opened: OpenInput) -> tuple[Graft, ...]:
    """The libraries, each once; none for a wheel that is repaired already, or that is no wheel."""
    contents = opened.contents
    if not contents.is_archive or not contents.tags or not all("-linux_" in tag for tag in contents.tags):
        return ()
    inside = {module.name.rsplit("/", 1)[-1] for module in contents.modules}
    inside |= {module.facts.soname for module in contents.modules if module.facts.soname}
    found: dict[str, Graft] = {}
    for module in contents.modules:
        if module.is_shared:
            for library, path, other in needed_from_outside(module.facts, inside, opened.limits):
                if other.initial_exec.own and other.tls_segment is not None:
                    found.setdefault(library, Graft(library, str(path), module.name, other.tls_segment.memsz, other.initial_exec.count))
    return tuple(found.values())
