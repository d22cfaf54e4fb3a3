"""Operations on lists of tensors against torch."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel
from gemel.tensor import foreach

from .records import same_error

NAMES = [n for n in dir(torch) if n.startswith("_foreach_")]
UNARY = [n for n in NAMES if n.rstrip("_").removeprefix("_foreach_") in foreach._UNARY]
BINARY = [n for n in NAMES if n.rstrip("_").removeprefix("_foreach_") in foreach._BINARY]
OPERANDS = {
    "number": lambda m, x: 1.5, "numbers": lambda m, x: [0.5, 2.0, 3.0], "tensors": lambda m, x: lists(m, 1),
    "tensor": lambda m, x: m.tensor(0.75, dtype=m.float64),
}


def lists(m, seed: int = 0, n: int = 3, require: bool = False):
    r = np.random.default_rng(seed)
    return [m.tensor(r.uniform(0.1, 0.9, s).tolist(), dtype=m.float64, requires_grad=require)
            for s in ((2, 3), (4,), ())[:n]]


def same(call) -> None:
    found = [call(m) for m in (torch, gemel)]
    assert type(found[0]) is type(found[1]) and len(found[0]) == len(found[1])
    for theirs, mine in zip(*found, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-13, strict=True)


def test_all_names_are_there():
    assert not [n for n in NAMES if not callable(getattr(gemel, n))]


@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name):
    same(lambda m: getattr(m, name)(lists(m)))


#: torch takes a 0-d tensor for all with these alone
WITH_A_TENSOR = ("_foreach_add", "_foreach_mul", "_foreach_div")


@pytest.mark.parametrize(("name", "operand"), [(n, o) for n in BINARY for o in OPERANDS
                                               if o != "tensor" or n.rstrip("_") in WITH_A_TENSOR])
def test_two_operands(name, operand):
    same(lambda m: getattr(m, name)(lists(m), OPERANDS[operand](m, None)))


@pytest.mark.parametrize("value", [2, 0.5, [1.0, 2.0, 3.0], "tensor"], ids=str)
@pytest.mark.parametrize("name", [n for n in NAMES if "_addc" in n])
def test_three_operands(name, value):
    same(lambda m: getattr(m, name)(lists(m), lists(m, 1), lists(m, 2),
                                    m.tensor([1.0, 2.0, 3.0]) if value == "tensor" else value))
    same(lambda m: getattr(m, name)(lists(m), lists(m, 1), lists(m, 2)))


CALLS = [
    lambda m: m._foreach_add(lists(m), lists(m, 1), alpha=3), lambda m: m._foreach_sub_(lists(m), lists(m, 1), alpha=2),
    lambda m: m._foreach_add_(lists(m), scalar=2), lambda m: m._foreach_mul(lists(m), scalars=[1.0, 2.0, 3.0]),
    lambda m: m._foreach_add(lists(m), m.tensor(2.0, dtype=m.float64), alpha=3), lambda m: m._foreach_pow(2, lists(m)),
    lambda m: m._foreach_pow(lists(m), exponent=3), lambda m: m._foreach_lerp(lists(m), lists(m, 1), 0.3),
    lambda m: m._foreach_lerp_(lists(m), lists(m, 1), weight=0.3), lambda m: m._foreach_lerp_(
        lists(m), lists(m, 1), weights=lists(m, 2)), lambda m: m._foreach_lerp(lists(m), lists(m, 1), [0.1, 0.2, 0.3]),
    lambda m: m._foreach_norm(lists(m)), lambda m: m._foreach_norm(lists(m), 1), lambda m: m._foreach_norm(
        lists(m), float("inf")), lambda m: m._foreach_powsum(lists(m), 3), lambda m: m._foreach_max(lists(m)),
    lambda m: m._foreach_clone(lists(m)), lambda m: m._foreach_mm([lists(m)[0].T], [lists(m, 1)[0]]),
    lambda m: m._foreach_copy_(lists(m), lists(m, 1)), lambda m: m._foreach_zero_(lists(m)),
    lambda m: m._foreach_addcdiv(lists(m), lists(m, 1), lists(m, 2), scalars=[1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize("call", CALLS)
def test_calls(call):
    same(call)


def test_gradients():
    found = []
    for m in (torch, gemel):
        x, y = lists(m, 0, require=True), lists(m, 1, require=True)
        out = m._foreach_mul(m._foreach_addcmul(x, y, m._foreach_sqrt(y), 2.0), y)
        sum(t.sum() for t in out).backward()
        found.append([t.grad.numpy() for t in (*x, *y)])
    for theirs, mine in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


ERRORS = [
    lambda m: m._foreach_sqrt([]), lambda m: m._foreach_add([], 1), lambda m: m._foreach_add(lists(m), [1.0]),
    lambda m: m._foreach_add(lists(m), lists(m, 1, 2)), lambda m: m._foreach_add(m.ones(2), 1),
    lambda m: m._foreach_add(lists(m), m.ones(2)), lambda m: m._foreach_add([1], 1), lambda m: m._foreach_add(lists(m)),
    lambda m: m._foreach_addcmul(lists(m), lists(m, 1, 2), lists(m), 1.0), lambda m: m._foreach_sub(
        lists(m), 2, alpha=2), lambda m: m._foreach_addcmul(lists(m), lists(m), lists(m), m.ones(2)),
    lambda m: m._foreach_lerp(lists(m), lists(m, 1, 2), 0.5), lambda m: m._foreach_copy_(lists(m), lists(m, 1, 2)),
]


@pytest.mark.parametrize("call", ERRORS)
def test_errors(call):
    same_error(call)
