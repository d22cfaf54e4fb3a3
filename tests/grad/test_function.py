"""autograd.Function: every way of defining one, against what torch does."""
from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import gemel
from gemel.autograd import Function, grad
from gemel.autograd.function import once_differentiable

from .util import leaf, ones


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * x * x * leaf(np.full(x._read().type.shape, 3.0), False)


def test_first_second_and_third_derivative():
    x = leaf([2.0, -1.0])
    first, = grad(Cube.apply(x).sum(), x, create_graph=True)
    second, = grad(first.sum(), x, create_graph=True)
    third, = grad(second.sum(), x)
    np.testing.assert_allclose(first.detach().numpy(), [12.0, 3.0])
    np.testing.assert_allclose(second.detach().numpy(), [12.0, -6.0])
    np.testing.assert_allclose(third.numpy(), [6.0, 6.0])
    assert Cube.apply(x).grad_fn.name() == "CubeBackward"


def test_gradcheck_of_a_function():
    assert gemel.autograd.gradcheck(Cube.apply, (leaf([0.3, -1.2]),))
    assert gemel.autograd.gradgradcheck(Cube.apply, (leaf([0.3, -1.2]),))


def test_the_functions_derivative_is_used_not_the_operations():
    class Straight(Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g
    x = leaf([5.0])
    Straight.apply(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0])


def test_setup_context_style_and_several_outputs():
    class Both(Function):
        @staticmethod
        def forward(x, y, power):
            return x * y, x + y

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, y, power = inputs
            ctx.save_for_backward(x, y)
            ctx.power = power

        @staticmethod
        def backward(ctx, g_product, g_sum):
            x, y = ctx.saved_tensors
            assert ctx.power == 3
            return g_product * y + g_sum, g_product * x + g_sum, None
    x, y = leaf([2.0]), leaf([5.0])
    p, s = Both.apply(x, y, 3)
    (p * s).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [5 * 7 + 10])
    np.testing.assert_array_equal(y.grad.numpy(), [2 * 7 + 10])


def test_unused_outputs_get_zeros_or_none():
    seen = []

    class Two(Function):
        materialize = True

        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x * x, x + x

        @staticmethod
        def backward(ctx, g0, g1):
            seen.append(g1)
            return g0, None
    x = leaf([1.0])
    Two.apply(x, True)[0].sum().backward()
    Two.apply(x, False)[0].sum().backward()
    np.testing.assert_array_equal(seen[0].numpy(), [0.0])
    assert seen[1] is None


def test_non_differentiable_outputs():
    class Flat(Function):
        @staticmethod
        def forward(ctx, x):
            a, b = x * x, x + x
            ctx.mark_non_differentiable(b)
            return a, b

        @staticmethod
        def backward(ctx, g, _):
            return g
    a, b = Flat.apply(leaf([1.0]))
    assert a.requires_grad and not b.requires_grad


def test_needs_input_grad_and_none_for_the_rest():
    class Mul(Function):
        @staticmethod
        def forward(ctx, x, y, name):
            assert ctx.needs_input_grad == (True, False, False)
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * y, None, None
    x = leaf([2.0])
    Mul.apply(x, leaf([3.0], False), "name").sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3.0])


def test_saving_an_output_makes_no_cycle_and_differentiates_twice():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * y  # dy/dx pretended to be y = x^2

    gc.disable()
    try:
        x = leaf([3.0])
        y = Square.apply(x)
        first, = grad(y.sum(), x, create_graph=True)
        second, = grad(first.sum(), x)
        np.testing.assert_array_equal(first.detach().numpy(), [9.0])
        np.testing.assert_array_equal(second.numpy(), [9.0])
        node = weakref.ref(y.grad_fn)
        del y, first, second
        assert node() is None
    finally:
        gc.enable()


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return g * (x + x)
    x = leaf([3.0])
    first, = grad(Once.apply(x).sum(), x)
    np.testing.assert_array_equal(first.numpy(), [6.0])
    c = leaf([1.0])
    first, = grad((Once.apply(x) * c).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="trying to differentiate twice"):
        first.sum().backward()


@pytest.mark.parametrize("returned, error, message", [
    (lambda g: (g, g), RuntimeError, r"returned an incorrect number of gradients \(expected 1, got 2\)"),
    (lambda g: 3, TypeError, "expected Variable or None"),
    (lambda g: ones(3), RuntimeError, r"invalid gradient at index 0 - got \[3\] but expected shape compatible with "
                                      r"\[2\]"),
])
def test_bad_gradients(returned, error, message):
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return returned(g)
    x = leaf([1.0, 2.0])
    with pytest.raises(error, match=message):
        Bad.apply(x).sum().backward()


def test_a_gradient_for_something_that_is_no_tensor():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, n):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g, g
    with pytest.raises(RuntimeError, match="gradient different from None at position 2"):
        Bad.apply(leaf([1.0]), 2).sum().backward()


def test_a_broadcast_gradient_is_summed():
    class Wide(Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return ones(4, 1)
    x = leaf([1.0])
    Wide.apply(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4.0])


def test_freed_and_retained():
    x = leaf([2.0])
    y = Cube.apply(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_saved_tensor_written_in_place_is_found():
    x = leaf([2.0])
    h = x * x
    y = Cube.apply(h)
    with gemel.no_grad():
        h._write(h + h)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_mark_dirty_puts_the_written_input_on_the_tape():
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x._write(x + x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g + g
    x = leaf([3.0])
    h = x * x
    out = Double.apply(h)
    assert out is h
    (h * h).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2 * 18 * 2 * 6])
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place"):
        Double.apply(leaf([1.0]))


def test_dirty_but_not_returned():
    class Lost(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x * x
    with pytest.raises(RuntimeError, match="must all be outputs of the Function"):
        Lost.apply(leaf([1.0], False))


def test_returning_an_input_gives_another_tensor():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g + g
    x = leaf([1.0])
    y = Same.apply(x)
    assert y is not x and y.grad_fn.name() == "SameBackward" and x.is_leaf
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0])


def test_missing_parts_and_instances():
    class Nothing(Function):
        @staticmethod
        def forward(ctx, x):
            return x * x
    with pytest.raises(NotImplementedError, match="You must implement either the backward or vjp method"):
        Nothing.apply(leaf([1.0])).sum().backward()
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Nothing()
    with pytest.raises(TypeError, match="save_for_backward can only save variables"):
        class Wrong(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(3)
                return x
        Wrong.apply(leaf([1.0]))


def test_nothing_is_recorded_without_grad():
    x = leaf([1.0])
    with gemel.no_grad():
        assert not Cube.apply(x).requires_grad
    assert not Cube.apply(x.detach()).requires_grad
