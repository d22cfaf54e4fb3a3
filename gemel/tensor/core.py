"""The tensor: a storage cell, a view of it, and a place on the tape.

Most tensors are alone: ``_value`` and ``_edge`` are all there is. A tensor that shares its storage, or that has
been written in place, has an :class:`Alias`: the cell, the lenses from the cell's base to the tensor, and the
version of the cell that ``_value`` and ``_edge`` were read from. ``apply`` records one operation on tensors, with
its tape node. Everything else is built on it.
"""
from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.errors import DTypeError, UnsupportedError
from ..engine.device import memory
from ..engine.ir.op import op as intern
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import TensorType, tensor_type
from ..engine.runtime import executor
from ..engine.runtime.trace import (
    Value,
    local,
    note_write,
    ready,
    record,
    record_one,
    scalar,
)
from . import tape
from .alias import DATA, DETACHED, NO_GRAD, PLAIN, SHARED, SIBLINGS, UNTAPED, Alias, Domain
from .foreign import ExportedMemory, ForeignArray, from_array, seen_by_others, snapshot, write_out
from .recording import PLAIN_VALUES, TAPE, Taped, apply, public, start, wrap
from .storage import (
    Bits,
    Cell,
    Lens,
    Window,
    as_written,
    covering,
    injective,
    result_of,
    sharing,
    shortened,
    shown,
)
from .tape import Accumulate, Edge, make_node, mode

#: classes whose instances take the fast paths; subclasses add themselves
TENSOR_CLASSES: set[type] = set()
_new = object.__new__


class _FirstTaped:
    """Who gets back the contents of a storage (see ``trace.note_write``) that a write has put onto the tape."""

    __slots__ = ("cell", "domain")

    def __init__(self, cell: Cell, domain: Domain) -> None:
        self.cell, self.domain = cell.ref, weakref.ref(domain)

    def __call__(self) -> _FirstTaped | None:
        return None if self.cell() is None or self.domain() is None else self

    def _contents(self) -> Value | None:
        cell = self.cell()
        return None if cell is None else cell._contents()

    def _take_back(self, value: Value) -> None:
        cell, domain = self.cell(), self.domain()
        if cell is not None and domain is not None:
            domain.edge = None
            cell._take_back(value)


class Info:
    """What few tensors have: a gradient, a name, hooks."""

    __slots__ = ("grad", "retains_grad", "name")

    def __init__(self) -> None:
        self.grad: Any = None
        self.retains_grad = False
        self.name: str | None = None


