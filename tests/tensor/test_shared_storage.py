"""Tensors that share memory and have different histories: ``detach``, ``as_strided``, views of bits, NumPy's memory."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gemel
from gemel.engine.base.errors import UnsupportedError

from .records import TIERS, in_tier


def _state(*tensors):
    return [(t.requires_grad, t.is_leaf, t._version, t.detach().tolist()) for t in tensors]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("write", ["copy_", "add_", "mul_"])
@pytest.mark.parametrize("offset", [-3, -2, 0, 1, 2, 5])
def test_a_write_to_a_diagonal_that_may_be_empty(tier: str, write: str, offset: int) -> None:
    """Also a write of nothing puts the whole tensor onto the tape."""
    found = []
    with in_tier(tier):
        for m in (gemel, torch):
            x, source = m.ones(2, 2, 3, dtype=m.float64), m.full((1,), 3.0, dtype=m.float64).requires_grad_()
            view = x.diagonal(offset, 0, 1)
            getattr(view, write)(source)
            (x * x).sum().backward()
            found.append((_state(x, view), source.grad.tolist()))
    assert found[0] == found[1]


DETACHED = {
    "detached, transposed": lambda x: x.detach().t(), "transposed, detached": lambda x: x.t().detach(),
    "and again": lambda x: x.t().detach().t(), "reshaped": lambda x: x.view(3, 2).t().detach().t(),
    "no_grad": lambda x: _without_grad(x),
}


#: torch notices only when it is asked where a view stands that its base has been written
WRITES = {
    "strided": lambda strided, view, source: strided.copy_(source),
    "view": lambda strided, view, source: view.mul_(source),
    "both": lambda strided, view, source: (strided.add_(source), view.grad_fn, view.mul_(source)),
    "fill": lambda strided, view, source: strided.fill_(9.0),
}


def _without_grad(x):
    with (torch if isinstance(x, torch.Tensor) else gemel).no_grad():
        return x.t()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("make", DETACHED)
@pytest.mark.parametrize("place", [((2,), (1,), 0), ((2, 2), (3, 1), 1), ((), (), 4), ((0,), (1,), 0)])
def test_as_strided_of_a_detached_view_shares_its_history(tier: str, grad: bool, make: str, place: tuple) -> None:
    def through(m: Any, write: str) -> Any:
        x = m.arange(6.0, dtype=m.float64).reshape(2, 3)
        x = x.requires_grad_() * 1 if grad else x
        source = m.full((), 2.0, dtype=m.float64).requires_grad_()
        view = DETACHED[make](x)
        strided = view.as_strided(*place)
        try:
            WRITES[write](strided, view, source)
        except RuntimeError as error:
            return str(error).split(" is being")[0].split(" was created")[-1]
        loss = (strided * strided).sum() + (view * view * view).sum()
        if loss.requires_grad:
            loss.backward()
        return _state(x, view, strided), source.grad if source.grad is None else source.grad.item()

    with in_tier(tier):
        for write in WRITES:
            assert through(gemel, write) == through(torch, write)


def _part(m):
    x = m.arange(6.0)
    part = x[2:4].detach()
    return x, part, part.as_strided((3,), (2,), 0)


def test_as_strided_around_a_detached_part() -> None:
    for m in (gemel, torch):
        x, part, wide = _part(m)
        wide.fill_(7.0)
        assert x.tolist() == [7, 1, 7, 3, 7, 5] and part.tolist() == [7, 3]


@pytest.mark.parametrize("write", [lambda t, s: t.mul_(s), lambda t, s: t.copy_(s), lambda t, s: t.__setitem__(0, s)])
def test_gradients_around_a_detached_part_are_refused(write) -> None:
    """``as_strided`` shows more than the part, whose history could not be told from its own."""
    source = gemel.ones((), requires_grad=True)
    x, part, wide = _part(gemel)
    for t in (part, wide):
        with pytest.raises(UnsupportedError, match="detached part"):
            write(t, source)
        assert x.tolist() == [0, 1, 2, 3, 4, 5] and not t.requires_grad
    part = gemel.arange(6.0)[2:4].detach()
    write(part, source)
    with pytest.raises(UnsupportedError, match="detached and then written"):
        part.as_strided((3,), (2,), 0)


@pytest.mark.parametrize("tier", TIERS)
def test_the_bits_of_a_tensor_have_a_history_of_their_own(tier: str) -> None:
    """As ``detach()``: writes through them leave the other's place on the tape, also that of a leaf."""
    found = []
    with in_tier(tier):
        for m in (gemel, torch):
            states = []
            for leaf in (False, True):
                x = m.full((3,), 1.5, dtype=m.float64).requires_grad_()
                y = x if leaf else x * 2
                bits = y.view(m.int64)
                bits[1:].bitwise_xor_(m.tensor(1 << 51))
                with m.no_grad():
                    again = y.view(m.int64)
                again.as_strided((1,), (1,), 0).zero_()
                back = bits.view(m.float64)
                (y * 3).sum().backward()
                states.append((_state(x, y, bits, back), bits._is_view(), x.grad.tolist()))
            found.append(states)
    assert found[0] == found[1]


