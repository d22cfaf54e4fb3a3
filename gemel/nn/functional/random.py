"""The random stream of the functions: that of the default generator, so that ``gemel.manual_seed`` seeds it."""
from __future__ import annotations

from typing import Any

from ...tensor.random import stream as draw
from ...tensor.recording import wrap


def stream() -> tuple[Any, Any]:
    """Key and counter of a fresh draw, as 0-d tensors."""
    key, counter = draw()
    return wrap(key), wrap(counter)
