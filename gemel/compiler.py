"""``compile``: a function's whole program, recorded once and then replayed as one operation.

The function runs as it is for the first two calls with arguments of a kind (shapes, dtypes, constants). While the
second one runs, its trace is captured: what it reads, what it returns, which tensors it writes. From the third call
on, Python's part is skipped: one ``call`` node with that program is recorded and the written tensors are rebound. The
program is the one that the function would record, so results are equal bit for bit.

What Python does besides recording (counting, printing, appending to lists) happens in the first two calls only. An
optimizer's hyper-parameters and the random generator are asked again at every call; other Python numbers that the
function reads from outside its arguments are those of the captured call. A function that observes a value (``item``,
``if tensor:``) cannot be captured: it goes on running as it is, with the reason in ``GEMEL_LOG=compile``.
"""
from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .engine.base import log
from .engine.base.errors import CompileError
from .engine.ir.op import Op, op
from .engine.ir.primitives import ROWS
from .engine.runtime import trace as recorder
from .engine.runtime.capture import Capture
from .engine.runtime.decode import decode
from .engine.runtime.trace import Value, local, record, scalar
from .nn import Module
from .tensor.core import TensorCore, base_of, replace, set_grad
from .tensor.recording import apply, wrap
from .tensor.storage import Cell
from .tensor.tape import mode

__all__ = ["compile"]

WARM_CALLS = 1       # calls of a kind before the one that is captured: optimizers create their state in the first
MAX_KINDS = 64       # kinds of arguments that one function keeps programs for


@dataclass
class _Source:
    """Where an operand of the program comes from at a later call: an argument, a tensor or storage, or a constant."""

    argument: int | None = None
    holder: TensorCore | Cell | None = None
    value: Value | None = None

    def tensor(self, arguments: Sequence[TensorCore]) -> TensorCore:
        """The operand with its place on the tape."""
        if self.argument is not None:
            return arguments[self.argument]
        if self.holder is not None:
            return base_of(self.holder) if isinstance(self.holder, Cell) else self.holder
        assert self.value is not None
        return wrap(self.value)

    def read(self, arguments: Sequence[TensorCore]) -> Value:
        """What the operand holds now."""
        holder = self.holder
        if holder.__class__ is Cell and holder.foreign is None and holder.value is not None:  # type: ignore[union-attr]
            return holder.value  # type: ignore[union-attr]
        return self.tensor(arguments)._read()


@dataclass
class _Replay:
    """A captured program and how it meets the outside.

    Attributes:
        call: the op. sources: of its tensor operands. scalars: (number, type) of its scalar operands.
        live: (places in ``scalars``, function that gives their numbers).
        writes: written tensors and storages; grads: leaves whose ``.grad`` is a result; in the order of the results.
        outputs: places of the returned tensors among the results; structure: rebuilds what was returned.
    """

    call: Op
    sources: list[_Source]
    scalars: list[tuple[Any, Any]]
    live: list[tuple[list[int], Callable[[], Sequence[Any]]]]
    writes: list[TensorCore | Cell]
    grads: list[TensorCore]
    cleared: list[TensorCore]
    structure: Any
    n_outputs: int

    def run(self, arguments: Sequence[TensorCore]) -> Any:
        numbers = [n for n, _ in self.scalars]
        for places, ask in self.live:
            for place, number in zip(places, ask(), strict=True):
                numbers[place] = number
        inputs = [scalar(n, t.dtype) for n, (_, t) in zip(numbers, self.scalars, strict=True)]
        if self.writes or self.grads:
            outputs = self._step(arguments, inputs)
        else:
            outputs = apply(self.call, *[s.tensor(arguments) for s in self.sources], *map(wrap, inputs))
        for leaf in self.cleared:
            set_grad(leaf, None)
        if self.writes or self.grads:
            recorder.settle("a compiled function has written tensors")
        return _rebuild(self.structure, outputs)

    def _step(self, arguments: Sequence[TensorCore], inputs: list[Value]) -> list[TensorCore]:
        """Record a call that writes: its backward pass is inside, nothing goes onto the tape."""
        results = record(self.call, [s.read(arguments) for s in self.sources] + inputs)
        n = self.n_outputs + len(self.writes)
        for written, new in zip(self.writes, results[self.n_outputs:n], strict=True):
            replace(written, new)
        for leaf, new in zip(self.grads, results[n:], strict=True):
            set_grad(leaf, wrap(new))
        return [wrap(v) for v in results[:self.n_outputs]]


