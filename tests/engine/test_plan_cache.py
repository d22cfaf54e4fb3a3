"""The plan cache: why a plan is new, in words; a cap in bytes."""
from __future__ import annotations

import gc

import pytest

import gemel
from gemel import debug
from gemel.engine.base.flags import override
from gemel.engine.runtime import executor


@pytest.fixture(autouse=True)
def empty():
    executor.clear_plans()
    gc.collect()
    yield
    executor.clear_plans()


def missed(capsys, call) -> str:
    """What ``GEMEL_LOG=cache`` says about the plans that ``call`` needs."""
    capsys.readouterr()
    with override(LOG=frozenset({"cache"})):
        call()
    return capsys.readouterr().err


def stored(*shape: int) -> gemel.Tensor:
    x = gemel.ones(shape) * 1
    x.sum().item()
    return x


CASES = {
    "shape": (lambda x, y: (x + 1).numpy(), lambda x, y: (y + 1).numpy(), "input 0: f32[3,5], was f32[3,4]"),
    "axis": (lambda x, y: x.sum(0).numpy(), lambda x, y: x.sum(1).numpy(),
             "reduce_sum(axes=(1,)), was reduce_sum(axes=(0,))"),
    "length": (lambda x, y: x.exp().numpy(), lambda x, y: x.exp().sin().numpy(), "2 operations, was 1"),
    "operands": (lambda x, y: (x.exp() + x).numpy(), lambda x, y: (x.exp() + x.exp().exp()).numpy(), "operations"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_new_plan_is_explained_by_the_nearest_one(case, capsys):
    first, second, said = CASES[case]
    x, y = stored(3, 4), stored(3, 5)
    executor.clear_plans()
    assert "first plan" in missed(capsys, lambda: first(x, y))
    text = missed(capsys, lambda: second(x, y))
    assert said in text and "test_plan_cache.py" in text
    assert missed(capsys, lambda: second(x, y)) == ""


def test_one_more_wanted_result_is_named(capsys):
    x = stored(3)

    def both(keep: bool) -> None:
        y = x.exp()
        z = y.sin()
        if not keep:
            del y
        z.numpy()

    both(False)
    assert "result 0 (exp) is wanted too" in missed(capsys, lambda: both(True))
    executor.clear_plans()
    both(True)
    assert "result 0 is not wanted" in missed(capsys, lambda: both(False))


def test_memory_that_may_be_reused_is_named(capsys):
    def grow(keep: bool) -> None:
        x = stored(5)
        y = x.exp()
        if not keep:
            del x
        y.numpy()

    grow(True)
    assert "the memory of input 0 may be reused" in missed(capsys, lambda: grow(False))


def test_recorded_lines_are_named(capsys):
    x = stored(3, 4)
    with override(LINES=True):
        x.sum(0).numpy()
        text = missed(capsys, lambda: x.sum(1).numpy())
    assert text.count("test_plan_cache.py") == 2 and "recorded at" in text


@pytest.mark.parametrize("tier", ["0", "1", "interpreter"])
def test_plans_are_forgotten_by_their_bytes(tier):
    def total(n: int) -> float:
        return (gemel.ones(n) + 1).sum().item()

    with override(TIER=tier, PLAN_BYTES=1 << 16):
        for n in range(1, 40):
            assert total(n) == 2 * n
        assert 0 < executor.plans.nbytes <= 1 << 16 and len(executor.plans) < 42
        with debug.counting() as seen:
            total(39)  # the latest
        assert seen["plan_hits"] == 1 and seen["plan_misses"] == 0
    if tier != "interpreter":
        with debug.counting() as seen:
            total(1)
        assert seen["plan_misses"] == 1


def test_one_plan_is_always_kept():
    with override(PLAN_BYTES=1):
        for _ in range(3):
            (gemel.ones(3) + 1).sum().item()
        assert len(executor.plans) == 1
        with debug.counting() as seen:
            (gemel.ones(3) + 1).sum().item()
        assert seen["plan_hits"] == 1
