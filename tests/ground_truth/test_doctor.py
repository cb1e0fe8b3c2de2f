"""`doctor` on real failures: its advice is followed, and the import works; or it had said that nothing helps, and why."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.advising import Count, make_case, prove
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.live_histories import auditor
from tests.support.musl_python import musl_python
from tests.support.runtimes import native, release
from tests.support.wheels import fetch, unpack
from tls_wheel_guard.__main__ import main

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="modules are opened by x86_64 Linux")

TPOFF, TLSDESC, DTPMOD = 18, 36, 16
EATER = """\
import ctypes, os
for name in {names}:
    ctypes.CDLL(os.path.join(os.path.dirname(os.path.abspath(__file__)), name))
"""


def module(folder: Path, name: str, size: int, align: int = 8, number: int = TPOFF, **more: Any) -> Path:
    """A shared object with one access to its own variables."""
    path = folder / name
    path.write_bytes(build(Spec(relocs=(Reloc(number),), tls=Tls(size, align), soname=name, **more)))
    return path


def eater(folder: Path, sizes: list[int], name: str = "eater") -> str:
    """A Python module that opens shared objects of these sizes when it is imported."""
    names = [module(folder, f"{name}{place}.so", size).name for place, size in enumerate(sizes)]
    (folder / f"{name}.py").write_text(EATER.format(names=names))
    return name


def doctor(capsys: Captured, *words: str | Path, code: int = 1) -> dict[str, Any]:
    """The JSON document, and that the text form agrees with the exit code."""
    assert main(["doctor", "--format", "json", *map(str, words)]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def advice(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What helps, by kind; all of it was run."""
    helps = {each["kind"]: each for each in found["advice"] if each["helps"] and each["kind"] != "author"}
    assert all(each["ran"] is True and each["command"] for each in helps.values())
    return helps


