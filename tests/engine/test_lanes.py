"""Arrays that skip or repeat elements along the vectors of a fused kernel, at every length."""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel.engine.base.flags import override

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "uint8", "bool")


def numbers(dtype: str, *shape: int) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 50, shape)
    return drawn.astype(dtype)


@pytest.fixture(autouse=True)
def fused():
    with override(TIER="1"):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_other_element(dtype: str):
    for n in (1, 2, 3, 15, 16, 17, 31, 32, 33, 34, 63, 64, 65, 70):
        x = numbers(dtype, 3, n)
        mine = gemel.from_numpy(x)
        for start in range(min(2, n)):
            part = x[:, start::2]
            found = gemel.where(mine[:, start::2] > 7, mine[:, start::2], mine[:, start:start + 1])
            np.testing.assert_array_equal(found.numpy(), np.where(part > 7, part, x[:, start:start + 1]))


@pytest.mark.parametrize("times", (2, 3, 4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_elements(dtype: str, times: int):
    for n in (1, 2, 7, 8, 9, 16, 17, 33):
        x, full, inner = numbers(dtype, 3, n), numbers(dtype, 3, n, times), numbers(dtype, times)
        mine, mine_full, mine_inner = map(gemel.from_numpy, (x, full, inner))
        position = gemel.arange(times)
        repeated = mine.unsqueeze(-1).expand(3, n, times)
        found = gemel.where(repeated.eq(mine_full).logical_or(position.eq(1)), repeated, mine_inner)
        want = np.where((x[..., None] == full) | (np.arange(times) == 1), x[..., None], inner)
        np.testing.assert_array_equal(found.numpy(), want)


def test_a_transposed_array_beside_a_repeated_one():
    x, y = numbers("float32", 5, 20, 3), numbers("float32", 3, 20, 2)
    found = gemel.from_numpy(x).permute(2, 1, 0)[:, :, :1] * gemel.from_numpy(y)
    np.testing.assert_array_equal(found.numpy(), x.transpose(2, 1, 0)[:, :, :1] * y)
