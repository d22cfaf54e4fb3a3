"""Opaque operations: registered by name with their shape rule, NumPy function and derivative.

``gemel.library.custom_op`` is the public face; LAPACK and FFT live here too.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .types import TensorType


@dataclass(frozen=True)
class CustomOp:
    """An opaque op.

    Args:
        name: unique name (``library::op``). types: ``(arguments, operand types) -> result types``.
        function: ``(arguments, arrays) -> arrays``; must not write to its operands.
        vjp: ``(builder, arguments, operands, results, cotangents) -> operand cotangents``, or None.
        vmap: ``(builder, arguments, operands, batched axes) -> results batched at axis 0``, or None (looped).
    """

    name: str
    types: Callable[[tuple, tuple[TensorType, ...]], tuple[TensorType, ...]]
    function: Callable[[tuple, Sequence[np.ndarray]], Sequence[np.ndarray]]
    vjp: Callable[..., Sequence[Any]] | None = None
    vmap: Callable[..., Sequence[Any]] | None = None

    def result_types(self, arguments: tuple, operands: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        return tuple(self.types(arguments, operands))

    def evaluate(self, arguments: tuple, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        results = tuple(np.asarray(a) for a in self.function(arguments, arrays))
        types = self.result_types(arguments, tuple(_type_of(a) for a in arrays))
        if tuple(_type_of(a) for a in results) != types:
            raise RuntimeError(f"custom op {self.name!r} returned {[_type_of(a) for a in results]}, "
                               f"its shape rule says {list(types)}")
        return results


def _type_of(array: np.ndarray) -> TensorType:
    from ..base.dtypes import from_numpy
    from .types import tensor_type
    return tensor_type(from_numpy(array.dtype), array.shape)


_REGISTRY: dict[str, CustomOp] = {}


def register_custom(custom: CustomOp) -> CustomOp:
    """Register under a new name; a name that is taken is an error."""
    if custom.name in _REGISTRY:
        raise ValueError(f"a custom op named {custom.name!r} exists already")
    _REGISTRY[custom.name] = custom
    return custom


def lookup(name: str) -> CustomOp:
    """The op of that name; ``KeyError`` names it."""
    if name not in _REGISTRY:
        raise KeyError(f"no custom op named {name!r} is registered: import the library that defines it")
    return _REGISTRY[name]
