"""The kernel of the weight's gradient: windows of the input times the output gradient, summed over positions.

The contracted dimension is the flattened order of (image, positions). One task takes a super-block of it, a part of
the input channels and a range of panels of output channels (lanes):

    for each pass (a multiple of 256 positions)
        copy what its positions see into scratch: for each channel and each tap along depth, a plane of the input's
        lines, cut into *pieces* of at most 256 positions
        for each panel of output channels
            pack the gradient's positions of the pass
            for each block of 256 positions
                for each tile of (channel, tap) rows (broadcast)
                    the register tile: sum, and in the last block finish

A plane holds the lines of consecutive *sheets* (images, and their positions along depth), ``sheet`` lines each, as many
as the positions of a sheet see: the taps along height are the same lines, some further. So a line is copied once.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..gemm import pack
from ..gemm.arithmetic import BLOCK, Plain
from ..gemm.arrays import Arrays, Parameters
from ..gemm.finish import Finish, Tile, emit_finish
from ..gemm.tile import Shape, Stream, chain, keep
from ..ir import I64, Kernel, KernelBuilder, Type, Val
from . import window

PARAMETERS = (
    "supers", "channel_parts", "channel_part", "lane_parts", "lane_part", "panels", "wide",
    "channels", "lanes", "positions", "k", "super", "pass",
    "out0", "out1", "out2", "pieces", "piece",               # positions; pieces of a line and their most positions
    "x_image", "x_group", "x_channel", "x0", "x1", "x2", "in0", "in1", "first2", "sites2", "size2",
    "sheet", "pitch", "plane",                               # lines of a sheet; elements of a piece, of a plane
    "stride0", "stride1", "stride2", "low0", "low1", "dilation0", "dilation1", "tap2", "taps0", "taps1", "taps2",
    "g_image", "g_group", "g_lane", "g_position",
    "ahead",                                                 # cache lines of the next pass that each tile fetches
    "steps_at", "rows_at", "panel_at", "cursor_at", "sums_at",  # scratch: byte offsets
)


@dataclass(frozen=True)
class WeightGradStructure:
    """What a kernel is compiled for; ``g_mode``: what is contiguous in the gradient (``pack.MODES``)."""

    arith: Plain
    shape: Shape
    dtype: DType
    contiguous: bool
    g_mode: str
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("conv_weight_grad", self)


class _Writer:
    """Writes one kernel; members set by a method hold until the next task or pass."""

    def __init__(self, name: str, target: Target, structure: WeightGradStructure) -> None:
        self.k = k = KernelBuilder(name, target.native)
        self.target, self.s = target, structure
        self.arith, self.shape = structure.arith, structure.shape
        self.width = self.shape.vectors * self.arith.lanes
        self.size = self.shape.height * self.width
        self.x, self.g = k.arg(0), k.arg(1)
        self.p = p = Parameters(k, PARAMETERS)
        self.arrays = Arrays(k, structure.finish, 2, len(PARAMETERS))
        self.lines = window.Lines(self.arith, target, structure.dtype, structure.contiguous)
        self.elem = element.memory(structure.dtype)
        self.steps, self.rows, self.packed, self.cursor, self.sums = (
            k.offset(k.scratch, p[f"{x}_at"], "i8") for x in ("steps", "rows", "panel", "cursor", "sums"))
        self.taps = p["taps0"] * p["taps1"]
        self.reach = p["dilation1"] * p["pieces"]  # pieces from one tap along height to the next
        window.table(k, self.rows, [p["channel_part"], p["taps0"], p["taps1"], p["taps2"]],
                     [p["taps0"] * p["plane"], p["plane"], self.reach * p["pitch"], p["tap2"]], k.i64(0))
        k.loop(k.begin, k.end, body=self.task)

    def task(self, number: Val) -> None:
        k, p, shape = self.k, self.p, self.shape
        # super-blocks first: a thread's share, a row of tasks, is then even also where the last one is short
        rest = k.udiv(number, p["supers"])
        super_block = number - rest * p["supers"]
        outer = k.udiv(rest, p["lane_parts"])
        first_panel = (rest - outer * p["lane_parts"]) * p["lane_part"]
        self.panels = first_panel, k.smin(p["panels"], first_panel + p["lane_part"])
        group = k.udiv(outer, p["channel_parts"])
        self.first_channel = (outer - group * p["channel_parts"]) * p["channel_part"]
        self.part = k.smin(p["channel_part"], p["channels"] - self.first_channel)
        self.count = self.part * self.taps * p["taps2"]
        self.source = k.offset(self.x, group * p["x_group"] + self.first_channel * p["x_channel"], self.elem)
        self.gradient = k.offset(self.g, group * p["g_group"], self.elem)
        self.bases = self.arrays.at((k.i64(0), super_block, group))
        self.row_tiles = k.udiv(self.count + (shape.height - 1), k.i64(shape.height))
        self.begin = super_block * p["super"]
        self.end = k.smin(p["k"], self.begin + p["super"])
        k.loop(self.begin, self.end, p["pass"], body=self.one_pass, nonempty=True)

    def piece_of(self, position: Val) -> tuple[Val, Val]:
        """Number of the piece that a position sees through the first tap, and the place in it."""
        k, p = self.k, self.p
        line = k.udiv(position, p["out2"])
        column = position - line * p["out2"]
        sheet = k.udiv(line, p["out1"])
        piece = k.udiv(column, p["piece"])
        row = sheet * p["sheet"] + (line - sheet * p["out1"]) * p["stride1"]
        return row * p["pieces"] + piece, column - piece * p["piece"]

    def one_pass(self, first: Val) -> None:
        k, p, shape = self.k, self.p, self.shape
        last = k.smin(self.end, first + p["pass"])
        first_piece, _ = self.piece_of(first)
        last_piece, _ = self.piece_of(last - 1)

        def step(at: Val) -> None:
            piece, inside = self.piece_of(at)
            k.store((piece - first_piece) * p["pitch"] + inside * p["stride2"],
                    k.offset(self.steps, at - first, "i64"))
        k.loop(first, last, body=step, nonempty=True)
        self.lines.clear(k, k.scratch, self.part * p["taps0"] * p["plane"])
        after = last_piece + 1 + (p["taps1"] - 1) * self.reach
        k.loop(0, p["pieces"], body=lambda piece: self.copy_pieces(piece, first_piece, after), nonempty=True)

        fetch = self.fetching(last)

        def panel(j: Val) -> None:
            wide = k.compare("slt", j, p["wide"])
            vectors = k.select(wide, k.i64(shape.widths[0]), k.i64(shape.widths[-1]))
            lane = (j * shape.vectors - k.smax(k.i64(0), j - p["wide"])) * self.arith.lanes
            self.pack(first, last, lane, vectors)
            base = (j - self.panels[0]) * self.row_tiles

            def tile(at: Val, row: Val) -> None:
                fetch()
                index = (base + k.udiv(row, k.i64(shape.height))) * self.size
                sums = k.offset(self.sums, index, self.arith.acc)
                self.block(row, wide, at - first, k.smin(k.i64(BLOCK), last - at), sums,
                           k.compare("eq", at, self.begin))

                def finish() -> None:
                    rows = k.smin(k.i64(shape.height), self.count - row)
                    lanes = k.smin(vectors * self.arith.lanes, p["lanes"] - lane)
                    tile = Tile(sums, self.width, shape.height, self.width, rows, lanes)
                    start = self.first_channel * (self.taps * p["taps2"]) + row
                    emit_finish(k, self.s.finish, self.target, self.arith.lanes, tile,
                                *self.arrays.places(self.bases, start, lane))
                k.if_(k.compare("sge", at + BLOCK, self.end), finish)
            k.loop(first, last, BLOCK, nonempty=True, body=lambda at: k.loop(
                0, self.count, shape.height, body=lambda row: tile(at, row), nonempty=True))
        k.loop(*self.panels, body=panel, nonempty=True)

    def fetching(self, last: Val) -> Callable[[], None]:
        """What fetches a few cache lines of images that begin in the pass behind ``last``, each time further ones."""
        k, p = self.k, self.p
        image = k.udiv(last - 1, p["positions"]) + 1
        after = k.udiv(k.smin(p["k"], last + p["pass"]) - 1, p["positions"]) + 1
        line = 512 // Type(self.elem).bits  # elements of a cache line

        def lines_of(extent: Val) -> Val:
            return k.udiv(k.smax(extent, k.i64(0)) + (line - 1), k.i64(line))
        first = self.panels[0] * self.shape.vectors - k.smax(k.i64(0), self.panels[0] - p["wide"])
        lanes = k.smin((self.panels[1] - self.panels[0]) * self.width, p["lanes"] - first * self.arith.lanes)
        x_lines = lines_of(k.smin(self.part * p["x_channel"], p["x_image"]))
        g_lines = lines_of(k.smin(lanes * p["g_lane"], p["g_image"]))
        size = x_lines + g_lines
        total = (after - image) * size
        gradient = k.offset(self.gradient, first * self.arith.lanes * p["g_lane"], self.elem)
        k.store(k.i64(0), self.cursor)

        def fetch() -> None:
            cursor = k.load(self.cursor, I64)

            def some() -> None:
                number = k.udiv(cursor, size)
                within = cursor - number * size
                of_x = k.compare("slt", within, x_lines)
                count = k.smin(p["ahead"], k.select(of_x, x_lines, size) - within)
                number = image + number
                at = k.select(of_x, k.offset(self.source, number * p["x_image"] + within * line, self.elem),
                              k.offset(gradient, number * p["g_image"] + (within - x_lines) * line, self.elem))
                k.loop(0, count, body=lambda i: k.prefetch(k.offset(at, i * line, self.elem)))
                k.store(cursor + count, self.cursor)
            k.if_(k.and_(k.compare("slt", cursor, total), k.compare("sgt", p["ahead"], k.i64(0))), some)
        return fetch

    def copy_pieces(self, piece: Val, begin: Val, after: Val) -> None:
        """What lies in the planes of one piece of every line; pieces ``begin <= n < after`` are wanted."""
        k, p = self.k, self.p
        start = piece * p["piece"] * p["stride2"]
        first, last = window.sites(k, p, 2, start)
        inside = p["first2"] + first - start

        def sheet(number: Val) -> None:
            top = number * p["sheet"]  # its first line

            def rows_before(n: Val) -> Val:
                return k.udiv(k.smax(n - piece - top * p["pieces"], k.i64(0)) + (p["pieces"] - 1), p["pieces"])
            rows = (k.smax(rows_before(begin), p["low1"]),
                    k.smin(k.smin(rows_before(after), p["sheet"]), p["in1"] + p["low1"]))
            image = k.udiv(number, p["out0"])
            d0 = (number - image * p["out0"]) * p["stride0"] - p["low0"]
            source = k.offset(self.source, image * p["x_image"], self.elem)

            def channel(c: Val) -> None:
                def depth(td: Val) -> None:
                    d = d0 + td * p["dilation0"]
                    plane = k.offset(k.scratch, (c * p["taps0"] + td) * p["plane"] + inside, self.arith.panel)

                    def row(_y: Val, at: Val, into: Val) -> list[Val]:
                        self.lines.copy(k, at, into, first, last, p["x2"])
                        return [k.offset(at, p["x1"], self.elem),
                                k.offset(into, p["pieces"] * p["pitch"], self.arith.panel)]
                    at = c * p["x_channel"] + d * p["x0"] + (rows[0] - p["low1"]) * p["x1"]
                    into = ((top + rows[0]) * p["pieces"] + piece - begin) * p["pitch"]
                    k.if_(k.compare("ult", d, p["in0"]), lambda: k.loop(*rows, init=[
                        k.offset(source, at, self.elem), k.offset(plane, into, self.arith.panel)], body=row) and None)
                k.loop(0, p["taps0"], body=depth, nonempty=True)
            k.loop(0, self.part, body=channel, nonempty=True)
        size = p["sheet"] * p["pieces"]
        k.loop(k.udiv(begin, size), k.udiv(after - 1, size) + 1, body=sheet, nonempty=True)

    def pack(self, first: Val, last: Val, lane: Val, vectors: Val) -> None:
        """The gradient's panel for the positions of a pass, image by image."""
        k, p, s = self.k, self.p, self.s
        free = k.i64(1) if s.g_mode == "free" else p["g_lane"]
        along = k.i64(1) if s.g_mode == "k" else p["g_position"]

        def image(n: Val) -> None:
            start, stop = k.smax(first, n * p["positions"]), k.smin(last, (n + 1) * p["positions"])
            at = n * p["g_image"] + (start - n * p["positions"]) * along + lane * free
            source = pack.Source(s.dtype, s.g_mode, k.offset(self.gradient, at, self.elem), free, along,
                                 p["lanes"] - lane, stop - start)
            to = k.offset(self.packed, (start - first) * (vectors * self.arith.lanes), self.arith.panel)
            pack.vectors(k, self.arith, self.target, source, to, vectors)
        k.loop(k.udiv(first, p["positions"]), k.udiv(last - 1, p["positions"]) + 1, body=image, nonempty=True)

    def block(self, row: Val, wide: Val, begin: Val, steps: Val, sums: Val, fresh: Val) -> None:
        """One block of positions of one tile; ``fresh``: the first."""
        k, shape, arith = self.k, self.shape, self.arith
        starts = []
        for i in range(shape.height):
            at = k.load(k.offset(self.rows, k.smin(row + i, self.count - 1), "i64"), I64)
            starts.append(k.offset(k.scratch, at, arith.panel))
        s = Stream(None, starts, k.i64(0), k.offset(self.steps, begin, "i64"))

        def body(vectors: int) -> None:
            width = vectors * arith.lanes
            v = Stream(None, [k.offset(self.packed, begin * width, arith.panel)], k.i64(width))
            found = chain(k, self.target, arith, shape.height, vectors, steps, s, v)
            keep(k, arith, vectors, self.width, found, sums, fresh)
        widths = shape.widths
        if len(widths) == 1:
            body(widths[0])
        else:
            k.if_(wide, lambda: body(widths[0]), lambda: body(widths[1]))


def build(structure: WeightGradStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure: operands are the image, the output gradient, then the epilogue's arrays."""
    return lambda name, target: _Writer(name, target, structure).k.finish()
