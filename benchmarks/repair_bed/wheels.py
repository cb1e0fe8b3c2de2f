"""Real wheels: refused before and working after, on a musl CPython and in a glibc process without static TLS; their own tests."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from benchmarks.exhausted import EXHAUST, make_fillers
from benchmarks.markdown import heading, row
from benchmarks.repair_bed import openmp
from tests.support.musl_python import musl_python
from tests.support.repair_machines import TestedMachine
from tests.support.runtimes import release
from tests.support.wheels import fetch, unpack
from tls_wheel_guard.commands.repair import Wanted, repair_file

THREADS = """
import threading
def in_threads(work, count=40):
    found, made = [], []
    def run():
        found.append(work())
    for _ in range(count):
        made.append(threading.Thread(target=run)); made[-1].start()
    for thread in made:
        thread.join()
    assert len(found) == count, "a thread died"
    return found
"""


@dataclass(frozen=True)
class Case:
    """A wheel and a statement that prints what it computes.

    ``needs``: other wheels; ``tests``: modules of its own tests; ``pinned``: what the statement needs, for a machine on which pip does not run.
    """

    requirement: str
    statement: str
    needs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()


CACHEBOX = """
import cachebox
def work():
    cache = cachebox.LRUCache(100)
    for n in range(5000):
        cache[n % 137] = n
    lfu = cachebox.LFUCache(50, {n: n for n in range(50)})
    return sum(cache.values()) * 1000 + sum(lfu.values()) + len(cache)
print(sorted(set(in_threads(work))))
"""
PYDANTIC = """
from pydantic_core import SchemaValidator
def work():
    v = SchemaValidator({'type': 'list', 'items_schema': {'type': 'int'}})
    return sum(sum(v.validate_python([str(n) for n in range(100)])) for _ in range(50))
print(sorted(set(in_threads(work))))
"""
YAML = """
import yaml_rs
text = "a: [1, 2, {b: c}]\\nd: 1.5\\n"
print(sorted(set(map(repr, in_threads(lambda: yaml_rs.loads(text))))))
"""
SKLEARN = """
import numpy, hashlib
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.cluster import KMeans
x = numpy.random.RandomState(0).rand(4000, 12); y = (x[:, 0] + x[:, 1] ** 2 > 0.8).astype(int)
a = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(x, y).predict_proba(x)
b = KMeans(5, n_init=2, random_state=0).fit(x).cluster_centers_
print(hashlib.sha256(a.tobytes()).hexdigest()[:16], round(float(abs(b).sum()), 6))
"""
FAISS = """
import numpy, faiss
x = numpy.random.RandomState(0).rand(3000, 32).astype('float32')
index = faiss.IndexFlatL2(32); index.add(x)
d, i = index.search(x[:200], 5)
print(int(i.sum()), round(float(d.sum()), 2))
"""
SENTENCEPIECE = """
import io, sentencepiece
text = iter(["the quick brown fox number %d jumps over dog %d" % (n, n * 7 % 13) for n in range(2000)])
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(sentence_iterator=text, model_writer=model, vocab_size=60, num_threads=2, minloglevel=2)
p = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
print(sum(p.encode("the quick brown dog jumps")))
"""
ON_MUSL = {
    "cachebox==5.2.0": Case("cachebox==5.2.0", THREADS + CACHEBOX, ("typing-extensions==4.12.2",)),
    "pydantic-core==0.7.1": Case("pydantic-core==0.7.1", THREADS + PYDANTIC, ("typing-extensions==4.12.2",)),
    "yaml-rs==0.0.1": Case("yaml-rs==0.0.1", THREADS + YAML),
}
"""On every machine."""
ON_GLIBC = {
    "cachebox==5.2.0": Case("cachebox==5.2.0", THREADS + CACHEBOX, ("typing-extensions", "pytest-asyncio"), ("python/tests",),
                            ("typing-extensions==4.12.2",)),
    "pydantic-core==0.7.1": Case(
        "pydantic-core==0.7.1",
        THREADS + PYDANTIC,
        tuple("typing-extensions dirty-equals hypothesis pytest-examples pytest-mock pytest-timeout pytest-benchmark pytz coverage".split()),
        ("tests",),
        ("typing-extensions==4.12.2",),
    ),
    "scikit-learn==1.3.2": Case(
        "scikit-learn==1.3.2",
        SKLEARN,
        ("numpy<2", "scipy<1.12", "joblib", "threadpoolctl"),
        ("sklearn.ensemble._hist_gradient_boosting.tests.test_histogram", "sklearn.ensemble._hist_gradient_boosting.tests.test_grower",
         "sklearn.ensemble._hist_gradient_boosting.tests.test_splitting"),
        ("numpy==1.26.4", "scipy==1.11.4", "joblib==1.4.2", "threadpoolctl==3.5.0"),
    ),
    "sentencepiece==0.2.3": Case("sentencepiece==0.2.3", SENTENCEPIECE),
    "faiss-cpu==1.7.4": Case("faiss-cpu==1.7.4", FAISS, ("numpy<2", "packaging"), (), ("numpy==1.26.4", "packaging==24.2")),
}  # fmt: skip


def run_in(python: str | Path, site: Path, code: str, more: dict[str, str] | None = None) -> tuple[bool, str]:
    """Whether the code ran to its end, and its last line; of an error the loader's words without folders."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", **(more or {})}
    environment["PYTHONPATH"] = os.pathsep.join((str(site), environment.pop("MORE_PYTHONPATH", "")))
    run = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=900)
    lines = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
    words = next((line for line in lines if run.returncode and " static TLS" in line), lines[-1] if lines else f"signal {-run.returncode}")
    return run.returncode == 0, re.sub(r"/\S*/", "", words)


