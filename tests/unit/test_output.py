"""The one way out: what can't be written is one line, and no name from an input steers a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elf_builder import Spec as Elf
from tests.support.elf_builder import build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli.output import write_pieces
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.report.style import Style, safe_text

Captured = pytest.CaptureFixture[str]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full, which is a full disk")
GUARD = [sys.executable, "-m", "tls_wheel_guard"]


@FULL
@pytest.mark.parametrize(
    "words",
    ["check --no-config m.so", "check --no-config --format json m.so", "show --no-config m.so", "explain mimalloc", "simulate m.so",
     "mark m.so -w out", "env", "--version", "--help", "check --help", "check --no-config --show-settings"],
)  # fmt: skip
def test_a_full_disk_behind_stdout_is_one_line(words: str, tmp_path: Path) -> None:
    (tmp_path / "m.so").write_bytes(ie(flags=0, spare=1))
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([*GUARD, *words.split()], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert re.fullmatch(r"tls-wheel-guard: (m.so: )?stdout: it can't be written: No space left on device; hint: .*\n", run.stderr), run.stderr
    assert run.returncode == 2


@FULL
def test_a_full_disk_behind_stderr_leaves_the_exit_code(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([*GUARD, "check", "missing.whl"], cwd=tmp_path, stderr=full, check=False)
    assert run.returncode == 2


@FULL
def test_a_full_disk_behind_an_output_file(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "m.so").write_bytes(ie())
    assert main(["check", "--no-config", "-o", "/dev/full", str(tmp_path / "m.so")]) == 2
    shown = capsys.readouterr().err
    assert "/dev/full: it can't be written: No space left on device; hint: name a file in a folder that can be written" in shown
    assert "bug" not in shown


HOSTILE = "pkg/\x1b]0;title\x07\x9b2J\u202egnp\u2028\r\nevil: line\u200b\udcff.so"
"""A member's name with what steers terminals, reorders text, and ends lines."""


def hostile_wheel(folder: Path) -> Path:
    """A wheel with such a member, one of its kind that can't be read, and foreign formats and archives named so."""
    path = folder / "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        # zipfile writes no half of a surrogate pair.
        name = HOSTILE.replace("\udcff", "")
        archive.writestr(name, ie(flags=0, soname="lib\x1b[31m.so", needed=("lib\x9b.so",)))
        archive.writestr(name + ".cut", ie()[:200])
        archive.writestr(name + ".zip", b"PK\x03\x04" + bytes(40))
        archive.writestr(name + "/libx.so", build(Elf("aarch64")))
    return path


def steering(text: str) -> set[str]:
    """What would steer a terminal or reorder lines."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}


@pytest.mark.parametrize(
    "words",
    ["check", "check -v", "check --format json", "check --format github", "check --format sarif", "check --format markdown", "show",
     "show --format json", "mark -w out", "mark --in-place", "simulate"],
)  # fmt: skip
def test_no_name_steers_a_terminal(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    wheel = hostile_wheel(tmp_path)
    odd = tmp_path / ("odd\x1b[2J\u202e" + wheel.name)
    wheel.rename(odd)
    first = words.split(maxsplit=1)[0]
    main([*words.split(), *(["--no-config"] if first in ("check", "show") else []), str(odd)])
    shown = capsys.readouterr()
    assert not steering(shown.out), shown.out
    assert not steering(shown.err), shown.err
    assert "evil" in shown.out + shown.err
    assert "\nevil" not in shown.out + shown.err


def test_paths_that_are_no_text(tmp_path: Path, capsys: Captured) -> None:
    """A path of bytes that are no UTF-8 comes as halves of surrogate pairs; -o writes UTF-8."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.so"))
    path.write_bytes(ie())
    for name in ("text", "github", "json", "markdown"):
        assert main(["check", "--no-config", "--format", name, "-o", str(tmp_path / "report"), str(path)]) == 1
        assert "odd" in (tmp_path / "report").read_text(encoding="utf-8")
    assert main(["check", "--no-config", str(path), str(path) + "x"]) == 2
    shown = capsys.readouterr()
    assert not steering(shown.out + shown.err)


def test_a_style_keeps_its_own_and_nothing_else() -> None:
    style = Style(color=True, pages=lambda name: f"https://example.org/#{name}")
    own = style.paint("red", "bold", "red") + style.link("rule", "initial-exec-tls") + "\tand\n"
    assert safe_text(own) == own
    for odd in ("\x1b[2J", "\x1b[38;5;1m", "\x1b]0;x\x07", "\x1b]8;;\x1b", "\x9b31m", "\r", "\u202e", "\u2028", "\ud800"):
        assert not steering(safe_text(f"a{odd}b"))


def test_every_character_that_steers_is_escaped() -> None:
    """The pattern against Unicode's own tables."""
    steers = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) in ("Cc", "Cs", "Zl", "Zp") and chr(c) not in "\n\t"]
    assert all(safe_text(c) != c for c in steers)
    reorder = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}
    bidi = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.bidirectional(chr(c)) in reorder]
    assert len(bidi) == 9
    assert all(safe_text(c) != c for c in bidi)
    assert safe_text("ä 中 \U0001f600 ─█ \xa0") == "ä 中 \U0001f600 ─█ \xa0"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_text_in_pieces_is_written_whole_or_not_at_all(error: type[BaseException], tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "begun"
        raise error

    report = tmp_path / "report.json"
    report.write_text("before")
    with pytest.raises(error):
        write_pieces(pieces(), report)
    assert report.read_text() == "before"
    assert list(tmp_path.iterdir()) == [report]
    write_pieces(("a", "\x1b[2Jb"), report)
    assert report.read_text().startswith("a")
    assert "\x1b" not in report.read_text()


@FULL
def test_pieces_go_to_a_device_without_replacing_it() -> None:
    write_pieces(("a", "b"), Path("/dev/null"))
    assert not Path("/dev/null").is_file()
    with pytest.raises(UsageError, match="No space left on device"):
        write_pieces(("a", "b"), Path("/dev/full"))


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    """/dev/stdout is a link, and leads to a file where the shell was told so: replacing the link would break the machine."""
    (tmp_path / "link").symlink_to(tmp_path / "report.json")
    write_pieces(("a", "b"), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "report.json").read_text() == "ab"


def test_a_document_of_an_index_goes_to_a_device(tmp_path: Path) -> None:
    make_wheel(tmp_path, {"pkg/m.so": ie(64)})
    command = [*GUARD, "index", str(tmp_path), "--no-config", "-q", "--format", "json", "-o", "/dev/stderr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["summary"]["wheels"] == 1
