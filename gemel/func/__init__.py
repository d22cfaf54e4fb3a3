"""Transforms of functions: derivatives, batching, and modules as functions of their parameters; they nest freely.

torch: ``torch.func``
"""
from __future__ import annotations

from .differentiate import grad, grad_and_value, jvp, linearize, vjp
from .jacobian import hessian, jacfwd, jacrev
from .module import functional_call, stack_module_state
from .vmap import vmap

__all__ = ["vjp", "jvp", "grad", "grad_and_value", "vmap", "jacrev", "jacfwd", "hessian", "linearize",
           "functional_call", "stack_module_state"]
