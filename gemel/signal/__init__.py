"""Signal processing: window functions. torch: ``torch.signal``"""
from . import windows

__all__ = ["windows"]
