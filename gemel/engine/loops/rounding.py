"""Rounding of a float to an integer, also on targets without an instruction for it (SSE2).

There, ``|x| + 2^mantissa - 2^mantissa`` is the nearest integer, ties to even; larger numbers are integers.
"""
from __future__ import annotations

from .ir import KernelBuilder, Val
from .mathlib.common import Float


def _nearest(f: Float, x: Val) -> Val:
    k, unit = f.k, 2.0**f.mantissa
    size = k.fabs(x)
    near = f.add(f.add(size, unit), -unit)
    return k.copysign(k.select(f.is_("olt", size, unit), near, size), x)


def round_even(k: KernelBuilder, x: Val) -> Val:
    """The nearest integer, halves to even."""
    return k.frint(x) if "round" in k.native else _nearest(Float(k, x.type), x)


def floor(k: KernelBuilder, x: Val) -> Val:
    """The largest integer <= x."""
    if "round" in k.native:
        return k.ffloor(x)
    f = Float(k, x.type)
    near = _nearest(f, x)
    return k.copysign(k.select(k.compare("ogt", near, x), f.add(near, -1.0), near), x)


def ceil(k: KernelBuilder, x: Val) -> Val:
    """The smallest integer >= x."""
    return k.fceil(x) if "round" in k.native else k.fneg(floor(k, k.fneg(x)))


def trunc(k: KernelBuilder, x: Val) -> Val:
    """The integer part."""
    return k.ftrunc(x) if "round" in k.native else k.copysign(floor(k, k.fabs(x)), x)
