"""Anomaly mode: which operation made a NaN in the backward pass, and the line of the forward pass that recorded it."""
from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.runtime import executor
from ..engine.runtime.trace import user_line
from ..tensor import tape
from ..tensor.tape import Node

__all__ = ["detect_anomaly", "set_detect_anomaly", "is_anomaly_enabled"]

_lines: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
_state = {"enabled": False, "nan": True}


def _remember(n: Node, operands: Any, out: Any) -> None:
    _lines[n] = user_line()


def _examine(n: Node, grads: Sequence[Any], space: Any) -> None:
    if not _state["nan"]:
        return
    for i, g in enumerate(grads):
        if g is None or not g.type.dtype.is_inexact:
            continue
        value = space.tensor(g)._read()
        if np.isnan(executor.observe(value, "anomaly detection")).any():
            where = _lines.get(n)
            made = f" The operation was recorded at {where}." if where else (
                " No forward pass information available: enable detect_anomaly during the forward pass.")
            raise RuntimeError(f"Function '{n.name()}' returned nan values in its {i}th output.{made}")


def is_anomaly_enabled() -> bool:
    """Is anomaly mode on? torch: ``is_anomaly_enabled``"""
    return _state["enabled"]


def _switch(enabled: bool, check_nan: bool) -> None:
    for hooks, hook in ((tape.watchers, _remember), (tape.checks, _examine)):
        if hook in hooks:
            hooks.remove(hook)  # type: ignore[arg-type]
        if enabled:
            hooks.append(hook)  # type: ignore[arg-type]
    _state["enabled"], _state["nan"] = enabled, check_nan


class set_detect_anomaly:
    """Switch anomaly mode on or off; as a context manager, until the end of the block.

    torch: ``autograd.set_detect_anomaly``
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = (_state["enabled"], _state["nan"])
        _switch(mode, check_nan)

    def __enter__(self) -> None:
        """The mode is on since the call."""

    def __exit__(self, *exception: Any) -> None:
        _switch(*self.before)


class detect_anomaly:
    """In this block a NaN made by the backward pass raises ``RuntimeError`` with the operation and its line.

    Args:
        check_nan: look for NaNs (each gradient is computed at once: slow). Else only lines are recorded.

        >>> x = gemel.zeros(2, requires_grad=True)
        >>> with gemel.autograd.detect_anomaly():
        ...     loss = (x.sqrt() * 0).sum()    # x holds a zero: 0 * inf
        ...     loss.backward()
        Traceback (most recent call last):
        RuntimeError: Function 'SqrtBackward0' returned nan values ...

    torch: ``autograd.detect_anomaly``
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        self.before = (_state["enabled"], _state["nan"])
        _switch(True, self.check_nan)

    def __exit__(self, *exception: Any) -> None:
        _switch(*self.before)
