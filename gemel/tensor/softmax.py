"""Softmax and its logarithm along an axis."""
from __future__ import annotations

from typing import Any

from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError
from .dims import wrap_dim
from .promotion import SCALAR_NAMES, cast
from .recording import apply_named

__all__ = ["log_softmax", "softmax"]


def _along(name: str, x: Any, dim: int, dtype: DType | None) -> Any:
    t = x._read().type
    axis = wrap_dim(dim, t.ndim)
    if dtype is not None:
        x = cast(x, dtype)
    found = x._read().type.dtype
    if found.kind != "f":
        raise DTypeError(f'"{name}_lastdim_kernel_impl" not implemented for \'{SCALAR_NAMES[found]}\'')
    if t.ndim == 0:
        return apply_named("reshape", apply_named(name, apply_named("reshape", x, attrs=((1,),)), attrs=(0,)),
                           attrs=((),))
    return apply_named(name, x, attrs=(axis,))


def softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``, computed in ``dtype`` if given. torch: ``softmax``.

    >>> gemel.softmax(gemel.tensor([0.0, 0.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    return _along("softmax", input, dim, dtype)


def log_softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """``log(softmax(x))``, without overflow. torch: ``log_softmax``."""
    return _along("log_softmax", input, dim, dtype)


class SoftmaxMethods:
    """Methods of ``Tensor``."""

    __slots__ = ()
    softmax = softmax
    log_softmax = log_softmax
