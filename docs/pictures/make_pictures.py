#!/usr/bin/env python3
"""Draw the pictures of docs/how-it-works.md. A test checks that the committed ones are current.

A static TLS block is drawn by the code that draws it in the HTML report: its segments come from the models of the loaders by way of
``report.filling``, their places from ``report.block_svg``, their colours from the report's style sheet. Only labels, boxes and
arrows are made here.

A picture stands in a page as an image, so it brings its own ground: it is legible whether the page is light or dark. Its texts are
14 to 16 units on a drawing 480 units wide, so that they can be read on a telephone, where it is 360 pixels wide.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from tls_wheel_guard.api import simulate
from tls_wheel_guard.live.probe_module import tiny_module
from tls_wheel_guard.loaders.registry import loader_called
from tls_wheel_guard.report.block import Segment
from tls_wheel_guard.report.block_svg import places, shapes
from tls_wheel_guard.report.filling import Frame, simulation_frames

HERE = Path(__file__).resolve().parent
WIDTH, EDGE = 480, 16
"""The drawing, and what is left free at its sides."""
INNER = WIDTH - 2 * EDGE
STRIP = 34
"""Height of a block."""
Point = tuple[int, int]


class Canvas:
    """Parts of one picture, from the top down."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.parts: list[str] = []

    def text(self, x: int, y: int, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words at a base line. ``kind``: classes of the style below."""
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>')

    def box(self, x: int, y: int, width: int, height: int, words: Sequence[str] = (), kind: str = "") -> None:
        """A box with lines of words in its middle."""
        self.parts.append(f'<rect class="box {kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>')
        first = y + height // 2 + 5 - 9 * (len(words) - 1)
        for number, line in enumerate(words):
            self.text(x + width // 2, first + 18 * number, line, "small", "middle")

    def code(self, x: int, y: int, width: int, lines: Sequence[str], marked: int | None = None) -> int:
        """Instructions in a box, one of them marked; its height."""
        height = 20 * len(lines) + 12
        self.box(x, y, width, height)
        if marked is not None:
            self.parts.append(f'<rect class="mark" x="{x + 4}" y="{y + 6 + 20 * marked}" width="{width - 8}" height="20" rx="3"/>')
        for number, line in enumerate(lines):
            self.text(x + 10, y + 21 + 20 * number, line, "code")
        return height

    def arrow(self, *points: Point, kind: str = "") -> None:
        """A line through points, with a head at its end."""
        path = "L".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="line {kind}" d="M{path}" marker-end="url(#head)"/>')

    def block(self, segments: Sequence[Segment], y: int, left: int, width: int) -> None:
        """A static TLS block as in the report."""
        self.parts.append(shapes(segments, width, STRIP, left, y, 2))
        self.parts.append(f'<rect class="frame" x="{left}" y="{y}" width="{width}" height="{STRIP}"/>')

    def svg(self, height: int) -> str:
        """The picture as a file."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">'
        tip = '<path class="head" d="M0 0L9 4L0 8z"/>'
        marker = f'<marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">{tip}</marker>'
        ground = f'<rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8"/>'
        body = "\n".join(part for part in self.parts if part)
        return f"{head}\n<title>{escape(self.title)}</title>\n<style>{_style()}</style>\n<defs>{marker}</defs>\n{ground}\n{body}\n</svg>\n"


def _style() -> str:
    """Classes for light, and again for dark, in the colours of the HTML report."""
    sheet = resources.files("tls_wheel_guard").joinpath("report", "templates", "style.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w+);", text)) for text in re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)[:2])
    fonts = (
        "text{font:16px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.small{font-size:14px}.strong{font-weight:600}"
        ".code{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
        ".line,.box,.card,.frame{fill:none;stroke-width:1.5}.stroke{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4}.mark{opacity:.3}"
    )
    return f"{fonts}{_colours(light)}@media(prefers-color-scheme:dark){{{_colours(dark)}}}"


def _colours(palette: dict[str, str]) -> str:
    kinds = "".join(f".{kind}{{fill:{palette[kind]}}}" for kind in ("start", "before", "asked", "left", "beyond"))
    p = palette
    return (
        f"{kinds}text{{fill:{p['text']}}}text.quiet{{fill:{p['quiet']}}}text.bad{{fill:{p['error']}}}text.good{{fill:{p['good']}}}text.inside{{fill:#0d1117}}text.over{{fill:{p['ground']}}}"
        f".card{{fill:{p['ground']};stroke:{p['line']}}}.box{{fill:{p['panel']};stroke:{p['quiet']}}}.filled{{stroke-width:3}}.frame,.line{{stroke:{p['quiet']}}}"
        f".head{{fill:{p['quiet']}}}.mark{{fill:{p['asked']}}}.stroke{{stroke:{p['ground']}}}"
    )


