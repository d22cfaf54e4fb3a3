"""Spectral normalization by a hook: the weight divided by its largest singular value. The parametrization of that
name does the same."""
from __future__ import annotations

from typing import Any

from ...tensor.grad_mode import no_grad
from .. import functional as F
from ..modules.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..parameter import Parameter, is_lazy
from .hooks import undo

__all__ = ["SpectralNorm", "default_dim", "matrix_of", "remove_spectral_norm", "spectral_norm"]


def default_dim(module: Any, dim: int | None) -> int:
    """The axis of the outputs: 1 for transposed convolutions, else 0."""
    if dim is not None:
        return dim
    return 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0


def matrix_of(weight: Any, dim: int) -> Any:
    """The weight as a matrix, the axis ``dim`` by the others."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.reshape(weight.size(0), -1)


class SpectralNorm:
    """The hook that divides the weight before each call. torch: ``torch.nn.utils.spectral_norm.SpectralNorm``"""

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.name, self.dim, self.n_power_iterations, self.eps = name, dim, n_power_iterations, eps

    def compute_weight(self, module: Any, do_power_iteration: bool) -> Any:
        """The weight divided by ``u^T W v``, after moving ``u`` and ``v`` towards its singular vectors."""
        weight, u, v = (getattr(module, self.name + end) for end in ("_orig", "_u", "_v"))
        matrix = matrix_of(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()  # a second call does not change what the first one saved
        return weight / u.dot(matrix.mv(v))

    def remove(self, module: Any) -> None:
        """Leave the present weight as an ordinary parameter."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        delattr(module, self.name)
        for end in ("_u", "_v", "_orig"):
            delattr(module, self.name + end)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))

    @staticmethod
    def apply(module: Any, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        """Put the hook on a module, and ``name_orig``, ``name_u`` and ``name_v`` in the place of the parameter."""
        if any(isinstance(hook, SpectralNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        fn = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if is_lazy(weight):
            raise ValueError("The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to "
                             "run the dummy forward before applying spectral normalization")
        with no_grad():
            u, v = (F.normalize(weight.new_empty(n).normal_(0, 1), dim=0, eps=eps)
                    for n in matrix_of(weight, dim).size())
        delattr(module, name)
        module.register_parameter(f"{name}_orig", weight)
        setattr(module, name, weight.data)
        module.register_buffer(f"{name}_u", u)
        module.register_buffer(f"{name}_v", v)
        module.register_forward_pre_hook(fn)
        module._register_state_dict_hook(_Version(fn))
        return fn


class _Version:
    """Enters the version of the hook into the metadata of state dicts, as torch does."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(self, module: Any, state_dict: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
        local_metadata.setdefault("spectral_norm", {})[f"{self.fn.name}.version"] = self.fn._version


def spectral_norm(module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Any:
    """Divide a parameter by its largest singular value, before each call (Miyato et al., 2018).

    Args:
        module: has the parameter. name: of the parameter. n_power_iterations: steps towards the singular vectors per
        call in training. eps: the least norm that is divided by. dim: the axis of the outputs (None: 1 for transposed
        convolutions, else 0). Returns: ``module``.
    Raises: RuntimeError if it is normalized already; ValueError for ``n_power_iterations`` below 1.

    >>> from gemel import nn
    >>> layer = nn.utils.spectral_norm(nn.Linear(3, 2), n_power_iterations=30)
    >>> _ = layer(gemel.ones(1, 3))
    >>> round(gemel.linalg.svdvals(layer.weight.detach())[0].item(), 4)
    1.0

    torch: ``torch.nn.utils.spectral_norm``
    """
    SpectralNorm.apply(module, name, n_power_iterations, default_dim(module, dim), eps)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Undo :func:`spectral_norm`, with the present weight.

    Returns: ``module``. Raises: ValueError where it is not normalized.

    >>> from gemel import nn
    >>> list(nn.utils.remove_spectral_norm(nn.utils.spectral_norm(nn.Linear(3, 2))).state_dict())
    ['bias', 'weight']

    torch: ``torch.nn.utils.remove_spectral_norm``
    """
    if not undo(module, lambda hook: isinstance(hook, SpectralNorm) and hook.name == name):
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for key, hook in module._state_dict_hooks.items():
        if isinstance(hook, _Version) and hook.fn.name == name:
            del module._state_dict_hooks[key]
            break
    return module
