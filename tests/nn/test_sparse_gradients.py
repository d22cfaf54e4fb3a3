"""Where torch gives a sparse gradient: refused as soon as it would be needed; the dense one takes the same steps."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gemel
from gemel import nn
from gemel.engine.base.errors import UnsupportedError
from gemel.nn import functional as F

CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Embedding": ("embedding(sparse=True)", lambda w: nn.Embedding(4, 2, sparse=True)(gemel.tensor([1]))),
    "from_pretrained": ("embedding(sparse=True)", lambda w: nn.Embedding.from_pretrained(
        gemel.ones(4, 2), freeze=False, sparse=True)(gemel.tensor([1]))),
    "EmbeddingBag": ("embedding_bag(sparse=True)", lambda w: nn.EmbeddingBag(4, 2, sparse=True)(gemel.tensor([[1]]))),
    "F.embedding": ("embedding(sparse=True)", lambda w: F.embedding(gemel.tensor([1]), w, sparse=True)),
    "F.embedding_bag": ("embedding_bag(sparse=True)", lambda w: F.embedding_bag(gemel.tensor([[1]]), w, sparse=True)),
    "gather": ("gather(sparse_grad=True)", lambda w: gemel.gather(w, 0, gemel.tensor([[1, 0]]), sparse_grad=True)),
    "Tensor.gather": ("gather(sparse_grad=True)", lambda w: w.gather(0, gemel.tensor([[1, 0]]), sparse_grad=True)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_sparse_gradient_is_refused_and_named(call: str) -> None:
    names, run = CALLS[call]
    weight = gemel.ones(4, 2, requires_grad=True)
    with pytest.raises(UnsupportedError) as error:
        run(weight)
    message = str(error.value)
    assert message.startswith(names) and "no sparse tensors" in message and "docs/from-torch.md" in message
    with gemel.no_grad():  # no gradient is needed
        run(weight)
    if "Embedding" not in call and call != "from_pretrained":
        run(weight.detach())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad"])
def test_the_dense_gradient_takes_the_same_steps(optimizer: str) -> None:
    table = np.random.default_rng(0).standard_normal((6, 3))
    found = []
    for m, sparse in ((gemel, False), (torch, True)):
        layer = m.nn.Embedding.from_pretrained(m.tensor(table), freeze=False, sparse=sparse)
        step = getattr(m.optim, optimizer)(layer.parameters(), lr=0.1)
        for rows in ([1, 1, 3], [3, 0, 5]):
            step.zero_grad()
            (layer(m.tensor(rows)) ** 2).sum().backward()
            step.step()
        found.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)
