"""Hostile names in reports: of wheels, members, symbols, libraries, tags, projects, in reasons and errors, for every writer of every command.

An input is some texts with NUL between them, one for each WORD; they stand where a wheel's own words would, in findings, facts and
messages. A document must parse by a parser that is not ours; there must be no element, attribute, link, command or line in it that
harmless names do not make; a control character may stand in none but after the last step of all output.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.hostile import Wrong
from benchmarks.hostile.documents import LOOKS
from benchmarks.hostile.processes import PROCESSES
from benchmarks.hostile.scratch import scratch
from benchmarks.mutations import broken
from tests.support.checking import check
from tests.support.elf_builder import Reloc, Spec, Sym, build
from tests.support.modules import ie
from tests.support.reports import EVIL
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.findings import Report
from tls_wheel_guard.index.summary import CulpritRow, IndexSummary, ProjectRow, WorseRow
from tls_wheel_guard.report import WRITERS, Anchor, Style
from tls_wheel_guard.report import index as index_report
from tls_wheel_guard.report.style import safe_text

LONGEST = 4096
WORDS = ("qxwheel", "qxmember", "qxsymbol", "qxsoname", "qxneeded", "qxtag", "qxreason", "qxerror", "qxversion", "qxproject", "qxfunction")
NAMES = (
    '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</script><script>", "{{7*7}}{% raw %}", "[a](b)![c](d)<e@f.g>", "&amp;&#60;&lt",
    "``` \n# x\n| a | b |\n|---|---|", "::set-output name=x::y%0A", "]]><!--x-->", "http://a.b/c?d=e&f", "\u202eevil\u2066", "\x00"[:0] + "a\tb",
    "é中😀", "../../etc", " ", "'", "a" * 300, "\udcff\udc80", "https://www.example.org", "~~x~~ **y** _z_ <br>", "::error file=a,line=1::b",
    "a\nqzforged: ok", "b\r\nqzforged", "c\x85qzforged\u2028qzforged",
)  # fmt: skip
PARTS = len(WRITERS) + 3 + len(PROCESSES)
FORGED = "qzforged"
"""A line of a text that begins so is one that a name has made."""
PAGES = "https://docs.example/"


def seeds() -> list[bytes]:
    """Each attack in every place at once, and some in one place each."""
    evil = [*EVIL, *NAMES]
    rows = [[text] * len(WORDS) for text in evil] + [[evil[(n + k) % len(evil)] for n in range(len(WORDS))] for k in range(0, len(evil), 3)]
    return [b"\0".join(text[:900].encode("utf-8", "surrogatepass") for text in row)[:LONGEST] for row in rows]


def case(chance: random.Random, number: int, found: Sequence[bytes]) -> bytes:
    """Texts of several seeds, damaged as bytes are, or with pieces of attacks put in."""
    texts = [chance.choice(chance.choice(found).split(b"\0")) for _ in WORDS]
    for _ in range(chance.randint(1, 4)):
        n, piece = chance.randrange(len(texts)), chance.choice([*EVIL, *NAMES])[:300].encode("utf-8", "surrogatepass")
        at = chance.randrange(len(texts[n]) + 1)
        texts[n] = texts[n][:at] + piece + texts[n][at:] if number % 2 else broken(texts[n], chance)
    return b"\0".join(texts)[:LONGEST]


@functools.cache
def _reports() -> tuple[Report, ...]:
    """Reports with findings of nearly every rule, with WORDS for names."""
    folder = scratch()
    clean = build(Spec(soname="qxsoname", needed=("libc.so.6", "qxneeded")))
    members = {
        "qxmember.so": ie(flags=0, symbols=(Sym("qxsymbol"),), soname="qxsoname", needed=("qxneeded",)),
        "b/qxmember.so": build(Spec(header=(50, 64, True))),
        "c/qxmember.so": ie()[:200], "d.dylib": b"\xcf\xfa\xed\xfe", "big/qxmember.so": ie(1200), "huge.so": ie(9000), "clean.so": clean,
        "g.so": build(Spec(relocs=(Reloc(18, "qxsymbol"),), symbols=(Sym("qxsymbol", version="GLIBC_PRIVATE"),), needed=("libc.so.6",))),
    }  # fmt: skip
    allow = (Allow("qxmember.so", "initial-exec-tls", "qxreason"), Allow("qxproject.so", "initial-exec-tls", "qxreason"))
    targets = ("netbsd_10_0_amd64", "openbsd_7_5_amd64")
    first = check(folder, members, "manylinux1_x86_64.musllinux_1_1_x86_64", targets=targets, allow=allow)
    plain = check(folder, {"qxmember.so": ie(symbols=(Sym("qxsymbol"),))}, "musllinux_1_2_x86_64")
    named = replace(
        plain, wheel="qxwheel.whl", path="dist/qxwheel.whl", tags=("qxtag", *plain.tags), nested=("qxmember.zip",), excluded=("qxmember",)
    )
    unread = Report("qxwheel.whl", "dist/qxwheel.whl", error="qxerror: bytes", error_hint="qxreason")
    return (replace(first, wheel="qxwheel-1.0.whl"), named, unread, check(folder, {}, "any"))


SUMMARY = IndexSummary(
    "https://qxproject/simple/",
    dict.fromkeys(("wheels", "known", "clear", "judged", "failed", "bytes_read", "bytes_whole"), 3),
    1.5,
    {"error": 2},
    projects=(ProjectRow("qxproject", "qxversion", "error", 2, ("initial-exec-tls",), ("musl",), ("mimalloc",), 7),),
    culprits=(CulpritRow("mimalloc", 1, 2),),
    failed=(("qxwheel", "qxerror"),),
    worse=(WorseRow("qxwheel", None, "error"),),
    since=1,
)
_WORD = re.compile("|".join(WORDS))


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    """A value with the texts for WORDS in every string of it."""
    if isinstance(value, str):
        return _WORD.sub(lambda found: names[found[0]], value) if "qx" in value else value
    if isinstance(value, tuple):
        made = [_with_names(item, names) for item in value]
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not _has_words(value):
            return value
        fields = {f.name: _with_names(getattr(value, f.name), names) for f in dataclasses.fields(value) if f.init}
        return replace(value, **fields)
    return value


@functools.lru_cache(maxsize=4096)
def _told(identity: int, text: str) -> bool:
    del identity
    return "qx" in text


def _has_words(value: Any) -> bool:
    return _told(id(value), repr(value)) if not isinstance(value, Report) else True


STYLE = Style(
    width=90,
    verbosity=1,
    pages=lambda name: f"{PAGES}{name}",
    page_text=lambda name: f"# {name}\n",
    anchor=Anchor("a/pyproject.toml", "a/pyproject.toml", 3),
)


def _index_json(reports: Sequence[Report], summary: IndexSummary) -> str:
    return "".join(index_report.document_pieces([report.to_dict() for report in reports], summary))


INDEX_WRITERS: dict[str, Callable[[Sequence[Report], IndexSummary], str]] = {
    "index text": lambda _, summary: index_report.text(summary, STYLE), "index markdown": lambda _, summary: index_report.markdown(summary),
    "index json": _index_json,
}  # fmt: skip


def _written(names: Mapping[str, str], part: int | None = None) -> Iterator[tuple[str, str]]:
    """Every writer's text, as it is before the last step of all output. ``part``: below PARTS, one of them."""
    reports = [_with_names(report, names) for report in _reports()]
    summary = _with_names(SUMMARY, names)
    for number, name in enumerate([*WRITERS, *INDEX_WRITERS, *PROCESSES]):
        if part is not None and number % PARTS != part:
            continue
        if name in PROCESSES:
            yield name, PROCESSES[name](lambda value: _with_names(value, names))
        else:
            yield name, WRITERS[name](reports, STYLE) if name in WRITERS else INDEX_WRITERS[name](reports, summary)


