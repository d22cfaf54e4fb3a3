"""Storage cells and views: how tensors share memory and see each other's writes.

A *cell* holds the functional value of a whole storage. A tensor is either alone (no cell: nobody shares its
storage), the base of a cell, or a view: a chain of *lenses* from the base. Reading a view applies the lenses;
writing it rebinds the cell to an updated value, through the lenses backwards. Earlier readers keep the old value,
which is immutable. Whether memory is reused is the planner's business.
"""
from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import UnsupportedError
from ..engine.base.forks import fork_lock
from ..engine.ir.builder import constant_op
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import Shape, TensorType, row_major, tensor_type

SMALL = 4096  # elements of a strided view whose places are compared one by one
#: held while it changes who shares a storage, what the storage holds, or whether others see its memory; nothing is
#: computed meanwhile, and what is replaced is kept until it is given back: dropping a value may run anything
sharing = fork_lock("sharing", threading.RLock())


class CellRef(weakref.ref):
    """A weak reference to a cell, with its count of tracked writes, which outlives it.

    What has been saved for a backward pass is known to have been written since, whether or not its tensor is gone.
    """

    __slots__ = ("tracked",)
    tracked: int


class Cell:
    """A storage that several tensors share, or that has been written in place.

    Attributes:
        type: of the base.
        value: the current functional value of the base; None until the first write: the base tensor holds it.
        version: number of writes. tracked: number of writes that autograd counts (not those through ``.data``).
        foreign: memory that others see too (``from_numpy``, ``numpy()``), or None; writes go through to it.
        partial: is some of ``value`` unknown (zeros), because nothing that is left shows it?
        tensors: weak references to all tensors that share it.
    """

    __slots__ = ("type", "value", "version", "foreign", "partial", "tensors", "room", "ref", "__weakref__")

    def __init__(self, type: TensorType) -> None:
        self.type, self.version = type, 0
        self.value: Any = None
        self.foreign: Any = None
        self.partial = False
        self.tensors: list[weakref.ref] = []
        self.room = 16
        #: what values hold: a saved value must not keep the cell, which may hold the node that saved it
        self.ref = CellRef(self)
        self.ref.tracked = 0

    @property
    def tracked(self) -> int:
        return self.ref.tracked

    @tracked.setter
    def tracked(self, count: int) -> None:
        self.ref.tracked = count

    def join(self, tensor: Any) -> None:
        """Note that ``tensor`` shares this storage."""
        tensors = self.tensors
        if len(tensors) >= self.room:
            with sharing:
                known = tensors[:]  # what other threads append meanwhile stands behind these
                tensors[:len(known)] = [r for r in known if r() is not None]
                self.room = max(16, 2 * len(tensors))
        tensors.append(weakref.ref(tensor))

    def _contents(self) -> Any:
        """The value of the whole storage; None if nothing has been written and the base is gone."""
        if self.value is not None:
            return self.value
        return next((t._value for t in self.alive() if not t._alias.lenses), None)

    def _take_back(self, value: Any) -> None:
        """After a write that has failed: hold ``value`` again."""
        before = self.value
        with sharing:
            self.value = value
            self.version += 1
            self.tracked = value.version if value.cell is self.ref else self.tracked
            kept = self.forget()
        del before, kept

    def forget(self, stays: bool = False) -> list[tuple[Any, Any]]:
        """Let those that share the storage drop what they hold of its old contents: (tensor, its value) of each.

        ``stays``: their places on the tape are the same.
        """
        kept = [(t, t._value) for t in self.alive()]
        for t, _ in kept:
            t._forget(stays)
        return kept

    def alive(self) -> list[Any]:
        """The tensors that share this storage now."""
        return [t for r in self.tensors[:] if (t := r()) is not None and t._alias is not None and t._alias.cell is self]


