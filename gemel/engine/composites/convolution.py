"""Convolutions with their bias: one node, so that the bias is an epilogue of the kernel."""
from __future__ import annotations

from ..autodiff.vjp import vjp
from ..base.errors import DTypeError, ShapeError
from .base import composite

_WINDOW = ("stride", "padding", "dilation", "groups")


def _check_bias(channels_of):
    def check(attrs, x, w, *bias):
        if not bias:
            return
        if bias[0].shape != (n := channels_of(attrs, w),):
            raise ShapeError(f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with {n} "
                             f"elements, but got bias of size {list(bias[0].shape)} instead")
        if bias[0].dtype is not w.dtype:
            raise DTypeError(f"Input type ({x.dtype.name}) and bias type ({bias[0].dtype.name}) should be the same")
    return check


def _with_bias(b, y, bias):
    if not bias:
        return y
    column = b.reshape(bias[0], (y.type.shape[1], *(1 for _ in y.type.shape[2:])))
    return b.add(y, b.expand(column, y.type.shape))


def _bias_gradient(b, g):
    return b.reduce_sum(g, tuple(i for i in range(g.type.ndim) if i != 1))


def _window(a):
    return {name: getattr(a, name) for name in _WINDOW}


@composite("convolution", -1, _WINDOW, check=_check_bias(lambda a, w: w.shape[0]))
def convolution(b, x, w, *bias, **window):
    """cross-correlation of x (N, C, *size) with w (O, C/groups, *kernel), plus bias (O,)"""
    return _with_bias(b, b.conv(x, w, **window), bias)


@vjp("convolution", inputs=(0, 1))
def _convolution(b, g, s):
    x, w = s.inputs
    grads = (b.conv_transpose(g, w, size=x.type.shape[2:], **_window(s.attrs)),
             b.conv_weight_grad(x, g, kernel=w.type.shape[2:], **_window(s.attrs)))
    return (*grads, _bias_gradient(b, g)) if len(s.types) == 3 else grads


@composite("convolution_transpose", -1, ("size", *_WINDOW), check=_check_bias(lambda a, w: w.shape[1] * a.groups))
def convolution_transpose(b, x, w, *bias, **window):
    """the gradient of a convolution in its input, as a layer: x (N, C, *in), w (C, O/groups, *kernel), bias (O,)"""
    return _with_bias(b, b.conv_transpose(x, w, **window), bias)


@vjp("convolution_transpose", inputs=(0, 1))
def _convolution_transpose(b, g, s):
    x, w = s.inputs
    grads = (b.conv(g, w, **_window(s.attrs)),
             b.conv_weight_grad(g, x, kernel=w.type.shape[2:], **_window(s.attrs)))
    return (*grads, _bias_gradient(b, g)) if len(s.types) == 3 else grads
