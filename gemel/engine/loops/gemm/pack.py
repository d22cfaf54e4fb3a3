"""Packing: copying an operand into the order in which the inner loop reads it.

A *vector panel* holds, for each step of k, the elements of one tile's vectors side by side; a *scalar panel*
those of one tile's rows. Where a step takes several k (``group``), the elements of one row lie together. Packing
converts to the panel's element type, so that the inner loop only loads. Three ways to read the source, by what
is contiguous:

- ``free``: the panel's own dimension; whole vectors are copied;
- ``k``: the contracted dimension; blocks are transposed in registers;
- ``any``: neither; element by element.

Panels at the edge are filled up with copies of the last row or with zeros: those lanes are never stored. A last
step that is short of k is filled up with zeros; so are the steps that a whole tile lacks.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...base.dtypes import DType
from ...base.target import Target
from .. import element
from ..ir import KernelBuilder, Type, Val
from .arithmetic import Arithmetic, Bytes
from .transpose import transpose

MODES = ("free", "k", "any")
RUN = 8  # panels of scalars that are packed together


@dataclass(frozen=True)
class Source:
    """Where a panel comes from.

    Args:
        dtype: of the elements. mode: one of ``MODES``. at: pointer to the panel's first element.
        free, along: strides along the panel's own dimension and along k.
        valid: rows (lanes) of the panel that exist (>= 1). k: elements along k (>= 1).
        scalar: the panel is one of scalars.
    """

    dtype: DType
    mode: str
    at: Val
    free: Val
    along: Val
    valid: Val
    k: Val
    scalar: bool = False

    @property
    def elem(self) -> str:
        return element.memory(self.dtype)


def mode_of(free: int, along: int, count: int, k: int) -> str:
    """How a source with these strides and sizes is read."""
    if free == 1 or count == 1:
        return "free"
    return "k" if along == 1 or k == 1 else "any"


def converted(k: KernelBuilder, arith: Arithmetic, raw: Val, dtype: DType, scalar: bool) -> Val:
    """Elements of ``dtype`` in memory as a panel (of scalars) holds them."""
    if scalar and isinstance(arith, Bytes) and arith.biased:
        return k.xor(raw, k.const(0x80, raw.type))
    if element.memory(dtype) == arith.panel:
        return raw
    return arith.to_panel(k, element.widen(k, raw, dtype), dtype)


def _converted(k: KernelBuilder, arith: Arithmetic, source: Source, raw: Val) -> Val:
    return converted(k, arith, raw, source.dtype, source.scalar)


def _elements(k: KernelBuilder, arith: Arithmetic, source: Source, to: Val, width: Val, first: Val, last: Val) -> None:
    """Steps ``first <= step < last``, element by element; what lies beyond the source's k is zero."""
    group = arith.group
    zero = k.const(0, Type(arith.panel))

    def step(at: Val) -> None:
        def row(r: Val) -> None:
            base = source.free * k.smin(r, source.valid - 1)
            out = k.offset(to, (at * width + r) * group, arith.panel)

            def one(kk: Val) -> Val:
                where = k.offset(source.at, base + source.along * kk, source.elem)
                return _converted(k, arith, source, k.load(where, Type(source.elem)))

            for g in range(group):
                kk = at * group + g
                value = one(kk) if g == 0 and arith.depth == 1 else k.if_(
                    k.compare("slt", kk, source.k), lambda kk=kk: [one(kk)], lambda: [zero])[0]
                k.store(value, k.offset(out, group - 1 - g if arith.exchanged else g, arith.panel))
        k.loop(0, width, body=row, nonempty=True)

    k.loop(first, last, body=step)


def interleave(k: KernelBuilder, rows: list[Val]) -> Val:
    """Element 0 of every row, element 1 of every row, ..."""
    while len(rows) > 1:
        half = len(rows) // 2
        pairs = []
        for x, y in zip(rows[:half], rows[half:], strict=True):  # (0, 2), (1, 3): zipped again they alternate
            n = x.type.lanes
            pairs.append(k.shuffle(x, y, [i + side * n for i in range(n) for side in (0, 1)]))
        rows = pairs
    return rows[0]


