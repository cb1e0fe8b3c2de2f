#!/usr/bin/env python3
"""drjit 1.5.0's released wheel: what its code keeps over descriptor calls, and first uses of it in a thread: for docs/proofs/descriptors.md.

Needs an LLVM library that drjit finds, as clang-19's packages bring it; what runs is this machine's own glibc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.toolchain import SOURCES, require  # noqa: E402
from tests.support.wheels import CACHE  # noqa: E402

WHEEL = "drjit==1.5.0"
EXPRESSIONS = ("x + y", "dr.fma(x, y, x)", "dr.select(m, x, y)")
TUNABLES = ("", "glibc.rtld.optional_static_tls=1024", "glibc.rtld.optional_static_tls=0")
TAKER = "static __thread char part[496]; int touch(void) { return part[0]++; }\n"


def downloaded() -> Path:
    """The wheel for this interpreter and glibc, by pip."""
    folder = CACHE / f"{WHEEL}-{sys.version_info.major}.{sys.version_info.minor}"
    if not list(folder.glob("*.whl")):
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), WHEEL]
        subprocess.run(words, check=True)
    return next(folder.glob("*.whl"))


def code_table(wheel: Path) -> None:
    """What ``check`` says of each object, and the functions that keep registers."""
    words = [sys.executable, "-m", "tls_wheel_guard", "check", "--no-config", "--fail-on", "never", "--format", "json", str(wheel)]
    started = os.times()
    text = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    seconds = os.times().children_user + os.times().children_system - started.children_user - started.children_system
    modules = json.loads(text)["wheels"][0]["modules"]
    heading("object", "bytes of TLS", "descriptor calls", "kept over", "could not be read")
    for module in modules:
        if calls := module.get("descriptor_calls"):
            row(f"`{Path(module['path']).name}`", module["tls_segment"]["memsz"], calls["count"], calls["kept_total"], calls["unread_total"])
    print(f"\n`check` of the whole wheel took {seconds:.1f} seconds of a processor.\n")
    heading("object", "function", "calls", "registers")
    for module in modules:
        kept = module.get("descriptor_calls", {}).get("kept", ())
        counts = Counter(site["function"] or f"{site['function_start']:#x}" for site in kept)
        for name, count in counts.items():
            registers = dict.fromkeys(r for site in kept if name in (site["function"], f"{site['function_start']:#x}") for r in site["registers"])
            row(f"`{Path(module['path']).name}`", f"`{name}`", count, ", ".join(registers))


def first_uses(wheel: Path) -> None:
    """Three expressions as a new thread's first use, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, taker = Path(name) / "drjit", Path(name) / "taker.so"
        zipfile.ZipFile(wheel).extractall(folder)
        (Path(name) / "taker.c").write_text(TAKER)
        flags = ["-O1", "-fPIC", "-shared", "-mtls-dialect=gnu2", "-o", str(taker)]
        subprocess.run([require("gcc"), *flags, str(Path(name) / "taker.c")], check=True)
        heading("opened before", "`GLIBC_TUNABLES`", *(f"`{expression}`" for expression in EXPRESSIONS))
        for before in ("-", str(taker)):
            for tunables in TUNABLES:
                answers = [_run(folder, before, tunables, expression) for expression in EXPRESSIONS]
                row("nothing" if before == "-" else "496 bytes of TLS", f"`{tunables}`" if tunables else "none", *answers)


def _run(folder: Path, before: str, tunables: str, expression: str) -> str:
    words = [sys.executable, str(SOURCES / "drjit_first_use.py"), str(folder), before, expression]
    environment = {**os.environ, "GLIBC_TUNABLES": tunables}
    run = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return (
        run.stdout.strip() if run.returncode == 0 else f"signal {-run.returncode}" if run.returncode < 0 else run.stderr.strip().splitlines()[-1]
    )


def main() -> int:
    """Print the tables."""
    wheel = downloaded()
    code_table(wheel)
    print()
    first_uses(wheel)
    return 0


if __name__ == "__main__":
    sys.exit(main())
