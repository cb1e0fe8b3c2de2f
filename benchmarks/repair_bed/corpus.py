"""Every wheel of a folder: repaired, or refused for a reason; reads by form."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repair_machines import TestedMachine
from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.commands.repair import Wanted, repair_file
from tls_wheel_guard.errors import TlsWheelGuardError
from tls_wheel_guard.inputs.opening import inspect_file


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what has no explanation."""
    print("\n## A corpus of wheels\n")
    heading("wheel", "module", "reads", "forms", "layout", "bytes added", "or refused")
    wrong: list[str] = []
    repaired, refused, forms, seconds = 0, Counter[str](), Counter[str](), 0.0
    for wheel in sorted(folder.glob("*.whl")):
        contents = inspect_file(wheel)
        if not any(module.facts.machine_name == machine.name for module in contents.initial_exec):
            continue
        with tempfile.TemporaryDirectory() as name:
            started = time.perf_counter()
            try:
                repair = repair_file(wheel, Path(name) / wheel.name, Wanted())
            except TlsWheelGuardError as error:
                wrong.append(f"{wheel.name}: {error.line()}")
                continue
            seconds = max(seconds, time.perf_counter() - started)
            short = re.sub(r"-(cp\d+|py\d*)-.*", "", wheel.name)
            for module, why in repair.refused:
                refused[why.rule] += 1
                row(short, module.rpartition("/")[2], "", "", "", "", f"{why.rule}: {why.reason}")
            for module, plan in repair.modules if not repair.refused else ():
                said = ", ".join(f"{count} {form}" for form, count in plan.forms.items())
                row(
                    short,
                    module.rpartition("/")[2],
                    len(plan.sites),
                    said,
                    f"{plan.layout.how} {plan.layout.place}".strip() + f", {plan.descriptors}",
                    plan.bytes_added,
                    "",
                )
                forms.update(plan.forms)
            if not repair.refused:
                repaired += 1
                left = [
                    found.rule
                    for found in check_wheel(Path(name) / wheel.name).findings
                    if "initial-exec" in found.rule or "damaged" in found.rule
                ]
                wrong += [f"{wheel.name}: {left} after the repair"] if left else []
    print(
        f"\n{repaired} wheels repaired; refused modules by rule: {dict(refused)}; reads by form: {dict(forms)}; longest repair {seconds:.1f} s.",
        flush=True,
    )
    return wrong
