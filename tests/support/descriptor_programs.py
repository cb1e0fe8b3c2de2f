"""Random C and C++ with thread-local variables: the same program for a seed, with results that only the code itself decides.

A program exports ``run_one(number, results)``, which calls one of its functions with fixed inputs and writes what it gave, and what the
thread-local variables hold behind it. Functions call only those before them, so all of them end.
"""

from __future__ import annotations

import random
import re
from string import Template
from typing import NamedTuple

__all__ = ["program"]

INPUTS = ("1.5, -2.25, 3, 0.5f", "-7.125, 0.0625, 12, -3.0f", "1e3, 2.5, 5, 8.25f", "0.3, 4, 22, 1.5f", "-2, -9.5, 49, 0.1f")

DOUBLES = (
    "($D + $D)", "($D * 0.5 - $D)", "($D * $D)", "($D > $D ? $D : c)", "fabs($D)", "sqrt(fabs($D) + 1)", "($D / (fabs($D) + 2))", "t_d0", "t_d1",
    "t_s.x", "(double)t_l0", "(double)t_i0", "(double)q[1]", "($D - (t_d1 += 1))", "$call", "(t_f0 * $D)",
)  # fmt: skip
"""Expressions of type double; ``$D`` is a smaller one."""
LOCAL_DOUBLES = tuple(text for text in DOUBLES if "sqrt" not in text and "$call" not in text)
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
LOCAL_STATEMENTS = tuple(text for text in STATEMENTS if not re.search("snprintf|sin|pow|floor|cos", text))
"""Those that call no function of a library."""
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
LEADS = (
    "t_i0 = (t_i0 + k) & 0xffff;", "m += t_b[n & 15] + t_i1;", "if (t_l0 > m) m = (m + t_i1) & 0xffff;", "t_d0 = v[n & 1];",
    "m += (long)t_a[n & 3];", "for (int $i = 0; $i < k; $i++) t_b[(m + $i) & 15] += (unsigned char)$i;", "memset(t_b, k, sizeof t_b);",
    "t_s.n += m & 7; m ^= t_s.n;", "snprintf(text, sizeof text, \"%d %ld\", k, m); m = (m + text[0] + t_i0) & 0xffff;",
    "for (int $i = 0; $i < k; $i++) { t_l0 += $i; m += t_l0 & 3; }", "if (k & 1) t_d1 += v[1]; else t_i1 ^= k;",
    "m = (m + (long)sin(v[k & 3])) & 0xffff;", "v = v[1] > t_d0 ? v : other;", "{ struct node *at = &t_s; at->y += k; at->f[k & 3] += 1; }",
)  # fmt: skip
"""What functions do first that keep no float yet."""
LED_FUNCTION = Template("""${linkage}double f$number(const double *v, long n) {
    static const double other[4] = {3, 2.5, 4, 0.25};
    long m = n;
    int k = (int)n & 7;
    $lead
    double a = v[0], b = v[1], c = v[2] * 0.5 + n, d = b;
    float w = (float)v[3];
    struct node s = {a, b, n, {1, 2, 3, w}};
    pair p = {a, b};
    quad q = {w, 1, 2, 3};
    ints j = {1, k, 3, 4};
    (void)s, (void)k, (void)other;
    $body
    return c + d + p[1] + q[2] + m + j[3]$last;
}
""")
QUIET_STATEMENTS = (
    *LEADS, "m = $N;", "k = (int)($N & 0x7fff);", "t_l0 = $N;", "t_i0 = (t_i0 + (int)($N & 63)) & 0xffff;", "t_b[m & 15] += (unsigned char)k;",
    "t_d0 = t_d0 * 0.5 + v[k & 3];", "t_s.x = v[m & 3] - t_s.y;", "t_f0 = (float)k * 0.25f;", "if (t_d0 > v[k & 3]) m += 1;", "t_p = t_p * 0.5;",
)  # fmt: skip
"""Integers around floats that stay in memory."""
QUIET_NESTED = (
    "for (int $i = 0; $i < (int)(n & 3) + 1; $i++) { $B }", "if (($N) & 1) { $B }", "if (m > t_i1) { $B } else { $B }",
    "switch (($N) & 15) { $cases default: $S }",
) * 2  # fmt: skip
QUIET_FUNCTION = Template("""${linkage}double f$number(const double *v, long n) {
    static const double other[4] = {3, 2.5, 4, 0.25};
    long m = n;
    int k = (int)n & 7;
    ints j = {1, k, 3, 4};
    (void)k, (void)other, (void)j;
    $body
    return (double)m * v[1] + v[0] * (double)k;
}
""")


