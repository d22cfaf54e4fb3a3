"""Strided input gradients as convolutions of stride 1, one for each phase of the positions.

With stride ``s`` a position of the input meets only the kernel's taps ``t`` with ``(position + low - t * dilation)``
divisible by ``s``: which ones depends on the position's phase, its index modulo ``s``. The positions of one phase are
the input of a convolution with stride 1 and those taps.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Phase:
    """Positions ``first, first + stride, ...`` of one axis and what they meet.

    Args:
        first, count: the positions. tap, taps, step: first of the taps that they meet, how many, from one to the next.
        low, high, dilation: of the convolution that they are the input of (padding may be negative).
    """

    first: int
    count: int
    tap: int
    taps: int
    step: int
    low: int
    high: int
    dilation: int


def along(size: int, out: int, kernel: int, stride: int, low: int, dilation: int) -> list[Phase]:
    """The phases of an axis, those without positions left out; ``taps`` is 0 where a phase meets none."""
    found = []
    common = math.gcd(stride, dilation)
    step = stride // common
    for first in range(min(stride, size)):
        count = -(-(size - first) // stride)
        tap = next((t for t in range(min(step, kernel)) if (first + low - t * dilation) % stride == 0), kernel)
        taps = -(-(kernel - tap) // step)
        near, spread = (first + low - tap * dilation) // stride, dilation // common
        found.append(Phase(first, count, tap, taps, step, near, out - count - near + spread * (taps - 1), spread))
    return found


def phases(attrs: Any, out: tuple[int, ...], kernel: tuple[int, ...]) -> Iterator[tuple[Phase, ...]]:
    """Of all spatial axes of a ``conv_transpose`` with these attributes, those that meet taps: a phase of each axis."""
    axes = [along(*numbers) for numbers in zip(
        attrs.size, out, kernel, attrs.stride, (low for low, _ in attrs.padding), attrs.dilation, strict=True)]
    return (found for found in itertools.product(*axes) if all(p.taps for p in found))
