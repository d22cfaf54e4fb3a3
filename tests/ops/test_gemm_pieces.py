"""Packed copies of large operands: made and used piece by piece, to the same bits."""
from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.ir.types import tensor_type
from gemel.engine.loops.gemm import schedule
from tests.ops.test_gemm_native import random, seed
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
