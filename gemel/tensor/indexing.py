"""Reading and writing by index: ``x[...]``, gather, scatter, masks."""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.ir.op import Op, op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import TensorType
from .advanced import as_index, check_mask, in_bounds, resolve, result_shape
from .core import TENSOR_CLASSES, check_writable
from .dims import remembered
from .promotion import SCALAR_NAMES, number_tensor
from .recording import apply_named, through
from .storage import Lens, Window, reshape_lens, result_of

__all__ = ["index_put"]


# --- basic indexing: views ---------------------------------------------------------------------------------

def is_basic(item: Any) -> bool:
    """Is ``item`` an int, a slice, None or an ellipsis (and not a bool, a tensor, a list)?"""
    kind = item.__class__
    if kind is int or kind is slice or item is None or item is Ellipsis:
        return True
    return kind is not bool and hasattr(item, "__index__") and kind not in TENSOR_CLASSES and not hasattr(item, "ndim")


def is_position(item: Any) -> bool:
    """Is ``item`` an integer of NumPy's, alone or as an array without axes? It makes a view, as an int does."""
    return isinstance(item, np.integer) or isinstance(item, np.ndarray) and not item.ndim and item.dtype.kind in "iu"


def plain_position(item: Any) -> Any:
    """The int of an integer of NumPy's; anything else is itself."""
    return int(item) if is_position(item) else item


def _too_many(index: Any, ndim: int) -> IndexError:
    return IndexError(f"too many indices for tensor of dimension {ndim}. Received: {index!r}")


#: (shape, index) -> lenses; bounded, since indices of loops come and go
_lenses: dict[tuple, tuple[Lens, ...]] = {}
_MAX_LENSES = 4096


def basic_lenses(index: tuple, shape: tuple[int, ...]) -> tuple[Lens, ...]:
    """The lenses of ``x[index]`` for ints, slices, None and an ellipsis: a window, then a reshape."""
    key = (shape, *[(i.start, i.stop, i.step) if i.__class__ is slice else i for i in index])
    try:
        found = _lenses.get(key)
    except TypeError:  # bounds that do not hash
        return _basic_lenses(index, shape)
    if found is None:
        if len(_lenses) >= _MAX_LENSES:
            _lenses.clear()
        found = _lenses[key] = _basic_lenses(index, shape)
    return found


def _basic_lenses(index: tuple, shape: tuple[int, ...]) -> tuple[Lens, ...]:
    ndim = len(shape)
    used = sum([i is not None and i is not Ellipsis for i in index])
    if used > ndim:
        raise _too_many(index, ndim)
    if index.count(Ellipsis) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    starts, sizes, steps, result = [], [], [], []
    axis = 0
    partial = False
    for item in index:
        if item is None:
            result.append(1)
            continue
        if item is Ellipsis:
            for n in shape[axis:axis + ndim - used]:
                starts.append(0)
                sizes.append(n)
                steps.append(1)
                result.append(n)
            axis += ndim - used
            continue
        n = shape[axis]
        if item.__class__ is slice:
            start, count, step = slice_of(item, n)
            result.append(count)
        else:
            start, count, step = operator.index(item), 1, 1
            if not -n <= start < n:
                raise IndexError(f"index {start} is out of bounds for dimension {axis} with size {n}")
            if start < 0:
                start += n
        starts.append(start)
        sizes.append(count)
        steps.append(step)
        partial = partial or count != n
        axis += 1
    rest = shape[axis:]
    found: list[Lens] = []
    kept = (*sizes, *rest)
    if partial:
        found.append(Window((*starts, *((0,) * len(rest))), kept, (*steps, *((1,) * len(rest)))))
    after = (*result, *rest)
    if after != kept or not found:
        found.append(reshape_lens(kept, after))
    return tuple(found)


