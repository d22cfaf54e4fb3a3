"""The tree of modules: walking it, finding in it, and doing something to all of it."""
from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

from ...engine.base import dtypes as dt
from ...engine.base.errors import DeviceError, UnsupportedError
from ...tensor.core import set_grad
from ...tensor.tape import mode
from ...tensor.tensor import Tensor
from ..parameter import Parameter, share


class TreeMethods:
    """Methods of ``Module`` that walk the tree of its submodules."""

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]

    # --- walking
    def named_modules(self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
                      ) -> Iterator[tuple[str, Any]]:
        """(path, module) of this module and all below it, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """(name, module) of the immediate submodules, each once."""
        memo = set()
        for name, module in self._modules.items():
            if module is not None and module not in memo:
                memo.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """The immediate submodules."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, get: Callable[[Any], Any], prefix: str = "", recurse: bool = True,
                       remove_duplicate: bool = True) -> Iterator[tuple[str, Any]]:
        """(path, member) of what ``get(module)`` yields, over the tree."""
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, member in get(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield (f"{path}.{name}" if path else name), member

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
                         ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) over the tree; a parameter that is shared comes once unless ``remove_duplicate=False``."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with ``recurse``, of all below it."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
                      ) -> Iterator[tuple[str, Any]]:
        """(path, buffer) over the tree."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """The buffers of this module and, with ``recurse``, of all below it."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # --- finding
    def get_submodule(self, target: str) -> Any:
        """The module at a dotted path; ``""`` is this module itself."""
        module: Any = self
        found: Any
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            found = getattr(module, name)
            if not isinstance(found, TreeMethods):
                raise AttributeError(f"`{name}` is not an nn.Module")
            module = self._known(found)
        return module

    @staticmethod
    def _known(module: Any) -> Any:
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Replace (or, unless ``strict``, add) the module at a dotted path."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, TreeMethods):
            raise ValueError(f"`module` is not an nn.Module, found {builtins.type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), TreeMethods):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        found = getattr(module, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Any:
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]

    # --- doing something to all
    def apply(self, fn: Callable[[Any], None]) -> Any:
        """Call ``fn(module)`` for every submodule and then for this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Replace every parameter (and its gradient) and buffer by ``fn`` of it; parameters stay the same objects."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        was, mode.grad = mode.grad, False
        try:
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                grad = parameter.grad
                replace_data(parameter, fn(parameter))
                if grad is not None:
                    replace_data(grad, fn(grad))
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        finally:
            mode.grad = was
        return self

    def cpu(self) -> Any:
        """Move everything to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Move everything to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def type(self, dst_type: Any) -> Any:
        """Cast every parameter and buffer."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast_floats(self, dtype: dt.DType) -> Any:
        return self._apply(lambda t: t.to(dtype) if t.dtype.is_floating_point else t)

    def float(self) -> Any:
        """Cast the floating point parameters and buffers to float32."""
        return self._cast_floats(dt.float32)

    def double(self) -> Any:
        """Cast the floating point parameters and buffers to float64."""
        return self._cast_floats(dt.float64)

    def half(self) -> Any:
        """Cast the floating point parameters and buffers to float16."""
        return self._cast_floats(dt.float16)

    def bfloat16(self) -> Any:
        """Cast the floating point parameters and buffers to bfloat16."""
        return self._cast_floats(dt.bfloat16)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move and/or cast: ``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(tensor)``.

        Only floating point (and complex) parameters and buffers are cast.
        """
        device, dtype = parse_to(args, kwargs)
        if dtype is not None and not dtype.is_inexact:
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype="
                            f"{dtype}")

        def convert(t: Any) -> Any:
            if dtype is not None and t.dtype.is_inexact and t.dtype is not dtype:
                t = t.to(dtype)
            return t if device is None else t.to(device)

        return self._apply(convert)

    def to_empty(self, *, device: Any = None, recurse: bool = True) -> Any:
        """Give everything new memory of arbitrary contents."""
        from ...tensor.creation import empty_like  # type: ignore[attr-defined]
        return self._apply(lambda t: empty_like(t, device=device), recurse=recurse)

    def share_memory(self) -> Any:
        """Unsupported: worker processes get copies of tensors; gradients are exchanged by ``gemel.distributed``."""
        raise UnsupportedError("Module.share_memory: tensors cannot be put into memory shared by processes yet")

    def train(self, mode: bool = True) -> Any:
        """Set training mode for this module and all below it (dropout, batch norm look at it)."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Switch gradients of all parameters on or off."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)


def clear_grad(parameter: Any, set_to_none: bool) -> None:
    """Forget the gradient of one parameter, or set it to zero."""
    info = parameter._info
    if info is None or info.grad is None:
        return
    if set_to_none:
        set_grad(parameter, None)
        return
    grad = info.grad
    if grad._edge is not None:
        grad.detach_()
    grad.zero_()


def replace_data(t: Any, new: Any) -> None:
    """Make ``new`` the data of ``t``, which stays the same object and the same leaf (``t.data = new``)."""
    if new is t:
        return
    info = t._info
    share(t, new.detach() if new._edge is not None else new, t._edge is not None)
    t._info = info


def _place(t: Any) -> tuple[Any, dt.DType]:
    return t.device, t.dtype


def parse_to(args: tuple, kwargs: dict[str, Any]) -> tuple[Any, dt.DType | None]:
    """(device, dtype) of the arguments of ``to``."""
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    unknown = set(kwargs) - {"device", "dtype", "non_blocking", "copy", "tensor", "memory_format"}
    if unknown:
        raise TypeError(f"to() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    if kwargs.get("memory_format") is not None:
        raise UnsupportedError("Module.to(memory_format=...): the memory layout of a buffer is the compiler's choice")
    for a in (*args, *([kwargs["tensor"]] if "tensor" in kwargs else ())):
        if isinstance(a, dt.DType):
            dtype = a
        elif isinstance(a, Tensor):
            device, dtype = _place(a)
        elif a is not None and not isinstance(a, bool):
            device = a
    if isinstance(device, int):
        raise DeviceError(f"device {device}: a bare number names a GPU; write device='cpu' or 'cuda:{device}'")
    return device, dtype
