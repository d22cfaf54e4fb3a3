"""Optimizers: trajectories against torch in float64, state dicts both ways, groups, memory in place, errors."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel
from gemel import debug, nn, optim
from gemel.engine.base.errors import CheckError, UnsupportedError
from gemel.engine.base.flags import override
from gemel.tensor.recording import apply_named

SHAPES = ((3, 4), (5,), ())

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "foreach": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-6}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.2}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.01, "centered": True, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.01}),  # rectified from the sixth step on
    ("RAdam", {"lr": 0.01, "betas": (0.8, 0.5), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.01, "lambd": 0.1, "alpha": 0.5, "t0": 3, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.4, "etas": (0.4, 1.5), "step_sizes": (0.01, 0.5)}),
    ("Rprop", {"lr": 0.1, "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-4, 1e-2), "d": 1.5, "weight_decay": 0.1,
                   "maximize": True}),
]


def pair(shapes=SHAPES, dtype=np.float64, seed=0):
    """The same parameters in both libraries."""
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.standard_normal(s), dtype) for s in shapes]
    return ([nn.Parameter(gemel.from_numpy(a.copy())) for a in arrays],
            [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in arrays])


def loss_of(params):
    """sum(p^4 + p): the gradient changes as the parameters move."""
    total = None
    for p in params:
        square = p * p
        term = (square * square + p).sum()
        total = term if total is None else total + term
    return total


def backward_of(params):
    """The loss, after its backward pass."""
    for p in params:
        p.grad = None
    loss = loss_of(params)
    loss.backward()
    return loss


def step(opt, params):
    opt.zero_grad()
    loss = loss_of(params)
    loss.backward()
    opt.step()
    return loss


def close(ours, theirs, tolerance=1e-11):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)


def states_close(opt, reference, ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        assert list(opt.state[p]) == [k for k in reference.state[q] if reference.state[q][k] is not None]
        for k, v in opt.state[p].items():
            np.testing.assert_allclose(v.numpy(), reference.state[q][k].numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_trajectory(name, options):
    ours, theirs = pair()
    opt, reference = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    assert repr(opt) == repr(reference)
    for _ in range(10):
        step(opt, ours)
        step(reference, theirs)
    close(ours, theirs)
    states_close(opt, reference, ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES[2:3] + CASES[8:9] + CASES[12:13] + CASES[21:])
@pytest.mark.parametrize("tier", ["interpreter", "0", "1"])
def test_tiers_agree(name, options, tier):
    """Many results of one fused kernel take over memory that other results still read."""
    ours, theirs = pair(((7, 9), (33,)))
    opt, reference = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    with override(TIER=tier):
        for _ in range(3):
            step(opt, ours)
            step(reference, theirs)
    close(ours, theirs)
    states_close(opt, reference, ours, theirs)


def test_groups_and_changed_options():
    ours, theirs = pair()
    def groups(ps):
        return [{"params": ps[:1]}, {"params": ps[1:2], "lr": 0.5, "momentum": 0.0}]
    opt = optim.SGD(groups(ours), lr=0.01, momentum=0.9)
    reference = torch.optim.SGD(groups(theirs), lr=0.01, momentum=0.9)
    for o, ps in ((opt, ours), (reference, theirs)):
        o.add_param_group({"params": ps[2], "weight_decay": 0.1})
        for i in range(4):
            o.param_groups[0]["lr"] = 0.01 / (i + 1)
            step(o, ps)
    close(ours, theirs)
    assert [g["lr"] for g in opt.param_groups] == [g["lr"] for g in reference.param_groups]


def test_parameters_without_gradients_wait():
    ours, theirs = pair()
    opt, reference = optim.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for n in (1, 3, 2, 3):  # step counts of the parameters differ
        for o, ps in ((opt, ours), (reference, theirs)):
            o.zero_grad()
            loss_of(ps[:n]).backward()
            o.step()
    close(ours, theirs)
    assert [opt.state[p]["step"].item() for p in ours] == [4.0, 3.0, 2.0]


def test_mixed_dtypes():
    ours, theirs = pair(((4,),))
    more, others = pair(((6,),), np.float32, 1)
    opt, reference = optim.Adam(ours + more, lr=0.1), torch.optim.Adam(theirs + others, lr=0.1)
    for _ in range(3):
        for o, a, b in ((opt, ours, more), (reference, theirs, others)):
            o.zero_grad()
            loss_of(a).backward()
            loss_of(b).backward()
            o.step()
    close(ours, theirs)
    close(more, others, 1e-6)


def test_closure_and_hooks():
    ours, _ = pair()
    opt = optim.SGD(ours, lr=0.1)
    seen = []
    before = opt.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre"))
    opt.register_step_post_hook(lambda o, args, kwargs: seen.append("post"))

    def closure():
        opt.zero_grad()
        loss = loss_of(ours)
        loss.backward()
        return loss

    with gemel.no_grad():
        assert opt.step(closure).item() == pytest.approx(float(opt.step(closure).item()), abs=1e9)
    before.remove()
    opt.step(closure)
    assert seen == ["pre", "post", "pre", "post", "post"]


CROSSING = {"SGD": {"lr": 0.01, "momentum": 0.9}, "Adam": {"amsgrad": True}, "AdamW": {"amsgrad": True},
            "RMSprop": {"momentum": 0.9}, "RAdam": {}, "Rprop": {}, "Adafactor": {}}


@pytest.mark.parametrize(("name", "options"), CROSSING.items())
def test_state_dicts_cross(name, options):
    """A run of torch goes on here and the other way round."""
    ours, theirs = pair()
    opt, reference = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for _ in range(3):
        step(reference, theirs)
    for p, q in zip(ours, theirs, strict=True):
        p.data = gemel.from_numpy(q.detach().numpy().copy())

    def converted(x, tensor):
        if isinstance(x, dict):
            return {k: converted(v, tensor) for k, v in x.items()}
        return tensor(x.numpy().copy()) if hasattr(x, "numpy") else x

    theirs_state = reference.state_dict()
    opt.load_state_dict(converted(theirs_state, gemel.from_numpy))
    assert opt.state_dict()["param_groups"] == theirs_state["param_groups"]
    step(opt, ours)
    step(reference, theirs)
    close(ours, theirs)
    states_close(opt, reference, ours, theirs)
    back = getattr(torch.optim, name)(theirs, **options)
    back.load_state_dict(converted(opt.state_dict(), torch.from_numpy))
    step(opt, ours)
    step(back, theirs)
    close(ours, theirs)


@pytest.mark.parametrize(("name", "options"), [("NAdam", {}), ("ASGD", {"lr": 0.02, "t0": 1})])
def test_numbers_of_the_state_are_loaded(name, options):
    """torch casts them to the dtype of the parameter; they stay numbers here."""
    ours, theirs = pair(dtype=np.float32)
    opt, reference = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for _ in range(3):
        step(opt, ours)
        step(reference, theirs)
    other = getattr(optim, name)(ours, **options)
    other.load_state_dict(opt.state_dict())
    step(other, ours)
    step(reference, theirs)
    close(ours, theirs, 1e-6)


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "momentum": 0.5}])
def test_muon(options):
    """The orthogonalisation is bfloat16 in both libraries, in a different order of sums."""
    ours, theirs = pair(((6, 4), (3, 8)))
    opt, reference = optim.Muon(ours, lr=0.1, **options), torch.optim.Muon(theirs, lr=0.1, **options)
    assert repr(opt) == repr(reference)
    for _ in range(3):
        step(opt, ours)
        step(reference, theirs)
    close(ours, theirs, 0.02)
    for p in pair(((2,),)):
        with pytest.raises(ValueError, match="Muon only supports 2D parameters whereas we found a parameter"):
            (torch.optim if isinstance(p[0], torch.Tensor) else optim).Muon(p)


@pytest.mark.parametrize("options", [
    {"lr": 0.1}, {"lr": 0.1, "max_iter": 4, "history_size": 2}, {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 6, "history_size": 3, "lr": 20.0},
    {"line_search_fn": "strong_wolfe", "max_eval": 5, "tolerance_grad": 0.1}, {"lr": 0.05, "tolerance_change": 0.36}])
def test_lbfgs(options):
    """A valley like Rosenbrock's: brackets, zooms and the ends of the history."""
    ours, theirs = pair(((2,), (1, 3)))
    found = []
    for library, params in ((optim, ours), (torch.optim, theirs)):
        opt = library.LBFGS(params, **options)
        evaluations = []

        def closure(opt=opt, params=params, evaluations=evaluations):
            opt.zero_grad()
            a, b = params
            loss = (((b - 1) ** 4).sum() + (3 * (a[1] - a[0] ** 2)) ** 2 + (1 - a[0]) ** 2)
            loss.backward()
            evaluations.append(loss.item())
            return loss

        for _ in range(3):
            opt.step(closure)
        found.append((evaluations, opt))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-7, atol=1e-9)
    close(ours, theirs, 1e-7)
    mine, state = found[0][1].state[ours[0]], found[1][1].state[theirs[0]]
    assert set(mine) == set(state)
    assert (mine["func_evals"], mine["n_iter"]) == (state["func_evals"], state["n_iter"])
    assert len(mine["old_dirs"]) == len(state["old_dirs"])


