"""Who shares a storage: how a tensor looks at it, and whose history it has."""
from __future__ import annotations

import weakref

from .storage import Cell, Lens
from .tape import Edge

# how a domain counts the writes of its tensors: on the tape; a view that was made under no_grad; ``detach()``;
# ``.data``, whose writes the version counter does not see
SHARED, UNTAPED, DETACHED, DATA = range(4)
# how a view was made: one by one; as one of several results of a function; under no_grad
PLAIN, SIBLINGS, NO_GRAD = range(3)


class Domain:
    """Tensors that share a storage *and* a history: a base and its views, without what ``detach()`` made of them.

    Attributes:
        edge: the base's place on the tape, or None. depth: number of lenses from the cell's base to this base.
        kind: ``SHARED`` for the first domain of a cell, ``UNTAPED``, ``DETACHED`` or ``DATA``.
        apart: does ``as_strided`` show, in another domain, more of the storage than this domain's base?
        of: a weak reference to the domain that a view was taken from under ``no_grad``, or None.
    """

    __slots__ = ("edge", "depth", "kind", "apart", "of", "__weakref__")

    def __init__(self, edge: Edge | None, depth: int, kind: int, of: Domain | None = None) -> None:
        self.edge, self.depth, self.kind, self.apart = edge, depth, kind, False
        self.of = None if of is None else weakref.ref(of)


class Alias:
    """How a tensor shares a storage.

    Attributes:
        cell: the storage. lenses: from the cell's base to this tensor.
        seen: version of the cell when the tensor was last read; -1: read again every time.
        domain: whose history it shares. origin: how the view was made (``PLAIN``, ``SIBLINGS``, ``NO_GRAD``).
    """

    __slots__ = ("cell", "lenses", "seen", "domain", "origin")

    def __init__(self, cell: Cell, lenses: tuple[Lens, ...], seen: int, domain: Domain, origin: int = 0
                 ) -> None:
        self.cell, self.lenses, self.seen, self.domain, self.origin = cell, lenses, seen, domain, origin

    @property
    def is_base(self) -> bool:
        """Is this tensor the base of its domain?"""
        return len(self.lenses) == self.domain.depth

    @property
    def is_view(self) -> bool:
        """Is this tensor a view in torch's sense? (One that was made under ``no_grad`` is, and has its own domain.)"""
        return len(self.lenses) != self.domain.depth or self.domain.of is not None
