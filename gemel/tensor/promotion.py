"""Which dtype an operation has: torch's promotion with its three categories of operands.

Tensors with axes outrank 0-d tensors, which outrank Python numbers: an operand of a lower category only matters
where its *kind* (bool, integer, float, complex) is higher.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.ir.op import Op, op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import Shape, TensorType, tensor_type
from ..engine.runtime.trace import Value, scalar
from .core import TENSOR_CLASSES, from_array
from .dims import remembered
from .recording import apply_named, through, wrap
from .typeinfo import default_complex, get_default_dtype

#: torch's names of element types in error messages
SCALAR_NAMES = {
    dt.float64: "Double", dt.float32: "Float", dt.float16: "Half", dt.bfloat16: "BFloat16", dt.int64: "Long",
    dt.int32: "Int", dt.int16: "Short", dt.int8: "Char", dt.uint8: "Byte", dt.uint16: "UInt16", dt.uint32: "UInt32",
    dt.uint64: "UInt64", dt.bool_: "Bool", dt.complex64: "ComplexFloat", dt.complex128: "ComplexDouble"}

_NUMBERS = (bool, int, float, complex, np.generic)


def is_tensor(x: Any) -> bool:
    """Is ``x`` a tensor?"""
    return x.__class__ in TENSOR_CLASSES


def is_number(x: Any) -> bool:
    """Is ``x`` a Python or NumPy number?"""
    return isinstance(x, _NUMBERS)


def plain(number: Any) -> Any:
    """The Python number of a NumPy one; Python's numbers are themselves."""
    return number.item() if isinstance(number, np.generic) else number


def combine(higher: DType | None, lower: DType | None) -> DType | None:
    """The dtype of operands of which ``higher`` stands in a higher category."""
    if higher is None or lower is None or higher.kind == "c":
        return higher or lower
    if higher.kind == "f":
        if lower.kind != "c":
            return higher
        return dt.complex128 if higher is dt.float64 else dt.complex64
    if higher.kind == "b" or lower.kind in "fc":
        return dt.promote(higher, lower)
    return higher


def kind_of(x: Any) -> Any:
    """What decides about the dtype that ``x`` leads to: a tensor's type, the Python class of a number."""
    if x.__class__ in TENSOR_CLASSES:
        return x._read().type
    found = plain(x).__class__
    return found if found in _KINDS else next((kind for kind in _KINDS if issubclass(found, kind)), float)


_KINDS = (bool, int, float, complex)


def common_dtype(operands: Iterable[Any]) -> DType:
    """The dtype in which tensors and numbers meet."""
    return _common(get_default_dtype(), *map(kind_of, operands))


@remembered
def _common(default: DType, *kinds: Any) -> Any:
    dims = zeros = numbers = None
    for t in kinds:
        if t.__class__ is not TensorType:
            d = dt.bool_ if t is bool else dt.int64 if t is int else default_complex() if t is complex else default
            numbers = d if numbers is None else dt.promote(numbers, d)
        elif t.ndim:
            dims = t.dtype if dims is None else dt.promote(dims, t.dtype)
        else:
            zeros = t.dtype if zeros is None else dt.promote(zeros, t.dtype)
    found = combine(dims, combine(zeros, numbers))
    assert found is not None
    return found


def common_type(x: TensorType, y: TensorType) -> DType:
    """The dtype in which tensors of two types meet."""
    if (x.ndim == 0) == (y.ndim == 0):
        return dt.promote(x.dtype, y.dtype)
    found = combine(x.dtype, y.dtype) if x.ndim else combine(y.dtype, x.dtype)
    assert found is not None
    return found


def can_cast(from_: DType, to: DType) -> bool:
    """May a result of dtype ``from_`` be written into a tensor of dtype ``to``?"""
    if from_.kind == "c" and to.kind != "c":
        return False
    if from_.kind in "fc" and to.kind in "iub":
        return False
    return from_.kind == "b" or to.kind != "b"


def check_cast(from_: DType, to: DType) -> None:
    """Raise torch's error unless ``can_cast``."""
    if not can_cast(from_, to):
        raise DTypeError(f"result type {SCALAR_NAMES[from_]} can't be cast to the desired output type "
                         f"{SCALAR_NAMES[to]}")


