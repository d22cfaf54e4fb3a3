"""Reading and writing along an axis by tensors of indices: gather, scatter, index_select, index_add, take, ..."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError, UnsupportedError
from .advanced import out_of, ready_numbers
from .core import TENSOR_CLASSES
from .dims import wrap_dim
from .indexing import fitted, put_values
from .promotion import broadcast_shapes, expand
from .recording import apply_named
from .tape import mode as grad_mode

__all__ = [
    "gather", "index_add", "index_copy", "index_fill", "index_reduce", "index_select", "scatter", "scatter_add",
    "scatter_reduce", "take", "take_along_dim",
]


def refuse_sparse_gradient(call: str, source: Any, instead: str) -> None:
    """Raise an error where torch would give ``source`` a gradient that is a sparse tensor."""
    source._read()
    if source._edge is not None and grad_mode.grad:
        raise UnsupportedError(f"{call}: the gradient would be a sparse tensor (layout sparse_coo), and there are no "
                               f"sparse tensors; {instead} gives the same numbers as a dense one (docs/from-torch.md)")


def _checked(index: Any, n: int, axis: int, name: str) -> str:
    """Check the numbers of an index if they are at hand; what is left to check."""
    value = index._read()
    if not value.type.dtype.is_integer:
        raise DTypeError(f"{name}(): Expected dtype int64 for index. Received: {value.type.dtype!r}")
    numbers = ready_numbers(value)
    if numbers is None:
        return "strict"
    outside = out_of(numbers, 0, n)
    if outside is not None:
        kind = RuntimeError if name.startswith(("gather", "scatter")) else IndexError
        raise kind(f"index {outside} is out of bounds for dimension {axis} with size {n}")
    return "none"


def _with_axis(x: Any) -> Any:
    """A 0-d tensor as a vector of one element."""
    return x if x._value.type.ndim else apply_named("reshape", x, attrs=((1,),))


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x._value.type.shape == shape else apply_named("reshape", x, attrs=(shape,))


# --- one index per element ------------------------------------------------------------------------------------

def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """``result[i][j] = input[index[i][j]][j]`` (for ``dim=0``); the result has the shape of ``index``.

    Raises:
        RuntimeError: the ranks differ, or ``index`` is larger than ``input`` in another axis than ``dim``.
        IndexError: an index is out of bounds. UnsupportedError: ``sparse_grad`` where a gradient is needed.

    torch: ``gather``
    """
    shape = input._read().type.shape
    if sparse_grad:
        refuse_sparse_gradient("gather(sparse_grad=True)", input, "sparse_grad=False")
    axis = wrap_dim(dim, len(shape))
    x, at = _with_axis(input), _with_axis(index)
    found = apply_named("gather", x, at, attrs=(axis, _checked(at, x._value.type.shape[axis], axis, "gather")))
    return _shaped(found, index._value.type.shape)


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """:func:`gather` whose other axes broadcast; without ``dim``, by position in the flattened tensor.

    torch: ``take_along_dim``
    """
    if dim is None:
        flat = _shaped(input, (input._read().type.size,))
        return gather(flat, 0, _shaped(indices, (indices._read().type.size,)))
    x, at = input._read().type.shape, indices._read().type.shape
    if len(x) != len(at):
        raise ShapeError(f"torch.take_along_dim(): input and indices should have the same number of dimensions, but "
                         f"got {len(x)} dimensions for input, and {len(at)} dimensions for indices")
    axis = wrap_dim(dim, len(x))
    both = broadcast_shapes((*x[:axis], 1, *x[axis + 1:]), (*at[:axis], 1, *at[axis + 1:]))
    wide_x, wide_at = (*both[:axis], x[axis], *both[axis + 1:]), (*both[:axis], at[axis], *both[axis + 1:])
    if not indices._value.type.dtype.is_integer:
        raise DTypeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype!r}")
    return apply_named("gather", expand(input, wide_x), expand(indices, wide_at), attrs=(axis, "wrap"))


_MODES = {"sum": "add", "add": "add", "prod": "mul", "multiply": "mul", "amax": "max", "amin": "min", "mean": "add",
          "set": "set"}


def _scattered(x: Any, dim: int, index: Any, src: Any, mode: str, name: str) -> Any:
    """``scatter_elements`` with a tensor or a number as the source."""
    kind = x._read().type
    axis = wrap_dim(dim, kind.ndim)
    base, at = _with_axis(x), _with_axis(index)
    shape = at._read().type.shape
    if src.__class__ in TENSOR_CLASSES:
        source = _with_axis(src)
        if source._read().type.dtype is not kind.dtype:
            raise DTypeError(f"{name}(): Expected self.dtype to be equal to src.dtype. "
                             f"Received: {kind.dtype!r} and {source._value.type.dtype!r}")
        of = source._value.type.shape
        if len(of) != len(shape) or any(n > m for n, m in zip(shape, of, strict=True)):
            raise ShapeError(f"Expected index {list(shape)} to be no larger than self {list(kind.shape)} apart from "
                             f"dimension {axis} and to be no larger size than src {list(of)}")
        if of != shape:
            source = apply_named("slice", source, attrs=((0,) * len(shape), shape, (1,) * len(shape)))
    else:
        source = fitted(src, kind.dtype, shape)
    bounds = _checked(at, base._value.type.shape[axis], axis, name)
    if kind.dtype is dt.bool_ and mode in ("add", "mul"):
        mode = {"add": "max", "mul": "min"}[mode]
    return _shaped(apply_named("scatter_elements", base, at, source, attrs=(axis, bounds, mode)), kind.shape)


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """``input`` with ``input[index[i][j]][j] = src[i][j]`` (for ``dim=0``); of several writes the last one stays.

    Args:
        src: a tensor at least as large as ``index``, or a number. reduce: ``add`` or ``multiply`` instead of setting.

    torch: ``scatter``
    """
    if reduce is not None and reduce not in ("add", "multiply"):
        raise RuntimeError(f"reduce argument must be either add or multiply. Received: {reduce!r}")
    return _scattered(input, dim, index, value if src is None else src, _MODES[reduce or "set"], "scatter")


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """``input`` with ``input[index[i][j]][j] += src[i][j]`` (for ``dim=0``), in rising order of the source.

    torch: ``scatter_add``
    """
    return _scattered(input, dim, index, src, "add", "scatter_add")


#: reduction -> what does not change its result
_NEUTRAL = {"sum": lambda d: 0, "prod": lambda d: 1, "mean": lambda d: 0,
            "amax": lambda d: -math.inf if d.kind == "f" else _limits(d)[0],
            "amin": lambda d: math.inf if d.kind == "f" else _limits(d)[1]}


def _limits(d: dt.DType) -> tuple[int, int]:
    if d.kind == "b":
        return 0, 1
    info = np.iinfo(d.numpy)
    return int(info.min), int(info.max)


def _known(reduce: str) -> None:
    if reduce not in _NEUTRAL:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")


def _mean(total: Any, count: Any) -> Any:
    """``total / count`` where anything was counted."""
    dtype = total._read().type.dtype
    count = apply_named("cast", count, attrs=(dtype,))
    one = fitted(1, dtype, count._value.type.shape)
    count = apply_named("max", count, one)
    return apply_named("div" if dtype.is_inexact else "floor_divide", total, count)


def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine the elements of ``src`` that go to one place by ``sum``, ``prod``, ``mean``, ``amax`` or ``amin``.

    Args:
        include_self: does the old element take part?

    torch: ``scatter_reduce``
    """
    _known(reduce)
    dtype = input._read().type.dtype
    base = input
    if not include_self:
        base = _scattered(input, dim, index, _NEUTRAL[reduce](dtype), "set", "scatter_reduce")
    out = _scattered(base, dim, index, src, _MODES[reduce], "scatter_reduce")
    if reduce != "mean":
        return out
    count = fitted(1, dt.int64, input._value.type.shape)
    if not include_self:
        count = _scattered(count, dim, index, 0, "set", "scatter_reduce")
    return _mean(out, _scattered(count, dim, index, 1, "add", "scatter_reduce"))


