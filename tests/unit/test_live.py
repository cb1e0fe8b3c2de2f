"""`env` where something is wrong with the interpreter, and where the question has no meaning."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tls_wheel_guard.__main__ import main
from tls_wheel_guard.errors import UnreadableInterpreter, UsageError
from tls_wheel_guard.live.model import NO_STATIC_TLS
from tls_wheel_guard.live.process import run_child
from tls_wheel_guard.live.reading import interpreter, read_live

Captured = pytest.CaptureFixture[str]

needs_sh = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell plays the interpreter")
linux = pytest.mark.skipif(sys.platform != "linux", reason="modules are opened by a Linux loader")


def runs(group: int) -> bool:
    """Whether a process of the group still runs; one that ended and was not collected yet does not."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        states += [words[0]] if int(words[2]) == group else []
    return any(state not in "ZX" for state in states)


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


BROKEN = {
    "echo nonsense >&2; exit 7": "it is no working Python: exit code 7, no answer: nonsense; hint: ",
    "exit 0": "it is no working Python: exit code 0, no answer; hint: ",
    "kill -SEGV $$": "it was killed by SIGSEGV; hint: ",
    "printf '\\033[31mred\\007' >&2; kill -9 $$": "it was killed by SIGKILL: ?[31mred?; hint: ",
    'echo "libc glibc" > "$2/answer"': "its machine or its libc (glibc) is not one whose room can be found; hint: ",
    'echo "libc plan9" > "$2/answer"': "its answer is broken: 'libc' is 'plan9'; hint: ",
    'printf "libc glibc\\nroom -5\\nmethod x\\n" > "$2/answer"': "its answer is broken: 'room' is '-5'; hint: ",
    'printf "libc glibc\\nroom 9999999999999999999999\\n" > "$2/answer"': "its answer is broken: 'room' is '9999999999999999999999'; hint: ",
    'printf "failed a module does not load\\n" > "$2/answer"': "a module does not load; hint: ",
    'mkdir "$2/answer"': "it is no working Python: exit code 0, no answer; hint: ",
    'head -c 100000 /dev/zero > "$2/answer"': "its answer is broken: 'libc' is ''; hint: ",
}


@needs_sh
@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_interpreter_is_one_line(text: str, tmp_path: Path, capsys: Captured) -> None:
    python = script(tmp_path, text)
    assert main(["env", "--python", python]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"tls-wheel-guard: {python}: {BROKEN[text]}")


@linux
@pytest.mark.parametrize("text", ["sleep 60", "yes", "yes >&2", "sleep 60 & sleep 60"])
def test_a_hung_interpreter_is_ended_with_all_that_it_started(text: str, tmp_path: Path, capsys: Captured) -> None:
    started = time.monotonic()
    assert main(["env", "--python", script(tmp_path, f"echo $$ > {tmp_path}/pid; {text}"), "--timeout", "0.5"]) == 3
    assert time.monotonic() - started < 10
    said = capsys.readouterr().err
    assert "no answer within 0.5 seconds" in said
    assert said.count("\n") == 1
    assert not runs(int((tmp_path / "pid").read_text()))


WRONG = {
    "missing": (["--python", "nowhere/python"], "nowhere/python: there is no such interpreter"),
    "not on PATH": (["--python", "no-such-python"], "no-such-python: there is no such interpreter"),
    "a folder": (["--python", "."], ".: it is a folder"),
    "not executable": (["--python", "./plain"], "./plain: it can't be executed"),
    "no module name": (["--import", "a b"], "'a b' is not the name of a module"),
    "an empty name": (["--import", ""], "'' is not the name of a module"),
    "a line in a name": (["--import", "os\nmethod"], "'os\\nmethod' is not the name of a module"),
    "no time": (["--timeout", "0"], "--timeout 0: it must be more than 0 seconds"),
    "less than no time": (["--timeout=-1"], "--timeout -1: it must be more"),
    "not a number": (["--timeout", "nan"], "--timeout nan: it must be more"),
}


