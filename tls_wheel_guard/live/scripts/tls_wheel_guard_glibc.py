"""glibc's own numbers, read from the memory of the running process, and its tunables.

Part of a child (live.py): plain Python, 2.7 to the newest, the standard library only. Without ctypes nothing can be read.
"""

from __future__ import unicode_literals

from tls_wheel_guard_ask import ctypes, forked


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
    """Older ones keep size, used and align side by side: "used size align optional", when exactly one place fits."""
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


def numbers(version, prober):
    """[used, limit, align, optional] and how they were found; None where they can't be had."""
    said = forked(lambda: read_glibc(version, prober.variant)) if ctypes is not None else None
    if not said:
        return None
    used, limit, align, optional = (int(word) for word in said.split())
    how = "_dl_get_tls_static_info"
    if version < (2, 34) and prober.variant == 2:
        # What is above LIMIT is the thread's control block, whose size glibc does not publish.
        if not prober.asking:
            return None
        size, limit = limit, used + prober.room()
        if limit % 16 or not 0 < size - limit < 1 << 14:
            return None
        how += " and bisecting"
    return [used, limit, align, optional], how


TUNABLE = b"rtld.optional_static_tls"
"""In the loader's file where it has the two tunables of static TLS; a distribution may have them earlier than glibc's own 2.32."""


def tunables(loader):
    """Lines of the tunables of rtld as the loader itself says them (2.33 and newer)."""
    import subprocess

    try:
        process = subprocess.Popen([loader, "--list-tunables"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = process.communicate()[0].decode("ascii", "replace")
    except OSError:  # another machine's loader, under an emulator
        return []
    found = []
    for line in said.splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("glibc.rtld.") and rest.split():
            found.append("%s %s" % (name[len("glibc.") :], rest.split()[0]))
    return found
