"""A first-seen shape compiles nothing: generic kernels know neither sizes, nor strides, nor numbers.

Which loop takes the vectors depends on which is long, so wide, tall and square tensors may each have a kernel.
"""
from __future__ import annotations

from collections.abc import Callable

import pytest

import gemel
from gemel import Tensor, debug
from gemel.engine.base.flags import override
from gemel.nn import functional as F

#: what is done, and the ranks of the tensors it is done to
OPS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "add": (lambda x: x + x, (1, 2, 3)),
    "transposed add": (lambda x: x.transpose(0, 1) + x.transpose(0, 1).flip(0), (2, 3)),
    "exp": (lambda x: x.exp(), (1, 2, 3)),
    "gelu": (F.gelu, (1, 2, 3)),
    "sum": (lambda x: x.sum(), (1, 2, 3)),
    "mean": (lambda x: x.mean(), (1, 2, 3)),
    "mean of columns": (lambda x: x.mean(0), (2, 3)),
    "std": (lambda x: x.std(), (1, 2, 3)),
    "softmax": (lambda x: x.softmax(-1), (2, 3)),
    "layer norm": (lambda x: F.layer_norm(x, x.shape[-1:]), (2, 3)),
    "cumsum": (lambda x: x.cumsum(-1), (1, 2)),
    "sort": (lambda x: x.sort(-1)[0], (1, 2)),
    "argmax": (lambda x: x.argmax(-1), (2, 3)),
    "gather": (lambda x: x[gemel.tensor([0, 2])], (1, 2, 3)),
    "cat": (lambda x: gemel.cat([x, x]), (1, 2)),
    "pad": (lambda x: F.pad(x, (1, 2)), (1, 2)),
    "where": (lambda x: gemel.where(x > 0, x, -x), (1, 2)),
    "cross entropy": (lambda x: F.cross_entropy(x, x.argmax(-1)), (2,)),
    "mean squared error": (lambda x: F.mse_loss(x, x * 0), (1, 2, 3)),
}


@pytest.mark.parametrize("name", OPS)
def test_another_shape(name: str):
    operation, ranks = OPS[name]
    with override(TIER="0"):
        for rank in ranks:
            for sizes in ((4, 5, 6), (3, 40, 4), (40, 3, 4), (4, 3, 40), (40, 50, 60)):
                operation(gemel.rand(*sizes[:rank])).tolist()
            with debug.forbid_compile():
                for sizes in ((7, 9, 11), (33, 5, 65), (3, 130, 6), (64, 65, 66)):
                    operation(gemel.rand(*sizes[:rank])).tolist()


def test_a_number_is_no_part_of_a_kernel():
    x = gemel.rand(5)
    with override(TIER="0"):
        (x * 0.5).tolist()
        gemel.rand(4).mean().tolist()
        with debug.forbid_compile():
            (x * 0.25).tolist()
            x.mean().tolist()
            gemel.rand(6).mean().tolist()
