"""Hooks on what operations save for the backward pass: ``saved_tensors_hooks``."""
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..engine.runtime.trace import Value
from .recording import wrap
from .tape import Node, Packed, watchers


class _Active(threading.local):
    """The hooks of this thread, innermost last; None switches packing off."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Callable[[Any], Any], Callable[[Any], Any]] | str] = []
        self.packing = False


_active = _Active()


def pack(value: Any) -> Any:
    """``value`` as it is to be saved: itself, or what the innermost hooks make of it."""
    if not _active.pairs or _active.packing or not isinstance(value, Value):
        return value
    innermost = _active.pairs[-1]
    if isinstance(innermost, str):
        raise RuntimeError(innermost)
    pack_hook, unpack_hook = innermost
    _active.packing = True  # what a hook computes is not packed itself
    try:
        packed = pack_hook(wrap(value))
    finally:
        _active.packing = False

    def unpack() -> Any:
        tensor = unpack_hook(packed)
        if not hasattr(tensor, "_read"):
            raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                            f"{type(tensor).__name__}")
        return tensor
    return Packed(unpack, value.type)


def _watch(n: Node, operands: Any, out: Any) -> None:
    if n.inputs:
        n.inputs = [pack(v) for v in n.inputs]
    if n.outputs:
        n.outputs = [pack(v) for v in n.outputs]


class saved_tensors_hooks:
    """In this block every tensor that an operation saves for backward goes through ``pack_hook``.

    Args:
        pack_hook: gets the tensor; what it returns (anything) is kept instead.
        unpack_hook: gets that back when the backward pass needs it; returns the tensor.

        >>> x = gemel.ones(2, requires_grad=True)
        >>> with gemel.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), gemel.from_numpy):
        ...     y = (x * x).sum()
        >>> y.backward()

    torch: ``autograd.graph.saved_tensors_hooks``
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.hooks: Any = (pack_hook, unpack_hook)

    def __enter__(self) -> None:
        _active.pairs.append(self.hooks)
        watchers.append(_watch)

    def __exit__(self, *exception: Any) -> None:
        _active.pairs.pop()
        watchers.remove(_watch)


class disable_saved_tensors_hooks(saved_tensors_hooks):
    """In this block saving a tensor raises ``error_message``. torch: ``graph.disable_saved_tensors_hooks``"""

    def __init__(self, error_message: str) -> None:
        self.hooks = error_message
