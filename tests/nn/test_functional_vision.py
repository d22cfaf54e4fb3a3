"""Resampling, sampling at points, shuffles and windows as columns, against torch."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from gemel.engine.base.flags import override
from tests.nn.compare import compare, ours, randn, recorded_by, strided

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SIZE = (5, 7, 4)
CHANGES = [{"scale_factor": 2}, {"scale_factor": 2.3}, {"scale_factor": 0.6}, {"size": 9}, {"size": 3}, {"size": 1},
           {"scale_factor": 1.7, "recompute_scale_factor": True}]
MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,),
         "trilinear": (3,), "bicubic": (2,)}


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("mode, n", [(m, n) for m, ns in MODES.items() for n in ns])
def test_interpolate(mode, n, change):
    x = randn(2, 2, *SIZE[:n])
    compare(F.interpolate, TF.interpolate, [x], mode=mode, **change)
    if mode.endswith(("linear", "cubic")):
        compare(F.interpolate, TF.interpolate, [x], mode=mode, align_corners=True, **change)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_interpolate_types_and_strides(mode, dtype):
    compare(F.interpolate, TF.interpolate, [randn(2, 3, 9, 10, dtype=dtype)], size=(7, 23), mode=mode, rtol=1e-2 if
            dtype is torch.bfloat16 else 2e-5)
    compare(F.interpolate, TF.interpolate, [strided(2, 3, 9, 10)], scale_factor=(2, 0.5), mode=mode)
    compare(F.interpolate, TF.interpolate, [randn(0, 3, 9, 10)], scale_factor=2, mode=mode)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(4, 5), (20, 3), (9, 31)])
@pytest.mark.parametrize("corners", [False, True])
def test_interpolate_with_antialias(mode, size, corners):
    compare(F.interpolate, TF.interpolate, [randn(2, 2, 9, 12)], size=size, mode=mode, antialias=True,
            align_corners=corners)


def test_many_taps_are_one_reduction():
    compare(F.interpolate, TF.interpolate, [randn(1, 2, 120)], size=5, mode="area")
    compare(F.interpolate, TF.interpolate, [randn(1, 2, 100, 90)], size=(4, 3), mode="bilinear", antialias=True)


def test_interpolate_is_one_operation():
    x = ours(randn(2, 3, 4, 5)).requires_grad_()
    assert recorded_by(F.interpolate, x, scale_factor=1.5, mode="bilinear") == ["resample"]


@pytest.mark.parametrize("options", [{"size": (11, 9), "mode": "bilinear"}, {"scale_factor": 2},
                                     {"scale_factor": 0.4, "mode": "bicubic"}], ids=str)
def test_tiers_give_the_same_bits(options):
    x = randn(2, 3, 6, 7, dtype=torch.float32)
    found = []
    for tier in ("interpreter", "0", "1"):
        with override(TIER=tier):
            mine = ours(x).requires_grad_()
            y = F.interpolate(mine, **options)
            (y * y).sum().backward()
            found.append((y.detach().numpy().tobytes(), mine.grad.numpy().tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("options", [{}, {"size": 3, "scale_factor": 2}, {"size": (3, 3), "mode": "linear"},
                                     {"size": 3, "mode": "nearest", "align_corners": True}, {"size": (1, 2, 3)},
                                     {"size": 3, "antialias": True}, {"size": 0}, {"size": 3, "mode": "best"}], ids=str)
def test_errors_are_those_of_torch(options):
    with pytest.raises(Exception) as theirs:
        TF.interpolate(torch.ones(1, 1, 4, 4), **options)
    with pytest.raises(theirs.type):
        F.interpolate(ours(torch.ones(1, 1, 4, 4)), **options)


def test_shuffles():
    x = randn(2, 8, 4, 6)
    compare(F.pixel_shuffle, TF.pixel_shuffle, [x], 2)
    compare(F.pixel_unshuffle, TF.pixel_unshuffle, [x], 2)
    compare(F.channel_shuffle, TF.channel_shuffle, [x], 4, grad=())
    compare(F.pixel_shuffle, TF.pixel_shuffle, [strided(8, 4, 6)], 2)


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (2, 3), "padding": (1, 2), "stride": 2},
                                     {"kernel_size": 3, "dilation": 2, "padding": 2, "stride": (1, 2)}], ids=str)
def test_fold_and_unfold(options):
    x = randn(2, 3, 8, 7)
    compare(F.unfold, TF.unfold, [x], **options)
    compare(F.unfold, TF.unfold, [x[0]], **options)
    columns = TF.unfold(x, **options)
    compare(F.fold, TF.fold, [columns], (8, 7), **options)
    compare(F.fold, TF.fold, [columns[0]], (8, 7), **options)


# --- sampling at points ---------------------------------------------------------------------------------

def points(*shape, dtype=torch.float64):
    """Mostly inside, some outside."""
    return randn(*shape, dtype=dtype, seed=3) * 0.7


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode, padding, corners):
    options = {"mode": mode, "padding_mode": padding, "align_corners": corners,
               "grad": [0] if mode == "nearest" else None}  # the nearest element does not move with the point
    compare(F.grid_sample, TF.grid_sample, [randn(2, 3, 5, 6), points(2, 4, 3, 2)], **options)
    if mode != "bicubic":
        compare(F.grid_sample, TF.grid_sample, [randn(2, 2, 4, 5, 3), points(2, 3, 2, 4, 3)], **options)


@pytest.mark.parametrize("dtype", DTYPES[1:2], ids=str)
def test_grid_sample_types_and_strides(dtype):
    compare(F.grid_sample, TF.grid_sample, [randn(2, 3, 5, 6, dtype=dtype), points(2, 4, 3, 2, dtype=dtype)],
            align_corners=False)
    compare(F.grid_sample, TF.grid_sample, [strided(2, 3, 5, 6), points(2, 4, 3, 2)], align_corners=False)
    compare(F.grid_sample, TF.grid_sample, [randn(0, 3, 5, 6), points(0, 4, 3, 2)], align_corners=False)


def test_grid_sample_of_nan_is_zero():
    grid = torch.full((1, 1, 1, 2), float("nan"), dtype=torch.float64)
    y = F.grid_sample(ours(randn(1, 1, 3, 3)), ours(grid), align_corners=False)
    assert y.item() == 0


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 1, 5), (2, 1, 3, 4, 2)])
def test_affine_grid(size, corners):
    n = len(size) - 2
    compare(F.affine_grid, TF.affine_grid, [randn(2, n, n + 1)], size, align_corners=corners)


@pytest.mark.parametrize("name, shapes, options", [
    ("grid_sample", ((1, 1, 3, 3), (2, 4, 4, 2)), {}), ("grid_sample", ((1, 1, 3, 3), (1, 4, 4, 3)), {}),
    ("grid_sample", ((1, 3, 3), (1, 4, 2)), {}), ("grid_sample", ((1, 1, 3, 3), (1, 4, 4, 2)), {"mode": "best"}),
    ("grid_sample", ((1, 1, 3, 3), (1, 4, 4, 2)), {"padding_mode": "best"}),
    ("affine_grid", ((1, 2, 2),), {"size": (1, 1, 3, 3)}), ("affine_grid", ((1, 2, 3),), {"size": (1, 1, 3)})],
    ids=str)
def test_sampling_errors_are_those_of_torch(name, shapes, options):
    tensors = [torch.ones(s) for s in shapes]
    with pytest.raises(Exception) as theirs:
        getattr(TF, name)(*tensors, align_corners=False, **options)
    with pytest.raises(theirs.type):
        getattr(F, name)(*(ours(t) for t in tensors), align_corners=False, **options)
