"""Switches for recording on the tape: context managers that are decorators too, also of generators."""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .tape import mode as _mode

__all__ = ["no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "is_grad_enabled",
           "is_inference_mode_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


class _Switch:
    """Sets the mode in ``with`` blocks (which may nest), and around calls of a decorated function."""

    def __init__(self) -> None:
        self._before: list[tuple[bool, bool]] = []

    def _set(self) -> None:
        raise NotImplementedError

    def _clone(self) -> _Switch:
        return type(self)()

    def __enter__(self) -> None:
        self._before.append((_mode.grad, _mode.inference))
        self._set()

    def __exit__(self, *exception: Any) -> None:
        _mode.grad, _mode.inference = self._before.pop()

    def __call__(self, function: F) -> F:
        if inspect.isclass(function):
            raise TypeError(f"{type(self).__name__} decorates functions, not classes. Received: {function!r}")
        if inspect.isgeneratorfunction(function):
            return _around_generator(self._clone, function)  # type: ignore[return-value]

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._clone():
                return function(*args, **kwargs)
        return wrapper  # type: ignore[return-value]


def _around_generator(switch: Callable[[], _Switch], function: Callable[..., Any]) -> Callable[..., Any]:
    """The mode holds while the generator's own code runs, not between its yields."""
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        try:
            with switch():
                item = generator.send(None)
            while True:
                try:
                    received = yield item
                except GeneratorExit:
                    with switch():
                        generator.close()
                    raise
                except BaseException as error:
                    with switch():
                        item = generator.throw(error)
                else:
                    with switch():
                        item = generator.send(received)
        except StopIteration as stop:
            return stop.value
    return wrapper


class no_grad(_Switch):
    """Operations in this block (or decorated function) are not recorded on the tape.

        >>> x = gemel.tensor([1.0], requires_grad=True)
        >>> with gemel.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False

    torch: ``no_grad``
    """

    def __new__(cls, function: Callable | None = None) -> Any:
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()
        return made(function)

    def _set(self) -> None:
        _mode.grad = False


class enable_grad(_Switch):
    """Record on the tape again, inside ``no_grad``. torch: ``enable_grad``"""

    def __new__(cls, function: Callable | None = None) -> Any:
        return no_grad.__new__(cls, function)  # type: ignore[type-var]

    def _set(self) -> None:
        _mode.grad = True


class inference_mode(_Switch):
    """``no_grad`` for code that never needs gradients; ``inference_mode(False)`` switches recording back on.

    The tensors made here are normal tensors: forbidding their later use would gain nothing, since views and
    versions cost nothing here. torch: ``inference_mode``
    """

    def __new__(cls, mode: bool | Callable = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__(True)
        return made(mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def _clone(self) -> _Switch:
        return type(self)(self.mode)

    def _set(self) -> None:
        _mode.grad, _mode.inference = not self.mode, self.mode


class set_grad_enabled(_Switch):
    """Switch recording on or off: at once when called, until the end of the block when used with ``with``.

    torch: ``set_grad_enabled``
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self.previous = (_mode.grad, _mode.inference)
        self._set()

    def _clone(self) -> _Switch:
        return set_grad_enabled(self.mode)

    def _set(self) -> None:
        _mode.grad = self.mode

    def __enter__(self) -> None:
        self._before.append(self.previous)
        self._set()

    def __call__(self, function: F) -> F:
        _mode.grad, _mode.inference = self.previous
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Are operations recorded on the tape? torch: ``is_grad_enabled``"""
    return _mode.grad


def is_inference_mode_enabled() -> bool:
    """Is this inside ``inference_mode``? torch: ``is_inference_mode_enabled``"""
    return _mode.inference
