"""Pooling layers."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import functional as F
from .function import FunctionLayer
from .module import Module
from .sizes import per_axis

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
           "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
           "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
           "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

_Size = int | Sequence[int]


class _MaxPool(FunctionLayer):
    """The largest element of each window (with ``return_indices``: and its index in the plane)."""

    _unshown = ("return_indices",)

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, dilation: _Size = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__(kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding,
                         dilation=dilation, ceil_mode=ceil_mode, return_indices=return_indices)


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L). torch: ``torch.nn.MaxPool1d``"""

    _function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size: of the window. stride: between windows (default: ``kernel_size``). padding: minus infinity on
            both sides. dilation: step inside the window. return_indices: also give the places of the elements.
        ceil_mode: round the output's size up.

    torch: ``torch.nn.MaxPool2d``
    """

    _function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W). torch: ``torch.nn.MaxPool3d``"""

    _function = staticmethod(F.max_pool3d)


class _MaxUnpool(Module):
    _n: int
    _function: Callable[..., Any]

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, self._n)
        self.stride = per_axis(kernel_size if stride is None else stride, self._n)
        self.padding = per_axis(padding, self._n)

    def forward(self, input: Any, indices: Any, output_size: Sequence[int] | None = None) -> Any:
        """``input`` put at ``indices`` of zeros; ``output_size`` chooses where the sizes leave a choice."""
        return type(self)._function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The partial inverse of :class:`MaxPool1d`: all but the largest elements are zero.

    torch: ``torch.nn.MaxUnpool1d``
    """

    _n = 1
    _function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """The partial inverse of :class:`MaxPool2d`. torch: ``torch.nn.MaxUnpool2d``"""

    _n = 2
    _function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """The partial inverse of :class:`MaxPool3d`. torch: ``torch.nn.MaxUnpool3d``"""

    _n = 3
    _function = staticmethod(F.max_unpool3d)


_UNSHOWN = ("ceil_mode", "count_include_pad", "divisor_override")


class AvgPool1d(FunctionLayer):
    """The mean of each window of (N, C, L). torch: ``torch.nn.AvgPool1d``"""

    _function = staticmethod(F.avg_pool1d)
    _unshown = _UNSHOWN

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__(kernel_size=per_axis(kernel_size, 1),
                         stride=per_axis(kernel_size if stride is None else stride, 1),
                         padding=per_axis(padding, 1), ceil_mode=ceil_mode, count_include_pad=count_include_pad)


class _AvgPool(FunctionLayer):
    """The mean of each window."""

    _unshown = _UNSHOWN

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> None:
        super().__init__(kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding,
                         ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor_override)


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size: of the window. stride: between windows (default: ``kernel_size``). padding: zeros on both sides.
        ceil_mode: round the output's size up. count_include_pad: count the padding in the mean.
        divisor_override: divide by this number.

    torch: ``torch.nn.AvgPool2d``
    """

    _function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W). torch: ``torch.nn.AvgPool3d``"""

    _function = staticmethod(F.avg_pool3d)


class _LPPool(FunctionLayer):
    """(sum of x^p over each window)^(1/p), p = ``norm_type``."""

    def __init__(self, norm_type: float, kernel_size: _Size, stride: _Size | None = None,
                 ceil_mode: bool = False) -> None:
        super().__init__(norm_type=norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode)


class LPPool1d(_LPPool):
    """(sum of x^p over each window of (N, C, L))^(1/p). torch: ``torch.nn.LPPool1d``"""

    _function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(sum of x^p over each window of (N, C, H, W))^(1/p). torch: ``torch.nn.LPPool2d``"""

    _function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """(sum of x^p over each window of (N, C, D, H, W))^(1/p). torch: ``torch.nn.LPPool3d``"""

    _function = staticmethod(F.lp_pool3d)


class _AdaptiveMaxPool(FunctionLayer):
    """The largest element of each window (with ``return_indices``: and its index in the plane)."""

    _unshown = ("return_indices",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of (N, C, L) over ``output_size`` windows. torch: ``torch.nn.AdaptiveMaxPool1d``"""

    _function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of (N, C, H, W) over ``output_size`` windows; None in it keeps an axis.

    torch: ``torch.nn.AdaptiveMaxPool2d``
    """

    _function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of (N, C, D, H, W) over ``output_size`` windows. torch: ``torch.nn.AdaptiveMaxPool3d``"""

    _function = staticmethod(F.adaptive_max_pool3d)


class _AdaptiveAvgPool(FunctionLayer):
    """The mean of each window."""

    def __init__(self, output_size: Any) -> None:
        super().__init__(output_size=output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of (N, C, L) over ``output_size`` windows. torch: ``torch.nn.AdaptiveAvgPool1d``"""

    _function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of (N, C, H, W) over ``output_size`` windows; None in it keeps an axis.

    torch: ``torch.nn.AdaptiveAvgPool2d``
    """

    _function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of (N, C, D, H, W) over ``output_size`` windows. torch: ``torch.nn.AdaptiveAvgPool3d``"""

    _function = staticmethod(F.adaptive_avg_pool3d)


class _FractionalMaxPool(Module):
    _n: int
    _function: Callable[..., Any]
    _random_samples: Any

    def __init__(self, kernel_size: _Size, output_size: _Size | None = None,
                 output_ratio: float | Sequence[float] | None = None, return_indices: bool = False,
                 _random_samples: Any = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(kernel_size, self._n)
        if self._n == 3 and not all(k > 0 for k in self.kernel_size):
            raise ValueError(f"kernel_size must be greater than 0, but got {kernel_size}")
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else per_axis(output_size, self._n)
        self.output_ratio = None if output_ratio is None else per_axis(output_ratio, self._n)
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Any) -> Any:
        """The largest element of each window (with ``return_indices``: and its index in the plane)."""
        return type(self)._function(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
                                    _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of windows of (N, C, H, W) or (C, H, W) at pseudo-random places (Graham, 2014).

    Args:
        kernel_size: of the windows. output_size: their number; or output_ratio: as a part of the input's size, between
        0 and 1. return_indices: also give the places of the elements.
    Raises: ValueError for none or both of ``output_size`` and ``output_ratio``, or a ratio out of its range.

    >>> gemel.nn.FractionalMaxPool2d(2, output_ratio=0.5)(gemel.randn(1, 1, 8, 6)).shape
    gemel.Size([1, 1, 4, 3])

    torch: ``torch.nn.FractionalMaxPool2d``
    """

    _n = 2
    _function = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """:class:`FractionalMaxPool2d` for (N, C, D, H, W). torch: ``torch.nn.FractionalMaxPool3d``

    >>> gemel.nn.FractionalMaxPool3d(2, output_size=(2, 3, 1))(gemel.randn(1, 1, 8, 6, 4)).shape
    gemel.Size([1, 1, 2, 3, 1])
    """

    _n = 3
    _function = staticmethod(F.fractional_max_pool3d)
