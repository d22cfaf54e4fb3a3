"""Weight normalization by a hook: ``w = g v / |v|``. The parametrization of that name does the same."""
from __future__ import annotations

import warnings
from typing import Any

from ..parameter import Parameter, is_lazy
from .hooks import undo

__all__ = ["WeightNorm", "norm_except_dim", "remove_weight_norm", "weight_norm", "weight_of"]


def norm_except_dim(v: Any, pow: float = 2, dim: int = 0) -> Any:
    """The norm over all axes but one, which is kept; over all for ``dim=-1``.

    >>> gemel.norm_except_dim(gemel.ones(2, 4))
    tensor([[2.],
            [2.]])

    torch: ``torch.norm_except_dim``
    """
    if dim == -1:
        return v.norm(pow)
    return v.norm(pow, [d for d in range(v.dim()) if d != dim % v.dim()], keepdim=True)


def weight_of(v: Any, g: Any, dim: int = 0) -> Any:
    """``g v / |v|``, the norm over all axes but ``dim``."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The hook that computes the weight before each call. torch: ``torch.nn.utils.weight_norm.WeightNorm``"""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Any) -> Any:
        """The weight, on the tape."""
        return weight_of(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    @staticmethod
    def apply(module: Any, name: str, dim: int | None) -> WeightNorm:
        """Put the hook on a module, and ``name_g`` and ``name_v`` in the place of the parameter."""
        warnings.warn("`torch.nn.utils.weight_norm` is deprecated in favor of "
                      "`torch.nn.utils.parametrizations.weight_norm`.", FutureWarning, stacklevel=3)
        if any(isinstance(hook, WeightNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        fn = WeightNorm(name, dim)
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError("The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run "
                             "the dummy forward before applying weight normalization")
        del module._parameters[name]
        module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, 2, fn.dim).data))
        module.register_parameter(f"{name}_v", Parameter(weight.data))
        setattr(module, name, fn.compute_weight(module))
        module.register_forward_pre_hook(fn)
        return fn

    def remove(self, module: Any) -> None:
        """Leave the present weight as an ordinary parameter."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Replace a parameter by its length ``name_g`` and its direction ``name_v`` (Salimans and Kingma, 2016).

    Args:
        module: has the parameter. name: of the parameter. dim: the axis whose slices have lengths of their own (None:
        the tensor has one). Returns: ``module``. Deprecated in favor of ``parametrizations.weight_norm``.
    Raises: RuntimeError if it is normalized already.

    >>> import warnings
    >>> from gemel import nn
    >>> with warnings.catch_warnings(action="ignore"):
    ...     layer = nn.utils.weight_norm(nn.Linear(3, 2))
    >>> list(layer.state_dict())
    ['bias', 'weight_g', 'weight_v']

    torch: ``torch.nn.utils.weight_norm``
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Undo :func:`weight_norm`, with the present weight.

    Returns: ``module``. Raises: ValueError where it is not normalized.

    >>> import warnings
    >>> from gemel import nn
    >>> with warnings.catch_warnings(action="ignore"):
    ...     layer = nn.utils.weight_norm(nn.Linear(3, 2))
    >>> list(nn.utils.remove_weight_norm(layer).state_dict())
    ['bias', 'weight']

    torch: ``torch.nn.utils.remove_weight_norm``
    """
    if not undo(module, lambda hook: isinstance(hook, WeightNorm) and hook.name == name):
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    return module
