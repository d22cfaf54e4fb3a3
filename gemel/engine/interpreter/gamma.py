"""Incomplete gamma functions in NumPy, in double precision: series and continued fraction until they converge."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ir.custom import CustomOp, register_custom

_lgamma = np.vectorize(math.lgamma, otypes=[np.float64])
_EPS, _ROUNDS = 1e-17, 200_000


def _series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``sum over k of x^k / ((a + 1) ... (a + k))``, for ``x`` below ``a + 1``."""
    term = total = np.ones_like(x)
    k = 1
    while k < _ROUNDS and (term > _EPS * total).any():
        term = term * x / (a + k)
        total = total + term
        k += 1
    return total


def _fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The continued fraction of ``Gamma(a, x) / (x^a e^-x)`` (Lentz's method), for ``x`` from ``a + 1`` on."""
    tiny = 1e-300
    b = x + 1.0 - a
    c, d = np.full_like(x, 1.0 / tiny), 1.0 / np.where(np.abs(b) < tiny, tiny, b)
    h = d
    for k in range(1, _ROUNDS):
        an = -k * (k - a)
        b = b + 2.0
        d = an * d + b
        d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + an / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        step = c * d
        h = h * step
        if (np.abs(step - 1.0) < 2e-16).all():
            break
    return h


def _igamma(arguments: tuple, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """P(a, x), or Q = 1 - P where ``upper``; the smaller of the two is computed, the other is its complement."""
    (upper,) = arguments
    a, x = (np.asarray(v, np.float64).reshape(-1) for v in arrays)
    found = np.full(a.shape, np.nan)
    ordinary = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    with np.errstate(all="ignore"):
        for low in (True, False):
            chosen = ordinary & ((x < a + 1.0) == low)
            if not chosen.any():
                continue
            p, q = a[chosen], x[chosen]
            if low:
                part = np.exp(p * np.log(q) - q - _lgamma(p + 1.0)) * _series(p, q)
            else:
                part = np.exp(p * np.log(q) - q - _lgamma(p)) * _fraction(p, q)
            found[chosen] = part if low != upper else 1.0 - part
    small, large = (1.0, 0.0) if upper else (0.0, 1.0)
    found[(a > 0) & (x == 0)] = small
    found[(a == 0) & (x > 0)] = large
    found[np.isposinf(a) & (x >= 0) & np.isfinite(x)] = small
    found[(a >= 0) & np.isfinite(a) & np.isposinf(x)] = large
    return [found.reshape(arrays[0].shape).astype(arrays[0].dtype)]


register_custom(CustomOp("gemel::igamma", lambda arguments, types: (types[0],), _igamma))
