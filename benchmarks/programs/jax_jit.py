"""The workloads in JAX, whole steps under ``jit`` with donated parameters."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np

from .torch_like import BLOCK, CHAIN

Run = Callable[[], Any]
_rng = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return jnp.asarray(_rng.standard_normal(shape, np.float32))


def _uniform(fan_in: int, *shape: int) -> Any:
    return jnp.asarray(_rng.uniform(-1, 1, shape).astype(np.float32) / fan_in ** 0.5)


def _gemm(m: int, k: int, n: int, dtype: str) -> Run:
    a, b = _normal(m, k).astype(dtype), _normal(k, n).astype(dtype)
    f = jax.jit(lambda a, b: a @ b)
    return lambda: f(a, b).block_until_ready()


def _gelu_chain() -> Run:
    x, a, b, c = _normal(4096, 4096), _normal(4096), _normal(4096), _normal(4096)
    f = jax.jit(lambda x, a, b, c: jax.nn.gelu(x * a + b, approximate=False) * c + x)
    return lambda: f(x, a, b, c).block_until_ready()


def _softmax() -> Run:
    x = _normal(8192, 1024)
    f = jax.jit(lambda x: jax.nn.softmax(x, -1))
    return lambda: f(x).block_until_ready()


def _layer_norm() -> Run:
    x, w, b = _normal(8192, 768), _normal(768), _normal(768)

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
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


def _trainer(loss, parameters: list, rule: str, lr: float) -> Callable[[], Any]:
    zeros = [jnp.zeros_like(p) for p in parameters]
    state: Any = zeros if rule == "sgd" else (jnp.zeros(()), zeros, [jnp.zeros_like(p) for p in parameters])

    def update(p, s, g):
        if rule == "sgd":
            s = [0.9 * m + d for m, d in zip(s, g, strict=True)]
            return [a - lr * m for a, m in zip(p, s, strict=True)], s
        t = s[0] + 1
        m = [0.9 * a + 0.1 * b for a, b in zip(s[1], g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(s[2], g, strict=True)]
        c1, c2 = 1 - 0.9 ** t, 1 - 0.999 ** t
        p = [a - lr * (b / c1) / (jnp.sqrt(c / c2) + 1e-8) for a, b, c in zip(p, m, v, strict=True)]
        return p, (t, m, v)

    def whole(p, s):
        value, g = jax.value_and_grad(loss)(p)
        return (*update(p, s, g), value)
    f = jax.jit(whole, donate_argnums=(0, 1))
    box = [parameters, state]

    def step():
        box[0], box[1], value = f(*box)
        return value
    return step


def _mlp(rule: str) -> Run:
    x, y = _normal(64, 784), jnp.asarray(_rng.integers(0, 10, 64))

    def loss(p):
        return _cross_entropy(jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3], y)
    parameters = [_uniform(784, 784, 256), _uniform(784, 256), _uniform(256, 256, 10), _uniform(256, 10)]
    step = _trainer(loss, parameters, rule, 0.1 if rule == "sgd" else 1e-3)

    def block():
        value = None
        for _ in range(BLOCK):
            value = step()
        float(value)  # type: ignore[arg-type]
    return block


def _cnn() -> Run:
    x, y = _normal(64, 28, 28, 1), jnp.asarray(_rng.integers(0, 10, 64))

    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def loss(p):
        h = jax.nn.relu(conv(jax.nn.relu(conv(x, p[0]) + p[1]), p[2]) + p[3])
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return _cross_entropy(jax.nn.relu(h.reshape(64, -1) @ p[4] + p[5]) @ p[6] + p[7], y)
    parameters = [_uniform(9, 3, 3, 1, 32), _uniform(9, 32), _uniform(288, 3, 3, 32, 64), _uniform(288, 64),
                  _uniform(9216, 9216, 128), _uniform(9216, 128), _uniform(128, 128, 10), _uniform(128, 10)]
    step = _trainer(loss, parameters, "sgd", 0.01)
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
        }
