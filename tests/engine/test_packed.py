"""Packed weights outlive a run while the weight stays the same, and never longer."""
from __future__ import annotations

import gc

import numpy as np
import pytest

import gemel
import gemel.nn.functional as F
from gemel.engine.base.flags import override
from gemel.engine.runtime import native_plan, packed


@pytest.fixture(autouse=True)
def one_tier():
    with override(TIER="1"):
        yield


def conv(x, w) -> tuple[int, np.ndarray]:
    """Calls that a run takes, and its result."""
    with gemel.debug.counting() as seen, gemel.no_grad():
        y = F.conv2d(x, w, padding=1).numpy().copy()
    return int(seen["calls"]), y


def operands(batch: int = 2):
    gemel.manual_seed(0)
    return gemel.randn(batch, 16, 20, 20), gemel.randn(32, 16, 3, 3)


def settled(x, w) -> int:
    """Calls of a run once the weight has been seen often enough."""
    return [conv(x, w)[0] for _ in range(4)][-1]


def fresh(x, w) -> np.ndarray:
    """The result of a weight that no plan has met."""
    return conv(x, w.clone())[1]


def test_packing_is_left_out_while_the_weight_stays():
    x, w = operands()
    w.numpy()
    calls = [conv(x, w)[0] for _ in range(4)]
    assert calls[0] == calls[1] == 2 and calls[2:] == [1, 1]


def test_a_profile_shows_what_is_left():
    x, w = operands()
    assert settled(x, w) == 1
    with gemel.debug.profile() as profile:
        now = conv(x, w)[1]
    assert [row.label.split()[0] for row in profile.rows] == ["conv"]
    np.testing.assert_array_equal(now, fresh(x, w))


WRITES = {
    "in place": lambda w: w.mul_(2),
    "a row": lambda w: w[3].zero_(),
    "copy": lambda w: w.copy_(gemel.ones(32, 16, 3, 3)),
    "data": lambda w: w.data.add_(1),
    "NumPy": lambda w: w.numpy().__setitem__((0, 0), 7.0),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_seen(name):
    x, w = operands()
    assert settled(x, w) == 1
    before = conv(x, w)[1]
    WRITES[name](w)
    for _ in range(4):
        now = conv(x, w)[1]
        assert not np.array_equal(now, before)
        np.testing.assert_array_equal(now, fresh(x, w))
    assert settled(x, w) == 1


def test_memory_that_numpy_still_sees_is_packed_every_time():
    x, w = operands()
    array = w.numpy()
    for n in range(5):
        array[...] = n
        np.testing.assert_array_equal(conv(x, w)[1], fresh(x, w))
    shared = gemel.from_numpy(array)
    for n in range(5):
        array[...] = -n
        np.testing.assert_array_equal(conv(x, shared)[1], fresh(x, shared))


def test_a_step_of_an_optimizer_keeps_nothing():
    x, w = operands()
    assert settled(x, w) == 1
    w.requires_grad_()
    optimizer = gemel.optim.SGD([w], 0.1, 0.9)
    for _ in range(5):
        optimizer.zero_grad()
        F.conv2d(x, w, padding=1).square().mean().backward()
        optimizer.step()
        np.testing.assert_array_equal(conv(x, w.detach())[1], fresh(x, w.detach()))


def kept_bytes() -> int:
    return sum(b.nbytes for held in packed._kept.values() for b in held.values())


def test_plans_share_copies_that_go_with_the_weight():
    for batch in (3, 2):  # the plans, their arena
        settled(*operands(batch))
    gc.collect()
    before, live = kept_bytes(), gemel.debug.counters()["live_bytes"]
    x, w = operands()
    assert settled(x, w) == 1
    one = kept_bytes() - before
    more, _ = operands(3)
    assert settled(more, w) == 1 and kept_bytes() - before == one > 0
    del w, x, more, _
    gc.collect()
    assert kept_bytes() == before
    assert gemel.debug.counters()["live_bytes"] == live


def test_copies_are_limited(monkeypatch):
    monkeypatch.setattr(packed, "MOST_BYTES", 0)
    x, w = operands()
    assert settled(x, w) == 2


def test_a_run_that_did_not_end_is_not_trusted(monkeypatch):
    x, w = operands()
    conv(x, w)
    walk = native_plan.NativePlan._walk_to_end

    def interrupted(self, *arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(native_plan.NativePlan, "_walk_to_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        conv(x, w)  # it was to pack the weight for good
    monkeypatch.setattr(native_plan.NativePlan, "_walk_to_end", walk)
    for _ in range(4):
        np.testing.assert_array_equal(conv(x, w)[1], fresh(x, w))
