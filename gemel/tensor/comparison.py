"""Comparisons, logic, bits, and the larger and smaller of two."""
from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from ..engine.runtime import executor
from .core import TENSOR_CLASSES
from .elementwise import check_operand, check_tensor, deliver, fast_binary, in_place, promoted
from .promotion import SCALAR_NAMES, cast, common_dtype, is_number, plain, together
from .recording import apply_named

__all__ = [
    "eq", "ne", "not_equal", "lt", "less", "le", "less_equal", "gt", "greater", "ge", "greater_equal", "equal",
    "isclose", "allclose", "maximum", "minimum", "fmax", "fmin", "logical_and", "logical_or", "logical_xor",
    "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift",
    "bitwise_right_shift",
]

Binary = Callable[[Any, Any], Any]


# --- comparisons ------------------------------------------------------------------------------------

def _ordered(name: str) -> Callable[[DType], DType]:
    def rule(dtype: DType) -> DType:
        if dtype.kind == "c":
            raise DTypeError(f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return dtype
    return rule


def _any_dtype(dtype: DType) -> DType:
    return dtype


def _holds(number: Any, dtype: DType) -> bool:
    """Can an integer of this dtype be the number?"""
    if dtype.kind not in "iu" or not isinstance(number, int):
        return True
    limits = np.iinfo(dtype.numpy)
    return int(limits.min) <= number <= int(limits.max)


def _comparison(name: str, primitive: str, swap: bool, rule: Callable[[DType], DType]) -> Binary:
    """The slow path: promotion; ``x > y`` is ``y < x``."""
    reflected = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}.get(name, name)

    def slow(a: Any, b: Any) -> Any:
        dtype = rule(common_dtype((a, b)))
        for number in (a, b):
            if number.__class__ not in TENSOR_CLASSES and not _holds(number, dtype):
                dtype = dt.int64  # a small type does not hold it: compare as Python does
        if dtype.kind == "b" and primitive in ("lt", "le"):
            dtype = dt.uint8
        return promoted(primitive, *((b, a) if swap else (a, b)), dtype,
                        scalar=f"{reflected if swap else name}_scalar",
                        reflected=f"{name if swap else reflected}_scalar")
    return slow


_SLOW: dict[str, Binary] = {
    "eq": _comparison("eq", "eq", False, _any_dtype), "ne": _comparison("ne", "ne", False, _any_dtype),
    "lt": _comparison("lt", "lt", False, _ordered("lt")), "le": _comparison("le", "le", False, _ordered("le")),
    "gt": _comparison("gt", "lt", True, _ordered("lt")), "ge": _comparison("ge", "le", True, _ordered("le")),
}


def _swapped(primitive: str, slow: Binary, scalar: str) -> Binary:
    """``x > y`` recorded as ``y < x``."""
    direct = fast_binary(primitive, lambda b, a: slow(a, b))
    with_number = fast_binary(primitive, slow, scalar)

    def method(self: Any, other: Any) -> Any:
        return direct(other, self) if other.__class__ in TENSOR_CLASSES else with_number(self, other)
    return method


_FAST: dict[str, Binary] = {
    **{n: fast_binary(n, _SLOW[n], f"{n}_scalar") for n in ("eq", "ne", "lt", "le")},
    "gt": _swapped("lt", _SLOW["gt"], "gt_scalar"), "ge": _swapped("le", _SLOW["ge"], "ge_scalar"),
}


