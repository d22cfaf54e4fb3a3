"""Memory that is held: unused blocks, the arena, pending parameters, temporaries of large operations."""
from __future__ import annotations

import gc
import os

import pytest

import gemel
from gemel import debug, nn
from gemel.engine.base import collector
from gemel.engine.base.flags import flags, override
from gemel.engine.device import memory
from gemel.engine.device.memory import usage
from gemel.engine.runtime import native_plan, plans, service
from gemel.nn import functional as F

MIB = 1 << 20
reusing = pytest.mark.skipif(flags.GUARD, reason="between guard pages no block is used again")


@reusing
def test_unused_blocks_are_given_back_before_new_ones_are_mapped():
    memory.release_cached()
    before = usage.reserved
    for size in (512, 768, 1024, 1536):
        block = memory.allocate(size * MIB)
        del block
    slack = max(memory._SLACK, usage.reserved // 16)
    assert usage.reserved - before <= 1536 * MIB + slack
    memory.release_cached()


@reusing
def test_what_a_program_needs_again_stays_mapped(monkeypatch: pytest.MonkeyPatch):
    """A large result, dropped, and small ones in turns; when the large one is not needed any more, it goes."""
    memory.release_cached()
    mapped, carve = [], memory._carve

    def carved(size: int) -> int:
        mapped.append(size)
        return carve(size)
    monkeypatch.setattr(memory, "_carve", carved)

    def turns(count: int) -> None:
        for _ in range(count):
            held = [memory.allocate(3 * MIB) for _ in range(4)]
            held.append(memory.allocate(300 * MIB))
    turns(8)
    before = len(mapped)
    turns(4)
    assert len(mapped) == before, mapped
    usage_then = usage.reserved
    kept = [memory.allocate((5 + i) * MIB) for i in range(40)]  # other sizes, for good
    assert usage.reserved < usage_then + sum(b.nbytes for b in kept) - 200 * MIB
    del kept
    memory.release_cached()


@reusing
def test_a_block_serves_a_request_that_is_a_little_smaller():
    block = memory.allocate(200 * MIB)
    address, reserved = block.ptr, usage.reserved
    del block
    block = memory.allocate(180 * MIB)
    assert block.ptr == address and usage.reserved == reserved
    live = usage.live
    del block
    assert live - usage.live >= 200 * MIB  # it counts as what it is
    memory.release_cached()


class _Ring:
    """Memory in a cycle of references: only Python's collector frees it."""

    def __init__(self) -> None:
        self.block = memory.allocate(16 * MIB)
        self.ring = self


def test_cycles_are_collected_when_memory_is_scarce():
    memory.release_cached()
    with override(MEMORY=usage.reserved + 100 * MIB):
        for _ in range(40):
            _Ring()
    memory.release_cached()


def test_cycles_are_collected_while_memory_grows():
    before = usage.reserved
    for _ in range(100):
        _Ring()
    assert usage.reserved - before <= max(before, memory._OFTEN) + 64 * MIB
    memory.release_cached()


@reusing
def test_a_larger_block_is_looked_for_once(monkeypatch: pytest.MonkeyPatch):
    """Before a new one is mapped; again only after Python's collector has run."""
    memory.release_cached()
    monkeypatch.setattr(memory, "_OFTEN", 1 << 60)  # however much this process holds, the collector is not asked
    looked, larger = [], memory._larger
    monkeypatch.setattr(memory, "_larger", lambda size: looked.append(size) or larger(size))
    block = memory.allocate(40 * MIB)
    assert len(looked) == 1
    ring = _Ring()
    ring.block = block
    address = block.ptr
    del ring, block
    monkeypatch.setattr(memory, "_OFTEN", 0)
    monkeypatch.setattr(memory.usage, "collected", 0)
    block = memory.allocate(36 * MIB)
    assert block.ptr == address
    memory.release_cached()


def test_pythons_collector_starts_less_often_unless_the_user_has_decided():
    was = gc.get_threshold()
    try:
        for given, after in ((700, collector.OBJECTS), (0, 0), (10**6, 10**6)):
            gc.set_threshold(given, 7, 9)
            collector.relax()
            assert gc.get_threshold() == (after, 7, 9)
    finally:
        gc.set_threshold(*was)


def test_the_arena_shrinks_when_nobody_needs_it():
    with native_plan.run_lock:
        assert native_plan.arena(96 * MIB).nbytes >= 96 * MIB
        for _ in range(2 * native_plan._Arena.WINDOW):
            found = native_plan.arena(MIB)
    assert found.nbytes < 48 * MIB


def test_large_operations_are_fused_at_once():
    x = gemel.zeros(plans.HEAVY // 4)
    x.numpy()
    with override(TIER="auto"), debug.counting() as seen:
        y = F.gelu(x, approximate="tanh")
        y.numpy()
    assert seen["calls"] == 1


def test_parameters_are_computed_while_a_model_is_built():
    with override(PENDING_BYTES=MIB), debug.counting() as seen:
        model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(6)))  # 1 MiB each
    assert seen["flushes"] >= 2
    plain = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
    with debug.counting() as seen:
        plain = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
    assert seen["flushes"] == 0 and len(list(model.parameters())) == len(list(plain.parameters()))


def test_the_collector_pauses_while_a_plan_is_built_and_goes_on_then():
    assert service.wait(60) and gc.isenabled()
    with collector.paused():
        assert not gc.isenabled()
        with collector.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()  # the user's decision stands
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_the_collector_pauses_has_it():
    with collector.paused():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitpid(child, 0)[1] == 0
