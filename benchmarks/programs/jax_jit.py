"""The workloads in JAX, whole steps under ``jit`` with donated parameters."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np

from . import jax_models
from .jax_models import normal, uniform
from .torch_like import BLOCK, CHAIN

Run = Callable[[], Any]
Rule = tuple[Callable[[Any, Any, Any], tuple[Any, Any]], Any]  # (parameters, state, gradients) -> both; its state
_rng = np.random.default_rng(0)


def _gemm(m: int, k: int, n: int, dtype: str) -> Run:
    a, b = normal(m, k).astype(dtype), normal(k, n).astype(dtype)
    f = jax.jit(lambda a, b: a @ b)
    return lambda: f(a, b).block_until_ready()


def _gelu_chain() -> Run:
    x, a, b, c = normal(4096, 4096), normal(4096), normal(4096), normal(4096)
    f = jax.jit(lambda x, a, b, c: jax.nn.gelu(x * a + b, approximate=False) * c + x)
    return lambda: f(x, a, b, c).block_until_ready()


def _softmax() -> Run:
    x = normal(8192, 1024)
    f = jax.jit(lambda x: jax.nn.softmax(x, -1))
    return lambda: f(x).block_until_ready()


def _layer_norm() -> Run:
    x, w, b = normal(8192, 768), normal(768), normal(768)

    @jax.jit
    def f(x, w, b):
        mean = x.mean(-1, keepdims=True)
        var = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * w + b
    return lambda: f(x, w, b).block_until_ready()


def _chain(backward: bool) -> Run:
    x = jnp.ones(4)

    def chain(x):
        y = x
        for _ in range(CHAIN):
            y = y + x
        return y
    f = jax.grad(lambda x: chain(x).sum()) if backward else chain
    return lambda: f(x).block_until_ready()


def _cross_entropy(z, y):
    return (jax.nn.logsumexp(z, -1) - jnp.take_along_axis(z, y[..., None], -1)[..., 0]).mean()


def _sgd(parameters: Any, lr: float, momentum: float = 0.9) -> Rule:
    def update(p, state, g):
        if not momentum:
            return jax.tree.map(lambda a, d: a - lr * d, p, g), state
        state = jax.tree.map(lambda m, d: momentum * m + d, state, g)
        return jax.tree.map(lambda a, m: a - lr * m, p, state), state
    return update, jax.tree.map(jnp.zeros_like, parameters) if momentum else None


def _adam(parameters: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), decay: float = 0.0) -> Rule:
    b1, b2 = betas

    def update(p, state, g):
        count, first, second = state[0] + 1, state[1], state[2]
        first = jax.tree.map(lambda m, d: b1 * m + (1 - b1) * d, first, g)
        second = jax.tree.map(lambda v, d: b2 * v + (1 - b2) * d * d, second, g)
        c1, c2 = 1 - b1 ** count, 1 - b2 ** count
        p = jax.tree.map(lambda a, m, v: a * (1 - lr * decay) - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8),
                         p, first, second)
        return p, (count, first, second)
    return update, (jnp.zeros(()), jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters))


def _trainer(loss: Callable[..., Any], parameters: Any, rule: Rule, kept: Any = None) -> Callable[[], Any]:
    """A step of ``loss(parameters, kept)``: its value, and what is kept for the next one."""
    update, state = rule

    def whole(p, state, kept):
        (value, kept), g = jax.value_and_grad(loss, has_aux=True)(p, kept)
        return (*update(p, state, g), kept, value)
    f = jax.jit(whole, donate_argnums=(0, 1, 2))
    box = [parameters, state, kept]

    def step():
        *box[:], value = f(*box)
        return value
    return step


def _mlp(rule: str) -> Run:
    x, y = normal(64, 784), jnp.asarray(_rng.integers(0, 10, 64))

    def loss(p, kept):
        return _cross_entropy(jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3], y), kept
    parameters = [uniform(784, 784, 256), uniform(784, 256), uniform(256, 256, 10), uniform(256, 10)]
    step = _trainer(loss, parameters, _sgd(parameters, 0.1) if rule == "sgd" else _adam(parameters, 1e-3))

    def block():
        value = None
        for _ in range(BLOCK):
            value = step()
        float(value)  # type: ignore[arg-type]
    return block


def _cnn() -> Run:
    x, y = normal(64, 28, 28, 1), jnp.asarray(_rng.integers(0, 10, 64))

    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def loss(p, kept):
        h = jax.nn.relu(conv(jax.nn.relu(conv(x, p[0]) + p[1]), p[2]) + p[3])
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return _cross_entropy(jax.nn.relu(h.reshape(64, -1) @ p[4] + p[5]) @ p[6] + p[7], y), kept
    parameters = [uniform(9, 3, 3, 1, 32), uniform(9, 32), uniform(288, 3, 3, 32, 64), uniform(288, 64),
                  uniform(9216, 9216, 128), uniform(9216, 128), uniform(128, 128, 10), uniform(128, 10)]
    step = _trainer(loss, parameters, _sgd(parameters, 0.01))
    return lambda: float(step())


def _resnet(depth: int, what: str) -> Run:
    kind, batch = what.split()
    parameters, statistics, network = jax_models.resnet(depth)
    x = normal(int(batch), 224, 224, 3)
    if kind == "infer":
        f = jax.jit(lambda p, s, x: network(p, s, x, False)[0])
        return lambda: f(parameters, statistics, x).block_until_ready()
    y = jnp.asarray(_rng.integers(0, 1000, int(batch)))

    def loss(p, statistics):
        z, statistics = network(p, statistics, x, True)
        return _cross_entropy(z, y), statistics
    step = _trainer(loss, parameters, _sgd(parameters, 0.1), statistics)
    return lambda: float(step())


def _gpt2(train: bool) -> Run:
    parameters, network = jax_models.gpt2()
    ids, y = (jnp.asarray(_rng.integers(0, 50257, (4, 256))) for _ in range(2))
    if not train:
        f = jax.jit(network)
        return lambda: f(parameters, ids).block_until_ready()
    step = _trainer(lambda p, kept: (_cross_entropy(network(p, ids), y), kept), parameters,
                    _adam(parameters, 3e-4, (0.9, 0.95), 0.1))
    return lambda: float(step())


def _lstm(train: bool) -> Run:
    parameters, network = jax_models.lstm()
    x = normal(32, 128, 256)
    if not train:
        f = jax.jit(network)
        return lambda: f(parameters, x).block_until_ready()
    step = _trainer(lambda p, kept: ((network(p, x) ** 2).mean(), kept), parameters, _sgd(parameters, 0.01, 0.0))
    return lambda: float(step())


class Programs:
    """The cases."""

    def __init__(self) -> None:
        self.cases: dict[str, Callable[[], Run]] = {
            **{f"W2 {dtype} {m}x{k}x{n}": lambda m=m, k=k, n=n, dtype=dtype: _gemm(m, k, n, dtype)
               for dtype in ("float32", "bfloat16")
               for m, k, n in [*((s, s, s) for s in (128, 256, 512, 1024, 2048)), (1, 4096, 4096), (32, 768, 3072)]},
            "W3 gelu chain": _gelu_chain, "W3 softmax": _softmax, "W3 layer norm": _layer_norm,
            "W4 forward": lambda: _chain(False), "W4 forward+backward": lambda: _chain(True),
            "W5 sgd": lambda: _mlp("sgd"), "W5 adam": lambda: _mlp("adam"), "W6 cnn": _cnn,
            **{f"W7 resnet{n} {what}": lambda n=n, what=what: _resnet(n, what)
               for n in (18, 50) for what in ("infer 1", "infer 8", "train 8")},
            "W8 forward": lambda: _gpt2(False), "W8 train": lambda: _gpt2(True),
            "W10 forward": lambda: _lstm(False), "W10 train": lambda: _lstm(True),
        }
