"""Values that stand for one example of a batch (``vmap``).

A :class:`Batched` value has the type of one example and holds the value of all of them, batch axis in front. An
operation on it is recorded by the batching rules of ``autodiff.batch`` on what it holds, which may itself be batched
by an outer level. Ordinary recording pays nothing for this: a batched value belongs to no trace.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..autodiff.batch import batched_results, stacked
from ..base import dtypes as dt
from ..ir.op import Op
from ..ir.types import tensor_type
from . import trace as recorder
from .trace import BUILDER, Value, local, scalar


class Level:
    """One application of ``vmap``.

    Attributes:
        size: number of examples. randomness: ``"error"``, ``"same"`` or ``"different"``.
        depth: position among the open levels (inner ones are higher); -1 while it is closed.
    """

    __slots__ = ("size", "randomness", "depth")

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size, self.randomness, self.depth = size, randomness, -1

    @contextmanager
    def open(self) -> Iterator[None]:
        """The innermost level, for this block."""
        levels, before = local.levels, self.depth
        levels.append(self)
        self.depth = len(levels)
        try:
            yield
        finally:
            levels.pop()
            self.depth = before


class Batched(Value):
    """One example of ``inner`` (all examples, batch axis in front), at a level."""

    __slots__ = ("inner", "level")
    inner: Value
    level: Level


def enter(level: Level, inner: Value) -> Batched:
    """The value of one example."""
    v = Batched()
    v.type = v.form = tensor_type(inner.type.dtype, inner.type.shape[1:])
    v.buffer = v.trace = v.cell = None
    v.index = v.version = 0
    v.inner, v.level = inner, level
    return v


def leave(level: Level, v: Value, b: Any = BUILDER) -> Value:
    """All examples of a value, batch axis in front; the same for each if it is not batched at this level."""
    if v.__class__ is Batched and v.level is level:  # type: ignore[attr-defined]
        return v.inner  # type: ignore[attr-defined]
    return stacked(b, v, False, level.size)


def record_batched(op: Op, operands: Sequence[Value]) -> Any:
    """Record an operation some of whose operands are batched."""
    level: Any = None
    for v in operands:
        if v.__class__ is Batched:
            if v.level.depth < 0:  # type: ignore[attr-defined]
                raise RuntimeError("a tensor that stands for one example of a batch is used outside of the vmap that "
                                   "made it: return it from the function instead")
            if level is None or v.level.depth > level.depth:  # type: ignore[attr-defined]
                level = v.level  # type: ignore[attr-defined]
    flags = tuple([v.__class__ is Batched and v.level is level for v in operands])  # type: ignore[attr-defined]
    values = [v.inner if f else v for v, f in zip(operands, flags, strict=True)]  # type: ignore[attr-defined]
    found = tuple([enter(level, v) for v in batched_results(BUILDER, op, values, flags, level.size)])
    return found[0] if op.results[tuple([v.type for v in operands])].__class__ is not tuple else found


def batched_stream(draw: Callable[[int], tuple[int, int]], counters: int) -> tuple[Value, Value]:
    """Key and counter of a draw inside ``vmap``: one for all examples, or one for each, as the levels say."""
    levels = local.levels
    if any(level.randomness == "error" for level in levels):
        raise RuntimeError("vmap: called random operation while in randomness error mode. Please either use the 'same' "
                           "or 'different' randomness flags on vmap or perform the randomness operation out of vmap")
    apart = [level for level in levels if level.randomness == "different"]
    total = 1
    for level in apart:
        total *= level.size
    key, first = draw(counters * total)
    counter: Any = scalar(first, dt.uint64)
    if apart:
        b, shape = BUILDER, tuple(level.size for level in apart)
        number = b.reshape(b.iota(dt.uint64, (total,), 0), shape)
        steps = b.mul(number, b.full(counters, dt.uint64, shape))
        counter = b.add(b.expand(counter, shape), steps)
        for level in apart:
            counter = enter(level, counter)
    return scalar(key, dt.uint64), counter


recorder.divert = record_batched
