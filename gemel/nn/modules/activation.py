"""Activation layers, softmax and its relatives."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .function import FunctionLayer
from .module import Module

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid",
    "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softmax2d",
    "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]


class _Activation(Module):
    """An activation without settings."""

    _function: Callable[[Any], Any]

    def forward(self, input: Any) -> Any:
        """The function of each element."""
        return type(self)._function(input)


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``. torch: ``torch.nn.Sigmoid``"""

    _function = staticmethod(F.sigmoid)


class Tanh(_Activation):
    """Hyperbolic tangent. torch: ``torch.nn.Tanh``"""

    _function = staticmethod(F.tanh)


class LogSigmoid(_Activation):
    """``log(1 / (1 + exp(-x)))``. torch: ``torch.nn.LogSigmoid``"""

    _function = staticmethod(F.logsigmoid)


class Softsign(_Activation):
    """``x / (1 + |x|)``. torch: ``torch.nn.Softsign``"""

    _function = staticmethod(F.softsign)


class Tanhshrink(_Activation):
    """``x - tanh(x)``. torch: ``torch.nn.Tanhshrink``"""

    _function = staticmethod(F.tanhshrink)


class _InPlace(FunctionLayer):
    """An activation whose only setting is whether it writes into its input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)

    def forward(self, input: Any) -> Any:
        """The function of each element."""
        return type(self)._function(input, self.inplace)  # the commonest call: no loop over settings


class ReLU(_InPlace):
    """``max(x, 0)``.

    >>> import gemel
    >>> gemel.nn.ReLU()(gemel.tensor([-1.0, 2.0]))
    tensor([0., 2.])

    torch: ``torch.nn.ReLU``
    """

    _function = staticmethod(F.relu)


class SiLU(_InPlace):
    """``x * sigmoid(x)``. torch: ``torch.nn.SiLU``"""

    _function = staticmethod(F.silu)


class Mish(_InPlace):
    """``x * tanh(softplus(x))``. torch: ``torch.nn.Mish``"""

    _function = staticmethod(F.mish)


class SELU(_InPlace):
    """elu with the constants of self-normalizing networks. torch: ``torch.nn.SELU``"""

    _function = staticmethod(F.selu)


class Hardsigmoid(_InPlace):
    """``min(max(x + 3, 0), 6) / 6``. torch: ``torch.nn.Hardsigmoid``"""

    _function = staticmethod(F.hardsigmoid)
    _unshown = ("inplace",)


class Hardswish(_InPlace):
    """``x * hardsigmoid(x)``. torch: ``torch.nn.Hardswish``"""

    _function = staticmethod(F.hardswish)
    _unshown = ("inplace",)


class Threshold(FunctionLayer):
    """``x`` where ``x > threshold``, else ``value``. torch: ``torch.nn.Threshold``"""

    _function = staticmethod(F.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(threshold=threshold, value=value, inplace=inplace)


class RReLU(FunctionLayer):
    """leaky_relu with a slope that is drawn from [lower, upper) in training, their mean otherwise.

    torch: ``torch.nn.RReLU``
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__(lower=lower, upper=upper, inplace=inplace)

    def forward(self, input: Any) -> Any:
        """``F.rrelu``."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class Hardtanh(FunctionLayer):
    """``min(max(x, min_val), max_val)``. torch: ``torch.nn.Hardtanh``"""

    _function = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None) -> None:
        for old, new, value in (("min_value", "min_val", min_value), ("max_value", "max_val", max_value)):
            if value is not None:
                warnings.warn(f"keyword argument `{old}` is deprecated and renamed to `{new}`", FutureWarning,
                              stacklevel=2)
        low, high = min_val if min_value is None else min_value, max_val if max_value is None else max_value
        if high <= low:
            raise AssertionError(f"max_val ({high}) must be greater than min_val ({low})")
        super().__init__(min_val=low, max_val=high, inplace=inplace)


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)``. torch: ``torch.nn.ReLU6``"""

    _unshown = ("min_val", "max_val")

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


class _Alpha(FunctionLayer):
    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class ELU(_Alpha):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``. torch: ``torch.nn.ELU``"""

    _function = staticmethod(F.elu)


class CELU(_Alpha):
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``. torch: ``torch.nn.CELU``"""

    _function = staticmethod(F.celu)


class LeakyReLU(FunctionLayer):
    """``x`` where positive, else ``negative_slope * x``. torch: ``torch.nn.LeakyReLU``"""

    _function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope, inplace=inplace)


class GLU(FunctionLayer):
    """``a * sigmoid(b)`` with the halves a, b of the input along ``dim``. torch: ``torch.nn.GLU``"""

    _function = staticmethod(F.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)


class GELU(FunctionLayer):
    """``x * Phi(x)``; ``approximate="tanh"``: Hendrycks and Gimpel's formula. torch: ``torch.nn.GELU``"""

    _function = staticmethod(F.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class _Shrink(FunctionLayer):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(_Shrink):
    """``x`` where ``|x| > lambd``, else 0. torch: ``torch.nn.Hardshrink``"""

    _function = staticmethod(F.hardshrink)


class Softshrink(_Shrink):
    """``x - lambd`` above ``lambd``, ``x + lambd`` below ``-lambd``, 0 between. torch: ``torch.nn.Softshrink``"""

    _function = staticmethod(F.softshrink)


class Softplus(FunctionLayer):
    """``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``. torch: ``torch.nn.Softplus``"""

    _function = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class PReLU(Module):
    """``x`` where positive, else ``weight * x`` with a learned weight.

    Args:
        num_parameters: 1, or one per channel (axis 1). init: the weights' first value.

    torch: ``torch.nn.PReLU``
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weights to ``init``."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        """``F.prelu`` with the layer's weight."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _AlongAxis(FunctionLayer):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)

    def forward(self, input: Any) -> Any:
        """The function along ``dim``."""
        return type(self)._function(input, self.dim, _stacklevel=5)


class Softmax(_AlongAxis):
    """``exp(x) / sum(exp(x))`` along ``dim``.

    >>> import gemel
    >>> gemel.nn.Softmax(dim=0)(gemel.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])

    torch: ``torch.nn.Softmax``
    """

    _function = staticmethod(F.softmax)


class Softmin(_AlongAxis):
    """``softmax(-x)`` along ``dim``. torch: ``torch.nn.Softmin``"""

    _function = staticmethod(F.softmin)


class LogSoftmax(_AlongAxis):
    """``log(softmax(x))`` along ``dim``. torch: ``torch.nn.LogSoftmax``"""

    _function = staticmethod(F.log_softmax)


class Softmax2d(Module):
    """``softmax`` over the channels of (N, C, H, W) or (C, H, W). torch: ``torch.nn.Softmax2d``"""

    def forward(self, input: Any) -> Any:
        """``softmax(input, -3)``."""
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)
