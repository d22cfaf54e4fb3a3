"""More ways to move elements: slices and diagonals as views; flips, rolls and repetitions as copies."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base.errors import ShapeError, UnsupportedError
from ..engine.ir.types import row_major
from .core import TENSOR_CLASSES, beyond, from_array, whole_storage
from .dims import named, sizes_of, wrap_dim, wrap_dims
from .indexing import fitted, put_values
from .movement import layout_of, permute, reshape, transpose, unsqueeze
from .recording import apply_named, wrap
from .storage import Diagonal, Strided, Unfold, is_injective
from .tape import mode

__all__ = [
    "as_strided", "atleast_1d", "atleast_2d", "atleast_3d", "diag", "diag_embed", "diagflat", "diagonal",
    "diagonal_scatter", "flip", "fliplr", "flipud", "narrow", "narrow_copy", "repeat_interleave", "roll", "rot90",
    "select", "select_scatter", "slice_scatter", "tile", "unfold_copy",
]


# --- slices: views ------------------------------------------------------------------------------------------

def _axis(x: Any, dim: int, name: str) -> int:
    if not x._read().type.ndim:
        raise IndexError(f"{name}() cannot be applied to a 0-dim tensor.")
    return wrap_dim(dim, x._value.type.ndim)


def select(input: Any, dim: int, index: int) -> Any:
    """A view of one slice of axis ``dim``, without that axis. torch: ``select``"""
    axis = _axis(input, dim, "select")
    n = input._value.type.shape[axis]
    at = int(index)
    if not -n <= at < n:
        raise IndexError(f"select(): index {at} out of range for tensor of size {list(input._value.type.shape)} at "
                         f"dimension {axis}")
    return input[(*((slice(None),) * axis), at)]


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """A view of ``length`` elements of axis ``dim`` from ``start`` on. torch: ``narrow``"""
    axis = _axis(input, dim, "narrow")
    n = input._value.type.shape[axis]
    at = int(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= at <= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {at})")
    at = at + n if at < 0 else at
    if at + length > n:
        raise RuntimeError(f"start ({at}) + length ({length}) exceeds dimension size ({n}).")
    return input[(*((slice(None),) * axis), slice(at, at + length))]


def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    """:func:`narrow` as a copy. torch: ``narrow_copy``"""
    return apply_named("copy", narrow(input, dim, start, length))


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """A copy of ``input`` with one slice of axis ``dim`` replaced. torch: ``select_scatter``"""
    out = apply_named("copy", input)
    _same_shape(select(out, dim, index), src, "select_scatter")
    select(out, dim, index)._write_part((), src)
    return out


def slice_scatter(input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Any:
    """A copy of ``input`` with ``[start:end:step]`` of axis ``dim`` replaced. torch: ``slice_scatter``"""
    out = apply_named("copy", input)
    axis = wrap_dim(dim, out._value.type.ndim)
    part = out[(*((slice(None),) * axis), slice(start, end, step))]
    _same_shape(part, src, "slice_scatter")
    part._write_part((), src)
    return out


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of ``input`` with a diagonal replaced. torch: ``diagonal_scatter``"""
    out = apply_named("copy", input)
    part = diagonal(out, offset, dim1, dim2)
    _same_shape(part, src, "diagonal_scatter")
    part._write_part((), src)
    return out


def _same_shape(part: Any, src: Any, name: str) -> None:
    if part._value.type.shape != src._read().type.shape:
        raise ShapeError(f"expected src to have a size equal to the slice of self. src size = "
                         f"{list(src._value.type.shape)}, slice size = {list(part._value.type.shape)} ({name})")


# --- strided views ----------------------------------------------------------------------------------------------

def as_strided(input: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """A view of the storage with any sizes and strides, in elements of the storage. It can be written where no two
    of its indices name one element.

    Raises:
        RuntimeError: the view reaches out of the storage.

    torch: ``as_strided``
    """
    shape, steps = tuple(size), tuple(stride)
    if len(shape) != len(steps):
        raise RuntimeError(f"mismatch in length of strides and shape. Received: size {list(shape)}, "
                           f"stride {list(steps)}")
    if any(s < 0 for s in steps):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}")
    input._read()
    start = layout_of(input)[1] if storage_offset is None else storage_offset
    base = _storage_of(input)
    last = start + sum([(n - 1) * s for n, s in zip(shape, steps, strict=True)])
    if 0 not in shape and (start < 0 or last >= base._value.type.size):
        raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start} require "
                           f"{last + 1} elements and are out of bounds for storage of {base._value.type.size}")
    lens = Strided(shape, steps, start, is_injective(shape, steps))
    out = base._view(lens)
    if input._alias is not None and mode.grad:
        out._alias.origin = input._alias.origin
        if input._edge is not None and out._edge is None:
            out._edge = beyond(input, lens)
    return out


