from cffi import FFI

builder = FFI()
builder.cdef("unsigned long next_count(void);")
builder.set_source(
    "_counter_cffi",
    """
    static __thread volatile unsigned long history[32];
    static __thread unsigned long count;
    static unsigned long next_count(void) { history[count % 32] = count; return ++count; }
    """,
    extra_compile_args=["-ftls-model=initial-exec"],
)
