"""Leaves that share memory: views that are made leaves, bases that become leaves, leaves turned in place."""
from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import gemel
from gemel.engine.base.errors import UnsupportedError

from .records import TIERS, in_tier

LIBRARIES = [gemel, torch]


def _view_leaf(m: Any) -> Any:
    base = m.arange(4.0)
    view = base[1:]
    return view.requires_grad_()


WRITES = {
    "add_": lambda m, x: x.add_(1), "set": lambda m, x: x.__setitem__((), 1.0),
    "set itself": lambda m, x: x.__setitem__((), x), "set its part": lambda m, x: x.__setitem__(..., x[...].detach()),
    "empty part": lambda m, x: x.__setitem__(slice(2, 2), m.zeros(0)), "empty view": lambda m, x: x[:0].add_(1),
    "part": lambda m, x: x[:1].add_(1), "part of a part": lambda m, x: x[1:][:1].mul_(2),
    "combined": lambda m, x: x.__setitem__((), x[()].__iadd__(1)), "mask": lambda m, x: x.__setitem__(x > 0, 1.0),
    "fill_": lambda m, x: x[:1].fill_(1),
}
LEAVES = {
    "leaf": lambda m: m.zeros(3, requires_grad=True), "empty": lambda m: m.zeros(0, requires_grad=True),
    "two axes": lambda m: m.zeros(2, 0).requires_grad_(), "view": _view_leaf, "empty view": lambda m: (
        m.arange(4.0)[2:2].requires_grad_()),
}


@pytest.mark.parametrize("m", LIBRARIES, ids=lambda m: m.__name__)
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_is_not_written(m: Any, leaf: str, write: str) -> None:
    """Nor where nothing would be written, nor through views; also not a view that was made a leaf."""
    x = LEAVES[leaf](m)
    before = x.tolist()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad is being used in an in-place"):
        WRITES[write](m, x)
    assert x.tolist() == before and x.is_leaf and x.requires_grad


def test_the_very_same_view_is_not_written_into_an_empty_leaf() -> None:
    """``x[()] = x.squeeze()`` changes nothing, and is refused."""
    for m in LIBRARIES:
        x = m.zeros(2, 0, requires_grad=True)
        for value in (x.squeeze(), x[()], x.detach()):
            with pytest.raises(RuntimeError, match="a leaf Variable"):
                x[()] = value
        part = m.zeros(2, 4, requires_grad=True).narrow(1, 2, 0)
        with pytest.raises(RuntimeError, match="a view of a leaf"):
            part[...] = part[:]


def _numbers(*tensors: Any) -> list[Any]:
    return [(t.requires_grad, t.is_leaf, t._version, t.detach().tolist(),
             None if not t.is_leaf or t.grad is None else t.grad.tolist()) for t in tensors]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("through", ["base", "view", "other"])
def test_a_view_of_what_becomes_a_leaf_is_part_of_it(tier: str, through: str) -> None:
    """Once anything has been written without gradients, also in torch (which drops the gradient before)."""
    found = []
    with in_tier(tier):
        for m in LIBRARIES:
            base = m.arange(4.0)
            view, other = base[1:], base.view(2, 2)
            base.requires_grad_()
            with m.no_grad():
                {"base": base, "view": view, "other": other}[through].add_(1)
            (view * view).sum().backward()
            (other * 3).sum().backward()
            found.append(_numbers(base, view, other))
    assert found[0] == found[1]


@pytest.mark.parametrize("tier", TIERS)
def test_gradients_of_views_that_were_made_before_reach_the_base(tier: str) -> None:
    with in_tier(tier):
        base = gemel.arange(4.0)
        view, detached = base[1:], base.detach()
        inner = view[:2]
        base.requires_grad_()
        assert view.requires_grad and inner.requires_grad and not detached.requires_grad
        (view * 2).sum().backward()
        (inner * inner).sum().backward()
        assert base.grad.tolist() == [0, 4, 6, 2]
        with pytest.raises(RuntimeError, match="a view of a leaf"):
            view.add_(1)


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_as_strided_of_a_view_that_was_made_a_leaf(offset: int) -> None:
    """Its gradient is that of the view; what lies beyond the view has none."""
    found = []
    for m in LIBRARIES:
        base = m.arange(4.0, dtype=m.float64)
        view = base[1:].requires_grad_()
        part = view.as_strided((2,), (1,), offset)
        (part * part).sum().backward()
        found.append((_numbers(base, view), part.tolist(), view.grad.tolist()))
    assert found[0] == found[1]


