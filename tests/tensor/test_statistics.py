"""Integrals, derivatives by differences, covariances, distances, histograms, incomplete gamma functions."""
from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch

import gemel

from .records import FLOATS, Record, assert_same, compared, results, same_error, to_gemel

PLANES = (((3, 4),), ((2, 5, 3),))


def R(name, call, shapes=PLANES, dtypes=FLOATS, **more):
    return Record(name, call, shapes, dtypes, tolerance=more.pop("tolerance", 20), **more)


WEIGHTS = {"fweights": lambda m: m.tensor([1, 3, 0, 2]), "aweights": lambda m: m.tensor([0.5, 0.1, 1.0, 0.2])}


def _cov(*names, **options):
    return lambda m, x: m.cov(x, **options, **{n: WEIGHTS[n](m).to(x.dtype if n == "aweights" else m.int64)
                                               for n in names})


RECORDS = [
    R("trapezoid", lambda m, x: (m.trapezoid(x), m.trapezoid(x, dx=0.5), m.trapz(x, dim=0), m.trapezoid(x, x * x),
                                 m.trapezoid(x, x[(0,) * (x.ndim - 1)]), m.trapezoid(x[..., :0]), m.trapezoid(
                                     x[..., :1]), m.trapezoid(x, x[..., :1, :])), dtypes=(*FLOATS, "int32")),
    R("cumulative_trapezoid", lambda m, x: (
        m.cumulative_trapezoid(x), m.cumulative_trapezoid(x, dx=2, dim=0), m.cumulative_trapezoid(x, x * x, dim=0)),
      dtypes=(*FLOATS, "int64")),
    R("gradient", lambda m, x: (*m.gradient(x), *m.gradient(x, dim=-1, edge_order=2), *m.gradient(
        x, spacing=0.5, dim=(0, -1)), *m.gradient(x, spacing=[2, 0.3], dim=[-1, 0])), dtypes=(*FLOATS, "int32",
                                                                                             "complex64")),
    R("gradient of places", lambda m, x, u, v: (
        *m.gradient(x, spacing=(u.cumsum(0), v.cumsum(0))), *m.gradient(x, spacing=[v.cumsum(0)], dim=1, edge_order=2),
        *m.gradient(x, spacing=(u.cumsum(0), v.cumsum(0)), edge_order=2)), (((4, 5), (4,), (5,)),), low=0.2, high=2),
    R("cov", lambda m, x: (m.cov(x), x.cov(correction=0), m.cov(x[0]), m.cov(x, correction=2)), (((3, 4),),),
      (*FLOATS, "int32", "complex64")),
    R("cov with fweights", _cov("fweights"), (((3, 4),), ((4,),))),
    R("cov with aweights", _cov("aweights"), (((3, 4),),)),
    R("cov with both", _cov("fweights", "aweights", correction=0), (((3, 4),),)),
    R("cov with both corrected", _cov("fweights", "aweights"), (((3, 4),),)),
    R("corrcoef", lambda m, x: (m.corrcoef(x), x.corrcoef()), (((3, 4),),), (*FLOATS, "int32", "complex64")),
    R("corrcoef of one", lambda m, x: m.corrcoef(x), (((4,),),), grad=False),
    R("dist", lambda m, x, y: (m.dist(x, y), x.dist(y, 1), m.dist(x, y, 3.5), m.dist(x, y, math.inf)),
      (((3, 4), (4,)),)),
    R("dist of order 0", lambda m, x, y: m.dist(x, y, 0), (((3, 4), (4,)),), grad=False),
    R("renorm", lambda m, x: (m.renorm(x, 2, 0, 1.0), x.renorm(1, -1, 2.0), m.renorm(x, math.inf, 1, 0.5),
                              m.renorm(x, 3, 0, 100.0)), dtypes=(*FLOATS, "complex64"), tolerance=50),
    R("cdist", lambda m, x, y: (m.cdist(x, y), m.cdist(x, y, 1), m.cdist(x, y, 3.5), m.cdist(x, y, math.inf),
                                m.cdist(x, y, 0.5), m.cdist(x, x[..., :1, :])),
      (((4, 3), (5, 3)), ((2, 4, 3), (5, 3)), ((2, 1, 4, 3), (3, 5, 3)))),
    R("cdist counts", lambda m, x, y: (m.cdist(x, y, 0), m.cdist(x[..., :0], y[..., :0])), (((4, 3), (5, 3)),),
      grad=False),
    R("vander", lambda m, x: (m.vander(x), m.vander(x, 2), m.vander(x, N=5, increasing=True), m.vander(x, 0)),
      (((4,),), ((1,),)), (*FLOATS, "int64", "int32"), grad=False),
    R("ndtri", lambda m, x: m.special.ndtri(x), (((3, 4),),), low=0.001, high=0.999),
    R("renorm_", lambda m, x: (x * 1).renorm_(2, 0, 1.0), grad=False),
    R("igamma", lambda m, x, y: (m.igamma(x, y), m.igammac(x, y), x.igamma(y), m.special.gammainc(x, y),
                                 m.special.gammaincc(x, y)), (((3, 4), (4,)),), low=0.01, high=12, positions=(1,)),
]


