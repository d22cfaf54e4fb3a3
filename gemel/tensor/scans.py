"""Running totals and differences."""
from __future__ import annotations

from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from . import return_types
from .dims import wrap_dim
from .elementwise import check_tensor, deliver, delivering, in_place
from .promotion import SCALAR_NAMES, cast, inexact
from .recording import apply_named
from .reduction import reshaped, with_axis

__all__ = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "diff"]


def _scan(primitive: str, input: Any, dim: int, dtype: DType | None) -> Any:
    t = check_tensor(input, primitive)._read().type
    x = cast(input, dtype) if dtype is not None else input if t.dtype.kind in "fc" else cast(input, dt.int64)
    axis = wrap_dim(dim, t.ndim)
    x, _ = with_axis(x)
    return reshaped(apply_named(primitive, x, attrs=(axis,)), t.shape)


def cumsum(input: Any, dim: int, *, dtype: DType | None = None, out: Any = None) -> Any:
    """Running sum along an axis; integers and bool as int64. torch: ``cumsum``.

        >>> gemel.cumsum(gemel.tensor([1, 2, 3]), 0)
        tensor([1, 3, 6])
    """
    return deliver(_scan("cumsum", input, dim, dtype), out, "cumsum")


def cumprod(input: Any, dim: int, *, dtype: DType | None = None, out: Any = None) -> Any:
    """Running product along an axis; integers and bool as int64. torch: ``cumprod``."""
    return deliver(_scan("cumprod", input, dim, dtype), out, "cumprod")


def _running(composite: str, name: str, input: Any, dim: int) -> tuple[Any, Any]:
    t = check_tensor(input, name)._read().type
    if t.dtype.kind == "c":
        raise DTypeError(f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[t.dtype]}\'')
    axis = wrap_dim(dim, t.ndim)
    x, _ = with_axis(input)
    if t.dtype is dt.bool_:
        x = cast(x, dt.uint8)
    values, indices = apply_named(composite, x, attrs=(axis,))
    return cast(reshaped(values, t.shape), t.dtype), reshaped(indices, t.shape)


def cummax(input: Any, dim: int, *, out: Any = None) -> Any:
    """Running maximum along an axis, ``(values, indices)``; the index is that of the latest maximum.
    torch: ``cummax``."""
    return return_types.cummax(delivering(_running("cummax_with_index", "cummax", input, dim), out, "cummax"))


def cummin(input: Any, dim: int, *, out: Any = None) -> Any:
    """Running minimum along an axis, ``(values, indices)``; the index is that of the latest minimum.
    torch: ``cummin``."""
    return return_types.cummin(delivering(_running("cummin_with_index", "cummin", input, dim), out, "cummin"))


def logcumsumexp(input: Any, dim: int, *, out: Any = None) -> Any:
    """``log(cumsum(exp(input)))`` along an axis, without overflow. torch: ``logcumsumexp``."""
    t = check_tensor(input, "logcumsumexp")._read().type
    axis = wrap_dim(dim, t.ndim)
    x, _ = with_axis(cast(input, inexact(t.dtype)))
    return deliver(reshaped(apply_named("logcumsumexp", x, attrs=(axis,)), t.shape), out, "logcumsumexp")


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    shape = x._read().type.shape
    return apply_named("slice", x, attrs=(
        tuple(start if i == axis else 0 for i in range(len(shape))),
        tuple(stop if i == axis else n for i, n in enumerate(shape)), (1,) * len(shape)))


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, out: Any = None) -> Any:
    """``n`` times the difference of neighbours along an axis. torch: ``diff``.

    Raises:
        RuntimeError: a 0-d tensor, a negative ``n``.
    """
    t = check_tensor(input, "diff")._read().type
    if t.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = wrap_dim(dim, t.ndim)
    parts = [p for p in (prepend, input, append) if p is not None]
    x = apply_named("cat", *parts, attrs=(axis,)) if len(parts) > 1 else input
    for _ in range(n):
        size = x._read().type.shape[axis]
        if size == 0:
            break
        after, before = _cut(x, axis, 1, size), _cut(x, axis, 0, size - 1)
        x = apply_named("xor", after, before) if t.dtype is dt.bool_ else apply_named("sub", after, before)
    return deliver(apply_named("copy", x) if x is input else x, out, "diff")


class ScanMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    cumsum, cumprod, cummax, cummin, logcumsumexp, diff = cumsum, cumprod, cummax, cummin, logcumsumexp, diff
    cumsum_, cumprod_ = in_place(cumsum), in_place(cumprod)
