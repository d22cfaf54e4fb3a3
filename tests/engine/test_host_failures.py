"""An operation that NumPy runs and refuses: what depends on it fails, everything else goes on."""
from __future__ import annotations

import pytest

import gemel


def test_only_what_depends_on_it_fails():
    x = gemel.full((3, 3), float("nan"))
    bad = gemel.linalg.svd(x)[1]
    other = gemel.arange(4) * 2
    with pytest.raises(gemel.linalg.LinAlgError):
        bad.numpy()
    assert other.tolist() == [0, 2, 4, 6]
    assert (gemel.ones(2) + 1).tolist() == [2.0, 2.0]
    with pytest.raises(gemel.linalg.LinAlgError):
        (bad + 1).numpy()


def test_a_failed_check_is_raised_again_by_what_uses_it():
    bad = gemel.arange(4)[gemel.tensor([3]) * 3]
    with pytest.raises(IndexError):
        bad.numpy()
    with pytest.raises(IndexError):
        (bad + 1).numpy()
    assert (gemel.ones(2) + 1).tolist() == [2.0, 2.0]
