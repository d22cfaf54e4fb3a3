"""Joining and splitting: cat, stack, split, chunk, ..."""
from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.errors import ShapeError
from ..engine.ir.op import Op, op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import Shape, TensorType
from ..engine.runtime.trace import scalar
from .alias import PLAIN, SIBLINGS
from .arranging import atleast_1d, atleast_2d, atleast_3d
from .core import TENSOR_CLASSES
from .dims import numpy_names, remembered, wrap_dim
from .elementwise import deliver
from .movement import broadcast_to, reshape
from .promotion import broadcast_shapes
from .recording import apply, apply_named, through, wrap
from .storage import Lens, reshape_lens, static_lens

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


def _promoted(types: Sequence[TensorType]) -> dt.DType:
    return functools.reduce(dt.promote, [t.dtype for t in types])


def common_dtype(tensors: Sequence[Any]) -> dt.DType:
    """The dtype to which all tensors convert."""
    return _promoted([x._value.type for x in tensors])


def cast_all(tensors: Sequence[Any]) -> list[Any]:
    """The tensors, all of their common dtype."""
    dtype = common_dtype(tensors)
    return [x if x._value.type.dtype is dtype else apply_named("cast", x, attrs=(dtype,)) for x in tensors]


def cat(tensors: Any, dim: Any = None, *, axis: int | None = None, out: Any = None) -> Any:
    """Join tensors along an existing axis (``dim``, or ``axis``; the first by default); dtypes are promoted.

    Raises:
        RuntimeError: sizes differ in another axis than ``dim``.

    >>> gemel.cat([gemel.zeros(2, 3), gemel.ones(1, 3)]).shape
    gemel.Size([3, 3])

    torch: ``cat``
    """
    parts = _tensors(tensors, "cat")
    steps, the_op = _joining(_along("cat", dim, axis), *[x._value.type for x in parts])
    if the_op is None:  # nothing but the one empty tensor
        return deliver(parts[0]._view(reshape_lens((0,), (0,))), out, "cat")
    return deliver(apply(the_op, *map(through, steps, parts)), out, "cat")


def _along(name: str, dim: Any, axis: Any) -> Any:
    """The axis that is named in one of two ways, else the first."""
    dim, _ = numpy_names(name, dim, axis)
    return 0 if dim is None else dim


@remembered
def _joining(dim: int, *types: TensorType) -> tuple[list[list[Op]], Op | None]:
    """What is recorded on each tensor first, and on all of them then."""
    shapes = [t.shape for t in types]
    received = f"Received: {', '.join(str(list(shape)) for shape in shapes)}"
    first = next((shape for shape in shapes if shape != (0,)), (0,))  # torch's legacy: 1-d empty tensors are skipped
    if first == (0,) and len(types) == 1:
        return [], None
    if not first:
        raise RuntimeError(f"zero-dimensional tensor (at position {shapes.index(first)}) cannot be concatenated")
    axis = wrap_dim(dim, len(first)) if first != (0,) else 0
    for n, shape in enumerate(shapes):
        if shape == (0,):
            continue
        if len(shape) != len(first):
            raise ShapeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}. "
                             f"{received}")
        for i, (a, b) in enumerate(zip(first, shape, strict=True)):
            if a != b and i != axis:
                raise ShapeError(f"Sizes of tensors must match except in dimension {axis}. Expected size {a} but got "
                                 f"size {b} for tensor number {n} in the list. {received}")
    dtype = _promoted(types)
    none = (*first[:axis], 0, *first[axis + 1:])
    steps = [([op(ROWS["cast"], dtype)] if t.dtype is not dtype else [])
             + ([op(ROWS["reshape"], none)] if t.shape == (0,) != none else []) for t in types]
    return steps, op(ROWS["cat"], axis)


def concat(tensors: Any, dim: Any = None, *, axis: int | None = None, out: Any = None) -> Any:
    """:func:`cat` by another name. torch: ``concat``"""
    return cat(tensors, dim, axis=axis, out=out)


def concatenate(tensors: Any, dim: Any = None, *, axis: int | None = None, out: Any = None) -> Any:
    """:func:`cat` by NumPy's name. torch: ``concatenate``"""
    return cat(tensors, dim, axis=axis, out=out)


def stack(tensors: Any, dim: Any = None, *, axis: int | None = None, out: Any = None) -> Any:
    """Join tensors of one shape along a new axis (``dim``, or ``axis``; the first by default).

    torch: ``stack``
    """
    parts = _tensors(tensors, "stack")
    steps, the_op = _stacking(_along("stack", dim, axis), *[x._value.type for x in parts])
    return deliver(apply(the_op, *map(through, steps, parts)), out, "stack")