def _transposed(k: KernelBuilder, arith: Arithmetic, source: Source, to: Val, width: Val, first: Val | int,
                rows: int, lanes: int) -> None:
    """Rows ``first .. first + rows`` of the panel, ``lanes`` steps at a time, for all whole steps (>= ``lanes``)."""
    group = arith.group
    bits = group * Type(arith.panel).bits
    unit = f"f{bits}" if bits >= 32 else f"i{bits}"
    whole = k.udiv(source.k, k.i64(group)) if group > 1 else source.k
    numbers = [k.i64(first) + i for i in range(rows)]
    starts = [k.offset(source.at, source.free * k.smin(n, source.valid - 1), source.elem) for n in numbers]

    def block(start: Val) -> None:
        at = k.smin(start, whole - lanes)  # the last block overlaps the one before
        vectors = []
        for row in starts:
            raw = k.load(k.offset(row, at * group, source.elem), Type(source.elem, lanes * group))
            panel = _converted(k, arith, source, raw)
            if arith.exchanged:
                panel = k.shuffle(panel, None, [i ^ (group - 1) for i in range(lanes * group)])
            vectors.append(k.bitcast(panel, unit))
        out = k.offset(to, (at * width + first) * group, arith.panel)
        for i, column in enumerate(transpose(k, vectors)):
            k.store(column, k.offset(out, width * (i * group), arith.panel))

    k.loop(0, whole, lanes, body=block, nonempty=True)


def _copied(k: KernelBuilder, arith: Arithmetic, source: Source, to: Val, width: Val,
            pieces: Callable[[Callable[[Val | int, int], None]], None]) -> None:
    """All whole steps of a panel that exists in full; ``pieces`` calls its argument with (first row, rows)."""
    group = arith.group
    whole = k.udiv(source.k, k.i64(group)) if group > 1 else source.k

    def step(at: Val) -> None:
        order = reversed(range(group)) if arith.exchanged else range(group)
        lines = [k.offset(source.at, source.along * (at * group + g), source.elem) for g in order]
        out = k.offset(to, at * (width * group), arith.panel)

        def piece(start: Val | int, size: int) -> None:
            raw = [k.load(k.offset(line, start, source.elem), Type(source.elem, size)) for line in lines]
            value = interleave(k, [_converted(k, arith, source, r) for r in raw])
            k.store(value, k.offset(out, k.i64(start) * group, arith.panel))

        pieces(piece)

    k.loop(0, whole, body=step)


def _with_tail(k: KernelBuilder, arith: Arithmetic, source: Source, to: Val, width: Val, possible: Val,
               fast: Callable[[], None]) -> None:
    """``fast`` for the whole steps where it is possible; the rest element by element."""
    group = arith.group
    steps = source.k
    if group > 1:
        unit = group * arith.depth
        steps = k.udiv(source.k + (unit - 1), k.i64(unit)) * arith.depth
    whole = k.udiv(source.k, k.i64(group)) if group > 1 else source.k

    def slow(first: Val) -> None:
        _elements(k, arith, source, to, width, first, steps)

    if group == 1:
        k.if_(possible, fast, lambda: slow(k.i64(0)))
    else:
        k.if_(possible, fast)
        slow(k.select(possible, whole, k.i64(0)))


