"""Hooks on nodes, on saved tensors, on several tensors; the graph's surface; anomaly mode."""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel.autograd import graph

from .util import leaf


def test_hooks_on_a_node_see_and_replace_gradients():
    x = leaf([2.0])
    y = x * x
    seen = []
    y.grad_fn.register_prehook(lambda grads: (grads[0] + grads[0],))
    handle = y.grad_fn.register_hook(lambda ins, outs: seen.append((len(ins), outs[0].numpy().copy())))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8.0])
    assert seen[0][0] == 2 and seen[0][1] == [2.0]
    handle.remove()
    y = x * x
    y.grad_fn.register_hook(lambda ins, outs: tuple(g + g for g in ins))
    x.grad = None
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8.0])


def test_handles_work_as_blocks_and_remove_twice():
    x = leaf([1.0])
    seen = []
    with x.register_hook(lambda g: seen.append(1)) as handle:
        (x * x).sum().backward()
    (x * x).sum().backward()
    handle.remove()
    assert seen == [1]
    with pytest.raises(TypeError, match="a hook must be callable"):
        x.register_hook(3)


def test_hooks_on_several_tensors():
    x, y = leaf([1.0]), leaf([2.0])
    seen, first = [], []
    every = graph.register_multi_grad_hook([x, y], lambda gs: seen.append([float(g.numpy()[0]) for g in gs]))
    with every, graph.register_multi_grad_hook([x, y], lambda g: first.append(1), mode="any"):
        (x * y).sum().backward()
    assert seen == [[2.0, 1.0]] and first == [1]
    with pytest.raises(ValueError, match="Expects mode to be one of"):
        graph.register_multi_grad_hook([x], print, mode="some")


def test_gradient_edges():
    x = leaf([1.0])
    y = x * x
    assert graph.get_gradient_edge(y) == (y.grad_fn, 0)
    assert graph.get_gradient_edge(x).node.variable is x
    with pytest.raises(RuntimeError, match="does not require gradients"):
        graph.get_gradient_edge(x.detach())


# --- saved tensors --------------------------------------------------------------------------------

def test_saved_tensors_go_through_the_hooks():
    x = leaf([1.0, 2.0])
    packed, unpacked = [], []

    def pack(t):
        packed.append(t)
        return t.numpy().copy()

    def unpack(a):
        unpacked.append(a)
        return leaf(a, False)
    with graph.saved_tensors_hooks(pack, unpack):
        y = (x * x).sum()
        with graph.saved_tensors_hooks(lambda t: leaf([10.0, 10.0], False), lambda t: t):
            z = (x * x).sum()
    y.backward()
    assert len(packed) == 2 and len(unpacked) == 2
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])
    x.grad = None
    z.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [20.0, 20.0])


def test_saved_tensors_of_a_function_go_through_the_hooks_too():
    from .test_function import Cube
    x = leaf([2.0])
    with graph.saved_tensors_hooks(lambda t: t.numpy().copy(), lambda a: leaf(a, False)):
        y = Cube.apply(x).sum()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [12.0])


def test_disabled_hooks_and_bad_unpack():
    x = leaf([1.0])
    with graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        x * x
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = (x * x).sum()
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor but got result of type int"):
        y.backward()
    with graph.save_on_cpu():
        y = (x * x).sum()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0])


# --- anomaly mode ---------------------------------------------------------------------------------

def test_anomaly_mode_names_the_operation_and_the_forward_line():
    x, zero = leaf([0.0]), leaf([0.0], False)
    with gemel.autograd.detect_anomaly():
        y = zero / x  # the line that is named
        with pytest.raises(RuntimeError, match=r"Function 'DivBackward0' returned nan values in its 1th output.*"
                                               r"test_hooks\.py:\d+"):
            y.sum().backward()
    assert not gemel.autograd.is_anomaly_enabled()
    x.grad = None
    (zero / x).sum().backward()
    assert np.isnan(x.grad.numpy()).all()


def test_anomaly_mode_can_be_set():
    gemel.autograd.set_detect_anomaly(True)
    assert gemel.autograd.is_anomaly_enabled()
    gemel.autograd.set_detect_anomaly(False)
    with gemel.autograd.set_detect_anomaly(True, check_nan=False):
        x = leaf([0.0])
        (leaf([0.0], False) / x).sum().backward()
    assert not gemel.autograd.is_anomaly_enabled() and np.isnan(x.grad.numpy()).all()
