"""``DataLoader``: batches in this process and from workers, their order, errors and ends."""
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import torch.utils.data as theirs

import gemel
from gemel.utils.data import DataLoader, Dataset, StackDataset, Subset, TensorDataset, get_worker_info
from tests.data.samples import Count, Squares

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Faulty(Dataset):
    """Every fifth sample fails as ``action`` says."""

    def __init__(self, action):
        self.action = action

    def __len__(self):
        return 10

    def __getitem__(self, i):
        if i % 5 == 3:
            self.action()
        return i


def values(batches):
    return [b.tolist() for b in batches]


# --- in this process ---------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    {}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}, {"sampler": [3, 1, 1]},
    {"batch_sampler": [[0, 1], [5]]}, {"batch_size": 3, "collate_fn": sum}, {"batch_size": None, "sampler": [2]}],
    ids=str)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_as_torch(options, workers):
    data = [i * 10 for i in range(10)]
    ours, reference = DataLoader(data, num_workers=workers, **options), theirs.DataLoader(data, **options)
    assert len(ours) == len(reference)
    got, want = list(ours), list(reference)
    assert [getattr(b, "tolist", lambda b=b: b)() for b in got] == [getattr(b, "tolist", lambda b=b: b)() for b in want]
    assert [type(b).__name__ for b in got] == [type(b).__name__ for b in want]


@pytest.mark.parametrize("options", [
    {"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None}], ids=str)
def test_streams_as_torch(options):
    class Theirs(theirs.IterableDataset):
        __iter__, __len__ = Count.__iter__, Count.__len__
        n, shared = 10, True
    loader, reference = DataLoader(Count(10), **options), theirs.DataLoader(Theirs(), **options)
    assert len(loader) == len(reference)
    assert [getattr(b, "tolist", lambda b=b: b)() for b in loader] == [
        getattr(b, "tolist", lambda b=b: b)() for b in reference]


WRONG = [
    {"num_workers": -1}, {"timeout": -1}, {"prefetch_factor": 2}, {"persistent_workers": True},
    {"shuffle": True, "sampler": [1]}, {"batch_sampler": [[1]], "batch_size": 2},
    {"batch_size": None, "drop_last": True},
    {"num_workers": 1, "prefetch_factor": -1}, {"multiprocessing_context": "fork"},
    {"num_workers": 1, "multiprocessing_context": "nothing"}, {"num_workers": 1, "multiprocessing_context": 3},
    {"batch_size": 0}, {"batch_size": 2.0}]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_errors_are_torchs(options):
    with pytest.raises((ValueError, TypeError)) as want:
        theirs.DataLoader(range(10), **options)
    with pytest.raises(want.type) as got:
        DataLoader(range(10), **options)
    assert str(want.value)[:24] == str(got.value)[:24]


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}], ids=str)
def test_streams_have_no_order(options):
    with pytest.raises(ValueError, match="IterableDataset: expected unspecified"):
        DataLoader(Count(3), **options)


