"""Finishing a tile: round the sums to the contraction's dtype, apply the epilogue, store.

The tile lies in cache memory, row by row, its lanes along the vector dimension. Arrays that lie the same way are
loaded and stored by vectors; one value a row is broadcast; arrays that are contiguous along the other dimension
pass through a small transposed copy; anything else goes element by element.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...base import dtypes as dt
from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..expression import Expression
from ..ir import KernelBuilder, Type, Val
from .transpose import transpose

KINDS = ("vector", "row", "column", "any")
#: what costs an instruction or a few
_LIGHT = frozenset(("const", "neg", "abs", "copy", "add", "sub", "mul", "max", "min", "and", "or", "xor", "not", "eq",
                    "ne", "lt", "le", "select", "cast", "bitcast"))
#: what a whole tile's epilogue may cost to be finished in registers: it is written out for every vector of the tile,
#: which LLVM takes its time for. An operation costs 1, with a result that is rounded to 16 bits ``_ROUNDED``
_MOST_COST, _ROUNDED = 8, 6
_QUIET, _SUBNORMAL, _SIGNALLING = 1, 32, 128  # classes of numbers, as ``vfpclassps`` has them


def kind_of(row: int, lane: int) -> str:
    """How an array with these strides along tile rows and lanes is addressed."""
    if lane == 1:
        return "vector"
    if lane == 0:
        return "row"
    return "column" if row == 1 else "any"


@dataclass(frozen=True)
class Finish:
    """The structure of the last step.

    Args:
        acc: element type of the sums. out: dtype of the contraction's result.
        expression: the epilogue. inputs, outputs: one of ``KINDS`` per array.
    """

    acc: str
    out: DType
    expression: Expression
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def input_dtype(self, i: int) -> DType:
        return self.expression.inputs[i + 1]

    def output_dtype(self, i: int) -> DType:
        return self.expression.dtype(self.expression.outputs[i])

    @property
    def dtypes(self) -> list[DType]:
        """Of the inputs, then of the outputs."""
        return [*map(self.input_dtype, range(len(self.inputs))), *map(self.output_dtype, range(len(self.outputs)))]

    @property
    def plain(self) -> bool:
        """The sums themselves are stored, by vectors."""
        return not self.expression.nodes and self.outputs == ("vector",) and element.memory(self.out) == self.acc

    @property
    def light(self) -> bool:
        """Little is computed, and arrays are read by vectors or one value a row, and written by vectors."""
        e = self.expression
        cost = sum(_ROUNDED if d.kind == "f" and d.bits == 16 else 1 for d in e.dtypes)
        return (cost <= _MOST_COST and all(op.name in _LIGHT for op, _ in e.nodes)
                and {*self.inputs} <= {"vector", "row"} and {*self.outputs} == {"vector"})


@dataclass(frozen=True)
class Place:
    """An array at the tile's first element: pointer, strides along rows and lanes."""

    at: Val
    row: Val
    lane: Val


@dataclass(frozen=True)
class Tile:
    """Sums to finish.

    Args:
        at: the first. stride: accumulators from one row to the next. height, width: most rows and lanes.
        rows, lanes: how many there are (>= 1).
    """

    at: Val
    stride: Val | int
    height: int
    width: int
    rows: Val
    lanes: Val


def rounded(k: KernelBuilder, out: DType, sums: Val) -> Val:
    """The contraction's result in register representation: rounded once to its dtype."""
    acc = sums.type.elem
    if out.kind == "f":
        if out.bits == 16:
            return element.widen(k, element.narrow(k, sums, out), out)
        if out.bits == sums.type.bits:
            return sums
        return k.convert("fpext" if out.bits > sums.type.bits else "fptrunc", sums, f"f{out.bits}")
    if acc[0] == "f":
        raise AssertionError(f"sums of {acc} for a result of {out.name}")
    return k.convert("trunc", sums, f"i{out.bits}")


