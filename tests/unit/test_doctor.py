"""`doctor` where nothing is a matter of static TLS, where an interpreter does not answer, and where the system is another."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.doctor.diagnosis import examine
from tls_wheel_guard.loaders.refusals import named_in

Captured = pytest.CaptureFixture[str]
linux = pytest.mark.skipif(sys.platform != "linux", reason="a Linux interpreter is started")
needs_sh = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell plays the interpreter")


def script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1.abc."], "'1.abc.' is neither a module, a distribution, a shared object nor a script; hint: "),
        (["a b"], "'a b' is neither a module"),
        ([""], "'' is neither a module"),
        (["json", "1"], "json takes no arguments: 1; hint: only a script does"),
        (["json", "--", "--x"], "json takes no arguments: --x"),
        (["nowhere.py"], "nowhere.py: no such file; hint: "),
        (["nowhere/x.so"], "nowhere/x.so: no such file; hint: "),
        (["x\n.so"], r"'x\n.so' has characters that can't be printed"),
        (["./"], "./: it is not a file; hint: "),
        (["./pkg-1-py3-none-any.whl"], "./pkg-1-py3-none-any.whl: it is a wheel; hint: `check` and `simulate` take wheels"),
        (["json", "--python", "/nowhere/python"], "/nowhere/python: there is no such interpreter; hint: "),
        (["json", "--timeout", "0"], "--timeout 0: it must be more than 0 seconds"),
        (["json", "--import", "a:b"], "'a:b' is neither a module"),
    ],
)
def test_wrong_usage(words: list[str], said: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pkg-1-py3-none-any.whl").touch()
    assert main(["doctor", *words]) == 2
    assert said in capsys.readouterr().err


@linux
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ImportError", "ImportError"),
        ("import ctypes; ctypes.CDLL('libnowhere.so')", "OSError: libnowhere.so: cannot open shared object file: No such file or directory"),
        ("x = (", "SyntaxError: '(' was never closed (broken.py, line 1)"),
    ],
)
def test_another_failure_is_quoted(text: str, error: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    if "SyntaxError" not in error or sys.version_info >= (3, 10):
        assert main(["doctor", "broken"]) == 1
        out = capsys.readouterr().out
        assert f"broken fails: {error}" in out
        assert "static TLS is not the cause" in out
        assert "helps" not in out
    assert main(["doctor", "--import", "broken", "json", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "fails"
    assert found["advice"] == []
    assert found["asked"] is None
    assert found["not_tried"] == ["json"]


@linux
def test_a_refusal_that_was_caught_is_told(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that swallows it works only in part: that dlopen is diagnosed. One that fails for another reason gets no story about it."""
    if os.uname().machine != "x86_64":
        pytest.skip("the module is for x86_64")
    (tmp_path / "big.so").write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(9000, 8))))
    opens = f"import ctypes\ntry:\n    ctypes.CDLL({str(tmp_path / 'big.so')!r})\nexcept OSError:\n    pass\n"
    (tmp_path / "careful.py").write_text(opens)
    (tmp_path / "careless.py").write_text(opens + "import nowhere_at_all\n")
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "careful"]) == 1
    out = capsys.readouterr().out
    assert "careful loads, and has swallowed the refusal of a dlopen inside it: " in out
    assert "big.so must reach its thread-local variables by global-dynamic code" in out
    assert main(["doctor", "careless"]) == 1
    out = capsys.readouterr().out
    assert "static TLS is not the cause" in out
    assert "a dlopen on the way was refused: " in out
    # Wrapped by the package, it is the reason all the same.
    (tmp_path / "wrapped.py").write_text(opens.replace("    pass", "    raise ImportError('sorry')"))
    assert main(["doctor", "wrapped"]) == 1
    out = capsys.readouterr().out
    assert "wrapped fails: ImportError: sorry" in out
    assert f"the loader says: {tmp_path / 'big.so'}: cannot allocate memory in static TLS block" in out


@linux
def test_the_report_goes_to_a_file(tmp_path: Path, capsys: Captured) -> None:
    assert main(["doctor", "json", "-o", str(tmp_path / "out.txt")]) == 0
    assert "json loads" in (tmp_path / "out.txt").read_text()
    assert capsys.readouterr().out == ""


