"""Random C and C++ with thread-local variables: the same program for a seed, with results that only the code itself decides.

A program exports ``run_one(number, results)``, which calls one of its functions with fixed inputs and writes what it gave, and what the
thread-local variables hold behind it. Functions call only those before them, so all of them end.
"""

from __future__ import annotations

import random
from string import Template

__all__ = ["program"]

INPUTS = ("1.5, -2.25, 3, 0.5f", "-7.125, 0.0625, 12, -3.0f", "1e3, 2.5, 5, 8.25f", "0.3, 4, 22, 1.5f", "-2, -9.5, 49, 0.1f")

DOUBLES = (
    "($D + $D)", "($D * 0.5 - $D)", "($D * $D)", "($D > $D ? $D : c)", "fabs($D)", "sqrt(fabs($D) + 1)", "($D / (fabs($D) + 2))", "t_d0", "t_d1",
    "t_s.x", "(double)t_l0", "(double)t_i0", "(double)q[1]", "($D - (t_d1 += 1))", "$call", "(t_f0 * $D)",
)  # fmt: skip
"""Expressions of type double; ``$D`` is a smaller one."""
SMALL_DOUBLES = ("a", "b", "c", "d", "(double)w", "t_d0", "t_s.y", "1.25", "t_a[n & 3]", "p[0]")
INTEGERS = (
    "(($N) + ($N) & 0xffff)", "(($N) * 3 & 0xfff)", "(($N) ^ ($N))", "(($N) / ((($N) & 7) + 1))", "(t_i1++ & 1023)",
    "t_s.n", "j[2]",
)  # fmt: skip
SMALL_INTEGERS = ("n", "m", "(long)k", "7", "(t_l0 & 255)", "t_i0", "t_b[n & 15]")
CALLS = ("$f(a, b, n & 7, w)", "$f(c, d, m & 15, (float)c)", "$f(d, t_d0, t_i0 & 3, t_f0)", "$f(1.5, c * d, n & 7, w)")
STATEMENTS = (
    "c = $D;", "d += $D;", "a = $D; b = b * 0.5 + a;", "m = $N;", "k = (int)($N & 0x7fff);", "t_l0 = $N;", "t_d0 = $D;", "t_s.x = $D;",
    "t_a[m & 3] = $D;", "t_i0 = (t_i0 + (int)($N & 63)) & 0xffff;", "w = (float)($D) * 0.25f + t_f0;", "p = p * 0.5 + t_p; t_p = p;",
    "q[1] += w; q = q * 0.5f;", "q[2] = t_f0 - w;", "s = t_s; s.x += c; s.f[1] += w; t_s = s;", "memcpy(&s, &t_s, sizeof s); d += s.y - s.f[2];",
    "j[k & 3] = (int)(m & 0xffff); j = j + (int)(t_i1 & 255); m = (m + j[1]) & 0xffff;", "t_b[m & 15] += (unsigned char)k;",
    "snprintf(text, sizeof text, \"%.6g %ld\", $D, (long)(m & 1023)); m = (m + text[0] + text[2]) & 0xffff;",
    "c = sin($D) + pow(fabs(d) + 1, 0.5);", "c = floor($D) - fmod(c, 3.5);", "d = cos($D) * atan2(c, d);",
)  # fmt: skip
CXX_STATEMENTS = (
    "{ ring r(c); const shape *v = &r; d += v->area(w) + t_counter.weight; }", "t_counter.n += m & 7; d += t_counter.n;",
    "d = blend<double>(c, d, $D) + blend<float>(w, 2.0f, t_f0);", "t_vector[n & 1] += c; d -= t_vector[m & 1];",
    "try { if ((m & 3) == 1) throw c; d += t_d0; } catch (double e) { d += e * 0.5 + t_d1; }",
    "{ auto f = [&](double x) { t_i0++; return x * d + c; }; c = f($D) - f(w); }",
    "{ std::string u(\"abc\"); u += (char)('a' + (k & 7)); m = (m + u[3] + t_i1) & 0xffff; }",
)  # fmt: skip
NESTED = (
    "for (int $i = 0; $i < (int)((n + m) & 7) + 1; $i++) { $B c = c * 0.5 + $i; }",
    "for (int $i = 0; $i < (int)(n & 3) + 1; $i++) { $B d += c; }",
    "if ($D > $D) { $B } else { $B }", "if (($N) & 1) { $B }", "switch (($N) & 15) { $cases default: $S }",
) * 2  # fmt: skip
LINKAGES = ("", "", "static __attribute__((noinline)) ", "static ", '__attribute__((visibility("hidden"))) ')
FUNCTION = Template("""${linkage}double f$number(double a, double b, long n, float w) {
    double c = a * 0.5 + n, d = b;
    long m = n;
    int k = (int)n & 7;
    struct node s = {a, b, n, {1, 2, 3, w}};
    pair p = {a, b};
    quad q = {w, 1, 2, 3};
    ints j = {1, k, 3, 4};
    (void)s, (void)k;
    $body
    return c + d + p[1] + q[2] + m + j[3]$last;
}
""")
ALL_FUNCTIONS = Template("""
#ifdef __cplusplus
extern "C"
#endif
unsigned run_one(unsigned number, unsigned char *results) {
    unsigned char *at = results;
    if (number >= $count) return 0;
    reset();
    switch (number) {
    $cases
    }
    put_variables(&at);
    return (unsigned)(at - results);
}
""")