# --- one index per row ------------------------------------------------------------------------------------------

def _row_index(index: Any, name: str) -> Any:
    if index._read().type.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector. Received: shape {list(index._value.type.shape)}")
    return _with_axis(index)


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices of axis ``dim`` that a vector of positions names. torch: ``index_select``"""
    kind = input._read().type
    axis = wrap_dim(dim, kind.ndim)
    x, at = _with_axis(input), _row_index(index, "index_select")
    bounds = _checked(at, x._value.type.shape[axis], axis, "index_select")
    found = apply_named("index", x, at, attrs=((axis,), bounds))
    return found if kind.ndim else _shaped(found, ())


def _rows(x: Any, dim: int, index: Any, source: Any, mode: str, name: str) -> Any:
    """Set, or combine, the slices of axis ``dim``."""
    kind = x._read().type
    axis = wrap_dim(dim, kind.ndim)
    base, at = _with_axis(x), _row_index(index, name)
    shape = base._value.type.shape
    if source.__class__ in TENSOR_CLASSES:
        want = (*shape[:axis], at._value.type.size, *shape[axis + 1:])
        if kind.ndim and source._read().type.ndim != kind.ndim:
            raise ShapeError(f"{name}(): source and destination must have the same number of axes: source has shape "
                             f"{list(source._value.type.shape)}, destination {list(kind.shape)}")
        source = _with_axis(source)
        if source._read().type.dtype is not kind.dtype:
            raise DTypeError(f"{name}(): self and source expected to have the same dtype, but got (self) "
                             f"{kind.dtype.name} and (source) {source._value.type.dtype.name}")
        if source._value.type.shape != want:
            raise ShapeError(f"{name}(): the source must have shape {list(want)}: one slice per index. "
                             f"Received: {list(source._value.type.shape)}")
    bounds = _checked(at, shape[axis], axis, name)
    return _shaped(put_values(base, (axis,), [at], bounds, source, mode), kind.shape)


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """``input`` with ``alpha * source`` added to the slices of axis ``dim`` that ``index`` names.

    torch: ``index_add``
    """
    return _rows(input, dim, index, source if alpha == 1 else source * alpha, "add", "index_add")


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """``input`` with the slices of axis ``dim`` that ``index`` names replaced by those of ``source``.

    torch: ``index_copy``
    """
    return _rows(input, dim, index, source, "set", "index_copy")


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """``input`` with the slices of axis ``dim`` that ``index`` names filled with a number.

    torch: ``index_fill``
    """
    if value.__class__ in TENSOR_CLASSES:
        if value._read().type.ndim:
            raise RuntimeError(f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                               f"{value._value.type.ndim} dimension(s).")
        kind = input._read().type
        axis = wrap_dim(dim, kind.ndim)
        at = _row_index(index, "index_fill")
        base = _with_axis(input)
        bounds = _checked(at, base._value.type.shape[axis], axis, "index_fill")
        return _shaped(put_values(base, (axis,), [at], bounds, value, "set"), kind.shape)
    return _rows(input, dim, index, value, "set", "index_fill")


def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine slices by ``prod``, ``mean``, ``amax`` or ``amin``. torch: ``index_reduce``"""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    dtype = input._read().type.dtype
    base = input if include_self else _rows(input, dim, index, _NEUTRAL[reduce](dtype), "set", "index_reduce")
    out = _rows(base, dim, index, source, _MODES[reduce], "index_reduce")
    if reduce != "mean":
        return out
    count = fitted(1, dt.int64, input._value.type.shape)
    if not include_self:
        count = _rows(count, dim, index, 0, "set", "index_reduce")
    return _mean(out, _rows(count, dim, index, 1, "add", "index_reduce"))


