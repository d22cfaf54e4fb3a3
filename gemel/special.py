"""Special functions. torch: ``torch.special``.

    >>> gemel.special.expit(gemel.zeros(1))
    tensor([0.5000])
"""
from __future__ import annotations

from .engine.base import dtypes as dt
from .engine.base.dtypes import DType
from .engine.base.errors import DTypeError
from .tensor.functions import (
    erfc,
    i0,
    igamma,
    igammac,
    logit,
    mvlgamma,
    polygamma,
    real_function,
    sinc,
    two_operands,
    xlogy,
)
from .tensor.pointwise import digamma, erf, erfinv, exp2, expm1, lgamma, log1p, round, sigmoid
from .tensor.promotion import SCALAR_NAMES, inexact
from .tensor.reduction import logsumexp
from .tensor.softmax import log_softmax, softmax

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e",
    "gammainc", "gammaincc", "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri",
    "polygamma", "psi", "round", "sinc", "softmax", "xlog1py", "xlogy", "zeta",
]

gammainc, gammaincc = igamma, igammac
expit, gammaln, psi, multigammaln = sigmoid, lgamma, digamma, mvlgamma
entr = real_function("entr", "``-x log(x)``: 0 at 0, -inf below.")
erfcx = real_function("erfcx", "``exp(x^2) erfc(x)``, without overflow for large x.")
i0e = real_function("i0e", "``exp(-|x|) i0(x)``.")
i1 = real_function("i1", "Modified Bessel function of the first kind of order 1.")
i1e = real_function("i1e", "``exp(-|x|) i1(x)``.")
ndtr = real_function("ndtr", "The distribution function of the standard normal distribution.")
log_ndtr = real_function("log_ndtr", "The logarithm of :func:`ndtr`, also far in the tail.")
ndtri = real_function("ndtri", "The quantile of the standard normal distribution: the inverse of :func:`ndtr`.")


def _floats(dtype: DType) -> DType:
    if dtype.kind == "c":
        raise DTypeError(f"not implemented for '{SCALAR_NAMES[dtype]}'")
    return inexact(dtype)


def _wide_floats(dtype: DType) -> DType:
    found = _floats(dtype)
    if found in (dt.float16, dt.bfloat16):
        raise DTypeError(f"\"zeta_cpu\" not implemented for '{SCALAR_NAMES[found]}'")
    return found


xlog1py = two_operands("xlog1py", "xlog1py", _floats, "``input * log1p(other)``; 0 where ``input`` is 0.", "ab")
zeta = two_operands("zeta", "zeta", _wide_floats, "The Hurwitz zeta function: sum over k of ``(k + other) ** -input``.",
                    "ab")
