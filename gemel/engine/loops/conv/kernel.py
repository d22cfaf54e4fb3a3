"""The convolution kernel: windows in scratch memory times packed weights.

One task computes a block of positions of one image and group, for a range of panels of output channels:

    copy the window that the block sees into scratch
    for each panel of channels (lanes)
        for each pass of k (a multiple of 256)
            for each tile of positions (broadcast)
                the register tile: sum, and in the last pass finish

Blocks of positions are contiguous in the flattened order of positions: they cut an axis only where all axes before
it have one position in the block.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..gemm.arithmetic import BLOCK, SUPER, Stepwise
from ..gemm.arrays import Arrays, Parameters
from ..gemm.finish import Finish, Tile, emit_finish
from ..gemm.tile import Shape, Stream, add_total, chain, keep
from ..ir import I64, Kernel, KernelBuilder, Val
from . import window
from .window import AXES

PARAMETERS = (
    *window.PARAMETERS,
    "groups", "x_image", "x_group",
    *(f"{name}{i}" for name in ("blocks", "block", "out", "stride", "tap", "taps") for i in AXES), "origin",
    "steps", "pass", "panels", "wide", "parts", "part", "lanes", "entry",
    "steps_at", "rows_at", "sums_at", "totals_at",   # scratch: byte offsets
)


@dataclass(frozen=True)
class ConvStructure:
    """What a kernel is compiled for: the register tile, the image's elements, whether its lines are contiguous."""

    arith: Stepwise
    shape: Shape
    dtype: DType
    contiguous: bool
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("conv", self)


