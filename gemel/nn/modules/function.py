"""Layers that are one function of ``nn.functional`` with settings."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .module import Module


class FunctionLayer(Module):
    """A layer that calls ``_function(input, *settings)``.

    A subclass names the function; its ``__init__``, which has torch's signature, hands the settings on by name, in the
    order in which the function takes them. They become attributes, and are read at each call.
    """

    _function: Callable[..., Any]
    #: settings that are left out of the layer's printed form
    _unshown: tuple[str, ...] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.__dict__.update(settings, _settings=tuple(settings))

    def forward(self, input: Any) -> Any:
        """The layer's function of ``input``."""
        fields = self.__dict__
        return type(self)._function(input, *[fields[name] for name in fields["_settings"]])

    def extra_repr(self) -> str:
        """``name=value`` of the settings; ``inplace`` only where it is True."""
        fields = self.__dict__
        return ", ".join([f"{name}={fields[name]!r}" for name in fields["_settings"]
                          if name not in self._unshown and (name != "inplace" or fields[name])])
