"""Convolutions with positions in lanes, read where they lie: from copies of the image's lines, one for each column tap.

The weight is the scalar operand, in packed panels. A task copies the lines that its positions see into *planes* of
its scratch memory, one plane for each (channel, class, column tap): element ``column`` of a line is what the position
in that column sees through the tap, zero outside the image. The lines of a plane follow each other without a gap, as
positions do, so that neighbouring positions are neighbours there, also across ends of lines; another row tap is the
same plane, some lines further. With stride, rows of one residue make up a *class*. Where a plane begins for each step
of k stands in a table.

Against packing every (tap, channel) on its own (``positions``) this copies a line once for each column tap instead of
once for each tap, and a block of k finds neighbouring taps in the same cache lines. It takes whole lines, of one
plane of depth.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.target import Target
from .. import element
from ..gemm import kernel
from ..gemm.arrays import by_tasks, entry_of, moved
from ..gemm.tile import Stream
from ..ir import I64, Kernel, Type, Val
from .positions import lane_masks, load_sites

#: ``shift``: of row tap 0, in rows; ``first``: row of the image's first line; ``reach``: rows of a position beyond
#: its own, in units of the stride; ``plane``: elements of a plane; ``ahead``: cache lines of the next task's image
#: that each tile fetches; ``table``, ``cursor``: byte offsets in scratch
PARAMETERS = (*kernel.PARAMETERS, "channels", "x_channel", "x_row", "x_column", "rows", "columns", "width", "taps",
              "column_taps", "tap", "column_tap", "shift", "first", "low", "stride", "column_stride", "classes",
              "reach", "plane", "table", "ahead", "cursor")

@dataclass(frozen=True)
class LineStructure(kernel.Structure):
    """A contraction's structure whose ``v_mode`` is one of ``positions.MODES``."""

    @property
    def key(self) -> tuple:
        return ("conv_lines", self)


