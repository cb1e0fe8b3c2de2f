"""Libraries of this machine, with initial-exec TLS, that modules need from outside: auditwheel would copy them into a wheel with a linux tag."""

from __future__ import annotations

from tls_wheel_guard.inputs.host_libraries import needed_from_outside
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.rules import Graft

__all__ = ["needed_outside", "will_be_copied"]


def will_be_copied(opened: OpenInput) -> bool:
    """Whether auditwheel has yet to repair the wheel, and will then copy what it needs from outside."""
    contents = opened.contents
    return contents.is_archive and bool(contents.tags) and all("-linux_" in tag for tag in contents.tags)


def needed_outside(opened: OpenInput) -> tuple[Graft, ...]:
    """The libraries, each once, with the first module that needs it."""
    contents = opened.contents
    inside = {module.name.rsplit("/", 1)[-1] for module in contents.modules}
    inside |= {module.facts.soname for module in contents.modules if module.facts.soname}
    found: dict[str, Graft] = {}
    for module in contents.modules:
        if module.is_shared:
            for library, path, other in needed_from_outside(module.facts, inside, opened.limits):
                if other.initial_exec.own and other.tls_segment is not None:
                    found.setdefault(library, Graft(library, str(path), module.name, other.tls_segment.memsz, other.initial_exec.count))
    return tuple(found.values())