class _Writer(dict[str, str]):
    """Fills templates: each word that a template names is made when it is met."""

    def __init__(self, seed: int, statements: tuple[str, ...]) -> None:
        super().__init__()
        self._random, self._statements = random.Random(seed), statements
        self._depth, self._nesting, self._functions = 0, 0, 0

    def __missing__(self, word: str) -> str:
        if word == "D":
            return self._smaller(DOUBLES if self._depth < 3 else SMALL_DOUBLES)
        if word == "N":
            return self._smaller(INTEGERS if self._depth < 2 else SMALL_INTEGERS)
        if word == "call":
            return self._fill(self._random.choice(CALLS)) if self._functions and self._depth < 3 else "c"
        if word == "f":
            return f"f{self._random.randrange(self._functions)}"
        if word == "S":
            return self.statement()
        if word == "B":
            return " ".join(self.statement() for _ in range(self._random.randint(1, 3)))
        if word == "cases":
            return " ".join(f"case {n}: {self.statement()} break;" for n in range(self._random.randint(5, 9)))
        return f"i{self._nesting}"

    def _fill(self, template: str) -> str:
        return Template(template).substitute(self)

    def _smaller(self, choices: tuple[str, ...]) -> str:
        self._depth += 1
        made = self._fill(self._random.choice(choices))
        self._depth -= 1
        return made

    def statement(self) -> str:
        """One statement; loops, choices and switches hold more."""
        kinds = self._statements + (NESTED if self._nesting < 3 else ())
        depth, self._depth = self._depth, 0
        self._nesting += 1
        made = self._fill(self._random.choice(kinds))
        self._nesting -= 1
        self._depth = depth
        return made

    def function(self) -> str:
        """The next function."""
        body = "\n    ".join(self.statement() for _ in range(self._random.randint(3, 9)))
        linkage, last = self._random.choice(LINKAGES), self._random.choice(("", " + s.x", " + t_d0", " * t_f0"))
        self._functions += 1
        return FUNCTION.substitute(linkage=linkage, number=self._functions - 1, body=body, last=last)


def program(seed: int, functions: int, cxx: bool) -> str:
    """The source of one program; it includes tests/sources/descriptor_program.h."""
    writer = _Writer(seed, STATEMENTS + (CXX_STATEMENTS if cxx else ()))
    made = [writer.function() for _ in range(functions)]
    cases = "\n    ".join(f"case {n}: {' '.join(f'put(&at, f{n}({given}));' for given in INPUTS)} break;" for n in range(functions))
    return "\n".join(['#include "descriptor_program.h"', *made, ALL_FUNCTIONS.substitute(count=functions, cases=cases)])
