"""asin, acos, atan and atan2."""
from __future__ import annotations

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float
from .trigonometric import HALF_PI


def _less(f: Float, multiple: float, angle: Val) -> Val:
    """``multiple * pi/2 - angle``."""
    high, low, _ = HALF_PI[f.elem]
    return f.add(f.sub(multiple * high, angle), multiple * low)


def _asin_parts(f: Float, x: Val) -> tuple[Val, Val, Val]:
    """(``|x| < 1/2``, s, ``asin(s) - s``) with ``s = |x|`` there, elsewhere ``s = sqrt((1 - |x|) / 2)``."""
    k = f.k
    magnitude = k.fabs(x)
    small = f.is_("olt", magnitude, 0.5)
    z = k.select(small, f.mul(x, x), f.fma(magnitude, -0.5, 0.5))
    s = k.select(small, magnitude, k.fsqrt(z))
    return small, s, f.mul(f.polynomial(z, table.ASIN), f.mul(s, z))


def asin(k: KernelBuilder, x: Val) -> Val:
    """Arc sine in radians: ``pi/2 - 2 asin(sqrt((1 - |x|) / 2))`` from 1/2 on; NaN outside of [-1, 1].

    Largest error: f32 1.2 ulp, f64 1.3 ulp.
    """
    f = Float(k, x.type)
    small, s, more = _asin_parts(f, x)
    high, low, _ = HALF_PI[f.elem]
    first = f.fma(s, -2.0, high)
    dropped = f.fma(s, -2.0, f.sub(high, first))
    large = k.fadd(first, f.fma(more, -2.0, f.add(dropped, low)))
    return k.copysign(k.select(small, k.fadd(s, more), large), x)


def acos(k: KernelBuilder, x: Val) -> Val:
    """Arc cosine in radians: ``pi/2 - asin(x)``, ``2 asin(sqrt((1 - x) / 2))``, or pi minus that.

    NaN outside of [-1, 1]. Largest error: f32 1.3 ulp, f64 1.2 ulp.
    """
    f = Float(k, x.type)
    small, s, more = _asin_parts(f, x)
    angle = k.fadd(s, more)
    double = f.add(angle, angle)
    far = f.select(f.is_("olt", x, 0.0), _less(f, 2.0, double), double)
    return k.select(small, _less(f, 1.0, k.copysign(angle, x)), far)


def _atan_kernel(f: Float, t: Val) -> Val:
    """Arc tangent of t in [0, 1]."""
    z = f.mul(t, t)
    return f.fma(f.polynomial(z, table.ATAN), f.mul(t, z), t)


def atan(k: KernelBuilder, x: Val) -> Val:
    """Arc tangent in radians: ``pi/2 - atan(1 / |x|)`` above 1.

    Largest error: f32 1.5 ulp, f64 1.6 ulp.
    """
    f = Float(k, x.type)
    magnitude = k.fabs(x)
    large = f.is_("ogt", magnitude, 1.0)
    angle = _atan_kernel(f, k.fdiv(f.select(large, 1.0, magnitude), f.select(large, magnitude, 1.0)))
    return k.copysign(k.select(large, _less(f, 1.0, angle), angle), x)


def atan2(k: KernelBuilder, y: Val, x: Val) -> Val:
    """Angle in radians of the point (x, y), in [-pi, pi]; zeros and infinities as in C99.

    Largest error: f32 1.5 ulp, f64 1.6 ulp.
    """
    f = Float(k, x.type)
    a, b = k.fabs(y), k.fabs(x)
    steep = k.compare("ogt", a, b)
    low, high = k.select(steep, b, a), k.select(steep, a, b)
    # 0/0 is taken as 0 and inf/inf as 1
    even = f.select(f.is_("oeq", high, 0.0), 0.0, 1.0)
    angle = _atan_kernel(f, k.select(k.compare("oeq", low, high), even, k.fdiv(low, high)))
    angle = k.select(steep, _less(f, 1.0, angle), angle)
    negative = k.compare("slt", f.bits(x), f.integer(0))
    return k.copysign(k.select(negative, _less(f, 2.0, angle), angle), y)
