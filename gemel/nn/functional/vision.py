"""Moving elements between channels and positions; windows as columns."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...engine.base.errors import ShapeError
from ...engine.runtime.trace import BUILDER
from ...tensor.core import from_array
from ...tensor.recording import apply_named, wrap
from .common import check_tensor, reshape, tuple_of, type_of
from .padding import pad

__all__ = ["channel_shuffle", "fold", "pixel_shuffle", "pixel_unshuffle", "unfold"]


# --- channels and positions --------------------------------------------------------------------------

def _rearranged(x: Any, split: Sequence[int], axes: Sequence[int], joined: Sequence[int]) -> Any:
    return reshape(apply_named("permute", reshape(x, split), attrs=(tuple(axes),)), joined)


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(*, C r², H, W) as (*, C, H r, W r). torch: ``pixel_shuffle``."""
    check_tensor("pixel_shuffle", "input", input)
    shape, r = type_of(input).shape, upscale_factor
    if len(shape) < 3:
        raise ShapeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(shape)} "
                         f"dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = shape
    if c % (r * r):
        raise ShapeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                         f"upscale_factor, but input.size(-3)={c} is not divisible by {r * r}")
    n = len(lead)
    axes = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return _rearranged(input, (*lead, c // (r * r), r, r, h, w), axes, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(*, C, H r, W r) as (*, C r², H, W). torch: ``pixel_unshuffle``."""
    check_tensor("pixel_unshuffle", "input", input)
    shape, r = type_of(input).shape, downscale_factor
    if len(shape) < 3:
        raise ShapeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
                         f"{len(shape)} dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = shape
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
                         f"input.size(-2)={h}, input.size(-1)={w} are not divisible by {r}")
    n = len(lead)
    axes = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return _rearranged(input, (*lead, c, h // r, r, w // r, r), axes, (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """Channel ``g * n + i`` of ``groups`` groups of n moves to ``i * groups + g``. torch: ``channel_shuffle``."""
    check_tensor("channel_shuffle", "input", input)
    shape = type_of(input).shape
    if len(shape) < 3:
        raise ShapeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if groups <= 0 or shape[1] % groups:
        raise ShapeError(f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} "
                         f"groups.")
    split = (shape[0], groups, shape[1] // groups, *shape[2:])
    return _rearranged(input, split, (0, 2, 1, *range(3, len(split))), shape)


# --- windows as columns --------------------------------------------------------------------------------

@lru_cache(maxsize=64)
def _window_index(kernel: int, stride: int, dilation: int, windows: int) -> Any:
    """Element k of window i, for all k and then all i."""
    at = np.arange(kernel)[:, None] * dilation + np.arange(windows)[None] * stride
    return wrap(from_array(at.reshape(-1).astype(np.int64)))


def _geometry(function: str, size: Sequence[int], kernel_size: Any, dilation: Any, padding: Any, stride: Any
              ) -> tuple[tuple[int, ...], ...]:
    kernel, gaps, pads, steps = (tuple_of(function, name, value, 2) for name, value in (
        ("kernel_size", kernel_size), ("dilation", dilation), ("padding", padding), ("stride", stride)))
    if min(*kernel, *gaps, *steps) <= 0 or min(pads) < 0:
        raise RuntimeError(f"{function}: kernel size, dilation and stride should be greater than zero and padding not "
                           f"negative. Received: kernel_size={kernel}, dilation={gaps}, stride={steps}, padding={pads}")
    windows = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                    for n, k, d, p, s in zip(size, kernel, gaps, pads, steps, strict=True))
    if min(windows) < 1:
        raise ShapeError(f"{function}: Given an image of spatial size {list(size)}, kernel_size={kernel}, "
                         f"dilation={gaps}, padding={pads}, stride={steps}, calculated shape of the array of sliding "
                         f"blocks as {windows}, but its components must be at least one.")
    return kernel, gaps, pads, steps, windows


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The windows of (N, C, H, W) or (C, H, W) as columns (N, C KH KW, windows). torch: ``unfold``."""
    check_tensor("unfold", "input", input)
    shape = type_of(input).shape
    if len(shape) not in (3, 4):
        raise ShapeError(f"Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
                         f"dimensions for input, but got: {list(shape)}")
    kernel, gaps, pads, steps, windows = _geometry("unfold", shape[-2:], kernel_size, dilation, padding, stride)
    x = pad(input, (pads[1], pads[1], pads[0], pads[0]))
    lead = len(shape) - 2
    for i in (1, 0):
        index = _window_index(kernel[i], steps[i], gaps[i], windows[i])
        x = apply_named("take", x, index, attrs=(lead + i,))
    split = (*shape[:-2], kernel[0], windows[0], kernel[1], windows[1])
    axes = (*range(lead), lead, lead + 2, lead + 1, lead + 3)
    columns = (*shape[:-3], shape[-3] * kernel[0] * kernel[1], windows[0] * windows[1])
    return _rearranged(x, split, axes, columns)


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Columns (N, C KH KW, windows) or (C KH KW, windows) added into (N, C, *output_size). torch: ``fold``."""
    check_tensor("fold", "input", input)
    shape = type_of(input).shape
    if len(shape) not in (2, 3):
        raise ShapeError(f"Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero "
                         f"dimensions for input, but got: {list(shape)}")
    size = tuple_of("fold", "output_size", output_size, 2)
    kernel, gaps, pads, steps, windows = _geometry("fold", size, kernel_size, dilation, padding, stride)
    if shape[-2] % (kernel[0] * kernel[1]):
        raise ShapeError(f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
                         f"input.size(1)={shape[-2]} and kernel_size={kernel}.")
    if shape[-1] != windows[0] * windows[1]:
        raise ShapeError(f"Given output_size={size}, kernel_size={kernel}, dilation={gaps}, padding={pads}, "
                         f"stride={steps}, expected size of input's dimension 2 to match the calculated number of "
                         f"sliding blocks {windows[0]} * {windows[1]} = {windows[0] * windows[1]}, but got "
                         f"input.size(2)={shape[-1]}.")
    lead = (*shape[:-2], shape[-2] // (kernel[0] * kernel[1]))
    n = len(lead)
    x = _rearranged(input, (*lead, *kernel, *windows), (*range(n), n, n + 2, n + 1, n + 3),
                    (*lead, kernel[0] * windows[0], kernel[1] * windows[1]))
    for i in (0, 1):
        axis, total = n + i, size[i] + 2 * pads[i]
        whole = list(type_of(x).shape)
        whole[axis] = total
        zero = wrap(BUILDER.full(0, type_of(x).dtype, tuple(whole)))
        index = _window_index(kernel[i], steps[i], gaps[i], windows[i])
        x = apply_named("scatter", zero, index, x, attrs=(axis, "add"))
    return pad(x, (-pads[1], -pads[1], -pads[0], -pads[0]))
