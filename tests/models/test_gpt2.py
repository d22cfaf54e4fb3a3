"""GPT-2 against the same program on PyTorch, in float64; its cache; its names."""
from __future__ import annotations

import pytest
import torch

import gemel
from gemel.models import GPT2Config, GPT2LMHeadModel

from .reference import on_torch, relative_error, share_state

reference = on_torch("models/gpt2.py")
TINY = {"vocab_size": 97, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
QUIET = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}


def pair(**sizes):
    torch.manual_seed(0)
    theirs = reference.GPT2LMHeadModel(reference.GPT2Config(**sizes, **QUIET)).double()
    ours = GPT2LMHeadModel(GPT2Config(**sizes, **QUIET)).double()
    share_state(theirs, ours)
    return ours, theirs


def test_sizes_and_names_are_those_of_the_published_checkpoints():
    model = GPT2LMHeadModel()
    assert sum(p.numel() for p in model.parameters()) == 124_439_808  # the head is the embedding
    keys = set(model.state_dict())
    assert {"transformer.wte.weight", "transformer.h.11.attn.c_attn.weight", "transformer.h.0.mlp.c_fc.bias",
            "transformer.ln_f.weight", "lm_head.weight"} <= keys
    assert tuple(model.transformer.h[0].attn.c_attn.weight.shape) == (768, 2304)
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize("sizes", [TINY, {}], ids=["tiny", "124M"])
def test_a_training_step(sizes):
    ours, theirs = pair(**sizes)
    vocabulary = sizes.get("vocab_size", 50257)
    ids = torch.randint(vocabulary, (2, 8), generator=torch.Generator().manual_seed(1))
    labels = torch.randint(vocabulary, (2, 8), generator=torch.Generator().manual_seed(2))
    want = theirs.loss(ids, labels)
    got = ours.loss(gemel.tensor(ids.numpy()), gemel.tensor(labels.numpy()))
    want.backward()
    got.backward()
    assert relative_error(got, want) < 1e-10
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert relative_error(p.grad, q.grad) < 1e-5, key
    options = {"lr": 3e-4, "weight_decay": 0.1, "betas": (0.9, 0.95)}
    torch.optim.AdamW(theirs.parameters(), **options).step()
    optimizer = gemel.optim.AdamW(ours.parameters(), **options)
    places = [p._read().buffer.ptr for p in ours.parameters()]
    optimizer.step()
    assert [p._read().buffer.ptr for p in ours.parameters()] == places  # updated in place
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert relative_error(p, q) < 1e-5, key


def test_generation_with_the_cache_is_generation_without():
    ours, theirs = pair(**TINY)
    ids = torch.randint(97, (2, 5), generator=torch.Generator().manual_seed(1))
    got = ours.eval().generate(gemel.tensor(ids.numpy()), 6)
    whole = ids
    with torch.no_grad():
        for _ in range(6):
            whole = torch.cat((whole, theirs.eval()(whole)[:, -1].argmax(-1, keepdim=True)), 1)
    assert got.tolist() == whole.tolist()


def test_bad_input():
    ours, _ = pair(**TINY)
    with pytest.raises(ValueError, match="32 positions. Received: 33 ids"):
        ours(gemel.zeros(1, 33, dtype=gemel.int64))
    with pytest.raises((IndexError, RuntimeError)):
        ours(gemel.full((1, 2), 97)).sum().item()
