"""Schedules of the learning rate against torch's, step by step; states saved by either are loaded by the other."""
from __future__ import annotations

import copy
import warnings

import pytest
import torch

import gemel
from gemel import debug, nn, optim

CASES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda n: 0.9 ** n),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda n: 0.9 ** n, lambda n: 1 / (n + 1)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda n: 0.95),
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.3),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, 4),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 6),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.8),
    "polynomial": lambda s, o: s.PolynomialLR(o, 8, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 5, 1e-3),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 1e-4),
    "restarts of one length": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.2], 3, 5),
    "cyclic 2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "cyclic exponential": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "cyclic function": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda n: 0.5 ** n, scale_mode="iterations"),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.1, 21),
    "one cycle linear": lambda s, o: s.OneCycleLR(o, [0.1, 0.3], epochs=4, steps_per_epoch=6, anneal_strategy="linear",
                                                  three_phase=True),
    "sequential": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9),
                                                  s.CosineAnnealingLR(o, 4)], [4, 9]),
    "chained": lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.1, total_iters=5), s.ExponentialLR(o, 0.9)]),
    "sequence of chains": lambda s, o: s.SequentialLR(o, [
        s.ChainedScheduler([s.ConstantLR(o, 0.5, 2), s.StepLR(o, 2)]), s.ExponentialLR(o, 0.9)], [5]),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2, cooldown=1, factor=0.5),
    "plateau up": lambda s, o: s.ReduceLROnPlateau(o, "max", 0.3, 1, 0.1, "abs", min_lr=[0.01, 0.02]),
    "plateau up by a part": lambda s, o: s.ReduceLROnPlateau(o, "max", 0.3, 1, 0.1),
}
for _name, _options in {"swa": (0.02, 5), "swa linear": ([0.5, 0.01], 4, "linear"), "swa at once": (0.3, 0)}.items():
    CASES[_name] = lambda s, o, options=_options: (optim if s is optim.lr_scheduler else torch.optim).swa_utils.SWALR(
        o, *options)
METRICS = [5.0, 4.0, 4.5, 4.2, 4.1, 3.9999, 3.9, 3.95, 3.94, 3.93, 3.92, 3.91, 3.8, 3.8, 3.8, 3.8, 3.8, 3.9, 4.0, 4.1]


def pair(kind="SGD", lr=0.1):
    """The same optimizer, of two groups, in both libraries."""
    options = {"momentum": 0.9} if kind == "SGD" else {}
    ours, theirs = nn.Parameter(gemel.ones(2)), torch.nn.Parameter(torch.ones(2))
    also, too = nn.Parameter(gemel.ones(1)), torch.nn.Parameter(torch.ones(1))
    return (getattr(optim, kind)([{"params": ours}, {"params": also, "lr": 0.05}], lr=lr, **options),
            getattr(torch.optim, kind)([{"params": theirs}, {"params": too, "lr": 0.05}], lr=lr, **options))


def advance(scheduler, optimizer, i):
    optimizer.step()
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        scheduler.step(METRICS[i])
    else:
        scheduler.step()


def options(optimizer):
    return [{k: v for k, v in g.items() if k in ("lr", "initial_lr", "momentum", "betas", "max_lr", "min_lr",
                                                 "max_momentum", "base_momentum")} for g in optimizer.param_groups]


def made(name, kind="SGD"):
    ours, theirs = pair(kind)
    return (ours, CASES[name](optim.lr_scheduler, ours)), (theirs, CASES[name](torch.optim.lr_scheduler, theirs))


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("error", "ignore:Detected call of")  # torch's sequence of chains gives the warning too
def test_the_same_numbers(name, kind):
    (a, ours), (b, theirs) = made(name, kind)
    for i in range(20):
        assert options(a) == options(b), i
        assert ours.get_last_lr() == theirs.get_last_lr() and ours.last_epoch == getattr(
            theirs, "last_epoch", ours.last_epoch) if hasattr(ours, "last_epoch") else True
        advance(ours, a, i)
        advance(theirs, b, i)
    assert options(a) == options(b)


def plain(state):
    """What of a state both libraries have: not the functions, nor how torch keeps them."""
    if isinstance(state, dict):
        return {k: plain(v) for k, v in state.items() if k not in ("_scale_fn_ref", "_is_better")}
    return [plain(v) for v in state] if isinstance(state, (list, tuple)) else state


@pytest.mark.parametrize("name", CASES)
def test_states_are_exchanged(name):
    (a, ours), (b, theirs) = made(name)
    for i in range(7):
        advance(ours, a, i)
        advance(theirs, b, i)
    assert plain(ours.state_dict()) == plain(theirs.state_dict())
    (c, again), _ = made(name)
    again.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for group, old in zip(c.param_groups, b.param_groups, strict=True):
        group.update({k: v for k, v in old.items() if k != "params"})
    _, (d, other) = made(name)
    other.load_state_dict(copy.deepcopy(ours.state_dict()))
    for group, old in zip(d.param_groups, a.param_groups, strict=True):
        group.update({k: v for k, v in old.items() if k != "params"})
    for i in range(7, 20):
        for scheduler, optimizer in ((ours, a), (again, c), (other, d)):
            advance(scheduler, optimizer, i)
        assert options(a) == options(c) == options(d), i


@pytest.mark.parametrize("name", ["step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine",
                                  "lambda"])
def test_an_epoch_of_ones_own(name):
    (a, ours), (b, theirs) = made(name)
    for epoch in (3, 1, 7, 0):
        with pytest.warns(UserWarning, match="epoch parameter"):
            ours.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.step(epoch)
        assert options(a) == options(b)


