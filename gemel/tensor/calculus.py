"""Integrals and derivatives of sampled functions."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from .core import TENSOR_CLASSES
from .creation import zeros
from .dims import wrap_dim
from .elementwise import check_tensor
from .joining import cat
from .promotion import is_number
from .typeinfo import get_default_dtype

__all__ = ["cumulative_trapezoid", "gradient", "trapezoid", "trapz"]


def _areas(name: str, y: Any, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    """The area between each two neighbours along an axis, without the factor 1/2 that both rules share."""
    t = check_tensor(y, name, "y")._read().type
    if x is not None and dx is not None:
        raise TypeError(f"{name}() received an invalid combination of arguments: give x or dx, not both")
    if x is not None and (t.dtype is dt.bool_ or check_tensor(x, name, "x", 2)._read().type.dtype is dt.bool_):
        raise DTypeError(f"{name}: received a bool input for `x` or `y`, but bool is not supported")
    if t.dtype is dt.bool_:
        raise DTypeError(f"{name}: received a bool input for `y`, but bool is not supported")
    if not t.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis = wrap_dim(dim, t.ndim)
    n = t.shape[axis]
    sums = y.narrow(axis, 1, max(n - 1, 0)) + y.narrow(axis, 0, max(n - 1, 0)) if n else y
    if x is None:
        return sums * (1 if dx is None else dx), axis
    steps = x._value.type.shape
    if len(steps) == 1:
        if steps[0] != n:
            raise ShapeError(f"{name}: There must be one `x` value for each sample point. Received {steps[0]} for {n}")
        widths = (x[1:] - x[:-1]).reshape([-1 if i == axis else 1 for i in range(t.ndim)])
    else:
        along = wrap_dim(dim, len(steps))
        m = steps[along]
        widths = x.narrow(along, 1, max(m - 1, 0)) - x.narrow(along, 0, max(m - 1, 0))
    areas = sums * widths
    return areas, areas._read().type.ndim - t.ndim + axis


def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral along an axis by the trapezoid rule: ``sum of (x[i+1] - x[i]) (y[i] + y[i+1]) / 2``.

    Args:
        y: samples. x: their places, of the same shape or along the axis; or dx: their distance (1). dim: the axis.
    Raises: RuntimeError for bool tensors and shapes that do not fit.

    >>> gemel.trapezoid(gemel.tensor([1., 5., 10.]))
    tensor(10.5000)

    torch: ``trapezoid``
    """
    areas, axis = _areas("trapezoid", y, x, dx, dim)
    shape = y._read().type.shape
    along = wrap_dim(dim, len(shape))
    if not shape[along]:
        return zeros([n for i, n in enumerate(shape) if i != along], dtype=y._value.type.dtype)
    return areas.sum(axis) / 2.0


def trapz(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """:func:`trapezoid` under its older name. torch: ``trapz``"""
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running integral along an axis by the trapezoid rule, one element shorter. The arguments are those of
    :func:`trapezoid`.

    >>> gemel.cumulative_trapezoid(gemel.tensor([1., 5., 10.]))
    tensor([ 3.0000, 10.5000])

    torch: ``cumulative_trapezoid``
    """
    areas, axis = _areas("cumulative_trapezoid", y, x, dx, dim)
    return areas.cumsum(axis) / 2.0


def _spacings(shape: tuple[int, ...], spacing: Any, dim: Any) -> tuple[list[int], list[Any]]:
    """The axes, and the distance (a number) or the places (a tensor) along each."""
    given = dim is not None
    dims = list(range(len(shape))) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [wrap_dim(d, len(shape)) for d in dims]
    for i, axis in enumerate(axes):
        if axis in axes[:i]:
            raise RuntimeError(f"dim {axis} appears multiple times in the list of dims")
    if is_number(spacing):
        return axes, [spacing] * len(axes)
    if spacing.__class__ in TENSOR_CLASSES:
        spacing = [spacing]
    if not given and len(spacing) != len(shape):
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
                           f"'self.dim() = {len(shape)}', since dim argument was not given, but got a list of length "
                           f"{len(spacing)}")
    if given and len(spacing) != len(axes):
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim "
                           f"arguments to have the same length, but got a spacing argument of length {len(spacing)} "
                           f"and a dim argument of length {len(axes)}.")
    return axes, list(spacing)


def _along(y: Any, axis: int, places: Any, edge_order: int) -> Any:
    """Differences along one axis: of second order inside, of ``edge_order`` at the ends."""
    n, ndim = y._read().type.shape[axis], y._value.type.ndim

    def part(start: int, length: int) -> Any:
        return y.narrow(axis, start, length)

    def along(v: Any) -> Any:
        return v.reshape([-1 if i == axis else 1 for i in range(ndim)])

    if places.__class__ not in TENSOR_CLASSES:
        h = places
        inner = (part(2, n - 2) - part(0, n - 2)) / (2 * h)
        if edge_order == 1:
            ends = [(part(i + 1, 1) - part(i, 1)) / h for i in (0, n - 2)]
        else:
            ends = [(-1.5 * part(0, 1) + 2 * part(1, 1) - 0.5 * part(2, 1)) / h,
                    (0.5 * part(n - 3, 1) - 2 * part(n - 2, 1) + 1.5 * part(n - 1, 1)) / h]
        return cat([ends[0], inner, ends[1]], axis)
    steps = places[1:] - places[:-1]
    left, right = along(steps[:-1]), along(steps[1:])
    inner = (part(0, n - 2) * (-right / (left * (left + right))) + part(1, n - 2) * ((right - left) / (left * right))
             + part(2, n - 2) * (left / (right * (left + right))))
    if edge_order == 1:
        ends = [(part(i + 1, 1) - part(i, 1)) / steps[i] for i in (0, n - 2)]
    else:
        (a, b), (c, d) = (steps[0], steps[1]), (steps[n - 3], steps[n - 2])
        ends = [part(0, 1) * (-(2 * a + b) / (a * (a + b))) + part(1, 1) * ((a + b) / (a * b))
                + part(2, 1) * (-a / (b * (a + b))),
                part(n - 3, 1) * (d / (c * (c + d))) + part(n - 2, 1) * (-(c + d) / (c * d))
                + part(n - 1, 1) * ((2 * d + c) / (d * (c + d)))]
    return cat([ends[0], inner, ends[1]], axis)


def gradient(input: Any, *, spacing: Any = 1, dim: int | Sequence[int] | None = None,
             edge_order: int = 1) -> tuple[Any, ...]:
    """The derivative of a sampled function along each axis, by differences of neighbours.

    Args:
        spacing: the distance of samples: a number, one per axis, or a 1-d tensor of places per axis. dim: the axes
        (None: all). edge_order: 1 or 2: the order of the differences at the ends.
    Returns:
        a tensor per axis. Raises: RuntimeError for an axis shorter than ``edge_order + 1``, another ``edge_order``,
        spacings that do not fit.

    >>> gemel.gradient(gemel.tensor([1., 4., 9., 16.]))
    (tensor([3., 4., 6., 7.]),)

    torch: ``gradient``
    """
    t = check_tensor(input, "gradient")._read().type
    axes, spacings = _spacings(t.shape, spacing, dim)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for axis in axes:
        if t.shape[axis] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    y = input if t.dtype.kind in "fcb" else input.to(get_default_dtype())
    return tuple(_along(y, axis, places, edge_order) for axis, places in zip(axes, spacings, strict=True))
