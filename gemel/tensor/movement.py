"""Views and copies that move elements: reshape, permute, expand, flip, ...

A view shares the storage of its tensor, as in torch: a write to one is seen by the other. It costs no memory
traffic by itself; whoever reads it reads through it.
"""
from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

from ..engine.base.dtypes import DType
from ..engine.base.errors import UnsupportedError
from ..engine.ir.types import Shape, TensorType, row_major
from ..engine.runtime.trace import scalar
from . import storage
from .alias import Alias
from .core import check_writable, counted
from .dims import infer_size, named, numpy_names, remembered, sizes_of, wrap_dim, wrap_dims
from .recording import apply_named, wrap
from .storage import Lens, Reshape, expand_lens, permute_lens, reshape_lens, sharing, view_strides
from .tape import Accumulate, mode

__all__ = [
    "broadcast_to", "flatten", "matrix_transpose", "movedim", "moveaxis", "permute", "ravel", "reshape", "squeeze",
    "swapaxes", "swapdims", "t", "transpose", "unflatten", "unsqueeze",
]


# --- the stride model ------------------------------------------------------------------------------

def layout_of(x: Any) -> tuple[Shape, int]:
    """Strides and offset in elements, as torch's view of a row-major storage would have them."""
    alias = x._alias
    if alias is None or not alias.lenses:
        return row_major(x._value.type.shape), 0
    return storage.layout_of(alias.lenses, alias.cell.type.shape)


@remembered
def is_row_major(shape: Shape, strides: Shape) -> bool:
    """Do these strides walk memory in row-major order without gaps?"""
    expected = 1
    if 0 in shape:
        return True
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if s != expected:
                return False
            expected *= n
    return True


def stride(self: Any, dim: int | None = None) -> Any:
    """The strides of this view of its storage, in elements; results of operations are row-major.

    torch: ``Tensor.stride``
    """
    strides, _ = layout_of(self)
    return strides if dim is None else strides[wrap_dim(dim, len(strides))]


def storage_offset(self: Any) -> int:
    """Where this view starts in its storage, in elements. torch: ``Tensor.storage_offset``"""
    return layout_of(self)[1]


def is_contiguous(self: Any, memory_format: Any = None) -> bool:
    """Is this view row-major without gaps? torch: ``Tensor.is_contiguous``"""
    return is_row_major(self._value.type.shape, layout_of(self)[0])


def contiguous(self: Any, memory_format: Any = None) -> Any:
    """This tensor if it is row-major, else a copy that is. torch: ``Tensor.contiguous``"""
    alias = self._alias
    return self if alias is None or not alias.lenses or is_contiguous(self) else apply_named("copy", self)


# --- reshape and its kin ------------------------------------------------------------------------------

def _reshaped(x: Any, shape: Shape) -> Any:
    """A view of ``x`` as ``shape`` (which fits), or a copy where strides can't express it."""
    old = x._value.type.shape
    alias = x._alias
    if alias is not None and alias.lenses and view_strides(old, layout_of(x)[0], shape) is None:
        return apply_named("reshape", x, attrs=(shape,))
    return x._view(reshape_lens(old, shape))


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Any:
    """The same elements in row-major order as another shape: a view where possible, else a copy.

    Args:
        sizes: one of them may be -1, which is then inferred; ``shape`` names them.
    Raises:
        RuntimeError: the sizes do not hold the same number of elements.

    >>> gemel.arange(6).reshape(2, -1).shape
    gemel.Size([2, 3])

    torch: ``reshape``
    """
    kind, alias = input._value.type, input._alias
    if shape is not None:
        sizes = named("reshape", "shape", sizes, shape)
    lens = _reshaping(kind, sizes_of(sizes, "reshape"))
    return input._view(lens) if alias is None or not alias.lenses else _reshaped(input, lens.result(kind.shape))


@functools.lru_cache(4096)
def _reshaping(kind: TensorType, sizes: Shape) -> Reshape:
    """The lens that shows a tensor of a type as sizes of which one may be -1."""
    return reshape_lens(kind.shape, infer_size(sizes, kind.size, kind.shape))