def inexact(dtype: DType) -> DType:
    """The dtype of a function with fractional results: integers and bool become the default float."""
    return dtype if dtype.kind in "fc" else get_default_dtype()


def cast(t: Any, dtype: DType) -> Any:
    """``t`` as ``dtype``; itself if it has it."""
    return t if t._read().type.dtype is dtype else apply_named("cast", t, attrs=(dtype,))


def expand(t: Any, shape: Shape) -> Any:
    """``t`` broadcast to ``shape``; itself if it has it."""
    return t if t._read().type.shape == shape else apply_named("expand", t, attrs=(shape,))


def broadcast_shapes(x: Shape, y: Shape) -> Shape:
    """The common shape, right-aligned; ``ShapeError`` names the axis that does not fit."""
    n = max(len(x), len(y))
    a, b = (1,) * (n - len(x)) + x, (1,) * (n - len(y)) + y
    for axis, (p, q) in enumerate(zip(a, b, strict=True)):
        if p != q and p != 1 and q != 1:
            raise ShapeError(f"The size of tensor a ({p}) must match the size of tensor b ({q}) at non-singleton "
                             f"dimension {axis}. Received shapes {list(x)} and {list(y)}")
    return tuple(q if p == 1 else p for p, q in zip(a, b, strict=True))


# --- Python numbers as operands -------------------------------------------------------------------

_LARGEST_F32 = float(np.finfo(np.float32).max)


def fitted(number: Any, dtype: DType) -> Any:
    """The number as ``dtype`` holds it: integers wrap, floats beyond the range are infinite."""
    if dtype.kind in "iu":
        n = int(number)
        if not -(1 << 63) <= n < (1 << 64):
            raise OverflowError("int too big to convert")
        n &= (1 << dtype.bits) - 1
        return n - (1 << dtype.bits) if dtype.kind == "i" and n >> (dtype.bits - 1) else n
    if dtype.kind == "b":
        return bool(number)
    value = float(number)
    if dtype is dt.float32 and abs(value) > _LARGEST_F32:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    return value


def number_value(number: Any, dtype: DType) -> Value:
    """A 0-d runtime input of ``dtype`` (floats of 16 bits are not scalars: pass ``compute_type``)."""
    number = plain(number)
    if dtype.kind == "c":
        return from_array(np.asarray(number, dtype.numpy))
    return scalar(fitted(number, dtype), dtype)


def number_tensor(number: Any, dtype: DType) -> Any:
    """A 0-d tensor that is a runtime input; 16-bit floats are rounded from f32 in the program."""
    wide = dt.compute_type(dtype)
    return cast(wrap(number_value(number, wide)), dtype)


def as_tensor(x: Any, dtype: DType) -> Any:
    """A tensor or number as a tensor of ``dtype``."""
    return cast(x, dtype) if x.__class__ in TENSOR_CLASSES else number_tensor(x, dtype)


def together(*operands: Any, dtype: DType | None = None, to: Shape = ()) -> tuple[Any, ...]:
    """Tensors and numbers as tensors of one shape and dtype (the promoted one unless given).

    ``to``: a shape with which the common one is broadcast.
    """
    kinds = tuple(map(kind_of, operands))
    common: DType = dtype or _common(get_default_dtype(), *kinds)
    found = []
    for x, some in zip(operands, meeting(common, to, *kinds), strict=True):
        found.append(through(some, x if x.__class__ in TENSOR_CLASSES else number_tensor(x, common)))
    return tuple(found)


@remembered
def meeting(dtype: DType, shape: Shape, *kinds: Any) -> list[list[Op]]:
    """What is recorded on each operand, which a number is after it has become a 0-d tensor of ``dtype``."""
    types = [t if t.__class__ is TensorType else tensor_type(dtype) for t in kinds]
    for t in types:
        shape = broadcast_shapes(shape, t.shape) if t.shape != shape else shape
    return [([op(ROWS["cast"], dtype)] if t.dtype is not dtype else [])
            + ([op(ROWS["expand"], shape)] if t.shape != shape else []) for t in types]


def full(number: Any, dtype: DType, shape: Shape) -> Any:
    """A tensor filled with a runtime number."""
    return expand(number_tensor(number, dtype), shape)