test_forward, test_gradient = compared(RECORDS)


POINTS = torch.tensor([[0.0, 1.0], [1.0, 0.25], [2.0, 0.0], [2.0, 2.0], [1.5, 0.5], [-1.0, 2.0]])
W = torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0, 1.0])
HISTOGRAMS = {
    "count": lambda m, x, w: m.histogram(x[:, 0], 4),
    "range": lambda m, x, w: x[:, 1].histogram(5, range=(0.0, 1.0)),
    "weight": lambda m, x, w: m.histogram(x[:, 1], 3, weight=w),
    "density": lambda m, x, w: m.histogram(x[:, 1], 3, weight=w, density=True),
    "edges": lambda m, x, w: m.histogram(x, m.tensor([-1.0, 0.0, 0.5, 2.0])),
    "double": lambda m, x, w: m.histogram(x.double(), m.tensor([-1.0, 0.0, 0.5, 2.0], dtype=m.float64)),
    "nothing": lambda m, x, w: m.histogram(x[:0, 0], 4),
    "one value": lambda m, x, w: m.histogram(x[:, 0] * 0 + 3, 4),
    "equal ends": lambda m, x, w: m.histogram(x[:, 0], 4, range=(1.0, 1.0)),
}
GRIDS = {
    "counts": lambda m, x, w: m.histogramdd(x, [3, 2]),
    "count": lambda m, x, w: m.histogramdd(x, 3, range=[0.0, 2.0, 0.0, 1.0]),
    "weight": lambda m, x, w: m.histogramdd(x, bins=[2, 4], weight=w, density=True),
    "edges": lambda m, x, w: m.histogramdd(x, [m.tensor([0.0, 1.0, 2.0]), m.tensor([0.0, 0.3, 2.0])]),
    "axes": lambda m, x, w: m.histogramdd(x.reshape(2, 3, 2), [2, 2], weight=w.reshape(2, 3)),
}


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_histogram(name):
    got, want = (HISTOGRAMS[name](m, f(POINTS), f(W)) for m, f in ((gemel, to_gemel), (torch, lambda x: x)))
    assert type(got).__name__ == "histogram"
    for g, w in zip(results(got), results(want), strict=True):
        assert_same(g, w)


@pytest.mark.parametrize("name", GRIDS)
def test_histogramdd(name):
    got, want = (GRIDS[name](m, f(POINTS), f(W)) for m, f in ((gemel, to_gemel), (torch, lambda x: x)))
    assert_same(got.hist, want.hist)
    for g, w in zip(got.bin_edges, want.bin_edges, strict=True):
        assert_same(g, w)


def test_incomplete_gamma_functions_in_double_precision():
    a, x = (v.reshape(-1) for v in np.meshgrid([1e-3, 0.3, 1.0, 2.5, 10.0, 99.5, 1e3], [
        1e-6, 0.1, 1.0, 2.0, 9.0, 100.0, 990.0, 1500.0]))
    for ours, theirs in ((gemel.igamma, scipy.special.gammainc), (gemel.igammac, scipy.special.gammaincc)):
        got = ours(gemel.tensor(a), gemel.tensor(x)).numpy()
        np.testing.assert_allclose(got, theirs(a, x), rtol=1e-11, atol=1e-300)
    inf, nan = math.inf, math.nan
    a, x = torch.tensor([-1.0, 0, 2, 0, inf, 2, inf, nan, 1]), torch.tensor([1.0, 3, -1, 0, 2, inf, inf, 1, 0])
    for name in ("igamma", "igammac"):
        assert_same(getattr(gemel, name)(to_gemel(a), to_gemel(x)), getattr(torch, name)(a, x))


def test_quantiles_in_double_precision():
    p = np.array([0.0, 1e-300, 1e-20, 0.01, 0.074, 0.076, 0.3, 0.5, 0.9, 0.999, 1.0, -0.1, 1.1, math.nan])
    np.testing.assert_allclose(gemel.special.ndtri(gemel.tensor(p)).numpy(), scipy.special.ndtri(p), rtol=2e-14)


def test_weighted_counts_of_nothing_are_int64():
    empty = torch.zeros(0, dtype=torch.int64)
    for w in (None, torch.zeros(0), torch.zeros(0, dtype=torch.float64)):
        assert_same(gemel.bincount(to_gemel(empty), None if w is None else to_gemel(w), minlength=2),
                    torch.bincount(empty, w, minlength=2))


@pytest.mark.filterwarnings("ignore:cov")
def test_too_few_observations():
    for f in (lambda m: m.cov(m.tensor(3.0)), lambda m: m.corrcoef(m.tensor(3.0)), lambda m: m.cov(m.zeros(2, 0))):
        assert_same(f(gemel), f(torch))
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        assert gemel.cov(gemel.ones(2, 1)).isnan().all()


