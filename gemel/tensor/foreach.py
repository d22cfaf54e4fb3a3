"""One operation on many tensors: what optimizers of other libraries are written with.

Each tensor's operation is recorded on its own; what is recorded together runs together, so a list costs no more than
it does in torch. The names begin with an underscore, as torch's do.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .core import TENSOR_CLASSES

_UNARY = ("abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac",
          "lgamma", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin",
          "sinh", "sqrt", "tan", "tanh", "trunc")
#: function -> (method, name of the operand; does it take a factor ``alpha``?)
_BINARY = {"add": ("add", "other", True), "sub": ("sub", "other", True), "mul": ("mul", "other", False),
           "div": ("div", "other", False), "pow": ("pow", "exponent", False),
           "clamp_min": ("clamp_min", "other", False), "clamp_max": ("clamp_max", "other", False),
           "maximum": ("clamp_min", "other", False), "minimum": ("clamp_max", "other", False)}

Tensors = Sequence[Any]


def _result(name: str, tensors: Any, found: list[Any]) -> Any:
    """What is new, as a tuple; what was written in place, as the list that was given."""
    return tensors if name.endswith("_") else tuple(found)


def _checked(name: str, tensors: Any, argument: str = "self") -> list[Any]:
    """A list of tensors with at least one entry."""
    if tensors.__class__ in TENSOR_CLASSES or not isinstance(tensors, Iterable):
        raise TypeError(f"{name}(): argument '{argument}' must be tuple of Tensors, not {type(tensors).__name__}")
    found = list(tensors)
    if not found:
        raise RuntimeError(f"{name}(): Tensor list must have at least one tensor.")
    for i, x in enumerate(found):
        if x.__class__ not in TENSOR_CLASSES:
            raise TypeError(f"{name}(): argument '{argument}' must be tuple of Tensors, but found element of type "
                            f"{type(x).__name__} at pos {i}")
    return found


def _alike(name: str, tensors: list[Any], others: Any, argument: str) -> list[Any]:
    """A list with one tensor for each of ``tensors``."""
    found = _checked(name, others, argument)
    if len(found) != len(tensors):
        raise RuntimeError(f"{name}(): Tensor lists must have the same number of tensors, got {len(tensors)} and "
                           f"{len(found)}")
    return found


def _spread(name: str, tensors: list[Any], given: Any) -> list[Any]:
    """A number or 0-d tensor for all, or one entry for each of ``tensors``."""
    if given.__class__ in TENSOR_CLASSES:
        if given.dim():
            raise RuntimeError(f"{name}(): scalar tensor expected to be 0 dim but it has {given.dim()} dimensions and "
                               f"{given.numel()} elements.")
        return [given] * len(tensors)
    if not isinstance(given, (list, tuple)):
        return [given] * len(tensors)
    if len(given) != len(tensors):
        what = "tensors" if given and given[0].__class__ in TENSOR_CLASSES else "scalars"
        raise RuntimeError(f"{name}(): the list of {what} must have as many elements as the Tensor list. Received: "
                           f"{len(given)} for {len(tensors)}")
    return list(given)


def _named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``"
    return function


def _one_of(name: str, **given: Any) -> Any:
    """The operand, under whichever of torch's names it was given."""
    found = [x for x in given.values() if x is not None]
    if len(found) != 1:
        raise TypeError(f"{name}() needs one of {', '.join(given)}. Received: {len(found)} of them")
    return found[0]


def _unary(method: str, name: str) -> Callable[..., Any]:
    def function(self: Tensors) -> Any:
        return _result(name, self, [getattr(x, method)() for x in _checked(name, self)])
    return _named(function, name, f"``x.{method}()`` of each tensor.")


def _binary(method: str, operand: str, scaled: bool, name: str) -> Callable[..., Any]:
    def function(self: Any, other: Any = None, *, scalar: Any = None, scalars: Any = None, exponent: Any = None,
                 alpha: Any = 1) -> Any:
        other = _one_of(name, **{operand: other if exponent is None else exponent, "scalar": scalar,
                                 "scalars": scalars})
        if name == "_foreach_pow" and isinstance(self, (int, float, complex)):  # a number to the power of each
            return tuple([self ** x for x in _checked(name, other, operand)])
        tensors = _checked(name, self)
        others = _spread(name, tensors, other)
        more = {} if alpha == 1 else {"alpha": alpha}
        if more and not (scaled and all(y.__class__ in TENSOR_CLASSES for y in others)):
            raise TypeError(f"{name}(): alpha is a factor of tensors only. Received: {other!r}")
        return _result(name, self, [getattr(x, method)(y, **more) for x, y in zip(tensors, others, strict=True)])
    return _named(function, name, f"``x.{method}({operand})`` of each tensor, with a number or 0-d tensor for all, or "
                                  f"a list of numbers or tensors.")


