"""backward(), grad(), and the state of tensors on the tape, against torch."""
from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import numpy as np
import pytest
import torch

import gemel
from gemel.autograd import grad

from .util import leaf, ones


def both(values):
    """The same leaf here and in torch."""
    return leaf(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradients_add_up_over_paths():
    x, t = both([1.0, -2.0, 3.0])
    y, u = x * x * x + x, t * t * t + t
    (y * y).sum().backward()
    (u * u).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-14)


def test_second_and_third_order():
    x = leaf([0.5, 2.0])
    first, = grad((x * x * x * x).sum(), x, create_graph=True)
    second, = grad(first.sum(), x, create_graph=True)
    third, = grad(second.sum(), x)
    np.testing.assert_allclose(second.detach().numpy(), 12 * np.array([0.25, 4.0]))
    np.testing.assert_allclose(third.detach().numpy(), 24 * np.array([0.5, 2.0]))
    assert not third.requires_grad and second.requires_grad


def test_backward_with_create_graph_puts_grad_on_the_tape():
    x = leaf([3.0])
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    second, = grad(x.grad.sum(), x)
    np.testing.assert_allclose(second.detach().numpy(), [18.0])


def test_accumulation_is_seen_by_holders_of_grad():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    held = x.grad
    (x * x).sum().backward()
    assert held is x.grad
    np.testing.assert_array_equal(held.numpy(), [4.0, 8.0])


def test_many_accumulations_share_plans():
    x, w = leaf(np.ones(5)), leaf(np.ones(5), False)

    def step():
        (x * x * w).sum().backward()
        return x.grad.numpy().copy()
    for _ in range(3):
        step()
    before = gemel.debug.counters()["plan_misses"]
    for _ in range(4):
        step()
    assert gemel.debug.counters()["plan_misses"] == before
    np.testing.assert_array_equal(x.grad.numpy(), np.full(5, 14.0))


