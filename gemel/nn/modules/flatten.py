"""Layers that change the shape."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...engine.base.errors import UnsupportedError
from .module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` as one.

    >>> import gemel
    >>> gemel.nn.Flatten()(gemel.zeros(32, 1, 5, 5)).shape
    gemel.Size([32, 25])

    torch: ``torch.nn.Flatten``
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        """``input.flatten(start_dim, end_dim)``."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis ``dim`` as several of sizes ``unflattened_size``. torch: ``torch.nn.Unflatten``"""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if isinstance(dim, str):
            raise UnsupportedError("nn.Unflatten: axes have no names; give the number of the axis")
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(f"unflattened_size must be a tuple of ints, but found type "
                            f"{type(unflattened_size).__name__}")
        for i, n in enumerate(unflattened_size):
            if not isinstance(n, int):
                raise TypeError(f"unflattened_size must be tuple of ints, but found element of type "
                                f"{type(n).__name__} at pos {i}")
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Any) -> Any:
        """``input.unflatten(dim, unflattened_size)``."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
