"""ResNet, GPT-2 and LSTM in TensorFlow: ``(parameters, network)`` of each, as in ``models``; images are NHWC."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from .models import Conv, residual_blocks

Network = Callable[..., Any]
_rng = np.random.default_rng(0)


def _normal(scale: float, *shape: int) -> Any:
    return tf.Variable(_rng.standard_normal(shape, np.float32) * np.float32(scale))


def uniform(fan_in: int, *shape: int) -> Any:
    """A parameter of uniform numbers, as ``Linear`` begins with."""
    return tf.Variable(_rng.uniform(-1, 1, shape).astype(np.float32) / fan_in ** 0.5)


def _ones(size: int) -> Any:
    return tf.Variable(tf.ones(size))


def _zeros(size: int) -> Any:
    return tf.Variable(tf.zeros(size))


class _Unit:
    """A convolution and its batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        self.pad, self.stride = kernel // 2, stride
        self.weight = _normal((2 / (kernel * kernel * inputs)) ** 0.5, kernel, kernel, inputs, outputs)
        self.scale, self.shift = _ones(outputs), _zeros(outputs)
        self.mean, self.variance = _zeros(outputs), _ones(outputs)

    def __call__(self, x: Any, train: bool) -> Any:
        p = self.pad
        x = tf.nn.conv2d(x, self.weight, self.stride, [[0, 0], [p, p], [p, p], [0, 0]])
        norm = tf.compat.v1.nn.fused_batch_norm
        if not train:
            return norm(x, self.scale, self.shift, self.mean, self.variance, epsilon=1e-5, is_training=False)[0]
        x, mean, variance = norm(x, self.scale, self.shift, epsilon=1e-5, is_training=True)
        self.mean.assign(0.9 * self.mean + 0.1 * mean)
        self.variance.assign(0.9 * self.variance + 0.1 * variance)
        return x


def resnet(depth: int) -> tuple[list[Any], Network]:
    """``network(images, train)``."""
    units: list[_Unit] = []

    def unit(conv: Conv) -> _Unit:
        units.append(_Unit(*conv))
        return units[-1]
    stem = unit((3, 64, 7, 2))
    blocks = [([unit(conv) for conv in convs], None if down is None else unit(down))
              for convs, down in residual_blocks(depth)]
    weight, bias = _normal(0.01, units[-1].shift.shape[0], 1000), _zeros(1000)

    def network(x: Any, train: bool) -> Any:
        x = tf.nn.relu(stem(x, train))
        x = tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")
        for convs, down in blocks:
            y = x
            for conv in convs[:-1]:
                y = tf.nn.relu(conv(y, train))
            x = tf.nn.relu(convs[-1](y, train) + (x if down is None else down(x, train)))
        return tf.reduce_mean(x, (1, 2)) @ weight + bias
    return [p for u in units for p in (u.weight, u.scale, u.shift)] + [weight, bias], network


def gpt2(vocabulary: int = 50257, positions: int = 1024, width: int = 768, depth: int = 12, heads: int = 12
         ) -> tuple[list[Any], Network]:
    """``network(ids)``: the logits."""
    parameters: list[Any] = []

    def keep(*made: Any) -> tuple[Any, ...]:
        parameters.extend(made)
        return made

    def norm() -> tuple[Any, ...]:
        return keep(_ones(width), _zeros(width))

    def linear(inputs: int, outputs: int) -> tuple[Any, ...]:
        return keep(_normal(0.02, inputs, outputs), _zeros(outputs))
    tokens, places = keep(_normal(0.02, vocabulary, width), _normal(0.02, positions, width))
    blocks = [(norm(), linear(width, 3 * width), linear(width, width), norm(), linear(width, 4 * width),
               linear(4 * width, width)) for _ in range(depth)]
    last = norm()

    def normed(x: Any, scale: Any, shift: Any) -> Any:
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-5) * scale + shift

    def apply(x: Any, weight: Any, bias: Any) -> Any:
        flat = tf.reshape(x, (-1, x.shape[-1])) @ weight + bias
        return tf.reshape(flat, (*x.shape[:-1], weight.shape[1]))

    def attention(x: Any, qkv: tuple[Any, ...], out: tuple[Any, ...]) -> Any:
        batch, length, _ = x.shape
        q, k, v = (tf.transpose(tf.reshape(part, (batch, length, heads, width // heads)), (0, 2, 1, 3))
                   for part in tf.split(apply(x, *qkv), 3, -1))
        scores = tf.matmul(q, k, transpose_b=True) / (width // heads) ** 0.5
        seen = tf.linalg.band_part(tf.ones((length, length)), -1, 0) > 0
        y = tf.matmul(tf.nn.softmax(tf.where(seen, scores, -1e9)), v)
        return apply(tf.reshape(tf.transpose(y, (0, 2, 1, 3)), (batch, length, width)), *out)

    def network(ids: Any) -> Any:
        x = tf.gather(tokens, ids) + tf.gather(places, tf.range(ids.shape[1]))
        for norm1, qkv, out, norm2, up, down in blocks:
            x = x + attention(normed(x, *norm1), qkv, out)
            x = x + apply(tf.nn.gelu(apply(normed(x, *norm2), *up), approximate=True), *down)
        flat = tf.reshape(normed(x, *last), (-1, width))
        return tf.reshape(tf.matmul(flat, tokens, transpose_b=True), (*ids.shape, vocabulary))
    return parameters, network


def lstm(inputs: int = 256, size: int = 512) -> tuple[list[Any], Network]:
    """``network(x)``: the outputs, time first; the product with the inputs is outside of the loop."""
    of_input, of_state, bias = (uniform(size, *shape) for shape in
                                ((inputs, 4 * size), (size, 4 * size), (4 * size,)))

    def cell(state: Any, given: Any) -> Any:
        h, c = state
        i, f, g, o = tf.split(given + h @ of_state, 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(c), c

    def network(x: Any) -> Any:
        batch, length, _ = x.shape
        given = tf.reshape(tf.reshape(x, (-1, inputs)) @ of_input + bias, (batch, length, 4 * size))
        zeros = tf.zeros((batch, size))
        return tf.scan(cell, tf.transpose(given, (1, 0, 2)), (zeros, zeros))[0]
    return [of_input, of_state, bias], network
