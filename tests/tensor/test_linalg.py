"""``gemel.linalg`` and ``gemel.special`` against torch and SciPy."""
from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch

import gemel

from .records import FLOATS, Record, compared, same_error

SQUARE = (((3, 3),), ((2, 3, 3),))
TALL = (((5, 3),), ((2, 4, 3),))
BOTH = (*TALL, ((3, 5),))


def R(name, call, shapes=SQUARE, dtypes=FLOATS, **more):
    return Record(name, call, shapes, dtypes, tolerance=more.pop("tolerance", 50), **more)


def _positive(m, x):
    return x @ x.mT + m.eye(x.shape[-1], dtype=x.dtype)


def _symmetric(x):
    return x + x.mT


def _signless(u, vh):
    """Singular and eigenvectors are known up to their signs."""
    return u.abs(), vh.abs()


RECORDS = [
    R("inv", lambda m, x: m.linalg.inv(x), dtypes=(*FLOATS, "complex64")),
    R("det", lambda m, x: m.linalg.det(x), dtypes=(*FLOATS, "complex64")),
    R("slogdet", lambda m, x: m.linalg.slogdet(x)),
    R("solve", lambda m, x, y: m.linalg.solve(x, y), (((3, 3), (3, 2)), ((3, 3), (3,)), ((2, 3, 3), (3, 2)))),
    R("solve right", lambda m, x, y: m.linalg.solve(x, y, left=False), (((3, 3), (2, 3)),)),
    R("solve_triangular", lambda m, x, y: (m.linalg.solve_triangular(x, y, upper=True), m.linalg.solve_triangular(
        x, y, upper=False, unitriangular=True)), (((3, 3), (3, 2)),)),
    R("cholesky", lambda m, x: (m.linalg.cholesky(_positive(m, x)), m.linalg.cholesky(_positive(m, x), upper=True))),
    R("qr", lambda m, x: _signless(*m.linalg.qr(x)), TALL),
    R("qr complete", lambda m, x: _signless(*m.linalg.qr(x, "complete")), BOTH, grad=False),
    R("eigh", lambda m, x: m.linalg.eigh(_symmetric(x))[0], SQUARE),
    R("eigh vectors", lambda m, x: m.linalg.eigh(_symmetric(x))[1].abs(), SQUARE, ("float64",)),
    R("eigvalsh", lambda m, x: m.linalg.eigvalsh(_symmetric(x), UPLO="U")),
    R("svd", lambda m, x: _signless(m.linalg.svd(x, False)[0], m.linalg.svd(x, False)[2]), BOTH, ("float64",)),
    R("svdvals", lambda m, x: m.linalg.svdvals(x), BOTH, (*FLOATS, "complex64")),
    R("pinv", lambda m, x: m.linalg.pinv(x), BOTH),
    R("matrix_rank", lambda m, x: (m.linalg.matrix_rank(x), m.linalg.matrix_rank(x * 0)), BOTH, grad=False),
    R("cond", lambda m, x: (m.linalg.cond(x), m.linalg.cond(x, 1)), SQUARE, grad=False),
    *[R(f"matrix_norm {p}", lambda m, x, p=p: (m.linalg.matrix_norm(x, p), m.linalg.matrix_norm(x, p, keepdim=True)),
        BOTH) for p in ("fro", "nuc", 1, -1, math.inf, -math.inf, 2, -2)],
    R("vector_norm", lambda m, x: (m.linalg.vector_norm(x), m.linalg.vector_norm(x, 3, 0),
                                   m.linalg.vector_norm(x, math.inf, (0, 1), keepdim=True)), BOTH[:1]),
    R("norm", lambda m, x: (m.linalg.norm(x), m.linalg.norm(x, 1), m.linalg.norm(x, 2, 0), m.linalg.norm(
        x, "nuc", (0, 1))), BOTH[:1]),
    R("multi_dot", lambda m, x, y, z: m.linalg.multi_dot([x, y, z]), (((2, 5), (5, 3), (3, 4)), ((5,), (5, 3), (3,)))),
    R("vecdot", lambda m, x, y: (m.linalg.vecdot(x, y), m.linalg.vecdot(x, y, dim=0)), (((3, 4), (3, 4)),),
      (*FLOATS, "complex64")),
    R("matrix_power", lambda m, x: (m.linalg.matrix_power(x, 3), m.linalg.matrix_power(x, -2)), low=0.5, high=2.0,
      tolerance=1e4),
    R("vander", lambda m, x: m.linalg.vander(x, N=4), (((3,),),)),
    R("inv_ex", lambda m, x: (*m.linalg.inv_ex(x), m.inverse(x), x.inverse()), tolerance=1e3),
    R("codes of singular matrices", lambda m, x: (
        m.linalg.inv_ex(x * 0).info, m.linalg.inv_ex(m.stack([x, x.triu(1)])).info, m.linalg.solve_ex(x * 0, x).info,
        m.linalg.cholesky_ex(-x @ x.mT).info, m.linalg.lu_factor_ex(x.triu(1)).info,
        m.linalg.cholesky_ex(m.diag_embed(x.new_tensor([1.0, 2.0, -1.0]))).info), grad=False),
    R("cholesky_ex", lambda m, x: (*m.linalg.cholesky_ex(_positive(m, x)), m.cholesky(_positive(m, x), upper=True),
                                   _positive(m, x).cholesky())),
    R("cholesky_solve", lambda m, x, y: (m.cholesky_solve(y, m.cholesky(_positive(m, x))), m.cholesky_inverse(
        _positive(m, x).cholesky(True), True), m.cholesky_solve(y, _positive(m, x).cholesky(True), upper=True)),
      (((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2))), tolerance=1e3),
    R("solve_ex", lambda m, x, y: m.linalg.solve_ex(x, y), (((3, 3), (3, 2)), ((2, 3, 3), (3, 2))), tolerance=1e3),
    R("lu", lambda m, x: m.linalg.lu(x), (*BOTH, *SQUARE, ((40, 70),), ((70, 40),)), (*FLOATS, "complex64"),
      grad=False),
    R("lu of squares", lambda m, x: (*m.linalg.lu(x), m.linalg.lu_factor(x).LU), (*SQUARE, ((40, 40),)),
      tolerance=1e5),
    R("lu_factor", lambda m, x: (*m.linalg.lu_factor(x), *m.linalg.lu_factor_ex(x), *m.lu(x, get_infos=True),
                                 *x.lu(), *m.lu_unpack(*m.lu(x)), m.lu_unpack(*m.lu(x), unpack_data=False).P,
                                 m.lu_unpack(*m.lu(x), unpack_pivots=False).L), (*BOTH, *SQUARE), grad=False),
    R("lu_solve", lambda m, x, y: (
        m.linalg.lu_solve(*m.linalg.lu_factor(x), y), m.lu_solve(y, *m.lu(x)),
        m.linalg.lu_solve(*m.linalg.lu_factor(x), y, adjoint=True),
        m.linalg.lu_solve(*m.linalg.lu_factor(x), y.mT, left=False),
        m.linalg.lu_solve(*m.linalg.lu_factor(x), y.mT, left=False, adjoint=True)),
      (((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2))), (*FLOATS, "complex64"), tolerance=1e3),
    R("matrix_exp", lambda m, x: (m.linalg.matrix_exp(x), m.matrix_exp(x * 0.01), (x * 0).matrix_exp()),
      dtypes=(*FLOATS, "complex64"), tolerance=1e3),
    R("geqrf", lambda m, x: (*m.geqrf(x), *x.geqrf()), BOTH, grad=False),
    R("householder_product", lambda m, x, t: (m.linalg.householder_product(x, t), m.orgqr(x, t), x.orgqr(t)),
      (((5, 3), (3,)), ((4, 3), (2,)), ((2, 4, 3), (2, 3))), (*FLOATS, "complex64"), tolerance=1e3),
    R("ormqr", lambda m, x, y: (*(m.ormqr(*m.geqrf(x), y, transpose=t) for t in (False, True)),
                                *(m.ormqr(*m.geqrf(x), y.mT, False, t) for t in (False, True))),
      (((5, 3), (5, 2)), ((2, 4, 3), (2, 4, 2)), ((3, 3), (3, 2))), grad=False),
    *[R(f"lstsq {driver}", lambda m, x, y, d=driver: m.linalg.lstsq(x, y, driver=d), (
        ((5, 3), (5, 2)), ((3, 5), (3, 2)), ((2, 4, 3), (2, 4, 1)), ((2, 4, 3), (2, 4))), tolerance=1e3,
        grad=False) for driver in (None, "gels", "gelsd", "gelss")],
    R("lstsq solution", lambda m, x, y: m.linalg.lstsq(x, y).solution, (
        ((5, 3), (5, 2)), ((3, 5), (3, 2)), ((4, 4), (4,))), ("float64",), tolerance=1e4),
    R("lstsq of low rank", lambda m, x, y: m.linalg.lstsq(x[:, :2] @ x[:2], y)[::2], (((4, 4), (4, 2)),),
      ("float64",), grad=False, tolerance=1e6),
    R("tensorinv", lambda m, x: (m.linalg.tensorinv(x.reshape(2, 3, 6)), m.linalg.tensorinv(x.reshape(6, 3, 2), 1)),
      (((6, 6),),), tolerance=1e3),
    R("tensorsolve", lambda m, x, y: (m.linalg.tensorsolve(x.reshape(2, 3, 6), y),
                                      m.linalg.tensorsolve(x.reshape(2, 6, 3), y, dims=(1,))),
      (((6, 6), (2, 3)),), tolerance=1e3),
    R("determinants", lambda m, x: (m.det(x), x.det(), m.logdet(x @ x.mT), m.logdet(-x @ x.mT), *m.slogdet(x),
                                    *x.slogdet())),
    R("complex logdet", lambda m, x: m.logdet(x).exp(), dtypes=("complex64",), grad=False, tolerance=1e3),
    R("pinverse", lambda m, x: (m.pinverse(x), x.pinverse()), BOTH),
    R("pinverse of a lower rank", lambda m, x: m.pinverse(x, 0.5), BOTH, grad=False),
    R("qr at the top", lambda m, x: (*_signless(*m.qr(x)), *_signless(*x.qr(some=True))), TALL),
    R("svd at the top", lambda m, x: (m.svd(x).S, *_signless(m.svd(x).U, m.svd(x).V), *m.svd(x, compute_uv=False),
                                      *_signless(x.svd(False)[0], x.svd(False)[2])), SQUARE, grad=False),
    R("triangular_solve", lambda m, x, y: (
        *m.triangular_solve(y, x), *m.triangular_solve(y, x, upper=False, transpose=True),
        *y.triangular_solve(x, unitriangular=True)), (((3, 3), (3, 2)),), tolerance=1e4),
    *[R(f"special.{n}", lambda m, x, n=n: getattr(m.special, n)(x), (((4, 5),), ((),)), (*FLOATS, "int32"), low=-4,
        high=4) for n in ("expit", "erfcx", "i0", "i0e", "i1", "i1e", "ndtr", "log_ndtr", "sinc", "erf", "erfc")],
    *[R(f"special.{n}", lambda m, x, n=n: getattr(m.special, n)(x), (((4, 5),),), low=0.1, high=4)
      for n in ("entr", "gammaln", "psi", "log1p")],
    R("special.xlog1py", lambda m, x, y: (m.special.xlog1py(x, y), m.special.xlog1py(2, y)), (((3, 4), (4,)),), low=0,
      high=3),
    R("special.zeta", lambda m, x, y: m.special.zeta(x, y), (((3, 4), (4,)),), low=1.5, high=6, grad=False),
]


