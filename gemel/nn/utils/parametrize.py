"""Parameters that are computed from others: a class with a property takes the place of the module's class.

A parametrized ``module.weight`` is ``module.parametrizations.weight()``, computed at each access from the tensors that
are trained, ``original`` (or ``original0``, ``original1`` …). State dict keys are torch's.
"""
from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...tensor.grad_mode import no_grad
from ...tensor.tensor import Tensor
from ..modules.container import ModuleDict, ModuleList
from ..modules.module import Module
from ..parameter import Parameter

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
           "transfer_parametrizations_and_params", "type_before_parametrizations"]


class _Cache:
    """Values that ``cached()`` keeps, by module and name; ``depth`` is the number of scopes around."""

    depth = 0
    values: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Inside of it, each parametrized tensor is computed once.

    >>> from gemel import nn
    >>> class Double(nn.Module):
    ...     def forward(self, x):
    ...         print("computed")
    ...         return 2 * x
    >>> from gemel.nn.utils import parametrize
    >>> layer = parametrize.register_parametrization(nn.Linear(1, 1), "weight", Double(), unsafe=True)
    >>> with parametrize.cached():
    ...     _ = layer.weight + layer.weight
    computed

    torch: ``torch.nn.utils.parametrize.cached``
    """
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values = {}


def _register(module: Module, name: str, tensor: Any) -> None:
    """Enter a parameter as a parameter, any other tensor as a buffer."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _set(dest: Any, source: Any) -> None:
    """Give ``dest`` the value of ``source``, of any shape."""
    if dest is not source:
        dest.data = source.detach()


