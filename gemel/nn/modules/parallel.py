"""Wrappers for several devices."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """The module itself, under the name ``module``: what torch's does where there are no GPUs. A batch is computed by
    all threads of the processor either way.

    Args:
        module: what is called. device_ids, output_device, dim: accepted, and without effect.

    >>> model = gemel.nn.DataParallel(gemel.nn.Linear(2, 1))
    >>> list(model.state_dict())
    ['module.weight', 'module.bias']

    torch: ``torch.nn.DataParallel``
    """

    def __init__(self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None,
                 dim: int = 0) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's result."""
        return self.module(*inputs, **kwargs)
