"""Pooling against torch."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from gemel.engine.base.flags import override
from tests.nn.compare import compare, ours, randn, recorded_by, strided

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SIZE = (9, 8, 7)
WINDOWS = [
    (2, {}), (3, {"stride": 2, "padding": 1}), (3, {"stride": 1}), (2, {"stride": 3, "ceil_mode": True}),
    (3, {"stride": 2, "padding": 1, "ceil_mode": True}), (5, {"stride": 4, "padding": 2}),
]


def pair(name, n):
    return getattr(F, f"{name}{n}d"), getattr(TF, f"{name}{n}d")


@pytest.mark.parametrize("kernel, options", WINDOWS, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_pool(n, kernel, options):
    f, r = pair("max_pool", n)
    compare(f, r, [randn(2, 3, *SIZE[:n])], kernel, **options)
    compare(f, r, [randn(3, *SIZE[:n])], kernel, return_indices=True, **options)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_max_pool_types(dtype):
    compare(F.max_pool2d, TF.max_pool2d, [randn(2, 3, 19, 18, dtype=dtype)], (5, 7), 2, 1, return_indices=True)
    compare(F.max_pool2d, TF.max_pool2d, [randn(2, 3, 9, 8, dtype=dtype)], 3, 2, 1, 2)


def test_max_pool_of_ties_nans_and_integers():
    x = torch.tensor([[[[1.0, 1, math.nan, 2], [1, 1, 3, 4], [0, -0.0, 5, 5], [-1, -1, -math.inf, -math.inf]]]])
    compare(F.max_pool2d, TF.max_pool2d, [x], 2, return_indices=True)
    compare(F.max_pool2d, TF.max_pool2d, [x], 3, 1, 1)
    compare(F.max_pool2d, TF.max_pool2d, [torch.arange(36).reshape(1, 1, 6, 6)], 2)


@pytest.mark.parametrize("kernel, options", WINDOWS, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_avg_pool(n, kernel, options):
    f, r = pair("avg_pool", n)
    compare(f, r, [randn(2, 3, *SIZE[:n])], kernel, **options)
    compare(f, r, [randn(3, *SIZE[:n])], kernel, count_include_pad=False, **options)
    if n > 1:
        compare(f, r, [randn(2, 3, *SIZE[:n])], kernel, divisor_override=5, **options)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_avg_pool_types(dtype):
    compare(F.avg_pool2d, TF.avg_pool2d, [randn(2, 3, 9, 8, dtype=dtype)], 3, 2, 1)
    compare(F.avg_pool2d, TF.avg_pool2d, [randn(2, 3, 10, 10, dtype=dtype)], 5)


@pytest.mark.parametrize("n, norm, kernel, options", [
    (1, 2.0, 3, {}), (2, 2.0, 2, {}), (2, 3.0, 2, {"stride": 1}), (1, 3, 3, {"stride": 2, "ceil_mode": True}),
    (3, 1.5, 2, {})])
def test_lp_pool(n, norm, kernel, options):
    compare(*pair("lp_pool", n), [randn(2, 3, *SIZE[:n]).abs() + 0.1], norm, kernel, **options)


SIZES = [(1, 1), (2, 2), (1, 5), (2, (3, None)), (2, (9, 8)), (2, (4, 11)), (3, (2, 4, 7)), (3, 1), (2, 0)]


@pytest.mark.parametrize("n, size", SIZES, ids=str)
def test_adaptive_avg_pool(n, size):
    f, r = pair("adaptive_avg_pool", n)
    compare(f, r, [randn(2, 3, *SIZE[:n])], size, grad=None if size else ())  # torch refuses an empty gradient
    if size:
        compare(f, r, [randn(3, *SIZE[:n], dtype=torch.float32)], size)


@pytest.mark.parametrize("n, size", SIZES[:-1], ids=str)
def test_adaptive_max_pool(n, size):
    f, r = pair("adaptive_max_pool", n)
    compare(f, r, [randn(2, 3, *SIZE[:n])], size)
    compare(f, r, [randn(3, *SIZE[:n], dtype=torch.float32)], size, return_indices=True)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_unpool(n):
    x = randn(2, 3, *(8, 6, 4)[:n])
    y, index = getattr(TF, f"max_pool{n}d")(x, 2, return_indices=True)
    compare(*pair("max_unpool", n), [y, index], 2)
    x = randn(2, 3, *(9, 7, 5)[:n])
    y, index = getattr(TF, f"max_pool{n}d")(x, 2, return_indices=True)
    compare(*pair("max_unpool", n), [y, index], 2, output_size=x.shape)


@pytest.mark.parametrize("n, size", [(2, {"output_size": (3, 4)}), (2, {"output_ratio": (0.5, 0.7)}),
                                     (3, {"output_size": (3, 4, 2)})], ids=str)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_fractional_max_pool(n, size, dtype):
    x = randn(2, 3, *SIZE[:n], dtype=dtype)
    places = torch.rand(2, 3, n, dtype=dtype, generator=torch.Generator().manual_seed(1))
    f, r = pair("fractional_max_pool", n)
    compare(f, r, [x], 2, return_indices=True, _random_samples=places, **size)
    compare(f, r, [x[0]], 2, _random_samples=places[:1], **size)


def test_fractional_max_pool_draws_its_own_places():
    y = F.fractional_max_pool2d(ours(randn(2, 3, 9, 8)), 2, output_size=4)
    assert tuple(y.shape) == (2, 3, 4, 4)


@pytest.mark.parametrize("name, args", [("max_pool2d", (2,)), ("avg_pool2d", (3, 2, 1)), ("adaptive_avg_pool2d", (2,)),
                                        ("adaptive_max_pool2d", (3,))])
def test_of_no_batch_and_of_strided_input(name, args):
    compare(getattr(F, name), getattr(TF, name), [randn(0, 4, 8, 8)], *args)
    compare(getattr(F, name), getattr(TF, name), [strided(2, 4, 8, 7)], *args)


@pytest.mark.parametrize("function", [lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 5, 2),
                                      lambda x: F.adaptive_avg_pool2d(x, (3, 5))])
def test_tiers_give_the_same_bits(function):
    x = randn(2, 3, 17, 16, dtype=torch.float32)
    found = []
    for tier in ("interpreter", "0", "1"):
        with override(TIER=tier):
            mine = ours(x).requires_grad_()
            y = function(mine)
            (y * y).sum().backward()
            found.append((y.detach().numpy().tobytes(), mine.grad.numpy().tobytes()))
    assert found[0] == found[1] == found[2]


def test_pooling_is_one_operation():
    x = ours(randn(2, 3, 8, 8)).requires_grad_()
    assert recorded_by(F.max_pool2d, x, 2) == ["max_pool"]


@pytest.mark.parametrize("name, shape, args", [
    ("max_pool2d", (3, 8), (2,)), ("max_pool2d", (1, 1, 4, 4), (2, 2, 2)), ("max_pool2d", (1, 1, 2, 2), (5,)),
    ("avg_pool2d", (1, 1, 4, 4), (0,)), ("max_pool2d", (1, 1, 4, 4), (2, 0)), ("avg_pool1d", (2,), (2,)),
    ("adaptive_avg_pool2d", (1, 1, 0, 4), (2,)), ("adaptive_max_pool1d", (1, 1, 4), (-1,))])
def test_errors_are_those_of_torch(name, shape, args):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as theirs:
        getattr(TF, name)(torch.zeros(shape), *args)
    with pytest.raises(theirs.type):
        getattr(F, name)(ours(torch.zeros(shape)), *args)


def test_an_index_that_unpooling_cannot_place_is_an_error():
    y = F.max_unpool1d(ours(torch.ones(1, 1, 2)), ours(torch.tensor([[[0, 9]]])), 2)
    with pytest.raises(RuntimeError, match="invalid max index"):
        np.asarray(y.numpy())
