"""Fourier transforms of tensors, and of windows of signals: the functions of ``gemel.fft``, ``stft`` and ``istft``."""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError, ShapeError
from .arranging import roll
from .complex_numbers import view_as_real
from .core import from_array
from .creation import chosen, finish, zeros
from .dims import wrap_dim
from .elementwise import check_tensor, deliver
from .joining import cat
from .promotion import SCALAR_NAMES, cast
from .recording import apply_named, wrap
from .typeinfo import get_default_dtype

__all__ = ["istft", "stft"]

#: a size along an axis, and the axes that are transformed
_Sizes = Sequence[int] | None
_Axes = int | Sequence[int] | None
_TO_COMPLEX = {dt.float32: dt.complex64, dt.float64: dt.complex128}


def _operand(name: str, x: Any, real: bool | None = None) -> Any:
    """``x`` as floating point or complex numbers that can be transformed.

    Args:
        real: True: complex numbers are an error. False: real ones become complex. None: as it is.
    """
    t = check_tensor(x, name)._read().type
    if t.dtype in (dt.float16, dt.bfloat16):
        raise RuntimeError(f"Unsupported dtype {SCALAR_NAMES[t.dtype]}")
    if real and t.dtype.is_complex:
        raise DTypeError(f"{name} expects a real input tensor, but got {SCALAR_NAMES[t.dtype]}")
    if t.dtype.kind not in "fc":
        x = cast(x, get_default_dtype())
    if real is False and not x._read().type.dtype.is_complex:
        x = cast(x, _TO_COMPLEX[x._value.type.dtype])
    return x


