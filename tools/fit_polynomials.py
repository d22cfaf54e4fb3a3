"""Minimax coefficients of the vector mathematics: writes ``gemel/engine/loops/mathlib/coefficients.py``.

Each row of ``FITS`` names a smooth function g on an interval and a weight w; Remez's exchange algorithm (on a
fixed fine grid, in 60-digit arithmetic) finds the polynomial p of the wanted number of terms that minimises
``max w |g - p|``. The coefficients are then rounded to the element type, lowest power first.

Needs mpmath (and gmpy2, for speed). Run it from the root of the repository:

    python tools/fit_polynomials.py [NAME ...]      # without names: all rows, and write the file
"""
from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
TARGET = Path(__file__).resolve().parents[1] / "gemel/engine/loops/mathlib/coefficients.py"
Number = Any  # mpmath's mpf, or a number that it accepts
Real = Callable[[Number], Number]


@dataclass(frozen=True)
class Fit:
    """``g(x) = c[0] + c[1] x + c[2] x^2 + ...`` on [low, high].

    Args:
        name: of the table. doc: what it approximates. g, low, high: the function and interval.
        f32, f64: number of terms for each element type (0: no such table).
        weight: what an error is multiplied by before it counts.
        firm: number of low coefficients that are rounded before the others are fitted, which then make up for it.
    """

    name: str
    doc: str
    g: Real
    low: Number
    high: Number
    f32: int = 0
    f64: int = 0
    weight: Real = lambda x: mp.mpf(1)
    firm: int = 0


def grid(low, high, count: int) -> list[Number]:
    """Points of [low, high], dense at the ends, where the error of a minimax fit oscillates fastest."""
    middle, half = (mp.mpf(high) + low) / 2, (mp.mpf(high) - low) / 2
    return [middle - half * mp.cos(mp.pi * (j + mp.mpf(1) / 2) / count) for j in range(count)]


def horner(coefficients: list, x: Number) -> Number:
    total = mp.mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def remez(fit: Fit, terms: int) -> tuple[list[Number], Number]:
    """Minimax coefficients and the largest weighted error."""
    xs = grid(fit.low, fit.high, 60 * (terms + 1))
    gs, ws = [fit.g(x) for x in xs], [fit.weight(x) for x in xs]
    # start from the Chebyshev extrema
    chosen = sorted({min(len(xs) - 1, round(j * (len(xs) - 1) / terms)) for j in range(terms + 1)})
    coefficients, worst = [], mp.mpf(0)
    for _ in range(60):
        matrix = mp.matrix(terms + 1, terms + 1)
        right = mp.matrix(terms + 1, 1)
        for row, j in enumerate(chosen):
            for power in range(terms):
                matrix[row, power] = xs[j] ** power
            matrix[row, terms] = (-1) ** row / ws[j]
            right[row] = gs[j]
        solution = mp.lu_solve(matrix, right)
        coefficients, level = list(solution[:terms]), abs(solution[terms])
        errors = [w * (g - horner(coefficients, x)) for x, g, w in zip(xs, gs, ws, strict=True)]
        extrema: list[int] = []
        for j, e in enumerate(errors):
            if extrema and (errors[extrema[-1]] > 0) == (e > 0):
                if abs(e) > abs(errors[extrema[-1]]):
                    extrema[-1] = j
            else:
                extrema.append(j)
        while len(extrema) > terms + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        worst = max(map(abs, errors))
        if len(extrema) < terms + 1 or worst <= level * mp.mpf("1.0001"):
            break
        chosen = extrema
    return coefficients, worst


def to_type(value: Number, elem: str) -> float:
    """Nearest f32 or f64."""
    if elem == "f64":
        return float(value)
    with mp.workprec(24):
        return float(+value)


