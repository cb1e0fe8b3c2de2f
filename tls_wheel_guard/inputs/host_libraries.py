"""Libraries of this machine, found by name where its loader would find them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tls_wheel_guard.elf import SharedObject, read_shared_object
from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.inputs.files import FileSource, open_regular
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

FOLDERS = ("/usr/local/lib", "/lib64", "/usr/lib64", "/usr/local/lib64", "/lib", "/usr/lib")
"""Where ldconfig looks on every distribution; Debian's folders by triplet are added."""
MAX_LIBRARIES = 256
_USUAL = frozenset({"libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libgcc_s.so.1", "libstdc++.so.6"})
"""Those of the expected ones that nearly every module needs: for them alone the pattern is not compiled."""
_EXPECTED = (
    r"(lib(c|m|dl|rt|nsl|util|pthread|resolv|anl|crypt|gcc_s|stdc\+\+|z|expat|atomic|ffi|glib-2\.0|gobject-2\.0|gthread-2\.0|GL|X\w+|ICE|SM|mvec)"
    r"|ld-linux[-\w]*|ld64|linux-vdso)(\.so[.\d]*|\.so)?|libc\.musl-[-\w]+\.so\.1|ld-musl-[-\w]+\.so\.1|libpython[\d.]+[a-z]*\.so[.\d]*"
)
"""Libraries that a wheel may expect (auditwheel's policies) or that auditwheel leaves alone (libpython)."""


def needed_from_outside(facts: SharedObject, seen: set[str], limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[str, Path, SharedObject]]:
    """What a module needs from outside, and what those need in turn.

    ``seen``: names that are looked for no more, what is inside among them; those that were looked for are added.
    """
    queue, looked = [(name, facts) for name in facts.needed], 0
    for library, user in queue:
        if library in seen or "/" in library or library in _USUAL or re.fullmatch(_EXPECTED, library) or looked >= MAX_LIBRARIES:
            continue
        seen.add(library)
        looked += 1
        found = _find(library, user, limits)
        if found is not None:
            yield library, *found
            queue += [(name, found[1]) for name in found[1].needed]


def _find(library: str, facts: SharedObject, limits: Limits) -> tuple[Path, SharedObject] | None:
    """The file that this machine's loader would take, where it is of the module's own machine."""
    for folder in _folders():
        path = Path(folder) / library
        try:
            if not path.is_file():
                continue
            with open_regular(path) as file:
                other = read_shared_object(FileSource(file), limits)
        except (OSError, UnreadableInput, ValueError):
            continue
        if (other.e_machine, other.bits, other.little_endian) == (facts.e_machine, facts.bits, facts.little_endian):
            return path, other
    return None


def library_at(library: str, user: str, facts: SharedObject, folders: Sequence[str]) -> Path | None:
    """The file that a module's DT_NEEDED means: by its own search path, then in ``folders``; None where there is none.

    ``user``: the module's own path, which $ORIGIN stands for. What is found may still be of another machine.
    """
    if "/" in library or not library.isprintable():
        return None
    origin = os.path.dirname(os.path.realpath(user))  # noqa: PTH120  (a path of any form)
    own = (folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for folder in facts.search_path)
    for folder in (*own, *folders):
        path = Path(folder) / library
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                return path
    return None


def host_folders() -> tuple[str, ...]:
    """Where this machine's loader looks: LD_LIBRARY_PATH, then the folders of the system."""
    return _folders()


def _folders() -> tuple[str, ...]:
    asked = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    triplets = sorted(str(path) for root in ("/usr/local/lib", "/lib", "/usr/lib") for path in Path(root).glob("*-linux-*") if path.is_dir())
    return tuple(dict.fromkeys([*asked, *triplets, *FOLDERS]))
