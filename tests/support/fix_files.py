"""Build files put together by chance, each with the edit that is expected of it: an oracle that knows where the flag was put."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st

from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.fix.edit import Proposal, apply, decode
from tls_wheel_guard.fix.project import Project
from tls_wheel_guard.fix.propose import Asked, propose

IE, GD = "-ftls-model=initial-exec", "-ftls-model=global-dynamic"
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Case:
    """A file's bytes, and those that it must have once it is fixed."""

    path: str
    before: bytes
    after: bytes


def proposal_for(files: dict[str, bytes], asked: Asked | None = None, folder: str = "") -> Proposal:
    """What ``fix`` proposes for some files."""
    return propose(Project({path: decode(path, data).text for path, data in files.items()}, folder), known_culprits(), asked)


def fixed(files: dict[str, bytes], asked: Asked | None = None, *, unsafe: bool = True) -> dict[str, bytes]:
    """The files with the edits in them."""
    found = proposal_for(files, asked)
    result = dict(files)
    for path in {edit.path for edit in found.edits}:
        file = decode(path, files.get(path, b""))
        result[path] = file.encode(apply(file.text, [e for e in found.edits if e.path == path and (unsafe or e.safe)]))
    return result


_words = st.text("abcdefghijklmnopqrstuvwxyzäöß中-_", min_size=1, max_size=8)
_names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8).map(lambda name: f"x{name}")
_blank = st.sampled_from(["", " ", "  "])


