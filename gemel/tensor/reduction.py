"""Sums, means, extremes, variances and norms."""
from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from ..engine.ir.op import op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import TensorType
from . import return_types
from .comparison import maximum, minimum
from .core import TENSOR_CLASSES
from .dims import numpy_names, wrap_dim, wrap_dims
from .elementwise import check_tensor, deliver, delivering
from .promotion import SCALAR_NAMES, cast, full
from .recording import apply, apply_named

__all__ = [
    "sum", "nansum", "mean", "nanmean", "prod", "amax", "amin", "aminmax", "max", "min", "argmax", "argmin", "any",
    "all", "count_nonzero", "var", "std", "var_mean", "std_mean", "norm", "logsumexp",
]

Dims = int | Sequence[int] | None


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """Sorted axis numbers; None and an empty list mean all axes."""
    if dim is None or (dim.__class__ is not int and isinstance(dim, Sequence) and not dim):
        return tuple(range(ndim))
    if dim.__class__ is int:
        d = wrap_dim(dim, ndim)
        return (d,) if ndim else ()
    if isinstance(dim, str):
        raise TypeError(f"dim must be an int or a tuple of ints, not {dim!r}: named axes are not supported")
    found = wrap_dims(dim, ndim)
    return tuple(sorted(found)) if ndim else ()


def one_axis(dim: Any, t: TensorType) -> int:
    """One axis number."""
    return wrap_dim(dim, t.ndim)


def _size(t: TensorType, axes: tuple[int, ...]) -> int:
    n = 1
    for a in axes:
        n *= t.shape[a]
    return n


def with_axis(x: Any) -> tuple[Any, bool]:
    """A 0-d tensor as one of a single element, and whether it was 0-d."""
    if x._read().type.ndim:
        return x, False
    return apply_named("reshape", x, attrs=((1,),)), True


