"""Nested tuples, lists and dicts of tensors (pytrees): what the transforms take and return."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..tensor.core import TensorCore


class Leaf:
    """Where a leaf stands in the structure."""


class Structure:
    """The shape of a tree: ``build`` puts leaves back into it."""

    __slots__ = ("kind", "keys", "children")

    def __init__(self, kind: type, keys: tuple, children: list[Structure]) -> None:
        self.kind, self.keys, self.children = kind, keys, children

    def __eq__(self, other: Any) -> bool:
        return (isinstance(other, Structure) and self.kind is other.kind and self.keys == other.keys
                and self.children == other.children)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.kind is Leaf:
            return "*"
        if issubclass(self.kind, dict):
            return "{" + ", ".join(f"{k!r}: {c}" for k, c in zip(self.keys, self.children, strict=True)) + "}"
        inner = ", ".join(map(repr, self.children))
        return f"[{inner}]" if self.kind is list else f"({inner})"

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is Leaf else sum(c.size for c in self.children)

    def build(self, leaves: list[Any]) -> Any:
        """The tree with these leaves."""
        return self._take(iter(leaves))

    def _take(self, leaves: Any) -> Any:
        if self.kind is Leaf:
            return next(leaves)
        found = [c._take(leaves) for c in self.children]
        if issubclass(self.kind, dict):
            return self.kind(zip(self.keys, found, strict=True))
        return self.kind(*found) if hasattr(self.kind, "_fields") else self.kind(found)


LEAF = Structure(Leaf, (), [])


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Leaves (whatever is no tuple, list or dict; None is a leaf) and structure."""
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves)


def _walk(tree: Any, leaves: list[Any]) -> Structure:
    kind = tree.__class__
    if kind is dict or kind is OrderedDict:
        return Structure(kind, tuple(tree), [_walk(x, leaves) for x in tree.values()])
    if kind is tuple or kind is list or isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return Structure(kind, (), [_walk(x, leaves) for x in tree])
    leaves.append(tree)
    return LEAF


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """``f`` of every leaf."""
    leaves, structure = flatten(tree)
    return structure.build([f(x) for x in leaves])


def spread(prefix: Any, structure: Structure) -> list[Any] | None:
    """One item per leaf from a tree that is a prefix of ``structure`` (``in_dims=0`` for all); None: it is not one."""
    if prefix is None or isinstance(prefix, int) or structure.kind is Leaf:
        return None if isinstance(prefix, (tuple, list, dict)) else [prefix] * structure.size
    if isinstance(prefix, dict):
        if not issubclass(structure.kind, dict) or set(prefix) != set(structure.keys):
            return None
        parts = [prefix[k] for k in structure.keys]
    elif isinstance(prefix, (tuple, list)) and prefix.__class__ is structure.kind:
        parts = list(prefix)
    else:
        return None
    if len(parts) != len(structure.children):
        return None
    found: list[Any] = []
    for part, child in zip(parts, structure.children, strict=True):
        inner = spread(part, child)
        if inner is None:
            return None
        found += inner
    return found


def is_tensor(x: Any) -> bool:
    return isinstance(x, TensorCore)
