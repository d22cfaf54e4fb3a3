"""Adam, AdamW, NAdam and RAdam."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_rate, check_switches, composite, counter, number_of

__all__ = ["Adam", "AdamW", "NAdam", "RAdam"]


def check_adam(lr: Any, betas: Any, eps: float, weight_decay: float) -> None:
    """torch's checks of the arguments that the family shares."""
    check_rate(lr)
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

    _numbers = ("step",)

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

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
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


class NAdam(Optimizer):
    """NAdam (Dozat, 2016): Adam with Nesterov's momentum, ``p -= lr * (c1 * g + c2 * m) / (sqrt(v^) + eps)``.

    The momentum of step ``t`` is ``mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)``, ``c1 = (1 - mu_t) / (1 - mu_1
    ... mu_t)`` and ``c2 = mu_{t+1} / (1 - mu_1 ... mu_{t+1})``.

    Args:
        params: parameters or groups. lr: learning rate. betas: decay of the running means. eps: added to the root.
        weight_decay: L2 penalty (``decoupled_weight_decay``: of the parameter itself, as AdamW). momentum_decay: as
        above. maximize: climb instead. foreach, capturable: accepted.
    Raises: ValueError for a number out of its range.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.ones(2))
    >>> opt = optim.NAdam([p], lr=0.1)
    >>> p.sum().backward()
    >>> opt.step()
    >>> p.data
    tensor([0.8944, 0.8944])

    torch: ``torch.optim.NAdam``
    """

    _numbers = ("step", "mu_product")

    def __init__(self, params: Any, lr: Any = 2e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        check_adam(lr, betas, eps, weight_decay)
        check_range("momentum_decay value", momentum_decay, 0.0)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        super()._start(p, state, group, names)
        state["mu_product"] = counter(1.0)

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("nadam_step", n, bool(group["decoupled_weight_decay"]), bool(group["maximize"]),
                         group["weight_decay"] != 0)

    def _next(self, group: dict[str, Any], at: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        step = at[0] + 1.0
        lr, wd, decay = number_of(group["lr"]), float(group["weight_decay"]), float(group["momentum_decay"])
        beta1, beta2 = map(number_of, group["betas"])
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))
        following = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1.0) * decay))
        product = float(np.float32(at[1]) * np.float32(mu))
        return (wd, 1.0 - lr * wd, 1.0 - beta1, beta2, 1.0 - beta2, float(group["eps"]), 1.0 - beta2**step,
                -lr * (1.0 - mu) / (1.0 - product), -lr * following / (1.0 - product * following)), (step, product)


class RAdam(Optimizer):
    """RAdam (Liu et al., 2019): Adam whose first steps, while ``v`` has no bounded variance, are those of momentum.

    ``p -= lr * m^ * r_t * sqrt(1 - beta2^t) / (sqrt(v) + eps)`` with the rectification ``r_t`` once ``rho_t > 5``,
    else ``p -= lr * m^``.

    Args:
        params: parameters or groups. lr: learning rate. betas: decay of the running means. eps: added to the root.
        weight_decay: L2 penalty (``decoupled_weight_decay``: of the parameter itself, as AdamW). maximize: climb
        instead. foreach, capturable: accepted.
    Raises: ValueError for a number out of its range.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.ones(2))
    >>> opt = optim.RAdam([p], lr=0.1)
    >>> p.sum().backward()
    >>> opt.step()
    >>> p.data
    tensor([0.9000, 0.9000])

    torch: ``torch.optim.RAdam``
    """

    _numbers = ("step",)

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False) -> None:
        check_adam(lr, betas, eps, weight_decay)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("radam_step", n, bool(group["decoupled_weight_decay"]), bool(group["maximize"]),
                         group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        lr, wd = number_of(group["lr"]), float(group["weight_decay"])
        beta1, beta2 = map(number_of, group["betas"])
        bias2 = 1.0 - beta2**step
        limit = 2.0 / (1.0 - beta2) - 1.0
        length = limit - 2.0 * step * beta2**step / bias2
        rectified = length > 5.0
        rectification = math.sqrt((length - 4.0) * (length - 2.0) * limit
                                  / ((limit - 4.0) * (limit - 2.0) * length)) if rectified else 1.0
        return (lr, wd, 1.0 - lr * wd, 1.0 - beta1, beta2, 1.0 - beta2, float(group["eps"]), 1.0 - beta1**step,
                math.sqrt(bias2), rectification, float(rectified))