def repaired_site(wheel: Path, folder: Path) -> tuple[Path, float]:
    """The repaired wheel, unpacked, and the seconds of processor time that the repair took."""
    started = time.process_time()
    repair = repair_file(wheel, folder / wheel.name, Wanted())
    seconds = time.process_time() - started
    if repair.refused:
        raise SystemExit(f"{wheel.name}: {repair.refused[0][1].line()}")
    return unpack(folder / wheel.name, folder / "site"), seconds


def musl_part(folder: Path, machine: TestedMachine) -> list[str]:
    """On a musl CPython."""
    wrong = []
    python = musl_python(machine.name)
    heading(f"wheel on musl CPython 3.11 of {machine.name}", "before", "after, in 40 threads", "repair, processor s")
    for name, case in ON_MUSL.items():
        wheel = _fetch(name, (f"musllinux_1_2_{machine.name}", f"musllinux_1_1_{machine.name}"))
        place = folder / "musl" / name
        place.mkdir(parents=True)
        for need in case.needs:
            unpack(fetch(need, "any", "3.11"), place / "site")
            unpack(fetch(need, "any", "3.11"), place / "before")
        loads, before = run_in(python, _for_musl(unpack(wheel, place / "before")), case.statement)
        site, seconds = repaired_site(wheel, place)
        _for_musl(site)
        works, after = run_in(python, site, case.statement)
        row(f"{name}", before, after if works else f"FAILS: {after}", f"{seconds:.2f}")
        if loads or not works or "initial-exec TLS" not in before:
            wrong.append(f"{name} on musl: {before!r}, then {after!r}")
    return wrong