def test_the_graph_is_freed_once():
    x = leaf([1.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


AGAIN = {
    "add": lambda m, x, y: x + y, "alpha": lambda m, x, y: m.add(x, y, alpha=2.5), "sub": lambda m, x, y: 1 - x,
    "sub alpha": lambda m, x, y: m.sub(x, y, alpha=0.5), "lerp": lambda m, x, y: m.lerp(x, y, 0.3),
    "view": lambda m, x, y: x[1:].t().reshape(-1), "cat": lambda m, x, y: m.cat([x, y]), "cast": lambda m, x, y: (
        x.to(m.float32)), "mean": lambda m, x, y: x.mean(0), "pad": lambda m, x, y: m.nn.functional.pad(x, (1, 1)),
    "triangle": lambda m, x, y: x.tril(), "repeat": lambda m, x, y: x.repeat(2, 1), "sums": lambda m, x, y: x.cumsum(0),
    "product": lambda m, x, y: x * y, "number": lambda m, x, y: x * 2, "sort": lambda m, x, y: x.sort(0)[0],
    "mask": lambda m, x, y: x.masked_fill(y > 0, 0.0), "rows": lambda m, x, y: x[[1, 0]],
    "einsum": lambda m, x, y: m.einsum("ij->j", x) + m.einsum("ii->i", y),
}


@pytest.mark.parametrize("operation", AGAIN)
def test_a_second_pass_needs_what_the_operation_has_saved(operation):
    """What has saved nothing, or only numbers that torch keeps too, can be gone through again."""
    found = []
    for m in (gemel, torch):
        x, y = (m.tensor(v, dtype=m.float64, requires_grad=True) for v in ([[1.0, -2.0], [3.0, 4.0]], [[2.0, 1.0]] * 2))
        total = AGAIN[operation](m, x, y).sum()
        total.backward()
        try:
            total.backward()
        except RuntimeError as error:
            assert "backward through the graph a second time" in str(error)
            found.append("freed")
        else:
            found.append((x.grad.tolist(), None if y.grad is None else y.grad.tolist()))
    assert found[0] == found[1]


def test_an_addition_saves_nothing_and_can_go_twice():
    x = leaf([1.0])
    y = x + x
    y.backward(ones(1))
    y.backward(ones(1))
    np.testing.assert_array_equal(x.grad.numpy(), [4.0])


@pytest.mark.parametrize("make, message", [
    (lambda x: (x * x).backward(), "grad can be implicitly created only for scalar outputs"),
    (lambda x: x.detach().sum().backward(), "element 0 of tensors does not require grad and does not have a grad_fn"),
    (lambda x: (x * x).backward(ones(2)), r"Mismatch in shape: grad_output\[0\] has a shape of \[2\]"),
    (lambda x: grad((x * x).sum(), leaf([1.0])), "appears to not have been used in the graph"),
    (lambda x: grad((x * x).sum(), x.detach()), "One of the differentiated Tensors does not require grad"),
    (lambda x: grad([x * x, x], x, ones(3)), "got 2 tensors and 1 gradients"),
    (lambda x: grad((x * x).sum(), []), r"`inputs` argument to `grad\(\)` cannot be empty"),
    (lambda x: (x * x).sum().backward(inputs=[]), r"`inputs` argument to `backward\(\)` cannot be empty"),
    (lambda x: leaf([1], False, np.int64).requires_grad_(), "only Tensors of floating point"),
    (lambda x: (x * x).requires_grad_(False), "you can only change requires_grad flags of leaf variables"),
    (lambda x: setattr(x, "grad", leaf([1.0])), r"attempting to assign a gradient of size '\[1\]'"),
    (lambda x: setattr(x, "grad", x), "can't assign Variable as its own grad"),
    (lambda x: setattr(x, "grad", leaf([1, 2, 3], False, np.float32)), "attempting to assign a gradient with dtype"),
    (lambda x: x.detach().register_hook(print), "cannot register a hook on a tensor that doesn't require gradient"),
    (lambda x: x.detach().retain_grad(), "can't retain_grad on Tensor that has requires_grad=False"),
    (lambda x: (x * x).register_post_accumulate_grad_hook(print), "cannot be registered on non-leaf tensors"),
])
def test_errors(make, message):
    with pytest.raises(RuntimeError, match=message):
        make(leaf([1.0, 2.0, 3.0]))


def test_setting_grad_to_something_else_is_a_type_error():
    with pytest.raises(TypeError, match="assigned grad expected to be a Tensor or None but got grad of type int"):
        leaf([1.0]).grad = 3


def test_leaves_and_nodes():
    x = leaf([1.0])
    y = x * x
    assert x.is_leaf and x.grad_fn is None and x.requires_grad
    assert not y.is_leaf and y.requires_grad and y.grad_fn.name() == "MulBackward0"
    assert y.detach().is_leaf and not y.detach().requires_grad
    (node, number), (other, _) = y.grad_fn.next_functions
    assert node is other and number == 0 and node.variable is x
    assert leaf([1.0], False).is_leaf


def test_grad_of_an_unused_input():
    x, unused = leaf([1.0]), leaf([1.0, 2.0])
    found = grad(x.sum(), [x, unused], allow_unused=True)
    assert found[1] is None
    found = grad(x.sum(), [x, unused], materialize_grads=True)
    np.testing.assert_array_equal(found[1].numpy(), [0.0, 0.0])
    with pytest.raises(ValueError, match="Expected allow_unused to be True or not passed"):
        grad(x.sum(), [x], allow_unused=False, materialize_grads=True)


def test_grad_changes_no_leaf_and_runs_only_what_leads_to_the_inputs():
    x, w = leaf([2.0]), leaf([3.0])
    seen = []
    w.register_hook(lambda g: seen.append("w"))
    y = x * w
    g, = grad(y.sum(), x)
    np.testing.assert_array_equal(g.numpy(), [3.0])
    assert seen == [] and x.grad is None and w.grad is None


def test_backward_into_chosen_inputs():
    x, w = leaf([2.0]), leaf([3.0])
    h = x * w
    (h * h).sum().backward(inputs=[x, h])
    assert w.grad is None
    np.testing.assert_array_equal(x.grad.numpy(), [36.0])
    np.testing.assert_array_equal(h.grad.numpy(), [12.0])


def test_grad_with_respect_to_an_inner_result():
    x = leaf([2.0])
    h = x * x
    g, = grad((h * h).sum(), h)
    np.testing.assert_array_equal(g.numpy(), [8.0])


def test_retain_grad_and_hooks_in_order():
    x = leaf([1.0])
    y = x * x
    y.retain_grad()
    y.register_hook(lambda g: g * leaf([3.0], False))
    handle = y.register_hook(lambda g: g * leaf([100.0], False))
    handle.remove()
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [6.0])
    np.testing.assert_array_equal(x.grad.numpy(), [12.0])
    assert y.retains_grad and not x.retains_grad


def test_a_hook_must_keep_shape_and_type():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: ones(3))
    with pytest.raises(RuntimeError, match="hook has changed the size of value"):
        (x * x).sum().backward()
    y = leaf([1.0])
    y.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="expected Variable, but hook returned 'int'"):
        (y * y).sum().backward()