def test_as_strided_of_other_bits_that_were_made_a_leaf_is_refused() -> None:
    base = gemel.arange(4.0, dtype=gemel.float64)
    bits = base.view(gemel.int64).view(gemel.float64)[1:].requires_grad_()
    with pytest.raises(UnsupportedError, match="as_strided of a view of other bits"):
        bits.as_strided((2,), (1,), 1)


TURNS = {
    "t_": lambda x: x.t_(), "transpose_": lambda x: x.transpose_(0, 1), "squeeze_": lambda x: x[:1].squeeze_(),
    "unsqueeze_": lambda x: x.unsqueeze_(1),
}


@pytest.mark.parametrize("shape", [(2, 3), (3, 3)])
@pytest.mark.parametrize("turn", ["t_", "transpose_", "unsqueeze_"])
def test_a_leaf_that_was_used_and_then_turned_has_no_gradient_of_what_it_was(turn: str, shape: tuple) -> None:
    """torch raises where the shapes do not fit, and gives the gradient of other elements where they do."""
    x = gemel.ones(shape, requires_grad=True)
    before = x * 2
    with gemel.no_grad():
        TURNS[turn](x)
    with pytest.raises(RuntimeError, match=f"invalid gradient at a leaf.*before {turn}()"):
        before.sum().backward()
    assert x.grad is None
    (x * 3).sum().backward()
    assert x.grad.shape == x.shape
    if shape[0] != shape[1]:
        y = torch.ones(shape, requires_grad=True)
        before = y * 2
        with torch.no_grad():
            TURNS[turn](y)
        with pytest.raises(RuntimeError):
            before.sum().backward()


def test_a_gradient_that_a_leaf_held_before_it_was_turned_is_not_added_to() -> None:
    for m in LIBRARIES:
        x = m.ones(2, 3, requires_grad=True)
        x.sum().backward()
        with m.no_grad():
            x.t_()
        total = (x * 2).sum()
        with pytest.raises(RuntimeError, match="can't be added to .grad" if m is gemel else "size of tensor"):
            total.backward(retain_graph=True)
        assert x.grad.shape == (2, 3)
        x.grad = None
        total.backward()
        assert x.grad.tolist() == [[2, 2]] * 3


def test_hooks_stay_at_a_leaf_that_is_turned() -> None:
    found = []
    for m in LIBRARIES:
        x, seen = m.ones(2, 3).requires_grad_(), []
        x.register_hook(lambda g, seen=seen: seen.append(tuple(g.shape)) or g * 10)
        x.register_post_accumulate_grad_hook(lambda t, seen=seen: seen.append(t.grad.tolist()))
        with m.no_grad():
            x.t_()
        (x * 3).sum().backward()
        with m.no_grad():
            x.squeeze_()  # leaves it as it is
        (x * x).sum().backward()
        found.append((seen, _numbers(x)))
    assert found[0] == found[1]


def test_a_leaf_that_squeeze_leaves_as_it_is_has_its_gradient() -> None:
    found = []
    for m in LIBRARIES:
        x = m.ones(2, 3).requires_grad_()
        y = x * 2
        with m.no_grad():
            x.squeeze_()
        y.sum().backward()
        found.append(_numbers(x))
    assert found[0] == found[1]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("turn", TURNS)
def test_a_base_that_is_turned_is_still_the_base(tier: str, turn: str, grad: bool) -> None:
    """It can be detached, made a leaf and written, and its views follow."""
    found = []
    with in_tier(tier):
        for m in LIBRARIES:
            x = m.arange(6.0, dtype=m.float64).view(2, 3).clone()
            factor = m.full((), 2.0, dtype=m.float64).requires_grad_()
            view, column = x[0], x[:, 1]
            TURNS[turn](x)
            if grad:
                x.mul_(factor)
            states = [x._is_view(), _numbers(x, view, column)]
            if grad:
                (view * column.sum()).sum().backward()
                x.detach_()
            x.requires_grad_()
            with m.no_grad():
                x.add_(1)
            (column * column).sum().backward()
            found.append((states, _numbers(x, view, column, factor)))
    assert found[0] == found[1]


