"""What a build made: wheels in folders, modules in the source tree, modules installed from it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.installed import HOUR, TAG, installed, put
from tls_wheel_guard.build_guard.products import changed_modules, editable_modules, installed_modules, wheels_in


def test_modules_of_the_source_tree(tmp_path: Path) -> None:
    new, old = put(tmp_path / "pkg" / "libnew.so.1"), put(tmp_path / "src" / f"_old{TAG}", age_hours=2)
    put(tmp_path / "pkg" / "libold.so", age_hours=2)
    put(tmp_path / "pkg" / "text.so", b"INPUT(libc.so.6)")
    for skipped in ("target", ".git", "node_modules", "venv"):
        put(tmp_path / skipped / f"m{TAG}")
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "link.so").symlink_to(new)
    assert changed_modules(tmp_path, time.time_ns() - HOUR) == [new]
    assert editable_modules(tmp_path, time.time_ns() - HOUR) == [new, old]


def test_wheels_that_change(tmp_path: Path) -> None:
    wheel = put(tmp_path / "dist" / "a.whl", b"1")
    folders = [tmp_path / "dist", tmp_path / "missing"]
    before = wheels_in(folders)
    assert list(before) == [wheel]
    put(wheel, b"22")
    assert wheels_in(folders) != before


def test_modules_installed_from_the_project(tmp_path: Path) -> None:
    project, started = tmp_path / "my project", time.time_ns() - HOUR
    site = project / ".venv" / "lib" / "python3.12" / "site-packages"
    mine = installed(site, "mine", {"url": project.as_uri(), "dir_info": {"editable": True}})
    member = installed(site, "member", {"url": (project / "crates" / "member").as_uri(), "dir_info": {}})
    others: dict[str, dict[str, object] | str | None] = {
        "wheel": {"url": "https://example.org/wheel-1.0.whl", "archive_info": {}},
        "other": {"url": tmp_path.as_uri(), "dir_info": {}},
        "none": None,
        "broken": "{",
        "list": "[]",
    }
    for name, origin in others.items():
        installed(site, name, origin)
    assert set(installed_modules(project, {}, started)) == {mine, member}
    assert installed_modules(project, {}, time.time_ns() + HOUR) == []
    assert set(installed_modules(project / "crates", {"VIRTUAL_ENV": str(project / ".venv")}, started)) == {member}
