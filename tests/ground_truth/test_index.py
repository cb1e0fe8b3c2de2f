"""``index`` over real servers and real workers, beside ``check`` on the same files: nginx, a server that misbehaves, kills, dask."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bad_server import FAULTS, serving
from tests.support.clusters import cluster
from tests.support.index_server import index_of
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.commands.index import IndexOptions, IndexRun, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.sources import Selection

GUARD = [sys.executable, "-m", "tls_wheel_guard"]
MODELS = {"none": None, "ie": "initial-exec", "gd": "global-dynamic", "desc": "global-dynamic"}
TAGS = ("cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-musllinux_1_2_x86_64", "cp312-cp312-manylinux_2_28_x86_64")
ALL = Selection(latest=0)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels above the size that is fetched whole: of clean modules, of modules that ask, of both."""
    folder = tmp_path_factory.mktemp("wheels")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    rng = random.Random(11)
    objects = {}
    for name, model in MODELS.items():
        kind = f'__attribute__((tls_model("{model}"))) __thread ' if model else ""
        source = folder / f"{name}.c"
        numbers = ",".join(str(rng.randrange(1 << 30)) for _ in range(150_000))
        source.write_text(
            f"{kind}int variable = 1; int data[] = {{{numbers}}}; int *where = data;\nint f(int i) {{ return variable += data[i]; }}\n"
        )
        dialect = ["-mtls-dialect=gnu2"] if name == "desc" else []
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", *dialect, "-o", str(folder / f"{name}.so"), str(source)], check=True)
        objects[name] = (folder / f"{name}.so").read_bytes()
    holds = [("none",), ("ie",), ("gd",), ("desc",), ("none", "gd"), ("gd", "ie"), ("none", "none"), ("gd", "desc")]
    made = [
        make_wheel(folder, {f"pkg/{place}_{name}.so": objects[name] for place, name in enumerate(names)}, TAGS[number % 3], name=f"p{number}")
        for number, names in enumerate(holds)
    ]
    made.append(make_wheel(folder, {"pkg/a.py": b"x = 1\n"}, "py3-none-any", name="pure"))
    return made


def told(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(f["rule"], f["severity"], f["module"], f["message"]) for f in entry["findings"]]


def by_check(wheels: list[Path]) -> dict[str, list[tuple[Any, ...]]]:
    return {wheel.name: told(check_wheel(wheel).to_dict()) for wheel in wheels}


def entries(done: IndexRun) -> dict[str, dict[str, Any]]:
    return {entry["wheel"]: entry for entry in done.store.entries(done.run)}


def run(url: str, **more: Any) -> IndexRun:
    return index_run(IndexOptions(sources=(url,), choice=ALL, **more), Config(), Asked())


@pytest.fixture
def index(wheels: list[Path], tmp_path: Path) -> Iterator[str]:
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    root = tmp_path / "index"
    root.mkdir()
    with index_of(root, wheels) as url:
        yield url


