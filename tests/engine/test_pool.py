"""The worker pool: replaced as a whole, by one thread at a time, with no worker left behind."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref

import pytest

import gemel
from gemel.engine.base.flags import override
from gemel.engine.device import native
from gemel.engine.device import pool as pools
from gemel.engine.runtime import kernels
from gemel.engine.runtime.executor import counters


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("gemel-worker")]


def test_two_threads_replace_the_pool():
    """A pool that lost the race would leave workers behind that look at memory which is gone."""
    library = kernels.runtime_library()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(100):
                pools.pool(library)
        except BaseException as error:
            errors.append(error)
    for threads in (3, 2) * 10:
        with override(THREADS=threads):
            both = [threading.Thread(target=ask) for _ in range(2)]
            for t in both:
                t.start()
            for t in both:
                t.join()
            assert not errors
            assert len(workers()) == threads - 1
    found = pools.pool(library)
    assert found.threads == pools.cpu_count() and len(workers()) == found.threads - 1


def test_a_pool_outlives_its_workers():
    """Whoever drops the last reference to a running pool: its words stay while a worker looks at them."""
    lost = pools.Pool(kernels.runtime_library(), 0)
    lost.threads = 2
    lost.scratch.append(lost.scratch[0])
    lost.start()
    seen, address = weakref.ref(lost), lost.address
    del lost
    found = seen()
    assert found is not None and found.address == address
    found.stop()


def test_a_plan_runs_with_the_pool_that_there_is():
    x = gemel.arange(1 << 16, dtype=gemel.float32)
    with override(THREADS=1, TIER="1"):
        alone = (x * 2 + 1).sum().item()
    with override(THREADS=3, TIER="1"):
        assert (x * 2 + 1).sum().item() == alone
    assert (x * 2 + 1).sum().item() == alone


def test_plans_go_on_with_the_pool_that_runs():
    """A plan whose pool was stopped (for a fork, or for another number of threads) does not run alone for ever."""
    x = gemel.arange(1 << 16, dtype=gemel.float32)
    with override(THREADS=2, TIER="1"):
        total = (x * 2 + 3).sum().item()
        pools.rest()
        misses = counters.plan_misses
        assert (x * 2 + 3).sum().item() == total and counters.plan_misses == misses
        assert len(workers()) == 1
    with override(THREADS=3, TIER="1"):
        (x * 3 + 4).sum().item()  # another plan, and another pool
        assert len(workers()) == 2
    with override(THREADS=2, TIER="1"):
        assert (x * 2 + 3).sum().item() == total and counters.plan_misses == misses + 1


def test_a_pool_at_rest_starts_again():
    x = gemel.arange(1 << 16, dtype=gemel.float32)
    with override(THREADS=2, TIER="1"):
        total = (x * 2).sum().item()
        assert len(workers()) == 1
        pools.rest()
        assert not workers()
        answers: list[float] = []
        other = threading.Thread(target=lambda: answers.append((x * 2).sum().item()))
        other.start()
        other.join(60)
        assert answers == [total] and len(workers()) == 1


@pytest.mark.skipif(not native.PLACES or len(os.sched_getaffinity(0)) < 2, reason="one CPU, or no way to choose one")
def test_workers_leave_the_cpu_to_the_thread_that_runs_the_plan():
    """Also where that thread moves; and a stopped pool moves nobody: its workers' numbers may be others' by then."""
    program = """if True:
        import os, threading
        import gemel
        from gemel.engine.device import pool as pools
        allowed = os.sched_getaffinity(0)
        x = gemel.ones(1 << 20)
        def run():
            (x * 2).sum().item()
            return os.sched_getaffinity(next(t.native_id for t in pools._pool.workers))
        run()
        for cpu in [*sorted(allowed)[:2]] * 2:
            os.sched_setaffinity(threading.get_native_id(), {cpu})
            assert run() == allowed - {cpu}, (run(), cpu)
        os.sched_setaffinity(threading.get_native_id(), allowed)
        old = pools._pool
        pools.rest()
        assert not old.words[pools.native.POOL.index("places") * pools.native.POOL_STRIDE]
        run()
        assert pools._pool is not old
        print("done")
        """
    env = {**os.environ, "GEMEL_THREADS": "2", "GEMEL_TIER": "1"}
    out = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert out.stdout.strip() == "done", out.stderr


@pytest.mark.skipif(not native.PLACES, reason="no way to choose a CPU")
def test_with_one_cpu_nobody_is_moved():
    program = """if True:
        import os
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpu})
        import gemel
        from gemel.engine.device import pool as pools
        assert (gemel.ones(1 << 20) * 2).sum().item() == 2 << 20
        assert os.sched_getaffinity(pools._pool.workers[0].native_id) == {cpu}
        print("done")
        """
    env = {**os.environ, "GEMEL_THREADS": "2"}
    out = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert out.stdout.strip() == "done", out.stderr
