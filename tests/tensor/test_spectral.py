"""``gemel.fft``, ``stft``, ``istft`` and windows against torch."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.signal.windows

import gemel

from .records import FLOATS, Record, assert_same, compared, same_error, to_gemel

COMPLEX = ("complex64", "complex128")
LINE, PLANE = (((8,),), ((3, 5),)), (((3, 4),), ((2, 5, 6),))
NORMS = (None, "backward", "ortho", "forward")


def R(name, call, shapes=LINE, dtypes=FLOATS, **more):
    return Record(name, call, shapes, dtypes, tolerance=more.pop("tolerance", 50), **more)


def _one(f, norm):
    return lambda m, x: (getattr(m.fft, f)(x, norm=norm), getattr(m.fft, f)(x, 6, 0, norm), getattr(m.fft, f)(x, n=3))


def _several(f, norm):
    def call(m, x):
        g = getattr(m.fft, f)
        return (g(x, norm=norm), g(x, s=(3, 6), dim=(-1, 0)), g(x, (2, -1), (0, 1), norm), g(x, dim=(0, -1)))
    return call


def stft(m, x, **options):
    options.setdefault("return_complex", True)
    window = m.hann_window(8, dtype=x.real.dtype)
    return m.stft(x, 8, window=window, **options)


def back(m, x, n=8, **options):
    """The signal from its windows' transforms."""
    window = m.hann_window(n, dtype=x.real.dtype) + 0.1
    shared = {k: v for k, v in options.items() if k not in ("length", "pad_mode", "return_complex")}
    whole = m.stft(x, n, window=window, return_complex=True, pad_mode=options.get("pad_mode", "reflect"), **shared)
    kept = {k: v for k, v in options.items() if k != "pad_mode"}
    return m.istft(whole * (1 + 0.1 * whole.real), n, window=window, **kept)


RECORDS = [
    *[R(f"{f} {n}", _one(f, n), dtypes=(*FLOATS, *COMPLEX, "int32")[:5 if f in ("fft", "ifft", "irfft", "hfft") else 0]
        or (*FLOATS, "int64")) for f in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for n in NORMS],
    *[R(f"{f} {n}", _several(f, n), PLANE, (*FLOATS, *COMPLEX) if f[0] in "fi" and "r" not in f[1:2] or f == "ifftn"
        else FLOATS) for f in ("fftn", "ifftn", "fft2", "ifft2", "rfftn", "rfft2", "irfftn", "irfft2") for n in NORMS],
    *[R(f, _several(f, "ortho"), PLANE) for f in ("hfftn", "ihfftn", "hfft2", "ihfft2")],
    R("fft of complex numbers", lambda m, x: (m.fft.fft(m.complex(x, x * 2)), m.fft.ifftn(m.complex(x, -x)),
                                              m.fft.irfft(m.complex(x, x * x), 5), m.fft.irfft(m.complex(x, x), 6),
                                              m.fft.hfft(m.complex(x, x * x))), dtypes=FLOATS),
    R("shifts", lambda m, x: (m.fft.fftshift(x), m.fft.ifftshift(x), m.fft.fftshift(x, -1), m.fft.ifftshift(x, (0,))),
      (*LINE, *PLANE)),
    R("fft of sizes alone", lambda m, x: (m.fft.fftn(x, (4,)), m.fft.rfftn(x, (3, 2)), m.fft.irfftn(x, s=(4,))),
      PLANE),
    R("stft", lambda m, x: (stft(m, x), x.stft(8, return_complex=True, window=m.ones(8, dtype=x.dtype)),
                            stft(m, x, hop_length=3, pad_mode="constant", normalized=True, onesided=False),
                            stft(m, x, center=False, return_complex=False),
                            m.stft(x, 8, win_length=5, window=m.hamming_window(5, dtype=x.dtype), return_complex=True,
                                   pad_mode="replicate")), (((40,),), ((2, 21),)), tolerance=1e3),
    R("stft of complex numbers", lambda m, x: stft(m, x, hop_length=4, pad_mode="reflect"), (((40,),),),
      ("complex64",), grad=False),
    R("istft", lambda m, x: (back(m, x), back(m, x, hop_length=4, length=30, normalized=True), back(
        m, x, onesided=False, center=False)), (((40,),), ((2, 41),)), ("float64",), tolerance=1e4),
    R("istft of complex numbers", lambda m, x: back(m, x, onesided=False, return_complex=True), (((40,),),),
      ("complex128",), grad=False, tolerance=1e4),
]


