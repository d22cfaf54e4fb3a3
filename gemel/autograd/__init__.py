"""Automatic differentiation: gradients, hooks, functions with their own derivative.

torch: ``torch.autograd``
"""
from __future__ import annotations

from typing import Any

from ..tensor.differentiate import backward, grad
from ..tensor.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from . import forward_ad, functional, graph
from .anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from .function import Function, once_differentiable
from .gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = ["backward", "grad", "no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "Function",
           "once_differentiable", "functional", "forward_ad", "graph",
           "detect_anomaly", "set_detect_anomaly", "is_anomaly_enabled",
           "gradcheck", "gradgradcheck", "GradcheckError", "Variable"]


def Variable(data: Any, requires_grad: bool = False, volatile: Any = None) -> Any:
    """``data`` off the tape, with ``requires_grad`` as given: tensors are variables since long.

    >>> gemel.autograd.Variable(gemel.ones(2), requires_grad=True)
    tensor([1., 1.], requires_grad=True)

    torch: ``autograd.Variable``
    """
    return data.detach().requires_grad_(requires_grad)
