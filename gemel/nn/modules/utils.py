"""What layers of other libraries take from torch.nn.modules.utils: sizes per axis, prefixes of a state dict."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .sizes import per_axis

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    """The function that makes ``n`` entries of one value and a tuple of several. torch: ``_ntuple``."""

    def parse(x: Any) -> tuple[Any, ...]:
        return per_axis(x, n)

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: Any, n: int) -> tuple[Any, ...]:
    """The paddings of the axes in the order of ``F.pad``: last axis first, each ``n`` times."""
    return tuple(x for x in reversed(t) for _ in range(n))


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take ``prefix`` off the names in ``state_dict``, in place.

    Args:
        state_dict: what ``state_dict()`` of a wrapped module gave; entries without the prefix stay as they are.
        prefix: with its dot, such as ``"module."``.

    torch: ``consume_prefix_in_state_dict_if_present``.

    >>> from gemel.nn.modules.utils import consume_prefix_in_state_dict_if_present
    >>> d = {"module.weight": 1}
    >>> consume_prefix_in_state_dict_if_present(d, "module.")
    >>> d
    {'weight': 1}
    """
    for key in [k for k in state_dict if k.startswith(prefix)]:
        state_dict[key[len(prefix):]] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is None:
        return
    # a module's own entry is named "", so the wrapper's is the prefix without its dot
    for key in [k for k in metadata if k and (k == prefix.replace(".", "") or k.startswith(prefix))]:
        metadata[key[len(prefix):]] = metadata.pop(key)
