"""Hostile ELF files: each limit, circles, files cut anywhere; and how limits are moved."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import BytesSource, defined_tls, read_shared_object
from tls_wheel_guard.errors import ConfigError, MalformedElf, UsageError
from tls_wheel_guard.inputs.opening import inspect_file
from tls_wheel_guard.limits import DEFAULT_LIMITS, LIMITS, Limits, limits_from

IE = Spec(relocs=(Reloc(18),), tls=Tls(64, 8))
WHEEL = "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"

MANY = tuple(Reloc(18, f"s{n}") for n in range(40))
VERSIONED = Spec(needed=("libc.so.6",), relocs=MANY[:2], symbols=(Sym("s0", version="A"), Sym("s1", version="B")))
LIMITED_FILES: list[tuple[str, int, Spec, str]] = [
    ("segments", 3, IE, "4 program headers"),
    ("dynamic-size", 32, IE, "a dynamic segment of"),
    ("needed", 2, Spec(needed=("a", "b", "c")), "3 DT_NEEDED entries"),
    ("relocations", 10, Spec(relative=11), "11 or more dynamic relocations"),
    ("tls-relocations", 5, Spec(relocs=(Reloc(18),) * 6, tls=Tls(8)), "6 or more TLS relocations"),
    ("packed-size", 16, Spec("aarch64", (Reloc(1030),) * 9, Tls(8), table="android"), "packed relocation tables of"),
    ("names-size", 20, Spec(relocs=MANY, symbols=tuple(Sym(f"s{n}") for n in range(40))), "or more characters"),
    ("versions", 1, VERSIONED, "2 or more symbol versions"),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "value", "spec", "words"), LIMITED_FILES, ids=[row[0] for row in LIMITED_FILES])
def test_limits_of_a_file(limit: str, value: int, spec: Spec, words: str) -> None:
    data = build(spec)
    read_shared_object(BytesSource(data))
    with pytest.raises(MalformedElf, match=rf"{words}.*at most {value} are read \(limit {limit}; --limit {limit}=N moves it\)"):
        read_shared_object(BytesSource(data), limits_from([f"{limit}={value}"]))


def test_the_limit_of_hash_chains() -> None:
    symbols = tuple(Sym(f"s{n}", defined=True) for n in range(50))
    data = build(Spec(symbols=symbols, tls=Tls(8)))
    assert defined_tls(BytesSource(data), ["s0", "s49"]) == {"s0", "s49"}
    with pytest.raises(MalformedElf, match="limit chain"):
        defined_tls(BytesSource(data), ["s0", "s49"], Limits(chain=10))


def test_a_hash_chain_in_a_circle() -> None:
    """Found by fuzzing: a chain that leads back to itself was walked a hundred thousand times for each name."""
    data = bytearray(build(Spec(symbols=(Sym("a", defined=True), Sym("b", defined=True)), tls=Tls(8))))
    # One bucket, three chains: the table that Spec writes, whose last chain ends with 0.
    at = bytes(data).index(struct.pack("<6I", 1, 3, 1, 0, 2, 0))
    struct.pack_into("<I", data, at + 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, at + 20, 1)
    with pytest.raises(MalformedElf, match="circle"):
        defined_tls(BytesSource(bytes(data)), ["a", "missing"])


def test_the_limit_of_code() -> None:
    data = bytearray(build(Spec("aarch64", tls=Tls(8, 8))))
    at = 64 + 56 * next(n for n in range(3) if data[64 + 56 * n] == 1)
    data[at + 4] |= 1
    read_shared_object(BytesSource(bytes(data)))
    with pytest.raises(MalformedElf, match="limit code-size"):
        read_shared_object(BytesSource(bytes(data)), Limits(code_size=10))


def test_segments_that_overlap() -> None:
    """A thousand loaded segments over each other would make each lookup a walk through all of them."""
    header = bytearray(build(Spec())[:64])
    struct.pack_into("<QQIHHH", header, 32, 64, 0, 0, 64, 56, 1000)
    rows = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, 60_000, 60_000, 4096) * 1000
    with pytest.raises(MalformedElf, match="1000 loaded segments that overlap"):
        read_shared_object(BytesSource(bytes(header) + rows))


@pytest.mark.parametrize("machine", ["x86_64", "i386", "s390x", "ppc", "mips64", "aarch64"])
def test_cut_anywhere_in_a_wheel(machine: str, tmp_path: Path) -> None:
    """32 and 64 bits, little and big endian: the file cut at many places, beside a good one."""
    data = build(Spec(machine, relocs=(Reloc(18),), tls=Tls(64, 8), needed=("a", "b"), relr=5))
    good = build(IE)
    for length in random.Random(7).sample(range(4, len(data)), 40):
        contents = inspect_file(make_wheel(tmp_path, {"cut.so": data[:length], "good.so": good}))
        assert [module.name for module in contents.modules][-1] == "good.so"
        assert len(contents.modules) + len(contents.unreadable) == 2


# The option and the setting.


def test_every_limit_can_be_moved() -> None:
    for name, field in LIMITS.items():
        moved = limits_from([f"{name}=77"])
        assert getattr(moved, field) == 77
        assert moved != DEFAULT_LIMITS
    assert Config(limits=("members=5",)).bounds.members == 5


WRONG_LIMITS = ["memebrs=3", "members", "members=", "members=0", "members=-1", "members=x", "members=1.5", "members=" + "9" * 30, "=3"]


@pytest.mark.parametrize("text", WRONG_LIMITS)
def test_wrong_limits(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        limits_from([text])
    path = make_wheel(tmp_path, {"x.so": build(IE)})
    assert main(["check", "--no-config", "--limit", text, str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_limits_on_the_command_line_and_in_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_wheel(tmp_path, {"x.so": build(IE)})
    assert main(["check", "--no-config", "--limit", "members=2", str(path)]) == 3
    assert "--limit members=N moves it" in capsys.readouterr().err
    settings = tmp_path / "pyproject.toml"
    settings.write_text('[tool.tls-wheel-guard]\nlimits = ["members=2"]\n', encoding="utf-8")
    assert main(["check", "--config", str(settings), str(path)]) == 3
    assert main(["check", "--config", str(settings), "--limit", "members=200", str(path)]) == 1
    settings.write_text('[tool.tls-wheel-guard]\nlimits = ["members"]\n', encoding="utf-8")
    assert main(["check", "--config", str(settings), str(path)]) == 2
    assert isinstance(ConfigError("x"), UsageError)
