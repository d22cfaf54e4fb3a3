"""Datasets, samplers and collation against torch's."""
from __future__ import annotations

from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest
import torch
import torch.utils.data as theirs

import gemel
import gemel.utils.data as ours

Point = namedtuple("Point", ["x", "y"])


def plain(x):
    """Nested plain values with the dtype of each tensor."""
    if isinstance(x, (torch.Tensor, gemel.Tensor)):
        return str(x.dtype).removeprefix("torch.").removeprefix("gemel."), tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x), {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x), [plain(v) for v in x]
    return x


def both(make):
    """What a function of a package gives: result or error, for both."""
    out = []
    for package, data in ((gemel, ours), (torch, theirs)):
        try:
            out.append(plain(make(package, data)))
        except Exception as error:
            out.append(type(error))
    if isinstance(out[0], type) and isinstance(out[1], type) and issubclass(out[0], out[1]):
        out[0] = out[1]
    return out


SAMPLES = {
    "tensors": lambda m: [m.ones(2, 3), m.zeros(2, 3)],
    "arrays": lambda m: [np.ones(3, np.float32), np.zeros(3, np.float32)],
    "0-d arrays": lambda m: [np.array(3), np.array(4)],
    "numpy numbers": lambda m: [np.float32(1), np.float32(2)],
    "floats": lambda m: [1.0, 2.5],
    "ints": lambda m: [1, 2],
    "bools": lambda m: [True, False],
    "texts": lambda m: ["a", "b"],
    "bytes": lambda m: [b"a", b"b"],
    "tuples": lambda m: [(1, "a", m.ones(2)), (2, "b", m.zeros(2))],
    "lists": lambda m: [[1, 2.0], [3, 4.0]],
    "dicts": lambda m: [{"a": 1, "b": np.zeros(2)}, {"a": 2, "b": np.ones(2)}],
    "ordered dicts": lambda m: [OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)],
    "named tuples": lambda m: [Point(1, 2.0), Point(3, 4.0)],
    "nested": lambda m: [{"x": (1, [m.ones(1)])}, {"x": (2, [m.zeros(1)])}],
    "empty tensors": lambda m: [m.ones(0), m.ones(0)],
    "int8": lambda m: [m.ones(2, dtype=m.int8)] * 3,
    "bfloat16": lambda m: [m.ones(2, dtype=m.bfloat16)] * 3,
    "sizes differ": lambda m: [(1, 2), (1,)],
    "shapes differ": lambda m: [m.ones(2), m.ones(3)],
    "objects": lambda m: [object(), object()],
    "arrays of texts": lambda m: [np.array(["a"]), np.array(["b"])],
    "None": lambda m: [None, None],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_default_collate(name):
    got, want = both(lambda m, d: d.default_collate(SAMPLES[name](m)))
    assert got == want


@pytest.mark.parametrize("name", [n for n in SAMPLES if n != "objects"])
def test_default_convert(name):
    got, want = both(lambda m, d: d.default_convert(SAMPLES[name](m)))
    assert got == want


def test_gradients_flow_through_collation():
    x = [gemel.ones(2, requires_grad=True) for _ in range(3)]
    (ours.default_collate(x) * gemel.arange(3).reshape(3, 1)).sum().backward()
    assert [t.grad.tolist() for t in x] == [[0, 0], [1, 1], [2, 2]]


def test_a_function_for_a_type_of_ones_own():
    class Token:
        pass
    assert ours.collate([Token(), Token()], collate_fn_map={Token: lambda batch, *, collate_fn_map: len(batch)}) == 2


class Stream:
    """Both packages' iterable datasets over a range."""

    def __new__(cls, data, *ends):
        class Inner(data.IterableDataset):
            def __iter__(self):
                return iter(range(*ends))

            def __len__(self):
                return len(range(*ends))
        return Inner()


