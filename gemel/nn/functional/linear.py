"""Affine and bilinear maps."""
from __future__ import annotations

from typing import Any

from ...engine.base.errors import ShapeError
from ...tensor.recording import apply_named
from .common import check_floating, check_same_dtype, check_tensor, given, type_of

__all__ = ["bilinear", "linear"]


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight^T + bias``.

    Args:
        input: (..., in). weight: (out, in) or (in,). bias: (out,) or (), or None.

    torch: ``linear``.

    >>> import gemel
    >>> gemel.nn.functional.linear(gemel.tensor([1.0, 2.0]), gemel.tensor([[3.0, 4.0]]))
    tensor([11.])
    """
    check_tensor("linear", "input", input)
    check_tensor("linear", "weight", weight)
    return apply_named("linear", input, weight, *given(bias))


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """``x1^T W_o x2 + bias_o`` for each output o.

    Args:
        input1: (..., in1). input2: (..., in2). weight: (out, in1, in2). bias: (out,), or None.

    torch: ``bilinear``.
    """
    check_floating("bilinear", input1, "input1")
    check_same_dtype("bilinear", input1, input2=input2, weight=weight, bias=bias)
    a, b, w = type_of(input1).shape, type_of(input2).shape, type_of(weight).shape
    if len(w) != 3 or a[:-1] != b[:-1] or a[-1:] != w[1:2] or b[-1:] != w[2:]:
        raise ShapeError(f"bilinear(): input1 (..., in1), input2 (..., in2) and weight (out, in1, in2) do not fit. "
                         f"Received: {list(a)}, {list(b)} and {list(w)}")
    return apply_named("bilinear", input1, input2, weight, *given(bias))
