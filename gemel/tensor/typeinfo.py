"""The default dtype, limits of dtypes, and torch's rules for the dtype of a mixture."""
from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from .core import TENSOR_CLASSES

__all__ = ["finfo", "iinfo", "get_default_dtype", "set_default_dtype", "promote_types", "result_type", "can_cast"]


class _Default:
    dtype: DType = dt.float32


def get_default_dtype() -> DType:
    """The dtype of tensors made from Python floats: ``gemel.float32`` unless set. torch: ``get_default_dtype``."""
    return _Default.dtype


def set_default_dtype(d: DType) -> None:
    """Set the dtype of tensors made from Python floats; complex numbers follow. torch: ``set_default_dtype``."""
    if not isinstance(d, DType):
        raise TypeError(f"invalid dtype object: only floating-point types are supported as the default type. "
                        f"Received: {d!r}")
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type. Received: {d!r}")
    _Default.dtype = d


_COMPLEX_OF = {dt.float64: dt.complex128}


def default_complex() -> DType:
    """The complex dtype that goes with the default dtype."""
    return _COMPLEX_OF.get(_Default.dtype, dt.complex64)


def scalar_dtype(number: Any) -> DType:
    """The dtype of a tensor made from one Python number."""
    kind = number.__class__
    if kind is float:
        return _Default.dtype
    if kind is bool:
        return dt.bool_
    if kind is int:
        return dt.int64
    if isinstance(number, np.generic):
        return dt.from_numpy(number.dtype)
    if isinstance(number, bool):
        return dt.bool_
    if isinstance(number, int):
        return dt.int64
    if isinstance(number, float):
        return _Default.dtype
    if isinstance(number, complex):
        return default_complex()
    raise TypeError(f"expected a number, received {number!r} of type {kind.__name__}")


class _Info:
    """What both kinds of limits have."""

    dtype: str
    bits: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Info) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class finfo(_Info):
    """Limits of a floating point dtype (of the parts of a complex one). torch: ``finfo``.

    Attributes:
        bits: width. eps: the gap after 1. min, max: the finite range. tiny, smallest_normal: the smallest positive
        normal number. resolution: about the last decimal digit.

    >>> gemel.finfo(gemel.bfloat16).eps
    0.0078125
    """

    def __init__(self, type: DType | None = None) -> None:
        type = _Default.dtype if type is None else type
        if not isinstance(type, DType):
            raise TypeError(f"finfo(): argument 'type' must be a dtype, not {type!r}")
        if not type.is_inexact:
            raise TypeError(f"gemel.finfo() requires a floating point input type. Use gemel.iinfo to handle {type!r}")
        part = dt.component(type)
        found = ml_dtypes.finfo(part.numpy)
        self.dtype, self.bits = part.name, part.bits
        self.eps, self.min, self.max = float(found.eps), float(found.min), float(found.max)
        self.tiny = self.smallest_normal = float(found.smallest_normal)
        self.resolution = float(10.0 ** -found.precision)

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")


class iinfo(_Info):
    """Limits of an integer dtype: ``bits``, ``min``, ``max``. torch: ``iinfo``."""

    def __init__(self, type: DType) -> None:
        if not isinstance(type, DType):
            raise TypeError(f"iinfo(): argument 'type' must be a dtype, not {type!r}")
        if not type.is_integer:
            raise TypeError(f"gemel.iinfo() requires an integer input type. Received: {type!r}")
        found = np.iinfo(type.numpy)
        self.dtype, self.bits, self.min, self.max = type.name, type.bits, int(found.min), int(found.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest dtype to which both convert. torch: ``promote_types``."""
    for d in (type1, type2):
        if not isinstance(d, DType):
            raise TypeError(f"promote_types(): arguments must be dtypes, not {d.__class__.__name__}")
    return dt.promote(type1, type2)


_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of an operation on the two (tensors or numbers). torch: ``result_type``.

    Tensors with axes decide; 0-d tensors, then numbers, only count where they are of a higher category
    (bool < integer < float < complex).

    >>> gemel.result_type(gemel.tensor([1, 2], dtype=gemel.int8), 1.0)
    gemel.float32
    """
    kinds: list[DType | None] = [None, None, None]  # with axes, 0-d, numbers
    for x in (tensor1, tensor2):
        if x.__class__ in TENSOR_CLASSES:
            t = x._read().type
            level, d = (0 if t.ndim else 1), t.dtype
        else:
            level, d = 2, scalar_dtype(x)
        old = kinds[level]
        kinds[level] = d if old is None else dt.promote(old, d)
    found: DType | None = None
    for d in kinds:
        if d is None:
            continue
        if found is None:
            found = d
        elif _CATEGORY[d.kind] > _CATEGORY[found.kind]:
            found = dt.promote(found, d) if d.kind == "c" else d
    assert found is not None
    return found


def can_cast(from_: DType, to: DType) -> bool:
    """Does torch's promotion allow writing a result of ``from_`` into a tensor of ``to``? torch: ``can_cast``."""
    for d in (from_, to):
        if not isinstance(d, DType):
            raise TypeError(f"can_cast(): arguments must be dtypes, not {d.__class__.__name__}")
    if from_.kind == "c" and to.kind != "c":
        return False
    if from_.kind == "f" and to.kind not in "fc":
        return False
    if from_.kind != "b" and to.kind == "b":
        return False
    return not (from_.kind == "i" and to.kind == "u")