class TensorCore:
    """State of a tensor and how it is read and written; the public methods are in the mixins of ``Tensor``."""

    __slots__ = ("_value", "_edge", "_alias", "_info", "__dict__", "__weakref__")
    _value: Value
    _edge: Edge | None
    _alias: Alias | None
    _info: Info | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        TENSOR_CLASSES.add(cls)

    # --- reading
    def _read(self) -> Value:
        """The current value.

        It is read before the alias: a tensor that another thread has just written to, or shows to NumPy, holds a type
        without a value until it is read again.
        """
        value, alias = self._value, self._alias
        if alias is not None and (alias.cell.version != alias.seen or value.form is None):
            return self._refresh()
        return value

    def _refresh(self, held: Value | None = None) -> Value:
        """Read again from the cell, which has been written since (or is memory that others may write).

        ``held``: what the storage holds if nothing has been written; without it, such a tensor is left as it is.
        """
        alias = self._alias
        assert alias is not None
        cell = alias.cell
        domain = alias.domain
        kept = None
        version = cell.version  # read before the value, which is written before it: another thread may be writing
        whole, seen = cell.value or held, version
        old = self._value
        if old.version == STAYS or old.form is not None and (old.version == cell.tracked or domain.kind == DATA):
            kept = self._edge  # nothing but the memory has changed: the place on the tape stays
        if cell.foreign is not None:
            whole, seen = snapshot(cell)
        if whole is None:  # nothing has been written
            return self._value
        view = Taped(whole, None)
        grad, mode.grad = mode.grad, True  # a view stays on the tape, wherever it happens to be read
        try:
            for lens in alias.lenses[:domain.depth]:
                view = lens.read(TAPE, view)
            view.edge = domain.edge
            for lens in alias.lenses[domain.depth:]:
                view = lens.read(TAPE, view)
        finally:
            mode.grad = grad
        with sharing:
            before = self._value, self._edge
            view.value.cell, view.value.version = cell.ref, cell.tracked
            if cell.version == version and self._alias is alias:  # else another thread has written: read again then
                self._value, self._edge, alias.seen = view.value, _place(self, kept or view.edge), seen
        del before
        return view.value

    def _forget(self, stays: bool = False) -> None:
        """The storage has been written: hold its old contents no longer; ``stays``: the place on the tape is the same.

        That holds for what has been read since the latest write that moves it.
        """
        old = self._value
        stays = stays and self._edge is not None and (old.form is not None or old.version == STAYS)
        self._value = forgotten(old.type, STAYS if stays else 0)

    def _contents(self) -> Value | None:
        """The value that a write replaces (see ``trace.note_write``)."""
        return self._value if self._alias is None else self._alias.cell._contents()

    def _take_back(self, value: Value) -> None:
        """After a write that has failed: hold ``value`` again."""
        if self._alias is None:
            self._value = value
        else:
            self._alias.cell._take_back(value)

    # --- sharing
    def _shared(self) -> Alias:
        """The tensor's alias; a tensor that was alone becomes the base of a new cell."""
        alias = self._alias
        if alias is None:
            value = self._value
            cell = Cell(value.type)
            cell.tensors.append(weakref.ref(self))
            fresh = Alias(cell, (), 0, Domain(self._edge, 0, SHARED))
            with sharing:
                alias = self._alias
                if alias is None:  # else another thread has come first
                    alias = self._alias = fresh
                    value.cell, value.version = cell.ref, 0
        return alias

    def _view(self, *lenses: Lens) -> Any:
        """A view of this tensor through ``lenses``."""
        value, alias = self._value, self._alias  # as in ``_read``
        if alias is None:
            alias = self._shared()
        elif alias.cell.version != alias.seen or value.form is None:
            value = self._refresh()
        base_edge = self._edge
        edge: Any = base_edge if mode.grad else None
        for lens in lenses:  # the steps of ``lens.read(TAPE, ...)``, written out: views are made all the time
            the_op = lens.there
            if the_op is None:
                part = lens.read(TAPE, Taped(value, edge))
                value, edge = part.value, part.edge
                continue
            if isinstance(lens, Window):
                operands = [value, *map(start, lens.starts)]
                value = record(the_op, operands)
                if edge is not None:
                    edge = make_node(the_op, operands, [edge] + [None] * (len(operands) - 1), value)
                continue
            whole = value
            value = record_one(the_op, whole)
            if edge is not None:
                edge = make_node(the_op, (whole,), (edge,), value)
        cell = alias.cell
        value.cell = ref = cell.ref
        value.version = ref.tracked
        out = _new(public[0])
        out._value, out._edge, out._info = value, edge, None
        through = (*alias.lenses, *lenses)
        domain = alias.domain
        if base_edge is not None and edge is None and domain.edge is not None:
            domain = Domain(None, len(through), max(UNTAPED, domain.kind), domain)
        out._alias = its = _new(Alias)
        its.cell, its.lenses, its.seen, its.domain = cell, through, alias.seen, domain
        its.origin = alias.origin if mode.grad else NO_GRAD
        cell.join(out)
        return out

    def _is_view_through(self, base: TensorCore, lenses: tuple[Lens, ...]) -> bool:
        """Is this tensor the view of ``base`` through these lenses, with its history?"""
        mine, its = self._alias, base._alias
        return (mine is not None and its is not None and mine.cell is its.cell and mine.domain is its.domain
                and len(mine.lenses) == len(its.lenses) + len(lenses)
                and all(a is b or a.key() == b.key() for a, b in zip(mine.lenses, (*its.lenses, *lenses), strict=True)))

    def _same_storage(self, kind: int) -> Any:
        """Another tensor on the same storage, with a history of its own (``DETACHED`` or ``DATA``)."""
        value = self._read()
        alias = self._shared()
        out = wrap(value)
        out._alias = Alias(alias.cell, alias.lenses, alias.seen,
                           Domain(None, len(alias.lenses), max(kind, alias.domain.kind)))
        alias.cell.join(out)
        return out

    def _bits(self, dtype: dt.DType) -> Any:
        """The same storage as another element type of the same width, with a history of its own."""
        out = self._view(Bits(self._read().type.dtype, dtype))
        alias = out._alias
        out._edge, alias.origin = None, PLAIN
        alias.domain = Domain(None, len(alias.lenses), max(DETACHED, alias.domain.kind))
        return out

    def _take_storage(self, other: TensorCore) -> None:
        """Leave this tensor's storage for that of ``other``; its place on the tape stays."""
        self._value = other._read()
        alias = other._shared()
        self._alias = Alias(alias.cell, alias.lenses, alias.seen, Domain(self._edge, len(alias.lenses), DETACHED))
        alias.cell.join(self)

    # --- writing
    def _write(self, new: Any, uniform: bool = False) -> Any:
        """Make ``new`` (a fresh tensor of the same type) the value of this tensor and of all that share it.

        This is the whole of in-place semantics; the caller has computed ``new`` out of place. With gradients
        switched off the tensor keeps its place on the tape, as in torch. ``uniform``: all its elements are equal, so
        that it can also be written where several elements of this tensor stand for one.
        """
        check_writable(self, new)
        value, edge = new._read(), new._edge
        if value.type is not self._read().type:
            raise DTypeError(f"a result of type {value.type} can't be written into a tensor of type "
                             f"{self._value.type}")
        alias = self._shared()
        cell = alias.cell
        edge = edge if mode.grad else None
        if edge is not None:
            spare(edge, self._value, cell)
        if alias.lenses:
            version = _commit(alias, *_write_through(alias, alias.lenses, Taped(value, edge), uniform))
        else:
            version = _commit(alias, value, edge)
        self._value = value
        value.cell, value.version = cell.ref, cell.tracked
        if mode.grad:
            self._edge = edge
        elif self._edge is None and alias.domain.edge is not None:
            self._refresh()  # the base began to require a gradient after this view was made
            return self
        if cell.foreign is None:
            alias.seen = version
        return self

    def _write_part(self, lenses: tuple[Lens, ...], part: Any) -> Any:
        """Write ``part`` (of the view's type) where ``lenses`` look: ``x[i] = v`` makes no view."""
        check_writable(self, part)
        self._read()
        alias = self._shared()
        if self._edge is not None and mode.grad and all(lens.covers for lens in lenses):
            part = overwritten(self._view(*lenses), part)
        new = Taped(part._read(), part._edge if mode.grad else None)
        _commit(alias, *_write_through(alias, (*alias.lenses, *lenses), new))
        if alias.lenses or alias.cell.foreign is not None:  # (else it holds the new contents already)
            self._refresh()
        return self