class _Writer(kernel.Writer):
    parameters = PARAMETERS
    fetches = False  # weights are small

    def __init__(self, name: str, target: Target, structure: LineStructure) -> None:
        super().__init__(name, target, structure)
        k, p = self.k, self.p
        self.table = k.offset(k.scratch, p["table"], "i8")

        def row_tap(t: Val) -> None:
            row = t * p["tap"] + p["shift"]
            lines = k.udiv(row, p["stride"])
            kind = row - lines * p["stride"]

            def column_tap(tc: Val) -> None:
                at = (kind * p["column_taps"] + tc) * p["plane"] + lines * p["width"]
                to = (t * p["column_taps"] + tc) * p["channels"]
                k.loop(0, p["channels"], nonempty=True, body=lambda c: k.store(
                    at + c * (p["classes"] * p["column_taps"] * p["plane"]), k.offset(self.table, to + c, "i64")))
            k.loop(0, p["column_taps"], body=column_tap, nonempty=True)
        k.loop(0, p["taps"], body=row_tap, nonempty=True)

    def v_stream(self, lane: Val, vectors: int, begin: Val, at: Val) -> Stream:
        start = self.k.offset(self.k.scratch, lane - self.line0 * self.p["width"], self.arith.panel)
        return Stream(None, [start], self.k.i64(0), self.k.offset(self.table, begin, "i64"))

    def lines_of(self, unit: Val, after: Val) -> tuple[Val, Val]:
        """The first line of a task with these vectors of positions, and how many its planes have."""
        k, p, lanes = self.k, self.p, self.arith.lanes
        first = k.udiv(unit * lanes, p["width"])
        last = k.udiv(k.smin(after * lanes, p["v_count"]) - 1, p["width"])
        return first, last + 1 - first + p["reach"]

    def task(self, task: Val) -> None:
        """Also finds out what the next task will read: the tiles of this one fetch it, a few cache lines each."""
        k, p, elem = self.k, self.p, element.memory(self.s.v_dtype)
        entry, _, chunk = self.place_of(task + 1)
        panels = [k.udiv(x * p["v_panels"], p["v_chunks"]) for x in (chunk, chunk + 1)]
        first, lines = self.lines_of(self.unit_of(panels[0]), self.unit_of(panels[1]))
        start = k.smax(first * p["stride"] - p["first"], k.i64(0))
        base = moved(k, self.v_at, entry_of(k, entry, p), p, "v_batch", elem)
        self.next = k.offset(base, start * p["x_row"], elem)
        extent = k.smin(p["rows"] - start, lines * p["stride"]) * p["x_row"]
        self.line = 512 // Type(elem).bits  # elements of a cache line
        self.next_lines = k.udiv(k.smax(k.smin(extent, p["x_channel"]), k.i64(0)) + (self.line - 1), k.i64(self.line))
        self.cursor = k.offset(k.scratch, p["cursor"], "i8")
        k.store(k.i64(0), self.cursor)
        super().task(task)

    def tile(self, i: Val, j: Val, near: Val, at: Val) -> None:
        k, p, elem = self.k, self.p, element.memory(self.s.v_dtype)
        cursor = k.load(self.cursor, I64)

        def fetch() -> None:
            channel = k.udiv(cursor, self.next_lines)
            within = cursor - channel * self.next_lines
            count = k.smin(p["ahead"], self.next_lines - within)
            source = k.offset(self.next, channel * p["x_channel"] + within * self.line, elem)
            k.loop(0, count, body=lambda n: k.prefetch(k.offset(source, n * self.line, elem)), nonempty=True)
            k.store(cursor + count, self.cursor)
        k.if_(k.compare("slt", cursor, self.next_lines * p["channels"]), fetch)
        super().tile(i, j, near, at)

    def pack_chunk(self) -> None:
        """Copy the lines of the task's positions, in its first pass."""
        k, p = self.k, self.p
        self.line0, lines = self.lines_of(self.unit0, self.unit_of(self.j1))
        k.if_(k.compare("eq", self.first, k.i64(0)),
              lambda: k.loop(0, p["channels"], body=lambda c: self.copy(c, lines), nonempty=True))

    def copy(self, c: Val, lines: Val) -> None:
        """The lines of a channel."""
        k, p, elem, lanes = self.k, self.p, element.memory(self.s.v_dtype), self.arith.lanes
        channel = k.offset(self.v_base, c * p["x_channel"], elem)
        count = k.udiv(p["width"] + (lanes - 1), k.i64(lanes))

        def each(kind: Val) -> None:
            # line n of this class lies in row n * stride + start of the image
            start = self.line0 * p["stride"] + kind - p["first"]

            def lines_before(row: Val) -> Val:
                return k.smin(lines, k.udiv(k.smax(row - start, k.i64(0)) + (p["stride"] - 1), p["stride"]))
            inside = lines_before(k.i64(0)), lines_before(p["rows"])
            source = k.offset(channel, (start + inside[0] * p["stride"]) * p["x_row"], elem)

            def tap(tc: Val) -> None:
                number = (c * p["classes"] + kind) * p["column_taps"] + tc
                k.loop(0, count, nonempty=True, body=lambda i: self.vector(
                    source, tc * p["column_tap"] + p["low"], (count - 1 - i) * lanes, inside, lines,
                    k.offset(k.scratch, number * p["plane"], self.arith.panel)))
            k.loop(0, p["column_taps"], body=tap, nonempty=True)
        k.loop(0, p["classes"], body=each, nonempty=True)

    def vector(self, source: Val, low: Val, column: Val, inside: tuple[Val, Val], lines: Val, to: Val) -> None:
        """One vector of every line of a plane.

        Stores are whole vectors: a line's last one runs into the line behind it, which is written later. So the last
        vectors of lines come first.
        """
        k, p, arith = self.k, self.p, self.arith
        lanes, dtype, mode = arith.lanes, self.s.v_dtype, self.s.v_mode
        elem = element.memory(dtype)
        zero = k.const(0, Type(arith.panel, lanes))
        site = column * p["column_stride"] + low
        masks = lane_masks(k, mode, lanes, site, p["columns"], p["width"] - column, p["column_stride"])
        step = p["stride"] * p["x_row"]

        def blank(_n: Val, to: Val) -> list[Val]:
            k.store(zero, to)
            return [k.offset(to, p["width"], arith.panel)]

        def line(_n: Val, to: Val, here: Val) -> list[Val]:
            raw = load_sites(k, mode, here, masks, elem, lanes, p["column_stride"] * p["x_column"])
            k.store(arith.to_panel(k, element.widen(k, raw, dtype), dtype), to)
            return [k.offset(to, p["width"], arith.panel), k.offset(here, step, elem)]

        here, = k.loop(0, inside[0], init=[k.offset(to, column, arith.panel)], body=blank)
        here, _ = k.loop(*inside, init=[here, k.offset(source, site * p["x_column"], elem)], body=line)
        k.loop(inside[1], lines, init=[here], body=blank)


def build(structure: LineStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure: operands are the packed weight, the image, then the epilogue's arrays."""
    return by_tasks(_Writer, structure)