def test_restarts_at_fractions_of_an_epoch():
    for name in ("restarts", "restarts of one length"):
        (a, ours), (b, theirs) = made(name)
        for epoch in (0, 0.5, 2.75, 3, 5.5, 9, 22.25, 1):
            ours.step(epoch)
            theirs.step(epoch)
            assert options(a) == options(b)


def test_resuming_at_an_epoch():
    a, b = pair()
    for o, s in ((a, optim.lr_scheduler), (b, torch.optim.lr_scheduler)):
        with pytest.raises(KeyError, match="initial_lr"):
            s.StepLR(o, 3, last_epoch=4)
        for group in o.param_groups:
            group["initial_lr"] = 0.2
    for name in ("StepLR", "CosineAnnealingLR"):
        ours = getattr(optim.lr_scheduler, name)(a, 3, last_epoch=4)
        theirs = getattr(torch.optim.lr_scheduler, name)(b, 3, last_epoch=4)
        assert options(a) == options(b) and ours.last_epoch == theirs.last_epoch == 5


WRONG = {
    "not an optimizer": lambda s, o: s.StepLR(3, 3), "lambdas": lambda s, o: s.LambdaLR(o, [abs]),
    "not a function": lambda s, o: s.MultiplicativeLR(o, 3), "constant": lambda s, o: s.ConstantLR(o, 2.0),
    "linear start": lambda s, o: s.LinearLR(o, 0.0), "linear end": lambda s, o: s.LinearLR(o, 0.1, 2.0),
    "T_0": lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    "T_mult": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0),
    "eta": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 1, "a"),
    "restarts before": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3).step(-1),
    "cyclic mode": lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="x"), "cyclic lrs": lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    "steps": lambda s, o: s.OneCycleLR(o, 0.1), "total": lambda s, o: s.OneCycleLR(o, 0.1, 0),
    "epochs": lambda s, o: s.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=3),
    "pct": lambda s, o: s.OneCycleLR(o, 0.1, 3, pct_start=2.0),
    "anneal": lambda s, o: s.OneCycleLR(o, 0.1, 3, anneal_strategy="x"),
    "no schedulers": lambda s, o: s.SequentialLR(o, [], []), "no chain": lambda s, o: s.ChainedScheduler([]),
    "milestones": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [3]),
    "plateau inside": lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    "factor": lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), "mode": lambda s, o: s.ReduceLROnPlateau(o, "x"),
    "threshold": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
    "min_lr": lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1, 2, 3]),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_torchs(name):
    a, b = pair()
    with pytest.raises((ValueError, TypeError)) as want:
        WRONG[name](torch.optim.lr_scheduler, b)
    with pytest.raises(want.type) as got:
        WRONG[name](optim.lr_scheduler, a)
    assert str(got.value).startswith(str(want.value)[:40].rstrip("."))


def test_errors_that_need_another_optimizer():
    a, b = pair()[0], pair()[0]
    with pytest.raises(ValueError, match="belong to the same optimizer"):
        optim.lr_scheduler.ChainedScheduler([optim.lr_scheduler.StepLR(a, 3), optim.lr_scheduler.StepLR(b, 3)])
    plain_sgd = optim.SGD([nn.Parameter(gemel.ones(1))], lr=0.1)
    plain_sgd.defaults.pop("momentum")
    with pytest.raises(ValueError, match="must support momentum"):
        optim.lr_scheduler.OneCycleLR(plain_sgd, 0.1, 3)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(a, min_lr=[0.1, 0.1], patience=0)
    a.add_param_group({"params": [nn.Parameter(gemel.ones(1))]})
    plateau.step(1.0)
    with pytest.raises(RuntimeError, match="number of param groups"):
        plateau.step(2.0)


def test_steps_in_the_wrong_order_and_stray_questions_warn():
    a, _ = pair()
    scheduler = optim.lr_scheduler.StepLR(a, 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()
    ended = optim.lr_scheduler.OneCycleLR(a, 0.1, 1)
    a.step()
    ended.step()
    with pytest.raises(ValueError, match="Tried to step 2 times"):
        ended.step()


def test_a_learning_rate_in_a_tensor_is_set_in_place():
    lr = gemel.tensor(0.5)
    optimizer = optim.SGD([nn.Parameter(gemel.ones(1))], lr=lr)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.25 and scheduler.get_last_lr() == [0.25]


def test_callable_objects_keep_their_state():
    class Half:
        def __init__(self, by):
            self.by = by

        def __call__(self, n):
            return self.by ** n
    a, _ = pair()
    saved = optim.lr_scheduler.LambdaLR(a, Half(0.5)).state_dict()
    other = optim.lr_scheduler.LambdaLR(pair()[0], Half(0.9))
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].by == 0.5 and len(saved["lr_lambdas"]) == 2


def test_a_schedule_compiles_nothing():
    w = nn.Parameter(gemel.ones(50))
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 100)

    def step():
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        scheduler.step()
    for _ in range(4):
        step()
    with debug.forbid_compile():
        for _ in range(5):
            step()


def test_a_schedule_on_the_older_base_class():
    rates = []
    for m in (torch, gemel):
        class Halved(m.optim.lr_scheduler._LRScheduler):
            def get_lr(self):
                return [base * 0.5**self.last_epoch for base in self.base_lrs]
        optimizer = m.optim.SGD([m.nn.Parameter(m.zeros(1))], lr=0.8)
        schedule = Halved(optimizer)
        assert isinstance(schedule, m.optim.lr_scheduler.LRScheduler)
        for _ in range(3):
            optimizer.step()
            schedule.step()
        rates.append((schedule.get_last_lr(), schedule.state_dict()["last_epoch"]))
    assert rates[0] == rates[1]