def overwritten(old: TensorCore, new: Any) -> Any:
    """``new``, to be written over all of ``old``: what requires a gradient goes on requiring it, and gets zero."""
    old._read()
    return apply(intern(ROWS["overwrite"]), old, new) if old._edge is not None and mode.grad else new


def spare(edge: Any, old: Value, cell: Cell) -> None:
    """Let the node of an in-place operation keep the contents ``old`` that its own write replaces.

    They are immutable, and the write that makes them old is the operation itself (torch saves a clone here). Memory
    that others see is another value each time it is read.
    """
    def is_old(v: Any) -> bool:
        return v is old or (cell.foreign is not None and v.__class__ is Value and v.type is old.type
                            and v.cell is cell.ref and v.version == cell.tracked)

    node = edge.node if edge.__class__ is tape.Select else edge
    saved = getattr(node, "inputs", None)
    if saved and any(is_old(v) for v in saved):
        kept = tape.Packed(lambda: wrap(old), old.type)
        node.inputs = [kept if is_old(v) else v for v in saved]


def _chain(lenses: Sequence[Lens], whole: Any, b: Any = TAPE) -> list[Any]:
    """What each of the lenses looks at."""
    found = [whole]
    for lens in lenses[:-1]:
        found.append(lens.read(b, found[-1]))
    return found