def follow(command: str, python: str | Path, statement: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Type what was advised."""
    words = re.sub(r"(^| )python -c", rf"\1{python} -c", command.replace("python ...", f'python -c "{statement}"'))
    return subprocess.run(["sh", "-c", words], capture_output=True, text=True, cwd=folder, check=False)


def opening(path: Path) -> str:
    return f"import ctypes; ctypes.CDLL('{path}')"


def refused_by(found: dict[str, Any], kind: str) -> str:
    """Why a remedy is not advised."""
    return next(str(each["text"]) for each in found["advice"] if each["kind"] == kind and not each["helps"])


@pytest.mark.network
def test_libgomp_of_scikit_learn(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fits a fresh process, and not one where others came first."""
    with zipfile.ZipFile(fetch("scikit-learn==1.2.2", "manylinux2014_x86_64", "3.11")) as wheel:
        member = next(name for name in wheel.namelist() if "/libgomp" in name)
        library = Path(wheel.extract(member, tmp_path))
    eater(tmp_path, [500, 600, 500])
    monkeypatch.chdir(tmp_path)
    fits = doctor(capsys, library, code=0)
    assert fits["outcome"] == "loads"
    assert fits["room"] == fits["room_at_start"] - 120
    assert [each["taken"] for each in fits["took"] if each["import"]] == [120]
    found = doctor(capsys, "--import", "eater", library)
    assert found["outcome"] == "static-tls"
    assert found["model"] == {"known": True, "agrees": True, "difference": None}
    assert found["asked"] == {
        "modules": [str(library)],
        "definer": str(library),
        "opened": str(library),
        "size": 120,
        "align": 8,
        "used_before": False,
    }
    shares = [(Path(each["module"]).name, each["import"]) for each in found["took"] if each["import"]]
    assert shares == [("eater0.so", "eater"), ("eater1.so", "eater"), ("eater2.so", "eater")]
    assert found["room"] == found["room_at_start"] - sum(each["taken"] for each in found["took"] if each["import"])
    helps = advice(found)
    assert set(helps) == {"tunables", "preload"}
    assert "2 imports in any order leave too little room" in refused_by(found, "import-order")
    statement = f"import eater; {opening(library)}"
    assert follow("python ...", sys.executable, statement, tmp_path).returncode != 0
    for each in helps.values():
        run = follow(each["command"], sys.executable, statement, tmp_path)
        assert run.returncode == 0, (each, run.stderr)
    # The least value is the least: the real loader refuses one less.
    least = helps["tunables"]["least"]["rtld.optional_static_tls"]
    for value, works in ((least, True), (least - 1, False)):
        command = f"GLIBC_TUNABLES=glibc.rtld.optional_static_tls={value} python ..."
        assert (follow(command, sys.executable, statement, tmp_path).returncode == 0) == works


@pytest.mark.network
def test_libjemalloc_of_ray(tmp_path: Path, capsys: Captured) -> None:
    """More than any process has: no order helps, and it replaces malloc."""
    with zipfile.ZipFile(fetch("ray==2.40.0", "manylinux2014_x86_64", "3.11")) as wheel:
        library = Path(wheel.extract("ray/core/libjemalloc.so", tmp_path))
    found = doctor(capsys, library)
    assert found["asked"]["size"] == 2632
    assert found["took"][0]["import"] is None
    assert "nothing is imported before it" in refused_by(found, "import-order")
    helps = advice(found)
    assert set(helps) == {"tunables", "preload"}
    assert "replaces the allocator of the whole process" in helps["preload"]["text"]
    assert "must stay initial-exec" in found["advice"][-1]["text"]
    for each in helps.values():
        run = follow(each["command"], sys.executable, opening(library))
        assert run.returncode == 0, (each, run.stderr)


@pytest.mark.compiler
@pytest.mark.network
def test_cachebox_on_musl(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without ctypes; only a preload helps, and only for the interpreter itself."""
    python = musl_python()
    place = unpack(fetch("cachebox==5.2.0", "musllinux_1_2_x86_64", "3.11"), tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(place))
    found = doctor(capsys, "--python", python, "cachebox")
    assert found["libc"] == "musl"
    assert "initial-exec TLS resolves to dynamic definition" in found["loader_says"]
    core = next(place.glob("cachebox/_core*.so"))
    expected = {"modules": [str(core)], "definer": str(core), "opened": str(core), "size": 177, "align": 8}
    assert found["asked"] == {**expected, "used_before": False}
    assert found["room"] is None
    helps = advice(found)
    assert set(helps) == {"preload"}
    assert "any other program that is started with this variable stops" in helps["preload"]["text"]
    run = follow(helps["preload"]["command"], python, "import cachebox")
    assert run.returncode == 0, run.stderr
    doctor(capsys, "--python", python, "json", code=0)


def test_the_order_of_imports(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding depends on the order: the largest first does not help here, the smallest first does."""
    monkeypatch.chdir(tmp_path)
    start = doctor(capsys, "json", code=0)["start"]
    # One whose end is rounded up, one that fits into the padding when it comes first, and one that takes all the rest.
    used, limit = start["used"], start["limit"]
    gap = -used % 64 or 64
    sizes = {"x": (60, 64), "y": (gap, 1), "z": (limit - used - gap - 64, 1)}
    for name, (size, align) in sizes.items():
        module(tmp_path, f"{name}.so", size, align)
        (tmp_path / f"{name}_.py").write_text(EATER.format(names=[f"{name}.so"]))
    found = doctor(capsys, "--import", "x_", "--import", "y_", "z_")
    order = advice(found)["import-order"]
    assert order["command"] == "python -c 'import y_; import x_; import z_'"
    assert order["simulated"]
    assert follow(order["command"], sys.executable, "", tmp_path).returncode == 0
    assert main(["doctor", "--import", "x_", "--import", "z_", "y_"]) == 1
    text = capsys.readouterr().out
    assert "import in this order: " in text
    assert "[simulated, run: works]" in text


def test_descriptors_starve_a_later_library(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import order is the cure: first, the library finds room, and descriptors do without."""
    monkeypatch.chdir(tmp_path)
    room = doctor(capsys, "json", code=0)["room_at_start"]
    module(tmp_path, "wants.so", 400, 8, TLSDESC)
    (tmp_path / "greedy.py").write_text(EATER.format(names=["wants.so"]))
    library = module(tmp_path, "late.so", room - 200)
    found = doctor(capsys, "--import", "greedy", library)
    helps = advice(found)
    assert set(helps) == {"import-order", "tunables", "preload"}
    assert helps["import-order"]["simulated"]
    assert list(helps["tunables"]["least"]) == ["rtld.nns"]
    assert helps["tunables"]["least"]["rtld.nns"] == 5
    for each in helps.values():
        run = follow(each["command"], sys.executable, f"import greedy; {opening(library)}", tmp_path)
        assert run.returncode == 0, (each, run.stderr)


def test_an_alignment_above_the_limit(tmp_path: Path, capsys: Captured) -> None:
    """There is room, and no tunable helps."""
    library = module(tmp_path, "aligned.so", 8, 128)
    found = doctor(capsys, library)
    assert "wants an alignment of 128, and this process allows 64" in refused_by(found, "tunables")
    helps = advice(found)
    assert set(helps) == {"preload"}
    assert helps["preload"]["simulated"]
    assert follow(helps["preload"]["command"], sys.executable, opening(library)).returncode == 0


def test_what_was_there_in_the_environment_stays(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    library, other = module(tmp_path, "big.so", 3000), module(tmp_path, "other.so", 16)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2:glibc.rtld.nns=2")
    monkeypatch.setenv("LD_PRELOAD", str(other))
    helps = advice(doctor(capsys, library))
    assert helps["tunables"]["command"].startswith("GLIBC_TUNABLES=glibc.malloc.arena_max=2:glibc.rtld.nns=2:glibc.rtld.optional_static_tls=")
    assert helps["preload"]["command"] == f"LD_PRELOAD={other}:{library} python ..."
    assert helps["preload"]["simulated"]
    for each in helps.values():
        assert follow(each["command"], sys.executable, opening(library)).returncode == 0


def test_another_library_asks_than_the_one_that_has_the_variable(tmp_path: Path, capsys: Captured) -> None:
    """glibc's words name the definer; who asks is found in the relocations."""
    (tmp_path / "libdef.so").write_bytes(build(Spec(tls=Tls(3000, 8), symbols=(Sym("shared", defined=True),), soname="libdef.so")))
    library = tmp_path / "user.so"
    needs = Spec(relocs=(Reloc(TPOFF, "shared"),), symbols=(Sym("shared"),), needed=("libdef.so",), runpath="$ORIGIN", soname="user.so")
    library.write_bytes(build(needs))
    found = doctor(capsys, library)
    definer = str(tmp_path / "libdef.so")
    assert found["asked"] == {
        "modules": [str(library)],
        "definer": definer,
        "opened": str(library),
        "size": 3000,
        "align": 8,
        "used_before": False,
    }
    helps = advice(found)
    assert set(helps) == {"tunables", "preload"}
    assert "libdef.so" in helps["preload"]["command"]
    assert "it came as another file's dependency" in found["advice"][-1]["text"]
    for each in helps.values():
        assert follow(each["command"], sys.executable, opening(library)).returncode == 0


@pytest.mark.compiler
def test_under_an_auditing_module(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is then laid out in another way: what is advised was run, and nothing is computed."""
    monkeypatch.setenv("LD_AUDIT", str(auditor(tmp_path)))
    library = module(tmp_path, "big.so", 2500)
    found = doctor(capsys, library)
    helps = advice(found)
    assert helps["tunables"]["least"] is None
    assert helps["tunables"]["simulated"] is None
    assert "can't be computed here" in helps["tunables"]["text"]
    assert follow(helps["tunables"]["command"], sys.executable, opening(library)).returncode == 0


def test_a_module_that_was_reached_dynamically(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room and the loader refuses: only an earlier use of the variable explains it."""
    (tmp_path / "libdef.so").write_bytes(
        build(Spec(relocs=(Reloc(DTPMOD),), tls=Tls(16, 8), symbols=(Sym("shared", defined=True),), soname="libdef.so"))
    )
    library = tmp_path / "user.so"
    library.write_bytes(build(Spec(relocs=(Reloc(TPOFF, "shared"),), symbols=(Sym("shared"),), needed=("libdef.so",), runpath="$ORIGIN")))
    (tmp_path / "uses.py").write_text(
        f"import ctypes\nlibrary = ctypes.CDLL({str(tmp_path / 'libdef.so')!r})\nctypes.c_int.in_dll(library, 'shared')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = doctor(capsys, "--import", "uses", library)
    assert found["outcome"] == "static-tls"
    assert found["model"]["agrees"]
    assert found["asked"]["used_before"]
    assert "preload" in advice(found)


@pytest.mark.network
def test_an_old_glibc_has_no_advice_about_tunables_that_it_lacks(tmp_path: Path, capsys: Captured) -> None:
    """Debian 11's 2.31 has the two tunables by a backport: what is advised was run there."""
    python = release("bullseye").python()
    library = module(tmp_path, "big.so", 2500)
    found = doctor(capsys, "--python", python, library)
    assert found["libc_version"] == "2.31"
    helps = advice(found)
    assert "tunables" in helps
    assert follow(helps["tunables"]["command"], python, opening(library)).returncode == 0


@pytest.mark.compiler
@pytest.mark.parametrize("descriptors", [True, False])
def test_tunables_in_the_real_loader(descriptors: bool, tmp_path: Path) -> None:
    """Two of the cases of benchmarks/advice.py each; the whole is `make truth-advice`."""
    count, seed = Count(), 50_900
    while count.cases < 2:
        seed += 1
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = make_case(native(), seed, folder, descriptors=descriptors)
        if case is not None:
            prove(native(), seed, case, folder, count)
    assert count.differences == []
    assert count.works == count.padded_works == count.one_less_fails == 2