def _unless_unsafe(what: str, the_flag: str, names: tuple[str, str], old: Any, new: Any) -> None:
    """Refuse another dtype or shape."""
    for attribute in ("dtype", "shape"):
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            raise ValueError(f"{what} may not change the {attribute} of the tensor, unless {the_flag} is enabled.\n"
                             f"{names[0]}{attribute}: {before}\n{names[1]}{attribute}: {after}")


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in their order, and the tensors that they start from.

    Made by :func:`register_parametrization`. torch: ``torch.nn.utils.parametrize.ParametrizationList``
    """

    original: Any
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Any, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape_and_dtype = original.detach()
        new = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError("'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                             f"Got {type(new).__name__}")
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            self._take(original, new)
        else:
            self._take_several(original, new)
        if not self.unsafe:
            value = self()
            if not isinstance(value, Tensor):
                raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
            _unless_unsafe("Registering a parametrization", "`unsafe` flag", ("unparametrized ", "parametrized "),
                           shape_and_dtype, value)

    def _take(self, original: Any, new: Any) -> None:
        for attribute in ("dtype", "device"):
            before, after = getattr(original, attribute), getattr(new, attribute)
            if before != after:
                raise ValueError(f"When `right_inverse` outputs one tensor, it may not change the {attribute}.\n"
                                 f"original.{attribute}: {before}\nright_inverse(original).{attribute}: {after}")
        _set(original, new)
        _register(self, "original", original)

    def _take_several(self, original: Any, new: Sequence[Any]) -> None:
        for i, tensor in enumerate(new):
            if not isinstance(tensor, Tensor):
                raise ValueError("'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                                 f"Got element {i} of the sequence with type {type(tensor).__name__}.")
            part: Any = tensor
            if isinstance(original, Parameter):
                part = Parameter(tensor.detach(), original.requires_grad)
            part.requires_grad_(original.requires_grad)
            _register(self, f"original{i}", part)

    @no_grad()
    def right_inverse(self, value: Any) -> None:
        """Store what gives ``value``, through the ``right_inverse`` of each parametrization, the last one first.

        Raises: RuntimeError where one has none; ValueError where it returns another type, dtype or number.
        """
        for module in reversed(list(self)):
            if not hasattr(module, "right_inverse"):
                raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
            value = module.right_inverse(value)
        if self.is_tensor:
            if not isinstance(value, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
            if value.dtype != self.original.dtype:
                raise ValueError(f"The tensor returned by `right_inverse` has dtype {value.dtype} while `original` has "
                                 f"dtype {self.original.dtype}")
            _set(self.original, value)
            return
        if not isinstance(value, Sequence):
            raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(value).__name__}.")
        if len(value) != self.ntensors:
            raise ValueError(f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a "
                             f"sequence of length {len(value)}.")
        for i, tensor in enumerate(value):
            mine = getattr(self, f"original{i}")
            if mine.dtype != tensor.dtype:
                raise ValueError(f"Tensor {i} returned by `right_inverse` has dtype {tensor.dtype} while `original{i}` "
                                 f"has dtype {mine.dtype}")
            _set(mine, tensor)

    def forward(self) -> Any:
        """The parametrized tensor."""
        first, *others = self
        if self.is_tensor:
            x = first(self.original)
        else:
            x = first(*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in others:
            x = module(x)
        return x


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    found = memo.get(id(self))
    if found is None:
        found = memo[id(self)] = self.__new__(type(self))
        found.__dict__ = copy.deepcopy(self.__dict__, memo)
    return found


def _getstate(self: Any) -> Any:
    raise RuntimeError("Serialization of parametrized modules is only supported through state_dict().")


def _inject_class(module: Any) -> None:
    """Make the module one of a class of its own, which properties can be added to."""
    cls = type(module)
    members: dict[str, Any] = {"__getstate__": _getstate}
    if not hasattr(cls, "__deepcopy__"):
        members["__deepcopy__"] = _deepcopy
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), members)


def _inject_property(module: Any, name: str) -> None:
    if hasattr(module, name):
        raise AssertionError(f"Module already has an attribute named '{name}'")

    def get(self: Any) -> Any:
        parametrization = self.parametrizations[name]
        if not _Cache.depth:
            return parametrization()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = parametrization()
        return _Cache.values[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, put))


def _check_added(module: Any, name: str, parametrization: Any) -> None:
    """Refuse one more parametrization that changes dtype or shape, there and back."""
    now = getattr(module, name)
    after = parametrization(now)
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    names = f"module.{name}.", f"parametrization(module.{name})."
    _unless_unsafe("Registering a parametrization", "the `unsafe` flag", names, now, after)
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    if not isinstance(back, Tensor):
        raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}")
    for attribute in ("dtype", "shape"):
        if getattr(back, attribute) != getattr(now, attribute):
            raise ValueError(f"The tensor returned by parametrization.right_inverse must have the same {attribute} as "
                             f"module.{name}, unless the `unsafe` flag is enabled.\nmodule.{name}.{attribute}: "
                             f"{getattr(now, attribute)}\nreturned {attribute}: {getattr(back, attribute)}")


def register_parametrization(module: Any, tensor_name: str, parametrization: Any, *, unsafe: bool = False) -> Any:
    """Let ``module.<tensor_name>`` be ``parametrization(original)``, ``original`` being what is trained.

    Args:
        module: has the parameter or buffer. parametrization: a module of one argument; with a method
        ``right_inverse(value)`` assignments are possible, and it gives the first ``original``. Several are applied in
        the order in which they are registered. unsafe: allow another dtype or shape.
    Returns: ``module``. Raises: ValueError for an unknown name, another type, dtype or shape.

    >>> from gemel import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True
    >>> list(layer.state_dict())
    ['bias', 'parametrizations.weight.original']

    torch: ``torch.nn.utils.parametrize.register_parametrization``
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_added(module, tensor_name, parametrization)
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        several = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _inject_class(module)
            module.parametrizations = ModuleDict()
        _inject_property(module, tensor_name)
        module.parametrizations[tensor_name] = several
    else:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
                         f"'{tensor_name}'")
    return module


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Has the module (or this tensor of it) a parametrization?

    >>> gemel.nn.utils.parametrize.is_parametrized(gemel.nn.Linear(1, 1))
    False

    torch: ``torch.nn.utils.parametrize.is_parametrized``
    """
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Any, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Make ``module.<tensor_name>`` an ordinary parameter or buffer again.

    Args:
        leave_parametrized: with its present value; otherwise with that of ``original``.
    Returns: ``module``. Raises: ValueError where it is not parametrized, or has several originals and
        ``leave_parametrized`` is False.

    >>> from gemel import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> nn.utils.parametrize.remove_parametrizations(layer, "weight")
    Linear(in_features=2, out_features=2, bias=True)

    torch: ``torch.nn.utils.parametrize.remove_parametrizations``
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held = module.parametrizations[tensor_name]
    if held.is_tensor:
        original = held.original
        if leave_parametrized:
            with no_grad():
                _set(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in "
                         "terms of a sequence of tensors.")
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Any) -> type:
    """The class that the module had before it was parametrized.

    >>> from gemel import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> nn.utils.parametrize.type_before_parametrizations(layer).__name__, type(layer).__name__
    ('Linear', 'ParametrizedLinear')

    torch: ``torch.nn.utils.parametrize.type_before_parametrizations``
    """
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Any, to_module: Any, tensor_name: str | None = None) -> Any:
    """Give ``to_module`` the parametrizations of ``from_module`` (of one tensor, or of all) and their originals.

    Returns: ``to_module``.

    >>> from gemel import nn
    >>> source = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> other = nn.utils.parametrize.transfer_parametrizations_and_params(source, nn.Linear(2, 2))
    >>> bool((other.weight == source.weight).all())
    True

    torch: ``torch.nn.utils.parametrize.transfer_parametrizations_and_params``
    """
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        held = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for parametrization in held:
            register_parametrization(to_module, name, parametrization, unsafe=held.unsafe)
        for original in (n for n in (*held._parameters, *held._buffers)):
            setattr(to_module.parametrizations[name], original, getattr(held, original))
    return to_module
