"""Settings, ``gemel.cuda``, ``gemel.backends`` and ``gemel.testing`` against a build of torch for the CPU."""
from __future__ import annotations

import math
import platform
import threading

import numpy as np
import pytest
import torch

import gemel
from gemel.engine.base.flags import flags, override

from .records import same_error, to_gemel


def test_threads():
    with override(THREADS=flags.THREADS):
        gemel.set_num_threads(1)
        assert gemel.get_num_threads() == 1
        one = (gemel.ones(64, 64) @ gemel.ones(64, 64)).tolist()
        gemel.set_num_threads(2)
        assert gemel.get_num_threads() == 2
        assert (gemel.ones(64, 64) @ gemel.ones(64, 64)).tolist() == one
    gemel.set_num_interop_threads(3)
    assert gemel.get_num_interop_threads() == 1
    for wrong in (0, 1.5, "2"):
        same_error(lambda m, n=wrong: m.set_num_threads(n))
        same_error(lambda m, n=wrong: m.set_num_interop_threads(n))


def test_precision_and_determinism():
    for m in (gemel, torch):
        before = m.get_float32_matmul_precision()
        m.set_float32_matmul_precision("high")
        assert m.get_float32_matmul_precision() == "high"
        m.set_float32_matmul_precision(before)
        m.set_deterministic_debug_mode("warn")
        assert m.get_deterministic_debug_mode() == 1
        assert m.are_deterministic_algorithms_enabled() and m.is_deterministic_algorithms_warn_only_enabled()
        m.use_deterministic_algorithms(True)
        assert m.get_deterministic_debug_mode() == 2 and not m.is_deterministic_algorithms_warn_only_enabled()
        m.use_deterministic_algorithms(False)
        assert m.get_deterministic_debug_mode() == 0 and not m.are_deterministic_algorithms_enabled()
    with pytest.warns(UserWarning, match="x is not one of 'highest', 'high', or 'medium'"):
        gemel.set_float32_matmul_precision("x")
    assert gemel.get_float32_matmul_precision() == "highest"
    for wrong in ("always", 3, 1.5):
        same_error(lambda m, v=wrong: m.set_deterministic_debug_mode(v))


TINY = np.full((300, 300), 2e-38, np.float32)  # a quarter of it is denormal; NumPy may not see it: look at the bits


def quarters() -> list[bool]:
    """Are denormal results there: of one task, of many, of a contraction, of a plan behind the program?"""
    one, many, factor = gemel.tensor(TINY[0]), gemel.tensor(TINY), gemel.eye(300) * 0.25
    w = gemel.tensor(TINY).requires_grad_()
    w.grad = gemel.tensor(TINY)
    gemel.optim.SGD([w], lr=0.75).step()
    results = one * 0.25, many * 0.25, many @ factor, w.detach()
    return [bool(r.numpy().view(np.int32).any()) for r in results]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="set on x86 alone")
def test_denormal_numbers_are_zeros_on_demand():
    assert quarters() == [True] * 4
    try:
        y = gemel.tensor(TINY) * 0.25
        assert gemel.set_flush_denormal(True) is True
        assert y.numpy().view(np.int32).all()  # recorded before
        assert quarters() == [False] * 4
        with override(THREADS=3):  # another pool
            assert quarters() == [False] * 4
    finally:
        assert gemel.set_flush_denormal(False) is True
    assert quarters() == [True] * 4


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="set on x86 alone")
def test_what_libraries_set_on_a_thread_does_not_reach_kernels():
    """torch flushes denormal numbers of this thread: ours are exact, and torch's setting is as it was behind them."""
    seen = []

    def other() -> None:
        assert torch.set_flush_denormal(True)
        seen.extend([quarters(), float((torch.tensor([2e-38]) * 0.25)[0])])
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [[True] * 4, 0.0]


@pytest.mark.parametrize("name", [n for n in gemel.cuda.__all__ if n != "reset_peak_memory_stats"])
def test_cuda_is_not_there(name):
    args = {"manual_seed": (0,), "manual_seed_all": (0,), "set_device": (0,), "get_device_properties": (0,)}
    ours, theirs = (getattr(m.cuda, name) for m in (gemel, torch))
    try:
        want = theirs(*args.get(name, ()))
    except (AssertionError, RuntimeError, AttributeError):
        with pytest.raises(AssertionError, match="not compiled with CUDA"):
            ours(*args.get(name, ()))
    else:
        assert ours(*args.get(name, ())) == want
    assert gemel.cuda.reset_peak_memory_stats() is None


@pytest.mark.parametrize("name", [n for n in gemel.accelerator.__all__ if n not in ("device_index", "set_stream")])
def test_no_accelerator_is_there(name):
    args = {"set_device_index": (0,)}
    ours, theirs = (getattr(m.accelerator, name) for m in (gemel, torch))
    try:
        want = theirs(*args.get(name, ()))
    except (AttributeError, RuntimeError):
        with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
            ours(*args.get(name, ()))
    else:
        assert ours(*args.get(name, ())) == want


def test_no_accelerator_can_be_chosen():
    for m in (gemel, torch):
        with m.accelerator.device_index(None):
            pass
        with pytest.raises((RuntimeError, AssertionError)), m.accelerator.device_index(0):
            pass


