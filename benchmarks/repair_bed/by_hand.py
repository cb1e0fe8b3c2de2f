"""Reads that compilers seldom make, written by hand: followed with the same values, or refused."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repair_breakers_aarch64 import BREAKERS, FRAME_BREAKERS, broken
from tests.support.repair_forms_aarch64 import FORMS, Form, form_source
from tests.support.repair_machines import TestedMachine
from tests.support.repairing import build_object, linker_truth, repair_file, run_host
from tls_wheel_guard.repair.refusal import CannotRepair

LINKERS = ("bfd", "gold", "lld", "mold")


def outcome(form: Form, linker: str, folder: Path, machine: TestedMachine) -> tuple[str, str]:
    """A cell of the table, and what was wrong."""
    (folder / "form.s").write_text(form_source(form))
    try:
        before = build_object(
            folder / "form.s", folder / "form.so", "gcc", "-nostdlib", *machine.linkers[linker], *form.flags, "-Wl,-q", machine=machine
        )
    except AssertionError:
        return "not made", ""
    try:
        plan = repair_file(before, folder / "formed.so")
    except CannotRepair as error:
        return f"refused ({error.rule})", "" if form.refused or form.may_refuse else error.line()
    runs = [run_host(machine.runtime(), "values", path, "4", "5") for path in (before, folder / "formed.so")]
    same = runs[0].returncode == runs[1].returncode == 0 and runs[0].stdout == runs[1].stdout and len(runs[0].stdout.split()) == 5
    found = {planned.site.address for planned in plan.sites}
    missed = len(linker_truth(before) - found)
    wrong = "accepted" if form.refused else "" if same and (not missed or form.moved) else f"same values {same}, {missed} reads missed"
    return f"{len(found)} reads, {'same' if same else 'other'} values", wrong


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    wrong = []
    print("\n## Reads written by hand\n")
    print("Each with four linkers: the values of four threads and main beside the original's, or a refusal.\n")
    heading("what", "must be", *LINKERS)
    for name, form in FORMS.items():
        cells = []
        for linker in LINKERS:
            cell, fault = outcome(form, linker, folder, machine)
            cells.append(cell)
            wrong += [f"{name}, {linker}: {fault}"] if fault else []
        row(name, "refused" if form.refused else "right or refused" if form.may_refuse else "right", *cells)
    return wrong + _broken(folder, machine)


def _broken(folder: Path, machine: TestedMachine) -> list[str]:
    """Thunks with a fault each: what sees it."""
    wrong, few = [], machine.probes.few_probes()
    objects = {}
    for mode in ("probes", "steps"):
        (folder / "b.s").write_text(machine.probes.probe_source(few, trap=mode == "steps"))
        objects[mode] = build_object(folder / "b.s", folder / f"b-{mode}.so", "gcc", *machine.probe_flags, machine=machine)
    print(f"\nThunks with a fault each, in {len(few)} register probes or single steps:\n")
    heading("fault", "the run", "the proof")
    for breakers, mode in ((BREAKERS, "probes"), (FRAME_BREAKERS, "steps")):
        expected = run_host(machine.runtime(), mode, objects[mode], str(len(few)), "0", clobber=True).stdout.splitlines()
        for name, breaker in breakers.items():
            said = broken(objects[mode], folder / "broken.so", breaker)
            run = run_host(machine.runtime(), mode, folder / "broken.so", str(len(few)), "0", clobber=True)
            found = run.stdout.splitlines()
            differing = sum(a != b for a, b in zip(expected, found, strict=False))
            seen = (
                f"ends with signal {-run.returncode}"
                if run.returncode
                else f"{differing} of {len(expected)} differ"
                if mode == "probes"
                else found[0]
            )
            row(name, seen, said[0] if said else "nothing")
            caught = run.returncode or (differing if mode == "probes" else "lost 0" not in found[0])
            wrong += [] if caught and said else [f"{name}: {seen}, {said[:1]}"]
    return wrong
