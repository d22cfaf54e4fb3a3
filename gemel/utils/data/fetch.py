"""Fetching one batch, in the loader's process or in a worker."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .collate import default_collate, is_default
from .dataset import gathered, samples_of


@dataclass(frozen=True)
class Recipe:
    """What a batch is made of.

    Attributes:
        stream: is the dataset iterated over? batched: are samples put into batches? drop_last: of a stream.
    """

    dataset: Any
    stream: bool
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool

    def start(self) -> Callable[[Any], Any]:
        """``fetch(index or indices)`` of an epoch; of a stream it raises ``StopIteration`` at the end."""
        if self.stream:
            return _Stream(self, iter(self.dataset))
        return self.batch if self.batched else self.single

    def single(self, index: Any) -> Any:
        """The sample at ``index``, converted."""
        return self.collate_fn(self.dataset[index])

    def batch(self, indices: Any) -> Any:
        """The batch of the samples at ``indices``."""
        if self.collate_fn is default_collate and is_default():
            found = gathered(self.dataset, indices)
            if found is not None:
                return found
        return self.collate_fn(samples_of(self.dataset, indices))


class _Stream:
    """Takes batches off an iterator."""

    def __init__(self, recipe: Recipe, samples: Any) -> None:
        self.recipe, self.samples, self.ended = recipe, samples, False

    def __call__(self, indices: Any) -> Any:
        if self.ended:
            raise StopIteration
        recipe = self.recipe
        if not recipe.batched:
            return recipe.collate_fn(next(self.samples))
        batch = []
        for _ in indices:
            try:
                batch.append(next(self.samples))
            except StopIteration:
                self.ended = True
                break
        if not batch or recipe.drop_last and len(batch) < len(indices):
            raise StopIteration
        return recipe.collate_fn(batch)