def test_what_is_fixed_stays():
    loader = DataLoader(range(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    with pytest.warns(UserWarning, match="no accelerator"):
        assert values(DataLoader(range(2), pin_memory=True)) == [[0], [1]]


def test_shuffling_follows_the_generator():
    def order(generator=None):
        return values(DataLoader(range(40), batch_size=7, shuffle=True, generator=generator))
    gemel.manual_seed(3)
    first, second = order(), order()
    gemel.manual_seed(3)
    assert order() == first != second
    assert sorted(sum(first, [])) == list(range(40))
    generator = gemel.Generator().manual_seed(1)
    once = order(generator), order(generator)
    generator.manual_seed(1)
    assert (order(generator), order(generator)) == once and once[0] != once[1]


def test_rows_are_gathered_as_they_are_collated(monkeypatch):
    x, y = gemel.randn(20, 3, 4), gemel.arange(20)
    foreign = np.arange(40, dtype=np.float64).reshape(20, 2)
    data = TensorDataset(x, y, gemel.from_numpy(foreign)[:, 1:], (x[:, 0] * 2).to(gemel.bfloat16))
    def table(d, collate=None):
        return [[(t.dtype, t.tolist()) for t in batch] for batch in DataLoader(d, 6, sampler=[3, -1, 0, 7, 7, 2, 1],
                                                                               collate_fn=collate)]
    slow = lambda batch: gemel.utils.data.default_collate(batch)  # noqa: E731  (not the function itself)
    assert table(data) == table(data, slow)
    part = Subset(data, list(range(19, -1, -1)))
    assert table(part) == table(part, slow)
    monkeypatch.setattr(TensorDataset, "__getitem__", lambda *_: pytest.fail("not gathered"))
    monkeypatch.setattr(Subset, "__getitem__", lambda *_: pytest.fail("not gathered"))
    foreign[:] = -1  # written after the dataset was made: seen, as by indexing
    batch = next(iter(DataLoader(TensorDataset(gemel.from_numpy(foreign)), 2)))
    assert batch[0].tolist() == [[-1, -1], [-1, -1]]


def test_a_batch_is_a_copy():
    array = np.zeros((4, 2), np.float32)
    batch = next(iter(DataLoader(TensorDataset(gemel.from_numpy(array)), 4)))[0]
    array[:] = 1
    assert batch.sum().item() == 0
    batch.add_(5)
    assert array.max() == 1


def test_indices_out_of_range_name_the_index():
    with pytest.raises(IndexError, match="7"):
        list(DataLoader(TensorDataset(gemel.ones(3)), sampler=[7]))


def test_gradients_flow_into_a_dataset():
    x = gemel.ones(4, 2, requires_grad=True)
    for (batch,) in DataLoader(TensorDataset(x), 2):
        (batch * 3).sum().backward()
    assert x.grad.tolist() == [[3, 3]] * 4


def test_datasets_side_by_side():
    data = StackDataset(a=range(4), b=Squares(4, 2))
    batch = next(iter(DataLoader(data, 4)))
    assert batch["a"].tolist() == [0, 1, 2, 3] and batch["b"][1].tolist() == [0, 1, 4, 9]


# --- workers -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same_batches(method):
    gemel.ones(300, 300).sum().item()  # the pool of threads runs
    loader = DataLoader(Squares(), 3, num_workers=2, multiprocessing_context=method)
    makers = set()
    for got, want in zip(loader, DataLoader(Squares(), 3), strict=True):
        assert got[0].dtype is gemel.float32 and got[0].tolist() == want[0].tolist()
        assert got[1].tolist() == want[1].tolist()
        makers |= set(got[2].tolist())
    assert makers == {0, 1} and get_worker_info() is None
    assert gemel.ones(300, 300).sum().item() == 90000


def test_big_batches_of_many_sizes_and_kinds():
    """Blocks of shared memory are used again and replaced by larger ones; a batch stays what it was."""
    sizes = [10, 100_000, 5, 400_000, 50_000, 1, 300_000, 7]
    data = [{"x": np.arange(n), "t": gemel.full((n,), float(n), dtype=gemel.bfloat16), "c": np.ones(n, np.complex64),
             "text": "t" * n} for n in sizes]
    batches = list(DataLoader(data, None, num_workers=2))
    for n, batch in zip(sizes, batches, strict=True):
        np.testing.assert_array_equal(batch["x"].numpy(), np.arange(n))
        assert batch["t"].dtype is gemel.bfloat16 and batch["t"][-1].item() == gemel.tensor(float(n)).bfloat16().item()
        assert batch["c"].dtype is gemel.complex64 and len(batch["text"]) == n


def test_many_indices_and_large_pickles_do_not_block_each_other():
    data = ["x" * 3000] * 1000
    loader = DataLoader(data, batch_sampler=[list(range(1000)) * 60] * 4, num_workers=1, prefetch_factor=4)
    assert [len(b) for b in loader] == [60_000] * 4


def test_streams_are_shared_between_workers():
    got = values(DataLoader(Count(11), 2, num_workers=2))
    assert got == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9]]
    assert sorted(sum(values(DataLoader(Count(3, shared=False), 2, num_workers=2)), [])) == [0, 0, 1, 1, 2, 2]
    assert values(DataLoader(Count(1), 2, num_workers=3)) == [[0]]


