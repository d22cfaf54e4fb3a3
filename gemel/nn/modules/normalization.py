"""Normalization layers that look at one sample at a time."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module
from .sizes import per_axis

__all__ = ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LayerNorm(Module):
    """``(x - mean) / √(var + eps) * weight + bias`` over the last axes (Ba et al., 2016).

    Args:
        normalized_shape: sizes of the axes (a number: the last one). eps: added to the variance.
        elementwise_affine: have ``weight`` (ones at first) and, with ``bias``, ``bias`` (zeros), of that shape.

    >>> import gemel
    >>> gemel.nn.LayerNorm(2)(gemel.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]], grad_fn=<LayerNormBackward0>)

    torch: ``torch.nn.LayerNorm``
    """

    weight: Any
    bias: Any

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: DType | None = None) -> None:
        super().__init__()
        self.normalized_shape = shape = per_axis(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = affine = elementwise_affine
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(shape, **place)) if affine else None)
        self.register_parameter("bias", Parameter(empty(shape, **place)) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1, biases 0."""
        if self.elementwise_affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """``F.layer_norm`` with the layer's parameters."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class GroupNorm(Module):
    """Groups of channels normalized with all their positions (Wu and He, 2018).

    Args:
        num_groups: number of groups. num_channels: C, divisible by it. eps: added to the variance.
        affine: have ``weight`` (ones at first) and, with ``bias``, ``bias`` (zeros), of C elements.

    Shapes: (N, C, ...). torch: ``torch.nn.GroupNorm``
    """

    weight: Any
    bias: Any

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: DType | None = None, *, bias: bool = True) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_channels, **place)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_channels, **place)) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1, biases 0."""
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """``F.group_norm`` with the layer's parameters."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class RMSNorm(Module):
    """``x / √(mean(x²) + eps) * weight`` over the last axes (Zhang and Sennrich, 2019).

    Args:
        normalized_shape: sizes of the axes (a number: the last one). eps: None takes the dtype's smallest step at 1.
        elementwise_affine: have ``weight`` (ones at first) of that shape.

    torch: ``torch.nn.RMSNorm``
    """

    weight: Any

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: DType | None = None) -> None:
        super().__init__()
        self.normalized_shape = per_axis(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
                                if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x: Any) -> Any:
        """``F.rms_norm`` with the layer's weight."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """``x / (k + alpha * mean(x² over size neighbouring channels)) ^ beta`` (Krizhevsky et al., 2012).

    torch: ``torch.nn.LocalResponseNorm``
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Any:
        """``F.local_response_norm``."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
