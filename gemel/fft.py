"""Discrete Fourier transforms. torch: ``torch.fft``.

NumPy computes them, in every tier; they are linear, and so are their derivatives.

    >>> x = gemel.tensor([1., 2., 3., 4.])
    >>> gemel.fft.fft(x).real
    tensor([10., -2., -2., -2.])
    >>> gemel.fft.irfft(gemel.fft.rfft(x))
    tensor([1., 2., 3., 4.])
"""
from __future__ import annotations

from .tensor.spectral import (
    fft,
    fft2,
    fftfreq,
    fftn,
    fftshift,
    hfft,
    hfft2,
    hfftn,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    ihfft2,
    ihfftn,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftfreq,
    rfftn,
)

__all__ = ["fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn",
           "ifftshift", "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn"]
