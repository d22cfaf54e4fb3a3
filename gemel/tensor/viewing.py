"""Views and copies under torch's less common names, and walks over tensors."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.runtime import executor
from . import arranging, joining, movement, promotion
from .alias import Alias
from .core import TENSOR_CLASSES, base_of, from_array
from .devices import Size
from .dims import sizes_of
from .indexing import index_put_
from .masking import nonzero
from .recording import apply_named, wrap
from .scattering import put
from .writing import fill_, zero_

__all__ = [
    "adjoint", "alias_copy", "as_strided_", "as_strided_copy", "as_strided_scatter", "broadcast_shapes",
    "combinations", "detach", "detach_", "detach_copy", "diagonal_copy", "expand_copy", "fill", "fill_",
    "index_put_", "is_same_size", "nonzero_static", "permute_copy", "put", "resize_as_", "select_copy", "slice_copy",
    "split_copy", "split_with_sizes", "split_with_sizes_copy", "squeeze_copy", "t_copy", "transpose_copy",
    "unbind_copy", "unravel_index", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze_copy",
    "view_copy", "zero_",
]


# --- views as copies ------------------------------------------------------------------------------------------

def _copied(view: Callable[..., Any], name: str) -> Any:
    """The function ``view`` whose results are copies."""
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        found = view(input, *args, **kwargs)
        if isinstance(found, tuple):
            return tuple([apply_named("copy", x) for x in found])
        return apply_named("copy", found)
    function.__name__ = name
    function.__doc__ = f":func:`{name.removesuffix('_copy')}` as a copy. torch: ``{name}``"
    return function


def _slice(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    axis = movement.wrap_dim(dim, input._read().type.ndim)
    return input[(*((slice(None),) * axis), slice(start, end, step))]


alias_copy = _copied(lambda x: x, "alias_copy")
as_strided_copy = _copied(arranging.as_strided, "as_strided_copy")
detach_copy = _copied(lambda x: x.detach(), "detach_copy")
diagonal_copy = _copied(arranging.diagonal, "diagonal_copy")
expand_copy = _copied(movement.expand, "expand_copy")
permute_copy = _copied(movement.permute, "permute_copy")
select_copy = _copied(arranging.select, "select_copy")
slice_copy = _copied(_slice, "slice_copy")
split_copy = _copied(joining.split, "split_copy")
split_with_sizes_copy = _copied(joining.split, "split_with_sizes_copy")
squeeze_copy = _copied(movement.squeeze, "squeeze_copy")
t_copy = _copied(movement.t, "t_copy")
transpose_copy = _copied(movement.transpose, "transpose_copy")
unbind_copy = _copied(joining.unbind, "unbind_copy")
unsqueeze_copy = _copied(movement.unsqueeze, "unsqueeze_copy")
view_copy = _copied(movement.view, "view_copy")


def unsafe_split(tensor: Any, split_size: int, dim: int = 0) -> tuple[Any, ...]:
    """:func:`split` into copies, which may be written in place. torch: ``unsafe_split``"""
    return split_copy(tensor, split_size, dim)


def unsafe_split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """:func:`split` by sizes into copies, which may be written in place. torch: ``unsafe_split_with_sizes``"""
    return split_copy(input, split_sizes, dim)


def unsafe_chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """:func:`chunk` into copies, which may be written in place. torch: ``unsafe_chunk``"""
    return tuple([apply_named("copy", x) for x in joining.chunk(input, chunks, dim)])


def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """:func:`split` by sizes. torch: ``split_with_sizes``"""
    return joining.split(input, list(split_sizes), dim)


# --- in place -----------------------------------------------------------------------------------------------------

def as_strided_(self: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """:func:`as_strided` in place: this tensor becomes the view. torch: ``Tensor.as_strided_``"""
    return _AS_STRIDED(self, size, stride, storage_offset)


_AS_STRIDED = movement._becoming(arranging.as_strided, "as_strided_")


def as_strided_scatter(input: Any, src: Any, size: Sequence[int], stride: Sequence[int],
                       storage_offset: int | None = None) -> Any:
    """A copy of ``input`` with what :func:`as_strided` shows replaced by ``src``. torch: ``as_strided_scatter``"""
    out = apply_named("copy", input)
    part = arranging.as_strided(out, size, stride, storage_offset)
    arranging._same_shape(part, src, "as_strided_scatter")
    part._write(src)
    return out


def resize_as_(self: Any, the_template: Any, *, memory_format: Any = None) -> Any:
    """:meth:`Tensor.resize_` to the shape of another tensor. torch: ``Tensor.resize_as_``"""
    return movement.resize_(self, the_template._value.type.shape)


def detach(input: Any) -> Any:
    """The same storage, off the tape. torch: ``detach``"""
    return input.detach()


def detach_(input: Any) -> Any:
    """Take a tensor off the tape in place. torch: ``detach_``"""
    return input.detach_()


def fill(input: Any, value: Any) -> Any:
    """A tensor like ``input`` with every element ``value``. torch: ``fill``"""
    return fill_(apply_named("copy", input), value)


# --- shapes ---------------------------------------------------------------------------------------------------------

def broadcast_shapes(*shapes: Any) -> Size:
    """The common shape of several shapes, right-aligned.

    >>> gemel.broadcast_shapes((2, 1), (3,))
    gemel.Size([2, 3])

    torch: ``broadcast_shapes``
    """
    found: tuple[int, ...] = ()
    for shape in shapes:
        found = promotion.broadcast_shapes(found, (shape,) if isinstance(shape, int) else tuple(shape))
    return Size(found)


def sum_to_size(self: Any, *size: Any) -> Any:
    """The sum over the axes along which ``size`` would broadcast to this shape. torch: ``Tensor.sum_to_size``"""
    target, shape = sizes_of(size, "sum_to_size"), self._read().type.shape
    lead = len(shape) - len(target)
    if lead < 0 or any(n not in (1, m) for n, m in zip(target, shape[lead:], strict=True)):
        raise RuntimeError(f"size {{{list(target)}}} is not expandable to size {{{list(shape)}}}.")
    axes = [*range(lead), *(i + lead for i, n in enumerate(target) if n == 1 and shape[i + lead] != 1)]
    return movement.reshape(self.sum(axes) if axes else self, target)


def is_same_size(input: Any, other: Any) -> bool:
    """Do two tensors have the same shape? torch: ``is_same_size``"""
    return input._read().type.shape == other._read().type.shape


def dim_order(self: Any, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The axes in the order in which memory walks them, slowest first. torch: ``Tensor.dim_order``"""
    strides = movement.layout_of(self)[0]
    return tuple(sorted(range(len(strides)), key=lambda i: -strides[i]))


