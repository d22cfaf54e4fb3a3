"""Stochastic gradient descent."""
from __future__ import annotations

from typing import Any

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_switches, composite, number_of

__all__ = ["SGD"]


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

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def _op(self, group: dict[str, Any], n: int, first: bool, at: float) -> Op:
        return composite("sgd_step", n, group["momentum"] != 0, first, bool(group["nesterov"]),
                         bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        return (number_of(group["lr"]), number_of(group["weight_decay"]), float(group["momentum"]),
                1.0 - group["dampening"])