def _ended(draw: st.DrawFn, lines: list[str], changed: list[str]) -> tuple[bytes, bytes]:
    """The two texts with one chance of line ends, byte order mark and final newline."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    end = draw(st.sampled_from(["", newline, newline * 2]))
    mark = draw(st.sampled_from([b"", BOM]))
    first, second = (mark + (newline.join(text).replace("\0", newline) + end).encode() for text in (lines, changed))
    return first, second


@st.composite
def setup_scripts(draw: st.DrawFn) -> Case:
    """A setup.py with a literal list of flags among other code."""
    quote = draw(st.sampled_from(['"', "'"]))
    other = draw(st.lists(st.sampled_from(["-O2", "-g", "-Wall", "-fPIC", f"-D{draw(_names)}=1"]), max_size=3))
    place = draw(st.integers(0, len(other)))
    flags = [*other[:place], IE, *other[place:]]
    comma = f",{draw(_blank)}" if draw(st.booleans()) else ",\0        "
    listed = comma.join(f"{quote}{flag}{quote}" for flag in flags)
    form = draw(st.sampled_from(["keyword", "variable", "added", "appended", "text"]))
    body = {
        "keyword": [f"ext = Extension('x', ['x.c'], extra_compile_args=[{listed}])"],
        "variable": [f"flags{draw(_blank)}= [{listed}]  # {draw(_words)}"],
        "added": ["flags = []", "if True:", f"    flags += [{listed}]"],
        "appended": ["flags = []", f"flags.append({quote}{IE}{quote})"],
        "text": [f"os.environ['CFLAGS'] = {quote}{' '.join(flags)}{quote}"],
    }[form]
    before = [
        f"# {draw(_words)}",
        "import os",
        "from setuptools import Extension, setup",
        *(f"{draw(_names)} = '{draw(_words)}'" for _ in range(draw(st.integers(0, 3)))),
    ]
    after = [f"note = 'no {draw(_words)} here'", f"# {draw(_words)} {IE if draw(st.booleans()) else ''}"]
    lines = [*before, *body, *after]
    changed = [*before, *(line.replace(IE, GD) for line in body), *after]
    return Case("setup.py", *_ended(draw, lines, changed))


@st.composite
def cmake_lists(draw: st.DrawFn) -> Case:
    """A CMakeLists.txt with a literal flag among other commands, comments and bracket arguments."""
    flag = draw(st.sampled_from([IE, f'"{IE}"', f'"-O2 {IE} -g"', f"-O2 {IE}"]))
    command = draw(
        st.sampled_from([
            "target_compile_options(x PRIVATE {})", "add_compile_options({})", 'set(CMAKE_C_FLAGS "${{CMAKE_C_FLAGS}}" {})',
            "list(APPEND flags\0  {}\0)", "set_target_properties(x PROPERTIES COMPILE_OPTIONS {})", "TARGET_COMPILE_OPTIONS( x PUBLIC {} ) # end",
        ])
    )  # fmt: skip
    noise = [
        "cmake_minimum_required(VERSION 3.18)",
        f"project({draw(_names)} C)",
        f"# {draw(_words)} {IE}",
        f"message([=[ {draw(_words)} ]] {IE} ]=])",
    ]
    noise += [f'set({draw(_names)} "{draw(_words)}")', "#[[ a comment", f"  with {IE} ]]", "if(WIN32)", "endif()"]
    place = draw(st.integers(0, 4))
    lines = [*noise[:place], command.format(flag), *noise[place:]]
    changed = [*noise[:place], command.format(flag.replace(IE, GD)), *noise[place:]]
    return Case("CMakeLists.txt", *_ended(draw, lines, changed))


@st.composite
def meson_builds(draw: st.DrawFn) -> Case:
    """A meson.build with a literal flag in a list of arguments."""
    flags = draw(st.permutations(["'-O2'", f"'{IE}'", "'-g'"]))
    gap = draw(st.sampled_from([", ", ",", ",\0  "]))
    line = draw(
        st.sampled_from([
            "shared_library('x', 'x.c', c_args: [{}], install: true)", "add_project_arguments({}, language: 'c')", "flags = [{}]",
            "flags += [ {} ] # end", "py.extension_module('x', 'x.c', cpp_args : [{}])",
        ])
    )  # fmt: skip
    noise = [f"project('{draw(_names)}', 'c')", f"# {draw(_words)} {IE}", f"note = '''{draw(_words)}'''", f"{draw(_names)} = ['{draw(_words)}']"]
    place = draw(st.integers(1, len(noise)))
    lines = [*noise[:place], line.format(gap.join(flags)), *noise[place:]]
    changed = [*noise[:place], line.format(gap.join(flags)).replace(IE, GD), *noise[place:]]
    return Case("meson.build", *_ended(draw, lines, changed))


FORMS = {
    'mimalloc = "0.1.46"': 'mimalloc = { version = "0.1.46", features = ["local_dynamic_tls"] }',
    'mimalloc = { version = "0.1", default-features = false }': (
        'mimalloc = { version = "0.1", default-features = false, features = ["local_dynamic_tls"] }'
    ),
    'mimalloc = { version = "0.1", features = ["secure"] }': 'mimalloc = { version = "0.1", features = ["secure", "local_dynamic_tls"] }',
    "mimalloc = { features=['secure'], version='0.1' } # c": "mimalloc = { features=['secure', \"local_dynamic_tls\"], version='0.1' } # c",
    'alloc = { package = "mimalloc", version = "0.1" }': 'alloc = { package = "mimalloc", version = "0.1", features = ["local_dynamic_tls"] }',
    'mimalloc = { version = "0.1", features = [\0  "secure", # why\0] }': (
        'mimalloc = { version = "0.1", features = [\0  "secure", # why\0  "local_dynamic_tls",\0] }'
    ),
    'mimalloc = { version = "0.1", features = [\0  "secure"\0] }': (
        'mimalloc = { version = "0.1", features = [\0  "secure",\0  "local_dynamic_tls"\0] }'
    ),
    'mimalloc.version = "0.1"': 'mimalloc.version = "0.1"\0mimalloc.features = ["local_dynamic_tls"]',
    'mimalloc = { version = "0.1", features = [] }': 'mimalloc = { version = "0.1", features = ["local_dynamic_tls"] }',
}
"""Ways to write the dependency, each with what it must become; NUL is a line end."""


@st.composite
def cargo_manifests(draw: st.DrawFn) -> Case:
    """A Cargo.toml with mimalloc among other dependencies and tables, in any of the forms that cargo takes."""
    form = draw(st.sampled_from(sorted(FORMS)))
    table = draw(st.sampled_from(["[dependencies]", "[target.'cfg(not(windows))'.dependencies]", '[target."cfg(unix)" . dependencies]']))
    others = [f'{draw(_names)} = "{draw(st.integers(0, 9))}"' for _ in range(draw(st.integers(0, 3)))]
    others = list({line.split(" ")[0]: line for line in others}.values())
    place = draw(st.integers(0, len(others)))
    head = ["# " + draw(_words), "[package]", 'name = "x"', 'version = "1.0.0"', "", "[lib]", 'crate-type = ["cdylib"]', ""]
    tail = ["", "[[bin]]", f'name = "{draw(_names)}"', "", "[dev-dependencies]", 'serde.version = "1" # mimalloc', "", "[[bin]]", 'name = "y"']
    tail = tail if draw(st.booleans()) else []
    text = [*head, table, *others[:place], form, *others[place:], *tail]
    changed = [*head, table, *others[:place], FORMS[form], *others[place:], *tail]
    return Case("Cargo.toml", *_ended(draw, text, changed))


files = st.one_of(setup_scripts(), cmake_lists(), meson_builds(), cargo_manifests())

PIECES = (
    "-ftls-model=initial-exec", '"', "'", "(", ")", "[", "]", "{", "}", "#", "#[[", "\n", "\r", "=", "\\", "'''", '"""', "mimalloc", "\0",
    "\ufeff", "é", ",",
)  # fmt: skip


def damaged(chance: random.Random, data: bytes) -> bytes:
    """A file cut, overwritten, doubled or with pieces of its own language put in."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + chance.choice(PIECES).encode() + data[at:]
        elif kind == 3:
            data = data[:at] + data[chance.randrange(len(data) + 1) :]
        else:
            data = data[at:] + data[:at]
    return data