def _scale(norm: str | None, inverse: bool, n: int) -> float:
    """What the sums are multiplied by."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1.0 / math.sqrt(n)
    return 1.0 / n if inverse == (norm != "forward") else 1.0


def _axis(x: Any, dim: int) -> int:
    ndim = x._read().type.ndim
    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, ndim)


def _sized(x: Any, axis: int, size: int) -> Any:
    """``x`` cut, or continued by zeros, to ``size`` along an axis."""
    shape = x._read().type.shape
    n = shape[axis]
    if n > size:
        return x.narrow(axis, 0, size)
    if n < size:
        more = zeros([size - n if i == axis else m for i, m in enumerate(shape)], dtype=x._value.type.dtype)
        return cat([x, more], axis)
    return x


def _check_size(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _places(x: Any, s: _Sizes, dim: _Axes) -> tuple[tuple[int, ...], list[int]]:
    """The axes of a transform over several, and their sizes."""
    shape = x._read().type.shape
    if isinstance(dim, int):
        dim = (dim,)
    if s is not None and dim is not None and len(s) != len(dim):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    if s is not None and dim is None and len(s) > len(shape):
        raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {len(shape)} dimensions.")
    if dim is None:
        axes = tuple(range(len(shape) - (len(shape) if s is None else len(s)), len(shape)))
    else:
        axes = tuple(_axis(x, d) for d in dim)
    if len(set(axes)) != len(axes):
        raise RuntimeError("FFT dims must be unique")
    given = (-1,) * len(axes) if s is None else s
    sizes = [shape[a] if n == -1 else n for a, n in zip(axes, given, strict=True)]
    return axes, sizes


def _c2c(name: str, input: Any, axes: tuple[int, ...], sizes: Sequence[int], norm: str | None, inverse: bool) -> Any:
    x = _operand(name, input, real=False)
    for axis, size in zip(axes, sizes, strict=True):
        x = _sized(x, axis, _check_size(size))
    scale = _scale(norm, inverse, math.prod(sizes))
    return apply_named("fft_c2c", x, attrs=(axes, inverse, scale)) if axes else x


def _r2c(name: str, input: Any, axes: tuple[int, ...], sizes: Sequence[int], norm: str | None,
         inverse: bool = False) -> Any:
    x = _operand(name, input, real=True)
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")
    for axis, size in zip(axes, sizes, strict=True):
        x = _sized(x, axis, _check_size(size))
    found = apply_named("fft_r2c", x, attrs=(axes, _scale(norm, inverse, math.prod(sizes))))
    return apply_named("conj", found) if inverse else found


def _c2r(name: str, input: Any, axes: tuple[int, ...], sizes: Sequence[int], norm: str | None,
         inverse: bool = True) -> Any:
    x = _operand(name, input, real=False)
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")
    last = _check_size(sizes[-1])
    for axis, size in zip(axes, [*sizes[:-1], last // 2 + 1], strict=True):
        x = _sized(x, axis, _check_size(size))
    x = x if inverse else apply_named("conj", x)
    return apply_named("fft_c2r", x, attrs=(axes, last, _scale(norm, inverse, math.prod(sizes))))


def _half(sizes: list[int], s: _Sizes) -> list[int]:
    """The default of the last size of a real result: that of the input is about its half."""
    return sizes if s is not None and s[-1] != -1 or not sizes else [*sizes[:-1], 2 * (sizes[-1] - 1)]


# --- the public functions, from a table --------------------------------------------------------------

def _one(name: str, transform: Callable[..., Any], doc: str, half: bool = False, **more: Any) -> Callable[..., Any]:
    def function(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Any:
        axis = _axis(check_tensor(input, f"fft_{name}"), dim)
        size = input._value.type.shape[axis] if n is None else n
        if half and n is None:
            size = 2 * (size - 1)
        return deliver(transform(name, input, (axis,), [size], norm, **more), out, f"fft_{name}")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (f"{doc}\n\n    Args:\n        n: size of the axis: the input is cut, or continued by zeros. "
                        f'dim: the axis. norm: ``"backward"`` (None: the\n        inverse is divided by n), '
                        f'``"ortho"`` (both by its root) or ``"forward"``.\n    Raises: RuntimeError for a size '
                        f"below 1, 16-bit numbers, another ``norm``.\n\n    torch: ``fft.{name}``")
    return function


def _several(name: str, transform: Callable[..., Any], doc: str, axes: tuple[int, ...] | None = None,
             half: bool = False, **more: Any) -> Callable[..., Any]:
    def function(input: Any, s: Sequence[int] | None = None, dim: Any = axes, norm: str | None = None, *,
                 out: Any = None) -> Any:
        places, sizes = _places(check_tensor(input, f"fft_{name}"), s, dim)
        sizes = _half(sizes, s) if half else sizes
        return deliver(transform(name, input, places, sizes, norm, **more), out, f"fft_{name}")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (f"{doc}\n\n    Args:\n        s: sizes of the axes (-1: that of the input). dim: the axes "
                        f"(None: all, or the last ``len(s)``). norm: as :func:`fft`.\n    Raises: RuntimeError as "
                        f":func:`fft`, and for axes that repeat.\n\n    torch: ``fft.{name}``")
    return function


_FFT = "``sum over n of x[n] exp(-2 pi i k n / N)``: the discrete Fourier transform"
fft = _one("fft", _c2c, f"{_FFT} along an axis.", inverse=False)
ifft = _one("ifft", _c2c, "The inverse of :func:`fft`.", inverse=True)
rfft = _one("rfft", _r2c, "The first half (``n // 2 + 1`` numbers) of :func:`fft` of real numbers.")
irfft = _one("irfft", _c2r, "The inverse of :func:`rfft`: ``n`` real numbers (None: an even number).", half=True)
hfft = _one("hfft", _c2r, "The real transform of a signal of which one half is given.", half=True, inverse=False)
ihfft = _one("ihfft", _r2c, "The inverse of :func:`hfft`.", inverse=True)
fftn = _several("fftn", _c2c, f"{_FFT} over several axes.", inverse=False)
ifftn = _several("ifftn", _c2c, "The inverse of :func:`fftn`.", inverse=True)
rfftn = _several("rfftn", _r2c, "The first half, along the last axis, of :func:`fftn` of real numbers.")
irfftn = _several("irfftn", _c2r, "The inverse of :func:`rfftn`.", half=True)
hfftn = _several("hfftn", _c2r, "The real transform, over several axes, of a signal of which one half is given.",
                 half=True, inverse=False)
ihfftn = _several("ihfftn", _r2c, "The inverse of :func:`hfftn`.", inverse=True)
_LAST = (-2, -1)
fft2 = _several("fft2", _c2c, ":func:`fftn` over the last two axes.", _LAST, inverse=False)
ifft2 = _several("ifft2", _c2c, ":func:`ifftn` over the last two axes.", _LAST, inverse=True)
rfft2 = _several("rfft2", _r2c, ":func:`rfftn` over the last two axes.", _LAST)
irfft2 = _several("irfft2", _c2r, ":func:`irfftn` over the last two axes.", _LAST, half=True)
hfft2 = _several("hfft2", _c2r, ":func:`hfftn` over the last two axes.", _LAST, half=True, inverse=False)
ihfft2 = _several("ihfft2", _r2c, ":func:`ihfftn` over the last two axes.", _LAST, inverse=True)


def _frequencies(name: str, places: np.ndarray, n: int, d: float, out: Any, dtype: DType | None,
                 requires_grad: bool) -> Any:
    kind: DType = dtype or chosen(None, out)
    made = finish(from_array((places / (n * d)).astype(kind.numpy)), requires_grad)
    return deliver(made, out, name)


def fftfreq(n: int, d: float = 1.0, *, out: Any = None, dtype: DType | None = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False) -> Any:
    """The frequencies of :func:`fft` of ``n`` samples at distance ``d``: ``[0, 1, ..., -2, -1] / (n d)``.

    >>> gemel.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])

    torch: ``fft.fftfreq``
    """
    places = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies("fft_fftfreq", places, n, d, out, dtype, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, out: Any = None, dtype: DType | None = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> Any:
    """The frequencies of :func:`rfft` of ``n`` samples at distance ``d``: ``[0, 1, ..., n // 2] / (n d)``.

    >>> gemel.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])

    torch: ``fft.rfftfreq``
    """
    return _frequencies("fft_rfftfreq", np.arange(n // 2 + 1), n, d, out, dtype, requires_grad)


def _shift(input: Any, dim: _Axes, sign: int) -> Any:
    shape = check_tensor(input, "fft_fftshift")._read().type.shape
    dims = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [wrap_dim(d, len(shape)) for d in dims]
    return roll(input, [sign * (shape[a] // 2) if sign > 0 else -(shape[a] // 2) for a in axes], axes)


def fftshift(input: Any, dim: Any = None) -> Any:
    """The frequency 0 moved to the middle of the axes (None: of all).

    >>> gemel.fft.fftshift(gemel.tensor([0, 1, -2, -1]))
    tensor([-2, -1,  0,  1])

    torch: ``fft.fftshift``
    """
    return _shift(input, dim, 1)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of :func:`fftshift`.

    >>> gemel.fft.ifftshift(gemel.tensor([-2, -1, 0, 1]))
    tensor([ 0,  1, -2, -1])

    torch: ``fft.ifftshift``
    """
    return _shift(input, dim, -1)