def speed(folder: Path, machine: TestedMachine) -> list[str]:
    """How long the repair of one wheel takes beside that of the same wheel for x86_64: the least of several, in turn."""
    pairs = {"cachebox==5.2.0": ("manylinux2014", "musllinux_1_2")}
    least: dict[tuple[str, str, str], float] = {}
    for number in range(7):
        for (name, platforms), what in itertools.product(pairs.items(), (machine.name, "x86_64")):
            for platform in platforms:
                wheel = fetch(name, f"{platform}_{what}", "3.11")
                started = time.process_time()
                repair_file(wheel, folder / f"speed-{wheel.name}", Wanted())
                seconds = time.process_time() - started
                if number:
                    least[name, platform, what] = min(least.get((name, platform, what), 99.0), seconds)
    wrong = []
    heading("repair of", f"{machine.name}, processor s", "x86_64, processor s", "ratio")
    for name, platform in ((name, platform) for name, platforms in pairs.items() for platform in platforms):
        here, there = least[name, platform, machine.name], least[name, platform, "x86_64"]
        row(f"{name} {platform}", f"{here:.3f}", f"{there:.3f}", f"{here / there:.2f}")
        wrong += [f"{name} {platform}: {here / there:.2f} times x86_64's repair"] if here > 1.5 * there else []
    return wrong


def _for_musl(site: Path) -> Path:
    """Wheels of 2022 name their musl modules after glibc: under the name that this interpreter looks for."""
    for path in site.rglob("*-linux-gnu.so"):
        path.rename(path.with_name(path.name.replace("-linux-gnu", "-linux-musl")))
    return site


def _fetch(name: str, platforms: tuple[str, ...]) -> Path:
    last: BaseException | None = None
    for platform in platforms:
        try:
            return fetch(name, platform, "3.11")
        except BaseException as error:
            last = error
    raise SystemExit(f"{name}: {last}")


def glibc_part(folder: Path, machine: TestedMachine) -> list[str]:
    """In a glibc process without static TLS. A wheel's own tests run on this machine only."""
    wrong = []
    fillers = os.pathsep.join(map(str, make_fillers(folder / "fillers", machine.compilers["gcc"][0])))
    own = () if machine.binutils else ("own tests: original, fresh", "own tests: repaired, no static TLS left")
    heading(f"wheel on glibc of {machine.name}", "original, fresh", "original, no static TLS left", "repaired, no static TLS left", *own)
    for name, case in ON_GLIBC.items():
        wheel = _fetch(name, (f"manylinux2014_{machine.name}", f"manylinux_2_28_{machine.name}"))
        place = folder / "glibc" / name
        place.mkdir(parents=True)
        python, more = _emulated(place, case, machine) if machine.binutils else (_environment(place / "venv", case), {})
        before = unpack(wheel, place / "before")
        after, _ = repaired_site(wheel, place)
        full = {**more, "FILLERS": fillers}
        fresh = run_in(python, before, case.statement, more)
        refused = run_in(python, before, EXHAUST + case.statement, full)
        cured = run_in(python, after, EXHAUST + case.statement, full)
        tests = ("-", "-") if own else ()
        if case.tests and own:
            source = _tests_of(name, case, place)
            tests = (_own_tests(python, before, source, case, ""), _own_tests(python, after, source, case, EXHAUST, full))
        row(name, fresh[1], refused[1], cured[1], *tests)
        if not fresh[0] or refused[0] or not cured[0] or fresh[1] != cured[1] or len(set(tests)) > 1:
            wrong.append(f"{name} on glibc: {fresh} {refused} {cured} {tests}")
    return wrong


def _emulated(place: Path, case: Case, machine: TestedMachine) -> tuple[Path, dict[str, str]]:
    """Debian 12's python3 of another machine, and the variables by which it finds what a wheel needs."""
    needs, libraries = place / "needs", place / "libraries"
    libraries.mkdir()
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):
        (libraries / name).symlink_to((Path("/usr") / machine.triplet / "lib" / name).resolve())
    for requirement in case.pinned:
        unpack(_fetch(requirement, ("any", f"manylinux2014_{machine.name}")), needs)
    more = {"LD_LIBRARY_PATH": str(libraries), "MORE_PYTHONPATH": str(needs)}
    return release("bookworm", machine.name).python(), more


