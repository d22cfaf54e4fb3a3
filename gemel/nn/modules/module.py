"""``Module``: the base class of layers and models, with torch's attribute rules, hooks and printing."""
from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...engine.base.flags import flags
from ...engine.runtime.trace import local, mark
from ...tensor.tape import Accumulate
from ...tensor.tensor import Tensor
from ..parameter import Buffer, Parameter
from .hooks import BackwardHook, Global, RemovableHandle, add_hook
from .state import StateMethods
from .tree import TreeMethods

__all__ = ["Module"]

_TYPE_WORDS = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
               "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
               "complex64": "ComplexFloat", "complex128": "ComplexDouble"}


def typename(x: Any) -> str:
    """How torch's messages name the type of ``x``: ``torch.FloatTensor``, ``str``, ``package.Class``."""
    if isinstance(x, Tensor):
        return f"torch.{_TYPE_WORDS.get(x._value.type.dtype.name, x._value.type.dtype.name)}Tensor"
    kind = x if isinstance(x, type) else type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


#: the instance attributes of every module and how they begin
_FIELDS: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("_parameters", dict), ("_buffers", dict), ("_non_persistent_buffers_set", set),
    ("_backward_pre_hooks", OrderedDict), ("_backward_hooks", OrderedDict), ("_is_full_backward_hook", lambda: None),
    ("_forward_hooks", OrderedDict), ("_forward_hooks_with_kwargs", OrderedDict),
    ("_forward_hooks_always_called", OrderedDict), ("_forward_pre_hooks", OrderedDict),
    ("_forward_pre_hooks_with_kwargs", OrderedDict), ("_state_dict_hooks", OrderedDict),
    ("_state_dict_pre_hooks", OrderedDict), ("_load_state_dict_pre_hooks", OrderedDict),
    ("_load_state_dict_post_hooks", OrderedDict), ("_modules", dict),
)


