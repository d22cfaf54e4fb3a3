"""Clamping, classification of numbers, and special functions of one or two tensors."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType, compute_type
from ..engine.base.errors import DTypeError, UnsupportedError
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from . import return_types
from .arithmetic import div, mul
from .comparison import eq
from .core import TENSOR_CLASSES
from .elementwise import apply_scalar, check_operand, check_tensor, deliver, delivering, in_place, unary
from .promotion import (
    SCALAR_NAMES,
    cast,
    common_dtype,
    full,
    inexact,
    is_number,
    number_value,
    plain,
    together,
)
from .recording import apply, apply_named, wrap
from .tape import mode

__all__ = [
    "clamp", "clip", "clamp_min", "clamp_max", "nan_to_num", "isnan", "isinf", "isfinite", "isposinf", "isneginf",
    "isreal", "signbit", "copysign", "nextafter", "frexp", "ldexp", "atan2", "arctan2", "hypot", "heaviside", "xlogy",
    "logaddexp", "logaddexp2", "gcd", "lcm", "deg2rad", "rad2deg", "sinc", "erfc", "logit", "i0", "polygamma",
    "mvlgamma", "igamma", "igammac",
]

Binary = Callable[..., Any]


# --- clamping ---------------------------------------------------------------------------------------

def _clampable(operands: tuple[Any, ...], name: str) -> DType:
    dtype = common_dtype([x for x in operands if x is not None])
    if dtype.kind == "c":
        raise DTypeError(f"{name} is not supported for complex types")
    if dtype.kind == "b":
        raise DTypeError(f"\"{name}_scalar_cpu\" not implemented for 'Bool'")
    return dtype


def _bound(name: str, input: Any, bound: Any, dtype: DType) -> Any:
    if bound.__class__ in TENSOR_CLASSES:
        return apply_named(name, *together(input, bound, dtype=dtype))
    return apply_scalar(f"{name}_scalar", input, bound, dtype)


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """``min(max(input, min), max)``; the bounds are numbers or tensors, either may be missing. torch: ``clamp``.

        >>> gemel.clamp(gemel.tensor([-2., 0.5, 3.]), 0., 1.)
        tensor([0.0000, 0.5000, 1.0000])

    Raises:
        RuntimeError: both bounds are missing, or the tensor is complex or bool.
    """
    check_tensor(input, "clamp")
    dtype = input._value.type.dtype
    if min.__class__ in _PLAIN and max.__class__ in _PLAIN and dtype.kind == "f" and out is None:
        wide = compute_type(dtype)
        return apply(_CLAMP, input, wrap(number_value(min, wide)), wrap(number_value(max, wide)))
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    low, high = (x if x is None else check_operand(x, "clamp", n, i) for i, (n, x) in enumerate(
        (("min", min), ("max", max)), 2))
    dtype = _clampable((input, low, high), "clamp")
    if low is None or high is None:
        name = "clamp_max" if low is None else "clamp_min"
        return deliver(_bound(name, input, high if low is None else low, dtype), out, "clamp")
    if low.__class__ in TENSOR_CLASSES or high.__class__ in TENSOR_CLASSES:
        return deliver(apply_named("clamp", *together(input, low, high, dtype=dtype)), out, "clamp")
    wide = compute_type(dtype)
    bounds = [wrap(number_value(x, wide)) for x in (low, high)]
    return deliver(apply_named("clamp_scalar", cast(input, dtype), *bounds), out, "clamp")


_PLAIN = frozenset((int, float))
_CLAMP = op(ROWS["clamp_scalar"])
clip = clamp


def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:
    """The larger of the element and ``min`` (number or tensor). torch: ``clamp_min``."""
    check_tensor(input, "clamp_min")
    low = check_operand(min, "clamp_min", "min")
    return deliver(_bound("clamp_min", input, low, _clampable((input, low), "clamp")), out, "clamp_min")


def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:
    """The smaller of the element and ``max`` (number or tensor). torch: ``clamp_max``."""
    check_tensor(input, "clamp_max")
    high = check_operand(max, "clamp_max", "max")
    return deliver(_bound("clamp_max", input, high, _clampable((input, high), "clamp")), out, "clamp_max")


#: the largest finite numbers of floats that are not in NumPy
_LARGEST = {dt.float64: 1.7976931348623157e308, dt.float32: 3.4028234663852886e38, dt.float16: 65504.0,
            dt.bfloat16: 3.3895313892515355e38}


def nan_to_num(input: Any, nan: float | None = None, posinf: float | None = None, neginf: float | None = None, *,
               out: Any = None) -> Any:
    """NaN replaced by ``nan`` (0), infinities by the largest finite numbers or what is given. torch: ``nan_to_num``."""
    dtype = check_tensor(input, "nan_to_num")._read().type.dtype
    if dtype.kind not in "fc":
        return deliver(apply_named("copy", input), out, "nan_to_num")
    if dtype.kind == "c":
        parts = [nan_to_num(apply_named(p, input), nan, posinf, neginf) for p in ("real", "imag")]
        return deliver(apply_named("complex", *parts), out, "nan_to_num")
    top = _LARGEST[dtype]
    numbers = (0.0 if nan is None else nan, top if posinf is None else posinf, -top if neginf is None else neginf)
    scalars = [wrap(number_value(n, compute_type(dtype))) for n in numbers]
    return deliver(apply_named("nan_to_num", input, *scalars), out, "nan_to_num")


# --- classification ---------------------------------------------------------------------------------

def _always(x: Any, truth: bool) -> Any:
    return full(truth, dt.bool_, x._read().type.shape)


def _part_test(name: str, of_floats: Callable[[Any], Any], of_others: bool, either: str, doc: str) -> Binary:
    """A question about floats; ``either`` joins the answers for the parts of complex numbers."""
    def function(input: Any) -> Any:
        kind = check_tensor(input, name)._read().type.dtype.kind
        if kind == "c":
            return apply_named(either, *[of_floats(apply_named(p, input)) for p in ("real", "imag")])
        return of_floats(input) if kind == "f" else _always(input, of_others)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


isnan = _part_test("isnan", lambda x: apply_named("ne", x, x), False, "or", "Is the element NaN?")
isinf = _part_test("isinf", lambda x: eq(apply_named("abs", x), math.inf), False, "or",
                   "Is the element infinite?")
isfinite = _part_test("isfinite", lambda x: apply_named("abs", x) < math.inf, True, "and",
                      "Is the element neither NaN nor infinite?")


def _one_infinity(name: str, value: float, doc: str) -> Binary:
    def function(input: Any, *, out: Any = None) -> Any:
        kind = check_tensor(input, name)._read().type.dtype.kind
        if kind == "c":
            raise DTypeError(f"{name} does not support complex inputs.")
        return deliver(eq(input, value) if kind == "f" else _always(input, False), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


isposinf = _one_infinity("isposinf", math.inf, "Is the element infinity?")
isneginf = _one_infinity("isneginf", -math.inf, "Is the element minus infinity?")


def isreal(input: Any) -> Any:
    """Is the imaginary part zero? True for real types. torch: ``isreal``."""
    if check_tensor(input, "isreal")._read().type.dtype.kind != "c":
        return _always(input, True)
    return eq(apply_named("imag", input), 0)


def signbit(input: Any, *, out: Any = None) -> Any:
    """Is the sign bit set (also of -0.0 and NaN)? torch: ``signbit``."""
    if check_tensor(input, "signbit")._read().type.dtype.kind == "c":
        raise DTypeError("signbit is not implemented for complex tensors.")
    return deliver(apply_named("signbit", input), out, "signbit")


# --- functions of two -------------------------------------------------------------------------------

def _floats_only(torch_name: str) -> Callable[[DType], DType]:
    def rule(dtype: DType) -> DType:
        if dtype.kind != "f":
            raise DTypeError(f'"{torch_name}" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return dtype
    return rule


def _ints_only(torch_name: str) -> Callable[[DType], DType]:
    def rule(dtype: DType) -> DType:
        if dtype.kind not in "iu":
            raise DTypeError(f'"{torch_name}" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return dtype
    return rule


def _real(name: str) -> Callable[[DType], DType]:
    def rule(dtype: DType) -> DType:
        if dtype.kind == "c":
            raise DTypeError(f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return inexact(dtype)
    return rule


def two_operands(name: str, row: str, rule: Callable[[DType], DType], doc: str, numbers: str = "",
                 arguments: tuple[str, str] = ("input", "other")) -> Binary:
    """A public function of two operands; ``numbers`` says which may be Python numbers ('ab', 'b' or '')."""
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if not ("a" in numbers and is_number(input) and other.__class__ in TENSOR_CLASSES):
            check_tensor(input, name, arguments[0])
        if "b" in numbers and is_number(other):
            other = plain(other)
        else:
            check_tensor(other, name, arguments[1], 2)
        return deliver(apply_named(row, *together(plain(input), other, dtype=rule(common_dtype((input, other))))),
                       out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


atan2 = two_operands("atan2", "atan2", _real("atan2"), "The angle of the point (other, input), in (-pi, pi].")
arctan2 = atan2
hypot = two_operands("hypot", "hypot", _floats_only("hypot_cpu"), "``sqrt(input^2 + other^2)`` without overflow.")
xlogy = two_operands("xlogy", "xlogy", _real("xlogy"), "``input * log(other)``; 0 where ``input`` is 0.", "ab")
copysign = two_operands("copysign", "copysign", _real("copysign"),
                        "The magnitude of ``input`` with the sign of ``other``.", "b")
nextafter = two_operands("nextafter", "nextafter", _floats_only("nextafter_cpu"),
                         "The next float after ``input`` in the direction of ``other``.")
logaddexp = two_operands("logaddexp", "logaddexp", _floats_only("logaddexp_cpu"), "``log(e^input + e^other)``.")
logaddexp2 = two_operands("logaddexp2", "logaddexp2", _floats_only("logaddexp2_cpu"), "``log2(2^input + 2^other)``.")
gcd = two_operands("gcd", "gcd", _ints_only("gcd_cpu"), "The greatest common divisor, not negative.")
lcm = two_operands("lcm", "lcm", _ints_only("lcm_cpu"), "The least common multiple, not negative.")


def heaviside(input: Any, values: Any, *, out: Any = None) -> Any:
    """0 below zero, 1 above, ``values`` at zero. torch: ``heaviside``.

    Raises:
        RuntimeError: the dtypes differ, or are complex.
    """
    x, y = check_tensor(input, "heaviside"), check_tensor(values, "heaviside", "values", 2)
    kinds = x._read().type.dtype, y._read().type.dtype
    if "c" in (kinds[0].kind, kinds[1].kind):
        raise DTypeError("heaviside is not yet implemented for complex tensors.")
    if kinds[0] is not kinds[1]:
        raise DTypeError("heaviside is not yet implemented for tensors with different dtypes.")
    if kinds[0] is dt.bool_:
        a, v = together(x, y)
        return deliver(apply_named("or", a, v), out, "heaviside")
    return deliver(apply_named("heaviside", *together(x, y)), out, "heaviside")


def ldexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input * 2 ** other``. torch: ``ldexp``."""
    from .arithmetic import pow
    check_tensor(input, "ldexp")
    return deliver(mul(input, pow(2.0, check_operand(other, "ldexp"))), out, "ldexp")


