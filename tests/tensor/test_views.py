"""Views, indexing, joining, masks, scattering and writes against torch, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel

from .records import (
    FLOATS,
    TIERS,
    Record,
    compared,
    in_tier,
    same_error,
)

SQUARE = (((4, 4),),)
CUBE = (((2, 3, 4),),)
MANY = (((3, 4),), ((2, 3, 4),), ((5,),))
ALL = (*FLOATS, "bfloat16", "int64", "uint8", "bool", "complex64")


def R(name, call, shapes=CUBE, dtypes=("float64", "int64"), **more):
    return Record(name, call, shapes, dtypes, **more)


def index(m, *numbers):
    return m.tensor(numbers)


def written(call):
    """A write into a copy of the operand."""

    def run(m, x, *more):
        y = x.clone()
        call(m, y, *more)
        return y

    return run


def put(i, value=None):
    def call(m, x, *more):
        x[i(m) if callable(i) else i] = more[0] if more else value

    return written(call)


RECORDS = [
    # shapes
    R("view", lambda m, x: (x.view(6, 4), x.view(-1), x.view(2, -1, 2)), dtypes=ALL),
    R(
        "reshape",
        lambda m, x: (m.reshape(x, (4, 6)), x.T.reshape(-1) if x.ndim == 2 else x.reshape(-1), x.reshape((3, 8))),
    ),
    R("reshape of permuted", lambda m, x: x.permute(2, 0, 1).reshape(6, 4)),
    R("flatten", lambda m, x: (x.flatten(), x.flatten(1), m.flatten(x, 0, 1), x.ravel())),
    R("unflatten", lambda m, x: (x.unflatten(2, (2, -1)), m.unflatten(x, -1, (2, 2)))),
    R(
        "squeeze",
        lambda m, x: (x.squeeze(), x.squeeze(1), x.squeeze((0, 1)), x.unsqueeze(-1), m.unsqueeze(x, 1)),
        (((2, 1, 4),), ((1, 1, 3),)),
    ),
    R(
        "permute",
        lambda m, x: (x.permute(2, 0, 1), m.permute(x, (1, 0, 2)), x.transpose(0, -1), x.mT, m.swapaxes(x, 0, 1)),
    ),
    R("movedim", lambda m, x: (m.movedim(x, 0, -1), x.movedim((0, 1), (2, 0)), m.moveaxis(x, 1, 0))),
    R("T", lambda m, x: (x.T, x.t(), x.H.clone(), x.mH.clone(), m.adjoint(x).clone()), SQUARE),
    R(
        "expand",
        lambda m, x: (x.expand(5, 3, 4), x.expand(-1, 3, -1), m.broadcast_to(x, (2, 1, 3, 4)), x.sum_to_size(1, 4)),
        (((1, 1, 4),), ((1, 3, 4),)),
        grad=False,
    ),
    R("expand gradient", lambda m, x: (x.expand(5, 3, 4), m.broadcast_to(x, (2, 1, 3, 4))), (((1, 3, 4),),)),
    R("sum_to_size", lambda m, x: (x.sum_to_size(3, 1), x.sum_to_size(1, 4), x.sum_to_size(2, 3, 4)), dtypes=FLOATS),
    R("atleast", lambda m, x: (m.atleast_1d(x), m.atleast_2d(x), m.atleast_3d(x)), (((),), ((3,),), ((2, 3),))),
    # windows
    R("select", lambda m, x: (x.select(1, -1), m.select(x, 0, 1), x.narrow(2, 1, 2), m.narrow(x, 2, -3, 2))),
    R("basic index", lambda m, x: (x[1], x[:, 1:], x[..., ::2], x[None, 0, :, -1], x[1, 2, 3], x[:, :, 1:1], x[...])),
    R("diagonal", lambda m, x: (x.diagonal(), m.diagonal(x, 1, 1, 2), x.diagonal(-1, 0, 2), x.diagonal(9))),
    R("unfold", lambda m, x: (x.unfold(2, 2, 1), x.unfold(1, 2, 2), x.unfold(-1, 4, 3))),
    R(
        "as_strided",
        lambda m, x: (x.as_strided((2, 2), (1, 2)), m.as_strided(x, (3,), (4,), 2), x.as_strided((2, 3), (0, 1))),
    ),
    R(
        "split",
        lambda m, x: (
            *x.split(3, 2),
            *m.split(x, [1, 2], 1),
            *x.chunk(3, -1),
            *x.unbind(1),
            *x.tensor_split(3, 2),
            *m.tensor_split(x, (1, 3), 2),
        ),
    ),
    R("hsplit", lambda m, x: (*m.hsplit(x, 3), *m.vsplit(x, 2), *m.dsplit(x, 2), *x.hsplit([1, 2]))),
    R(
        "split copies",
        lambda m, x: (
            *m.unsafe_split(x, 2, 2),
            *m.unsafe_chunk(x, 2, 1),
            *m.split_with_sizes(x, [1, 3], 2),
            *m.split_copy(x, 3, 2),
            *m.unbind_copy(x, 1),
        ),
    ),
    R(
        "view copies",
        lambda m, x: (
            m.view_copy(x, (4, 6)),
            m.permute_copy(x, (2, 1, 0)),
            m.expand_copy(x, (1, 2, 3, 4)),
            m.select_copy(x, 0, 1),
            m.slice_copy(x, 1, 0, 2),
            m.squeeze_copy(x),
            m.transpose_copy(x, 0, 1),
            m.unsqueeze_copy(x, 0),
            m.diagonal_copy(x),
            m.alias_copy(x),
        ),
    ),
    # other orders
    R("flip", lambda m, x: (x.flip(0), m.flip(x, (0, 2)), m.fliplr(x), x.flipud()), dtypes=ALL),
    R("roll", lambda m, x: (x.roll(1), m.roll(x, (1, -2), (0, 2)), x.roll(5, 1))),
    R("rot90", lambda m, x: (m.rot90(x), x.rot90(2, (0, 1)), x.rot90(3, (1, 2)), x.rot90(-1), x.rot90(4))),
    R("repeat", lambda m, x: (x.repeat(2, 1, 3), x.repeat(2, 1, 1, 1), m.tile(x, (2,)), x.tile(2, 1, 1, 2))),
    R(
        "repeat_interleave",
        lambda m, x: (
            x.repeat_interleave(2),
            m.repeat_interleave(x, 3, 1),
            x.repeat_interleave(index(m, 1, 0, 2), 1),
        ),
    ),
    R("diag", lambda m, x: (m.diag(x), x.diag(1), m.diagflat(x), m.diag_embed(x), x.diag_embed(-1, 0, 1)), SQUARE),
    R("diag of vector", lambda m, x: (m.diag(x), x.diag(-2), m.diag_embed(x, 1)), (((3,),),)),
    R("tril", lambda m, x: (m.tril(x), x.tril(-1), m.triu(x), x.triu(2)), (((3, 4),), ((2, 4, 3),)), ALL),
    # joining
    R(
        "cat",
        lambda m, x, y: (m.cat([x, y]), m.cat((x, y, x), -1), m.concat([x, y], 1), m.concatenate([x, y])),
        (((2, 3), (2, 3)),),
        ALL,
    ),
    R("cat of one empty", lambda m, x, y: m.cat([x, y]), (((2, 3), (0,)),)),
    R(
        "cat promotes",
        lambda m, x, y: m.cat([x, y.to(m.float64)]),
        (((2, 3), (2, 3)),),
        ("float32", "int32"),
        grad=False,
    ),
    R(
        "stack",
        lambda m, x, y: (
            m.stack([x, y]),
            m.stack([x, y], -1),
            m.hstack([x, y]),
            m.vstack([x, y]),
            m.dstack([x, y]),
            m.column_stack([x, y]),
            m.row_stack([x, y]),
        ),
        (((2, 3), (2, 3)), ((3,), (3,))),
    ),
    R(
        "meshgrid",
        lambda m, x, y: (*m.meshgrid(x, y, indexing="ij"), *m.meshgrid(x, y, indexing="xy"), m.cartesian_prod(x, y)),
        (((3,), (2,)),),
    ),
    R("block_diag", lambda m, x, y: m.block_diag(x, y), (((2, 3), (1, 2)), ((2,), (3, 1)))),
    R("broadcast_tensors", lambda m, x, y: m.broadcast_tensors(x, y), (((2, 1), (3,)),)),
    R("combinations", lambda m, x: (m.combinations(x), m.combinations(x, 3), m.combinations(x, 2, True)), (((4,),),)),
    # tensors as indices
    R(
        "index",
        lambda m, x: (
            x[index(m, 1, 0, 1)],
            x[:, [0, 2]],
            x[index(m, 0, 1), index(m, 2, 0)],
            x[0, :, [1, -1]],
            x[..., index(m, 3)],
            x[m.tensor([[0], [1]]), :, m.tensor([[0, 1]])],
            x[None, [1]],
        ),
    ),
    R(
        "mask",
        lambda m, x: (x[x > 0], x[x[:, :, 0] > 0], x[m.tensor([True, False])], m.masked_select(x, x > 0), x[True]),
        dtypes=("float64", "int64"),
    ),
    R(
        "gather",
        lambda m, x: (x.gather(1, m.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]])), m.gather(x, 0, m.tensor([[[1, 0]]]))),
        dtypes=ALL,
    ),
    R(
        "take",
        lambda m, x: (
            x.take(index(m, 3, -1, 0)),
            m.take(x, m.tensor([[5, 5]])),
            m.take_along_dim(x, m.tensor([[[1]], [[0]]]), 1),
            m.take_along_dim(x, index(m, 3, 4)),
        ),
    ),
    R("index_select", lambda m, x: (x.index_select(1, index(m, 2, 0, 2)), m.index_select(x, -1, index(m, 3)))),
    # combining
    R(
        "scatter",
        lambda m, x, s: (
            x.scatter(1, m.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]]), s),
            x.scatter_add(1, m.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]]), s),
        ),
        (((2, 3, 4), (2, 1, 4)),),
    ),
    R("scatter number", lambda m, x: x.scatter(0, m.tensor([[[1, 0]]]), 3)),
    R("scatter and add", lambda m, x: m.scatter(x, 2, m.tensor([[[0]]]), 1, reduce="add"), grad=False),
    *[
        R(
            f"scatter_reduce {how}",
            lambda m, x, s, how=how: (
                x.scatter_reduce(1, m.tensor([[0, 1, 1, 0], [2, 2, 2, 1]]), s, how),
                x.scatter_reduce(1, m.tensor([[0, 1, 1, 0], [2, 2, 2, 1]]), s, how, include_self=False),
            ),
            (((2, 3), (2, 4)),),
            ("float64",),
            low=0.5,
            grad=how in ("sum", "mean", "amax"),
        )
        for how in ("sum", "prod", "mean", "amax", "amin")
    ],
    R(
        "index_add",
        lambda m, x, s: (
            x.index_add(1, index(m, 2, 0, 2), s),
            m.index_add(x, 1, index(m, 0, 1, 2), s, alpha=2),
            x.index_copy(1, index(m, 2, 0, 1), s),
        ),
        (((2, 3, 4), (2, 3, 4)),),
    ),
    R(
        "index_fill",
        lambda m, x: (x.index_fill(1, index(m, 2, 0), 5), m.index_fill(x, 0, index(m, 1), m.tensor(2).to(x.dtype))),
    ),
    R(
        "index_reduce",
        lambda m, x, s: (
            m.index_reduce(x, 0, index(m, 1, 0, 1), s, "amax"),
            m.index_reduce(x, 0, index(m, 1, 1, 1), s, "mean", include_self=False),
        ),
        (((2, 3), (3, 3)),),
        ("float64",),
        grad=False,
    ),
    R(
        "index_put",
        lambda m, x, s: (
            m.index_put(x, (index(m, 1, 0), index(m, 2, 2)), s),
            x.index_put((index(m, 0, 0), index(m, 2, 2)), s, accumulate=True),
        ),
        (((2, 3, 4), (2, 4)),),
    ),
    R(
        "put",
        lambda m, x, s: (m.put(x, index(m, 3, -2), s), m.put(x, index(m, 3, 3), s, accumulate=True)),
        (((2, 3), (2,)),),
    ),
    R("select_scatter", lambda m, x, s: m.select_scatter(x, s, 0, 1), (((3, 4), (4,)),)),
    R(
        "slice_scatter",
        lambda m, x, s: (m.slice_scatter(x, s, 0, 1, 3), m.slice_scatter(x, s, 0, 0, 4, 2)),
        (((4, 3), (2, 3)),),
    ),
    R("diagonal_scatter", lambda m, x, s: m.diagonal_scatter(x, s, 1), (((4, 4), (3,)),)),
    R(
        "as_strided_scatter",
        lambda m, x, s: m.as_strided_scatter(x, s, (2, 2), (1, 5), 1),
        (((4, 4), (2, 2)),),
        positions=(1,),
    ),
    # masks
    R(
        "masked_fill",
        lambda m, x: (x.masked_fill(x > 0, 2), m.masked_fill(x, m.tensor([True, False, True, False]), 1)),
        dtypes=ALL[:-2],
    ),
    R(
        "masked_scatter",
        lambda m, x, s: x.masked_scatter(m.tensor([[True, False], [False, True]]), s),
        (((2, 2), (3,)),),
        grad=False,
    ),
    R(
        "where",
        lambda m, x, y: (m.where(x > 0, x, y), m.where(x > 0, 1.5, y), m.where(x > 0, x, 2), x.where(y > 0, y)),
        (((3, 4), (3, 4)), ((3, 1), (4,))),
        ("float64", "int64", "bfloat16"),
    ),
    R(
        "nonzero",
        lambda m, x: (
            m.nonzero(x > 0),
            m.argwhere(x > 1),
            *m.nonzero(x > 0, as_tuple=True),
            *m.where(x > 0),
            m.nonzero_static(x > 0, size=40),
            m.nonzero_static(x > 0, size=2),
        ),
        grad=False,
    ),
    # writes
    R("set number", put((0, slice(1, None)), 3)),
    R("set ellipsis", put((..., 1), 2)),
    R("set step", put((slice(None), slice(None, None, 2)), 7)),
    R("set tensor", put((slice(None), 1)), (((2, 3, 4), (4,)), ((2, 3, 4), (2, 4)))),
    R("set rows", put(lambda m: index(m, 1, 0)), (((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)))),
    R("set masked", put(lambda m: m.tensor([True, False]), 4)),
    R("set masked tensor", put(lambda m: m.tensor([True, False])), (((2, 3, 4), (3, 4)),)),
    R("set mixed", put(lambda m: (0, slice(None), index(m, 1, 3))), (((2, 3, 4), (3, 2)),)),
    R("fill_", written(lambda m, x: x[0].fill_(2)), dtypes=ALL),
    R("zero_", written(lambda m, x: x[:, 1].zero_()), dtypes=ALL),
    R("copy_", written(lambda m, x, y: x.copy_(y)), (((2, 3), (3,)), ((2, 3), (2, 3))), ALL),
    R("fill_diagonal_", written(lambda m, x: x.fill_diagonal_(5)), (((3, 4),), ((5, 2),))),
    R("fill_diagonal_ wraps", written(lambda m, x: x.fill_diagonal_(5, wrap=True)), (((7, 2),),)),
    R("tril_", written(lambda m, x: x.tril_(1)), SQUARE),
    R("diagonal write", written(lambda m, x: x.diagonal().mul_(3)), SQUARE),
    R("unfold write", written(lambda m, x: x.unfold(2, 2, 2).mul_(3))),
    R("T write", written(lambda m, x: x.mT[0].add_(1))),
    R("strided write", written(lambda m, x: x.as_strided((2, 2), (1, 12)).add_(1))),
    R("apply_", written(lambda m, x: x.apply_(lambda v: v + 1)), grad=False),
]


test_values, test_gradients = compared(RECORDS)


ERRORS = {
    "view size": lambda m: m.zeros(2, 3).view(4),
    "view strides": lambda m: m.zeros(2, 3).t().view(6),
    "two unknown": lambda m: m.zeros(6).view(-1, -1),
    "permute": lambda m: m.zeros(2, 3).permute(0, 0),
    "dim": lambda m: m.zeros(2).unsqueeze(3),
    "expand": lambda m: m.zeros(2, 3).expand(4, 3),
    "select": lambda m: m.zeros(2).select(0, 2),
    "narrow": lambda m: m.zeros(3).narrow(0, 2, 2),
    "too many": lambda m: m.zeros(2)[0, 0],
    "bounds": lambda m: m.zeros(2)[2],
    "index bounds": lambda m: m.zeros(2)[m.tensor([2])],
    "mask shape": lambda m: m.zeros(2)[m.tensor([True, False, True])],
    "float index": lambda m: m.zeros(2)[m.tensor([1.0])],
    "negative step": lambda m: m.zeros(3)[::-1],
    "set shape": lambda m: m.zeros(3).__setitem__(slice(0, 2), m.zeros(3)),
    "cat sizes": lambda m: m.cat([m.zeros(2, 3), m.zeros(2, 4)]),
    "cat dims": lambda m: m.cat([m.zeros(2, 3), m.zeros(2)]),
    "cat nothing": lambda m: m.cat([]),
    "stack": lambda m: m.stack([m.zeros(2), m.zeros(3)]),
    "split": lambda m: m.zeros(5).split([1, 2]),
    "chunk": lambda m: m.zeros(3).chunk(0),
    "gather rank": lambda m: m.zeros(2, 2).gather(0, m.tensor([0])),
    "gather bounds": lambda m: m.zeros(2).gather(0, m.tensor([2])),
    "scatter dtype": lambda m: m.zeros(2).scatter(0, m.tensor([0]), m.tensor([1])),
    "index_add": lambda m: m.zeros(2, 2).index_add(0, m.tensor([0]), m.zeros(2, 2)),
    "as_strided": lambda m: m.zeros(4).as_strided((3, 3), (1, 1), 2),
    "unfold": lambda m: m.zeros(3).unfold(0, 4, 1),
    "masked_fill": lambda m: m.zeros(2).masked_fill(m.tensor([1, 0]), 1),
    "fill_": lambda m: m.zeros(2).fill_(m.zeros(2)),
    "copy_": lambda m: m.zeros(2).copy_(m.zeros(3)),
    "expanded write": lambda m: m.zeros(1).expand(3).add_(1),
    "leaf": lambda m: m.zeros(2, requires_grad=True).add_(1),
    "view of leaf": lambda m: m.zeros(2, requires_grad=True)[0].fill_(1),
    "squeeze_ of leaf": lambda m: m.zeros(1, requires_grad=True).squeeze_(),
    "siblings": lambda m: (m.zeros(2, requires_grad=True) * 1).unbind()[0].mul_(2),
    "rot90": lambda m: m.rot90(m.zeros(3)),
    "roll": lambda m: m.roll(m.zeros(3), (1, 2), 0),
    "repeat": lambda m: m.zeros(2, 2).repeat(2),
    "diag": lambda m: m.diag(m.zeros(2, 2, 2)),
    "meshgrid": lambda m: m.meshgrid(m.zeros(2, 2)),
    "flatten": lambda m: m.zeros(2, 2).flatten(1, 0),
    "where": lambda m: m.where(m.zeros(2), 1, 2),
    "0-d iteration": lambda m: list(m.zeros(())),
    "unbind": lambda m: m.zeros(()).unbind(),
    "no_grad view": lambda m: _no_grad_view(m),
    "index put dtype": lambda m: m.zeros(2).__setitem__(m.tensor([0]), m.tensor([1])),
}


def _no_grad_view(m):
    x = m.zeros(2, requires_grad=True) * 1
    with m.no_grad():
        v = x[0]
    v.mul_(2)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    same_error(ERRORS[name])


def test_facts_about_memory() -> None:
    for make in (
        lambda m: m.zeros(2, 3, 4).permute(2, 0, 1),
        lambda m: m.zeros(4, 6)[1::2, 2:],
        lambda m: m.zeros(4, 4).diagonal(1),
        lambda m: m.zeros(3, 8).unfold(1, 3, 2),
        lambda m: m.zeros(1, 3).expand(2, 3),
    ):
        ours, theirs = make(gemel), make(torch)
        assert ours.stride() == theirs.stride() and ours.storage_offset() == theirs.storage_offset()
        assert ours.is_contiguous() == theirs.is_contiguous() and ours._is_view() == theirs._is_view()


def test_positions() -> None:
    for call in (
        lambda m: m.tril_indices(3, 4, -1),
        lambda m: m.triu_indices(3, 3, 1),
        lambda m: m.stack(m.unravel_index(m.tensor([5, 7]), (3, 4))),
    ):
        assert call(gemel).tolist() == call(torch).tolist()
    assert tuple(gemel.broadcast_shapes((2, 1), (3,))) == tuple(torch.broadcast_shapes((2, 1), (3,)))
    x = gemel.arange(6).reshape(2, 3)
    assert 3 in x and 9 not in x and [r.tolist() for r in x] == [[0, 1, 2], [3, 4, 5]]
    assert list(reversed(x))[0].tolist() == [3, 4, 5]


def test_becoming_another_view() -> None:
    for m in (gemel, torch):
        x = m.arange(6.0).reshape(2, 3)
        y = x[0]
        x.t_().unsqueeze_(0)
        y.fill_(9)
        assert tuple(x.shape) == (1, 3, 2) and x[0, :, 0].tolist() == [9, 9, 9]
        x.resize_(2, 2)
        assert tuple(x.shape) == (2, 2)


def test_a_view_of_exported_memory_keeps_its_place_on_the_tape() -> None:
    for m in (torch, gemel):
        x = m.tensor(1.5, requires_grad=True)
        x.detach().numpy()
        view = x[()]
        found, = m.autograd.grad(view * x, [view])
        assert found.item() == 1.5


def test_parts_of_complex_numbers_are_views():
    """Reads, writes and derivatives through the real part, the imaginary part, and both as one real tensor."""
    found = []
    for m in (gemel, torch):
        x = m.tensor([[1.0, -2.0], [3.0, 0.5]], requires_grad=True)
        z = m.complex(x * 2, x * x)
        before = z.real * 1
        z.real.add_(10)
        z.imag[0].mul_(x[1].detach())
        m.view_as_real(z)[1, :, 1].sub_(1)
        pairs = x * 3
        w = m.view_as_complex(pairs)
        w.imag.copy_(w.real * 2)
        (z.abs().sum() + before.sum() + (pairs ** 2).sum()).backward()
        found.append([t.detach().numpy() for t in (before, z, pairs, w, x.grad)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_view_that_was_made_a_leaf_stays_one():
    """Also of memory that others may write, and after the base was written."""
    array = np.ones((2, 3), np.float32)
    x = gemel.from_numpy(array).transpose(0, 1).requires_grad_()
    (x * x).sum().backward()
    assert x.requires_grad and x.is_leaf and x.grad.tolist() == [[2.0] * 2] * 3
    base = gemel.zeros(3)
    view = base[:2].requires_grad_()
    base[0] = 5
    assert view.requires_grad and not base.requires_grad and view.tolist() == [5.0, 0.0]


@pytest.mark.parametrize("tier", TIERS)
def test_nothing_reversed_can_be_read(tier: str):
    """Its strides are negative, and there is no memory that they could walk."""
    with in_tier(tier):
        for x in (gemel.zeros(0, 3) * 1, gemel.zeros(4, 3)[2:2], gemel.zeros(3, 0)):
            for axis in (0, 1):
                assert x.flip(axis).numpy().shape == x.flip(axis).contiguous().numpy().shape == x.shape


NUMPY_INDICES = [lambda: np.int64(1), lambda: np.int32(-1), lambda: np.uint8(1), lambda: np.array(1),
                 lambda: (slice(None), np.int64(0)), lambda: (np.int64(1), slice(0, 1)), lambda: (np.array([0, 2]),),
                 lambda: (np.array(2), np.array([0, 1]))]


@pytest.mark.parametrize("index", NUMPY_INDICES)
def test_numpy_numbers_as_indices(index):
    for fill in (7.0, None):
        theirs, mine = torch.arange(6.0).reshape(3, 2), gemel.arange(6.0).reshape(3, 2)
        np.testing.assert_array_equal(mine[index()].numpy(), theirs[index()].numpy(), strict=True)
        for x in (theirs, mine):
            x[index()] = fill if fill is not None else x[index()] * 3
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("index", [np.int64(3), np.array(-4), (slice(None), np.uint8(2)), np.float64(1.0)], ids=repr)
def test_numpy_numbers_out_of_bounds(index):
    for x in (torch.zeros(3, 2), gemel.zeros(3, 2)):
        with pytest.raises(IndexError):
            x[index]


SIZES = ["flip(x, dims=(0,))", "flip(x, dims=[0, 1])", "x.flip(dims=(1,))", "tile(x, dims=(2, 1))", "x.tile(dims=(2,))",
         "x.repeat(repeats=(2, 1, 2))"]


@pytest.mark.parametrize("code", SIZES)
def test_sizes_by_name(code):
    found = [eval(code, {"x": m.arange(6.0).reshape(3, 2), "flip": m.flip, "tile": m.tile}).numpy()
             for m in (torch, gemel)]
    np.testing.assert_array_equal(found[1], found[0], strict=True)


def test_sizes_given_twice():
    for x in (torch.zeros(3, 2), gemel.zeros(3, 2)):
        for call in (lambda x: x.flip(0, dims=(0,)), lambda x: x.repeat(2, repeats=(2, 2)),
                     lambda x: x.tile(2, dims=(2,))):
            with pytest.raises(TypeError):
                call(x)


@pytest.mark.parametrize("at", [np.int64(1), np.uint8(1), np.array(1), np.array(-2), (slice(None), np.int32(1))])
def test_integers_of_numpy_make_views(at):
    for library in (gemel, torch):
        x = library.zeros(3, 2)
        x[at].fill_(1)
        x[at] += 1
        expected = np.zeros((3, 2))
        expected[at] = 2
        np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("call", [
    lambda t, x: t.cat([x, x], axis=1), lambda t, x: t.stack([x, x], axis=1), lambda t, x: t.concat((x, x), dim=1),
    lambda t, x: t.cat([x, x], out=t.zeros(6, 4)), lambda t, x: t.stack([x, x], 2, out=t.zeros(3, 4, 2)),
    lambda t, x: t.cat([*t.tensor_split(x, indices=(1, 2)), *x.tensor_split(sections=2)]),
    lambda t, x: t.permute(x, dims=(1, 0)), lambda t, x: t.reshape(x, shape=(-1,)), lambda t, x: x.view(size=(2, 6)),
    lambda t, x: x.view(dtype=t.int32), lambda t, x: x.expand(size=(2, 3, 4)), lambda t, x: x.unsqueeze(axis=1),
    lambda t, x: x.clone().transpose_(dim0=0, dim1=1), lambda t, x: x.clone().unsqueeze_(dim=0)])
def test_arguments_by_name(call):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    ours, theirs = call(gemel, gemel.from_numpy(x.copy())), call(torch, torch.from_numpy(x.copy()))
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_an_argument_that_is_given_twice_is_refused():
    x = gemel.zeros(2, 3)
    for call in (lambda: gemel.cat([x, x], 0, axis=1), lambda: x.permute(1, 0, dims=(1, 0)),
                 lambda: x.view(6, size=(6,)), lambda: gemel.tensor_split(x, 2, sections=2)):
        with pytest.raises(TypeError, match="Received"):
            call()