class Lens:
    """One movement between a whole and its view; ``strides`` map strides of the whole to those of the view."""

    __slots__ = ("there",)
    #: the op that reads through the lens, where it is one op of the whole (and of window starts)
    there: Any
    #: does every element of the view stand for exactly one of the whole? (else it cannot be written)
    injective = True
    #: does the view show all of the whole? (then ``write`` does not look at the old whole)
    covers = False

    def __init__(self) -> None:
        self.there = None

    def read(self, b: Any, whole: Any) -> Any:
        """The view of ``whole``."""
        raise NotImplementedError

    def write(self, b: Any, whole: Any, part: Any) -> Any:
        """``whole`` with the view replaced by ``part``."""
        raise NotImplementedError

    def inverse(self) -> Lens:
        """From the view back to the whole, of a lens that covers it."""
        raise NotImplementedError

    def restore(self, b: Any, whole: Any, part: Any) -> Any:
        """As :meth:`write`, where ``part`` is known to be a view: several elements may stand for one."""
        return self.write(b, whole, part)

    def result(self, shape: Shape) -> Shape:
        """Shape of the view of a whole of ``shape``."""
        raise NotImplementedError

    def key(self) -> tuple:
        """What makes two lenses the same."""
        return (self.__class__, self.there, *(getattr(self, name) for name in self.__slots__))

    def strides(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, int]:
        """Strides and offset of the view, given those of the whole of ``shape``."""
        raise NotImplementedError


class Reshape(Lens):
    __slots__ = ("back",)
    covers = True

    def __init__(self, before: Shape, after: Shape) -> None:
        self.back, self.there = op(ROWS["reshape"], before), op(ROWS["reshape"], after)

    def result(self, shape):
        return self.there.attrs.shape

    def inverse(self):
        return reshape_lens(self.there.attrs.shape, self.back.attrs.shape)

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def write(self, b, whole, part):
        return b.emit(self.back, part)

    def strides(self, shape, strides, offset):
        found = view_strides(shape, strides, self.there.attrs.shape)
        assert found is not None
        return found, offset


#: lenses that follow from shapes are made once: what they lead to is remembered by them
_interned = functools.lru_cache(4096)
reshape_lens = _interned(Reshape)


class Permute(Lens):
    __slots__ = ("back",)
    covers = True

    def __init__(self, axes: Sequence[int]) -> None:
        self.there = op(ROWS["permute"], tuple(axes))
        self.back = op(ROWS["permute"], tuple(sorted(range(len(axes)), key=axes.__getitem__)))

    def result(self, shape):
        return tuple(shape[a] for a in self.there.attrs.axes)

    def inverse(self):
        return permute_lens(self.back.attrs.axes)

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def write(self, b, whole, part):
        return b.emit(self.back, part)

    def strides(self, shape, strides, offset):
        return tuple(strides[a] for a in self.there.attrs.axes), offset


permute_lens = _interned(Permute)


class Window(Lens):
    """A strided window at fixed starts: what basic indexing, ``select`` and ``narrow`` give.

    The starts are runtime inputs of the plan, so a loop over an axis is one program.
    """

    __slots__ = ("starts", "shape", "step", "put")

    def __init__(self, starts: Shape, shape: Shape, step: Shape) -> None:
        self.starts, self.shape, self.step = starts, shape, step
        self.there = op(ROWS["dynamic_slice"], shape, step)
        self.put = op(ROWS["dynamic_update"], step)

    def result(self, shape):
        return self.shape

    def _starts(self, b):
        return [b.start(n) for n in self.starts]

    def read(self, b, whole):
        return b.emit(self.there, whole, *self._starts(b))

    def write(self, b, whole, part):
        return b.emit(self.put, whole, part, *self._starts(b))

    def strides(self, shape, strides, offset):
        offset += sum(s * n for s, n in zip(strides, self.starts, strict=True))
        return tuple(s * n for s, n in zip(strides, self.step, strict=True)), offset


    def then(self, inner: Window) -> Window:
        """This window, and ``inner`` of it, as one."""
        starts = tuple(a + s * b for a, s, b in zip(self.starts, self.step, inner.starts, strict=True))
        step = tuple(s * t for s, t in zip(self.step, inner.step, strict=True))
        return Window(starts, inner.shape, step)


