"""What the beginning of a shared object shows, beside what all of it says: objects of four linkers and of patchelf, in every layout."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.support.layouts import LINKERS, judged, layouts, source
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.screening import screen
from tls_wheel_guard.errors import MalformedElf


@pytest.mark.parametrize("linker", LINKERS)
def test_no_object_that_asks_is_called_clear(linker: str, tmp_path: Path) -> None:
    rng = random.Random(f"screening {linker}")
    clear = asked = 0
    # The bed has 2,000 objects.
    for number in range(14):
        for name, path in layouts(linker, rng, tmp_path, number):
            answer, asks = judged(path)
            assert not (answer == "clear" and asks), (linker, name, (tmp_path / f"{number}.c").read_text())
            clear += answer == "clear"
            asked += asks
        if number >= 4 and asked and (clear or "Android" in linker):
            break
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
