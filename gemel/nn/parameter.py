"""Tensors that belong to modules: parameters and buffers."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.runtime.trace import hold
from ..tensor.core import from_array
from ..tensor.recording import apply_named, public, wrap
from ..tensor.tape import Accumulate
from ..tensor.tensor import Tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def empty_data(dtype: dt.DType = dt.float32) -> Any:
    """A tensor without elements."""
    return wrap(from_array(np.empty(0, dtype.numpy)))


def share(out: Any, data: Any, requires_grad: bool) -> Any:
    """Make ``out`` a leaf on the storage of ``data``, with a history of its own; ``data`` keeps its own too."""
    value = data._read()
    dtype = value.type.dtype
    if requires_grad and dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    out._value, out._edge, out._info = value, None, None
    if requires_grad:
        out._edge = Accumulate(out, value.type)
    out._take_storage(data)
    return out


class Parameter(Tensor):
    """A tensor that a module lists among its parameters when it is assigned as an attribute.

    Args:
        data: the tensor whose storage the parameter shares. requires_grad: whether it is to be trained.

    >>> import gemel
    >>> layer = gemel.nn.Module()
    >>> layer.w = gemel.nn.Parameter(gemel.zeros(2))
    >>> [name for name, _ in layer.named_parameters()]
    ['w']

    torch: ``torch.nn.Parameter``
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty_data()
        if not isinstance(data, Tensor):
            raise TypeError(f"a Parameter is made from a Tensor. Received: {type(data).__name__}")
        hold(data._read())
        return share(object.__new__(cls), data, requires_grad)

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        """Everything is done in ``__new__``."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        found: Any = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self)(fresh_copy(self), self._edge is not None)
            found.__dict__.update(self.__dict__)
        return found

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __str__(self) -> str:
        return repr(self)


def fresh_copy(t: Any) -> Any:
    """The values of ``t`` in a tensor of its own, off the tape."""
    return apply_named("copy", wrap(t._read()))


class Buffer(Tensor):
    """A tensor that a module lists among its buffers when it is assigned as an attribute.

    Args:
        data: the tensor whose storage it shares. persistent: whether it is part of ``state_dict()``.

    torch: ``torch.nn.Buffer``
    """

    __slots__ = ()
    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        data = empty_data() if data is None else data
        out = share(object.__new__(cls), data, bool(data.requires_grad))
        out.persistent = persistent
        return out

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        """Everything is done in ``__new__``."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = Buffer(fresh_copy(self), persistent=self.persistent)
        return found


class Uninitialized:
    """What a parameter or buffer is until its module has seen its first input."""

    __slots__ = ()
    becomes: type = Tensor

    def materialize(self: Any, shape: Any, device: Any = None, dtype: dt.DType | None = None) -> None:
        """Give it a shape (contents arbitrary) and make it an ordinary parameter or buffer."""
        data = wrap(from_array(np.empty(tuple(shape), (dtype or self._value.type.dtype).numpy)))
        wants = self._edge is not None
        self.__class__ = self.becomes
        share(self, data, wants)

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter whose shape is inferred from the first input of a lazy module.

    torch: ``torch.nn.parameter.UninitializedParameter``
    """

    __slots__ = ()
    becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: dt.DType | None = None) -> Any:
        return share(object.__new__(cls), empty_data(dtype or dt.float32), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: dt.DType | None = None) -> None:
        """Everything is done in ``__new__``."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self)(self._edge is not None, None, self._value.type.dtype)
        return found


class UninitializedBuffer(Uninitialized, Tensor):
    """A buffer whose shape is inferred from the first input of a lazy module.

    torch: ``torch.nn.parameter.UninitializedBuffer``
    """

    __slots__ = ()
    becomes = public[0]

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: dt.DType | None = None) -> Any:
        return share(object.__new__(cls), empty_data(dtype or dt.float32), requires_grad)

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: dt.DType | None = None) -> None:
        """Everything is done in ``__new__``."""

    __deepcopy__ = UninitializedParameter.__deepcopy__


def is_lazy(param: Any) -> bool:
    """Is the shape of ``param`` still unknown?"""
    return isinstance(param, Uninitialized)
