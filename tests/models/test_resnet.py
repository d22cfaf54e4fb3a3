"""ResNet against the same program on PyTorch, in float64: loss, gradients, statistics, an optimizer step in place."""
from __future__ import annotations

import pytest
import torch

import gemel
from gemel import debug
from gemel.vision import models

from .reference import numbers, on_torch, relative_error, share_state

reference = on_torch("vision/models/resnet.py")


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_sizes_and_names_are_torchvisions(name, count):
    model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) == count
    keys = list(model.state_dict())
    assert keys[0] == "conv1.weight" and keys[-1] == "fc.bias"
    assert {"bn1.num_batches_tracked", "layer2.0.downsample.1.running_var", "layer4.1.conv2.weight"} <= set(keys)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_training_step(name):
    torch.manual_seed(0)
    theirs = getattr(reference, name)(num_classes=10).double()
    ours = getattr(models, name)(num_classes=10).double()
    share_state(theirs, ours)
    x, y = torch.randn(2, 3, 40, 40, dtype=torch.float64), torch.tensor([3, 7])
    their_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    our_optimizer = gemel.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    want = torch.nn.functional.cross_entropy(theirs(x), y)
    got = gemel.nn.functional.cross_entropy(ours(gemel.tensor(x.numpy())), gemel.tensor(y.numpy()))
    want.backward()
    got.backward()
    assert relative_error(got, want) < 1e-9
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert relative_error(p.grad, q.grad) < 1e-5, key
    places = [p._read().buffer.ptr for p in ours.parameters()]
    their_optimizer.step()
    our_optimizer.step()
    assert [p._read().buffer.ptr for p in ours.parameters()] == places  # updated in place
    for key, value in theirs.state_dict().items():
        assert relative_error(ours.state_dict()[key], value) < 1e-6, key
    ours.eval()
    theirs.eval()
    with torch.no_grad(), gemel.no_grad():
        assert relative_error(ours(gemel.tensor(x.numpy())), theirs(x)) < 1e-5


def test_equal_layers_share_kernels():
    model = models.ResNet(models.resnet.Bottleneck, (1, 1, 1, 4), num_classes=10).eval()
    x = gemel.randn(1, 3, 32, 32)
    with gemel.no_grad():
        model(x).numpy()
        before = debug.counters()
        deeper = models.ResNet(models.resnet.Bottleneck, (1, 1, 1, 9), num_classes=10).eval()
        numbers(deeper(x))
        after = debug.counters()
    assert after["compiles"] == before["compiles"] and after["kernels"] == before["kernels"]