@linux
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it was killed by SIGSEGV while importing ends; hint: "),
        ("import time; time.sleep(60)", "no answer within 1 seconds while importing ends; hint: --timeout SECONDS"),
        ("import os; os._exit(7)", "it is no working Python: exit code 7, no answer while importing ends; hint: "),
    ],
)
def test_an_import_that_does_not_come_back(text: str, said: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends.py").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "ends", "--timeout", "1"]) == 3
    assert said in capsys.readouterr().err


@needs_sh
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 0", "it is no working Python: exit code 0, no answer; hint: "),
        ('printf "libc musl\\nmachine 62 64 1\\n" > "$2/answer"', "it has written nothing down"),
        (
            'printf "libc musl\\nmachine 62 64 1\\nnumbers \\nstage json\\nmapped /x\\nnumbers 1 2 x 4\\n" > "$2/answer"',
            "its answer is broken: 'numbers' is '1 2 x 4'",
        ),
    ],
)
def test_an_interpreter_that_gives_no_answer(text: str, said: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["doctor", "json", "--python", str(script(tmp_path, text))]) == 3
    assert said in capsys.readouterr().err


FREEBSD = """\
cat > "$2/answer" <<END
implementation CPython 3.11.9
libc freebsd
libc-version {release}
machine 62 64 1
room 128
method bisecting
numbers
stage {module}
open {module}
numbers
END
[ "${{LD_STATIC_TLS_EXTRA:-0}}" -ge {least} ] && exit 0
cat >> "$2/answer" <<END
refused {words}
failed-stage OSError: {words}
static-tls {words}
END
"""
"""What the child writes there: no /proc, no numbers of the loader's own. 300 bytes after 16 end at 320: 304 of reserve."""


OLD_GLIBC = """\
cat > "$2/answer" <<END
implementation CPython 3.8.1
libc glibc
libc-version 2.28
machine 62 64 1
used 144
limit 1856
align 64
room 1712
method _dl_get_tls_static_info
numbers 144 1856 64 0
stage {module}
open {module}
numbers 144 1856 64 0
END
[ -n "$LD_PRELOAD" ] && exit 0
cat >> "$2/answer" <<END
refused {words}
failed-stage OSError: {words}
static-tls {words}
END
"""


@needs_sh
def test_a_glibc_without_the_tunables(tmp_path: Path, capsys: Captured) -> None:
    module = tmp_path / "m.so"
    module.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(3000, 8))))
    words = f"{module}: cannot allocate memory in static TLS block"
    python = script(tmp_path, OLD_GLIBC.format(module=module, words=words))
    assert main(["doctor", str(module), "--python", str(python)]) == 1
    out = capsys.readouterr().out
    assert "this glibc (2.28) has no tunables for it" in out
    assert f"LD_PRELOAD={module} python ..." in out
    assert "[run: works]" in out


@pytest.mark.parametrize(
    ("words", "definer", "asking"),
    [
        ("/a b/x.so: cannot allocate memory in static TLS block", "/a b/x.so", "/a b/x.so"),
        ("sorry: x.so: cannot allocate memory in static TLS block, so", "x.so", "x.so"),
        ("Error relocating /p/a.so: : initial-exec TLS resolves to dynamic definition in /p/b.so", "/p/b.so", "/p/a.so"),
        ("Error relocating /p/a.so: (null): initial-exec TLS resolves to dynamic definition in /p/a.so", "/p/a.so", "/p/a.so"),
        ("/p/a.so: No space available for static Thread Local Storage", "/p/a.so", "/p/a.so"),
        (
            "/p/a.so: Use of initialized Thread Local Storage with model initial-exec and dlopen is not supported",
            "/p/a.so",
            "/p/a.so",
        ),
        ('dlopen failed: TLS symbol "(null)" in dlopened "/p/b.so" referenced from "/p/a.so" using IE access model', "/p/b.so", "/p/a.so"),
    ],
)
def test_loaders_words(words: str, definer: str, asking: str) -> None:
    assert named_in(words) == (definer, asking)


@needs_sh
@pytest.mark.parametrize(("release", "known"), [("14.1-RELEASE-p5", True), ("15.0-CURRENT", True), ("13.1-RELEASE", False)])
def test_freebsd(release: str, known: bool, tmp_path: Path) -> None:
    module = tmp_path / "m.so"
    module.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(300, 8))))
    words = f"{module}: No space available for static Thread Local Storage"
    python = script(tmp_path, FREEBSD.format(release=release, module=module, words=words, least=304))
    found = examine(python, str(module), environment={"PATH": "/usr/bin:/bin"})
    assert found.outcome == "static-tls"
    assert found.asked is not None
    assert (found.asked.definer, found.asked.size) == (str(module), 300)
    assert found.has_model
    assert found.disagrees is None
    extra = next(advice for advice in found.advice if advice.kind == "extra")
    assert extra.helps == known
    if known:
        assert extra.least == {"LD_STATIC_TLS_EXTRA": 304}
        assert extra.padded == {"LD_STATIC_TLS_EXTRA": 768}
        assert extra.command == "LD_STATIC_TLS_EXTRA=768 python ..."
        assert extra.ran
    else:
        assert "has no LD_STATIC_TLS_EXTRA" in extra.text
