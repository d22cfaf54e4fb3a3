"""Few rows times a matrix whose columns are contiguous, as ``Linear`` stores its weight: read once, in place.

The lanes of a register are columns. A task walks down k in the columns of its strip, a line of each at a time, turns
the square that they form over in registers, and multiplies: every sum is still one chain in rising k. The rows are
packed first, by each task for itself, as scalars. Bound by the read bandwidth for one row, by the turning and the
multiply-adds for eight.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import Kernel, KernelBuilder, Type, Val
from . import arithmetic, pack
from .arithmetic import SUPER, Stepwise
from .arrays import Arrays, Parameters, by_tasks, entry_of, moved
from .finish import Finish, Tile, emit_finish
from .transpose import transpose

HEIGHTS = (1, 2, 4, 8)

PARAMETERS = (
    "batch1", "batch2", "s_count", "v_count", "v_chunks", "v_chunk", "k", "steps",
    "s_batch0", "s_batch1", "s_batch2", "s_row", "s_step",
    "v_batch0", "v_batch1", "v_batch2", "v_free",
    "row", "sums",                                         # scratch: elements of a packed row, byte offset of the sums
)


@dataclass(frozen=True)
class ColumnsStructure:
    """What a kernel is compiled for: rows computed (those beyond the problem's are copies), dtypes, last step.

    Args:
        s_mode: the rows are contiguous (``k``) or not (``any``).
    """

    arith: Stepwise
    height: int
    s_dtype: DType
    s_mode: str
    v_dtype: DType
    finish: Finish

    @property
    def key(self) -> tuple:
        return ("gemm_columns", self)


def packed_row(arith: Stepwise, steps: int) -> int:
    """Elements of a packed row: whole vectors."""
    return -(-steps // arith.lanes) * arith.lanes * arith.group


def scratch_bytes(arith: Stepwise, height: int, steps: int) -> int:
    """Memory of a task: packed rows, the sums of a strip and of its super-blocks, a square of panel elements."""
    packed = height * packed_row(arith, steps) * arithmetic.nbytes(arith.panel)
    return packed + 64 + (2 * height + arith.lanes) * arith.lanes * 8


class _Writer:
    """Writes one kernel; the members are those of the current task."""

    lines: list[Val]  # first elements of the strip's columns

    def __init__(self, name: str, target: Target, structure: ColumnsStructure) -> None:
        self.k = k = KernelBuilder(name, target.native)
        self.target, self.s, self.arith = target, structure, structure.arith
        self.biased = self.arith if isinstance(self.arith, arithmetic.Bytes) and self.arith.biased else None
        self.kind = arithmetic.vector(self.arith)
        self.s_elem, self.v_elem = element.memory(structure.s_dtype), element.memory(structure.v_dtype)
        self.s_at, self.v_at = k.arg(0), k.arg(1)
        self.p = Parameters(k, PARAMETERS)
        self.arrays = Arrays(k, structure.finish, 2, len(PARAMETERS))
        size = structure.height * self.arith.lanes
        self.sums = k.offset(k.scratch, self.p["sums"], "i8")
        self.totals = k.offset(self.sums, size, self.arith.acc)
        self.square = k.offset(self.totals, size, self.arith.acc)
        self.border = k.i64(SUPER // self.arith.group - 1)
        self.whole = k.udiv(self.p["k"], k.i64(self.arith.group))  # steps that need no filling up

    def task(self, number: Val) -> None:
        k, p, s, lanes = self.k, self.p, self.s, self.arith.lanes
        entry = k.udiv(number, p["v_chunks"])
        column = (number - entry * p["v_chunks"]) * p["v_chunk"]
        indices = entry_of(k, entry, p)
        base = moved(k, self.s_at, indices, p, "s_batch", self.s_elem)
        for i in range(s.height):
            source = k.offset(base, k.smin(k.i64(i), p["s_count"] - 1) * p["s_row"], self.s_elem)
            self.pack(source, k.offset(k.scratch, p["row"] * i, self.arith.panel))
        self.v_base = moved(k, self.v_at, indices, p, "v_batch", self.v_elem)
        bases = self.arrays.at(indices)

        def strip(first: Val) -> None:
            last = p["v_count"] - 1
            self.lines = [k.offset(self.v_base, k.smin(first + i, last) * p["v_free"], self.v_elem)
                          for i in range(lanes)]
            k.loop(0, p["steps"], self.arith.block // self.arith.group, body=self.block, nonempty=True)
            result = k.select(k.compare("sgt", p["steps"], self.border + 1), self.totals, self.sums)
            tile = Tile(result, lanes, s.height, lanes, p["s_count"], k.smin(k.i64(lanes), p["v_count"] - first))
            emit_finish(k, s.finish, self.target, lanes, tile, *self.arrays.places(bases, k.i64(0), first))
        k.loop(column, k.smin(p["v_count"], column + p["v_chunk"]), lanes, body=strip, nonempty=True)

    def pack(self, source: Val, to: Val) -> None:
        """One row, as scalars of the arithmetic; filled up with zeros to whole vectors."""
        k, arith, dtype = self.k, self.arith, self.s.s_dtype
        size = arith.lanes * arith.group

        def vector(at: Val) -> None:
            raw, = k.if_(k.compare("sle", at + size, self.p["k"]),
                         lambda: [k.load(k.offset(source, at, self.s_elem), Type(self.s_elem, size))],
                         lambda: [element.load_part(k, k.offset(source, at, self.s_elem), self.s_elem, size,
                                                    self.p["k"] - at, self.target)])
            k.store(self.panel(raw, dtype, True), k.offset(to, at, arith.panel))

        def one(at: Val) -> None:
            raw = k.load(k.offset(source, at * self.p["s_step"], self.s_elem), Type(self.s_elem))
            place = k.xor(at, k.i64(arith.group - 1)) if arith.exchanged else at
            k.store(pack.converted(k, arith, raw, dtype, True), k.offset(to, place, arith.panel))

        if self.s.s_mode == "k":
            k.loop(0, self.p["k"], size, body=vector, nonempty=True)
            return
        last = k.udiv(self.p["k"] - 1, k.i64(size)) * size
        k.store(k.const(0, Type(arith.panel, size)), k.offset(to, last, arith.panel))
        k.loop(0, self.p["k"], body=one, nonempty=True)

    def block(self, first: Val) -> None:
        """One block of k: chains from zero, then into the sums."""
        k, p, arith, height = self.k, self.p, self.arith, self.s.height
        last = k.smin(p["steps"], first + arith.block // arith.group)
        even = first + k.and_(k.smin(self.whole, last) - first, k.i64(-arith.lanes))
        start = [arithmetic.zero(k, arith)] * (height + (1 if self.biased else 0))

        def square(at: Val, *sums: Val) -> list[Val]:
            found = list(sums)
            for i, column in enumerate(self.turned([self.line(x, at) for x in self.lines])):
                found = self.add(found, at + i, column)
            return found

        def left() -> Sequence[Val]:
            """Fewer steps than lanes: the square goes through memory."""
            there = p["k"] - even * arith.group
            part = k.smin((last - even) * arith.group, there)
            raw = [element.load_part(k, k.offset(x, even * arith.group, self.v_elem), self.v_elem,
                                     arith.lanes * arith.group, part, self.target) for x in self.lines]
            for i, column in enumerate(self.turned([self.panel(x, self.s.v_dtype) for x in raw])):
                k.store(column, k.offset(self.square, i * arith.lanes * arith.group, arith.panel))

            def step(at: Val, *sums: Val) -> list[Val]:
                place = k.offset(self.square, (at - even) * (arith.lanes * arith.group), arith.panel)
                return self.add(list(sums), at, k.load(place, Type(arith.panel, arith.lanes * arith.group)))
            return k.loop(even, last, 1, sums, step, nonempty=True)

        sums = k.loop(first, even, arith.lanes, start, square)
        sums = k.if_(k.compare("slt", even, last), left, lambda: sums)
        fresh = k.compare("eq", k.and_(first, self.border), k.i64(0))
        ends = k.or_(k.compare("eq", last, p["steps"]), k.compare("eq", k.and_(last, self.border), k.i64(0)))
        deep = k.compare("sgt", p["steps"], self.border + 1)
        opening = k.compare("sle", last, self.border + 1)
        for i, value in enumerate(sums[:height]):
            if self.biased:
                value = k.isub(value, sums[-1])
            total = self.into(self.sums, i, value, fresh)
            k.if_(k.and_(deep, ends), lambda i=i, total=total: self.into(self.totals, i, total, opening) and None)

    def into(self, tile: Val, row: int, value: Val, fresh: Val) -> Val:
        """Add to a row of the tile, or begin it; returns what is there then."""
        k = self.k
        place = k.offset(tile, row * self.arith.lanes, self.arith.acc)
        total, = k.if_(fresh, lambda: [value], lambda: [arithmetic.add(k, k.load(place, self.kind), value)])
        k.store(total, place)
        return total

    def add(self, sums: list[Val], step: Val, column: Val) -> list[Val]:
        """One step of every row's chain."""
        k, arith, height = self.k, self.arith, self.s.height
        for i in range(height):
            at = self.p["row"] * i + step * arith.group
            scalar = arith.load_scalar(k, k.offset(k.scratch, at, arith.panel), None)
            sums[i] = arith.multiply_add(k, scalar, column, sums[i])
        if self.biased:
            sums[height] = arith.multiply_add(k, self.biased.bias(k), column, sums[height])
        return sums

    def line(self, start: Val, step: Val) -> Val:
        """``lanes`` steps of one column, as panels hold them."""
        k, arith = self.k, self.arith
        at = k.offset(start, step * arith.group, self.v_elem)
        return self.panel(k.load(at, Type(self.v_elem, arith.lanes * arith.group)), self.s.v_dtype)

    def panel(self, raw: Val, dtype: DType, scalar: bool = False) -> Val:
        """A vector of neighbours along k, as panels hold them."""
        value = pack.converted(self.k, self.arith, raw, dtype, scalar)
        if not self.arith.exchanged:
            return value
        return self.k.shuffle(value, None, [i ^ (self.arith.group - 1) for i in range(value.type.lanes)])

    def turned(self, lines: list[Val]) -> list[Val]:
        """Steps as vectors of columns."""
        k, arith = self.k, self.arith
        bits = arith.group * Type(arith.panel).bits
        unit = f"f{bits}" if bits >= 32 else f"i{bits}"
        return [k.bitcast(x, arith.panel) for x in transpose(k, [k.bitcast(x, unit) for x in lines])]


def build(structure: ColumnsStructure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure."""
    return by_tasks(_Writer, structure)
