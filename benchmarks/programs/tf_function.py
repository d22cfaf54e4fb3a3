"""The workloads in TensorFlow, whole steps under ``tf.function``, on request through XLA."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from . import tf_models
from .torch_like import BLOCK, CHAIN

Run = Callable[[], Any]
_rng = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return tf.constant(_rng.standard_normal(shape, np.float32))


def _parameters(*sizes: tuple[int, tuple[int, ...]]) -> list[Any]:
    """Uniform parameters: (fan in, shape) of each."""
    return [tf_models.uniform(fan_in, *shape) for fan_in, shape in sizes]


def _labels() -> Any:
    return tf.constant(_rng.integers(0, 10, 64))


def _cross_entropy(labels: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


Update = Callable[[list[Any]], None]


def _sgd(parameters: list[Any], lr: float, momentum: float = 0.9) -> Update:
    velocities = [tf.Variable(tf.zeros_like(p)) for p in parameters] if momentum else []

    def update(gradients: list[Any]) -> None:
        for n, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            if momentum:
                g = velocities[n].assign(momentum * velocities[n] + g)
            p.assign_sub(lr * g)
    return update


def _adam(parameters: list[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999), decay: float = 0.0) -> Update:
    first, second = ([tf.Variable(tf.zeros_like(p)) for p in parameters] for _ in range(2))
    count, (b1, b2) = tf.Variable(0.0), betas

    def update(gradients: list[Any]) -> None:
        count.assign_add(1.0)
        c1, c2 = 1 - b1 ** count, 1 - b2 ** count
        for p, m, v, g in zip(parameters, first, second, gradients, strict=True):
            m.assign(b1 * m + (1 - b1) * g)
            v.assign(b2 * v + (1 - b2) * g * g)
            p.assign(p * (1 - lr * decay) - lr * (m / c1) / (tf.sqrt(v / c2) + 1e-8))
    return update


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
            **{f"W7 resnet{n} {what}": lambda n=n, what=what: self.resnet(n, what)
               for n in (18, 50) for what in ("infer 1", "infer 8", "train 8")},
            "W8 forward": lambda: self.gpt2(False), "W8 train": lambda: self.gpt2(True),
            "W10 forward": lambda: self.lstm(False), "W10 train": lambda: self.lstm(True),
        }

    def compiled(self, f: Callable[..., Any], *inputs: Any) -> Run:
        """Run ``f`` on the inputs. On a CPU the result is there when the call returns; ``.numpy()`` would copy it."""
        graph = tf.function(f, jit_compile=self.xla, autograph=False)
        return lambda: graph(*inputs)

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
    def _trainer(self, loss: Callable[[], Any], parameters: list[Any], update: Update) -> Run:
        def step():
            with tf.GradientTape() as tape:
                value = loss()
            update([tf.convert_to_tensor(g) for g in tape.gradient(value, parameters)])
            return value
        return tf.function(step, jit_compile=self.xla, autograph=False)

    def mlp(self, rule: str) -> Run:
        x, y = _normal(64, 784), _labels()

        p = _parameters((784, (784, 256)), (784, (256,)), (256, (256, 10)), (256, (10,)))

        def loss():
            return _cross_entropy(y, tf.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3])
        step = self._trainer(loss, p, _sgd(p, 0.1) if rule == "sgd" else _adam(p, 1e-3))

        def block() -> None:
            value = None
            for _ in range(BLOCK):
                value = step()
            float(value)  # type: ignore[arg-type]
        return block

    def cnn(self) -> Run:
        x, y = _normal(64, 28, 28, 1), _labels()
        p = _parameters((9, (3, 3, 1, 32)), (9, (32,)), (288, (3, 3, 32, 64)), (288, (64,)), (9216, (9216, 128)),
                        (9216, (128,)), (128, (128, 10)), (128, (10,)))

        def loss():
            h = tf.nn.relu(tf.nn.conv2d(x, p[0], 1, "VALID") + p[1])
            h = tf.nn.relu(tf.nn.conv2d(h, p[2], 1, "VALID") + p[3])
            h = tf.reshape(tf.nn.max_pool2d(h, 2, 2, "VALID"), (64, -1))
            return _cross_entropy(y, tf.nn.relu(h @ p[4] + p[5]) @ p[6] + p[7])
        step = self._trainer(loss, p, _sgd(p, 0.01))
        return lambda: float(step())

    def resnet(self, depth: int, what: str) -> Run:
        kind, batch = what.split()
        parameters, network = tf_models.resnet(depth)
        x = _normal(int(batch), 224, 224, 3)
        if kind == "infer":
            return self.compiled(lambda x: network(x, False), x)
        y = tf.constant(_rng.integers(0, 1000, int(batch)))
        step = self._trainer(lambda: _cross_entropy(y, network(x, True)), parameters, _sgd(parameters, 0.1))
        return lambda: float(step())

    def gpt2(self, train: bool) -> Run:
        parameters, network = tf_models.gpt2()
        ids, y = (tf.constant(_rng.integers(0, 50257, (4, 256))) for _ in range(2))
        if not train:
            return self.compiled(network, ids)
        step = self._trainer(lambda: _cross_entropy(y, network(ids)), parameters,
                             _adam(parameters, 3e-4, (0.9, 0.95), 0.1))
        return lambda: float(step())

    def lstm(self, train: bool) -> Run:
        parameters, network = tf_models.lstm()
        x = _normal(32, 128, 256)
        if not train:
            return self.compiled(network, x)
        step = self._trainer(lambda: tf.reduce_mean(network(x) ** 2), parameters, _sgd(parameters, 0.01, 0.0))
        return lambda: float(step())
