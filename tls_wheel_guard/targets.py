"""From platform tags, and from a module's own evidence, to the systems that must be able to load it.

PEP 425, 513, 571, 599, 600 (manylinux), 656 (musllinux), 738 (Android), 730 (iOS), 783 (Emscripten). The tags of other
systems are ``sysconfig.get_platform()`` with its punctuation turned into underscores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.platforms import Libc, Target, machine_called
from tls_wheel_guard.records import replace

__all__ = ["evidence_of", "own_target", "parse_tag", "promised_by", "require_target", "targets_for"]

_LEGACY_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}

_Match = re.Match[str]


def _version(*parts: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in parts if part)


def _machine(name: str) -> str:
    known = machine_called(name)
    return known.name if known else name


def _of(libc: Libc) -> Callable[[str, _Match], Target]:
    def make(tag: str, match: _Match) -> Target:
        groups = match.groupdict()
        return Target(tag, _machine(groups["arch"]), libc, _version(groups.get("major"), groups.get("minor")) or None)

    return make


def _legacy(tag: str, match: _Match) -> Target:
    return Target(tag, _machine(match["arch"]), "glibc", _LEGACY_MANYLINUX[match["name"]])


def _machineless(libc: Libc) -> Callable[[str, _Match], Target]:
    return lambda tag, _match: Target(tag, None, libc, None)


# A release may carry a word behind its numbers: freebsd_14_2_release_p3_amd64.
_BSD = r"_(?P<major>[0-9]{1,6})(?:_(?P<minor>[0-9]{1,6}))?(?:_(?:release|current|stable|prerelease|rc|beta|alpha|p)[0-9]*)*_"
_FORMS: tuple[tuple[str, Callable[[str, _Match], Target]], ...] = (
    (r"manylinux_(?P<major>[0-9]{1,6})_(?P<minor>[0-9]{1,6})_(?P<arch>\w+)", _of("glibc")),
    (r"(?P<name>manylinux1|manylinux2010|manylinux2014)_(?P<arch>\w+)", _legacy),
    (r"musllinux_(?P<major>[0-9]{1,6})_(?P<minor>[0-9]{1,6})_(?P<arch>\w+)", _of("musl")),
    (r"android_(?P<major>[0-9]{1,6})_(?P<arch>\w+)", _of("bionic")),
    (r"linux_(?P<arch>\w+)", _of("unknown")),
    (rf"freebsd{_BSD}(?P<arch>\w+)", _of("freebsd")),
    (rf"netbsd{_BSD}(?P<arch>\w+)", _of("netbsd")),
    (rf"openbsd{_BSD}(?P<arch>\w+)", _of("openbsd")),
    (rf"dragonfly{_BSD}(?P<arch>\w+)", _of("dragonfly")),
    (r"(?:solaris|illumos|sunos)_(?P<major>[0-9]{1,6})_(?P<minor>[0-9]{1,6})_(?P<arch>\w+)", _of("illumos")),
    (r"haiku_(?P<major>[0-9]{1,6})_(?:\w+?_)??(?P<arch>x86_64|x86|arm64|riscv64)", _of("haiku")),
    (r"(?:macosx|ios)_\w+", _machineless("darwin")),
    (r"win32|win_\w+|mingw_\w+|cygwin_\w+", _machineless("windows")),
    (r"(?:emscripten|pyodide|wasi|wasm32)_?\w*", _machineless("wasm")),
    (r"any", _machineless("unknown")),
)

KNOWN_FORMS = "manylinux_2_28_x86_64, musllinux_1_2_aarch64, freebsd_14_2_amd64, android_24_arm64_v8a, linux_x86_64"


def parse_tag(tag: str) -> Target | None:
    """The target that one platform tag promises; None where the tag has no form that is known.

    ``libc`` is ``unknown`` for ``linux_ARCH`` and ``any``: there the module's own evidence decides.
    """
    folded = tag.lower().replace("-", "_").replace(".", "_")
    for form, make in _FORMS:
        if match := re.fullmatch(form, folded):
            return make(tag, match)
    return None


def require_target(tag: str) -> Target:
    """As :func:`parse_tag`, for a tag that a user typed; raises UsageError."""
    target = parse_tag(tag)
    if target is None or tag == "any":
        raise UsageError(f"unknown platform tag {tag!r}", hint=f"tags look like {KNOWN_FORMS}")
    if target.machine is not None and machine_called(target.machine) is None:
        raise UsageError(f"unknown machine {target.machine!r} in platform tag {tag!r}", hint=f"tags look like {KNOWN_FORMS}")
    return target


def promised_by(tags: Iterable[str]) -> tuple[Target, ...]:
    """The targets of a wheel's tags (``cp312-cp312-manylinux_2_17_x86_64``), each once.

    A platform that is not known promises nothing that could be judged, so there the modules' own evidence decides.
    """
    found: dict[str, Target] = {}
    for tag in tags:
        platform = tag.rsplit("-", 1)[-1]
        found.setdefault(platform, parse_tag(platform) or Target(platform, None, "unknown", None))
    return tuple(found.values())


_LIBC_OF_NEEDED: tuple[tuple[str, Libc], ...] = (
    (r"libc\.so\.6(?:\.1)?|ld-linux.*|ld64\.so\.[12]|ld\.so\.1|libpthread\.so\.0|libm\.so\.6", "glibc"),
    (r"libc\.musl-.*|ld-musl-.*", "musl"),
    (r"libc\.so\.7|libthr\.so\.3", "freebsd"),
    (r"libc\.so\.12", "netbsd"),
    (r"libc\.so\.1", "illumos"),
    (r"libc\.so\.8", "dragonfly"),
    (r"libc\.so\.[0-9]{2,3}\.[0-9]+", "openbsd"),
    (r"libroot\.so", "haiku"),
    (r"liblog\.so|libandroid\.so", "bionic"),
)
_OF_INTERPRETER: tuple[tuple[str, Libc], ...] = (
    (r".*/ld-musl-.*", "musl"),
    (r".*/linker(64)?", "bionic"),
    (r".*/ld-elf(32)?\.so\.1", "freebsd"),
    (r".*/ld\.elf_so", "netbsd"),
    (r".*/libexec/ld\.so", "openbsd"),
    (r".*/ld-linux.*|.*/ld64\.so.*|.*/ld\.so\.1", "glibc"),
)
_OF_NOTE: dict[str, Libc] = {
    "Android": "bionic", "FreeBSD": "freebsd", "NetBSD": "netbsd", "OpenBSD": "openbsd", "DragonFly": "dragonfly",
}  # fmt: skip
_OF_NAME: tuple[tuple[str, Libc], ...] = (
    ("-linux-musl", "musl"), ("-linux-android", "bionic"), ("-linux-gnu", "glibc"), ("-freebsd", "freebsd"),
)  # fmt: skip
_OF_OSABI: dict[int, Libc] = {2: "netbsd", 6: "illumos", 9: "freebsd", 12: "openbsd"}


def _first_match(text: str, table: tuple[tuple[str, Libc], ...]) -> Libc | None:
    return next((libc for form, libc in table if re.fullmatch(form, text)), None)


def evidence_of(module: SharedObject, path: str) -> tuple[Libc, str]:
    """The libc that a module was built for and the evidence, strongest first.

    The system's own note or OS/ABI byte, DT_NEEDED, SONAME, the interpreter, then the SOABI in the file's name, which lies
    in musllinux wheels of before 2022. Without any of these: glibc, and the evidence says that it is assumed.
    """
    for owner in module.note_owners:
        if owner in _OF_NOTE:
            return _OF_NOTE[owner], f"note {owner}"
    if module.osabi in _OF_OSABI:
        return _OF_OSABI[module.osabi], f"OS/ABI {module.osabi}"
    for needed in module.needed:
        if libc := _first_match(needed, _LIBC_OF_NEEDED):
            return libc, f"NEEDED {needed}"
    if "libc.so" in module.needed:
        # musl has one library for all; Android has libdl.so and libm.so beside it.
        return "bionic" if {"libdl.so", "libm.so"} & set(module.needed) else "musl", "NEEDED libc.so"
    return _weaker_evidence(module, path)


def _weaker_evidence(module: SharedObject, path: str) -> tuple[Libc, str]:
    libc: Libc | None
    if module.soname and (libc := _first_match(module.soname, _LIBC_OF_NEEDED)):
        return libc, f"SONAME {module.soname}"
    if module.interpreter and (libc := _first_match(module.interpreter, _OF_INTERPRETER)):
        return libc, f"interpreter {module.interpreter}"
    name = path.rsplit("/", 1)[-1]
    for word, named in _OF_NAME:
        if word in name:
            return named, f"name {name}"
    return "glibc", "assumed"


def own_target(module: SharedObject, path: str) -> Target:
    """The target that a module's own evidence makes, for bare files and for tags that name no libc."""
    libc, _ = evidence_of(module, path)
    system = {"glibc": "linux", "musl": "musllinux", "bionic": "android"}.get(libc, libc)
    return Target(f"{system}_{module.machine_name}".replace(" ", "_"), module.machine.name if module.machine else None, libc, None)


def targets_for(module: SharedObject, path: str, promised: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets that one module is judged for.

    A promise counts for modules of its own machine. Where none is left (a tag without libc, a module of another machine, an
    ELF file in a pure wheel) the module's own evidence decides.
    """
    name = module.machine.name if module.machine else None
    same = [t for t in promised if t.has_static_tls and (t.machine == name or t.machine is None)]
    found: dict[tuple[object, ...], Target] = {}
    for promise in same:
        target = promise
        if promise.libc == "unknown":
            own = own_target(module, path)
            target = own if promise.machine is None else replace(own, tag=promise.tag)
        found.setdefault((target.libc, target.oldest, target.machine), target)
    return tuple(found.values()) or (own_target(module, path),)
