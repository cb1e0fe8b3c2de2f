"""Generated C and C++ that uses thread-local variables in many ways; the same seed gives the same text. ``work`` gives one number.

Arithmetic is unsigned, so that nothing is undefined; doubles live over accesses, branches depend on flags set before one, addresses are taken,
passed and kept, accesses stand in loops, switches, recursion and rarely run parts.
"""

from __future__ import annotations

import random

__all__ = ["EXCEPTIONS", "c_source"]

TYPES = ("unsigned long", "unsigned", "unsigned short", "unsigned char", "double", "float", "long")
HEAD = """
#define COLD __attribute__((cold, noinline))
#define NOINLINE __attribute__((noinline))
#define IE __attribute__((tls_model("initial-exec")))
#ifdef __cplusplus
extern "C"
#endif
unsigned long work(unsigned long);
static volatile unsigned long never;
NOINLINE static unsigned long mix(unsigned long a, unsigned long b)
{
    __asm__ volatile("" : "+r"(a));
    return (a ^ b) * 0x9E3779B97F4A7C15ul + (a >> 29);
}
#ifdef __aarch64__
#define VECTOR "+w"
#else
#define VECTOR "+x"
#endif
NOINLINE static double half(double a) { __asm__ volatile("" : VECTOR(a)); return a * 0.5 + 1; }
"""
TOUCH = "NOINLINE static void touch(void *at, unsigned long size, unsigned long n) { ((unsigned char *)at)[n % size] ^= (unsigned char)n; }"
INTERRUPT = """
static __thread unsigned long ticks IE, sum_of_ticks IE;
#ifdef __cplusplus
extern "C" {
#endif
void interrupt(void) { ticks++; sum_of_ticks += ticks; }
unsigned long ticked(void) { return sum_of_ticks == ticks * (ticks + 1) / 2 ? ticks : 0; }
#ifdef __cplusplus
}
#endif
"""
"""What a signal handler calls: it keeps variables of its own."""

EXCEPTIONS = """
#include <stdexcept>
#include <string>
#define IE __attribute__((tls_model("initial-exec")))
static __thread unsigned long depth IE, caught IE, destroyed IE;
static __thread char room[900] IE;
struct Guard {
    unsigned long n;
    explicit Guard(unsigned long n) : n(n) { depth += n; }
    ~Guard() { destroyed = destroyed * 3 + depth; depth -= n; room[n % 900]++; }
};
__attribute__((noinline)) static void descend(unsigned long n)
{
    Guard guard(n % 7 + 1);
    if (n % 13 == 0) throw std::runtime_error(std::to_string(depth));
    if (n % 17 == 0) throw depth;
    if (n > 0) descend(n - 1);
    caught += guard.n;
}
extern "C" unsigned long work(unsigned long seed)
{
    unsigned long sum = 0;
    for (unsigned long i = 0; i < 30; i++) {
        try { descend(seed % 40 + i); }
        catch (const std::runtime_error &error) { sum = sum * 31 + std::stoul(error.what()) + caught; caught += depth; }
        catch (unsigned long value) { sum = sum * 33 + value + destroyed; }
    }
    unsigned long result = sum * 7 + depth + caught + destroyed + (unsigned char)room[3];
    depth = caught = destroyed = 0;
    for (auto &one : room) one = 0;
    return result;
}
"""


