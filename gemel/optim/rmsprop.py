"""RMSprop."""
from __future__ import annotations

from typing import Any

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_switches, composite, number_of

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e): ``p -= lr * g / (sqrt(v) + eps)`` with ``v`` the running mean of ``g^2``.

    Args:
        params: parameters or groups. lr: learning rate. alpha: decay of the running mean. eps: added to the root.
        weight_decay: L2 penalty. momentum: factor of a momentum buffer. centered: subtract the squared mean of ``g``
        (Graves, 2013). maximize: climb instead. foreach, capturable: accepted.

    torch: ``torch.optim.RMSprop``
    """

    _numbers = ("step",)

    def __init__(self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
                 momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("epsilon value", eps, 0.0)
        check_range("momentum value", momentum, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        check_range("alpha value", alpha, 0.0)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return tuple(names)

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("rmsprop_step", n, group["momentum"] > 0, bool(group["centered"]), bool(group["maximize"]),
                         group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        alpha = float(group["alpha"])
        return (number_of(group["lr"]), float(group["weight_decay"]), alpha, 1.0 - alpha, float(group["eps"]),
                float(group["momentum"]))
