from cython.parallel import prange


def total(long n):
    """The sum of 0..n-1, in parallel."""
    cdef long i
    cdef long result = 0
    for i in prange(n, nogil=True):
        result += i
    return result
