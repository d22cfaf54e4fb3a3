"""Elementwise functions of one tensor, and clamping, selection and their relatives."""
from __future__ import annotations

import builtins
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from .elementwise import check_tensor, deliver, in_place, same, unary
from .promotion import SCALAR_NAMES
from .recording import apply_named

__all__ = [
    "abs", "absolute", "sign", "sgn", "floor", "ceil", "trunc", "fix", "round", "frac", "sqrt", "rsqrt", "exp", "exp2",
    "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "arcsin", "arccos", "arctan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh", "sigmoid", "erf", "erfinv",
    "lgamma", "digamma", "relu",
]


def _refuse(name: str, kinds: str, message: str = ""):
    """A check that raises for operands whose kind is in ``kinds``."""
    def check(x: Any) -> None:
        dtype = x._read().type.dtype
        if dtype.kind in kinds:
            raise DTypeError(message or f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[dtype]}\'')
    return check


def _real_only(name: str):
    return _refuse(name, "c", f"{name} is not supported for complex inputs")


def _fractional(name: str, doc: str):
    """A function of floats (and of complex numbers where the primitive has them)."""
    return unary(name, doc)


def _keep(dtype: DType) -> DType:
    return dtype


abs = unary("abs", "Absolute value; modulus of complex numbers.", to=same, check=_refuse("abs", "b"))
absolute = abs
sqrt = _fractional("sqrt", "Square root.")
rsqrt = _fractional("rsqrt", "``1 / sqrt(input)``.")
exp = _fractional("exp", "``e ** input``.")
exp2 = _fractional("exp2", "``2 ** input``.")
expm1 = _fractional("expm1", "``e ** input - 1``, accurate near 0.")
log = _fractional("log", "Natural logarithm.")
log2 = _fractional("log2", "Base-2 logarithm.")
log10 = _fractional("log10", "Base-10 logarithm.")
log1p = _fractional("log1p", "``log(1 + input)``, accurate near 0.")
sin = _fractional("sin", "Sine (radians).")
cos = _fractional("cos", "Cosine (radians).")
tan = _fractional("tan", "Tangent (radians).")
asin = _fractional("asin", "Arc sine.")
acos = _fractional("acos", "Arc cosine.")
atan = _fractional("atan", "Arc tangent.")
sinh = _fractional("sinh", "Hyperbolic sine.")
cosh = _fractional("cosh", "Hyperbolic cosine.")
tanh = _fractional("tanh", "Hyperbolic tangent.")
asinh = _fractional("asinh", "Inverse hyperbolic sine.")
acosh = _fractional("acosh", "Inverse hyperbolic cosine.")
atanh = _fractional("atanh", "Inverse hyperbolic tangent.")
sigmoid = _fractional("sigmoid", "``1 / (1 + e ** -input)``.")
erf = _fractional("erf", "Error function.")
erfinv = _fractional("erfinv", "Inverse of the error function on (-1, 1).")
lgamma = _fractional("lgamma", "``log |gamma(input)|``.")
digamma = _fractional("digamma", "Derivative of ``lgamma``.")
relu = unary("relu", "``max(input, 0)``.", to=same, check=_refuse("relu", "b", "Boolean inputs not supported for relu"))
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh


