"""Packed operands that outlive a run: what a plan packs from a weight that stays the same is packed once.

A value never changes; a tensor that is written holds another one. A plan that meets the same value twice therefore
packs it into memory of its own, and from then on leaves the packing out. The copies belong to the value: all plans that
pack it alike share them, and they go with it (an optimizer's step makes new values: training keeps nothing).
"""
from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..base.errors import OutOfMemoryError
from ..device import memory
from ..device.memory import Buffer
from ..loops.calls import Call, Temp
from ..loops.memory_plan import ARENA, LEAVES
from . import kernels
from .trace import Value

MOST_BYTES = 512 << 20  # of all copies that are kept
MOST_SHARE = 16         # of the memory budget: such a part of it at most

#: value -> what it is packed into, by how it is packed
_kept: weakref.WeakKeyDictionary[Value, dict[tuple, Buffer]] = weakref.WeakKeyDictionary()


def _nothing() -> None:
    return None


@dataclass(slots=True, weakref_slot=True, eq=False)
class Packing:
    """A call of a plan that packs a leaf.

    Attributes:
        row: of the dispatcher's table. function: the kernel's address. leaf: its number. slot: of the copy's base
            pointer. at, nbytes: where the copy lies in the arena while it is not kept. key: how the leaf is packed.
        value: a weak reference to the leaf's value that the plan has met last.
        buffer: where that value's copy is kept, no longer than the value lives. done: it is there.
    """

    row: int
    function: int
    leaf: int
    slot: int
    at: int
    nbytes: int
    key: tuple
    value: Any = _nothing
    buffer: Buffer | None = None
    done: bool = False

    def meet(self, value: Value) -> None:
        """The next run packs ``value``; ``done`` says whether it need not."""
        again = self.value() is value
        if again and self.buffer is not None:
            self.done = True  # by the run before
            _kept.setdefault(value, {}).setdefault(self.key, self.buffer)
            return
        held = _kept.get(value)
        self.buffer = held.get(self.key) if held is not None else None
        self.done = self.buffer is not None
        if again and not self.done and not value.buffer.foreign:
            self.buffer = _room(self.nbytes)
        if not again:
            self.value = weakref.ref(value, partial(_gone, weakref.ref(self)))

    def doubt(self) -> None:
        """The run before did not end: what it was to pack may be missing."""
        if not self.done:
            self.forget()

    def forget(self) -> None:
        """Meet the next value as if it were the first."""
        self.value, self.buffer, self.done = _nothing, None, False


def _gone(packing: weakref.ref[Packing], value: weakref.ref[Value]) -> None:
    """A value has gone: so has its copy. A plan that is still running may read on: see ``NativePlan._launch``."""
    mine = packing()
    if mine is not None and mine.value is value:
        mine.forget()


def _room(nbytes: int) -> Buffer | None:
    """Memory for one more copy, or None where they would become too many."""
    total = sum(b.nbytes for held in list(_kept.values()) for b in held.values())
    if total + nbytes > min(MOST_BYTES, memory.budget() // MOST_SHARE):
        return None
    try:
        return memory.allocate(nbytes)
    except OutOfMemoryError:
        return None


def packings(place: Mapping[Any, tuple[int, int]], calls: Mapping[int, Call], donate: tuple[int, ...],
             n_leaves: int, end: int, first_slot: int) -> Iterator[Packing]:
    """The calls in front of row ``end`` that pack a leaf, for good, into memory that nothing else writes.

    Args:
        place: values -> slot and offset. calls: by row. donate: leaves that the plan may overwrite.
    """
    written: dict[Any, int] = {}
    for call in calls.values():
        for i in call.writes:
            written[call.operands[i].value] = written.get(call.operands[i].value, 0) + 1
    for row, call in calls.items():
        if not call.packs or row >= end:
            continue
        source, copy = call.operands
        slot, at = place[copy.value]
        number = place[source.value][0] - LEAVES
        if (slot == ARENA and isinstance(copy.value, Temp) and written[copy.value] == 1 and not copy.offset
                and 0 <= number < n_leaves and number not in donate and not source.dynamic):
            key = call.spec.key, tuple(call.params), source.offset
            yield Packing(row, kernels.address(call.spec), number, first_slot, at, copy.value.nbytes, key)
            first_slot += 1
