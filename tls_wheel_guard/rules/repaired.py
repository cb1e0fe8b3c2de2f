"""Rules about modules that `repair` has changed."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.rules.input import RuleInput, hints

__all__ = ["damaged"]


def damaged(case: RuleInput) -> Iterator[Finding]:
    """Repaired modules that another tool broke afterwards."""
    for module in case.shared:
        if module.damage:
            yield Finding(
                "damaged-repair",
                "error",
                module.path,
                ("it was repaired, and another tool has broken it since: " + "; ".join(module.damage) + ".",),
                hints(
                    "run that tool (strip, patchelf, objcopy), or a newer one, before the repair: begin with the wheel as it was before both",
                    module=module.path,
                    rule="damaged-repair",
                ),
            )
