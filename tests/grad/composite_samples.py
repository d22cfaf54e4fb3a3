"""Operands of the composites that have a derivative of their own."""
from __future__ import annotations

from typing import Any

import numpy as np

from tests.null.primitive_samples import Sample, apart, between, normal, other

X = (3, 4)


def s(value: float) -> np.ndarray:
    return np.asarray(float(value))


def _make(name: str, arrays: list[np.ndarray], attrs: tuple = (), label: str = "") -> Sample:
    return Sample(name, attrs, arrays, label=label)


ACTIVATIONS: dict[str, list[float]] = {
    "relu": [], "silu": [], "elu": [1.3], "celu": [1.3], "selu": [], "leaky_relu": [0.1], "threshold": [0.2, 0.7],
    "hardtanh": [-0.5, 0.9], "softplus": [1.5, 20], "softsign": [], "mish": [], "logsigmoid": [], "tanhshrink": [],
    "softshrink": [0.3], "hardshrink": [0.3], "square": [], "cube": [], "reciprocal": [], "frac": [], "asinh": [],
}
SCALARS = {"add": 1.3, "sub": 1.3, "rsub": 1.3, "mul": 1.3, "div": 1.3, "rdiv": 1.3, "floor_divide": 1.3,
           "remainder": 1.3, "fmod": 1.3, "clamp_min": 0.1, "clamp_max": 0.1}
PAIRS = ("fmax", "fmin", "logaddexp", "logaddexp2")
ALONG = ("mean", "nansum", "nanmean", "logsumexp")
PICKED = ("max_with_index", "min_with_index", "median", "nanmedian")
LOSSES: dict[str, list[np.ndarray]] = {
    "mse_loss": [normal(*X), other(*X)], "l1_loss": [normal(*X), other(*X)],
    "smooth_l1_loss": [normal(*X), other(*X), s(0.7)], "huber_loss": [normal(*X), other(*X), s(0.7)],
    "binary_cross_entropy": [between(0.1, 0.9, *X), between(0.2, 0.8, *X), other(*X)],
    "bce_with_logits": [normal(*X), between(0.2, 0.8, *X)], "soft_margin_loss": [normal(*X), np.sign(other(*X))],
}


def _recurrent(mode: str, projected: bool = False, biased: bool = True, backwards: bool = False, steps: int = 3
               ) -> Sample:
    gates, hidden, rows = {"LSTM": 4, "GRU": 3}.get(mode, 1), 4, 2
    width = 3 if projected else hidden
    arrays = [normal(steps, rows, gates * hidden), other(gates * hidden, width), apart(rows, width)]
    arrays += [normal(width, hidden)] * projected + [other(rows, hidden)] * (mode == "LSTM")
    arrays += [normal(gates * hidden), other(gates * hidden)] * biased
    return _make("recurrent", arrays, (mode, projected, biased, backwards),
                 f"{mode}{projected:d}{biased:d}{backwards:d}{steps}")


def samples() -> list[Sample]:
    """One call or more of each."""
    found = [_make(n, [apart(*X), *map(s, more)]) for n, more in ACTIVATIONS.items()]
    found += [_make(f"{n}_scalar", [apart(*X), s(v)]) for n, v in SCALARS.items()]
    found += [_make(n, [apart(*X), other(*X)]) for n in PAIRS]
    found += [_make(n, [normal(2, 3, 4)], ((0, 2), keep), str(keep)) for n in ALONG for keep in (False, True)]
    found += [_make(n, [normal(2, 3, 4)], ((1,), 1, keep), str(keep)) for n in ("var", "std", "var_mean")
              for keep in (False, True)]
    found += [_make(n, [apart(*X)], (1, False)) for n in PICKED]
    found += [_make(n, list(xs), (reduction,), reduction) for n, xs in LOSSES.items()
              for reduction in ("none", "sum", "mean")]
    weights: list[Any] = [normal(4), other(4)]
    labels = np.asarray([1, 0, 2])
    found += [
        *(_make("gelu", [normal(*X)], (kind,), kind) for kind in ("none", "tanh")),
        *(_recurrent(*row) for row in (
            ("LSTM",), ("LSTM", True, False, True), ("LSTM", False, True, False, 1), ("GRU",),
            ("GRU", False, False, True), ("RNN_TANH",), ("RNN_TANH", False, False, True), ("RNN_RELU",))),
        _make("hardsigmoid", [apart(*X)]), _make("hardswish", [apart(*X)]),
        _make("prelu", [apart(*X), normal(4)]), _make("glu", [normal(*X)], (1,)),
        _make("matmul", [normal(2, 3, 4), other(4, 5)]), _make("matmul", [normal(4), other(4)], label="vectors"),
        _make("linear", [normal(*X), other(5, 4), normal(5)]), _make("linear", [normal(4), other(5, 4)], label="row"),
        _make("layer_norm", [normal(*X), s(1e-3), *weights], (1, True, True)),
        _make("layer_norm", [normal(*X), s(1e-3)], (2, False, False), "plain"),
        _make("rms_norm", [normal(*X), s(1e-3), weights[0]], (1,)),
        _make("group_norm", [normal(2, 4, 3), s(1e-3), *weights], (2, True, True)),
        _make("log10", [between(0.2, 3, *X)]), _make("acosh", [between(1.2, 3, *X)]),
        _make("atanh", [between(-0.8, 0.8, *X)]),
        _make("add_scaled", [normal(*X), other(*X), s(0.7)]),
        _make("addcmul", [normal(*X), other(*X), apart(*X), s(0.7)]),
        _make("addcdiv", [normal(*X), other(*X), apart(*X), s(0.7)]),
        _make("lerp_scalar", [normal(*X), other(*X), s(0.3)]), _make("lerp", [normal(*X), other(*X), apart(*X)]),
        _make("sum_keep", [normal(2, 3, 4)], ((0, 2),)),
        *(_make("norm", [normal(2, 3, 4)], (p, (1,), False), str(p)) for p in (1.0, 2.0, 3.0, float("inf"))),
        _make("kthvalue", [apart(*X)], (1, 2, False)), _make("cummax_with_index", [apart(*X)], (1,)),
        _make("cummin_with_index", [apart(*X)], (0,)),
        _make("pow_scalar", [between(0.3, 2, *X), s(2.5)]), _make("rpow_scalar", [normal(*X), s(1.7)]),
        _make("clamp_scalar", [apart(*X), s(-0.5), s(0.6)]),
        _make("softmax", [normal(*X)], (1,)), _make("log_softmax", [normal(*X)], (0,)),
        *(_make("nll_loss", [normal(*X), labels, between(0.5, 1, 4)], (-100, r), r) for r in ("none", "sum", "mean")),
        *(_make("cross_entropy", [normal(*X), labels, s(0.1), between(0.5, 1, 4)], (-100, r, True), r)
          for r in ("none", "sum", "mean")),
        *(_make("cross_entropy_soft", [normal(*X), between(0, 1, *X), s(0.1), between(0.5, 1, 4)], (r, True), r)
          for r in ("none", "sum", "mean")),
        _make("masked_fill", [normal(*X), apart(*X) > 0, s(0.5)]), _make("tril", [normal(*X)], (0,)),
        _make("triu", [normal(*X)], (1,)),
        _make("gather", [normal(*X), np.asarray([[0, 3], [1, 1], [2, 0]])], (1, "strict")),
    ]
    return found

