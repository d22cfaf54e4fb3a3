"""``Optimizer``: parameter groups, state and the step that all optimizers share.

An optimizer is a composite operation (``engine.composites.optimizers``) with names for its state. A step records
one node per set of parameters that share dtype and step number, rebinds parameters and state to its results, and
flushes: the forward pass, the backward pass and the update run as one plan, which writes the new values into the
memory of the old ones. Hyper-parameters are runtime scalars, so a schedule of the learning rate compiles nothing.
"""
from __future__ import annotations

import copy
import warnings
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import UnsupportedError
from ..engine.ir.op import Op
from ..engine.ir.op import op as intern
from ..engine.ir.primitives import ROWS
from ..engine.runtime import executor
from ..engine.runtime.trace import Value, local, record, scalar, settle
from ..nn.modules.hooks import RemovableHandle, add_hook
from ..nn.modules.module import typename
from ..nn.modules.tree import clear_grad
from ..nn.parameter import fresh_copy
from ..tensor.core import from_array, replace
from ..tensor.recording import wrap
from ..tensor.tape import Accumulate, mode
from ..tensor.tensor import Tensor

__all__ = ["Optimizer"]


class _Required:
    """The default of a hyper-parameter that has none."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()

_global_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(optimizer, args, kwargs)`` before every optimizer's step. torch: the same name"""
    return add_hook(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """``hook(optimizer, args, kwargs)`` after every optimizer's step. torch: the same name"""
    return add_hook(_global_post_hooks, hook)


def check_range(name: str, value: Any, low: float, high: float | None = None, error: str | None = None) -> None:
    """torch's error unless ``low <= value`` (``< high``)."""
    if not (low <= float(value) and (high is None or float(value) < high)):
        raise ValueError(error or f"Invalid {name}: {value}")


def check_rate(lr: Any, error: str | None = None) -> None:
    """torch's checks of a learning rate."""
    if isinstance(lr, Tensor) and lr._read().type.size != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_range("learning rate", lr, 0.0, error=error)


def check_switches(**switches: Any) -> None:
    """Refuse the switches that would change what a step means; ``foreach`` and ``fused`` only choose an
    implementation in torch, and every step here is fused over all parameters."""
    if switches.get("fused") and switches.get("foreach"):
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if switches.get("differentiable"):
        raise UnsupportedError("differentiable=True: a step that is itself on the tape is not implemented; write the "
                               "update with tensor operations")


class Optimizer:
    """Base class of the optimizers.

    Args:
        params: an iterable of parameters, of ``(name, parameter)`` pairs, or of dicts with ``"params"`` and the
            options of that group. defaults: options of the groups that do not give their own.

    torch: ``torch.optim.Optimizer``
    """

    #: names of the state tensors of a parameter, in the composite's order, as a function of the group's options (and
    #: of the number of axes of the parameter)
    def _state_names(self, group: dict[str, Any], ndim: int) -> tuple[str, ...]:
        raise NotImplementedError

    #: names of the state that is a number: the count of steps first
    _numbers: tuple[str, ...] = ()
    #: is the state left out of the first step's operands (and made by its results)?
    _made_by_first = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._optimizer_step_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_step_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_state_dict_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_state_dict_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._opt_called = False
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, but "
                            f"got {typename(params)}")
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # --- groups
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with ``"params"`` and options; options that it lacks take their defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of "
                            "tensors in sets will change between runs. Please use a list instead.")
        entries = [params] if isinstance(params, Tensor) else list(params)
        names = [e[0] for e in entries if isinstance(e, tuple)]
        tensors = [e[1] if isinstance(e, tuple) else e for e in entries]
        if names and len(names) != len(entries):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        param_group["params"] = tensors
        if names:
            param_group["param_names"] = names
        for p in tensors:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {typename(p)}")
            if not (p._edge is None or isinstance(p._edge, Accumulate) or (p._info and p._info.retains_grad)):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(tensors) != len({id(p) for p in tensors}):
            warnings.warn("optimizer contains a parameter group with duplicate parameters; in future, this will cause "
                          "an error; see github.com/pytorch/pytorch/issues/40967 for more information", stacklevel=3)
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError("all optimizer param groups should be with/without names. cannot add param group "
                                 f"{kind} to the optimizer")
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if not known.isdisjoint(id(p) for p in tensors):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    # --- the step
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and run what has been recorded.

        Args:
            closure: computes the loss (with gradients) first. Returns: its result.
        """
        args: tuple = (closure,) if closure is not None else ()
        kwargs: dict[str, Any] = {}
        for hook in chain(_global_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
            replaced = hook(self, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(f"{type(self).step} must return None or a tuple of (new_args, new_kwargs), but "
                                       f"got {replaced}.")
                args, kwargs = replaced
        loss = self._step(*args, **kwargs)
        for hook in chain(self._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
            hook(self, args, kwargs)
        return loss

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        was = mode.grad
        if closure is not None:
            mode.grad = True
            try:
                loss = closure()
            finally:
                mode.grad = was
        mode.grad = False
        self._opt_called = True
        local.whole = True  # old and new values in one plan, so that the new ones take the place of the old
        undo: list[Callable[[], None]] = []
        try:
            for group in self.param_groups:
                self._update(group, undo)
            settle("the end of optimizer.step()")
        except Exception:
            for take_back in undo:
                take_back()
            raise
        finally:
            mode.grad, local.whole = was, False
        return loss

    def _update(self, group: dict[str, Any], undo: list[Callable[[], None]]) -> None:
        """Record the update of one group: one node per dtype, names of state and numbers (as a rule: one)."""
        parts: dict[Any, tuple[list, list, list]] = {}
        names_of: dict[int, tuple[str, ...]] = {}
        numbers, states = self._numbers, self.state
        for p in group["params"]:
            info = p._info
            if info is None or info.grad is None:
                continue
            t = p._value.type
            ndim = len(t.shape)
            names = names_of.get(ndim)
            if names is None:
                names = names_of[ndim] = self._state_names(group, ndim)
            state = states[p]
            if not state:
                self._start(p, state, group, names)
            at = tuple([number_of(state[name]) for name in numbers])
            key = (t.dtype, names, at, bool(names) and names[0] not in state)
            part = parts.get(key)
            if part is None:
                part = parts[key] = ([], [], [])
            part[0].append(p)
            part[1].append(info.grad)
            part[2].append(state)
        for (dtype, names, at, first), (params, grads, held) in parts.items():
            if dtype.kind == "c":
                raise UnsupportedError(f"{type(self).__name__} of complex parameters is not implemented: optimize "
                                       f"their real and imaginary parts")
            self._record(group, names, dtype, at, first, params, grads, held, undo)

    def _start(self, p: Any, state: dict[str, Any], group: dict[str, Any], names: tuple[str, ...]) -> None:
        """The state before the first step: zeros."""
        for name in self._numbers:
            state[name] = counter(0.0)
        if not self._made_by_first:
            for name in names:
                state[name] = full_like(p, 0)

    def _record(self, group: dict[str, Any], names: tuple[str, ...], dtype: dt.DType, at: tuple[float, ...],
                first: bool, params: list, grads: list, held: list, undo: list[Callable[[], None]]) -> None:
        values = [p._read() for p in params]
        values += [g._read() for g in grads]
        if not first:
            for name in names:
                values += [s[name]._read() for s in held]
        n = len(params)
        wide = dt.compute_type(dtype)
        numbers, after = self._next(group, at)
        scalars = [scalar(number, wide) for number in numbers]
        if local.capture is not None:
            local.capture.live.append((scalars, lambda: self._advance(group, held)))
        results = record(self._op(group, n, first, names), values + scalars)
        position = 0
        for tensors in (params, *([s.get(name) for s in held] for name in names)):
            for i, t in enumerate(tensors):
                new = results[position]
                if t is None:
                    held[i][names[position // n - 1]] = stored(new)
                else:
                    replace(t, new)
                position += 1
        self._keep(held, after)
        made = names if first else ()
        undo.append(partial(self._take_back_step, params[0], weakref.ref(results[0]), held, at, made))

    def _take_back_step(self, p: Any, new: Callable[[], Any], held: list[dict[str, Any]], at: tuple[float, ...],
                        made: tuple[str, ...]) -> None:
        """The step has failed. Where it was their update, parameters have their old values again: the state follows."""
        if p._contents() is new():
            return
        self._keep(held, at)
        for s in held:
            for name in made:
                s.pop(name, None)

    def _keep(self, held: list[dict[str, Any]], numbers: tuple[float, ...]) -> None:
        for name, number in zip(self._numbers, numbers, strict=True):
            value = scalar(float(number), dt.float32)
            for s in held:
                s[name]._value = value

    def _advance(self, group: dict[str, Any], held: list[dict[str, Any]]) -> tuple[float, ...]:
        """The scalars of the next step of parameters whose step is replayed by a compiled function."""
        scalars, after = self._next(group, tuple([number_of(held[0][name]) for name in self._numbers]))
        self._keep(held, after)
        return scalars

    def _next(self, group: dict[str, Any], at: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The scalars of a step, and the numbers of the state after it, from the numbers before it."""
        if not at:
            return self._scalars(group, 1.0), ()
        return self._scalars(group, at[0] + 1.0), (at[0] + 1.0,)

    def _op(self, group: dict[str, Any], n: int, first: bool, names: tuple[str, ...]) -> Op:
        """The composite with the attributes that the group's options select."""
        raise NotImplementedError

    def _scalars(self, group: dict[str, Any], step: float) -> tuple[float, ...]:
        """Its runtime scalars; ``step`` counts from 1."""
        raise NotImplementedError

    # --- hooks
    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` before each step; it may return new ones."""
        return add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` after each step."""
        return add_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` before ``state_dict()``."""
        return add_hook(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` after ``state_dict()``; it may return another dict."""
        return add_hook(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` before loading; it may return another dict."""
        return add_hook(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` after loading."""
        return add_hook(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # --- saving
    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {...}}, "param_groups": [...]}``, parameters by their number, as torch's."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        start = 0
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            start += len(packed["params"])
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: dict(v) if isinstance(v, dict) else v
                 for k, v in self.state.items()}
        found: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, found)
            if replaced is not None:
                found = replaced
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and options; floating point state is cast to the dtype of its parameter."""
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        saved = copy.deepcopy(state_dict["param_groups"])
        groups = self.param_groups
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(groups, saved, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's "
                             "group")
        by_number = dict(zip(chain.from_iterable(g["params"] for g in saved),
                             chain.from_iterable(g["params"] for g in groups), strict=True))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for k, v in state_dict["state"].items():
            if k in by_number:
                state[by_number[k]] = _taken_over(by_number[k], v, None, self._numbers)
            else:
                state[k] = v
        for group, new in zip(groups, saved, strict=True):
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
            for name, default in self.defaults.items():  # options that the release which saved it did not have
                new.setdefault(name, default)
        self.state, self.param_groups = state, saved
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params")
        return text + ")"


def _taken_over(p: Any, value: Any, key: str | None, numbers: tuple[str, ...]) -> Any:
    """A value of a loaded state: tensors are copied, and cast to the dtype of ``p`` (not the step count)."""
    if isinstance(value, dict):
        return {k: _taken_over(p, v, k, numbers) for k, v in value.items()}
    if key in numbers:
        return counter(number_of(value))
    if isinstance(value, Tensor):
        dtype = p._value.type.dtype
        if dtype.is_floating_point and value._read().type.dtype is not dtype:
            return value.detach().to(dtype)
        return fresh_copy(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_taken_over(p, v, None, numbers) for v in value)
    return value


def counter(number: float) -> Any:
    """A 0-d float32 tensor that is a plain number for the recorder: reading it back needs no synchronisation."""
    return wrap(scalar(float(number), dt.float32))


def number_of(x: Any) -> float:
    """The number in a 0-d tensor (or a number)."""
    if not isinstance(x, Tensor):
        return float(x)
    held = x._read().buffer
    return held if held.__class__ is float else float(executor.observe(x._read(), "a hyper-parameter is a tensor"))


def full_like(p: Any, value: float, shape: tuple[int, ...] | None = None) -> Any:
    """``value`` in memory of its own, of the shape (or ``shape``) and dtype of ``p``."""
    t = p._value.type
    return stored(from_array(np.full(t.shape if shape is None else shape, value, t.dtype.numpy)))


def stored(value: Value) -> Any:
    """A tensor with a storage of its own: its updates are written to the same memory, step after step."""
    out = wrap(value)
    out._shared()
    return out


def composite(name: str, *attrs: Any) -> Op:
    """The interned op of a composite."""
    return intern(ROWS[name], *attrs)
