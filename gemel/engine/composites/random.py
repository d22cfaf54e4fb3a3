"""Distributions over the counter-based stream: each draw is a function of key, counter and logical index alone.

Every composite takes ``key`` and ``counter`` (u64 scalars, runtime inputs). Element ``i`` of a draw uses the words of
``philox(key; counter, i)``; those that need more words than two also use ``counter + 1``. Values are computed in
the compute type (f32; f64 for float64) and rounded once.
"""
from __future__ import annotations

import math

from ..base import dtypes as dt
from ..base.dtypes import compute_type
from ..base.errors import DTypeError
from .base import composite

#: significant bits of a floating point type: a uniform number has as many, so that it is never rounded up to 1
BITS = {dt.float64: 53, dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}


def unit(b, key, counter, dtype, shape):
    """Uniform on [0, 1): multiples of 2^-bits, exact in ``dtype``; given in its compute type."""
    bits, wide = BITS[dtype], compute_type(dtype)
    word = dt.uint64 if dtype is dt.float64 else dt.uint32
    raw = b.random_bits(key, counter, word, shape)
    raw = b.shr(raw, b.full_like(raw, word.bits - bits))
    return b.scale(b.cast(raw, wide), 2.0 ** -bits)


def open_unit(b, raw, wide):
    """Words of 32 (f32) or 64 bits (f64) as numbers in (0, 1], with steps of 2^-32 or 2^-64 near zero."""
    width = raw.type.dtype.bits
    x = b.cast(raw, wide)
    return b.scale(b.add(x, b.full_like(x, 0.5)), 2.0 ** -width)


def _next(b, counter):
    return b.add(counter, b.const(1, dt.uint64))


def _halves(b, key, counter, shape):
    """Two independent u32 words per element, from one evaluation of Philox."""
    raw = b.random_bits(key, counter, dt.uint64, shape)
    return b.cast(raw, dt.uint32), b.cast(b.shr(raw, b.full_like(raw, 32)), dt.uint32)


def gaussian(b, key, counter, dtype, shape):
    """Standard normal numbers (Box and Muller, 1958) in the compute type of ``dtype``."""
    wide = compute_type(dtype)
    if wide is dt.float64:
        first = b.random_bits(key, counter, dt.uint64, shape)
        second = b.random_bits(key, _next(b, counter), dt.uint64, shape)
    else:
        first, second = _halves(b, key, counter, shape)
    bits = BITS[wide]
    turn = b.shr(second, b.full_like(second, second.type.dtype.bits - bits))
    angle = b.scale(b.cast(turn, wide), 2.0 * math.pi * 2.0 ** -bits)
    radius = b.sqrt(b.scale(b.log(open_unit(b, first, wide)), -2.0))
    return b.mul(radius, b.sin(angle))


def standard_exponential(b, key, counter, dtype, shape):
    """-log(u), never 0 and never infinite, in the compute type of ``dtype``."""
    wide = compute_type(dtype)
    word = dt.uint64 if wide is dt.float64 else dt.uint32
    u = open_unit(b, b.random_bits(key, counter, word, shape), wide)
    return b.neg(b.log(b.min(u, b.full_like(u, 1.0 - 2.0 ** -BITS[wide]))))


def _check(attrs, *operands):
    if attrs.dtype not in BITS:
        raise DTypeError(f"random numbers of this distribution are not implemented for {attrs.dtype.name!r}: expects a "
                         f"floating point dtype")
    wide = compute_type(attrs.dtype)
    for t in operands[2:]:
        if t.shape not in ((), attrs.shape) or t.dtype is not wide:
            raise DTypeError(f"a parameter of a draw of {attrs.dtype.name} must be {wide.name}, not {t}")


_DRAW = ("dtype", "shape")


@composite("random_uniform", -1, _DRAW, check=_check)
def random_uniform(b, key, counter, *bounds, dtype, shape):
    """uniform on [0, 1), or on [low, low + width) for parameters low, width"""
    u = unit(b, key, counter, dtype, shape)
    if bounds:
        low, width = (b.expand(x, shape) for x in bounds)
        u = b.add(b.mul(u, width), low)
    return b.cast(u, dtype)


