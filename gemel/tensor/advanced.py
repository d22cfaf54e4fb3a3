"""Indices that are tensors, lists or masks: from what users write to axes and positions.

Ints, slices, None and ``...`` are applied first, as a view; what is left are index tensors on some of its axes.
A mask stands for the positions where it holds: as many index tensors as it has axes.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import ShapeError
from ..engine.device.memory import Buffer
from ..engine.runtime import executor
from ..engine.runtime.trace import local
from .core import TENSOR_CLASSES, from_array
from .recording import apply_named, wrap

SMALL = 1 << 14  # elements of an index in memory that are looked at when it is used


class Advanced:
    """What an index means for a view of the tensor.

    Attributes:
        basic: the ints, slices and None that make the view. axes: axes of the view that are indexed.
        indices: one int tensor per axis, all of one shape. bounds: what still has to be checked (see ``composites``).
    """

    __slots__ = ("basic", "axes", "indices", "bounds")

    def __init__(self, basic: tuple, axes: tuple[int, ...], indices: list[Any], bounds: str) -> None:
        self.basic, self.axes, self.indices, self.bounds = basic, axes, indices, bounds


def as_index(item: Any) -> Any:
    """A list, array, bool or tensor as a tensor, or a NumPy array where the numbers are known."""
    if item.__class__ in TENSOR_CLASSES or item.__class__ is bool:
        return item
    if isinstance(item, (list, tuple)) and any(x.__class__ in TENSOR_CLASSES for x in item):
        from .joining import stack
        return stack([x if x.__class__ in TENSOR_CLASSES else wrap(from_array(np.asarray(x))) for x in item])
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise IndexError(f"an index must be a rectangular sequence of ints or bools. Received: {item!r}") from error
    if array.size == 0 and not isinstance(item, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise IndexError("only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
                         f"indices. Received: {item!r}")
    if isinstance(item, np.integer):  # also a np.uint8 is a position, not a mask
        array = array.astype(np.int64)
    return array


def is_mask(item: Any) -> bool:
    """Is this index a mask (bool, or torch's older uint8)?"""
    if item.__class__ is bool:
        return True
    if item.__class__ in TENSOR_CLASSES:
        return item._value.type.dtype in (dt.bool_, dt.uint8)
    return item.dtype.kind == "b" or item.dtype == np.uint8


def shape_of(item: Any) -> tuple[int, ...]:
    return () if item.__class__ is bool else item._value.type.shape if item.__class__ in TENSOR_CLASSES else item.shape


def known_mask(mask: Any, reason: str) -> np.ndarray:
    """The bits of a mask: a synchronisation where it is a tensor."""
    if mask.__class__ in TENSOR_CLASSES:
        return np.asarray(executor.observe(mask._read(), reason)).astype(bool)
    return np.asarray(mask, bool)


def check_mask(mask: Any, shape: tuple[int, ...], axis: int) -> None:
    """A mask has the sizes of the axes that it stands for."""
    of = shape_of(mask)
    for i, n in enumerate(of):
        if axis + i >= len(shape) or n != shape[axis + i]:
            raise IndexError(f"The shape of the mask {list(of)} at index {i} does not match the shape of the indexed "
                             f"tensor {list(shape)} at index {axis + i}")


def resolve(items: tuple, shape: tuple[int, ...]) -> Advanced:
    """Split an index into a view and index tensors; masks are read here.

    Raises:
        IndexError: too many indices, a mask or an index that does not fit, a number out of bounds.
    """
    from .indexing import is_basic
    items = tuple([i if is_basic(i) else as_index(i) for i in items])
    used = sum([0 if i is None or i is Ellipsis else 1 if is_basic(i) or not is_mask(i) else len(shape_of(i))
                for i in items])
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    if sum([i is Ellipsis for i in items]) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    basic: list[Any] = []
    axes: list[int] = []
    indices: list[Any] = []
    axis, out = 0, 0  # axis of the tensor, axis of the view
    for item in items:
        if item is Ellipsis:
            free = len(shape) - used
            basic += [slice(None)] * free
            axis, out = axis + free, out + free
        elif item is None:
            basic.append(None)
            out += 1
        elif item.__class__ is slice:
            basic.append(item)
            axis, out = axis + 1, out + 1
        elif is_basic(item):
            basic.append(item)
            axis += 1
        elif is_mask(item):
            check_mask(item, shape, axis)
            rank = len(shape_of(item))
            bits = known_mask(item, "indexing with a mask")
            if not rank:  # x[True]: a new axis of size 1; x[False]: of size 0
                basic.append(None)
                axes.append(out)
                indices.append(np.zeros(int(bool(bits)), np.int64))
                out += 1
                continue
            basic += [slice(None)] * rank
            axes += range(out, out + rank)
            indices += np.nonzero(bits)
            axis, out = axis + rank, out + rank
        else:
            basic.append(slice(None))
            axes.append(out)
            indices.append(in_bounds(item, shape[axis], axis))
            axis, out = axis + 1, out + 1
    known = all(isinstance(i, np.ndarray) for i in indices)
    return Advanced(tuple(basic), tuple(axes), _broadcast(indices), "none" if known else "wrap")


def in_bounds(index: Any, n: int, axis: int) -> Any:
    """An index whose numbers are at hand is checked at once, and is then an array of positions."""
    numbers = index
    if index.__class__ in TENSOR_CLASSES:
        value = index._read()
        if not value.type.dtype.is_integer:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors. "
                             f"Received: {value.type.dtype!r}")
        numbers = ready_numbers(value)
        if numbers is None:
            return index
    outside = out_of(numbers, -n, n)
    if outside is not None:
        raise IndexError(f"index {outside} is out of bounds for dimension {axis} with size {n}")
    if index is numbers and numbers.size:
        return np.where(numbers < 0, numbers + n, numbers).astype(np.int64)
    return numbers.astype(np.int64) if index is numbers else index