def _rounding(name: str, doc: str):
    """floor and its relatives: the identity on integers."""
    record = unary(name, doc, to=_keep, check=_refuse(name, "b"))
    no_complex = _real_only(name)

    def function(input: Any, *, out: Any = None) -> Any:
        kind = check_tensor(input, name)._read().type.dtype.kind
        if kind == "f":
            return record(input, out=out)
        no_complex(input)
        if kind == "b":
            raise DTypeError(f'"{name}_vml_cpu" not implemented for \'Bool\'')
        return deliver(apply_named("copy", input), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = record.__doc__
    return function


floor = _rounding("floor", "The largest integer not above the element.")
ceil = _rounding("ceil", "The smallest integer not below the element.")
trunc = _rounding("trunc", "The integer part.")
fix = trunc
_round = _rounding("round", "The nearest integer, halves to even.")
_frac = unary("frac", "The fractional part, with the sign of the element.", to=same)


def frac(input: Any, *, out: Any = None) -> Any:
    """``input - trunc(input)``. torch: ``frac``."""
    return deliver(_frac(input), out, "frac")


def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """The nearest number with ``decimals`` decimal digits, halves to even. torch: ``round``."""
    if decimals == 0:
        return _round(input, out=out)
    check_tensor(input, "round")
    if input._read().type.dtype.kind != "f":
        raise DTypeError(f'"round_vml_cpu" not implemented for \'{SCALAR_NAMES[input._value.type.dtype]}\'')
    factor = 10.0 ** builtins.abs(decimals)
    shifted = _round(input * factor) / factor if decimals > 0 else _round(input / factor) * factor
    return deliver(shifted, out, "round")


def _sign_dtype(dtype: DType) -> DType:
    return dtype


_sign = unary("sign", "-1, 0 or 1.", to=_sign_dtype, check=_refuse(
    "sign", "c", "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."))


def sign(input: Any, *, out: Any = None) -> Any:
    """-1, 0 or 1, as the element is negative, zero or positive; 0 for NaN. torch: ``sign``."""
    if check_tensor(input, "sign")._read().type.dtype is dt.bool_:
        return deliver(apply_named("copy", input), out, "sign")
    return deliver(_sign(input), out, "sign")


def sgn(input: Any, *, out: Any = None) -> Any:
    """As :func:`sign`; complex numbers give ``input / |input|``, 0 at 0. torch: ``sgn``."""
    if check_tensor(input, "sgn")._read().type.dtype.kind == "c":
        return deliver(apply_named("sign", input), out, "sgn")
    return sign(input, out=out)


class PointwiseMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    abs, absolute, __abs__, sign, sgn, relu = abs, abs, abs, sign, sgn, relu
    floor, ceil, trunc, fix, round, frac = floor, ceil, trunc, trunc, round, frac
    sqrt, rsqrt, exp, exp2, expm1, log, log2, log10, log1p = sqrt, rsqrt, exp, exp2, expm1, log, log2, log10, log1p
    sin, cos, tan, asin, acos, atan, sinh, cosh, tanh = sin, cos, tan, asin, acos, atan, sinh, cosh, tanh
    asinh, acosh, atanh, arcsinh, arccosh, arctanh = asinh, acosh, atanh, asinh, acosh, atanh
    arcsin, arccos, arctan, sigmoid, erf, erfinv = asin, acos, atan, sigmoid, erf, erfinv
    lgamma, digamma = lgamma, digamma
    abs_, absolute_, sign_, sgn_, relu_ = in_place(abs), in_place(abs), in_place(sign), in_place(sgn), in_place(relu)
    floor_, ceil_, trunc_, fix_, round_, frac_ = (in_place(f) for f in (floor, ceil, trunc, trunc, round, frac))
    sqrt_, rsqrt_, exp_, exp2_, expm1_ = (in_place(f) for f in (sqrt, rsqrt, exp, exp2, expm1))
    log_, log2_, log10_, log1p_ = (in_place(f) for f in (log, log2, log10, log1p))
    sin_, cos_, tan_, asin_, acos_, atan_ = (in_place(f) for f in (sin, cos, tan, asin, acos, atan))
    sinh_, cosh_, tanh_, asinh_, acosh_, atanh_ = (in_place(f) for f in (sinh, cosh, tanh, asinh, acosh, atanh))
    arcsin_, arccos_, arctan_, arcsinh_, arccosh_, arctanh_ = asin_, acos_, atan_, asinh_, acosh_, atanh_
    sigmoid_, erf_, erfinv_ = in_place(sigmoid), in_place(erf), in_place(erfinv)
    lgamma_, digamma_ = in_place(lgamma), in_place(digamma)