def view(self: Any, *shape: Any, size: Any = None, dtype: DType | None = None) -> Any:
    """A view with another shape (``size``), or (given a ``dtype``) the same bits as another element type.

    Raises:
        RuntimeError: the sizes do not fit, or this tensor's strides can't express them (use ``reshape``).

    torch: ``Tensor.view``
    """
    kind = self._value.type
    if size is not None or dtype is not None:
        shape = named("view", "size" if dtype is None else "dtype", shape, size if dtype is None else dtype)
    if len(shape) == 1 and shape[0].__class__ is DType:
        return _view_bits(self, shape[0])
    lens = _reshaping(kind, sizes_of(shape, "view"))
    alias = self._alias
    if alias is not None and alias.lenses and view_strides(
            kind.shape, layout_of(self)[0], new := lens.result(kind.shape)) is None:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension "
                           "spans across two contiguous subspaces). Use .reshape(...) instead. "
                           f"Received: a tensor of shape {list(kind.shape)} and strides {layout_of(self)[0]}, "
                           f"viewed as {list(new)}")
    return self._view(lens)


def _view_bits(x: Any, dtype: DType) -> Any:
    old = x._value.type.dtype
    if old is dtype:
        return x._view(reshape_lens(x._value.type.shape, x._value.type.shape))
    if old.bits != dtype.bits or "b" in (old.kind, dtype.kind):
        raise UnsupportedError(f"view(dtype) between types of different width, or of bool, is not implemented. "
                               f"Received: {old!r} to {dtype!r}")
    return x._bits(dtype)


def view_as(self: Any, other: Any) -> Any:
    """``self.view(other.shape)``. torch: ``Tensor.view_as``"""
    return view(self, *other._value.type.shape)


