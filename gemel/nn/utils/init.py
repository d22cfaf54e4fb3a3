"""Modules without first values."""
from __future__ import annotations

import inspect
from typing import Any

from ...tensor.random import default_generator
from ..modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module whose parameters have arbitrary values: to be loaded, or filled otherwise.

    The operations of the usual initialisation are recorded and thrown away: they never run, and draw no random numbers.

    Args:
        module_cls: a class whose constructor takes ``device``. args, kwargs: of the constructor.
    Raises: RuntimeError for a class that is no module or does not take ``device``.

    >>> from gemel import nn
    >>> nn.utils.skip_init(nn.Linear, 5, 1).weight.shape
    gemel.Size([1, 5])

    torch: ``torch.nn.utils.skip_init``
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    state = default_generator.get_state()
    module = module_cls(*args, **kwargs).to_empty(device=kwargs.get("device", "cpu"))
    default_generator.set_state(state)
    return module
