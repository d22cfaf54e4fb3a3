"""``gemel.linalg`` and ``gemel.special`` against torch and SciPy."""
from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch

import gemel

from .records import FLOATS, TIERS, Record, check_forward, check_gradient, dtype_cases, grad_cases, in_tier, same_error

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
    *[R(f"special.{n}", lambda m, x, n=n: getattr(m.special, n)(x), (((4, 5),), ((),)), (*FLOATS, "int32"), low=-4,
        high=4) for n in ("expit", "erfcx", "i0", "i0e", "i1", "i1e", "ndtr", "log_ndtr", "sinc", "erf", "erfc")],
    *[R(f"special.{n}", lambda m, x, n=n: getattr(m.special, n)(x), (((4, 5),),), low=0.1, high=4)
      for n in ("entr", "gammaln", "psi", "log1p")],
    R("special.xlog1py", lambda m, x, y: (m.special.xlog1py(x, y), m.special.xlog1py(2, y)), (((3, 4), (4,)),), low=0,
      high=3),
    R("special.zeta", lambda m, x, y: m.special.zeta(x, y), (((3, 4), (4,)),), low=1.5, high=6, grad=False),
]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("record", "dtype"), dtype_cases(RECORDS))
def test_forward(record, dtype, tier):
    with in_tier(tier):
        check_forward(record, dtype)


@pytest.mark.parametrize("record", grad_cases(RECORDS))
def test_gradient(record):
    check_gradient(record)


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
    "unknown matrix norm": lambda m: m.linalg.matrix_norm(_x(m), 3),
}


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
