"""What damage and fuzzing found outside of repair, a test each: in reports, in build files, in what servers answer."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.fix_files import proposal_for
from tests.support.transport import Site, answered_by
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.archive.members import open_archive
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.index import IndexOptions, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.elf.got_entries import read_got_entries
from tls_wheel_guard.errors import UnreadableIndex, UnreadableWheel
from tls_wheel_guard.fix.edit import Unparsable
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.sources import Selection
from tls_wheel_guard.index.summary import IndexSummary, ProjectRow
from tls_wheel_guard.report.index import markdown
from tls_wheel_guard.report.markdown import plain

Captured = pytest.CaptureFixture[str]
COUNTS = dict.fromkeys(("wheels", "known", "clear", "judged", "failed", "bytes_read", "bytes_whole"), 0)


def test_a_variable_of_another_module_without_a_name(tmp_path: Path, capsys: Captured) -> None:
    """``show`` called it a bug of ours: such a variable has no offset to be shown by either."""
    data = build(Spec(relocs=(Reloc(18, "foo"),), symbols=(Sym("foo"),), tls=Tls(8, 8)))
    (tmp_path / "x.so").write_bytes(data.replace(b"foo\0", b"\0oo\0"))
    assert main(["show", "--no-config", str(tmp_path / "x.so")]) == 0
    assert "reaches `` of another module" in capsys.readouterr().out


def test_a_function_without_a_symbol() -> None:
    """A JUMP_SLOT of symbol 0 calls nothing that has a name; it ended the reading of descriptors in a traceback."""
    entries = read_got_entries(BytesSource(build(Spec(relocs=(Reloc(36), Reloc(7)), tls=Tls(8)))))
    assert len(entries.descriptors) == 1
    assert entries.functions == ()


@pytest.mark.parametrize("name", ["~~x~~", "@team", "![x](y)", "      code", "\tcode", "&lt;", "<b>", "a|b"])
def test_names_in_the_markdown_of_an_index(name: str) -> None:
    from markdown_it import MarkdownIt  # noqa: PLC0415  (Rich and import-linter bring it)

    row = ProjectRow(name, "1.0", "error", 1, ("initial-exec-tls",), ("musl",), ())
    summary = IndexSummary(name, COUNTS, 1.5, {"error": 1}, (row,), failed=((name, name),))
    kinds = {
        part.type for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown(summary)) for part in (token, *(token.children or ()))
    }
    assert not kinds & {"s_open", "code_block", "image", "link_open", "html_inline", "html_block"}
    assert "@" not in plain(name).replace("\\@", "")


def test_a_command_of_cmake_that_does_not_end_is_one_line() -> None:
    """A name may hold a quoted part of several lines."""
    with pytest.raises(Unparsable, match=r"line 1: the command 'a\"b.*' does not end") as error:
        proposal_for({"CMakeLists.txt": b'a"b\nc -ftls-model=initial-exec"\n'})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["//[", "http://[::1", "http://a]b/"])
def test_a_redirect_to_what_is_no_address(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib.parse raises ValueError of its own, which was called a bug of ours."""
    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)
    answered_by(Site({"/x.whl": ("", b"data")}, script=iter([f"302 none\nLocation: {place}"] * 9)))
    with pytest.raises(UnreadableIndex, match="redirects to what is none"):
        Connection(1, sleep=lambda _: None).whole("http://127.0.0.1/x.whl", io.BytesIO(), 1 << 20)


def test_a_wheel_that_is_no_archive_is_read_by_parts_and_then_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be opened had closed the file of parts, and going on with it was called a bug of ours."""
    name = "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    page = json.dumps({"meta": {"api-version": "1.0"}, "files": [{"filename": name, "url": f"/{name}", "hashes": {}}]})
    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)
    answered_by(Site({"/simple/pkg/": ("application/vnd.pypi.simple.v1+json", page.encode()), f"/{name}": ("", b"PK" + bytes(200_000))}))
    done = index_run(IndexOptions(("http://127.0.0.9/simple/",), choice=Selection(("pkg",), 0), jobs=1), Config(), Asked())
    (entry,) = done.store.entries(done.run)
    done.store.close()
    assert "it is not a zip archive" in entry["error"]


def test_an_archive_without_members_is_no_wheel_to_any_command() -> None:
    """``index`` found nothing in it, ``check`` refused it."""
    with pytest.raises(UnreadableWheel, match="an empty zip archive"):
        open_archive(io.BytesIO(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)))
