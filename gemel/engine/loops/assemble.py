"""Schedules of ops that put values side by side: ``pad``, ``cat``, ``dynamic_update``.

Each is a few strided copies into windows of the result. The copy of a whole that is then overwritten in part
(``dynamic_update``) disappears when the result takes over the memory of that whole, which is how slice writes
happen in place.
"""
from __future__ import annotations

from ..ir.program import Equation, Var
from .calls import Call
from .group import Group
from .index import Affine, Domain, reach
from .rowwise.schedule import Context, schedule_rowwise


def _copy(context: Context, source: Var, result: Var, start: tuple[Affine, ...], step: tuple[int, ...], label: str,
          skipped: bool = False) -> list[Call]:
    """Copy ``source`` into the window of ``result`` at ``start``, every ``step``-th element; ``skipped``: not where
    they share memory."""
    g = Group("rowwise", Domain(), 0)
    index = g.domain.axes(source.shape)
    g.index[result] = tuple(i.scaled(n).plus(at) for i, n, at in zip(index, step, start, strict=True))
    g.phase[result] = 0
    lies, at = context.resolve(g.domain, source, index)
    g.reads[-1, 0] = lies, at
    g.stores.append(result)
    g.label = label
    calls = schedule_rowwise(g, context)
    for call in calls:
        call.copies = skipped and only_copies(call, lies)
    return calls


def only_copies(call: Call, source: Var) -> bool:
    """Does a call that copies ``source`` do just that? A value that is computed where it is used is not copied."""
    return bool(call.inplace) and call.operands[0].value is source


def copy_into(context: Context, source: Var, result: Var, order: tuple[int, ...]) -> list[Call]:
    """Copy ``source`` into ``result``, whose axes are those of ``source`` in another order."""
    g = Group("rowwise", Domain(), 0)
    g.index[result] = g.domain.axes(result.shape)
    g.phase[result] = 0
    index: list[Affine] = [Affine()] * len(order)
    for i, axis in enumerate(order):
        index[axis] = g.index[result][i]
    g.reads[-1, 0] = context.resolve(g.domain, source, tuple(index))
    g.stores.append(result)
    g.label = "arrange"
    return schedule_rowwise(g, context)


def whole(context: Context, source: Var, result: Var, label: str) -> list[Call]:
    """Copy all of ``source`` into ``result``; nothing is done where they turn out to share memory."""
    ndim = len(result.shape)
    return _copy(context, source, result, (Affine(),) * ndim, (1,) * ndim, label, skipped=True)


def _anchor(g: Group) -> Equation:
    assert g.anchor is not None
    return g.anchor


def schedule_pad(g: Group, context: Context) -> list[Call]:
    """Fill, then copy the operand inside."""
    e = _anchor(g)
    x, value = e.inputs
    out = e.output
    fill = Group("rowwise", Domain(), 0)
    fill.index[out], fill.phase[out] = fill.domain.axes(out.shape), 0
    fill.reads[-1, 0] = context.resolve(fill.domain, value, ())
    fill.stores.append(out)
    fill.label = "pad_fill"
    start = tuple(Affine(n) for n in e.op.attrs.low)
    return schedule_rowwise(fill, context) + _copy(context, x, out, start, (1,) * len(out.shape), "pad_copy")


def schedule_cat(g: Group, context: Context) -> list[Call]:
    """Copy each operand to its place."""
    e = _anchor(g)
    out, axis, at = e.output, e.op.attrs.axis, 0
    calls: list[Call] = []
    for x in e.inputs:
        start = tuple(Affine(at if i == axis else 0) for i in range(len(out.shape)))
        if x.type.size:
            calls += _copy(context, x, out, start, (1,) * len(out.shape), "cat_copy")
        at += x.shape[axis]
    return calls


def schedule_dynamic_update(g: Group, context: Context) -> list[Call]:
    """Copy the whole (unless in place), then the update into its window. Starts are read at run time."""
    e = _anchor(g)
    x, update, *starts = e.inputs
    out = e.output
    calls = whole(context, x, out, "update_base")
    if update.type.size:
        start = tuple(context.start(s, d - reach(n, step)) for s, d, n, step in
                      zip(starts, out.shape, update.shape, e.op.attrs.step, strict=True))
        calls += _copy(context, update, out, start, e.op.attrs.step, "update_window")
    return calls

