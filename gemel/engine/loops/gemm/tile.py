"""The register tile: ``height`` rows of the scalar operand times ``vectors`` vectors of the vector operand.

The inner loop runs over k alone; its accumulators live in registers and start at +0. Per step of k it loads
``vectors`` vectors and broadcasts ``height`` scalars. A block of 256 k ends in memory: its sums are added to what
the blocks before it left there, which is the canonical order.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import I64, KernelBuilder, Val
from . import arithmetic
from .arithmetic import Arithmetic, Stepwise


@dataclass(frozen=True)
class Shape:
    """Size of the register tile: rows of scalars by vectors of lanes.

    A kernel also holds the tile of one vector less: vectors are dealt out evenly to the panels, so that no panel
    is padded by a whole vector. Rows are not: a last panel that is short computes copies of the last row.
    """

    height: int
    vectors: int

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.vectors, self.vectors - 1) if self.vectors > 1 else (1,)


@dataclass(frozen=True)
class Stream:
    """An operand of the inner loop: its elements and how it moves.

    Args:
        dtype: elements read in place; None: packed panels. start: pointers (one a row of the scalar operand; one
            for vectors) at the block's first step. step: elements from one step of k to the next.
        table: where each step's offset in elements (i64) is looked up instead.
        ahead: what the tile after this one begins with: it is fetched while this one computes, as far as this one goes.
    """

    dtype: DType | None
    start: Sequence[Val]
    step: Val
    table: Val | None = None
    ahead: Val | None = None

    def at(self, k: KernelBuilder, number: Val) -> Val:
        """Elements from the start to a step."""
        return number * self.step if self.table is None else k.load(k.offset(self.table, number, "i64"), I64)

    def elem(self, arith: Arithmetic) -> str:
        return arith.panel if self.dtype is None else element.memory(self.dtype)


def _unrolled(target: Target, arith: Stepwise, s: Stream, v: Stream | Callable[[Val], list[Val]]) -> int:
    """Steps an iteration: the loop's own instructions take the place of multiply-adds, on the ports of some processors,
    in front of the schedulers of others.

    One where not all stays in registers: a function loads the vectors, a table places the scalars of a high tile, or
    there are 16 registers and a product is added by an instruction of its own.
    """
    if not isinstance(v, Stream):
        return 1
    if target.registers == 16:
        return 4 if isinstance(arith, arithmetic.Plain) and arith.fused else 1
    return 2 if s.table is None else 1


def chain(k: KernelBuilder, target: Target, arith: Stepwise, height: int, vectors: int, steps: Val, s: Stream,
          v: Stream | Callable[[Val], list[Val]]) -> tuple[Val, ...]:
    """Multiply-adds from zero over ``steps`` (>= 1) steps of k: ``height * vectors`` sums.

    ``v`` may also be a function that writes how the vectors of a step are loaded.
    """
    s_elem, count = s.elem(arith), height * vectors
    biased = arith if isinstance(arith, arithmetic.Bytes) and arith.biased else None

    def loaded(number: Val) -> list[Val]:
        if not isinstance(v, Stream):
            return v(number)
        elem = v.elem(arith)
        here = k.offset(v.start[0], v.at(k, number), elem)
        return [arith.load_vector(k, k.offset(here, j * arith.lanes * arith.group, elem), v.dtype)
                for j in range(vectors)]

    def step(number: Val, *sums: Val) -> list[Val]:
        result = list(sums)
        columns, moved = loaded(number), s.at(k, number)
        if s.ahead is not None:
            k.prefetch(k.offset(s.ahead, moved, s_elem), level=2)
        for i in range(height):
            scalar = arith.load_scalar(k, k.offset(s.start[i], moved, s_elem), s.dtype)
            for j in range(vectors):
                n = i * vectors + j
                result[n] = arith.multiply_add(k, scalar, columns[j], result[n])
        if biased is not None:
            for j in range(vectors):
                result[count + j] = arith.multiply_add(k, biased.bias(k), columns[j], result[count + j])
        return result

    start = [arithmetic.zero(k, arith)] * (count + (vectors if biased else 0))
    unroll = _unrolled(target, arith, s, v)
    if unroll > 1:
        def several(number: Val, *sums: Val) -> Sequence[Val]:
            for u in range(unroll):
                sums = tuple(step(number + u, *sums))
            return sums

        whole = k.and_(steps, k.i64(-unroll))
        sums = k.loop(0, whole, unroll, start, several)
        sums = k.loop(whole, steps, 1, sums, step)
    else:
        sums = k.loop(0, steps, 1, start, step, nonempty=True)
    if biased:
        return tuple(k.isub(sums[n], sums[count + n % vectors]) for n in range(count))
    return sums


def keep(k: KernelBuilder, arith: Arithmetic, vectors: int, row: int, sums: Sequence[Val], tile: Val,
         fresh: Val) -> None:
    """Add a block's sums, ``vectors`` a row, to the tile, ``row`` accumulators a row; a ``fresh`` tile becomes them."""
    hold(k, arith, vectors, row, gathered(k, arith, vectors, row, sums, tile, fresh), tile)


def gathered(k: KernelBuilder, arith: Arithmetic, vectors: int, row: int, sums: Sequence[Val], tile: Val,
             fresh: Val) -> tuple[Val, ...]:
    """A block's sums, added to those of the tile unless it is ``fresh``."""
    kind = arithmetic.vector(arith)

    def added() -> list[Val]:
        return [arithmetic.add(k, k.load(_place(k, arith, vectors, row, n, tile), kind), value)
                for n, value in enumerate(sums)]
    return k.if_(fresh, lambda: sums, added)


def hold(k: KernelBuilder, arith: Arithmetic, vectors: int, row: int, sums: Sequence[Val], tile: Val) -> None:
    """Store a tile's sums in scratch memory."""
    for n, value in enumerate(sums):
        k.store(value, _place(k, arith, vectors, row, n, tile))


def add_total(k: KernelBuilder, arith: Arithmetic, size: int, sums: Val, totals: Val, opening: Val) -> None:
    """Add a super-block's sums to the totals; the first one (``opening``) is copied."""
    kind = arithmetic.vector(arith)

    def vector(at: Val) -> None:
        value, place = k.load(k.offset(sums, at, arith.acc), kind), k.offset(totals, at, arith.acc)
        k.if_(opening, lambda: k.store(value, place),
              lambda: k.store(arithmetic.add(k, k.load(place, kind), value), place))
    k.loop(0, size, arith.lanes, body=vector, nonempty=True, trips=size // arith.lanes)


def _place(k: KernelBuilder, arith: Arithmetic, vectors: int, row: int, n: int, tile: Val) -> Val:
    return k.offset(tile, n // vectors * row + n % vectors * arith.lanes, arith.acc)