def test_joining_nothing_keeps_gradients() -> None:
    for grads in ((True, False), (False, True), (False, False)):
        results = [m.cat([m.zeros(0, requires_grad=g) for g in grads]) for m in (gemel, torch)]
        assert results[0].requires_grad == results[1].requires_grad and results[0].shape == results[1].shape


def test_what_an_operation_in_place_on_shared_memory_saves_is_its_own() -> None:
    found = []
    for m in (gemel, torch):
        x, factor = m.from_numpy(np.arange(4.0).reshape(2, 2)), m.full((2,), 3.0, dtype=m.float64).requires_grad_()
        x.t().mul_(factor)
        x[0].sin_()
        x.sum().backward()
        found.append(factor.grad.tolist())
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_gradients_are_accumulated_in_place_unless_they_are_recorded() -> None:
    """Also those that have been written and require gradients themselves."""
    found = []
    for m in (gemel, torch):
        for record in (False, True):
            x, factor = m.ones(2).requires_grad_(), m.full((2,), 2.0).requires_grad_()
            (x * x * x).sum().backward()
            grad = x.grad
            grad.mul_(factor)
            (x * x).sum().backward(create_graph=record)
            found.append((x.grad is grad, grad.requires_grad, x.grad.requires_grad, x.grad.tolist(), grad.tolist()))
    assert found[:2] == found[2:]


@pytest.mark.parametrize("written", [False, True])
def test_what_only_the_base_has_shown_is_gone_with_it(written: bool) -> None:
    """Never zeros in its place."""
    x = gemel.arange(6.0)
    part = x[2:4]
    del x
    if written:
        part.mul_(2)
    for look in (lambda: part._base, lambda: part.as_strided((2,), (1,), 0)):
        with pytest.raises(UnsupportedError, match="gone with the base"):
            look()
    assert part.tolist() == ([4, 6] if written else [2, 3])
    x = gemel.arange(6.0)
    whole = x.view(2, 3)
    del x
    if written:
        whole.mul_(1)
    assert whole._base.tolist() == [0, 1, 2, 3, 4, 5] and whole.as_strided((2,), (4,), 1).tolist() == [1, 5]


def test_a_view_of_a_leaf_that_is_gone_is_not_written() -> None:
    for m in (gemel, torch):
        x = m.ones(3).requires_grad_()
        view = x.view(3, 1)
        del x
        strided = view.as_strided((2,), (1,), 0)
        for t in (strided, view):
            with pytest.raises(RuntimeError, match="a view of a leaf"):
                t.fill_(2.0)


def test_one_window_repeats_nothing() -> None:
    """A detached view of all of an axis as one window can be written with gradients."""
    found = []
    for m in (gemel, torch):
        x = m.arange(6.0).reshape(2, 3)
        source = m.ones(2, 1, 3).requires_grad_()
        window = x.unfold(1, 3, 1).detach()
        window.copy_(source * 2)
        (window * window).sum().backward()
        found.append((_state(x, window), source.grad.tolist()))
    assert found[0] == found[1]


def _without_grad_part(m, x):
    with m.no_grad():
        return x[0]


@pytest.mark.parametrize("part", [
    lambda m, x: x[0], lambda m, x: x[0].detach(), lambda m, x: x[0].data, _without_grad_part])
def test_a_part_written_onto_itself_brings_its_history(part) -> None:
    """``x[0] = x[0].detach()`` cuts the gradient of that part."""
    found = []
    for m in (gemel, torch):
        w = m.ones(3).requires_grad_()
        x = w * 2
        x[0] = part(m, x)
        (x * x).sum().backward()
        found.append(w.grad.tolist())
        leaf = m.ones(2).requires_grad_()
        with pytest.raises(RuntimeError, match="leaf"):
            leaf[0] = leaf[0].detach()
    assert found[0] == found[1]