def _named(name: str, fast: Binary, doc: str, numbers: bool = True) -> Callable[..., Any]:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        check_tensor(input, name)
        other = check_operand(other, name) if numbers else check_tensor(other, name, "other", 2)
        return deliver(fast(input, other), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


eq = _named("eq", _FAST["eq"], "``input == other``, elementwise.")
ne = _named("ne", _FAST["ne"], "``input != other``, elementwise.")
lt = _named("lt", _FAST["lt"], "``input < other``, elementwise.")
le = _named("le", _FAST["le"], "``input <= other``, elementwise.")
gt = _named("gt", _FAST["gt"], "``input > other``, elementwise.")
ge = _named("ge", _FAST["ge"], "``input >= other``, elementwise.")
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


def _truth(value: Any) -> builtins.bool:
    return builtins.bool(executor.observe(value._read(), "the truth of a comparison"))


def equal(input: Any, other: Any) -> builtins.bool:
    """Do two tensors have one shape and equal elements? Observes. torch: ``equal``."""
    check_tensor(input, "equal")
    check_tensor(other, "equal", "other", 2)
    if input._read().type.shape != other._read().type.shape:
        return False
    same = eq(input, other)
    return _truth(apply_named("reduce_min", same, attrs=(tuple(range(same._value.type.ndim)),))
                  ) if same._value.type.size else True


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: builtins.bool = False) -> Any:
    """``|input - other| <= atol + rtol |other|``, elementwise; infinities are close to themselves.
    torch: ``isclose``."""
    x, y = check_tensor(input, "isclose"), check_tensor(other, "isclose", "other", 2)
    if x._read().type.dtype is not y._read().type.dtype:
        raise DTypeError(f"{SCALAR_NAMES[x._value.type.dtype]} did not match {SCALAR_NAMES[y._value.type.dtype]}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"rtol and atol must be greater than or equal to zero. Received: rtol={rtol}, atol={atol}")
    close = eq(x, y)
    if equal_nan and x._value.type.dtype.kind in "fc":
        close = logical_or(close, logical_and(ne(x, x), ne(y, y)))
    if rtol == 0 and atol == 0:
        return close
    if x._value.type.dtype.kind in "iub":
        x, y = cast(x, dt.float64), cast(y, dt.float64)
    allowed = apply_named("abs", y) * float(rtol) + float(atol)
    actual = apply_named("abs", x - y)
    finite = actual < float("inf")
    return logical_or(close, logical_and(finite, le(actual, allowed)))


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: builtins.bool = False
             ) -> builtins.bool:
    """Are all elements close, as :func:`isclose`? Observes. torch: ``allclose``."""
    close = isclose(input, other, rtol, atol, equal_nan)
    t = close._value.type
    return _truth(apply_named("reduce_min", close, attrs=(tuple(range(t.ndim)),))) if t.size else True


# --- the larger and the smaller ---------------------------------------------------------------------

def _extreme(name: str, torch_name: str) -> Binary:
    def slow(a: Any, b: Any) -> Any:
        dtype = common_dtype((a, b))
        if dtype.kind == "c":
            raise DTypeError(f"{torch_name} not implemented for complex tensors.")
        return promoted(name, a, b)
    return fast_binary(name, slow)


maximum = _named("maximum", _extreme("max", "maximum"), "The larger of two, elementwise; NaN if either is.", False)
minimum = _named("minimum", _extreme("min", "minimum"), "The smaller of two, elementwise; NaN if either is.", False)


def _number_wins(name: str, primitive: str) -> Binary:
    def slow(a: Any, b: Any) -> Any:
        dtype = common_dtype((a, b))
        if dtype.kind == "c":
            raise DTypeError(f"{name} not implemented for complex tensors.")
        return apply_named(name if dtype.kind == "f" else primitive, *together(a, b, dtype=dtype))
    return slow


fmax = _named("fmax", _number_wins("fmax", "max"), "The larger of two; a number wins over NaN.", False)
fmin = _named("fmin", _number_wins("fmin", "min"), "The smaller of two; a number wins over NaN.", False)


# --- logic ------------------------------------------------------------------------------------------

def _truth_values(t: Any) -> Any:
    """Is each element non-zero?"""
    dtype = t._read().type.dtype
    return t if dtype is dt.bool_ else ne(t, 0)


def _logic(primitive: str) -> Binary:
    def logic(a: Any, b: Any) -> Any:
        return apply_named(primitive, *together(_truth_values(a), _truth_values(b)))
    return logic


logical_and = _named("logical_and", _logic("and"), "Are both non-zero?", False)
logical_or = _named("logical_or", _logic("or"), "Is either non-zero?", False)
logical_xor = _named("logical_xor", _logic("xor"), "Is exactly one non-zero?", False)


def logical_not(input: Any, *, out: Any = None) -> Any:
    """Is the element zero? torch: ``logical_not``."""
    check_tensor(input, "logical_not")
    result = apply_named("not", input) if input._read().type.dtype is dt.bool_ else eq(input, 0)
    return deliver(result, out, "logical_not")


# --- bits -------------------------------------------------------------------------------------------