class Static(Lens):
    """A strided window whose place follows from shapes (``split``, ``chunk``, ``unbind``): part of the program."""

    __slots__ = ("starts", "step")

    def __init__(self, starts: Shape, stop: Shape, step: Shape) -> None:
        self.there, self.starts, self.step = op(ROWS["slice"], starts, stop, step), starts, step

    def result(self, shape):
        a = self.there.attrs
        return tuple(-(-(hi - lo) // n) for lo, hi, n in zip(a.start, a.stop, a.step, strict=True))

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def write(self, b, whole, part):
        starts = [b.emit(constant_op(n, dt.int64)) for n in self.starts]
        return b.emit(op(ROWS["dynamic_update"], self.step), whole, part, *starts)

    strides = Window.strides


@_interned
def static_lens(shape: Shape, axis: int, start: int, stop: int) -> Static:
    """The part ``[start:stop]`` of one axis."""
    low, high = [0] * len(shape), list(shape)
    low[axis], high[axis] = start, stop
    return Static(tuple(low), tuple(high), (1,) * len(shape))


class Expand(Lens):
    __slots__ = ()
    injective = False

    def __init__(self, shape: Shape) -> None:
        self.there = op(ROWS["expand"], shape)

    def result(self, shape):
        return self.there.attrs.shape

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def restore(self, b, whole, part):
        """One of the equal elements stands for all."""
        shape, target = whole.type.shape, part.type.shape
        lead = len(target) - len(shape)
        stop = (1,) * lead + tuple(1 if n == 1 else m for n, m in zip(shape, target[lead:], strict=True))
        if 0 in target:
            return whole
        return b.reshape(b.slice(part, (0,) * len(target), stop), shape)

    def strides(self, shape, strides, offset):
        target = self.there.attrs.shape
        lead = len(target) - len(shape)
        return (0,) * lead + tuple(0 if n == 1 and m != 1 else s for n, m, s in
                                   zip(shape, target[lead:], strides, strict=True)), offset


expand_lens = _interned(Expand)


class Strided(Lens):
    """``as_strided``: any strides over the storage, by an index computed from them."""

    __slots__ = ("shape", "steps", "start", "injective")

    def __init__(self, shape: Shape, steps: Shape, start: int, injective: bool) -> None:
        self.shape, self.steps, self.start, self.injective = shape, steps, start, injective
        self.there = op(ROWS["strided"], shape, steps, start)

    def result(self, shape):
        return self.shape

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def write(self, b, whole, part):
        return b.emit(op(ROWS["strided_put"], self.shape, self.steps, self.start, "set"), whole, part)

    def strides(self, shape, strides, offset):
        return self.steps, self.start + offset


class Unfold(Strided):
    """All windows of ``size`` along an axis, every ``step``; the window is the last axis."""

    __slots__ = ("axis", "every")

    def __init__(self, whole: Shape, axis: int, size: int, step: int) -> None:
        count = (whole[axis] - size) // step + 1
        full = row_major(whole)
        super().__init__((*whole[:axis], count, *whole[axis + 1:], size),
                         (*full[:axis], full[axis] * step, *full[axis + 1:], full[axis]), 0, step >= size or count == 1)
        self.axis, self.every = axis, step

    def strides(self, shape, strides, offset):
        a = self.axis
        return (*strides[:a], strides[a] * self.every, *strides[a + 1:], strides[a]), offset


class Diagonal(Lens):
    """A diagonal of the matrices in two axes, as the last axis."""

    __slots__ = ("axes", "first", "count", "order")

    def __init__(self, whole: Shape, a: int, b: int, offset: int) -> None:
        rows, columns = whole[a], whole[b]
        self.there = None
        self.axes = a, b
        self.first = (0, offset) if offset >= 0 else (-offset, 0)
        self.count = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
        self.order = (*(i for i in range(len(whole)) if i not in (a, b)), a, b)

    def result(self, shape):
        return (*(shape[i] for i in self.order[:-2]), self.count)

    def _flat(self, b, whole):
        """The matrices as rows, in which the diagonal is every (columns + 1)-th element."""
        moved = b.permute(whole, self.order)
        *lead, rows, columns = moved.type.shape
        return b.reshape(moved, (*lead, rows * columns)), columns

    def read(self, b, whole):
        flat, columns = self._flat(b, whole)
        *lead, n = flat.type.shape
        start = self.first[0] * columns + self.first[1] if self.count else 0
        stop = start + (self.count - 1) * (columns + 1) + 1 if self.count else 0
        return b.slice(flat, (*((0,) * len(lead)), start), (*lead, stop), (*((1,) * len(lead)), columns + 1))

    def write(self, b, whole, part):
        flat, columns = self._flat(b, whole)
        lead = flat.type.ndim - 1
        start = self.first[0] * columns + self.first[1] if self.count else 0
        starts = [b.emit(constant_op(n, dt.int64)) for n in (*((0,) * lead), start)]
        step = columns + 1 if self.count > 1 else 1
        flat = b.dynamic_update(flat, part, starts, (*((1,) * lead), step))
        shape = whole.type.shape
        moved = b.reshape(flat, tuple(shape[i] for i in self.order))
        return b.permute(moved, sorted(range(len(shape)), key=self.order.__getitem__))

    def strides(self, shape, strides, offset):
        a, b = self.axes
        return ((*(strides[i] for i in self.order[:-2]), strides[a] + strides[b]),
                offset + self.first[0] * strides[a] + self.first[1] * strides[b])


class Bits(Lens):
    """The same bits as another element type of the same width."""

    __slots__ = ("back",)
    covers = True

    def __init__(self, before: dt.DType, after: dt.DType) -> None:
        self.there, self.back = op(ROWS["bitcast"], after), op(ROWS["bitcast"], before)

    def result(self, shape):
        return shape

    def shows(self, dtype: dt.DType) -> dt.DType:
        """Element type of the view of a whole of ``dtype``."""
        return self.there.attrs.dtype

    def read(self, b, whole):
        return b.emit(self.there, whole)

    def write(self, b, whole, part):
        return b.emit(self.back, part)

    def strides(self, shape, strides, offset):
        return strides, offset


class Part(Lens):
    """Real or imaginary part of a complex tensor."""

    __slots__ = ("imaginary",)

    def __init__(self, imaginary: bool) -> None:
        self.there, self.imaginary = None, imaginary

    def result(self, shape):
        return shape

    def shows(self, dtype: dt.DType) -> dt.DType:
        """Element type of the view of a whole of ``dtype``."""
        return dt.float64 if dtype is dt.complex128 else dt.float32

    def read(self, b, whole):
        return b.imag(whole) if self.imaginary else b.real(whole)

    def write(self, b, whole, part):
        return b.complex(b.real(whole), part) if self.imaginary else b.complex(part, b.imag(whole))

    def strides(self, shape, strides, offset):
        return tuple(2 * s for s in strides), 2 * offset + self.imaginary


def is_injective(shape: Shape, strides: Shape) -> bool:
    """Does every index lie at a place of its own? (False for large views where that is hard to tell.)"""
    if 0 in shape:
        return True
    axes = sorted((abs(s), n) for n, s in zip(shape, strides, strict=True) if n > 1)
    reach = 0
    for s, n in axes:
        if s <= reach:
            break
        reach += s * (n - 1)
    else:
        return True
    if math.prod(shape) > SMALL or axes[0][0] == 0:
        return False
    places = np.zeros(1, np.int64)
    for s, n in axes:
        places = (places[:, None] + s * np.arange(n)).reshape(-1)
    return len(np.unique(places)) == len(places)


def as_written(lenses: Sequence[Lens], whole: TensorType, part: dt.DType, uniform: bool) -> tuple[Lens, ...]:
    """The view of ``whole`` through lenses that repeat elements, if what is left of it repeats none (or if all
    elements to be written are equal).

    Raises:
        RuntimeError: it does: such a view can't be written.
    """
    first = max((n for n, lens in enumerate(lenses) if lens.__class__ is Strided), default=0)
    whole = shown(lenses[:first], whole)  # row-major, as all of a storage is; strides count from here
    repeating = tuple(lenses[first:])
    shape, (strides, offset) = result_of(repeating, whole.shape), layout_of(repeating, whole.shape)
    if not uniform and not is_injective(shape, strides):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a "
                           "single memory location. Please clone() the tensor before performing the operation.")
    if whole.dtype.bits != part.bits:
        raise UnsupportedError(f"a write into an expanded view of the {whole.dtype!r} parts of {part!r} numbers is not "
                               "implemented")
    strided = Strided(shape, strides, offset if 0 not in shape else 0, True)
    return (*lenses[:first], *(() if whole.dtype is part else (Bits(whole.dtype, part),)), strided)


@_interned
def result_of(lenses: tuple[Lens, ...], shape: Shape) -> Shape:
    """Shape of the view of a whole of ``shape``."""
    for lens in lenses:
        shape = lens.result(shape)
    return shape


@_interned
def layout_of(lenses: tuple[Lens, ...], shape: Shape) -> tuple[Shape, int]:
    """Strides and offset, in elements, of the view of a row-major whole of ``shape``."""
    strides, offset = row_major(shape), 0
    for lens in lenses:
        strides, offset = lens.strides(shape, strides, offset)
        shape = lens.result(shape)
    return strides, offset


@_interned
def injective(lenses: tuple[Lens, ...]) -> bool:
    """Does every element of the view stand for one of the whole?"""
    return all(lens.injective for lens in lenses)


@_interned
def covering(lenses: tuple[Lens, ...]) -> bool:
    """Does the view show all of the whole?"""
    return all(lens.covers for lens in lenses)


def shown(lenses: Sequence[Lens], whole: TensorType) -> TensorType:
    """Type of the view of ``whole``."""
    shape, dtype = whole.shape, whole.dtype
    for lens in lenses:
        shape = lens.result(shape)
        if isinstance(lens, (Bits, Part)):
            dtype = lens.shows(dtype)
    return tensor_type(dtype, shape)


@_interned
def shortened(lenses: tuple[Lens, ...], shape: Shape) -> tuple[Lens, ...]:
    """The same view with neighbouring windows merged, so that a write through it copies no part in between.

    ``cache[layer][:, t] = v`` looks through a window, a reshape that drops its axis, and another window: the
    second window is moved before the reshape and joined to the first.
    """
    if len(lenses) < 2:
        return lenses
    found: list[Lens] = []
    shapes = [shape]
    for lens in lenses:
        moved: list[Lens] = []  # what lies behind the new window
        before = lens
        while isinstance(before, Window) and found:
            last = found[-1]
            if isinstance(last, Window):
                found.pop()
                shapes.pop()
                before = last.then(before)
                continue
            swapped = _before(last, shapes[-2], before)
            if swapped is None:
                break
            found.pop()
            shapes.pop()
            before, after = swapped
            moved.append(after)
        for one in (before, *reversed(moved)):
            found.append(one)
            shapes.append(one.result(shapes[-1]))
    return tuple(found)


def _before(lens: Lens, shape: Shape, window: Window) -> tuple[Window, Lens] | None:
    """``lens`` (of a whole of ``shape``), then ``window``: the same as a window and then another lens."""
    if isinstance(lens, Permute):
        back = lens.back.attrs.axes
        return Window(*(tuple(x[a] for a in back) for x in (window.starts, window.shape, window.step))), lens
    if not isinstance(lens, Reshape):
        return None
    view = lens.result(shape)
    if tuple(n for n in shape if n != 1) != tuple(n for n in view if n != 1):
        return None  # not just axes of size 1 that come or go
    kept = [i for i, n in enumerate(view) if n != 1]
    if any(window.shape[i] != 1 for i, n in enumerate(view) if n == 1):
        return None
    places = iter(kept)
    starts, sizes, steps = [], [], []
    for n in shape:
        i = next(places) if n != 1 else None
        starts.append(0 if i is None else window.starts[i])
        sizes.append(1 if i is None else window.shape[i])
        steps.append(1 if i is None else window.step[i])
    return Window(tuple(starts), tuple(sizes), tuple(steps)), reshape_lens(tuple(sizes), window.shape)


@_interned
def view_strides(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides that view a strided array of ``shape`` as ``new``, or None if that needs a copy."""
    if 0 in shape:
        return row_major(new)
    # runs of axes that are contiguous with respect to each other
    runs: list[tuple[int, int]] = []  # (elements, innermost stride)
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == s * n:
            runs[-1] = (runs[-1][0] * n, s)
        else:
            runs.append((n, s))
    result: list[int] = []
    axis = len(new) - 1
    for count, stride in reversed(runs):
        left = count
        while left > 1:
            while axis >= 0 and new[axis] == 1:
                result.append(stride)
                axis -= 1
            if axis < 0 or left % new[axis]:
                return None
            result.append(stride)
            stride *= new[axis]
            left //= new[axis]
            axis -= 1
    step = result[-1] * new[axis + 1] if result and axis + 1 < len(new) else 1
    while axis >= 0:
        if new[axis] != 1:
            return None
        result.append(step)
        axis -= 1
    return tuple(reversed(result))