def _move(k: KernelBuilder, elem: str, memory: Place, kind: str, buffer: Val, tile: Tile, into_tile: bool) -> None:
    """Copy between ``memory`` and a row-major buffer of a tile, transposing where memory is contiguous along rows."""
    rows, lanes, width = tile.rows, tile.lanes, tile.width

    def one(row: Val, lane: Val) -> None:
        outside = k.offset(memory.at, memory.row * row + memory.lane * lane, elem)
        inside = k.offset(buffer, row * width + lane, elem)
        source, target = (outside, inside) if into_tile else (inside, outside)
        k.store(k.load(source, Type(elem)), target)

    def each(r0: Val, r1: Val, l0: Val, l1: Val) -> None:
        k.loop(l0, l1, trips=width,
               body=lambda lane: k.loop(r0, r1, trips=tile.height, body=lambda row: one(row, lane)))

    zero = k.i64(0)
    if kind == "any":
        each(zero, rows, zero, lanes)
        return
    quad = 4 if Type(elem).bits <= 32 else 2
    whole_rows = k.and_(rows, k.i64(-quad))
    whole_lanes = k.and_(lanes, k.i64(-quad))
    vector = Type(elem, quad)

    def square(lane: Val) -> None:
        def block(row: Val) -> None:
            outside = [k.offset(memory.at, row + memory.lane * (lane + i), elem) for i in range(quad)]
            inside = [k.offset(buffer, (row + i) * width + lane, elem) for i in range(quad)]
            source, target = (outside, inside) if into_tile else (inside, outside)
            for value, place in zip(transpose(k, [k.load(p, vector) for p in source]), target, strict=True):
                k.store(value, place)
        k.loop(0, whole_rows, quad, body=block, trips=max(1, tile.height // quad))

    k.loop(0, whole_lanes, quad, body=square, trips=width // quad)
    each(whole_rows, rows, zero, whole_lanes)
    each(zero, rows, whole_lanes, lanes)


def finish_sums(k: KernelBuilder, finish: Finish, target: Target, vectors: int, sums: Sequence[Val],
                inputs: Sequence[Place], outputs: Sequence[Place]) -> None:
    """Finish a whole tile from registers, ``vectors`` a row, where :attr:`Finish.light` holds."""
    lanes, out = sums[0].type.lanes, finish.out
    if out is dt.bfloat16 and not finish.expression.nodes and target.isa == "avx512" and "avx512bf16" in target.extras:
        _store_bf16(k, vectors, sums, outputs[0])
        return

    def at(place: Place, dtype: DType, row: int, lane: int) -> Val:
        return k.offset(place.at, place.row * row + lane, element.memory(dtype))

    def load(i: int, row: int, lane: int, count: int) -> Val:
        dtype = finish.input_dtype(i)
        return element.load(k, at(inputs[i], dtype, row, lane), dtype, count)

    for row in range(len(sums) // vectors):
        alone = {i: load(i, row, 0, 1) for i, kind in enumerate(finish.inputs) if kind == "row"}
        for j, value in enumerate(sums[row * vectors:(row + 1) * vectors]):
            lane = j * lanes
            if not finish.expression.nodes:  # a 16-bit float is rounded by being stored
                raw = element.narrow(k, value if out.kind == "f" and out.bits == 16 else rounded(k, out, value), out)
                k.store(raw, at(outputs[0], out, row, lane))
                continue
            values = [rounded(k, out, value), *(alone[i] if i in alone else load(i, row, lane, lanes)
                                                for i in range(len(inputs)))]
            for i, result in enumerate(finish.expression.emit(k, values)):
                dtype = finish.output_dtype(i)
                k.store(element.narrow(k, k.splat(result, lanes), dtype), at(outputs[i], dtype, row, lane))


def _store_bf16(k: KernelBuilder, vectors: int, sums: Sequence[Val], place: Place) -> None:
    """Round a whole tile to bf16 and store it, in one instruction where there are no NaNs and subnormal numbers: it
    keeps the payloads of the ones and takes the others as zeros."""
    odd = k.const(0, Type("i1", 16))
    for value in sums:
        odd = k.or_(odd, k.intrinsic("llvm.x86.avx512.fpclass.ps.512", odd.type, value,
                                     k.const(_QUIET | _SUBNORMAL | _SIGNALLING, Type("i32"))))

    def each(narrow: Callable[[Val], Val]) -> None:
        for n, value in enumerate(sums):
            at = place.row * (n // vectors) + n % vectors * 16
            k.store(narrow(value), k.offset(place.at, at, "i16"))

    k.if_(k.compare("eq", k.bitcast(odd, "i16"), k.const(0, Type("i16"))),
          lambda: each(lambda x: k.bitcast(k.intrinsic("llvm.x86.avx512bf16.cvtneps2bf16.512", Type("bf16", 16), x),
                                           "i16")),
          lambda: each(lambda x: element.narrow(k, x, dt.bfloat16)))


def emit_finish(k: KernelBuilder, finish: Finish, target: Target, vector: int, tile: Tile, inputs: Sequence[Place],
         outputs: Sequence[Place]) -> None:
    """Finish one tile; ``vector``: lanes of a register; ``inputs``, ``outputs``: the epilogue's arrays here."""
    if not finish.plain:
        _general(k, finish, target, vector, tile, inputs, outputs)
        return
    place = outputs[0]

    def copy() -> None:
        def row(i: Val) -> None:
            to, source = k.offset(place.at, place.row * i, finish.acc), k.offset(tile.at, i * tile.stride, finish.acc)
            values = [k.load(k.offset(source, j, finish.acc), Type(finish.acc, vector))
                      for j in range(0, tile.width, vector)]
            for j, value in enumerate(values):
                k.store(value, k.offset(to, j * vector, finish.acc))
        k.loop(0, tile.rows, body=row, nonempty=True, trips=tile.height)

    k.if_(k.compare("eq", tile.lanes, k.i64(tile.width)), copy,
          lambda: _general(k, finish, target, vector, tile, inputs, outputs))


def _general(k: KernelBuilder, finish: Finish, target: Target, vector: int, tile: Tile, inputs: Sequence[Place],
             outputs: Sequence[Place]) -> None:
    rows, lanes, width = tile.rows, tile.lanes, tile.width
    sources, targets, staged = [], [], []
    for i, (kind, place) in enumerate(zip(finish.inputs, inputs, strict=True)):
        if kind in ("column", "any"):
            elem = element.memory(finish.input_dtype(i))
            buffer = k.stack(elem, tile.height * width)
            _move(k, elem, place, kind, buffer, tile, into_tile=True)
            place = Place(buffer, k.i64(width), k.i64(1))
        sources.append(place)
    for i, (kind, place) in enumerate(zip(finish.outputs, outputs, strict=True)):
        if kind in ("column", "any"):
            elem = element.memory(finish.output_dtype(i))
            buffer = k.stack(elem, tile.height * width)
            staged.append((elem, place, kind, buffer))
            place = Place(buffer, k.i64(width), k.i64(1))
        targets.append(place)

    def step(row: Val, lane: Val) -> None:
        there = lanes - lane
        whole = k.compare("sge", there, k.i64(vector))
        sums = k.load(k.offset(tile.at, row * tile.stride + lane, finish.acc), Type(finish.acc, vector))
        values = [rounded(k, finish.out, sums)]
        for i, place in enumerate(sources):
            dtype, elem = finish.input_dtype(i), element.memory(finish.input_dtype(i))
            at = k.offset(place.at, place.row * row, elem)
            if finish.inputs[i] == "row":
                values.append(element.load(k, at, dtype, 1))
                continue
            at = k.offset(at, lane, elem)
            if place is not inputs[i]:  # the staged copy is as wide as the tile
                raw = k.load(at, Type(elem, vector))
            else:
                raw, = k.if_(whole, lambda at=at, elem=elem: [k.load(at, Type(elem, vector))],
                             lambda at=at, elem=elem: [element.load_part(k, at, elem, vector, there, target)])
            values.append(element.widen(k, raw, dtype))
        for i, (place, value) in enumerate(zip(targets, finish.expression.emit(k, values), strict=True)):
            dtype = finish.output_dtype(i)
            raw = element.narrow(k, k.splat(value, vector), dtype)
            at = k.offset(place.at, place.row * row + lane, element.memory(dtype))
            if place is not outputs[i]:
                k.store(raw, at)
            else:
                k.if_(whole, lambda raw=raw, at=at: k.store(raw, at),
                      lambda raw=raw, at=at: element.store_part(k, raw, at, there, target))

    k.loop(0, rows, nonempty=True, trips=tile.height,
           body=lambda row: k.loop(0, lanes, vector, nonempty=True, trips=width // vector,
                                   body=lambda lane: step(row, lane)))
    for elem, place, kind, buffer in staged:
        _move(k, elem, place, kind, buffer, tile, into_tile=False)
