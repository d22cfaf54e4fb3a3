"""Adam and AdamW."""
from __future__ import annotations

import math
from typing import Any

from ..engine.ir.op import Op
from ..tensor.tensor import Tensor
from .optimizer import Optimizer, check_range, check_switches, composite, number_of

__all__ = ["Adam", "AdamW"]


def check_adam(lr: Any, betas: Any, eps: float, weight_decay: float) -> None:
    """torch's checks of the arguments that the family shares."""
    if isinstance(lr, Tensor) and lr._read().type.size != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_range("learning rate", lr, 0.0)
    check_range("epsilon value", eps, 0.0)
    check_range("beta parameter at index 0", betas[0], 0.0, 1.0)
    check_range("beta parameter at index 1", betas[1], 0.0, 1.0)
    check_range("weight_decay value", weight_decay, 0.0)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): ``p -= lr * m^ / (sqrt(v^) + eps)``, with the running means ``m`` of the gradient
    and ``v`` of its square, corrected for their start at zero.

    Args:
        params: parameters or groups. lr: learning rate. betas: decay of the running means. eps: added to the root.
        weight_decay: L2 penalty (``decoupled_weight_decay``: of the parameter itself, as AdamW). amsgrad: divide by
        the largest ``v`` so far (Reddi et al., 2018). maximize: climb instead. foreach, fused, capturable: accepted;
        every step is one fused kernel over all parameters.

    torch: ``torch.optim.Adam``
    """

    _counts = True

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False) -> None:
        check_adam(lr, betas, eps, weight_decay)
        check_switches(fused=fused, foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay})

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _op(self, group: dict[str, Any], n: int, first: bool, at: float) -> Op:
        return composite("adam_step", n, bool(group.get("decoupled_weight_decay")), bool(group["amsgrad"]),
                         bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        lr, wd = number_of(group["lr"]), float(group["weight_decay"])
        beta1, beta2 = map(number_of, group["betas"])
        return (lr, wd, 1.0 - lr * wd, beta1, 1.0 - beta1, beta2, 1.0 - beta2, float(group["eps"]),
                lr / (1.0 - beta1**step), math.sqrt(1.0 - beta2**step))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): ``p -= lr * weight_decay * p`` beside the step.

    torch: ``torch.optim.AdamW``
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
