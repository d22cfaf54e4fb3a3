"""The part of a dataset that one of several processes trains on."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sized

from ...tensor.random import Generator, randperm
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th index from ``rank`` on, of an order that all processes shuffle alike.

    Parts are of equal length: the dataset's end is dropped (``drop_last``) or its beginning repeated. Call
    :meth:`set_epoch` before each epoch for another order.

    >>> [list(gemel.utils.data.DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]

    Raises:
        ValueError: ``num_replicas`` or ``rank`` is not given and no process group exists; or an invalid rank.

    torch: ``DistributedSampler``.
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
                 seed: int = 0, drop_last: bool = False) -> None:
        if num_replicas is None or rank is None:
            raise ValueError("Default process group has not been initialized: give num_replicas and rank. "
                             f"Received: num_replicas={num_replicas}, rank={rank}")
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        n = len(dataset)
        short = drop_last and n % num_replicas
        self.num_samples = math.ceil((n - num_replicas if short else n) / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        if self.shuffle:
            order = randperm(n, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()
        else:
            order = list(range(n))
        if n and len(order) < self.total_size:
            order *= -(-self.total_size // n)
        return iter(order[self.rank:self.total_size:self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch
