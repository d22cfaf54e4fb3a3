"""What the utilities that work by a hook share."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def undo(module: Any, is_it: Callable[[Any], bool]) -> bool:
    """Undo and take away the first hook before the calls of ``module`` that ``is_it``; was there one?"""
    for key, hook in module._forward_pre_hooks.items():
        if is_it(hook):
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return True
    return False
