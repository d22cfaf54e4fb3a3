"""What programs ask of an accelerator where there is none. torch: ``torch.accelerator`` of a build for the CPU.

    >>> available = gemel.accelerator.is_available()
    >>> gemel.accelerator.current_accelerator() if available else gemel.device("cpu")
    device(type='cpu')
"""
from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["current_accelerator", "current_device_index", "current_stream", "device_count", "device_index",
           "empty_cache", "empty_host_cache", "get_device_capability", "get_memory_info", "is_available",
           "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats",
           "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_index", "set_stream",
           "synchronize"]


def is_available() -> bool:
    """False: tensors live on the CPU. torch: ``accelerator.is_available``"""
    return False


def device_count() -> int:
    """0. torch: ``accelerator.device_count``"""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None: there is no accelerator. torch: ``accelerator.current_accelerator``"""


def _absent(name: str, of: str = "device") -> Any:
    def function(*args: Any) -> NoReturn:
        raise RuntimeError("Cannot access accelerator device when none is available.")

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Ask first: ``is_available()`` is False.

    Raises:
        RuntimeError: always; there is no {of}.

    torch: ``accelerator.{name}``
    """
    return function


class device_index:
    """With None a context that changes nothing. torch: ``accelerator.device_index``

    Raises:
        RuntimeError: when it is entered with a number; there is no device.
    """

    def __init__(self, device: int | None, /) -> None:
        self.idx = device

    def __enter__(self) -> None:
        if self.idx is not None:
            set_device_index(self.idx)

    def __exit__(self, *exc: object) -> None:
        pass


current_device_index = _absent("current_device_index")
set_device_index = _absent("set_device_index")
get_device_capability = _absent("get_device_capability")
current_stream = _absent("current_stream", "stream")
set_stream = _absent("set_stream", "stream")
synchronize = _absent("synchronize")
empty_cache = _absent("empty_cache")
empty_host_cache = _absent("empty_host_cache")
get_memory_info = _absent("get_memory_info")
memory_allocated = _absent("memory_allocated")
memory_reserved = _absent("memory_reserved")
max_memory_allocated = _absent("max_memory_allocated")
max_memory_reserved = _absent("max_memory_reserved")
memory_stats = _absent("memory_stats")
reset_accumulated_memory_stats = _absent("reset_accumulated_memory_stats")
reset_peak_memory_stats = _absent("reset_peak_memory_stats")