@functools.cache
def _harmless() -> dict[str, frozenset[object]]:
    """What each document is made of where names are harmless."""
    return {name: frozenset(look(text)) for name, text in _written({word: f"x{word}" for word in WORDS}) if (look := LOOKS.get(_form(name)))}


def _form(name: str) -> str:
    """The format of a writer: ``index markdown``, ``doctor html``."""
    return name.rsplit(maxsplit=1)[-1]


def judge(data: bytes) -> str:
    """Each input is given to one writer; what it writes must be made of what harmless names make."""
    texts = [text.decode("utf-8", "surrogateescape") for text in data.split(b"\0")] or [""]
    names = {word: texts[n % len(texts)] for n, word in enumerate(WORDS)}
    for name, text in _written(names, zlib.crc32(data) % PARTS):
        shown, form = safe_text(text), _form(name)
        _require_printable(name, text if form not in RAW else shown)
        shown.encode("utf-8")
        if form == "json":  # a name may be a key in it
            json.loads(shown)
        elif form == "text":
            if any(line.startswith(FORGED) for line in shown.splitlines()):
                raise Wrong(f"{name}: a name makes a line of its own")
        elif look := LOOKS.get(_form(name)):
            try:
                found = frozenset(look(shown))
            except (ValueError, ET.ParseError) as error:
                raise Wrong(f"{name}: it does not parse: {error}") from error
            if more := found - _harmless()[name]:
                raise Wrong(f"{name}: {sorted(map(str, more))[:5]}")
    return "written"


RAW = frozenset({"text", "json"})
"""Formats that are made printable by the last step of all output, with newlines that are theirs."""
_LINK = re.compile(r"\x1b\]8;;[!-~]*\x1b\\")


def _require_printable(name: str, text: str) -> None:
    kept = "".join((_LINK.sub("", text) if _form(name) in RAW else text).replace("\t", "").split("\n"))
    if not kept.isprintable():
        bad = {c for c in kept if not c.isprintable()}
        # The last step of all output escapes what steers a terminal; the rest of what has no glyph may stay in these.
        if _form(name) not in RAW or bad & set("\x1b\r\x00\u202e"):
            raise Wrong(f"{name}: the characters {sorted(bad)}")
