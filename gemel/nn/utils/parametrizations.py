"""Parametrizations that are ready to use: weight normalization, spectral normalization, orthogonal matrices."""
from __future__ import annotations

from typing import Any

from ...tensor.comparison import allclose
from ...tensor.creation import eye, zeros_like
from ...tensor.factorization import householder_product, matrix_exp, solve
from ...tensor.grad_mode import no_grad
from ...tensor.joining import cat
from ...tensor.matrices import geqrf
from ...tensor.random import randn
from ...tensor.tensor import Tensor
from ...tensor.typeinfo import finfo
from .. import functional as F
from ..modules.module import Module
from . import parametrize
from .spectral_norm import default_dim, matrix_of
from .weight_norm import norm_except_dim, weight_of

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _tensor(module: Any, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Let a parameter be ``g v / |v|``: its length ``original0`` and its direction ``original1`` are trained (Salimans
    and Kingma, 2016). State dicts of ``nn.utils.weight_norm`` are loaded too.

    Args:
        module: has the parameter. name: of the parameter. dim: the axis whose slices have lengths of their own (None:
        the tensor has one). Returns: ``module``. Raises: ValueError for an unknown name.

    >>> from gemel import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    >>> layer
    ParametrizedLinear(
      in_features=3, out_features=2, bias=True
      (parametrizations): ModuleDict(
        (weight): ParametrizationList(
          (0): _WeightNorm()
        )
      )
    )
    >>> layer.parametrizations.weight.original0.shape
    gemel.Size([2, 1])

    torch: ``torch.nn.utils.parametrizations.weight_norm``
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict: Any, prefix: str, *others: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    _u: Any
    _v: Any

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if dim >= ndim or dim < -ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = matrix_of(weight, self.dim)
                for name, n in zip(("_u", "_v"), matrix.size(), strict=True):
                    start = matrix.new_empty(n).normal_(0, 1)
                    self.register_buffer(name, F.normalize(start, dim=0, eps=eps))
            self._iterate(matrix, 15)

    @no_grad()
    def _iterate(self, matrix: Any, n: int) -> None:
        for _ in range(n):
            self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(matrix.mH.mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = matrix_of(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # a second call does not change what the first one saved
        return weight / u.vdot(matrix.mv(v))

    def right_inverse(self, value: Any) -> Any:
        return value  # what is assigned is scaled as anything else


def spectral_norm(module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Any:
    """Let a parameter be divided by its largest singular value (Miyato et al., 2018); vectors by their norm.

    Args:
        module: has the parameter. name: of the parameter. n_power_iterations: steps towards the singular vectors per
        access in training. eps: the least norm that is divided by. dim: the axis of the outputs (None: 1 for
        transposed convolutions, else 0). Returns: ``module``.
    Raises: ValueError for an unknown name or ``n_power_iterations`` below 1; IndexError for a ``dim`` out of range.

    >>> from gemel import nn
    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2), n_power_iterations=30)
    >>> round(gemel.linalg.svdvals(layer.weight.detach())[0].item(), 4)
    1.0

    torch: ``torch.nn.utils.parametrizations.spectral_norm``
    """
    weight = _tensor(module, name)
    scaled = _SpectralNorm(weight, n_power_iterations, default_dim(module, dim), eps)
    parametrize.register_parametrization(module, name, scaled)
    return module


_MAPS = ("matrix_exp", "cayley", "householder")


def _orthonormal(a: Any) -> Any:
    """The Q of a tall matrix whose R has a diagonal above zero."""
    reflectors, tau = geqrf(a)
    return householder_product(reflectors, tau) * reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    base: Any

    def __init__(self, weight: Any, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Any) -> Any:
        wide = X.size(-2) < X.size(-1)
        X = X.mT if wide else X
        n, k = X.size(-2), X.size(-1)
        if self.orthogonal_map == "householder":
            A = X.tril(-1)
            Q = householder_product(A, 2.0 / (1.0 + (A * A).sum(-2)))
            Q = Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            X = X.tril()
            if n != k:
                X = cat([X, X.new_zeros((*X.shape[:-2], n, n - k))], -1)
            A = X - X.mH
            if self.orthogonal_map == "matrix_exp":
                Q = matrix_exp(A)
            else:
                one = eye(n, dtype=A.dtype)
                Q = solve(one - 0.5 * A, one + 0.5 * A)
            Q = Q[..., :k]
        if "base" in self._buffers:
            Q = self.base @ Q
        return Q.mT if wide else Q

    @no_grad()
    def right_inverse(self, Q: Any) -> Any:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape "
                             f"{Q.shape}.")
        given, wide = Q, Q.size(-2) < Q.size(-1)
        Q = Q.mT if wide else Q
        n, k = Q.size(-2), Q.size(-1)
        if "base" in self._buffers:
            if n != k:
                Q = _orthonormal(cat([Q, randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype)], -1))
            elif allclose(Q.mH @ Q, eye(n, dtype=Q.dtype), atol=10.0 * n * finfo(Q.dtype).eps):
                Q = Q.clone()
            else:
                Q = _orthonormal(Q)
            self.base = Q
            start = zeros_like(given)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start
        if self.orthogonal_map != "householder":
            raise NotImplementedError("It is not possible to assign to the matrix exponential or the Cayley "
                                      "parametrizations when use_trivialization=False.")
        A, tau = geqrf(Q)
        diagonal = A.diagonal(dim1=-2, dim2=-1)
        diagonal.copy_(diagonal.sign() * (1 - 2 * (tau == 0).to(tau.dtype)))
        return A.mT if wide else A


def orthogonal(module: Any, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Any:
    """Let a matrix (or each of a batch) have orthonormal columns, or rows where it is wide.

    ``Q = base exp(A)`` or ``base (1 + A/2)(1 - A/2)^-1`` with a skew-symmetric ``A`` that is trained, or a product of
    Householder reflectors.

    Args:
        module: has the parameter. name: of the parameter. orthogonal_map: ``"matrix_exp"`` (for square or complex
        matrices), ``"cayley"`` or ``"householder"`` (for others). use_trivialization: multiply by a fixed ``base``,
        which lets the parameter begin with (the orthonormal factor of) its present value (Lezcano-Casado, 2019).
    Returns: ``module``. Raises: ValueError for an unknown name or map, or a vector.

    >>> from gemel import nn
    >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(2, 4))
    >>> bool(gemel.allclose(layer.weight.T @ layer.weight, gemel.eye(2), atol=1e-6))
    True

    torch: ``torch.nn.utils.parametrizations.orthogonal``
    """
    weight = _tensor(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1) or weight.is_complex()
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError('orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
                         f"Got: {orthogonal_map}")
    map_ = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    parametrize.register_parametrization(module, name, map_, unsafe=True)
    return module
