"""What ``repair`` did or would do, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tls_wheel_guard.repair.new_code import PlannedSite
from tls_wheel_guard.repair.plan import RepairPlan
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.result import Repair
from tls_wheel_guard.report.json import to_text
from tls_wheel_guard.report.style import text_of

__all__ = ["repair_document", "write_repair", "write_repair_json"]

WIDTH = 62
"""Columns of the code before, beside the code after."""
Listing = Sequence[tuple[int, int, str, str]]
JUMPS = {"x86_64": "jmp {:#x}; nop", "aarch64": "b {:#x}"}
"""Machine -> what stands in a read's place."""
"""(address, size, mnemonic, operands) of instructions."""


def write_repair_json(found: Sequence[Repair]) -> str:
    """The document as text."""
    return to_text(repair_document(found))


def repair_document(found: Sequence[Repair]) -> dict[str, Any]:
    """The document of ``repair --format json``."""
    return {"version": 1, "wheels": [_wheel(repair) for repair in found]}


def _wheel(repair: Repair) -> dict[str, Any]:
    return {
        "wheel": repair.wheel,
        "path": repair.path,
        "written": repair.written,
        "modules": [_module(name, plan) for name, plan in repair.modules],
        "allowed": list(repair.left),
        "refused": [_refusal(name, error) for name, error in repair.refused],
    }


def _module(name: str, plan: RepairPlan) -> dict[str, Any]:
    return {
        "path": name,
        "sites": len(plan.sites),
        "forms": plan.forms,
        "slots": len(plan.slots),
        "flavour": plan.flavour,
        "bytes_added": plan.bytes_added,
        "layout": plan.layout_words,
        "warning": plan.layout.warning or None,
        "functions": [{"function": function, "sites": [site.site.address for site in sites]} for function, sites in _by_function(plan)],
    }


def _refusal(name: str, error: CannotRepair) -> dict[str, Any]:
    return {
        "module": name,
        "rule": error.rule,
        "address": error.address,
        "bytes": error.found.hex(" ") or None,
        "reason": error.reason,
        "hint": error.hint,
    }


def _by_function(plan: RepairPlan) -> list[tuple[str, list[PlannedSite]]]:
    """The sites of each function, in the order of the first of each. One without a name is called by its address."""
    found: dict[str, list[PlannedSite]] = {}
    for planned in plan.sites:
        found.setdefault(planned.function or "code without a function", []).append(planned)
    return list(found.items())


def write_repair(repair: Repair, verbose: bool, listings: dict[tuple[str, int], Listing]) -> str:
    """One file as text. ``listings``: (module, address of a thunk) -> its instructions, for ``verbose``."""
    return text_of(_lines(repair, verbose, listings))


def _lines(repair: Repair, verbose: bool, listings: dict[tuple[str, int], Listing]) -> Iterator[str]:
    yield from (f"{repair.path}: {name} can't be repaired: {error.line()}" for name, error in repair.refused)
    if repair.refused:
        yield f"{repair.path}: nothing was written"
        return
    yield from (f"{repair.path}: {name} is left as it is: its finding is allowed" for name in repair.left)
    if not repair.modules:
        yield f"{repair.path}: nothing {'else ' if repair.left else ''}to repair"
    for name, plan in repair.modules:
        yield from _plan_lines(f"{repair.path}: {name}", plan)
        for function, sites in _by_function(plan) if verbose or repair.written is None else ():
            yield f"    {_sites(len(sites))} in {function}"
            for planned in sites if verbose else ():
                yield from _side_by_side(plan.machine, planned, listings.get((name, planned.thunk_address), ()))
    if repair.written is not None:
        yield f"{repair.path}: written to {repair.written}"


def _sites(count: int) -> str:
    return f"{count} read{'s' if count != 1 else ''}"


def _plan_lines(head: str, plan: RepairPlan) -> Iterator[str]:
    forms = ", ".join(f"{count} {form}" for form, count in plan.forms.items())
    kept = {
        ("x86_64", "guarded"): "vector registers kept at a thread's first access",
        ("x86_64", "plain"): "for musl, whose descriptors keep all registers",
    }.get((plan.machine, plan.flavour), "no guard: descriptors keep all registers on this machine")
    slots = f"{len(plan.slots)} slot{'s' if len(plan.slots) != 1 else ''}"
    yield f"{head}: {_sites(len(plan.sites))} of {slots}{f' ({forms})' if forms else ''} go through descriptors; {plan.bytes_added:+,} bytes"
    yield f"    {plan.layout_words}; {kept}"
    if plan.layout.warning:
        yield f"    warning: {plan.layout.warning}"
    if plan.unwinding == "none":
        yield "    its frames are in no table that unwinders search: backtraces end in the new code, as they end in the old"


def _side_by_side(machine: str, planned: PlannedSite, listing: Listing) -> Iterator[str]:
    site = planned.site
    before = f"{site.address:#x}  {site.text}"
    after = [
        f"{site.address:#x}  {JUMPS[machine].format(planned.thunk_address)}",
        *(f"{address:#x}  {name} {text}".rstrip() for address, _, name, text in listing),
    ]
    for number, line in enumerate(after):
        yield f"        {before if number == 0 else '':<{WIDTH}}{line}".rstrip()
