"""``gemel.compile``: the same results, bit for bit, with Python's part skipped."""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel import debug, nn
from gemel.engine.base.errors import CompileError
from gemel.engine.runtime.trace import local


def bits(*tensors) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in tensors]


class Counted:
    """A function that counts its calls."""

    def __init__(self, function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


def test_a_function_runs_twice_and_is_replayed_after():
    f = Counted(lambda x, y: (gemel.tanh(x) * y + x).sum(0))
    g = gemel.compile(f, fullgraph=True)
    for n in range(5):
        x, y = gemel.arange(12.0).view(3, 4) / (n + 1), gemel.ones(3, 4) * n
        assert bits(g(x, y)) == bits(f.function(x, y))
    assert f.calls == 2


def test_structures_and_constants():
    def f(pair, *, scale, flags):
        a, b = pair["a"], pair["b"]
        return {"sum": a + b, "rest": [a * scale, "text", flags["on"]]}
    g = gemel.compile(f)
    for n in range(4):
        pair = {"a": gemel.ones(2) * n, "b": gemel.ones(2)}
        got, want = g(pair, scale=2.0, flags={"on": True}), f(pair, scale=2.0, flags={"on": True})
        assert bits(got["sum"], got["rest"][0]) == bits(want["sum"], want["rest"][0])
        assert got["rest"][1:] == ["text", True]
    assert g(pair, scale=3.0, flags={"on": False})["rest"][2] is False


def test_other_shapes_and_dtypes_get_programs_of_their_own():
    f = Counted(lambda x: x * 2 + 1)
    g = gemel.compile(f)
    for x in (gemel.ones(2), gemel.ones(3), gemel.ones(3, dtype=gemel.float64)):
        for _ in range(3):
            assert bits(g(x)) == bits(x * 2 + 1)
    assert f.calls == 6 and len(g.kinds) == 3


def test_gradients_flow_through():
    w = gemel.tensor([1.0, 2.0, 3.0], requires_grad=True)
    f = gemel.compile(lambda x: (gemel.exp(x) * w).sum())
    for n in range(4):
        x = (gemel.ones(3) * n / 2).requires_grad_()
        f(x).backward()
        got = bits(x.grad, w.grad)
        x2 = (gemel.ones(3) * n / 2).requires_grad_()
        w.grad = None
        (gemel.exp(x2) * w).sum().backward()
        assert got == bits(x2.grad, w.grad)
        w.grad = None


def test_what_it_reads_from_outside_is_read_again():
    scale = gemel.ones(2)
    f = gemel.compile(lambda x: x * scale, fullgraph=True)
    x = gemel.tensor([1.0, 2.0])
    for n in range(5):
        scale.fill_(float(n))
        assert f(x).tolist() == [1.0 * n, 2.0 * n]


def test_in_place_writes_are_replayed():
    total = gemel.zeros(2)
    view = total[:1]

    def f(x):
        total.add_(x)
        return total * 2
    g = gemel.compile(f, fullgraph=True)
    for n in range(1, 6):
        assert g(gemel.ones(2)).tolist() == [2.0 * n, 2.0 * n]
        assert total.tolist() == [n, n] and view.tolist() == [n]


def test_a_function_that_observes_goes_on_as_it_is():
    f = Counted(lambda x: x * 2 if x.sum().item() > 0 else x)
    g = gemel.compile(f)
    for n in (1.0, -1.0, 1.0, -1.0):
        assert g(gemel.ones(2) * n).tolist() == ([2.0] * 2 if n > 0 else [-1.0] * 2)
    assert f.calls == 4
    strict = gemel.compile(f.function, fullgraph=True)
    strict(gemel.ones(2))
    with pytest.raises(CompileError, match="it needs a value while it is recorded"):
        strict(gemel.ones(2))


def test_an_error_inside_leaves_nothing_open():
    def f(x):
        raise KeyError("mine")
    g = gemel.compile(f)
    for _ in range(3):
        with pytest.raises(KeyError):
            g(gemel.ones(1))
    assert local.capture is None
    assert (gemel.ones(2) + 1).tolist() == [2.0, 2.0]


def model_and_step(kind: str, compiled: bool):
    gemel.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = {"sgd": lambda p: gemel.optim.SGD(p, lr=0.1, momentum=0.9),
                 "adam": lambda p: gemel.optim.Adam(p, lr=1e-2),
                 "adamw": lambda p: gemel.optim.AdamW(p, lr=1e-2, amsgrad=True),
                 "nadam": lambda p: gemel.optim.NAdam(p, lr=1e-2),
                 "radam": lambda p: gemel.optim.RAdam(p, lr=1e-2, betas=(0.9, 0.5)),
                 "asgd": lambda p: gemel.optim.ASGD(p, lr=1e-2, t0=3),
                 "rprop": lambda p: gemel.optim.Rprop(p),
                 "adafactor": lambda p: gemel.optim.Adafactor(p),
                 "rmsprop": lambda p: gemel.optim.RMSprop(p, lr=1e-2, centered=True, momentum=0.5)}[kind](
                     model.parameters())
    loss_fn = nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    return model, optimizer, gemel.compile(step, fullgraph=True) if compiled else step


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop", "nadam", "radam", "asgd", "rprop", "adafactor"])
def test_a_whole_training_step(kind):
    (a, oa, eager), (b, ob, compiled) = model_and_step(kind, False), model_and_step(kind, True)
    rng = np.random.default_rng(0)
    for n in range(8):
        x = gemel.tensor(rng.standard_normal((5, 3, 4), np.float32))
        y = gemel.tensor(rng.integers(0, 3, 5))
        if n == 5:  # a new learning rate is seen, and compiles nothing
            oa.param_groups[0]["lr"] = ob.param_groups[0]["lr"] = 0.003
        assert bits(eager(x, y)) == bits(compiled(x, y))
        assert bits(*a.parameters()) == bits(*b.parameters()), n
        assert bits(*(p.grad for p in a.parameters())) == bits(*(p.grad for p in b.parameters()))
    assert str(oa.state_dict()["state"]) == str(ob.state_dict()["state"])


def test_training_mode_is_part_of_the_kind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    f = gemel.compile(model)
    x = gemel.ones(1, 4)
    for _ in range(4):
        f(x)
    model.eval()
    with gemel.no_grad():
        assert bits(f(x)) == bits(model(x))


def test_steps_write_in_place():
    _, _, step = model_and_step("adam", True)
    x, y = gemel.ones(5, 12), gemel.zeros(5, dtype=gemel.int64)
    for _ in range(6):
        step(x, y).item()
    debug.wait_for_compilation()
    step(x, y).item()
    with debug.counting() as seen:
        for _ in range(10):
            step(x, y).item()
    assert seen["live_bytes"] == 0 and seen["plan_misses"] == 0 and seen["compiles"] == 0


def test_arguments():
    with pytest.raises(ValueError, match="backend"):
        gemel.compile(lambda x: x, backend="cudagraphs")
    f = lambda x: x  # noqa: E731
    assert gemel.compile(f, disable=True) is f

    @gemel.compile(fullgraph=True)
    def named(x):
        """Its words."""
        return x + 1
    assert named.__name__ == "named" and named.__doc__ == "Its words."
    assert named(gemel.zeros(1)).tolist() == [1.0]
