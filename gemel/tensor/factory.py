"""Tensors from Python data: shapes, dtypes and values of nested sequences, as ``torch.tensor`` reads them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import ShapeError
from .core import TENSOR_CLASSES, from_array
from .typeinfo import default_complex, get_default_dtype, scalar_dtype

_PLAIN = frozenset((bool, int, float, complex))


def size_argument(name: str, size: Sequence[Any]) -> tuple[int, ...]:
    """The shape given as ``f(2, 3)``, ``f((2, 3))`` or ``f([2, 3])``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    shape = tuple([n if n.__class__ is int else _dimension(name, n) for n in size])
    for n in shape:
        if n < 0:
            raise ShapeError(f"{name}: Dimension size must be non-negative. Received: {list(shape)}")
    return shape


def _dimension(name: str, n: Any) -> int:
    if isinstance(n, float) or not hasattr(n, "__index__"):
        raise TypeError(f"{name}(): argument 'size' must be tuple of ints, not {n.__class__.__name__}")
    return n.__index__()


def check_dtype(name: str, dtype: Any) -> None:
    """Raise unless ``dtype`` is a dtype or None."""
    if dtype is not None and not isinstance(dtype, DType):
        raise TypeError(f"{name}(): argument 'dtype' must be a gemel dtype (e.g. gemel.float32), not {dtype!r}")


def array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """A fresh or borrowed NumPy array of the values of ``data``: numbers, nested sequences, arrays, tensors."""
    kind = data.__class__
    if kind in _PLAIN:
        return _numbers([data], {kind}, (), dtype)
    if (kind is list or kind is tuple) and (kinds := set(map(type, data))) <= _PLAIN:
        return _numbers(list(data), kinds, (len(data),), dtype)
    if kind in TENSOR_CLASSES:
        array = data.detach()._observe("gemel.tensor(tensor)")
        return array if dtype is None else convert(array, dtype)
    if isinstance(data, (np.ndarray, np.generic)):
        return from_numpy_array(np.asarray(data), dtype)
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    if hasattr(data, "__array__") and not isinstance(data, Sequence):
        return from_numpy_array(np.asarray(data), dtype)
    if isinstance(data, Sequence) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")
                                      and not isinstance(data, (dict, set))):
        return _nested(data, dtype)
    return _numbers([data], {kind}, (), dtype)


def from_numpy_array(array: np.ndarray, dtype: DType | None) -> np.ndarray:
    """The array in native byte order and as ``dtype``; TypeError names what cannot be stored."""
    dt.from_numpy(array.dtype)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if dtype is None else convert(array, dtype)


def convert(array: np.ndarray, dtype: DType) -> np.ndarray:
    """``array`` as ``dtype``: the interpreter's cast, so that the bits are those of ``Tensor.to``."""
    from ..engine.interpreter.elementwise import cast
    if array.dtype == dtype.numpy:
        return array
    with np.errstate(all="ignore"):
        return np.asarray(cast(array, dtype))


def _nested(data: Any, dtype: DType | None) -> np.ndarray:
    shape: list[int] = []
    inner = data
    while _is_sequence(inner):
        shape.append(len(inner))
        if not shape[-1] or len(shape) > 128:
            break
        inner = inner[0]
    if len(shape) > 128:
        raise ValueError("too many dimensions: is the sequence a part of itself?")
    if shape[-1] and isinstance(inner, np.ndarray) or inner.__class__ in TENSOR_CLASSES and inner._read().type.ndim:
        return _stacked(data, dtype)
    flat = [data]
    for axis, length in enumerate(shape):
        deeper: list[Any] = []
        for item in flat:
            if not _is_sequence(item):
                raise TypeError(f"not a sequence: expected a sequence of length {length} at dim {axis}, got {item!r}")
            if len(item) != length:
                raise ValueError(f"expected sequence of length {length} at dim {axis} (got {len(item)})")
            deeper += item
        flat = deeper
    return _numbers(flat, set(map(type, flat)), tuple(shape), dtype)


def _is_sequence(x: Any) -> bool:
    return x.__class__ not in _PLAIN and not isinstance(x, (np.ndarray, np.generic, str, bytes, dict, set)) and (
        x.__class__ not in TENSOR_CLASSES) and hasattr(x, "__len__") and hasattr(x, "__getitem__")


def _stacked(data: Any, dtype: DType | None) -> np.ndarray:
    """A sequence of arrays, possibly nested."""
    for part in data:
        if part.__class__ in TENSOR_CLASSES and part._read().type.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars: use gemel.stack for a list "
                             f"of tensors. Received: a tensor of shape {list(part._read().type.shape)}")
    parts = [array_of(part, dtype) for part in data]
    for part in parts:
        if part.shape != parts[0].shape:
            raise ValueError(f"expected sequence of shape {list(parts[0].shape)} at dim 1 (got {list(part.shape)})")
    found = parts[0].dtype
    for part in parts[1:]:
        found = dt.promote(dt.from_numpy(found), dt.from_numpy(part.dtype)).numpy
    return np.stack([part.astype(found, copy=False) for part in parts])


def _numbers(flat: list[Any], kinds: set[type], shape: tuple[int, ...], dtype: DType | None) -> np.ndarray:
    """An array of Python numbers in row-major order."""
    if not kinds <= _PLAIN:
        flat = [x.item() if x.__class__ in TENSOR_CLASSES else x for x in _check_numbers(flat)]
        inferred = _inferred(flat) if dtype is None else dtype
    elif dtype is not None:
        inferred = dtype
    elif complex in kinds:
        inferred = default_complex()
    elif float in kinds or not kinds:
        inferred = get_default_dtype()
    else:
        inferred = dt.int64 if int in kinds else dt.bool_
    if inferred.kind in "iu":
        return _integers(flat, kinds, shape, inferred)
    if inferred.kind == "b":
        return np.array([bool(x) for x in flat], np.bool_).reshape(shape)
    if inferred.kind == "f" and complex in kinds:
        raise TypeError("must be real number, not complex")
    wide = np.complex128 if inferred.kind == "c" else np.float64
    return convert(np.array(flat, wide).reshape(shape), inferred)


def _check_numbers(flat: list[Any]) -> list[Any]:
    for x in flat:
        if x.__class__ in TENSOR_CLASSES:
            continue
        if isinstance(x, str):
            raise TypeError("new(): invalid data type 'str'")
        if _is_sequence(x) or isinstance(x, np.ndarray) and x.ndim:
            raise TypeError(f"a sequence stands where a number is expected. Received: {x!r}")
        if not isinstance(x, (bool, int, float, complex, np.generic, np.ndarray)):
            if hasattr(x, "__float__") and not isinstance(x, bytes):
                continue
            raise RuntimeError(f"Could not infer dtype of {type(x).__name__}")
    return flat


def _inferred(flat: list[Any]) -> DType:
    found: DType | None = None
    for x in flat:
        if isinstance(x, np.ndarray):
            d = dt.from_numpy(x.dtype)
        elif isinstance(x, (bool, int, float, complex, np.generic)):
            d = scalar_dtype(x)
        else:
            raise RuntimeError(f"Could not infer dtype of {type(x).__name__}")
        found = d if found is None else dt.promote(found, d)
    assert found is not None
    return found


def _integers(flat: list[Any], kinds: set[type], shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    if complex in kinds:
        raise TypeError("can't convert complex to int")
    low, high = -(1 << 63), (1 << 64 if dtype is dt.uint64 else 1 << 63) - 1
    limits = np.iinfo(dtype.numpy)
    try:
        numbers = [int(x) for x in flat]
    except (OverflowError, ValueError):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow: it is not "
                           f"finite") from None
    if not numbers:
        return np.zeros(shape, dtype.numpy)
    least, most = min(numbers), max(numbers)
    if least < low or most > high:
        raise ValueError(f"Overflow when unpacking long long. Received: {most if most > high else least}")
    if most > limits.max or least < (limits.min or -limits.max - 1):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow. "
                           f"Received: {most if most > limits.max else least}")
    wide = np.array(numbers, np.uint64 if most > (1 << 63) - 1 else np.int64)
    return wide.astype(dtype.numpy).reshape(shape)


def value_of(data: Any, dtype: DType | None) -> Any:
    """A value with its own copy of ``data``."""
    return from_array(array_of(data, dtype))