def _x(m):
    return m.ones(2, 3)


ERRORS = {
    "trapezoid of bool": lambda m: m.trapezoid(_x(m) > 0),
    "trapezoid over bool": lambda m: m.trapezoid(_x(m), _x(m) > 0),
    "trapezoid places": lambda m: m.trapezoid(_x(m), m.ones(2)),
    "trapezoid of a number": lambda m: m.trapezoid(m.tensor(1.0)),
    "trapezoid of both": lambda m: m.trapezoid(_x(m), x=_x(m), dx=1),
    "cumulative_trapezoid places": lambda m: m.cumulative_trapezoid(_x(m), m.ones(2)),
    "gradient edge_order": lambda m: m.gradient(_x(m), edge_order=3),
    "gradient of one": lambda m: m.gradient(m.ones(1)),
    "gradient repeated": lambda m: m.gradient(_x(m), dim=(0, 0)),
    "gradient spacings": lambda m: m.gradient(_x(m), spacing=(1, 2, 3)),
    "gradient spacings of axes": lambda m: m.gradient(_x(m), spacing=(1, 2), dim=1),
    "gradient of bool": lambda m: m.gradient(_x(m) > 0),
    "cov axes": lambda m: m.cov(m.ones(2, 2, 2)),
    "cov of bool": lambda m: m.cov(_x(m) > 0),
    "cov fweights dtype": lambda m: m.cov(_x(m), fweights=m.ones(3)),
    "cov aweights dtype": lambda m: m.cov(_x(m), aweights=m.tensor([1, 2, 3])),
    "cov fweights size": lambda m: m.cov(_x(m), fweights=m.tensor([1, 2])),
    "cov fweights axes": lambda m: m.cov(_x(m), fweights=m.tensor([[1, 2, 3]])),
    "cov fweights below zero": lambda m: m.cov(_x(m), fweights=m.tensor([-1, 2, 3])),
    "cov aweights below zero": lambda m: m.cov(_x(m), aweights=m.tensor([-1.0, 2, 3])),
    "cov no weight": lambda m: m.cov(_x(m), fweights=m.tensor([0, 0, 0])),
    "corrcoef axes": lambda m: m.corrcoef(m.ones(2, 2, 2)),
    "dist of ints": lambda m: m.dist(m.tensor([1]), m.tensor([2])),
    "renorm of a vector": lambda m: m.renorm(m.ones(3), 2, 0, 1.0),
    "renorm order": lambda m: m.renorm(_x(m), -1, 0, 1.0),
    "renorm size": lambda m: m.renorm(_x(m), 2, 0, -1.0),
    "renorm of ints": lambda m: m.renorm(m.ones(2, 2, dtype=m.int64), 2, 0, 1.0),
    "cdist columns": lambda m: m.cdist(_x(m), m.ones(2, 2)),
    "cdist of a vector": lambda m: m.cdist(_x(m), m.ones(3)),
    "cdist of ints": lambda m: m.cdist(m.ones(2, 2, dtype=m.int64), m.ones(2, 2, dtype=m.int64)),
    "cdist dtypes": lambda m: m.cdist(_x(m), _x(m).double()),
    "cdist order": lambda m: m.cdist(_x(m), _x(m), -1.0),
    "cdist mode": lambda m: m.cdist(_x(m), _x(m), compute_mode="x"),
    "cdist of halves": lambda m: m.cdist(_x(m).half(), _x(m).half()),
    "vander of a matrix": lambda m: m.vander(_x(m)),
    "vander below zero": lambda m: m.vander(m.ones(3), -1),
    "histogram of ints": lambda m: m.histogram(m.tensor([1, 2]), 2),
    "histogram bins": lambda m: m.histogram(m.ones(3), 0),
    "histogram range": lambda m: m.histogram(m.ones(3), 2, range=(2.0, 1.0)),
    "histogram weight": lambda m: m.histogram(m.ones(3), 2, weight=m.ones(2)),
    "histogram weight dtype": lambda m: m.histogram(m.ones(3), 2, weight=m.ones(3).double()),
    "histogram edges dtype": lambda m: m.histogram(m.ones(3), m.tensor([1, 2])),
    "histogram edges axes": lambda m: m.histogram(m.ones(3), _x(m)),
    "histogram of nan": lambda m: m.histogram(m.tensor([1.0, math.nan]), 2),
    "histogramdd of a vector": lambda m: m.histogramdd(m.ones(3), [2]),
    "histogramdd bins": lambda m: m.histogramdd(_x(m), [2, 2]),
    "igamma of ints": lambda m: m.igamma(m.tensor([1, 2]), m.tensor([1, 2])),
    "igamma of numbers": lambda m: m.igamma(1.0, m.ones(2)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_no_derivative_of_igamma_by_its_order():
    with pytest.raises(NotImplementedError, match="detach it"):
        gemel.igamma(gemel.ones(2, requires_grad=True), gemel.ones(2))
