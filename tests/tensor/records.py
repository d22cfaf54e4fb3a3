"""One record per operation: what it is called with and on which dtypes; every check is a comparison with torch.

A sample is a function of a library (``torch`` or ``gemel``) and of tensors; the same function runs on both.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import gemel
from gemel.engine.base.flags import override
from gemel.tensor.core import from_array
from gemel.tensor.recording import wrap

FLOATS = ("float32", "float64")
INTS = ("int64", "int32", "int16", "int8", "uint8")
TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2, "complex64": 2e-5,
             "complex128": 1e-11}
Call = Callable[..., Any]


@dataclass(frozen=True)
class Record:
    """An operation with its samples.

    Attributes:
        name: of the operation. call: ``(library, *tensors) -> result(s)``.
        shapes: one tuple of operand shapes per sample. dtypes: those that are compared.
        low, high: range of the elements. grad: are gradients compared? positions: operands that have one.
        unique: elements are distinct (sorting). tolerance: factor on the usual one.
        edges: special values that are mixed in (float dtypes).
    """

    name: str
    call: Call
    shapes: Sequence[tuple[tuple[int, ...], ...]] = (((3, 4),),)
    dtypes: Sequence[str] = FLOATS
    low: float = -3.0
    high: float = 3.0
    grad: bool = True
    positions: tuple[int, ...] | None = None
    unique: bool = False
    tolerance: float = 1.0
    edges: Sequence[float] = ()

    def __str__(self) -> str:
        return self.name


def make(record: Record, shape: tuple[int, ...], dtype: str, seed: int) -> torch.Tensor:
    """A random operand."""
    rng = np.random.default_rng(seed + 1)
    n = int(np.prod(shape, dtype=np.int64))
    kind = getattr(torch, dtype)
    if record.unique:
        data = (rng.permutation(n) - n // 3).reshape(shape)
        return torch.from_numpy(data).to(kind)
    data = rng.uniform(record.low, record.high, shape)
    if dtype == "bool":
        return torch.from_numpy(np.asarray(data > (record.low + record.high) / 2))
    if kind.is_complex:
        return torch.from_numpy(np.asarray(data + 1j * rng.uniform(record.low, record.high, shape))).to(kind)
    x = torch.from_numpy(np.asarray(data)).to(kind)
    if record.edges and kind.is_floating_point and x.numel():
        flat = x.reshape(-1)
        for i, e in enumerate(record.edges):
            flat[(i * 5 + seed) % flat.numel()] = e
    return x


def to_gemel(x: torch.Tensor, grad: bool = False) -> Any:
    """The same tensor in Gemel."""
    if x.dtype is torch.bfloat16:
        import ml_dtypes
        array = x.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = x.detach().numpy()
    found = wrap(from_array(array))
    return found.requires_grad_() if grad else found


def results(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def assert_same(got: Any, want: Any, tolerance: float = 1.0, what: str = "") -> None:
    """dtype, shape and values of one result."""
    if not isinstance(want, torch.Tensor):
        assert got == want, f"{what}: {got!r} is not {want!r}"
        return
    name = str(want.dtype).removeprefix("torch.")
    assert got.dtype.name == name, f"{what}: dtype {got.dtype} is not {name}"
    assert tuple(got.shape) == tuple(want.shape), f"{what}: shape {tuple(got.shape)} is not {tuple(want.shape)}"
    wide = torch.complex128 if want.dtype.is_complex else torch.float64 if want.dtype.is_floating_point else want.dtype
    reference = want.detach().to(wide).resolve_conj().numpy()
    bound = TOLERANCE.get(name, 0.0) * tolerance
    np.testing.assert_allclose(got.detach().numpy().astype(reference.dtype), reference, rtol=bound, atol=bound,
                               err_msg=what)


def check_forward(record: Record, dtype: str) -> None:
    for i, shapes in enumerate(record.shapes):
        operands = [make(record, s, dtype, 10 * i + j) for j, s in enumerate(shapes)]
        want = results(record.call(torch, *operands))
        got = results(record.call(gemel, *[to_gemel(x) for x in operands]))
        assert len(got) == len(want)
        for k, (g, w) in enumerate(zip(got, want, strict=True)):
            assert_same(g, w, record.tolerance, f"{record.name} {dtype} {shapes} result {k}")


def check_gradient(record: Record) -> None:
    """vjp with a random cotangent, in float64."""
    for i, shapes in enumerate(record.shapes):
        operands = [make(record, s, "float64", 10 * i + j) for j, s in enumerate(shapes)]
        chosen = range(len(operands)) if record.positions is None else record.positions
        theirs = [x.clone().requires_grad_(j in chosen) for j, x in enumerate(operands)]
        ours = [to_gemel(x, j in chosen) for j, x in enumerate(operands)]
        want = [r for r in results(record.call(torch, *theirs)) if r.requires_grad]
        got = [r for r in results(record.call(gemel, *ours)) if r.requires_grad]
        assert len(got) == len(want) > 0, f"{record.name}: {len(got)} results with a gradient, torch has {len(want)}"
        rng = np.random.default_rng(7)
        cotangents = [torch.from_numpy(np.asarray(rng.uniform(-1, 1, tuple(r.shape)))).to(r.dtype) for r in want]
        torch.autograd.backward(want, cotangents)
        for r, c in zip(got, cotangents, strict=True):
            r.backward(to_gemel(c), retain_graph=True)
        for j in chosen:
            assert_same(ours[j].grad, theirs[j].grad, 10 * record.tolerance,
                        f"gradient of {record.name} {shapes} in operand {j}")


def dtype_cases(records: Sequence[Record]) -> list[Any]:
    return [pytest.param(r, d, id=f"{r.name}-{d}") for r in records for d in r.dtypes]


def grad_cases(records: Sequence[Record]) -> list[Any]:
    return [pytest.param(r, id=r.name) for r in records if r.grad]


TIERS = ("auto", "interpreter")


def in_tier(tier: str) -> Any:
    return override(TIER=tier, VERIFY=True)


def compared(records: Sequence[Record]) -> tuple[Call, Call]:
    """Two tests of a file's records: ``test_forward`` in every tier and dtype, and ``test_gradient``."""
    @pytest.mark.parametrize("tier", TIERS)
    @pytest.mark.parametrize(("record", "dtype"), dtype_cases(records))
    def forward(record: Record, dtype: str, tier: str) -> None:
        with in_tier(tier):
            check_forward(record, dtype)

    @pytest.mark.parametrize("record", grad_cases(records))
    def gradient(record: Record) -> None:
        check_gradient(record)

    return forward, gradient


def same_error(call: Call, kinds: tuple[type[BaseException], ...] = (RuntimeError, TypeError, IndexError, ValueError,
                                                                     NotImplementedError)) -> None:
    """Both libraries raise, with a common built-in type."""
    with pytest.raises(kinds) as theirs:
        call(torch)
    with pytest.raises(kinds) as ours:
        call(gemel)
    common = [k for k in kinds if isinstance(theirs.value, k)]
    assert any(isinstance(ours.value, k) for k in common), f"{ours.value!r} for torch's {theirs.value!r}"
    assert len(str(ours.value)) > 5