def adjoint(input: Any) -> Any:
    """The last two axes exchanged, complex numbers conjugated. torch: ``adjoint``"""
    found = movement.matrix_transpose(input)
    return apply_named("conj", found) if input._value.type.dtype.kind == "c" else found


def _hermitian(self: Any) -> Any:
    """The conjugate transpose of a matrix. torch: ``Tensor.H``"""
    ndim = self._read().type.ndim
    if ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor.")
    return adjoint(self) if ndim else self


# --- positions --------------------------------------------------------------------------------------------------------

def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Positions in a flattened tensor of ``shape`` as one index per axis.

    Raises:
        TypeError: the indices are no integers. ValueError: one lies outside.

    torch: ``unravel_index``
    """
    if not indices._read().type.dtype.is_integer:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices._value.type.dtype!r}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    at = promotion.cast(indices, dt.int64)
    found = []
    for n in reversed(sizes):
        found.append(at % n)
        at = at // n
    return tuple(reversed(found))


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of ``r`` elements of a vector, in order, one per row.

    >>> gemel.combinations(gemel.arange(3)).tolist()
    [[0, 1], [0, 2], [1, 2]]

    torch: ``combinations``
    """
    if input._read().type.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._value.type.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return movement.reshape(input[:0], (0,))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input._value.type.size), r)), np.int64).reshape(-1, r)
    return input[wrap(from_array(rows))]


def nonzero_static(input: Any, *, size: int, fill_value: int = -1) -> Any:
    """:func:`nonzero` with exactly ``size`` rows: cut, or filled with ``fill_value``. torch: ``nonzero_static``"""
    found = nonzero(input)
    rows, ndim = found._value.type.shape
    if rows >= size:
        return found[:size]
    rest = wrap(from_array(np.full((size - rows, ndim), fill_value, np.int64)))
    return joining.cat([found, rest], 0)


# --- walks ----------------------------------------------------------------------------------------------------------

def _iterate(self: Any) -> Iterator[Any]:
    """The slices along the first axis."""
    if not self._read().type.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(joining.unbind(self, 0))


def _reversed(self: Any) -> Any:
    """A copy reversed along the first axis."""
    return arranging.flip(self, 0) if self._read().type.ndim else self


def _contains(self: Any, element: Any) -> bool:
    """Does any element equal ``element`` (a number or a tensor)?"""
    if element.__class__ not in TENSOR_CLASSES and not promotion.is_number(element):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool((self == element).any())


def _by_element(name: str, others: int) -> Any:
    def method(self: Any, *args: Any) -> Any:
        *tensors, function = args
        if len(tensors) != others:
            raise TypeError(f"{name}() takes {others + 1} arguments ({len(args)} given)")
        arrays = [np.asarray(executor.observe(t._read(), f"{name}()")) for t in (self, *tensors)]
        found = [function(*[x.item() for x in row]) for row in zip(*[
            np.broadcast_to(a, arrays[0].shape).reshape(-1) for a in arrays], strict=True)]
        return self._write(wrap(from_array(np.array(found, arrays[0].dtype).reshape(arrays[0].shape))))
    method.__name__ = name
    method.__doc__ = (f"Replace each element by what a Python function gives for it (slow: for experiments). torch: "
                      f"``Tensor.{name}``")
    return method


class ViewingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    as_strided_, as_strided_scatter, resize_as_ = as_strided_, as_strided_scatter, resize_as_
    sum_to_size, is_same_size, dim_order, adjoint = sum_to_size, is_same_size, dim_order, adjoint
    unsafe_split, unsafe_split_with_sizes, unsafe_chunk = unsafe_split, unsafe_split_with_sizes, unsafe_chunk
    nonzero_static = nonzero_static
    __iter__, __reversed__, __contains__ = _iterate, _reversed, _contains
    apply_, map_, map2_ = _by_element("apply_", 0), _by_element("map_", 1), _by_element("map2_", 2)
    H = property(_hermitian)
    mH = property(adjoint)

    def _is_view(self: Any) -> bool:
        """Is this tensor a view of another?"""
        alias: Alias | None = self._alias
        return alias is not None and alias.is_view

    @property
    def _base(self: Any) -> Any:
        """The tensor that this one is a view of; None if it is no view."""
        return base_of(self._alias.cell) if self._is_view() else None