def _integral(torch_name: str, with_bool: bool) -> Callable[[DType], DType]:
    def rule(dtype: DType) -> DType:
        if dtype.kind in "fc" or (dtype.kind == "b" and not with_bool):
            raise DTypeError(f'"{torch_name}" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return dtype
    return rule


def _bits(primitive: str, torch_name: str, with_bool: bool = True) -> Binary:
    rule = _integral(torch_name, with_bool)

    def slow(a: Any, b: Any) -> Any:
        return promoted(primitive, a, b, rule)
    return slow


_SLOW_BITS: dict[str, Binary] = {
    "and": _bits("and", "bitwise_and_cpu"), "or": _bits("or", "bitwise_or_cpu"),
    "xor": _bits("xor", "bitwise_xor_cpu"), "shl": _bits("shl", "lshift_cpu", False),
    "shr": _bits("shr", "rshift_cpu", False),
}
_FAST_BITS: dict[str, Binary] = {name: fast_binary(name, slow) for name, slow in _SLOW_BITS.items()}


def _bit_function(name: str, primitive: str, doc: str) -> Callable[..., Any]:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if is_number(input) and other.__class__ in TENSOR_CLASSES:
            return deliver(_SLOW_BITS[primitive](plain(input), other), out, name)
        check_tensor(input, name)
        return deliver(_FAST_BITS[primitive](input, check_operand(other, name)), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


bitwise_and = _bit_function("bitwise_and", "and", "``input & other``.")
bitwise_or = _bit_function("bitwise_or", "or", "``input | other``.")
bitwise_xor = _bit_function("bitwise_xor", "xor", "``input ^ other``.")
bitwise_left_shift = _bit_function("bitwise_left_shift", "shl", "``input << other``.")
bitwise_right_shift = _bit_function("bitwise_right_shift", "shr", "``input >> other``, arithmetic for signed types.")


def bitwise_not(input: Any, *, out: Any = None) -> Any:
    """``~input``; logical for bool. torch: ``bitwise_not``."""
    check_tensor(input, "bitwise_not")
    if input._read().type.dtype.kind in "fc":
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return deliver(apply_named("not", input), out, "bitwise_not")


# --- methods ----------------------------------------------------------------------------------------

def _operator(fast: Binary, slow: Binary | None = None) -> Binary:
    """An operator; what is neither tensor nor number is left to the other operand."""
    def method(self: Any, other: Any) -> Any:
        if other.__class__ in TENSOR_CLASSES:
            return fast(self, other)
        return (slow or fast)(self, plain(other)) if is_number(other) else NotImplemented
    return method


def _guarded(slow: Binary) -> Binary:
    def method(self: Any, other: Any) -> Any:
        if other.__class__ in TENSOR_CLASSES or is_number(other):
            return slow(self, plain(other))
        return NotImplemented
    return method


def _reflected(slow: Binary) -> Binary:
    def method(self: Any, other: Any) -> Any:
        return slow(plain(other), self) if is_number(other) else NotImplemented
    return method


def _assigned(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return in_place(function)


class ComparisonMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    __eq__ = fast_binary("eq", _guarded(_SLOW["eq"]), "eq_scalar")  # type: ignore[assignment]
    __ne__ = fast_binary("ne", _guarded(_SLOW["ne"]), "ne_scalar")  # type: ignore[assignment]
    __lt__ = fast_binary("lt", _guarded(_SLOW["lt"]), "lt_scalar")
    __le__ = fast_binary("le", _guarded(_SLOW["le"]), "le_scalar")
    __gt__, __ge__ = _operator(_FAST["gt"]), _operator(_FAST["ge"])

    def __hash__(self) -> int:
        return id(self)

    __and__, __or__, __xor__ = (_operator(_FAST_BITS[n]) for n in ("and", "or", "xor"))
    __rand__, __ror__, __rxor__ = (_reflected(_SLOW_BITS[n]) for n in ("and", "or", "xor"))
    __lshift__, __rshift__ = _operator(_FAST_BITS["shl"]), _operator(_FAST_BITS["shr"])
    __rlshift__, __rrshift__ = _reflected(_SLOW_BITS["shl"]), _reflected(_SLOW_BITS["shr"])
    __iand__, __ior__, __ixor__ = _assigned(bitwise_and), _assigned(bitwise_or), _assigned(bitwise_xor)
    __ilshift__, __irshift__ = _assigned(bitwise_left_shift), _assigned(bitwise_right_shift)
    __invert__ = bitwise_not

    eq, ne, lt, le, gt, ge = eq, ne, lt, le, gt, ge
    not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge
    equal, isclose, allclose = equal, isclose, allclose
    maximum, minimum, fmax, fmin = maximum, minimum, fmax, fmin
    logical_and, logical_or, logical_xor, logical_not = logical_and, logical_or, logical_xor, logical_not
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = bitwise_and, bitwise_or, bitwise_xor, bitwise_not
    bitwise_left_shift, bitwise_right_shift = bitwise_left_shift, bitwise_right_shift
    eq_, ne_, lt_, le_, gt_, ge_ = (in_place(f) for f in (eq, ne, lt, le, gt, ge))
    not_equal_, less_, less_equal_, greater_, greater_equal_ = ne_, lt_, le_, gt_, ge_
    logical_and_, logical_or_, logical_xor_ = (in_place(f) for f in (logical_and, logical_or, logical_xor))
    logical_not_, bitwise_not_ = in_place(logical_not), in_place(bitwise_not)
    bitwise_and_, bitwise_or_, bitwise_xor_ = (in_place(f) for f in (bitwise_and, bitwise_or, bitwise_xor))
    bitwise_left_shift_, bitwise_right_shift_ = in_place(bitwise_left_shift), in_place(bitwise_right_shift)
