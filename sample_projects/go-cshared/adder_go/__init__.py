"""A Go function, called by ctypes."""

import ctypes
import pathlib

_library = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libadder.so")))
_library.Add.argtypes = [ctypes.c_long, ctypes.c_long]
_library.Add.restype = ctypes.c_long


def add(a: int, b: int) -> int:
    """The sum, computed in Go."""
    return _library.Add(a, b)
