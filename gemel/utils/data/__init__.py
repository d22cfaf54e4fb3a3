"""Datasets, samplers and the loader that makes batches of them. torch: ``torch.utils.data``.

>>> from gemel.utils.data import DataLoader, TensorDataset
>>> data = TensorDataset(gemel.arange(6).reshape(6, 1), gemel.arange(6))
>>> for x, y in DataLoader(data, batch_size=4):
...     print(tuple(x.shape), y.tolist())
(4, 1) [0, 1, 2, 3]
(2, 1) [4, 5]
"""
from __future__ import annotations

from .collate import collate, default_collate, default_collate_fn_map, default_convert
from .dataloader import DataLoader
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .distributed import DistributedSampler
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from .worker import WorkerInfo, get_worker_info

__all__ = ["BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler",
           "IterableDataset", "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset",
           "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "WorkerInfo", "collate", "default_collate",
           "default_collate_fn_map", "default_convert", "get_worker_info", "random_split"]
