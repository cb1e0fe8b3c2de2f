"""docs/how-it-works.md: every command is run and prints what is shown, the loaders' words are the models', the pictures are current."""

from __future__ import annotations

import os
import platform
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.page_sessions import Shown, files_of, matches, session_of
from tests.support.toolchain import missing, require
from tls_wheel_guard.loaders.refusals import REFUSALS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
PICTURES = DOCS / "pictures"
TOOLS = ("gcc", "musl-gcc", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", "arm-linux-gnueabihf-gcc", "readelf", "objdump", "gdb")
EMULATOR = "qemu-aarch64"
SHELL = {"sh", "for", "grep", "./open", "./open-musl", "./call", "/lib64/ld-linux-x86-64.so.2", "tls-wheel-guard"}


def programs(command: str) -> set[str]:
    """The words that a command line begins programs with."""
    return {re.sub(r"^(?:\w+=\S+ )+", "", part.strip()).split()[0] for part in command.replace("\\\n", "").split(" | ")}


def same_system() -> None:
    """Skip elsewhere than on the system whose tools the page shows."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if (release.get("ID"), release.get("VERSION_ID"), platform.machine()) != ("debian", "12", "x86_64"):
        missing("Debian 12 on x86-64, whose output the page shows,")


def run_as_shown(folder: Path, *, emulated: bool) -> None:
    """Type every command of the page in a folder, and hold what it prints beside what is shown. ``emulated``: those of other machines too."""
    same_system()
    for tool in TOOLS:
        require(tool)
    for name, text in files_of(PAGE).items():
        (folder / name).write_text(text)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    for each in session_of(PAGE):
        if EMULATOR in programs(each.command) and not emulated:
            continue
        run = subprocess.run(["sh", "-c", each.command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert matches(each.output, run.stdout), f"$ {each.command}\n{run.stdout}{run.stderr}"
        # 1 is an answer that is shown: a refusal, or nothing found.
        assert run.returncode in ((0, 1) if each.output else (0,)), each.command


@pytest.mark.compiler
def test_every_command_prints_what_is_shown(tmp_path: Path) -> None:
    run_as_shown(tmp_path, emulated=False)


@pytest.mark.compiler
@pytest.mark.emulated
def test_commands_for_other_machines_print_what_is_shown(tmp_path: Path) -> None:
    require(EMULATOR)
    run_as_shown(tmp_path, emulated=True)


def test_the_tools_and_files_of_the_page_are_known() -> None:
    shown = list(session_of(PAGE))
    assert len(shown) > 40
    assert set().union(*(programs(each.command) for each in shown)) <= {*TOOLS, *SHELL, EMULATOR}
    used = " ".join(each.command for each in shown)
    assert all(name in used for name in files_of(PAGE))


def test_sessions_are_read_as_they_are_shown() -> None:
    page = "text\n\n    $ one\n    1\n    ...\n    $ two | three;\n    > four\n\n    plain code\n\n```c\n/* a.c */\nint a;\n```\n"
    assert list(session_of(page)) == [Shown("one", ("1", "...")), Shown("two | three;\nfour", ())]
    assert files_of(page) == {"a.c": "/* a.c */\nint a;\n"}
    assert matches(["1", "...", "3  x"], "1\n2\n3\tx\n")
    assert matches(["...", "a ... c"], "0\na b c\n")
    assert not matches(["1", "3"], "1\n2\n3\n")
    assert not matches(["1"], "1\n2\n")
    assert not matches([], "1\n")


def test_the_table_of_loaders_has_their_words() -> None:
    table = re.findall(r"^\| ([A-Z]?\w+)[^|]*\| [^|]*\| ([^|]+) \|$", PAGE.partition("| loader |")[2].partition("\n\n")[0], re.MULTILINE)
    known = {(row.says(definer="FILE", asking="FILE", symbol="NAME")) for row in REFUSALS}
    words = [text.strip("`") for _, text in table if text.startswith("`")]
    assert len(words) == 6
    assert not {text for text in words if not any(text in each for each in known)}


def test_pictures_are_current() -> None:
    made = runpy.run_path(str(PICTURES / "make_pictures.py"))["PICTURES"]
    assert {path.stem for path in PICTURES.glob("*.svg")} == set(made)
    for name, draw in made.items():
        assert (PICTURES / f"{name}.svg").read_text(encoding="utf-8") == draw(), "run docs/pictures/make_pictures.py"


def test_pictures_are_shown_with_words_for_those_who_do_not_see_them() -> None:
    shown = dict(re.findall(r"^!\[(.+)\]\(pictures/([\w-]+)\.svg\)$", PAGE, re.MULTILINE))
    assert {name: len(text) > 100 for text, name in shown.items()} == {path.stem: True for path in PICTURES.glob("*.svg")}


def test_nothing_in_a_picture_leaves_it() -> None:
    """By the width of a wide sans-serif, 0.6 of its size a letter: 0.62 in bold."""
    for path in PICTURES.glob("*.svg"):
        root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            kind = text.attrib["class"]
            size = (14 if "small" in kind or "code" in kind else 16) * (0.62 if "strong" in kind else 0.56) * len(text.text or "")
            x, anchor = float(text.attrib["x"]), text.attrib["text-anchor"]
            left = x - {"start": 0, "middle": size / 2, "end": size}[anchor]
            assert left >= 0, (path.name, text.text)
            assert left + size <= width, (path.name, text.text)
            assert 0 < float(text.attrib["y"]) < height