def _storage_of(x: Any) -> Any:
    """A tensor that is all of the storage of ``x``, with the history of ``x``."""
    alias = x._alias
    if alias is None or not alias.lenses:
        return x
    before, after = alias.cell.type.dtype, x._value.type.dtype
    if before.bits != after.bits:
        raise UnsupportedError(f"as_strided of a view that shows {before!r} as {after!r} is not implemented; call "
                               "contiguous() first")
    if alias.is_base and alias.cell.type.size == x._value.type.size and layout_of(x) == (
            row_major(x._value.type.shape), 0):
        return x
    whole = whole_storage(alias)
    return whole if whole._value.type.dtype is after else whole._bits(after)


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A view of a diagonal of the matrices in axes ``dim1``, ``dim2``; it becomes the last axis.

    torch: ``diagonal``
    """
    ndim = input._read().type.ndim
    a, b = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return input._view(Diagonal(input._value.type.shape, a, b, offset))


def unfold(self: Any, dimension: int, size: int, step: int) -> Any:
    """A view of all windows of ``size`` along an axis, every ``step``; the window becomes the last axis.

    torch: ``Tensor.unfold``
    """
    shape = self._read().type.shape
    d = wrap_dim(dimension, len(shape))
    n = shape[d] if shape else 1
    if size > n or size < 0:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    base = self if shape else reshape(self, 1)
    return base._view(Unfold(base._value.type.shape, d, size, step))


def unfold_copy(input: Any, dimension: int, size: int, step: int) -> Any:
    """:meth:`Tensor.unfold` as a copy. torch: ``unfold_copy``"""
    return apply_named("copy", unfold(input, dimension, size, step))


# --- diagonals as copies ----------------------------------------------------------------------------------------

def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices with the last axis of ``input`` on a diagonal, the rest zero. torch: ``diag_embed``"""
    shape = input._read().type.shape
    ndim = len(shape) + 1
    a, b = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = shape[-1] + abs(offset)
    lead = shape[:-1]
    rows = np.arange(shape[-1]) + max(-offset, 0)
    columns = np.arange(shape[-1]) + max(offset, 0)
    at = wrap(from_array((rows * n + columns).astype(np.int64)))
    zeros = fitted(0, input._value.type.dtype, (*lead, n * n))
    filled = put_values(zeros, (len(lead),), [at], "none", input, "set")
    found = reshape(filled, *lead, n, n)
    order = [i for i in range(ndim) if i not in (a, b)]
    back = [0] * ndim
    for i, axis in enumerate((*order, a, b)):
        back[axis] = i
    return found if back == list(range(ndim)) else permute(found, *back)


def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with a vector on its diagonal, or the diagonal of a matrix. torch: ``diag``"""
    ndim = input._read().type.ndim
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return apply_named("copy", _diagonal(input, diagonal))


_diagonal = diagonal


def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with all elements of ``input`` on a diagonal. torch: ``diagflat``"""
    return diag_embed(reshape(input, -1), offset)


# --- flips, rolls, repetitions: copies ---------------------------------------------------------------------------

def flip(input: Any, *axes: Any, dims: Any = None) -> Any:
    """A copy reversed along ``axes``, which may also be named ``dims``. torch: ``flip``"""
    axes = wrap_dims(sizes_of(named("flip", "dims", axes, dims), "flip"), input._read().type.ndim)
    return apply_named("flip", input, attrs=(axes,)) if axes else apply_named("copy", input)


def fliplr(input: Any) -> Any:
    """:func:`flip` of axis 1. torch: ``fliplr``"""
    if input._read().type.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """:func:`flip` of axis 0. torch: ``flipud``"""
    if input._read().type.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def roll(input: Any, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Any:
    """A copy whose elements are shifted along axes (of the flattened tensor without ``dims``), around the end.

    torch: ``roll``
    """
    shape = input._read().type.shape
    if dims is None or dims == ():
        amounts = (shifts,) if not isinstance(shifts, Sequence) else tuple(shifts)
        if len(amounts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(amounts)}, dims:0")
        flat = roll(reshape(input, -1), amounts[0], 0)
        return reshape(flat, *shape)
    amounts = tuple(shifts) if isinstance(shifts, Sequence) else (shifts,)
    axes = tuple(dims) if isinstance(dims, Sequence) else (dims,)
    if len(amounts) != len(axes):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(amounts)}, dims:{len(axes)}")
    out = input
    for amount, dim in zip(amounts, axes, strict=True):
        out = _rolled(out, amount, wrap_dim(dim, len(shape)))
    return out if out is not input else apply_named("copy", input)


def _rolled(x: Any, amount: int, axis: int) -> Any:
    shape = x._value.type.shape
    n = shape[axis]
    amount = amount % n if n else 0
    if not amount:
        return x
    ones, none = (1,) * len(shape), (0,) * len(shape)
    at = tuple([n - amount if i == axis else m for i, m in enumerate(shape)])
    low = tuple([n - amount if i == axis else 0 for i in range(len(shape))])
    head = apply_named("slice", x, attrs=(low, shape, ones))
    tail = apply_named("slice", x, attrs=(none, at, ones))
    return apply_named("cat", head, tail, attrs=(axis,))