def test_backends_are_modules():
    import gemel.backends.cudnn as cudnn
    from gemel.backends import mps
    before = cudnn.benchmark
    try:
        cudnn.benchmark = True
        assert gemel.backends.cudnn.benchmark is True
    finally:
        cudnn.benchmark = before
    assert not mps.is_built() and not cudnn.is_available()


def test_switches_can_be_set():
    for name in gemel.backends.__all__:
        ours, theirs = getattr(gemel.backends, name), getattr(torch.backends, name)
        for switch, value in vars(ours).items():
            assert hasattr(theirs, switch)
            setattr(ours, switch, value)
    assert not gemel.backends.mps.is_available() and not gemel.backends.cudnn.is_available()
    assert not gemel.backends.cuda.is_built() and gemel.backends.cudnn.version() is None


A, B = torch.ones(2, 3), torch.ones(2, 3) + torch.tensor([0, 1e-3, 0])
NAN = torch.tensor([1.0, math.nan])
CLOSE = {
    "equal": lambda f, c: c(f(A), f(A)), "tolerance": lambda f, c: c(f(A), f(B), rtol=0.0, atol=2e-3),
    "nan": lambda f, c: c(f(NAN), f(NAN), equal_nan=True), "none": lambda f, c: c(None, None),
    "dtypes": lambda f, c: c(f(A), f(A.double()), check_dtype=False), "bools": lambda f, c: c([True], [True]),
    "nested": lambda f, c: c({"x": [f(A), 1, 2.0], "y": f(B)}, {"y": f(B), "x": [f(A), 1, 2.0]}),
    "rounding": lambda f, c: c(f(A), f(A + 1e-6)), "numbers": lambda f, c: c(1, 1.0, check_dtype=False),
    "complex": lambda f, c: c(1 + 2j, 1 + 2j), "empty": lambda f, c: c(f(A[:0]), f(A[:0])),
}
NOT_CLOSE = {
    "values": lambda f, c: c(f(A), f(B)), "shape": lambda f, c: c(f(A), f(B[:1])),
    "dtype": lambda f, c: c(f(A), f(A.double())), "ints": lambda f, c: c(f(A.int()), f(B.int() + 1)),
    "int": lambda f, c: c(1, 2), "float": lambda f, c: c(1.0, 2.0), "types": lambda f, c: c(1, 1.0),
    "length": lambda f, c: c([1, 2], [1, 2, 3]), "item": lambda f, c: c([f(A), f(B)], [f(A), f(A)]),
    "key": lambda f, c: c({"x": f(A)}, {"x": f(B)}), "keys": lambda f, c: c({"x": f(A)}, {"y": f(A)}),
    "deep": lambda f, c: c([[1.0, 2.0], {"a": [3.0]}], [[1.0, 2.0], {"a": [3.5]}]),
    "0-d": lambda f, c: c(f(A[0, 0]), f(2 * A[0, 0])), "nan": lambda f, c: c(f(NAN), f(NAN)),
    "none": lambda f, c: c(None, 1.5), "bools": lambda f, c: c(True, False),
    "message": lambda f, c: c(f(A), f(B), msg="mine"),
    "function": lambda f, c: c(f(A), f(B), msg=lambda m: "mine: " + m),
    "tolerance": lambda f, c: c(f(A), f(B), rtol=1e-5, atol=0.0), "exact": lambda f, c: c(f(A), f(B), rtol=0, atol=0),
    "zero": lambda f, c: c(f(A), f(A * 0)),
    "nan number": lambda f, c: c(1.0, math.nan), "complex": lambda f, c: c(f(A * 1j), f(A * 2j)),
}


@pytest.mark.parametrize("name", CLOSE)
def test_assert_close(name):
    for f, m in ((lambda x: x, torch), (to_gemel, gemel)):
        assert CLOSE[name](f, m.testing.assert_close) is None


@pytest.mark.parametrize("name", NOT_CLOSE)
def test_assert_close_says_what_torch_says(name):
    messages = []
    for f, m in ((lambda x: x, torch), (to_gemel, gemel)):
        with pytest.raises(AssertionError) as error:
            NOT_CLOSE[name](f, m.testing.assert_close)
        messages.append(str(error.value).replace("torch.", "gemel."))
    assert messages[1] == messages[0]


def test_assert_close_refuses():
    with pytest.raises(AssertionError, match=r"attribute 'stride\(\)'"):
        gemel.testing.assert_close(gemel.ones(2, 3), gemel.ones(3, 2).T, check_stride=True)
    for wrong in (lambda m: m.testing.assert_close(1.0, 1.0, rtol=0.1), lambda m: m.testing.assert_close("a", "a")):
        same_error(wrong)
    gemel.testing.assert_close(np.ones(3), gemel.ones(3, dtype=gemel.float64))


@pytest.mark.parametrize("name", gemel.cpu.__all__)
def test_the_cpu_answers_as_torchs_does(name):
    arguments = ("cpu",) if name in ("set_device", "synchronize") else ()
    assert getattr(gemel.cpu, name)(*arguments) == getattr(torch.cpu, name)(*arguments)
