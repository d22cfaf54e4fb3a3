"""The handle that removes a hook."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

_next_id = itertools.count().__next__


class RemovableHandle:
    """Removes a hook when ``remove()`` is called, or at the end of a ``with`` block.

    torch: ``torch.utils.hooks.RemovableHandle``
    """

    __slots__ = ("id", "_hooks", "__weakref__")

    def __init__(self, hooks: dict) -> None:
        # a dict cannot be referred to weakly; the handle keeps the small dict of hooks alive, never the tensor
        self.id, self._hooks = _next_id(), hooks

    @classmethod
    def into(cls, hooks: dict, hook: Callable) -> RemovableHandle:
        """Put ``hook`` into ``hooks`` under a new handle."""
        if not callable(hook):
            raise TypeError(f"a hook must be callable. Received: {hook!r}")
        handle = cls(hooks)
        hooks[handle.id] = hook
        return handle

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()
