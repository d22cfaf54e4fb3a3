"""Linear maps and convolutions against torch."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

import gemel
import gemel.nn.functional as F
from tests.nn.compare import compare, ours, randn, recorded_by, strided

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,)])
def test_linear(lead, dtype):
    x, w, c = randn(*lead, 5, dtype=dtype), randn(3, 5, dtype=dtype), randn(3, dtype=dtype)
    compare(F.linear, TF.linear, [x, w])
    compare(F.linear, TF.linear, [x, w, c])


def test_linear_of_strided_operands():
    compare(F.linear, TF.linear, [strided(4, 5), strided(3, 5), randn(3)])


def test_linear_is_one_operation():
    x, w, c = (ours(t) for t in (randn(4, 5), randn(3, 5), randn(3)))
    w.requires_grad_()
    assert recorded_by(F.linear, x, w, c) == ["linear"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bilinear(dtype):
    x, y, w, c = randn(2, 5, dtype=dtype), randn(2, 4, dtype=dtype), randn(3, 5, 4, dtype=dtype), randn(3, dtype=dtype)
    compare(F.bilinear, TF.bilinear, [x, y, w, c])
    compare(F.bilinear, TF.bilinear, [x, y, w])


OPTIONS = [
    {}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"padding": "same", "dilation": 2}, {"padding": "valid"},
    {"groups": 2}, {"groups": 4, "padding": 2, "stride": 3}, {"dilation": 2, "padding": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_convolution(n, options):
    size = (9, 8, 7)[:n]
    groups = options.get("groups", 1)
    x, w, c = randn(2, 4, *size), randn(8, 4 // groups, *(3, 2, 3)[:n]), randn(8)
    f, r = getattr(F, f"conv{n}d"), getattr(TF, f"conv{n}d")
    compare(f, r, [x, w, c], **options)
    compare(f, r, [x[0], w], **options)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_convolution_types(dtype):
    x, w, c = randn(2, 4, 9, 8, dtype=dtype), randn(6, 2, 3, 3, dtype=dtype), randn(6, dtype=dtype)
    compare(F.conv2d, TF.conv2d, [x, w, c], stride=2, padding=1, groups=2)


def test_convolution_of_strided_and_empty_input():
    compare(F.conv2d, TF.conv2d, [strided(2, 4, 9, 8), strided(6, 4, 3, 3), randn(6)], stride=(2, 1), padding=(1, 2))
    compare(F.conv2d, TF.conv2d, [randn(0, 4, 9, 8), randn(6, 4, 3, 3), randn(6)])


TRANSPOSED = [{}, {"stride": 2}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "stride": 3},
              {"dilation": 2, "padding": 1}]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed_convolution(n, options):
    x, w = randn(2, 4, *(5, 4, 3)[:n]), randn(4, 3, *(3, 2, 3)[:n])
    c = randn(3 * options.get("groups", 1))
    f, r = getattr(F, f"conv_transpose{n}d"), getattr(TF, f"conv_transpose{n}d")
    compare(f, r, [x, w, c], **options)
    compare(f, r, [x[0], w], **options)


def test_conv_tbc():
    compare(F.conv_tbc, TF.conv_tbc, [randn(7, 2, 4), randn(3, 4, 5), randn(5)], 1)


def test_convolution_is_one_operation():
    x, w, c = (ours(t) for t in (randn(2, 3, 8, 8), randn(4, 3, 3, 3), randn(4)))
    w.requires_grad_()
    assert recorded_by(F.conv2d, x, w, c, padding=1) == ["convolution"]


BAD = [
    ("conv2d", ((2, 3, 8, 8), (4, 2, 3, 3)), {}, "channels"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3)), {}, "weight"),
    ("conv2d", ((3, 8), (4, 3, 3, 3)), {}, "Expected 3D"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3, 3)), {"stride": 0}, "non-positive stride"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3, 3)), {"padding": -1}, "negative padding"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3, 3)), {"padding": "same", "stride": 2}, "same"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3, 3)), {"padding": "full"}, "full"),
    ("conv2d", ((2, 3, 2, 2), (4, 3, 3, 3)), {}, "greater than"),
    ("conv2d", ((2, 3, 8, 8), (4, 3, 3, 3), (5,)), {}, "bias"),
    ("conv_transpose2d", ((2, 3, 8, 8), (4, 3, 3, 3)), {}, "channels"),
    ("conv_transpose1d", ((2, 3, 8), (3, 3, 3)), {"output_padding": 2}, "output padding"),
    ("linear", ((2, 3), (4, 5)), {}, "3"),
]


@pytest.mark.parametrize("name, shapes, options, words", BAD)
def test_errors_are_those_of_torch(name, shapes, options, words):
    tensors = [randn(*s) for s in shapes]
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        getattr(TF, name)(*tensors, **options)
    with pytest.raises(theirs.type, match=words):
        getattr(F, name)(*(ours(t) for t in tensors), **options)


def test_types_must_agree():
    with pytest.raises(RuntimeError, match="type"):
        F.conv1d(gemel.ones(1, 1, 4), gemel.ones(1, 1, 2, dtype=gemel.float64))
    with pytest.raises(TypeError, match="must be Tensor"):
        F.conv1d([1.0], gemel.ones(1, 1, 2))
