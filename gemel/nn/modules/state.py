"""State dicts: what a module saves and how it is loaded again. Keys, order and messages are torch's."""
from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...tensor.core import replace
from ...tensor.recording import apply_named, wrap
from ...tensor.tape import mode
from ...tensor.tensor import Tensor
from ..parameter import Parameter, fresh_copy, is_lazy
from .hooks import RemovableHandle, add_hook

EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """Keys that the module lacks in the dict, and keys of the dict that the module does not know."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateDict(OrderedDict):
    """An ``OrderedDict`` with the versions of the modules it was made of, as torch's."""

    _metadata: OrderedDict


class _WithModule:
    """A hook that gets its module as first argument, without keeping the module alive."""

    def __init__(self, hook: Callable, module: Any) -> None:
        self.hook, self.module = hook, weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)


class StateMethods:
    """Methods of ``Module`` that save and load."""

    _version: int = 1
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict
    _state_dict_pre_hooks: OrderedDict
    _load_state_dict_pre_hooks: OrderedDict
    _load_state_dict_post_hooks: OrderedDict

    def get_extra_state(self) -> Any:
        """Override to add something that is no tensor to ``state_dict()`` (with ``set_extra_state``)."""
        raise RuntimeError(f"{type(self).__name__} does not define get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Override to take back what ``get_extra_state`` returned."""
        raise RuntimeError(f"{type(self).__name__} does not define set_extra_state()")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Enter this module's own parameters and buffers."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not StateMethods.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Path -> tensor of all parameters and persistent buffers; the tensors share the module's storage.

        Args:
            destination: a dict to write into. prefix: put before each path.
            keep_vars: give the parameters themselves, on the tape, rather than detached.
        """
        if args:
            destination = args[0]
            prefix = args[1] if len(args) > 1 else prefix
            keep_vars = args[2] if len(args) > 2 else keep_vars
        if destination is None:
            destination = StateDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local_metadata)
            if replaced is None:
                continue
            if getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = replaced
        return destination

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """torch's private hook, which may return another dict."""
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata)`` after ``state_dict()``; it edits in place."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, prefix, keep_vars)`` before ``state_dict()``."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> RemovableHandle:
        return add_hook(self._load_state_dict_pre_hooks, _WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, incompatible_keys)`` after loading; it edits the keys in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list, unexpected_keys: list, error_msgs: list) -> None:
        """Load this module's own parameters and buffers; faults go into the lists."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        local_state = dict(self._own_state())
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, member in local_state.items():
            key = prefix + name
            if key in state_dict:
                fault = self._load_one(name, key, member, state_dict[key], assign)
                if fault:
                    error_msgs.append(fault)
            elif strict:
                missing_keys.append(key)
        extra = prefix + EXTRA_STATE
        if type(self).set_extra_state is not StateMethods.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, dot, _ = key[len(prefix):].partition(".")
                    if name not in (self._modules if dot else local_state):
                        unexpected_keys.append(key)

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        """(name, tensor) of this module's own parameters and persistent buffers."""
        persistent = ((k, v) for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set)
        return ((k, v) for k, v in itertools.chain(self._parameters.items(), persistent) if v is not None)

    def _load_one(self, name: str, key: str, member: Any, new: Any, assign: bool) -> str:
        """Load one tensor; what went wrong, or an empty string."""
        if not isinstance(new, Tensor):
            return (f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                    f"checkpoint but received {type(new)}")
        source: Any = new
        lazy = is_lazy(member)
        shape = member._value.type.shape
        if not lazy and shape == () and source._read().type.shape == (1,):
            source = source[0]
        if not lazy and source._read().type.shape != shape:
            return (f"size mismatch for {key}: copying a param with shape {_size(source)} from checkpoint, the shape "
                    f"in current model is {_size(member)}.")
        was, mode.grad = mode.grad, False
        try:
            if assign:
                if isinstance(member, Parameter):
                    wants = member._edge is not None
                    source = (source.requires_grad_(wants) if isinstance(source, Parameter) else
                              Parameter(source, wants))
                setattr(self, name, source)
            else:
                replace(member, converted(source, member._value.type.dtype))
        except Exception as error:
            return (f'While copying the parameter named "{key}", whose dimensions in the model are '
                    f"{_size(member)} and whose dimensions in the checkpoint are {_size(source)}, an exception "
                    f"occurred : {error.args}.")
        finally:
            mode.grad = was
        return ""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
                        ) -> _IncompatibleKeys:
        """Copy the tensors of ``state_dict`` into the parameters and buffers.

        Args:
            strict: raise if keys are missing or left over. assign: put the tensors of the dict in place of the
                module's own (keeping their dtype) instead of copying.
        Returns:
            the missing and the unexpected keys.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        copied = StateDict(state_dict)
        if metadata is not None:
            copied._metadata = metadata

        def load(module: Any, entries: Any, prefix: str) -> None:
            local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local_metadata = {**local_metadata, "assign_to_params_buffers": True}
            module._load_from_state_dict(entries, prefix, local_metadata, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {k: v for k, v in entries.items() if k.startswith(below)}, below)
            keys = _IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                        "values, if incompatible_keys need to be modified, it should be done inplace.")

        load(self, copied, "")
        if strict:
            for kind, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    quoted = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{kind} key(s) in state_dict: {quoted}. ")
        if errors:
            faults = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{faults}")
        return _IncompatibleKeys(missing, unexpected)


def converted(t: Any, dtype: Any) -> Any:
    """The values of ``t`` in a dtype, as a value of their own."""
    if t._read().type.dtype is dtype:
        return fresh_copy(t)._value
    return apply_named("cast", wrap(t._read()), attrs=(dtype,))._value


def _size(t: Any) -> str:
    """The shape as torch prints it."""
    return f"torch.Size({list(t._value.type.shape)})"
