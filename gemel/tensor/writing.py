"""Writing whole tensors in place: ``copy_``, ``fill_``, ``zero_``, ``fill_diagonal_``."""
from __future__ import annotations

from typing import Any

from .core import TENSOR_CLASSES, check_writable, overwritten
from .indexing import fitted
from .recording import apply_named
from .storage import Diagonal


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Write ``src`` (broadcast, converted to this dtype) into this tensor; gradients flow to ``src``.

    torch: ``Tensor.copy_``
    """
    check_writable(self)
    kind = self._read().type
    if src.__class__ not in TENSOR_CLASSES:
        raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}")
    if src._read().type.ndim > kind.ndim or any(
            n not in (1, m) for n, m in zip(src._value.type.shape[::-1], kind.shape[::-1], strict=False)):
        raise RuntimeError(f"The size of tensor a must match the size of tensor b: copy_() can't broadcast "
                           f"{list(src._value.type.shape)} to {list(kind.shape)}")
    return self._write(overwritten(self, apply_named("copy", fitted(src, kind.dtype, kind.shape))))


def fill_(self: Any, value: Any) -> Any:
    """Set every element to a number or 0-d tensor. torch: ``Tensor.fill_``"""
    check_writable(self)
    kind = self._read().type
    if value.__class__ in TENSOR_CLASSES and value._read().type.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with "
                           f"{value._value.type.ndim} dimensions.")
    wide = apply_named("expand", fitted(value, kind.dtype, ()), attrs=(kind.shape,))
    return self._write(overwritten(self, wide), uniform=True)


def zero_(self: Any) -> Any:
    """Set every element to zero. torch: ``Tensor.zero_``"""
    return fill_(self, 0)


def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Set the main diagonal (of more than two axes: all equal indices) to a number; ``wrap`` goes on in tall matrices.

    torch: ``Tensor.fill_diagonal_``
    """
    shape = self._read().type.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2:
        if len(set(shape)) != 1:
            raise RuntimeError("all dimensions of input must be of equal length")
        step = sum([shape[0] ** i for i in range(len(shape))])
        from .movement import view
        view(self, -1)[::step] = fill_value
        return self
    rows, columns = shape
    starts = range(0, rows, columns + 1) if wrap else (0,)
    for at in starts:
        lens = Diagonal(shape, 0, 1, -at)
        part = fitted(fill_value, self._value.type.dtype, lens.result(shape))
        self._write_part((lens,), part)
    return self


class WritingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    copy_, fill_, zero_, fill_diagonal_ = copy_, fill_, zero_, fill_diagonal_