test_forward, test_gradient = compared(RECORDS)


def test_second_derivative_and_forward_mode():
    x, v = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)

    def energy(m, f):
        return lambda x: (m.fft.rfft(x ** 2).abs() ** 2).sum()
    want = torch.func.jvp(energy(torch, None), (x,), (v,))
    got = gemel.func.jvp(energy(gemel, None), (to_gemel(x),), (to_gemel(v),))
    assert_same(got[0], want[0], 10)
    assert_same(got[1], want[1], 10)
    assert_same(gemel.func.hessian(energy(gemel, None))(to_gemel(x)), torch.func.hessian(energy(torch, None))(x), 100)
    assert_same(gemel.func.vmap(gemel.fft.fft)(to_gemel(x.reshape(2, 3))), torch.func.vmap(torch.fft.fft)(
        x.reshape(2, 3)), 10)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_frequencies(n):
    for name in ("fftfreq", "rfftfreq"):
        assert_same(getattr(gemel.fft, name)(n), getattr(torch.fft, name)(n))
        assert_same(getattr(gemel.fft, name)(n, d=0.3, dtype=gemel.float64),
                    getattr(torch.fft, name)(n, d=0.3, dtype=torch.float64))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 10])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
def test_windows(name, periodic, n):
    got, want = (getattr(m, f"{name}_window")(n, periodic, dtype=m.float64) for m in (gemel, torch))
    assert_same(got, want)
    assert_same(getattr(gemel, f"{name}_window")(n), getattr(torch, f"{name}_window")(n))
    if name == "hamming":
        assert_same(gemel.hamming_window(n, periodic, 0.6, 0.3), torch.hamming_window(n, periodic, 0.6, 0.3))
    if name == "kaiser":
        assert_same(gemel.kaiser_window(n, periodic, 5.0), torch.kaiser_window(n, periodic, 5.0))


SIGNAL = [*((name, {}) for name in torch.signal.windows.__all__ if name != "general_cosine"),
          ("general_cosine", {"a": [0.4, 0.5, 0.1]}), ("general_hamming", {"alpha": 0.6}), ("kaiser", {"beta": 3.0}),
          ("gaussian", {"std": 2.5}), ("exponential", {"tau": 3.0})]


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize(("name", "options"), SIGNAL)
def test_signal_windows(name, options, sym):
    for n in (0, 1, 2, 5, 8):
        got, want = (getattr(m.signal.windows, name)(n, sym=sym, dtype=m.float64, **options) for m in (gemel, torch))
        tolerance = 1e5 if name == "kaiser" else 1  # torch's i0 of numbers that it rounds before
        assert_same(got, want, tolerance, f"{name} {n}")
    if name == "exponential" and not sym:
        assert_same(gemel.signal.windows.exponential(5, center=1.0, sym=False),
                    torch.signal.windows.exponential(5, center=1.0, sym=False))


def _w(m, n=8):
    return m.ones(n)


