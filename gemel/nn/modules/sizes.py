"""Sizes that are given once for all axes or once per axis."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def per_axis(value: Any, n: int) -> tuple[Any, ...]:
    """A tuple with one entry per axis; what has several entries stays as it is, as in torch."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * n
