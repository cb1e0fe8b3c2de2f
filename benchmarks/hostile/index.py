"""Pages, lock files, wheels and servers' answers for ``index``, with a transport in this process.

A first line says what the rest is: ``page``, ``root`` and ``lock`` give the text that lists wheels, ``wheel`` a wheel that a server gives
by ranges, ``server`` a script of answers to the requests for a wheel. What ``index`` says of a wheel must be what ``check`` says of the file; an
error is right where ``check`` has one too, or where the server misbehaves. Of a wheel that was not read whole, ``check`` may find more
members that can't be read. Nothing may be called a bug, no message may have two lines or a password.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.hostile import Wrong
from benchmarks.hostile.scratch import scratch
from benchmarks.mutations import broken, wheel_of
from tests.support.fix_files import damaged
from tests.support.modules import ie
from tests.support.transport import Site, answered_by
from tls_wheel_guard.commands import index as command
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import TlsWheelGuardError, UnreadableInput
from tls_wheel_guard.index import ranges, reading
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.sources import Selection

LONGEST = 24_000
NAME = "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
SECRET = "s3cret"  # noqa: S105  (nobody's)
URL = f"http://user:{SECRET}@127.0.0.1/simple/"
JSON, HTML = "application/vnd.pypi.simple.v1+json", "text/html; charset=utf-8"
SMALLER = (
    (reading, "SMALL", 0),
    (reading, "MOST_BY_PARTS", 0 if reading.MOST_BY_PARTS > 1 else 1),
    (ranges, "TAIL", 512),
    (ranges, "NEAR", 64),
    (ranges, "LEAST", 128),
)
"""What is worth a request, scaled down so that a wheel of a few kilobytes is read as one of megabytes is."""
SCRIPTS = (
    "200 whole\n\n206 right", "206 short", "206 long", "206 shifted", "206 zeros", "416 none", "503 none\nRetry-After: 1",
    "429 none\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT", "206 right\nContent-Range: bytes {first}-{last}/*",
    "206 right\nContent-Range: bytes 0-{last}/{total}", "206 right\n\n206 right\nETag: other", "206 right\nContent-Encoding: gzip",
    "302 none\nLocation: /files/x.whl", "302 none\nLocation: ftp://h/\n\n301 none\nLocation: //[", "404 none",
    "206 right\nContent-Type: multipart/byteranges; boundary=XyZ", "206 right\nContent-Length: 99999999",
    "206 right\nTransfer-Encoding: chunked", "206 right\nContent-Range: bytes {first}-{last}/99999999999999999999",
    "401 none\nWww-Authenticate: Basic", "206 right\nETag:\nLast-Modified: x", "206 right\nContent-Range: bytes {first}-{first}/{total}",
    "500 none\n\n500 none\n\n500 none\n\n500 none", "200 short\nContent-Length: {total}",
)  # fmt: skip
PLACE = f"http://u:other@127.0.0.1/files/{NAME}"
A, B = "a" * 64, "b" * 64


def _page(names: Sequence[str], size: int | None = None, digest: str | None = None) -> str:
    rows: list[dict[str, object]] = [
        {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest} if digest else {}} for name in names
    ]
    if size:
        rows[0]["size"] = size
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "pkg", "files": rows})


LISTS = {
    "page json": _page([NAME, "b-2.0-py3-none-any.whl", "c-1.tar.gz"]),
    "root json": json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": "pkg"}, {"name": "B_c"}]}),
    "page html": "<!DOCTYPE html><html><body>"
    + "".join(f'<a href="{place}{NAME}#sha256={A}" data-yanked="x&quot;">p</a><br>' for place in ("../../files/", "//h/", "http://u:other@h/"))
    + "</body></html>",
    "root html": '<a href="pkg/">pkg</a><a href="B_c">B.c</a>',
    "lock pylock.toml": (
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "pkg"\nversion = "1.0"\n'
        f'[[packages.wheels]]\nname = "{NAME}"\nurl = "{PLACE}"\nsize = 3\nhashes = {{sha256 = "{A}"}}\n'
    ),
    "lock uv.lock": (
        'version = 1\n[[package]]\nname = "pkg"\nversion = "1.0"\nwheels = [\n'
        f'  {{ url = "{PLACE}", hash = "sha256:{A}", size = 3 }},\n  {{ path = "x/{NAME}" }},\n]\n'
    ),
    "lock requirements.txt": (
        f"# c\npkg==1.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\nb_c[x]==2.0 ; python_version > '3'\n-i https://h/simple\npkg===1.0\n"
    ),
}
"""First line -> a list of wheels in that form."""


def seeds() -> list[bytes]:
    """Pages, lock files, wheels and scripts."""
    found = [f"{head}\n{text}".encode() for head, text in LISTS.items()]
    found += [b"wheel\n" + data for data in _wheels()]
    return [*found, *(f"server {n % len(_wheels())}\n{script}".encode() for n, script in enumerate(SCRIPTS))]


CLEAR = "int a[99]; int *b = a; extern int c(int); int f(int n) { return c(a[n & 7]) + *b; } int (*g)(int) = f;"
DYNAMIC = "__thread int t, u[3]; " + CLEAR.replace("*b;", "*b + t++ + u[n & 1];")


def _compiled(source: str, *flags: str) -> bytes:
    text, output = scratch() / "module.c", scratch() / "module.so"
    text.write_text(source)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-nostdlib", "-s", "-Wl,--build-id=none", *flags, "-o", str(output), str(text)],
        check=True,
        capture_output=True,
    )
    return output.read_bytes()


@functools.cache
def _wheels() -> tuple[bytes, ...]:
    """Wheels that need no reading on, that do, and one of many members."""
    clear, other = _compiled(CLEAR, "-Wl,-z,noseparate-code"), _compiled(CLEAR, "-fuse-ld=mold")
    dynamic, asking = (
        _compiled(DYNAMIC, "-Wl,-z,noseparate-code"),
        _compiled(DYNAMIC, "-ftls-model=initial-exec", "-fuse-ld=lld", "-B/usr/lib/llvm-19/bin"),
    )
    sets: tuple[dict[str, bytes], ...] = (
        {"p/a.so": clear}, {"p/a.so": clear, "p/b.so": dynamic}, {"p/b.so": asking}, {"p/a.so": other}, {"p/a.so": clear, "p/b.so": asking},
        {"p/a.py": b"x = 1\n" * 300, "p/a.so": other, "lib.a": b"!<arch>\n"}, {"p/a.so": clear, "p/b.so": ie()},
    )  # fmt: skip
    return tuple(wheel_of(members, method) for n, members in enumerate(sets) for method in ((0, 8) if n < 3 else (8,)))


def case(chance: random.Random, number: int, found: Sequence[bytes]) -> bytes:
    """Damage of what follows the first line: texts by pieces of their language every second time."""
    head, _, body = chance.choice(found).partition(b"\n")
    texts = not head.startswith(b"wheel")
    return head + b"\n" + (damaged(chance, body) if texts and number % 2 else broken(body, chance))


def _run(site: Site, lock: str | None = None, root: bool = False) -> list[dict[str, Any]] | str:
    """The entries of a run, or the message of its refusal."""
    tempfile.tempdir = str(scratch())
    for module, name, value in SMALLER:
        setattr(module, name, value)
    answered_by(site)
    connection = Connection(1, sleep=lambda _: None)
    setattr(command, "_connection", lambda _: connection)  # noqa: B010
    # Both read or look at the whole program, for each run the same; and a thread would be out of reach of the alarm.
    for name in ("judgement_of", "shape_of"):
        setattr(command, name, lambda *_: "0")
    setattr(command, "by_threads", lambda items, work, _: (done for item in items for done in work([item])))  # noqa: B010
    chosen = Selection(() if root else ("pkg",), 0)
    options = command.IndexOptions((URL,), None if lock is None else scratch() / lock, chosen, jobs=1)
    try:
        done = command.index_run(options, Config(), Asked())
    except TlsWheelGuardError as error:
        if error.exit_code == 5:
            raise Wrong(error.line()) from error
        return error.line()
    finally:
        connection.close()
    try:
        return list(done.store.entries(done.run))
    finally:
        done.store.close()


def judge(data: bytes) -> str:
    """What was asked, and what came of it."""
    head, _, body = data.partition(b"\n")
    kind, _, word = head.decode("ascii", "replace").partition(" ")
    if kind in ("wheel", "server"):
        number = int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else 0
        wheel, script = (body, "") if kind == "wheel" else (_wheels()[number % len(_wheels())], body.decode("utf-8", "replace"))
        return f"{kind}: {_one_wheel(wheel, script)}"
    good = _wheels()[0]
    site = Site({"/simple/pkg/": (JSON, _page([NAME], len(good)).encode())}, lambda path: good if path.endswith(".whl") else None)
    content = HTML if word == "html" else JSON
    if kind == "lock":
        name = word if word in ("pylock.toml", "uv.lock", "requirements.txt") else "requirements.txt"
        (scratch() / name).write_bytes(body)
        found = _run(site, lock=name)
    elif kind == "root":
        site.files["/simple/"] = (content, body)
        found = _run(site, root=True)
    else:
        site.files["/simple/pkg/"] = (content, body)
        found = _run(site)
    return f"{kind}: {_looked_through(found)}"


def _looked_through(found: list[dict[str, Any]] | str) -> str:
    """``entries``, ``errors`` or ``refused``."""
    if isinstance(found, str):
        _require_line(found)
        return "refused"
    for entry in found:
        json.dumps(entry)
        _require_line(entry.get("error", ""))
        _require_line(entry["path"])
    return "errors" if any("error" in entry for entry in found) else "entries"


def _require_line(text: str) -> None:
    if "\n" in text or "a bug in" in text or SECRET in text:
        raise Wrong(repr(text[:600]))


def _one_wheel(wheel: bytes, script: str) -> str:
    page = _page([NAME], len(wheel), hashlib.sha256(wheel).hexdigest() if len(wheel) % 2 else None)
    site = Site(
        {"/simple/pkg/": (JSON, page.encode()), f"/files/{NAME}": ("", wheel)}, lambda _: wheel, iter(script.split("\n\n") if script else ())
    )
    found = _run(site)
    state = _looked_through(found)
    if isinstance(found, str) or len(found) != 1:
        raise Wrong(f"one wheel is listed, and what came is {found!r}"[:600])
    checked = _checked(wheel)
    (entry,) = found
    if "error" in entry:
        if checked is not None and not script:
            raise Wrong(f"check reads it, and index says {entry['error']!r}")
        return state
    if checked is None:
        raise Wrong(f"check can't read it, and index, by {entry['read']}, says {_told(entry)}")
    missing = [row for row in _told(checked) if row not in _told(entry)]
    more = [row for row in _told(entry) if row not in _told(checked)]
    if more or (missing and entry["read"] != "ranges") or any(row[0] != "unreadable-module" for row in missing):
        raise Wrong(f"by {entry['read']}: only index says {more}, only check says {missing}"[:900])
    return f"{entry['read']}{', less than check' if missing else ''}"


@functools.lru_cache(maxsize=32)
def _checked(wheel: bytes) -> dict[str, Any] | None:
    path = scratch() / NAME
    path.write_bytes(wheel)
    try:
        return check_wheel(path).to_dict()
    except UnreadableInput:
        return None


def _told(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(f["rule"], f["severity"], f["module"], f["message"]) for f in entry["findings"]]
