"""Adafactor."""
from __future__ import annotations

from typing import Any

from ..engine.ir.op import Op
from .optimizer import Optimizer, check_range, check_rate, check_switches, composite, counter, full_like, number_of

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018): steps as Adagrad's, with state of the size of a row and a column.

    ``p -= alpha * u / max(1, rms(u) / d)`` with ``u = g / sqrt(v)``, ``alpha = max(eps[1], rms(p)) * min(lr,
    1/sqrt(t))`` and ``v`` the running mean (decay ``1 - t^beta2_decay``) of ``g^2``, for matrices the outer product of
    its means along rows and columns.

    Args:
        params: parameters or groups. lr: learning rate at most. beta2_decay: as above. eps: the least ``v`` (None: the
        epsilon of the dtype) and the least scale of a step. d: clipping threshold. weight_decay: of the parameter
        itself. maximize: climb instead. foreach: accepted.
    Raises: ValueError for a number out of its range.

    >>> from gemel import nn, optim
    >>> p = nn.Parameter(gemel.ones(2, 3))
    >>> opt = optim.Adafactor([p])
    >>> p.sum().backward()
    >>> opt.step()
    >>> {name: list(held.shape) for name, held in opt.state[p].items()}
    {'step': [], 'row_var': [2, 1], 'col_var': [1, 3]}

    torch: ``torch.optim.Adafactor``
    """

    _numbers = ("step",)

    def __init__(self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
                 foreach: bool | None = None, maximize: bool = False) -> None:
        check_rate(lr, f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None:
            check_range("eps", eps[0], 0.0, error=f"epsilon1 should be >= 0 but is: {eps[0]}")
        check_range("eps", eps[1], 0.0, error=f"epsilon2 should be >= 0 but is: {eps[1]}")
        check_range("d", d, 1.0, error=f"Clipping threshold d should be >= 1 but is: {d}")
        check_range("weight_decay", weight_decay, 0.0, error=f"weight_decay should be >= 0 but is: {weight_decay}")
        check_switches(foreach=foreach)
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize})

    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        return ("row_var", "col_var") if ndim > 1 else ("variance",)

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        shape = p._value.type.shape
        state["step"] = counter(0.0)
        if len(shape) > 1:
            state["row_var"] = full_like(p, 0, (*shape[:-1], 1))
            state["col_var"] = full_like(p, 0, (*shape[:-2], 1, shape[-1]))
        else:
            state["variance"] = full_like(p, 0)

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        return composite("adafactor_step", n, len(names) > 1, group["eps"][0] is None, bool(group["maximize"]),
                         group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        lr, (eps1, eps2) = number_of(group["lr"]), group["eps"]
        return (1.0 - lr * float(group["weight_decay"]), step ** float(group["beta2_decay"]),
                min(lr, 1.0 / step**0.5), float(eps1 or 0.0), float(eps2), float(group["d"]))
