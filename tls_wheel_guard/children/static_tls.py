"""Reads the static TLS of the interpreter that runs this file: `PYTHON static_tls.py FOLDER`.

It is started by live.py, never imported, and runs in interpreters that know nothing of this package: the standard library only,
Python 2.7 to the newest. FOLDER/task says what to do, FOLDER/answer gets lines of a name and a value.

Whatever could crash (foreign memory is read, odd modules are opened) happens in a forked child.
"""

from __future__ import unicode_literals

import io
import os
import struct
import sys
import warnings

FOLDER = sys.argv[1]
# This file's own folder comes first, the current folder does not come at all: nothing there may stand in for the modules below.
sys.path[:] = [place for place in sys.path if place and os.path.realpath(place) != os.path.realpath(FOLDER)]

try:
    import ctypes
except Exception:  # not built, as in a musl Python without libffi, or broken: the import machinery opens modules too
    ctypes = None

REFUSED = (
    "cannot allocate memory in static TLS block",
    "No space available for static Thread Local Storage",
    "initial-exec TLS resolves to dynamic definition",
    "using IE access model",
    "Use of initialized Thread Local Storage with model initial-exec and dlopen is not supported",
    "unsupported TLS program header",
)
"""What loaders say when there is no room."""

answers = []


def answer(name, value):
    answers.append((name, "%s" % (value,)))


class ProbeError(Exception):
    """The modules that would find the room can't be opened here for another reason."""


# The interpreter itself


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


# Opening modules


def opened(path):
    """Open a shared object in this process: "" when it loads, else the loader's words."""
    if ctypes is not None:
        try:
            ctypes.CDLL(path)
        except OSError as error:
            return str(error)
        return ""
    try:
        if sys.version_info[0] > 2:
            import importlib.machinery as machinery
            import importlib.util as util

            loader = machinery.ExtensionFileLoader("probe", path)
            util.module_from_spec(machinery.ModuleSpec("probe", loader, origin=path))
        else:
            import imp

            imp.load_dynamic("probe", path)
    except ImportError as error:
        # It is no Python module: that this is all there is to say means that it loaded.
        return "" if "does not define" in str(error) else str(error)
    return ""


def forked(action):
    """What ``action`` returns, a text, run in a forked child; None when it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            said = "=" + action()
            os.write(writer, said.encode("utf-8", "replace")[:4096] if not isinstance(said, bytes) else said[:4096])
        finally:
            os._exit(0)
    os.close(writer)
    said = b""
    while True:
        part = os.read(reader, 4096)
        if not part:
            break
        said += part
    os.close(reader)
    os.waitpid(child, 0)
    return said[1:].decode("utf-8", "replace") if said else None


class Prober:
    """Asks the loader for room by modules of one machine. ``row``: a line of the task, as live.py writes it."""

    def __init__(self, row, flags):
        self.word = ("<" if row[2] == "1" else ">") + ("Q" if row[1] == "64" else "I")
        self.four = self.word[0] + "I"
        self.variant, self.memsz_at, self.align_at, self.flags_at = (int(value) for value in row[3:7])
        self.control, self.asking = (self.patched(bytearray.fromhex(text), self.four, self.flags_at, flags) for text in row[7:9])
        self.number = 0

    @staticmethod
    def patched(data, letters, at, value):
        struct.pack_into(letters, data, at, value)
        return data

    def says(self, data):
        self.number += 1
        path = os.path.join(FOLDER, "probe-%d.so" % self.number)
        with open(path, "wb") as file:
            file.write(data)
        said = forked(lambda: opened(path))
        os.unlink(path)
        return said

    def fits(self, size, align=1):
        """Whether the loader finds room for a block."""
        data = bytearray(self.asking)
        self.patched(data, self.word, self.memsz_at, size)
        self.patched(data, self.word, self.align_at, align)
        said = self.says(data)
        if said is not None and any(words in said for words in REFUSED):
            return False
        if said != "":
            raise ProbeError("a module that asks for %d bytes: %s" % (size, said or "the process died"))
        return True

    def check(self):
        """A module that asks for nothing must load, else no refusal means anything."""
        said = self.says(self.control)
        if said != "":
            raise ProbeError("a module that asks for nothing does not load: %s" % (said or "the process died",))

    def room(self, align=1):
        """The largest block that the loader places now, in bytes."""
        high = 1
        while self.fits(high, align):
            high *= 2
            if high >= 1 << 31:
                raise ProbeError("the loader places blocks of any size")
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            if self.fits(middle, align):
                low = middle
            else:
                high = middle
        return low

    def align(self):
        """The largest alignment that the loader accepts now."""
        accepted = 1
        while accepted < 1 << 20 and self.fits(1, 2 * accepted):
            accepted *= 2
        return accepted


# glibc: the loader's own numbers


def word_at(address, count):
    return [int(value or 0) for value in (ctypes.c_size_t * count).from_address(address)]


def unsigned(handle, name, count):
    return list((ctypes.c_uint32 * count).in_dll(handle, name))


def symbol_size(handle, address):
    """st_size of the symbol at an address, in bytes; dladdr1's ElfW(Sym)."""

    info, symbol = (ctypes.c_void_p * 4)(), ctypes.c_void_p()
    if not handle.dladdr1(ctypes.c_void_p(address), ctypes.byref(info), ctypes.byref(symbol), 1) or not symbol.value:
        return 0
    wide = ctypes.sizeof(ctypes.c_void_p) == 8
    return ctypes.c_uint64.from_address(symbol.value + 16).value if wide else ctypes.c_uint32.from_address(symbol.value + 8).value


