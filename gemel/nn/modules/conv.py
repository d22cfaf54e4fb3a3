"""Convolution layers in one, two and three dimensions, and their transposes."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...engine.base.dtypes import DType
from ...tensor.creation import empty
from ...tensor.grad_mode import no_grad
from .. import functional as F
from .. import init
from ..parameter import Parameter, UninitializedParameter
from .lazy import LazyModuleMixin
from .linear import init_bias
from .module import Module
from .sizes import per_axis

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LazyConv1d",
           "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d"]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """Settings and parameters of all convolution layers; ``_n`` is the number of spatial axes."""

    _n: int
    transposed: bool
    weight: Any
    bias: Any

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                 output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any,
                 dtype: DType | None) -> None:
        super().__init__()
        n = self._n
        kernel_size, stride, dilation = per_axis(kernel_size, n), per_axis(stride, n), per_axis(dilation, n)
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(s != 1 for s in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding if isinstance(padding, str) else per_axis(padding, n)
        self.dilation = dilation
        self.output_padding = per_axis(output_padding, n)
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._pad_argument()
        self.weight = Parameter(empty(self._weight_shape(), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _weight_shape(self) -> tuple[int, ...]:
        ends = ((self.in_channels, self.out_channels // self.groups) if self.transposed else
                (self.out_channels, self.in_channels // self.groups))
        return (*ends, *self.kernel_size)

    def _pad_argument(self) -> list[int]:
        """The padding as ``F.pad`` takes it: low and high of each axis, the last axis first."""
        if isinstance(self.padding, tuple):
            return [p for p in reversed(self.padding) for _ in range(2)]
        found: list[int] = []
        for d, k in zip(reversed(self.dilation), reversed(self.kernel_size), strict=True):
            total = d * (k - 1) if self.padding == "same" else 0
            found += [total // 2, total - total // 2]
        return found

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            init_bias(self.bias, self.weight)

    def extra_repr(self) -> str:
        n = self._n
        rest = ((f"padding={self.padding}", self.padding != (0,) * n),
                (f"dilation={self.dilation}", self.dilation != (1,) * n),
                (f"output_padding={self.output_padding}", self.output_padding != (0,) * n),
                (f"groups={self.groups}", self.groups != 1), ("bias=False", self.bias is None),
                (f"padding_mode={self.padding_mode}", self.padding_mode != "zeros"))
        return ", ".join((f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                          f"stride={self.stride}", *(text for text, shown in rest if shown)))


class _Conv(_ConvNd):
    transposed = False
    _function: Callable[..., Any]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | Sequence[int],
                 stride: int | Sequence[int] = 1, padding: str | int | Sequence[int] = 0,
                 dilation: int | Sequence[int] = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: Any = None, dtype: DType | None = None) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
                         padding_mode, device, dtype)

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        convolve, padding = type(self)._function, self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return convolve(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Any) -> Any:
        """The convolution with the layer's parameters."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation of (N, C_in, L) with ``weight`` (C_out, C_in / groups, K), plus ``bias`` (C_out,).

    The arguments are those of :class:`Conv2d`. torch: ``torch.nn.Conv1d``
    """

    _n = 1
    _function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Cross-correlation of images with learned kernels.

    Args:
        in_channels, out_channels: channels of input and output. kernel_size, stride, dilation: a number or one per
            axis. padding: a number, one per axis, ``"valid"`` or ``"same"``.
        groups: groups of channels that are convolved apart. bias: add one number per output channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Shapes: input (N, C_in, H, W) or (C_in, H, W); output (N, C_out, H_out, W_out) with
    H_out = ⌊(H + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1. ``weight`` (C_out, C_in / groups, KH, KW)
    and ``bias`` (C_out,) are uniform on ±1/√fan_in at first.

    >>> import gemel
    >>> gemel.nn.Conv2d(3, 8, 3, stride=2, padding=1)(gemel.randn(1, 3, 8, 8)).shape
    gemel.Size([1, 8, 4, 4])

    torch: ``torch.nn.Conv2d``
    """

    _n = 2
    _function = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of (N, C_in, D, H, W) with ``weight`` (C_out, C_in / groups, KD, KH, KW), plus ``bias``.

    The arguments are those of :class:`Conv2d`. torch: ``torch.nn.Conv3d``
    """

    _n = 3
    _function = staticmethod(F.conv3d)


class _ConvTranspose(_ConvNd):
    transposed = True
    _function: Callable[..., Any]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | Sequence[int],
                 stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0,
                 output_padding: int | Sequence[int] = 0, groups: int = 1, bias: bool = True,
                 dilation: int | Sequence[int] = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: DType | None = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups,
                         bias, padding_mode, device, dtype)

    def _output_padding(self, input: Any, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The padding of the output that gives ``output_size``."""
        if output_size is None:
            return self.output_padding
        n, ndim = self._n, input.dim()
        lead = 2 if ndim == n + 2 else 1
        sizes = list(output_size)[lead:] if len(output_size) == lead + n else list(output_size)
        if len(sizes) != n:
            raise ValueError(f"ConvTranspose{n}D: for {ndim}D input, output_size must have {n} or {lead + n} elements "
                             f"(got {len(sizes)})")
        least = [(m - 1) * s - 2 * p + d * (k - 1) + 1 for m, s, p, d, k in
                 zip(input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)]
        most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
        if any(not lo <= size <= hi for size, lo, hi in zip(sizes, least, most, strict=True)):
            raise ValueError(f"requested an output size of {sizes}, but valid sizes range from {least} to {most} (for "
                             f"an input of {list(input.shape)[2:]})")
        return tuple(size - lo for size, lo in zip(sizes, least, strict=True))

    def forward(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        """The transposed convolution; ``output_size`` chooses among the sizes that ``stride`` leaves open."""
        return type(self)._function(input, self.weight, self.bias, self.stride, self.padding,
                                    self._output_padding(input, output_size), self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The gradient of :class:`Conv1d` with respect to its input, as a layer. torch: ``torch.nn.ConvTranspose1d``"""

    _n = 1
    _function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of :class:`Conv2d` with respect to its input, as a layer.

    Args:
        output_padding: added to one side of the output's size. The others are those of :class:`Conv2d`.

    Shapes: input (N, C_in, H, W), ``weight`` (C_in, C_out / groups, KH, KW), output (N, C_out, H_out, W_out) with
    H_out = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1.

    torch: ``torch.nn.ConvTranspose2d``
    """

    _n = 2
    _function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of :class:`Conv3d` with respect to its input, as a layer. torch: ``torch.nn.ConvTranspose3d``"""

    _n = 3
    _function = staticmethod(F.conv_transpose3d)


class _LazyConv(LazyModuleMixin, _ConvNd):
    """A convolution layer that takes ``in_channels`` from its first input."""

    def _make_lazy(self, out_channels: int, bias: bool, device: Any, dtype: DType | None) -> None:
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw new parameters, once they have a shape."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Take ``in_channels`` from the input."""
        if not self.has_uninitialized_params():
            return
        n = self._n
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, "
                               f"but got input of size: {list(input.shape)}")
        self.in_channels = input.shape[-n - 1]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        with no_grad():
            self.weight.materialize(self._weight_shape())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class _LazyForward(_LazyConv, _Conv):
    def __init__(self, out_channels: int, kernel_size: int | Sequence[int], stride: int | Sequence[int] = 1,
                 padding: str | int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
                 bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self._make_lazy(out_channels, bias, device, dtype)


class _LazyTranspose(_LazyConv, _ConvTranspose):
    def __init__(self, out_channels: int, kernel_size: int | Sequence[int], stride: int | Sequence[int] = 1,
                 padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1,
                 bias: bool = True, dilation: int | Sequence[int] = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: DType | None = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode,
                         device, dtype)
        self._make_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyForward, Conv1d):
    """``Conv1d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConv1d``"""

    cls_to_become = Conv1d


class LazyConv2d(_LazyForward, Conv2d):
    """``Conv2d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConv2d``"""

    cls_to_become = Conv2d


class LazyConv3d(_LazyForward, Conv3d):
    """``Conv3d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConv3d``"""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyTranspose, ConvTranspose1d):
    """``ConvTranspose1d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConvTranspose1d``"""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTranspose, ConvTranspose2d):
    """``ConvTranspose2d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConvTranspose2d``"""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTranspose, ConvTranspose3d):
    """``ConvTranspose3d`` that takes ``in_channels`` from its first input. torch: ``torch.nn.LazyConvTranspose3d``"""

    cls_to_become = ConvTranspose3d
