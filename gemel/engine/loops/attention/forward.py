"""The forward kernel: a task computes a block of queries of one batch entry against all keys.

The scores of the block stay in scratch memory (keys x queries), the softmax has two passes over them in the order of
its body, then the weights meet the values. A causal block stops at its last visible key: what is left out would add
products with zero, which change nothing unless a value is not finite or a sum is -0; then the task is done again in
full.
"""
from __future__ import annotations

from collections.abc import Callable

from ...base.target import Target
from ...ir.op import Op, op
from ...ir.primitives import ROWS
from .. import element
from ..expression import Expression
from ..gemm.arithmetic import BLOCK
from ..gemm.arrays import by_tasks, entry_of
from ..gemm.finish import Finish, Place, Tile, emit_finish
from ..gemm.tile import Stream
from ..ir import Kernel, Type, Val
from . import block
from .block import PARTIALS, Structure, strides

OPERANDS = ("q", "k", "v", "scale", "mask", "out", "lse")
PARAMETERS = ("batch1", "batch2", "rows", "columns", "width", "depth", "blocks",
              *(s for name in ("q", "k", "v", "mask", "out", "lse") for s in strides(name)),
              "scores", "sums", "totals", "divisors")


class Writer(block.Writer):
    """Writes the forward kernel."""

    operands, parameters = OPERANDS, PARAMETERS

    def task(self, number: Val) -> None:
        k, p, s = self.k, self.p, self.s
        entry = k.udiv(number, p["blocks"])
        self.row = (p["blocks"] - 1 - (number - entry * p["blocks"])) * s.lanes  # the longest first
        self.enter(entry_of(k, entry, p))
        self.valid = k.smin(k.i64(s.lanes), p["rows"] - self.row)
        self.scores, self.sums = self.scratch("scores"), self.scratch("sums")
        self.panel("q", self.row, self.valid, p["width"], k.scratch)
        limit = p["columns"]
        if s.causal:
            limit = k.smin(limit, k.and_(self.row + (s.lanes + PARTIALS - 1), k.i64(-PARTIALS)))
        tops = self.score(limit)
        low = k.const(float("-inf"), self.vector)
        empty = [k.compare("oeq", t, low) for t in tops]
        tops = [k.select(e, k.const(0.0, self.vector), t) for e, t in zip(empty, tops, strict=True)]
        sums = [k.select(e, k.const(1.0, self.vector), self.weigh(limit, j, t))
                for j, (e, t) in enumerate(zip(empty, tops, strict=True))]
        divisors = self.scratch("divisors")
        for j, value in enumerate(sums):
            k.store(value, k.offset(divisors, j * self.arith.lanes, self.acc))
        self.mix(limit, divisors)
        for j, (top, total) in enumerate(zip(tops, sums, strict=True)):
            self.store_lse(j, self.function("add", top, self.function("log", total)))

    def score(self, limit: Val) -> list[Val]:
        """The scores of keys below ``limit``, and their maxima; rows up to a multiple of 16 beyond are -inf."""
        k, p, s = self.k, self.p, self.s
        lanes, low = s.lanes, k.const(float("-inf"), self.vector)
        masks = self.at.get("mask")

        def keys(first: Val, *tops: Val) -> list[Val]:
            to, found = self.place(self.scores, first, lanes), list(tops)
            numbers = self.products(k.scratch, "k", p["width"], p["columns"] - 1, first, to, lanes)
            tile = self.tile(to, lanes)
            values = [self.scored(value, numbers[n // self.shape.vectors], self.row, self.valid,
                                  n % self.shape.vectors * self.arith.lanes, masks)
                      for n, (value, _) in enumerate(tile)]
            values = self.causal(values, numbers, self.row, float("-inf"))
            for n, (value, (_, place)) in enumerate(zip(values, tile, strict=True)):
                k.store(value, place)
                j = n % self.shape.vectors
                found[j] = self.function("max", found[j], value)
            return found
        tops = k.loop(0, limit, self.shape.height, [low] * self.shape.vectors, keys, nonempty=True)
        end = k.and_(limit + (PARTIALS - 1), k.i64(-PARTIALS))
        k.loop(limit * lanes, end * lanes, self.arith.lanes,
               body=lambda at: k.store(low, k.offset(self.scores, at, self.acc)))
        return list(tops)

    def weigh(self, limit: Val, j: int, top: Val) -> Val:
        """Replace one vector's scores by exp(score - top), rounded to the values' dtype; the sum in canonical order."""
        k, s = self.k, self.s
        nothing = k.const(-0.0, self.vector)
        blocks = k.stack(self.acc, PARTIALS * self.arith.lanes)
        parts = [k.offset(blocks, u * self.arith.lanes, self.acc) for u in range(PARTIALS)]
        for part in parts:
            k.store(nothing, part)

        def tree(values: list[Val]) -> Val:
            while len(values) > 1:
                half = len(values) // 2
                values = [k.fadd(x, y) for x, y in zip(values[:half], values[half:], strict=True)]
            return values[0]

        def one(first: Val) -> None:
            def sixteen(key: Val, *sums: Val) -> list[Val]:
                found = []
                for u, total in enumerate(sums):
                    place = self.place(self.scores, key + u, s.lanes, j * self.arith.lanes)
                    e = self.function("exp", k.fsub(k.load(place, self.vector), top))
                    rounded = element.widen(k, element.narrow(k, e, s.dtype), s.dtype) if s.dtype is not s.wide else e
                    k.store(rounded, place)
                    found.append(k.fadd(total, e))
                return found
            sums = k.loop(first, k.smin(limit, first + BLOCK), PARTIALS, [nothing] * PARTIALS, sixteen, nonempty=True)
            number = k.and_(k.udiv(first, k.i64(BLOCK)), k.i64(PARTIALS - 1))
            part = k.offset(blocks, number * self.arith.lanes, self.acc)
            k.store(k.fadd(k.load(part, self.vector), tree(list(sums))), part)
        k.loop(0, limit, BLOCK, body=one, nonempty=True)
        return tree([k.load(part, self.vector) for part in parts])

    def mix(self, limit: Val, divisors: Val) -> None:
        """The weights times the values, divided and stored."""
        k, p, s = self.k, self.p, self.s
        finish = finish_of(s)
        out = k.offset(self.at["out"], self.row * p["out_row"], self.elem)

        def values(column: Val, first: Val) -> Stream:
            rows = [k.offset(self.at["v"], first * p["v_row"] + k.smin(column + i, p["depth"] - 1), self.elem)
                    for i in range(self.shape.height)]
            return Stream(s.dtype, rows, p["v_row"])

        def product(length: Val) -> None:
            self.contract(values, self.scores, s.lanes, p["depth"], length, self.sums, self.scratch("totals"),
                          s.lanes)

        product(limit)
        if s.causal:
            def again() -> None:
                end = k.and_(p["columns"] + (PARTIALS - 1), k.i64(-PARTIALS))
                k.loop(limit * s.lanes, end * s.lanes, self.arith.lanes, body=lambda at: k.store(
                    k.const(0.0, self.vector), k.offset(self.scores, at, self.acc)))
                product(p["columns"])
            k.if_(k.compare("slt", limit, p["columns"]), lambda: k.if_(self.unsafe(limit), again))

        def one(column: Val) -> None:
            tile = Tile(self.place(self.sums, column, s.lanes), s.lanes, self.shape.height, s.lanes,
                        k.smin(k.i64(self.shape.height), p["depth"] - column), self.valid)
            emit_finish(k, finish, self.target, self.arith.lanes, tile, [Place(divisors, k.i64(0), k.i64(1))],
                        [Place(k.offset(out, column, self.elem), k.i64(1), p["out_row"])])
        k.loop(0, p["depth"], self.shape.height, body=one, nonempty=True)

    def unsafe(self, limit: Val) -> Val:
        """Would zero weights of the keys from ``limit`` on change a sum?"""
        k, p, lanes = self.k, self.p, self.arith.lanes
        nothing = k.const(0.0, self.vector)
        scalar = Type(self.acc)

        def row(key: Val, *found: Val) -> list[Val]:
            at = k.offset(self.at["v"], key * p["v_row"], self.elem)
            whole = k.and_(p["depth"], k.i64(-lanes))
            many, = k.loop(0, whole, lanes, found[:1], lambda i, total: [k.fadd(total, k.fmul(
                element.load(k, k.offset(at, i, self.elem), self.s.dtype, lanes), nothing))])
            one, = k.loop(whole, p["depth"], 1, found[1:], lambda i, total: [k.fadd(total, k.fmul(
                element.load(k, k.offset(at, i, self.elem), self.s.dtype, 1), k.const(0.0, scalar)))])
            return [many, one]
        many, one = k.loop(limit, p["columns"], 1, [nothing, k.const(0.0, scalar)], row)
        integer = "i32" if self.acc == "f32" else "i64"
        sign = k.const(-(1 << (31 if integer == "i32" else 63)), Type(integer, lanes))

        def sums(at: Val, bad: Val) -> list[Val]:
            bits = k.bitcast(k.load(k.offset(self.sums, at, self.acc), self.vector), integer)
            return [k.or_(bad, k.compare("eq", bits, sign))]
        bad, = k.loop(0, p["depth"] * self.s.lanes, lanes, [k.compare("uno", many, many)], sums, nonempty=True)
        bits = k.bitcast(k.convert("zext", bad, "i8"), f"i{8 * lanes}")
        return k.or_(k.compare("ne", bits, k.const(0, bits.type)), k.compare("uno", one, one))

    def store_lse(self, j: int, value: Val) -> None:
        k, lanes = self.k, self.arith.lanes
        at = k.offset(self.at["lse"], self.row + j * lanes, self.acc)
        left = self.valid - j * lanes
        k.if_(k.compare("sge", left, k.i64(lanes)), lambda: k.store(value, at), lambda: k.if_(
            k.compare("sgt", left, k.i64(0)),
            lambda: element.store_part(k, value, at, left, self.target)))


def finish_of(s: Structure) -> Finish:
    """Sums divided by the divisors, rounded to the results' dtype."""
    nodes: list[tuple[Op, tuple[int, ...]]] = [(op(ROWS["div"]), (0, 1))]
    dtypes = [s.wide]
    if s.dtype is not s.wide:
        nodes.append((op(ROWS["cast"], s.dtype), (2,)))
        dtypes.append(s.dtype)
    expression = Expression((s.wide, s.wide), tuple(nodes), tuple(dtypes), (1 + len(nodes),))
    return Finish(s.arith.acc, s.wide, expression, ("vector",), ("column",))


def build(structure: Structure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure."""
    return by_tasks(Writer, structure)
