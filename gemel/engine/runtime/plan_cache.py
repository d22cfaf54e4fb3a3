"""The plans of traces by key: the least recently used go when all together take more than ``GEMEL_PLAN_BYTES``.

A key is (code, forms of the leaves, roots, donated leaves, types of the scalars, tier): two flushes with equal keys run
one plan. :func:`difference` says in what a new key differs from an old one.
"""
from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import count, zip_longest
from typing import Any, NamedTuple

from ..base.flags import flags
from ..base.forks import fork_lock
from .failures import entries
from .plans import Entry

COMPARED = 256  # latest plans among which the nearest one is looked for
_SHOWN = 4      # differences of one sort that are written out


class Key(NamedTuple):
    """What decides a plan."""

    code: tuple[Any, ...]
    forms: tuple[Any, ...]
    roots: tuple[int, ...]
    donate: tuple[int, ...]
    scalars: tuple[Any, ...]
    tier: str


class PlanCache:
    """Plans by key. ``nbytes``: what they take, as far as it has been charged."""

    def __init__(self) -> None:
        #: an ordered dict would hash and compare a key, which may be long, once more to move it to the end
        self._entries: dict[tuple, Entry] = {}
        self._lock = fork_lock("plans", threading.Lock())
        self._now = count(1).__next__
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: tuple) -> Entry | None:
        """The entry of a key, which is now the latest one."""
        found = self._entries.get(key)
        if found is not None:
            found.used = self._now()
        return found

    def charge(self, key: tuple, entry: Entry) -> None:
        """Keep an entry that has run, and forget others if that makes them too large together."""
        size = entry.nbytes
        with self._lock:
            before = self._entries.get(key)
            if before is not entry:  # new, or another thread's is in its place, or it was forgotten while it ran
                self.nbytes -= 0 if before is None else before.charged
                entry.charged, entry.used = 0, self._now()
                self._entries[key] = entry
            self.nbytes += size - entry.charged
            entry.charged = size
            if self.nbytes > flags.PLAN_BYTES:
                self._forget()

    def _forget(self) -> None:
        """Forget the entries that have not been used for the longest time, until the others are small enough."""
        for key, old in sorted(self._entries.items(), key=_last_use)[:-1]:
            if self.nbytes <= flags.PLAN_BYTES:
                break
            del self._entries[key]
            self.nbytes -= old.charged

    def clear(self) -> None:
        """Forget all plans."""
        with self._lock:
            self._entries.clear()
            self.nbytes = 0

    def explain(self, key: tuple, sites: Mapping[int, str]) -> str:
        """Why no plan has this key: the difference to the nearest one."""
        latest = [Key(*k) for k, _ in nlargest(COMPARED, list(self._entries.items()), _last_use)]
        if not latest:
            return "it is the first plan"
        new = Key(*key)
        nearest = max(latest, key=lambda old: _likeness(new, old))
        return f"the nearest of {len(self)} plans differs: {'; '.join(difference(new, nearest, sites))}"


def _last_use(item: tuple[tuple, Entry]) -> int:
    return item[1].used


def _likeness(new: Key, old: Key) -> float:
    """How alike two keys are: the sum over their parts of the share of places that are equal."""
    total = 0.0
    for a, b in zip(new[:5], old[:5], strict=True):
        longer = max(len(a), len(b))
        total += sum(x is y or x == y for x, y in zip(a, b, strict=False)) / longer if longer else 1.0
    return total


def difference(new: Key, old: Key, sites: Mapping[int, str]) -> list[str]:
    """In what two keys differ, in words; ``sites``: source lines by result number of the new one."""
    found: list[str] = []
    if new.tier != old.tier:
        found.append(f"tier {new.tier}, was {old.tier}")
    found += _several(_places("input", new.forms, old.forms))
    found += _several(_places("scalar", new.scalars, old.scalars))
    found += _operations(new.code, old.code, sites)
    names = {r: f"result {r} ({op})" for op, _, results in entries(new.code) for r in results}
    found += _several(f"{names[r]} is wanted too" for r in sorted({*new.roots} - {*old.roots}))
    found += _several(f"result {r} is not wanted" for r in sorted({*old.roots} - {*new.roots}))
    found += _several(f"the memory of input {k} may be reused" for k in sorted({*new.donate} - {*old.donate}))
    found += _several(f"input {k} is still held" for k in sorted({*old.donate} - {*new.donate}))
    return found or ["nothing: the plan had been forgotten"]


def _several(texts: Iterator[str] | Sequence[str]) -> list[str]:
    """The first few, and how many more there are."""
    texts = list(texts)
    more = len(texts) - _SHOWN
    return texts if more <= 0 else [*texts[:_SHOWN], f"{more} more of this sort"]


def _places(what: str, new: Sequence[Any], old: Sequence[Any]) -> Iterator[str]:
    for i, (a, b) in enumerate(zip_longest(new, old)):
        if a is not b:
            yield (f"{what} {i}: {a}, was {b}" if a is not None and b is not None else
                   f"{what} {i} is new: {a}" if b is None else f"{what} {i} is gone: {b}")


def _operations(new: Sequence[Any], old: Sequence[Any], sites: Mapping[int, str]) -> list[str]:
    """The first operation that differs, and the numbers of operations if those do."""
    ours, theirs = list(entries(new)), list(entries(old))
    found = []
    for n, (a, b) in enumerate(zip_longest(ours, theirs)):
        if a is not None and b is not None and a[0] is b[0] and a[1] == b[1]:
            continue
        where = f" (recorded at {sites[a[2].start]})" if a is not None and sites.get(a[2].start) else ""
        if a is None or b is None:
            found.append(f"operation {n}{where}: {'none' if a is None else a[0]}, was {'none' if b is None else b[0]}")
        elif a[0] is b[0]:
            found.append(f"operation {n}{where}: {a[0]} of other values")
        else:
            found.append(f"operation {n}{where}: {a[0]}, was {b[0]}")
        break
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} operations, was {len(theirs)}")
    return found
