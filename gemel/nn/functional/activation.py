"""Activation functions, softmax and its relatives."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engine.base import dtypes as dt
from ...tensor.recording import apply_named
from ...tensor.softmax import log_softmax as log_softmax_along
from ...tensor.softmax import softmax as softmax_along
from .common import (
    axis_of,
    cast,
    check_floating,
    check_tensor,
    in_place,
    number,
    type_of,
    with_numbers,
)
from .random import stream

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]


def _activate(function: str, x: Any, inplace: bool, *numbers: float) -> Any:
    check_floating(function, x)
    return in_place(x, with_numbers(function, x, *numbers), inplace)


def _to_floating(x: Any) -> Any:
    """Integers and bool as the default float type."""
    return x if type_of(x).dtype.is_inexact else cast(x, dt.float32)


def relu(input: Any, inplace: bool = False) -> Any:
    """``max(x, 0)``; NaN stays. torch: ``relu``.

    >>> import gemel
    >>> gemel.nn.functional.relu(gemel.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    check_tensor("relu", "input", input)
    if type_of(input).dtype.kind not in "fiu":
        check_floating("relu", input)
    return in_place(input, apply_named("relu", input), inplace)


def relu6(input: Any, inplace: bool = False) -> Any:
    """``min(max(x, 0), 6)``. torch: ``relu6``."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """``min(max(x, min_val), max_val)``. torch: ``hardtanh``.

    Raises:
        ValueError: ``min_val > max_val``.
    """
    check_tensor("hardtanh", "input", input)
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val. Received: min_val={min_val}, max_val={max_val}")
    kind = type_of(input).dtype.kind
    if kind in "iu":
        if kind == "u" and min_val < 0:
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits. "
                               f"Received: {type_of(input).dtype!r}, min_val={min_val}")
        return in_place(input, with_numbers("hardtanh", input, int(min_val), int(max_val)), inplace)
    return _activate("hardtanh", input, inplace, min_val, max_val)


def gelu(input: Any, approximate: str = "none") -> Any:
    """``x * Phi(x)`` with the normal distribution's Phi; ``approximate="tanh"``: Hendrycks and Gimpel's formula.

    torch: ``gelu``.
    """
    check_floating("gelu", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh. Received: approximate={approximate!r}")
    return apply_named("gelu", input, attrs=(approximate,))


def silu(input: Any, inplace: bool = False) -> Any:
    """``x * sigmoid(x)``, also called swish. torch: ``silu``."""
    return _activate("silu", input, inplace)


def mish(input: Any, inplace: bool = False) -> Any:
    """``x * tanh(softplus(x))``. torch: ``mish``."""
    return _activate("mish", input, inplace)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``. torch: ``elu``."""
    return _activate("elu", input, inplace, alpha)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``. torch: ``celu``."""
    if alpha == 0:
        raise ZeroDivisionError("ZeroDivisionError: alpha cannot be 0 for CELU. Received: alpha=0")
    return _activate("celu", input, inplace, alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """elu with the constants of self-normalizing networks (Klambauer et al., 2017). torch: ``selu``."""
    return _activate("selu", input, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """``x`` where positive, else ``negative_slope * x``. torch: ``leaky_relu``."""
    return _activate("leaky_relu", input, inplace, negative_slope)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """``x`` where ``x > threshold``, else ``value``. torch: ``threshold``."""
    check_tensor("threshold", "input", input)
    if type_of(input).dtype.kind in "iu":
        return in_place(input, with_numbers("threshold", input, int(threshold), int(value)), inplace)
    return _activate("threshold", input, inplace, threshold, value)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """``min(max(x + 3, 0), 6) / 6``. torch: ``hardsigmoid``."""
    return _activate("hardsigmoid", input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """``x * hardsigmoid(x)``. torch: ``hardswish``."""
    return _activate("hardswish", input, inplace)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``. torch: ``softplus``."""
    return _activate("softplus", input, False, beta, threshold)


def softsign(input: Any) -> Any:
    """``x / (1 + |x|)``. torch: ``softsign``."""
    check_tensor("softsign", "input", input)
    return _activate("softsign", _to_floating(input), False)


def logsigmoid(input: Any) -> Any:
    """``log(1 / (1 + exp(-x)))``, without overflow. torch: ``logsigmoid``."""
    return _activate("logsigmoid", input, False)


def tanhshrink(input: Any) -> Any:
    """``x - tanh(x)``. torch: ``tanhshrink``."""
    check_tensor("tanhshrink", "input", input)
    return _activate("tanhshrink", _to_floating(input), False)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """``x - lambd`` above ``lambd``, ``x + lambd`` below ``-lambd``, 0 between. torch: ``softshrink``."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _activate("softshrink", input, False, lambd)


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """``x`` where ``|x| > lambd``, else 0. torch: ``hardshrink``."""
    return _activate("hardshrink", input, False, lambd)


def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-x))``. torch: ``sigmoid``."""
    check_tensor("sigmoid", "input", input)
    return apply_named("sigmoid", _to_floating(input))


def tanh(input: Any) -> Any:
    """Hyperbolic tangent. torch: ``tanh``."""
    check_tensor("tanh", "input", input)
    return apply_named("tanh", _to_floating(input))


def prelu(input: Any, weight: Any) -> Any:
    """``x`` where positive, else ``weight * x``.

    Args:
        weight: one element, or one per channel (axis 1).

    torch: ``prelu``.
    """
    check_floating("prelu", input)
    check_tensor("prelu", "weight", weight)
    return apply_named("prelu", input, weight)


def glu(input: Any, dim: int = -1) -> Any:
    """``a * sigmoid(b)`` with the halves a, b of the input along ``dim``. torch: ``glu``."""
    check_floating("glu", input)
    return apply_named("glu", input, attrs=(axis_of("glu", input, dim),))


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Any:
    """leaky_relu with a slope that is drawn per element from [lower, upper) in training, their mean otherwise.

    torch: ``rrelu``.
    """
    check_floating("rrelu", input)
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound. "
                           f"Received: lower={lower}, upper={upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    key, count = stream()
    out, _ = apply_named("rrelu", input, key, count, number(input, lower), number(input, upper))
    return in_place(input, out, inplace)


# --- softmax --------------------------------------------------------------------------------------

def _implicit_axis(function: str, ndim: int) -> int:
    """torch's axis for ``dim=None`` (deprecated there, with a warning)."""
    import warnings
    warnings.warn(f"Implicit dimension choice for {function} has been deprecated. Change the call to include dim=X "
                  f"as an argument.", UserWarning, stacklevel=4)
    return 0 if ndim in (0, 1, 3) else 1


def _along_axis(name: str, function: str, x: Any, dim: int | None, dtype: dt.DType | None) -> Any:
    check_tensor(function, "input", x)
    if dim is None:
        dim = _implicit_axis(function, type_of(x).ndim)
    return (softmax_along if name == "softmax" else log_softmax_along)(x, dim, dtype)


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: dt.DType | None = None) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``.

    Args:
        dim: the axis; None chooses as torch does, with its warning. dtype: convert the input first.

    torch: ``softmax``.

    >>> import gemel
    >>> gemel.nn.functional.softmax(gemel.tensor([0.0, 0.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    return _along_axis("softmax", "softmax", input, dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: dt.DType | None = None) -> Any:
    """``softmax(-x)``. torch: ``softmin``."""
    check_tensor("softmin", "input", input)
    return _along_axis("softmax", "softmin", apply_named("neg", input), dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: dt.DType | None = None) -> Any:
    """``log(softmax(x))``, without overflow. torch: ``log_softmax``."""
    return _along_axis("log_softmax", "log_softmax", input, dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A sample of the Gumbel-softmax distribution (Jang et al., 2017), one-hot in the forward pass if ``hard``.

    The gradient of the hard sample is that of the soft one (straight through). torch: ``gumbel_softmax``.
    """
    check_floating("gumbel_softmax", logits)
    if eps != 1e-10:
        import warnings
        warnings.warn("`eps` parameter is deprecated and has no effect.", UserWarning, stacklevel=2)
    axis = axis_of("gumbel_softmax", logits, dim)
    key, count = stream()
    noisy = apply_named("gumbel_noise", logits, key, count, number(logits, tau))
    soft = apply_named("softmax", noisy, attrs=(axis,))
    return apply_named("straight_through_one_hot", soft, attrs=(axis,)) if hard else soft


# --- in place -------------------------------------------------------------------------------------

def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(input: Any, *args: Any, **kwargs: Any) -> Any:
        return function(input, *args, inplace=True, **kwargs)
    run.__name__ = run.__qualname__ = f"{function.__name__}_"
    run.__doc__ = f"In-place version of ``{function.__name__}``. torch: ``{function.__name__}_``."
    return run


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold)