class _Writer:
    """Writes one kernel; members set by a method hold until the next task."""

    def __init__(self, name: str, target: Target, structure: ConvStructure) -> None:
        self.k = k = KernelBuilder(name, target.native)
        self.target, self.s = target, structure
        self.arith, self.shape = structure.arith, structure.shape
        self.width = self.shape.vectors * self.arith.lanes
        self.size = self.shape.height * self.width
        self.border = k.i64(SUPER // self.arith.group - 1)
        self.x, self.w = k.arg(0), k.arg(1)
        self.p = p = Parameters(k, PARAMETERS)
        self.arrays = Arrays(k, structure.finish, 2, len(PARAMETERS))
        self.steps, self.rows, self.sums, self.totals = (
            k.offset(k.scratch, p[f"{x}_at"], "i8") for x in ("steps", "rows", "sums", "totals"))
        lines = [p["size1"] * p["size2"], p["size2"], k.i64(1)]
        channel = p["size0"] * lines[0]
        origin = p["origin"]
        window.table(k, self.steps, [*(p[f"taps{i}"] for i in AXES), p["channels"]],
                     [*(p[f"tap{i}"] * lines[i] for i in AXES), channel], origin)
        window.table(k, self.rows, [p[f"block{i}"] for i in AXES], [p[f"stride{i}"] * lines[i] for i in AXES], k.i64(0))
        self.deep = k.compare("sgt", p["steps"], self.border + 1)
        k.loop(k.begin, k.end, body=self.task)

    def task(self, number: Val) -> None:
        k, p = self.k, self.p
        rest = k.udiv(number, p["parts"])
        part = number - rest * p["parts"]
        where: list[Val] = [k.i64(0)] * 3
        for i in reversed(AXES):
            outer = k.udiv(rest, p[f"blocks{i}"])
            where[i] = (rest - outer * p[f"blocks{i}"]) * p[f"block{i}"]
            rest = outer
        image = k.udiv(rest, p["groups"])
        group = rest - image * p["groups"]
        counts = [k.smin(p[f"block{i}"], p[f"out{i}"] - where[i]) for i in AXES]
        self.count = counts[0] * counts[1] * counts[2]
        self.first_row = (where[0] * p["out1"] + where[1]) * p["out2"] + where[2]
        source = k.offset(self.x, image * p["x_image"] + group * p["x_group"], element.memory(self.s.dtype))
        lines = window.Lines(self.arith, self.target, self.s.dtype, self.s.contiguous)
        window.fill(k, lines, p, source, [where[i] * p[f"stride{i}"] for i in AXES], k.scratch)
        self.bases = self.arrays.at((k.i64(0), image, group))
        self.panels_at = k.offset(self.w, group * p["entry"], self.arith.panel)
        first = part * p["part"]
        k.loop(first, k.smin(p["panels"], first + p["part"]), body=self.panel)

    def panel(self, j: Val) -> None:
        k, p, shape, arith = self.k, self.p, self.shape, self.arith
        wide = k.compare("slt", j, p["wide"])
        unit = j * shape.vectors - k.smax(k.i64(0), j - p["wide"])
        vectors = k.select(wide, k.i64(shape.widths[0]), k.i64(shape.widths[-1]))
        lane = unit * arith.lanes
        data = k.offset(self.panels_at, lane * (p["steps"] * arith.group), arith.panel)

        def one_pass(first: Val) -> None:
            last = k.smin(p["steps"], first + p["pass"])

            def tile(row: Val) -> None:
                index = k.udiv(row, k.i64(shape.height)) * self.size
                sums, totals = (k.offset(x, index, arith.acc) for x in (self.sums, self.totals))
                k.loop(first, last, BLOCK // arith.group, nonempty=True,
                       body=lambda at: self.block(row, wide, data, at, last, sums, totals))

                def finish() -> None:
                    rows = k.smin(k.i64(shape.height), self.count - row)
                    lanes = k.smin(vectors * arith.lanes, p["lanes"] - lane)
                    tile = Tile(k.select(self.deep, totals, sums), self.width, shape.height, self.width, rows, lanes)
                    emit_finish(k, self.s.finish, self.target, arith.lanes, tile,
                                *self.arrays.places(self.bases, self.first_row + row, lane))
                k.if_(k.compare("eq", last, p["steps"]), finish)
            k.loop(0, self.count, shape.height, body=tile, nonempty=True)
        k.loop(0, p["steps"], p["pass"], body=one_pass, nonempty=True)

    def block(self, row: Val, wide: Val, data: Val, begin: Val, last: Val, sums: Val, totals: Val) -> None:
        """One block of k of one tile."""
        k, p, shape, arith = self.k, self.p, self.shape, self.arith
        stop = k.smin(last, begin + BLOCK // arith.group)
        starts = []
        for i in range(shape.height):
            at = k.load(k.offset(self.rows, k.smin(row + i, self.count - 1), "i64"), I64)
            starts.append(k.offset(k.scratch, at, arith.panel))
        s = Stream(None, starts, k.i64(0), k.offset(self.steps, begin, "i64"))

        def body(vectors: int) -> None:
            width = vectors * arith.lanes * arith.group
            v = Stream(None, [k.offset(data, begin * width, arith.panel)], k.i64(width))
            found = chain(k, self.target, arith, shape.height, vectors, stop - begin, s, v)
            keep(k, arith, vectors, self.width, found, sums, k.compare("eq", k.and_(begin, self.border), k.i64(0)))

        widths = shape.widths
        if len(widths) == 1:
            body(widths[0])
        else:
            k.if_(wide, lambda: body(widths[0]), lambda: body(widths[1]))
        ends = k.or_(k.compare("eq", stop, p["steps"]), k.compare("eq", k.and_(stop, self.border), k.i64(0)))
        k.if_(k.and_(self.deep, ends), lambda: self.total(sums, totals, stop))

    def total(self, sums: Val, totals: Val, stop: Val) -> None:
        """Add the super-block that ends at step ``stop`` to the totals."""
        add_total(self.k, self.arith, self.size, sums, totals, self.k.compare("sle", stop, self.border + 1))


def build(structure: ConvStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure: operands are the image, packed weights, then the epilogue's arrays."""
    return lambda name, target: _Writer(name, target, structure).k.finish()