def test_loading_copies():
    ours, _ = pair()
    opt = optim.SGD(ours, lr=0.1, momentum=0.9)
    step(opt, ours)
    saved = opt.state_dict()
    other = optim.SGD(ours, lr=0.3, momentum=0.9)
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == 0.1
    before = saved["state"][0]["momentum_buffer"].numpy().copy()
    step(other, ours)
    np.testing.assert_array_equal(saved["state"][0]["momentum_buffer"].numpy(), before)


def test_named_parameters():
    ours, _ = pair(((2,), (3,)))
    opt = optim.SGD([("a", ours[0]), ("b", ours[1])], lr=0.1)
    assert opt.param_groups[0]["param_names"] == ["a", "b"]
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]


def test_construction_errors():
    ours, theirs = pair(((2,),))
    for make, kind in [
        (lambda o, p: o.SGD(p[0], lr=0.1), TypeError),
        (lambda o, p: o.SGD([], lr=0.1), ValueError),
        (lambda o, p: o.SGD(p, lr=-1.0), ValueError),
        (lambda o, p: o.SGD(p, momentum=-1.0), ValueError),
        (lambda o, p: o.SGD(p, nesterov=True), ValueError),
        (lambda o, p: o.SGD([{"params": p}, {"params": p}], lr=0.1), ValueError),
        (lambda o, p: o.SGD([{"params": set(p)}], lr=0.1), TypeError),
        (lambda o, p: o.SGD([p[0] * 2], lr=0.1), ValueError),
        (lambda o, p: o.SGD([1, 2], lr=0.1), TypeError),
        (lambda o, p: o.SGD([("x", p[0]), p[0]], lr=0.1), ValueError),
        (lambda o, p: o.Adam(p, betas=(1.0, 0.9)), ValueError),
        (lambda o, p: o.Adam(p, eps=-1.0), ValueError),
        (lambda o, p: o.RMSprop(p, alpha=-1.0), ValueError),
        (lambda o, p: o.NAdam(p, momentum_decay=-1.0), ValueError),
        (lambda o, p: o.NAdam(p, betas=(0.9, 1.0)), ValueError),
        (lambda o, p: o.RAdam(p, weight_decay=-1.0), ValueError),
        (lambda o, p: o.ASGD(p, lr=-1.0), ValueError),
        (lambda o, p: o.ASGD(p, weight_decay=-1.0), ValueError),
        (lambda o, p: o.Rprop(p, etas=(1.0, 1.2)), ValueError),
        (lambda o, p: o.Adafactor(p, lr=-1.0), ValueError),
        (lambda o, p: o.Adafactor(p, beta2_decay=1.0), ValueError),
        (lambda o, p: o.Adafactor(p, eps=(-1.0, 1.0)), ValueError),
        (lambda o, p: o.Adafactor(p, eps=(None, -1.0)), ValueError),
        (lambda o, p: o.Adafactor(p, d=0.5), ValueError),
        (lambda o, p: o.Muon(p, lr=-1.0), ValueError),
        (lambda o, p: o.Muon(p, adjust_lr_fn="x"), ValueError),
        (lambda o, p: o.LBFGS(p, lr=-1.0), ValueError),
        (lambda o, p: o.LBFGS([{"params": p}, {"params": []}]), ValueError),
        (lambda o, p: o.LBFGS(p).step(), TypeError),
        (lambda o, p: o.LBFGS(p, line_search_fn="x").step(lambda: backward_of(p)), RuntimeError),
    ]:
        with pytest.raises(kind) as theirs_error:
            make(torch.optim, theirs)
        with pytest.raises(kind) as our_error:
            make(optim, ours)
        assert str(our_error.value) == str(theirs_error.value)
    with pytest.raises(UnsupportedError, match="differentiable"):
        optim.SGD(ours, differentiable=True)


