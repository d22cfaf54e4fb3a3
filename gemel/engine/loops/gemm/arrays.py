"""What the kernels of this package share: named parameters, batch entries, and the epilogue's arrays."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...base.target import Target
from .. import element
from ..ir import Kernel, KernelBuilder, Val
from .finish import Finish, Place

#: i64 parameters of one epilogue array, behind those of the kernel
ARRAY = ("batch0", "batch1", "batch2", "row", "lane")


class Parameters:
    """A kernel's i64 parameters by name: ``p["steps"]``; each is loaded once, in the entry of the kernel."""

    def __init__(self, k: KernelBuilder, names: Sequence[str], first: int = 0) -> None:
        self.values = {name: k.param(first + i) for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> Val:
        return self.values[name]


def entry_of(k: KernelBuilder, number: Val, p: Parameters) -> tuple[Val, Val, Val]:
    """The three batch indices of batch entry ``number``; ``p`` has the sizes ``batch1`` and ``batch2``."""
    outer = k.udiv(number, p["batch2"])
    first = k.udiv(outer, p["batch1"])
    return first, outer - first * p["batch1"], number - outer * p["batch2"]


def moved(k: KernelBuilder, base: Val, entry: Sequence[Val], p: Parameters, prefix: str, elem: str) -> Val:
    """``base`` at a batch entry, with the strides ``prefix0``, ``prefix1``, ``prefix2``."""
    offset = entry[0] * p[f"{prefix}0"] + entry[1] * p[f"{prefix}1"] + entry[2] * p[f"{prefix}2"]
    return k.offset(base, offset, elem)


class Arrays:
    """The epilogue's inputs and outputs in a kernel whose operands and parameters before them number ``first_*``."""

    def __init__(self, k: KernelBuilder, finish: Finish, first_operand: int, first_parameter: int) -> None:
        self.k, self.inputs = k, len(finish.inputs)
        self.kinds = (*finish.inputs, *finish.outputs)
        self.elems = [element.memory(d) for d in finish.dtypes]
        count = len(self.kinds)
        self.pointers = [k.arg(first_operand + i) for i in range(count)]
        self.strides = [Parameters(k, ARRAY, first_parameter + i * len(ARRAY)) for i in range(count)]

    def at(self, entry: Sequence[Val]) -> list[Val]:
        """Pointers to a batch entry."""
        return [moved(self.k, pointer, entry, s, "batch", elem)
                for pointer, s, elem in zip(self.pointers, self.strides, self.elems, strict=True)]

    def places(self, bases: Sequence[Val], row: Val, lane: Val) -> tuple[list[Place], list[Place]]:
        """Inputs and outputs at a tile's first row and lane."""
        k, places = self.k, []
        for base, s, kind, elem in zip(bases, self.strides, self.kinds, self.elems, strict=True):
            along = k.i64(1) if kind == "column" else s["row"]
            across = k.i64(1) if kind == "vector" else k.i64(0) if kind == "row" else s["lane"]
            places.append(Place(k.offset(base, row * along + lane * across, elem), along, across))
        return places[:self.inputs], places[self.inputs:]


def by_tasks(writer: Callable[[str, Target, Any], Any], structure: Any) -> Callable[[str, Target], Kernel]:
    """The kernel of a structure: what ``writer(name, target, structure).task`` writes, for each task of its range."""
    def make(name: str, target: Target) -> Kernel:
        w = writer(name, target, structure)
        w.k.loop(w.k.begin, w.k.end, body=w.task)
        return w.k.finish()
    return make
