"""Packed copies of large operands, made and used piece by piece, and products cut into tasks: to the same bits."""
from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.base.target import for_isa
from gemel.engine.ir.types import tensor_type
from gemel.engine.loops.gemm import schedule
from gemel.engine.loops.gemm.cut import Cut, Work, busiest, choose_cut
from tests.ops.test_gemm_native import exact, random, run, same, seed
from tests.plans import Native, program, same_bits


@pytest.mark.parametrize("m,k,n", [(70, 300, 90), (40, 4500, 100), (33, 8200, 17), (130, 9000, 130)])
@pytest.mark.parametrize("layouts", ["NN", "TN", "NT", "TT"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=lambda d: d.name)
def test_a_large_operand_is_packed_piece_by_piece(m: int, k: int, n: int, layouts: str, dtype: dt.DType) -> None:
    rng = seed("pieces", m, k, n)
    a, b = (random(rng, shape if kind == "N" else shape[::-1], dtype)
            for shape, kind in zip(((m, k), (k, n)), layouts, strict=True))

    def body(builder, x, y):
        z = builder.dot(x, y, (1 if layouts[0] == "N" else 0,), (0 if layouts[1] == "N" else 1,))
        column = builder.reduce_sum(x, (1 if layouts[0] == "N" else 0,))
        w = builder.mul(builder.exp(z), builder.expand(builder.reshape(column, (m, 1)), z.type.shape))
        return z, builder.neg(w)
    p = program([tensor_type(dtype, x.shape) for x in (a, b)], body)
    whole = Native(p, [a, b], True)
    with mock.patch.object(schedule, "PIECE", 1 << 15):
        parts = Native(p, [a, b], True)
    assert all(map(same_bits, whole.outputs, parts.outputs))


def test_copies_of_large_operands_are_small() -> None:
    """The two products of a large matrix of cotangents: with the other operand, and with the weight along its rows."""
    types = [tensor_type(dt.float32, s) for s in ((100, 9000), (100, 80), (9000, 80))]
    p = program(types, lambda b, x, y, w: (b.dot(x, y, (0,), (0,)), b.dot(x, w, (1,), (0,))))
    arrays = [np.ones(t.shape, np.float32) for t in types]
    whole = Native(p, arrays, True).plan.placement.arena
    with mock.patch.object(schedule, "PIECE", 1 << 17):
        parts = Native(p, arrays, True).plan.placement.arena
    assert parts <= 1 << 21 and (whole <= 1 << 21 or parts < whole)


@pytest.mark.parametrize("cut", [Cut(1, 2, False, True), Cut(1, 3, True, True), Cut(2, 2, False, True),
                                 Cut(1, 9, False), Cut(3, 1, False), Cut(2, 4, True)], ids=str)
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int8], ids=lambda d: d.name)
@pytest.mark.parametrize("layouts", ["NN", "TN"])
def test_every_cut_covers_the_product(cut: Cut, dtype: dt.DType, layouts: str) -> None:
    """Chunks that threads share out in groups, too: 13 panels in groups of 5, 5 and 3, or in chunks of two."""
    for batch, k in ((2, 300), (1, 2304)):
        m, n = 35, 13 * 48
        rng = seed(cut, batch, k)
        a, b = random(rng, (batch, m, k), dtype), random(rng, (batch, k, n), dtype)
        out = dt.int32 if dtype is dt.int8 else dtype
        c = np.zeros((batch, m, n), out.numpy)
        x = np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) if layouts[0] == "T" else a
        with mock.patch.object(schedule, "choose_cut", lambda work, threads: cut):
            run(x, b, [c], dtype, out, threads=3)
        same(c, exact(a, b, out))


def test_large_parts_are_shared() -> None:
    """256 panels of 64 KiB, that every one of 43 chunks reads again, by two threads."""
    work = Work(1, 43, 256, 3, 42, 24_600.0, 226_000.0, 60_000.0, 64 << 10, 64 << 10, 384 << 10, 0, for_isa("avx512"))
    best = choose_cut(work, 2)
    assert best.shared and best.part * work.s_pass <= 8 << 20
    assert not choose_cut(work, 1).shared


def test_whole_chunks_are_not_dealt_out_unevenly() -> None:
    """Eleven panels on two threads: six and five take a tenth longer than the halves of all eleven."""
    work = Work(1, 11, 64, 3, 10, 6_144.0, 15_000.0, 5_000.0, 16 << 10, 16 << 10, 96 << 10, 0, for_isa("avx512"))
    assert choose_cut(work, 2).part <= 32


def test_shares_are_priced_by_their_tiles() -> None:
    """Not all panels are whole, and parts and chunks differ by one: a share is what its tasks add up to."""
    work = Work(2, 11, 64, 3, 10, 6_144.0, 15_000.0, 5_000.0, 16 << 10, 16 << 10, 96 << 10, 0, for_isa("avx512"))
    total = 2 * 64 * (11 - 1 / 3)
    for at in (Cut(3, 22, False), Cut(3, 22, True, True), Cut(2, 64, False), Cut(11, 7, False)):
        chunks, parts = -(-11 // at.chunk), -(-64 // at.part)
        rows = [64 * (p + 1) // parts - 64 * p // parts for p in range(parts)]
        panels = [work.tiles(11 * (c + 1) // chunks) - work.tiles(11 * c // chunks) for c in range(chunks)]
        sizes = [rows[p] * panels[c] for p, c in _order(chunks, parts, -(-chunks // 2) if at.shared else chunks)] * 2
        half = len(sizes) // 2
        assert busiest(work, at, 2) == pytest.approx(max(sum(sizes[:half]), sum(sizes[half:])))
        assert busiest(work, at, 1) == pytest.approx(total)
    best = choose_cut(work, 2)
    assert busiest(work, best, 2) <= total / 2 * 1.01


def _order(chunks: int, parts: int, group: int) -> list[tuple[int, int]]:
    """(part, chunk) of the tasks of an entry: groups of chunks, in them all chunks for a part after the other."""
    return [(p, c) for first in range(0, chunks, group) for p in range(parts)
            for c in range(first, min(first + group, chunks))]
