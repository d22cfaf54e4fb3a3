"""Averages of models along training: stochastic weight averaging and exponential moving averages."""
from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..nn.modules.batchnorm import _BatchNorm
from ..nn.modules.module import Module
from ..tensor.creation import tensor
from ..tensor.grad_mode import no_grad
from .lr_scheduler import LRScheduler, per_group
from .optimizer import Optimizer

__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
           "get_swa_multi_avg_fn", "update_bn"]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[list[Any], list[Any], Any], None]:
    """The function ``(averages, parameters, number)`` that writes ``decay * average + (1 - decay) * parameter``.

    Args:
        decay: between 0 and 1. Raises: ValueError for another one.

    >>> update = gemel.optim.swa_utils.get_ema_multi_avg_fn(0.5)
    >>> average = gemel.zeros(2)
    >>> update([average], [gemel.ones(2)], 1)
    >>> average
    tensor([0.5000, 0.5000])

    torch: ``torch.optim.swa_utils.get_ema_multi_avg_fn``
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list: list[Any], current_param_list: list[Any], num_averaged: Any) -> None:
        for average, param in zip(ema_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(param, 1 - decay)
            else:
                average.copy_(average * decay + param * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable[[list[Any], list[Any], Any], None]:
    """The function ``(averages, parameters, number)`` that writes the mean of ``number + 1`` models.

    >>> average = gemel.zeros(2)
    >>> gemel.optim.swa_utils.get_swa_multi_avg_fn()([average], [gemel.ones(2)], 3)
    >>> average
    tensor([0.2500, 0.2500])

    torch: ``torch.optim.swa_utils.get_swa_multi_avg_fn``
    """
    @no_grad()
    def swa_update(averaged_param_list: list[Any], current_param_list: list[Any], num_averaged: Any) -> None:
        for average, param in zip(averaged_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(param, float(1 / (num_averaged + 1)))
            else:
                average.addcdiv_(param - average, tensor(num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """The function ``(average, parameter, number)`` that returns ``decay * average + (1 - decay) * parameter``.

    Args:
        decay: between 0 and 1. Raises: ValueError for another one.

    >>> gemel.optim.swa_utils.get_ema_avg_fn(0.5)(gemel.zeros(2), gemel.ones(2), 1)
    tensor([0.5000, 0.5000])

    torch: ``torch.optim.swa_utils.get_ema_avg_fn``
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """The function ``(average, parameter, number)`` that returns the mean of ``number + 1`` models.

    >>> gemel.optim.swa_utils.get_swa_avg_fn()(gemel.zeros(2), gemel.ones(2), 3)
    tensor([0.2500, 0.2500])

    torch: ``torch.optim.swa_utils.get_swa_avg_fn``
    """
    @no_grad()
    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of those seen by :meth:`update_parameters`.

    Args:
        model: what is copied. device: where the copy is kept. avg_fn: ``(average, parameter, number)`` returns the new
        average. multi_avg_fn: ``(averages, parameters, number)`` writes them (None both: the mean). use_buffers:
        average the buffers as well, instead of copying them.

    >>> from gemel import nn
    >>> from gemel.optim.swa_utils import AveragedModel
    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedModel(model)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item(), averaged.n_averaged
    (3.0, tensor(3))

    torch: ``torch.optim.swa_utils.AveragedModel``
    """

    n_averaged: Any

    def __init__(self, model: Module, device: Any = None, avg_fn: Callable[[Any, Any, Any], Any] | None = None,
                 multi_avg_fn: Callable[[list[Any], list[Any], Any], None] | None = None,
                 use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    def _averaged(self, model: Module) -> Iterable[Any]:
        return chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the parameters of ``model`` into the average (the first time: copy them)."""
        mine = [p.detach() for p in self._averaged(self.module)]
        theirs = [p.detach().to(p_mine.device)
                  for p, p_mine in zip(self._averaged(model), mine, strict=True)]
        if bool(self.n_averaged == 0):
            for average, param in zip(mine, theirs, strict=True):
                average.copy_(param)
        elif self.multi_avg_fn is not None:
            by_dtype: dict[Any, tuple[list[Any], list[Any]]] = {}
            for average, param in zip(mine, theirs, strict=True):
                averages, params = by_dtype.setdefault(average.dtype, ([], []))
                averages.append(average)
                params.append(param)
            for averages, params in by_dtype.values():
                self.multi_avg_fn(averages, params, self.n_averaged)
        else:
            average_of = self.avg_fn or get_swa_avg_fn()
            for average, param in zip(mine, theirs, strict=True):
                average.copy_(average_of(average, param, self.n_averaged))
        if not self.use_buffers:
            for mine_too, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
                mine_too.detach().copy_(buffer.detach().to(mine_too.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of all batch norms of ``model`` anew, as means over the batches of ``loader``.

    Args:
        loader: batches: tensors, or lists and tuples whose first element is the input. model: what is called on them.
        device: where the inputs are moved first.

    >>> from gemel import nn
    >>> model = nn.Sequential(nn.BatchNorm1d(1))
    >>> gemel.optim.swa_utils.update_bn([gemel.tensor([[1.0], [3.0]]), gemel.tensor([[5.0], [7.0]])], model)
    >>> model[0].running_mean
    tensor([4.])

    torch: ``torch.optim.swa_utils.update_bn``
    """
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present learning rate to ``swa_lr`` in ``anneal_epochs`` steps, along half a cosine or a line.

    Args:
        optimizer: whose groups are scheduled. swa_lr: the last learning rate, of all groups or of each.
        anneal_epochs: number of steps. anneal_strategy: ``"cos"`` or ``"linear"``. last_epoch: where to go on (-1:
        begin). Raises: ValueError for another strategy or a negative number.

    >>> opt = gemel.optim.SGD([gemel.nn.Parameter(gemel.ones(1))], lr=1.0)
    >>> schedule = gemel.optim.swa_utils.SWALR(opt, swa_lr=0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> for _ in range(3):
    ...     opt.step()
    ...     schedule.step()
    ...     print(schedule.get_last_lr())
    [0.75]
    [0.5]
    [0.5]

    torch: ``torch.optim.swa_utils.SWALR``
    """

    def __init__(self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos",
                 last_epoch: int = -1) -> None:
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """The way done, from 0 to 1, at the part ``t`` of the time."""
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[float]:
        now = self._asked()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        length = max(1, self.anneal_epochs)
        before = self.anneal_func(max(0, min(1, (step - 1) / length)))
        after = self.anneal_func(max(0, min(1, step / length)))
        rates = []
        for group, lr in zip(self.optimizer.param_groups, now, strict=True):
            goal = group["swa_lr"]
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            rates.append(goal * after + start * (1 - after))
        return rates
