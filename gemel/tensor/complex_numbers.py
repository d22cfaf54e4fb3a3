"""Complex tensors: made from parts, and their parts as views."""
from __future__ import annotations

import math
from typing import Any

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, ShapeError
from .core import TENSOR_CLASSES
from .creation import into, type_of
from .promotion import broadcast_shapes, expand
from .recording import apply_named
from .storage import Lens, Part

__all__ = ["angle", "complex", "conj", "conj_physical", "imag", "polar", "real", "resolve_conj", "resolve_neg",
           "view_as_complex", "view_as_real"]


def _pair(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """The two parts, of one shape."""
    first, second = type_of(name, x), type_of(name, y)
    if first.dtype is not second.dtype:
        raise DTypeError(f"Expected object of scalar type {first.dtype.name} but got scalar type "
                         f"{second.dtype.name} for second argument of {name}()")
    if first.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"{name}(): expected both inputs to be float32 or float64 tensors but got "
                         f"{first.dtype.name} and {second.dtype.name}")
    shape = broadcast_shapes(first.shape, second.shape)
    return expand(x, shape), expand(y, shape)


def complex(real: Any, imag: Any, *, out: Any = None) -> Any:
    """``real + i imag`` for float32 or float64 parts that broadcast together. torch: ``complex``.

    >>> gemel.complex(gemel.tensor([1.0]), gemel.tensor([-2.0]))
    tensor([1.-2.j])
    """
    made = apply_named("complex", *_pair("complex", real, imag))
    return made if out is None else into(out, made)


def polar(abs: Any, angle: Any, *, out: Any = None) -> Any:
    """``abs * (cos(angle) + i sin(angle))``. torch: ``polar``."""
    size, turn = _pair("polar", abs, angle)
    made = apply_named("complex", apply_named("mul", size, apply_named("cos", turn)),
                       apply_named("mul", size, apply_named("sin", turn)))
    return made if out is None else into(out, made)


def real(input: Any) -> Any:
    """The real part, a view; a real tensor is its own real part. torch: ``real``."""
    return input._view(Part(False)) if type_of("real", input).dtype.is_complex else input


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, a view. torch: ``imag``."""
    if not type_of("imag", input).dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes. "
                           f"Received: {input._value.type.dtype!r}")
    return input._view(Part(True))


def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor is its own. torch: ``conj``."""
    return apply_named("conj", input) if type_of("conj", input).dtype.is_complex else input


def conj_physical(input: Any, *, out: Any = None) -> Any:
    """The complex conjugate as a new tensor. torch: ``conj_physical``."""
    made = apply_named("conj", input)
    return made if out is None else into(out, made)


def resolve_conj(input: Any) -> Any:
    """``input``: conjugation is never pending. torch: ``resolve_conj``."""
    return input


def resolve_neg(input: Any) -> Any:
    """``input``: negation is never pending. torch: ``resolve_neg``."""
    return input


def angle(input: Any, *, out: Any = None) -> Any:
    """The angle of each element in radians: of a real number, 0 or pi. torch: ``angle``."""
    t = type_of("angle", input)
    if t.dtype.is_complex:
        made = apply_named("atan2", apply_named("imag", input), apply_named("real", input))
    else:
        from .creation import full, zeros
        x = input if t.dtype.is_floating_point else input.float()
        zero, half_turn = zeros(t.shape, dtype=x.dtype), full(t.shape, math.pi, dtype=x.dtype)
        made = apply_named("select", apply_named("lt", x, zero), half_turn, zero)
        made = apply_named("select", apply_named("ne", x, x), x, made)  # NaN stays NaN
    return made if out is None else into(out, made)


class _AsReal(Lens):
    """A complex tensor with its parts along a last axis of 2."""

    __slots__ = ()
    covers = True

    def result(self, shape):
        return (*shape, 2)

    def read(self, b, whole):
        parts = (*whole.type.shape, 1)
        return b.cat([b.reshape(b.real(whole), parts), b.reshape(b.imag(whole), parts)], whole.type.ndim)

    def write(self, b, whole, part):
        return _join(b, part)

    def strides(self, shape, strides, offset):
        return (*(2 * s for s in strides), 1), 2 * offset


class _AsComplex(Lens):
    """A real tensor whose last axis of 2 holds the parts of complex numbers."""

    __slots__ = ()
    covers = True

    def result(self, shape):
        return shape[:-1]

    def read(self, b, whole):
        return _join(b, whole)

    def write(self, b, whole, part):
        return _AsReal().read(b, part)

    def strides(self, shape, strides, offset):
        return tuple(s // 2 for s in strides[:-1]), offset // 2


def _join(b: Any, parts: Any) -> Any:
    """Complex numbers from (..., 2)."""
    shape = parts.type.shape
    start, stop = (0,) * len(shape), (*shape[:-1], 1)
    re = b.reshape(b.slice(parts, start, stop), shape[:-1])
    im = b.reshape(b.slice(parts, (*start[:-1], 1), (*shape[:-1], 2)), shape[:-1])
    return b.complex(re, im)


def view_as_real(input: Any) -> Any:
    """A complex tensor (...) seen as real (..., 2): real and imaginary parts. torch: ``view_as_real``."""
    if not type_of("view_as_real", input).dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors. "
                           f"Received: {input._value.type.dtype!r}")
    return input._view(_AsReal())


def view_as_complex(input: Any) -> Any:
    """A real tensor (..., 2) seen as complex (...). torch: ``view_as_complex``."""
    t = type_of("view_as_complex", input)
    if t.dtype not in (dt.float32, dt.float64):
        raise DTypeError("view_as_complex is only supported for half, float and double tensors, but got a tensor of "
                         f"scalar type: {t.dtype.name}")
    if not t.ndim or t.shape[-1] != 2:
        raise ShapeError(f"Tensor must have a last dimension of size 2. Received: shape {list(t.shape)}")
    if input.stride(-1) != 1 or any(s % 2 for s in input.stride()[:-1]) or input.storage_offset() % 2:
        raise RuntimeError("Tensor must have a last dimension with stride 1 and even other strides and offset. "
                           f"Received: strides {input.stride()}, offset {input.storage_offset()}")
    return input._view(_AsComplex())


def _set_part(part: Any) -> Any:
    def setter(self: Any, value: Any) -> None:
        part(self).copy_(value if value.__class__ in TENSOR_CLASSES else self.new_tensor(value).real)
    return setter


class ComplexMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    real = property(real, _set_part(real), doc="The real part, a view. torch: ``Tensor.real``.")
    imag = property(imag, _set_part(imag), doc="The imaginary part, a view. torch: ``Tensor.imag``.")
    conj = conj
    conj_physical = conj_physical
    resolve_conj = resolve_conj
    resolve_neg = resolve_neg
    angle = angle