# --- transforms of windows ---------------------------------------------------------------------------

def _window(name: str, window: Any, win_length: int, n_fft: int, dtype: DType) -> Any:
    """The window of ``n_fft`` samples: the given one in the middle of zeros."""
    if window is None:
        window = wrap(from_array(np.ones(win_length, dtype.numpy)))
    left = (n_fft - win_length) // 2
    kind = window._read().type.dtype
    return cat([zeros(left, dtype=kind), window, zeros(n_fft - win_length - left, dtype=kind)], 0)


def _mirrored(x: Any, pad: int, mode: str) -> Any:
    """Both ends of the last axis continued."""
    n = x._read().type.shape[-1]
    if mode == "constant":
        ends = zeros((*x._value.type.shape[:-1], pad), dtype=x._value.type.dtype)
        return cat([ends, x, ends], -1)
    if mode == "reflect":
        if pad >= n:
            raise ShapeError(f"Argument #4: Padding size should be less than the corresponding input dimension, but "
                             f"got: padding ({pad}, {pad}) at dimension {x._value.type.ndim} of input "
                             f"{list(x._value.type.shape)}")
        index = np.abs(np.arange(-pad, n + pad))
        index = np.where(index < n, index, 2 * (n - 1) - index)
    elif mode == "replicate":
        index = np.clip(np.arange(-pad, n + pad), 0, n - 1)
    elif mode == "circular":
        index = np.arange(-pad, n + pad) % n
    else:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return x.index_select(-1, wrap(from_array(index.astype(np.int64))))


