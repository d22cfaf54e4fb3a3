"""Joining and splitting: cat, stack, split, chunk, ..."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.errors import ShapeError
from ..engine.runtime.trace import scalar
from .alias import PLAIN, SIBLINGS
from .arranging import atleast_1d, atleast_2d, atleast_3d
from .core import TENSOR_CLASSES, apply_named, wrap
from .dims import wrap_dim
from .movement import broadcast_to, reshape, unsqueeze
from .promotion import broadcast_shapes
from .storage import Static, reshape_lens

__all__ = [
    "block_diag", "broadcast_tensors", "cartesian_prod", "cat", "chunk", "column_stack", "concat", "concatenate",
    "dsplit", "dstack", "hsplit", "hstack", "meshgrid", "row_stack", "split", "stack", "tensor_split", "unbind",
    "vsplit", "vstack",
]


# --- joining -------------------------------------------------------------------------------------------

def _tensors(tensors: Any, name: str) -> list[Any]:
    found = list(tensors)
    for i, x in enumerate(found):
        if x.__class__ not in TENSOR_CLASSES:
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
    if not found:
        if name == "cat":
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return found


def common_dtype(tensors: Sequence[Any]) -> dt.DType:
    """The dtype to which all tensors convert."""
    dtype = tensors[0]._value.type.dtype
    for x in tensors[1:]:
        dtype = dt.promote(dtype, x._value.type.dtype)
    return dtype


def cast_all(tensors: Sequence[Any]) -> list[Any]:
    """The tensors, all of their common dtype."""
    dtype = common_dtype(tensors)
    return [x if x._value.type.dtype is dtype else apply_named("cast", x, attrs=(dtype,)) for x in tensors]


def cat(tensors: Any, dim: int = 0) -> Any:
    """Join tensors along an existing axis; dtypes are promoted.

    Raises:
        RuntimeError: sizes differ in another axis than ``dim``.

    >>> gemel.cat([gemel.zeros(2, 3), gemel.ones(1, 3)]).shape
    gemel.Size([3, 3])

    torch: ``cat``
    """
    parts = _tensors(tensors, "cat")
    full = [x for x in parts if x._value.type.shape != (0,)]  # torch's legacy: 1-d empty tensors are skipped
    if not full:
        return parts[0]._view(reshape_lens((0,), (0,))) if len(parts) == 1 else apply_named(
            "cat", *cast_all(parts), attrs=(0,))
    first = full[0]._value.type.shape
    if not first:
        raise RuntimeError(f"zero-dimensional tensor (at position {parts.index(full[0])}) cannot be concatenated")
    axis = wrap_dim(dim, len(first))
    for n, x in enumerate(parts):
        shape = x._value.type.shape
        if shape == (0,):
            continue
        if len(shape) != len(first):
            raise ShapeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}. "
                             f"Received: {', '.join(str(list(p._value.type.shape)) for p in parts)}")
        for i, (a, b) in enumerate(zip(first, shape, strict=True)):
            if a != b and i != axis:
                raise ShapeError(f"Sizes of tensors must match except in dimension {axis}. Expected size {a} but got "
                                 f"size {b} for tensor number {n} in the list. "
                                 f"Received: {', '.join(str(list(p._value.type.shape)) for p in parts)}")
    dtype = common_dtype(parts)
    none = (*first[:axis], 0, *first[axis + 1:])
    same = [x if x._value.type.dtype is dtype else apply_named("cast", x, attrs=(dtype,)) for x in parts]
    same = [apply_named("reshape", x, attrs=(none,)) if x._value.type.shape == (0,) else x for x in same]
    return apply_named("cat", *same, attrs=(axis,))


def concat(tensors: Any, dim: int = 0) -> Any:
    """:func:`cat` by another name. torch: ``concat``"""
    return cat(tensors, dim)


def concatenate(tensors: Any, dim: int = 0) -> Any:
    """:func:`cat` by NumPy's name. torch: ``concatenate``"""
    return cat(tensors, dim)


