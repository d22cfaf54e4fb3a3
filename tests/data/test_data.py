"""Data sets, samplers and the loader, beside torch's."""
from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
import torch.utils.data as theirs

import gemel
import gemel.utils.data as ours

X, Y = np.arange(22, dtype=np.float32).reshape(11, 2), np.arange(11)


def pairs():
    return (ours.TensorDataset(gemel.tensor(X), gemel.tensor(Y)),
            theirs.TensorDataset(torch.tensor(X), torch.tensor(Y)))


def plain(x):
    """Nested lists of what a loader gave, tensors with their dtype."""
    if isinstance(x, (gemel.Tensor, torch.Tensor)):
        return str(x.dtype).split(".")[-1], x.tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [plain(v) for v in x]
    return x


class Squares(ours.Dataset):
    def __init__(self, n=11, bad=-1, action=None):
        self.n, self.bad, self.action = n, bad, action

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.bad:
            self.action()
        return {"x": np.float32(i) ** 2, "t": gemel.full((3,), i), "name": f"n{i}"}


class Stream(ours.IterableDataset):
    def __iter__(self):
        info = ours.get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(first, 10, step))


@pytest.mark.parametrize("options", [
    {}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}, {"batch_sampler": [[3, 1], [0]]},
    {"sampler": [5, 2, 2], "batch_size": 2}])
def test_batches_are_torchs(options):
    a, b = pairs()
    mine, other = ours.DataLoader(a, **options), theirs.DataLoader(b, **options)
    assert plain(list(mine)) == plain(list(other)) and len(mine) == len(other)


@pytest.mark.parametrize("batch", [
    [1, 2], [1.5, 2.0], [True, False], ["a", "b"], [(1, "a"), (2, "b")], [[1, 2.0], [3, 4.0]], [{"k": 1}, {"k": 2}],
    [np.float32(1), np.float32(2)], [np.ones(2), np.zeros(2)], [((1, 2), {"a": [1]}), ((3, 4), {"a": [5]})]])
def test_collate_is_torchs(batch):
    assert plain(ours.default_collate(batch)) == plain(theirs.default_collate(batch))


@pytest.mark.parametrize("bad", [[[1, 2], [1]], [object(), object()], [np.array(["a"]), np.array(["b"])]])
def test_collate_refuses_what_torch_refuses(bad):
    with pytest.raises(Exception) as want:
        theirs.default_collate(bad)
    with pytest.raises(type(want.value)):
        ours.default_collate(bad)


def test_shuffling_is_a_permutation_and_repeatable():
    data, _ = pairs()
    loader = ours.DataLoader(data, 4, shuffle=True)
    gemel.manual_seed(3)
    first, second = ([i for _, y in loader for i in y.tolist()] for _ in range(2))
    gemel.manual_seed(3)
    again = [i for _, y in loader for i in y.tolist()]
    assert sorted(first) == list(range(11)) and first == again and first != second
    g = gemel.Generator().manual_seed(5)
    with_generator = ours.DataLoader(data, 11, shuffle=True, generator=g)
    one = next(iter(with_generator))[1].tolist()
    g.manual_seed(5)
    assert one == next(iter(with_generator))[1].tolist()


def test_samplers():
    assert sorted(ours.SubsetRandomSampler([3, 5, 9])) == [3, 5, 9]
    weighted = list(ours.WeightedRandomSampler([0.0, 1.0, 0.0], 6))
    assert weighted == [1] * 6
    drawn = list(ours.RandomSampler(range(3), replacement=True, num_samples=50))
    assert len(drawn) == 50 and set(drawn) == {0, 1, 2}
    assert sorted(ours.RandomSampler(range(3), num_samples=6)) == [0, 0, 1, 1, 2, 2]
    for make in (lambda m: m.BatchSampler([1], 0, False), lambda m: m.RandomSampler([1], num_samples=0),
                 lambda m: m.BatchSampler([1], 2, 1), lambda m: m.WeightedRandomSampler([[1.0]], 2)):
        with pytest.raises(Exception) as want:
            make(theirs)
        with pytest.raises(type(want.value)):
            make(ours)


