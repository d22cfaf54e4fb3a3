"""Parametrizations, weight and spectral normalization against torch's: values, gradients, keys, messages."""
from __future__ import annotations

import copy

import pytest
import torch

import gemel
from gemel import nn
from tests.nn.compare import close, ours, randn

LIBRARIES = (torch, gemel)


def symmetric(library):
    class Symmetric(library.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

        def right_inverse(self, x):
            return x.triu()
    return Symmetric()


def split(library):
    class Sum(library.nn.Module):
        def forward(self, a, b):
            return a + b

        def right_inverse(self, x):
            return x / 2, x / 2
    return Sum()


def function(library, f, inverse=None):
    """A parametrization that is one function, with or without an inverse."""
    class Function(library.nn.Module):
        def forward(self, *x):
            return f(library, *x)
    if inverse is not None:
        Function.right_inverse = lambda self, x: inverse(library, x)
    return Function()


def layers(name="Linear", *args):
    """The same layer in both libraries."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*(args or (3, 3)))
    mine = getattr(nn, name)(*(args or (3, 3)))
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    return theirs, mine


def same(mine, theirs, *shape):
    """State, printing, result and gradients."""
    assert repr(mine) == repr(theirs)
    state, wanted = mine.state_dict(), theirs.state_dict()
    assert list(state) == list(wanted)
    for k, v in wanted.items():
        close(state[k], v, 1e-4, k)
    x = randn(*(shape or (2, 3))).float()
    y, z = mine(ours(x)), theirs(x)
    close(y, z, 1e-4, "result")
    mine.zero_grad()
    theirs.zero_grad()
    (y ** 3).sum().backward()
    (z ** 3).sum().backward()
    grads = dict(mine.named_parameters())
    for k, p in theirs.named_parameters():
        close(grads[k].grad, p.grad, 1e-3, f"gradient of {k}")


@pytest.mark.parametrize("make", [symmetric, split])
def test_register_assign_and_remove(make):
    both = layers()
    for library, layer in zip(LIBRARIES, both, strict=True):
        assert library.nn.utils.parametrize.register_parametrization(layer, "weight", make(library)) is layer
    theirs, mine = both
    same(mine, theirs)
    assert nn.utils.parametrize.is_parametrized(mine) and nn.utils.parametrize.is_parametrized(mine, "weight")
    assert not nn.utils.parametrize.is_parametrized(mine, "bias")
    assert nn.utils.parametrize.type_before_parametrizations(mine) is nn.Linear
    value = randn(3, 3).float()
    value = value + value.T
    theirs.weight, mine.weight = value, ours(value)
    close(mine.weight, value, 1e-6, "weight")
    same(mine, theirs)
    other = copy.deepcopy(mine)
    close(other.weight, theirs.weight, 1e-6, "copy")
    for library, layer in zip(LIBRARIES, both, strict=True):
        library.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(mine) is nn.Linear
    same(mine, theirs)


def test_two_parametrizations_and_removal_of_the_original():
    both = layers()
    for library, layer in zip(LIBRARIES, both, strict=True):
        p = library.nn.utils.parametrize
        p.register_parametrization(layer, "weight", symmetric(library))
        p.register_parametrization(layer, "weight", function(library, lambda _, x: 2 * x, lambda _, x: x / 2))
        p.register_parametrization(layer, "bias", function(library, lambda _, x: x.exp()))
    theirs, mine = both
    same(mine, theirs)
    for library, layer in zip(LIBRARIES, both, strict=True):
        library.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    same(mine, theirs)
    theirs.train()
    mine.train()
    assert mine.parametrizations.bias[0].training


def test_buffers_and_shapes_with_unsafe():
    both = layers("BatchNorm1d", 3)
    for library, layer in zip(LIBRARIES, both, strict=True):
        p = library.nn.utils.parametrize
        p.register_parametrization(layer, "running_mean", function(library, lambda _, x: x + 1))
        p.register_parametrization(layer, "weight", function(library, lambda lib, x: lib.cat([x, x[:1]]),
                                                             lambda _, x: x[:2]), unsafe=True)
    theirs, mine = both
    same(mine.eval(), theirs.eval(), 4, 3)
    assert mine.parametrizations.weight.original.shape == (2,)


def test_cached():
    calls = []
    layer = layers()[1]
    counted = function(gemel, lambda _, x: calls.append(1) or x * 1)
    nn.utils.parametrize.register_parametrization(layer, "weight", counted)
    calls.clear()
    with nn.utils.parametrize.cached():
        first = layer.weight
        with nn.utils.parametrize.cached():
            assert layer.weight is first
        assert layer.weight is first
    assert len(calls) == 1
    assert layer.weight is not first


def test_transfer():
    results = []
    for library, (source, target) in zip(LIBRARIES, zip(layers(), layers(), strict=True), strict=True):
        p = library.nn.utils.parametrize
        p.register_parametrization(source, "weight", split(library))
        results.append(p.transfer_parametrizations_and_params(source, target))
        assert target.parametrizations.weight.original0 is source.parametrizations.weight.original0
    same(results[1], results[0])


def failing():
    """Calls that fail, given a library and its fresh layer."""
    def register(make, name="weight", unsafe=False):
        return lambda lib, layer: lib.nn.utils.parametrize.register_parametrization(layer, name, make(lib),
                                                                                    unsafe=unsafe)

    def two(lib, layer, make):
        register(symmetric)(lib, layer)
        register(make)(lib, layer)

    def assign(lib, layer, make, value):
        register(make)(lib, layer)
        layer.weight = lib.zeros(3, 3, dtype=value(lib))

    yield "no such name", register(symmetric, "absent"), ValueError
    yield "no tensor", register(lambda lib: function(lib, lambda _, x: 3)), ValueError
    yield "another dtype", register(lambda lib: function(lib, lambda _, x: x.double())), ValueError
    yield "another shape", register(lambda lib: function(lib, lambda _, x: x[0])), ValueError
    yield "inverse is no tensor", register(lambda lib: function(lib, lambda _, x: x, lambda _, x: 3)), ValueError
    yield "inverse of another dtype", register(lambda lib: function(lib, lambda _, x: x, lambda _, x: x.double())
                                               ), ValueError
    yield "second of another shape", lambda lib, layer: two(lib, layer, lambda lib: function(
        lib, lambda _, x: x[0])), ValueError
    yield "second of another dtype", lambda lib, layer: two(lib, layer, lambda lib: function(
        lib, lambda _, x: x.double())), ValueError
    yield "second inverse of another shape", lambda lib, layer: two(lib, layer, lambda lib: function(
        lib, lambda _, x: x, lambda _, x: x[0])), ValueError
    yield "no inverse to assign with", lambda lib, layer: assign(
        lib, layer, lambda lib: function(lib, lambda _, x: x), lambda lib: lib.float32), RuntimeError
    yield "assigned dtype", lambda lib, layer: assign(lib, layer, symmetric, lambda lib: lib.float64), ValueError
    yield "assigned dtype of parts", lambda lib, layer: assign(lib, layer, split, lambda lib: lib.float64), ValueError
    yield "not parametrized", lambda lib, layer: lib.nn.utils.parametrize.remove_parametrizations(
        layer, "weight"), ValueError
    yield "several originals", lambda lib, layer: lib.nn.utils.parametrize.remove_parametrizations(
        lib.nn.utils.parametrizations.weight_norm(layer), "weight", leave_parametrized=False), ValueError
    yield "no such name for spectral_norm", lambda lib, layer: lib.nn.utils.parametrizations.spectral_norm(
        layer, "absent"), ValueError
    yield "unknown map", lambda lib, layer: lib.nn.utils.parametrizations.orthogonal(
        layer, orthogonal_map="qr"), ValueError
    yield "orthogonal vector", lambda lib, layer: lib.nn.utils.parametrizations.orthogonal(layer, "bias"), ValueError
    yield "orthogonal shape", lambda lib, layer: setattr(lib.nn.utils.parametrizations.orthogonal(
        layer), "weight", lib.zeros(3, 2)), ValueError
    yield "no inverse of exp", lambda lib, layer: setattr(lib.nn.utils.parametrizations.orthogonal(
        layer, use_trivialization=False), "weight", lib.eye(3)), NotImplementedError
    yield "no iterations", lambda lib, layer: lib.nn.utils.parametrizations.spectral_norm(
        layer, n_power_iterations=0), ValueError
    yield "axis", lambda lib, layer: lib.nn.utils.parametrizations.spectral_norm(layer, dim=3), IndexError
    yield "two hooks", lambda lib, layer: lib.nn.utils.spectral_norm(lib.nn.utils.spectral_norm(layer)), RuntimeError
    yield "two weight hooks", lambda lib, layer: lib.nn.utils.weight_norm(lib.nn.utils.weight_norm(layer)
                                                                          ), RuntimeError
    yield "no hook", lambda lib, layer: lib.nn.utils.remove_weight_norm(layer), ValueError
    yield "no spectral hook", lambda lib, layer: lib.nn.utils.remove_spectral_norm(layer, "bias"), ValueError
    yield "hook without iterations", lambda lib, layer: lib.nn.utils.spectral_norm(layer, n_power_iterations=-1
                                                                                   ), ValueError


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(("fail", "kind"), [(f, k) for _, f, k in failing()], ids=[n for n, *_ in failing()])
def test_errors_are_torchs(fail, kind):
    messages = []
    for library, layer in zip(LIBRARIES, layers(), strict=True):
        with pytest.raises(kind) as error:
            fail(library, layer)
        messages.append(str(error.value).replace("torch.", "gemel."))
    assert messages[1] == messages[0]


# --- normalizations --------------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("kind", ["parametrizations", "hook"])
@pytest.mark.parametrize(("name", "args", "dim"), [
    *(("Linear", (3, 4), dim) for dim in (0, 1, None)), ("Conv1d", (3, 4, 2), 0), ("Conv1d", (3, 4, 2), 2)])
def test_weight_norm(kind, name, args, dim):
    both = layers(name, *args)
    for library, layer in zip(LIBRARIES, both, strict=True):
        utils = library.nn.utils
        (utils.parametrizations if kind == "parametrizations" else utils).weight_norm(layer, dim=dim)
    theirs, mine = both
    shape = (2, 3) if name == "Linear" else (2, 3, 5)
    same(mine, theirs, *shape)
    for library, layer in zip(LIBRARIES, both, strict=True):
        if kind == "hook":
            library.nn.utils.remove_weight_norm(layer)
        else:
            library.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    same(mine, theirs, *shape)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_weight_norm_loads_the_state_of_the_hook():
    hooked = nn.utils.weight_norm(layers()[1])
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    layer.load_state_dict(hooked.state_dict())
    x = gemel.randn(2, 3)
    assert layer(x).tolist() == hooked(x).tolist()
    for dim in (-1, 0, 1, 2):
        x = randn(2, 3, 4)
        close(gemel.norm_except_dim(ours(x), 2, dim), torch.norm_except_dim(x, 2, dim), 1e-10, "norm")


@pytest.mark.parametrize("kind", ["parametrizations", "hook"])
@pytest.mark.parametrize(("name", "args", "options"), [
    ("Linear", (3, 4), {}), ("Linear", (3, 4), {"name": "bias"}), ("Conv1d", (3, 4, 2), {"n_power_iterations": 3}),
    ("ConvTranspose1d", (3, 4, 2), {"eps": 1e-3}), ("Linear", (3, 4), {"dim": 1})])
def test_spectral_norm(kind, name, args, options):
    if kind == "hook" and options.get("name") == "bias":
        options = {}
    both = layers(name, *args)
    for library, layer in zip(LIBRARIES, both, strict=True):
        utils = library.nn.utils
        (utils.parametrizations if kind == "parametrizations" else utils).spectral_norm(layer, **options)
    theirs, mine = both
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})  # the same u and v
    shape = (2, 3) if name == "Linear" else (2, 3, 5)
    for training in (True, False, True):
        theirs.train(training)
        mine.train(training)
        same(mine, theirs, *shape)
    assert mine.state_dict()._metadata[""] == theirs.state_dict()._metadata[""]
    for library, layer in zip(LIBRARIES, both, strict=True):
        if kind == "hook":
            library.nn.utils.remove_spectral_norm(layer)
        else:
            library.nn.utils.parametrize.remove_parametrizations(layer, options.get("name", "weight"))
    same(mine.eval(), theirs.eval(), *shape)


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("kind", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("size", [(3, 3), (3, 5), (5, 3)])
def test_orthogonal(size, kind, trivial):
    both = layers("Linear", *size)
    for library, layer in zip(LIBRARIES, both, strict=True):
        library.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=kind, use_trivialization=trivial)
    theirs, mine = both
    if trivial:
        mine.parametrizations.weight[0].base.copy_(ours(theirs.parametrizations.weight[0].base))
    # away from the start, which some maps cannot tell from nothing
    state = {k: v + 0.1 * randn(*v.shape, seed=3).float() if k.endswith("original") else v
             for k, v in theirs.state_dict().items()}
    if kind == "householder" or kind is None and size[0] != size[1]:
        state = theirs.state_dict()
    theirs.load_state_dict(state)
    mine.load_state_dict({k: ours(v) for k, v in state.items()})
    same(mine, theirs, 2, size[0])
    w = mine.weight.detach()
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    assert (gram - gemel.eye(len(gram))).abs().max().item() < 1e-5


def test_orthogonal_begins_with_what_is_there():
    for size in ((4, 4), (3, 5), (5, 3)):
        layer = nn.Linear(*size)
        nn.init.orthogonal_(layer.weight)
        before = layer.weight.detach().clone()
        nn.utils.parametrizations.orthogonal(layer)
        assert (layer.weight - before).abs().max().item() < 1e-5
        value = nn.init.orthogonal_(gemel.empty(*layer.weight.shape))
        layer.weight = value
        assert (layer.weight - value).abs().max().item() < 1e-5
