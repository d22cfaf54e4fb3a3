"""Sampling images at points."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ...engine.base.errors import ShapeError
from ...tensor.creation import linspace
from ...tensor.recording import apply_named
from .common import check_floating, reshape, type_of

__all__ = ["affine_grid", "grid_sample"]

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def grid_sample(input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Any:
    """The values of an image at points.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W). grid: (N, *out, 2 or 3), x first; -1 and 1 are the borders.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"`` (4-D only).
        padding_mode: what lies outside: ``"zeros"``, ``"border"`` or ``"reflection"``.
        align_corners: -1 and 1 are the centres of the outermost elements, not their outer edges.

    torch: ``grid_sample``.

    >>> import gemel
    >>> image = gemel.arange(4.0).reshape(1, 1, 2, 2)
    >>> gemel.nn.functional.grid_sample(image, gemel.zeros(1, 1, 1, 2), align_corners=False)
    tensor([[[[1.5000]]]])
    """
    if mode not in _MODES:
        raise ValueError(f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but "
                         f"got: '{mode}'")
    if padding_mode not in _PADDINGS:
        raise ValueError(f"nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
                         f"'reflection', but got: '{padding_mode}'")
    if align_corners is None:
        warnings.warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
                      "Please specify align_corners=True if the old behavior is desired.", stacklevel=2)
        align_corners = False
    check_floating("grid_sample", input)
    check_floating("grid_sample", grid, "grid")
    if mode == "bicubic" and type_of(input).ndim == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    return apply_named("grid_sample", input, grid, attrs=(mode, padding_mode, bool(align_corners)))


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Any:
    """The points that ``grid_sample`` needs to map an image affinely.

    Args:
        theta: (N, 2, 3) or (N, 3, 4). size: of the result, (N, C, H, W) or (N, C, D, H, W).
        align_corners: as in ``grid_sample``.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3).

    torch: ``affine_grid``.
    """
    check_floating("affine_grid", theta, "theta")
    if align_corners is None:
        warnings.warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
                      "Please specify align_corners=True if the old behavior is desired.", stacklevel=2)
        align_corners = False
    n, space = len(size) - 2, tuple(size[2:])
    if n not in (2, 3):
        raise NotImplementedError(f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
                                  f"respectively. Got size {tuple(size)}.")
    shape = type_of(theta).shape
    if shape != (size[0], n, n + 1):
        raise ValueError(f"Expected a batch of {n}D affine matrices of shape {size[0]}x{n}x{n + 1} for size "
                         f"{tuple(size)}. Got {shape}.")
    if min(size) <= 0:
        raise ShapeError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    dtype = type_of(theta).dtype
    total = None
    for i in range(n + 1):  # columns of theta: x, y, (z), 1
        column = reshape(theta.select(2, i), (size[0], *(1 for _ in space), n))
        if i < n:
            m = space[n - 1 - i]
            bound = 1.0 if align_corners else (m - 1) / m
            places = linspace(-bound, bound, m, dtype=dtype) if m > 1 else linspace(0.0, 0.0, 1, dtype=dtype)
            column = column * reshape(places, (1, *(m if j == n - 1 - i else 1 for j in range(n)), 1))
        total = column if total is None else total + column
    assert total is not None
    return total
