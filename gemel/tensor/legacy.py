"""Tensors from their class: ``Tensor([1, 2])``, ``Tensor(2, 3)``, ``LongTensor([1])``, torch's oldest constructors."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from .core import TENSOR_CLASSES
from .creation import empty, tensor
from .devices import Size
from .promotion import SCALAR_NAMES

__all__ = ["BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor",
           "IntTensor", "LongTensor", "ShortTensor"]


def constructed(dtype: DType, data: tuple[Any, ...], device: Any = None) -> Any:
    """What ``FloatTensor(*data)`` makes: an empty tensor, one of arbitrary contents of given sizes, or one of data."""
    if not data:
        return empty(0, dtype=dtype, device=device)
    first = data[0]
    if all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in data):
        return empty(*map(int, data), dtype=dtype, device=device)
    if len(data) > 1:
        raise TypeError("new() received an invalid combination of arguments: give sizes, or one sequence of data. "
                        f"Received: {data!r}")
    if isinstance(first, Size):
        return empty(*first, dtype=dtype, device=device)
    if first.__class__ in TENSOR_CLASSES:
        if first._read().type.dtype is not dtype:
            raise TypeError(f"new(): expected a tensor of {SCALAR_NAMES[dtype]}, but got one of "
                            f"{SCALAR_NAMES[first._value.type.dtype]}")
        return first.detach()
    if not isinstance(first, (Sequence, np.ndarray)) or isinstance(first, str):
        raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
    return tensor(first, dtype=dtype, device=device)


class _Typed(type):
    """A class whose instances are all tensors of one dtype."""

    dtype: DType

    def __instancecheck__(cls, x: Any) -> bool:
        return x.__class__ in TENSOR_CLASSES and x._read().type.dtype is cls.dtype

    def __call__(cls, *data: Any, device: Any = None) -> Any:
        return constructed(cls.dtype, data, device)


def _typed(name: str, dtype: DType) -> Any:
    return _Typed(name, (), {"dtype": dtype, "__module__": __name__, "__doc__": (
        f"Tensors of {dtype.name}, by sizes or from a sequence. torch: ``{name}``")})


BFloat16Tensor = _typed("BFloat16Tensor", dt.bfloat16)
BoolTensor = _typed("BoolTensor", dt.bool_)
ByteTensor = _typed("ByteTensor", dt.uint8)
CharTensor = _typed("CharTensor", dt.int8)
DoubleTensor = _typed("DoubleTensor", dt.float64)
FloatTensor = _typed("FloatTensor", dt.float32)
HalfTensor = _typed("HalfTensor", dt.float16)
IntTensor = _typed("IntTensor", dt.int32)
LongTensor = _typed("LongTensor", dt.int64)
ShortTensor = _typed("ShortTensor", dt.int16)


class LegacyMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    def new(self: Any, *data: Any, device: Any = None) -> Any:
        """A tensor of the same dtype, by sizes or from a sequence.

        >>> gemel.ones(2, dtype=gemel.int64).new([3, 4])
        tensor([3, 4])

        torch: ``Tensor.new``
        """
        return constructed(self._read().type.dtype, data, device)