def _whole(cell: Cell) -> Taped:
    """The present value of a storage, off the tape.

    While nothing has been written, the base tensor is the only one that holds it, so that a base that is gone
    costs no memory. It is then put together again from the views that are left: nobody can see the rest.
    """
    if cell.value is not None:
        return Taped(cell.value, None)
    parts = [(t._alias.lenses, t._value) for t in cell.alive()]
    if cell.value is not None:  # another thread has written, and the tensors hold their values no longer
        return Taped(cell.value, None)
    for lenses, value in parts:
        if not lenses:
            return Taped(value, None)
    cell.partial = not any(all(lens.covers for lens in lenses) for lenses, _ in parts)
    whole = TAPE.zeros(cell.type)
    for lenses, value in parts:
        whole = _put_back(Taped(value, None), lenses, whole)
    return whole


def _known(cell: Cell) -> Taped:
    """As :func:`_whole`, where all of it will be seen."""
    whole = _whole(cell)
    if cell.partial:
        raise UnsupportedError("what a view's base held where no view shows it is gone with the base: keep the base "
                               "(or call contiguous() before as_strided())")
    return whole


def _put_back(part: Taped, lenses: Sequence[Lens], whole: Taped) -> Taped:
    """``whole`` with the part that the lenses show taken from ``part``."""
    for lens, outer in zip(reversed(lenses), reversed(_chain(lenses, whole)), strict=True):
        part = lens.restore(TAPE, outer, part)
    return part


def _domain_base(alias: Alias, whole: Taped) -> Taped:
    """The base of the alias's domain with its place on the tape, given the whole storage."""
    cell, domain = alias.cell, alias.domain
    for lens in alias.lenses[:domain.depth]:
        whole = lens.read(TAPE, whole)
    base = Taped(whole.value, domain.edge)
    if cell.value is None and domain.edge is not None and mode.grad and domain.edge.__class__ is not Accumulate:
        members = [t for t in cell.alive() if t._alias.domain is domain]
        if not any(t._alias.is_base for t in members):  # its history now starts at the views that are left
            base.edge = None
            for t in members:
                base = _put_back(Taped(t._value, t._edge), t._alias.lenses[domain.depth:], base)
    return base


def _write_through(alias: Alias, lenses: tuple[Lens, ...], part: Taped, uniform: bool = False
                   ) -> tuple[Value, Edge | None]:
    """The whole storage after ``part`` is written to a view of it, and where the domain's base then stands.

    The lenses are gone through backwards, innermost first; those outside of the domain off the tape.
    """
    depth = alias.domain.depth
    outer, inner = lenses[:depth], lenses[depth:]
    if not injective(lenses):
        stored, dtype = alias.cell.type, part.type.dtype
        if not injective(outer):
            if part.edge is not None or alias.domain.edge is not None:
                raise UnsupportedError("a write with gradients into a detached view that repeats elements is not "
                                       "implemented; clone() it first")
            return _written(as_written(lenses, stored, dtype, uniform), _whole(alias.cell), part).value, None
        base = shown(outer, stored)
        inner = as_written(inner, base, dtype, uniform)
    inner = shortened(inner, result_of(outer, alias.cell.type.shape))
    whole = None if covering(outer) and covering(inner) else _whole(alias.cell)
    if part.edge is None and alias.domain.edge is None or not mode.grad:
        return _written((*outer, *inner), None if whole is None else whole.value, part.value, PLAIN_VALUES), None
    part = _written(inner, None if whole is None else _domain_base(alias, whole), part)
    return _written(outer, whole, Taped(part.value, None)).value, part.edge


