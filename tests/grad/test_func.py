"""``gemel.func`` against ``torch.func``, alone and nested."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gemel

G, T = gemel.func, torch.func
rng = np.random.default_rng(0)
A, B, W = rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), rng.standard_normal((3, 3))


def both(program: Any, *arrays: np.ndarray) -> None:
    """``program(library, func, *tensors)`` gives the same in both libraries."""
    got = program(gemel, gemel.func, *[gemel.tensor(a) for a in arrays])
    want = program(torch, torch.func, *[torch.tensor(a) for a in arrays])
    compare(got, want)


def compare(got: Any, want: Any) -> None:
    if isinstance(want, dict):
        assert list(got) == list(want)
        got, want = list(got.values()), list(want.values())
    if isinstance(want, (tuple, list)):
        assert type(got) is type(want) and len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            compare(g, w)
        return
    assert tuple(got.shape) == tuple(want.shape)
    assert got.requires_grad == want.requires_grad
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-9)


def f(x: Any) -> Any:
    return (x.sin() * x * x).sum()


def layer(x: Any, w: Any) -> Any:
    return (x @ w).tanh()


PROGRAMS: dict[str, tuple[Any, tuple]] = {
    "grad": (lambda lib, F, x: F.grad(f)(x), (A,)),
    "grad-argnums": (lambda lib, F, x, w: F.grad(lambda x, w: layer(x, w).sum(), (1, 0))(x, w), (A, W)),
    "grad-tree": (lambda lib, F, x, w: F.grad(lambda p: layer(p["x"], p["w"][0]).sum())({"x": x, "w": [w]}), (A, W)),
    "grad-aux": (lambda lib, F, x: F.grad(lambda x: (f(x), (x * 2, {"y": x})), has_aux=True)(x), (A,)),
    "value": (lambda lib, F, x: F.grad_and_value(f)(x), (A,)),
    "grad-grad": (lambda lib, F, x: F.grad(F.grad(F.grad(lambda x: x ** 4)))(x), (np.asarray(1.5),)),
    "independent": (lambda lib, F, x, w: F.grad(lambda x, w: (w * w).sum(), 0)(x, w), (A, W)),
    "vjp": (lambda lib, F, x, g: F.vjp(lambda x: x.exp() * x, x)[1](g), (A, B)),
    "vjp-tree": (lambda lib, F, x, g: F.vjp(lambda d: {"a": d["x"].exp(), "b": d["x"].sum()}, {"x": x})[1](
        {"a": g, "b": g.sum()}), (A, B)),
    "vjp-twice": (lambda lib, F, x, g: [F.vjp(lib.sin, x)[1](g * k)[0] for k in (1, 2)], (A, B)),
    "jvp": (lambda lib, F, x, t: F.jvp(lambda x: (x.exp(), x.sum()), (x,), (t,)), (A, B)),
    "jvp-two": (lambda lib, F, x, w, t, u: F.jvp(layer, (x, w), (t, u)), (A, W, B, W * 2)),
    "jvp-jvp": (lambda lib, F, x, t: F.jvp(lambda y: F.jvp(lib.sin, (y,), (y * y,))[1], (x,), (t,)), (A, B)),
    "jvp-grad": (lambda lib, F, x, t: F.jvp(F.grad(f), (x,), (t,)), (A, B)),
    "grad-jvp": (lambda lib, F, x, t: F.grad(lambda y: F.jvp(lambda z: z.sin() * z, (y,), (t,))[1].sum())(x), (A, B)),
    "confusion": (lambda lib, F, x: F.grad(lambda y: y * F.grad(lambda z: y * z)(x))(x), (np.asarray(2.0),)),
    "confusion-jvp": (lambda lib, F, x, o: F.jvp(lambda y: y * F.jvp(lambda z: y + z, (o,), (o,))[1], (x,), (o,))[1],
                      (np.asarray(2.0), np.asarray(1.0))),
    "linearize": (lambda lib, F, x, t: F.linearize(lambda x: layer(x, x.T), x)[1](t), (A, B)),
    "vmap": (lambda lib, F, x, y: F.vmap(lambda a, b: (a * b).sum())(x, y), (A, B)),
    "vmap-dims": (lambda lib, F, x, w: F.vmap(lambda a, w: a @ w, (1, None), 1)(x.T, w), (A, W)),
    "vmap-tree": (lambda lib, F, x, y: F.vmap(lambda d, k: {"s": d["a"] + k, "p": (d["a"] * k).sum()})({"a": x}, y),
                  (A, B)),
    "vmap-vmap": (lambda lib, F, x, y: F.vmap(F.vmap(lambda a, b: a * b, (0, None)), (None, 0))(x[:, 0], y[:, 1]),
                  (A, B)),
    "vmap-negative": (lambda lib, F, x: F.vmap(lambda a: a.cumsum(0), -1, -1)(x), (A,)),
    "vmap-constant": (lambda lib, F, x, w: F.vmap(lambda a: w)(x), (A, W)),
    "vmap-chunks": (lambda lib, F, x, y: F.vmap(lambda a, b: (a.cumsum(0), b.sum()), chunk_size=3)(x, y), (A, B)),
    "vmap-grad": (lambda lib, F, x, w: F.vmap(F.grad(lambda w, a: layer(a, w).sum()), (None, 0))(w, x), (A, W)),
    "grad-vmap": (lambda lib, F, x, w: F.grad(lambda w: (F.vmap(lambda a: layer(a, w))(x) ** 2).sum())(w), (A, W)),
    "grad-vmap-input": (lambda lib, F, x, w: F.grad(lambda x: (F.vmap(lambda a: layer(a, w) * x.sum())(x)).sum())(x),
                        (A, W)),
    "vmap-jvp": (lambda lib, F, x, t: F.vmap(lambda a, b: F.jvp(f, (a,), (b,)))(x, t), (A, B)),
    "jvp-vmap": (lambda lib, F, x, t: F.jvp(F.vmap(f), (x,), (t,)), (A, B)),
    "grad-grad-vmap": (lambda lib, F, x: F.grad(lambda y: F.grad(lambda z: F.vmap(f)(z).sum())(y).sin().sum())(x),
                       (A,)),
    "grad-vmap-grad": (lambda lib, F, x: F.grad(lambda y: F.vmap(F.grad(lambda z: (z ** 3).sum()))(y).sin().sum())(x),
                       (A,)),
    "jacrev": (lambda lib, F, x, w: F.jacrev(layer)(x, w), (A, W)),
    "jacrev-two": (lambda lib, F, x, w: F.jacrev(lambda x, w: (layer(x, w), x.sum()), (0, 1))(x, w), (A, W)),
    "jacrev-chunks": (lambda lib, F, x: F.jacrev(lambda x: x.exp(), chunk_size=5)(x), (A,)),
    "jacfwd": (lambda lib, F, x, w: F.jacfwd(layer, 1)(x, w), (A, W)),
    "jacfwd-aux": (lambda lib, F, x: F.jacfwd(lambda x: ({"y": x.exp()}, x.sum()), has_aux=True)(x), (A,)),
    "hessian": (lambda lib, F, x: F.hessian(f)(x), (A,)),
    "hessian-rev-rev": (lambda lib, F, x: F.jacrev(F.jacrev(f))(x), (A,)),
    "hessian-fwd-fwd": (lambda lib, F, x: F.jacfwd(F.jacfwd(f))(x), (A,)),
    "hessian-rev-fwd": (lambda lib, F, x: F.jacrev(F.jacfwd(f))(x), (A,)),
    "vmap-hessian": (lambda lib, F, x: F.vmap(F.hessian(f))(x), (A,)),
    "index": (lambda lib, F, x: F.vmap(lambda a: (a[1:], a[0], a.flip(0), a.reshape(3, 1)))(x), (A,)),
    "reductions": (lambda lib, F, x: F.vmap(lambda a: (a.sum(), a.mean(0), a.max(), a.prod(), a.var(), a.logsumexp(0)))(
        x), (A,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_torch(name: str):
    program, arrays = PROGRAMS[name]
    both(program, *arrays)


def test_closed_over_tensors_get_gradients():
    def run(lib: Any, F: Any, x: Any, w: Any) -> Any:
        w.requires_grad_()
        y = F.vmap(F.grad(lambda a: (layer(a, w) ** 2).sum()))(x)
        z = F.grad(lambda a: layer(a, w).sum())(x) + F.jvp(lambda a: layer(a, w), (x,), (x,))[1]
        (y.sum() + (z ** 2).sum() + (F.vmap(lambda a: a @ w)(x) ** 2).sum()).backward()
        return w.grad
    both(run, A, W)


def test_in_place_and_views_inside():
    def run(lib: Any, F: Any, x: Any) -> Any:
        def g(a: Any) -> Any:
            y = a * 1
            y[0] = y[1] * 2
            y[1:].mul_(3)
            return y.sin()
        return F.vmap(g)(x), F.vmap(F.grad(lambda a: g(a).sum()))(x), F.grad(lambda x: F.vmap(g)(x).sum())(x)
    both(run, A)


def test_gradients_of_a_batch_at_once():
    def run(lib: Any, F: Any, x: Any) -> Any:
        x.requires_grad_()
        return lib.autograd.grad(x ** 3, x, lib.stack([x.detach(), x.detach() * 2]), is_grads_batched=True)
    both(run, A)


def test_randomness():
    x = gemel.zeros(5, 3)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        G.vmap(lambda a: a + gemel.rand(3))(x)
    same = G.vmap(lambda a: a + gemel.rand(3), randomness="same")(x)
    assert gemel.equal(same, same[:1].expand(5, 3)) and np.unique(same.numpy()).size == 3
    different = G.vmap(lambda a: (a + gemel.rand(3), gemel.randn(2)), randomness="different")(x)
    assert np.unique(different[0].numpy()).size == 15 and np.unique(different[1].numpy()).size == 10


@pytest.mark.parametrize("call,error,message", [
    (lambda x: G.vmap(lambda a: a.item())(x[:, 0]), RuntimeError, "vmap"),
    (lambda x: G.vmap(lambda a: 3)(x), ValueError, "must only return Tensors"),
    (lambda x: G.vmap(lambda a, b: a)(x, x[:2]), ValueError, "same size in the mapped dimension"),
    (lambda x: G.vmap(lambda a: a, in_dims=5)(x), ValueError, "dimensionality 2"),
    (lambda x: G.vmap(lambda a: a, out_dims=5)(x), ValueError, "Dimension out of range"),
    (lambda x: G.vmap(lambda a, b: a)(x, 2.0), ValueError, "non-Tensor arguments"),
    (lambda x: G.vmap(lambda: x)(), ValueError, "got no inputs"),
    (lambda x: G.vmap(lambda a: a, in_dims=(None,))(x), ValueError, "in_dims are None"),
    (lambda x: G.vmap(lambda a: a, randomness="some"), RuntimeError, "Only allowed values"),
    (lambda x: G.grad(lambda a: a)(x), RuntimeError, "scalar tensor"),
    (lambda x: G.grad(lambda a: 2)(x), RuntimeError, "to return a Tensor"),
    (lambda x: G.grad(f, argnums=3)(x), RuntimeError, "only 1 positional inputs"),
    (lambda x: G.grad(f, argnums=(0, 0))(x), RuntimeError, "unique"),
    (lambda x: G.vjp(gemel.sin, x)[1]((x, x)), RuntimeError, "structure of cotangents"),
    (lambda x: G.jvp(gemel.sin, x, x), RuntimeError, "primals to be a tuple"),
    (lambda x: G.jvp(gemel.sin, (x,), (x[0],)), RuntimeError, "shape and dtype"),
    (lambda x: G.jvp(lambda a: gemel.ones(2), (x,), (x,), strict=True), RuntimeError, "independent of the inputs"),
    (lambda x: G.grad(lambda a: a.sum())(gemel.ones(2, dtype=gemel.int64)), RuntimeError, "floating point"),
])
def test_errors(call: Any, error: type, message: str):
    with pytest.raises(error, match=message):
        call(gemel.tensor(A))


def test_a_batched_tensor_that_escapes_is_an_error():
    kept = []
    G.vmap(lambda a: kept.append(a) or a)(gemel.ones(3))
    with pytest.raises(RuntimeError, match="outside of the vmap"):
        kept[0] + 1


# --- modules ----------------------------------------------------------------------------------------

def nets(n: int) -> tuple[list[Any], list[Any]]:
    mine = [gemel.nn.Sequential(gemel.nn.Linear(3, 5), gemel.nn.Tanh(), gemel.nn.Linear(5, 2)) for _ in range(n)]
    theirs = [torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)) for _ in range(n)]
    for m, t in zip(mine, theirs, strict=True):
        t.load_state_dict({k: torch.tensor(v.numpy()) for k, v in m.state_dict().items()})
    return mine, theirs


def test_per_sample_gradients_of_a_module():
    (mine,), (theirs,) = nets(1)
    x = A.astype(np.float32)

    def run(lib: Any, F: Any, net: Any, x: Any) -> Any:
        params = {k: p.detach() for k, p in net.named_parameters()}
        return F.vmap(F.grad(lambda p, a: (F.functional_call(net, p, (a,)) ** 2).sum()), (None, 0))(params, x)
    got, want = run(gemel, G, mine, gemel.tensor(x)), run(torch, T, theirs, torch.tensor(x))
    assert list(got) == list(want)
    for k in want:
        np.testing.assert_allclose(got[k].numpy(), want[k].numpy(), rtol=2e-5, atol=2e-6)
    assert all(p.requires_grad for p in mine.parameters())


def test_an_ensemble_of_modules():
    mine, theirs = nets(3)
    x = A.astype(np.float32)

    def run(lib: Any, F: Any, several: Any, x: Any) -> Any:
        params, buffers = F.stack_module_state(several)
        assert all(p.is_leaf and p.requires_grad for p in params.values()) and buffers == {}
        out = F.vmap(lambda p: F.functional_call(several[0], p, x))(params)
        (out ** 2).sum().backward()
        return out, [p.grad for p in params.values()]
    got, want = run(gemel, G, mine, gemel.tensor(x)), run(torch, T, theirs, torch.tensor(x))
    np.testing.assert_allclose(got[0].detach().numpy(), want[0].detach().numpy(), rtol=2e-5, atol=2e-6)
    for g, w in zip(got[1], want[1], strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=2e-5, atol=2e-6)


def test_functional_call_errors_leave_the_module_alone():
    net = gemel.nn.Linear(3, 2)
    before = net.weight
    with pytest.raises(KeyError, match="nothing"):
        G.functional_call(net, {"nothing": gemel.ones(2)}, gemel.ones(3))
    with pytest.raises(RuntimeError, match="missing"):
        G.functional_call(net, {"weight": gemel.ones(2, 3)}, gemel.ones(3), strict=True)
    with pytest.raises(ValueError, match="multiple dictionaries"):
        G.functional_call(net, ({"weight": before}, {"weight": before}), gemel.ones(3))
    with pytest.raises(RuntimeError):
        G.functional_call(net, {"weight": gemel.ones(7, 7)}, gemel.ones(3))
    assert net.weight is before


# --- dual numbers, functions with their own derivative -----------------------------------------------

def test_dual_numbers():
    def run(lib: Any, F: Any, x: Any, t: Any) -> Any:
        import importlib
        fw = importlib.import_module(f"{lib.__name__}.autograd.forward_ad")
        with fw.dual_level():
            d = fw.make_dual(x, t)
            y = (d.sin() * x).cumsum(1)
            y[0] = d[1] * 2
            assert fw.unpack_dual(x * 2).tangent is None
            return tuple(fw.unpack_dual(y))
    both(run, A, B)
    with pytest.raises(RuntimeError, match="no level exists"):
        gemel.autograd.forward_ad.make_dual(gemel.ones(1), gemel.ones(1))


class Cube(gemel.autograd.Function):
    """Only a backward: the other transforms follow from it."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * x * x * 3


def test_a_function_with_its_own_derivative_in_every_transform():
    x, t = gemel.tensor(A), gemel.tensor(B)
    np.testing.assert_allclose(G.jvp(Cube.apply, (x,), (t,))[1].numpy(), 3 * A * A * B, rtol=1e-12)
    np.testing.assert_allclose(G.vmap(G.grad(lambda a: Cube.apply(a).sum()))(x).numpy(), 3 * A * A, rtol=1e-12)
    second = G.grad(lambda y: G.grad(lambda z: Cube.apply(z).sum())(y).sum())(x)
    np.testing.assert_allclose(second.numpy(), 6 * A, rtol=1e-12)
