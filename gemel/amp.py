"""Mixed precision as scripts of torch ask for it. torch: ``torch.amp``

``autocast`` of a GPU that is not there is disabled with a warning, as in torch, and so is a ``GradScaler`` for it.
Models are computed in 16 bits here by casting them: ``model.to(gemel.bfloat16)``.
"""
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .engine.base import dtypes as dt
from .engine.base.dtypes import DType
from .engine.base.errors import UnsupportedError
from .engine.runtime import executor
from .tensor.core import TENSOR_CLASSES
from .tensor.devices import device as _device
from .tensor.grad_mode import no_grad
from .tensor.joining import stack

__all__ = ["GradScaler", "autocast", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled"]


def is_autocast_available(device_type: str) -> bool:
    """False. torch: ``amp.is_autocast_available``

    >>> gemel.amp.is_autocast_available("cpu")
    False
    """
    return False


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: nothing is cast by itself. torch: ``is_autocast_enabled``

    Raises:
        RuntimeError: ``device_type`` is none.
    """
    if device_type is not None:
        _device(device_type)
    return False


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype that ``autocast`` would compute in: bfloat16 on a CPU, float16 elsewhere. torch: ``get_autocast_dtype``

    Raises:
        RuntimeError: ``device_type`` is none.

    >>> gemel.get_autocast_dtype("cpu")
    gemel.bfloat16
    """
    return dt.bfloat16 if _device(device_type).type == "cpu" else dt.float16


class autocast:
    """A context (or decorator) in which torch would compute products in 16 bits. Here it only tells what is not there.

    Args:
        device_type: of a GPU: disabled with a warning. ``"cpu"``: only with ``enabled=False``.
    Raises: NotImplementedError for ``"cpu"``; ValueError or RuntimeError for what is no device type.

    >>> with gemel.autocast("cpu", enabled=False):
    ...     y = gemel.ones(2) * 2
    >>> y.dtype
    gemel.float32

    torch: ``amp.autocast``
    """

    def __init__(self, device_type: str, dtype: DType | None = None, enabled: bool = True,
                 cache_enabled: bool | None = None) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = _device(device_type).type
        if enabled and self.device == "cpu":
            raise UnsupportedError("autocast on 'cpu' is not implemented: cast the model and its inputs with "
                                   ".to(gemel.bfloat16), or pass enabled=False")
        if enabled:
            warnings.warn(f"User provided device_type of '{self.device}', but {self.device.upper()} is not available. "
                          f"Disabling", UserWarning, stacklevel=2)

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing was changed."""

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)
        return run


_READY, _UNSCALED, _STEPPED = range(3)


class GradScaler:
    """Losses are multiplied by a scale, gradients divided by it; steps with infinite gradients are left out.

    Args:
        device: of a GPU (the default): disabled with a warning; ``"cpu"``: works. init_scale: the first scale.
        growth_factor, growth_interval: the scale grows after so many good steps. backoff_factor: it shrinks after a bad
        one. enabled: False: losses and steps are what they are without it.
    Raises: AssertionError for a ``growth_factor`` that does not grow, a ``backoff_factor`` that does not shrink.

    >>> w = gemel.nn.Parameter(gemel.ones(1))
    >>> opt, scaler = gemel.optim.SGD([w], lr=0.5), gemel.amp.GradScaler("cpu")
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(opt)
    >>> scaler.update()
    >>> w.item(), scaler.get_scale()
    (0.0, 65536.0)

    torch: ``amp.GradScaler``
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:
        if enabled and device != "cpu":
            warnings.warn(f"torch.{device}.amp.GradScaler is enabled, but {device.upper()} is not available.  "
                          f"Disabling.", UserWarning, stacklevel=2)
            enabled = False
        self._device, self._enabled = device, enabled
        if not enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._scale, self._used = float(init_scale), False
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._stages: dict[int, int] = {}
        self._found: dict[int, bool] = {}

    def scale(self, outputs: Any) -> Any:
        """``outputs`` (a tensor, or an iterable of them) times the scale. Raises: ValueError for something else."""
        if not self._enabled:
            return outputs
        if outputs.__class__ in TENSOR_CLASSES:
            self._used = True
            return outputs * self._scale
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        found = map(self.scale, outputs)
        return type(outputs)(found) if isinstance(outputs, (list, tuple)) else found

    def _check_used(self, name: str) -> None:
        if not self._used:
            raise AssertionError(f"Attempted {name} but _scale is None.  This may indicate your script did not use "
                                 f"scaler.scale(loss or outputs) earlier in the iteration.")

    @no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, and look for infinite ones (this waits).

        Raises: RuntimeError if that was done already; ValueError for float16 gradients.
        """
        if not self._enabled:
            return
        self._check_used("unscale_")
        stage = self._stages.get(id(optimizer), _READY)
        if stage == _UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g.dtype is dt.float16 for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients.")
        factor = float(np.float32(1.0 / self._scale))
        good = [g.isfinite().all() for g in grads]
        for g in grads:
            g.mul_(factor)
        self._stages[id(optimizer)] = _UNSCALED
        if grads:
            finite = executor.observe(stack(good).all()._read(), "GradScaler.unscale_()")
            self._found[id(optimizer)] = not bool(finite)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)``, unless a gradient is infinite. Returns: its result.

        Raises: RuntimeError for a second step since the last update, or a ``closure``; AssertionError without
        gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_used("step")
        stage = self._stages.get(id(optimizer), _READY)
        if stage == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == _READY:
            self.unscale_(optimizer)
        if id(optimizer) not in self._found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)
        self._stages[id(optimizer)] = _STEPPED
        return result

    def update(self, new_scale: Any = None) -> None:
        """Set the scale for the next iteration: to ``new_scale``, or by what was found in the gradients."""
        if not self._enabled:
            return
        self._check_used("update")
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not self._found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(self._found.values()):
                self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    grown = float(np.float32(self._scale * self._growth_factor))
                    self._scale = grown if np.isfinite(grown) else self._scale
                    self._growth_tracker = 0
        self._stages, self._found = {}, {}

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale shrinks by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many good steps the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Does it do anything?"""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` goes on from; empty where disabled. Keys are torch's."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state. Raises: RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance "
                               "of GradScaler.")
        for key in ("growth_factor", "backoff_factor", "growth_interval", "_growth_tracker", "scale"):
            setattr(self, key if key.startswith("_") else f"_{key}", state_dict[key])
