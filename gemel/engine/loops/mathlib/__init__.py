"""Elementary and special functions as loop IR: ``function(k, x) -> Val`` (``atan2`` and ``pow``: ``(k, x, y)``).

Operands are f32 or f64 values of any number of lanes. No calls into a library and no tables but the bits of 2/pi;
special values (zeros, infinities, NaN, subnormal arguments and results) are as in C99. Every docstring states the
largest error found: over all arguments in f32 (functions of two arguments: over samples), over samples in f64.
"""
from __future__ import annotations

from .exponential import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from .inverse_trigonometric import acos, asin, atan, atan2
from .logarithm import log, log1p, log2
from .power import pow
from .special import digamma, erf, erfinv, lgamma
from .trigonometric import cos, sin, tan

__all__ = ["acos", "asin", "atan", "atan2", "cos", "cosh", "digamma", "erf", "erfinv", "exp", "exp2", "expm1", "lgamma",
           "log", "log1p", "log2", "pow", "sigmoid", "sin", "sinh", "tan", "tanh"]