def test_loading_errors():
    ours, _ = pair(((2,), (3,)))
    opt = optim.SGD(ours, lr=0.1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        opt.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        opt.load_state_dict({"state": {}, "param_groups": [{"params": [0]}]})


# --- memory and plans ------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("NAdam", {}), ("RAdam", {}),
                                               ("ASGD", {}), ("Rprop", {})])
def test_a_step_is_one_plan_in_place(name, options):
    """Constant memory, parameters and state keep their addresses, a new learning rate is no new plan."""
    ours, _ = pair(((64, 64), (64,)), np.float32)
    ours = [nn.Parameter(gemel.tensor(p.detach().numpy().copy())) for p in ours]
    opt = getattr(optim, name)(ours, lr=0.01, **options)
    for _ in range(3):
        step(opt, ours)

    def addresses():
        held = [*ours, *(t for p in ours for t in opt.state[p].values() if t.numel() > 1)]
        return [t._read().buffer.ptr for t in held]

    with override(TIER="1"):
        step(opt, ours)
        before = addresses()
        with debug.counting() as seen:
            for i in range(5):
                opt.param_groups[0]["lr"] = 0.01 / (i + 1)
                step(opt, ours)
        assert addresses() == before
    assert seen["live_bytes"] == 0
    assert (seen["flushes"], seen["plan_misses"], seen["syncs"]) == (5, 0, 0)


