"""Adagrad, Adadelta, Adamax and Rprop."""
from __future__ import annotations

from typing import Any

from ..engine.ir.op import Op
from .adam import check_adam
from .optimizer import Optimizer, check_range, check_rate, check_switches, composite, counter, full_like, number_of

__all__ = ["Adadelta", "Adagrad", "Adamax", "Rprop"]


def _check_rate(lr: Any, weight_decay: float, eps: float) -> None:
    check_rate(lr)
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

    _numbers = ("step",)

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
                self._start(p, self.state[p], group, self._state_names(group, p.ndim))

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return ("sum",)

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        state["step"] = counter(0.0)
        state["sum"] = full_like(p, self.defaults["initial_accumulator_value"])

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
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

    _numbers = ("step",)

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

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
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

    _numbers = ("step",)

    def __init__(self, params: Any, lr: Any = 2e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        check_adam(lr, betas, eps, weight_decay)
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return "exp_avg", "exp_inf"

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("adamax_step", n, bool(group["maximize"]), group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        beta1, beta2 = map(number_of, group["betas"])
        rate = number_of(group["lr"]) / (1.0 - beta1**step)
        return rate, float(group["weight_decay"]), 1.0 - beta1, beta2, float(group["eps"])


class Rprop(Optimizer):
    """Rprop (Riedmiller and Braun, 1993): steps by the sign of the gradient, of a size that each element learns.

    The size grows by ``etas[1]`` where the sign of the gradient stayed, shrinks by ``etas[0]`` where it turned (and
    the element then waits for a step); for gradients of the whole data set, not of batches.

    Args:
        params: parameters or groups. lr: the first size. etas: factors. step_sizes: the least and the largest size.
        maximize: climb instead. foreach, capturable: accepted.
    Raises: ValueError for a number out of its range.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.tensor([1.0, -3.0]))
    >>> opt = optim.Rprop([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> opt.step()
    >>> p.data
    tensor([ 0.9000, -2.9000])

    torch: ``torch.optim.Rprop``
    """

    _numbers = ("step",)

    def __init__(self, params: Any, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False) -> None:
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        check_switches(foreach=foreach, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return "prev", "step_size"

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        super()._start(p, state, group, names)
        state["step_size"] = full_like(p, number_of(group["lr"]))

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("rprop_step", n, bool(group["maximize"]))

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        return (*map(float, group["etas"]), *map(float, group["step_sizes"]))