def _without_axis(x: Any) -> Any:
    return apply_named("reshape", x, attrs=((),))


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` in another shape (a value, not a view)."""
    return x if x._read().type.shape == shape else apply_named("reshape", x, attrs=(shape,))


def _kept(t: TensorType, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if i in axes else n for i, n in enumerate(t.shape)])


def _reduced(t: TensorType, axes: tuple[int, ...], keep: builtins.bool) -> tuple[int, ...]:
    return _kept(t, axes) if keep else tuple([n for i, n in enumerate(t.shape) if i not in axes])


# --- sums -------------------------------------------------------------------------------------------

def _summable(input: Any, dtype: DType | None, name: str) -> Any:
    """The operand of a sum or product: as ``dtype``; integers and bool as int64."""
    t = check_tensor(input, name)._read().type
    if dtype is not None:
        return cast(input, dtype)
    return input if t.dtype.kind in "fc" else cast(input, dt.int64)


#: (ndim, dim, keepdim) -> the op of a sum, for the usual kinds of ``dim``
_sums: dict[tuple, Any] = {}


def sum(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, dtype: DType | None = None, out: Any = None,
        axis: Any = None, keepdims: Any = None) -> Any:
    """Sum of all elements, or over the axes ``dim``. Integers and bool are summed as int64. torch: ``sum``.

        >>> gemel.sum(gemel.tensor([[1., 2.], [3., 4.]]), dim=0)
        tensor([4., 6.])
    """
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("sum", dim, axis, keepdim, keepdims)
    x = _summable(input, dtype, "sum")
    t = x._read().type
    kind = dim.__class__
    key = (t.ndim, dim, keepdim) if kind is int or dim is None or kind is tuple else None
    the_op = _sums.get(key) if key is not None else None
    if the_op is None:
        axes = axes_of(dim, t.ndim)
        the_op = op(ROWS["sum_keep" if keepdim else "reduce_sum"], axes)
        if key is not None:
            _sums[key] = the_op
    result = apply(the_op, x)
    return result if out is None else deliver(result, out, "sum")


def nansum(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, dtype: DType | None = None,
           out: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    """Sum of the elements that are not NaN. torch: ``nansum``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("nansum", dim, axis, keepdim, keepdims)
    x = _summable(input, dtype, "nansum")
    if x._read().type.dtype.kind != "f":
        return sum(x, dim, keepdim, out=out)
    axes = axes_of(dim, x._value.type.ndim)
    return deliver(apply_named("nansum", x, attrs=(axes, builtins.bool(keepdim))), out, "nansum")


def _averaged(input: Any, dtype: DType | None, name: str) -> Any:
    t = check_tensor(input, name)._read().type
    if (dtype or t.dtype).kind not in "fc":
        raise DTypeError(f"{name}(): could not infer output dtype. Input dtype must be either a floating point or "
                         f"complex dtype. Got: {SCALAR_NAMES[dtype or t.dtype]}")
    return cast(input, dtype) if dtype is not None else input


def mean(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, dtype: DType | None = None, out: Any = None,
         axis: Any = None, keepdims: Any = None) -> Any:
    """Mean of all elements, or over the axes ``dim``. torch: ``mean``.

    Raises:
        RuntimeError: the tensor holds integers or bool and no ``dtype`` is given.
    """
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("mean", dim, axis, keepdim, keepdims)
    x = _averaged(input, dtype, "mean")
    axes = axes_of(dim, x._read().type.ndim)
    return deliver(apply_named("mean", x, attrs=(axes, builtins.bool(keepdim))), out, "mean")


def nanmean(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, dtype: DType | None = None,
            out: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    """Mean of the elements that are not NaN. torch: ``nanmean``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("nanmean", dim, axis, keepdim, keepdims)
    x = _averaged(input, dtype, "nanmean")
    axes = axes_of(dim, x._read().type.ndim)
    return deliver(apply_named("nanmean", x, attrs=(axes, builtins.bool(keepdim))), out, "nanmean")


def prod(input: Any, dim: int | None = None, keepdim: builtins.bool = False, *, dtype: DType | None = None,
         out: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    """Product of all elements, or over one axis. torch: ``prod``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("prod", dim, axis, keepdim, keepdims)
    x = _summable(input, dtype, "prod")
    if dim is not None and not isinstance(dim, int):
        raise TypeError(f"prod(): argument 'dim' must be int, not {type(dim).__name__}")
    t = x._read().type
    axes = axes_of(dim, t.ndim)
    result = apply_named("reduce_prod", x, attrs=(axes,))
    return deliver(reshaped(result, _kept(t, axes)) if keepdim else result, out, "prod")


# --- extremes ---------------------------------------------------------------------------------------

def _nonempty(t: TensorType, axes: tuple[int, ...], dim: Any, name: str) -> None:
    """Raise torch's errors for extremes of nothing."""
    if t.size or (dim is not None and not any_empty(t, axes)):
        return
    if dim is None:
        raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                           f"reduction dim with the 'dim' argument.")
    empty = next(a for a in axes if t.shape[a] == 0)
    raise IndexError(f"{name}(): Expected reduction dim {empty} to have non-zero size.")


def any_empty(t: TensorType, axes: tuple[int, ...]) -> builtins.bool:
    """Is one of the axes empty?"""
    return builtins.any(t.shape[a] == 0 for a in axes)


def _ordered(input: Any, name: str, complex_message: str | None = None) -> TensorType:
    t = check_tensor(input, name)._read().type
    if t.dtype.kind == "c":
        raise DTypeError(complex_message or f'"{name}_cpu" not implemented for \'{SCALAR_NAMES[t.dtype]}\'')
    return t


def _extreme(primitive: str, name: str, input: Any, dim: Any, keepdim: builtins.bool) -> Any:
    t = _ordered(input, name)
    if dim is not None and dim.__class__ is not int and not dim:
        dim = None
    axes = axes_of(dim, t.ndim)
    _nonempty(t, axes, dim, name)
    result = apply_named(primitive, input, attrs=(axes,))
    return reshaped(result, _kept(t, axes)) if keepdim else result


def amax(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
         keepdims: Any = None) -> Any:
    """Maximum of all elements or over axes; equal maxima share the gradient. torch: ``amax``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("amax", dim, axis, keepdim, keepdims)
    return deliver(_extreme("reduce_max", "amax", input, dim, keepdim), out, "amax")


def amin(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
         keepdims: Any = None) -> Any:
    """Minimum of all elements or over axes; equal minima share the gradient. torch: ``amin``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("amin", dim, axis, keepdim, keepdims)
    return deliver(_extreme("reduce_min", "amin", input, dim, keepdim), out, "amin")


def aminmax(input: Any, *, dim: int | None = None, keepdim: builtins.bool = False, out: Any = None) -> Any:
    """Minimum and maximum, of all elements or along an axis. torch: ``aminmax``."""
    found = (_extreme("reduce_min", "aminmax", input, dim, keepdim),
             _extreme("reduce_max", "aminmax", input, dim, keepdim))
    return return_types.aminmax(delivering(found, out, "aminmax"))


def with_index(composite: str, name: str, input: Any, dim: Any, keepdim: builtins.bool,
               *attrs: Any) -> tuple[Any, Any]:
    """(values, indices) of a composite along one axis; a 0-d tensor counts as one element."""
    x, was_0d = with_axis(input)
    t = x._read().type
    axis = one_axis(dim, t)
    _nonempty(t, (axis,), dim, name)
    values, indices = apply_named(composite, x, attrs=(axis, *attrs, builtins.bool(keepdim) and not was_0d))
    return values, indices


def _max_or_min(input: Any, dim: Any, keepdim: builtins.bool, out: Any, name: str, primitive: str, composite: str,
                pairwise: Callable[..., Any]) -> Any:
    if dim.__class__ in TENSOR_CLASSES:
        return pairwise(input, dim, out=out)
    _ordered(input, name, f'"{name}_all" not implemented for \'ComplexFloat\'' if dim is None else None)
    if dim is None:
        return deliver(_extreme(primitive, name, input, None, False), out, name)
    found = with_index(composite, name, input, dim, keepdim)
    return getattr(return_types, name)(delivering(found, out, name))


def _dim_or_other(dim: Any, other: Any) -> Any:
    return other if other is not None else dim


def max(input: Any, dim: Any = None, keepdim: builtins.bool = False, *, other: Any = None, out: Any = None,
        axis: Any = None, keepdims: Any = None) -> Any:
    """Maximum of all elements; ``(values, indices)`` along an axis; or the larger of two tensors. torch: ``max``.

        >>> gemel.max(gemel.tensor([[1., 5.], [7., 2.]]), 1).indices
        tensor([1, 0])
    """
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("max", dim, axis, keepdim, keepdims)
    return _max_or_min(input, _dim_or_other(dim, other), keepdim, out, "max", "reduce_max", "max_with_index", maximum)


def min(input: Any, dim: Any = None, keepdim: builtins.bool = False, *, other: Any = None, out: Any = None,
        axis: Any = None, keepdims: Any = None) -> Any:
    """Minimum of all elements; ``(values, indices)`` along an axis; or the smaller of two tensors. torch: ``min``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("min", dim, axis, keepdim, keepdims)
    return _max_or_min(input, _dim_or_other(dim, other), keepdim, out, "min", "reduce_min", "min_with_index", minimum)


def _arg(primitive: str, input: Any, dim: int | None, keepdim: builtins.bool) -> Any:
    t = check_tensor(input, primitive)._read().type
    if t.dtype.kind in "bc":
        kind = "bool" if t.dtype.kind == "b" else "complex"
        raise DTypeError(f"{primitive}(): does not support {kind} input")
    if dim is None:
        if t.size == 0:
            raise IndexError(f"{primitive}(): Expected reduction dim to be specified for input.numel() == 0.")
        result = apply_named(primitive, reshaped(input, (t.size,)), attrs=(0,))
        return reshaped(result, (1,) * t.ndim) if keepdim else result
    x, was_0d = with_axis(input)
    t = x._read().type
    axis = one_axis(dim, t)
    _nonempty(t, (axis,), dim, primitive)
    result = apply_named(primitive, x, attrs=(axis,))
    return reshaped(result, _kept(t, (axis,))) if keepdim and not was_0d else result


def argmax(input: Any, dim: int | None = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
           keepdims: Any = None) -> Any:
    """Index of the (first) maximum: in the flattened tensor, or along an axis. torch: ``argmax``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("argmax", dim, axis, keepdim, keepdims)
    return deliver(_arg("argmax", input, dim, keepdim), out, "argmax")


def argmin(input: Any, dim: int | None = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
           keepdims: Any = None) -> Any:
    """Index of the (first) minimum: in the flattened tensor, or along an axis. torch: ``argmin``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("argmin", dim, axis, keepdim, keepdims)
    return deliver(_arg("argmin", input, dim, keepdim), out, "argmin")


# --- logic and counting -----------------------------------------------------------------------------

def _quantifier(primitive: str, name: str, input: Any, dim: Any, keepdim: builtins.bool) -> Any:
    t = check_tensor(input, name)._read().type
    result_dtype = dt.uint8 if t.dtype is dt.uint8 else dt.bool_
    truths = input if t.dtype is dt.bool_ else input != 0
    axes = axes_of(dim, t.ndim)
    if any_empty(t, axes):
        return full(primitive == "reduce_min", result_dtype, _reduced(t, axes, keepdim))
    result = cast(apply_named(primitive, truths, attrs=(axes,)), result_dtype)
    return reshaped(result, _kept(t, axes)) if keepdim else result


def any(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
        keepdims: Any = None) -> Any:
    """Is any element non-zero? torch: ``any``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("any", dim, axis, keepdim, keepdims)
    return deliver(_quantifier("reduce_max", "any", input, dim, keepdim), out, "any")


def all(input: Any, dim: Dims = None, keepdim: builtins.bool = False, *, out: Any = None, axis: Any = None,
        keepdims: Any = None) -> Any:
    """Are all elements non-zero? torch: ``all``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("all", dim, axis, keepdim, keepdims)
    return deliver(_quantifier("reduce_min", "all", input, dim, keepdim), out, "all")


def count_nonzero(input: Any, dim: Dims = None) -> Any:
    """Number of non-zero elements, of all or over axes. torch: ``count_nonzero``."""
    axes = axes_of(dim, check_tensor(input, "count_nonzero")._read().type.ndim)
    return apply_named("count_nonzero", input, attrs=(axes,))


# --- variance ---------------------------------------------------------------------------------------

def _variance(composite: str, input: Any, dim: Any, unbiased: builtins.bool | None, correction: Any,
              keepdim: builtins.bool) -> Any:
    """``var(x, dim, unbiased, keepdim)`` and ``var(x, dim, *, correction, keepdim)``; ``dim`` may be ``unbiased``."""
    t = check_tensor(input, composite)._read().type
    if t.dtype.kind not in "fc":
        raise DTypeError("std and var only support floating point and complex dtypes")
    if isinstance(dim, builtins.bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    return apply_named(composite, input, attrs=(axes_of(dim, t.ndim), 1 if correction is None else correction,
                                                builtins.bool(keepdim)))


def var(input: Any, dim: Any = None, unbiased: builtins.bool | None = None, keepdim: builtins.bool = False, *,
        correction: Any = None, out: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    """Variance with ``n - correction`` degrees of freedom (default 1). torch: ``var``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("var", dim, axis, keepdim, keepdims)
    return deliver(_variance("var", input, dim, unbiased, correction, keepdim), out, "var")


def std(input: Any, dim: Any = None, unbiased: builtins.bool | None = None, keepdim: builtins.bool = False, *,
        correction: Any = None, out: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    """Standard deviation with ``n - correction`` degrees of freedom (default 1). torch: ``std``."""
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("std", dim, axis, keepdim, keepdims)
    return deliver(_variance("std", input, dim, unbiased, correction, keepdim), out, "std")


def var_mean(input: Any, dim: Any = None, unbiased: builtins.bool | None = None, keepdim: builtins.bool = False, *,
             correction: Any = None, out: Any = None) -> tuple[Any, ...]:
    """Variance and mean. torch: ``var_mean``."""
    return delivering(_variance("var_mean", input, dim, unbiased, correction, keepdim), out, "var_mean")


def std_mean(input: Any, dim: Any = None, unbiased: builtins.bool | None = None, keepdim: builtins.bool = False, *,
             correction: Any = None, out: Any = None) -> tuple[Any, ...]:
    """Standard deviation and mean. torch: ``std_mean``."""
    found = (_variance("std", input, dim, unbiased, correction, keepdim),
             mean(input, None if isinstance(dim, builtins.bool) else dim, keepdim))
    return delivering(found, out, "std_mean")


# --- norms ------------------------------------------------------------------------------------------

def norm(input: Any, p: Any = "fro", dim: Dims = None, keepdim: builtins.bool = False, out: Any = None,
         dtype: DType | None = None) -> Any:
    """``(sum |x|^p)^(1/p)`` of all elements or over axes; ``p`` may be inf, -inf, 0 or 'fro' (2).
    torch: ``norm``.

    Raises:
        RuntimeError: integers, or the infinity norm of nothing. UnsupportedError: ``p='nuc'``.
    """
    x = cast(check_tensor(input, "norm"), dtype) if dtype is not None else check_tensor(input, "norm")
    t = x._read().type
    if t.dtype.kind not in "fc":
        raise DTypeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                         f"{SCALAR_NAMES[t.dtype]}")
    if p == "nuc":
        from ..engine.base.errors import UnsupportedError
        raise UnsupportedError("norm(p='nuc') is not supported: use gemel.linalg.matrix_norm(x, 'nuc')")
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm(): the string p must be 'fro' or 'nuc'. Received: {p!r}")
    order = 2.0 if p is None or p == "fro" else float(p)
    axes = axes_of(dim, t.ndim)
    if order in (float("inf"), float("-inf")) and _size(t, axes) == 0:
        raise RuntimeError(f"linalg.vector_norm cannot compute the {order:g} norm on an empty "
                           f"{'tensor' if dim is None else 'dimension'} because the operation does not have an "
                           f"identity")
    return deliver(apply_named("norm", x, attrs=(order, axes, builtins.bool(keepdim))), out, "norm")


def logsumexp(input: Any, dim: Dims, keepdim: builtins.bool = False, *, out: Any = None) -> Any:
    """``log(sum(exp(input)))`` over axes, without overflow. torch: ``logsumexp``."""
    from .promotion import inexact
    t = check_tensor(input, "logsumexp")._read().type
    x = cast(input, inexact(t.dtype))
    return deliver(apply_named("logsumexp", x, attrs=(axes_of(dim, t.ndim), builtins.bool(keepdim))), out,
                   "logsumexp")


class ReductionMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    sum, nansum, mean, nanmean, prod = sum, nansum, mean, nanmean, prod
    amax, amin, aminmax, max, min, argmax, argmin = amax, amin, aminmax, max, min, argmax, argmin
    any, all, count_nonzero = any, all, count_nonzero
    var, std, norm, logsumexp = var, std, norm, logsumexp
