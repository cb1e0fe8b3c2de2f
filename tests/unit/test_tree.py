"""``check --tree``: what is found below a folder, and what is not followed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.inputs import tree_contents
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.limits import Limits
from tls_wheel_guard.loaders.needed import reached
from tls_wheel_guard.tls import tls_module

Captured = pytest.CaptureFixture[str]
IE = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8)))


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_every_elf_file_below_a_folder(tmp_path: Path, capsys: Captured) -> None:
    root = tree(tmp_path / "site", {"a/x.so": IE, "a/b/noext": build(Spec()), "a/x.py": b"pass\n" * 30, "bad.so": IE[:200], "y.whl": b"PK" * 60})
    assert main(["check", "--no-config", "--tree", "--format", "json", str(root)]) == 1
    (report,) = json.loads(capsys.readouterr().out)["wheels"]
    assert [module["path"] for module in report["modules"]] == ["a/b/noext", "a/x.so"]
    assert [(f["rule"], f["module"]) for f in report["findings"]] == [
        ("initial-exec-tls", "a/x.so"), ("unflagged-static-tls", "a/x.so"), ("unreadable-module", "bad.so"),
    ]  # fmt: skip


def test_links_are_followed_once_and_never_outside(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"lib/x.so": IE, "z/y.so": build(Spec())})
    outside = tree(tmp_path / "root-outside", {"evil.so": IE})
    (root / "lib64").symlink_to("lib")
    (root / "lib" / "loop").symlink_to("..")
    (root / "lib" / "same.so").symlink_to("x.so")
    os.link(root / "lib" / "x.so", root / "lib" / "hard.so")
    (root / "out").symlink_to(outside)
    (root / "out.so").symlink_to(outside / "evil.so")
    (root / "nowhere").symlink_to("missing")
    (root / "self").symlink_to("self")
    os.mkfifo(root / "fifo.so")
    assert [module.name for module in tree_contents(root).modules] == ["lib/hard.so", "z/y.so"]
    # A link inside that is the only way in counts.
    link = tmp_path / "link"
    link.symlink_to(root)
    assert len(tree_contents(link).modules) == 2


def test_what_can_not_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, {"open/x.so": IE, "shut/y.so": IE})
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    contents = tree_contents(root)
    assert [module.name for module in contents.modules] == ["open/x.so"]
    assert contents.unreadable == [("shut", "the folder can't be opened: Permission denied")]


def test_usage(tmp_path: Path, capsys: Captured) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["check", "--no-config", "--tree", str(empty)]) == 2
    assert "no ELF file below this folder" in capsys.readouterr().err
    assert main(["check", "--no-config", "--tree", str(tmp_path / "missing")]) == 2
    root = tree(tmp_path / "t", {"x.so": build(Spec())})
    assert main(["check", "--no-config", "--tree", str(root)]) == 0
    # Without the option a folder stands for its wheels.
    assert main(["check", "--no-config", str(root)]) == 2
    with pytest.raises(UnreadableInput, match="limit tree-files"):
        tree_contents(tmp_path, Limits(tree_files=1))


def test_what_a_tree_needs_together(tmp_path: Path, capsys: Captured) -> None:
    """An extension with what it needs is judged in a tree too; all files of a folder together are not."""
    big = Spec(relocs=(Reloc(18),), tls=Tls(1000, 8))
    user = build(Spec(relocs=(Reloc(18),), tls=Tls(1000, 8), needed=("libbig.so",)))
    root = tree(tmp_path / "t", {"libbig.so": build(big), "user.so": user})
    assert main(["check", "--no-config", "--tree", "--format", "json", str(root)]) == 1
    (report,) = json.loads(capsys.readouterr().out)["wheels"]
    assert [f["module"] for f in report["findings"] if f["rule"] == "static-tls-overflow"] == ["user.so"]
    (root / "user.so").write_bytes(build(big))
    main(["check", "--no-config", "--tree", "--format", "json", str(root)])
    (report,) = json.loads(capsys.readouterr().out)["wheels"]
    assert "static-tls-overflow" not in [f["rule"] for f in report["findings"]]


def test_reached_through_chains_and_circles() -> None:
    from tls_wheel_guard.elf import BytesSource, read_shared_object  # noqa: PLC0415

    needs = {"a": ("b",), "b": ("c", "d"), "c": ("a",), "d": (), "e": ("d", "missing"), "f": ()}
    modules = [
        tls_module(read_shared_object(BytesSource(build(Spec(needed=tuple(f"{n}.so" for n in names))))), f"{name}.so")
        for name, names in needs.items()
    ]
    found = reached(modules, {"c.so", "d.so", "f.so"})
    # a, b and c need each other: each reaches d and c; what is needed comes first, itself last.
    assert found == {
        "a.so": ("d.so", "c.so"), "b.so": ("d.so", "c.so"), "c.so": ("d.so", "c.so"), "d.so": ("d.so",), "e.so": ("d.so",), "f.so": ("f.so",),
    }  # fmt: skip