def rounded(fit: Fit, terms: int, elem: str) -> list[float]:
    """Coefficients of the element type."""
    found: list[float] = []
    for _ in range(fit.firm):
        coefficients, _ = remez(fit, terms - len(found))
        found.append(to_type(coefficients[0], elem))
        fit = replace(fit, g=lambda x, g=fit.g, c=found[-1]: (g(x) - mp.mpf(c)) / x,
                      weight=lambda x, w=fit.weight: w(x) * abs(x))
    coefficients, _ = remez(fit, terms - len(found))
    return found + [to_type(c, elem) for c in coefficients]


def text(value: float, elem: str) -> str:
    """The shortest decimal that reads back as the same number of the type."""
    return str(np.float32(value)) if elem == "f32" else repr(value)


# --- the functions -------------------------------------------------------------------------------

def careful(g: Real) -> Real:
    """``g`` with the digits to spare that a difference of near numbers loses."""
    def wrapped(x: Number) -> Number:
        with mp.workdps(110):
            return g(+x)
    return wrapped


LN2 = mp.log(2)
HALF_LN2 = LN2 / 2 * mp.mpf("1.002")
QUARTER_PI = mp.pi / 4 * mp.mpf("1.01")
LOW_LOG, HIGH_LOG = mp.sqrt(2) / 2 - 1, mp.sqrt(2) - 1
ERF_SPLIT32, ERF_SPLIT64 = mp.mpf("1.4"), mp.mpf("1.25")
S_LIMIT = (HIGH_LOG / (2 + HIGH_LOG)) ** 2


def odd(g: Real) -> Real:
    """(g(x) - x) / x^3 as a function of z = x^2: what an odd function adds to its first term."""
    def wrapped(z: Number) -> Number:
        x = mp.sqrt(z)
        return (g(x) - x) / x**3
    return careful(wrapped)


@functools.cache
def erfinv_ratio(w: Number) -> Number:
    """erfinv(y) / y, where ``w = -log(1 - y^2)``."""
    with mp.workdps(110):
        y = mp.sqrt(-mp.expm1(-w))
        return mp.erfinv(y) / y


def stirling_rest(u: Number) -> Number:
    """x times what Stirling's formula for log gamma(x) lacks, ``u = 1 / x^2``."""
    x = 1 / mp.sqrt(u)
    return (mp.loggamma(x) - (x - mp.mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2) * x


def digamma_rest(u: Number) -> Number:
    """x^2 times what ``log(x) - 1 / (2 x)`` exceeds digamma(x) by, ``u = 1 / x^2``."""
    x = 1 / mp.sqrt(u)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) * x * x


def cot_rest(z: Number) -> Number:
    """``(pi d cot(pi d) / (1/4 - z) - 4) / z``, ``z = d^2``: smooth also at 1/4, where both sides of the bar are 0."""
    d = mp.sqrt(z)
    return (mp.pi * d * mp.cot(mp.pi * d) / (mp.mpf(1) / 4 - z) - 4) / z


with mp.workdps(110):
    DIGAMMA_ROOT = mp.findroot(mp.digamma, mp.mpf("1.4616"))
    LGAMMA_FIRST, LGAMMA_SECOND = 1 - mp.euler, (mp.zeta(2) - 1) / 2