def _written(lenses: Sequence[Lens], whole: Any, part: Any, b: Any = TAPE) -> Any:
    """``whole`` with ``part`` written through ``lenses`` (by builder ``b``: on the tape unless another is given)."""
    shows_part = [n + 1 for n, lens in enumerate(lenses) if not lens.covers]
    wholes = [] if whole is None else _chain(lenses[:shows_part[-1]] if shows_part else (), whole, b)
    for n in range(len(lenses) - 1, -1, -1):
        part = lenses[n].write(b, wholes[n] if n < len(wholes) else None, part)
    return part


def _commit(alias: Alias, whole: Value, edge: Edge | None) -> int:
    """Make ``whole`` the value of the storage; who shares it drops the value that it held. The version it has now."""
    cell = alias.cell
    foreign = cell.foreign
    if foreign is not None and not foreign.contents().flags.writeable:
        raise RuntimeError("cannot write to a tensor whose memory is read-only; clone it first")
    domain = alias.domain
    before = domain.edge
    if mode.grad:
        domain.edge = edge
    # what stood on the tape before keeps the failed contents: the tape has no way back
    holder = cell.ref if domain.edge is before else _FirstTaped(cell, domain) if before is None else None
    version = rebind(cell, whole, domain, holder)
    if cell.foreign is not None:
        write_out(cell, whole)
    return version


def counted(cell: Cell) -> None:
    """Count a write that changes nothing: a view that becomes another one in place, as ``squeeze_``."""
    if cell.foreign is None:
        rebind(cell, _whole(cell).value)
    else:
        cell.version += 1
        cell.tracked += 1


def base_of(cell: Cell) -> Any:
    """A tensor that is the whole storage."""
    bases = [t for t in cell.alive() if not t._alias.lenses]
    return min(bases, key=lambda t: t._alias.domain.kind) if bases else wrap(_known(cell).value)


def take_along(base: TensorCore) -> None:
    """Put the views of a base that has begun to require a gradient onto the tape, as parts of it."""
    alias = base._alias
    assert alias is not None
    if alias.cell.foreign is not None:  # they are read again anyway
        return
    for t in alias.cell.alive():
        its = t._alias
        if its.domain is alias.domain and not its.is_base and t._edge is None:
            t._refresh(_whole(alias.cell).value)


def beyond(part: TensorCore, lens: Lens) -> Edge:
    """Where what ``lens`` shows of the storage stands on the tape if all of the history is that of ``part``."""
    alias = part._alias
    assert alias is not None
    whole = _put_back(Taped(part._value, part._edge), alias.lenses, _known(alias.cell))
    edge = lens.read(TAPE, whole).edge
    if edge is None:
        raise UnsupportedError("as_strided of a view of other bits that requires a gradient of its own is not "
                               "implemented; call contiguous() first")
    return edge


def whole_storage(alias: Alias) -> Any:
    """A tensor that is the whole storage: in the same domain, or, where that is a part, in a new one off the tape.

    It has the element type of the domain, or, in a new one, that of the storage.

    A part and its new neighbour would have to know each other's history: from then on, writes with gradients into
    either are refused.
    """
    cell, domain = alias.cell, alias.domain
    outer = alias.lenses[:domain.depth]
    if all(lens.covers for lens in outer):
        base = next((t for t in cell.alive() if t._alias.domain is domain and t._alias.is_base), None)
        if base is None:
            found = _domain_base(alias, _known(cell))
            domain.edge = found.edge
            base = _joined(cell, outer, domain, found)
        # element types are left as they are: movement is the same for all of them
        back = [lens.inverse() for lens in reversed(outer) if not isinstance(lens, Bits)]
        return base._view(*back) if back else base
    if domain.edge is not None:
        raise UnsupportedError("as_strided of a part of a tensor, detached and then written with gradients, is not "
                               "implemented; call contiguous() first")
    domain.apart = True
    beside = Domain(None, 0, max(DETACHED, domain.kind))
    beside.apart = True
    return _joined(cell, (), beside, _known(cell))


