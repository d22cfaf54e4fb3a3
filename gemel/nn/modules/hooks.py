"""Hooks of modules: handles to remove them, the process-wide ones, and those on the backward pass."""
from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ...tensor.hooks import RemovableHandle
from ...tensor.tape import mode
from ...tensor.tensor import Tensor

__all__ = [
    "RemovableHandle",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

class ModuleHandle(RemovableHandle):
    """A handle of a hook that is marked in further dicts (``with_kwargs`` and so on)."""

    __slots__ = ("_flags",)

    def __init__(self, hooks: dict, flags: Sequence[dict] = ()) -> None:
        super().__init__(hooks)
        self._flags = flags

    def remove(self) -> None:
        """Take the hook away; once is enough, more does no harm."""
        super().remove()
        for flag in self._flags:
            flag.pop(self.id, None)


def add_hook(hooks: OrderedDict, hook: Callable, prepend: bool = False, flags: Sequence[OrderedDict] = ()
             ) -> RemovableHandle:
    """Enter ``hook`` into ``hooks`` and its number into each of ``flags``."""
    handle = ModuleHandle(hooks, flags)
    hooks[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Global:
    """The hooks that run for every module of the process."""

    forward_pre: OrderedDict[int, Callable] = OrderedDict()
    forward: OrderedDict[int, Callable] = OrderedDict()
    with_kwargs: OrderedDict[int, bool] = OrderedDict()
    always_called: OrderedDict[int, bool] = OrderedDict()
    backward_pre: OrderedDict[int, Callable] = OrderedDict()
    backward: OrderedDict[int, Callable] = OrderedDict()
    buffer: OrderedDict[int, Callable] = OrderedDict()
    module: OrderedDict[int, Callable] = OrderedDict()
    parameter: OrderedDict[int, Callable] = OrderedDict()
    #: any that concerns a call? (what the fast path of ``Module.__call__`` looks at)
    of_calls = (forward_pre, forward, backward_pre, backward)

    @staticmethod
    def passed(hooks: OrderedDict[int, Callable], module: Any, name: str, member: Any) -> Any:
        """``member`` as the registration hooks leave it."""
        for hook in hooks.values():
            replaced = hook(module, name, member)
            if replaced is not None:
                member = replaced
        return member


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, args)`` before the forward of every module. torch: ``register_module_forward_pre_hook``"""
    return add_hook(Global.forward_pre, hook)


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
                                 ) -> RemovableHandle:
    """``hook(module, args, output)`` after the forward of every module. torch: ``register_module_forward_hook``"""
    flags = [d for d, on in ((Global.with_kwargs, with_kwargs), (Global.always_called, always_call)) if on]
    return add_hook(Global.forward, hook, flags=flags)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, grad_output)`` for every module. torch: ``register_module_full_backward_pre_hook``"""
    return add_hook(Global.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, grad_input, grad_output)`` for every module. torch: ``register_module_full_backward_hook``"""
    return add_hook(Global.backward, hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, buffer)`` at every registration. torch: the same name"""
    return add_hook(Global.buffer, hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, submodule)`` at every registration. torch: the same name"""
    return add_hook(Global.module, hook)


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, parameter)`` at every registration. torch: the same name"""
    return add_hook(Global.parameter, hook)


class BackwardHook:
    """Catches the gradients that pass the borders of one call of a module.

    The inputs and the outputs of the call each go through an identity node (:func:`barrier`). The gradient of the
    outputs arrives first and is kept; that of the inputs completes the call, and the user's hooks run.
    """

    def __init__(self, module: Any, hooks: Sequence[Callable], pre_hooks: Sequence[Callable]) -> None:
        self.module, self.hooks, self.pre_hooks = module, list(hooks), list(pre_hooks)
        self.grad_outputs: tuple | None = None
        self.inputs: list[int] | None = None    # positions of the tensors among the inputs
        self.n_inputs = 0

    def enter(self, args: tuple) -> tuple:
        """The arguments, to be given to forward."""
        self.n_inputs = len(args)
        args, self.inputs = self._through(args, self._on_inputs)
        return args

    def leave(self, result: Any) -> Any:
        """The outputs, to be given to the caller."""
        single = not isinstance(result, tuple)
        outputs, _ = self._through((result,) if single else result, self._on_outputs)
        return outputs[0] if single else outputs

    def _through(self, args: tuple, hook: Callable) -> tuple[tuple, list[int] | None]:
        at = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if not mode.grad or not any(args[i]._edge is not None for i in at):
            return args, None
        n = len(args)

        def spread(grads: tuple) -> tuple | None:
            full = hook(tuple(grads[at.index(i)] if i in at else None for i in range(n)))
            return None if full is None else tuple(full[i] for i in at)

        new = dict(zip(at, barrier([args[i] for i in at], spread), strict=True))
        items = [new.get(i, a) for i, a in enumerate(args)]
        return (tuple(items) if type(args) is tuple else type(args)(*items)), at

    def _on_outputs(self, grads: tuple) -> tuple | None:
        self.grad_outputs = grads
        for hook in self.pre_hooks:
            replaced = hook(self.module, self.grad_outputs)
            if replaced is None:
                continue
            replaced = replaced if isinstance(replaced, tuple) else (replaced,)
            if len(replaced) != len(grads):
                raise RuntimeError(f"Backward pre hook returned an invalid number of grad_output, got "
                                   f"{len(replaced)}, but expected {len(grads)}")
            self.grad_outputs = replaced
        passed_on = self.grad_outputs
        if self.inputs is None:
            warnings.warn("Full backward hook is firing when gradients are computed with respect to module outputs "
                          "since no inputs require gradients.", stacklevel=2)
            for hook in self.hooks:
                replaced = hook(self.module, (None,) * self.n_inputs, self.grad_outputs)
                if replaced is not None and not (isinstance(replaced, tuple) and all(r is None for r in replaced)):
                    raise RuntimeError("Backward hook for Modules where no input requires gradient should always "
                                       "return None or None for all gradients.")
            self.grad_outputs = None
        return passed_on

    def _on_inputs(self, grads: tuple) -> tuple | None:
        if self.grad_outputs is None:
            return None
        for hook in self.hooks:
            replaced = hook(self.module, grads, self.grad_outputs)
            if replaced is None:
                continue
            replaced = replaced if isinstance(replaced, tuple) else (replaced,)
            if len(replaced) != len(grads):
                raise RuntimeError(f"Backward hook returned an invalid number of grad_input, got {len(replaced)}, "
                                   f"but expected {len(grads)}")
            grads = replaced
        self.grad_outputs = None
        return grads


def barrier(tensors: Sequence[Any], hook: Callable[[tuple], tuple | None]) -> Sequence[Any]:
    """``tensors`` behind one identity node; ``hook`` sees (and may replace) their gradients as a tuple."""
    from ...autograd import Function  # type: ignore[attr-defined]

    class BackwardHookFunction(Function):
        """The identity."""

        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*[a for a in args if not a.requires_grad])
            return tuple(a.view_as(a) for a in args)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            replaced = hook(grads)
            return grads if replaced is None else replaced

    found = BackwardHookFunction.apply(*tensors)
    return found if isinstance(found, tuple) else (found,)