def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    """A copy turned by 90 degrees ``k`` times in the plane of two axes, from the first towards the second.

    torch: ``rot90``
    """
    ndim = input._read().type.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    a, b = wrap_dims(tuple(dims), ndim)
    turns = k % 4
    if turns == 0:
        return apply_named("copy", input)
    if turns == 2:
        return flip(input, a, b)
    return transpose(flip(input, b), a, b) if turns == 1 else flip(transpose(input, a, b), b)


def repeat(self: Any, *sizes: Any, repeats: Any = None) -> Any:
    """A copy of the tensor laid side by side, ``sizes[i]`` times along axis ``i``; ``repeats`` names the sizes.

    torch: ``Tensor.repeat``
    """
    counts, shape = sizes_of(named("repeat", "repeats", sizes, repeats), "repeat"), self._read().type.shape
    lead = len(counts) - len(shape)
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in counts):
        raise RuntimeError(f"repeat: counts must not be negative. Received: {list(counts)}")
    full = (1,) * lead + shape
    between: list[int] = []
    wide: list[int] = []
    for n, m in zip(counts, full, strict=True):
        between += [1, m]
        wide += [n, m]
    x = apply_named("reshape", self, attrs=(tuple(between),))
    x = apply_named("expand", x, attrs=(tuple(wide),))
    return apply_named("reshape", x, attrs=(tuple([n * m for n, m in zip(counts, full, strict=True)]),))


def tile(input: Any, *counts: Any, dims: Any = None) -> Any:
    """:meth:`Tensor.repeat` with counts (``dims``) aligned at the right, as NumPy's. torch: ``tile``"""
    counts, ndim = sizes_of(named("tile", "dims", counts, dims), "tile"), input._read().type.ndim
    return repeat(input, *((1,) * (ndim - len(counts)) + counts))


def repeat_interleave(input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
                      ) -> Any:
    """Each slice of axis ``dim`` (each element without it) repeated: by a number, or by one number per slice.

    torch: ``repeat_interleave``
    """
    if repeats is None:
        input, repeats, dim = None, input, 0
    x = input
    if x is not None and dim is None:
        x, dim = reshape(x, -1), 0
    if repeats.__class__ not in TENSOR_CLASSES and x is not None:
        if int(repeats) < 0:
            raise RuntimeError("Repeats must be non-negative")
        shape = x._read().type.shape
        axis = wrap_dim(dim, len(shape))
        n = int(repeats)
        wide = (*shape[:axis + 1], n, *shape[axis + 1:])
        out = apply_named("expand", unsqueeze(x, axis + 1), attrs=(wide,))
        return apply_named("reshape", out, attrs=((*shape[:axis], shape[axis] * n, *shape[axis + 1:]),))
    from ..engine.runtime import executor
    counts = np.asarray(executor.observe(repeats._read(), "repeat_interleave()"))
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    if counts.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if x is None:
        return wrap(from_array(np.repeat(np.arange(counts.size), counts).astype(np.int64)))
    axis = wrap_dim(dim, x._read().type.ndim)
    n = x._value.type.shape[axis]
    if counts.size not in (1, n):
        raise RuntimeError(f"repeats must have the same size as input along dim, but got repeats.size(0) = "
                           f"{counts.size} and input.size({axis}) = {n}")
    at = np.repeat(np.arange(n), np.broadcast_to(counts.reshape(-1), (n,))).astype(np.int64)
    return apply_named("index", x, wrap(from_array(at)), attrs=((axis,), "none"))


def _at_least(n: int, arrange: Any) -> Any:
    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and tensors[0].__class__ in TENSOR_CLASSES:
            return arrange(tensors[0])
        many = tensors[0] if len(tensors) == 1 else tensors
        return tuple([arrange(x) for x in many])
    function.__name__ = f"atleast_{n}d"
    function.__doc__ = f"Views with at least {n} axes. torch: ``atleast_{n}d``"
    return function


def _to_2d(x: Any) -> Any:
    ndim = x._read().type.ndim
    return reshape(x, 1, 1) if ndim == 0 else unsqueeze(x, 0) if ndim == 1 else x


def _to_3d(x: Any) -> Any:
    ndim = x._read().type.ndim
    return (reshape(x, 1, 1, 1) if ndim == 0 else unsqueeze(unsqueeze(x, 0), -1) if ndim == 1
            else unsqueeze(x, -1) if ndim == 2 else x)


atleast_1d = _at_least(1, lambda x: x if x._read().type.ndim else reshape(x, 1))
atleast_2d = _at_least(2, _to_2d)
atleast_3d = _at_least(3, _to_3d)


class ArrangingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    select, narrow, narrow_copy, as_strided, diagonal, unfold = (
        select, narrow, narrow_copy, as_strided, diagonal, unfold)
    select_scatter, slice_scatter, diagonal_scatter = select_scatter, slice_scatter, diagonal_scatter
    diag, diag_embed, diagflat = diag, diag_embed, diagflat
    flip, fliplr, flipud, roll, rot90 = flip, fliplr, flipud, roll, rot90
    repeat, tile, repeat_interleave = repeat, tile, repeat_interleave


