"""What programs ask of CUDA where there is none. torch: ``torch.cuda`` of a build for the CPU.

    >>> device = "cuda" if gemel.cuda.is_available() else "cpu"
    >>> device
    'cpu'
"""
from __future__ import annotations

from collections import OrderedDict
from typing import Any, NoReturn

__all__ = ["current_device", "current_stream", "device_count", "empty_cache", "get_arch_list", "get_device_capability",
           "get_device_name", "get_device_properties", "init", "is_available", "is_bf16_supported", "is_initialized",
           "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "memory_allocated",
           "memory_reserved", "memory_stats", "reset_peak_memory_stats", "seed", "seed_all", "set_device",
           "synchronize"]


def is_available() -> bool:
    """False: tensors live on the CPU. torch: ``cuda.is_available``"""
    return False


def is_initialized() -> bool:
    """False. torch: ``cuda.is_initialized``"""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no GPU. torch: ``cuda.is_bf16_supported``"""
    return False


def device_count() -> int:
    """0. torch: ``cuda.device_count``"""
    return 0


def get_arch_list() -> list[str]:
    """An empty list. torch: ``cuda.get_arch_list``"""
    return []


def manual_seed(seed: int) -> None:
    """Nothing: there is no GPU whose generator could be seeded. torch: ``cuda.manual_seed``"""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no GPU whose generator could be seeded. torch: ``cuda.manual_seed_all``"""


def seed() -> None:
    """Nothing: there is no GPU whose generator could be seeded. torch: ``cuda.seed``"""


def seed_all() -> None:
    """Nothing: there is no GPU whose generator could be seeded. torch: ``cuda.seed_all``"""


def empty_cache() -> None:
    """Nothing: there is no memory of a GPU. torch: ``cuda.empty_cache``"""


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: there is no memory of a GPU. torch: ``cuda.reset_peak_memory_stats``"""


def memory_stats(device: Any = None) -> OrderedDict[str, Any]:
    """An empty dict. torch: ``cuda.memory_stats``"""
    return OrderedDict()


def memory_allocated(device: Any = None) -> int:
    """0 bytes. torch: ``cuda.memory_allocated``"""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0 bytes. torch: ``cuda.max_memory_allocated``"""
    return 0


def memory_reserved(device: Any = None) -> int:
    """0 bytes. torch: ``cuda.memory_reserved``"""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """0 bytes. torch: ``cuda.max_memory_reserved``"""
    return 0


def _refuse(name: str) -> NoReturn:
    raise AssertionError(f"Torch not compiled with CUDA enabled: gemel.cuda.{name}() needs a GPU, and this build of "
                         f"Gemel runs on 'cpu'. Ask gemel.cuda.is_available() first.")


def init() -> None:
    """Raises AssertionError: there is no GPU. torch: ``cuda.init``"""
    _refuse("init")


def synchronize(device: Any = None) -> None:
    """Raises AssertionError: there is no GPU. torch: ``cuda.synchronize``"""
    _refuse("synchronize")


def current_device() -> int:
    """Raises AssertionError: there is no GPU. torch: ``cuda.current_device``"""
    _refuse("current_device")


def set_device(device: Any) -> None:
    """Raises AssertionError: there is no GPU. torch: ``cuda.set_device``"""
    _refuse("set_device")


def current_stream(device: Any = None) -> Any:
    """Raises AssertionError: there is no GPU. torch: ``cuda.current_stream``"""
    _refuse("current_stream")


def get_device_name(device: Any = None) -> str:
    """Raises AssertionError: there is no GPU. torch: ``cuda.get_device_name``"""
    _refuse("get_device_name")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Raises AssertionError: there is no GPU. torch: ``cuda.get_device_capability``"""
    _refuse("get_device_capability")


def get_device_properties(device: Any = None) -> Any:
    """Raises AssertionError: there is no GPU. torch: ``cuda.get_device_properties``"""
    _refuse("get_device_properties")