def vectors(k: KernelBuilder, arith: Arithmetic, target: Target, source: Source, to: Val, count: Val) -> None:
    """One vector panel of ``count`` vectors."""
    lanes, group = arith.lanes, arith.group
    width = count * lanes
    everything = k.compare("sge", source.valid, width)
    if source.mode == "free":
        def all_vectors(piece: Callable[[Val | int, int], None]) -> None:
            k.loop(0, width, lanes, body=lambda first: piece(first, lanes), nonempty=True)

        def copy() -> None:
            _copied(k, arith, source, to, width, all_vectors)

        if group > 1:
            _with_tail(k, arith, source, to, width, everything, copy)
            return

        def edge() -> None:
            def step(at: Val) -> None:
                def one(first: Val) -> None:
                    there = k.smax(k.i64(0), k.smin(source.valid - first, k.i64(lanes)))
                    start = k.offset(source.at, source.along * at + first, source.elem)
                    raw = element.load_part(k, start, source.elem, lanes, there, target)
                    k.store(_converted(k, arith, source, raw), k.offset(to, at * width + first, arith.panel))
                k.loop(0, width, lanes, body=one, nonempty=True)
            k.loop(0, source.k, body=step, nonempty=True)

        k.if_(everything, copy, edge)
    elif source.mode == "k":
        def strips() -> None:
            k.loop(0, width, lanes, nonempty=True,
                   body=lambda first: _transposed(k, arith, source, to, width, first, lanes, lanes))
        _with_tail(k, arith, source, to, width, k.compare("sge", source.k, k.i64(lanes * group)), strips)
    else:
        _with_tail(k, arith, source, to, width, k.const(0, Type("i1")), lambda: None)


def _pieces(height: int, most: int) -> list[tuple[int, int]]:
    """``height`` as (start, power of two) pieces."""
    pieces, at = [], 0
    while at < height:
        size = min(most, 1 << ((height - at).bit_length() - 1))
        pieces.append((at, size))
        at += size
    return pieces


def together(arith: Arithmetic, height: int) -> bool:
    """Can neighbouring panels of scalars be packed together, from rows of contiguous elements?"""
    return arith.group == 1 and arith.lanes in (height, 2 * height)


def several(k: KernelBuilder, arith: Arithmetic, source: Source, to: Sequence[Val], height: int) -> None:
    """Whole neighbouring panels of scalars, an even number, that begin at ``to``; those of :func:`together`.

    A row of one panel is half a cache line or less: read together, rows come in runs that the processor fetches ahead.
    """
    lanes = arith.lanes
    per = lanes // height  # panels that a vector holds a row of

    def row(at: Val) -> list[Val]:
        line = k.offset(source.at, source.along * at, source.elem)
        return [_converted(k, arith, source, k.load(k.offset(line, j * lanes, source.elem), Type(source.elem, lanes)))
                for j in range(len(to) // per)]

    def steps(at: Val, count: int) -> None:
        found = [row(at + i) for i in range(count)]
        for j in range(len(to) // per):
            if per == 1:
                parts = [found[0][j]]
            elif count == 1:
                parts = list(k.halves(found[0][j]))
            else:
                x, y = found[0][j], found[1][j]
                parts = [k.shuffle(x, y, [*range(h, h + height), *range(lanes + h, lanes + h + height)])
                         for h in (0, height)]
            for p, part in enumerate(parts):
                k.store(part, k.offset(to[j * per + p], at * height, arith.panel))

    whole = k.and_(source.k, k.i64(-per))
    k.loop(0, whole, per, body=lambda at: steps(at, per))
    k.loop(whole, source.k, body=lambda at: steps(at, 1))


def scalars(k: KernelBuilder, arith: Arithmetic, source: Source, to: Val, height: int) -> None:
    """One scalar panel of ``height`` rows."""
    lanes, group, width = arith.lanes, arith.group, k.i64(height)
    everything = k.compare("sge", source.valid, width)
    unit = max(1, min(lanes, 128 // (group * Type(arith.panel).bits)))
    rows = lanes if lanes <= height and not height % lanes else unit
    if source.mode == "free" and height > 1:
        def all_pieces(piece: Callable[[Val | int, int], None]) -> None:
            for start, size in _pieces(height, lanes):
                piece(start, size)
        _with_tail(k, arith, source, to, width, everything, lambda: _copied(k, arith, source, to, width, all_pieces))
    elif source.mode == "k" and not height % rows:
        def quads() -> None:
            for first in range(0, height, rows):
                _transposed(k, arith, source, to, width, first, rows, lanes)
        _with_tail(k, arith, source, to, width, k.compare("sge", source.k, k.i64(lanes * group)), quads)
    else:
        _with_tail(k, arith, source, to, width, k.const(0, Type("i1")), lambda: None)
