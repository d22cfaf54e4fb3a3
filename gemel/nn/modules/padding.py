"""Padding layers."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .module import Module
from .sizes import per_axis

_KINDS = ("Circular", "Constant", "Reflection", "Replication", "Zero")
__all__ = [f"{kind}Pad{n}d" for kind in _KINDS for n in (1, 2, 3)]


class _Pad(Module):
    """Padding of ``_n`` axes: one number for all sides, or low and high of each axis, the last axis first."""

    _n: int
    _mode: str

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = per_axis(padding, 2 * self._n)

    def forward(self, input: Any) -> Any:
        """``F.pad`` in the layer's mode."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _Circular(_Pad):
    _mode = "circular"

    def forward(self, input: Any) -> Any:
        """``F.pad(input, padding, "circular")``."""
        n = self._n
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_Circular):
    """The other end of (N, C, L) as padding. torch: ``torch.nn.CircularPad1d``"""

    _n = 1


class CircularPad2d(_Circular):
    """The other ends of (N, C, H, W) as padding. torch: ``torch.nn.CircularPad2d``"""

    _n = 2


class CircularPad3d(_Circular):
    """The other ends of (N, C, D, H, W) as padding. torch: ``torch.nn.CircularPad3d``"""

    _n = 3


class _Reflection(_Pad):
    _mode = "reflect"


class ReflectionPad1d(_Reflection):
    """The mirror image of (N, C, L), without the border, as padding. torch: ``torch.nn.ReflectionPad1d``"""

    _n = 1


class ReflectionPad2d(_Reflection):
    """The mirror image of (N, C, H, W), without the border, as padding. torch: ``torch.nn.ReflectionPad2d``"""

    _n = 2


class ReflectionPad3d(_Reflection):
    """The mirror image of (N, C, D, H, W), without the border, as padding. torch: ``torch.nn.ReflectionPad3d``"""

    _n = 3


class _Replication(_Pad):
    _mode = "replicate"


class ReplicationPad1d(_Replication):
    """The border of (N, C, L) as padding. torch: ``torch.nn.ReplicationPad1d``"""

    _n = 1


class ReplicationPad2d(_Replication):
    """The border of (N, C, H, W) as padding. torch: ``torch.nn.ReplicationPad2d``"""

    _n = 2


class ReplicationPad3d(_Replication):
    """The border of (N, C, D, H, W) as padding. torch: ``torch.nn.ReplicationPad3d``"""

    _n = 3


class _Constant(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        """``F.pad(input, padding, "constant", value)``."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """A number as padding of the last axis. torch: ``torch.nn.ConstantPad1d``"""

    _n = 1


class ConstantPad2d(_Constant):
    """A number as padding of the last two axes. torch: ``torch.nn.ConstantPad2d``"""

    _n = 2


class ConstantPad3d(_Constant):
    """A number as padding of the last three axes. torch: ``torch.nn.ConstantPad3d``"""

    _n = 3


class _Zero(_Constant):
    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Zero, ConstantPad1d):
    """Zeros as padding of the last axis. torch: ``torch.nn.ZeroPad1d``"""


class ZeroPad2d(_Zero, ConstantPad2d):
    """Zeros as padding of the last two axes. torch: ``torch.nn.ZeroPad2d``"""


class ZeroPad3d(_Zero, ConstantPad3d):
    """Zeros as padding of the last three axes. torch: ``torch.nn.ZeroPad3d``"""
