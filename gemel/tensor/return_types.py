"""Results with names: what ``max(dim)``, ``sort`` and their like return."""
from __future__ import annotations

from typing import Any


class Named(tuple):
    """A tuple whose elements also have names. torch: ``torch.return_types``"""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __new__(cls, *values: Any) -> Named:
        return tuple.__new__(cls, values[0] if len(values) == 1 and len(cls._fields) != 1 else values)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (tuple(self),)

    def __repr__(self) -> str:
        rows = ",\n".join(f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True))
        return f"gemel.return_types.{type(self).__name__}(\n{rows})"


def _named(name: str, *fields: str) -> type[Named]:
    """A class of :class:`Named` with a property per field."""
    def getter(i: int) -> property:
        return property(lambda self: self[i])
    found = type(name, (Named,), {"__slots__": (), "_fields": fields, "__module__": __name__,
                                  "__doc__": f"Result of ``gemel.{name}``: {', '.join(fields)}.",
                                  **{f: getter(i) for i, f in enumerate(fields)}})
    return found


max = _named("max", "values", "indices")
min = _named("min", "values", "indices")
cummax = _named("cummax", "values", "indices")
cummin = _named("cummin", "values", "indices")
median = _named("median", "values", "indices")
nanmedian = _named("nanmedian", "values", "indices")
mode = _named("mode", "values", "indices")
kthvalue = _named("kthvalue", "values", "indices")
sort = _named("sort", "values", "indices")
topk = _named("topk", "values", "indices")
aminmax = _named("aminmax", "min", "max")
frexp = _named("frexp", "mantissa", "exponent")
histogram = _named("histogram", "hist", "bin_edges")
histogramdd = _named("histogramdd", "hist", "bin_edges")
slogdet = _named("slogdet", "sign", "logabsdet")
qr = _named("qr", "Q", "R")
svd = _named("svd", "U", "S", "V")
geqrf = _named("geqrf", "a", "tau")
triangular_solve = _named("triangular_solve", "solution", "cloned_coefficient")
lu_unpack = _named("lu_unpack", "P", "L", "U")
linalg_slogdet = _named("linalg_slogdet", "sign", "logabsdet")
linalg_qr = _named("linalg_qr", "Q", "R")
linalg_eigh = _named("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_eig = _named("linalg_eig", "eigenvalues", "eigenvectors")
linalg_svd = _named("linalg_svd", "U", "S", "Vh")
linalg_inv_ex = _named("linalg_inv_ex", "inverse", "info")
linalg_cholesky_ex = _named("linalg_cholesky_ex", "L", "info")
linalg_solve_ex = _named("linalg_solve_ex", "result", "info")
linalg_lu = _named("linalg_lu", "P", "L", "U")
linalg_lu_factor = _named("linalg_lu_factor", "LU", "pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU", "pivots", "info")
linalg_lstsq = _named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