CASES = {
    "tensor dataset": lambda m, d: list(d.TensorDataset(m.arange(6).reshape(3, 2), m.arange(3))),
    "tensor dataset of unequal sizes": lambda m, d: d.TensorDataset(m.ones(2), m.ones(3)),
    "concat": lambda m, d: [d.ConcatDataset([range(3), range(10, 12)])[i] for i in (0, 2, 3, -1, -5)],
    "concat far": lambda m, d: d.ConcatDataset([range(3)])[-4],
    "concat end": lambda m, d: d.ConcatDataset([range(3)])[3],
    "concat nothing": lambda m, d: d.ConcatDataset([]),
    "concat of streams": lambda m, d: d.ConcatDataset([Stream(d, 3)]),
    "sum": lambda m, d: list(d.TensorDataset(m.arange(2)) + d.TensorDataset(m.arange(3))),
    "chain": lambda m, d: (list(Stream(d, 3) + Stream(d, 4, 6)), len(Stream(d, 3) + Stream(d, 4, 6))),
    "chain of maps": lambda m, d: list(d.ChainDataset([range(3)])),
    "stack": lambda m, d: (d.StackDataset(range(3), range(3, 6))[1],
                           d.StackDataset(range(3), range(3)).__getitems__([0, 2])),
    "stack of names": lambda m, d: (d.StackDataset(a=range(3), b=range(3))[1],
                                    d.StackDataset(a=range(3), b=d.Subset(range(3), [2, 1, 0])).__getitems__([0, 2])),
    "stack of both": lambda m, d: d.StackDataset(range(3), b=range(3)),
    "stack of nothing": lambda m, d: d.StackDataset(),
    "stack of unequal sizes": lambda m, d: d.StackDataset(range(3), range(4)),
    "subset": lambda m, d: (list(d.Subset(range(10), [3, 1])), d.Subset(range(10), [3, 1]).__getitems__([1, 0])),
    "subset of a list": lambda m, d: d.Subset(m.arange(10), [3, 1])[[0, 1]],
    "split": lambda m, d: [len(s) for s in d.random_split(range(10), [3, 7])],
    "split by fractions": lambda m, d: [len(s) for s in d.random_split(range(10), [0.33, 0.33, 0.34])],
    "split badly": lambda m, d: d.random_split(range(10), [3, 8]),
    "split by odd fractions": lambda m, d: d.random_split(range(10), [-0.5, 1.5]),
    "sequential": lambda m, d: list(d.SequentialSampler(range(4))),
    "batches": lambda m, d: list(d.BatchSampler(range(7), 3, False)),
    "whole batches": lambda m, d: list(d.BatchSampler(range(7), 3, True)),
    "lengths of batches": lambda m, d: [len(d.BatchSampler(range(n), 3, b)) for n in (6, 7) for b in (True, False)],
    "batch size": lambda m, d: d.BatchSampler(range(7), 0, True),
    "drop last": lambda m, d: d.BatchSampler(range(7), 2, 1),
    "no samples": lambda m, d: d.RandomSampler([]),
    "replacement": lambda m, d: d.RandomSampler([1], replacement=1),
    "weights": lambda m, d: d.WeightedRandomSampler([[1.0]], 3),
    "weighted": lambda m, d: list(d.WeightedRandomSampler([0.0, 1.0, 0.0], 5)),
    "number of samples": lambda m, d: d.WeightedRandomSampler([1.0], True),
    "distributed": lambda m, d: [list(d.DistributedSampler(range(n), 3, r, shuffle=False, drop_last=b))
                                 for n in (2, 9, 10, 11) for r in range(3) for b in (True, False)],
    "rank": lambda m, d: d.DistributedSampler(range(3), 2, 2),
    "no group": lambda m, d: d.DistributedSampler(range(3)),
    "no items": lambda m, d: d.Dataset()[0],
}


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name):
    got, want = both(CASES[name])
    assert got == want


def test_a_subset_with_an_item_of_its_own_needs_items():
    class Mine(ours.Subset):
        def __getitem__(self, idx):
            return -1
    with pytest.raises(NotImplementedError, match="__getitems__"):
        Mine(range(3), [0])


def test_random_samplers_follow_the_seed():
    def draw(make):
        gemel.manual_seed(5)
        return list(make(None)), list(make(gemel.Generator().manual_seed(7)))
    for make in (lambda g: ours.RandomSampler(range(50), generator=g),
                 lambda g: ours.RandomSampler(range(50), True, 70, generator=g),
                 lambda g: ours.SubsetRandomSampler(range(100, 150), generator=g),
                 lambda g: ours.WeightedRandomSampler(range(50), 20, generator=g),
                 lambda g: [i for part in ours.random_split(range(50), [20, 30], g) for i in part]):
        first, again = draw(make), draw(make)
        assert first == again and first[0] != first[1]


def test_random_samplers_draw_what_they_say():
    assert sorted(ours.RandomSampler(range(50))) == list(range(50))
    counts = Counter(ours.RandomSampler(range(20), num_samples=50))
    assert set(counts.values()) == {2, 3} and sum(counts.values()) == 50
    drawn = list(ours.RandomSampler(range(4), replacement=True, num_samples=400))
    assert len(drawn) == 400 and min(Counter(drawn).values()) > 50
    assert sorted(ours.SubsetRandomSampler([5, 8, 9])) == [5, 8, 9]
    one, two = (list(ours.RandomSampler(range(50))) for _ in range(2))
    assert one != two
    sampler = ours.DistributedSampler(range(20), 2, 0)
    before = list(sampler)
    assert before == list(sampler)
    sampler.set_epoch(1)
    other = ours.DistributedSampler(range(20), 2, 1)
    other.set_epoch(1)
    assert before != list(sampler) and sorted([*sampler, *other]) == list(range(20))
