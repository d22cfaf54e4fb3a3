"""Gradient clipping, without waiting for the norm to be computed."""
from __future__ import annotations

import types
import warnings
from collections.abc import Iterable
from typing import Any

from ...engine.base import dtypes as dt
from ...engine.runtime.trace import scalar
from ...tensor.creation import zeros
from ...tensor.grad_mode import no_grad
from ...tensor.joining import stack
from ...tensor.recording import apply_named, wrap
from ...tensor.tensor import Tensor

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _tensors(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _grads(parameters: Any) -> list[Any]:
    return [p.grad for p in _tensors(parameters) if p.grad is not None]


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Any:
    """The norm of all tensors as one vector, a 0-d tensor.

    Args:
        norm_type: the order, also infinity. error_if_nonfinite: raise RuntimeError if it is NaN or infinite (this
            waits for the number). foreach: ignored; the tensors are always handled together.

    torch: ``nn.utils.get_total_norm``
    """
    found, norm_type = _tensors(tensors), float(norm_type)
    if not found:
        return zeros(())
    with no_grad():
        total = stack([g.norm(norm_type) for g in found]).norm(norm_type)
    if error_if_nonfinite and not abs(total.item()) < float("inf"):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
                           f"cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
                           f"anyway, set `error_if_nonfinite=False`")
    return total


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Any,
                          foreach: bool | None = None) -> None:
    """Multiply the gradients by ``min(1, max_norm / (total_norm + 1e-6))``.

    torch: ``nn.utils.clip_grads_with_norm_``
    """
    with no_grad():
        factor = float(max_norm) / (total_norm + 1e-6)
        dtype = factor._read().type.dtype
        factor = apply_named("clamp_max_scalar", factor, wrap(scalar(1.0, dt.compute_type(dtype))))
        for g in _grads(parameters):
            own = g._read().type.dtype
            g.mul_(factor if own is dtype else factor.to(own))


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False, foreach: bool | None = None) -> Any:
    """Scale the gradients down, in place, so that the norm of all of them together is at most ``max_norm``.

    Args:
        parameters: one tensor or several; those without a gradient are left out. norm_type: order of the norm.
        error_if_nonfinite: raise RuntimeError if the norm is NaN or infinite. foreach: ignored.
    Returns:
        the norm before, a 0-d tensor. Nothing waits for it.

    >>> import gemel
    >>> w = gemel.ones(4, requires_grad=True)
    >>> (w * 3).sum().backward()
    >>> gemel.nn.utils.clip_grad_norm_(w, 1.0), w.grad
    (tensor(6.), tensor([0.5000, 0.5000, 0.5000, 0.5000]))

    torch: ``nn.utils.clip_grad_norm_``
    """
    is_generator = isinstance(parameters, types.GeneratorType)
    found = _tensors(parameters)
    if is_generator and not found:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm(_grads(found), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(found, max_norm, total)
    return total


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                   error_if_nonfinite: bool = False, foreach: bool | None = None) -> Any:
    """The deprecated name of :func:`clip_grad_norm_`. torch: ``nn.utils.clip_grad_norm``"""
    warnings.warn("`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
                  FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Cut the elements of the gradients off at ±``clip_value``, in place. torch: ``nn.utils.clip_grad_value_``"""
    bound = float(clip_value)
    with no_grad():
        for g in _grads(parameters):
            wide = dt.compute_type(g._read().type.dtype)
            g._write(apply_named("clamp_scalar", g, wrap(scalar(-bound, wide)), wrap(scalar(bound, wide))))
