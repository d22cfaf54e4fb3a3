"""The contraction kernel: tasks, cache blocks, register tiles, epilogue.

One task computes a rectangle of one batch entry's result: a part of the scalar dimension by a chunk of the vector
dimension. Inside a task:

    for each pass of k (a multiple of 256 steps of k)
        pack the chunk of the vector operand into scratch, if it is not packed yet (whole panels whose lanes are
        contiguous are packed by the first tile that reads them)
        for each block of scalar panels (one, or what fits L2)
            for each vector panel of the chunk (L1 and L2)
                for each scalar panel of the block
                    the register tile: sum, and in the last pass finish

The vector dimension is the one whose elements sit in the lanes of a register; the other's are broadcast. Which of
m and n plays which part is the schedule's choice, as are all block sizes: the kernel has them as parameters.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import I1, Kernel, KernelBuilder, Type, Val
from . import arithmetic, pack, tiles
from .arithmetic import SUPER, TILE_K, Arithmetic, Stepwise, Tiles
from .arrays import Arrays, Parameters, entry_of, moved
from .finish import Finish, Tile, emit_finish, finish_sums
from .operand import first_vector
from .tile import Shape, Stream, add_total, chain, gathered, hold

AHEAD = 16  # steps of k: so far ahead rows are prefetched by a tile that packs them
LINE = 64   # bytes of a cache line
#: i64 parameters, in order; behind them, for each epilogue array, those of ``arrays.ARRAY``
PARAMETERS = (
    "batch1", "batch2",                          # sizes of the inner two of three batch dimensions
    "s_count", "s_panels", "s_parts", "s_block",
    "v_count", "v_panels", "v_wide", "v_chunks", "v_group", "v_ahead",
    "k", "steps", "pass_steps",                  # elements and steps of k in all, steps in one pass
    "s_batch0", "s_batch1", "s_batch2", "s_row", "s_step", "s_panel",
    "v_batch0", "v_batch1", "v_batch2", "v_free", "v_step",
    "sums", "totals",                            # scratch: byte offsets of the tiles
)


@dataclass(frozen=True)
class Structure:
    """What a kernel is compiled for.

    Args:
        arith, shape: the register tile.
        s_dtype, s_mode: elements of the scalar operand; ``packed`` panels, or read in place with ``k``
            contiguous or with ``any`` strides.
        v_dtype, v_mode: elements of the vector operand; ``packed`` panels, ``direct`` rows of contiguous lanes,
            or packed by each task from a source that is contiguous along ``free``, ``k`` or not at all (``any``);
            other packages have modes of their own.
        finish: the last step.
    """

    arith: Arithmetic
    shape: Shape
    s_dtype: DType
    s_mode: str
    v_dtype: DType
    v_mode: str
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("gemm", self)


class Writer:
    """Writes one kernel; members set by a method hold until the next task or pass."""

    parameters = PARAMETERS
    fetches = True  # is the scalar operand so large that it comes from beyond the second-level cache?
    unit: Val     # of the vector panel at work: its first vector
    vectors: Val  # and how many it has
    after: Val    # where the first row of the next task's vector panel is

    def __init__(self, name: str, target: Target, structure: Structure) -> None:
        self.k = k = KernelBuilder(name, target.native)
        self.target, self.s = target, structure
        self.arith, self.shape = structure.arith, structure.shape
        self.width = self.shape.vectors * self.arith.lanes
        self.border = k.i64(SUPER // self.arith.group - 1)
        self.s_at, self.v_at = k.arg(0), k.arg(1)
        self.p = Parameters(k, self.parameters)
        self.arrays = Arrays(k, structure.finish, 2, len(self.parameters))
        #: None: packed panels
        self.s_dtype = None if structure.s_mode == "packed" else structure.s_dtype
        self.v_dtype = structure.v_dtype if structure.v_mode == "direct" else None
        #: may a panel be packed by the first tile that reads it?
        self.packs_with_tiles = structure.v_mode == "free" and not isinstance(structure.arith, Tiles)

    def elem(self, dtype: DType | None) -> str:
        return self.arith.panel if dtype is None else element.memory(dtype)

    # --- panels
    def unit_of(self, panel: Val) -> Val:
        """First vector of a vector panel."""
        return first_vector(self.k, panel, self.shape.vectors, self.p["v_panels"], self.p["v_wide"])

    def vectors_of(self, panel: Val) -> Val:
        """Vectors of a vector panel."""
        return self.unit_of(panel + 1) - self.unit_of(panel)

    # --- the task
    def place_of(self, task: Val) -> tuple[Val, Val, Val]:
        """The batch entry, the part and the chunk of a task."""
        k, p = self.k, self.p
        # chunks first: a thread's share, a row of tasks, is then whole parts of all chunks, larger ones and others;
        # or, where chunks are grouped, all parts of a group
        chunks, parts = p["v_chunks"], p["s_parts"]
        entry = k.udiv(task, chunks * parts)
        rest = task - entry * (chunks * parts)
        first = k.udiv(rest, p["v_group"] * parts) * p["v_group"]
        rest = rest - first * parts
        size = k.smin(p["v_group"], chunks - first)
        part = k.udiv(rest, size)
        return entry, part, first + rest - part * size

    def task(self, task: Val) -> None:
        k, p = self.k, self.p
        entry, part, chunk = self.place_of(task)
        indices = entry_of(k, entry, p)
        source = None if self.s.v_mode == "packed" else self.s.v_dtype
        self.s_base = moved(k, self.s_at, indices, p, "s_batch", self.elem(self.s_dtype))
        self.v_base = moved(k, self.v_at, indices, p, "v_batch", self.elem(source))
        self.bases = self.arrays.at(indices)
        self.p0, self.p1 = (k.udiv(x * p["s_panels"], p["s_parts"]) for x in (part, part + 1))
        self.j0, self.j1 = (k.udiv(x * p["v_panels"], p["v_chunks"]) for x in (chunk, chunk + 1))
        self.unit0 = self.unit_of(self.j0)
        if self.packs_with_tiles:
            entry, _, chunk = self.place_of(task + 1)
            base = moved(k, self.v_at, entry_of(k, entry, p), p, "v_batch", self.elem(source))
            lane = self.unit_of(k.udiv(chunk * p["v_panels"], p["v_chunks"])) * self.arith.lanes
            self.after = k.offset(base, lane, self.elem(source))
        k.loop(0, p["steps"], p["pass_steps"], body=self.one_pass, nonempty=True)

    def one_pass(self, first: Val) -> None:
        k, p = self.k, self.p
        self.first = first
        self.pass_end = k.smin(p["steps"], first + p["pass_steps"])
        self.steps = self.pass_end - first
        if self.s.v_mode not in ("packed", "direct"):
            self.pack_chunk()

        def strip(start: Val) -> None:  # a block of scalar panels
            stop = k.smin(self.p1, start + p["s_block"])

            def vector_panel(j: Val) -> None:
                self.unit, self.vectors = self.unit_of(j), self.vectors_of(j)

                def block(at: Val) -> None:  # of 256 k
                    k.loop(start, stop, body=lambda i: self.tile(i, j, i - start, at), nonempty=True)
                k.loop(0, self.steps, self.arith.block // self.arith.group, body=block, nonempty=True)
            k.loop(self.j0, self.j1, body=vector_panel, nonempty=True)
        k.loop(self.p0, self.p1, p["s_block"], body=strip, nonempty=True)

    def scratch_panel(self, panel: Val) -> Val:
        """Where this task's packed copy of a vector panel is."""
        return self.packed(self.unit_of(panel))

    def packed(self, unit: Val) -> Val:
        size = self.arith.lanes * self.arith.group
        return self.k.offset(self.k.scratch, (unit - self.unit0) * size * self.steps, self.arith.panel)

    def pack_chunk(self) -> None:
        """Pack the task's part of the vector operand, but for the panels that their first tiles pack."""
        k = self.k

        def panel(j: Val) -> None:
            if not self.packs_with_tiles:
                self.pack_panel(j)
                return
            k.if_(self.packs_itself(self.unit_of(j + 1)), lambda: None, lambda: self.pack_panel(j))
        k.loop(self.j0, self.j1, body=panel, nonempty=True)

    def packs_itself(self, end: Val) -> Val:
        """Is a panel with contiguous lanes that ends before vector ``end`` packed by its first tile? If it is whole."""
        k, p = self.k, self.p
        whole = k.compare("sle", end * self.arith.lanes, p["v_count"])
        return k.and_(whole, k.compare("eq", k.and_(p["k"], k.i64(self.arith.group - 1)), k.i64(0)))

    def pack_panel(self, panel: Val) -> None:
        """Pack the pass's steps of a panel."""
        k, p, mode, group = self.k, self.p, self.s.v_mode, self.arith.group
        lane, start = self.unit_of(panel) * self.arith.lanes, self.first * group
        free = k.i64(1) if mode == "free" else p["v_free"]
        along = k.i64(1) if mode == "k" else p["v_step"]
        source = k.offset(self.v_base, lane * free + start * along, element.memory(self.s.v_dtype))
        vectors = self.vectors_of(panel)
        pack.vectors(k, self.arith, self.target,
                     pack.Source(self.s.v_dtype, mode, source, free, along, p["v_count"] - lane,
                                 k.smin(p["k"] - start, self.steps * group)),
                     self.scratch_panel(panel), vectors)

    # --- one tile
    def tile(self, i: Val, j: Val, near: Val, at: Val) -> None:
        """Add the block of k that starts at step ``at`` of the pass; ``near`` numbers the tiles of this strip."""
        k, p, arith = self.k, self.p, self.arith
        one_pass = k.compare("sge", p["pass_steps"], p["steps"])
        index = k.select(one_pass, near, (j - self.j0) * (self.p1 - self.p0) + (i - self.p0))
        size = self.shape.height * self.width
        sums = k.offset(k.offset(k.scratch, p["sums"], "i8"), index * size, arith.acc)
        totals = k.offset(k.offset(k.scratch, p["totals"], "i8"), index * size, arith.acc)
        begin = self.first + at
        stop = k.smin(self.pass_end, begin + arith.block // arith.group)
        row, lane = i * self.shape.height, self.unit * arith.lanes

        if self.packs_with_tiles:
            self.fetch_panel(i, lane, at)
        fresh = k.compare("eq", k.and_(begin, self.border), k.i64(0))
        deep = k.compare("sgt", p["steps"], self.border + 1)
        last = k.compare("eq", stop, p["steps"])

        def body(vectors: int) -> list[Val]:
            """Is the tile finished?"""
            v = self.v_stream(lane, vectors, begin, at)
            if isinstance(arith, Tiles):
                tiles.block(k, self.shape.height, vectors, stop - begin, self.left(i, row, begin),
                            (v.start[0], v.step * 2), fresh, sums, self.width)
                return [k.const(0, I1)]
            steps, left = stop - begin, self.s_stream(i, row, begin)
            if {*self.s.finish.outputs} == {"vector"} and "vector" in self.s.finish.inputs:
                k.if_(last, lambda: self.fetch_results(row, lane, vectors))

            def product(right: Stream | Callable[[Val], list[Val]], arith: Stepwise = arith) -> tuple[Val, ...]:
                return chain(k, self.target, arith, self.shape.height, vectors, steps, left, right)
            if self.packs_with_tiles:
                packs = k.and_(k.compare("eq", i, self.p0), self.packs_itself(self.unit + self.vectors))
                block = k.if_(packs, lambda: product(self.packing(lane, vectors, begin, at)), lambda: product(v))
            else:
                block = product(v)
            found = gathered(k, arith, vectors, self.width, block, sums, fresh)
            if not self.s.finish.light:
                hold(k, arith, vectors, self.width, found, sums)
                return [k.const(0, I1)]
            rows, lanes = row + self.shape.height, lane + vectors * arith.lanes
            whole = k.and_(k.compare("sle", rows, p["s_count"]), k.compare("sle", lanes, p["v_count"]))
            ready = k.and_(k.and_(last, whole), k.xor(deep, k.const(1, I1)))
            inputs, outputs = self.arrays.places(self.bases, row, lane)
            k.if_(ready, lambda: finish_sums(k, self.s.finish, self.target, vectors, found, inputs, outputs),
                  lambda: hold(k, arith, vectors, self.width, found, sums))
            return [ready]

        widths = self.shape.widths
        if len(widths) == 1:
            done, = body(widths[0])
        else:
            wide = k.compare("eq", self.vectors, k.i64(widths[0]))
            done, = k.if_(wide, lambda: body(widths[0]), lambda: body(widths[1]))
        ends = k.compare("eq", k.and_(stop, self.border), k.i64(0))
        k.if_(k.and_(deep, k.or_(last, ends)), lambda: self.total(sums, totals, stop))
        k.if_(k.and_(last, k.xor(done, k.const(1, I1))),
              lambda: self.finish(k.select(deep, totals, sums), row, lane))

    def total(self, sums: Val, totals: Val, stop: Val) -> None:
        """Add the super-block that ends at step ``stop`` to the totals."""
        add_total(self.k, self.arith, self.shape.height * self.width, sums, totals,
                  self.k.compare("sle", stop, self.border + 1))

    def s_stream(self, panel: Val, row: Val, begin: Val) -> Stream:
        k, p, height, group = self.k, self.p, self.shape.height, self.arith.group
        elem = self.elem(self.s_dtype)
        if self.s.s_mode == "packed":
            start = k.offset(self.s_base, panel * p["s_panel"] + begin * (height * group), elem)
            rows = [k.offset(start, i * group, elem) for i in range(height)]
            return Stream(self.s_dtype, rows, k.i64(height * group), ahead=self.s_ahead(start))
        step = k.i64(1) if self.s.s_mode == "k" else p["s_step"]
        start, last = k.offset(self.s_base, begin * step, elem), p["s_count"] - 1
        return Stream(self.s_dtype, [k.offset(start, k.smin(row + i, last) * p["s_row"], elem) for i in range(height)],
                      step)

    def s_ahead(self, start: Val) -> Val | None:
        """What lies behind a block of packed scalars that begins at ``start``: the next block of k, or the next panel.

        They are one stream of cache lines, and the processor alone does not fetch far enough ahead (eight rows in place
        are eight streams: there it does).
        """
        # steps of other instruction sets have few instructions to spare, those of bytes no register
        if not self.fetches or self.target.isa != "avx512" or isinstance(self.arith, arithmetic.Bytes):
            return None
        return self.k.offset(start, self.arith.block * self.shape.height, self.elem(self.s_dtype))

    def left(self, panel: Val, row: Val, begin: Val) -> tuple[Val, Val, Val]:
        """The scalar operand in tiles: pointer, bytes from row to row, bytes from tile to tile of k."""
        k, p, height = self.k, self.p, self.shape.height
        if self.s.s_mode == "packed":
            at = k.offset(self.s_base, panel * p["s_panel"] + begin * (height * self.arith.group), "i16")
            return at, k.i64(2 * TILE_K), k.i64(2 * TILE_K * height)
        return (k.offset(self.s_base, row * p["s_row"] + begin * self.arith.group, "i16"), p["s_row"] * 2,
                k.i64(2 * TILE_K))

    def v_stream(self, lane: Val, vectors: int, begin: Val, at: Val) -> Stream:
        k, p, elem = self.k, self.p, self.elem(self.v_dtype)
        width = vectors * self.arith.lanes * self.arith.group
        if self.s.v_mode == "direct":
            return Stream(self.v_dtype, [k.offset(self.v_base, lane + begin * p["v_step"], elem)], p["v_step"])
        if self.s.v_mode == "packed":
            start = k.offset(self.v_base, lane * self.arith.group * p["steps"] + begin * width, elem)
        else:
            start = k.offset(self.packed(self.unit), at * width, elem)
        return Stream(self.v_dtype, [start], k.i64(width))

    def packing(self, lane: Val, vectors: int, begin: Val, at: Val) -> Callable[[Val], list[Val]]:
        """Loads the vectors of a step from rows of contiguous lanes, and packs them for the tiles to come."""
        k, p, arith = self.k, self.p, self.arith
        elem, lanes, group = element.memory(self.s.v_dtype), arith.lanes, arith.group
        source = k.offset(self.v_base, lane + begin * group * p["v_step"], elem)
        panel = k.offset(self.packed(self.unit), at * (vectors * lanes * group), arith.panel)

        def step(number: Val) -> list[Val]:
            order = reversed(range(group)) if arith.exchanged else range(group)
            rows = [k.offset(source, (number * group + g) * p["v_step"], elem) for g in order]
            found = []
            for j in range(vectors):
                raw = [k.load(k.offset(row, j * lanes, elem), Type(elem, lanes)) for row in rows]
                for row in rows:
                    k.prefetch(k.offset(row, p["v_step"] * (AHEAD * group) + j * lanes, elem))
                value = pack.interleave(k, [pack.converted(k, arith, r, self.s.v_dtype, False) for r in raw])
                k.store(value, k.offset(panel, (number * vectors + j) * (lanes * group), arith.panel))
                found.append(value)
            return found
        return step

    def fetch_panel(self, i: Val, lane: Val, at: Val) -> None:
        """Fetch some rows of the vector panel that is packed next: in the next pass, or by the next task.

        All tiles together fetch all of it. It may not exist: nothing reads it then.
        """
        k, p, elem, group = self.k, self.p, element.memory(self.s.v_dtype), self.arith.group
        last = k.compare("eq", self.pass_end, p["steps"])
        here = k.offset(self.v_base, lane + self.pass_end * group * p["v_step"], elem)
        first = (at * group + (i - self.p0) * p["v_ahead"]) * p["v_step"]
        start = k.offset(k.select(last, self.after, here), first, elem)
        size = self.width * arithmetic.nbytes(elem)

        def row(number: Val) -> None:
            begin = k.offset(start, number * p["v_step"], elem)
            for place in (*range(0, size - 1, LINE), size - 1):
                k.prefetch(k.offset(begin, place, "i8"), level=2)
        k.loop(0, p["v_ahead"], body=row)

    def fetch_results(self, row: Val, lane: Val, vectors: int) -> None:
        """Fetch what an update behind the product will write, and mostly reads: its new values take the place of the
        old ones."""
        k, finish = self.k, self.s.finish
        for n, place in enumerate(self.arrays.places(self.bases, row, lane)[1]):
            elem = element.memory(finish.output_dtype(n))
            for i in range(self.shape.height):
                start = k.offset(place.at, place.row * i, elem)
                for at in range(0, vectors * self.arith.lanes * arithmetic.nbytes(elem), LINE):
                    k.prefetch(k.offset(start, at, "i8"), write=True)

    def finish(self, at: Val, row: Val, lane: Val) -> None:
        k, p = self.k, self.p
        rows = k.smin(k.i64(self.shape.height), p["s_count"] - row)
        lanes = k.smin(self.vectors * self.arith.lanes, p["v_count"] - lane)
        tile = Tile(at, self.width, self.shape.height, self.width, rows, lanes)
        emit_finish(k, self.s.finish, self.target, self.arith.lanes, tile, *self.arrays.places(self.bases, row, lane))


def build(structure: Structure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure."""
    def make(name: str, target: Target) -> Kernel:
        writer = Writer(name, target, structure)
        in_tiles = isinstance(structure.arith, Tiles)
        if in_tiles:
            tiles.open_tiles(writer.k)
        writer.k.loop(writer.k.begin, writer.k.end, body=writer.task)
        if in_tiles:
            tiles.close_tiles(writer.k)
        return writer.k.finish()
    return make
