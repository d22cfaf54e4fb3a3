"""nn.utils and nn.init against torch."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel
from gemel import debug, nn
from tests.nn.compare import close, ours, randn


def pairs():
    found = []
    for i, shape in enumerate([(3, 4), (5,), (1, 2, 2)]):
        p, q = randn(*shape, seed=i).float(), randn(*shape, seed=i + 9).float()
        p.requires_grad_()
        p.grad = q * 3
        mine = ours(p).requires_grad_()
        mine.grad = ours(p.grad)
        found.append((p, mine))
    a, b = torch.zeros(2, requires_grad=True), gemel.zeros(2, requires_grad=True)
    return [*found, (a, b)]


@pytest.mark.parametrize("order", [2.0, 1, 3.0, float("inf")])
@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clip_grad_norm(order, limit):
    both = pairs()
    theirs, mine = zip(*both, strict=True)
    want = torch.nn.utils.clip_grad_norm_(theirs, limit, order)
    close(nn.utils.clip_grad_norm_(mine, limit, order), want, 1e-5, "norm")
    for p, q in both:
        if p.grad is None:
            assert q.grad is None
        else:
            close(q.grad, p.grad, 1e-5, "gradient")


def test_clip_grad_norm_waits_for_nothing():
    w = gemel.ones(4, requires_grad=True)
    with debug.counting() as seen:
        (w * 3).sum().backward()
        nn.utils.clip_grad_norm_(w, 1.0)
    assert seen["syncs"] == 0
    w.grad = gemel.full((4,), float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(w, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        nn.utils.clip_grad_norm_((p for p in []), 1.0)


def test_clip_grad_value():
    both = pairs()
    theirs, mine = zip(*both, strict=True)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    nn.utils.clip_grad_value_(mine, 0.7)
    for p, q in both[:3]:
        close(q.grad, p.grad, 1e-6, "gradient")


def test_parameters_as_a_vector():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert list(vector.shape) == [11] and vector.requires_grad
    nn.utils.vector_to_parameters(gemel.arange(11.0), model.parameters())
    assert model[0].weight.tolist() == [[0, 1, 2], [3, 4, 5]] and model[1].bias.tolist() == [10]
    assert isinstance(model[0].weight, nn.Parameter) and model[0].weight.requires_grad
    with pytest.raises(TypeError, match="expected torch.Tensor"):
        nn.utils.vector_to_parameters([1.0], model.parameters())


# --- initialisers ----------------------------------------------------------------------------------

SHAPE = (40, 30, 3)


@pytest.mark.parametrize(("name", "args"), [
    ("uniform_", (-2.0, 1.0)), ("normal_", (1.0, 2.0)), ("trunc_normal_", ()), ("trunc_normal_", (0.5, 0.7, -0.2, 1.0)),
    ("trunc_normal_", (0.0, 1.0, 2.0, 3.0)), ("xavier_uniform_", (1.5,)), ("xavier_normal_", ()),
    ("kaiming_uniform_", (0.3, "fan_out")), ("kaiming_normal_", (0, "fan_in", "relu")),
    ("kaiming_normal_", (0.2, "FAN_OUT", "leaky_relu"))], ids=str)
def test_distributions(name, args):
    gemel.manual_seed(3)
    torch.manual_seed(3)
    a = getattr(nn.init, name)(gemel.empty(SHAPE), *args).numpy()
    b = getattr(torch.nn.init, name)(torch.empty(SHAPE), *args).numpy()
    assert np.quantile(a, [0.1, 0.3, 0.5, 0.7, 0.9]) == pytest.approx(
        np.quantile(b, [0.1, 0.3, 0.5, 0.7, 0.9]), abs=0.08 * float(b.std()))
    if "uniform" in name or "trunc" in name:
        assert a.min() == pytest.approx(b.min(), abs=0.05 * float(b.std()))
        assert a.max() == pytest.approx(b.max(), abs=0.05 * float(b.std()))


@pytest.mark.parametrize(("name", "shape", "args"), [
    ("constant_", (2, 3), (0.3,)), ("ones_", (3,), ()), ("zeros_", (3,), ()), ("eye_", (3, 4), ()),
    ("dirac_", (4, 2, 3), ()), ("dirac_", (4, 2, 3, 2), (2,)), ("dirac_", (4, 2, 1, 2, 3), ())], ids=str)
def test_fixed_values(name, shape, args):
    close(getattr(nn.init, name)(gemel.ones(shape), *args), getattr(torch.nn.init, name)(torch.ones(shape), *args), 0,
          name)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3), (4, 4)])
def test_orthogonal(shape):
    w = nn.init.orthogonal_(gemel.empty(shape, dtype=gemel.float64), gain=2.0).numpy().reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-10)


def test_sparse():
    w = nn.init.sparse_(gemel.empty(10, 6), 0.25, 0.1).numpy()
    assert ((w == 0).sum(0) == 3).all() and 0.03 < w[w != 0].std() < 0.2


@pytest.mark.parametrize(("call", "message"), [
    (lambda i, x: i.eye_(x(3)), "2 dimensions"), (lambda i, x: i.sparse_(x(3), 0.1), "2 dimensions"),
    (lambda i, x: i.dirac_(x(3, 3)), "3, 4, or 5"), (lambda i, x: i.dirac_(x(3, 3, 3), 2), "divisible by groups"),
    (lambda i, x: i.orthogonal_(x(3)), "2 or more"), (lambda i, x: i.xavier_normal_(x(3)), "fewer than 2"),
    (lambda i, x: i.kaiming_normal_(x(3, 3), 0, "fan"), "not supported"),
    (lambda i, x: i.kaiming_normal_(x(3, 3), 0, "fan_in", "gelu"), "Unsupported nonlinearity gelu"),
    (lambda i, x: i.calculate_gain("leaky_relu", "1"), "not a valid number")])
def test_errors(call, message):
    for library, make in ((torch.nn.init, torch.empty), (nn.init, gemel.empty)):
        with pytest.raises(ValueError, match=message):
            call(library, make)


def test_warnings_and_gains():
    with pytest.warns(UserWarning, match="zero-element"):
        nn.init.kaiming_uniform_(gemel.empty(0, 3))
    with pytest.warns(FutureWarning, match="deprecated"):
        nn.init.uniform(gemel.empty(2))
    with pytest.warns(UserWarning, match="more than 2 std"):
        nn.init.trunc_normal_(gemel.empty(2), mean=10.0)
    for args in (("linear",), ("tanh",), ("relu",), ("leaky_relu", 0.2), ("leaky_relu",), ("selu",), ("sigmoid",)):
        assert nn.init.calculate_gain(*args) == torch.nn.init.calculate_gain(*args)


def test_parameters_stay_leaves_off_the_tape():
    p = nn.Parameter(gemel.zeros(3, 3))
    for name in ("uniform_", "normal_", "trunc_normal_", "ones_", "eye_", "orthogonal_", "xavier_uniform_"):
        assert getattr(nn.init, name)(p) is p and p.is_leaf and p.requires_grad and p.grad is None


def loaded(name, *args, **kwargs):
    """A layer of each library with the same values."""
    theirs, mine = getattr(torch.nn, name)(*args, **kwargs), getattr(nn, name)(*args, **kwargs)
    with torch.no_grad():
        for t in theirs.state_dict().values():
            if t.is_floating_point():
                t.copy_(torch.rand_like(t) + 0.5)
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    return theirs.eval(), mine.eval()


@pytest.mark.parametrize(("name", "args", "transpose", "options"), [
    ("Conv1d", (4, 3, 2), False, {}), ("Conv2d", (4, 3, 2), False, {"bias": False}),
    ("ConvTranspose2d", (4, 3, 2), True, {}), ("Conv2d", (4, 3, 2), False, {"affine": False})])
def test_fuse_conv_bn(name, args, transpose, options):
    n = int(name[-2])
    affine = options.pop("affine", True) if options else True
    (conv, my_conv), (bn, my_bn) = loaded(name, *args, **options), loaded(f"BatchNorm{n}d", 3, affine=affine)
    want = torch.nn.utils.fuse_conv_bn_eval(conv, bn, transpose)
    got = nn.utils.fuse_conv_bn_eval(my_conv, my_bn, transpose)
    x = torch.randn(2, 4, *(5,) * n)
    close(got.weight, want.weight, 1e-5, "weight")
    close(got.bias, want.bias, 1e-5, "bias")
    close(got(ours(x)), bn(conv(x)), 1e-4, "result")
    assert isinstance(got.weight, nn.Parameter) and got.weight.requires_grad


def test_fuse_linear_bn():
    (linear, mine), (bn, my_bn) = loaded("Linear", 4, 3), loaded("BatchNorm1d", 3)
    want, got = torch.nn.utils.fuse_linear_bn_eval(linear, bn), nn.utils.fuse_linear_bn_eval(mine, my_bn)
    x = torch.randn(2, 4)
    close(got(ours(x)), want(x), 1e-5, "result")
    for library, layer, norm in ((torch, linear, bn), (gemel, mine, my_bn)):
        other = library.nn.BatchNorm1d(2).eval()
        with pytest.raises(AssertionError, match="To fuse, linear.out_features == bn.num_features"):
            library.nn.utils.fuse_linear_bn_eval(layer, other)
        with pytest.raises(AssertionError, match="running_mean"):
            library.nn.utils.fuse_linear_bn_eval(layer, library.nn.BatchNorm1d(3, track_running_stats=False).eval())
        with pytest.raises(AssertionError, match="Fusion only for eval!"):
            library.nn.utils.fuse_linear_bn_eval(layer, norm.train())


def test_skip_init():
    gemel.manual_seed(3)
    before = gemel.get_rng_state().tolist()
    with debug.counting() as seen:
        layer = nn.utils.skip_init(nn.Linear, 5, 2, bias=False)
    assert seen["flushes"] == 0 and gemel.get_rng_state().tolist() == before
    assert layer.weight.shape == (2, 5) and isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad
    for library in (torch, gemel):
        with pytest.raises(RuntimeError, match="Module must support a 'device' arg"):
            library.nn.utils.skip_init(library.nn.ReLU)
        with pytest.raises(RuntimeError, match="Expected a Module; got"):
            library.nn.utils.skip_init(int)


@pytest.mark.parametrize("prefix", ["module.", "a.b."])
def test_prefixes_are_taken_off(prefix):
    from gemel.nn.modules.utils import consume_prefix_in_state_dict_if_present as mine
    found = []
    for m, function in ((torch, torch.nn.modules.utils.consume_prefix_in_state_dict_if_present), (gemel, mine)):
        wrapped = m.nn.Sequential()
        wrapped.add_module("module", m.nn.Sequential(m.nn.Linear(2, 1), m.nn.BatchNorm1d(1)))
        state = wrapped.state_dict()
        function(state, prefix)
        if prefix == "module.":
            wrapped.module.load_state_dict(state)
        found.append((list(state), dict(state._metadata)))
        plain = {"module.x": 1, "y": 2}
        function(plain, "module.")
        assert plain == {"x": 1, "y": 2}
    assert found[0] == found[1]


def test_sizes_per_axis():
    from gemel.nn.modules import utils as mine
    for name in ("_single", "_pair", "_triple", "_quadruple"):
        for value in (3, (1, 2), [4], "same", (0,)):
            assert getattr(mine, name)(value) == getattr(torch.nn.modules.utils, name)(value)
    assert mine._ntuple(5)(1) == torch.nn.modules.utils._ntuple(5)(1)
    assert mine._reverse_repeat_tuple((1, 2), 2) == torch.nn.modules.utils._reverse_repeat_tuple((1, 2), 2)
