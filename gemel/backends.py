"""Switches of torch's libraries, which scripts set at their beginning; here they switch nothing.

    >>> gemel.backends.cudnn.benchmark = True
    >>> gemel.backends.mps.is_available()
    False
"""
from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]


class Backend(ModuleType):
    """A library that Gemel does not use: its switches keep what they are set to, and have no effect.

    It is a module, as in torch: ``import gemel.backends.cudnn as cudnn``.

    torch: the modules of ``torch.backends``
    """

    def __init__(self, name: str, **switches: Any) -> None:
        super().__init__(f"{__name__}.{name}", self.__class__.__doc__)
        self.__dict__.update(switches)
        sys.modules[self.__name__] = self

    def is_available(self) -> bool:
        """False."""
        return False

    def is_built(self) -> bool:
        """False."""
        return False

    def version(self) -> None:
        """None."""


cudnn = Backend("cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10)
cuda = Backend("cuda", matmul=Backend("cuda.matmul", allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
                                      allow_bf16_reduced_precision_reduction=True))
mps, mkl, openmp = Backend("mps"), Backend("mkl"), Backend("openmp")
mkldnn = Backend("mkldnn", enabled=True)
cpu = Backend("cpu")
