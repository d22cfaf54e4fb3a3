"""Forward mode with dual numbers: a tensor and its tangent, carried through ordinary operations.

``gemel.func.jvp`` is the functional form, and nests. torch: ``torch.autograd.forward_ad``
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor.core import TensorCore
from ..tensor.forward import Recording, push, reaches_before
from ..tensor.recording import Taped, TapedSpace, wrap
from ..tensor.tape import Edge, Start, _sequence

__all__ = ["dual_level", "make_dual", "unpack_dual", "enter_dual_level", "exit_dual_level", "UnpackedDualTensor"]


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent (None: zero)."""

    primal: Any
    tangent: Any


class _Level:
    """An open level: tangents of what :func:`make_dual` made, by place on the tape."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.given: dict[Edge, Taped] = {}
        self.begin = _sequence()
        self.recording.__enter__()


_levels: list[_Level] = []


def enter_dual_level() -> int:
    """Open the level of dual numbers; its number, 0. torch: ``forward_ad.enter_dual_level``"""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append(_Level())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: all tangents are forgotten. torch: ``forward_ad.exit_dual_level``"""
    if not _levels or level not in (None, 0):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not "
                           "supported.")
    _levels.pop().recording.__exit__()


class dual_level:
    """The block in which dual numbers exist.

        >>> from gemel.autograd import forward_ad as fwAD
        >>> with fwAD.dual_level():
        ...     y = fwAD.make_dual(gemel.tensor(3.0), gemel.tensor(1.0)) ** 2
        ...     tangent = fwAD.unpack_dual(y).tangent
        >>> tangent
        tensor(6.)

    torch: ``forward_ad.dual_level``
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exception: Any) -> None:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """The dual number of a tensor and a tangent of its shape and dtype. torch: ``forward_ad.make_dual``"""
    if not _levels:
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to "
                           "enter_dual_level() first.")
    for what, t in (("primal", tensor), ("tangent", tangent)):
        if not isinstance(t, TensorCore) or not t._read().type.dtype.is_inexact:
            raise ValueError(f"Expected {what} to be floating point or complex, but got: "
                             f"{t._read().type.dtype if isinstance(t, TensorCore) else type(t)}")
    if tensor._read().type is not tangent._read().type:
        raise RuntimeError(f"Expected a tangent of the type of the primal. Received: {tangent._read().type} for "
                           f"{tensor._read().type}")
    place = Start(tensor._edge, tensor._value.type)
    _levels[-1].given[place] = Taped(tangent._value, tangent._edge)
    return wrap(tensor._value, place)


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor and its tangent (None where it does not depend on a dual number). torch: ``unpack_dual``"""
    if not _levels or tensor._edge is None:
        return UnpackedDualTensor(tensor, None)
    (found,) = push([tensor._edge], _levels[-1].given)
    if found is None:
        return UnpackedDualTensor(tensor, None)
    edge = tensor._edge.edges[0] if tensor._edge in _levels[-1].given else tensor._edge  # type: ignore[attr-defined]
    begin = _levels[-1].begin
    primal, tangent = wrap(tensor._read(), edge), TapedSpace.tensor(found)
    return UnpackedDualTensor(*(t if reaches_before(begin, [t._edge]) else wrap(t._read()) for t in (primal, tangent)))