def stack(tensors: Any, dim: int = 0) -> Any:
    """Join tensors of one shape along a new axis.

    torch: ``stack``
    """
    parts = _tensors(tensors, "stack")
    first = parts[0]._value.type.shape
    axis = wrap_dim(dim, len(first) + 1)
    for n, x in enumerate(parts):
        if x._value.type.shape != first:
            raise ShapeError(f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                             f"{list(x._value.type.shape)} at entry {n}")
    return apply_named("cat", *[unsqueeze(x, axis) for x in cast_all(parts)], attrs=(axis,))


# --- splitting: views --------------------------------------------------------------------------------------

def window(x: Any, axis: int, start: int, stop: int) -> Any:
    """The view ``[start:stop]`` of one axis; its place is part of the program (it follows from shapes)."""
    shape = x._value.type.shape
    low = tuple([start if i == axis else 0 for i in range(len(shape))])
    high = tuple([stop if i == axis else n for i, n in enumerate(shape)])
    return x._view(Static(low, high, (1,) * len(shape)))


def _siblings(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """Views that torch's rules for in-place writes call the outputs of one function."""
    for x in parts:
        if x._alias.origin == PLAIN:
            x._alias.origin = SIBLINGS
    return parts


def _cut(x: Any, axis: int, sizes: Sequence[int]) -> tuple[Any, ...]:
    found, at = [], 0
    for n in sizes:
        found.append(window(x, axis, at, at + n))
        at += n
    return tuple(found)


def _axis(x: Any, dim: int, name: str) -> tuple[int, int]:
    shape = x._value.type.shape
    if not shape:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    axis = wrap_dim(dim, len(shape))
    return axis, shape[axis]


def split(tensor: Any, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """Views of pieces of a given size (the last may be smaller), or of the given sizes.

    Raises:
        RuntimeError: the sizes do not add up to the size of the axis.

    torch: ``split``
    """
    axis, size = _axis(tensor, dim, "split")
    piece: Any = split_size_or_sections
    if isinstance(piece, Sequence):
        sizes = tuple(piece)
        if any(n < 0 for n in sizes) or sum(sizes) != size:
            raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at "
                               f"dimension {axis}), but got split_sizes={list(sizes)}")
        return _siblings(_cut(tensor, axis, sizes))
    if piece < 0 or (piece == 0 and size):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={piece}" if piece < 0 else
                           f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}")
    if size == 0:
        return _siblings(_cut(tensor, axis, (0,)))
    return _siblings(_cut(tensor, axis, [min(piece, size - at) for at in range(0, size, piece)]))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """Views of at most ``chunks`` pieces of one size (the last may be smaller).

    torch: ``chunk``
    """
    axis, size = _axis(input, dim, "chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    piece = -(-size // chunks)
    if piece == 0:
        return _siblings(_cut(input, axis, (0,) * chunks))
    return split(input, piece, axis)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of all slices along an axis, without that axis.

    torch: ``unbind``
    """
    if not input._value.type.shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis, size = _axis(input, dim, "unbind")
    shape = input._value.type.shape
    rest = (*shape[:axis], *shape[axis + 1:])
    kept = (*shape[:axis], 1, *shape[axis + 1:])
    return _siblings(tuple([window(input, axis, i, i + 1)._view(reshape_lens(kept, rest)) for i in range(size)]))


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of ``n`` pieces of nearly one size, or of the pieces between indices. torch: ``tensor_split``"""
    axis, size = _axis(input, dim, "tensor_split")
    where = indices_or_sections
    if where.__class__ in TENSOR_CLASSES:
        where = where.tolist()
    if isinstance(where, Sequence):
        cuts = [0, *[min(max(n + size if n < 0 else n, 0), size) for n in where], size]
        return tuple([window(input, axis, a, max(a, b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)])
    if where <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {where}")
    small, more = divmod(size, where)
    return _cut(input, axis, [small + 1] * more + [small] * (where - more))


def _split_along(name: str, axis_of: Any, least: int) -> Any:
    def function(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
        ndim = input._read().type.ndim
        if ndim < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension"
                               f"{'s' if least > 1 else ''}, but got a tensor with {ndim} dimensions!")
        axis = axis_of(ndim)
        size = input._value.type.shape[axis]
        if not isinstance(indices_or_sections, Sequence) and size % indices_or_sections:
            raise RuntimeError(f"torch.{name} attempted to split along dimension {axis}, but the size of the dimension "
                               f"{size} is not divisible by the split_size {indices_or_sections}!")
        return tensor_split(input, indices_or_sections, axis)
    function.__name__ = name
    function.__doc__ = f":func:`tensor_split` along one axis, in equal pieces. torch: ``{name}``"
    return function


hsplit = _split_along("hsplit", lambda ndim: 0 if ndim == 1 else 1, 1)
vsplit = _split_along("vsplit", lambda ndim: 0, 2)
dsplit = _split_along("dsplit", lambda ndim: 2, 3)


# --- stacking by NumPy's names ---------------------------------------------------------------------------

def hstack(tensors: Any) -> Any:
    """Join along axis 1 (vectors: along axis 0). torch: ``hstack``"""
    parts = [atleast_1d(x) for x in _tensors(tensors, "hstack")]
    return cat(parts, 0 if parts[0]._value.type.ndim == 1 else 1)


def vstack(tensors: Any) -> Any:
    """Join rows. torch: ``vstack``"""
    return cat([atleast_2d(x) for x in _tensors(tensors, "vstack")], 0)


def row_stack(tensors: Any) -> Any:
    """:func:`vstack` by another name. torch: ``row_stack``"""
    return vstack(tensors)


def dstack(tensors: Any) -> Any:
    """Join along axis 2. torch: ``dstack``"""
    return cat([atleast_3d(x) for x in _tensors(tensors, "dstack")], 2)


def column_stack(tensors: Any) -> Any:
    """Join columns: vectors become columns first. torch: ``column_stack``"""
    parts = [x if x._read().type.ndim > 1 else reshape(x, -1, 1) for x in _tensors(tensors, "column_stack")]
    return cat(parts, 1)


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Views of all tensors with their common shape. torch: ``broadcast_tensors``"""
    many = tuple(tensors[0]) if len(tensors) == 1 and tensors[0].__class__ not in TENSOR_CLASSES else tensors
    shape: tuple[int, ...] = ()
    for x in many:
        shape = broadcast_shapes(shape, x._read().type.shape)
    return tuple([broadcast_to(x, shape) for x in many])


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Any, ...]:
    """Coordinates of a grid: one view per axis. ``indexing`` is ``ij`` (default) or ``xy``. torch: ``meshgrid``"""
    many = list(tensors[0]) if len(tensors) == 1 and tensors[0].__class__ not in TENSOR_CLASSES else list(tensors)
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f"torch.meshgrid: indexing must be one of \"xy\" or \"ij\", but received: {indexing}")
    for x in many:
        if x._read().type.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                               f"{list(x._value.type.shape)}")
    swap = indexing == "xy" and len(many) > 1
    if swap:
        many[0], many[1] = many[1], many[0]
    sizes = tuple([x._value.type.size for x in many])
    found = []
    for i, x in enumerate(many):
        column = reshape(x, *[n if j == i else 1 for j, n in enumerate(sizes)])
        found.append(broadcast_to(column, sizes))
    if swap:
        found[0], found[1] = found[1], found[0]
    return tuple(found)


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of the elements of vectors, one per row. torch: ``cartesian_prod``"""
    for x in tensors:
        if x._read().type.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x._value.type.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(x, -1) for x in meshgrid(*tensors, indexing="ij")], 1)


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given matrices along its diagonal. torch: ``block_diag``"""
    if any(x._read().type.ndim > 2 for x in tensors):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions. Received: "
                           f"{[list(x._value.type.shape) for x in tensors]}")
    parts = cast_all([atleast_2d(x) for x in tensors])
    width = sum([x._value.type.shape[1] for x in parts])
    rows, at = [], 0
    for x in parts:
        n = x._value.type.shape[1]
        zero = wrap(scalar(0, x._value.type.dtype))
        rows.append(apply_named("pad", x, zero, attrs=((0, at), (0, width - at - n))))
        at += n
    return cat(rows, 0)


class JoiningMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    split, chunk, unbind = split, chunk, unbind
    tensor_split, hsplit, vsplit, dsplit = tensor_split, hsplit, vsplit, dsplit
    split_with_sizes = split
