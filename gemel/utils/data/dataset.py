"""Datasets: by index, or as a stream; views and sums of them.

A dataset whose samples lie in arrays can gather a whole batch at once: ``__getbatch__(indices)`` returns what
``default_collate([self[i] for i in indices])`` would, or ``None`` where it has to be done sample by sample. The loader
prefers it when it collates by default.
"""
from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from ...tensor.random import Generator, randperm
from .arrays import take_rows

__all__ = ["ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset", "TensorDataset",
           "random_split"]

Sample = TypeVar("Sample", covariant=True)


class Dataset(Generic[Sample]):
    """A map from indices to samples. Subclasses define ``__getitem__``, as a rule ``__len__``, and may define
    ``__getitems__(indices)``, which returns the samples of a batch as a list, or ``__getbatch__(indices)``, which
    returns the batch as ``default_collate`` would have made it of them. torch: ``Dataset``.
    """

    def __getitem__(self, index: Any) -> Sample:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> Dataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Sample]):
    """A stream of samples. Subclasses define ``__iter__``; with workers each of them iterates over a copy, which
    :func:`get_worker_info` lets it make a part. torch: ``IterableDataset``.
    """

    def __iter__(self) -> Iterator[Sample]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other: Dataset) -> Dataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple]):
    """Sample ``i`` is the tuple of ``tensor[i]`` for each of the tensors. torch: ``TensorDataset``.

    >>> gemel.utils.data.TensorDataset(gemel.ones(3, 2), gemel.arange(3))[1]
    (tensor([1., 1.]), tensor(1))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        if any(tensors[0].size(0) != t.size(0) for t in tensors):
            raise AssertionError(f"Size mismatch between tensors. Received: {[tuple(t.shape) for t in tensors]}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple:
        return tuple([t[index] for t in self.tensors])

    def __len__(self) -> int:
        return self.tensors[0].size(0)

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return None
        parts = [take_rows(t, indices) for t in self.tensors]
        return None if any(part is None for part in parts) else parts


class StackDataset(Dataset[Any]):
    """Sample ``i`` is a tuple, or a dict, of the samples ``i`` of several datasets. torch: ``StackDataset``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError("Supported either ``tuple``- (via ``args``) or ``dict``- (via ``kwargs``) like "
                             "input/output, but both types are given.")
        if not (args or kwargs):
            raise ValueError("At least one dataset should be passed")
        self.datasets: tuple | dict = args or kwargs
        sizes = [len(d) for d in (args or kwargs.values())]
        if len(set(sizes)) > 1:
            raise ValueError(f"Size mismatch between datasets. Received: {sizes}")
        self._length = sizes[0]

    def _combined(self, samples: list) -> Any:
        return dict(zip(self.datasets, samples, strict=True)) if isinstance(self.datasets, dict) else tuple(samples)

    def _parts(self) -> Iterable[Any]:
        return self.datasets.values() if isinstance(self.datasets, dict) else self.datasets

    def __getitem__(self, index: Any) -> Any:
        return self._combined([d[index] for d in self._parts()])

    def __getitems__(self, indices: list) -> list:
        columns = [samples_of(d, indices) for d in self._parts()]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError(f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(column)}")
        return [self._combined(list(row)) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Sample]):
    """The samples of several datasets, one after the other. torch: ``ConcatDataset``.

    >>> list(gemel.utils.data.ConcatDataset([range(2), range(10, 12)]))
    [0, 1, 10, 11]
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Sample:
        if idx < 0:
            if -idx > len(self):
                raise ValueError(f"absolute value of index should not exceed dataset length. Received: {idx} for "
                                 f"{len(self)} samples")
            idx += len(self)
        if idx >= len(self):
            raise IndexError(f"index {idx} is out of range for {len(self)} samples")
        n = bisect.bisect_right(self.cumulative_sizes, idx)
        return self.datasets[n][idx - (self.cumulative_sizes[n - 1] if n else 0)]


class ChainDataset(IterableDataset[Sample]):
    """The samples of several streams, one after the other. torch: ``ChainDataset``."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError(f"ChainDataset only supports IterableDataset. Received: {type(d).__name__}")
            yield d

    def __iter__(self) -> Iterator[Sample]:
        for d in self._checked():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._checked())


class Subset(Dataset[Sample]):
    """The samples of a dataset at some indices. torch: ``Subset``.

    >>> list(gemel.utils.data.Subset(range(10, 20), [0, 3]))
    [10, 13]
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices
        own = type(self)
        if own.__getitem__ is not Subset.__getitem__ and own.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{own.__name__} overrides __getitem__ but not __getitems__. When subclassing Subset and overriding "
                "__getitem__, you must also override __getitems__ to ensure DataLoader works correctly with your "
                "custom logic. A simple implementation:\n\ndef __getitems__(self, indices):\n"
                "    return [self.__getitem__(idx) for idx in indices]")

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list:
        return samples_of(self.dataset, [self.indices[i] for i in indices])

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        if type(self).__getitems__ is not Subset.__getitems__:
            return None
        return gathered(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def samples_of(dataset: Any, indices: Sequence[Any]) -> list:
    """The samples at ``indices``, with ``__getitems__`` where the dataset has it."""
    several: Any = getattr(dataset, "__getitems__", None)
    return [dataset[i] for i in indices] if several is None else several(indices)


def gathered(dataset: Any, indices: Sequence[Any]) -> Any:
    """The collated batch at ``indices``, where the dataset can gather it at once; else None."""
    gather = getattr(dataset, "__getbatch__", None)
    return None if gather is None else gather(indices)


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Subsets of these lengths (or fractions, whose sum is 1) that together are the dataset, drawn at random.

    >>> parts = gemel.utils.data.random_split(range(10), [0.7, 0.3])
    >>> [len(part) for part in parts]
    [7, 3]

    torch: ``random_split``.
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1. Received: {fraction}")
        counts = [math.floor(total * fraction) for fraction in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if not count:
                warnings.warn(f"Length of split at index {i} is 0. This might result in an empty dataset.",
                              stacklevel=2)
        lengths = counts
    if sum(lengths) != total:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset! "
                         f"Received: {list(lengths)} for {total} samples")
    order = randperm(total, generator=generator).tolist()
    ends = itertools.accumulate(int(n) for n in lengths)
    return [Subset(dataset, order[end - int(n):end]) for end, n in zip(ends, lengths, strict=True)]