# --- positions in the flattened tensor ----------------------------------------------------------------------------

def take(input: Any, index: Any) -> Any:
    """Elements by their position in the flattened tensor; the result has the shape of ``index``. torch: ``take``"""
    kind = input._read().type
    flat = _shaped(input, (kind.size,))
    if not index._read().type.dtype.is_integer:
        raise DTypeError(f"take(): Expected a long tensor for index, but got {index._value.type.dtype!r}")
    at = _shaped(index, (index._value.type.size,))
    return _shaped(apply_named("index", flat, at, attrs=((0,), "wrap")), index._value.type.shape)


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """``input`` with elements set (or added) by their position in the flattened tensor. torch: ``Tensor.put``"""
    kind = input._read().type
    if index._read().type.size != source._read().type.size:
        raise ShapeError(f"put_(): Expected source and index to have the same number of elements. Received: source "
                         f"{source._value.type.size} and index {index._value.type.size}")
    at = _shaped(index, (index._value.type.size,))
    new = put_values(_shaped(input, (kind.size,)), (0,), [at], "wrap", _shaped(source, (source._value.type.size,)),
                     "add" if accumulate else "set")
    return _shaped(new, kind.shape)


def _in_place(function: Any) -> Any:
    """``x.name_(...)``: the result of ``x.name(...)`` written to ``x``."""
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._write(function(self, *args, **kwargs))
    method.__name__ = function.__name__ + "_"
    method.__doc__ = f":func:`{function.__name__}` in place. torch: ``Tensor.{function.__name__}_``"
    return method


class ScatteringMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    gather, take, take_along_dim, put = gather, take, take_along_dim, put
    scatter, scatter_add, scatter_reduce = scatter, scatter_add, scatter_reduce
    index_select, index_add, index_copy, index_fill = index_select, index_add, index_copy, index_fill
    index_reduce = index_reduce
    scatter_, scatter_add_, scatter_reduce_ = _in_place(scatter), _in_place(scatter_add), _in_place(scatter_reduce)
    index_add_, index_copy_, index_fill_ = _in_place(index_add), _in_place(index_copy), _in_place(index_fill)
    index_reduce_, put_ = _in_place(index_reduce), _in_place(put)
