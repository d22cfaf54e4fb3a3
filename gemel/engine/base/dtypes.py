"""Element types: one row each, shared by every layer from the tensor API to the code generator.

A dtype is an interned object compared by identity, as in torch; ``str`` gives the public name
(``gemel.float32``), ``.ir`` the short name of the IR (``f32``).
"""
from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """An element type.

    Args:
        name: public name, torch's (``float32``).
        ir: short name used in printed programs (``f32``).
        kind: ``f`` float, ``i`` signed, ``u`` unsigned, ``b`` bool, ``c`` complex.
        bits: width in bits of one element as stored (bool: 8).
        numpy: the NumPy dtype that stores it.
    """

    name: str
    ir: str
    kind: str
    bits: int
    numpy: np.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.bits // 8

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        return self.kind in "fic"

    @property
    def is_integer(self) -> bool:
        """True for the integer types, without bool."""
        return self.kind in "iu"

    @property
    def is_inexact(self) -> bool:
        return self.kind in "fc"

    def __repr__(self) -> str:
        return f"gemel.{self.name}"

    def __reduce__(self):
        return _by_name, (self.name,)


def _by_name(name: str) -> DType:
    return BY_NAME[name]


float64 = DType("float64", "f64", "f", 64, np.dtype(np.float64))
float32 = DType("float32", "f32", "f", 32, np.dtype(np.float32))
float16 = DType("float16", "f16", "f", 16, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "bf16", "f", 16, np.dtype(ml_dtypes.bfloat16))
int64 = DType("int64", "i64", "i", 64, np.dtype(np.int64))
int32 = DType("int32", "i32", "i", 32, np.dtype(np.int32))
int16 = DType("int16", "i16", "i", 16, np.dtype(np.int16))
int8 = DType("int8", "i8", "i", 8, np.dtype(np.int8))
uint64 = DType("uint64", "u64", "u", 64, np.dtype(np.uint64))
uint32 = DType("uint32", "u32", "u", 32, np.dtype(np.uint32))
uint16 = DType("uint16", "u16", "u", 16, np.dtype(np.uint16))
uint8 = DType("uint8", "u8", "u", 8, np.dtype(np.uint8))
bool_ = DType("bool", "bool", "b", 8, np.dtype(np.bool_))
complex64 = DType("complex64", "c64", "c", 64, np.dtype(np.complex64))
complex128 = DType("complex128", "c128", "c", 128, np.dtype(np.complex128))

ALL = (float64, float32, float16, bfloat16, int64, int32, int16, int8,
       uint64, uint32, uint16, uint8, bool_, complex64, complex128)
BY_NAME = {d.name: d for d in ALL}
BY_IR = {d.ir: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL}


def from_numpy(dtype) -> DType:
    """The dtype that stores a NumPy dtype; ``TypeError`` names what cannot be stored."""
    found = _BY_NUMPY.get(np.dtype(dtype).newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(dtype)}. "
            f"The supported types are: {', '.join(d.name for d in ALL)}."
        )
    return found


def component(dtype: DType) -> DType:
    """The real type of a complex type's parts (``complex64`` -> ``float32``); a real type is itself."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def compute_type(dtype: DType) -> DType:
    """The type in which arithmetic on ``dtype`` is done before it is rounded back: f32 for bf16 and f16."""
    return float32 if dtype in (bfloat16, float16) else dtype


# --- promotion: torch's lattice ------------------------------------------------------------------

_FLOAT_ORDER = {float16: 1, bfloat16: 1, float32: 2, float64: 3}


def promote(a: DType, b: DType) -> DType:
    """``torch.promote_types(a, b)``: the smallest type to which both convert."""
    if a is b:
        return a
    if a.kind == "c" or b.kind == "c":
        parts = promote(component(a), component(b))
        return complex128 if parts is float64 else complex64
    if a.kind == "f" or b.kind == "f":
        if a.kind != "f":
            return b
        if b.kind != "f":
            return a
        if _FLOAT_ORDER[a] == _FLOAT_ORDER[b]:  # float16 with bfloat16
            return float32
        return a if _FLOAT_ORDER[a] > _FLOAT_ORDER[b] else b
    if a.kind == "b":
        return b
    if b.kind == "b":
        return a
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    unsigned, signed = (a, b) if a.kind == "u" else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned is uint8:
        return int16
    raise TypeError(f"Promotion for {unsigned.name} and {signed.name} is not supported: cast one of them first "
                    f"(x.to(gemel.int64)). Received: {a!r} and {b!r}")
