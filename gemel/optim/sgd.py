"""Stochastic gradient descent, and its average."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_rate, check_switches, composite, counter, number_of

__all__ = ["ASGD", "SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's if wanted: ``p -= lr * d``.

    ``d = g + weight_decay * p``; with momentum ``buf = momentum * buf + (1 - dampening) * d`` takes the place of
    ``d`` (Nesterov: ``d + momentum * buf``).

    Args:
        params: parameters or groups. lr: learning rate. momentum, dampening, weight_decay, nesterov: as above.
        maximize: climb instead. foreach, fused: accepted; every step is one fused kernel over all parameters.

    torch: ``torch.optim.SGD``
    """

    _made_by_first = True

    def __init__(self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("momentum value", momentum, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        check_switches(fused=fused, foreach=foreach, differentiable=differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
            "fused": fused})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("sgd_step", n, group["momentum"] != 0, first, bool(group["nesterov"]),
                         bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        return (number_of(group["lr"]), number_of(group["weight_decay"]), float(group["momentum"]),
                1.0 - group["dampening"])


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992): ``p = (1 - lambd * eta) * p - eta * g``.

    After step ``t``, ``eta = lr / (1 + lambd * lr * t)^alpha``; from step ``t0`` on, the state ``ax`` is the mean of
    the parameters seen since.

    Args:
        params: parameters or groups. lr: learning rate. lambd: decay term. alpha: power of the decay of ``eta``.
        t0: when averaging begins. weight_decay: L2 penalty. maximize: climb instead. foreach, capturable: accepted.
    Raises: ValueError for a number out of its range.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.ones(2))
    >>> opt = optim.ASGD([p], lr=0.5, lambd=0.1)
    >>> p.sum().backward()
    >>> opt.step()
    >>> p.data
    tensor([0.4500, 0.4500])

    torch: ``torch.optim.ASGD``
    """

    _numbers = ("step", "eta", "mu")

    def __init__(self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
                 weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        check_rate(lr)
        check_range("weight_decay value", weight_decay, 0.0)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return ("ax",)

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        super()._start(p, state, group, names)
        state.update(eta=counter(_rounded(number_of(group["lr"]))), mu=counter(1.0))

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("asgd_step", n, bool(group["maximize"]), group["weight_decay"] != 0)

    def _next(self, group: dict[str, Any], at: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        step, eta, mu = at[0] + 1.0, at[1], at[2]
        lr, lambd = number_of(group["lr"]), float(group["lambd"])
        after = (step, _rounded(lr / (1.0 + lambd * lr * step) ** group["alpha"]),
                 _rounded(1.0 / max(1.0, step - group["t0"])))
        return (float(group["weight_decay"]), 1.0 - lambd * eta, eta, mu, float(mu != 1.0)), after


def _rounded(number: float) -> float:
    """As a float32 holds it: what the state is, in torch too."""
    return float(np.float32(number))
