"""Few rows times a matrix whose rows are contiguous: the matrix is read once, in long pieces of whole rows.

A task owns a chunk of columns. It walks down k, a few rows of the matrix at a time, and keeps one running sum per
result in cache memory, so that memory sees a few sequential streams; a register tile would read short pieces at
large strides. Up to ``MOST_ROWS`` rows; more have enough arithmetic for the tiled kernel. Bound by the read
bandwidth up to about four rows, by the first-level cache above.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import Kernel, KernelBuilder, Val
from . import arithmetic
from .arithmetic import BLOCK, SUPER, Plain
from .arrays import Arrays, Parameters, by_tasks, entry_of, moved
from .finish import Finish, Tile, emit_finish

MOST_ROWS = 8
HEIGHTS = (1, 2, 4, 8)
PAD = 208      # elements between the sums of two rows beyond the chunk: no two rows fall on the same cache sets
RUN_BYTES = 4096  # of a row that a task reads at a time, at least: processors look no further ahead than a page
STRIP = 64     # columns that are finished together

PARAMETERS = (
    "batch1", "batch2", "s_count", "v_count", "v_chunks", "v_chunk", "k",
    "s_batch0", "s_batch1", "s_batch2", "s_row", "s_step",
    "v_batch0", "v_batch1", "v_batch2", "v_step",
)


@dataclass(frozen=True)
class RowsStructure:
    """What a kernel is compiled for: rows computed (those beyond the problem's are copies), dtypes, last step."""

    arith: Plain
    height: int
    s_dtype: DType
    v_dtype: DType
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("gemm_rows", self)

    @property
    def depth(self) -> int:
        """Rows of the matrix that are read together."""
        return 8 if self.height <= 4 else 4


def scratch_bytes(arith: Plain, height: int, chunk: int) -> int:
    """Memory of a task: block sums, super-block sums and totals of every row."""
    return 3 * height * (chunk + PAD) * arithmetic.nbytes(arith.acc)


class _Writer:
    """Writes one kernel; the members are those of the current task."""

    def __init__(self, name: str, target: Target, structure: RowsStructure) -> None:
        self.k = k = KernelBuilder(name)
        self.target, self.s, self.arith = target, structure, structure.arith
        self.kind = arithmetic.vector(structure.arith)
        self.s_elem, self.v_elem = element.memory(structure.s_dtype), element.memory(structure.v_dtype)
        self.s_at, self.v_at = k.arg(0), k.arg(1)
        self.p = Parameters(k, PARAMETERS)
        self.arrays = Arrays(k, structure.finish, 2, len(PARAMETERS))

    def task(self, number: Val) -> None:
        k, p, s, arith = self.k, self.p, self.s, self.arith
        entry = k.udiv(number, p["v_chunks"])
        column = (number - entry * p["v_chunks"]) * p["v_chunk"]
        indices = entry_of(k, entry, p)
        self.columns = k.smin(p["v_chunk"], p["v_count"] - column)
        self.whole = k.and_(self.columns, k.i64(-arith.lanes))
        self.s_base = moved(k, self.s_at, indices, p, "s_batch", self.s_elem)
        self.v_base = k.offset(moved(k, self.v_at, indices, p, "v_batch", self.v_elem), column, self.v_elem)
        #: accumulators from one row to the next, and in all
        self.row = k.and_(self.columns + (arith.lanes - 1), k.i64(-arith.lanes)) + PAD
        self.size = self.row * s.height
        self.chains = k.scratch
        self.sums = k.offset(k.scratch, self.size, arith.acc)
        self.totals = k.offset(k.scratch, self.size * 2, arith.acc)
        k.loop(0, p["k"], BLOCK, body=self.block, nonempty=True)

        result = k.select(k.compare("sgt", p["k"], k.i64(SUPER)), self.totals, self.sums)
        bases = self.arrays.at(indices)

        def strip(first: Val) -> None:
            tile = Tile(k.offset(result, first, arith.acc), self.row, s.height, STRIP, p["s_count"],
                        k.smin(k.i64(STRIP), self.columns - first))
            emit_finish(k, s.finish, self.target, arith.lanes, tile,
                        *self.arrays.places(bases, k.i64(0), column + first))
        k.loop(0, self.columns, STRIP, body=strip, nonempty=True)

    def block(self, first: Val) -> None:
        """One block of k: chains from zero, then into the sums."""
        k, p, arith = self.k, self.p, self.arith
        last, border = k.smin(p["k"], first + BLOCK), k.i64(SUPER - 1)
        k.loop(0, self.size, arith.lanes, nonempty=True,
               body=lambda i: k.store(arithmetic.zero(k, arith), k.offset(self.chains, i, arith.acc)))
        even = first + k.and_(last - first, k.i64(-self.s.depth))
        k.loop(first, even, self.s.depth, body=lambda at: self.group(at, self.s.depth))
        k.loop(even, last, 1, body=lambda at: self.group(at, 1))
        self.combine(self.sums, self.chains, k.compare("eq", k.and_(first, border), k.i64(0)))
        ends = k.or_(k.compare("eq", last, p["k"]), k.compare("eq", k.and_(last, border), k.i64(0)))
        k.if_(k.and_(k.compare("sgt", p["k"], k.i64(SUPER)), ends),
              lambda: self.combine(self.totals, self.sums, k.compare("sle", last, k.i64(SUPER))))

    def combine(self, into: Val, source: Val, fresh: Val) -> None:
        """Add all of ``source``, or copy it."""
        k, acc = self.k, self.arith.acc

        def one(i: Val) -> None:
            value, place = k.load(k.offset(source, i, acc), self.kind), k.offset(into, i, acc)
            k.if_(fresh, lambda: k.store(value, place),
                  lambda: k.store(arithmetic.add(k, k.load(place, self.kind), value), place))
        k.loop(0, self.size, self.arith.lanes, body=one, nonempty=True)

    def group(self, first: Val, depth: int) -> None:
        """``depth`` rows of the matrix, all columns."""
        k, p, s, arith = self.k, self.p, self.s, self.arith
        factors = []
        for i in range(s.height):
            start = k.smin(k.i64(i), p["s_count"] - 1) * p["s_row"] + first * p["s_step"]
            factors.append([arith.load_scalar(k, k.offset(self.s_base, start + p["s_step"] * u, self.s_elem), s.s_dtype)
                            for u in range(depth)])
        lines = [k.offset(self.v_base, (first + u) * p["v_step"], self.v_elem) for u in range(depth)]

        def columns(j: Val, values: list[Val]) -> None:
            for i in range(s.height):
                place = k.offset(self.chains, self.row * i + j, arith.acc)
                total = k.load(place, self.kind)
                for u in range(depth):
                    total = arith.multiply_add(k, factors[i][u], values[u], total)
                k.store(total, place)

        k.loop(0, self.whole, arith.lanes, body=lambda j: columns(
            j, [arith.load_vector(k, k.offset(line, j, self.v_elem), s.v_dtype) for line in lines]))

        def edge() -> None:
            there = self.columns - self.whole
            parts = [element.load_part(k, k.offset(line, self.whole, self.v_elem), self.v_elem, arith.lanes, there,
                                       self.target) for line in lines]
            columns(self.whole, [arith.to_panel(k, element.widen(k, x, s.v_dtype), s.v_dtype) for x in parts])
        k.if_(k.compare("slt", self.whole, self.columns), edge)


def build(structure: RowsStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure."""
    return by_tasks(_Writer, structure)