def _environment(folder: Path, case: Case) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    needs = [*case.needs, *(["pytest<8"] if case.tests else [])]
    if needs:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *needs], check=True, capture_output=True)
    return python


def _tests_of(name: str, case: Case, place: Path) -> Path | None:
    """The folder with the tests that a project's sdist has; None for tests that the wheel brings."""
    if "/" not in case.tests[0] and "." in case.tests[0]:
        return None
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        name.partition("==")[0],
        "-d",
        str(place / "sdist"),
        name,
    ]
    subprocess.run(command, capture_output=True, check=False)
    (packed,) = (place / "sdist").glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(place / "source", filter="data")
    (root,) = (place / "source").iterdir()
    return root / case.tests[0]


def _own_tests(python: Path, site: Path, source: Path | None, case: Case, before: str, more: dict[str, str] | None = None) -> str:
    """Pytest's last line."""
    folder = site.parent / f"tests-{site.name}"
    if source is not None:
        # Away from the source tree, so that the wheel's module is what they import.
        shutil.copytree(source, folder / "tests")
    folder.mkdir(exist_ok=True)
    words = ["tests"] if source is not None else ["--pyargs", *case.tests]
    words += ["-q", "-p", "no:cacheprovider", "-W", "ignore", *(["--benchmark-skip"] if "pytest-benchmark" in case.needs else [])]
    code = before + f"\nimport sys, pytest; sys.exit(pytest.main({words!r}))"
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "2", **(more or {})}
    run = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=folder, timeout=1800)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    return re.sub(r" in [\d.]+s.*|=|, \d+ warnings?", "", lines[-1]).strip() if lines else f"exit {run.returncode}"


WORK = {
    "cachebox==5.2.0": """
import time, cachebox
cache, best = cachebox.LRUCache(1000), 9.0
for _ in range(15):
    started = time.process_time()
    for n in range(120_000):
        cache[n % 1500] = n
        cache.get(n % 700)
    best = min(best, time.process_time() - started)
print(best)
""",
    "scikit-learn==1.3.2": """
import time, numpy
from sklearn.ensemble import HistGradientBoostingClassifier
x = numpy.random.RandomState(0).rand(20000, 10); y = (x[:, 0] + x[:, 1] ** 2 > 0.8).astype(int)
best = 99.0
for _ in range(5):
    started = time.process_time()
    HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(x, y).predict(x)
    best = min(best, time.process_time() - started)
print(best)
""",
}
"""What is timed: the least processor time of several rounds."""


def workloads(folder: Path) -> list[str]:
    """Real work, original and repaired in turn; faults where it costs more than five per cent."""
    wrong = []
    print("The least processor time of several rounds, original and repaired in turn:\n")
    heading("workload", "original, s", "repaired, s", "ratio")
    for name, code in WORK.items():
        place = folder / "glibc" / name
        python, least = place / "venv" / "bin" / "python", {"before": 99.0, "site": 99.0}
        for _ in range(4):
            for which in ("before", "site"):
                works, said = run_in(python, place / which, code, {"OMP_NUM_THREADS": "1"})
                least[which] = min(least[which], float(said) if works else 99.0)
        ratio = least["site"] / least["before"]
        row(name, f"{least['before']:.3f}", f"{least['site']:.3f}", f"{ratio:.3f}")
        wrong += [f"{name}: {ratio:.3f} times the original's processor time"] if ratio > 1.05 else []
    return wrong


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    print("\n## Real wheels\n")
    wrong = musl_part(folder, machine)
    print()
    wrong += glibc_part(folder, machine)
    if machine.binutils:
        wrong += openmp.report(folder, machine)
        print("\nThe least processor time of six repairs of a wheel, of both machines in turn:\n")
        return wrong + speed(folder, machine)
    print()
    wrong += workloads(folder)
    sys.stdout.flush()
    return wrong
