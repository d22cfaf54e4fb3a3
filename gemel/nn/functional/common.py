"""What the functions share: checks of arguments, hyper-parameters as runtime scalars, recording."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ...engine.base import dtypes as dt
from ...engine.base.errors import ShapeError, UnsupportedError
from ...engine.ir.types import TensorType
from ...engine.runtime.trace import scalar
from ...tensor.core import TENSOR_CLASSES
from ...tensor.promotion import broadcast_shapes
from ...tensor.recording import TAPE, Taped, apply_named, wrap

REDUCTIONS = ("none", "mean", "sum")


def type_of(x: Any):
    """The type of a tensor (which no write changes)."""
    return x._value.type


def check_tensor(function: str, argument: str, x: Any) -> None:
    """Raise torch's ``TypeError`` unless ``x`` is a tensor."""
    if x.__class__ not in TENSOR_CLASSES:
        raise TypeError(f"{function}(): argument '{argument}' must be Tensor, not {type(x).__name__}")


def checked_type(function: str, argument: str, x: Any) -> Any:
    """The type of ``x``; raises torch's ``TypeError`` unless it is a tensor."""
    if x.__class__ not in TENSOR_CLASSES:
        check_tensor(function, argument, x)
    return x._value.type


def check_floating(function: str, x: Any, argument: str = "input") -> TensorType:
    """The type of ``x``; raises unless it is a tensor of a floating-point type."""
    t = checked_type(function, argument, x)
    if t.dtype.kind != "f":
        refuse_kind(function, argument, t)
    return t


def refuse_kind(function: str, argument: str, t: TensorType) -> NoReturn:
    """Raise torch's error for an argument that is not of a floating-point type."""
    raise UnsupportedError(f'"{function}" not implemented for {t.dtype.name!r}: {argument} must be of a floating '
                           f"point type (x.float()). Received: {argument} {list(t.shape)} of {t.dtype!r}")


def check_same_dtype(function: str, x: Any, **others: Any) -> None:
    """Raise unless the other tensors (those that are not None) have the dtype of ``x``."""
    dtype = type_of(x).dtype
    for name, t in others.items():
        if t is None:
            continue
        check_dtype(function, name, checked_type(function, name, t), dtype)


def check_dtype(function: str, argument: str, t: TensorType, dtype: dt.DType) -> None:
    """Raise unless an argument has the input's dtype."""
    if t.dtype is not dtype:
        raise RuntimeError(f"{function}(): expected {argument} to have the input's dtype {dtype!r}, but got "
                           f"{t.dtype!r}")


def number(x: Any, value: float) -> Any:
    """A Python number as a runtime scalar in the compute type of ``x``."""
    return wrap(scalar(value, dt.compute_type(type_of(x).dtype)))


def with_numbers(name: str, x: Any, *numbers: float, attrs: tuple = ()) -> Any:
    """Record composite ``name`` on ``x`` and hyper-parameters."""
    return apply_named(name, x, *(number(x, v) for v in numbers), attrs=attrs)


def given(*tensors: Any) -> list[Any]:
    """Those that are not None."""
    return [t for t in tensors if t is not None]


def axis_of(function: str, x: Any, dim: int) -> int:
    """``dim`` counted from the front; torch's ``IndexError`` when it is out of range."""
    n = max(1, type_of(x).ndim)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim}). "
                         f"Received: {function} of a tensor of shape {list(type_of(x).shape)}")
    return dim % n


def cast(x: Any, dtype: dt.DType) -> Any:
    """``x`` in another dtype, on the tape."""
    return x if type_of(x).dtype is dtype else apply_named("cast", x, attrs=(dtype,))


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """A fresh value with another shape, on the tape (not a view)."""
    shape = tuple(shape)
    return x if type_of(x).shape == shape else apply_named("reshape", x, attrs=(shape,))


def expand(x: Any, shape: Sequence[int]) -> Any:
    shape = tuple(shape)
    return x if type_of(x).shape == shape else apply_named("expand", x, attrs=(shape,))


def broadcast(*tensors: Any) -> list[Any]:
    """All expanded to their common shape and converted to their common dtype."""
    shape, dtype = type_of(tensors[0]).shape, type_of(tensors[0]).dtype
    for t in tensors[1:]:
        shape = broadcast_shapes(shape, type_of(t).shape)
        dtype = dt.promote(dtype, type_of(t).dtype)
    return [expand(cast(t, dtype), shape) for t in tensors]


def in_place(x: Any, result: Any, inplace: bool) -> Any:
    """``result``, written into ``x`` when the caller asked for that."""
    return x._write(result) if inplace else result


def detached(x: Any) -> Any:
    """The same value off the tape, as a tensor of its own (for state such as running means)."""
    return wrap(x._read())


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """torch's deprecated ``size_average`` and ``reduce`` as a reduction; checks the name."""
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def tuple_of(function: str, name: str, value: Any, n: int) -> tuple[int, ...]:
    """One number for all axes, or one per axis."""
    if isinstance(value, int):
        return (value,) * n
    found = tuple(value)
    if len(found) == 1:
        return found * n
    if len(found) != n or not all(isinstance(v, int) for v in found):
        raise ValueError(f"{function}: {name} must be an int or a tuple of {n} ints. Received: {name}={value!r}")
    return found


def batched(function: str, x: Any, n: int) -> tuple[Any, bool]:
    """``x`` with batch and channel axes before ``n`` spatial ones, and whether the batch axis was put in here."""
    check_tensor(function, "input", x)
    t = type_of(x)
    if t.ndim == n + 2:
        return x, False
    if t.ndim == n + 1:
        return reshape(x, (1, *t.shape)), True
    raise ShapeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {function}, but got input of size: "
                     f"{list(t.shape)}")


def unbatched(x: Any, added: bool) -> Any:
    """Undo ``batched``."""
    return reshape(x, type_of(x).shape[1:]) if added else x


def taped(body: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors out of ``body(builder, *values, **attrs)``: its operations go on the tape one by one.

    For functions that are called rarely; those that are called often are composites.
    """
    def run(*tensors: Any, **attrs: Any) -> Any:
        results = body(TAPE, *(Taped(t._read(), t._edge) for t in tensors), **attrs)
        if isinstance(results, Taped):
            return wrap(results.value, results.edge)
        return tuple(wrap(r.value, r.edge) for r in results)
    run.__doc__ = body.__doc__
    return run
