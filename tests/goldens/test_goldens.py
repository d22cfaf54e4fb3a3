"""Files that earlier releases wrote load with the values that were saved."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gemel

from .contents import DTYPES, SHAPES, values

DATES = sorted(p for p in Path(__file__).parent.iterdir() if p.is_dir() and p.name[0].isdigit())
FILES = [file for date in DATES for file in sorted(date.glob("tensors.*"))]


def test_there_are_goldens():
    assert len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_tensors(path):
    found = gemel.load(path)
    assert set(found) == {f"{dtype}.{name}" for dtype in DTYPES for name in SHAPES}
    for dtype in DTYPES:
        for name, shape in SHAPES.items():
            t = found[f"{dtype}.{name}"]
            assert t.dtype is getattr(gemel, dtype) and tuple(t.shape) == shape
            want = values(dtype, shape)
            np.testing.assert_array_equal(t.numpy().astype(want.dtype), want)


@pytest.mark.parametrize("date", DATES, ids=lambda p: p.name)
def test_checkpoint(date):
    found = gemel.load(date / "checkpoint.pt")
    assert (found["epoch"], found["loss"], found["names"]) == (3, 0.25, ["a", ("b", None)])
    state = found["optimizer"]
    assert state["param_groups"][0]["lr"] == 0.5 and float(state["state"][0]["step"]) == 1
    # Adam's first step is lr in the direction of the gradient (2, -4); its averages are 0.1 g and 0.001 g²
    np.testing.assert_allclose(found["parameter"].detach().numpy(), [0.5, -1.5], rtol=1e-6)
    np.testing.assert_allclose(state["state"][0]["exp_avg"].numpy(), [0.2, -0.4], rtol=1e-6)
    np.testing.assert_allclose(state["state"][0]["exp_avg_sq"].numpy(), [0.004, 0.016], rtol=1e-5)
