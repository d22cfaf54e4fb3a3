"""Initial values of parameters; all functions write their tensor in place, off the tape, and return it."""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..tensor.core import from_array
from ..tensor.creation import full, ones, zeros
from ..tensor.grad_mode import no_grad
from ..tensor.random import Generator, rand, randn
from ..tensor.recording import apply_named, wrap

__all__ = [
    "calculate_gain", "constant", "constant_", "dirac", "dirac_", "eye", "eye_", "kaiming_normal", "kaiming_normal_",
    "kaiming_uniform", "kaiming_uniform_", "normal", "normal_", "ones_", "orthogonal", "orthogonal_", "sparse",
    "sparse_", "trunc_normal_", "uniform", "uniform_", "xavier_normal", "xavier_normal_", "xavier_uniform",
    "xavier_uniform_", "zeros_",
]

_GAINS: dict[str, float] = dict.fromkeys(
    ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid"), 1)
_GAINS |= {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended gain of a nonlinearity; ``param`` is the slope of ``"leaky_relu"`` (default 0.01).

    >>> from gemel import nn
    >>> nn.init.calculate_gain("tanh")
    1.6666666666666667

    torch: ``nn.init.calculate_gain``
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


def _shape(tensor: Any) -> tuple[int, ...]:
    return tensor._read().type.shape


def _dtype(tensor: Any) -> DType:
    return tensor._read().type.dtype


def _fill(tensor: Any, made: Any) -> Any:
    """``made`` as the contents of ``tensor``, off the tape."""
    with no_grad():
        if made._read().type.dtype is not _dtype(tensor):
            made = apply_named("cast", made, attrs=(_dtype(tensor),))
        return tensor._write(wrap(made._read()))


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Any:
    """Uniform numbers on [a, b). torch: ``nn.init.uniform_``"""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Any:
    """Normal numbers. torch: ``nn.init.normal_``"""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Generator | None = None) -> Any:
    """Normal numbers that are cut off at ``a`` and ``b`` (values, not multiples of ``std``).

    One uniform draw per element goes through the inverse of the distribution function, which is exact where the
    interval holds some of the distribution; nothing is drawn again.

    torch: ``nn.init.trunc_normal_``
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
                      "incorrect.", stacklevel=2)
    low, high = (math.erf((x - mean) / (std * math.sqrt(2.0))) for x in (a, b))
    wide = dt.float64 if _dtype(tensor) is dt.float64 or high - low < 0.5 else dt.float32  # tails need more digits
    with no_grad():
        drawn = rand(_shape(tensor), generator=generator, dtype=wide) * (high - low) + low
        values = drawn.erfinv() * (std * math.sqrt(2.0)) + mean
        made = apply_named("clamp_scalar", values, full((), a, dtype=wide), full((), b, dtype=wide))
    return _fill(tensor, made)


def constant_(tensor: Any, val: float) -> Any:
    """``val`` everywhere. torch: ``nn.init.constant_``"""
    return _fill(tensor, full(_shape(tensor), val, dtype=_dtype(tensor)))


def ones_(tensor: Any) -> Any:
    """1 everywhere. torch: ``nn.init.ones_``"""
    return _fill(tensor, ones(_shape(tensor), dtype=_dtype(tensor)))


def zeros_(tensor: Any) -> Any:
    """0 everywhere. torch: ``nn.init.zeros_``"""
    return _fill(tensor, zeros(_shape(tensor), dtype=_dtype(tensor)))


def _from_numpy(tensor: Any, array: np.ndarray) -> Any:
    return _fill(tensor, wrap(from_array(np.ascontiguousarray(array))))


def eye_(tensor: Any) -> Any:
    """The identity matrix. torch: ``nn.init.eye_``"""
    if len(_shape(tensor)) != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported. Received: {list(_shape(tensor))}")
    return _from_numpy(tensor, np.eye(*_shape(tensor), dtype=np.float32))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution weight that passes as many channels as possible on, in each group.

    torch: ``nn.init.dirac_``
    """
    shape = _shape(tensor)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"Only tensors with 3, 4, or 5 dimensions are supported. Received: {list(shape)}")
    if shape[0] % groups:
        raise ValueError(f"dim 0 must be divisible by groups. Received: {list(shape)}, groups={groups}")
    array = np.zeros(shape, np.float32)
    per_group = shape[0] // groups
    middle = tuple(n // 2 for n in shape[2:])
    for group in range(groups):
        for d in range(min(per_group, shape[1])):
            array[(group * per_group + d, d, *middle)] = 1
    return _from_numpy(tensor, array)


def _calculate_fan_in_and_fan_out(tensor: Any) -> tuple[int, int]:
    """Inputs and outputs of one unit: axes 1 and 0, times the elements of the kernel."""
    shape = _shape(tensor)
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions. "
                         f"Received: {list(shape)}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _calculate_correct_fan(tensor: Any, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def _xavier_std(tensor: Any, gain: float) -> float:
    return gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Uniform on ±gain √(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010). torch: ``nn.init.xavier_uniform_``"""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Normal with std gain √(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010). torch: ``nn.init.xavier_normal_``"""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _is_empty(tensor: Any) -> bool:
    if 0 in _shape(tensor):
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


def kaiming_uniform_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Generator | None = None) -> Any:
    """Uniform on ±gain √(3 / fan) (He et al., 2015).

    Args:
        a: slope of ``"leaky_relu"``. mode: ``"fan_in"`` or ``"fan_out"``.

    torch: ``nn.init.kaiming_uniform_``
    """
    if _is_empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Generator | None = None) -> Any:
    """Normal with std gain / √fan (He et al., 2015). torch: ``nn.init.kaiming_normal_``"""
    if _is_empty(tensor):
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Generator | None = None) -> Any:
    """A (semi-)orthogonal matrix; axes after the first count as one (Saxe et al., 2013).

    torch: ``nn.init.orthogonal_``
    """
    shape = _shape(tensor)
    if len(shape) < 2:
        raise ValueError(f"Only tensors with 2 or more dimensions are supported. Received: {list(shape)}")
    if 0 in shape:
        return tensor
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = randn(max(rows, columns), min(rows, columns), generator=generator, dtype=dt.float64)
    q, r = np.linalg.qr(drawn._observe("nn.init.orthogonal_"))
    q *= np.sign(np.diagonal(r))  # makes the distribution uniform
    return _from_numpy(tensor, (q.T if rows < columns else q).reshape(shape) * gain)


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Any:
    """Normal numbers, of which a share ``sparsity`` of each column (rounded up) is zero (Martens, 2010).

    torch: ``nn.init.sparse_``
    """
    shape = _shape(tensor)
    if len(shape) != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported. Received: {list(shape)}")
    zero = math.ceil(sparsity * shape[0])
    with no_grad():
        values = randn(shape, generator=generator, dtype=_dtype(tensor)) * std
        drawn = rand(shape, generator=generator)
        _, order = apply_named("sort", drawn, attrs=(0, False))  # each column is a random permutation
        made = values * (order >= zero)
    return _fill(tensor, made)


def _deprecated(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch's old name without the underscore, with its warning."""
    new, old = function.__name__, function.__name__[:-1]

    def run(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    run.__name__ = run.__qualname__ = old
    run.__doc__ = f"Deprecated name of ``{new}``."
    return run


uniform, normal, constant, eye, dirac = map(_deprecated, (uniform_, normal_, constant_, eye_, dirac_))
xavier_uniform, xavier_normal = map(_deprecated, (xavier_uniform_, xavier_normal_))
kaiming_uniform, kaiming_normal = map(_deprecated, (kaiming_uniform_, kaiming_normal_))
orthogonal, sparse = map(_deprecated, (orthogonal_, sparse_))