FITS: tuple[Fit, ...] = (
    Fit("EXPM1", "(e^r - 1 - r) / r^2 for |r| <= ln(2)/2; the error counts relative to r",
        careful(lambda r: (mp.expm1(r) - r) / r**2), -HALF_LN2, HALF_LN2, 5, 11, abs),
    Fit("EXP2", "(2^r - 1) / r for |r| <= 1/2",
        careful(lambda r: mp.expm1(r * LN2) / r), mp.mpf("-0.5"), mp.mpf("0.5"), 6, 12, abs),
    Fit("SINH", "(sinh x - x) / x^3 in z = x^2 <= 1", odd(mp.sinh), 0, 1, 4, 8, lambda z: z),
    Fit("TANH", "(tanh x - x) / x^3 in z = x^2, |x| <= 0.55", odd(mp.tanh), 0, mp.mpf("0.3025"), 5, 11, lambda z: z),
    Fit("LOG1P", "(log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2)",
        careful(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3), LOW_LOG, HIGH_LOG, 8, 0, lambda f: f * f),
    Fit("LOG_ATANH", "(2 atanh(s) - 2 s) / s^3 in z = s^2, s = f / (2 + f)",
        careful(lambda z: 2 * (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z), 0, S_LIMIT, 0, 7, lambda z: z / 2),
    Fit("POW_ATANH", "(atanh(s) / s - 1 - z/3) / z^2 in z = s^2, as LOG_ATANH",
        careful(lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1 - z / 3) / z**2), 0, S_LIMIT, 3, 7, lambda z: z * z),
    Fit("SIN", "(sin r - r) / r^3 in z = r^2, |r| <= pi/4", odd(mp.sin), 0, QUARTER_PI**2, 3, 6, lambda z: z),
    Fit("COS", "(cos r - 1 + r^2/2) / r^4 in z = r^2, |r| <= pi/4",
        careful(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2), 0, QUARTER_PI**2, 3, 6, lambda z: z * z),
    Fit("TAN", "(tan r - r) / r^3 in z = r^2, |r| <= pi/4", odd(mp.tan), 0, QUARTER_PI**2, 8, 15, lambda z: z),
    Fit("ASIN", "(asin s - s) / s^3 in z = s^2 <= 1/4", odd(mp.asin), 0, mp.mpf("0.25"), 5, 12, lambda z: z),
    Fit("ERF_SMALL", "erf(x) / x - 1 in z = x^2, x <= ERF_SPLIT",
        careful(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1), 0, ERF_SPLIT32**2, 8, 0),
    Fit("ERF_SMALL", "", careful(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1), 0, ERF_SPLIT64**2, 0, 14),
    Fit("ERF_LARGE", "f32: erf(x) in x - (split + 3.95) / 2; f64: e^(x^2) erfc(x) in 1 / (1 + x)",
        lambda t: mp.erf(t + (ERF_SPLIT32 + mp.mpf("3.95")) / 2),
        (ERF_SPLIT32 - mp.mpf("3.95")) / 2, (mp.mpf("3.95") - ERF_SPLIT32) / 2, 13, 0),
    Fit("ERF_LARGE", "", careful(lambda u: mp.exp((1 / u - 1)**2) * mp.erfc(1 / u - 1)),
        1 / mp.mpf("6.95"), 1 / (1 + ERF_SPLIT64), 0, 13, lambda u: mp.exp(-(1 / u - 1)**2)),
    Fit("ERFINV_NEAR", "f32: erfinv(y) / y in w - 1, w = -log(1 - y^2) <= 5; f64: in w - 3.125, w <= 6.25",
        lambda t: erfinv_ratio(t + 1), mp.mpf(-1), mp.mpf(4), 11, 0, firm=2),
    Fit("ERFINV_NEAR", "", lambda t: erfinv_ratio(t + mp.mpf("3.125")), mp.mpf("-3.125"), mp.mpf("3.125"), 0, 26,
        firm=2),
    Fit("ERFINV_TAIL", "erfinv(y) / y in sqrt(w) - 3.25, sqrt(w) from sqrt(5) (f64: 2.5) to 4.05",
        lambda t: erfinv_ratio((t + mp.mpf("3.25"))**2), mp.sqrt(5) - mp.mpf("3.25"), mp.mpf("0.8"), 11, 0, firm=2),
    Fit("ERFINV_TAIL", "", lambda t: erfinv_ratio((t + mp.mpf("3.25"))**2), mp.mpf("-0.75"), mp.mpf("0.8"), 0, 21,
        firm=2),
    Fit("ERFINV_FAR", "erfinv(y) / y in sqrt(w) - 5, sqrt(w) from 4 to 6.03",
        lambda t: erfinv_ratio((t + 5)**2), mp.mpf("-1"), mp.mpf("1.03"), 0, 20, firm=2),
    Fit("LGAMMA", "(log gamma(2 + t) / t - c0 - c1 t) / t^2, c0 = 1 - gamma, c1 = (pi^2/6 - 1) / 2, -3/4 <= t <= 1/4",
        careful(lambda t: (mp.loggamma(2 + t) / t - LGAMMA_FIRST - LGAMMA_SECOND * t) / t**2),
        mp.mpf("-0.75"), mp.mpf("0.25"), 10, 20, lambda t: t**3 / mp.loggamma(2 + t)),
    Fit("STIRLING", "x (log gamma(x) - Stirling's formula) in 1 / x^2, x >= 4 (f64: 8)",
        careful(stirling_rest), 0, mp.mpf(1) / 16, 3, 0),
    Fit("STIRLING", "", careful(stirling_rest), 0, mp.mpf(1) / 64, 0, 6),
    Fit("DIGAMMA", "(digamma(x0 + t) / t - c0) / t, 1 <= x0 + t <= 2, x0 the root of digamma, c0 its derivative there",
        careful(lambda t: (mp.digamma(DIGAMMA_ROOT + t) / t - mp.psi(1, DIGAMMA_ROOT)) / t),
        1 - DIGAMMA_ROOT, 2 - DIGAMMA_ROOT, 11, 23, lambda t: abs(t)),
    Fit("DIGAMMA_LARGE", "x^2 (log(x) - 1 / (2 x) - digamma(x)) in 1 / x^2, x >= 4",
        careful(digamma_rest), 0, mp.mpf(1) / 16, 3, 9, lambda u: u),
    Fit("COT_PI", "(pi d cot(pi d) / (1/4 - z) - 4) / z in z = d^2, |d| <= 1/2",
        careful(cot_rest), 0, mp.mpf("0.25"), 7, 15, lambda z: z / 4),
    Fit("SIN_PI", "(sin(pi d) / (pi d) - 1 + pi^2/6 z) / z^2 in z = d^2, |d| <= 1/2",
        careful(lambda z: (mp.sin(mp.pi * mp.sqrt(z)) / (mp.pi * mp.sqrt(z)) - 1 + mp.pi**2 / 6 * z) / z**2),
        0, mp.mpf("0.25"), 4, 9, lambda z: z * z),
    Fit("ATAN", "(atan t - t) / t^3 in z = t^2 <= 1", odd(mp.atan), 0, 1, 9, 20, lambda z: z),
)


