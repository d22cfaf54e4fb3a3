"""The backward kernel: a task computes the gradients of one head of keys, by squares of 256 queries x 256 keys.

In a square the weights are computed again from the log-sum-exp of each row, and lie as (key, query). They meet the
results' cotangent (sums of ``dv`` over queries), become the scores' cotangent in place, and that meets the queries
(``dk``, over queries) and the keys (``dq``, over keys). A square is as long as a block of the canonical order, so each
of these is one chain from zero; sums of squares wait in scratch memory.

What a causal square leaves out has weights of zero. Their products change nothing while queries, keys, cotangents and
log-sum-exps are finite and no sum is -0; if something is not finite the square is done in full, and a tile of ``dq``
with a -0 is summed again.
"""
from __future__ import annotations

from collections.abc import Callable

from ...base.target import Target
from .. import element
from ..expression import identity
from ..gemm import pack
from ..gemm.arithmetic import BLOCK, SUPER
from ..gemm.arrays import by_tasks
from ..gemm.finish import Finish, Place, Tile, emit_finish
from ..gemm.tile import Stream, chain
from ..ir import Kernel, Type, Val
from . import block
from .block import Structure, strides

OPERANDS = ("g", "q", "k", "v", "scale", "lse", "inner", "mask", "dq", "dk", "dv")
#: regions of scratch memory: packed queries and cotangents, as lanes and as steps; a square; a tile; values of rows;
#: sums and totals of the gradients
REGIONS = ("q_lanes", "g_lanes", "q_steps", "g_steps", "square", "tile", "row_lse", "row_inner",
           "dq_sums", "dq_totals", "dk_sums", "dk_totals", "dv_sums", "dv_totals")
PARAMETERS = ("heads", "group", "rows", "columns", "width", "depth", "width_lanes", "depth_lanes",
              *(s for name in ("g", "q", "k", "v", "mask", "lse", "inner", "dq", "dk", "dv") for s in strides(name)),
              *REGIONS)