def reshape_as(self: Any, other: Any) -> Any:
    """``self.reshape(other.shape)``. torch: ``Tensor.reshape_as``"""
    return reshape(self, other._value.type.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Join the axes from ``start_dim`` to ``end_dim`` (included) into one; a 0-d tensor becomes 1-d.

    torch: ``flatten``
    """
    shape = input._value.type.shape
    new = _flattened(shape, start_dim, end_dim)
    return input if new == shape else _reshaped(input, new)


@remembered
def _flattened(shape: Shape, start_dim: int, end_dim: int) -> Shape:
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError(f"flatten() has invalid args: start_dim cannot come after end_dim. "
                           f"Received: start_dim={start_dim}, end_dim={end_dim} for shape {list(shape)}")
    return (*shape[:start], math.prod(shape[start:end + 1]), *shape[end + 1:]) if shape else (1,)


def ravel(input: Any) -> Any:
    """All elements in row-major order, as one axis. torch: ``ravel``"""
    return _reshaped(input, (input._value.type.size,))


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Split axis ``dim`` into axes of ``sizes`` (one may be -1).

    torch: ``unflatten``
    """
    shape = input._value.type.shape
    d = wrap_dim(dim, len(shape))
    sizes = tuple(sizes)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = 1
    for n in sizes:
        known *= n if n != -1 else 1
    if sizes.count(-1) == 1 and known and shape[d] % known == 0:
        sizes = tuple([shape[d] // known if n == -1 else n for n in sizes])
        known = shape[d]
    if known != shape[d] or -1 in sizes:
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
                           f"({shape[d]}) in the input tensor. Received a tensor of shape {list(shape)}")
    return _reshaped(input, (*shape[:d], *sizes, *shape[d + 1:]))


def squeeze(input: Any, dim: int | Sequence[int] | None = None) -> Any:
    """Drop axes of size 1: all, or those named that have it.

    torch: ``squeeze``
    """
    if isinstance(dim, Sequence):
        dim = list(dim)
    return input._view(_squeezing(input._value.type.shape, dim))


@remembered
def _squeezing(shape: Shape, dim: int | list[int] | None) -> Lens:
    axes = range(len(shape)) if dim is None else wrap_dims(dim, len(shape))
    return reshape_lens(shape, tuple([n for i, n in enumerate(shape) if n != 1 or i not in axes]))


def unsqueeze(input: Any, dim: Any = None, *, axis: int | None = None) -> Any:
    """Insert an axis of size 1 at ``dim`` (or ``axis``). torch: ``unsqueeze``"""
    if axis is not None:
        dim, _ = numpy_names("unsqueeze", dim, axis)
    return input._view(_unsqueezing(input._value.type.shape, dim))


@remembered
def _unsqueezing(shape: Shape, dim: int) -> Lens:
    d = wrap_dim(dim, len(shape) + 1)
    return reshape_lens(shape, (*shape[:d], 1, *shape[d:]))


# --- order of axes -------------------------------------------------------------------------------------

def _permuted(x: Any, axes: Sequence[int]) -> Any:
    return x._view(permute_lens(tuple(axes)))


def permute(input: Any, *axes: Any, dims: Any = None) -> Any:
    """A view whose axis ``i`` is axis ``axes[i]`` of ``input``; ``dims`` names them.

    >>> gemel.zeros(2, 3, 4).permute(2, 0, 1).shape
    gemel.Size([4, 2, 3])

    torch: ``permute``
    """
    if dims is not None:
        axes = named("permute", "dims", axes, dims)
    return input._view(_permuting(sizes_of(axes, "permute"), input._value.type.ndim))


@remembered
def _permuting(given: tuple[int, ...], ndim: int) -> Lens:
    if len(given) != ndim:
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not match the length "
                           f"of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal to "
                           f"len(dims) = {len(given)}")
    axes = tuple([wrap_dim(d, ndim) for d in given])
    if len(set(axes)) != ndim:
        raise RuntimeError(f"permute(): duplicate dims are not allowed. Received: {given}")
    return permute_lens(axes)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """A view with two axes exchanged. torch: ``transpose``"""
    return input._view(_exchanging(input._value.type.ndim, dim0, dim1))


@remembered
def _exchanging(ndim: int, dim0: int, dim1: int) -> Lens:
    a, b = wrap_dim(dim0, ndim), wrap_dim(dim1, ndim)
    axes = list(range(ndim))
    if ndim:
        axes[a], axes[b] = b, a
    return permute_lens(tuple(axes))


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """:func:`transpose` by NumPy's name. torch: ``swapaxes``"""
    return transpose(input, axis0, axis1)


def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """:func:`transpose` by another name. torch: ``swapdims``"""
    return transpose(input, dim0, dim1)


def t(input: Any) -> Any:
    """The transpose of a matrix; tensors of less than two axes are unchanged. torch: ``t``"""
    ndim = input._value.type.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return input._view(_reversing(ndim))


@remembered
def _reversing(ndim: int) -> Lens:
    return permute_lens(tuple(range(ndim))[::-1])


def matrix_transpose(input: Any) -> Any:
    """A view with the last two axes exchanged. torch: ``Tensor.mT``"""
    ndim = input._value.type.ndim
    if ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor.")
    return transpose(input, -2, -1)


def _reversed(self: Any) -> Any:
    """All axes in reverse order (of a matrix: the transpose). torch: ``Tensor.T``"""
    return self._view(_reversing(self._value.type.ndim))


def movedim(input: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Move axes ``source`` to ``destination``; the others keep their order. torch: ``movedim``"""
    ndim = input._value.type.ndim
    one = not isinstance(source, Sequence)
    if one != (not isinstance(destination, Sequence)) or (not one and len(source) != len(destination)):  # type: ignore
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({source} dims) should contain the "
                           f"same number of dims as destination ({destination} dims)")
    frm, to = wrap_dims(source, ndim), wrap_dims(destination, ndim)
    rest = iter([i for i in range(ndim) if i not in frm])
    placed = dict(zip(to, frm, strict=True))
    return _permuted(input, [placed[i] if i in placed else next(rest) for i in range(ndim)])


def moveaxis(input: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """:func:`movedim` by NumPy's name. torch: ``moveaxis``"""
    return movedim(input, source, destination)


# --- broadcasting -----------------------------------------------------------------------------------------

def expand(self: Any, *sizes: Any, size: Any = None, implicit: bool = False) -> Any:
    """A view that repeats axes of size 1 (and new leading axes) without copying; it can't be written.

    Args:
        sizes: the new sizes; -1 keeps a size; ``size`` names them.

    torch: ``Tensor.expand``
    """
    if size is not None:
        sizes = named("expand", "size", sizes, size)
    return self._view(_expanding(sizes_of(sizes, "expand"), self._value.type.shape))


@remembered
def _expanding(new: Shape, shape: Shape) -> Lens:
    lead = len(new) - len(shape)
    if lead < 0:
        raise RuntimeError(f"expand({list(new)}, size={list(shape)}): the number of sizes provided ({len(new)}) must "
                           f"be greater or equal to the number of dimensions in the tensor ({len(shape)})")
    found = []
    for i, n in enumerate(new):
        old = shape[i - lead] if i >= lead else None
        if n == -1:
            if old is None:
                raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing "
                                   f"dimension {i}. Received: sizes {list(new)} for shape {list(shape)}")
            n = old
        elif old is not None and old != n and old != 1:
            raise RuntimeError(f"The expanded size of the tensor ({n}) must match the existing size ({old}) at "
                               f"non-singleton dimension {i}.  Target sizes: {list(new)}.  Tensor sizes: {list(shape)}")
        elif n < 0:
            raise RuntimeError(f"expand: invalid size {n} at dimension {i}. Received: sizes {list(new)}")
        found.append(n)
    target = tuple(found)
    return reshape_lens(shape, shape) if target == shape else expand_lens(target)


def broadcast_to(input: Any, size: Sequence[int]) -> Any:
    """:func:`Tensor.expand` to ``size``. torch: ``broadcast_to``"""
    return expand(input, *size)


def expand_as(self: Any, other: Any) -> Any:
    """``self.expand(other.shape)``. torch: ``Tensor.expand_as``"""
    return expand(self, *other._value.type.shape)


# --- in place: the tensor itself becomes another view of its storage -------------------------------------------

def _becoming(function: Any, name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(self)
        before = self._shared()
        cell, domain = before.cell, before.domain
        counted(cell)
        grad, mode.grad = mode.grad, True  # it keeps its place on the tape
        try:
            other = function(self, *args, **kwargs)
        finally:
            mode.grad = grad
        edge, lenses = other._edge, other._alias.lenses
        leaf = isinstance(self._edge, Accumulate)
        if leaf:
            same = other._value.type is self._value.type and layout_of(other) == layout_of(self)
            edge = self._edge if same else self._edge.turned(other._value.type, name)
        if before.is_base:
            _move_base(before, lenses, edge, (self, other))
        self._value, self._edge = other._value, edge
        self._alias = Alias(cell, lenses, other._alias.seen, domain, before.origin)
        cell.join(self)
        return self
    method.__name__ = name
    method.__doc__ = f":func:`{name[:-1]}` in place: this tensor becomes the view. torch: ``Tensor.{name}``"
    return method


def _move_base(before: Alias, lenses: tuple[Lens, ...], edge: Any, apart: tuple) -> None:
    """Let the base of a domain be what ``lenses`` show; its other tensors (but those ``apart``) are views of that."""
    domain, cell = before.domain, before.cell
    depth, added = domain.depth, lenses[len(before.lenses):]
    with sharing:
        others = [t for t in cell.alive() if t._alias.domain is domain and not any(t is x for x in apart)]
        if others and not all(lens.covers for lens in added):
            return  # they show what it no longer does: it is a view like they are
        back = tuple(lens.inverse() for lens in reversed(added)) if others else ()
        for t in others:
            old = t._alias
            t._alias = Alias(cell, (*lenses, *back, *old.lenses[depth:]), old.seen, domain, old.origin)
        domain.edge, domain.depth = edge, len(lenses)


def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
    """Give the tensor another shape, with its elements in row-major order; what is new is zero.

    A tensor that becomes larger leaves the storage that it shares with others.

    torch: ``Tensor.resize_``
    """
    new = sizes_of(sizes, "resize_")
    kind = self._read().type
    if self._edge is not None:
        raise RuntimeError("cannot resize variables that require grad")
    size = 1
    for n in new:
        size *= n
    flat = reshape(self, -1)
    if size <= kind.size:
        other = reshape(flat[:size], new)
    else:
        with_zeros = apply_named("pad", flat, wrap(scalar(0, kind.dtype)), attrs=((0,), (size - kind.size,)))
        other = apply_named("reshape", with_zeros, attrs=(new,))
    self._value, self._alias = other._value, other._alias
    if other._alias is not None:
        other._alias.cell.join(self)
    return self


class MovementMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    stride, storage_offset, is_contiguous, contiguous = stride, storage_offset, is_contiguous, contiguous
    reshape, view, view_as, reshape_as = reshape, view, view_as, reshape_as
    flatten, ravel, unflatten, squeeze, unsqueeze = flatten, ravel, unflatten, squeeze, unsqueeze
    permute, transpose, swapaxes, swapdims, t = permute, transpose, swapaxes, swapdims, t
    movedim, moveaxis = movedim, moveaxis
    expand, broadcast_to, expand_as = expand, broadcast_to, expand_as
    transpose_, t_, swapaxes_ = _becoming(transpose, "transpose_"), _becoming(t, "t_"), _becoming(swapaxes, "swapaxes_")
    swapdims_ = _becoming(swapdims, "swapdims_")
    squeeze_, unsqueeze_ = _becoming(squeeze, "squeeze_"), _becoming(unsqueeze, "unsqueeze_")
    resize_ = resize_
    T = builtins.property(_reversed)
    mT = builtins.property(matrix_transpose)