class Module(TreeMethods, StateMethods):
    """Base class of all layers and models.

    Assign parameters, buffers and submodules as attributes in ``__init__`` (after ``super().__init__()``) and write
    ``forward``; call the module, not ``forward``, so that hooks run.

    >>> from gemel import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.fc(x)
    >>> Net()
    Net(
      (fc): Linear(in_features=4, out_features=2, bias=True)
    )

    torch: ``torch.nn.Module``
    """

    dump_patches: bool = False
    call_super_init: bool = False
    training: bool
    _backward_pre_hooks: OrderedDict[int, Callable]
    _backward_hooks: OrderedDict[int, Callable]
    _is_full_backward_hook: bool | None
    _forward_hooks: OrderedDict[int, Callable]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: OrderedDict[int, Callable]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                                f"'{next(iter(kwargs))}'")
            if args:
                raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} "
                                f"were given")
        fields = self.__dict__
        fields["training"] = True
        for name, make in _FIELDS:
            fields[name] = make()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation of a call; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # --- calling
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
                    or Global.forward or Global.forward_pre or Global.backward or Global.backward_pre):
                result = self._call_with_hooks(args, kwargs)
            else:
                result = self.forward(*args, **kwargs) if kwargs else self.forward(*args)
        except Exception as error:
            note_module(error, self)
            raise
        if local.trace.pinned > flags.PENDING_BYTES:
            mark("much memory is pinned at the end of a module's call")
        return result

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self(*args, **kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        done: set[int] = set()   # forward hooks that have run
        result = None
        try:
            args, kwargs = self._run_pre_hooks(args, kwargs)
            border = None
            hooks = (*Global.backward.values(), *self._backward_hooks.values())
            pre_hooks = (*Global.backward_pre.values(), *self._backward_pre_hooks.values())
            if hooks or pre_hooks:
                border = BackwardHook(self, hooks, pre_hooks)
                args = border.enter(args)
            result = self.forward(*args, **kwargs)
            for number, hook, with_kwargs, _ in self._all_forward_hooks():
                done.add(number)
                replaced = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                if replaced is not None:
                    result = replaced
            if border is not None:
                if not isinstance(result, (Tensor, tuple)):
                    warnings.warn("For backward hooks to be called, module output should be a Tensor or a tuple of "
                                  f"Tensors but received {type(result)}", stacklevel=3)
                result = border.leave(result)
            return result
        except Exception:
            self._run_always_called(done, args, kwargs, result)
            raise

    def _all_forward_hooks(self) -> list[tuple[int, Callable, bool, bool]]:
        """(number, hook, with_kwargs, always_call), the process-wide ones first."""
        found = [(n, h, n in Global.with_kwargs, n in Global.always_called) for n, h in Global.forward.items()]
        return found + [(n, h, n in self._forward_hooks_with_kwargs, n in self._forward_hooks_always_called)
                        for n, h in self._forward_hooks.items()]

    def _run_pre_hooks(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        for number, hook in (*Global.forward_pre.items(), *self._forward_pre_hooks.items()):
            if number in self._forward_pre_hooks_with_kwargs:
                replaced = hook(self, args, kwargs)
                if replaced is None:
                    continue
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but "
                                       f"got {replaced}.")
                args, kwargs = replaced
            else:
                replaced = hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        return args, kwargs

    def _run_always_called(self, done: set[int], args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """After an error: run the ``always_call`` hooks that have not run; their own errors become warnings."""
        for number, hook, with_kwargs, always in self._all_forward_hooks():
            if not always or number in done:
                continue
            try:
                replaced = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            except Exception as error:
                warnings.warn("module forward hook with ``always_call=True`` raised an exception that was silenced as "
                              f"another error was raised in forward: {error}", stacklevel=2)
                continue
            if replaced is not None:
                result = replaced

    # --- hooks
    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
                                  ) -> RemovableHandle:
        """``hook(module, args)`` (or ``hook(module, args, kwargs)``) before each call; it may replace them."""
        return add_hook(self._forward_pre_hooks, hook, prepend,
                        [self._forward_pre_hooks_with_kwargs] if with_kwargs else [])

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """``hook(module, args, output)`` after each call; what it returns replaces the output.

        Args:
            prepend: run before the hooks that are there. with_kwargs: the hook gets ``(module, args, kwargs,
                output)``. always_call: run it even if the call raised an error.
        """
        marks = [d for d, on in ((self._forward_hooks_with_kwargs, with_kwargs),
                                 (self._forward_hooks_always_called, always_call)) if on]
        return add_hook(self._forward_hooks, hook, prepend, marks)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output)`` before the module's backward; what it returns replaces ``grad_output``."""
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` in the backward; it may return a new ``grad_input``."""
        self._is_full_backward_hook = True
        return add_hook(self._backward_hooks, hook, prepend)

    # --- registering
    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a tensor that is no parameter, such as a running mean; part of ``state_dict()`` if ``persistent``."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None "
                            f"required)")
        self._buffers[name] = Global.passed(Global.buffer, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or the name of one that is absent (None)."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is None:
            self._parameters[name] = None
            return
        if not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or "
                            f"None required)")
        if param._edge is not None and not isinstance(param._edge, Accumulate):
            raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                             f"explicitly. To express '{name}' as a function of another Tensor, compute the value in "
                             f"the forward() method.")
        self._parameters[name] = Global.passed(Global.parameter, self, name, param)

    def _check_name(self, kind: str, name: Any, members: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in members:
            raise KeyError(f"attribute '{name}' already exists")

    def add_module(self, name: str, module: Any) -> None:
        """Add a submodule (or None) under a name that need not be an identifier."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{typename(module)} is not a Module subclass")
        if not isinstance(name, str):
            raise TypeError(f"module name should be a string. Got {typename(name)}")
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'module name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError('module name can\'t be empty string ""')
        self._modules[name] = Global.passed(Global.module, self, name, module)

    def register_module(self, name: str, module: Any) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    # --- attributes
    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__
        params = fields.get("_parameters")
        if params is not None:  # else Module.__init__ has not run
            if name in params:
                return params[name]
            members = fields["_modules"]
            if name in members:
                return members[name]
            members = fields["_buffers"]
            if name in members:
                return members[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        params = fields.get("_parameters")
        if isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_buffers", "_modules")
            self.register_parameter(name, value)
            return
        if params is not None and name in params:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None "
                                f"expected)")
            self.register_parameter(name, value)
            return
        modules = fields.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_parameters", "_buffers")
            modules[name] = Global.passed(Global.module, self, name, value)
            return
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None "
                                f"expected)")
            modules[name] = Global.passed(Global.module, self, name, value)
            return
        buffers = fields.get("_buffers")
        if isinstance(value, Buffer) or buffers is not None and name in buffers:
            self._assign_buffer(name, value)
            return
        super().__setattr__(name, value)

    def _forget(self, name: str, *kinds: str) -> None:
        """Remove ``name`` where another kind of member had it."""
        self.__dict__.pop(name, None)
        for kind in kinds:
            self.__dict__[kind].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _assign_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"cannot assign '{typename(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or "
                            f"None expected)")
        if isinstance(value, Buffer):
            persistent = value.persistent
            self.__dict__.pop(name, None)
        else:
            persistent = name not in self._non_persistent_buffers_set
        if "persistent" in inspect.signature(self.register_buffer).parameters:
            self.register_buffer(name, value, persistent)
        elif persistent:
            self.register_buffer(name, value)
        else:
            raise RuntimeError("Registering a non-persistent buffer on a Module subclass that implements "
                               "register_buffer() without the persistent argument is not allowed.")

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(kind, {})
            if name in members:
                del members[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # --- printing
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the printed module, besides its submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra})"
        lines = extra_lines + child_lines
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


def indented(text: str) -> str:
    """All lines but the first moved two columns to the right."""
    return text.replace("\n", "\n  ")


def note_module(error: BaseException, module: Module) -> None:
    """Keep one note on ``error`` that says in which module it was raised: path, class and settings.

    Called once per level as the error passes; each level puts the name by which it knows the module in front.
    """
    found = error.__dict__.get("_gemel_module")
    if found is None:
        path, failed, top = "", module, module
        settings = module.extra_repr().replace("\n", ", ")
        what = f"{module._get_name()}({settings})"
    else:
        path, failed, top, what = found
        if top is not module:
            name = next((n for n, m in module.named_modules() if m is top), type(top).__name__)
            path = f"{name}.{path}" if path else name
            top = module
        notes = error.__notes__
        notes.remove(note_text(found))
    found = (path, failed, top, what)
    error.__dict__["_gemel_module"] = found
    error.add_note(note_text(found))


def note_text(found: tuple) -> str:
    """The words of :func:`note_module`."""
    path, _, top, what = found
    return f"in module {path}: {what}, of {top._get_name()}" if path else f"in module {what}"