test_forward, test_gradient = compared(RECORDS)


WIDE = np.concatenate([np.linspace(-30, 30, 241), [0.0, 1e-300, -1e-300, 1e-8, math.inf, -math.inf, math.nan]])
ACCURATE = {
    "erfc": (scipy.special.erfc, WIDE), "erfcx": (scipy.special.erfcx, WIDE[WIDE > -26]),
    "i0": (scipy.special.i0, WIDE), "i0e": (scipy.special.i0e, WIDE), "i1": (scipy.special.i1, WIDE),
    "i1e": (scipy.special.i1e, WIDE), "ndtr": (scipy.special.ndtr, WIDE), "log_ndtr": (scipy.special.log_ndtr, WIDE),
    "entr": (scipy.special.entr, WIDE),
}


@pytest.mark.parametrize("name", ACCURATE)
def test_double_precision(name):
    reference, at = ACCURATE[name]
    with np.errstate(all="ignore"):
        want = reference(at)
    got = getattr(gemel.special, name)(gemel.tensor(at, dtype=gemel.float64)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-300, equal_nan=True)


def test_zeta_of_a_grid():
    s, q = np.meshgrid(np.array([1.5, 2.0, 3.0, 7.5, 20.0]), np.array([0.1, 0.5, 1.0, 4.0, 30.0]))
    got = gemel.special.zeta(gemel.tensor(s), gemel.tensor(q)).numpy()
    np.testing.assert_allclose(got, scipy.special.zeta(s, q), rtol=1e-13)