class Writer(block.Writer):
    """Writes the backward kernel; members set by a method hold until the next square."""

    operands, parameters = OPERANDS, PARAMETERS

    def __init__(self, symbol: str, target: Target, s: Structure) -> None:
        super().__init__(symbol, target, s)
        self.at_scratch = {name: self.scratch(name) for name in REGIONS}
        self.signed_zero = "i32" if self.acc == "f32" else "i64"

    def task(self, number: Val) -> None:
        k, p = self.k, self.p
        batch = k.udiv(number, p["heads"])
        head = number - batch * p["heads"]
        self.enter((batch, head, k.i64(0)))
        not_finite = self.not_finite_rows("k", p["columns"], p["width"]) if self.s.causal else None

        def member(m: Val) -> None:
            self.enter((batch, head, m))
            k.loop(0, p["rows"], BLOCK, body=lambda row: self.queries(m, row, not_finite), nonempty=True)
        k.loop(0, p["group"], body=member, nonempty=True)
        self.store_rows("dk", p["width"], p["width_lanes"])
        self.store_rows("dv", p["depth"], p["depth_lanes"])

    def queries(self, member: Val, row: Val, not_finite: Val | None) -> None:
        """All squares of up to 256 queries."""
        k, p, lanes = self.k, self.p, self.s.lanes
        self.row, self.count = row, k.smin(p["rows"] - row, k.i64(BLOCK))
        self.strips = k.udiv(self.count + (lanes - 1), k.i64(lanes))
        index = member * p["rows"] + row
        self.fresh = k.compare("eq", k.and_(index, k.i64(SUPER - 1)), k.i64(0))
        self.pack_queries()
        #: may products with weights of zero be left out? None: there are none
        self.safe = None
        if not_finite is not None:
            self.safe = k.xor(k.or_(not_finite, self.not_finite_block()), k.const(1, Type("i1")))
        k.loop(0, p["columns"], BLOCK, body=self.square, nonempty=True)
        last = index + self.count
        ends = k.or_(k.compare("eq", last, p["rows"] * p["group"]),
                     k.compare("eq", k.and_(last, k.i64(SUPER - 1)), k.i64(0)))

        def totals() -> None:
            for name in ("dk", "dv"):
                self.total(self.at_scratch[f"{name}_sums"], self.at_scratch[f"{name}_totals"], p["columns"],
                           p["width_lanes" if name == "dk" else "depth_lanes"], last, p["rows"] * p["group"])
        k.if_(k.and_(k.compare("sgt", p["rows"] * p["group"], k.i64(SUPER)), ends), totals)
        self.store_queries()

    def pack_queries(self) -> None:
        """Copy queries and cotangents twice (as lanes, as steps), and what belongs to rows."""
        k, p, s, lanes = self.k, self.p, self.s, self.s.lanes

        def strip(j: Val) -> None:
            first = j * lanes
            valid = k.smin(self.count - first, k.i64(lanes))
            for name, width in (("q", "width"), ("g", "depth")):
                to = self.place(self.at_scratch[f"{name}_lanes"], first, p[width])
                self.panel(name, self.row + first, valid, p[width], to)
            for name in ("lse", "inner"):
                for n in range(self.shape.vectors):
                    start = first + n * self.arith.lanes
                    left = k.smax(k.i64(0), k.smin(self.count - start, k.i64(self.arith.lanes)))
                    at = k.offset(self.at[name], self.row + start, self.acc)
                    value, = k.if_(k.compare("eq", left, k.i64(self.arith.lanes)),
                                   lambda at=at: [k.load(at, self.vector)], lambda at=at, left=left: [
                                       element.load_part(k, at, self.acc, self.arith.lanes, left, self.target)])
                    k.store(value, k.offset(self.at_scratch[f"row_{name}"], start, self.acc))
        k.loop(0, self.strips, body=strip, nonempty=True)
        for name, width in (("q", "width"), ("g", "depth")):
            at = k.offset(self.at[name], self.row * p[f"{name}_row"], self.elem)
            contiguous = s.contiguous if name == "q" else s.cotangent
            step = k.i64(1) if contiguous else p[f"{name}_column"]

            def lane_panel(first: Val, name: str = name, width: str = width, at: Val = at, step: Val = step,
                           contiguous: bool = contiguous) -> None:
                source = pack.Source(s.dtype, "free" if contiguous else "any", k.offset(at, first * step, self.elem),
                                     step, p[f"{name}_row"], p[width] - first, self.count)
                pack.vectors(k, self.arith, self.target, source,
                             self.place(self.at_scratch[f"{name}_steps"], first, BLOCK), k.i64(self.shape.vectors))
            k.loop(0, p[width], lanes, body=lane_panel, nonempty=True)

    # --- what a causal square may leave out
    def not_finite_rows(self, name: str, rows: Val, width: Val) -> Val:
        """Is an element of these contiguous rows infinite or NaN?"""
        k = self.k
        zero = k.const(0.0, Type(self.acc))

        def row(n: Val, total: Val) -> list[Val]:
            at = k.offset(self.at[name], n * self.p[f"{name}_row"], self.elem)
            return [k.fadd(total, self.zeros(at, width, self.elem))]
        total, = k.loop(0, rows, 1, [zero], row)
        return k.compare("uno", total, total)

    def zeros(self, at: Val, count: Val, elem: str) -> Val:
        """The sum of 0 times each of ``count`` elements: NaN if one is not finite."""
        k, lanes = self.k, self.arith.lanes
        whole = k.and_(count, k.i64(-lanes))
        nothing = k.const(0.0, self.vector)
        many, = k.loop(0, whole, lanes, [nothing], lambda i, total: [
            k.fadd(total, k.fmul(k.load(k.offset(at, i, elem), self.vector), nothing))])
        scalar = k.const(0.0, Type(self.acc))
        one, = k.loop(whole, count, 1, [scalar], lambda i, total: [
            k.fadd(total, k.fmul(k.load(k.offset(at, i, elem), Type(self.acc)), scalar))])
        bad = k.bitcast(k.convert("zext", k.compare("uno", many, many), "i8"), f"i{8 * lanes}")
        return k.select(k.compare("ne", bad, k.const(0, bad.type)), k.const(float("nan"), one.type), one)

    def not_finite_block(self) -> Val:
        """Is a query, a cotangent or a log-sum-exp of this block infinite or NaN?"""
        k, p, lanes = self.k, self.p, self.s.lanes
        total = self.zeros(self.at_scratch["row_lse"], self.strips * lanes, self.acc)
        for name, width in (("q", "width"), ("g", "depth")):
            total = k.fadd(total, self.zeros(self.at_scratch[f"{name}_lanes"], self.strips * lanes * p[width],
                                             self.acc))
        return k.compare("uno", total, total)

    def limit(self, first: Val, j: Val, keys: Val) -> Val:
        """Keys of a square (from key ``first`` on, ``keys`` of them) that strip ``j`` of its queries may see."""
        k = self.k
        if self.safe is None:
            return keys
        seen = self.row + j * self.s.lanes + self.s.lanes - first
        return k.select(self.safe, k.smax(k.i64(0), k.smin(keys, seen)), keys)

    # --- a square
    def square(self, first: Val) -> None:
        k, p = self.k, self.p
        keys = k.smin(p["columns"] - first, k.i64(BLOCK))
        fresh = k.compare("eq", k.and_(first, k.i64(SUPER - 1)), k.i64(0))

        def full() -> None:
            k.loop(0, self.strips, body=lambda j: self.weights(first, j, self.limit(first, j, keys)), nonempty=True)
            self.over_queries("dv", "g", p["depth"], p["depth_lanes"], first, keys)
            k.loop(0, self.strips, body=lambda j: self.slopes(first, j, self.limit(first, j, keys)), nonempty=True)
            self.over_queries("dk", "q", p["width"], p["width_lanes"], first, keys)
            k.loop(0, self.strips, body=lambda j: self.over_keys(first, j, self.limit(first, j, keys), keys,
                                                                  fresh), nonempty=True)

        def hidden() -> None:
            for name, lanes in (("dv", "depth_lanes"), ("dk", "width_lanes")):
                at = self.place(self.at_scratch[f"{name}_sums"], first, p[lanes])
                self.add_zero(at, keys * p[lanes], self.fresh)
            self.add_zero(self.at_scratch["dq_sums"], p["width"] * BLOCK, fresh)
        if self.safe is None:
            full()
        else:
            k.if_(k.and_(self.safe, k.compare("sge", first, self.row + self.count)), hidden, full)
        last = first + keys
        ends = k.or_(k.compare("eq", last, p["columns"]), k.compare("eq", k.and_(last, k.i64(SUPER - 1)), k.i64(0)))
        k.if_(k.and_(k.compare("sgt", p["columns"], k.i64(SUPER)), ends), lambda: self.total(
            self.at_scratch["dq_sums"], self.at_scratch["dq_totals"], p["width"], BLOCK, last, p["columns"]))

    def add_zero(self, at: Val, count: Val, fresh: Val) -> None:
        """Add +0 to sums, or begin with it."""
        k = self.k
        zero = k.const(0.0, self.vector)

        def one(i: Val) -> None:
            place = k.offset(at, i, self.acc)
            k.if_(fresh, lambda: k.store(zero, place),
                  lambda: k.store(k.fadd(k.load(place, self.vector), zero), place))
        k.loop(0, count, self.arith.lanes, body=one)

    def row_values(self, name: str, j: Val) -> list[Val]:
        k = self.k
        at = k.offset(self.at_scratch[f"row_{name}"], j * self.s.lanes, self.acc)
        return [k.load(k.offset(at, n * self.arith.lanes, self.acc), self.vector) for n in range(self.shape.vectors)]

    def weights(self, first: Val, j: Val, limit: Val) -> None:
        """exp(score - lse) of a strip of queries."""
        k, p, lanes = self.k, self.p, self.s.lanes
        row, lse = self.row + j * lanes, self.row_values("lse", j)
        valid = k.smin(self.count - j * lanes, k.i64(lanes))
        panel = self.place(self.at_scratch["q_lanes"], j * lanes, p["width"])

        def tile(i: Val) -> None:
            to = self.place(self.at_scratch["square"], i, BLOCK, j * lanes)
            numbers = self.products(panel, "k", p["width"], p["columns"] - 1, first + i, to, BLOCK)
            found = self.tile(to, BLOCK)
            values = [self.scored(value, numbers[n // self.shape.vectors], row, valid,
                                  n % self.shape.vectors * self.arith.lanes, self.at.get("mask"))
                      for n, (value, _) in enumerate(found)]
            for n, (value, (_, place)) in enumerate(zip(
                    self.causal(values, numbers, row, float("-inf")), found, strict=True)):
                k.store(self.function("exp", k.fsub(value, lse[n % self.shape.vectors])), place)
        k.loop(0, limit, self.shape.height, body=tile)

    def slopes(self, first: Val, j: Val, limit: Val) -> None:
        """The cotangent of a strip's scores, in the place of their weights."""
        k, p, lanes = self.k, self.p, self.s.lanes
        inner = self.row_values("inner", j)
        panel, temporary = self.place(self.at_scratch["g_lanes"], j * lanes, p["depth"]), self.at_scratch["tile"]

        def tile(i: Val) -> None:
            numbers = self.products(panel, "v", p["depth"], p["columns"] - 1, first + i, temporary, lanes)
            found = self.tile(self.place(self.at_scratch["square"], i, BLOCK, j * lanes), BLOCK)
            values = []
            for n, ((product, _), (weight, _)) in enumerate(zip(self.tile(temporary, lanes), found, strict=True)):
                slope = k.fmul(weight, k.fsub(product, inner[n % self.shape.vectors]))
                values.append(k.fmul(slope, k.splat(self.scale, self.arith.lanes)))
            values = self.causal(values, numbers, self.row + j * lanes, 0.0)
            for value, (_, place) in zip(values, found, strict=True):
                k.store(value, place)
        k.loop(0, limit, self.shape.height, body=tile)

    def over_queries(self, name: str, other: str, width: Val, stride: Val, first: Val, keys: Val) -> None:
        """Sums of ``name`` over the queries of the square: its rows times ``other``."""
        k, height, lanes = self.k, self.shape.height, self.s.lanes

        def tile(i: Val) -> None:
            start, sees = k.i64(0), None
            if self.safe is not None:  # queries before the first key see none of the tile
                ahead = first + i - self.row
                begin = k.and_(k.smax(k.i64(0), ahead), k.i64(-lanes))
                start = k.select(self.safe, k.smin(begin, k.and_(self.count - 1, k.i64(-lanes))), k.i64(0))
                sees = k.or_(k.xor(self.safe, k.const(1, Type("i1"))), k.compare("slt", ahead, self.count))
            rows = [self.place(self.at_scratch["square"], i + u, BLOCK, start) for u in range(height)]

            def panel(column: Val) -> None:
                steps = self.place(self.at_scratch[f"{other}_steps"], column, BLOCK)

                def sums() -> list[Val]:
                    return list(chain(k, self.target, self.arith, height, self.shape.vectors, self.count - start,
                                      Stream(None, rows, k.i64(1)),
                                      Stream(None, [self.place(steps, start, lanes)], k.i64(lanes))))
                found = sums() if sees is None else k.if_(sees, sums, lambda: [
                    k.const(0.0, self.vector)] * (height * self.shape.vectors))
                self.put(found, self.place(self.at_scratch[f"{name}_sums"], first + i, stride, column), stride,
                         self.fresh)
            k.loop(0, width, lanes, body=panel, nonempty=True)
        k.loop(0, keys, height, body=tile, nonempty=True)

    def over_keys(self, first: Val, j: Val, limit: Val, keys: Val, fresh: Val) -> None:
        """Sums of ``dq`` over the keys of the square, for a strip of queries."""
        k, p, lanes, height = self.k, self.p, self.s.lanes, self.shape.height
        square = k.offset(self.at_scratch["square"], j * lanes, self.acc)
        rows = k.offset(self.at["k"], first * p["k_row"], self.elem)

        def clear(i: Val) -> None:
            for n in range(self.shape.vectors):
                k.store(k.const(0.0, self.vector), self.place(square, i, BLOCK, n * self.arith.lanes))

        def tile(i: Val) -> None:
            columns = [k.offset(rows, k.smin(i + u, p["width"] - 1), self.elem) for u in range(height)]

            def sums(length: Val) -> list[Val]:
                return list(chain(k, self.target, self.arith, height, self.shape.vectors, length,
                                  Stream(self.s.dtype, columns, p["k_row"]), Stream(None, [square], k.i64(BLOCK))))
            found = sums(limit)
            if self.safe is not None:
                def again() -> list[Val]:
                    k.loop(limit, keys, body=clear)
                    return sums(keys)
                bad = k.and_(k.compare("slt", limit, keys), self.has_signed_zero(found))
                found = k.if_(bad, again, lambda: found)
            self.put(found, self.place(self.at_scratch["dq_sums"], i, BLOCK, j * lanes), BLOCK, fresh)

        def some() -> None:
            k.loop(0, p["width"], height, body=tile, nonempty=True)
        k.if_(k.compare("sgt", limit, k.i64(0)), some, lambda: self.no_keys(j, fresh))

    def no_keys(self, j: Val, fresh: Val) -> None:
        """A strip that sees no key of the square: its sums of ``dq`` get +0."""
        k, p, lanes = self.k, self.p, self.s.lanes

        def row(i: Val) -> None:
            self.add_zero(self.place(self.at_scratch["dq_sums"], i, BLOCK, j * lanes), k.i64(lanes), fresh)
        k.loop(0, p["width"], body=row, nonempty=True)

    def has_signed_zero(self, values: list[Val]) -> Val:
        """Is one of the values -0?"""
        k, elem = self.k, self.signed_zero
        lanes = self.arith.lanes
        sign = k.const(-(1 << (Type(elem).bits - 1)), Type(elem, lanes))
        bad = k.const(0, Type("i1", lanes))
        for value in values:
            bad = k.or_(bad, k.compare("eq", k.bitcast(value, elem), sign))
        bits = k.bitcast(k.convert("zext", bad, "i8"), f"i{8 * lanes}")
        return k.compare("ne", bits, k.const(0, bits.type))

    # --- results
    def store_queries(self) -> None:
        """Store ``dq`` of the square's queries."""
        k, p, lanes, height = self.k, self.p, self.s.lanes, self.shape.height
        finish = Finish(self.acc, self.s.wide, identity(self.s.wide), (), ("column",))

        def strip(j: Val) -> None:
            out = k.offset(self.at["dq"], (self.row + j * lanes) * p["dq_row"], self.elem)

            def tile(i: Val) -> None:
                emit_finish(k, finish, self.target, self.arith.lanes, Tile(
                    self.place(self.at_scratch["dq_sums"], i, BLOCK, j * lanes), BLOCK, height, lanes,
                    k.smin(k.i64(height), p["width"] - i), k.smin(self.count - j * lanes, k.i64(lanes))), [],
                    [Place(k.offset(out, i, self.elem), k.i64(1), p["dq_row"])])
            k.loop(0, p["width"], height, body=tile, nonempty=True)
        k.loop(0, self.strips, body=strip, nonempty=True)

    def store_rows(self, name: str, width: Val, stride: Val) -> None:
        """Store ``dk`` or ``dv``."""
        k, p, lanes, height = self.k, self.p, self.s.lanes, self.shape.height
        finish = Finish(self.acc, self.s.wide, identity(self.s.wide), (), ("vector",))

        def tile(i: Val) -> None:
            def panel(column: Val) -> None:
                out = k.offset(self.at[name], i * p[f"{name}_row"] + column, self.elem)
                emit_finish(k, finish, self.target, self.arith.lanes, Tile(
                    self.place(self.at_scratch[f"{name}_sums"], i, stride, column), stride, height, lanes,
                    k.smin(k.i64(height), p["columns"] - i), k.smin(k.i64(lanes), width - column)), [],
                    [Place(out, p[f"{name}_row"], k.i64(1))])
            k.loop(0, width, lanes, body=panel, nonempty=True)
        k.loop(0, p["columns"], height, body=tile, nonempty=True)


def build(structure: Structure) -> Callable[[str, Target], Kernel]:
    """The kernel of this structure."""
    return by_tasks(Writer, structure)