def ready_numbers(value: Any) -> np.ndarray | None:
    """The numbers of a small value that is in memory already; None where looking would mean waiting."""
    if value.buffer is None or value.type.size > SMALL or local.capture is not None:
        return None
    return executor.to_array(value.buffer, value.type, value.form) if value.buffer.__class__ is Buffer \
        else np.asarray(value.buffer)


def out_of(numbers: np.ndarray, low: int, high: int) -> int | None:
    """A number that is not in [low, high), or None."""
    if not numbers.size:
        return None
    most = int(np.maximum.reduce(numbers, None))
    if most >= high:
        return most
    least = int(np.minimum.reduce(numbers, None)) if numbers.dtype.kind != "u" else low
    return least if least < low else None


def _broadcast(indices: list[Any]) -> list[Any]:
    """All indices as tensors of their common shape."""
    shapes = [shape_of(i) for i in indices]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError("shape mismatch: indexing tensors could not be broadcast together with shapes "
                         f"{', '.join(str(list(s)) for s in shapes)}") from None
    found = []
    for i in indices:
        t = i if i.__class__ in TENSOR_CLASSES else wrap(from_array(np.asarray(i, order="C")))
        found.append(t if t._value.type.shape == shape else apply_named("expand", t, attrs=(shape,)))
    return found


def result_shape(shape: tuple[int, ...], axes: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of ``index`` on ``axes`` of ``shape``."""
    first = axes[0]
    if axes == tuple(range(first, first + len(axes))):
        return (*shape[:first], *index, *shape[first + len(axes):])
    return (*index, *[n for i, n in enumerate(shape) if i not in axes])


def fits(shape: tuple[int, ...], target: tuple[int, ...], what: str) -> None:
    """Can a tensor of ``shape`` be broadcast to ``target``?"""
    lead = len(target) - len(shape)
    if lead < 0 or any(a not in (1, b) for a, b in zip(shape, target[lead:], strict=True)):
        raise ShapeError(f"{what}: shape {list(shape)} cannot be broadcast to {list(target)}")
