"""Pruning: parameters times masks of zeros and ones; before each call, ``weight = weight_orig * weight_mask``."""
from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from ...tensor.creation import ones_like, zeros_like
from ...tensor.random import rand, rand_like
from .convert_parameters import parameters_to_vector
from .hooks import undo

__all__ = ["BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
           "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
           "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove"]


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if (whole and amount < 0) or (not whole and not 0.0 <= float(amount) <= 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of ``size`` are pruned."""
    if not isinstance(amount, numbers.Integral):
        return round(float(amount) * size)
    if int(amount) > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return int(amount)


def _check_structured(t: Any, dim: int) -> None:
    if t.dim() <= 1:
        raise ValueError("Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                         f"{t.shape} with {t.dim()} dims")
    if dim >= t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")


def _along(t: Any, dim: int, chosen: Any) -> tuple[Any, ...]:
    """The index that takes ``chosen`` of axis ``dim`` and all of the others."""
    index: list[Any] = [slice(None)] * t.dim()
    index[dim] = chosen
    return tuple(index)


class BasePruningMethod(ABC):
    """Base class: a subclass defines ``compute_mask`` and ``PRUNING_TYPE``.

    ``PRUNING_TYPE``: what a second method sees of a pruned tensor: ``"unstructured"`` (the elements that are left),
    ``"structured"`` (the slices that are left, with an attribute ``dim``) or ``"global"`` (all).

    torch: ``torch.nn.utils.prune.BasePruningMethod``
    """

    _tensor_name: Any = None
    PRUNING_TYPE: str

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask for tensor (or scores) ``t``, of which ``default_mask`` is already pruned."""

    def apply_mask(self, module: Any) -> Any:
        """``orig * mask``, on the tape."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, original = (getattr(module, self._tensor_name + end) for end in ("_mask", "_orig"))
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def _joined(cls, module: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """The new method, joined with the one that the tensor has."""
        found = [(k, h) for k, h in module._forward_pre_hooks.items()
                 if isinstance(h, BasePruningMethod) and h._tensor_name == name]
        if len(found) > 1:
            raise AssertionError(f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. "
                                 f"Use a PruningContainer.")
        method = cls(*args, **kwargs)
        method._tensor_name = name
        for key, old in found:
            del module._forward_pre_hooks[key]
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            return container
        return method

    @classmethod
    def apply(cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prune ``module.<name>``: adds ``name_orig``, ``name_mask`` and the hook. Returns: the method."""
        method = cls._joined(module, name, *args, **kwargs)
        original = getattr(module, name)
        if importance_scores is None:
            importance_scores = original
        elif importance_scores.shape != original.shape:
            raise AssertionError(f"importance_scores should have the same shape as parameter {name} of {module}, got "
                                 f"{importance_scores.shape} vs {original.shape}")
        again = isinstance(method, PruningContainer)
        if again:
            mask = getattr(module, f"{name}_mask").detach().clone()
        else:
            module.register_parameter(f"{name}_orig", original)
            del module._parameters[name]
            mask = ones_like(original)
        try:
            module.register_buffer(f"{name}_mask", method.compute_mask(importance_scores.detach(), default_mask=mask))
            setattr(module, name, method.apply_mask(module))
            module.register_forward_pre_hook(method)
        except Exception:
            if not again:
                module.register_parameter(name, module._parameters.pop(f"{name}_orig"))
            raise
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """``t`` times its mask."""
        if importance_scores is None:
            importance_scores = t
        elif importance_scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t, got "
                                 f"{importance_scores.shape} vs {t.shape}")
        mask = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(importance_scores, default_mask=mask)

    def remove(self, module: Any) -> None:
        """Leave the pruned tensor as an ordinary parameter."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(f"{name}_orig")
        del module._buffers[f"{name}_mask"]
        original.data = weight.data
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Several methods on one tensor; each prunes what those before it left.

    torch: ``torch.nn.utils.prune.PruningContainer``
    """

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[Any, ...] = ()
        if len(args) == 1:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Add one that prunes the same tensor."""
        if method is not None and not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError("Can only add pruning methods acting on the parameter named "
                             f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The last method's mask of what the others left."""
        method = self._pruning_methods[-1]
        if method.PRUNING_TYPE == "unstructured":
            left: Any = default_mask == 1
        elif method.PRUNING_TYPE == "structured":
            if not hasattr(method, "dim"):
                raise AttributeError('Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` '
                                     "defined.")
            dim = method.dim + t.dim() if method.dim < 0 else method.dim
            if dim < 0:
                raise IndexError(f"Index is out of bounds for tensor with dimensions {t.dim()}")
            others = [d for d in range(t.dim()) if d != dim]
            left = _along(t, dim, default_mask.sum(dim=others) != 0)
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask = default_mask.to(dtype=t.dtype).clone()
        mask[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(dtype=mask.dtype)
        return mask


class Identity(BasePruningMethod):
    """A mask of ones, for pruning later. torch: ``torch.nn.utils.prune.Identity``"""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return default_mask


class _Unstructured(BasePruningMethod):
    """The ``amount`` elements of the lowest ``_scores`` are pruned."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def _scores(self, t: Any) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        n = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if n:
            mask.view(-1)[self._scores(t).view(-1).topk(n, largest=False).indices] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Elements at random. torch: ``torch.nn.utils.prune.RandomUnstructured``"""

    def _scores(self, t: Any) -> Any:
        return rand_like(t)


class L1Unstructured(_Unstructured):
    """The elements of smallest size. torch: ``torch.nn.utils.prune.L1Unstructured``"""

    def _scores(self, t: Any) -> Any:
        return t.abs()


class _Structured(BasePruningMethod):
    """The ``amount`` slices along ``dim`` of the lowest ``_scores`` are pruned."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.dim = dim

    def _scores(self, t: Any) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        _check_structured(t, self.dim)
        size = t.shape[self.dim]
        n = _count(self.amount, size)
        if not n:
            return default_mask
        mask = zeros_like(t)
        mask[_along(t, self.dim, self._scores(t).topk(size - n).indices)] = 1
        return mask * default_mask.to(dtype=mask.dtype)


class RandomStructured(_Structured):
    """Slices at random. torch: ``torch.nn.utils.prune.RandomStructured``"""

    def _scores(self, t: Any) -> Any:
        return rand(t.shape[self.dim])


class LnStructured(_Structured):
    """The slices of the smallest norm of order ``n``. torch: ``torch.nn.utils.prune.LnStructured``"""

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Any) -> Any:
        return t.norm(self.n, [d for d in range(t.dim()) if d != self.dim % t.dim()])


class CustomFromMask(BasePruningMethod):
    """A mask of one's own. torch: ``torch.nn.utils.prune.CustomFromMask``"""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(f"default_mask shape {default_mask.shape} must match self.mask shape "
                                 f"{self.mask.shape}")
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module: Any, name: str) -> Any:
    """Add ``name_orig``, a mask of ones and the hook, and prune nothing. Returns: ``module``.

    >>> from gemel import nn
    >>> list(nn.utils.prune.identity(nn.Linear(2, 1), "bias").state_dict())
    ['weight', 'bias_orig', 'bias_mask']

    torch: ``torch.nn.utils.prune.identity``
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: Any) -> Any:
    """Prune ``amount`` elements (a number, or a part between 0 and 1) at random. Returns: ``module``.

    Raises: TypeError or ValueError for another amount, ValueError for more elements than there are.

    >>> from gemel import nn
    >>> layer = nn.utils.prune.random_unstructured(nn.Linear(2, 3), "weight", amount=1)
    >>> layer.weight_mask.sum()
    tensor(5.)

    torch: ``torch.nn.utils.prune.random_unstructured``
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Any, name: str, amount: Any, importance_scores: Any = None) -> Any:
    """Prune the ``amount`` elements of smallest size (of ``importance_scores``, where given). Returns: ``module``.

    Raises: TypeError or ValueError for another amount, ValueError for more elements than there are.

    >>> from gemel import nn
    >>> layer = nn.Linear(3, 1)
    >>> _ = layer.weight.data.copy_(gemel.tensor([[3.0, -1.0, 2.0]]))
    >>> nn.utils.prune.l1_unstructured(layer, "weight", amount=0.5).weight_mask
    tensor([[1., 0., 0.]])

    torch: ``torch.nn.utils.prune.l1_unstructured``
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: Any, dim: int) -> Any:
    """Prune ``amount`` slices along ``dim`` at random. Returns: ``module``.

    Raises: as :func:`random_unstructured`; ValueError for a vector.

    >>> from gemel import nn
    >>> layer = nn.utils.prune.random_structured(nn.Linear(2, 3), "weight", amount=1, dim=0)
    >>> layer.weight_mask.sum()
    tensor(4.)

    torch: ``torch.nn.utils.prune.random_structured``
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Any, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None) -> Any:
    """Prune the ``amount`` slices along ``dim`` with the smallest norm of order ``n``. Returns: ``module``.

    Raises: as :func:`random_structured`.

    >>> from gemel import nn
    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.weight.data.copy_(gemel.tensor([[3.0, -1.0], [2.0, 1.0]]))
    >>> nn.utils.prune.ln_structured(layer, "weight", amount=1, n=2, dim=1).weight_mask
    tensor([[1., 0.],
            [1., 0.]])

    torch: ``torch.nn.utils.prune.ln_structured``
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Any) -> Any:
    """Prune by a given mask. Returns: ``module``.

    >>> from gemel import nn
    >>> layer = nn.utils.prune.custom_from_mask(nn.Linear(2, 1), "weight", gemel.tensor([[0.0, 1.0]]))
    >>> layer.weight[0, 0].item() == 0
    True

    torch: ``torch.nn.utils.prune.custom_from_mask``
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters: Any, pruning_method: Any, importance_scores: Any = None, **kwargs: Any) -> None:
    """Prune the parameters as if they were one vector.

    Args:
        parameters: pairs ``(module, name)``. pruning_method: an unstructured method, with its arguments in ``kwargs``.
        importance_scores: a dict from pairs to scores. Raises: TypeError for another method or type.

    >>> from gemel import nn
    >>> a, b = nn.Linear(4, 1), nn.Linear(4, 1)
    >>> nn.utils.prune.global_unstructured([(a, "weight"), (b, "weight")], nn.utils.prune.L1Unstructured, amount=4)
    >>> (a.weight_mask.sum() + b.weight_mask.sum()).item()
    4.0

    torch: ``torch.nn.utils.prune.global_unstructured``
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    importance_scores = {} if importance_scores is None else importance_scores
    if not isinstance(importance_scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    places = list(parameters)
    scores = parameters_to_vector([importance_scores.get((m, name), getattr(m, name)) for m, name in places])
    mask = parameters_to_vector([getattr(m, f"{name}_mask", ones_like(getattr(m, name))) for m, name in places])
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError('Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
                        f"{pruning_method} of type {method.PRUNING_TYPE}")
    method._tensor_name = "temp"
    whole = PruningContainer(method).compute_mask(scores.detach(), mask)
    start = 0
    for module, name in places:
        param = getattr(module, name)
        custom_from_mask(module, name, whole[start:start + param.numel()].view_as(param))
        start += param.numel()


def remove(module: Any, name: str) -> Any:
    """Make the pruned tensor an ordinary parameter. Returns: ``module``. Raises: ValueError where it is not pruned.

    >>> from gemel import nn
    >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
    >>> list(nn.utils.prune.remove(layer, "weight").state_dict())
    ['bias', 'weight']

    torch: ``torch.nn.utils.prune.remove``
    """
    if not undo(module, lambda hook: isinstance(hook, BasePruningMethod) and hook._tensor_name == name):
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    return module


def is_pruned(module: Any) -> bool:
    """Has the module, or one below it, a pruned tensor?

    >>> from gemel import nn
    >>> nn.utils.prune.is_pruned(nn.Linear(2, 1))
    False

    torch: ``torch.nn.utils.prune.is_pruned``
    """
    return any(isinstance(hook, BasePruningMethod) for m in module.modules() for hook in m._forward_pre_hooks.values())