def slice_of(item: slice, n: int) -> tuple[int, int, int]:
    """Start, number of elements and step of a slice of an axis of ``n``."""
    step = 1 if item.step is None else operator.index(item.step)
    if step <= 0:
        raise ValueError("step must be greater than zero" if step else "slice step cannot be zero")
    start, stop, step = item.indices(n)
    count = max(0, -(-(stop - start) // step))
    return (start if count else 0), count, (step if count > 1 else 1)


def getitem(self: Any, index: Any) -> Any:
    """``x[index]``: a view for ints, slices, None and ``...``; a copy for tensors, lists and masks.

    Index tensors broadcast against each other; their axes take the place of the indexed ones, or stand in front
    where those are not neighbours. Indexing with a mask waits for the mask: the size of the result depends on it.

    Raises:
        IndexError: out of bounds, too many indices, a mask of the wrong shape. Where the numbers of an index are not
            known yet, the error comes when the result is observed.

    >>> gemel.arange(6).reshape(2, 3)[1, ::2]
    tensor([3, 5])

    torch: ``Tensor.__getitem__``
    """
    items = index if index.__class__ is tuple else (index,)
    for item in items:
        kind = item.__class__
        if kind is not int and kind is not slice and not is_basic(item):
            if is_position(item):
                return getitem(self, tuple(map(plain_position, items)))
            return _get_advanced(self, items)
    return self._view(*basic_lenses(items, self._value.type.shape))


def _base_view(x: Any, basic: tuple) -> Any:
    """The view that the ints, slices and None of an advanced index make; ``x`` where they change nothing."""
    if basic.count(_ALL) == len(basic):
        return x
    return x._view(*basic_lenses(basic, x._value.type.shape))


_ALL = slice(None)


def _get_advanced(x: Any, items: tuple) -> Any:
    shape, last = x._value.type.shape, items[-1]
    if (last.__class__ in TENSOR_CLASSES and last._value.type.dtype is dt.int64 and len(items) <= len(shape)
            and (len(items) == 1 or all(i.__class__ is slice and i == _ALL for i in items[:-1]))):
        # numbers along one axis: the commonest
        axis = len(items) - 1
        in_bounds(last, shape[axis], axis)
        return apply_named("index", x, last, attrs=((axis,), "wrap"))
    found = resolve(items, shape)
    return apply_named("index", _base_view(x, found.basic), *found.indices, attrs=(found.axes, found.bounds))


# --- writing -----------------------------------------------------------------------------------------------

def fitted(value: Any, dtype: dt.DType, shape: tuple[int, ...], what: str = "value") -> Any:
    """``value`` (a number or tensor) as a tensor of ``dtype`` broadcast to ``shape``; extra leading 1s are dropped."""
    if value.__class__ not in TENSOR_CLASSES:
        value = number_tensor(value, dtype)
    return through(_fitting(value._read().type, dtype, shape, what), value)


@remembered
def _fitting(t: TensorType, dtype: dt.DType, shape: tuple[int, ...], what: str) -> list[Op]:
    """What is recorded on a tensor of a type to make it fit."""
    steps = [op(ROWS["cast"], dtype)] if t.dtype is not dtype else []
    old = t.shape
    if old == shape:
        return steps
    lead = len(old) - len(shape)
    if lead > 0 and all(n == 1 for n in old[:lead]):
        old = old[lead:]
        steps.append(op(ROWS["reshape"], old))
    lead = len(shape) - len(old)
    if lead < 0 or any(a not in (1, b) for a, b in zip(old, shape[lead:], strict=True)):
        raise ShapeError(f"shape mismatch: {what} tensor of shape {list(t.shape)} cannot be broadcast to indexing "
                         f"result of shape {list(shape)}")
    return [*steps, op(ROWS["expand"], shape)] if old != shape else steps


def setitem(self: Any, index: Any, value: Any) -> None:
    """``x[index] = value``, in place: seen by all that share the storage.

    ``x[mask] = number`` waits for nothing; ``x[mask] = tensor`` waits for the mask.

    torch: ``Tensor.__setitem__``
    """
    items = index if index.__class__ is tuple else (index,)
    for item in items:
        if not is_basic(item):
            if is_position(item):
                setitem(self, tuple(map(plain_position, items)), value)
            else:
                _set_advanced(self, items, value)
            return
    kind = self._value.type
    lenses = basic_lenses(items, kind.shape)
    shape = result_of(lenses, kind.shape)
    if value.__class__ in TENSOR_CLASSES and value._is_view_through(self, lenses):
        check_writable(self, value)
        return  # ``x[i] += 1`` has already written through the view x[i]
    self._write_part(lenses, fitted(value, kind.dtype, shape))


def _set_advanced(x: Any, items: tuple, value: Any) -> None:
    kind = x._read().type
    mask = _single_mask(items, kind.shape)
    if mask is not None and (value.__class__ not in TENSOR_CLASSES or value._value.type.size == 1):
        value = fitted(value, kind.dtype, ())
        x._write(apply_named("masked_fill", x, _spread(mask, kind.shape), value))
        return
    found = resolve(items, kind.shape)
    view = _base_view(x, found.basic)
    new = put_values(view, found.axes, found.indices, found.bounds, value, "set")
    check_writable(x)
    view._write(new)


def _single_mask(items: tuple, shape: tuple[int, ...]) -> Any:
    """The mask of ``x[mask]`` if that is all there is."""
    if len(items) != 1:
        return None
    item = as_index(items[0])
    if item.__class__ not in TENSOR_CLASSES or item._value.type.dtype is not dt.bool_ or not item._value.type.ndim:
        return None
    if item._value.type.ndim > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    check_mask(item, shape, 0)
    return item


def _spread(mask: Any, shape: tuple[int, ...]) -> Any:
    """A mask over the leading axes as one over all."""
    old = mask._value.type.shape
    if old == shape:
        return mask
    wide = apply_named("reshape", mask, attrs=((*old, *((1,) * (len(shape) - len(old)))),))
    return apply_named("expand", wide, attrs=(shape,))


def put_values(x: Any, axes: tuple[int, ...], indices: list[Any], bounds: str, value: Any, mode: str) -> Any:
    """``x`` with ``value`` set at, or combined with, the indexed elements."""
    kind = x._read().type
    if value.__class__ in TENSOR_CLASSES and value._read().type.dtype is not kind.dtype:
        raise DTypeError(f"Index put requires the source and destination dtypes match, got {SCALAR_NAMES[kind.dtype]} "
                         f"for the destination and {SCALAR_NAMES[value._value.type.dtype]} for the source.")
    target = result_shape(kind.shape, axes, indices[0]._value.type.shape)
    return apply_named("index_put", x, fitted(value, kind.dtype, target), *indices, attrs=(axes, bounds, mode))


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """``input`` with ``values`` at ``indices`` (a tuple of tensors, one per axis; None: the whole axis).

    Args:
        accumulate: add instead of set; an element that is named several times gets every value.

    torch: ``index_put``
    """
    shape = input._read().type.shape
    found = resolve(tuple([slice(None) if i is None else i for i in indices]), shape)
    if not accumulate or input._value.type.dtype is not dt.bool_:
        return put_values(input, found.axes, found.indices, found.bounds, values, "add" if accumulate else "set")
    return put_values(input, found.axes, found.indices, found.bounds, values, "max")


def index_put_(self: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """:func:`index_put` in place. torch: ``Tensor.index_put_``"""
    return self._write(index_put(self, indices, values, accumulate))


class IndexingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    __getitem__, __setitem__ = getitem, setitem
    index_put, index_put_ = index_put, index_put_
