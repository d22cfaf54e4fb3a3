"""CTC against torch."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from tests.nn.compare import compare, ours, randn


def through_softmax(f, log_softmax):
    return lambda x, targets, *rest, **options: f(log_softmax(x, -1), targets, *rest, **options)


OURS, THEIRS = through_softmax(F.ctc_loss, F.log_softmax), through_softmax(TF.ctc_loss, TF.log_softmax)
TARGETS = torch.tensor([[1, 2, 2, 3], [4, 1, 0, 0], [2, 0, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc(reduction, dtype):
    x = randn(9, 3, 5, dtype=dtype)
    compare(OURS, THEIRS, [x, TARGETS], (9, 7, 8), (4, 2, 1), reduction=reduction)


def test_labels_one_behind_the_other_and_another_blank():
    flat = torch.tensor([1, 2, 2, 0, 1, 3])
    compare(OURS, THEIRS, [randn(9, 3, 5), flat], (9, 7, 8), (3, 2, 1), blank=4)


def test_no_batch_axis():
    compare(OURS, THEIRS, [randn(8, 5), torch.tensor([1, 3, 3])], torch.tensor([8]).tolist(), [3])


def test_an_empty_target():
    compare(OURS, THEIRS, [randn(6, 3, 5), TARGETS], (6, 6, 6), (0, 2, 0), reduction="sum")


def test_an_impossible_target():
    x = randn(3, 3, 5)
    compare(OURS, THEIRS, [x, TARGETS], (3, 3, 3), (4, 2, 1), zero_infinity=True)
    compare(OURS, THEIRS, [x, TARGETS], (3, 3, 3), (4, 2, 1), reduction="none", grad=())


@pytest.mark.parametrize("lengths, target_lengths, options", [
    ((9, 9), (1, 1, 1), {}), ((10, 9, 9), (1, 1, 1), {}), ((9, 9, 9), (5, 1, 1), {}),
    ((9, 9, 9), (1, 1, 1), {"blank": 5}), ((9, 9, 9), (1, 1, 1), {"reduction": "best"})], ids=str)
def test_errors_are_those_of_torch(lengths, target_lengths, options):
    x = randn(9, 3, 5)
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        TF.ctc_loss(x, TARGETS, lengths, target_lengths, **options)
    with pytest.raises(theirs.type):
        F.ctc_loss(ours(x), ours(TARGETS), lengths, target_lengths, **options)
