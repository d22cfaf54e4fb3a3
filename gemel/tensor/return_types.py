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
slogdet = _named("slogdet", "sign", "logabsdet")
qr = _named("qr", "Q", "R")
eigh = _named("eigh", "eigenvalues", "eigenvectors")
eig = _named("eig", "eigenvalues", "eigenvectors")
svd = _named("svd", "U", "S", "Vh")
