"""Run programs in NumPy: ``run(program, arrays)``; ``evaluate(op, arrays)`` for one operation."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..base import dtypes as dt
from ..base.errors import CheckError, UnsupportedError
from ..ir.builder import trace_body
from ..ir.op import Op
from ..ir.program import Program
from ..ir.types import tensor_type
from .contract import CONTRACT
from .elementwise import ELEMENTWISE, cast
from .reduce import REDUCE
from .structural import STRUCTURAL

Array = np.ndarray


def _check(attrs, condition: Array, x: Array) -> Array:
    if not condition.all():
        raise CheckError(attrs.message)
    return x


#: name -> meaning(attrs, *arrays), for every primitive but control flow and composites (see ``evaluate``)
MEANING: dict[str, Callable[..., Array]] = {
    **{name: (lambda attrs, *xs, _f=f: _f(*xs)) for name, f in ELEMENTWISE.items()},
    "cast": lambda attrs, x: cast(x, attrs.dtype),
    "bitcast": lambda attrs, x: np.ascontiguousarray(x).view(attrs.dtype.numpy).reshape(x.shape),
    **STRUCTURAL, **REDUCE, **CONTRACT, "check": _check,
}


def evaluate(op: Op, arrays: Sequence[Array], exact: bool = False) -> tuple[Array, ...]:
    """The results of one operation."""
    with np.errstate(all="ignore"):
        if op.row.kind == "composite":
            types = tuple(tensor_type(dt.from_numpy(a.dtype), a.shape) for a in arrays)
            return run(trace_body(op.row.body, types, **dict(op.attrs.items())), arrays, exact)
        if op.row.kind == "control" and op.name != "check":
            return _CONTROL[op.name](op.attrs, arrays, exact)
        meaning = MEANING.get(op.name)
        if meaning is None:
            raise UnsupportedError(f"the interpreter does not know the operation {op.name!r}")
        extra = {"exact": exact} if op.row.kind == "contract" else {}
        result = meaning(op.attrs, *arrays, **extra)
        return result if isinstance(result, tuple) else (np.asarray(result),)


def run(program: Program, arrays: Sequence[Array], exact: bool = False) -> tuple[Array, ...]:
    """The outputs of ``program`` on ``arrays``; intermediate values are dropped after their last use."""
    last: dict = {}
    for n, e in enumerate(program.equations):
        for v in e.inputs:
            last[v] = n
    kept = set(program.outputs)
    env = dict(zip(program.inputs, arrays, strict=True))
    for n, e in enumerate(program.equations):
        env.update(zip(e.outputs, evaluate(e.op, [env[v] for v in e.inputs], exact), strict=True))
        for v in {v for v in e.inputs if last[v] == n and v not in kept}:
            del env[v]
    return tuple(env[v] for v in program.outputs)


# --- control flow --------------------------------------------------------------------------------

#: called between the rounds of a loop; what one of them raises ends it
pauses: list[Callable[[], None]] = []


def _pause() -> None:
    for action in pauses:
        action()


def _if(attrs, arrays, exact):
    predicate, *operands = arrays
    return run(attrs.then if bool(predicate) else attrs.otherwise, operands, exact)


def _while(attrs, arrays, exact):
    n = len(arrays) - attrs.n_fixed
    state, fixed = tuple(arrays[:n]), tuple(arrays[n:])
    while bool(run(attrs.condition, state + fixed, exact)[0]):
        _pause()
        state = run(attrs.body, state + fixed, exact)
    return state


def _loop(attrs, arrays, exact):
    n = attrs.n_carried
    carried, fixed = tuple(arrays[:n]), tuple(arrays[n:])
    stacked_types = attrs.body.output_types[n:]
    stacked = [np.empty((attrs.trips, *t.shape), t.dtype.numpy) for t in stacked_types]
    for step in reversed(range(attrs.trips)) if attrs.backwards else range(attrs.trips):
        _pause()
        results = run(attrs.body, (np.asarray(step, np.int64), *carried, *fixed), exact)
        carried = results[:n]
        for whole, part in zip(stacked, results[n:], strict=True):
            whole[step] = part
    return (*carried, *stacked)


def _custom(attrs, arrays, exact):
    from ..ir.custom import lookup
    return lookup(attrs.name).evaluate(attrs.arguments, arrays)


_CONTROL = {"if": _if, "while": _while, "loop": _loop, "custom": _custom}