ERRORS = {
    "size": lambda m: m.fft.fft(m.ones(4), n=0),
    "0-d": lambda m: m.fft.fft(m.ones(())),
    "norm": lambda m: m.fft.fft(m.ones(4), norm="a"),
    "complex rfft": lambda m: m.fft.rfft(m.ones(4, dtype=m.complex64)),
    "half": lambda m: m.fft.fft(m.ones(4, dtype=m.float16)),
    "axis": lambda m: m.fft.fft(m.ones(4), dim=1),
    "many sizes": lambda m: m.fft.fftn(m.ones(4), s=(2, 2)),
    "repeated axes": lambda m: m.fft.fftn(m.ones(2, 2), dim=(0, 0)),
    "sizes and axes": lambda m: m.fft.fftn(m.ones(2, 2), s=(2,), dim=(0, 1)),
    "irfft of one": lambda m: m.fft.irfft(m.ones(1)),
    "empty": lambda m: m.fft.fft(m.ones(0)),
    "stft without return_complex": lambda m: m.stft(m.ones(20), 8, window=_w(m)),
    "stft of three axes": lambda m: m.stft(m.ones(2, 2, 20), 8, window=_w(m), return_complex=True, center=False),
    "stft of ints": lambda m: m.stft(m.ones(20, dtype=m.int64), 8, return_complex=True, center=False),
    "stft n_fft": lambda m: m.stft(m.ones(4), 8, window=_w(m), center=False, return_complex=True),
    "stft hop": lambda m: m.stft(m.ones(20), 8, 0, window=_w(m), return_complex=True),
    "stft win_length": lambda m: m.stft(m.ones(20), 8, win_length=9, window=_w(m, 9), return_complex=True),
    "stft window": lambda m: m.stft(m.ones(20), 8, window=_w(m, 7), return_complex=True),
    "stft padding": lambda m: m.stft(m.ones(4), 8, window=_w(m), return_complex=True),
    "stft onesided": lambda m: m.stft(m.ones(20, dtype=m.complex64), 8, window=_w(m), onesided=True),
    "stft alignment": lambda m: m.stft(m.ones(20), 8, window=_w(m), return_complex=True, align_to_window=True),
    "istft real": lambda m: m.istft(m.ones(5, 9), 8),
    "istft frequencies": lambda m: m.istft(m.ones(4, 9, dtype=m.complex64), 8, onesided=True),
    "istft axes": lambda m: m.istft(m.ones(1, 1, 5, 9, dtype=m.complex64), 8),
    "istft window": lambda m: m.istft(m.ones(5, 9, dtype=m.complex64), 8, window=_w(m, 3)),
    "istft gap": lambda m: m.istft(m.ones(5, 9, dtype=m.complex64), 8, window=m.zeros(8)),
    "istft hop": lambda m: m.istft(m.ones(5, 9, dtype=m.complex64), 8, hop_length=9, window=_w(m)),
    "istft empty": lambda m: m.istft(m.ones(0, 5, 9, dtype=m.complex64), 8, window=_w(m)),
    "istft complex": lambda m: m.istft(m.ones(5, 9, dtype=m.complex64), 8, window=_w(m), return_complex=True),
    "window length": lambda m: m.hann_window(-1),
    "window dtype": lambda m: m.hann_window(3, dtype=m.int64),
    "gaussian": lambda m: m.signal.windows.gaussian(3, std=0.0),
    "exponential": lambda m: m.signal.windows.exponential(3, tau=-1.0),
    "exponential center": lambda m: m.signal.windows.exponential(3, center=1.0),
    "kaiser": lambda m: m.signal.windows.kaiser(3, beta=-1.0),
    "no coefficients": lambda m: m.signal.windows.general_cosine(3, a=[]),
    "signal length": lambda m: m.signal.windows.hann(-1),
    "signal dtype": lambda m: m.signal.windows.hann(3, dtype=m.float16),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_a_window_is_recommended():
    with pytest.warns(UserWarning, match="A window was not provided"):
        gemel.stft(gemel.ones(20), 8, return_complex=True)
    x = np.ones((1, 5, 3), np.complex64)
    with pytest.warns(UserWarning, match="shorter than the length"):
        got = gemel.istft(gemel.tensor(x), 8, window=gemel.ones(8), length=30)
    assert got.shape == (1, 30)
