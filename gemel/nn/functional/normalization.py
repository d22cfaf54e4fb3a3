"""Normalization layers as functions."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError
from ...engine.ir.types import TensorType
from ...tensor.dims import remembered
from ...tensor.recording import apply_named, wrap
from .common import (
    axis_of,
    cast,
    check_dtype,
    check_floating,
    check_same_dtype,
    check_tensor,
    checked_type,
    given,
    number,
    refuse_kind,
    reshape,
    type_of,
)
from .distance import norm_kind

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm"]


def _param_type(function: str, name: str, p: Any) -> TensorType | None:
    return None if p is None else checked_type(function, name, p)


@remembered
def _normalizing(function: str, t: TensorType, normalized_shape: Sequence[int], *params: TensorType | None
                 ) -> tuple[int, ...]:
    """The shape of what is normalized at once; checks what each of ``weight`` and ``bias`` (or None) is."""
    if t.dtype.kind != "f":
        refuse_kind(function, "input", t)
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
                           "element, but got normalized_shape = []")
    for name, p in zip(("weight", "bias"), params, strict=False):
        if p is not None and p.shape != shape:
            raise ShapeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                             f"{list(p.shape)} and normalized_shape = {list(shape)}")
    have = t.shape
    if len(have) < len(shape) or have[len(have) - len(shape):] != shape:
        wanted = "".join(f", {n}" for n in shape)
        raise ShapeError(f"Given normalized_shape={list(shape)}, expected input with shape [*{wanted}], but got input "
                         f"of size{list(have)}")
    for name, p in zip(("weight", "bias"), params, strict=False):
        if p is not None:
            check_dtype(function, name, p, t.dtype)
    return shape


def layer_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with statistics over the last axes.

    Args:
        input: (..., *normalized_shape). normalized_shape: sizes of the axes to normalize.
        weight, bias: of ``normalized_shape``, or None.

    torch: ``layer_norm``.

    >>> import gemel
    >>> gemel.nn.functional.layer_norm(gemel.tensor([1.0, 3.0]), (2,))
    tensor([-1.0000,  1.0000])
    """
    name = "layer_norm"
    shape = _normalizing(name, checked_type(name, "input", input), normalized_shape,
                         _param_type(name, "weight", weight), _param_type(name, "bias", bias))
    return apply_named("layer_norm", input, number(input, eps), *given(weight, bias),
                       attrs=(len(shape), weight is not None, bias is not None))