@needs_sh
@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(name: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_text("")
    arguments, message = WRONG[name]
    assert main(["env", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tls-wheel-guard: {message}")
    assert "; hint: " in said
    assert said.count("\n") == 1


def test_another_machines_program(tmp_path: Path) -> None:
    foreign = tmp_path / "python"
    foreign.write_bytes(b"\x7fELF" + bytes(60))
    foreign.chmod(0o755)
    with pytest.raises(UnreadableInterpreter, match="it can't be started here"):
        read_live(foreign)


@linux
@pytest.mark.parametrize(("platform", "libc"), [("darwin", "darwin"), ("win32", "windows"), ("emscripten", "wasm")])
def test_systems_without_static_tls(platform: str, libc: str, tmp_path: Path, capsys: Captured) -> None:
    start = f"import sys, runpy; sys.platform = '{platform}'; sys.argv[:1] = []; runpy.run_path(sys.argv[0])"
    python = script(tmp_path, f'exec {sys.executable} -c "{start}" "$@"')
    assert main(["env", "--python", python, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["libc"], found["start"], found["room"], found["method"]) == (libc, None, None, NO_STATIC_TLS)
    assert main(["env", "--python", python]) == 0
    assert "can't run out of it" in capsys.readouterr().out


@linux
def test_nothing_in_the_current_folder_stands_in_for_the_standard_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ctypes", "io", "json", "os", "re", "struct", "subprocess", "warnings"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')\n")
    (tmp_path / "mine.py").write_text("print('noise')\n")
    monkeypatch.chdir(tmp_path)
    assert read_live(sys.executable).room == read_live(sys.executable, imports=("mine",)).room


IMPORTS = {
    "raise ValueError('two\\nlines')": "import bad: ValueError: two lines; hint: ",
    "raise SystemExit(3)": "import bad: SystemExit: 3; hint: ",
    "import os; os._exit(0)": "it is no working Python: exit code 0, no answer; hint: ",
    "import os; os.abort()": "it was killed by SIGABRT; hint: ",
    "import nonesuch_at_all": "import bad: ModuleNotFoundError: No module named 'nonesuch_at_all'; hint: ",
}


@linux
@pytest.mark.parametrize("text", IMPORTS)
def test_an_import_that_fails(text: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["env", "--import", "bad"]) == 3
    assert f": {IMPORTS[text]}" in capsys.readouterr().err


@linux
def test_modules_that_change_the_process_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text(
        "import atexit, sys, threading, time, warnings\n"
        "threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "atexit.register(time.sleep, 100)\n"
        "warnings.simplefilter('error')\n"
        "sys.stdout = sys.stderr = None\n"
    )
    monkeypatch.chdir(tmp_path)
    found = read_live(sys.executable, imports=("odd",), timeout=30)
    assert found.room is not None
    assert found.imported == ("odd",)


def test_the_document(capsys: Captured) -> None:
    if sys.platform != "linux":
        pytest.skip("a glibc or musl Linux answers")
    assert main(["env", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "version", "python", "implementation", "libc", "libc_version", "machine", "start", "room", "method", "tunables", "imported",
    ]  # fmt: skip
    assert found["version"] == 1
    if found["libc"] == "glibc":
        assert found["start"]["limit"] - found["start"]["used"] == found["room"]
        assert set(found["start"]) == {"used", "limit", "align", "optional"}
    assert main(["env"]) == 0
    assert capsys.readouterr().out.startswith(f"{sys.executable}: ")


def test_an_interpreter_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter("python") == tmp_path / "python"
    with pytest.raises(UsageError):
        interpreter("python4")


def test_a_child_keeps_the_end_of_what_it_said() -> None:
    ended = run_child([sys.executable, "-c", "import sys; sys.stderr.write('x' * 10**6 + '\\nlast\\n'); sys.exit(4)"], 30)
    assert (ended.code, ended.last_line, ended.timed_out) == (4, "last", False)


@linux
def test_interrupting_ends_the_child(tmp_path: Path) -> None:
    python = script(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 60")
    command = [sys.executable, "-m", "tls_wheel_guard", "env", "--python", python]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        process.send_signal(2)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "tls-wheel-guard: interrupted\n")
    assert not runs(int((tmp_path / "pid").read_text()))