def _joined(cell: Cell, lenses: tuple[Lens, ...], domain: Domain, found: Taped) -> Any:
    """A new tensor of a domain that shows ``found``, which is what the storage holds now."""
    out = wrap(found.value, found.edge)
    found.value.cell, found.value.version = cell.ref, cell.tracked
    out._alias = Alias(cell, lenses, cell.version if cell.foreign is None else -1, domain)
    cell.join(out)
    return out


def rebind(cell: Cell, value: Value, writer: Domain | None = None, holder: Any = None) -> int:
    """Make ``value`` the contents of a storage; who shares it drops what it held. The version that it has now.

    ``writer``: the domain that is written; None: all are. ``holder``: who gets the old contents back if computing
    ``value`` fails.
    """
    ref = cell.ref
    kept = []
    with sharing:
        held = cell.value or cell._contents()
        if (capture := local.capture) is not None:
            capture.writes.setdefault(cell, held)
        if holder is not None:
            note_write(holder, held, value)
        if writer is None or writer.kind != DATA:
            ref.tracked += 1
        cell.value = value
        cell.version = version = cell.version + 1
        value.cell, value.version = ref, ref.tracked
        for r in cell.tensors[:]:  # those that are alive
            t = r()
            if t is None or (alias := t._alias) is None or alias.cell is not cell:
                continue
            kept.append((t, t._value, t._edge))
            domain = alias.domain
            if alias.lenses or cell.foreign is not None:
                # what is written through ``.data`` is not seen on the tape by others, nor does it see theirs
                t._forget(writer is not None and domain is not writer and DATA in (writer.kind, domain.kind))
                continue
            t._value, alias.seen = value, version
            if domain.edge is not t._edge:
                t._edge = _place(t, domain.edge)
    del kept, held  # after the lock: dropping a value may run anything
    return version


def _place(t: TensorCore, edge: Edge | None) -> Edge | None:
    """Where a tensor whose history is ``edge`` stands on the tape: a view that was made a leaf stays one."""
    own = t._edge
    return own if edge is None and own.__class__ is Accumulate and own._tensor() is t else edge  # type: ignore[union-attr]


def replace(t: TensorCore | Cell, value: Value) -> None:
    """Make ``value`` the contents of a tensor and of all that share its storage, off the tape (``t.data.copy_``)."""
    if isinstance(t, Cell):
        rebind(t, value, holder=t.ref)
        return
    alias = t._alias
    if alias is None:
        if local.capture is not None:
            local.capture.writes.setdefault(t, t._value)
        note_write(weakref.ref(t), t._value, value)
        t._value = value
    elif alias.lenses or alias.cell.foreign is not None:
        t._write(wrap(value))
    else:
        rebind(alias.cell, value, alias.domain, alias.cell.ref)


_forgotten: dict[tuple[TensorType, int], Value] = {}
STAYS = -1


def forgotten(t: TensorType, version: int) -> Value:
    """What a tensor holds between a write to its storage and its next read: a type without a value.

    ``version``: ``STAYS`` if the tensor's place on the tape is what it was, else 0.
    """
    found = _forgotten.get((t, version))
    if found is None:
        found = scalar(None, t.dtype)
        found.type, found.form, found.version = t, None, version
        _forgotten[t, version] = found
    return found


def check_writable(t: TensorCore, new: TensorCore | None = None) -> None:
    """Raise torch's errors for in-place writes (of ``new``) that autograd cannot represent."""
    if not mode.grad:
        return
    if isinstance(t._edge, Accumulate):
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    alias = t._alias
    if alias is None:
        return
    if alias.origin != PLAIN and (t._edge is not None or new is not None and new._edge is not None):
        raise RuntimeError(_FORBIDDEN[alias.origin])
    if alias.domain.of is not None:
        source = alias.domain.of()
        if source is None or source.edge is not None or new is not None and new._edge is not None:
            raise RuntimeError(_FORBIDDEN[NO_GRAD])
    if alias.domain.apart and new is not None and new._edge is not None:
        raise UnsupportedError("a write with gradients into a detached part of a tensor, or into what as_strided shows "
                               "of the storage around it, is not implemented; clone() one of them first")
    base = alias.domain.edge
    if not alias.is_base and (isinstance(base, Accumulate) or base is None and t._edge is not None):
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


