"""Muon."""
from __future__ import annotations

from typing import Any

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_rate, composite, number_of

__all__ = ["Muon"]


class Muon(Optimizer):
    """Muon (Jordan et al., 2024): momentum whose singular values are brought to about one, for the matrices of hidden
    layers; give other parameters to AdamW.

    ``p = (1 - lr * weight_decay) * p - lr * ratio * NS(momentum)``: ``NS`` iterates ``x <- a x + (b x x^T + c (x
    x^T)^2) x`` in bfloat16.

    Args:
        params: 2-D parameters, or groups of them. lr: learning rate. weight_decay: of the parameter itself. momentum,
        nesterov: of the running mean of the gradient. ns_coefficients: ``(a, b, c)``. eps: the least norm that is
        divided by. ns_steps: number of iterations. adjust_lr_fn: ``"original"`` (None) or ``"match_rms_adamw"``: how
        the step is scaled with the shape, by ``sqrt(max(1, rows/columns))`` or ``0.2 sqrt(max(rows, columns))``.
    Raises: ValueError for a number out of its range or a parameter that is not 2-D.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.eye(2))
    >>> opt = optim.Muon([p], lr=0.1, weight_decay=0.5)
    >>> list(opt.param_groups[0])[1:5]
    ['lr', 'weight_decay', 'momentum', 'nesterov']

    torch: ``torch.optim.Muon``
    """

    def __init__(self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
                 nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None) -> None:
        check_rate(lr, f"Learning rate should be >= 0 but is: {lr}")
        check_range("momentum", momentum, 0.0, error=f"momentum should be >= 0 but is: {momentum}")
        check_range("weight_decay", weight_decay, 0.0, error=f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: "
                                     f"{p.size()}")

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        return composite("muon_step", n, bool(group["nesterov"]), int(group["ns_steps"]),
                         group["adjust_lr_fn"] == "match_rms_adamw")

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        lr, momentum = number_of(group["lr"]), float(group["momentum"])
        return (lr, 1.0 - lr * float(group["weight_decay"]), momentum, 1.0 - momentum,
                *map(float, group["ns_coefficients"]), float(group["eps"]))
