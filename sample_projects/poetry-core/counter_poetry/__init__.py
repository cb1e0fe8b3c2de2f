"""A counter in C for each thread, called by ctypes."""

import ctypes
import pathlib

next = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libcounter.so"))).next_count
next.restype = ctypes.c_ulong
