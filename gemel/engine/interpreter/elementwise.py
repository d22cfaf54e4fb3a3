"""Meaning of the elementwise primitives. Floats of 16 bits are computed in f32 and rounded once per op;
transcendental functions of f32 are computed in f64 and rounded, so that they are within 0.5 ulp (plus)."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..base import dtypes as dt

Array = np.ndarray


def _wide(x: Array) -> Array:
    """The array in the type in which arithmetic on it is done."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x


def narrow(x: Array, dtype: np.dtype) -> Array:
    """``x.astype(dtype)``, rounded once: f64 goes to bf16 by way of an f32 whose last bit is odd where it is inexact.

    (ml_dtypes and torch round twice.)
    """
    x = np.asarray(x)
    if dtype != dt.bfloat16.numpy or x.dtype != np.float64:
        return x.astype(dtype)
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    bits = near.view(np.uint32) - (np.abs(back) > np.abs(x))  # towards zero
    odd = bits | ((back != x) & ~np.isnan(x))
    return odd.astype(np.uint32).view(np.float32).astype(dtype)


def rounding(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Compute in the wide type, round to the type of the first operand."""
    def wrapped(*xs: Array) -> Array:
        return narrow(fn(*map(_wide, xs)), xs[0].dtype)
    return wrapped


def precise(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Compute floats up to 32 bits in f64 (complex64 in complex128), round once."""
    def wrapped(*xs: Array) -> Array:
        wide = np.complex128 if xs[0].dtype.kind == "c" else np.float64
        return narrow(fn(*(x.astype(wide) for x in xs)), xs[0].dtype)
    return wrapped


def _scalar_function(fn: Callable[[float], float]) -> Callable[[Array], Array]:
    vector = np.frompyfunc(fn, 1, 1)
    return lambda x: np.asarray(vector(x)).astype(np.float64)


def _lgamma(x: float) -> float:
    if math.isnan(x):
        return x
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # poles at 0, -1, -2, ...
        return math.inf


def _digamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if x == 0.0:
        return math.copysign(math.inf, -x)
    if x < 0.0:
        if x == -math.inf or x == math.floor(x):
            return math.nan
        return _digamma(1.0 - x) - math.pi / math.tan(math.pi * math.modf(x)[0])
    shift = 0.0
    while x < 10.0:
        shift -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return shift + math.log(x) - 0.5 / x - series


def _erfinv(y: float) -> float:
    """Inverse error function by Halley's method on ``math.erfc``/``math.erf`` from Winitzki's estimate."""
    if math.isnan(y) or abs(y) > 1.0:
        return math.nan
    if abs(y) == 1.0:
        return math.copysign(math.inf, y)
    if y == 0.0:
        return y
    size = abs(y)
    a, log_term = 0.147, math.log1p(-y * y)
    t = 2.0 / (math.pi * a) + log_term / 2.0
    x = math.sqrt(math.sqrt(t * t - log_term / a) - t)
    for _ in range(4):
        error = math.erf(x) - size if size < 0.9 else (1.0 - size) - math.erfc(x)
        step = error / (2.0 / math.sqrt(math.pi) * math.exp(-x * x))
        x -= step / (1.0 + x * step)
    return math.copysign(x, y)


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _remainder(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return np.where(y == 0, 0, np.remainder(x, np.where(y == 0, 1, y)))
    mod = np.fmod(x, y)  # a zero keeps the sign of x, as in torch; np.remainder gives it that of y
    return np.where((mod != 0) & ((y < 0) != (mod < 0)), mod + y, mod)


def _fmod(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return np.where(y == 0, 0, np.fmod(x, np.where(y == 0, 1, y)))
    return np.fmod(x, y)


def _floor_divide(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return np.where(y == 0, 0, np.floor_divide(x, np.where(y == 0, 1, y)))
    # torch's definition: exact remainder first, so that the quotient is the floor of the true one
    mod = np.fmod(x, y)
    div = (x - mod) / y
    div = np.where((mod != 0) & ((y < 0) != (mod < 0)), div - 1, div)
    whole = np.floor(div)
    whole = np.where(div - whole > 0.5, whole + 1, whole)
    result = np.where(div != 0, whole, np.copysign(0, x / y))
    return np.where(y == 0, x / y, result)


def _max(x: Array, y: Array) -> Array:
    return np.where((x > y) | (x != x), x, y)


def _min(x: Array, y: Array) -> Array:
    return np.where((x < y) | (x != x), x, y)


def _shift(left: bool):
    def shift(x: Array, y: Array) -> Array:
        bits = x.dtype.itemsize * 8
        out = (y >= bits) | (y < 0 if y.dtype.kind == "i" else False)
        safe = np.where(out, 0, y)
        if left:
            return np.where(out, 0, np.left_shift(x, safe)).astype(x.dtype)
        return np.where(out, x >> (bits - 1) if x.dtype.kind == "i" else 0, np.right_shift(x, safe)).astype(x.dtype)
    return shift


def _sign(x: Array) -> Array:
    return np.where(x != x, x.dtype.type(0), np.sign(x))


def _logical(number: Callable[..., Array], boolean: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *xs: (boolean if xs[0].dtype == bool else number)(*xs)


def cast(x: Array, dtype: dt.DType) -> Array:
    """Convert; float to int truncates, saturates and maps NaN to 0; complex to real drops the imaginary part."""
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = (x != 0) if dtype.kind == "b" else np.real(x)
    if dtype.kind in "iu" and x.dtype.kind not in "iub":
        limits = np.iinfo(dtype.numpy)
        wide = x.astype(np.float64)
        low, high = float(limits.min), float(limits.max)
        inside = np.where((wide > low) & (wide < high), wide, 0)
        result = inside.astype(dtype.numpy)
        result = np.where(wide <= low, limits.min, result)
        return np.where(wide >= high, limits.max, result).astype(dtype.numpy)
    if dtype.kind == "b":
        return x != 0
    return narrow(x, dtype.numpy)


ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "neg": lambda x: -x, "abs": np.abs, "sign": rounding(_sign),
    "floor": rounding(np.floor), "ceil": rounding(np.ceil), "trunc": rounding(np.trunc), "round": rounding(np.rint),
    "sqrt": rounding(np.sqrt), "rsqrt": rounding(lambda x: x.dtype.type(1) / np.sqrt(x)),
    "not": _logical(np.invert, np.logical_not),
    "real": lambda x: np.real(x), "imag": lambda x: np.imag(x),
    "conj": lambda x: np.conj(x) if x.dtype.kind == "c" else x,
    "copy": np.copy,
    "add": rounding(np.add), "sub": rounding(np.subtract), "mul": rounding(np.multiply),
    "div": rounding(np.divide), "pow": precise(np.power), "atan2": precise(np.arctan2),
    "floor_divide": rounding(_floor_divide), "remainder": rounding(_remainder), "fmod": rounding(_fmod),
    "max": _max, "min": _min,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "shl": _shift(True), "shr": _shift(False),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "complex": lambda re, im: re + np.asarray(im) * (1j if re.dtype == np.float64 else np.complex64(1j)),
    "select": lambda c, x, y: np.where(c, x, y),
    "exp": precise(np.exp), "exp2": precise(np.exp2), "expm1": precise(np.expm1),
    "log": precise(np.log), "log2": precise(np.log2), "log1p": precise(np.log1p),
    "sin": precise(np.sin), "cos": precise(np.cos), "tan": precise(np.tan),
    "asin": precise(np.arcsin), "acos": precise(np.arccos), "atan": precise(np.arctan),
    "sinh": precise(np.sinh), "cosh": precise(np.cosh), "tanh": precise(np.tanh), "sigmoid": precise(_sigmoid),
    "erf": precise(_scalar_function(math.erf)), "erfinv": precise(_scalar_function(_erfinv)),
    "lgamma": precise(_scalar_function(_lgamma)), "digamma": precise(_scalar_function(_digamma)),
}
