"""Changing the resolution of images and signals."""
from __future__ import annotations

import math
import warnings
from typing import Any

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError, UnsupportedError
from ...engine.composites.resampling import Along
from ...tensor.recording import apply_named
from .common import check_tensor, type_of

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

#: torch's name of a mode -> kind of resampling, numbers of axes that the input may have
_MODES = {
    "nearest": ("nearest", (3, 4, 5)), "nearest-exact": ("nearest-exact", (3, 4, 5)), "area": ("average", (3, 4, 5)),
    "linear": ("linear", (3,)), "bilinear": ("linear", (4,)), "trilinear": ("linear", (5,)), "bicubic": ("cubic", (4,)),
}
_CORNERS = ("linear", "bilinear", "bicubic", "trilinear")


def _sizes(x: Any, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[list[int], list[float | None]]:
    """Output size of each axis, and its scale factor where that is to be used as it was given."""
    shape = type_of(x).shape[2:]
    n = len(shape)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given = size if size is not None else scale_factor
    found: list[Any] = list(given) if isinstance(given, (tuple, list)) else [given] * n
    if len(found) != n:
        what = "output size" if size is not None else "scale_factor"
        raise ValueError(f"Input and output must have the same number of spatial dimensions, but got input with "
                         f"spatial dimensions of {list(shape)} and {what} of {given}.")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        if not all(isinstance(m, int) for m in found):
            raise TypeError(f"interpolate: size must be integers. Received: {size!r}")
        return found, [None] * n
    sizes = [math.floor(m * f) for m, f in zip(shape, found, strict=True)]
    return sizes, [None if recompute else float(f) for f in found]


def _check_mode(x: Any, mode: str, align_corners: bool | None, antialias: bool) -> str:
    """The kind of resampling; torch's checks."""
    t = type_of(x)
    if mode not in _CORNERS and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | "
                         "bicubic | trilinear")
    if antialias and not (mode in ("bilinear", "bicubic") and t.ndim == 4):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as "
                         "input")
    if mode not in _MODES or t.ndim not in _MODES[mode][1]:
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {t.ndim}D) for the "
                                  f"modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
                                  f"(got {mode})")
    if t.dtype.kind != "f" and not (mode.startswith("nearest") and t.dtype is dt.uint8):
        raise UnsupportedError(f'"interpolate" with mode {mode!r} is not implemented for {t.dtype.name!r}')
    return _MODES[mode][0]


def interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Any:
    """Change the resolution of (N, C, *size).

    Args:
        size, or scale_factor: of the output; a number or one per axis.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"`` (3-D), ``"bilinear"``, ``"bicubic"`` (4-D),
            ``"trilinear"`` (5-D) or ``"area"``.
        align_corners: corner pixels keep their places (linear and cubic modes).
        recompute_scale_factor: use the ratio of the sizes, which are rounded, instead of ``scale_factor``.
        antialias: a wider filter where the image shrinks (``"bilinear"`` and ``"bicubic"``).

    torch: ``interpolate``.

    >>> import gemel
    >>> gemel.nn.functional.interpolate(gemel.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    check_tensor("interpolate", "input", input)
    kind = _check_mode(input, mode, align_corners, antialias)
    shape = type_of(input).shape
    if mode == "area" and size is None and recompute_scale_factor is None:
        recompute_scale_factor = True
    sizes, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    if min(*sizes, *shape[1:]) < 1:
        raise ShapeError(f"Input and output sizes should be greater than 0, but got input {list(shape)[2:]} and output "
                         f"{sizes}")
    along = []
    for i, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
        if out == shape[2 + i] and factor in (None, 1.0):
            continue
        step = 1.0 / factor if factor and kind != "average" and not align_corners else None
        if step is not None and step * out == shape[2 + i]:
            step = None
        along.append(Along(2 + i, kind, out, step, bool(align_corners), bool(antialias)))
    return apply_named("resample", input, attrs=(tuple(along),))


def upsample(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Any:
    """The old name of :func:`interpolate`. torch: ``upsample``."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """``interpolate(mode="nearest")``. torch: ``upsample_nearest``."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """``interpolate(mode="bilinear", align_corners=True)``. torch: ``upsample_bilinear``."""
    return interpolate(input, size, scale_factor, "bilinear", True)