@pytest.mark.parametrize("form", ["simple", "html"])
def test_verdicts_are_those_of_check_and_clean_wheels_are_not_read_whole(form: str, wheels: list[Path], index: str) -> None:
    done = run(index.replace("/simple/", f"/{form}/"))
    found = entries(done)
    assert {name: told(entry) for name, entry in found.items()} == by_check(wheels)
    ranges = {name for name, entry in found.items() if entry["read"] == "ranges"}
    clean = {name for name, findings in by_check(wheels).items() if not findings}
    whole = {name for name, entry in found.items() if entry["read"] == "whole"}
    assert {name for name in found if name.startswith(("p1-", "p6-"))} & whole, "nothing but modules that ask: the whole wheel has a hash"
    assert clean - whole <= ranges
    assert "p5-1.0-cp312-cp312-manylinux_2_28_x86_64.whl" in ranges - clean, "one module asks, and it is read alone"
    assert {"p0-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "p2-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"} <= ranges
    for wheel in wheels:
        if wheel.name in ranges:
            assert found[wheel.name]["bytes_read"] < max(wheel.stat().st_size, 1 << 16)
        elif form == "simple":
            assert found[wheel.name]["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_server_of_one_range_a_request_gives_the_same(wheels: list[Path], tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    with index_of(tmp_path, wheels, "max_ranges 1;") as url:
        found = entries(run(url))
    assert {name: told(entry) for name, entry in found.items()} == by_check(wheels)
    assert {entry["read"] for entry in found.values()} == {"whole", "ranges"}


def test_a_clean_wheel_costs_few_requests(wheels: list[Path], index: str, tmp_path: Path) -> None:
    run(index, store=str(tmp_path / "s.sqlite")).store.close()
    log = (tmp_path / "index" / "access.log").read_text().splitlines()
    asked = Counter(name for line in log for name in re.findall(r"GET /files/(\S+)", line))
    assert max(asked.values()) <= 6, asked


def test_without_screening_every_wheel_is_read_whole_with_the_same_verdicts(wheels: list[Path], index: str) -> None:
    found = entries(run(index, screening=False))
    assert {entry["read"] for entry in found.values()} == {"whole"}
    assert {name: told(entry) for name, entry in found.items()} == by_check(wheels)


def test_a_second_run_reads_nothing_and_a_newer_judgement_needs_no_network(wheels: list[Path], index: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store.sqlite")
    run(index, store=store).store.close()
    again = run(index, store=store)
    assert (again.counts["known"], again.counts["bytes_read"]) == (len(wheels), 0)
    again.store.close()
    other = index_run(IndexOptions(sources=(index,), choice=ALL, store=store), Config(room=64), Asked())
    assert other.counts["bytes_read"] == 0
    expected = {wheel.name: told(check_wheel(wheel, Config(room=64)).to_dict()) for wheel in wheels}
    assert {name: told(entry) for name, entry in entries(other).items()} == expected


def test_other_targets_read_again_what_the_facts_do_not_say(wheels: list[Path], index: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store.sqlite")
    run(index, store=store).store.close()
    config = Config(targets=("freebsd_14_2_amd64",))
    done = index_run(IndexOptions(sources=(index,), choice=ALL, store=store), config, Asked())
    expected = {wheel.name: told(check_wheel(wheel, config).to_dict()) for wheel in wheels}
    assert {name: told(entry) for name, entry in entries(done).items()} == expected


def pages_of(wheels: list[Path]) -> dict[str, bytes]:
    files = {f"/files/{wheel.name}": wheel.read_bytes() for wheel in wheels}
    meta = {"api-version": "1.1"}
    projects = [{"name": wheel.name.split("-")[0]} for wheel in wheels]
    files["/simple/"] = json.dumps({"meta": meta, "projects": projects}).encode()
    for wheel in wheels:
        data = files[f"/files/{wheel.name}"]
        row = {"filename": wheel.name, "url": f"/files/{wheel.name}", "size": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        files[f"/simple/{wheel.name.split('-')[0]}/"] = json.dumps({"meta": meta, "files": [row]}).encode()
    return files


def test_a_server_that_misbehaves_never_changes_a_verdict(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be read is an entry with an error; what is judged is judged as on the file. The bed has 10,000 requests."""
    monkeypatch.setattr("tls_wheel_guard.commands.index._connection", lambda n: Connection(n, sleep=lambda _: None))
    expected = by_check(wheels)
    judged = failed = 0
    with serving(pages_of(wheels), 5, 0.25) as server:
        url = f"http://127.0.0.1:{server.server_port}/simple/"
        while server.requests < 500:
            try:
                done = run(url, jobs=2)
            except UnreadableIndex:
                failed += 1
                continue
            for name, entry in entries(done).items():
                if "error" in entry:
                    failed += 1
                else:
                    judged += 1
                    assert told(entry) == expected[name], (name, entry["read"])
            done.store.close()
        assert len(server.faults) >= len(FAULTS) - 4
    assert judged > 20
    assert failed


@pytest.mark.parametrize("fault", ["no ranges", "shifted range", "wrong total", "unknown total", "gzip", "status 416"])
def test_a_server_without_usable_ranges_is_read_whole(fault: str, wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tls_wheel_guard.commands.index._connection", lambda n: Connection(n, sleep=lambda _: None))
    files = pages_of(wheels)
    with serving(files, 1, 0.0) as server:
        server.kinds, server.rate, server.only_ranges = (fault,), 1.0, True
        found = entries(run(f"http://127.0.0.1:{server.server_port}/simple/"))
    assert {name: told(entry) for name, entry in found.items()} == by_check(wheels)


def test_a_file_that_is_not_the_listed_one_is_an_error(wheels: list[Path]) -> None:
    files = pages_of(wheels)
    name = wheels[1].name
    files[f"/files/{name}"] = files[f"/files/{name}"][:-1] + b"!"
    with serving(files, 1, 0.0) as server:
        found = entries(run(f"http://127.0.0.1:{server.server_port}/simple/"))
    assert "its sha256 is" in found[name]["error"]
    assert len([entry for entry in found.values() if "error" in entry]) == 1


def test_a_driver_that_is_killed_goes_on_where_it_was(wheels: list[Path], tmp_path: Path) -> None:
    """Every answer takes a twentieth of a second, so a run is under way for longer than it is let live."""
    rng = random.Random(3)
    store = tmp_path / "store.sqlite"
    with serving(pages_of(wheels), 1, 1.0, ("slow",)) as server:
        url = f"http://127.0.0.1:{server.server_port}/simple/"
        command = [*GUARD, "index", url, "--latest", "0", "--no-config", "--store", str(store), "--fail-on", "never", "-j", "1"]
        killed = 0
        for _ in range(4):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(rng.uniform(0.3, 1.2))
                    continue
                driver.send_signal(signal.SIGKILL)
                killed += 1
        done = run(url, store=str(store))
    assert {name: told(entry) for name, entry in entries(done).items()} == by_check(wheels)
    assert killed


def test_a_cluster_gives_the_same_and_a_killed_worker_costs_nothing_but_time(wheels: list[Path], index: str) -> None:
    with cluster(2) as (address, processes):
        done = run(index, scheduler=address)
        assert {name: told(entry) for name, entry in entries(done).items()} == by_check(wheels)
        processes[1].kill()
        done = run(index, scheduler=address)
        assert {name: told(entry) for name, entry in entries(done).items()} == by_check(wheels)


def test_a_scheduler_that_goes_is_one_line(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(1) as (address, processes):
        run(index, scheduler=address).store.close()
        seen = 0

        def kill(done: int, known: int) -> None:
            nonlocal seen
            del done, known
            seen += 1
            processes[0].kill()

        monkeypatch.setattr("tls_wheel_guard.commands.index.BATCH", 1)
        started = time.monotonic()
        with pytest.raises(UnreadableIndex, match="the scheduler is gone"):
            index_run(IndexOptions(sources=(index,), choice=ALL, scheduler=address), Config(), Asked(), kill)
        assert seen
        assert time.monotonic() - started < 120
