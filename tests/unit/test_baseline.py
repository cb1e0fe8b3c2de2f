"""What is known today does not fail, and what is new or worse does; members and files that are left out; notes about allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_builder import Spec, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.build_guard.guard import guard
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import CheckFailed, ConfigError, UnreadableInput

Captured = pytest.CaptureFixture[str]
MUSL, GLIBC = "musllinux_1_2_x86_64", "manylinux_2_28_x86_64"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def wheel(folder: Path, members: dict[str, bytes], tag: str = GLIBC, name: str = "pkg", python: str = "cp312-cp312") -> str:
    return make_wheel(folder, members, f"{python}-{tag}", name=name).name


def document(capsys: Captured) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_known_passes_and_what_is_new_fails(tmp_path: Path, capsys: Captured) -> None:
    old = wheel(tmp_path, {"pkg/m.cpython-312-x86_64-linux-gnu.so": ie(), "pkg.libs/libgomp-a34b3233.so.1.0.0": ie(136)})
    assert main(["check", old]) == 1
    assert main(["check", old, "--baseline", "known.json", "--write-baseline"]) == 0
    assert "2 findings written to known.json" in capsys.readouterr().err
    assert main(["check", old, "--baseline", "known.json"]) == 0
    shown = capsys.readouterr().out
    assert "known: warning: initial-exec-tls in pkg/m.cpython-312-x86_64-linux-gnu.so" in shown
    assert "0 errors, 0 warnings, 0 notes; 2 known" in shown
    # The next release has another hash, another ABI tag, another version.
    members = {"pkg/m.abi3.so": ie(), "pkg.libs/libgomp-00ff00ff.so.1.0.1": ie(136)}
    assert main(["check", wheel(tmp_path, members, python="cp313-abi3"), "--baseline", "known.json", "--format", "json"]) == 0
    (entry,) = document(capsys)["wheels"]
    assert (len(entry["known"]), entry["findings"]) == (2, [])
    # A module more, a system more, and another project are new.
    for more in (
        wheel(tmp_path, {**members, "pkg/n.so": ie()}, python="cp314-cp314"),
        wheel(tmp_path, members, MUSL),
        wheel(tmp_path, members, name="other"),
    ):
        assert main(["check", more, "--baseline", "known.json"]) == 1


def test_what_is_worse_is_new(tmp_path: Path) -> None:
    small = wheel(tmp_path, {"pkg/m.so": ie(64)})
    assert main(["check", small, "--baseline", "b", "--write-baseline"]) == 0
    big = wheel(tmp_path, {"pkg/m.so": ie(5000)}, python="cp313-cp313")
    assert main(["check", big, "--baseline", "b"]) == 1
    assert main(["check", big, "--baseline", "b", "--write-baseline"]) == 0
    assert main(["check", small, big, "--baseline", "b"]) == 0


def test_a_baseline_of_a_release_says_what_holds_where(tmp_path: Path) -> None:
    names = [wheel(tmp_path, {"pkg/m.so": ie()}, tag) for tag in (MUSL, GLIBC)]
    assert main(["check", *names, "--baseline", "b", "--write-baseline"]) == 0
    first = (tmp_path / "b").read_text()
    (entry,) = json.loads(first)["findings"]
    assert entry["systems"] == {"glibc x86_64": "warning", "musl x86_64": "error"}
    assert main(["check", *reversed(names), "--baseline", "b", "--write-baseline"]) == 0
    assert (tmp_path / "b").read_text() == first
    assert main(["check", *names, "--baseline", "b"]) == 0


def test_a_baseline_of_a_folder_and_of_a_bare_file(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a.so").write_bytes(ie())
    for arguments in (["--tree", "site"], ["site/a.so"]):
        assert main(["check", *arguments]) == 1
        assert main(["check", *arguments, "--baseline", "b", "--write-baseline"]) == 0
        assert main(["check", *arguments, "--baseline", "b"]) == 0
    (site / "b.so").write_bytes(ie())
    assert main(["check", "--tree", "site", "--baseline", "b"]) == 1


def test_the_table_names_the_baseline_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    name = wheel(tmp_path, {"pkg/m.so": ie()})
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\nbaseline = "known.json"\n')
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert main(["check", f"../{name}"]) == 2
    assert f"{tmp_path / 'known.json'}: the baseline can't be read: No such file or directory; hint: --write-baseline" in capsys.readouterr().err
    assert main(["check", f"../{name}", "--write-baseline"]) == 0
    assert (tmp_path / "known.json").is_file()
    assert main(["check", f"../{name}"]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON document"),
        ("[]", "it is no baseline"),
        ('{"version": 1, "findings": [3]}', "findings[0] has no project"),
        ('{"version": 1, "findings": [{"project": "p", "module": "m", "rule": 3, "systems": {}, "culprits": []}]}', "a value of a wrong kind"),
        ('{"version": 1, "findings": [{"project": "p", "module": "m", "rule": "r", "systems": {"a": "bad"}, "culprits": []}]}', "a wrong kind"),
        ('{"version": 1, "findings": [{"project": "p", "module": "m", "rule": "r", "systems": 3, "culprits": []}]}', "findings[0] has no"),
        ("[" * 100_000, "it is no JSON document"),
    ],
)
def test_a_broken_baseline_is_one_line(text: str, words: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "b").write_text(text)
    assert main(["check", wheel(tmp_path, {}), "--baseline", "b"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_baseline_needs_a_file_and_readable_input(tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, {"pkg/m.so": ie()})
    assert main(["check", name, "--write-baseline"]) == 2
    assert "--write-baseline: no file is named; hint: add --baseline FILE" in capsys.readouterr().err
    (tmp_path / "broken.whl").write_bytes(b"x")
    assert main(["check", name, "broken.whl", "--baseline", "b", "--write-baseline"]) == 3
    assert not (tmp_path / "b").exists()


def test_members_and_files_are_left_out(tmp_path: Path, capsys: Captured) -> None:
    members = {"pkg/m.so": build(Spec()), "pkg/tests/t.so": ie(), "pkg/tests/cut.so": ie()[:100]}
    name = wheel(tmp_path, members)
    assert main(["check", name]) == 1
    capsys.readouterr()
    assert main(["check", name, "--exclude", "*/tests/*"]) == 0
    assert "excluded: 1 ELF file (pkg/tests/t.so)" in capsys.readouterr().out
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\nexclude = ["*/tests/*"]\n')
    bad = wheel(tmp_path, members | {"pkg/n.so": ie()}, "manylinux_2_17_x86_64", name="bad")
    assert main(["check", "."]) == 1
    capsys.readouterr()
    assert main(["check", ".", "--exclude", "bad-*.whl", "--format", "json"]) == 0
    assert [(w["wheel"], w["excluded"]) for w in document(capsys)["wheels"]] == [(name, ["pkg/tests/t.so"])]
    assert main(["check", bad, "--exclude", "*/n.so"]) == 0


def test_one_note_a_run_for_an_allow_that_matched_nothing(tmp_path: Path, capsys: Captured) -> None:
    for number in range(5):
        wheel(tmp_path, {"pkg/m.so": build(Spec())}, name=f"p{number}")
    used = wheel(tmp_path, {"a.libs/x-1.so": ie()}, name="a")
    assert main(["check", ".", "--allow", "a.libs/x-*:initial-exec-tls:ok", "--format", "json"]) == 0
    assert [f["rule"] for w in document(capsys)["wheels"] for f in w["findings"]] == []
    (tmp_path / used).unlink()
    assert main(["check", ".", "--allow", "a.libs/x-*:initial-exec-tls:ok", "--format", "json"]) == 0
    (note,) = [f for w in document(capsys)["wheels"] for f in w["findings"]]
    assert (note["rule"], "matched nothing in 5 files" in note["message"]) == ("unused-allow", True)
    # A file that can't be read may be the one that needs it.
    (tmp_path / "broken.whl").write_bytes(b"x")
    assert main(["check", ".", "--allow", "a.libs/x-*:initial-exec-tls:ok", "--format", "json"]) == 3
    assert [f["rule"] for w in document(capsys)["wheels"] for f in w.get("findings", ())] == []


def test_a_build_knows_the_baseline(tmp_path: Path) -> None:
    """What is known is released and shown; a baseline that the sdist lacks stops nobody who only installs."""
    name = wheel(tmp_path, {"pkg/m.so": ie()})
    assert main(["check", name, "--baseline", "b", "--write-baseline"]) == 0
    said: list[str] = []
    guard([tmp_path / name], Config(baseline="b"), said.append)
    assert "known: warning: initial-exec-tls in pkg/m.so" in said[0]
    with pytest.raises(CheckFailed):
        guard([tmp_path / name], Config(), said.append)
    with pytest.raises(ConfigError, match="the baseline can't be read"):
        guard([tmp_path / name], Config(baseline="missing"), said.append)
    said.clear()
    guard([tmp_path / name], Config(baseline="missing"), said.append, told=True)
    assert said[0].startswith("warning: missing: the baseline can't be read: No such file or directory")
    assert said[-1].endswith('a build from an sdist goes on, unless stop = "everyone"')


def test_who_only_installs_is_not_stopped_by_a_wheel_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"x")
    said: list[str] = []
    guard([tmp_path / "broken-1.0-py3-none-any.whl"], Config(), said.append, told=True)
    assert said[0].startswith("warning: ")
    with pytest.raises(UnreadableInput):
        guard([tmp_path / "broken-1.0-py3-none-any.whl"], Config(), said.append)
