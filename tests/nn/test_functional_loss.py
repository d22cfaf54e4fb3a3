"""Losses and distances against torch."""
from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from gemel import debug
from gemel.engine.base.flags import override
from tests.nn.compare import backward, compare, ones_like, ours, randn, to_numpy

REDUCTIONS = ("mean", "sum", "none")
F64, F32 = torch.float64, torch.float32


def probabilities(*shape: int, dtype=F64, seed: int = 0) -> torch.Tensor:
    return torch.sigmoid(randn(*shape, dtype=torch.float64, seed=seed)).to(dtype)


def signs(*shape: int, dtype=F64) -> torch.Tensor:
    return torch.where(randn(*shape, seed=9) > 0, 1.0, -1.0).to(dtype)


def pairs(dtype):
    x, t = randn(3, 4, dtype=dtype), randn(3, 4, dtype=dtype, seed=1)
    p, q = probabilities(3, 4, dtype=dtype), probabilities(3, 4, dtype=dtype, seed=1)
    return [
        ("mse_loss", [x, t], {}), ("l1_loss", [x, t], {}), ("smooth_l1_loss", [x, t], {}),
        ("smooth_l1_loss", [x, t], {"beta": 0.4}), ("smooth_l1_loss", [x, t], {"beta": 0}),
        ("huber_loss", [x, t], {}), ("huber_loss", [x, t], {"delta": 0.3}),
        ("binary_cross_entropy", [p, q], {}), ("binary_cross_entropy", [p, q], {"weight": q}),
        ("binary_cross_entropy_with_logits", [x, q], {}),
        ("binary_cross_entropy_with_logits", [x, q], {"pos_weight": q[0], "weight": p[:, :1]}),
        ("kl_div", [torch.log(p), q], {}), ("kl_div", [torch.log(p), torch.log(q)], {"log_target": True}),
        ("poisson_nll_loss", [x, q * 4], {"full": True}), ("poisson_nll_loss", [p, q], {"log_input": False}),
        ("gaussian_nll_loss", [x, t, q], {}), ("gaussian_nll_loss", [x, t, q[:, :1]], {"full": True}),
        ("hinge_embedding_loss", [x, signs(3, 4, dtype=dtype)], {"margin": 0.5}),
        ("soft_margin_loss", [x, signs(3, 4, dtype=dtype)], {}),
        ("margin_ranking_loss", [x, t, signs(3, 4, dtype=dtype)], {"margin": 0.3}),
        ("multilabel_soft_margin_loss", [x, q], {}), ("multilabel_soft_margin_loss", [x, q], {"weight": p[0]}),
        ("triplet_margin_loss", [x, t, p], {}), ("triplet_margin_loss", [x, t, p], {"swap": True, "p": 1.0}),
        ("triplet_margin_with_distance_loss", [x, t, p], {"swap": True}),
        ("cosine_embedding_loss", [x, t, signs(3, dtype=dtype)], {"margin": 0.1}),
    ]


NO_TARGET_GRADIENT = {"soft_margin_loss": [0], "hinge_embedding_loss": [0], "margin_ranking_loss": [0, 1],
                      "cosine_embedding_loss": [0, 1], "poisson_nll_loss": [0], "multilabel_soft_margin_loss": [0]}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_elementwise_losses(dtype, reduction):
    for name, tensors, kwargs in pairs(dtype):
        compare(getattr(F, name), getattr(TF, name), tensors, reduction=reduction, grad=NO_TARGET_GRADIENT.get(name),
                **kwargs)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_half_precision():
    for name, tensors, kwargs in pairs(torch.bfloat16):
        if name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div") and not kwargs:
            compare(getattr(F, name), getattr(TF, name), tensors, rtol=2e-2, grad=[])


