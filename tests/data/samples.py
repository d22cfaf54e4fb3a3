"""Datasets of the tests that worker processes import."""
from __future__ import annotations

import numpy as np

import gemel
from gemel.utils.data import Dataset, IterableDataset, get_worker_info


class Squares(Dataset):
    """Sample i: an array of i's, i squared, and who made it."""

    def __init__(self, n=10, size=200):
        self.n, self.size = n, size

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        info = get_worker_info()
        return np.full(self.size, i, np.float32), gemel.tensor(i * i), -1 if info is None else info.id


class Count(IterableDataset):
    """0 to n - 1; each worker makes its part."""

    def __init__(self, n, shared=True):
        self.n, self.shared = n, shared

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info is not None and self.shared else (0, 1)
        return iter(range(first, self.n, step))

    def __len__(self):
        return self.n
