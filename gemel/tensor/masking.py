"""Masks and triangles: masked_fill, masked_select, nonzero, where, tril, ..."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from ..engine.runtime import executor
from .advanced import fits
from .core import TENSOR_CLASSES, from_array
from .indexing import fitted
from .promotion import SCALAR_NAMES, broadcast_shapes, cast, expand, together
from .recording import apply, apply_named, wrap

__all__ = [
    "argwhere", "masked_fill", "masked_scatter", "masked_select", "nonzero", "tril", "tril_indices", "triu",
    "triu_indices", "where",
]


_SELECT = op(ROWS["select"])


def _mask(mask: Any, name: str) -> Any:
    if mask._read().type.dtype is not dt.bool_:
        raise DTypeError(f"{name} only supports boolean masks, but got mask with dtype {mask._value.type.dtype.name}")
    return mask


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """``input`` with ``value`` (a number or 0-d tensor) where ``mask`` holds; mask and input broadcast.

    >>> gemel.zeros(3).masked_fill(gemel.tensor([True, False, True]), 1)
    tensor([1., 0., 1.])

    torch: ``masked_fill``
    """
    _mask(mask, "masked_fill")
    kind = input._read().type
    shape = broadcast_shapes(kind.shape, mask._value.type.shape)
    if value.__class__ in TENSOR_CLASSES and value._read().type.ndim:
        raise RuntimeError(f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                           f"{value._value.type.ndim} dimension(s).")
    return apply_named("masked_fill", expand(input, shape), expand(mask, shape), fitted(value, kind.dtype, ()))


def masked_fill_(self: Any, mask: Any, value: Any) -> Any:
    """:func:`masked_fill` in place; the mask must broadcast to this tensor. torch: ``Tensor.masked_fill_``"""
    fits(mask._read().type.shape, self._read().type.shape, "masked_fill_")
    return self._write(masked_fill(self, mask, value))


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """``input`` with the elements where ``mask`` holds replaced by those of ``source``, in order.

    Raises:
        RuntimeError: ``source`` has fewer elements than the mask has ones (found when the result is observed).

    torch: ``masked_scatter``
    """
    _mask(mask, "masked_scatter")
    kind = input._read().type
    if source._read().type.dtype is not kind.dtype:
        raise DTypeError(f"masked_scatter: expected self and source to have same dtypes but got {kind.dtype.name} and "
                         f"{source._value.type.dtype.name}")
    shape = broadcast_shapes(kind.shape, mask._value.type.shape)
    return apply_named("masked_scatter", expand(input, shape), expand(mask, shape), source)


def masked_scatter_(self: Any, mask: Any, source: Any) -> Any:
    """:func:`masked_scatter` in place. torch: ``Tensor.masked_scatter_``"""
    fits(mask._read().type.shape, self._read().type.shape, "masked_scatter_")
    return self._write(masked_scatter(self, mask, source))


def masked_select(input: Any, mask: Any) -> Any:
    """The elements where ``mask`` holds, as a vector; waits for the mask. torch: ``masked_select``"""
    _mask(mask, "masked_select")
    shape = broadcast_shapes(input._read().type.shape, mask._value.type.shape)
    wide = expand(input, shape)
    return wide[expand(mask, shape)] if shape else expand(wide, (1,))[expand(mask, (1,))]


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Positions of the elements that are not zero, in row-major order; waits for the tensor.

    Returns:
        int64 of shape (count, axes), or with ``as_tuple`` one vector per axis.

    torch: ``nonzero``
    """
    array = np.asarray(executor.observe(input._read(), "nonzero()"))
    if not as_tuple:
        return wrap(from_array(np.ascontiguousarray(np.argwhere(array).astype(np.int64))))
    return tuple([wrap(from_array(i.astype(np.int64))) for i in np.nonzero(np.atleast_1d(array))])


def argwhere(input: Any) -> Any:
    """Positions of the elements that are not zero: shape (count, axes). torch: ``argwhere``"""
    return nonzero(input)


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``; all broadcast and dtypes are promoted.

    With the condition alone: its positions, as ``nonzero(as_tuple=True)``.

    >>> gemel.where(gemel.tensor([True, False]), 1.0, gemel.zeros(2))
    tensor([1., 0.])

    torch: ``where``
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes a condition alone, or a condition, input and other")
    if condition.__class__ not in TENSOR_CLASSES:
        raise TypeError(f"where(): argument 'condition' (position 1) must be Tensor, not {type(condition).__name__}")
    if condition._read().type.dtype not in (dt.bool_, dt.uint8):
        raise DTypeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype "
                         f"{SCALAR_NAMES[condition._value.type.dtype]}")
    x, y = together(input, other, to=condition._value.type.shape)
    found = apply(_SELECT, expand(cast(condition, dt.bool_), x._value.type.shape), x, y)
    return found if out is None else out._write(found)


# --- triangles -------------------------------------------------------------------------------------------------

def _triangle(name: str, what: str, input: Any, diagonal: int) -> Any:
    if input._read().type.ndim < 2:
        raise ShapeError(f"{name}: input tensor must have at least 2 dimensions. "
                         f"Received: shape {list(input._value.type.shape)}")
    return apply_named(name, input, attrs=(int(diagonal),))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of matrices, up to a diagonal; the rest is zero. torch: ``tril``"""
    return _triangle("tril", "lower", input, diagonal)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of matrices, from a diagonal on; the rest is zero. torch: ``triu``"""
    return _triangle("triu", "upper", input, diagonal)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """Positions of the lower triangle of a (row, col) matrix: shape (2, count). torch: ``tril_indices``"""
    found = np.stack(np.tril_indices(row, offset, col)).astype((dtype or dt.int64).numpy)
    return wrap(from_array(found))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Any:
    """Positions of the upper triangle of a (row, col) matrix: shape (2, count). torch: ``triu_indices``"""
    found = np.stack(np.triu_indices(row, offset, col)).astype((dtype or dt.int64).numpy)
    return wrap(from_array(found))


class MaskingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    masked_fill, masked_scatter, masked_select = masked_fill, masked_scatter, masked_select
    masked_fill_, masked_scatter_ = masked_fill_, masked_scatter_
    nonzero, argwhere = nonzero, argwhere
    tril, triu = tril, triu

    def where(self: Any, condition: Any, other: Any) -> Any:
        """This tensor where ``condition`` holds, else ``other``. torch: ``Tensor.where``"""
        return where(condition, self, other)

    def tril_(self: Any, diagonal: int = 0) -> Any:
        """:func:`tril` in place. torch: ``Tensor.tril_``"""
        return self._write(tril(self, diagonal))

    def triu_(self: Any, diagonal: int = 0) -> Any:
        """:func:`triu` in place. torch: ``Tensor.triu_``"""
        return self._write(triu(self, diagonal))
