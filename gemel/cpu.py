"""What programs ask of the device that tensors live on. torch: ``torch.cpu``.

    >>> import time
    >>> x = gemel.ones(300, 300)
    >>> start = time.perf_counter()
    >>> y = x @ x
    >>> gemel.cpu.synchronize()  # y has been computed now: the time is that of the product
    >>> seconds = time.perf_counter() - start
"""
from __future__ import annotations

from typing import Any

from .engine.device import stream as _stream
from .engine.runtime import trace as _trace

__all__ = ["current_device", "device_count", "is_available", "is_initialized", "set_device", "synchronize"]


def is_available() -> bool:
    """True: there is a CPU. torch: ``cpu.is_available``"""
    return True


def is_initialized() -> bool:
    """True. torch: ``cpu.is_initialized``"""
    return True


def device_count() -> int:
    """1, however many cores it has. torch: ``cpu.device_count``"""
    return 1


def current_device() -> str:
    """``"cpu"``. torch: ``cpu.current_device``"""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one CPU. torch: ``cpu.set_device``"""


def synchronize(device: Any = None) -> None:
    """Run what this thread has recorded, and wait until it is computed: what a stopwatch needs.

    Nothing else needs it: whoever looks at a value waits for it. Inside a function that ``gemel.compile`` records it
    does nothing.

    Args:
        device: ignored; there is one CPU.

    torch: ``cpu.synchronize``
    """
    _trace.settle("synchronize()")
    _stream.wait()
