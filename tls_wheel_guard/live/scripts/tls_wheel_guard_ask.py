"""Asks the loader of the running process for room: modules of a few hundred bytes are opened in forked children.

Part of a child (live.py): plain Python, 2.7 to the newest, the standard library only.
"""

from __future__ import unicode_literals

import os
import struct
import sys

try:
    import ctypes
except Exception:  # not built, as in a musl Python without libffi, or broken: the import machinery opens modules too
    ctypes = None

REFUSED = []
"""What loaders say when there is no room: lines of the task, from loaders/refusals.py."""


class ProbeError(Exception):
    """The modules that would find the room can't be opened here for another reason."""


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
    """Asks for room by modules of one machine. ``row``: a line of the task, as live.py writes it; ``flags``: e_flags of the process."""

    def __init__(self, row, flags, folder):
        self.folder = folder
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
        path = os.path.join(self.folder, "probe-%d.so" % self.number)
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