_FORBIDDEN = {
    SIBLINGS: "Output of a function that returns multiple views is being modified inplace. Such functions do not "
              "allow the output views to be modified inplace. You should replace the inplace operation by an "
              "out-of-place one.",
    NO_GRAD: "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that "
             "this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving "
             "both the view and the inplace either both inside the no_grad block (if you don't want the inplace "
             "to be tracked) or both outside (if you want the inplace to be tracked).",
}

def set_grad(leaf: TensorCore, grad: Any) -> None:
    """``leaf.grad = grad`` without torch's checks."""
    if local.capture is not None:
        local.capture.grads[leaf] = None
    if leaf._info is None:
        if grad is None:
            return
        leaf._info = Info()
    leaf._info.grad = grad


def _accumulate(leaf: TensorCore, new: Any) -> None:
    """``leaf.grad += new``; in place, so that holders of ``.grad`` see the sum, unless gradients are recorded."""
    info = leaf._info
    if info is None:
        info = leaf._info = Info()
    old = info.grad
    if old is None:
        set_grad(leaf, new)
        return
    was, now = old._value.type.shape, new._value.type.shape
    if was != now:  # the leaf has become another view in place
        raise RuntimeError(f"a gradient of shape {list(now)} can't be added to .grad, which has the shape {list(was)} "
                           "that the leaf had: set .grad to None first")
    total = apply(intern(ROWS["add"]), old, new)
    set_grad(leaf, total if mode.grad else old._write(total))


tape.set_grad = _accumulate


# --- memory that others see ------------------------------------------------------------------------

def from_buffer(buffer: memory.Buffer, dtype: dt.DType, shape: Sequence[int]) -> Any:
    """A tensor over a row-major buffer of its own."""
    return wrap(ready(tensor_type(dtype, tuple(shape)), buffer))


def share_array(array: np.ndarray) -> Any:
    """A tensor that shares the memory of ``array``: each sees the other's writes."""
    out = wrap(from_array(array))
    alias = out._shared()
    alias.cell.foreign, alias.cell.value, alias.seen = ForeignArray(array), out._value, -1
    return out


def export(t: TensorCore, reason: str) -> np.ndarray:
    """Let others see the storage of ``t``: an array of it.

    The storage keeps its memory where only this tensor holds it. Where anything else does (the tape, pending
    operations, other tensors after the planner shared memory between them), it gets memory of its own, so that a
    write from outside changes nothing that was computed before.
    """
    t._read()
    alias = t._shared()
    cell = alias.cell
    while True:
        if cell.foreign is not None and (array := seen_by_others(cell)) is not None:
            return array
        version = cell.version
        whole = t._value
        if len(cell.tensors) != 1 or alias.lenses or cell.value is not None:  # in this order: threads may write
            whole = _whole(cell).value
        array = executor.observe(whole, reason)
        buffer = whole.buffer
        with sharing:
            if cell.foreign is not None or cell.version != version:
                continue  # another thread has done the same, or has written
            # `whole` is known to the tensor or the cell, and here; the buffer to the value, the array, and here; a
            # count over a tuple adds two, whatever a release of Python does for calls
            known = 3 + (cell.value is whole) + (t._value is whole)
            if (whole.form is not whole.type or buffer.__class__ is not memory.Buffer or buffer.foreign
                    or next(map(sys.getrefcount, (whole,))) > known or next(map(sys.getrefcount, (buffer,))) > 5):
                whole = from_array(array)
                array = executor.to_array(whole.buffer, whole.type, whole.form)
            cell.value, cell.foreign = whole, ExportedMemory(whole)
            whole.cell, whole.version = cell.ref, cell.tracked
            cell.version += 1
            kept: Any = t._value
            if len(cell.tensors) == 1:
                t._forget(True)
            else:
                kept = cell.forget(True)
        del kept
        return array
