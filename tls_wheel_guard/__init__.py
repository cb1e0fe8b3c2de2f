"""Finds native code in wheels that dlopen will refuse for want of static TLS, before the release.

    from tls_wheel_guard import check_wheel
    report = check_wheel("dist/x.whl")
    report.findings, report.worst, report.to_dict()

Raises only subclasses of TlsWheelGuardError.
"""

from __future__ import annotations

from tls_wheel_guard.version import __version__

TYPE_CHECKING = False  # typing itself would double what `--version` takes
if TYPE_CHECKING:
    from typing import Any

    from tls_wheel_guard.api import check_path, check_wheel, load_config, simulate
    from tls_wheel_guard.commands.fix import fix_project
    from tls_wheel_guard.commands.repair import repair_wheel
    from tls_wheel_guard.config.model import Config
    from tls_wheel_guard.errors import TlsWheelGuardError
    from tls_wheel_guard.findings import Finding, Report
    from tls_wheel_guard.loaders.simulation import Simulation

__all__ = [
    "Config", "Finding", "Report", "Simulation", "TlsWheelGuardError", "__version__", "check_path", "check_wheel", "fix_project", "load_config",
    "repair_wheel", "simulate",
]  # fmt: skip

_HOMES = {
    "Config": "config.model", "Finding": "findings", "Report": "findings", "TlsWheelGuardError": "errors",
    "Simulation": "loaders.simulation", "check_path": "api", "check_wheel": "api", "load_config": "api", "simulate": "api",
    "fix_project": "commands.fix", "repair_wheel": "commands.repair",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `--version` and the build plugins do not pay for what they do not use.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
