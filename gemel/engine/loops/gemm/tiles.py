"""bf16 contractions in the tile registers of AMX.

One instruction multiplies a tile of 16 rows x 32 k by one of 32 k x 16 lanes and adds to a tile of 16 x 16 f32
sums: for each sum it forms one chain over the even and one over the odd k (from +0, each step rounded once,
subnormals taken and given as zeros), adds the two, and adds that to the sum. That, from +0 in every super-block,
is the canonical order of bf16 ``dot`` on machines that have the instruction. A tile's sums go through memory between
blocks of ``TILE_BLOCK`` k, which are as long as the first-level cache holds the panel of lanes: no part of the order.

Panels of the vector operand are those of the other 16-bit arithmetics (pairs of k side by side), filled up with
zeros to whole tiles. A scalar panel holds, for every 32 k, its rows one after the other: 64 bytes each.
"""
from __future__ import annotations

from collections.abc import Callable

from .. import element
from ..ir import KernelBuilder, Type, Val
from . import pack
from .arithmetic import TILE_K
from .transpose import transpose

ROWS = 16  # of a tile; also its lanes
_PAIRS = TILE_K // 2
_ROW_BYTES = 64
#: tile registers: sums first, then two of rows, two of lanes
_LEFT, _RIGHT = 4, 6
_CONFIGURATION = [1, *(0 for _ in range(15)), *(_ROW_BYTES if i % 2 == 0 else 0 for i in range(16)),
                  *(0 for _ in range(16)), *(ROWS for _ in range(8)), *(0 for _ in range(8))]


def _tile(k: KernelBuilder, name: str, *operands: int | Val) -> None:
    k.emit("intrinsic", None, [k.const(x, Type("i8")) if isinstance(x, int) else x for x in operands],
           f"llvm.x86.{name}")


def open_tiles(k: KernelBuilder) -> None:
    """Make all eight registers tiles of 16 rows of 64 bytes."""
    _tile(k, "ldtilecfg", k.table("i8", _CONFIGURATION))


def close_tiles(k: KernelBuilder) -> None:
    """Give the registers back: a thread that holds none is switched faster."""
    _tile(k, "tilerelease")


def block(k: KernelBuilder, height: int, vectors: int, steps: Val, left: tuple[Val, Val, Val],
          right: tuple[Val, Val], fresh: Val, sums: Val, row: int) -> None:
    """Carry the sums in memory, ``row`` a row, on over ``steps`` steps (whole tiles).

    Args:
        left: pointer, bytes from row to row, bytes from tile to tile of k. right: pointer, bytes from pair to pair.
        fresh: sums start at +0.
    """
    rows = height // ROWS
    start, stride, along = left
    at, width = right
    places = [(i * vectors + j, k.offset(sums, (i * row + j) * ROWS, "f32"))
              for i in range(rows) for j in range(vectors)]

    def zero() -> None:
        for n, _ in places:
            _tile(k, "tilezero", n)

    def load() -> None:
        for n, place in places:
            _tile(k, "tileloadd64", n, place, k.i64(4 * row))
    k.if_(fresh, zero, load)

    def step(number: Val) -> None:
        here = k.offset(start, number * along, "i8")
        there = k.offset(at, number * (width * _PAIRS), "i8")
        for j in range(vectors):
            _tile(k, "tileloadd64", _RIGHT + j, k.offset(there, j * _ROW_BYTES, "i8"), width)
        ahead = k.offset(here, along * 2, "i8")  # the rows come from the second-level cache
        for r in range(height):
            k.prefetch(k.offset(ahead, stride * r, "i8"))
        for i in range(rows):
            _tile(k, "tileloadd64", _LEFT + i, k.offset(here, stride * (i * ROWS), "i8"), stride)
            for j in range(vectors):
                _tile(k, "tdpbf16ps", i * vectors + j, _LEFT + i, _RIGHT + j)
    k.loop(0, k.udiv(steps, k.i64(_PAIRS)), body=step, nonempty=True)

    for n, place in places:
        _tile(k, "tilestored64", n, place, k.i64(4 * row))


def scalars(k: KernelBuilder, source: pack.Source, to: Val, height: int) -> None:
    """One scalar panel of ``height`` rows."""
    whole = k.udiv(source.k, k.i64(TILE_K))
    total = k.udiv(source.k + (TILE_K - 1), k.i64(TILE_K))

    def where(t: Val, row: Val | int) -> Val:
        return k.offset(to, (t * height + row) * TILE_K, "i16")

    def copied(t: Val) -> None:
        def one(row: Val) -> None:
            start = source.free * k.smin(row, source.valid - 1) + t * TILE_K
            k.store(k.load(k.offset(source.at, start, "i16"), Type("i16", TILE_K)), where(t, row))
        k.loop(0, height, body=one, nonempty=True)

    def transposed(t: Val) -> None:
        def strip(row: Val) -> None:
            pairs = []
            for p in range(_PAIRS):
                lines = [k.load(k.offset(source.at, source.along * (t * TILE_K + 2 * p + i) + row, "i16"),
                                Type("i16", ROWS)) for i in range(2)]
                pairs.append(k.bitcast(pack.interleave(k, lines), "f32"))
            for i, column in enumerate(transpose(k, pairs)):
                k.store(column, where(t, row + i))
        k.loop(0, height, ROWS, body=strip, nonempty=True)

    def elements(first: Val) -> None:
        def tile(t: Val) -> None:
            def one(row: Val) -> None:
                base = source.free * k.smin(row, source.valid - 1)

                def value(i: Val) -> None:
                    kk = t * TILE_K + i
                    found, = k.if_(k.compare("slt", kk, source.k),
                                   lambda: [k.load(k.offset(source.at, base + source.along * kk, "i16"), Type("i16"))],
                                   lambda: [k.const(0, Type("i16"))])
                    k.store(found, k.offset(where(t, row), i, "i16"))
                k.loop(0, TILE_K, body=value, nonempty=True)
            k.loop(0, height, body=one, nonempty=True)
        k.loop(first, total, body=tile)

    def fast(body: Callable[[Val], None]) -> Callable[[], list[Val]]:
        def run() -> list[Val]:
            k.loop(0, whole, body=body)
            return [whole]
        return run

    assert source.elem == element.memory(source.dtype) == "i16"
    if source.mode == "k":
        fast(copied)()
        elements(whole)
    elif source.mode == "free":
        full = k.compare("sge", source.valid, k.i64(height))
        first, = k.if_(full, fast(transposed), lambda: [k.i64(0)])
        elements(first)
    else:
        elements(k.i64(0))
