"""An operation that fails when it runs: what depends on it fails, tensors are as they were, everything else goes on."""
from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import gemel
from gemel import nn, optim
from gemel.engine.base.flags import override
from gemel.nn import functional as F

TIERS = ("0", "1", "interpreter")


@pytest.fixture(params=TIERS, autouse=True)
def tier(request):
    with override(TIER=request.param):
        yield


def beyond(n: int = 4) -> gemel.Tensor:
    """A pending tensor whose index is out of range."""
    return gemel.arange(float(n))[gemel.tensor([n]) * 2]


def singular() -> gemel.Tensor:
    """A pending tensor that NumPy will refuse to compute."""
    return gemel.linalg.svd(gemel.full((3, 3), float("nan")))[1]


def stored(*values: float) -> gemel.Tensor:
    """A tensor with memory that nobody else sees: a later write may go there."""
    x = gemel.tensor(values, dtype=gemel.float32) * 1
    x.sum().item()
    return x


def test_only_what_depends_on_it_fails():
    bad = singular()
    other = gemel.arange(4) * 2
    with pytest.raises(gemel.linalg.LinAlgError):
        bad.numpy()
    assert other.tolist() == [0, 2, 4, 6]
    assert (gemel.ones(2) + 1).tolist() == [2.0, 2.0]
    with pytest.raises(gemel.linalg.LinAlgError):
        (bad + 1).numpy()


def test_a_failed_check_is_raised_again_by_what_uses_it():
    bad = beyond()
    with pytest.raises(IndexError):
        bad.numpy()
    with pytest.raises(IndexError):
        (bad + 1).numpy()
    assert (gemel.ones(2) + 1).tolist() == [2.0, 2.0]


def test_of_two_equal_checks_the_one_that_failed_is_blamed():
    table = stored(1, 2, 3, 4)
    good, bad = table[gemel.tensor([1]) * 2], table[gemel.tensor([4]) * 2]
    with pytest.raises(IndexError):
        bad.numpy()
    assert good.tolist() == [3.0]
    with pytest.raises(IndexError):
        bad.numpy()


def test_a_check_inside_a_compiled_function():
    table = stored(1, 2, 3, 4)
    look = gemel.compile(lambda i: table[i * 2] + 1)
    for _ in range(3):
        assert look(gemel.tensor([1])).tolist() == [4.0]
    bad, good = look(gemel.tensor([3])), look(gemel.tensor([0]))
    with pytest.raises(IndexError):
        bad.numpy()
    assert good.tolist() == [2.0]


@pytest.mark.parametrize("culprit", [beyond, singular])
def test_writes_beside_a_failure_happen_once(culprit):
    before, after = stored(1, 2, 3), stored(1, 2, 3)
    before.mul_(2)
    bad = culprit()
    after.mul_(2)
    with pytest.raises((IndexError, gemel.linalg.LinAlgError)):
        bad.numpy()
    assert before.tolist() == after.tolist() == [2, 4, 6]


@pytest.mark.parametrize("culprit", [beyond, singular])
def test_slices_written_before_a_failure_are_written_once(culprit):
    """The interpreter writes them at once, and puts back what they held."""
    x, y = stored(1, 2, 3), stored(1, 2, 3)
    x[1:].mul_(2)
    x[:2].add_(1)
    bad = culprit()
    y[:1].mul_(5)
    with pytest.raises((IndexError, gemel.linalg.LinAlgError)):
        bad.numpy()
    assert x.tolist() == [2, 5, 6] and y.tolist() == [5, 2, 3]


@pytest.mark.parametrize("culprit", [beyond, singular])
def test_a_tensor_written_with_what_failed_has_its_old_contents(culprit):
    x = stored(1, 2, 3)
    view = x[1:]
    x.mul_(10)
    x.add_(culprit().sum())
    with pytest.raises((IndexError, gemel.linalg.LinAlgError)):
        view.tolist()
    assert x.tolist() == [10, 20, 30] and view.tolist() == [20, 30]
    x.add_(1)
    assert view.tolist() == [21, 31]


def test_a_part_and_a_whole_that_were_overwritten():
    x, y = stored(1, 2, 3), stored(1, 2, 3)
    bad = beyond().sum()
    x[1] = bad
    y.copy_(bad.expand(3))  # does not read what it overwrites
    with pytest.raises(IndexError):
        x.tolist()
    assert x.tolist() == y.tolist() == [1, 2, 3]


def test_a_write_after_the_failed_one_stays():
    x = stored(1, 2, 3)
    x.add_(beyond().sum())
    x.fill_(7)
    other = beyond()
    with pytest.raises(IndexError):
        other.numpy()
    assert x.tolist() == [7, 7, 7]


def test_failures_one_after_the_other():
    x = stored(1, 2, 3)
    x.mul_(2)
    first, second = beyond(), singular()
    x.add_(1)
    x.add_(second.sum())
    with pytest.raises(IndexError):
        first.numpy()
    with pytest.raises(gemel.linalg.LinAlgError):
        second.numpy()
    assert x.tolist() == [3, 5, 7]


def test_what_was_off_the_tape_is_off_it_again():
    x, w = stored(1, 2, 3), gemel.ones(1, requires_grad=True)
    x.add_((beyond() * w).sum())
    assert x.requires_grad
    with pytest.raises(IndexError):
        x.tolist()
    assert not x.requires_grad and x.tolist() == [1, 2, 3]


def test_what_was_on_the_tape_goes_on_failing():
    w = gemel.ones(3, requires_grad=True)
    x = w * 2
    x.add_(beyond().sum())
    for _ in range(2):
        with pytest.raises(IndexError):
            x.tolist()


def test_a_saved_value_is_still_the_one_that_was_saved():
    x, w = stored(1, 2, 3), gemel.ones(3, requires_grad=True)
    y = (w * x).sum()
    x.add_(beyond().sum())
    with pytest.raises(IndexError):
        x.tolist()
    y.backward()
    assert w.grad.tolist() == [1, 2, 3]


@pytest.mark.parametrize("make", [optim.Adam, optim.SGD])
def test_training_goes_on_after_a_bad_batch(make):
    def train(batches: list[int]) -> list[np.ndarray]:
        gemel.manual_seed(0)
        net = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2), nn.BatchNorm1d(2))
        optimizer = make(net.parameters(), lr=0.1, **({"momentum": 0.9} if make is optim.SGD else {}))
        for n in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(gemel.tensor([0, 1, n]) * 1), gemel.tensor([0, 1, 1]))
            loss.backward()
            if n < 4:
                optimizer.step()
                continue
            with pytest.raises(IndexError):
                optimizer.step()
        return [t.detach().numpy() for name, t in net.state_dict().items() if not name.endswith("tracked")]

    # parameters and running statistics; the number of batches does not depend on what failed
    for a, b in zip(train([1, 2, 3]), train([9, 1, 9, 2, 3]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_keeps_no_tensor_alive():
    x = stored(1, 2, 3)
    bad = beyond()
    gone = weakref.ref(x)

    def look(_held: gemel.Tensor) -> None:  # a frame that the traceback passes
        bad.numpy()

    for _ in range(2):
        with pytest.raises(IndexError):
            look(x)
    del x
    gc.collect()
    assert gone() is None
