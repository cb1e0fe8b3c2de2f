"""What the other commands report, with WORDS for names: diagnoses, simulations, interpreters, repairs, edits of a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tls_wheel_guard.doctor.result import Advice, Asked, Diagnosis, Share, Stage
from tls_wheel_guard.fix import edit
from tls_wheel_guard.fix.result import Fix, Proof, Seen
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.loaders import loader_called
from tls_wheel_guard.loaders.link_map import Step
from tls_wheel_guard.loaders.simulation import Assumed, Simulation, StepReport
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.result import Repair
from tls_wheel_guard.report import doctor, env, filling_html, simulation
from tls_wheel_guard.report.fix import write_fix, write_fix_json
from tls_wheel_guard.report.json import diagnosis_document, live_document, simulation_document, to_text
from tls_wheel_guard.report.repair import write_repair, write_repair_json

__all__ = ["PROCESSES"]

LIVE = Live(
    "/opt/qxproject/python", "CPython qxversion", "glibc", "qxversion", "x86_64", 2, 144, 1856, 64, 512, 1712, "qxreason",
    {"optional_static_tls": 512}, imported=("qxmember",), files=("/qxneeded.so",),
)  # fmt: skip
REFUSED = "qxsymbol: cannot allocate memory in static TLS block: qxerror"
DIAGNOSIS = Diagnosis(
    LIVE, "static-tls", (Stage("qxproject"), Stage("qxmember", f"ImportError: {REFUSED}", "qxerror")),
    (Share("qxproject", "/a/qxneeded.so", 64), Share(None, "/a/qxsoname.so", 16)), 100, (REFUSED,),
    Asked(("/a/qxmember.so", "/a/qxfunction.so"), "/a/qxsoname.so", 2048, 64, "/a/qxwheel.so", used_before=True), has_model=True,
    advice=(
        Advice("import-order", True, "import qxmember first", "python -c 'import qxmember'", simulated=True, ran=True, then="qxerror"),
        Advice("tunables", False, "qxreason"), Advice("author", True, "qxfunction of qxproject"),
    ),
    not_tried=("qxtag",), hint="qxreason",
)  # fmt: skip
"""Where everything is said that a diagnosis may say of an import that fails."""
LOADER = loader_called("glibc-2.36")
SIMULATION = Simulation(
    LOADER, {"used": 144, "limit": 1856}, 1712,
    (StepReport("open", "a/qxmember.so", Step(True, 64), 208, 1648, 64),
     StepReport("open", "b/qxmember.so", Step(False, 0, f"qxsoname: {REFUSED}", "room"), 208, 1648, 9000)),
    (Assumed("library", "qxneeded", "a/qxmember.so"), Assumed("variable", "qxsymbol", "b/qxmember.so")), ("b/qxmember.so", "a/qxmember.so"),
)  # fmt: skip
REFUSAL = Repair("qxwheel.whl", "dist/qxwheel.whl")
LEFT = Repair("qxwheel.whl", "dist/qxwheel.whl", left=("qxmember.so",), written="out/qxwheel.whl")
FIX = Fix(
    "/a/qxproject", (), (edit.Advice("qxmember/Cargo.toml", 3, "qxreason", "qxerror", "mimalloc"),), {},
    proof=Proof(Seen(("qxwheel",), 1, 1, ("qxmember",)), Seen(error="qxerror")),
)  # fmt: skip


Named = Callable[[Any], Any]


def _repairs(named: Named) -> list[Repair]:
    """Errors are no records, so this one is made with the names in it."""
    refused = (named("qxmember.so"), CannotRepair("go", named("qxreason"), hint=named("qxerror")))
    return [replace(named(REFUSAL), refused=(refused,)), named(LEFT)]


PROCESSES: Mapping[str, Callable[[Named], str]] = {
    "doctor text": lambda named: doctor.text(named(DIAGNOSIS)),
    "doctor html": lambda named: filling_html.write_diagnosis(named(DIAGNOSIS)),
    "simulate text": lambda named: simulation.text(named(SIMULATION)),
    "simulate html": lambda named: filling_html.write_simulation(named(SIMULATION)),
    "env text": lambda named: env.text(named(LIVE)),
    "doctor json": lambda named: to_text(diagnosis_document(named(DIAGNOSIS))),
    "simulate json": lambda named: to_text(simulation_document(named(SIMULATION))),
    "env json": lambda named: to_text(live_document(named(LIVE))),
    "repair text": lambda named: "".join(write_repair(repair, True, {}) for repair in _repairs(named)),
    "repair json": lambda named: write_repair_json(_repairs(named)),
    "fix text": lambda named: write_fix(named(FIX)),
    "fix json": lambda named: write_fix_json(named(FIX)),
}
"""A writer's name -> its text, from the values above once ``named`` has put names into them."""
