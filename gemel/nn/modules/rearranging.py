"""Layers that move elements between channels and positions."""
from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .function import FunctionLayer

__all__ = ["ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"]


class PixelShuffle(FunctionLayer):
    """(*, C r², H, W) as (*, C, H r, W r) with r = ``upscale_factor`` (Shi et al., 2016).

    torch: ``torch.nn.PixelShuffle``
    """

    _function = staticmethod(F.pixel_shuffle)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__(upscale_factor=upscale_factor)


class PixelUnshuffle(FunctionLayer):
    """(*, C, H r, W r) as (*, C r², H, W) with r = ``downscale_factor``. torch: ``torch.nn.PixelUnshuffle``"""

    _function = staticmethod(F.pixel_unshuffle)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__(downscale_factor=downscale_factor)


class ChannelShuffle(FunctionLayer):
    """Channel ``g * n + i`` of ``groups`` groups of n moves to ``i * groups + g``.

    torch: ``torch.nn.ChannelShuffle``
    """

    _function = staticmethod(F.channel_shuffle)

    def __init__(self, groups: int) -> None:
        super().__init__(groups=groups)


_Size = int | Sequence[int]


class Unfold(FunctionLayer):
    """The windows of (N, C, H, W) as columns: (N, C KH KW, windows). torch: ``torch.nn.Unfold``"""

    _function = staticmethod(F.unfold)

    def __init__(self, kernel_size: _Size, dilation: _Size = 1, padding: _Size = 0, stride: _Size = 1) -> None:
        super().__init__(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)


class Fold(FunctionLayer):
    """Columns of windows (N, C KH KW, windows) added into (N, C, *output_size). torch: ``torch.nn.Fold``"""

    _function = staticmethod(F.fold)

    def __init__(self, output_size: _Size, kernel_size: _Size, dilation: _Size = 1, padding: _Size = 0,
                 stride: _Size = 1) -> None:
        super().__init__(output_size=output_size, kernel_size=kernel_size, dilation=dilation, padding=padding,
                         stride=stride)
