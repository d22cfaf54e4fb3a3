"""ResNet, GPT-2 and LSTM in JAX: ``(parameters, network)`` of each, as in ``models``; images are NHWC."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np

from .models import Conv, residual_blocks

Network = Callable[..., Any]
_rng = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    """Standard normal numbers."""
    return jnp.asarray(_rng.standard_normal(shape, np.float32))


def uniform(fan_in: int, *shape: int) -> Any:
    """Uniform numbers, as ``Linear`` begins with."""
    return jnp.asarray(_rng.uniform(-1, 1, shape).astype(np.float32) / fan_in ** 0.5)


def _unit(conv: Conv) -> dict[str, Any]:
    """A convolution and its batch norm: parameters."""
    inputs, outputs, kernel, _ = conv
    return {"weight": (2 / (kernel * kernel * inputs)) ** 0.5 * normal(kernel, kernel, inputs, outputs),
            "scale": jnp.ones(outputs), "shift": jnp.zeros(outputs)}


def _statistics(conv: Conv) -> dict[str, Any]:
    return {"mean": jnp.zeros(conv[1]), "variance": jnp.ones(conv[1])}


def resnet(depth: int) -> tuple[list[Any], list[Any], Network]:
    """Parameters, running statistics, and ``network(parameters, statistics, images, train)``: (logits, statistics)."""
    blocks = residual_blocks(depth)
    convs: list[Conv] = [(3, 64, 7, 2)]
    for inner, down in blocks:
        convs += [*inner, *([down] if down else [])]
    head = {"weight": 0.01 * normal(convs[-1][1], 1000), "bias": jnp.zeros(1000)}

    def network(parameters: list[Any], statistics: list[Any], x: Any, train: bool) -> tuple[Any, list[Any]]:
        units, kept = iter(zip(convs, parameters, statistics, strict=False)), []

        def unit(x: Any) -> Any:
            (_, _, kernel, stride), p, s = next(units)
            x = jax.lax.conv_general_dilated(x, p["weight"], (stride, stride), [(kernel // 2, kernel // 2)] * 2,
                                             dimension_numbers=("NHWC", "HWIO", "NHWC"))
            now = {"mean": x.mean((0, 1, 2)), "variance": x.var((0, 1, 2))} if train else s
            kept.append({name: 0.9 * s[name] + 0.1 * now[name] for name in s})
            scale = p["scale"] * jax.lax.rsqrt(now["variance"] + 1e-5)
            return x * scale + (p["shift"] - now["mean"] * scale)

        x = jax.nn.relu(unit(x))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1),
                                  [(0, 0), (1, 1), (1, 1), (0, 0)])
        for inner, down in blocks:
            y = x
            for _ in inner[:-1]:
                y = jax.nn.relu(unit(y))
            y = unit(y)
            x = jax.nn.relu(y + (unit(x) if down else x))
        return x.mean((1, 2)) @ parameters[-1]["weight"] + parameters[-1]["bias"], kept
    return [*map(_unit, convs), head], [*map(_statistics, convs)], network


def gpt2(vocabulary: int = 50257, positions: int = 1024, width: int = 768, depth: int = 12, heads: int = 12
         ) -> tuple[dict[str, Any], Network]:
    """``network(parameters, ids)``: the logits."""
    def norm() -> tuple[Any, Any]:
        return jnp.ones(width), jnp.zeros(width)

    def linear(inputs: int, outputs: int) -> tuple[Any, Any]:
        return 0.02 * normal(inputs, outputs), jnp.zeros(outputs)

    def normed(x: Any, scale: Any, shift: Any) -> Any:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    def attention(x: Any, qkv: tuple[Any, Any], out: tuple[Any, Any]) -> Any:
        batch, length, _ = x.shape
        q, k, v = (part.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
                   for part in jnp.split(x @ qkv[0] + qkv[1], 3, -1))
        scores = q @ k.transpose(0, 1, 3, 2) / (width // heads) ** 0.5
        y = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -1e9), -1) @ v
        return y.transpose(0, 2, 1, 3).reshape(batch, length, width) @ out[0] + out[1]

    def network(p: dict[str, Any], ids: Any) -> Any:
        x = p["tokens"][ids] + p["positions"][:ids.shape[1]]
        for norm1, qkv, out, norm2, up, down in p["blocks"]:
            x = x + attention(normed(x, *norm1), qkv, out)
            x = x + jax.nn.gelu(normed(x, *norm2) @ up[0] + up[1], approximate=True) @ down[0] + down[1]
        return normed(x, *p["norm"]) @ p["tokens"].T
    blocks = [(norm(), linear(width, 3 * width), linear(width, width), norm(), linear(width, 4 * width),
               linear(4 * width, width)) for _ in range(depth)]
    return {"tokens": 0.02 * normal(vocabulary, width), "positions": 0.02 * normal(positions, width),
            "blocks": blocks, "norm": norm()}, network


def lstm(inputs: int = 256, size: int = 512) -> tuple[list[Any], Network]:
    """``network(parameters, x)``: the outputs, time first; the product with the inputs is outside of the loop."""
    def network(p: list[Any], x: Any) -> Any:
        of_input, of_state, bias = p

        def cell(state: Any, given: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(given + h @ of_state, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        zeros = jnp.zeros((x.shape[0], size))
        return jax.lax.scan(cell, (zeros, zeros), (x @ of_input + bias).transpose(1, 0, 2))[1]
    return [uniform(size, *shape) for shape in ((inputs, 4 * size), (size, 4 * size), (4 * size,))], network