class _Shape(NamedTuple):
    """What functions look like: their text, what they are made of, how many statements they have, the arguments in ``run_one``."""

    function: Template
    calls: tuple[str, ...]
    inputs: tuple[str, ...]
    doubles: tuple[str, ...] = DOUBLES
    statements: tuple[str, ...] = STATEMENTS
    nested: tuple[str, ...] = NESTED
    length: tuple[int, int] = (3, 9)


_LED_CALLS = ("$f(v, n & 7)", "$f(other, m & 15)", "$f(v, t_i0 & 3)")
_LED_INPUTS = tuple(f"(const double[]){{{a}, {b}, 0.5, {w}}}, {n}" for a, b, n, w in (given.split(", ") for given in INPUTS))
_FLOATS = (_Shape(FUNCTION, CALLS, INPUTS),)
_LED = (
    _Shape(LED_FUNCTION, _LED_CALLS, _LED_INPUTS, length=(1, 5)),
    _Shape(LED_FUNCTION, _LED_CALLS, _LED_INPUTS, LOCAL_DOUBLES, LOCAL_STATEMENTS, length=(1, 5)),
    _Shape(QUIET_FUNCTION, _LED_CALLS, _LED_INPUTS, (), QUIET_STATEMENTS, QUIET_NESTED, (1, 5)),
)
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

    def __init__(self, seed: int, shapes: tuple[_Shape, ...], more: tuple[str, ...]) -> None:
        super().__init__()
        self._random, self._shapes, self._more = random.Random(seed), shapes, more
        self._shape = shapes[0]
        self._depth, self._nesting, self._functions = 0, 0, 0

    def __missing__(self, word: str) -> str:
        if word == "D":
            return self._smaller(self._shape.doubles if self._depth < 3 else SMALL_DOUBLES)
        if word == "N":
            return self._smaller(INTEGERS if self._depth < 2 else SMALL_INTEGERS)
        if word == "call":
            return self._fill(self._random.choice(self._shape.calls)) if self._functions and self._depth < 3 else "c"
        if word == "f":
            return f"f{self._random.randrange(self._functions)}"
        if word == "S":
            return self.statement()
        if word == "B":
            return " ".join(self.statement() for _ in range(self._random.randint(1, 3)))
        if word == "lead":
            return " ".join(self._fill(self._random.choice(LEADS)) for _ in range(self._random.randint(1, 3)))
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
        kinds = self._shape.statements + self._more + (self._shape.nested if self._nesting < 3 else ())
        depth, self._depth = self._depth, 0
        self._nesting += 1
        made = self._fill(self._random.choice(kinds))
        self._nesting -= 1
        self._depth = depth
        return made

    def function(self) -> str:
        """The next function."""
        self._shape = self._random.choice(self._shapes) if len(self._shapes) > 1 else self._shape
        body = "\n    ".join(self.statement() for _ in range(self._random.randint(*self._shape.length)))
        linkage, last = self._random.choice(LINKAGES), self._random.choice(("", " + s.x", " + t_d0", " * t_f0"))
        self._functions += 1
        words = {"linkage": linkage, "number": str(self._functions - 1), "body": body, "last": last}
        return self._shape.function.substitute(words | ({"lead": self["lead"]} if self._shape.function is LED_FUNCTION else {}))


def program(seed: int, functions: int, cxx: bool, led: bool = False) -> str:
    """The source of one program; it includes tests/sources/descriptor_program.h. ``led``: its functions get no floats and begin without them."""
    shapes = _LED if led else _FLOATS
    writer = _Writer(seed, shapes, CXX_STATEMENTS if cxx else ())
    made = [writer.function() for _ in range(functions)]
    cases = "\n    ".join(f"case {n}: {' '.join(f'put(&at, f{n}({given}));' for given in shapes[0].inputs)} break;" for n in range(functions))
    return "\n".join(['#include "descriptor_program.h"', *made, ALL_FUNCTIONS.substitute(count=functions, cases=cases)])
