"""Adagrad, Adadelta and Adamax."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.ir.op import Op
from ..tensor.core import from_array
from ..tensor.tensor import Tensor
from .adam import check_adam
from .optimizer import Optimizer, check_range, check_switches, composite, counter, number_of, stored

__all__ = ["Adadelta", "Adagrad", "Adamax"]


def _check_rate(lr: Any, weight_decay: float, eps: float) -> None:
    if isinstance(lr, Tensor) and lr._read().type.size != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_range("learning rate", lr, 0.0)
    check_range("weight_decay value", weight_decay, 0.0)
    check_range("epsilon value", eps, 0.0)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011): ``p -= lr * g / (sqrt(sum of g^2) + eps)``.

    Args:
        params: parameters or groups. lr: learning rate; at step ``t`` divided by ``1 + (t - 1) * lr_decay``.
        weight_decay: L2 penalty. initial_accumulator_value: what the sum begins with. eps: added to the root.
        maximize: climb instead. foreach, fused: accepted; every step is one fused kernel over all parameters.

    torch: ``torch.optim.Adagrad``
    """

    _counts = True

    def __init__(self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:
        _check_rate(lr, weight_decay, eps)
        check_range("lr_decay value", lr_decay, 0.0)
        check_range("initial_accumulator_value value", initial_accumulator_value, 0.0)
        check_switches(fused=fused, foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused})
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p, self.state[p], group, self._state_names(group))

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        t = p._read().type
        state["step"] = counter(0.0)
        first = self.defaults["initial_accumulator_value"]
        state["sum"] = stored(from_array(np.full(t.shape, first, t.dtype.numpy)))

    def _op(self, group: dict[str, Any], n: int, first: bool, at: float) -> Op:
        return composite("adagrad_step", n, bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        rate = number_of(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        return rate, float(group["weight_decay"]), float(group["eps"])


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012): ``p -= lr * g * sqrt(mean of moves^2 + eps) / sqrt(mean of g^2 + eps)``.

    Args:
        params: parameters or groups. lr: learning rate. rho: decay of the running means. eps: added under the roots.
        weight_decay: L2 penalty. maximize: climb instead. foreach, capturable: accepted.

    torch: ``torch.optim.Adadelta``
    """

    _counts = True

    def __init__(self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
                 foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False,
                 differentiable: bool = False) -> None:
        _check_rate(lr, weight_decay, eps)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def _op(self, group: dict[str, Any], n: int, first: bool, at: float) -> Op:
        return composite("adadelta_step", n, bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        rho = float(group["rho"])
        return number_of(group["lr"]), float(group["weight_decay"]), rho, 1.0 - rho, float(group["eps"])


class Adamax(Optimizer):
    """Adamax (Kingma and Ba, 2015): Adam with the decayed maximum of ``|g|`` in the place of the root.

    Args:
        params: parameters or groups. lr: learning rate. betas: decay of the mean and of the maximum. eps: added to
        ``|g|``. weight_decay: L2 penalty. maximize: climb instead. foreach, capturable: accepted.

    torch: ``torch.optim.Adamax``
    """

    _counts = True

    def __init__(self, params: Any, lr: Any = 2e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        check_adam(lr, betas, eps, weight_decay)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_inf"

    def _op(self, group: dict[str, Any], n: int, first: bool, at: float) -> Op:
        return composite("adamax_step", n, bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        beta1, beta2 = map(number_of, group["betas"])
        rate = number_of(group["lr"]) / (1.0 - beta1**step)
        return rate, float(group["weight_decay"]), 1.0 - beta1, beta2, float(group["eps"])