@pytest.mark.parametrize("name, options", [c for c in CASES if c[0] not in ("Adafactor",)])
def test_in_the_generic_tier_a_parameter_takes_one_kernel(name, options):
    """Not one for each operation: a first step, and each at new sizes of data, would take long to plan."""
    parameters, _ = pair(((3, 4), (5,), (2, 3), (3, 4)), np.float32)
    optimizer = getattr(optim, name)(parameters, **options)
    with override(TIER="0"):
        for _ in range(3):
            for p in parameters:
                p.grad = gemel.ones_like(p)
            before = debug.counters()["calls"]
            optimizer.step()
            for p in parameters:
                p.detach().numpy()
            made = len(parameters)  # gradients
            assert debug.counters()["calls"] - before <= 2 * len(parameters) + made


def test_a_failed_check_leaves_everything_as_it_was():
    ours, _ = pair(((4, 3),), np.float32)
    opt = optim.SGD(ours, lr=0.1, momentum=0.9)
    step(opt, ours)
    before = ours[0].detach().numpy().copy()
    momentum = opt.state[ours[0]]["momentum_buffer"].numpy().copy()

    def backward(target):
        opt.zero_grad()
        logp = apply_named("log_softmax", ours[0], attrs=(1,))
        loss, _ = apply_named("nll_loss", logp, gemel.tensor(target), attrs=(-100, "mean"))
        loss.backward()

    backward([0, 1, 99, 2])
    with pytest.raises(CheckError, match="out of bounds"):
        opt.step()
    np.testing.assert_array_equal(ours[0].detach().numpy(), before)
    np.testing.assert_array_equal(opt.state[ours[0]]["momentum_buffer"].numpy(), momentum)
    backward([0, 1, 2, 2])
    opt.step()
    assert not np.array_equal(ours[0].detach().numpy(), before)


def test_gradients_stay_readable_and_old_values_stay_old():
    ours, _ = pair(((8,),), np.float32)
    opt = optim.SGD(ours, lr=0.1)
    kept = ours[0].detach() * 1
    step(opt, ours)
    assert ours[0].grad is not None
    want = kept.numpy() - np.float32(0.1) * ours[0].grad.numpy()
    np.testing.assert_allclose(ours[0].detach().numpy(), want, rtol=1e-6)
