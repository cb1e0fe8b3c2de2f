"""Reads the static TLS of the interpreter that runs this file: `PYTHON static_tls.py FOLDER`.

It is started by live.py, never imported, and runs in interpreters that know nothing of this package: the standard library only,
Python 2.7 to the newest. FOLDER/task says what to do, FOLDER/answer gets lines of a name and a value.

Whatever could crash (foreign memory is read, odd modules are opened) happens in a forked child.
"""

from __future__ import unicode_literals

import io
import json
import os
import struct
import sys
import warnings

FOLDER = sys.argv[1]
# The current folder is not searched, and this file's folder only once, so that no file there can replace a module of the standard library.
sys.path[:] = [place for place in sys.path if place and os.path.realpath(place) != os.path.realpath(FOLDER)]
sys.path.insert(0, FOLDER)
import tls_wheel_guard_ask as ask
import tls_wheel_guard_glibc as glibc
import tls_wheel_guard_record as recording

del sys.path[0]

answers = []


def answer(name, value):
    answers.append((name, "%s" % (value,)))


def header():
    """(e_machine, bits, little-endian, e_flags) of the running program, or None."""
    for path in ("/proc/self/exe", sys.executable):
        try:
            with open(path, "rb") as file:
                data = file.read(64)
        except (OSError, IOError, TypeError):
            continue
        if data[:4] == b"\x7fELF" and len(data) == 64:
            bits = 64 if data[4:5] == b"\x02" else 32
            order = "<" if data[5:6] == b"\x01" else ">"
            (machine,) = struct.unpack(order + "H", data[18:20])
            at = 48 if bits == 64 else 36
            (flags,) = struct.unpack(order + "I", data[at : at + 4])
            return machine, bits, int(order == "<"), flags
    return None


def mapped():
    """The files that are mapped into this process."""
    try:
        with io.open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            lines = [line.split(None, 5) for line in file]
    except (OSError, IOError):
        return []
    found = []
    for line in lines:
        if len(line) == 6 and line[5].startswith("/") and line[5].rstrip("\n") not in found:
            found.append(line[5].rstrip("\n"))
    return found


def bytes_of(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 24)
    except (OSError, IOError, TypeError):
        return b""


def musl_version(path):
    """musl keeps its version as the only string of its form."""
    import re

    found = set(re.findall(b"\\0([0-9]+\\.[0-9]+\\.[0-9]+)(?:-git-[^\\0]*)?\\0", bytes_of(path)))
    return found.pop().decode("ascii") if len(found) == 1 else ""


def glibc_words():
    """["glibc", "2.36"], or something else where the libc is another."""
    for name in (str("CS_GNU_LIBC_VERSION"), 2):  # Python 2 has no name for it
        try:
            return (os.confstr(name) or "").split()
        except (AttributeError, OSError, ValueError):
            continue
    return []


def libc(files):
    """(name, version, path of the loader); "" where it is not known."""
    for name, starts in (("darwin", "darwin"), ("windows", "win32"), ("windows", "cygwin"), ("wasm", "emscripten"), ("wasm", "wasi")):
        if sys.platform.startswith(starts):
            return name, "", ""
    for name in ("freebsd", "netbsd", "openbsd", "dragonfly", "haiku", "sunos"):
        if sys.platform.startswith(name):
            return ("illumos" if name == "sunos" else name), os.uname()[2], ""
    if hasattr(sys, "getandroidapilevel"):
        return "bionic", str(sys.getandroidapilevel()), ""
    words = glibc_words()
    names = [(os.path.basename(path), path) for path in files]
    if len(words) == 2 and words[0] == "glibc":
        loaders = [path for base, path in names if base.startswith(("ld-linux", "ld64.so", "ld.so", "ld-2."))]
        return "glibc", words[1], (loaders or [""])[0]
    for base, path in names:
        # The loader and the libc are one file, called ld-musl-ARCH.so.1, libc.musl-ARCH.so.1 or libc.so.
        if base.startswith(("ld-musl-", "libc.musl-", "libc.so")) and b"musl libc (" in bytes_of(path):
            return "musl", musl_version(path), path
    return "unknown", "", ""


def read(version, prober, limited):
    """Answer with glibc's own numbers; False where they can't be read. ``limited``: descriptors have a limit of their own."""
    found = glibc.numbers(version, prober)
    if found is None:
        return False
    (used, limit, align, optional), how = found
    for name, value in (("used", used), ("limit", limit), ("align", align), ("room", limit - used), ("method", how)):
        answer(name, value)
    if limited:
        answer("optional", optional)
    return True


