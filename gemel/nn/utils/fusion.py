"""Batch normalization as part of the layer before it, for evaluation."""
from __future__ import annotations

import copy
from typing import Any

from ...tensor.creation import ones_like, zeros_like
from ...tensor.grad_mode import no_grad
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _fused(weight: Any, bias: Any, mean: Any, var: Any, eps: float, scale: Any, shift: Any,
           shape: list[int]) -> tuple[Parameter, Parameter]:
    """``w s`` and ``(b - mean) s + shift`` with ``s = scale / sqrt(var + eps)``, as parameters."""
    trained = weight.requires_grad, bias is not None and bias.requires_grad
    dtypes = weight.dtype, weight.dtype if bias is None else bias.dtype
    with no_grad():
        bias = zeros_like(mean) if bias is None else bias
        scale = ones_like(mean) if scale is None else scale
        shift = zeros_like(mean) if shift is None else shift
        inverse = (var + eps).rsqrt()
        new_weight = (weight * (scale * inverse).reshape(shape)).to(dtypes[0])
        new_bias = ((bias - mean) * inverse * scale + shift).to(dtypes[1])
    return Parameter(new_weight, trained[0]), Parameter(new_bias, trained[1])


def fuse_conv_bn_weights(conv_w: Any, conv_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any,
                         transpose: bool = False) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution that includes the batch norm after it.

    Args:
        conv_w, conv_b: of the convolution. bn_rm, bn_rv, bn_eps, bn_w, bn_b: running mean and variance, epsilon,
        weight and bias of the batch norm. transpose: of a transposed convolution. Biases and ``bn_w`` may be None.

    >>> one, zero = gemel.ones(1), gemel.zeros(1)
    >>> w, b = gemel.nn.utils.fuse_conv_bn_weights(gemel.ones(1, 1, 1), None, zero, one, 0.0, 2 * one, 3 * one)
    >>> w.item(), b.item()
    (2.0, 3.0)

    torch: ``torch.nn.utils.fuse_conv_bn_weights``
    """
    ends = [1] * (conv_w.dim() - 2)
    shape = [1, -1, *ends] if transpose else [-1, 1, *ends]
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_linear_bn_weights(linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any,
                           bn_b: Any) -> tuple[Parameter, Parameter]:
    """Weight and bias of a linear layer that includes the batch norm after it. The arguments are those of
    :func:`fuse_conv_bn_weights`.

    >>> one, zero = gemel.ones(1), gemel.zeros(1)
    >>> w, b = gemel.nn.utils.fuse_linear_bn_weights(gemel.ones(1, 2), None, zero, one, 0.0, 2 * one, 3 * one)
    >>> w.tolist(), b.item()
    ([[2.0, 2.0]], 3.0)

    torch: ``torch.nn.utils.fuse_linear_bn_weights``
    """
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, [-1, 1])


def _check(layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A new convolution that does what ``bn(conv(x))`` does.

    Args:
        conv, bn: both in evaluation mode, ``bn`` with running statistics. transpose: ``conv`` is a transposed one.
    Raises: AssertionError for layers in training, or without statistics.

    >>> from gemel import nn
    >>> conv, bn, x = nn.Conv2d(1, 2, 3).eval(), nn.BatchNorm2d(2).eval(), gemel.ones(1, 1, 4, 4)
    >>> bool(gemel.allclose(nn.utils.fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), atol=1e-6))
    True

    torch: ``torch.nn.utils.fuse_conv_bn_eval``
    """
    _check(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps,
                                                    bn.weight, bn.bias, transpose)
    return fused


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A new linear layer that does what ``bn(linear(x))`` does.

    Args:
        linear, bn: both in evaluation mode, ``bn`` with running statistics of as many features, or of one.
    Raises: AssertionError for layers in training, without statistics or of other numbers of features.

    >>> from gemel import nn
    >>> linear, bn, x = nn.Linear(3, 2).eval(), nn.BatchNorm1d(2).eval(), gemel.ones(1, 3)
    >>> bool(gemel.allclose(nn.utils.fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)), atol=1e-6))
    True

    torch: ``torch.nn.utils.fuse_linear_bn_eval``
    """
    _check(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(f"To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
                             f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}")
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps,
                                                      bn.weight, bn.bias)
    return fused
