"""Reading axes, sizes and index numbers that users give, with torch's errors."""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from ..engine.ir.types import Shape


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose results are kept by its arguments and their types: what shapes and axes lead to.

    Arguments that do not hash it gets every time; their contents are not looked at by type.
    """
    known = functools.lru_cache(4096, typed=True)(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return known(*args)
        except TypeError:
            return function(*args)
    return call


def wrap_dim(dim: Any, ndim: int) -> int:
    """An axis number in ``[0, ndim)``; a 0-d tensor has the axes 0 and -1."""
    try:
        d = operator.index(dim)
    except TypeError:
        raise TypeError(f"dim must be an int, not {type(dim).__name__}. Received: {dim!r}") from None
    n = ndim or 1
    if not -n <= d < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})")
    return d + n if d < 0 else d


def wrap_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """Several axis numbers, each at most once."""
    found = tuple(wrap_dim(d, ndim) for d in (dims if isinstance(dims, Sequence) else (dims,)))
    if len(set(found)) != len(found):
        raise RuntimeError(f"dim {next(d for d in found if found.count(d) > 1)} appears multiple times in the list "
                           f"of dims. Received: {tuple(dims)}")
    return found


_index = operator.index


def sizes_of(args: tuple[Any, ...], name: str) -> Shape:
    """``f(2, 3)`` and ``f((2, 3))`` alike."""
    if len(args) == 1 and args[0].__class__ is not int and not hasattr(args[0], "__index__"):
        args = args[0]
    try:
        return tuple(map(_index, args))
    except TypeError:
        raise TypeError(f"{name}(): sizes must be ints. Received: {args!r}") from None


def named(name: str, keyword: str, args: tuple[Any, ...], given: Any) -> tuple[Any, ...]:
    """What ``name(2, 3)``, ``name((2, 3))`` or ``name(keyword=(2, 3))`` was given, as positional arguments."""
    if given is None:
        return args
    if args:
        raise TypeError(f"{name}() got multiple values for argument {keyword!r}. Received: {args!r} and {given!r}")
    return (given,)


def numpy_names(name: str, dim: Any, axis: Any, keepdim: Any = False, keepdims: Any = None) -> tuple[Any, Any]:
    """``dim`` and ``keepdim``, where NumPy's names of them may have been used, as torch allows."""
    if axis is not None:
        if dim is not None:
            raise TypeError(f"{name}() got multiple values for argument 'dim'. Received: dim={dim!r}, axis={axis!r}")
        dim = axis
    if keepdims is not None:
        if keepdim:
            raise TypeError(f"{name}() got multiple values for argument 'keepdim'. Received: keepdims={keepdims!r}")
        keepdim = keepdims
    return dim, keepdim


@functools.lru_cache(4096)
def infer_size(shape: Shape, size: int, of: Shape) -> Shape:
    """``shape`` with its -1 replaced so that it holds ``size`` elements."""
    if -1 not in shape:
        total = 1
        for n in shape:
            if n < 0:
                raise RuntimeError(f"invalid shape dimension {n}")
            total *= n
        if total != size:
            raise _invalid(shape, size, of)
        return shape
    known = 1
    for n in shape:
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n}")
        if n >= 0:
            known *= n
    if shape.count(-1) > 1:
        raise RuntimeError(f"only one dimension can be inferred. Received: shape {list(shape)}")
    if known == 0 and size == 0:
        raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                           f"dimension size -1 can be any value and is ambiguous")
    if known == 0 or size % known:
        raise _invalid(shape, size, of)
    return tuple([size // known if n == -1 else n for n in shape])


def _invalid(shape: Shape, size: int, of: Shape) -> RuntimeError:
    return RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}. "
                        f"Received a tensor of shape {list(of)}")
