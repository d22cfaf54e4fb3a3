"""Comparisons for tests. torch: ``torch.testing``

    >>> gemel.testing.assert_close(gemel.tensor([1.0]), gemel.tensor([1.0 + 1e-7]))
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .engine.base import dtypes as dt
from .engine.base.dtypes import DType
from .tensor.core import TENSOR_CLASSES
from .tensor.creation import as_tensor

__all__ = ["assert_close"]

#: (rtol, atol) by dtype; 0 for integers and bool
_TOLERANCES: dict[DType, tuple[float, float]] = {
    dt.float16: (1e-3, 1e-5), dt.bfloat16: (1.6e-2, 1e-5), dt.float32: (1.3e-6, 1e-5), dt.float64: (1e-7, 1e-7),
    dt.complex64: (1.3e-6, 1e-5), dt.complex128: (1e-7, 1e-7)}


class _Comparison:
    """The settings of a call of :func:`assert_close`."""

    def __init__(self, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool,
                 check_stride: bool) -> None:
        if (rtol is None) != (atol is None):
            raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no "
                             f"{'rtol' if rtol is None else 'atol'}.")
        self.rtol, self.atol, self.equal_nan = rtol, atol, equal_nan
        self.check_dtype, self.check_stride = check_dtype, check_stride

    def tolerances(self, *dtypes: DType) -> tuple[float, float]:
        """(rtol, atol): those given, or the largest of the dtypes."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        found = [_TOLERANCES.get(d, (0.0, 0.0)) for d in dtypes]
        return max(r for r, _ in found), max(a for _, a in found)


def _wide(x: Any) -> np.ndarray:
    """The values in a dtype of NumPy: torch subtracts and divides in the tensor's own."""
    array = x.detach().numpy()
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def _scalars(a: Any, b: Any, c: _Comparison, kind: DType) -> str | None:
    """The message for two numbers, or None."""
    rtol, atol = c.tolerances(kind)
    with np.errstate(all="ignore"):
        close = bool(np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=c.equal_nan))
        absolute = abs(a - b)
        relative = absolute / abs(b) if b != 0 else (math.nan if absolute == 0 else math.inf)
    if close:
        return None
    exact = not rtol and not atol
    allowed = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {b} but got {a}.\n"
            f"Absolute difference: {absolute}{allowed[0]}\nRelative difference: {relative}{allowed[1]}")


def _tensors(actual: Any, expected: Any, c: _Comparison) -> str | None:
    """The message for two tensors, or None."""
    pairs = [("shape", tuple(actual.shape), tuple(expected.shape), f"{actual.shape} != {expected.shape}")]
    if c.check_stride:
        pairs.append(("stride()", actual.stride(), expected.stride(), f"{actual.stride()} != {expected.stride()}"))
    if c.check_dtype:
        pairs.append(("dtype", actual.dtype, expected.dtype, f"{actual.dtype} != {expected.dtype}"))
    for name, a, b, text in pairs:
        if a != b:
            return f"The values for attribute '{name}' do not match: {text}."
    rtol, atol = c.tolerances(actual.dtype, expected.dtype)
    a, b = _wide(actual), _wide(expected)
    if not a.ndim:
        numbers = actual.item(), expected.item()
        return _scalars(*numbers, _Comparison(rtol, atol, c.equal_nan, True, False), actual.dtype)
    with np.errstate(all="ignore"):
        wrong = ~np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=c.equal_nan)
        if not wrong.any():
            return None
        absolute = np.abs(a - b)
        relative = absolute / np.abs(b)
    for differences in (absolute, relative):
        differences[~wrong] = 0
    exact = not rtol and not atol
    lines = [f"Tensor-likes are not {'equal' if exact else 'close'}!", "",
             f"Mismatched elements: {wrong.sum()} / {wrong.size} ({wrong.sum() / wrong.size:.1%})"]
    for name, differences, allowed in (("absolute", absolute, atol), ("relative", relative, rtol)):
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(differences)), differences.shape))
        limit = "" if exact else f" (up to {allowed} allowed)"
        lines.append(f"Greatest {name} difference: {differences[place]} at index {place}{limit}")
    return "\n".join(lines)


def _compared(actual: Any, expected: Any, c: _Comparison, path: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]] | None:
    """The first fault and where it is."""
    for a, b in ((actual, expected), (expected, actual)):
        if a is None:
            return None if b is None else (f"None mismatch: {actual} is not {expected}", path)
    if isinstance(actual, Sequence) and isinstance(expected, Sequence) and not isinstance(actual, str):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", path
        items = [(i, actual[i], expected[i]) for i in range(len(actual))]
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        missing, more = (sorted(set(p) - set(q), key=str) for p, q in ((expected, actual), (actual, expected)))
        if missing or more:
            text = "The keys of the mappings do not match:"
            text += f"\nMissing keys in the actual mapping: {missing}" if missing else ""
            return text + (f"\nAdditional keys in the actual mapping: {more}" if more else ""), path
        items = [(k, actual[k], expected[k]) for k in sorted(actual, key=str)]
    else:
        fault = _leaves(actual, expected, c)
        return None if fault is None else (fault, path)
    for key, a, b in items:
        found = _compared(a, b, c, (*path, key))
        if found is not None:
            return found
    return None


def _leaves(actual: Any, expected: Any, c: _Comparison) -> str | None:
    values = actual, expected
    if all(isinstance(v, (bool, np.bool_)) for v in values):
        return None if actual is expected or actual == expected else f"Booleans mismatch: {actual} is not {expected}"
    numbers = int, float, complex, np.number
    if all(isinstance(v, numbers) and not isinstance(v, bool) for v in values):
        if c.check_dtype and type(actual) is not type(expected):
            return f"The (d)types do not match: {type(actual)} != {type(expected)}."
        widest = dt.complex128 if any(isinstance(v, complex) for v in values) else (
            dt.float64 if any(isinstance(v, (float, np.floating)) for v in values) else dt.int64)
        return _scalars(actual, expected, c, widest)
    if all(v.__class__ in TENSOR_CLASSES or isinstance(v, (np.ndarray, *numbers)) for v in values):
        a, b = [v if v.__class__ in TENSOR_CLASSES else as_tensor(v) for v in values]
        return _tensors(a, b, c)
    raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
                 atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
                 check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
                 msg: str | Callable[[str], str] | None = None) -> None:
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol |expected|`` everywhere.

    Args:
        actual, expected: tensors, arrays, numbers, bools, None, or sequences and mappings of them. rtol, atol: both or
        none (defaults by dtype: 1.3e-6 and 1e-5 for float32, 0 for integers). equal_nan: is NaN equal to NaN?
        check_dtype, check_stride: compare them too. msg: what the error says, or a function of what it would say.
        allow_subclasses, check_device, check_layout: accepted; there is one device and one layout.
    Raises: ValueError for one tolerance alone, TypeError for other values.

    >>> gemel.testing.assert_close([1, 2.0], [1, 2.0])
    >>> gemel.testing.assert_close(1, 2)
    Traceback (most recent call last):
    AssertionError: Scalars are not equal!
    ...

    torch: ``testing.assert_close``
    """
    found = _compared(actual, expected, _Comparison(rtol, atol, equal_nan, check_dtype, check_stride), ())
    if found is None:
        return
    text, path = found
    if path:
        text += f"\n\nThe failure occurred for item {''.join(f'[{k!r}]' for k in path)}"
    raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg)