def variants() -> str:
    """One thread's static block in both layouts, as a fresh process of glibc 2.36 has it."""
    canvas = Canvas("The static TLS block below the thread pointer (variant II) and above it (variant I)")
    record, y = 116, 0
    for name, machine, register in (
        ("Variant II: x86-64, i386, s390x", "x86_64", "%fs"),
        ("Variant I: aarch64, arm, riscv64", "aarch64", "tpidr_el0"),
    ):
        fresh = loader_called("glibc-2.36", machine).fresh
        below = fresh.variant == 2
        segments = [Segment("start", fresh.used), Segment("left", fresh.room)]
        left = EDGE if below else EDGE + record
        drawn = segments[::-1] if below else segments
        middle = {segment.kind: x + width // 2 for segment, x, width in places(drawn, INNER - record, left)}
        pointer = EDGE + INNER - record if below else left
        canvas.text(EDGE, y + 30, name, "strong")
        canvas.block(drawn, y + 44, left, INNER - record)
        canvas.box(pointer if below else EDGE, y + 44, record, STRIP, ["thread record"])
        canvas.text(middle["left"], y + 66, f"{fresh.room:,} bytes for late modules", "small inside", "middle")
        side, anchor = (-8, "end") if below else (8, "start")
        canvas.arrow((middle["start"], y + 106), (middle["start"], y + 81))
        canvas.text(middle["start"] + side, y + 102, f"{fresh.used} bytes taken at the start", "small", anchor)
        canvas.arrow((pointer, y + 126), (pointer, y + 81))
        canvas.text(pointer + side, y + 126, f"thread pointer: {register}", "small strong", anchor)
        y += 136
    canvas.text(WIDTH // 2, y + 18, "addresses grow to the right \u2192", "small quiet", "middle")
    return canvas.svg(y + 34)


def two_places() -> str:
    """The table of a thread's blocks, and the two places that they lie in."""
    canvas = Canvas("A thread's table of blocks leads to blocks in the static block and to blocks on the heap")
    left, right, width = EDGE, 250, WIDTH - EDGE - 250
    canvas.text(left, 30, "thread pointer", "small strong")
    canvas.arrow((left + 122, 25), (left + 150, 25), (left + 150, 43))
    canvas.box(left, 44, 180, 34, ["thread record"])
    canvas.arrow((left + 75, 79), (left + 75, 105))
    canvas.text(left + 86, 98, "DTV", "small strong")
    for number, name in enumerate(("program", "libc.so.6", "early.so", "late.so", "other.so")):
        y = 106 + 42 * number + (30 if number > 2 else 0)
        canvas.box(left, y, 180, 34, [f"module {number + 1}: {name}"])
        if number == 4:
            canvas.text(right, y + 22, "not made yet in this thread", "small quiet")
            continue
        canvas.box(right, y, width, 34, [f"block of {name}"], "dashed" if number == 3 else "filled")
        canvas.arrow((left + 181, y + 17), (right - 2, y + 17))
    canvas.text(right + width, 254, "heap: anywhere", "small strong", "end")
    canvas.text(right + width, 80, "static block: the same", "small strong", "end")
    canvas.text(right + width, 97, "distance in every thread", "small strong", "end")
    return canvas.svg(106 + 42 * 5 + 30 + 8)


def models() -> str:
    """From the code to the address, for each model and dialect."""
    canvas = Canvas("How each access model gets from the code to the variable")
    free = "needs no static TLS"
    rows: list[tuple[str, str, list[tuple[str, int]]]] = [
        ("global-dynamic", free, [("module, offset", 118), ("__tls_get_addr", 124), ("address", 76)]),
        ("local-dynamic", free, [("module, 0", 86), ("__tls_get_addr", 124), ("+ offset", 76), ("address", 76)]),
        ("both, by a descriptor", free, [("function, argument", 148), ("call: distance", 108), ("+ TP", 50), ("address", 70)]),
        ("initial-exec", "needs static TLS", [("slot: distance", 116), ("+ TP", 54), ("address", 76)]),
        ("local-exec", "needs static TLS; programs only", [("distance in the code", 156), ("+ TP", 54), ("address", 76)]),
    ]
    y = 8
    for name, needs, steps in rows:
        canvas.text(EDGE, y + 22, name, "strong")
        canvas.text(EDGE + INNER, y + 22, needs, "small good" if needs == free else "small bad", "end")
        x = EDGE
        for number, (words, width) in enumerate(steps):
            canvas.box(x, y + 32, width, 30, [words])
            if number + 1 < len(steps):
                canvas.arrow((x + width + 2, y + 47), (x + width + 22, y + 47))
            x += width + 24
        y += 76
    return canvas.svg(y + 4)


def _frames(loader: str, sizes: Sequence[int]) -> list[Frame]:
    """What a loader's model does with modules of these sizes, opened in turn."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.so" for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes(tiny_module("x86_64", size, 8))
        [simulation] = simulate(paths, loader=loader, machine="x86_64")
        return list(simulation_frames(simulation))


def rooms() -> str:
    """What each loader has kept for late modules, on one scale, and what 177 bytes of mimalloc do to it."""
    canvas = Canvas("One module of 177 bytes, and the room that each loader has kept for modules that come late")
    asked = 177
    rows = [
        (name, [s for s in _frames(loader, [asked])[0].segments if s.kind != "start"])
        for name, loader in (("glibc", "glibc-2.36"), ("illumos", "illumos"), ("FreeBSD", "freebsd-14"), ("NetBSD", "netbsd-10"))
    ]
    rows.append(("musl, Android, OpenBSD", [s for s in _frames("musl-1.2", [asked])[0].segments if s.kind == "beyond"]))
    most = max(sum(segment.size for segment in segments) for _, segments in rows)
    y = 8
    for name, segments in rows:
        kept = sum(segment.size for segment in segments if segment.kind in ("asked", "left"))
        total = sum(segment.size for segment in segments)
        loads = all(segment.kind != "beyond" for segment in segments)
        canvas.text(EDGE, y + 20, name, "strong")
        words = f"{kept:,} bytes kept: " if kept else "nothing kept: "
        canvas.text(EDGE + INNER, y + 20, words + ("loads" if loads else "refused"), "small good" if loads else "small bad", "end")
        canvas.block(segments, y + 28, EDGE, max(round(INNER * total / most), 2 * len(segments)))
        y += 72
    y = _legend(canvas, y + 6, {"asked": "asked and given", "left": "left for others", "beyond": "refused"})
    return canvas.svg(y)


def _legend(canvas: Canvas, y: int, kinds: dict[str, str]) -> int:
    x = EDGE
    for kind, words in kinds.items():
        canvas.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="14" height="14" rx="2"/>')
        canvas.text(x + 20, y + 12, words, "small")
        x += 36 + round(7.6 * len(words))
    return y + 28


def order() -> str:
    """Three modules in one glibc process: the last one is refused."""
    canvas = Canvas("Three modules share the room of one glibc process; the last one finds too little")
    sizes = (1000, 600, 300)
    y = 8
    for number, (frame, size) in enumerate(zip(_frames("glibc-2.36", sizes), sizes, strict=True), 1):
        left = next((segment.size for segment in frame.segments if segment.kind == "left"), 0)
        words = f"refused: {left} bytes are left" if frame.fails else f"loads; {left:,} bytes are left"
        canvas.text(EDGE, y + 20, f"{number}. asks for {size:,} bytes", "strong")
        canvas.text(EDGE + INNER, y + 20, words, "small bad" if frame.fails else "small good", "end")
        canvas.block(frame.segments, y + 28, EDGE, INNER)
        y += 72
    y = _legend(canvas, y + 6, {"start": "start", "before": "before it", "asked": "this one", "left": "left", "beyond": "refused"})
    return canvas.svg(y)


def repair() -> str:
    """One access before and after the repair, on x86-64."""
    canvas = Canvas("One access before and after a repair: the read of the slot becomes a jump to code that calls a descriptor")
    canvas.text(EDGE, 30, "Before", "strong")
    canvas.code(EDGE, 42, 236, ["mov  slot(%rip), %rax", "mov  %fs:(%rax), %eax"], 0)
    canvas.box(314, 42, 150, 52, ["slot: distance", "(TPOFF64)"])
    canvas.arrow((253, 58), (312, 58))
    canvas.text(EDGE, 128, "After", "strong")
    canvas.code(EDGE, 140, 236, ["jmp  thunk", "mov  %fs:(%rax), %eax"], 0)
    canvas.text(EDGE, 224, "thunk", "small strong")
    canvas.code(EDGE, 232, 236, ["save what must survive", "lea  descriptor, %rax", "call the function", "restore", "jmp  back"], 2)
    canvas.box(314, 250, 150, 66, ["descriptor:", "function, argument", "(TLSDESC)"])
    canvas.arrow((253, 288), (312, 288))
    canvas.arrow((253, 157), (284, 157), (284, 218), (134, 218), (134, 230))
    canvas.arrow((15, 334), (7, 334), (7, 178), (14, 178))
    return canvas.svg(366)


PICTURES: dict[str, Callable[[], str]] = {
    "static-block": variants,
    "two-places": two_places,
    "access-models": models,
    "loaders": rooms,
    "order": order,
    "one-access-repaired": repair,
}
"""File name without its ending -> what draws it."""


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")
