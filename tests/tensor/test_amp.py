"""``gemel.amp`` against a build of torch for the CPU."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel
from gemel import nn


def train(library, gradients, **options):
    """Scales, parameters and states of a run in which the gradients are given."""
    p = library.nn.Parameter(library.ones(3))
    opt = library.optim.SGD([p], lr=0.5)
    scaler = library.amp.GradScaler("cpu", **options)
    seen = []
    for g in gradients:
        opt.zero_grad()
        loss, other = scaler.scale([(p * library.tensor(g)).sum(), library.ones(1)])
        loss.backward()
        scaler.unscale_(opt)
        library.nn.utils.clip_grad_norm_([p], 10.0)
        scaler.step(opt)
        scaler.update()
        seen.append((scaler.get_scale(), p.detach().tolist(), scaler.state_dict(), other.tolist()))
    return seen


def test_scales_and_steps():
    gradients = [[1.0, 2.0, 3.0], [float("inf"), 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, float("nan"), 1.0], *[[0.5] * 3] * 5]
    options = {"init_scale": 8.0, "growth_interval": 2, "growth_factor": 3.0, "backoff_factor": 0.25}
    for ours, theirs in zip(train(gemel, gradients, **options), train(torch, gradients, **options), strict=True):
        assert ours[0] == theirs[0] and ours[2] == theirs[2] and ours[3] != [1.0]
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_state_and_settings():
    scaler = gemel.amp.GradScaler("cpu", init_scale=4.0)
    assert scaler.state_dict() == torch.amp.GradScaler("cpu", init_scale=4.0).state_dict()
    other = gemel.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 4.0 and other.is_enabled()
    for name, value in (("growth_factor", 5.0), ("backoff_factor", 0.1), ("growth_interval", 7)):
        getattr(other, f"set_{name}")(value)
        assert getattr(other, f"get_{name}")() == value
    other.scale(gemel.ones(1))
    other.update(16.0)
    assert other.get_scale() == 16.0


def test_what_is_for_a_gpu_is_disabled():
    for m in (gemel, torch):
        with pytest.warns(UserWarning, match="is enabled, but CUDA is not available"):
            scaler = m.amp.GradScaler()
        x = m.ones(2)
        p = m.nn.Parameter(m.ones(1))
        p.grad = m.ones(1)
        opt = m.optim.SGD([p], lr=0.5)
        assert scaler.scale(x) is x and scaler.get_scale() == 1.0 and not scaler.is_enabled()
        scaler.unscale_(opt)
        scaler.step(opt)
        scaler.update()
        assert scaler.state_dict() == {} and p.item() == 0.5
        with pytest.warns(UserWarning, match="Disabling"), m.autocast("cuda"):
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float32
        with m.amp.autocast("cpu", dtype=m.bfloat16, enabled=False):
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float32

        @m.autocast("cpu", enabled=False)
        def double(x):
            return x * 2
        assert double(m.ones(1)).item() == 2


def half(m):
    p = m.nn.Parameter(m.ones(1, dtype=m.float16))
    p.grad = m.ones(1, dtype=m.float16)
    return m.optim.SGD([p], lr=0.5)


def used(m):
    """A scaler that has scaled, and an optimizer with a gradient."""
    scaler, p = m.amp.GradScaler("cpu"), m.nn.Parameter(m.ones(1))
    scaler.scale(p.sum()).backward()
    return scaler, m.optim.SGD([p], lr=0.5)


def twice(m, *names):
    scaler, opt = used(m)
    for name in names:
        getattr(scaler, name)(opt)


ERRORS = {
    "growth": (AssertionError, lambda m: m.amp.GradScaler("cpu", growth_factor=1.0)),
    "backoff": (AssertionError, lambda m: m.amp.GradScaler("cpu", backoff_factor=1.0)),
    "scale of nothing": (ValueError, lambda m: m.amp.GradScaler("cpu").scale(3)),
    "step before scale": (AssertionError, lambda m: m.amp.GradScaler("cpu").step(used(m)[1])),
    "update before scale": (AssertionError, lambda m: m.amp.GradScaler("cpu").update()),
    "update before step": (AssertionError, lambda m: used(m)[0].update()),
    "two steps": (RuntimeError, lambda m: twice(m, "step", "step")),
    "unscale twice": (RuntimeError, lambda m: twice(m, "unscale_", "unscale_")),
    "unscale after step": (RuntimeError, lambda m: twice(m, "step", "unscale_")),
    "closure": (RuntimeError, lambda m: used(m)[0].step(used(m)[1], closure=lambda: 1)),
    "half": (ValueError, lambda m: used(m)[0].unscale_(half(m))),
    "no gradients": (AssertionError, lambda m: used(m)[0].step(m.optim.SGD([m.nn.Parameter(m.ones(1))], lr=0.1))),
    "empty state": (RuntimeError, lambda m: m.amp.GradScaler("cpu").load_state_dict({})),
    "device type": (ValueError, lambda m: m.autocast(3)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name):
    kind, call = ERRORS[name]
    messages = []
    for m in (gemel, torch):
        with pytest.raises(kind) as error:
            call(m)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_autocast_on_the_cpu_is_refused():
    with pytest.raises(NotImplementedError, match="cast the model and its inputs"):
        gemel.autocast("cpu")
    with pytest.raises(RuntimeError, match="Expected one of cpu"):
        gemel.autocast("abc")
    assert not gemel.amp.is_autocast_available("cpu")
    assert nn.Linear(2, 2).to(gemel.bfloat16)(gemel.ones(1, 2, dtype=gemel.bfloat16)).dtype is gemel.bfloat16


def test_what_autocast_does_is_asked():
    for device in ("cpu", "cuda", "mps"):
        assert gemel.is_autocast_enabled(device) is torch.is_autocast_enabled(device) is False
        theirs = repr(torch.get_autocast_dtype(device))
        assert repr(gemel.get_autocast_dtype(device)) == theirs.replace("torch", "gemel")
    assert gemel.is_autocast_enabled() is False
    for m in (torch, gemel):
        for function in (m.is_autocast_enabled, m.get_autocast_dtype):
            with pytest.raises(RuntimeError):
                function("nothing")