def table(name: str, fits: list[Fit]) -> str:
    lines = [*(f"#: {fit.doc}" for fit in fits if fit.doc), f"{name} = {{"]
    for elem in ("f32", "f64"):
        for fit in fits:
            terms = getattr(fit, elem)
            if not terms:
                continue
            coefficients = rounded(fit, terms, elem)
            exact = [mp.mpf(c) for c in coefficients]
            worst = max(fit.weight(x) * abs(fit.g(x) - horner(exact, x)) for x in grid(fit.low, fit.high, 400))
            lines.append(f"    # largest weighted error 2^{float(mp.log(worst, 2)):.1f}")
            numbers = ", ".join(text(c, elem) for c in coefficients)
            lines.append(textwrap.fill(f'    "{elem}": ({numbers}),', 110, subsequent_indent=" " * 12))
    return "\n".join([*lines, "}", ""])


def main() -> None:
    wanted = set(sys.argv[1:])
    groups: dict[str, list[Fit]] = {}
    for fit in FITS:
        if not wanted or fit.name in wanted:
            groups.setdefault(fit.name, []).append(fit)
    tables = "\n".join(table(name, fits) for name, fits in groups.items())
    if wanted:
        print(tables)
        return
    header = ('"""Polynomial coefficients of the vector mathematics, lowest power first.\n\n'
              'Written by ``tools/fit_polynomials.py``; do not edit by hand.\n"""\n')
    TARGET.write_text(header + "\n" + tables)


if __name__ == "__main__":
    main()