class Seeds(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return (get_worker_info().seed % 1000, random.random(), float(np.random.rand()), gemel.rand(()).item())


def test_seeds_of_workers_follow_the_generator():
    def draws(seed):
        loader = DataLoader(Seeds(), 1, num_workers=2, generator=gemel.Generator().manual_seed(seed))
        return [[t.item() for t in batch] for batch in loader]
    first = draws(1)
    assert first == draws(1) != draws(2)
    assert len({tuple(row[1:]) for row in first}) == 4


def test_workers_persist():
    class Pids(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return i, os.getpid()
    loader = DataLoader(Pids(), 1, num_workers=2, persistent_workers=True, shuffle=True)
    epochs = []
    for _ in range(3):
        next(iter(loader))  # an epoch that is left early
        epochs.append([[t.item() for t in batch] for batch in loader])
    assert all(sorted(row[0] for row in e) == [0, 1, 2, 3] for e in epochs)
    assert len({row[1] for e in epochs for row in e}) == 2
    loader._iterator.stop()
    assert len(list(loader)) == 4  # new workers


def test_the_init_function_sees_its_worker():
    def init(number):
        info = get_worker_info()
        assert info.id == number and info.num_workers == 2
        info.dataset.size = number + 1
    shapes = {tuple(batch[0].shape) for batch in DataLoader(Squares(4), 1, num_workers=2, worker_init_fn=init)}
    assert shapes == {(1, 1), (1, 2)}


def test_batches_as_they_become_ready():
    class Slow(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            time.sleep(0.5 if i == 0 else 0)
            return i
    got = values(DataLoader(Slow(), 1, num_workers=2, in_order=False))
    assert sorted(got) == [[i] for i in range(6)] and got[0] != [0]


# --- faults ------------------------------------------------------------------------------------------

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def _raises(error):
    def action():
        raise error
    return action


@pytest.mark.parametrize(("error", "kind"), [
    (ValueError("what happened"), ValueError), (KeyError("what happened"), KeyError),
    (Odd("what happened", 2), RuntimeError), (StopIteration("what happened"), RuntimeError)])
def test_errors_of_a_worker_come_with_their_traceback(error, kind):
    batches = iter(DataLoader(Faulty(_raises(error)), 1, num_workers=2))
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(kind) as found:
        next(batches)
    text = str(found.value)
    assert "in DataLoader worker process 1" in text and "what happened" in text and "in action" in text
    assert next(batches).item() == 4  # the next batches are there


def test_what_can_not_be_sent_is_an_error():
    loader = DataLoader(range(2), 1, num_workers=1, collate_fn=lambda batch: lambda: batch)
    with pytest.raises(RuntimeError, match="in DataLoader worker process 0"):
        next(iter(loader))
    x = gemel.ones(1000, requires_grad=True)
    loader = DataLoader(range(2), 1, num_workers=1, collate_fn=lambda batch: x * 2)
    with pytest.raises(RuntimeError, match="only leaves can be pickled"):
        next(iter(loader))


def test_a_failing_init_function():
    loader = DataLoader(range(2), num_workers=1, worker_init_fn=lambda n: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="worker process 0"):
        next(iter(loader))


@pytest.mark.parametrize(("action", "code"), [(lambda: os._exit(3), "exit code 3"),
                                              (lambda: os.kill(os.getpid(), signal.SIGKILL), "exit code -9")])
def test_a_worker_that_dies_is_noticed(action, code):
    batches = iter(DataLoader(Faulty(action), 1, num_workers=2, prefetch_factor=1))
    with pytest.raises(RuntimeError, match=f"exited unexpectedly.*{code}"):
        list(batches)
    assert list(batches) == []


def test_timeout():
    loader = DataLoader(Faulty(lambda: time.sleep(60)), 1, num_workers=1, timeout=0.3, sampler=[3])
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out after 0.3 seconds"):
        next(iter(loader))
    assert time.monotonic() - start < 20


def _running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_workers_end_with_their_iterator():
    batches = iter(DataLoader(Squares(100), 1, num_workers=2))
    pids = [w.process.pid for w in batches.workers]
    next(batches)
    del batches
    assert not any(map(_running, pids))


PROGRAM = """
    import os, signal, sys, time
    import gemel
    from gemel.utils.data import DataLoader

    class Slow:
        def __len__(self):
            return 1000
        def __getitem__(self, i):
            time.sleep(0.01)
            return gemel.full((1000,), float(i))

    loader = DataLoader(Slow(), 2, num_workers=2, persistent_workers=True)
    batches = iter(loader)
    (next(batches) * 2).sum().item()
    print(*[w.process.pid for w in batches.workers], flush=True)
"""


def _script(end):
    return [sys.executable, "-c", textwrap.dedent(PROGRAM) + textwrap.dedent(end)]


def _gone(pids, seconds=15):
    until = time.monotonic() + seconds
    while any(map(_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(_running, pids))


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "os.kill(os.getpid(), signal.SIGKILL)"],
                         ids=["end", "exit", "killed"])
def test_no_worker_outlives_the_program(end):
    done = subprocess.run(_script(end), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == (-9 if "SIGKILL" in end else 0) and not done.stderr
    assert _gone([int(p) for p in done.stdout.split()])


def test_ctrl_c_ends_it_all():
    with subprocess.Popen(_script("for b in batches: b.sum().item()"), cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        pids = [int(p) for p in process.stdout.readline().split()]
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to the workers too
        _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT and errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1 and _gone(pids)


def test_no_warning_and_no_file_is_left():
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(DataLoader(Squares(6, 5000), 2, num_workers=2))) == 3
    after = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert not [name for name in after - before if "gemel" in name]
