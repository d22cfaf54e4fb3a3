"""Averaged models, their batch statistics and functions against torch's."""
from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import gemel
from gemel import nn, optim

SWA = {"ours": optim.swa_utils, "theirs": torch.optim.swa_utils}


def models():
    """The same small net, with a batch norm, in both libraries."""
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours.load_state_dict({k: gemel.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def same(ours, theirs):
    mine, wanted = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(wanted)
    for k, v in wanted.items():
        assert str(mine[k].dtype)[6:] == str(v.dtype)[6:]
        np.testing.assert_allclose(mine[k].numpy(), v.numpy(), rtol=1e-5, atol=1e-6, err_msg=k)


@pytest.mark.parametrize("options", [
    {}, {"use_buffers": True}, {"multi": "get_ema_multi_avg_fn"}, {"single": "get_ema_avg_fn"},
    {"single": "get_ema_avg_fn", "use_buffers": True}, {"multi": "get_ema_multi_avg_fn", "use_buffers": True},
    {"multi": "get_swa_multi_avg_fn"}, {"single": "get_swa_avg_fn"}], ids=str)
def test_averaged_model(options):
    pair = models()
    averaged = []
    for model, library in zip(pair, SWA.values(), strict=True):
        given = dict(options)
        for kind in ("single", "multi"):
            name = given.pop(kind, None)
            if name is not None:
                args = (0.9,) if "ema" in name else ()
                given["avg_fn" if kind == "single" else "multi_avg_fn"] = getattr(library, name)(*args)
        averaged.append(library.AveragedModel(model, **given))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    for step in range(4):
        for model, average, from_numpy in zip(pair, averaged, (gemel.from_numpy, torch.from_numpy), strict=True):
            model(from_numpy(x.copy()))  # moves the running statistics
            for p in model.parameters():
                p.data = p.data * 0.9 + step
            average.update_parameters(model)
    same(*averaged)
    assert int(averaged[0].n_averaged) == 4


def test_update_bn():
    rng = np.random.default_rng(1)
    batches = [rng.standard_normal((4, 3)).astype(np.float32) for _ in range(3)]
    ours, theirs = models()
    ours.eval()
    theirs.eval()
    optim.swa_utils.update_bn([(gemel.from_numpy(x.copy()), 1) for x in batches], ours)
    torch.optim.swa_utils.update_bn([(torch.from_numpy(x.copy()), 1) for x in batches], theirs)
    same(ours, theirs)
    assert not ours.training
    assert ours[1].momentum == 0.1
    plain = nn.Linear(2, 2)
    optim.swa_utils.update_bn([], plain)  # nothing to do


def test_errors_are_torchs():
    for make, kind in [
        (lambda s, m, o: s.AveragedModel(m, avg_fn=s.get_swa_avg_fn(), multi_avg_fn=s.get_swa_multi_avg_fn()),
         AssertionError),
        (lambda s, m, o: s.get_ema_avg_fn(1.5), ValueError),
        (lambda s, m, o: s.get_ema_multi_avg_fn(-0.5), ValueError),
        (lambda s, m, o: s.SWALR(o, 0.1, anneal_strategy="x"), ValueError),
        (lambda s, m, o: s.SWALR(o, 0.1, anneal_epochs=-1), ValueError),
        (lambda s, m, o: s.SWALR(o, [0.1, 0.2]), ValueError),
    ]:
        messages = []
        for library, model, opts in zip(SWA.values(), models(), (optim, torch.optim), strict=True):
            with pytest.raises(kind) as error:
                make(library, model, opts.SGD(model.parameters(), lr=0.1))
            messages.append(str(error.value))
        assert messages[0] == messages[1]


def test_the_copy_is_its_own():
    model, _ = models()
    averaged = optim.swa_utils.AveragedModel(model)
    before = copy.deepcopy(averaged.state_dict())
    nn.init.zeros_(model[0].weight)
    for k, v in averaged.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k].numpy())