def _ternary(method: str, name: str) -> Callable[..., Any]:
    def function(self: Tensors, tensor1: Tensors, tensor2: Tensors, value: Any = 1, *, scalars: Any = None) -> Any:
        tensors = _checked(name, self)
        firsts, seconds = _alike(name, tensors, tensor1, "tensor1"), _alike(name, tensors, tensor2, "tensor2")
        value = value if scalars is None else scalars
        if value.__class__ in TENSOR_CLASSES and value.dim() == 1:
            value = value.tolist()
        values = _spread(name, tensors, value)
        return _result(name, self, [getattr(x, method)(a, b, value=v)
                                    for x, a, b, v in zip(tensors, firsts, seconds, values, strict=True)])
    return _named(function, name, f"``x.{method}(tensor1, tensor2, value=value)`` of each tensor, with one value or a "
                                  f"list of them.")


def _lerp(method: str, name: str) -> Callable[..., Any]:
    def function(self: Tensors, tensors1: Tensors, weight: Any = None, *, weights: Any = None) -> Any:
        tensors = _checked(name, self)
        ends = _alike(name, tensors, tensors1, "tensors1")
        spread = _spread(name, tensors, _one_of(name, weight=weight, weights=weights))
        return _result(name, self, [getattr(x, method)(y, w)
                                    for x, y, w in zip(tensors, ends, spread, strict=True)])
    return _named(function, name, f"``x.{method}(end, weight)`` of each tensor, with one weight or a list of them.")


def _foreach_norm(self: Tensors, ord: Any = 2, dtype: Any = None) -> tuple[Any, ...]:
    """The vector norm of each tensor. torch: ``_foreach_norm``"""
    return tuple([x.norm(ord, dtype=dtype) for x in _checked("_foreach_norm", self)])


def _foreach_powsum(self: Tensors, ord: Any = 2, dtype: Any = None) -> tuple[Any, ...]:
    """``sum(|x| ** ord)`` of each tensor. torch: ``_foreach_powsum``"""
    return tuple([x.abs().pow(ord).sum(dtype=dtype) for x in _checked("_foreach_powsum", self)])


def _foreach_max(self: Tensors) -> tuple[Any, ...]:
    """The largest element of each tensor. torch: ``_foreach_max``"""
    return tuple([x.max() for x in _checked("_foreach_max", self)])


def _foreach_clone(self: Tensors, *, memory_format: Any = None) -> tuple[Any, ...]:
    """A copy of each tensor. torch: ``_foreach_clone``"""
    return tuple([x.clone(memory_format=memory_format) for x in _checked("_foreach_clone", self)])


def _foreach_mm(self: Tensors, mat2: Tensors) -> tuple[Any, ...]:
    """The product of each pair of matrices. torch: ``_foreach_mm``"""
    tensors = _checked("_foreach_mm", self)
    return tuple([x.mm(y) for x, y in zip(tensors, _alike("_foreach_mm", tensors, mat2, "mat2"), strict=True)])


def _foreach_copy_(self: Tensors, src: Tensors, non_blocking: bool = False) -> Any:
    """Write each tensor of ``src`` into its own of ``self``. torch: ``_foreach_copy_``"""
    tensors = _checked("_foreach_copy_", self)
    sources = _alike("_foreach_copy_", tensors, src, "src")
    return _result("_foreach_copy_", self, [x.copy_(y, non_blocking) for x, y in zip(tensors, sources, strict=True)])


def _foreach_zero_(self: Tensors) -> Any:
    """Fill each tensor with zeros. torch: ``_foreach_zero_``"""
    return _result("_foreach_zero_", self, [x.zero_() for x in _checked("_foreach_zero_", self)])


def _tables() -> dict[str, Callable[..., Any]]:
    """The functions that come in two kinds: with a new result, and in place."""
    found = {}
    for end in ("", "_"):
        for name in _UNARY:
            found[f"_foreach_{name}{end}"] = _unary(name + end, f"_foreach_{name}{end}")
        for name, (method, operand, scaled) in _BINARY.items():
            found[f"_foreach_{name}{end}"] = _binary(method + end, operand, scaled, f"_foreach_{name}{end}")
        for name in ("addcmul", "addcdiv"):
            found[f"_foreach_{name}{end}"] = _ternary(name + end, f"_foreach_{name}{end}")
        found[f"_foreach_lerp{end}"] = _lerp(f"lerp{end}", f"_foreach_lerp{end}")
    return found


globals().update(_tables())
