"""Code with descriptor calls, compiled here, for the analysis of what it keeps over them.

Every input is checked for an old glibc: there is a finding where a site keeps a register or nothing could be looked at, and nowhere else;
sites lie in code, in order, once each. Half of the damaged ones are damaged inside one function alone: what is said of functions that no
branch joins to it, before or after, must be what was said before.
"""

from __future__ import annotations

import functools
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from benchmarks.hostile import Wrong
from benchmarks.hostile.scratch import scratch
from benchmarks.mutations import broken
from tests.support.descriptor_programs import program
from tests.support.toolchain import SOURCES
from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSite, DescriptorSites
from tls_wheel_guard.machine_code.eh_frame import frames

LONGEST = 40_000
PARTS = r"""
typedef double pair __attribute__((vector_size(16)));
extern __thread double shown; extern __thread pair wide;
static __thread double own[4]; static __thread float small;
#define KEEPER(n) double keeper##n(double a, double b, long k) { \
    double c = a * b + n, d = a - b; shown += k; own[k & 3] += c; return c * d + small; }
#define DEAD(n) long dead##n(long k) { shown = k; own[k & 3] = n; return k + n; }
#define WIDE(n) pair wide##n(pair a, long k) { pair b = a * a; for (long i = 0; i < k; i++) { wide += b; b -= a; } return b; }
#define CHOOSE(n) double choose##n(double a, int k) { switch (k) { \
    case 1: return a + shown; case 2: return own[1] * a; case 3: small = a; return a; \
    case 4: return a - own[2]; case 5: return shown / a; default: return n; } }
KEEPER(1) DEAD(1) WIDE(1) CHOOSE(1) KEEPER(2)
"""
COMPILERS = (
    ("gcc", "-O2"), ("gcc", "-O1", "-mavx2"), ("gcc", "-O3", "-mavx512f"), ("clang-19", "-O2"), ("gcc", "-O2", "-fcf-protection=full", "-s"),
    ("gcc", "-O2", "-fno-asynchronous-unwind-tables"), ("gcc", "-O2", "-mx32"),
)  # fmt: skip
TAG = "manylinux_2_17_x86_64"


def seeds() -> list[bytes]:
    """Independent functions by several compilers, and random programs whose functions call each other."""
    return list(_made())


@functools.cache
def _made() -> tuple[bytes, ...]:
    folder = scratch()
    (folder / "parts.c").write_text(PARTS)
    random_ones = [(f"program{n}.c", program(n + 5, 1, cxx=False), ("gcc", *level)) for n, level in enumerate((("-O2",), ("-Os", "-mavx2")))]
    found = []
    for name, text, command in [*(("parts.c", PARTS, command) for command in COMPILERS), *random_ones]:
        (folder / name).write_text(text)
        output = folder / "seed.so"
        words = [*command, "-fPIC", "-shared", "-mtls-dialect=gnu2", "-w", "-nostdlib", f"-I{SOURCES}", "-o", str(output), str(folder / name)]
        if shutil.which(command[0]) and subprocess.run(words, capture_output=True, check=False).returncode == 0:
            found.append(output.read_bytes())
    return tuple(found)


def case(chance: random.Random, number: int, found: Sequence[bytes]) -> bytes:
    """Damage anywhere; or in one function, with its file offset and its old bytes in a line before."""
    data = chance.choice(found)
    functions = list(_functions(data)) if number % 2 else []
    if not functions:
        return broken(data, chance)
    start, end = chance.choice(functions)
    damage = broken(data[start:end], chance)
    damage = (damage + data[start:end])[: end - start]
    return f"{start} {data[start:end].hex()}\n".encode() + data[:start] + damage + data[end:]


@functools.lru_cache(maxsize=64)
def _functions(data: bytes) -> tuple[tuple[int, int], ...]:
    """File offsets of the functions in the unwind table."""
    code = read_code(BytesSource(data), "x86_64")
    return tuple((start, end) for start, end, _ in _places(code, data))


def _places(code: Code, data: bytes) -> Iterator[tuple[int, int, int]]:
    """File offsets of each function's code, and its address."""
    for frame in frames(code, 8, True, None):
        text = code.at(frame.start, frame.end - frame.start)
        at = data.find(text) if len(text) > 16 else -1
        if at >= 0:
            yield at, at + len(text), frame.start


_LOCAL = re.compile(rb"(\d{1,9}) ([0-9a-f]*)\n")


def judge(data: bytes) -> str:
    """``sites``, ``no site``, ``not looked at``, ``refused``; ``local`` before it where the damage is in one function."""
    found = _LOCAL.match(data)
    if found is None:
        return _outcome(_look(data))
    start, old, body = int(found[1]), bytes.fromhex(found[2].decode()), data[found.end() :]
    before = body[:start] + old + body[start + len(old) :]
    first, second = _first_look(before), _look(body)
    if isinstance(first, DescriptorSites) and isinstance(second, DescriptorSites) and first.trouble is None:
        _require_local(before, body, (start, start + len(old)), first, second)
    return "local: " + _outcome(second)