def test_views_made_without_gradients_are_views() -> None:
    """They may be written once nothing is left that requires a gradient."""
    for m in LIBRARIES:
        x = m.ones(3).requires_grad_()
        with m.no_grad():
            view = x[1:]
        assert view._is_view()
        with pytest.raises(RuntimeError, match="Can't detach views in-place"):
            view.detach_()
        with pytest.raises(RuntimeError):
            view.add_(1)
        x.detach_()
        assert view.add_(1).tolist() == [2, 2] and x.tolist() == [1, 2, 2]
        plain = m.ones(3)
        leaf = plain[:].requires_grad_()
        with m.no_grad():
            part = leaf[1:]
        part.add_(1)  # as a part of `plain`
        assert plain.tolist() == [1, 2, 2] and leaf.is_leaf and leaf.requires_grad and not part.requires_grad


def test_a_view_made_without_gradients_does_not_hold_the_tape() -> None:
    x = gemel.ones(3, requires_grad=True)
    y = x * x
    node = weakref.ref(y.grad_fn)
    with gemel.no_grad():
        view = y[1:]
    gc.disable()
    try:
        del y
        assert node() is None
    finally:
        gc.enable()
    with pytest.raises(RuntimeError, match="created in no_grad mode"):
        view.add_(1)


@pytest.mark.parametrize("make", ["arange", "from_numpy", "data"])
@pytest.mark.parametrize("change", [lambda m, x: x.data.add_(1), lambda m, x: x.detach().numpy()])
def test_what_no_version_counts_moves_nothing_on_the_tape(change: Any, make: str) -> None:
    """A view of a leaf that is one itself keeps its gradient after a write through ``.data``, and seen by NumPy."""
    found = []
    for m in LIBRARIES:
        base = m.arange(4.0, dtype=m.float64) if make == "arange" else m.from_numpy(np.arange(4.0))
        base = base.data if make == "data" else base
        leaf = base[1:].requires_grad_()
        part = leaf[:2]
        change(m, base)
        (part * 2).sum().backward()
        found.append(_numbers(base, leaf, part))
    assert found[0] == found[1]


def test_a_counted_write_does_not_move_what_data_has_made() -> None:
    found = []
    for m in LIBRARIES:
        base = m.arange(4.0, dtype=m.float64)
        leaf = base.data[1:].requires_grad_()
        part = leaf[:2]
        base.zero_()
        (part * 2).sum().backward()
        found.append((part.tolist(), leaf.grad.tolist()))
    assert found[0] == found[1]


REPEATED = {"expand": lambda x: x.expand(2, 3).detach(), "unfold": lambda x: x.unfold(0, 2, 1).detach()}


@pytest.mark.parametrize("write", [
    lambda v, s: v.fill_(s), lambda v, s: v.mul_(s), lambda v, s: v.copy_(s), lambda v, s: v[0].fill_(s),
    lambda v, s: v.__setitem__((slice(None), 0), s)])
@pytest.mark.parametrize("make", REPEATED)
def test_gradients_written_into_repeated_elements_are_refused(make: str, write: Any) -> None:
    """As by torch where ``expand`` repeats them; where windows overlap, it gives the gradient of one of the places."""
    x, source = gemel.arange(3.0), gemel.tensor(7.0, requires_grad=True)
    view = REPEATED[make](x)
    with pytest.raises(UnsupportedError, match="repeats elements"):
        write(view, source)
    assert x.tolist() == [0, 1, 2] and not view.requires_grad
    if make == "expand":
        with pytest.raises(RuntimeError, match="more than one element"):
            other = REPEATED[make](torch.arange(3.0))
            write(other, torch.tensor(7.0, requires_grad=True))
            other.sum().backward()


WRITES_OF_SAVED = {"whole": lambda y: y.fill_(2.0), "part": lambda y: y[:1].mul_(2), "none": lambda y: None}


@pytest.mark.parametrize("write", WRITES_OF_SAVED)
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("saved", ["tanh", "mul", "add"])
def test_what_was_saved_and_then_written_is_found_out(saved: str, gone: bool, write: str) -> None:
    """Whether or not the tensor that was written is gone."""
    def outcome(m: Any) -> Any:
        x = m.tensor([0.5, 0.25, 0.75], requires_grad=True)
        y = x.tanh()
        z = y.sum() if saved == "tanh" else (y * y).sum() if saved == "mul" else (y.detach() + x).sum()
        with m.no_grad():
            WRITES_OF_SAVED[write](y)
        if gone:
            del y
        try:
            z.backward()
        except RuntimeError as error:
            return "modified by an inplace operation" in str(error)
        return np.round(x.grad.numpy(), 5).tolist()
    ours, theirs = map(outcome, LIBRARIES)
    assert ours == theirs