def frexp(input: Any, *, out: Any = None) -> Any:
    """``(mantissa, exponent)`` with ``input = mantissa * 2 ** exponent`` and 1/2 <= |mantissa| < 1.
    torch: ``frexp``."""
    if check_tensor(input, "frexp")._read().type.dtype.kind != "f":
        raise DTypeError("torch.frexp() only supports floating-point dtypes")
    return return_types.frexp(delivering(apply_named("frexp", input), out, "frexp"))


# --- functions of one -------------------------------------------------------------------------------

def _refuse_complex(name: str) -> Callable[[Any], None]:
    def check(x: Any) -> None:
        dtype = x._read().type.dtype
        if dtype.kind == "c":
            raise DTypeError(f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[dtype]}\'')
    return check


def real_function(name: str, doc: str, row: str | None = None) -> Binary:
    """A public function of one real tensor; integers give floats."""
    return unary(name, doc, row, check=_refuse_complex(name))


sinc = real_function("sinc", "``sin(pi x) / (pi x)``, 1 at 0.")
erfc = real_function("erfc", "``1 - erf(input)``, accurate where it is small.")
i0 = real_function("i0", "Modified Bessel function of the first kind of order 0.")


def _angles(name: str, factor: float, doc: str) -> Binary:
    def function(input: Any, *, out: Any = None) -> Any:
        if check_tensor(input, name)._read().type.dtype.kind == "c":
            raise DTypeError(f"{name} is not supported for complex tensors.")
        return deliver(mul(input, factor), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


deg2rad = _angles("deg2rad", math.pi / 180, "Degrees to radians.")
rad2deg = _angles("rad2deg", 180 / math.pi, "Radians to degrees.")


def logit(input: Any, eps: float | None = None, *, out: Any = None) -> Any:
    """``log(x / (1 - x))``; with ``eps`` the element is first clamped to ``[eps, 1 - eps]``. torch: ``logit``."""
    _refuse_complex("logit")(check_tensor(input, "logit"))
    x = cast(input, inexact(input._read().type.dtype))
    if eps is not None:
        x = clamp(x, eps, 1 - eps)
    from .pointwise import log
    return deliver(log(div(x, 1 - x)), out, "logit")


def polygamma(n: int, input: Any, *, out: Any = None) -> Any:
    """The ``n``-th derivative of ``digamma``. torch: ``polygamma``.

    Raises:
        RuntimeError: ``n`` is negative.
    """
    _refuse_complex("polygamma")(check_tensor(input, "polygamma", "input", 2))
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n. Received: n={n}")
    x = cast(input, inexact(input._read().type.dtype))
    return deliver(apply_named("polygamma", x, attrs=(int(n),)), out, "polygamma")


def mvlgamma(input: Any, p: int, *, out: Any = None) -> Any:
    """``log`` of the gamma function of ``p`` variables: ``p (p - 1) / 4 log(pi) + sum of lgamma(x - i / 2)``.
    torch: ``mvlgamma``."""
    from .pointwise import lgamma
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = cast(check_tensor(input, "mvlgamma"), inexact(input._read().type.dtype))
    total = lgamma(x)
    for i in range(1, p):
        total = total + lgamma(x - i / 2)
    return deliver(total + p * (p - 1) / 4 * math.log(math.pi), out, "mvlgamma")


def _polygamma_method(self: Any, n: int) -> Any:
    """The ``n``-th derivative of ``digamma``. torch: ``Tensor.polygamma``."""
    return polygamma(n, self)


def _incomplete(name: str, doc: str) -> Binary:
    floats = _floats_only(f"{name}_cpu")

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        check_tensor(input, name)
        check_tensor(other, name, "other", 2)
        if mode.grad and input._edge is not None:
            raise UnsupportedError(f"{name}: the derivative by the first operand is not implemented: detach it")
        dtype = floats(common_dtype((input, other)))
        return deliver(apply_named(name, *together(input, other, dtype=dtype)), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


igamma = _incomplete("igamma", "The regularized lower incomplete gamma function P(input, other).")
igammac = _incomplete("igammac", "The regularized upper incomplete gamma function Q(input, other) = 1 - P.")


def _hardshrink_method(self: Any, lambd: float = 0.5) -> Any:
    """The element where its size is above ``lambd``, else 0. torch: ``Tensor.hardshrink``"""
    dtype = self._read().type.dtype
    if dtype.kind != "f":
        raise DTypeError(f"\"hardshrink_cpu\" not implemented for '{SCALAR_NAMES[dtype]}'")
    return apply_named("hardshrink", self, wrap(number_value(lambd, compute_type(dtype))))


def _prelu_method(self: Any, weight: Any) -> Any:
    """The element where positive, else times ``weight``: of one element, or one per channel (axis 1).
    torch: ``Tensor.prelu``"""
    return apply_named("prelu", self, check_tensor(weight, "prelu", "weight"))


class FunctionMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    clamp, clip, clamp_min, clamp_max, nan_to_num = clamp, clip, clamp_min, clamp_max, nan_to_num
    isnan, isinf, isfinite, isposinf, isneginf, isreal = isnan, isinf, isfinite, isposinf, isneginf, isreal
    signbit, copysign, nextafter, frexp, ldexp = signbit, copysign, nextafter, frexp, ldexp
    atan2, arctan2, hypot, heaviside, xlogy = atan2, atan2, hypot, heaviside, xlogy
    logaddexp, logaddexp2, gcd, lcm, deg2rad, rad2deg = logaddexp, logaddexp2, gcd, lcm, deg2rad, rad2deg
    sinc, erfc, logit, i0, mvlgamma, polygamma = sinc, erfc, logit, i0, mvlgamma, _polygamma_method
    clamp_, clamp_min_, clamp_max_, nan_to_num_ = (in_place(f) for f in (clamp, clamp_min, clamp_max, nan_to_num))
    clip_ = clamp_
    copysign_, nextafter_, ldexp_, atan2_, hypot_ = (in_place(f) for f in (copysign, nextafter, ldexp, atan2, hypot))
    arctan2_ = atan2_
    heaviside_, xlogy_, gcd_, lcm_ = (in_place(f) for f in (heaviside, xlogy, gcd, lcm))
    deg2rad_, rad2deg_, sinc_, erfc_ = (in_place(f) for f in (deg2rad, rad2deg, sinc, erfc))
    igamma, igammac, hardshrink, prelu = igamma, igammac, _hardshrink_method, _prelu_method
    igamma_, igammac_ = in_place(igamma), in_place(igammac)
    logit_, i0_, mvlgamma_, polygamma_ = (in_place(f) for f in (logit, i0, mvlgamma, _polygamma_method))
