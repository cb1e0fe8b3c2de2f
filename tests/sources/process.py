"""The same as process.c, in Python: opens with ctypes.CDLL, as any package does. Old Pythons run it too."""

import _ctypes
import ctypes
import sys

WORD = ctypes.sizeof(ctypes.c_size_t)


def find():
    """Addresses of _dl_tls_static_used and _dl_tls_static_optional, the block's size and alignment, the TCB's size."""
    everything = ctypes.CDLL(None)
    size, align = ctypes.c_size_t(), ctypes.c_size_t()
    everything._dl_get_tls_static_info(ctypes.byref(size), ctypes.byref(align))
    start = ctypes.addressof(ctypes.c_char.in_dll(everything, "_rtld_global"))
    slots = (ctypes.c_uint32 * 3).in_dll(everything, "_thread_db_rtld_global__dl_tls_dtv_slotinfo_list")
    tcb = ctypes.c_uint32.in_dll(everything, "_thread_db_sizeof_pthread").value
    place = start + slots[2]
    return place + 2 * WORD, place + 3 * WORD, size.value, align.value, tcb


USED, OPTIONAL, SIZE, ALIGN, TCB = find()


def word(address):
    """What is there now."""
    return ctypes.c_size_t.from_address(address).value


def say(error=""):
    """One answer."""
    print(":%s\t%d\t%d" % (error, word(USED), word(OPTIONAL)), flush=True)


print("start %d %d %d %d %d" % (word(USED), SIZE, ALIGN, word(OPTIONAL), TCB), flush=True)
handles = []
for step in sys.argv[1:]:
    deed, name = step[0], step[1:]
    try:
        if deed in "+*":
            handles.append((name, ctypes.CDLL(name, ctypes.RTLD_GLOBAL if deed == "*" else ctypes.RTLD_LOCAL)))
        elif deed == "=":
            name, symbol = name.rsplit(":", 1)
            library = next(library for path, library in handles if path == name)
            ctypes.c_char.in_dll(library, symbol)
        else:
            entry = next(entry for entry in handles if entry[0] == name)
            handles.remove(entry)
            _ctypes.dlclose(entry[1]._handle)
        say()
    except StopIteration:
        say("not open")
    except (OSError, ValueError) as error:
        say(str(error))