def _flatten(tree: Any, tensors: list[TensorCore]) -> Any:
    """The structure of nested lists, tuples and dicts; tensors are replaced by their number in ``tensors``."""
    if isinstance(tree, TensorCore):
        tensors.append(tree)
        return ("tensor", len(tensors) - 1)
    if isinstance(tree, (list, tuple)):
        return (type(tree), *[_flatten(x, tensors) for x in tree])
    if isinstance(tree, dict):
        return (dict, *[(k, _flatten(x, tensors)) for k, x in tree.items()])
    return ("value", tree)


def _rebuild(structure: Any, tensors: Sequence[Any]) -> Any:
    kind, *parts = structure
    if kind == "tensor":
        return tensors[parts[0]]
    if kind == "value":
        return parts[0]
    if kind is dict:
        return {k: _rebuild(x, tensors) for k, x in parts}
    items = [_rebuild(x, tensors) for x in parts]
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


@dataclass
class _Kind:
    """Calls with arguments of one kind."""

    calls: int = 0
    replay: _Replay | None = None
    refusal: str = ""


@dataclass(eq=False)
class Compiled:
    """A compiled function; made by :func:`compile`."""

    function: Callable[..., Any]
    fullgraph: bool = False
    modules: tuple[Module, ...] = ()
    kinds: dict[Any, _Kind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors: list[TensorCore] = []
        structure = _flatten((args, kwargs), tensors)
        key = (structure, tuple([(t._read().type, t._edge is not None) for t in tensors]), mode.grad,
               tuple([m.training for m in self.modules]))
        try:
            kind = self.kinds.get(key)
        except TypeError as error:
            return self._decline(None, f"an argument cannot be a constant of the program: {error}", args, kwargs)
        if kind is None:
            if len(self.kinds) >= MAX_KINDS:
                self.kinds.pop(next(iter(self.kinds)))
            log.on("compile") and log.say("compile", self._difference(key))
            kind = self.kinds[key] = _Kind()
        kind.calls += 1
        if kind.replay is not None:
            return kind.replay.run(tensors)
        if kind.refusal or kind.calls <= WARM_CALLS or local.capture is not None:
            return self.function(*args, **kwargs)
        return self._capture(kind, tensors, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """What the function or module has: ``compiled.parameters()``, ``compiled.train()``."""
        if name.startswith("__") or name in ("function", "kinds"):
            raise AttributeError(name)
        return getattr(self.function, name)

    def _decline(self, kind: _Kind | None, reason: str, args: tuple, kwargs: dict) -> Any:
        if kind is not None:
            kind.refusal = reason
        text = f"{getattr(self.function, '__name__', self.function)} is not compiled: {reason}"
        if self.fullgraph:
            raise CompileError(text)
        if log.on("compile"):
            log.say("compile", text)
        return self.function(*args, **kwargs) if kind is None else None

    def _difference(self, key: tuple) -> str:
        """How a new kind of call differs from the nearest one seen."""
        name = getattr(self.function, "__name__", "a function")
        if not self.kinds:
            return f"{name}: first call"
        near = next(reversed(self.kinds))
        parts = [f"tensor {i}: {a[0]} was {b[0]}" for i, (a, b) in enumerate(zip(key[1], near[1], strict=False))
                 if a != b]
        if key[0] != near[0]:
            parts.append("other constants or structure")
        if key[2:] != near[2:]:
            parts.append("other gradient or training mode")
        return f"{name}: arguments of a new kind ({'; '.join(parts) or 'another number of tensors'})"

    def _capture(self, kind: _Kind, tensors: list[TensorCore], args: tuple, kwargs: dict) -> Any:
        recorder.settle("a function is about to be captured")
        before = [t._read() for t in tensors]
        with Capture() as capture:
            result = self.function(*args, **kwargs)
        if capture.broken:
            self._decline(kind, capture.broken, args, kwargs)
            return result
        outputs: list[TensorCore] = []
        structure = _flatten(result, outputs)
        kind.replay = _replay(capture, before, outputs, structure)
        if capture.writes or capture.grads:
            recorder.settle("a compiled function has written tensors")
        return result


def _replay(capture: Capture, arguments: list[Value], outputs: list[TensorCore], structure: Any) -> _Replay:
    """The captured trace as one op, with what it reads and writes."""
    trace = capture.trace
    def made_here(v: Value) -> bool:
        return v.trace is trace and v.index >= 0

    writes = [w for w in capture.writes if made_here(_contents(w))]
    grads, cleared = [], []
    for leaf in capture.grads:
        grad = leaf._info.grad if leaf._info is not None else None
        if grad is None:
            cleared.append(leaf)
        elif made_here(grad._read()) and grad not in capture.writes and (
                grad._alias is None or grad._alias.cell not in capture.writes):
            grads.append(leaf)
    values = [t._read() for t in outputs] + [_contents(w) for w in writes]
    values += [leaf._info.grad._read() for leaf in grads]
    # an output that the function only passes on is a result all the same
    copies = {id(v): recorder.BUILDER.copy(v) for v in values if not made_here(v)}
    values = [copies.get(id(v), v) for v in values]
    program = decode(trace.code, [v.type for v in trace.leaves], [t for _, t in trace.scalars],
                     [v.index for v in values], trace.sites)
    places = {id(v): i for i, v in reversed(list(enumerate(arguments)))}
    found = {id(v): written for written, v in capture.writes.items() if v is not None}
    found |= _holders([v for v in trace.leaves if id(v) not in places and id(v) not in found])
    sources = [_Source(argument=places[id(v)]) if id(v) in places else
               _Source(holder=found[id(v)]) if id(v) in found else _Source(value=v) for v in trace.leaves]
    live = [([(-2 - v.index) // 2 for v in used], ask) for used, ask in capture.live if all(v.index < 0 for v in used)]
    return _Replay(op(ROWS["call"], program), sources, list(trace.scalars), live, writes, grads, cleared, structure,
                   len(outputs))


def _contents(written: TensorCore | Cell) -> Value:
    return written.value if isinstance(written, Cell) else written._read()


def _holders(values: list[Value]) -> dict[int, TensorCore | Cell]:
    """The tensors or storages that hold these values now: a later call reads what they hold then."""
    wanted = {id(v) for v in values}
    found: dict[int, TensorCore | Cell] = {}
    for holder in gc.get_referrers(*values) if values else ():
        if isinstance(holder, Cell) and id(holder.value) in wanted:
            found[id(holder.value)] = holder
        elif isinstance(holder, TensorCore) and id(holder._value) in wanted:
            if holder._alias is None or not holder._alias.lenses:
                found.setdefault(id(holder._value), holder)
    return found


def _modules_of(function: Callable[..., Any]) -> tuple[Module, ...]:
    """Modules that a function can reach by name: their training mode is part of a call's kind."""
    if isinstance(function, Module):
        return (function,)
    cells = getattr(function, "__closure__", None) or ()
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    space = getattr(function, "__globals__", {})
    reach = [getattr(function, "__self__", None), *(c.cell_contents for c in cells), *(space.get(n) for n in names)]
    return tuple(dict.fromkeys(x for x in reach if isinstance(x, Module)))


def compile(model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
            backend: str = "gemel", mode: str | None = None, options: dict[str, Any] | None = None,
            disable: bool = False) -> Any:
    """Record a function or module once and replay it; results are equal bit for bit.

    Args:
        model: a function of tensors (in nested lists, tuples, dicts) and constants, or a module; without it, a
            decorator is returned. A whole training step may be one function: backward pass, ``optimizer.step()``.
        fullgraph: raise ``CompileError`` instead of running as it is when the function cannot be captured.
        dynamic, mode, options: accepted as torch has them; sizes get a program each.
        backend: only ``"gemel"`` (and ``"inductor"``, which torch's programs name). disable: return ``model`` as it is.
    Returns:
        a callable with the same arguments and results.
    Raises:
        ValueError: another backend.
    Example:
        >>> import gemel
        >>> @gemel.compile
        ... def f(x):
        ...     return gemel.tanh(x) * 2
        >>> [f(gemel.zeros(2)).tolist() for _ in range(3)]
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]

    Source: torch.compile.
    """
    if backend not in ("gemel", "inductor"):
        raise ValueError(f"Invalid backend: {backend!r}. Gemel compiles with its own: leave `backend` out")
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                                 options=options, disable=disable)
    return model if disable else Compiled(model, fullgraph, _modules_of(model))