def bisect(prober):
    """Answer with the room that modules find. ``used`` and ``limit`` are then right modulo the alignment, and so is their difference."""
    if not prober.asking:
        raise ask.ProbeError("there is no module for this machine")
    prober.check()
    room, align = prober.room(), prober.align()
    if prober.variant == 2:
        # The end is a multiple of the alignment.
        used = -room % align
    else:
        # Blocks grow upwards from used: what the alignment costs says where that is.
        used = -(room - prober.room(align)) % align if room else 0
    for name, value in (("used", used), ("limit", used + room), ("align", align), ("room", room), ("method", "bisecting")):
        answer(name, value)


def imports(names):
    """Import as `python -c` does, the current folder first; False and an answer at the first that fails."""
    before = list(sys.path)
    sys.path.insert(0, "")
    for name in names:
        try:
            __import__(name)
        except BaseException as error:
            words = (" ".join(("%s" % (error,)).split()))[:2000]
            answer("import-failed", "%s: %s%s" % (name, type(error).__name__, ": " + words if words else ""))
            return False
    sys.path[:] = before  # what is imported from here on is for this file
    return True


def measure(rows, method):
    """Answer with the process's numbers; gives what reads them again, as a text that is empty where they can't be read."""
    machine, files = header(), mapped()
    for path in files:
        answer("file", path)
    name, version, loader = libc(files)
    answer("libc", name)
    answer("libc-version", version)
    if name == "freebsd" and "LD_STATIC_TLS_EXTRA" in os.environ:
        answer("static-tls-extra", " ".join(os.environ["LD_STATIC_TLS_EXTRA"].split("\n"))[:200])
    answer("uname", os.uname()[4] if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", ""))
    nothing = lambda: ""  # noqa: E731
    if machine is None or name in ("darwin", "windows", "wasm"):
        return nothing
    found = [row for row in rows if tuple(int(value) for value in row[:3]) == machine[:3]]
    answer("machine", "%d %d %d" % machine[:3])
    if not found or name in ("musl", "bionic"):
        return nothing
    prober = ask.Prober(found[0], machine[3], FOLDER)
    if name != "glibc":
        bisect(prober)
        return nothing
    number = tuple(int(part) for part in version.split(".")[:2])
    tunable = glibc.TUNABLE in bytes_of(loader)
    can_read = method != "bisect" and read(number, prober, tunable or number >= (2, 32))
    if not can_read:
        if method == "read":
            raise ask.ProbeError("the loader's own numbers can't be read")
        bisect(prober)
    if tunable:
        answer("has-tunables", os.environ.get("GLIBC_TUNABLES", ""))
        for line in glibc.tunables(loader):
            answer("tunable", line)
    return (lambda: glibc.read_glibc(number, prober.variant)) if can_read else nothing


def main():
    task = {"import": [], "method": [], "open": [], "argument": [], "refusal": ask.REFUSED, "machine": []}
    with io.open(os.path.join(FOLDER, "task"), encoding="utf-8") as file:
        for line in file:
            kind, _, rest = line.rstrip("\n").partition(" ")
            task[kind].append(rest)
    names, stages, method, rows = task["import"], task["open"], task["method"][-1], [row.split(" ") for row in task["machine"]]
    arguments = [json.loads(argument) for argument in task["argument"]]
    warnings.simplefilter("ignore")
    answer("implementation", "%s %d.%d.%d" % ((sys.version.find("PyPy") < 0 and "CPython" or "PyPy",) + tuple(sys.version_info[:3])))
    if stages or imports(names):
        warnings.simplefilter("ignore")  # a module may have changed it; fork warns of its threads
        try:
            if stages and sys.version_info < (3, 5):
                raise ask.ProbeError("what it opens can be written down from Python 3.5 on")
            numbers = measure(rows, method)
            if stages:
                recording.record(recording.Recorder(answer, mapped, numbers, os.path.join(FOLDER, "doing")), stages, arguments)
        except ask.ProbeError as error:
            answer("failed", " ".join(str(error).split())[:2000])
    unfinished = os.path.join(FOLDER, "answer.unfinished")
    with io.open(unfinished, "w", encoding="utf-8", errors="replace") as file:
        for pair in answers:
            file.write("%s %s\n" % pair)
    os.rename(unfinished, os.path.join(FOLDER, "answer"))


code = 1
try:
    main()
    code = 0
except BaseException:
    sys.excepthook(*sys.exc_info())
finally:
    try:
        sys.stderr.flush()
    finally:
        # What was imported may have threads or exit handlers that hang, or have put anything in the place of stderr.
        os._exit(code)