def plausible(nelem, used, size, align):
    return nelem < 1 << 20 and 0 < used <= size and align >= 8 and align & (align - 1) == 0


def read_described(handle, variant, size, align, start):
    """glibc 2.34 and newer describe the place of these words for debuggers: "used limit align optional"."""
    bits, count, offset = unsigned(handle, "_thread_db_rtld_global__dl_tls_dtv_slotinfo_list", 3)
    if bits != 8 * ctypes.sizeof(ctypes.c_void_p) or count != 1 or offset % (bits // 8) or offset > 1 << 16:
        return ""
    _, nelem, used, optional = word_at(start + offset, 4)
    limit = size - (unsigned(handle, "_thread_db_sizeof_pthread", 1)[0] if variant == 2 else 0)
    if not plausible(nelem, used, size, align) or limit % 16 or limit < used or limit - used > 1 << 40:
        return ""
    return "%d %d %d %d" % (used, limit, align, optional)


def read_searched(handle, size, align, start):
    """Older ones keep size, used and align side by side: "used size align optional", when just one place looks so."""
    words = word_at(start, min(symbol_size(handle, start), 1 << 16) // ctypes.sizeof(ctypes.c_size_t))
    hits = [
        at
        for at in range(1, len(words) - 3)
        if words[at] == size and words[at + 2] == align and plausible(words[at - 1], words[at + 1], size, align)
    ]
    return "%d %d %d %d" % (words[hits[0] + 1], size, align, words[hits[0] + 3]) if len(hits) == 1 else ""


def read_glibc(version, variant):
    """The loader's numbers as text; "" when they can't be believed."""
    handle = ctypes.CDLL(None)
    size, align = ctypes.c_size_t(), ctypes.c_size_t()
    handle._dl_get_tls_static_info(ctypes.byref(size), ctypes.byref(align))
    start = ctypes.addressof(ctypes.c_char.in_dll(handle, "_rtld_global"))
    if version >= (2, 34):
        return read_described(handle, variant, size.value, align.value, start)
    return read_searched(handle, size.value, align.value, start)


def read(version, prober, method, limited):
    """Answer with glibc's own numbers; False where they can't be had. ``limited``: descriptors have a limit of their own."""
    if ctypes is None or method == "bisect":
        return False
    said = forked(lambda: read_glibc(version, prober.variant))
    if not said:
        return False
    used, limit, align, optional = (int(word) for word in said.split())
    how = "_dl_get_tls_static_info"
    if version < (2, 34) and prober.variant == 2:
        # What is above LIMIT is the thread's control block, whose size is not told.
        if not prober.asking:
            return False
        size, limit = limit, used + prober.room()
        if limit % 16 or not 0 < size - limit < 1 << 14:
            return False
        how += " and bisecting"
    for name, value in (("used", used), ("limit", limit), ("align", align), ("room", limit - used), ("method", how)):
        answer(name, value)
    if limited:
        answer("optional", optional)
    return True


def bisect(prober):
    """Answer with the room that modules find. ``used`` and ``limit`` are then right modulo the alignment, and so is their difference."""
    if not prober.asking:
        raise ProbeError("there is no module for this machine")
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


# The task


def has_tunables(loader):
    """Whether this loader has the two tunables of static TLS; a distribution may have them earlier than glibc's own 2.32."""
    return b"rtld.optional_static_tls" in bytes_of(loader)


def tunables(loader):
    """Answer with the tunables as the loader itself says them (2.33 and newer), and with the environment's words for others."""
    answer("has-tunables", os.environ.get("GLIBC_TUNABLES", ""))
    import subprocess

    try:
        process = subprocess.Popen([loader, "--list-tunables"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = process.communicate()[0].decode("ascii", "replace")
    except OSError:  # another machine's loader, under an emulator
        return
    for line in said.splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("glibc.rtld.") and rest.split():
            answer("tunable", "%s %s" % (name[len("glibc.") :], rest.split()[0]))


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
    machine, files = header(), mapped()
    name, version, loader = libc(files)
    answer("libc", name)
    answer("libc-version", version)
    answer("uname", os.uname()[4] if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", ""))
    if machine is None or name in ("darwin", "windows", "wasm"):
        return
    found = [row for row in rows if tuple(int(value) for value in row[:3]) == machine[:3]]
    answer("machine", "%d %d %d" % machine[:3])
    if not found or name in ("musl", "bionic"):
        return
    prober = Prober(found[0], machine[3])
    if name != "glibc":
        bisect(prober)
        return
    number = tuple(int(part) for part in version.split(".")[:2])
    tunable = has_tunables(loader)
    if not read(number, prober, method, tunable or number >= (2, 32)):
        if method == "read":
            raise ProbeError("the loader's own numbers can't be read")
        bisect(prober)
    if tunable:
        tunables(loader)


def main():
    names, rows, method = [], [], "auto"
    with io.open(os.path.join(FOLDER, "task"), encoding="utf-8") as file:
        for line in file:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "import":
                names.append(rest)
            elif kind == "method":
                method = rest
            else:
                rows.append(rest.split(" "))
    warnings.simplefilter("ignore")
    answer("implementation", "%s %d.%d.%d" % ((sys.version.find("PyPy") < 0 and "CPython" or "PyPy",) + tuple(sys.version_info[:3])))
    if imports(names):
        warnings.simplefilter("ignore")  # a module may have changed it; fork warns of its threads
        try:
            measure(rows, method)
        except ProbeError as error:
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
