"""A counter in C for each thread."""

from _counter_cffi import lib

next = lib.next_count