@remembered
def _stacking(dim: int, *types: TensorType) -> tuple[list[list[Op]], Op]:
    """What is recorded on each tensor first, and on all of them then."""
    first = types[0].shape
    axis = wrap_dim(dim, len(first) + 1)
    for n, t in enumerate(types):
        if t.shape != first:
            raise ShapeError(f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                             f"{list(t.shape)} at entry {n}")
    dtype = _promoted(types)
    wider = op(ROWS["reshape"], (*first[:axis], 1, *first[axis:]))
    return [[wider] if t.dtype is dtype else [op(ROWS["cast"], dtype), wider] for t in types], op(ROWS["cat"], axis)


# --- splitting: views --------------------------------------------------------------------------------------

def window(x: Any, axis: int, start: int, stop: int) -> Any:
    """The view ``[start:stop]`` of one axis; its place is part of the program (it follows from shapes)."""
    return x._view(static_lens(x._value.type.shape, axis, start, stop))


def _siblings(x: Any, lenses: Sequence[tuple[Lens, ...]]) -> tuple[Any, ...]:
    """Views that torch's rules for in-place writes call the outputs of one function."""
    parts = tuple([x._view(*one) for one in lenses])
    for part in parts:
        if part._alias.origin == PLAIN:
            part._alias.origin = SIBLINGS
    return parts


def _cut(shape: Shape, axis: int, sizes: Sequence[int]) -> list[tuple[Lens]]:
    """Neighbouring parts of an axis."""
    ends = list(itertools.accumulate(sizes))
    return [(static_lens(shape, axis, end - n, end),) for n, end in zip(sizes, ends, strict=True)]


def _axis(shape: Shape, dim: int, name: str) -> tuple[int, int]:
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
    piece: Any = split_size_or_sections
    find = _sections if isinstance(piece, Sequence) else _pieces
    return _siblings(tensor, find(tensor._value.type.shape, piece, dim))


@remembered
def _sections(shape: Shape, sizes: Sequence[int], dim: int) -> list[tuple[Lens]]:
    axis, size = _axis(shape, dim, "split")
    if any(n < 0 for n in sizes) or sum(sizes) != size:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at "
                           f"dimension {axis}), but got split_sizes={list(sizes)}")
    return _cut(shape, axis, sizes)


@remembered
def _pieces(shape: Shape, piece: int, dim: int) -> list[tuple[Lens]]:
    axis, size = _axis(shape, dim, "split")
    if piece < 0 or (piece == 0 and size):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={piece}" if piece < 0 else
                           f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}")
    return _cut(shape, axis, [min(piece, size - at) for at in range(0, size, piece)] if size else (0,))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """Views of at most ``chunks`` pieces of one size (the last may be smaller).

    torch: ``chunk``
    """
    return _siblings(input, _chunks(input._value.type.shape, chunks, dim))


@remembered
def _chunks(shape: Shape, chunks: int, dim: int) -> list[tuple[Lens]]:
    axis, size = _axis(shape, dim, "chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    piece = -(-size // chunks)
    return _pieces(shape, piece, axis) if piece else _cut(shape, axis, (0,) * chunks)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of all slices along an axis, without that axis.

    torch: ``unbind``
    """
    return _siblings(input, _slices(input._value.type.shape, dim))


@remembered
def _slices(shape: Shape, dim: int) -> list[tuple[Lens, Lens]]:
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis, size = _axis(shape, dim, "unbind")
    drop = reshape_lens((*shape[:axis], 1, *shape[axis + 1:]), (*shape[:axis], *shape[axis + 1:]))
    return [(static_lens(shape, axis, i, i + 1), drop) for i in range(size)]


def tensor_split(input: Any, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None,
                 sections: Any = None) -> tuple[Any, ...]:
    """Views of ``n`` pieces of nearly one size, or of the pieces between indices; either may be named.

    torch: ``tensor_split``
    """
    given = [x for x in (indices_or_sections, indices, sections) if x is not None]
    if len(given) != 1:
        raise TypeError(f"tensor_split() takes indices or a number of sections. Received: {len(given)} of them")
    indices_or_sections = given[0]
    shape = input._value.type.shape
    axis, size = _axis(shape, dim, "tensor_split")
    where = indices_or_sections
    if where.__class__ in TENSOR_CLASSES:
        where = where.tolist()
    if isinstance(where, Sequence):
        cuts = [0, *[min(max(n + size if n < 0 else n, 0), size) for n in where], size]
        return tuple([window(input, axis, a, max(a, b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)])
    if where <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {where}")
    small, more = divmod(size, where)
    return tuple([input._view(*one) for one in _cut(shape, axis, [small + 1] * more + [small] * (where - more))])


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