def _outcome(found: DescriptorSites | str) -> str:
    if isinstance(found, str):
        return found
    if found.trouble is not None:
        return "not looked at"
    return "sites" if found.sites else "no site"


@functools.lru_cache(maxsize=64)
def _first_look(data: bytes) -> DescriptorSites | str:
    return _look(data)


def _look(data: bytes) -> DescriptorSites | str:
    """What a check for an old glibc says of the descriptor calls; a word where there is nothing to say."""
    path = scratch() / "descriptors.so"
    path.write_bytes(data)
    try:
        report = check_wheel(path, Config(targets=(TAG,)))
    except UnreadableInput:
        return "refused"
    if not report.modules:
        return "no module"
    module = report.modules[0]
    sites, ruled = module.descriptor_sites, [f for f in report.findings if f.rule == "descriptor-clobber"]
    if sites is None:
        if ruled:
            raise Wrong("a finding about descriptor calls that were not looked at")
        return "no descriptors"
    may_lose = any(v.target.libc == "glibc" for v in module.verdicts)
    if may_lose and bool(ruled) != bool(sites.kept or sites.trouble is not None):
        raise Wrong(f"{len(ruled)} findings, {len(sites.kept)} sites that keep a register, trouble {sites.trouble!r}")
    _require_sites(data, module.shared_object.machine_name, sites)
    return sites


REGISTER = re.compile(r"[xyz]mm(?:[12]?\d|3[01])|k[0-7]")


def _require_sites(data: bytes, machine: str, found: DescriptorSites) -> None:
    addresses = [site.address for site in found.sites]
    if addresses != sorted(set(addresses)):
        raise Wrong("sites out of order, or one of them twice")
    if not addresses:
        return
    code = read_code(BytesSource(data), machine)
    for site in found.sites:
        if not code.at(site.address, 1) or not all(map(REGISTER.fullmatch, site.kept)):
            raise Wrong(f"a site at {site.address:#x} that keeps {site.kept}")
    if any("\n" in reason for _, reason in found.unread) or "\n" in (found.trouble or ""):
        raise Wrong("a reason of several lines")


def _require_local(before: bytes, after: bytes, damaged: tuple[int, int], first: DescriptorSites, second: DescriptorSites) -> None:
    """Functions that no branch joins to the damaged one are judged as before."""
    code = read_code(BytesSource(before), read_shared_object(BytesSource(before)).machine_name)
    places = list(_places(code, before))
    joined = _joined(places, before, after, damaged)
    free = {address for start, _, address in places if start not in joined}

    def said(found: DescriptorSites) -> dict[int, DescriptorSite]:
        return {site.address: site for site in found.sites if site.function in free}

    if second.trouble is not None or said(first) != said(second):
        old, new = said(first), said(second)
        different = sorted(a for a in {*old, *new} if old.get(a) != new.get(a))
        raise Wrong(f"damage at file offsets {damaged} changed sites at {[hex(a) for a in different][:4]}, trouble {second.trouble!r}")


def _joined(places: Sequence[tuple[int, int, int]], before: bytes, after: bytes, damaged: tuple[int, int]) -> set[int]:
    """The starts of all functions from which some bytes, read as a branch, lead on to the damaged one or from it, over any number of others."""
    edges = {frozenset((one, other)) for data in (before, after) for one, other in _branches(places, data)}
    reached, left = set(), {start for start, end, _ in places if start < damaged[1] and damaged[0] < end}
    while left:
        one = left.pop()
        reached.add(one)
        left |= {other for edge in edges if one in edge for other in edge} - reached
    return reached


@functools.lru_cache(maxsize=8)
def _branch_forms() -> re.Pattern[bytes]:
    return re.compile(rb"(?=([\xe8\xe9\xeb\x70-\x7f\xe0-\xe3]|\x0f[\x80-\x8f]))", re.DOTALL)


def _branches(places: Sequence[tuple[int, int, int]], data: bytes) -> Iterator[tuple[int, int]]:
    for start, end, address in places:
        for found in _branch_forms().finditer(data, start, end):
            at, wide = found.start() + len(found[1]), found[1] in (b"\xe8", b"\xe9") or len(found[1]) == 2
            size = 4 if wide else 1
            target = address + at + size - start + int.from_bytes(data[at : at + size], "little", signed=True)
            other = next((s for s, e, a in places if a <= target < a + e - s), None)
            if other is not None and other != start:
                yield start, other
