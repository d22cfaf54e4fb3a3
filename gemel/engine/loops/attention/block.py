"""What both attention kernels share: a block of scores with queries in the lanes of registers.

Scores lie as (key, query): the vector operand is a packed panel of queries, the scalar operand the keys as they lie in
memory, whose rows are contiguous. So nothing but the queries is copied, the softmax over keys runs down the lanes
without a shuffle, and the weights are at once the packed vector operand of the product with the values.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...base.dtypes import DType, bool_
from ...base.target import Target
from .. import element
from ..elementwise import from_memory, load_element, lower_name
from ..gemm import arithmetic, pack
from ..gemm.arithmetic import BLOCK, SUPER, Plain
from ..gemm.arrays import Parameters, moved
from ..gemm.tile import Shape, Stream, chain
from ..ir import KernelBuilder, Type, Val

PARTIALS = 16  # running results of a reduction: see ``rowwise.reductions``


def shape_of(target: Target, arith: Plain, even: bool = False) -> Shape:
    """The register tile: two vectors of queries, and as many keys as the registers hold sums for.

    ``even``: blocks of 256 keys are whole tiles.
    """
    if target.registers == 32:
        return Shape(8, 2)
    return Shape(6, 2) if arith.fused and not even else Shape(4, 2)


@dataclass(frozen=True)
class Structure:
    """What an attention kernel is compiled for.

    Args:
        name: of the kernel's program. arith, shape: the register tile. dtype: of queries, keys, values and results.
        wide: dtype of the scores. contiguous: the queries' rows are; cotangent: those of the result's cotangent.
        causal: a query sees no key of a higher number. mask: dtype of the mask, if there is one.
        spread: the mask is the same for all queries.
    """

    name: str
    arith: Plain
    shape: Shape
    dtype: DType
    wide: DType
    contiguous: bool
    causal: bool
    mask: DType | None
    spread: bool
    cotangent: bool = True

    @property
    def key(self) -> tuple:
        return (self.name, self)

    @property
    def lanes(self) -> int:
        """Queries of a block."""
        return self.shape.vectors * self.arith.lanes


def strides(name: str) -> tuple[str, ...]:
    """Parameters that address an array: strides of the three batch dimensions, of a row, of a column."""
    return tuple(f"{name}{part}" for part in ("0", "1", "2", "_row", "_column"))


class Writer:
    """Parts of an attention kernel; ``operands`` names its pointer arguments, ``parameters`` its numbers."""

    operands: tuple[str, ...]
    parameters: tuple[str, ...]

    def __init__(self, symbol: str, target: Target, s: Structure) -> None:
        self.k = k = KernelBuilder(symbol, target.native)
        self.target, self.s, self.arith, self.shape = target, s, s.arith, s.shape
        self.elem, self.acc = element.memory(s.dtype), s.arith.acc
        self.vector = arithmetic.vector(s.arith)
        names = [name for name in self.operands if name != "mask" or s.mask is not None]
        self.args = {name: k.arg(i) for i, name in enumerate(names)}
        self.p = Parameters(k, self.parameters)
        self.scale = load_element(k, s.wide, self.args["scale"])

    def enter(self, at: Sequence[Val]) -> None:
        """Pointers to a batch entry, given its three indices."""
        k, p = self.k, self.p
        self.at = {}
        for name, pointer in self.args.items():
            if name != "scale":
                dtype = self.s.mask if name == "mask" else self.s.wide if name in ("lse", "inner") else self.s.dtype
                assert dtype is not None
                self.at[name] = moved(k, pointer, at, p, name, element.memory(dtype))

    def scratch(self, name: str) -> Val:
        """A region of scratch memory, at the byte offset that a parameter holds."""
        return self.k.offset(self.k.scratch, self.p[name], "i8")

    def place(self, base: Val, row: Val | int, width: Val | int, column: Val | int = 0) -> Val:
        """An element of a row-major region of accumulators."""
        k = self.k
        return k.offset(base, k.i64(row) * width + column, self.acc)

    def panel(self, name: str, row: Val, valid: Val, width: Val, to: Val) -> None:
        """Pack up to a block's rows of ``name`` from ``row`` on, as lanes."""
        k, p = self.k, self.p
        at = k.offset(self.at[name], row * p[f"{name}_row"], self.elem)
        contiguous = self.s.contiguous if name == "q" else self.s.cotangent
        mode = "k" if contiguous else "any"
        along = k.i64(1) if contiguous else p[f"{name}_column"]
        source = pack.Source(self.s.dtype, mode, at, p[f"{name}_row"], along, valid, width)
        pack.vectors(k, self.arith, self.target, source, to, k.i64(self.shape.vectors))

    def products(self, panel: Val, name: str, width: Val, last: Val, key: Val, to: Val, row: int) -> list[Val]:
        """``to[i, lane] = rows of name . panel`` for one tile of keys from ``key`` on; the numbers of its keys.

        Keys beyond ``last`` are copies of it. ``row``: accumulators from one key to the next.
        """
        k, height, vectors = self.k, self.shape.height, self.shape.vectors
        keys = [k.smin(key + i, last) for i in range(height)]
        rows = [k.offset(self.at[name], n * self.p[f"{name}_row"], self.elem) for n in keys]

        def block(first: Val) -> None:
            sums = chain(k, self.target, self.arith, height, vectors, k.smin(width - first, k.i64(BLOCK)),
                         Stream(self.s.dtype, [k.offset(r, first, self.elem) for r in rows], k.i64(1)),
                         Stream(None, [k.offset(panel, first * self.s.lanes, self.acc)], k.i64(self.s.lanes)))
            self.put(sums, to, row, k.compare("eq", first, k.i64(0)))
        k.loop(0, width, BLOCK, body=block, nonempty=True)
        return keys

    def put(self, sums: Sequence[Val], to: Val, row: Val | int, fresh: Val) -> None:
        """Store a tile's sums, or add them to what is there."""
        k, vectors = self.k, self.shape.vectors
        places = [self.place(to, n // vectors, row, n % vectors * self.arith.lanes) for n in range(len(sums))]

        def store() -> None:
            for value, place in zip(sums, places, strict=True):
                k.store(value, place)

        def add() -> None:
            for value, place in zip(sums, places, strict=True):
                k.store(k.fadd(k.load(place, self.vector), value), place)
        k.if_(fresh, store, add)

    def scored(self, value: Val, key: Val, row: Val, first: Val, lane: int, masks: Val | None) -> Val:
        """A vector of products as scores: scaled, and masked by what is not causal.

        Args:
            key: its number. row: the block's first query. first: queries of the block that exist. lane: its place.
        """
        k, lanes = self.k, self.arith.lanes
        value = k.fmul(value, k.splat(self.scale, lanes))
        if masks is None:
            return value
        dtype, p = self.s.mask, self.p
        assert dtype is not None
        elem = element.memory(dtype)
        at = k.offset(masks, key * p["mask_column"], elem)
        if self.s.spread:
            seen = k.splat(load_element(k, dtype, at), lanes)
        else:
            numbers = k.binary("iadd", k.lane_ids(lanes), k.const(lane, Type("i64", lanes)))
            numbers = k.smin(numbers, k.splat(first - 1, lanes))
            numbers = k.binary("imul", numbers, k.splat(p["mask_row"], lanes))
            raw = k.gather(k.offset(at, row * p["mask_row"], elem), numbers, k.const(1, Type("i1", lanes)),
                           k.const(0, Type(elem, lanes)))
            seen = from_memory(k, dtype, raw)
        if dtype is bool_:
            return k.select(seen, value, k.const(float("-inf"), value.type))
        return k.fadd(value, seen if seen.type == value.type else k.convert(
            "fpext" if Type(seen.type.elem).bits < Type(self.acc).bits else "fptrunc", seen, self.acc))

    def causal(self, values: list[Val], keys: Sequence[Val], row: Val, instead: float) -> list[Val]:
        """A tile with ``instead`` for keys behind the queries, which begin at ``row``."""
        k, vectors, lanes = self.k, self.shape.vectors, self.arith.lanes
        if not self.s.causal:
            return values

        def hidden() -> list[Val]:
            found = []
            for n, value in enumerate(values):
                ahead = k.convert("trunc", keys[n // vectors] - row, "i32")
                queries = k.binary("iadd", k.lane_ids(lanes, "i32"), k.const(n % vectors * lanes, Type("i32", lanes)))
                seen = k.compare("sle", k.splat(ahead, lanes), queries)
                found.append(k.select(seen, value, k.const(instead, value.type)))
            return found
        return list(k.if_(k.compare("sgt", keys[-1], row), hidden, lambda: values))

    def tile(self, to: Val, row: int) -> list[tuple[Val, Val]]:
        """(value, place) of each vector of a tile."""
        places = [self.place(to, n // self.shape.vectors, row, n % self.shape.vectors * self.arith.lanes)
                  for n in range(self.shape.height * self.shape.vectors)]
        return [(self.k.load(place, self.vector), place) for place in places]

    def contract(self, scalars: Callable[[Val, Val], Stream], vectors: Val, row: int, count: Val, length: Val,
                 to: Val, totals: Val, width: int) -> None:
        """``to[i, lane] = sum over n of scalar[i, n] * vector[n, lane]``, in the canonical order.

        Args:
            scalars: the stream of ``height`` rows from a number on, whose chain starts at a step.
            vectors: one vector panel; ``row``: accumulators from one step to the next. count: rows. length: steps.
            to, totals: sums and totals of super-blocks, ``width`` a row; ``totals`` are moved to ``to`` at the end.
        """
        k, height = self.k, self.shape.height
        deep = k.compare("sgt", length, k.i64(SUPER))

        def block(first: Val) -> None:
            last = k.smin(length, first + BLOCK)
            fresh = k.compare("eq", k.and_(first, k.i64(SUPER - 1)), k.i64(0))
            panel = Stream(None, [self.place(vectors, first, row)], k.i64(row))

            def one(i: Val) -> None:
                sums = chain(k, self.target, self.arith, height, self.shape.vectors, last - first, scalars(i, first),
                             panel)
                self.put(sums, self.place(to, i, width), width, fresh)
            k.loop(0, count, height, body=one, nonempty=True)
            ends = k.or_(k.compare("eq", last, length), k.compare("eq", k.and_(last, k.i64(SUPER - 1)), k.i64(0)))
            k.if_(k.and_(deep, ends), lambda: self.total(to, totals, count, width, last, length))
        k.loop(0, length, BLOCK, body=block, nonempty=True)

    def total(self, sums: Val, totals: Val, count: Val, width: Val | int, last: Val, length: Val) -> None:
        """Add a super-block's sums to the totals; after the last one these are the sums."""
        k = self.k
        opening, closing = k.compare("sle", last, k.i64(SUPER)), k.compare("eq", last, length)

        def vector(at: Val) -> None:
            value, place = k.load(k.offset(sums, at, self.acc), self.vector), k.offset(totals, at, self.acc)
            whole, = k.if_(opening, lambda: [value], lambda: [k.fadd(k.load(place, self.vector), value)])
            k.store(whole, place)
            k.if_(closing, lambda: k.store(whole, k.offset(sums, at, self.acc)))
        k.loop(0, count * width, self.arith.lanes, body=vector, nonempty=True)

    def function(self, name: str, *values: Val) -> Val:
        """An elementwise operation in the scores' dtype."""
        return lower_name(self.k, name, self.s.wide, *values)
