"""What must hold for every edit, whatever the file around it: shown on files put together by chance, and on damaged ones."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import tomllib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fix_files import BOM, Case, cargo_manifests, cmake_lists, damaged, fixed, meson_builds, proposal_for, setup_scripts
from tests.support.projects import SAMPLES
from tls_wheel_guard.fix.edit import Unparsable, decode, unified_diff
from tls_wheel_guard.fix.project import Ambiguous
from tls_wheel_guard.fix.toml_text import TomlText, same

often = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def holds(case: Case) -> None:
    """The file becomes exactly what it must, every byte outside the edit as it was, and a second run finds nothing."""
    result = fixed({case.path: case.before})
    assert result[case.path] == case.after
    assert result[case.path].startswith(BOM) == case.before.startswith(BOM)
    assert not proposal_for(result).edits
    assert fixed(result) == result


@often
@given(setup_scripts())
def test_flags_in_python(case: Case) -> None:
    holds(case)


@often
@given(cmake_lists())
def test_flags_in_cmake(case: Case) -> None:
    holds(case)


@often
@given(meson_builds())
def test_flags_in_meson(case: Case) -> None:
    holds(case)


@often
@given(cargo_manifests())
def test_features_in_cargo(case: Case) -> None:
    holds(case)


_keys = st.sampled_from(["a", "b", "c", "long-key", '"q.x"', "'l'"])
_values = st.sampled_from(
    ['"s"', "'l'", "1", "true", "1979-05-27", "[1, 2]", "{ a = 1, b = [2] }", '"""m\n"m"""', "[\n  1, # c\n  2\n]", "nan", "{}"]
)


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    """TOML of any shape: tables out of order, arrays of tables, dotted keys, comments."""
    lines: list[str] = []
    for header in draw(st.lists(st.sampled_from(["", "[t]", "[t.u]", "[[r]]", "[r.s]", "[x.y.z]", '["q.x".k]']), max_size=5)):
        lines.append(header + draw(st.sampled_from(["", " # c"])))
        for _ in range(draw(st.integers(0, 3))):
            dots = ".".join(draw(st.lists(_keys, min_size=1, max_size=2)))
            lines.append(f"{dots} = {draw(_values)}")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(toml_texts(), st.lists(st.sampled_from(["a", "b", "t", "u", "r", 0, "new"]), min_size=1, max_size=3))