def test_data_sets():
    a, _ = pairs()
    both = ours.ConcatDataset([a, a])
    assert len(both) == 22 and both[12][1].item() == 1 and both[-1][1].item() == 10 and (a + a)[11][1].item() == 0
    with pytest.raises(IndexError):
        both[22]
    parts = ours.random_split(range(10), [0.5, 0.3, 0.2])
    assert [len(p) for p in parts] == [5, 3, 2] and sorted(i for p in parts for i in p) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths"):
        ours.random_split(range(10), [3, 3])
    subset = ours.Subset(a, [4, 2])
    assert [y.tolist() for _, y in ours.DataLoader(subset, 2)] == [[4, 2]]
    assert list(ours.ChainDataset([Stream(), Stream()])) == [*range(10), *range(10)]
    stacked = ours.StackDataset(x=a, y=a)
    assert stacked[3]["y"][1].item() == 3
    with pytest.raises(AssertionError, match="Size mismatch"):
        ours.TensorDataset(gemel.zeros(2), gemel.zeros(3))


@pytest.mark.parametrize("options", [
    {"batch_size": 4}, {"batch_size": 3, "prefetch_factor": 1}, {"batch_size": None},
    {"batch_size": 2, "drop_last": True},
    {"batch_size": 4, "persistent_workers": True},
    {"batch_size": 4, "persistent_workers": True, "multiprocessing_context": "forkserver"}])
def test_workers_give_the_same_batches(options):
    data = Squares()
    here = {k: v for k, v in options.items() if k in ("batch_size", "drop_last")}
    loader = ours.DataLoader(data, num_workers=2, **options)
    want = plain(list(ours.DataLoader(data, **here)))
    for _ in range(2):
        assert plain(list(loader)) == want


def test_large_batches_travel_in_shared_memory():
    x = gemel.arange(64 * 5000).reshape(64, 5000)
    loader = ours.DataLoader(ours.TensorDataset(x), 16, num_workers=2)
    assert [b.tolist() for b, in loader] == [x[i:i + 16].tolist() for i in range(0, 64, 16)]


def test_out_of_order_gives_every_batch_once():
    loader = ours.DataLoader(Squares(), 2, num_workers=2, in_order=False)
    assert sorted(t for b in loader for t in b["name"]) == sorted(f"n{i}" for i in range(11))


@pytest.mark.parametrize("workers", [0, 2])
def test_streams(workers):
    loader = ours.DataLoader(Stream(), 3, num_workers=workers, persistent_workers=workers > 0)
    for _ in range(2):
        assert sorted(i for b in loader for i in b.tolist()) == list(range(10))


def _raise():
    raise KeyError("who")


def test_an_exception_in_a_worker_is_raised_here_with_its_traceback():
    loader = ours.DataLoader(Squares(bad=5, action=_raise), 2, num_workers=2)
    with pytest.raises(KeyError, match="Caught KeyError in DataLoader worker process") as found:
        list(loader)
    assert "_raise" in str(found.value)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_noticed():
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(ours.DataLoader(Squares(bad=5, action=_die), 2, num_workers=2))


def _sleep():
    import time
    time.sleep(30)


def test_timeout():
    with pytest.raises(RuntimeError, match="timed out"):
        list(ours.DataLoader(Squares(bad=0, action=_sleep), 2, num_workers=1, timeout=0.3))


def _init(i):
    global initialised
    initialised = i


class Seeds(ours.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return initialised, ours.get_worker_info().id, float(gemel.rand(())), np.random.rand()


def test_workers_know_who_they_are_and_draw_different_numbers():
    gemel.manual_seed(0)
    loader = ours.DataLoader(Seeds(), num_workers=2, worker_init_fn=_init)
    first = [tuple(float(v) for v in b) for b in loader]
    assert [b[0] for b in first] == [b[1] for b in first] == [0, 1, 0, 1]
    assert len({b[2] for b in first}) == 4 and len({b[3] for b in first}) == 4
    gemel.manual_seed(0)
    assert [tuple(float(v) for v in b) for b in loader] == first


def test_abandoned_loaders_leave_no_process():
    loader = ours.DataLoader(Squares(), 2, num_workers=2, persistent_workers=True)
    next(iter(loader))
    pids = [w.process.pid for w in loader._iterator.workers]
    del loader
    import gc
    gc.collect()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("options", [
    {"num_workers": -1}, {"timeout": -1}, {"prefetch_factor": 2}, {"persistent_workers": True},
    {"shuffle": True, "sampler": [1]}, {"batch_sampler": [[1]], "batch_size": 3},
    {"batch_size": None, "drop_last": True},
    {"batch_size": 0}, {"num_workers": 1, "multiprocessing_context": "nothing"}])
def test_bad_arguments(options):
    a, b = pairs()
    with pytest.raises(Exception) as want:
        list(theirs.DataLoader(b, **options))
    with pytest.raises(type(want.value)):
        list(ours.DataLoader(a, **options))
