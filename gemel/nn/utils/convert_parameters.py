"""Parameters as one vector and back."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...tensor.joining import cat
from ...tensor.tensor import Tensor
from ..modules.tree import replace_data

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Any:
    """All parameters, flattened, one after the other. torch: ``nn.utils.parameters_to_vector``"""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the parts of ``vec`` as their data. torch: ``nn.utils.vector_to_parameters``"""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    at = 0
    for p in parameters:
        n = p.numel()
        replace_data(p, vec.detach()[at:at + n].reshape(p.shape))
        at += n