def test_a_key_that_is_set_in_toml_is_the_only_change(text: str, key: list[str | int]) -> None:
    """Whatever the shape of the file: the edit does what it says, or there is none."""
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    toml = TomlText(text)
    splice = toml.set(tuple(key), "value")
    if splice is None:
        return
    after = tomllib.loads(text[: splice.start] + splice.new + text[splice.end :])
    at: Any = before
    for part in key[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    at[key[-1]] = "value"
    assert same(before, after)


def test_1000_damaged_files_are_one_line_each_or_an_edit_that_holds() -> None:
    """No crash, and whatever is proposed for a damaged file still leads to the same file when it is applied twice."""
    rng = random.Random(20261127)
    files = [
        path
        for pattern in ("*/setup.py", "*/*.toml", "*/CMakeLists.txt", "*/meson.build", "*/build.rs", "*/compile.py", "*/*.c", "*/Cargo.lock")
        for path in sorted(SAMPLES.glob(pattern))
    ]
    refused = edited = 0
    said: list[str] = []
    for number in range(1000):
        path = files[number % len(files)]
        project = {
            str(p.relative_to(path.parent)): p.read_bytes()
            for p in path.parent.iterdir()
            if p.is_file() and p.suffix in (".py", ".toml", ".txt", ".build", ".rs", ".c", ".lock")
        }
        project[path.name] = damaged(rng, path.read_bytes())
        try:
            result = fixed(project)
            again = fixed(result)
        except (Unparsable, Ambiguous) as error:
            said.append(str(error))
            refused += 1
        else:
            assert again == result, path
            edited += result != project
    assert not [text for text in said if "\n" in text]
    assert refused > 200, "the damage is not damage"
    assert edited > 200, "nothing was edited"


def test_the_diff_of_any_edit_can_be_applied(tmp_path: Path) -> None:
    """``patch`` makes of the old file and the diff what ``--write`` would write."""
    for number, (path, form) in enumerate(_diffed()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / path).write_bytes(form)
        proposal = proposal_for({path: form})
        diff = unified_diff(path, decode(path, form).text, proposal.edits)
        bom = BOM if form.startswith(BOM) else b""
        (folder / "x.diff").write_bytes(diff.encode())
        (folder / path).write_bytes(form.removeprefix(bom))
        done = subprocess.run(["patch", "--binary", "-p1", "-i", "x.diff"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + diff
        assert bom + (folder / path).read_bytes() == fixed({path: form})[path]
        assert "fuzz" not in done.stdout
        assert "offset" not in done.stdout


def _diffed() -> list[tuple[str, bytes]]:
    """Files with edits near their ends, side by side, far apart, and without a final newline."""
    flag = "x = ['-ftls-model=initial-exec']"
    far = "\n".join([flag, *(f"y{n} = {n}" for n in range(30)), flag, flag, *(f"z{n} = {n}" for n in range(9)), flag])
    cargo = '[package]\nname = "x"\n[lib]\ncrate-type = ["cdylib"]\n[dependencies]\nmimalloc.version = "0.1"'
    return [
        ("setup.py", flag.encode()),
        ("setup.py", (flag + "\n").encode()),
        ("setup.py", far.encode()),
        ("setup.py", (far + "\n").replace("\n", "\r\n").encode()),
        ("setup.py", BOM + far.encode()),
        ("Cargo.toml", cargo.encode()),
        ("Cargo.toml", (cargo + "\n").encode()),
        ("Cargo.toml", (cargo + "\r\n").encode()),
    ]


def _large(path: str) -> str:
    """One file of which every line is a place to look at."""
    flag = "-ftls-model=initial-exec"
    return {
        "setup.py": "x = [\n" + f"    '{flag}', '-O2',\n" * 1200 + "]\n",
        "CMakeLists.txt": f"add_compile_options({flag} [[x]])\n#[[ c ]]\n" * 1200,
        "meson.build": "x = [\n" + f"  '{flag}', f('-g', a : ['-O2']),\n" * 1200 + "]\n",
        "pyproject.toml": "[tool.setuptools]\nx = [\n" + f'  "{flag}", "-O2",\n' * 1200 + "]\n",
        "build.rs": "fn main() {" + f'b.flag("{flag}"); /* /* c */ */\n' * 1200 + "}\n",
        "src/x.c": '__thread int x __attribute__((tls_model("initial-exec"))); /* c */\n' * 1200,
    }[path]


@pytest.mark.parametrize("path", ["setup.py", "CMakeLists.txt", "meson.build", "pyproject.toml", "build.rs", "src/x.c"])
def test_time_grows_with_the_size_of_a_file_and_not_with_its_square(path: str) -> None:
    """Four times the lines take no more than eight times as long; a square would take sixteen times."""
    lines = _large(path).splitlines(keepends=True)
    head = {"setup.py": 1, "meson.build": 1, "pyproject.toml": 2}.get(path, 0)
    tail = int(head > 0)
    body = lines[head : len(lines) - tail]
    small = "".join([*lines[:head], *body[: len(body) // 4], *lines[len(lines) - tail :]])
    assert proposal_for({path: small.encode()}).edits
    spent = []
    for text in (small, "".join(lines)):
        started = time.process_time()
        found = proposal_for({path: text.encode()})
        spent.append(time.process_time() - started)
        assert len(found.edits) >= (16 if path == "pyproject.toml" else 250), path
    assert spent[1] < 8 * spent[0] + 0.5, spent


OPENS = [
    *[("CMakeLists.txt", piece) for piece in ("#[[", "[==[", '"')], *[("build.rs", piece) for piece in ("/*", 'r#"', '"')],
    *[("src/x.c", piece) for piece in ("/*", 'R"x(')], ("meson.build", "'''"),
    ("setup.py", "("), ("pyproject.toml", "x=[["), ("Cargo.toml", "{a="),
]  # fmt: skip


@pytest.mark.parametrize(("path", "piece"), OPENS)
def test_what_opens_fifty_thousand_times_and_never_closes(path: str, piece: str) -> None:
    text = '-ftls-model=initial-exec "initial-exec" mimalloc\n' + piece * 50_000
    started = time.process_time()
    with contextlib.suppress(Unparsable, Ambiguous):
        proposal_for({path: text.encode()})
    assert time.process_time() - started < 20
