"""Packed operands: the layout as data, and the kernel that packs a whole operand.

A :class:`PackedLayout` names everything that the packed bytes depend on, so that the packed copy of a constant
weight can be cached under it. The panels of a batch entry follow each other; within a panel, step by step of k.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..calls import Call, KernelSpec, Operand
from ..ir import Kernel, KernelBuilder, Val
from . import arithmetic, pack, tiles
from .arithmetic import Arithmetic, Tiles
from .arrays import Parameters, entry_of, moved
from .problem import MAX_BATCH
from .tile import Shape

PARAMETERS = ("batch1", "batch2", "count", "panels", "wide", "k", "steps", "stride0", "stride1", "stride2",
              "free", "along", "entry")
_TASK_BYTES = 64 << 10  # a task packs about this much


def panel_count(count: int, size: int) -> tuple[int, int]:
    """Panels of at most ``size`` that share ``count`` vectors evenly, and how many are full; the others have one less.

    A count that cannot be shared so (1 by 3) leaves the last panel short.
    """
    panels = -(-count // size)
    return panels, max(0, panels - (panels * size - count))


def first_vector(k: KernelBuilder, panel: Val, size: int, panels: Val, wide: Val) -> Val:
    """First vector of a panel: those that are not full are spread evenly, so that any part of the panels has its share.
    """
    return panel * size - k.udiv(panel * (panels - wide), panels)


@dataclass(frozen=True)
class PackedLayout:
    """How an operand is packed.

    Args:
        side: ``v`` vector panels, ``s`` scalar panels. arith, shape: of the kernel that reads it.
        dtype: of the source. batch: sizes of the batch dimensions that the operand really has.
        count, k: sizes of its own and the contracted dimension.
    """

    side: str
    arith: Arithmetic
    shape: Shape
    dtype: DType
    batch: tuple[int, ...]
    count: int
    k: int

    @property
    def steps(self) -> int:
        return arithmetic.steps_of(self.arith, self.k)

    @property
    def padded(self) -> int:
        """Rows or lanes with padding."""
        size = self.shape.height if self.side == "s" else self.arith.lanes
        units = -(-self.count // size)
        if self.side == "v" and units < self.shape.widths[-1]:
            units = self.shape.widths[-1]
        return units * size

    @property
    def entry(self) -> int:
        """Panel elements of one batch entry."""
        return self.padded * self.steps * self.arith.group

    @property
    def nbytes(self) -> int:
        return self.entry * math.prod(self.batch) * arithmetic.nbytes(self.arith.panel)

    def batch_strides(self) -> tuple[int, ...]:
        """Panel elements between entries of each batch dimension."""
        strides, at = [], self.entry
        for size in reversed(self.batch):
            strides.append(at)
            at *= size
        return tuple(reversed(strides))


@dataclass(frozen=True)
class PackStructure:
    side: str
    arith: Arithmetic
    shape: Shape
    dtype: DType
    mode: str

    @property
    def key(self) -> tuple:
        return ("gemm_pack", self)

    @property
    def in_runs(self) -> bool:
        """Are neighbouring panels packed together?"""
        return self.side == "s" and self.mode == "free" and not isinstance(self.arith, Tiles) and pack.together(
            self.arith, self.shape.height)


def _build(structure: PackStructure) -> Callable[[str, Target], Kernel]:
    """Operands: source, destination; a task is a panel."""
    def make(name: str, target: Target) -> Kernel:
        k = KernelBuilder(name)
        s, arith, shape = structure, structure.arith, structure.shape
        source, dest, p = k.arg(0), k.arg(1), Parameters(k, PARAMETERS)
        free = k.i64(1) if s.mode == "free" else p["free"]
        along = k.i64(1) if s.mode == "k" else p["along"]
        elem = element.memory(s.dtype)

        def place(number: Val) -> tuple[Val, Val]:
            """The batch entry of a panel, and its number there."""
            entry = k.udiv(number, p["panels"])
            return entry, number - entry * p["panels"]

        def ends(entry: Val, first: Val) -> tuple[pack.Source, Val]:
            """What a panel that begins at row or lane ``first`` is read from, and where it goes."""
            base = moved(k, source, entry_of(k, entry, p), p, "stride", elem)
            what = pack.Source(s.dtype, s.mode, k.offset(base, first * free, elem), free, along, p["count"] - first,
                               p["k"], s.side == "s")
            return what, k.offset(dest, entry * p["entry"] + first * (p["steps"] * arith.group), arith.panel)

        def task(number: Val) -> None:
            entry, panel = place(number)
            unit, after = (first_vector(k, x, shape.vectors, p["panels"], p["wide"]) for x in (panel, panel + 1))
            what, to = ends(entry, panel * shape.height if s.side == "s" else unit * arith.lanes)
            if isinstance(arith, Tiles) and s.side == "s":
                tiles.scalars(k, what, to, shape.height)
            elif s.side == "s":
                pack.scalars(k, arith, what, to, shape.height)
            else:
                pack.vectors(k, arith, target, what, to, after - unit)

        def run(first: Val) -> None:
            """Several panels, together where all are whole and of one entry."""
            end = first + pack.RUN
            entry, panel = place(first)
            row = panel * shape.height
            inside = k.and_(k.compare("sle", end, k.end), k.compare("sle", panel + pack.RUN, p["panels"]))
            whole = k.compare("sle", row + pack.RUN * shape.height, p["count"])

            def together() -> None:
                what, to = ends(entry, row)
                size = shape.height * p["steps"]
                pack.several(k, arith, what, [k.offset(to, size * i, arith.panel) for i in range(pack.RUN)],
                             shape.height)
            k.if_(k.and_(inside, whole), together, lambda: k.loop(first, k.smin(end, k.end), body=task))

        if structure.in_runs:
            k.loop(k.begin, k.end, pack.RUN, body=run)
        else:
            k.loop(k.begin, k.end, body=task)
        return k.finish()
    return make


def pack_operand(layout: PackedLayout, source: Operand, dest: Operand, batch: tuple[int, ...], free: int,
                 along: int) -> Call:
    """The call that packs an operand.

    Args:
        layout: how. source: the operand. dest: ``layout.nbytes`` of memory.
        batch: the source's strides of ``layout.batch``; free, along: of its own dimension and of k.
    """
    mode = pack.mode_of(free, along, layout.count, layout.k)
    structure = PackStructure(layout.side, layout.arith, layout.shape, layout.dtype, mode)
    if layout.side == "s":
        panels, wide = -(-layout.count // layout.shape.height), 0
    else:
        panels, wide = panel_count(-(-layout.count // layout.arith.lanes), layout.shape.vectors)
    fill = MAX_BATCH - len(layout.batch)
    sizes, strides = (1,) * fill + layout.batch, (0,) * fill + batch
    values = {"batch1": sizes[1], "batch2": sizes[2], "count": layout.count, "panels": panels, "wide": wide,
              "k": layout.k, "steps": layout.steps, "stride0": strides[0], "stride1": strides[1],
              "stride2": strides[2], "free": free, "along": along, "entry": layout.entry}
    tasks = panels * math.prod(layout.batch)
    grain = max(1, _TASK_BYTES * tasks // max(1, layout.nbytes))
    if structure.in_runs:
        grain = -(-grain // pack.RUN) * pack.RUN
    return Call(KernelSpec(f"gemm_pack_{layout.side}_{mode}_{layout.dtype.ir}", structure.key, _build(structure)),
                [source, dest], [values[x] for x in PARAMETERS], tasks, grain, (1,),
                nbytes=layout.nbytes + math.prod(layout.batch) * layout.count * layout.k * layout.dtype.itemsize,
                packs=True, label="pack")
