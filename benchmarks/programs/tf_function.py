"""The workloads in TensorFlow, whole steps under ``tf.function``, on request through XLA."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from .torch_like import BLOCK, CHAIN

Run = Callable[[], Any]
_rng = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return tf.constant(_rng.standard_normal(shape, np.float32))


def _parameters(*sizes: tuple[int, tuple[int, ...]]) -> list[Any]:
    """Uniform parameters: (fan in, shape) of each."""
    return [tf.Variable(_rng.uniform(-1, 1, shape).astype(np.float32) / fan_in ** 0.5) for fan_in, shape in sizes]


def _labels() -> Any:
    return tf.constant(_rng.integers(0, 10, 64))


class Programs:
    """The cases; ``xla``: compiled by XLA."""

    def __init__(self, xla: bool) -> None:
        self.xla = xla
        self.cases: dict[str, Callable[[], Run]] = {
            **{f"W2 {dtype} {m}x{k}x{n}": lambda m=m, k=k, n=n, dtype=dtype: self.gemm(m, k, n, dtype)
               for dtype in ("float32", "bfloat16")
               for m, k, n in [*((s, s, s) for s in (128, 256, 512, 1024, 2048)), (1, 4096, 4096), (32, 768, 3072)]},
            "W3 gelu chain": self.gelu_chain, "W3 softmax": self.softmax, "W3 layer norm": self.layer_norm,
            "W4 forward": lambda: self.chain(False), "W4 forward+backward": lambda: self.chain(True),
            "W5 sgd": lambda: self.mlp("sgd"), "W5 adam": lambda: self.mlp("adam"), "W6 cnn": self.cnn,
        }

    def compiled(self, f: Callable[..., Any], *inputs: Any) -> Run:
        """Run ``f`` on the inputs and wait for the result."""
        graph = tf.function(f, jit_compile=self.xla, autograph=False)
        return lambda: graph(*inputs).numpy()

    def gemm(self, m: int, k: int, n: int, dtype: str) -> Run:
        return self.compiled(tf.matmul, tf.cast(_normal(m, k), dtype), tf.cast(_normal(k, n), dtype))

    def gelu_chain(self) -> Run:
        return self.compiled(lambda x, a, b, c: tf.nn.gelu(x * a + b) * c + x, _normal(4096, 4096), _normal(4096),
                             _normal(4096), _normal(4096))

    def softmax(self) -> Run:
        return self.compiled(tf.nn.softmax, _normal(8192, 1024))

    def layer_norm(self) -> Run:
        def f(x, w, b):
            mean, variance = tf.nn.moments(x, -1, keepdims=True)
            return (x - mean) * tf.math.rsqrt(variance + 1e-5) * w + b
        return self.compiled(f, _normal(8192, 768), _normal(768), _normal(768))

    def chain(self, backward: bool) -> Run:
        def forward(x):
            y = x
            for _ in range(CHAIN):
                y = y + x
            return y

        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(forward(x))
            return tape.gradient(total, x)
        return self.compiled(gradient if backward else forward, tf.ones(4))

    # --- training steps
    def _trainer(self, loss: Callable[[list[Any]], Any], parameters: list[Any], rule: str, lr: float) -> Run:
        first, second = ([tf.Variable(tf.zeros_like(p)) for p in parameters] for _ in range(2))
        count = tf.Variable(0.0)

        def sgd(gradients: list[Any]) -> None:
            for p, m, g in zip(parameters, first, gradients, strict=True):
                m.assign(0.9 * m + g)
                p.assign_sub(lr * m)

        def adam(gradients: list[Any]) -> None:
            count.assign_add(1.0)
            c1, c2 = 1 - 0.9 ** count, 1 - 0.999 ** count
            for p, m, v, g in zip(parameters, first, second, gradients, strict=True):
                m.assign(0.9 * m + 0.1 * g)
                v.assign(0.999 * v + 0.001 * g * g)
                p.assign_sub(lr * (m / c1) / (tf.sqrt(v / c2) + 1e-8))

        def step():
            with tf.GradientTape() as tape:
                value = loss(parameters)
            (sgd if rule == "sgd" else adam)(tape.gradient(value, parameters))
            return value
        return tf.function(step, jit_compile=self.xla, autograph=False)

    def mlp(self, rule: str) -> Run:
        x, y = _normal(64, 784), _labels()

        def loss(p):
            z = tf.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3]
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
        parameters = _parameters((784, (784, 256)), (784, (256,)), (256, (256, 10)), (256, (10,)))
        step = self._trainer(loss, parameters, rule, 0.1 if rule == "sgd" else 1e-3)

        def block() -> None:
            value = None
            for _ in range(BLOCK):
                value = step()
            float(value)  # type: ignore[arg-type]
        return block

    def cnn(self) -> Run:
        x, y = _normal(64, 28, 28, 1), _labels()

        def loss(p):
            h = tf.nn.relu(tf.nn.conv2d(x, p[0], 1, "VALID") + p[1])
            h = tf.nn.relu(tf.nn.conv2d(h, p[2], 1, "VALID") + p[3])
            h = tf.reshape(tf.nn.max_pool2d(h, 2, 2, "VALID"), (64, -1))
            z = tf.nn.relu(h @ p[4] + p[5]) @ p[6] + p[7]
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
        parameters = _parameters((9, (3, 3, 1, 32)), (9, (32,)), (288, (3, 3, 32, 64)), (288, (64,)),
                                 (9216, (9216, 128)), (9216, (128,)), (128, (128, 10)), (128, (10,)))
        step = self._trainer(loss, parameters, "sgd", 0.01)
        return lambda: float(step())
