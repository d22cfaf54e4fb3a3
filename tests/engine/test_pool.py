"""The worker pool: replaced as a whole, by one thread at a time, with no worker left behind."""
from __future__ import annotations

import threading
import weakref

import gemel
from gemel.engine.base.flags import override
from gemel.engine.device import pool as pools
from gemel.engine.runtime import kernels


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


def test_a_plan_runs_with_the_pool_of_its_making():
    x = gemel.arange(1 << 16, dtype=gemel.float32)
    with override(THREADS=1, TIER="1"):
        alone = (x * 2 + 1).sum().item()
    with override(THREADS=3, TIER="1"):
        assert (x * 2 + 1).sum().item() == alone
    assert (x * 2 + 1).sum().item() == alone


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
