"""Tensors for the gradient tests, independent of how the public constructors are written."""
from __future__ import annotations

from typing import Any

import numpy as np

from gemel.tensor.core import from_array
from gemel.tensor.recording import wrap


def leaf(values: Any, requires_grad: bool = True, dtype: Any = np.float64) -> Any:
    """A tensor with a copy of ``values``."""
    t = wrap(from_array(np.asarray(values, dtype)))
    return t.requires_grad_() if requires_grad else t


def ones(*shape: int) -> Any:
    """Cotangents of one."""
    return leaf(np.ones(shape), False)