def _x(m):
    return m.ones(2, 3)


ERRORS = {
    "inv of a rectangle": lambda m: m.linalg.inv(_x(m)),
    "inv of a vector": lambda m: m.linalg.inv(m.ones(3)),
    "inv of ints": lambda m: m.linalg.inv(m.ones(2, 2, dtype=m.int64)),
    "inv of a singular matrix": lambda m: m.linalg.inv(m.zeros(2, 2)).numpy(),
    "cholesky of an indefinite matrix": lambda m: m.linalg.cholesky(-m.eye(2)).numpy(),
    "solve of sizes": lambda m: m.linalg.solve(m.eye(3), m.ones(2, 2)),
    "unknown mode of qr": lambda m: m.linalg.qr(_x(m), "full"),
    "eigh of an unknown triangle": lambda m: m.linalg.eigh(m.eye(2), "X"),
    "multi_dot of one": lambda m: m.linalg.multi_dot([_x(m)]),
    "multi_dot of sizes": lambda m: m.linalg.multi_dot([_x(m), _x(m)]),
    "cross of sizes": lambda m: m.linalg.cross(m.ones(2), m.ones(2)),
    "matrix norm of a vector": lambda m: m.linalg.matrix_norm(m.ones(3)),
    "lu_factor of a singular matrix": lambda m: m.linalg.lu_factor(m.zeros(2, 2)),
    "lu_factor of singular matrices": lambda m: m.linalg.lu_factor(m.zeros(3, 2, 2)),
    "lu without pivots": lambda m: m.linalg.lu(m.eye(2), pivot=False),
    "lu_factor without pivots": lambda m: m.linalg.lu_factor(m.eye(2), pivot=False),
    "inv_ex that checks": lambda m: m.linalg.inv_ex(m.zeros(2, 2), check_errors=True),
    "cholesky_ex that checks": lambda m: m.linalg.cholesky_ex(-m.eye(2), check_errors=True),
    "lu_solve of other pivots": lambda m: m.linalg.lu_solve(m.eye(2), m.tensor([1, 2]), m.eye(2)),
    "lu_solve of sizes": lambda m: m.linalg.lu_solve(m.eye(2), m.tensor([1, 2], dtype=m.int32), m.ones(3, 1)),
    "lu_unpack of other pivots": lambda m: m.lu_unpack(m.eye(2), m.tensor([1, 2])),
    "matrix_exp of a rectangle": lambda m: m.matrix_exp(_x(m)),
    "householder_product of a wide matrix": lambda m: m.linalg.householder_product(_x(m), m.ones(3)),
    "householder_product of many": lambda m: m.linalg.householder_product(m.ones(3, 2), m.ones(3)),
    "householder_product of a vector": lambda m: m.linalg.householder_product(m.ones(3), m.ones(3)),
    "householder_product of batches": lambda m: m.linalg.householder_product(m.ones(2, 3, 2), m.ones(2)),
    "householder_product of dtypes": lambda m: m.linalg.householder_product(m.ones(3, 2), m.ones(2, dtype=m.float64)),
    "ormqr of sizes": lambda m: m.ormqr(m.ones(3, 2), m.ones(2), m.ones(2, 2)),
    "lstsq of a vector": lambda m: m.linalg.lstsq(m.ones(3), m.ones(3, 1)),
    "lstsq of sizes": lambda m: m.linalg.lstsq(_x(m), m.ones(3, 1)),
    "lstsq of dtypes": lambda m: m.linalg.lstsq(_x(m), m.ones(2, 1, dtype=m.float64)),
    "lstsq of an unknown driver": lambda m: m.linalg.lstsq(_x(m), m.ones(2, 1), driver="qr"),
    "tensorinv of sizes": lambda m: m.linalg.tensorinv(m.ones(2, 3, 4)),
    "tensorinv of no axes": lambda m: m.linalg.tensorinv(m.ones(2, 3, 4), 0),
    "tensorsolve of sizes": lambda m: m.linalg.tensorsolve(m.ones(2, 3, 4), m.ones(2, 3)),
    "cholesky_solve of sizes": lambda m: m.cholesky_solve(m.ones(3, 1), m.eye(2)),
    "cholesky_solve of a vector": lambda m: m.cholesky_solve(m.ones(3), m.eye(3)),
    "cholesky_inverse of a rectangle": lambda m: m.cholesky_inverse(_x(m)),
    "pca_lowrank of many": lambda m: m.pca_lowrank(_x(m), q=3),
    "pca_lowrank of no iterations": lambda m: m.pca_lowrank(_x(m), niter=-1),
    "unknown matrix norm": lambda m: m.linalg.matrix_norm(_x(m), 3),
}


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (2, 7, 6)])
def test_low_rank(shape):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((*shape[:-1], 3)) @ rng.standard_normal((*shape[:-2], 3, shape[-1])))
    mine = gemel.tensor(x.numpy())
    for name, options in (("svd_lowrank", {"q": 4}), ("svd_lowrank", {"M": 0.5}), ("pca_lowrank", {}),
                          ("pca_lowrank", {"q": 4, "center": False})):
        off = {"M": 0.5 * torch.ones_like(x)} if "M" in options else options
        want = getattr(torch, name)(x, **off)
        u, s, v = getattr(gemel, name)(mine, **({"M": 0.5 * gemel.ones_like(mine)} if "M" in options else options))
        assert [tuple(t.shape) for t in (u, s, v)] == [tuple(t.shape) for t in want]
        np.testing.assert_allclose(s.numpy()[..., :3], want[1].numpy()[..., :3], rtol=1e-9)
        whole = x.numpy() - 0.5 if "M" in options else x.numpy()
        if name == "pca_lowrank" and not options:
            whole = whole - whole.mean(-2, keepdims=True)
        np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ v.mT).numpy(), whole, atol=1e-9)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_failed_inverse_fails_at_the_call_and_only_there():
    x = gemel.ones(2)
    y = x + 1
    with pytest.raises(gemel.linalg.LinAlgError, match="linalg.inv") as caught:
        gemel.linalg.inv(gemel.zeros(2, 2))
    np.testing.assert_array_equal(y.numpy(), [2, 2])
    assert caught.value is not None
    assert issubclass(torch.linalg.LinAlgError, RuntimeError)
