"""Compare a function of ours with torch's: values, dtypes, shapes, gradients."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gemel.engine.base import dtypes as dt
from gemel.engine.runtime.trace import BUILDER, local
from gemel.tensor.core import TENSOR_CLASSES, from_array
from gemel.tensor.recording import wrap
from gemel.tensor.tape import ValueSpace, run_backward

RTOL = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 1.6e-2, "float16": 2e-3}
GRAD_RTOL = {"float64": 1e-6, "float32": 2e-4, "bfloat16": 3e-2, "float16": 6e-3}


def ours(x: torch.Tensor) -> Any:
    """Our tensor with the values of torch's."""
    if x.dtype is torch.bfloat16:
        array = x.detach().view(torch.int16).numpy().view(dt.bfloat16.numpy)
    else:
        array = x.detach().numpy()
    return wrap(from_array(array))


def to_numpy(x: Any) -> np.ndarray:
    """Values of either's tensor, 16-bit floats widened."""
    if isinstance(x, torch.Tensor):
        x = x.detach().resolve_conj()
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy()
    a = x.detach().numpy()
    return a.astype(np.float32) if a.dtype.itemsize == 2 and a.dtype.kind in "fV" else a


def is_ours(x: Any) -> bool:
    return x.__class__ in TENSOR_CLASSES


def backward(outputs: Sequence[Any], cotangents: Sequence[Any]) -> None:
    """Gradients of our outputs into the leaves."""
    starts = [(y._edge, g._read()) for y, g in zip(outputs, cotangents, strict=True) if y._edge is not None]
    run_backward(starts, ValueSpace, False)


def _tensors(results: Any) -> list[Any]:
    if isinstance(results, (tuple, list)):
        return [t for r in results for t in _tensors(r)]
    return [results] if isinstance(results, torch.Tensor) or is_ours(results) else []


def close(got: Any, want: torch.Tensor, rtol: float, what: str) -> None:
    """Equal within ``rtol`` of each element or of the largest."""
    name = str(want.dtype).removeprefix("torch.")
    assert got._read().type.dtype.name == name, f"{what}: dtype {got._read().type.dtype.name}, torch {name}"
    assert tuple(got._read().type.shape) == tuple(want.shape), f"{what}: shape {got._read().type.shape}, {want.shape}"
    a, b = to_numpy(got), to_numpy(want)
    if b.dtype.kind not in "fc":
        np.testing.assert_array_equal(a, b, err_msg=what)
        return
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale + 1e-30, err_msg=what)


def compare(function: Callable[..., Any], reference: Callable[..., Any], tensors: Sequence[torch.Tensor], *args: Any,
            grad: Sequence[int] | None = None, rtol: float | None = None, **kwargs: Any) -> None:
    """Call both on the same values; compare results and gradients.

    Args:
        tensors: the tensor arguments, first. args, kwargs: the rest (tensors in kwargs are converted).
        grad: positions of tensors to differentiate (None: all of floating type).
    """
    if grad is None:
        grad = [i for i, t in enumerate(tensors) if t.is_floating_point()]
    theirs = [t.detach().clone().requires_grad_(i in grad) for i, t in enumerate(tensors)]
    mine = [ours(t) for t in tensors]
    for i in grad:
        mine[i].requires_grad_()
    their_kwargs = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    my_kwargs = {k: ours(v) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    want = _tensors(reference(*theirs, *args, **their_kwargs))
    got = _tensors(function(*mine, *args, **my_kwargs))
    assert len(got) == len(want)
    for i, (y, z) in enumerate(zip(got, want, strict=True)):
        close(y, z, rtol or RTOL.get(str(z.dtype)[6:], 0), f"result {i}")
    for k, v in my_kwargs.items():  # state that was updated in place
        if is_ours(v):
            close(v, their_kwargs[k], RTOL.get(str(their_kwargs[k].dtype)[6:], 0), f"argument {k}")
    pairs = [(y, z) for y, z in zip(got, want, strict=True) if z.requires_grad]
    if not pairs:
        assert not any(y._edge is not None for y in got), "torch's results need no gradient, ours do"
        return
    torch.manual_seed(7)
    cotangents = [torch.randn(z.shape, dtype=torch.float32).to(z.dtype) for _, z in pairs]
    torch.autograd.backward([z for _, z in pairs], cotangents)
    backward([y for y, _ in pairs], [ours(c) for c in cotangents])
    for i in grad:
        if theirs[i].grad is None:
            assert mine[i].grad is None or not np.any(to_numpy(mine[i].grad)), f"gradient of tensor {i}: torch has none"
            continue
        assert mine[i].grad is not None, f"gradient of tensor {i} is missing"
        close(mine[i].grad, theirs[i].grad, GRAD_RTOL[str(theirs[i].dtype)[6:]], f"gradient of tensor {i}")


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Reproducible normal numbers."""
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=g).to(dtype)


def ones_like(t: Any) -> Any:
    """A cotangent of ones for one of our tensors."""
    return wrap(BUILDER.full_like(t._read(), 1))


def recorded_by(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
    """Names of the operations that a call records."""
    before = len(local.trace.code)
    result = function(*args, **kwargs)
    names = [entry.name for entry in local.trace.code[before:] if hasattr(entry, "row")]
    del result
    return names


def strided(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """``randn`` with the axes in the opposite order in memory (for ``ours``, too)."""
    return randn(*reversed(shape), dtype=dtype, seed=seed).permute(*reversed(range(len(shape))))
