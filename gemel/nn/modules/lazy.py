"""Modules whose parameters get their shapes from the first input."""
from __future__ import annotations

import itertools
from typing import Any

from ...tensor.grad_mode import no_grad
from ..parameter import is_lazy
from .module import Module


class LazyModuleMixin(Module):
    """What lazy modules have in common: the first call infers the shapes and makes them ordinary modules.

    A subclass makes ``UninitializedParameter`` members, gives them a shape in ``initialize_parameters(*args)`` and
    names its ordinary class in ``cls_to_become``.

    torch: ``torch.nn.modules.lazy.LazyModuleMixin``
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters a shape that suits the input; every subclass defines it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Is any parameter or buffer still without a shape?"""
        return any(is_lazy(t) for t in itertools.chain(self._parameters.values(), self._buffers.values()))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """As of any module; what has no shape yet is entered as it is."""
        persistent = ((k, v) for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set)
        for name, member in itertools.chain(self._parameters.items(), persistent):
            if member is not None:
                destination[prefix + name] = member if keep_vars or is_lazy(member) else member.detach()

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *_: Any) -> None:
        """Take the shapes from a state dict that is about to be loaded."""
        for name, member in itertools.chain(self._parameters.items(), self._buffers.items()):
            given = state_dict.get(prefix + name)
            if given is not None and is_lazy(member) and not is_lazy(given):
                with no_grad():
                    member.materialize(given.shape)  # type: ignore[union-attr]

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict[str, Any] | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become
