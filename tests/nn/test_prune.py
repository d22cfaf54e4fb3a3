"""Pruning against torch's: masks, keys, what a second method leaves, messages."""
from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune

import gemel
from gemel import nn
from tests.nn.compare import close, ours, randn

LIBRARIES = (torch, gemel)


def layers(name="Linear", *args):
    torch.manual_seed(0)
    theirs, mine = getattr(torch.nn, name)(*(args or (4, 6))), getattr(nn, name)(*(args or (4, 6)))
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    return theirs, mine


def tensor(library, x):
    return x if library is torch else ours(x)


SCORES = randn(6, 4, seed=5).float()
MASK = (randn(6, 4, seed=6) > 0).float()
CASES = {
    "identity": lambda lib, p, m: p.identity(m, "weight"),
    "l1": lambda lib, p, m: p.l1_unstructured(m, "weight", 5),
    "l1 part": lambda lib, p, m: p.l1_unstructured(m, "weight", 0.3),
    "l1 none": lambda lib, p, m: p.l1_unstructured(m, "bias", 0),
    "l1 scores": lambda lib, p, m: p.l1_unstructured(m, "weight", 0.5, importance_scores=tensor(lib, SCORES)),
    "ln": lambda lib, p, m: p.ln_structured(m, "weight", 2, 2, 0),
    "ln part": lambda lib, p, m: p.ln_structured(m, "weight", 0.5, 1, -1),
    "ln infinite": lambda lib, p, m: p.ln_structured(m, "weight", 1, float("inf"), 1),
    "mask": lambda lib, p, m: p.custom_from_mask(m, "weight", tensor(lib, MASK)),
    "two": lambda lib, p, m: (p.l1_unstructured(m, "weight", 6), p.l1_unstructured(m, "weight", 0.5)),
    "two structured": lambda lib, p, m: (p.ln_structured(m, "weight", 2, 2, 0), p.ln_structured(m, "weight", 1, 2, 1)),
    "three": lambda lib, p, m: (p.ln_structured(m, "weight", 2, 2, 0), p.l1_unstructured(m, "weight", 5),
                                p.custom_from_mask(m, "weight", tensor(lib, MASK))),
    "both": lambda lib, p, m: (p.l1_unstructured(m, "weight", 6), p.l1_unstructured(m, "bias", 2)),
    "global": lambda lib, p, m: p.global_unstructured([(m, "weight"), (m, "bias")], p.L1Unstructured, amount=10),
    "global scores": lambda lib, p, m: p.global_unstructured(
        [(m, "weight"), (m, "bias")], p.L1Unstructured, {(m, "weight"): tensor(lib, SCORES)}, amount=0.4),
}


@pytest.mark.parametrize("name", CASES)
def test_masks(name):
    both = layers()
    for library, layer in zip(LIBRARIES, both, strict=True):
        CASES[name](library, library.nn.utils.prune, layer)
    theirs, mine = both
    prune = nn.utils.prune
    assert prune.is_pruned(mine) and prune.is_pruned(nn.Sequential(mine))
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for key, t in theirs.state_dict().items():
        close(mine.state_dict()[key], t, 0 if "mask" in key else 1e-6, key)
    x = randn(3, 4).float()
    y, z = mine(ours(x)), theirs(x)
    close(y, z, 1e-5, "result")
    y.square().sum().backward()
    z.square().sum().backward()
    for key, p in theirs.named_parameters():
        close(dict(mine.named_parameters())[key].grad, p.grad, 1e-4, key)
    for key in ("weight", "bias"):
        if f"{key}_orig" in theirs.state_dict():
            torch.nn.utils.prune.remove(theirs, key)
            prune.remove(mine, key)
            close(getattr(mine, key), getattr(theirs, key), 1e-6, key)
    assert not prune.is_pruned(mine) and isinstance(mine.weight, nn.Parameter)


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_random_masks_prune_as_many(dim):
    layer = nn.Linear(8, 6)
    if dim is None:
        nn.utils.prune.random_unstructured(layer, "weight", 0.25)
        assert (layer.weight_mask == 0).sum().item() == 12
    else:
        nn.utils.prune.random_structured(layer, "weight", 2, dim)
        whole = layer.weight_mask.sum(dim=1 - dim % 2)
        size = layer.weight.shape[1 - dim % 2]
        assert sorted(whole.tolist()) == [0.0] * 2 + [float(size)] * (layer.weight.shape[dim] - 2)


def test_prune_a_tensor():
    x = randn(3, 4)
    for name, args in (("L1Unstructured", (3,)), ("LnStructured", (0.5, 2, 0))):
        want = getattr(torch.nn.utils.prune, name)(*args).prune(x, importance_scores=x * x)
        close(getattr(nn.utils.prune, name)(*args).prune(ours(x), importance_scores=ours(x * x)), want, 0, name)


FAILURES = {
    "type": (TypeError, lambda lib, p, m: p.l1_unstructured(m, "weight", "1")),
    "part": (ValueError, lambda lib, p, m: p.l1_unstructured(m, "weight", 1.5)),
    "negative": (ValueError, lambda lib, p, m: p.random_unstructured(m, "weight", -1)),
    "too many": (ValueError, lambda lib, p, m: p.l1_unstructured(m, "weight", 25)),
    "vector": (ValueError, lambda lib, p, m: p.ln_structured(m, "bias", 1, 2, 0)),
    "axis": (IndexError, lambda lib, p, m: p.random_structured(m, "weight", 1, 2)),
    "shape of the mask": (AssertionError, lambda lib, p, m: p.custom_from_mask(m, "bias", tensor(lib, MASK))),
    "not pruned": (ValueError, lambda lib, p, m: p.remove(m, "weight")),
    "scores": (TypeError, lambda lib, p, m: p.global_unstructured([(m, "weight")], p.L1Unstructured, 3, amount=1)),
    "no pairs": (TypeError, lambda lib, p, m: p.global_unstructured(3, p.L1Unstructured, amount=1)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_errors_are_torchs(name):
    kind, fail = FAILURES[name]
    messages = []
    for library, layer in zip(LIBRARIES, layers(), strict=True):
        before = list(layer.state_dict())
        with pytest.raises(kind) as error:
            fail(library, library.nn.utils.prune, layer)
        messages.append(str(error.value).replace("torch.", "gemel."))
        if name != "shape of the mask":
            assert sorted(layer.state_dict()) == sorted(before)
    assert messages[1] == messages[0]


def test_structured_only_globally():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE supported'):
        nn.utils.prune.global_unstructured([(layer, "weight")], nn.utils.prune.LnStructured, amount=1, n=2)
    container = nn.utils.prune.PruningContainer(nn.utils.prune.l1_unstructured(
        layer, "weight", 1)._forward_pre_hooks.popitem()[1])
    with pytest.raises(TypeError, match="is not a BasePruningMethod subclass"):
        container.add_pruning_method(3)
    assert len(container) == 1 and container[0] is next(iter(container))