def rms_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axes.

    Args:
        eps: None takes the smallest step of the dtype at 1 (of f32 for 16-bit types).

    torch: ``rms_norm``.
    """
    name = "rms_norm"
    shape = _normalizing(name, checked_type(name, "input", input), normalized_shape,
                         _param_type(name, "weight", weight))
    if eps is None:
        eps = float(np.finfo(dt.compute_type(type_of(input).dtype).numpy).eps)
    return apply_named("rms_norm", input, number(input, eps), *given(weight), attrs=(len(shape),))


def _check_channels(function: str, x: Any, count: int, **params: Any) -> None:
    for name, p in params.items():
        if p is None:
            continue
        check_tensor(function, name, p)
        if type_of(p).shape != (count,):
            raise ShapeError(f"{function}: {name} should contain {count} elements not {type_of(p).size}. Received: "
                             f"input {list(type_of(x).shape)}, {name} {list(type_of(p).shape)}")


def _check_many(shape: tuple[int, ...]) -> None:
    """Batch statistics of a single value per channel are refused, as in torch."""
    n = shape[0]
    for d in shape[2:]:
        n *= d
    if n == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")


def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """Normalize each channel (axis 1) over the batch and all positions.

    In training the statistics are those of the batch and ``running_mean`` and ``running_var`` are updated in place:
    ``(1 - momentum) * running + momentum * batch`` (with the unbiased variance); else the running ones are used.

    Args:
        input: (N, C, ...). running_mean, running_var, weight, bias: (C,), or None.

    torch: ``batch_norm``.
    """
    check_floating("batch_norm", input)
    shape = type_of(input).shape
    if len(shape) < 2:
        raise ShapeError(f"batch_norm expects an input of (N, C, ...). Received: {list(shape)}")
    if training:
        _check_many(shape)
    elif running_mean is None or running_var is None:
        raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
    return _normalize_channels("batch_norm", input, running_mean, running_var, weight, bias, training, momentum, eps)


def _normalize_channels(function: str, x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any,
                        training: bool, momentum: float, eps: float) -> Any:
    if (running_mean is None) != (running_var is None):
        raise RuntimeError(f"{function}: running_mean and running_var must both be given or both be None")
    _check_channels(function, x, type_of(x).shape[1], running_mean=running_mean, running_var=running_var,
                    weight=weight, bias=bias)
    params, flags = given(weight, bias), (weight is not None, bias is not None)
    if not training:
        return apply_named("batch_norm_eval", x, number(x, eps), running_mean, running_var, *params, attrs=flags)
    running = given(running_mean, running_var)
    name = "batch_norm" if weight is not None else "batch_norm_plain"
    rate = number(x, momentum) if isinstance(momentum, (int, float)) else \
        cast(momentum, dt.compute_type(type_of(x).dtype))
    out, _, _, *updated = apply_named(name, x, number(x, eps), rate, *params, *running, attrs=(*flags, bool(running)))
    for old, new in zip(running, updated, strict=True):
        old._write(wrap(new._value))
    return out


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize groups of channels with all their positions.

    Args:
        input: (N, C, ...), C divisible by ``num_groups``. weight, bias: (C,), or None.

    torch: ``group_norm``.
    """
    check_floating("group_norm", input)
    shape = type_of(input).shape
    if len(shape) < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if num_groups <= 0 or shape[1] % num_groups:
        raise RuntimeError(f"Expected number of channels in input to be divisible by num_groups, but got input of "
                           f"shape {list(shape)} and num_groups={num_groups}")
    _check_channels("group_norm", input, shape[1], weight=weight, bias=bias)
    check_same_dtype("group_norm", input, weight=weight, bias=bias)
    return apply_named("group_norm", input, number(input, eps), *given(weight, bias),
                       attrs=(num_groups, weight is not None, bias is not None))


def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
                  bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """Normalize each channel of each sample over its positions.

    With running statistics they are updated as in ``batch_norm``, from the mean over the samples; with
    ``use_input_stats=False`` they are what normalizes.

    Args:
        input: (N, C, *size). running_mean, running_var, weight, bias: (C,), or None.

    torch: ``instance_norm``.
    """
    check_floating("instance_norm", input)
    shape = type_of(input).shape
    if len(shape) < 3:
        raise ShapeError(f"instance_norm expects an input of (N, C, *size). Received: {list(shape)}")
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return _normalize_channels("instance_norm", input, running_mean, running_var, weight, bias, False, momentum,
                                   eps)
    if int(np.prod(shape[2:])) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(shape)}")
    _check_channels("instance_norm", input, shape[1], running_mean=running_mean, running_var=running_var,
                    weight=weight, bias=bias)
    if running_mean is not None:
        mean, var = apply_named("instance_statistics", wrap(input._read()), number(input, momentum), running_mean,
                                running_var)
        running_mean._write(wrap(mean._value))
        running_var._write(wrap(var._value))
    return apply_named("group_norm", input, number(input, eps), *given(weight, bias),
                       attrs=(shape[1], weight is not None, bias is not None))


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """``x / (k + alpha * mean(x^2 over size neighbouring channels)) ^ beta`` (Krizhevsky et al., 2012).

    Args:
        input: (N, C, ...).

    torch: ``local_response_norm``.
    """
    check_floating("local_response_norm", input)
    if type_of(input).ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {type_of(input).ndim} dimensions)")
    return apply_named("local_response_norm", input, number(input, alpha), number(input, beta), number(input, k),
                       attrs=(size,))


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """``x / max(norm_p(x), eps)`` along ``dim``.

    torch: ``normalize``.

    >>> import gemel
    >>> gemel.nn.functional.normalize(gemel.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    check_floating("normalize", input)
    axis = axis_of("normalize", input, dim)
    if type_of(input).ndim == 0:
        return reshape(normalize(reshape(input, (1,)), p, 0, eps), ())
    result = apply_named("normalize", input, number(input, p), number(input, eps), attrs=(axis, norm_kind(p)))
    return result if out is None else out._write(result)
