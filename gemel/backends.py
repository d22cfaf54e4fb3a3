"""Switches of torch's libraries, which scripts set at their beginning; here they switch nothing.

    >>> gemel.backends.cudnn.benchmark = True
    >>> gemel.backends.mps.is_available()
    False
"""
from __future__ import annotations

from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]


class Backend:
    """A library that Gemel does not use: its switches keep what they are set to, and have no effect.

    torch: the modules of ``torch.backends``
    """

    def __init__(self, **switches: Any) -> None:
        self.__dict__.update(switches)

    def is_available(self) -> bool:
        """False."""
        return False

    def is_built(self) -> bool:
        """False."""
        return False

    def version(self) -> None:
        """None."""


cudnn = Backend(enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10)
cuda = Backend(matmul=Backend(allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
                              allow_bf16_reduced_precision_reduction=True))
mps, mkl, openmp = Backend(), Backend(), Backend()
mkldnn = Backend(enabled=True)
cpu = Backend()
