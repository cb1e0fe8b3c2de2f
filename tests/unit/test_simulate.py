"""``simulate`` on the command line: steps, starts, wheels, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.demands import module
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.loaders import LOADERS, Given, Open, Use, dependencies_first, loader_called

START = ["--used", "2384", "--limit", "4096", "--align", "64"]


def ie(folder: Path, name: str, size: int, align: int = 8, **fields: Any) -> str:
    path = folder / name
    path.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(size, align), soname=name, **fields)))
    return str(path)


def simulated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    main(["simulate", "--format", "json", *words])
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_documents_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ie(tmp_path, "a.so", 160)
    assert simulated(capsys, "--loader", "glibc-2.36", "--machine", "x86_64", *START, path) == {
        "version": 1,
        "loader": {"name": "glibc", "version": "2.36", "machine": "x86_64"},
        "start": {"used": 2384, "limit": 4096, "align": 64, "optional": 512},
        "room": 1712,
        "steps": [{"module": path, "loads": True, "taken": 160, "used": 2544, "room": 1552, "error": None}],
        "assumed": [],
    }


def test_every_step_is_judged_after_the_ones_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = ie(tmp_path, "a.so", 1500), ie(tmp_path, "b.so", 300), ie(tmp_path, "c.so", 100)
    steps = simulated(capsys, "--loader", "glibc-2.36", a, b, c, a, "@close", a, "@close", c)["steps"]
    assert [(s["loads"], s["taken"], s["room"]) for s in steps] == [
        (True, 1504, 208), (False, 0, 208), (True, 104, 104), (True, 0, 104), (True, 0, 104), (True, -100, 204),
    ]  # fmt: skip
    assert steps[1]["error"] == "b.so: cannot allocate memory in static TLS block"
    assert [s.get("event") for s in steps] == [None, None, None, None, "close", "close"]


def test_dependencies_are_opened_with_their_user_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = ie(tmp_path, "lib.so", 64)
    user = ie(tmp_path, "user.so", 8, needed=("lib.so",))
    steps = simulated(capsys, "--loader", "glibc-2.36", user, library)["steps"]
    assert [s["taken"] for s in steps] == [64 + 8, 0]


def test_a_use_makes_a_module_dynamic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definer = tmp_path / "definer.so"
    definer.write_bytes(build(Spec(tls=Tls(8, 8), symbols=(Sym("v", defined=True),), soname="definer.so")))
    user = tmp_path / "user.so"
    user.write_bytes(build(Spec(relocs=(Reloc(18, "v"),), symbols=(Sym("v"),), needed=("definer.so",))))
    steps = simulated(capsys, str(definer), "@use", str(definer), str(user))["steps"]
    assert steps[-1]["error"] == "definer.so: cannot allocate memory in static TLS block"
    assert simulated(capsys, str(definer), str(user))["steps"][-1]["loads"]


def test_a_wheel_is_its_modules_dependencies_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {
        "pkg/ext.so": build(Spec(relocs=(Reloc(18),), tls=Tls(8, 8), needed=("libx.so",))),
        "pkg.libs/libx.so": build(Spec(relocs=(Reloc(18),), tls=Tls(16, 8), soname="libx.so")),
        "pkg/tool": build(Spec(interpreter="/lib/ld.so")),
    }
    wheel = make_wheel(tmp_path, members, "cp312-cp312-manylinux_2_28_x86_64")
    steps = simulated(capsys, "--loader", "glibc-2.36", str(wheel))["steps"]
    assert [(s["module"], s["taken"]) for s in steps] == [("pkg.libs/libx.so", 16), ("pkg/ext.so", 8)]


@pytest.mark.parametrize(
    ("loader", "error"),
    [
        ("musl-1.2.3", "Error relocating a.so: : initial-exec TLS resolves to dynamic definition in a.so"),
        ("bionic-34", 'dlopen failed: TLS symbol "(null)" in dlopened "a.so" referenced from "a.so" using IE access model'),
        ("freebsd-14.1", "a.so: No space available for static Thread Local Storage"),
        ("netbsd-10", "a.so: No space available for static Thread Local Storage"),
        ("openbsd-7.5", "unsupported TLS program header in a.so"),
        ("dragonfly", "a.so: No space available for static Thread Local Storage"),
        ("illumos", "a.so: static TLS failure"),
        ("glibc", "a.so: cannot allocate memory in static TLS block"),
    ],
)
def test_every_loader_in_its_own_words(loader: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ie(tmp_path, "a.so", 5000)
    (step,) = simulated(capsys, "--loader", loader, path)["steps"]
    assert (step["loads"], step["error"]) == (False, error)


def test_musl_before_its_check_is_unsafe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ie(tmp_path, "a.so", 8)
    (step,) = simulated(capsys, "--loader", "musl-1.1.19", path)["steps"]
    assert step["loads"]
    assert "memory that is not theirs" in step["unsafe"]
    assert not simulated(capsys, "--loader", "musl-1.1.20", path)["steps"][0]["loads"]
    assert main(["simulate", "--loader", "musl-1.1.19", path]) == 1


def test_rows_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [ie(tmp_path, f"m{n}.so", 24) for n in range(3)]
    steps = simulated(capsys, "--loader", "netbsd-10", *paths)["steps"]
    assert [(s["loads"], s["used"], s["room"]) for s in steps] == [(True, 24, 40), (True, 48, 16), (False, 48, 16)]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = ie(tmp_path, "small.so", 8), ie(tmp_path, "large.so", 8000)
    assert main(["simulate", small]) == 0
    assert main(["simulate", small, large]) == 1
    out = capsys.readouterr().out
    assert "1,688 left" in out or "left" in out
    assert "FAILS" in out


def env_document(**changes: object) -> dict[str, object]:
    return {
        "version": 1, "python": "python3", "libc": "glibc", "libc_version": "2.36", "machine": "x86_64",
        "start": {"used": 2384, "limit": 4096, "align": 64, "optional": 100}, "room": 1712, "method": "x", "tunables": {}, **changes,
    }  # fmt: skip


def test_a_start_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = tmp_path / "env.json"
    env.write_text(json.dumps(env_document()))
    found = simulated(capsys, "--start", str(env), ie(tmp_path, "a.so", 8))
    assert (found["loader"]["version"], found["start"]["optional"], found["room"]) == ("2.36", 100, 1712)
    env.write_text(json.dumps(env_document(start={"used": 2384, "limit": 4096, "align": 64, "optional": None})))
    assert simulated(capsys, "--start", str(env), ie(tmp_path, "a.so", 8))["start"]["optional"] == 512


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no path": ([], 2, "no PATH was given"),
    "a missing path": (["gone.so"], 2, "gone.so: no such file or folder"),
    "an unknown step": (["@shut", "a.so"], 2, "unknown step '@shut'"),
    "a step without a file": (["a.so", "@close"], 2, "@close names no file"),
    "an unknown loader": (["--loader", "glbc-2.36", "a.so"], 2, "unknown loader 'glbc-2.36'; hint: did you mean glibc?"),
    "a loader without a model": (["--loader", "haiku", "a.so"], 2, "unknown loader 'haiku'"),
    "a wrong version": (["--loader", "glibc-new", "a.so"], 2, "unknown loader 'glibc-new'"),
    "an unknown machine": (["--machine", "z80", "a.so"], 2, "unknown machine"),
    "another machine": (["--machine", "aarch64", "a.so"], 2, "it is for x86_64, and the process is one of aarch64"),
    "numbers that contradict each other": (["--used", "9", "--limit", "8", "a.so"], 2, "used is 9 and limit is 8"),
    "a number below 0": (["--used", "-1", "a.so"], 2, "used is -1"),
    "an alignment that is none": (["--align", "48", "a.so"], 2, "align is 48"),
    "a number of another loader": (["--loader", "musl", "--used", "1", "a.so"], 2, "the loader musl has no number 'used'"),
    "a program": (["tool"], 3, "tool: it is no shared object (program)"),
    "text": (["text"], 3, "text: it is neither a wheel nor an ELF file"),
    "a missing start": (["--start", "gone.json", "a.so"], 2, "gone.json: no such file"),
    "a start that is no JSON": (["--start", "text", "a.so"], 3, "text: it is no JSON document"),
    "a start of something else": (["--start", "other.json", "a.so"], 3, "other.json: it is not a document of `env --format json`"),
    "a start of another machine": (["--start", "arm.json", "a.so"], 2, "arm.json: it is a process of aarch64, and the modules are for x86_64"),
    "a start of another libc": (["--start", "musl.json", "--loader", "glibc-2.36", "a.so"], 2, "musl.json: it is a process of musl"),
    "a start with words for numbers": (["--start", "words.json", "a.so"], 3, "words.json: its start is"),
    "both starts": (["--start", "arm.json", "--python", "python3", "a.so"], 2, "not allowed with argument"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words, code, message = WRONG[name]
    ie(tmp_path, "a.so", 8)
    (tmp_path / "tool").write_bytes(build(Spec(interpreter="/lib/ld.so")))
    (tmp_path / "text").write_text("text")
    (tmp_path / "other.json").write_text('{"version": 1}')
    documents: dict[str, dict[str, object]] = {
        "arm": {"machine": "aarch64"}, "musl": {"libc": "musl"}, "words": {"start": {"used": "many"}},
    }  # fmt: skip
    for label, changes in documents.items():
        (tmp_path / f"{label}.json").write_text(json.dumps(env_document(**changes)))
    assert main(["simulate", *words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "; hint: " in said.err


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_has_a_fresh_process(name: str) -> None:
    loader = loader_called(name)
    assert set(loader.start_numbers(loader.fresh)) == set(loader.numbers)
    assert loader.fresh.room >= 0


def test_dependencies_come_first_whatever_the_order_of_their_names() -> None:
    """``a`` names ``c`` before ``b``, and ``b`` needs ``c``."""
    a, b, c = module("a.so", needed=("c.so", "b.so")), module("b.so", needed=("c.so",)), module("c.so")
    alone = module("alone.so")
    assert dependencies_first([alone, a, b, c]) == (alone, c, b, a)


def test_netbsd_refuses_what_was_used_dynamically() -> None:
    """tls.c 1.34: tls_dynamic comes first, and no message is left."""
    loader = loader_called("netbsd-10")
    definer = module("d.so", 8, 8, static=False, exports=("v",))
    user = module("u.so", 0, foreign=("v",), needed=("d.so",))
    given = Given([definer])
    state, _ = loader.step(loader.fresh, Open(definer, given))
    assert loader.step(state, Open(user, given))[1].loads
    state, _ = loader.step(state, Use(definer))
    _, step = loader.step(state, Open(user, given))
    assert (step.loads, step.reason) == (False, "dynamic")


def test_an_order_that_works_is_found_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Descriptors that come first take room that initial-exec needs; behind it they do without."""
    wants = build(Spec(relocs=(Reloc(36),), tls=Tls(400, 8), soname="wants.so"))
    late = build(Spec(relocs=(Reloc(18),), tls=Tls(1600, 8), soname="late.so"))
    first, second = tmp_path / "wants.so", tmp_path / "late.so"
    first.write_bytes(wants)
    second.write_bytes(late)
    steps = ["simulate", "--loader", "glibc-2.36"]
    assert main([*steps, str(first), str(second)]) == 1
    assert f"all of them load in this order: {second} {first}\n" in capsys.readouterr().out
    assert main([*steps, str(second), str(first)]) == 0
    assert "in this order" not in capsys.readouterr().out
    assert main([*steps, str(first), str(second), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["order_that_works"] == [str(second), str(first)]
    assert main([*steps, str(first), str(second), "--format", "html"]) == 1
    page = capsys.readouterr().out
    assert page.count("<svg") == 4
    assert "An order in which all of them load" in page
    # Nothing is tried where the steps do more than open, nor said where no order helps.
    assert main([*steps, str(first), "@close", str(first), str(second), str(second)]) in (0, 1)
    assert "in this order" not in capsys.readouterr().out
    second.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(5000, 8), soname="late.so")))
    assert main([*steps, str(first), str(second), "--format", "json"]) == 1
    assert "order_that_works" not in json.loads(capsys.readouterr().out)


def test_a_search_path_says_which_copy_is_meant() -> None:
    """Two libraries of one name: RUNPATH leads to one, whatever the order of the files; without it the nearest counts, in a wheel too."""
    first, second = module("one/lib.so", 8), module("two/lib.so", 16)
    user = module("pkg/u.so", needed=("lib.so",))
    given = Given([first, second])
    assert given.find("lib.so", replace(user, search_path=("$ORIGIN/../two",))) is second
    assert given.find("lib.so", replace(user, search_path=("${ORIGIN}/../one/.",))) is first
    assert given.find("lib.so", module("two/deep/u.so")) is second
    inside = [replace(first, demand=replace(first.demand, module=f"/w/{name}.whl:{name}.libs/lib.so")) for name in "ab"]
    extension = replace(user, demand=replace(user.demand, module="/w/b.whl:b/u.so"), search_path=("$ORIGIN/../b.libs",))
    assert Given(inside).find("lib.so", extension) is inside[1]
