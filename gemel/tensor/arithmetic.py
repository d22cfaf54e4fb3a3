"""Elementwise arithmetic: the operators, their named forms, in-place forms and ``out=``."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from .core import TENSOR_CLASSES
from .elementwise import (
    apply_scalar,
    check_operand,
    check_tensor,
    deliver,
    fast_binary,
    fast_unary,
    in_place,
    promoted,
    unary,
    write_result,
)
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

__all__ = [
    "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder",
    "fmod", "pow", "float_power", "neg", "negative", "positive", "square", "reciprocal", "addcmul", "addcdiv", "lerp",
]

Binary = Callable[[Any, Any], Any]


def _no_bool(function: str) -> Callable[[DType], DType]:
    """Dtype rule of operations that torch does not have for bool and complex operands."""
    def rule(dtype: DType) -> DType:
        if dtype.kind in "bc":
            raise DTypeError(f'"{function}" not implemented for \'{SCALAR_NAMES[dtype]}\'')
        return dtype
    return rule


def _check_subtraction(a: Any, b: Any) -> None:
    """torch has no subtraction with bool operands."""
    first, second = (x._read().type.dtype.kind == "b" if x.__class__ in TENSOR_CLASSES else x.__class__ is bool
                     for x in (a, b))
    if first and second:
        raise DTypeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                         "`logical_xor()` operator instead.")
    if first or second:
        raise DTypeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
                         "invert a mask, use the `~` or `logical_not()` operator instead.")


# --- the four operators with a fast path ------------------------------------------------------------

def _slow_add(a: Any, b: Any) -> Any:
    return promoted("add", a, b, bool_name="or", scalar="add_scalar", reflected="add_scalar")


def _slow_sub(a: Any, b: Any) -> Any:
    _check_subtraction(a, b)
    return promoted("sub", a, b, scalar="sub_scalar", reflected="rsub_scalar")


def _slow_mul(a: Any, b: Any) -> Any:
    return promoted("mul", a, b, bool_name="and", scalar="mul_scalar", reflected="mul_scalar")


def _slow_div(a: Any, b: Any) -> Any:
    return promoted("div", a, b, inexact, scalar="div_scalar", reflected="rdiv_scalar")


_add = fast_binary("add", _slow_add, "add_scalar")
_sub = fast_binary("sub", _slow_sub, "sub_scalar")
_mul = fast_binary("mul", _slow_mul, "mul_scalar")
_div = fast_binary("div", _slow_div, "div_scalar")


# --- division with rounding -------------------------------------------------------------------------

def _check_divisor(a: Any, b: Any) -> None:
    """Integers divided by the number 0 are an error at the call (by a tensor's 0: the result is 0)."""
    if is_number(b) and b == 0 and common_dtype((a, b)).kind in "iu":
        raise RuntimeError("ZeroDivisionError")


def _rounded(name: str, torch_name: str) -> Binary:
    rule = _no_bool(torch_name)
    reflected = f"r{name}_scalar" if f"r{name}_scalar" in ROWS else None

    def slow(a: Any, b: Any) -> Any:
        _check_divisor(a, b)
        return promoted(name, a, b, rule, scalar=f"{name}_scalar", reflected=reflected)
    return slow


_slow_floor_divide = _rounded("floor_divide", "div_floor_cpu")
_slow_remainder = _rounded("remainder", "remainder_cpu")
_slow_fmod = _rounded("fmod", "fmod_cpu")
_floor_divide = fast_binary("floor_divide", _slow_floor_divide, "floor_divide_scalar", "f")
_remainder = fast_binary("remainder", _slow_remainder, "remainder_scalar", "f")
_fmod = fast_binary("fmod", _slow_fmod, "fmod_scalar", "f")


def _trunc_divide(a: Any, b: Any) -> Any:
    """Quotient rounded towards zero, in the promoted dtype."""
    _check_divisor(a, b)
    dtype = _no_bool("div_trunc_cpu")(common_dtype((a, b)))
    if dtype.kind == "f":
        return apply_named("trunc", _div(a, b) if a.__class__ in TENSOR_CLASSES else _slow_div(a, b))
    x, y = together(a, b, dtype=dtype)
    return apply_named("div_trunc", x, y)


# --- powers -----------------------------------------------------------------------------------------

def _slow_square(x: Any) -> Any:
    check_tensor(x, "square")
    return apply_named("square", cast(x, dt.int64) if x._read().type.dtype is dt.bool_ else x)


_square = fast_unary("square", _slow_square)

#: exponents that select an algorithm, as in torch
_POWERS: dict[float, str] = {2: "square", 3: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal", 1: "copy"}
_LARGEST_EXPONENT = 64  # integer powers up to this are written out


def _pow(a: Any, b: Any) -> Any:
    if b.__class__ is int and b == 2 and a.__class__ in TENSOR_CLASSES:
        return _square(a)
    dtype = common_dtype((a, b))
    if dtype.kind == "b":
        dtype = dt.int64 if b.__class__ not in TENSOR_CLASSES else dtype
    if dtype.kind in "iub":
        return _integer_pow(a, b, dtype)
    if b.__class__ not in TENSOR_CLASSES:
        number = plain(b)
        name = _POWERS.get(number) if number.__class__ is not complex else None
        if name is not None:
            return apply_named(name, cast(a, dtype))
        if number == -2:
            return apply_named("reciprocal", apply_named("square", cast(a, dtype)))
        return apply_scalar("pow_scalar", a, number, dtype)
    return promoted("pow", a, b, reflected="rpow_scalar")


def _integer_pow(a: Any, b: Any, dtype: DType) -> Any:
    if b.__class__ not in TENSOR_CLASSES:
        exponent = int(b)
        if exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        x = cast(a, dtype)
        if 1 <= exponent <= _LARGEST_EXPONENT:
            return _by_squaring(x, exponent)
        if exponent == 0:
            return full(1, dtype, x._read().type.shape)
    if dtype.kind == "b":
        raise DTypeError("\"pow\" not implemented for 'Bool'")
    return apply_named("integer_pow", *together(a, b, dtype=dtype))


def _by_squaring(x: Any, exponent: int) -> Any:
    total = None
    while exponent:
        if exponent & 1:
            total = x if total is None else apply_named("mul", total, x)
        exponent >>= 1
        if exponent:
            x = apply_named("mul", x, x)
    assert total is not None
    return total if total is not x else apply_named("copy", total)


# --- public functions -------------------------------------------------------------------------------

def _scaled(name: str, a: Any, b: Any, alpha: Any, slow: Binary) -> Any:
    """``a + alpha b`` or ``a - alpha b``, with torch's checks of ``alpha``."""
    dtype = common_dtype((a, b))
    if isinstance(alpha, bool) and dtype is not dt.bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and dtype.kind in "iub":
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and dtype.kind != "c":
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    if dtype.kind == "b":
        return slow(a, b) if alpha else slow(a, False)
    if name == "sub":
        _check_subtraction(a, b)
    x, y = together(a, b, dtype=dtype)
    factor = wrap(number_value(alpha if name == "add" else -alpha, dt.compute_type(dtype)))
    return apply(op(ROWS["add_scaled"]), x, y, factor)


def _is_one(alpha: Any) -> bool:
    return alpha.__class__ is int and alpha == 1


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input + alpha * other``, elementwise with broadcasting and promotion. torch: ``add``.

        >>> gemel.add(gemel.tensor([1, 2]), 0.5)
        tensor([1.5000, 2.5000])
    """
    if is_number(input) and other.__class__ in TENSOR_CLASSES:
        result = _slow_add(input, other) if _is_one(alpha) else _scaled("add", input, other, alpha, _slow_add)
        return deliver(result, out, "add")
    check_tensor(input, "add")
    other = check_operand(other, "add")
    result = _add(input, other) if _is_one(alpha) else _scaled("add", input, other, alpha, _slow_add)
    return deliver(result, out, "add")


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input - alpha * other``, elementwise. torch: ``sub``."""
    if is_number(input) and other.__class__ in TENSOR_CLASSES:
        result = _slow_sub(input, other) if _is_one(alpha) else _scaled("sub", input, other, alpha, _slow_sub)
        return deliver(result, out, "sub")
    check_tensor(input, "sub")
    other = check_operand(other, "sub")
    result = _sub(input, other) if _is_one(alpha) else _scaled("sub", input, other, alpha, _slow_sub)
    return deliver(result, out, "sub")


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``other - alpha * input``. torch: ``rsub``."""
    check_tensor(input, "rsub")
    return sub(check_operand(other, "rsub"), input, alpha=alpha)


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input * other``, elementwise. torch: ``mul``."""
    if is_number(input) and other.__class__ in TENSOR_CLASSES:
        input, other = other, input
    check_tensor(input, "mul")
    return deliver(_mul(input, check_operand(other, "mul")), out, "mul")


_ROUNDED: dict[str, Binary] = {"trunc": _trunc_divide, "floor": _slow_floor_divide}


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """``input / other``; integers give floats unless ``rounding_mode`` is 'trunc' or 'floor'. torch: ``div``.

        >>> gemel.div(gemel.tensor([-7, 7]), 2, rounding_mode="trunc")
        tensor([-3,  3])
    """
    if rounding_mode is not None and rounding_mode not in _ROUNDED:
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                           f"'{rounding_mode}'")
    if not (is_number(input) and other.__class__ in TENSOR_CLASSES):
        check_tensor(input, "div")
        other = check_operand(other, "div")
        result = _div(input, other) if rounding_mode is None else _ROUNDED[rounding_mode](input, other)
    else:
        result = (_slow_div if rounding_mode is None else _ROUNDED[rounding_mode])(input, other)
    return deliver(result, out, "div")


def _named(name: str, fast: Binary, slow: Binary, doc: str) -> Callable[..., Any]:
    """A public function of two operands, the first of which may be a number if the second is a tensor."""
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if is_number(input) and other.__class__ in TENSOR_CLASSES:
            return deliver(slow(plain(input), other), out, name)
        check_tensor(input, name)
        return deliver(fast(input, check_operand(other, name)), out, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


floor_divide = _named("floor_divide", _floor_divide, _slow_floor_divide, "``floor(input / other)``, elementwise.")
remainder = _named("remainder", _remainder, _slow_remainder,
                   "``input - floor(input / other) * other``: has the sign of ``other``.")
fmod = _named("fmod", _fmod, _slow_fmod, "``input - trunc(input / other) * other``: has the sign of ``input``.")


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """``input ** exponent``, elementwise; either may be a number. torch: ``pow``.

    Raises:
        RuntimeError: integers to a negative integer power.
    """
    if not (is_number(input) and exponent.__class__ in TENSOR_CLASSES):
        check_tensor(input, "pow")
        exponent = check_operand(exponent, "pow", "exponent")
    return deliver(_pow(input, exponent), out, "pow")


def float_power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """``input ** exponent`` in double precision. torch: ``float_power``."""
    dtype = dt.complex128 if common_dtype((input, exponent)).kind == "c" else dt.float64
    pair = [cast(x, dtype) if x.__class__ in TENSOR_CLASSES else x for x in (input, exponent)]
    return deliver(_pow(*pair), out, "float_power")


def _check_negatable(x: Any) -> None:
    if x._read().type.dtype is dt.bool_:
        raise DTypeError("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert "
                         "a mask, use the `~` or `logical_not()` operator instead.")


neg = unary("neg", "``-input``.", to=lambda d: d, check=_check_negatable)
reciprocal = unary("reciprocal", "``1 / input``; integers give floats.")
square = unary("square", "``input * input``.", to=lambda d: dt.int64 if d is dt.bool_ else d)


def positive(input: Any) -> Any:
    """``+input``: the tensor itself. torch: ``positive``."""
    if check_tensor(input, "positive")._read().type.dtype is dt.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def _with_value(name: str, input: Any, tensor1: Any, tensor2: Any, value: Any, dtype: DType) -> Any:
    xs = together(input, tensor1, tensor2, dtype=dtype)
    return apply(op(ROWS[name]), *xs, wrap(number_value(value, dt.compute_type(dtype))))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 * tensor2``. torch: ``addcmul``."""
    dtype = common_dtype((check_tensor(input, "addcmul"), check_tensor(tensor1, "addcmul", "tensor1", 2), tensor2))
    if isinstance(value, float) and dtype.kind in "iub":
        raise RuntimeError("value cannot be converted to type int64_t without overflow"
                           if not float(value).is_integer() else "For integral input tensors, argument value must "
                           "not be a floating point number.")
    return deliver(_with_value("addcmul", input, tensor1, tensor2, value, dtype), out, "addcmul")


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 / tensor2``. torch: ``addcdiv``.

    Raises:
        RuntimeError: all tensors are integers (divide with a rounding mode instead).
    """
    dtype = common_dtype((check_tensor(input, "addcdiv"), check_tensor(tensor1, "addcdiv", "tensor1", 2), tensor2))
    if dtype.kind in "iub":
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  release addcdiv "
                           "will perform a true division of tensor1 and tensor2.")
    return deliver(_with_value("addcdiv", input, tensor1, tensor2, value, dtype), out, "addcdiv")


def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """``input + weight * (end - input)``; ``weight`` is a number or a tensor. torch: ``lerp``."""
    dtype = check_tensor(input, "lerp")._read().type.dtype
    for x in (end, weight):
        if x.__class__ in TENSOR_CLASSES and x._read().type.dtype is not dtype:
            raise DTypeError(f"expected dtype {dtype.name} for `end` and `weight` but got dtype "
                             f"{x._read().type.dtype.name}")
    if dtype.kind not in "fc":
        raise DTypeError(f'"lerp_kernel" not implemented for \'{SCALAR_NAMES[dtype]}\'')
    if weight.__class__ in TENSOR_CLASSES:
        return deliver(apply(op(ROWS["lerp"]), *together(input, end, weight)), out, "lerp")
    factor = wrap(number_value(weight, dt.compute_type(dtype)))
    return deliver(apply(op(ROWS["lerp_scalar"]), *together(input, end), factor), out, "lerp")


subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg


# --- methods ----------------------------------------------------------------------------------------

def _operator(fast: Binary) -> Binary:
    """An operator: what is neither a tensor nor a number is left to the other operand."""
    def method(self: Any, other: Any) -> Any:
        if other.__class__ in TENSOR_CLASSES:
            return fast(self, other)
        return fast(self, plain(other)) if is_number(other) else NotImplemented
    return method


def _reflected(slow: Binary) -> Binary:
    def method(self: Any, other: Any) -> Any:
        return slow(plain(other), self) if is_number(other) else NotImplemented
    return method


def _guarded(slow: Binary) -> Binary:
    """The slow path of an operator: numbers and tensors, else ``NotImplemented``."""
    def method(self: Any, other: Any) -> Any:
        if other.__class__ in TENSOR_CLASSES or is_number(other):
            return slow(self, plain(other))
        return NotImplemented
    return method


def _assigned(operator: Binary) -> Binary:
    """``x += y``."""
    def method(self: Any, other: Any) -> Any:
        result = operator(self, other)
        return result if result is NotImplemented else write_result(self, result)
    return method


class ArithmeticMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    __add__ = fast_binary("add", _guarded(_slow_add), "add_scalar")
    __sub__ = fast_binary("sub", _guarded(_slow_sub), "sub_scalar")
    __mul__ = fast_binary("mul", _guarded(_slow_mul), "mul_scalar")
    __truediv__ = fast_binary("div", _guarded(_slow_div), "div_scalar")
    __radd__, __rmul__ = __add__, __mul__
    __rsub__, __rtruediv__ = _reflected(_slow_sub), _reflected(_slow_div)
    __floordiv__, __rfloordiv__ = _operator(_floor_divide), _reflected(_slow_floor_divide)
    __mod__, __rmod__ = _operator(_remainder), _reflected(_slow_remainder)
    __pow__, __rpow__ = _operator(_pow), _reflected(_pow)
    __iadd__, __isub__, __imul__ = _assigned(__add__), _assigned(__sub__), _assigned(__mul__)
    __itruediv__, __ifloordiv__ = _assigned(__truediv__), _assigned(__floordiv__)
    __imod__, __ipow__ = _assigned(__mod__), _assigned(__pow__)
    __neg__ = neg
    __pos__ = positive

    add, sub, mul, div, floor_divide, remainder, fmod = add, sub, mul, div, floor_divide, remainder, fmod
    subtract, multiply, divide, true_divide = sub, mul, div, div
    pow, float_power, neg, negative, positive = pow, float_power, neg, neg, positive
    square, reciprocal, addcmul, addcdiv, lerp = square, reciprocal, addcmul, addcdiv, lerp
    add_, sub_, mul_, div_ = in_place(add), in_place(sub), in_place(mul), in_place(div)
    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_
    floor_divide_, remainder_, fmod_ = in_place(floor_divide), in_place(remainder), in_place(fmod)
    pow_, float_power_, neg_, negative_ = in_place(pow), in_place(float_power), in_place(neg), in_place(neg)
    square_, reciprocal_ = in_place(square), in_place(reciprocal)
    addcmul_, addcdiv_, lerp_ = in_place(addcmul), in_place(addcdiv), in_place(lerp)
