"""Second derivatives on the tape (``create_graph=True``) against torch: of each function, and through its results."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gemel

X = np.random.default_rng(0).standard_normal((2, 4, 6, 6))
Function = Callable[[Any, Any], Any]


def zeros(m: Any, *shape: int, dtype: str = "float64") -> Any:
    return m.zeros(*shape, dtype=getattr(m, dtype))


def eye(m: Any, scale: float = 1.0) -> Any:
    return scale * m.eye(6, dtype=m.float64)


FUNCTIONS: dict[str, Function] = {
    "layer_norm": lambda m, x: m.nn.functional.layer_norm(x, (6, 6)),
    "rms_norm": lambda m, x: m.nn.functional.rms_norm(x, (6,)),
    "group_norm": lambda m, x: m.nn.functional.group_norm(x, 2),
    "instance_norm": lambda m, x: m.nn.functional.instance_norm(x),
    "batch_norm": lambda m, x: m.nn.functional.batch_norm(x, zeros(m, 4), zeros(m, 4) + 1, training=True),
    "batch_norm_eval": lambda m, x: m.nn.functional.batch_norm(x, zeros(m, 4), zeros(m, 4) + 1),
    "softmax": lambda m, x: m.softmax(x, 1), "log_softmax": lambda m, x: m.log_softmax(x, 1),
    "logsumexp": lambda m, x: m.logsumexp(x, (1, 2)), "vector_norm": lambda m, x: m.linalg.vector_norm(x, 3, dim=1),
    "std": lambda m, x: x.std(1), "var_mean": lambda m, x: m.var_mean(x, 1)[0],
    "max_pool2d": lambda m, x: m.nn.functional.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda m, x: m.nn.functional.avg_pool2d(x, 3, 2, 1),
    "lp_pool2d": lambda m, x: m.nn.functional.lp_pool2d(x.abs(), 2.0, 2),
    "adaptive_max_pool2d": lambda m, x: m.nn.functional.adaptive_max_pool2d(x, 3),
    "cross_entropy": lambda m, x: m.nn.functional.cross_entropy(
        x.reshape(2, 4, 36), zeros(m, 2, 36, dtype="int64"), label_smoothing=0.1),
    "nll_loss": lambda m, x: m.nn.functional.nll_loss(x.reshape(2, 4, 36).sin(), zeros(m, 2, 36, dtype="int64")),
    "huber_loss": lambda m, x: m.nn.functional.huber_loss(x, x.flip(0)),
    "kl_div": lambda m, x: m.nn.functional.kl_div(m.log_softmax(x, 1), m.softmax(x.flip(1), 1)),
    "local_response_norm": lambda m, x: m.nn.functional.local_response_norm(x, 3),
    "normalize": lambda m, x: m.nn.functional.normalize(x),
    "cosine_similarity": lambda m, x: m.nn.functional.cosine_similarity(x, x.flip(0) * 2 + 1),
    "interpolate": lambda m, x: m.nn.functional.interpolate(x, (9, 9), mode="bicubic"),
    "grid_sample": lambda m, x: m.nn.functional.grid_sample(
        x, m.tanh(x[:, :2].permute(0, 2, 3, 1)), align_corners=False),
    "conv2d": lambda m, x: m.nn.functional.conv2d(x, x[:, :, :3, :3] * 1),
    "conv_transpose2d": lambda m, x: m.nn.functional.conv_transpose2d(
        x, x[:1, :, :3, :3].permute(1, 0, 2, 3) * 1, stride=2),
    **{name: lambda m, x, name=name: getattr(m.nn.functional, name)(x)
       for name in ("gelu", "silu", "mish", "elu", "softplus", "glu")},
    **{name: lambda m, x, name=name: getattr(x, name)(1)
       for name in ("prod", "cumprod", "cumsum", "logcumsumexp", "amax")},
    **{name: lambda m, x, name=name: getattr(x, name)(1).values for name in ("sort", "median", "cummax", "max")},
    "topk": lambda m, x: x.topk(2, 1).values, "kthvalue": lambda m, x: x.kthvalue(2, 1).values,
    "quantile": lambda m, x: x.quantile(0.3, 1), "index": lambda m, x: x[:, [0, 0, 2]],
    "gather": lambda m, x: x.gather(1, zeros(m, 2, 2, 6, 6, dtype="int64")),
    "scatter_add": lambda m, x: zeros(m, 2, 4, 6, 6).scatter_add(1, zeros(m, 2, 4, 6, 6, dtype="int64"), x),
    "unfold": lambda m, x: x.unfold(2, 3, 2), "tril": lambda m, x: x.tril(),
    "renorm": lambda m, x: m.renorm(x, 2, 1, 0.5), "lerp": lambda m, x: m.lerp(x, x * 2, x.sin()),
    "atan2": lambda m, x: m.atan2(x, x.flip(0) + 2), "pow": lambda m, x: (x.abs() + 1) ** (x * 0.5),
    "matmul": lambda m, x: x @ x.transpose(2, 3), "einsum": lambda m, x: m.einsum("abcd,abce->ade", x, x),
    "det": lambda m, x: m.linalg.det(x), "slogdet": lambda m, x: m.linalg.slogdet(x)[1],
    "inv": lambda m, x: m.linalg.inv(x + eye(m, 5)), "solve": lambda m, x: m.linalg.solve(x + eye(m, 5), x),
    "cholesky": lambda m, x: m.linalg.cholesky(x @ x.transpose(2, 3) + eye(m)),
    "svdvals": lambda m, x: m.linalg.svd(x)[1], "eigh": lambda m, x: m.linalg.eigh(x @ x.transpose(2, 3))[0],
    "matrix_exp": lambda m, x: m.linalg.matrix_exp(x / 5), "pinv": lambda m, x: m.linalg.pinv(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivative(name: str) -> None:
    def run(m: Any) -> list[np.ndarray]:
        x = m.tensor(X, requires_grad=True)
        y = FUNCTIONS[name](m, x)
        weights = m.tensor(np.cos(np.arange(y.numel())).reshape(tuple(y.shape)))
        first, = m.autograd.grad((y ** 2 * weights + y * weights).sum(), [x], create_graph=True)
        second, = m.autograd.grad((first.sin() * 2 + first ** 2).sum(), [x])
        return [first.detach().numpy(), second.numpy()]
    for ours, theirs in zip(run(gemel), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