def test_post_accumulate_hook_can_step_and_clear():
    x = leaf([1.0, 2.0])
    seen = []

    def hook(p):
        seen.append(p.grad.numpy().copy())
        p.grad = None
    handle = x.register_post_accumulate_grad_hook(hook)
    (x * x).sum().backward()
    (x * x).sum().backward()
    handle.remove()
    (x * x).sum().backward()
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[1], [2.0, 4.0])
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])


def test_reading_grad_of_a_non_leaf_warns():
    y = leaf([1.0]) * leaf([2.0])
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None


def test_detach_shares_and_detach_in_place():
    x = leaf([1.0])
    y = x * x
    y.detach_()
    assert y.is_leaf and not y.requires_grad and y.grad_fn is None


# --- modes ----------------------------------------------------------------------------------------

def test_no_grad_as_context_decorator_and_of_generators():
    x = leaf([1.0])
    with gemel.no_grad():
        assert not gemel.is_grad_enabled() and not (x * x).requires_grad
        with gemel.enable_grad():
            assert (x * x).requires_grad
    assert gemel.is_grad_enabled()

    @gemel.no_grad()
    def off():
        return (x * x).requires_grad

    @gemel.no_grad
    def off_too():
        return gemel.is_grad_enabled()

    @gemel.no_grad()
    def numbers():
        got = yield gemel.is_grad_enabled()
        yield got, gemel.is_grad_enabled()
        return "end"
    assert not off() and not off_too()
    g = numbers()
    assert next(g) is False and gemel.is_grad_enabled()
    assert g.send(7) == (7, False)
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == "end" and gemel.is_grad_enabled()


def test_set_grad_enabled_acts_at_once_and_as_a_block():
    gemel.set_grad_enabled(False)
    assert not gemel.is_grad_enabled()
    gemel.set_grad_enabled(True)
    with gemel.set_grad_enabled(False):
        assert not gemel.is_grad_enabled()
    assert gemel.is_grad_enabled()

    @gemel.set_grad_enabled(False)
    def off():
        return gemel.is_grad_enabled()
    assert gemel.is_grad_enabled() and not off()


def test_inference_mode():
    x = leaf([1.0])
    with gemel.inference_mode():
        assert gemel.is_inference_mode_enabled() and not (x * x).requires_grad
        with gemel.inference_mode(False):
            assert (x * x).requires_grad
    assert not gemel.is_inference_mode_enabled()


