"""Memory that is shared: slices written in place, arrays of others, views in several threads."""
from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import gemel
from gemel import debug
from gemel.engine.base.flags import override
from gemel.engine.device import memory

TIERS = ("0", "1", "auto", "interpreter")


def bytes_of(call) -> float:
    """Bytes that the operations of ``call`` read and write."""
    with debug.counting() as seen:
        call()
    return seen["bytes"]


def assert_in_place(cache: gemel.Tensor, addresses: set[int], touched: list[float], most: int) -> None:
    """The cache stands where it stood, and no step has moved ``most`` bytes."""
    assert len(addresses) == 1, "the cache has moved"
    assert max(touched) < most, f"{touched} bytes a step for a cache of {cache.nbytes}"


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
        assert_in_place(cache, addresses, touched[2:], cache.nbytes // 8)


@pytest.mark.parametrize("tier", TIERS)
def test_a_cache_that_is_read_in_the_step_that_writes_it(tier: str) -> None:
    """What attention does: a slice is written, then the part that is filled is read."""
    with override(TIER=tier):
        rng = np.random.default_rng(0)
        keys, expected = gemel.zeros(256, 64), np.zeros((256, 64), np.float32)
        touched, addresses = [], set()
        for at in range(8):
            new = rng.standard_normal(64).astype(np.float32)
            source, scores = gemel.tensor(new), []

            def step(at=at, source=source, scores=scores) -> None:
                keys[at] = source
                scores.append((keys[:8] * source).sum(1).tolist())
            touched.append(bytes_of(step))
            expected[at] = new
            np.testing.assert_allclose(scores[0], expected[:8] @ new, rtol=1e-4, atol=1e-4)
            addresses.add(keys.data_ptr())
        np.testing.assert_array_equal(keys.numpy(), expected)
        assert_in_place(keys, addresses, touched[3:], keys.nbytes // 2)


@pytest.mark.parametrize("tier", TIERS)
def test_a_whole_new_value_is_put_where_the_old_one_was(tier: str) -> None:
    with override(TIER=tier):
        x, y = gemel.arange(1000.0), gemel.ones(1000)
        addresses = set()
        for _ in range(4):
            x.add_(1)
            y.mul_(2)
            x.sum().item()
            addresses.add((x.data_ptr(), y.data_ptr()))
        assert len(addresses) == 1
        assert x.tolist() == np.arange(4.0, 1004.0).tolist() and y.tolist() == [16] * 1000


@pytest.mark.parametrize("tier", TIERS)
def test_contents_change_places(tier: str) -> None:
    """What is written first is read by what is written next."""
    with override(TIER=tier):
        x, y = gemel.arange(6.0), gemel.zeros(6)
        y.sub_(1)
        for t in (x, y):
            t.sum().item()
        for _ in range(3):
            old = x * 1
            x.copy_(y.flip(0))
            y.copy_(old)
            x[1:].copy_(x[:-1].clone())
            x[0] = 7
            x.sum().item()
        want_x, want_y = np.arange(6.0), np.full(6, -1.0)
        for _ in range(3):
            want_x, want_y = want_y[::-1].copy(), want_x.copy()
            want_x[1:] = want_x[:-1].copy()
            want_x[0] = 7
        assert x.tolist() == want_x.tolist() and y.tolist() == want_y.tolist()


@pytest.mark.parametrize("tier", TIERS)
def test_a_view_shifted_over_itself(tier: str) -> None:
    with override(TIER=tier):
        x, want = gemel.arange(8.0), np.arange(8.0)
        x.sum().item()
        for _ in range(3):
            x[1:] = x[:-1]
            x[:-2] = x[2:]
            want[1:] = want[:-1].copy()
            want[:-2] = want[2:].copy()
            assert x.tolist() == want.tolist()


@pytest.mark.parametrize("tier", TIERS)
def test_an_older_reader_keeps_the_old_contents(tier: str) -> None:
    with override(TIER=tier):
        x = gemel.zeros(8, 4)
        x.sum().item()
        before, part = x[0] + 1, x[0:1].detach().clone()
        x[0] = 5
        after = x[0] + 1
        late = part + 1  # the old contents, needed behind the write
        assert late.tolist() == [[1.0] * 4]
        assert before.tolist() == [1.0] * 4 and after.tolist() == [6.0] * 4


@pytest.mark.parametrize("tier", TIERS)
def test_an_array_overwritten_before_the_read(tier: str) -> None:
    with override(TIER=tier):
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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.complex64])
def test_memory_as_numpy_sees_it(dtype: type) -> None:
    """Strides of any sign, offsets, empty parts; the memory lives as long as an array of it, and is lent that long."""
    buffer = memory.allocate(24 * np.dtype(dtype).itemsize)
    whole = memory.as_numpy(buffer, np.dtype(dtype), (4, 6))
    whole[...] = np.arange(24).reshape(4, 6)
    for shape, strides, offset in [((4, 6), (6, 1), 0), ((4,), (-6,), 23), ((2, 3), (12, -2), 5), ((3, 4), (0, 6), 2),
                                   ((), (), 7), ((0, 6), (-6, 1), -6), ((2, 0), (6, -1), -1), ((0,), None, 0)]:
        found = memory.as_numpy(buffer, np.dtype(dtype), shape, strides, offset)
        assert found.shape == shape and found.dtype == dtype and found.flags.writeable
        if found.size:
            size = whole.itemsize
            want = np.lib.stride_tricks.as_strided(whole.ravel()[offset:], shape, [s * size for s in strides or ()])
            assert (found == want).all()
    assert buffer.exports == 2  # the whole, and the last of the loop
    address, part = whole.ctypes.data, whole[1:].T
    del whole, found, want
    assert buffer.exports == 1 and part.ctypes.data == address + 6 * part.itemsize
    del part
    assert buffer.exports == 0


@pytest.mark.parametrize("dtype", [gemel.uint8, gemel.bfloat16, gemel.float32])
def test_empty_views_as_arrays(dtype) -> None:
    x = gemel.zeros(0, 2, 3, dtype=dtype)
    for view in (x.flip(0), x.flip(0, 1), x[:, ::2].flip(2), x.permute(2, 0, 1).flip(1), gemel.zeros(3, 0).flip(1)):
        assert (view + 0).numpy().shape == view.numpy().shape == tuple(view.shape)
