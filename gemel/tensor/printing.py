"""How tensors are shown: torch's ``repr``, character for character."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from .tape import Accumulate
from .typeinfo import default_complex, get_default_dtype

__all__ = ["set_printoptions", "get_printoptions", "printoptions"]


@dataclass
class _Options:
    """Values of :func:`set_printoptions`."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None) -> None:
    """Set how tensors are shown.

    Args:
        precision: digits after the point (4). threshold: number of elements above which a tensor is summarized (1000).
        edgeitems: elements at each end of an axis of a summary (3). linewidth: columns of a line (80).
        profile: ``default``, ``short`` or ``full``, before the others apply.
        sci_mode: True or False for scientific notation always or never; None chooses by the values.

    torch: ``set_printoptions``.
    """
    changes: dict[str, Any] = {}
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)}. Received: {profile!r}")
        changes |= _PROFILES[profile]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changes |= {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current options, as keyword arguments of :func:`set_printoptions`. torch: ``get_printoptions``."""
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Options of :func:`set_printoptions` for a ``with`` block. torch: ``printoptions``."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


# --- numbers -------------------------------------------------------------------------------------

class _Formatter:
    """One width and notation for all the numbers that are shown.

    Floats are shown as integers (``3.``) if all of them are, in scientific notation if they spread over more than
    three decades, exceed 1e8 or fall below 1e-4.
    """

    def __init__(self, shown: np.ndarray) -> None:
        self.floating = shown.dtype.kind == "f"
        self.integral, self.scientific, self.width = True, False, 1
        if not self.floating:
            self.width = max([1, *(len(str(x)) for x in shown.ravel().tolist())])
            return
        values = shown.ravel()
        values = values[np.isfinite(values) & (values != 0)]
        if not values.size:
            return
        size = np.abs(values.astype(np.float64))
        least, most = float(size.min()), float(size.max())
        self.integral = bool((values == np.ceil(values)).all())
        if _options.sci_mode is None:
            self.scientific = most / least > 1000.0 or most > 1.0e8 or least < 1.0e-4
        else:
            self.scientific = _options.sci_mode
        if self.scientific:
            spec, extra = f".{_options.precision}e", 0
        elif self.integral:
            spec, extra = ".0f", 1
        else:
            spec, extra = f".{_options.precision}f", 0
        self.width = max(1, *(len(format(x, spec)) + extra for x in values.tolist()))

    def format(self, value: Any) -> str:
        """The number, padded to the common width."""
        if not self.floating:
            text = str(value)
        elif self.scientific:
            text = format(value, f"{self.width}.{_options.precision}e")
        elif self.integral:
            text = format(value, ".0f") + ("." if math.isfinite(value) else "")
        else:
            text = format(value, f".{_options.precision}f")
        return text.rjust(self.width)


class _ComplexFormatter:
    """A formatter each for the real and imaginary parts."""

    def __init__(self, shown: Any) -> None:
        self.real, self.imag = _Formatter(shown.real), _Formatter(shown.imag)
        self.width = self.real.width + self.imag.width + 1

    def format(self, value: complex) -> str:
        real, imag = self.real.format(value.real), self.imag.format(value.imag).lstrip() + "j"
        return real + imag if imag[0] in "+-" else f"{real}+{imag}"


# --- arrays --------------------------------------------------------------------------------------

def _edges(a: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    n = _options.edgeitems
    if not n and a.ndim > 1:
        return a[:0]
    for axis in range(a.ndim):
        if a.shape[axis] > 2 * n:
            ends = list(range(n)) + [a.shape[axis] - n + i for i in range(n)]
            a = a.take(ends, axis)
    return a


def _vector(a: np.ndarray, indent: int, summarize: bool, f: Any) -> str:
    per_line = max(1, (_options.linewidth - indent) // (f.width + 2))
    n = _options.edgeitems
    if summarize and not n:
        cells = ["..."]
    elif summarize and len(a) > 2 * n:
        cells = [*map(f.format, a[:n].tolist()), " ...", *map(f.format, a[-n:].tolist())]
    else:
        cells = list(map(f.format, a.tolist()))
    lines = [", ".join(cells[i:i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(a: np.ndarray, indent: int, summarize: bool, f: Any) -> str:
    if a.ndim == 0:
        return f.format(a.item())
    if a.ndim == 1:
        return _vector(a, indent, summarize, f)
    n = _options.edgeitems
    if summarize and len(a) > 2 * n:
        parts = [_nested(x, indent + 1, summarize, f) for x in a[:n]]
        parts.append("...")
        parts += [_nested(x, indent + 1, summarize, f) for x in a[len(a) - n:]]
    else:
        parts = [_nested(x, indent + 1, summarize, f) for x in a]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _body(a: np.ndarray, indent: int) -> str:
    if not a.size:
        return "[]"
    summarize = a.size > _options.threshold
    shown = _edges(a) if summarize else a
    f = _ComplexFormatter(shown) if a.dtype.kind == "c" else _Formatter(shown)
    return _nested(a, indent, summarize, f)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append ``, dtype=...`` and the like, on a new line where the last one is full."""
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


#: classes that print as ``tensor(...)``; other subclasses print their own name
_PLAIN_NAMES = frozenset(("Tensor", "Parameter", "Buffer"))


def _suffixes(t: Any) -> list[str]:
    type_ = t._read().type
    dtype, found = type_.dtype, []
    usual: tuple = (get_default_dtype(), default_complex(), dt.int64, dt.bool_)
    if not type_.size:
        usual = (get_default_dtype(),)
        if type_.ndim != 1:
            found.append(f"size={type_.shape}")
    elif not _options.edgeitems:
        found.append(f"size={type_.shape}")
    if dtype not in usual:
        found.append(f"dtype={dtype!r}")
    edge = t._edge
    if edge.__class__ is Accumulate:
        found.append("requires_grad=True")
    elif edge is not None:
        found.append(f"grad_fn=<{edge.name()}>")
    return found


def tensor_repr(t: Any) -> str:
    """``tensor([...], dtype=..., grad_fn=...)``."""
    name = type(t).__name__
    prefix = "tensor(" if name in _PLAIN_NAMES else f"{name}("
    array = t._observe("repr()")
    if array.dtype == dt.bfloat16.numpy:
        array = array.astype(np.float32)
    return _with_suffixes(prefix + _body(array, len(prefix)), _suffixes(t), len(prefix))


class PrintingMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    def __repr__(self: Any) -> str:
        return tensor_repr(self)

    __str__ = __repr__

    def __format__(self: Any, spec: str) -> str:
        if self._value.type.ndim == 0 and type(self).__name__ in _PLAIN_NAMES:
            return format(self.item(), spec)
        return object.__format__(self, spec)
