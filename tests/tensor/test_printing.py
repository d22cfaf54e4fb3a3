"""``repr`` against torch, character for character."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel

RNG = np.random.default_rng(0)


def pair(array: np.ndarray):
    return gemel.tensor(array), torch.tensor(array)


def check(array: np.ndarray) -> None:
    mine, other = pair(array)
    assert repr(mine).replace("gemel.", "torch.") == repr(other)
    assert str(mine) == repr(mine)


FLOATS = [
    [], [0.0], [1.0], [-1.0, 2.0], [1.5], [0.1, 0.25, 1e-3], [1e-5], [1e5, 1.0], [123456.0, 1.0], [1e8, 1.0], [1e9],
    [1e-4], [9.9e-5], [1000.0, 1.0], [1001.0, 1.0], [1001.5, 1.0], [float("nan")], [float("inf"), 1.0],
    [-float("inf"), 0.5],
    [float("nan"), 1.5, -2.0], [float("inf"), float("nan"), 0.0], [0.0, -0.0], [-0.0], [1e20, 3.0], [1e38],
    [0.5, 100.25],
    [99999.5], [12345678.0], [0.99999], [1e10, 1e-10], [2.0, float("nan")], [1e-45],
]


@pytest.mark.parametrize("values", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats(values, dtype):
    check(np.array(values, dtype))
    if len(values) == 1:
        check(np.array(values[0], dtype))


SHAPES = [(0,), (2, 0), (0, 3, 1), (1,), (3, 4), (2, 3, 4), (2, 1, 3, 2), (1, 1), (25,), (40,), (7, 30), (2, 5, 12),
          (1000,), (1001,), (40, 40), (10, 11, 12), (3, 400), (400, 3), (5, 6, 7, 8), (1, 2000), (2000, 1), (7, 1, 200)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape):
    check(RNG.standard_normal(shape).astype(np.float32))
    check(RNG.standard_normal(shape) * 1e6)
    check(RNG.integers(-1000, 1000, shape))
    check(RNG.integers(0, 2, shape).astype(bool))
    check(RNG.integers(0, 200, shape).astype(np.uint8))
    check(RNG.integers(-5, 5, shape).astype(np.float32))
    check((RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)).astype(np.complex64))
    check(RNG.standard_normal(shape).astype(np.float16))


@pytest.mark.parametrize("values", [[1j], [1 + 2j, 3.5 - 4j], [1e6 + 1j], [complex("nan"), 1], [0j], [2 + 3j, -4 - 5j],
                                    [complex(0, float("inf")), 1e-6j]], ids=str)
def test_complex(values):
    check(np.array(values, np.complex64))
    check(np.array(values, np.complex128))
    if len(values) == 1:
        check(np.array(values[0], np.complex64))


def test_scalars_and_dtypes():
    for value in (3, -3, True, 2.5, 1e-8, 1e12, 0.0, 5.0):
        assert repr(gemel.tensor(value)) == repr(torch.tensor(value))
    for name in ("float16", "bfloat16", "float64", "int8", "int16", "int32", "uint8", "complex128"):
        mine = gemel.tensor([1, 2], dtype=getattr(gemel, name))
        assert repr(mine).replace("gemel.", "torch.") == repr(torch.tensor([1, 2], dtype=getattr(torch, name)))
    mine = gemel.tensor([0.1, 1e3], dtype=gemel.bfloat16)
    assert repr(mine).replace("gemel.", "torch.") == repr(torch.tensor([0.1, 1e3], dtype=torch.bfloat16))


def test_suffixes():
    for x, y in ((gemel.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)),
                 (gemel.ones(3, dtype=gemel.float64, requires_grad=True),
                  torch.ones(3, dtype=torch.float64, requires_grad=True)),
                 (gemel.zeros(2, 0, requires_grad=True), torch.zeros(2, 0, requires_grad=True))):
        assert repr(x).replace("gemel.", "torch.") == repr(y)
        assert repr(x * x).replace("gemel.", "torch.") == repr(y * y)
    x, y = gemel.arange(13.0).requires_grad_(), torch.arange(13.0).requires_grad_()
    assert repr(x * x) == repr(y * y)


OPTIONS = [{"precision": 2}, {"threshold": 5}, {"edgeitems": 1, "threshold": 5}, {"linewidth": 40}, {"sci_mode": True},
           {"sci_mode": False}, {"profile": "short"}, {"profile": "full"}, {"precision": 8, "linewidth": 120},
           {"edgeitems": 0, "threshold": 5}, {"profile": "default", "precision": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(options):
    with gemel.printoptions(**options), torch._tensor_str.printoptions(**options):
        for shape in ((4,), (30,), (6, 7), (3, 4, 5), (1500,)):
            check(RNG.standard_normal(shape).astype(np.float32))
            check(RNG.standard_normal(shape) * 1e9)
            check(RNG.integers(0, 50, shape).astype(np.float32))
            check(RNG.integers(0, 50, shape))
            check(RNG.standard_normal(shape) + 1j)
        assert gemel.tensor(1.23456789).__repr__() == repr(torch.tensor(1.23456789))
    assert gemel.get_printoptions() == {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80,
                                        "sci_mode": None}


def test_default_dtype_is_not_named():
    gemel.set_default_dtype(gemel.float64)
    torch.set_default_dtype(torch.float64)
    try:
        for dtype in (np.float32, np.float64, np.complex64, np.complex128):
            check(np.ones(2, dtype))
    finally:
        gemel.set_default_dtype(gemel.float32)
        torch.set_default_dtype(torch.float32)


def test_format():
    x = gemel.tensor(2.53125)
    assert f"{x:.2f}" == "2.53" and f"{x}" == "2.53125" and f"{gemel.tensor(3):04d}" == "0003"
    y = gemel.tensor([1.0, 2.0])
    assert f"{y}" == "tensor([1., 2.])"
    with pytest.raises(TypeError):
        f"{y:.2f}"


def test_printing_does_not_change_the_tensor():
    x = gemel.arange(6.0).reshape(2, 3)
    before = x._alias
    repr(x)
    assert x._alias is before


def test_unknown_profile():
    with pytest.raises(ValueError, match="default"):
        gemel.set_printoptions(profile="tiny")


def test_devices_dtypes_and_sizes_print():
    assert repr(gemel.device("cpu")) == repr(torch.device("cpu"))
    assert repr(gemel.device("cuda", 1)) == repr(torch.device("cuda", 1)) and str(gemel.device("cuda:1")) == "cuda:1"
    assert repr(gemel.zeros(2, 3).shape) == "gemel.Size([2, 3])"
    assert repr(gemel.float32) == "gemel.float32" and repr(gemel.strided) == "gemel.strided"
    for name in ("float16", "bfloat16", "float32", "float64"):
        assert repr(gemel.finfo(getattr(gemel, name))) == repr(torch.finfo(getattr(torch, name)))
    for name in ("int8", "uint8", "int16", "int32", "int64"):
        assert repr(gemel.iinfo(getattr(gemel, name))) == repr(torch.iinfo(getattr(torch, name)))


class Weight(gemel.Tensor):
    __slots__ = ()


def test_subclasses_print_their_name():
    x = gemel.tensor([1.0, 2.0])
    x.__class__ = Weight
    assert repr(x) == "Weight([1., 2.])"
