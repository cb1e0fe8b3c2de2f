"""Facts as JSON and back, the store, and summaries."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.commands.check import check_wheel, judge_contents
from tls_wheel_guard.commands.facts import StoredWheel, facts_of
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.index.facts import decoded, encoded, shape_of
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.results import Results
from tls_wheel_guard.index.rows import PackedRow, Row, packed_row, unpacked
from tls_wheel_guard.index.spool import Spool
from tls_wheel_guard.index.store import Known, Store
from tls_wheel_guard.index.summary import CulpritRow, ProjectRow, WorseRow
from tls_wheel_guard.inputs.opening import open_input


@dataclass(frozen=True)
class Inner:
    number: int
    word: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    many: tuple[Inner, ...]
    pair: tuple[str, int] | None = None
    names: frozenset[str] = frozenset()
    flag: bool = False


@given(
    st.lists(st.tuples(st.integers(), st.sampled_from(["a", "b"])), max_size=4),
    st.none() | st.tuples(st.text(), st.integers()),
    st.frozensets(st.text()),
    st.booleans(),
)
@settings(deadline=None)
def test_facts_survive_json(many: list[tuple[int, Any]], pair: tuple[str, int] | None, names: frozenset[str], flag: bool) -> None:
    value = Outer(tuple(Inner(*each) for each in many), pair, names, flag)
    assert decoded(Outer, json.loads(json.dumps(encoded(value)))) == value


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda s: st.lists(s, max_size=5) | st.dictionaries(st.text(max_size=2), s, max_size=3),
)


@given(JUNK)
@settings(max_examples=300, deadline=None)
def test_facts_that_do_not_fit_are_refused(data: object) -> None:
    try:
        found = decoded(StoredWheel, data)
    except ValueError:
        return
    assert isinstance(found, StoredWheel)


def test_a_wheel_is_judged_from_its_facts_as_from_its_bytes(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path, {"pkg/a.so": ie(64), "pkg/b.so": ie(1000, soname="b.so")}, "cp312-cp312-manylinux_2_17_x86_64.musllinux_1_2_x86_64"
    )
    with open_input(wheel) as opened:
        stored = facts_of(opened)
    again = decoded(StoredWheel, json.loads(json.dumps(encoded(stored))))
    assert again == stored
    report = judge_contents(again.contents, str(wheel), again.looks, Config())
    assert report.to_dict() == check_wheel(wheel).to_dict()


def test_the_shape_of_facts_changes_with_a_field() -> None:
    assert "Inner(number: " in shape_of(Outer)
    assert shape_of(Outer) != shape_of(Inner)


def entry(name: str, *severities: str) -> dict[str, Any]:
    findings = [
        {"rule": "initial-exec-tls", "severity": severity, "module": "a.so", "targets": ["t"], "culprits": [{"id": "go", "confidence": "likely"}]}
        for severity in severities
    ]
    return {"wheel": name, "targets": [{"tag": "t", "libc": "musl"}], "findings": findings, "read": "whole"}


def row(name: str, key: str, *severities: str) -> PackedRow:
    wheel = ListedWheel(name, name.partition("-")[0], "1.0", url=f"http://h/{name}", sha256=key)
    return packed_row(Row(key, wheel, "whole", 7, ["whole", [1]], entry(name, *severities)))


def test_a_store_keeps_what_was_put_and_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sqlite")
    store = Store(path, "shape", "judgement")
    run = store.begin("here", "2026-01-01T00:00:00+00:00")
    store.put(run, [row("a-1.whl", "k1", "error", "note"), row("b-1.whl", "k2")], [("http://h/c", "c-1.whl", None, "it is gone")])
    store.end(run, "2026-01-01T00:00:01+00:00")
    store.close()
    store = Store(path, "shape", "judgement")
    assert store.known("k1") == Known(True, False, None)
    assert store.known("k9") is None
    assert [e["wheel"] for e in store.entries(run)] == ["a-1.whl", "b-1.whl", "c-1.whl"]
    found = Results(store, run, None, [("a", 7)])
    assert list(found.failed) == [("c-1.whl", "it is gone")]
    assert found.worst == {"note": 0, "warning": 0, "error": 1}
    assert list(found.projects) == [ProjectRow("a", "1.0", "error", 1, ("initial-exec-tls",), ("musl",), ("go",), 7)]
    assert found.culprits == (CulpritRow("go", 1, 1),)
    second = store.begin("here", "2026-01-02T00:00:00+00:00")
    assert (store.run_before(second, "last"), store.run_before(second, "1"), store.run_before(second, "x")) == (run, run, None)
    other = Store(path, "shape", "another judgement").known("k1")
    assert other is not None
    assert (other.judged, unpacked(other.facts or b"")) == (False, ["whole", [1]])
    assert Store(path, "another shape", "another judgement").known("k1") == Known(False, False, None)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT project, wheels FROM by_project").fetchall() == [("a", 1), ("a", 1)]
        assert db.execute("SELECT culprit, projects, wheels FROM by_culprit").fetchall() == [("go", 1, 1)]
        assert db.execute("SELECT system, severity FROM by_system ORDER BY 2").fetchall() == [("musl", "error"), ("musl", "note")]
        assert db.execute("SELECT wheels, errors, unread FROM over_time").fetchall() == [(3, 1, 1)]


def test_what_became_worse_since_a_run(tmp_path: Path) -> None:
    runs = []
    for judgement, severities in (
        ("old", {"a": ("note",), "b": ("error",), "c": ()}),
        ("new", {"a": ("warning",), "b": ("error",), "d": ("note",), "e": ()}),
    ):
        store = Store(str(tmp_path / "s.sqlite"), "shape", judgement)
        runs.append(store.begin("here", judgement))
        store.put(runs[-1], [row(f"{name}-1.whl", name, *found) for name, found in severities.items()])
    found = Results(store, runs[1], runs[0])
    assert list(found.worse) == [WorseRow("a-1.whl", "note", "warning"), WorseRow("d-1.whl", "new", "note")]
    assert len(found.worse) == 2
    assert [(f.filename, f.severity, f.systems) for f in found.findings_of("a", "1.0", 9)] == [("a-1.whl", "warning", ("musl",))]
    assert not len(Results(store, runs[1], None).worse)


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s.sqlite"), "shape", "judgement")
    run = store.begin("here", "now")
    broken = replace(row("b-1.whl", "k2"), findings=((None, None, None, None, None),))  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.put(run, [row("a-1.whl", "k1"), broken])
    assert list(store.entries(run)) == []


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: p.write_bytes(b"not a database at all" * 99), UnreadableIndex, "it is no store"),
        (lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)").connection.commit(), UnreadableIndex, "of another program"),
        (lambda p: p.mkdir(), UsageError, "it can't be opened"),
    ],
)
def test_what_is_no_store_is_left_as_it_is(make: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error, match=words):
        Store(str(path), "shape", "judgement")
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Store(str(path), "shape", "judgement").close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(UnreadableIndex, match="of version 99, and this program reads version 2"):
        Store(str(path), "shape", "judgement")


def test_a_folder_as_a_new_user_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, {"pkg/a.so": ie(64)}, "cp312-cp312-musllinux_1_2_x86_64")
    make_wheel(folder, {"pkg/a.py": b""}, "py3-none-any", name="plain")
    store = str(tmp_path / "s.sqlite")
    assert main(["index", str(folder), "--no-config", "--store", store, "--since", "last"]) == 1
    shown = capsys.readouterr()
    assert "no earlier run has ended in this store" in shown.err
    said = shown.out
    assert "pkg 1.0" in said
    assert "2 wheels" in said
    assert main(["index", str(folder), "--no-config", "--store", store, "--since", "last", "--format", "markdown"]) == 1
    assert "| pkg 1.0 | error | 1 | musl |" in capsys.readouterr().out.replace("\\", "")
    assert main(["index", str(folder), "--no-config", "--format", "json", "--project", "plain"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [w["wheel"] for w in document["wheels"]] == ["plain-1.0-py3-none-any.whl"]
    assert document["summary"]["wheels"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 2, "no such folder"),
        (["pkg-1.0-py3-none-any.whl"], 2, "it is a file and no folder; hint: tls-wheel-guard check"),
        ([".", "--project", "other"], 2, ".: it has no wheel that was asked for"),
        ([".", "--store", "s.sqlite", "--since", "9"], 2, "--since 9: the store has no such run; hint: its runs are 1 to 1"),
        ([".", "--store", "no/s.sqlite"], 2, "--store no/s.sqlite: it can't be opened"),
        ([".", "-o", "no/x.txt"], 2, "--output no/x.txt: it can't be written: there is no folder no"),
        ([".", "--report", "html=no/x.html"], 2, "--report no/x.html: it can't be written"),
        ([".", "--export", "no/x.parquet"], 2, "--export no/x.parquet: it can't be written"),
        ([".", "--downloads", "none.csv"], 2, "none.csv: No such file or directory; hint: give a text file with lines of `project,downloads`"),
        (["--since", "last", "x"], 2, "--since needs a store"),
        (["--lock", "pylock.toml", "a", "b"], 2, "--lock takes one SOURCE at most"),
        (["--lock", "pylock.toml"], 2, "no such file"),
        (["http://127.0.0.1:1/simple/", "--project", "x"], 3, "could not be read"),
        ([".", "-j", "0"], 2, "not a count from 1 to 512"),
        (["nosuch://x/y"], 3, "nosuch"),
        ([".", "--scheduler", "tcp://127.0.0.1:1"], 2, "no scheduler answers there"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tls_wheel_guard.index.connection.time.sleep", lambda _: None)
    monkeypatch.setattr("tls_wheel_guard.index.connection.TRIES", 1)
    make_wheel(tmp_path, {"pkg/a.py": b""}, "py3-none-any")
    assert main(["index", "--no-config", *words]) == code
    shown = capsys.readouterr()
    assert said in shown.err + shown.out
    assert "Traceback" not in shown.err
    assert "a bug in" not in shown.err + shown.out


def test_a_list_on_disk_gives_back_what_was_put() -> None:
    some = [
        ListedWheel(f"{project}-{n}-py3-none-any.whl", project, str(n), path=f"/w/{n}", size=n, yanked=n % 2 == 0, stamp="7")
        for n in range(3) for project in ("b", "a")
    ]  # fmt: skip
    with Spool() as spool:
        spool.add(some)
        assert list(spool) == some
        assert [[(w.project, w.version) for w in of] for of in spool.by_project()] == [[(p, str(n)) for n in range(3)] for p in "ab"]


def test_a_name_that_is_no_text_is_said_and_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_wheel(tmp_path, {"pkg/a.py": b""}, "py3-none-any")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff-1.0-py3-none-any.whl")).write_bytes(b"x")
    assert main(["index", str(tmp_path), "--no-config"]) == 3
    shown = capsys.readouterr().out
    assert "its name is no text in UTF-8" in " ".join(shown.split())
    assert "1 wheel, " in shown


def test_two_wheels_of_one_name_are_both_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, members in (("a", {"pkg/a.so": ie(64)}), ("b", {"pkg/a.py": b""})):
        (tmp_path / folder).mkdir()
        make_wheel(tmp_path / folder, members, "cp312-cp312-musllinux_1_2_x86_64")
    assert main(["index", str(tmp_path / "a"), str(tmp_path / "b"), "--no-config", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert sorted(len(entry["findings"]) > 0 for entry in document["wheels"]) == [False, True]
    assert len({entry["path"] for entry in document["wheels"]}) == 2


def test_a_folder_is_read_once_and_what_changed_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = make_wheel(folder, {"pkg/a.so": ie(64)}, "cp312-cp312-musllinux_1_2_x86_64")
    command = ["index", str(folder), "--no-config", "--store", str(tmp_path / "s.sqlite"), "--format", "json"]
    known = []
    for change in (None, None, {"pkg/a.py": b""}):
        if change is not None:
            make_wheel(folder, change, "cp312-cp312-musllinux_1_2_x86_64")
        code = main(command)
        document = json.loads(capsys.readouterr().out)
        known.append((code, document["summary"]["known"], len(document["wheels"])))
    assert known == [(1, 0, 1), (1, 1, 1), (0, 0, 1)]
    assert wheel.exists()