def test_the_mode_belongs_to_the_thread():
    seen = []
    with gemel.no_grad():
        thread = threading.Thread(target=lambda: seen.append(gemel.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_an_error_restores_the_mode():
    with pytest.raises(ZeroDivisionError), gemel.no_grad():
        raise ZeroDivisionError
    assert gemel.is_grad_enabled()


# --- size and lifetime -----------------------------------------------------------------------------

def test_very_deep_graphs_neither_recurse_forwards_nor_when_freed():
    """300,000 operations, in a thread with a small stack."""
    failures = []

    def work():
        try:
            x, c = leaf(np.ones(2)), leaf(np.full(2, 1.0), False)
            y = x
            for _ in range(300_000):
                y = y * c
            g, = grad(y.sum(), x, retain_graph=True)
            assert (g.numpy() == 1).all()
            node = weakref.ref(y.grad_fn)
            del y, g
            assert node() is None
        except BaseException as error:
            failures.append(error)
    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert not failures, failures


def test_leaves_and_graphs_die_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf([1.0])
        y = (x * x).sum()
        y.backward()
        refs = [weakref.ref(x), weakref.ref(y), weakref.ref(y.grad_fn)]
        del x, y
        assert [r() for r in refs] == [None] * 3
    finally:
        gc.enable()


def test_backward_inside_a_hook():
    """A pass that runs inside another one leaves the outer one's gradients alone."""
    x = leaf([2.0])
    inner = leaf([3.0])
    h = x * x

    def hook(g):
        with gemel.enable_grad():
            (inner * inner * h.detach()).sum().backward()
    h.register_hook(hook)
    (h * h).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [32.0])
    np.testing.assert_array_equal(inner.grad.numpy(), [24.0])


@pytest.mark.parametrize("name", ["mul", "div", "matmul", "linear"])
@pytest.mark.parametrize("constant", [0, 1])
def test_an_operand_that_no_gradient_needs_may_be_overwritten(name, constant):
    """A product saves each factor for the gradient of the other: written is what only a constant's would need."""
    def run(m):
        functions = {"mul": m.mul, "div": m.div, "matmul": m.matmul, "linear": m.nn.functional.linear}
        x = m.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=constant != 0)
        w = m.tensor([[0.5, -1.0], [2.0, 1.5]], requires_grad=constant != 1)
        operands = [x * 1, w * 1]
        y = functions[name](*operands)
        operands[1 - constant].mul_(7)  # the one with a gradient
        try:
            y.sum().backward()
        except RuntimeError as error:
            return str(error)[:60]
        return [t.grad.tolist() for t in (x, w) if t.grad is not None]
    assert run(gemel) == run(torch)


@pytest.mark.parametrize("name", ["attention", "batch_norm", "svd", "eigh", "max"])
def test_second_derivatives_of_operations_with_several_results(name):
    """What such an operation saved of its results has a cotangent beside the user's: both reach it."""
    array = np.random.default_rng(3).standard_normal((1, 2, 3, 4))

    def run(m):
        x = m.tensor(array, requires_grad=True)
        F, context = m.nn.functional, contextlib.nullcontext()
        if name == "attention":
            if m is torch:
                context = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
            with context:
                out = F.scaled_dot_product_attention(x, x * 2, x + 1)
        elif name == "batch_norm":
            out = F.batch_norm(x.permute(2, 3, 0, 1), None, None, training=True)
        elif name == "max":
            out = x.max(3).values
        else:
            a = x[0, 0] @ x[0, 0].transpose(0, 1)
            out = (m.linalg.svd(a)[1] if name == "svd" else m.linalg.eigh(a)[0])
        g, = m.autograd.grad((out ** 3).sum(), [x], create_graph=True)
        of_out, of_x = m.autograd.grad((g ** 2).sum(), [out, x], allow_unused=True)
        return of_x.tolist(), of_out.tolist() if name != "attention" else 0  # torch's is of another formula
    for ours, theirs in zip(run(gemel), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7)


def test_only_inputs_is_accepted():
    x = gemel.tensor(3.0, requires_grad=True)
    assert gemel.autograd.grad(x * x, x, None, False, False, True, True)[0].item() == 6.0
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated and is ignored now"):
        assert gemel.autograd.grad(x * x, x, only_inputs=False)[0].item() == 6.0
    y = torch.tensor(3.0, requires_grad=True)
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated and is ignored now"):
        torch.autograd.grad(y * y, y, only_inputs=False)
    assert x.grad is None and y.grad is None