def test_weighted_regression_and_batchmean():
    x, t, w = randn(3, 4), randn(3, 4, seed=1), probabilities(3, 4)
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        for reduction in REDUCTIONS:
            compare(getattr(F, name), getattr(TF, name), [x, t], reduction=reduction, weight=w)
    compare(F.kl_div, TF.kl_div, [torch.log(w), w], reduction="batchmean")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2), (6,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_indices(shape, weighted, reduction):
    n_classes = shape[1] if len(shape) > 1 else shape[0]
    x = randn(*shape)
    target = torch.randint(0, n_classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if target.ndim:
        target.view(-1)[1] = -100
    kwargs = {"weight": probabilities(n_classes)} if weighted else {}
    for smoothing in (0.0, 0.2):
        compare(F.cross_entropy, TF.cross_entropy, [x, target], reduction=reduction, label_smoothing=smoothing,
                **kwargs)
    compare(F.nll_loss, TF.nll_loss, [x, target], reduction=reduction, **kwargs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_probabilities(weighted, reduction):
    kwargs = {"weight": probabilities(4, seed=3)} if weighted else {}
    for shape in ((3, 4), (2, 4, 3)):
        x, target = randn(*shape), torch.softmax(randn(*shape, seed=1), 1)
        for smoothing in (0.0, 0.3):
            compare(F.cross_entropy, TF.cross_entropy, [x, target], reduction=reduction, label_smoothing=smoothing,
                    **kwargs)


@pytest.mark.parametrize("dtype", [F32, torch.bfloat16, torch.float16], ids=str)
def test_cross_entropy_in_other_dtypes(dtype):
    x, target = randn(6, 10, dtype=dtype), torch.randint(0, 10, (6,))
    compare(F.cross_entropy, TF.cross_entropy, [x, target], rtol=2e-2 if dtype is not F32 else None)


def test_ignore_index_and_large_logits():
    x, target = randn(5, 3) * 1000, torch.tensor([0, 1, 1, 2, 1])
    compare(F.cross_entropy, TF.cross_entropy, [x, target], ignore_index=1)
    compare(F.cross_entropy, TF.cross_entropy, [x, torch.full((5,), 1)], ignore_index=1, reduction="sum")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_margins_of_classes(reduction):
    x = randn(4, 5)
    target = torch.tensor([0, 4, 2, 2])
    for p in (1, 2):
        compare(F.multi_margin_loss, TF.multi_margin_loss, [x, target], p=p, margin=0.7, reduction=reduction)
        compare(F.multi_margin_loss, TF.multi_margin_loss, [x, target], p=p, reduction=reduction,
                weight=probabilities(5))
    labels = torch.tensor([[0, 2, -1, 3, -1], [1, -1, 0, 0, 0], [-1, 0, 0, 0, 0], [4, 3, 2, 1, 0]])
    compare(F.multilabel_margin_loss, TF.multilabel_margin_loss, [x, labels], reduction=reduction)
    compare(F.multilabel_margin_loss, TF.multilabel_margin_loss, [x[0], labels[0]], reduction=reduction)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_distances(p):
    x, y = randn(4, 6), randn(4, 6, seed=1)
    compare(F.pairwise_distance, TF.pairwise_distance, [x, y], p=p, keepdim=True)
    compare(F.pairwise_distance, TF.pairwise_distance, [x, y[:1]], p=p)
    compare(F.pdist, TF.pdist, [x], p=p)
    compare(F.cosine_similarity, TF.cosine_similarity, [x, y])
    compare(F.cosine_similarity, TF.cosine_similarity, [randn(2, 3, 4), randn(3, 1)], dim=-2)


@pytest.mark.parametrize("tier", ["interpreter", "0", "1"])
def test_every_tier(tier):
    with override(TIER=tier):
        test_cross_entropy_with_indices((5, 7), True, "mean")
        for name, tensors, kwargs in pairs(F32)[:12:2]:
            compare(getattr(F, name), getattr(TF, name), tensors, **kwargs)


def test_broadcast_warns():
    with pytest.warns(UserWarning, match="Using a target size"):
        F.mse_loss(ours(randn(3, 1)), ours(randn(3)))


@pytest.mark.parametrize("call, error, message", [
    (lambda: F.mse_loss(ours(randn(3)), ours(randn(3)), reduction="avg"), ValueError, "avg is not a valid value"),
    (lambda: F.cross_entropy(ours(randn(3, 4)), ours(torch.zeros(2, dtype=torch.int64))), ValueError,
     r"Expected input batch_size \(3\) to match target batch_size \(2\)"),
    (lambda: F.cross_entropy(ours(randn(3, 4)), ours(torch.zeros(3))), RuntimeError, "expected scalar type Long"),
    (lambda: F.cross_entropy(ours(randn(3, 4)), ours(torch.zeros(3, dtype=torch.int64)), label_smoothing=1.5),
     RuntimeError, "label_smoothing must be between"),
    (lambda: F.cross_entropy(ours(randn(3, 4)), ours(torch.zeros(3, dtype=torch.int64)), ours(randn(3))), RuntimeError,
     "weight tensor should be defined"),
    (lambda: F.binary_cross_entropy(ours(probabilities(3)), ours(probabilities(2))), ValueError, "target size"),
    (lambda: F.binary_cross_entropy_with_logits(ours(randn(3)), ours(randn(2))), ValueError,
     r"Target size \(\[2\]\) must be the same as input size \(\[3\]\)"),
    (lambda: F.huber_loss(ours(randn(3)), ours(randn(3)), delta=0), RuntimeError, "non-positive values for delta"),
    (lambda: F.multi_margin_loss(ours(randn(3, 4)), ours(torch.zeros(3, dtype=torch.int64)), p=3), ValueError,
     "only p == 1 and p == 2"),
])
def test_errors(call, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=message):
            call()


def test_a_class_index_out_of_range_is_found_at_run_time():
    loss = F.cross_entropy(ours(randn(3, 4)), ours(torch.tensor([0, 4, 1])))
    with pytest.raises(IndexError, match="Target is out of bounds"):
        to_numpy(loss)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        to_numpy(F.binary_cross_entropy(ours(randn(3) * 9), ours(probabilities(3))))


def test_kernel_counts():
    """cross_entropy: the rows and their mean; backward one kernel."""
    with override(TIER="1"):
        x = ours(randn(64, 256, dtype=F32)).requires_grad_()
        target = ours(torch.arange(64))
        with debug.counting() as seen:
            y = F.cross_entropy(x, target)
            y.detach().numpy()
        assert seen["calls"] <= 4
        g = ones_like(y)
        with debug.counting() as seen:
            backward([y], [g])
            x.grad.numpy()
        assert seen["calls"] <= 2