def stft(input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
         center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
         return_complex: bool | None = None, align_to_window: bool | None = None) -> Any:
    """The transforms of windows of a signal, ``hop_length`` apart (the short-time Fourier transform).

    Args:
        input: (L) or (B, L), real or complex. n_fft: size of the transform. hop_length: None: ``n_fft // 4``.
        win_length, window: size of the window (None: ``n_fft``) and its weights (None: ones). center: a window's middle
        at each multiple of ``hop_length``, the signal being continued by ``pad_mode``. normalized: divide by the root
        of ``n_fft``. onesided: half of the frequencies (None: for real signals). return_complex: False gives pairs of
        real numbers.
    Returns:
        (B?, frequencies, windows). Raises: RuntimeError for sizes that do not fit, a real signal without
        ``return_complex``.

    >>> gemel.stft(gemel.ones(16), 8, window=gemel.hann_window(8), return_complex=True).shape
    gemel.Size([5, 9])

    torch: ``stft``
    """
    x = check_tensor(input, "stft")
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    t = x._read().type
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    complex_window = window is not None and window._read().type.dtype.is_complex
    received = f"stft(input of shape {list(t.shape)}, n_fft={n_fft}, hop_length={hop}, win_length={length})"
    if return_complex is None:
        return_complex = t.dtype.is_complex or complex_window
        if not return_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs, and will further "
                               "require that return_complex=True in a future PyTorch release.")
    if t.dtype.kind not in "fc":
        raise RuntimeError(f"{received}: expected a tensor of floating point or complex values")
    if t.ndim not in (1, 2):
        raise ShapeError(f"{received}: expected a 1D or 2D tensor")
    if center:
        x = _mirrored(x, n_fft // 2, pad_mode)
    size = x._read().type.shape[-1]
    if n_fft <= 0 or n_fft > size:
        raise RuntimeError(f"{received}: expected 0 < n_fft <= {size}")
    if hop <= 0:
        raise RuntimeError(f"{received}: expected hop_length > 0")
    if length <= 0 or length > n_fft:
        raise RuntimeError(f"{received}: expected 0 < win_length <= n_fft")
    if window is not None and window._read().type.shape != (length,):
        raise ShapeError(f"{received}: expected a 1D window tensor of size equal to win_length={length}, but got "
                         f"window with size {list(window._value.type.shape)}")
    if window is None:
        warnings.warn("A window was not provided. A rectangular window will be applied, which is known to cause "
                      "spectral leakage. Other windows such as torch.hann_window or torch.hamming_window are "
                      "recommended to reduce spectral leakage.", UserWarning, stacklevel=2)
    if not center and align_to_window:
        raise NotImplementedError("stft(align_to_window=True) is not implemented: pass center=True, or pad the signal")
    frames = x.unfold(-1, n_fft, hop)
    if window is not None or length < n_fft:
        frames = frames * _window("stft", window, length, n_fft, t.dtype)
    turned = frames._read().type.dtype.is_complex
    if onesided and turned:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    half = not turned if onesided is None else onesided
    found = (rfft if half else fft)(frames, norm="ortho" if normalized else None).mT
    return found if return_complex else view_as_real(found)


def istft(input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
          center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
          return_complex: bool = False) -> Any:
    """The signal whose :func:`stft` is given, in the sense of least squares (Griffin and Lim, 1984).

    Args:
        input: (B?, frequencies, windows), complex. length: of the signal (None: what the windows cover). The other
        arguments are those that :func:`stft` was given; return_complex: of a complex signal.
    Returns: (B?, L). Raises: RuntimeError for sizes that do not fit, and where the windows leave a gap.

    >>> x, w = gemel.randn(64), gemel.hann_window(16)
    >>> y = gemel.istft(gemel.stft(x, 16, window=w, return_complex=True), 16, window=w)
    >>> bool(gemel.allclose(x, y, atol=1e-5))
    True

    torch: ``istft``
    """
    t = check_tensor(input, "istft")._read().type
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length
    received = f"istft(input of shape {list(t.shape)}, n_fft={n_fft}, hop_length={hop}, win_length={size})"
    if not t.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft with "
                           "return_complex=True.")
    if not t.size:
        raise RuntimeError(f"{received}: input tensor cannot be empty.")
    if t.ndim not in (2, 3):
        raise ShapeError(f"{received}: expected a tensor with 2 or 3 dimensions, but got {t.ndim}")
    half = t.shape[-2] != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if half else n_fft
    if t.shape[-2] != wanted:
        raise ShapeError(f"{received}: expected the frequency dimension (2nd to the last) of the input tensor to match "
                         f"{'n_fft / 2 + 1' if half else 'n_fft'} when onesided={half}, but got {t.shape[-2]}")
    if not 0 < hop <= size:
        raise RuntimeError(f"{received}: expected 0 < hop_length <= win_length")
    if not 0 < size <= n_fft:
        raise RuntimeError(f"{received}: expected 0 < win_length <= n_fft")
    if window is not None and window._read().type.shape != (size,):
        raise ShapeError(f"{received}: Invalid window shape. window has to be 1D and length of `win_length`")
    if return_complex and half:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window._value.type.dtype.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    real = {dt.complex64: dt.float32, dt.complex128: dt.float64}[t.dtype]
    weights = _window("istft", window, size, n_fft, t.dtype if return_complex else real)
    spectrum, norm = (input if t.ndim == 3 else input.unsqueeze(0)).mT, "ortho" if normalized else None
    if half:
        frames = irfft(spectrum, n_fft, norm=norm)
    else:
        frames = ifft(spectrum, norm=norm)
        frames = frames if return_complex else apply_named("real", frames)
    batch, count = frames._read().type.shape[:2]
    whole = n_fft + hop * (count - 1)
    place = wrap(from_array((hop * np.arange(count)[:, None] + np.arange(n_fft)).reshape(-1).astype(np.int64)))

    def added(parts: Any) -> Any:
        rows = parts.reshape(parts._read().type.shape[0], -1)
        return zeros((rows._read().type.shape[0], whole), dtype=rows._value.type.dtype).index_add(1, place, rows)

    signal = added(frames * weights)
    envelope = added(weights.square().expand(1, count, n_fft))
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else whole - start if center else whole
    signal, envelope = (v[:, start:min(end, whole)] for v in (signal, envelope))
    if bool((envelope.abs() <= 1e-11).any()):
        raise RuntimeError(f"{received}: window overlap add min: 1")
    found = signal / envelope
    if end > whole:
        warnings.warn("The length of signal is shorter than the length parameter. Result is being padded with zeros in "
                      "the tail. Please check your center and hop_length settings.", UserWarning, stacklevel=2)
        found = cat([found, zeros((batch, end - whole), dtype=found._value.type.dtype)], 1)
    return found if t.ndim == 3 else found.squeeze(0)


class SpectralMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()

    stft, istft = stft, istft