@composite("random_normal", -1, _DRAW, check=_check)
def random_normal(b, key, counter, *parameters, dtype, shape):
    """standard normal, or mean + std * z for parameters mean, std; uses 2 counters"""
    z = gaussian(b, key, counter, dtype, shape)
    if parameters:
        mean, std = (b.expand(x, shape) for x in parameters)
        z = b.add(b.mul(z, std), mean)
    return b.cast(z, dtype)


@composite("random_log_normal", 4, _DRAW, check=_check)
def random_log_normal(b, key, counter, mean, std, *, dtype, shape):
    """exp of a normal number with that mean and standard deviation; uses 2 counters"""
    z = gaussian(b, key, counter, dtype, shape)
    return b.cast(b.exp(b.add(b.mul(z, b.expand(std, shape)), b.expand(mean, shape))), dtype)


@composite("random_exponential", 3, _DRAW, check=_check)
def random_exponential(b, key, counter, rate, *, dtype, shape):
    """exponential with density rate * e^(-rate x)"""
    return b.cast(b.div(standard_exponential(b, key, counter, dtype, shape), b.expand(rate, shape)), dtype)


@composite("random_cauchy", 4, _DRAW, check=_check)
def random_cauchy(b, key, counter, median, sigma, *, dtype, shape):
    """Cauchy: median + sigma * tan(pi (u - 1/2)), u inside (0, 1)"""
    wide = compute_type(dtype)
    raw = b.random_bits(key, counter, dt.uint64 if wide is dt.float64 else dt.uint32, shape)
    bits = BITS[wide] - 1
    u = b.cast(b.shr(raw, b.full_like(raw, raw.type.dtype.bits - bits)), wide)
    angle = b.scale(b.add(b.scale(u, 2.0 ** -bits), b.full_like(u, 2.0 ** (-bits - 1) - 0.5)), math.pi)
    return b.cast(b.add(b.mul(b.unary("tan", angle), b.expand(sigma, shape)), b.expand(median, shape)), dtype)


@composite("random_geometric", 3, _DRAW, check=_check)
def random_geometric(b, key, counter, scale, *, dtype, shape):
    """number of trials up to the first success: ceil(e * scale) with scale = -1 / log(1 - p), at least 1"""
    e = standard_exponential(b, key, counter, dtype, shape)
    n = b.unary("ceil", b.mul(e, b.expand(scale, shape)))
    return b.cast(b.max(n, b.full_like(n, 1.0)), dtype)


@composite("random_bernoulli", 3, _DRAW)
def random_bernoulli(b, key, counter, p, *, dtype, shape):
    """1 with probability p (a scalar, or one per element; f32 or f64), else 0"""
    u = unit(b, key, counter, p.type.dtype, shape)
    return b.cast(b.lt(u, b.expand(p, shape)), dtype)


@composite("random_integers", 4, ("dtype", "shape", "large"))
def random_integers(b, key, counter, low, count, *, dtype, shape, large):
    """uniform integers low ... low + count - 1; low is i64, count u64 (0: 2^64), ``large`` from 2^32 on

    A small count takes the upper half of (64 random bits) * count (Lemire, 2019), a large one the remainder.
    """
    raw = b.random_bits(key, counter, dt.uint64, shape)
    count = b.expand(count, shape)
    if large:
        whole = b.is_zero(count)
        raw = b.select(whole, raw, b.remainder(raw, b.select(whole, b.full_like(raw, 1), count)))
    else:
        half = b.full_like(raw, 32)
        low_word = b.and_(raw, b.full_like(raw, 0xFFFFFFFF))
        carry = b.shr(b.mul(low_word, count), half)
        raw = b.shr(b.add(b.mul(b.shr(raw, half), count), carry), half)
    return b.cast(b.add(b.bitcast(raw, dt.int64), b.expand(low, shape)), dtype)


@composite("random_permutation", 2, ("n",))
def random_permutation(b, key, counter, *, n):
    """the numbers 0 ... n - 1 in the order of 64 random bits each (equal bits: by number)"""
    return b.sort(b.random_bits(key, counter, dt.uint64, (n,)), 0)[1]


