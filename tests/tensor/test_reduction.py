"""Reductions, scans and order statistics against torch."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gemel

from .records import FLOATS, INTS, Record, compared, same_error, to_gemel

SHAPES = (((3, 4),), ((2, 3, 5),), ((300,),))
MATRIX = (((3, 4),), ((4, 1),))
EMPTY = (((3, 0),),)
NUMBERS = (*FLOATS, "float16", "bfloat16", *INTS, "bool", "complex64")
REALS = (*FLOATS, "float16", "bfloat16", *INTS)
HALVES = (*FLOATS, "float16", "bfloat16")
NAN = (math.nan,)


def R(name, call, shapes=MATRIX, dtypes=FLOATS, **more):
    return Record(name, call, shapes, dtypes, **more)


RECORDS = [
    R("sum", lambda m, x: x.sum(), SHAPES, NUMBERS, tolerance=4),
    R("sum dim", lambda m, x: m.sum(x, 0), SHAPES, NUMBERS, tolerance=4),
    R("sum dims keep", lambda m, x: x.sum((0, -1), keepdim=True), dtypes=NUMBERS, tolerance=4),
    R("sum no dims", lambda m, x: x.sum([])),
    R("sum dtype", lambda m, x: x.sum(-1, dtype=m.float64), dtypes=("float32", "int32", "bool")),
    R("sum empty", lambda m, x: (x.sum(), x.sum(1)), EMPTY, NUMBERS),
    R("sum 0-d", lambda m, x: (x.sum(), x.sum(0), x.sum(-1, keepdim=True)), (((),),)),
    R("nansum", lambda m, x: (m.nansum(x), m.nansum(x, 1), x.nansum(0, True)), dtypes=(*HALVES, "int32"), edges=NAN,
      tolerance=4),
    R("mean", lambda m, x: x.mean(), SHAPES, (*HALVES, "complex64")),
    R("mean dims", lambda m, x: (m.mean(x, 1), x.mean((0, 1), True), x.mean(-1, keepdim=True)),
      dtypes=(*HALVES, "complex64")),
    R("mean empty", lambda m, x: (x.mean(), x.mean(0)), EMPTY),
    R("nanmean", lambda m, x: (m.nanmean(x), x.nanmean(1, True)), (((3, 4),),), edges=NAN),
    R("prod", lambda m, x: (x.prod(), x.prod(1), x.prod(0, keepdim=True)), dtypes=(*FLOATS, *INTS, "bool"),
      low=0.5, high=3.0),
    R("prod zeros", lambda m, x: x.prod(1), edges=(0.0,), grad=True),
    R("amax", lambda m, x: (x.amax(), x.amax(1), m.amax(x, (0, 1), True)), SHAPES[:2], (*REALS, "bool")),
    R("amin", lambda m, x: (x.amin(), x.amin(1), m.amin(x, (0, 1), True)), SHAPES[:2], (*REALS, "bool")),
    R("amax ties", lambda m, x: x.sign().mul(x).round().amax(1) + x.amax(1)),
    R("amax nan", lambda m, x: x.amax(1), edges=NAN, grad=False),
    R("aminmax", lambda m, x: (*m.aminmax(x), *x.aminmax(dim=1, keepdim=True)), dtypes=REALS),
    R("max", lambda m, x: x.max(), SHAPES, (*REALS, "bool")),
    R("max dim", lambda m, x: m.max(x, 1), SHAPES[:2], (*FLOATS, "float16"), unique=True),
    R("max keep", lambda m, x: x.max(dim=0, keepdim=True), unique=True),
    R("max nan", lambda m, x: x.max(1).values, edges=NAN, grad=False),
    R("max pair", lambda m, x, y: m.max(x, y), (((3, 4), (4,)),), REALS),
    R("min", lambda m, x: x.min(), SHAPES, (*REALS, "bool")),
    R("min dim", lambda m, x: m.min(x, -1), SHAPES[:2], (*FLOATS, "bfloat16"), unique=True),
    R("min pair", lambda m, x, y: x.min(y), (((3, 4), (3, 1)),), REALS),
    R("min 0-d", lambda m, x: (*x.min(0), *x.max(-1, True)), (((),),)),
    R("argmax", lambda m, x: (x.argmax(), x.argmax(1), m.argmax(x, -2, keepdim=True)), SHAPES[:2], REALS, grad=False,
      unique=True),
    R("argmin", lambda m, x: (x.argmin(), x.argmin(1), m.argmin(x, 0, True)), SHAPES[:2], REALS, grad=False,
      unique=True),
    R("argmax first", lambda m, x: (m.argmax(x * 0, 1), m.argmin(x * 0)), grad=False),
    R("any", lambda m, x: (x.any(), x.any(1), m.any(x, 0, True)), dtypes=(*FLOATS, *INTS, "bool"), grad=False),
    R("all", lambda m, x: (x.all(), x.all(1), m.all(x, (0, 1))), dtypes=(*FLOATS, *INTS, "bool"), grad=False),
    R("any all empty", lambda m, x: (x.any(), x.all(), x.any(1), x.all(1)), EMPTY, ("float32", "bool", "uint8"),
      grad=False),
    R("count_nonzero", lambda m, x: (m.count_nonzero(x), x.count_nonzero(1), x.count_nonzero((0, 1))),
      dtypes=(*FLOATS, *INTS, "bool"), grad=False),
    R("var", lambda m, x: (x.var(), x.var(1), x.var(unbiased=False)), SHAPES[:2], HALVES),
    R("var correction", lambda m, x: (m.var(x, 1, correction=0, keepdim=True), m.var(x, (0, 1), correction=2))),
    R("std", lambda m, x: (x.std(), m.std(x, -1), x.std(0, False), x.std(False)), SHAPES[:2], HALVES),
    R("std constant", lambda m, x: (x * 0 + 1).std(0)),
    R("var complex", lambda m, x: (x.var(), x.std(1)), dtypes=("complex64", "complex128"), grad=False),
    R("var_mean", lambda m, x: m.var_mean(x, 1), dtypes=HALVES),
    R("std_mean", lambda m, x: m.std_mean(x, 0, keepdim=True)),
    *[R(f"norm {p}", lambda m, x, p=p: (x.norm(p), x.norm(p, 1), x.norm(p, (0, 1), True)),
        grad=p != 0) for p in (2, 1, 0, 3, 1.5, 0.5, -1, math.inf, -math.inf, "fro")],
    R("norm default", lambda m, x: (x.norm(), m.norm(x, dim=0)), dtypes=(*FLOATS, "complex64")),
    R("norm zeros", lambda m, x: (x * 0).norm(), tolerance=1),
    R("norm dtype", lambda m, x: m.norm(x, 2, dtype=m.float64), dtypes=("float32",), grad=False),
    R("logsumexp", lambda m, x: (m.logsumexp(x, 1), x.logsumexp((0, 1), keepdim=True)), dtypes=(*HALVES, "int32")),
    R("logsumexp large", lambda m, x: (x * 1e4).logsumexp(0)),
    R("logsumexp inf", lambda m, x: m.logsumexp(x - m.inf if m is torch else x - math.inf, 0), grad=False),
    R("cumsum", lambda m, x: (x.cumsum(0), m.cumsum(x, -1)), dtypes=(*HALVES, *INTS, "bool", "complex64"),
      tolerance=4),
    R("cumsum dtype", lambda m, x: x.cumsum(0, dtype=m.float64), dtypes=("float32", "int32")),
    R("cumsum 0-d", lambda m, x: x.cumsum(0), (((),),)),
    R("cumprod", lambda m, x: x.cumprod(1), dtypes=(*FLOATS, *INTS)),
    R("cumprod zero", lambda m, x: x.cumprod(1), edges=(0.0, 0.0)),
    R("cummax", lambda m, x: x.cummax(1), dtypes=(*FLOATS, *INTS)),
    R("cummin", lambda m, x: m.cummin(x, 0), dtypes=(*FLOATS, *INTS)),
    R("cummax nan", lambda m, x: x.cummax(1), edges=NAN, grad=False),
    R("logcumsumexp", lambda m, x: (x.logcumsumexp(1), m.logcumsumexp(x * 100, 0)), SHAPES[:2], tolerance=4),
    R("diff", lambda m, x: (x.diff(), m.diff(x, 2, 0), x.diff(dim=0, prepend=x)), (((3, 4),),),
      (*FLOATS, "int32", "bool")),
    R("kthvalue", lambda m, x: (*x.kthvalue(2), *m.kthvalue(x, 1, 0, True)), (((3, 4),),), (*FLOATS, "int32"),
      unique=True),
    R("median", lambda m, x: (x.median(), *x.median(1), *m.median(x, 0, True)), SHAPES[:2], (*FLOATS, "int32"),
      unique=True),
    R("median nan", lambda m, x: (x.median(), x.median(1).values), edges=NAN, grad=False),
    R("nanmedian", lambda m, x: (x.nanmedian(), x.nanmedian(1).values), (((4, 5),),), edges=NAN),
    R("mode", lambda m, x: (*x.round().mode(1), *m.mode(x.round(), 0, True)), (((5, 9),),), (*FLOATS, "int32"),
      grad=False),
    *[R(f"quantile {how}", lambda m, x, how=how: (x.quantile(0.3, interpolation=how),
                                                  x.quantile(0.7, 1, keepdim=True, interpolation=how)), SHAPES[:2])
      for how in ("linear", "lower", "higher", "midpoint", "nearest")],
    R("quantile several", lambda m, x: m.quantile(x, m.tensor([0.0, 0.25, 1.0], dtype=x.dtype), dim=0, keepdim=True)),
    R("quantile nan", lambda m, x: x.quantile(0.5, 1), edges=NAN, grad=False),
    R("nanquantile", lambda m, x: (m.nanquantile(x, 0.4, 1), x.nanquantile(0.2)), (((4, 6),),), edges=NAN),
]


test_forward, test_gradient = compared(RECORDS)


def _x(m):
    return m.ones(2, 3)


ERRORS = {
    "mean of ints": lambda m: _x(m).to(m.int32).mean(),
    "axis out of range": lambda m: _x(m).sum(2),
    "axis twice": lambda m: _x(m).sum((0, 0)),
    "named axis": lambda m: _x(m).sum(dim="a"),
    "max of nothing": lambda m: m.ones(0, 3).max(),
    "max over an empty axis": lambda m: m.ones(0, 3).max(0),
    "amax of nothing": lambda m: m.ones(0, 3).amax(),
    "amax over an empty axis": lambda m: m.ones(0, 3).amax(0),
    "argmax of nothing": lambda m: m.ones(0, 3).argmax(),
    "argmax of bool": lambda m: (_x(m) > 0).argmax(),
    "max of complex": lambda m: (_x(m) + 1j).max(),
    "std of ints": lambda m: _x(m).to(m.int32).std(),
    "norm of ints": lambda m: _x(m).to(m.int32).norm(),
    "inf norm of nothing": lambda m: m.ones(0).norm(float("inf")),
    "kthvalue out of range": lambda m: _x(m).kthvalue(4),
    "quantile of ints": lambda m: m.quantile(_x(m).to(m.int32), 0.5),
    "quantile out of range": lambda m: _x(m).quantile(1.5),
    "diff of a scalar": lambda m: m.ones(()).diff(),
    "prod over axes": lambda m: _x(m).prod((0, 1)),
    "out requires grad": lambda m: m.sum(m.ones(3, requires_grad=True), 0, out=m.ones(())),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_out():
    x = to_gemel(torch.arange(6.0).reshape(2, 3))
    out = gemel.zeros(3)
    assert gemel.sum(x, 0, out=out) is out
    np.testing.assert_array_equal(out.numpy(), [3, 5, 7])
    values, indices = gemel.zeros(2), gemel.zeros(2, dtype=gemel.int64)
    gemel.max(x, 1, out=(values, indices))
    np.testing.assert_array_equal(values.numpy(), [2, 5])
    np.testing.assert_array_equal(indices.numpy(), [2, 2])


def test_results_have_names():
    found = to_gemel(torch.tensor([[1.0, 5.0], [7.0, 2.0]])).max(1)
    assert type(found).__name__ == "max" and isinstance(found, tuple)
    np.testing.assert_array_equal(found.values.numpy(), [5, 7])
    np.testing.assert_array_equal(found.indices.numpy(), [1, 0])


NUMPY_NAMES = ("sum", "nansum", "mean", "nanmean", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any",
               "all", "var", "std")


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_numpy_names_of_arguments(name):
    values = [[3.0, 1.0, 2.0], [2.0, 5.0, 4.0]]
    for names in ({"axis": 0}, {"axis": -1, "keepdims": True}, {"dim": 1, "keepdims": True},
                  {"axis": 1, "keepdim": True}):
        found = []
        for m in (torch, gemel):
            x = m.tensor(values, dtype=m.float64)
            of = [getattr(m, name)(x, **names), getattr(x, name)(**names)]
            found.append([t.numpy() for r in of for t in (r if isinstance(r, tuple) else (r,))])
        for theirs, mine in zip(*found, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-14, strict=True)


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_numpy_names_given_twice(name):
    for m in (torch, gemel):
        for names in ({"dim": 0, "axis": 1}, {"dim": 0, "keepdim": True, "keepdims": True}):
            with pytest.raises(TypeError):
                getattr(m, name)(m.ones(2, 3), **names)


def test_sorting_along_an_axis():
    values = [[3.0, 1.0, 2.0], [2.0, 5.0, 4.0]]
    for call in (lambda m, x: m.sort(x, axis=0).values, lambda m, x: x.argsort(axis=0, descending=True),
                 lambda m, x: m.argsort(x, axis=1), lambda m, x: x.sort(axis=1).indices):
        np.testing.assert_array_equal(call(gemel, gemel.tensor(values)).numpy(),
                                      call(torch, torch.tensor(values)).numpy(), strict=True)
