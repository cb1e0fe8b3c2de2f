"""Inputs opened for one question."""

from __future__ import annotations

from pathlib import Path

from tls_wheel_guard.commands.show import sites_in
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.machine_code.access_sites import Sites

__all__ = ["sites_of", "tree_contents"]


def sites_of(path: Path) -> dict[str, Sites]:
    """Module's path -> its access sites."""
    with open_input(path) as opened:
        names = {module.index: module.name for module in opened.contents.modules}
        return {names[index]: sites for index, sites in sites_in(opened).items()}


def tree_contents(root: Path, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """What a folder holds, as ``--tree`` sees it."""
    with open_input(root, limits, tree=True) as opened:
        return opened.contents
