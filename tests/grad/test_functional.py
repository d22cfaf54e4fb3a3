"""autograd.functional against torch.autograd.functional; gradcheck against its own purpose."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from gemel.autograd import Function, GradcheckError, functional, gradcheck, gradgradcheck

from .util import leaf, ones

A, B = np.array([0.5, -1.5, 2.0]), np.array([1.0, 0.25, -0.75])


def pair(x, y):
    return x * x * y, x + y * y


def scalar(x, y):
    return (x * x * y * y + x * y).sum()


def plain(t):
    return t.detach().numpy()


def same(mine, theirs):
    if isinstance(theirs, (tuple, list)):
        assert isinstance(mine, tuple) and len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            same(a, b)
    else:
        np.testing.assert_allclose(plain(mine), theirs.detach().numpy(), atol=1e-12)


def inputs():
    return (leaf(A, False), leaf(B, False)), (torch.tensor(A), torch.tensor(B))


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobian(strategy):
    mine, theirs = inputs()
    kw = {"vectorize": True} if strategy == "forward-mode" else {}
    same(functional.jacobian(pair, mine, strategy=strategy, **kw),
         torch.autograd.functional.jacobian(pair, theirs, strategy=strategy, **kw))
    same(functional.jacobian(lambda x: x * x, mine[0], strategy=strategy, **kw),
         torch.autograd.functional.jacobian(lambda x: x * x, theirs[0], strategy=strategy, **kw))


def test_hessian():
    mine, theirs = inputs()
    same(functional.hessian(scalar, mine), torch.autograd.functional.hessian(scalar, theirs))
    same(functional.hessian(lambda x: (x * x * x).sum(), mine[0]),
         torch.autograd.functional.hessian(lambda x: (x * x * x).sum(), theirs[0]))


def test_products():
    (mine, theirs), v = inputs(), np.array([1.0, -2.0, 0.5])
    v2, t2 = (leaf(v, False), leaf(v + 1, False)), (torch.tensor(v), torch.tensor(v + 1))
    F, T = functional, torch.autograd.functional
    same(F.vjp(pair, mine, v2), T.vjp(pair, theirs, t2))
    same(F.jvp(pair, mine, v2), T.jvp(pair, theirs, t2))
    same(F.vhp(scalar, mine, v2), T.vhp(scalar, theirs, t2))
    same(F.hvp(scalar, mine, v2), T.hvp(scalar, theirs, t2))


def test_create_graph_connects_the_results():
    x = leaf(A)
    j = functional.jacobian(lambda t: t * t * t, x, create_graph=True)
    assert j.requires_grad
    j.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * A)
    assert not functional.jacobian(lambda t: t * t, x).requires_grad


def test_errors():
    x = leaf(A, False)
    with pytest.raises(TypeError, match="The inputs given to vjp must be either a Tensor or a tuple of Tensors"):
        functional.vjp(lambda t: t, 3)
    with pytest.raises(RuntimeError, match="The vector v can only be None if the user-provided function"):
        functional.vjp(lambda t: t * t, x)
    with pytest.raises(RuntimeError, match=r"v has invalid size: should be \[3\] but got \[2\]"):
        functional.vjp(lambda t: t * t, x, ones(2))
    with pytest.raises(RuntimeError, match="does not require gradients"):
        functional.vjp(lambda t: t.detach(), x, ones(3), strict=True)
    with pytest.raises(RuntimeError, match="should return a single Tensor"):
        functional.hessian(lambda t: (t, t), x)
    with pytest.raises(AssertionError, match="Expected strategy to be either"):
        functional.jacobian(lambda t: t, x, strategy="sideways")


# --- gradcheck ------------------------------------------------------------------------------------

class Wrong(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * x


def test_gradcheck_accepts_what_is_right_and_finds_what_is_wrong():
    x = leaf(A)
    assert gradcheck(pair, (x, leaf(B)))
    assert gradcheck(pair, (x, leaf(B, False)), fast_mode=True)
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(GradcheckError, match="computed in fast mode"):
        gradcheck(Wrong.apply, (x,), fast_mode=True)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(pair, (leaf(A, False), leaf(B, False)))


def test_gradcheck_finds_a_derivative_that_is_missing():
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach() * x.detach(), (leaf(A),))


def test_gradgradcheck():
    assert gradgradcheck(pair, (leaf(A), leaf(B)))

    class HalfWrong(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return g * (x * x).detach() * leaf(np.full(3, 3.0), False)
    assert gradcheck(HalfWrong.apply, (leaf(A),))
    with pytest.raises(GradcheckError):
        gradgradcheck(HalfWrong.apply, (leaf(A),))


def test_single_precision_is_warned_about():
    with pytest.warns(UserWarning, match="not a double precision"):
        gradcheck(lambda x: x + x, (leaf(A, True, np.float32),), eps=1e-2, atol=1e-1, rtol=1e-1)
