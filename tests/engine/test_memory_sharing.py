"""Memory that is shared: slices written in place, arrays of others, views in several threads."""
from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import gemel
from gemel import debug
from gemel.engine.base.flags import override

TIERS = ("0", "1", "auto")


def bytes_of(call) -> int:
    """Bytes that the kernels of ``call`` read and write."""
    with debug.profile() as p:
        call()
    return sum(r.nbytes for r in p.rows)


@pytest.mark.parametrize("tier", TIERS)
def test_a_cache_is_written_in_place_slice_by_slice(tier: str) -> None:
    with override(TIER=tier):
        layers, length, width = 2, 256, 64
        cache = gemel.zeros(layers, 1, length, width)
        expected = np.zeros((layers, 1, length, width), np.float32)
        rng = np.random.default_rng(0)
        touched, addresses = [], set()
        for at in range(6):
            new = rng.standard_normal((layers, 1, 1, width)).astype(np.float32)
            source = gemel.tensor(new)

            def step(at=at, source=source):
                for layer in range(layers):
                    cache[layer][:, at:at + 1] = source[layer]
                cache[0, 0, at, 0].item()
            touched.append(bytes_of(step))
            expected[:, :, at:at + 1] = new
            addresses.add(cache.data_ptr())
        np.testing.assert_array_equal(cache.numpy(), expected)
        assert len(addresses) == 1, "the cache has moved"
        assert max(touched[2:]) < cache.nbytes // 8, f"{touched} bytes a step for a cache of {cache.nbytes}"


@pytest.mark.parametrize("tier", TIERS)
def test_an_older_reader_keeps_the_old_contents(tier: str) -> None:
    with override(TIER=tier):
        x = gemel.zeros(8, 4)
        before = x[0] + 1
        x[0] = 5
        after = x[0] + 1
        assert before.tolist() == [1.0] * 4 and after.tolist() == [6.0] * 4


def test_an_array_overwritten_before_the_read() -> None:
    array = np.arange(6.0)
    x = gemel.from_numpy(array)
    y = x * 2
    array[:] = 0
    assert y.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert x.tolist() == [0.0] * 6 and (x * 2).tolist() == [0.0] * 6


def test_writes_reach_the_array_at_once() -> None:
    array = np.zeros((2, 3))
    x = gemel.from_numpy(array)
    x[0].add_(1)
    x.T[2] = 7
    assert array.tolist() == [[1, 1, 7], [0, 0, 7]]


def test_numpy_shares_memory_both_ways() -> None:
    x = gemel.zeros(3)
    array = x.numpy()
    array[0] = 1
    x[1] = 2
    assert x.tolist() == [1, 2, 0] and array.tolist() == [1, 2, 0]
    y = x * 10
    array[:] = 5
    assert y.tolist() == [10, 20, 0]
    del array
    gc.collect()
    x.add_(1)
    assert x.tolist() == [6, 6, 6]


def test_a_read_only_array_is_not_written() -> None:
    array = np.zeros(3)
    array.flags.writeable = False
    x = gemel.from_numpy(array)
    with pytest.raises(RuntimeError, match="read-only"):
        x.add_(1)
    assert x.tolist() == [0, 0, 0]


def test_a_view_keeps_the_storage() -> None:
    x = gemel.arange(12.0).reshape(3, 4)
    row = x[1]
    del x
    gc.collect()
    row.mul_(2)
    assert row.tolist() == [8, 10, 12, 14]


def test_a_failed_check_leaves_others_as_they_were() -> None:
    x, other = gemel.zeros(3), gemel.zeros(3)
    index = (gemel.arange(3) + 1) * 2  # not known yet, and out of bounds
    other.fill_(1)
    read = x[index.clone()]
    with pytest.raises(IndexError):
        read.tolist()
    assert other.tolist() == [1, 1, 1] and x.tolist() == [0, 0, 0]


def test_views_in_several_threads() -> None:
    base = gemel.zeros(8, 100)
    rows = [base[i] for i in range(8)]
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for n in range(10):
                rows[i] = rows[i].clone() + (i + n)
                assert rows[i].sum().item() == 100 * sum(i + k for k in range(n + 1))
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert base.sum().item() == 0


def test_a_pending_view_is_read_by_another_thread() -> None:
    x = gemel.arange(10.0)
    view = (x * 2)[3:6]
    seen: list[list[float]] = []
    t = threading.Thread(target=lambda: seen.append((view + 1).tolist()))
    t.start()
    t.join()
    assert seen == [[7, 9, 11]] and view.tolist() == [6, 8, 10]


def test_a_write_by_another_thread_is_seen() -> None:
    x = gemel.zeros(4)
    view = x[1:3]
    t = threading.Thread(target=lambda: view.fill_(3))
    t.start()
    t.join()
    assert x.tolist() == [0, 3, 3, 0] and view.tolist() == [3, 3]
