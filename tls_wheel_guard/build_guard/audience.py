"""Who a build is for: somebody who releases is stopped by a finding, somebody who installs an sdist is told.

Who installs can mend nothing, often needs nothing of the module that was found, and has no other way to get the package: docs/builds.md.
"""

from __future__ import annotations

from pathlib import Path

from tls_wheel_guard.config.model import Config

__all__ = ["is_told"]

CHECKOUTS = (".git", ".hg", ".svn", ".jj", ".bzr", ".fslckout", "_darcs")
"""What version control leaves in the root of a checkout."""
VIA_SDIST = "build-via-sdist-"
"""How `python -m build` names the folder in which it makes a wheel of the sdist that it has just made (pypa/build, __main__.py)."""


def is_told(config: Config, project: Path) -> bool:
    """Whether the build of a project is only told of its findings.

    That is so with ``stop = "releases"`` in an unpacked sdist, which has PKG-INFO in its root (the specification of sdists) and no
    version control. A maintainer's `python -m build` builds in an unpacked sdist too; it is known by the folder.
    """
    if config.stop == "everyone" or not (project / "PKG-INFO").is_file():
        return False
    if any((project / name).exists() for name in CHECKOUTS):
        return False
    return not any(part.startswith(VIA_SDIST) for part in project.resolve().parts)
