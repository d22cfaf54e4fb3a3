"""Which implementations of ``scaled_dot_product_attention`` a program allows. torch: ``torch.nn.attention``.

Gemel has one, whose memory does not grow with the product of the lengths, so the choice changes no result and no speed.

    >>> from gemel.nn.attention import SDPBackend, sdpa_kernel
    >>> q = gemel.ones(1, 2, 4)
    >>> with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
    ...     gemel.nn.functional.scaled_dot_product_attention(q, q, q).shape
    gemel.Size([1, 2, 4])
"""
from __future__ import annotations

import enum
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "sdpa_kernel"]

#: kept, and without effect: there is one kernel
WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(enum.Enum):
    """The names of torch's implementations. torch: ``nn.attention.SDPBackend``"""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self) -> int:
        return self.value


class _Allowed(threading.local):
    """The implementations that this thread allows now; OVERRIDEABLE is torch's, for devices that others add."""

    backends: tuple[Any, ...] = tuple(b for b in SDPBackend if b is not SDPBackend.ERROR)
    some = True  # is any of them an implementation?

    def change(self, backends: tuple[Any, ...]) -> None:
        self.backends = backends
        self.some = any(b.__class__ is SDPBackend and b is not SDPBackend.ERROR for b in backends)


allowed = _Allowed()


def check_allowed() -> None:
    """Raise unless some implementation is allowed, as attention of torch does.

    Raises:
        RuntimeError: inside ``sdpa_kernel([])``, or where none of the list is an implementation.
    """
    if not allowed.some:
        raise RuntimeError("No viable backend for scaled_dot_product_attention was found. This is likely due to "
                           f"turning off both the math kernel and the fused kernels. Received: {allowed.backends}")


@contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[dict[str, Any]]:
    """A context (or decorator) in which attention may only use the named implementations.

    Args:
        backends: one of ``SDPBackend``, or a list of them; any of them stands for Gemel's own. set_priority: whether
            the list is in order of preference; without effect.

    Raises:
        AssertionError: ``backends`` is neither. RuntimeError: by attention inside, where the list names none.

    torch: ``nn.attention.sdpa_kernel``
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
                             f"{type(backends).__name__}")
    before = allowed.backends
    allowed.change(tuple(dict.fromkeys(backends)) if isinstance(backends, list) else (backends,))
    try:
        yield {}
    finally:
        allowed.change(before)
