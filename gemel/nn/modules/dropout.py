"""Dropout and its relatives; nothing happens in evaluation mode."""
from __future__ import annotations

from typing import Any

from .. import functional as F
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    """The settings: probability ``p`` of a zero, and whether to write into the input."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, zeroes elements with probability ``p`` and multiplies the others by ``1 / (1 - p)``.

    >>> import gemel
    >>> gemel.nn.Dropout(0.2).eval()(gemel.ones(3))
    tensor([1., 1., 1.])

    torch: ``torch.nn.Dropout``
    """

    def forward(self, input: Any) -> Any:
        """``F.dropout``."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """``Dropout`` of whole channels of (N, C, L) or (C, L). torch: ``torch.nn.Dropout1d``"""

    def forward(self, input: Any) -> Any:
        """``F.dropout1d``."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """``Dropout`` of whole channels of (N, C, H, W). torch: ``torch.nn.Dropout2d``"""

    def forward(self, input: Any) -> Any:
        """``F.dropout2d``."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """``Dropout`` of whole channels of (N, C, D, H, W) or (C, D, H, W). torch: ``torch.nn.Dropout3d``"""

    def forward(self, input: Any) -> Any:
        """``F.dropout3d``."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean and variance of selu's outputs. torch: ``torch.nn.AlphaDropout``"""

    def forward(self, input: Any) -> Any:
        """``F.alpha_dropout``."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """``AlphaDropout`` of whole channels of (N, C, ...). torch: ``torch.nn.FeatureAlphaDropout``"""

    def forward(self, input: Any) -> Any:
        """``F.feature_alpha_dropout``."""
        return F.feature_alpha_dropout(input, self.p, self.training)