class _Writer:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.variables: list[tuple[str, str, int]] = []

    def pick_variable(self) -> tuple[str, str]:
        """(lvalue, type) of some variable; arrays with an index that is in range."""
        name, kind, length = self.random.choice(self.variables)
        return (f"{name}[{self.random.choice(('n', 'i', 'seed'))} % {length}]" if length > 1 else name), kind

    def value(self) -> str:
        """An expression of type unsigned long."""
        lvalue, kind = self.pick_variable()
        if kind in ("double", "float"):
            return f"(unsigned long)((long)({lvalue}) & 0xffffff)"
        return self.random.choice((f"(unsigned long){lvalue}", f"mix({lvalue}, n)", f"({lvalue} + n)", "n", "i", f"(n > {lvalue} ? seed : i)"))

    def statement(self) -> str:
        lvalue, kind = self.pick_variable()
        if kind in ("double", "float"):
            other = self.random.choice(("d", "half(d)", f"(double)({self.value()} % 1000)"))
            return self.random.choice((
                f"{lvalue} = ({kind})({other} * 0.25 + 1);", f"d = d * 0.5 + (double){lvalue}; {lvalue} = ({kind})(d * 0.125);",
                f"if (d > {lvalue}) d = 3; else {lvalue} = ({kind})1.5;",
            ))  # fmt: skip
        return self.random.choice((
            f"{lvalue} = ({kind})({self.value()});",
            f"{lvalue} += ({kind}){self.value()};",
            f"{lvalue} ^= ({kind})(n >> 3); n += {lvalue};",
            f"touch(&{lvalue}, sizeof {lvalue}, n);" if kind != "unsigned char" else f"{lvalue}++;",
            f"if (n & {self.random.randrange(1, 64)}) n = mix(n, {self.value()}); else {lvalue}--;",
            f"n += (unsigned long){lvalue} < i ? {self.value()} : {self.value()};",
            f"switch (n % 4) {{ case 0: {lvalue}++; break; case 1: n ^= (unsigned long){lvalue}; break; default: {lvalue} = ({kind})n; }}",
            f"for (unsigned long k = 0; k < n % 5; k++) {{ {lvalue} += ({kind})k; n = mix(n, k); }}",
            f"if (__builtin_expect(never, 0)) rare(&{lvalue});",
        ))  # fmt: skip


def c_source(seed: int, functions: int = 6, size: int = 900) -> str:
    """C that is C++ as well. Each call of ``work`` begins with the variables' initial values.

    ``size``: bytes of a variable that makes the block too large for static room of descriptors."""
    writer = _Writer(seed)
    initials: dict[str, int] = {}
    lines = [HEAD, f"static __thread unsigned char large[{size}] IE;"]
    for number in range(writer.random.randint(4, 9)):
        kind, length = writer.random.choice(TYPES), writer.random.choice((1, 1, 1, 3, 8))
        storage = writer.random.choice(("static ", "", "static ", '__attribute__((visibility("hidden"))) '))
        first = writer.random.randrange(100) if length == 1 and writer.random.random() < 0.4 else 0
        initials[f"v{number}"] = first
        initial = f" = {first}" if first else ""
        lines.append(f"{storage}__thread {kind} v{number}{f'[{length}]' if length > 1 else ''} IE{initial};")
        writer.variables.append((f"v{number}", kind, length))
    writer.variables.append(("large", "unsigned char", size))
    lines.append(
        "NOINLINE static void touch(void *at, unsigned long size, unsigned long n) { ((unsigned char *)at)[n % size] ^= (unsigned char)n; }"
    )
    lines.append(f"COLD static void rare(void *at) {{ never = (unsigned long)at + (unsigned long)&{writer.variables[0][0]}; }}")
    for number in range(functions):
        body = "\n    ".join(writer.statement() for _ in range(writer.random.randint(3, 9)))
        call = f"if (n % 3 == 1 && i) n ^= f{writer.random.randrange(number)}(n, i - 1, seed);" if number else ""
        head = f"NOINLINE static unsigned long f{number}(unsigned long n, unsigned long i, unsigned long seed)"
        lines.append(
            f"{head}\n{{\n    double d = (double)(n % 1000);\n    {body}\n    {call}\n    return n + (unsigned long)((long)d & 0xffff);\n}}"
        )
    calls = " ".join(f"sum = sum * 31 + f{number}(sum, i, seed);" for number in range(functions))
    reset = " ".join(
        f"for (unsigned long k = 0; k < {length}; k++) {name}[k] = 0;" if length > 1 else f"{name} = {initials[name]};"
        for name, _, length in writer.variables
    )
    lines.append(INTERRUPT)
    lines.append(
        f"unsigned long work(unsigned long seed)\n{{\n    unsigned long sum = seed;\n    for (unsigned long i = 0; i < 20; i++) {{ {calls} }}\n"
        f"    {reset}\n    return sum;\n}}\n"
    )
    return "\n".join(lines)
