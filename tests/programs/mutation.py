"""Random programs of views, in-place writes, reads, ``detach``, ``no_grad`` and backward passes, for two libraries.

A program is a list of steps; a step names its operands by the step that made them, so that any step can be left out
when a failing program is made small. The same functions run on torch and on Gemel.
"""
from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import gemel
from gemel.engine.base.errors import UnsupportedError
from gemel.engine.runtime.trace import settle

ERRORS = (RuntimeError, IndexError, TypeError, ValueError)
MAX_SIZE, MAX_DIMS = 48, 4


@dataclass(frozen=True)
class Step:
    """``out = op(*of, *args)``, under ``no_grad`` unless ``grad``."""

    out: int
    op: str
    of: tuple[int, ...] = ()
    args: tuple = ()
    grad: bool = True

    def __str__(self) -> str:
        operands = ", ".join([*(f"t{n}" for n in self.of), *(repr(a) for a in self.args)])
        return f"t{self.out} = {self.op}({operands})" + ("" if self.grad else "  # no_grad")


Arguments = Callable[[random.Random, list[Any]], tuple | None]


@dataclass(frozen=True)
class Kind:
    """An operation of programs.

    Attributes:
        run: ``(library, tensors, args) -> tensor or None``. arguments: picks args for operands, None: does not apply.
        arity: number of tensor operands. fresh: the result is a new tensor, not a view. weight: how often it is used.
    """

    run: Callable[[Any, list[Any], tuple], Any]
    arguments: Arguments
    arity: int
    fresh: bool
    weight: float


KINDS: dict[str, Kind] = {}


def kind(name: str, arity: int = 1, fresh: bool = False, weight: float = 1.0, arguments: Arguments | None = None
         ) -> Callable[[Callable], Callable]:
    def register(run: Callable) -> Callable:
        KINDS[name] = Kind(run, arguments or (lambda r, t: ()), arity, fresh, weight)
        return run
    return register


def _shape(r: random.Random) -> tuple[int, ...]:
    while True:
        shape = tuple(r.choice((1, 2, 2, 3, 3, 4, 0) if r.random() < 0.1 else (1, 2, 2, 3, 3, 4))
                      for _ in range(r.choice((0, 1, 1, 2, 2, 2, 3, 3))))
        if int(np.prod(shape)) <= MAX_SIZE:
            return shape


def _numbers(r: random.Random, n: int) -> tuple[float, ...]:
    return tuple(round(r.uniform(-2, 2), 2) for _ in range(n))


def _factors(r: random.Random, n: int) -> tuple[int, ...]:
    """Sizes whose product is ``n``."""
    if n == 0:
        return r.choice(((0,), (2, 0), (0, 3)))
    found = []
    while n > 1 and len(found) < 3:
        f = r.choice([d for d in range(2, n + 1) if n % d == 0])
        found.append(f)
        n //= f
    if n > 1:
        found.append(n)
    if r.random() < 0.3 and len(found) < 3:
        found.insert(r.randint(0, len(found)), 1)
    r.shuffle(found)
    return tuple(found)


def _floating(t: Any) -> bool:
    return t.dtype.is_floating_point


# --- new tensors

@kind("new", 0, weight=1.5, arguments=lambda r, _: (s := _shape(r), _numbers(r, int(np.prod(s))),
                                                    r.choice(("float64",) * 4 + ("float32", "int64")),
                                                    r.random() < 0.5))
def _(m, ts, args):
    shape, numbers, dtype, grad = args
    x = m.tensor(list(numbers), dtype=m.float64).to(getattr(m, dtype)).clone()
    x = x.reshape(shape) if len(shape) != 1 else x
    x = x.clone()  # its own storage
    return x.requires_grad_() if grad and dtype != "int64" else x


@kind("from_numpy", 0, weight=0.5, arguments=lambda r, _: (s := _shape(r), _numbers(r, int(np.prod(s)))))
def _(m, ts, args):
    shape, numbers = args
    array = np.asarray(numbers, np.float64).reshape(shape)
    x = m.from_numpy(array)
    ARRAYS.setdefault(m.__name__, []).append(array)
    return x


#: arrays whose memory tensors share, by library, in the order of their steps
ARRAYS: dict[str, list[np.ndarray]] = {}


@kind("numpy", weight=0.4)
def _(m, ts, args):
    ARRAYS.setdefault(m.__name__, []).append(ts[0].detach().numpy())


@kind("poke", 0, weight=0.8, arguments=lambda r, _: (r.randint(0, 3), round(r.uniform(-2, 2), 2), r.random()))
def _(m, ts, args):
    which, number, where = args
    arrays = ARRAYS.get(m.__name__, [])
    if which >= len(arrays) or not arrays[which].size:
        return
    array = arrays[which]
    if array.ndim and where < 0.5:
        array[..., int(where * 2 * array.shape[-1])] = number
    else:
        array[...] = number


@kind("settle", 0, weight=0.5)
def _(m, ts, args):
    """Gemel computes what is pending, behind the program where it can: nobody sees a difference."""
    if m is gemel:
        settle("a program of views and writes")


# --- views

def _dim(r, t):
    return r.randint(-t.dim(), t.dim() - 1) if t.dim() else None


def _with_dim(more: Callable) -> Arguments:
    def arguments(r, ts):
        d = _dim(r, ts[0])
        return None if d is None else (d, *more(r, ts[0].shape[d]))
    return arguments


VIEWS: dict[str, tuple[Arguments, Callable]] = {
    "view": (lambda r, t: (_factors(r, t[0].numel()),), lambda m, x, s: x.view(s)),
    "reshape": (lambda r, t: (_factors(r, t[0].numel()),), lambda m, x, s: x.reshape(s)),
    "permute": (lambda r, t: (tuple(r.sample(range(t[0].dim()), t[0].dim())),), lambda m, x, p: x.permute(p)),
    "transpose": (lambda r, t: (_dim(r, t[0]), _dim(r, t[0])) if t[0].dim() else None,
                  lambda m, x, a, b: x.transpose(a, b)),
    "select": (_with_dim(lambda r, n: (r.randint(-n, n - 1) if n else 0,)), lambda m, x, d, i: x.select(d, i)),
    "narrow": (_with_dim(lambda r, n: (a := r.randint(0, n), r.randint(0, n - a))),
               lambda m, x, d, a, n: x.narrow(d, a, n)),
    "unsqueeze": (lambda r, t: (r.randint(0, t[0].dim()),), lambda m, x, d: x.unsqueeze(d)),
    "squeeze": (lambda r, t: (), lambda m, x: x.squeeze()),
    "squeeze_dim": (_with_dim(lambda r, n: ()), lambda m, x, d: x.squeeze(d)),
    "expand": (lambda r, t: (tuple(r.choice((2, 3)) if n == 1 and r.random() < 0.7 else n for n in t[0].shape),
                             r.random() < 0.3),
               lambda m, x, s, lead: x.expand(2, *s) if lead else x.expand(s)),
    "diagonal": (lambda r, t: (r.randint(-2, 2), *r.sample(range(t[0].dim()), 2)) if t[0].dim() > 1 else None,
                 lambda m, x, o, a, b: x.diagonal(o, a, b)),
    "unfold": (_with_dim(lambda r, n: (r.randint(0, n), r.randint(1, 3))), lambda m, x, d, n, s: x.unfold(d, n, s)),
    "split": (_with_dim(lambda r, n: (r.randint(1, 3), r.random())),
              lambda m, x, d, n, w: (p := x.split(n, d))[int(w * len(p))]),
    "unbind": (_with_dim(lambda r, n: (r.random(),)), lambda m, x, d, w: (p := x.unbind(d))[int(w * len(p))]),
    "as_strided": (lambda r, t: None if t[0].requires_grad and not _whole(t[0]) else _strided(r, t[0]),
                   lambda m, x, size, stride, at: x.as_strided(size, stride, at)),
    "flatten": (lambda r, t: (), lambda m, x: x.flatten()),
    "detach": (lambda r, t: (), lambda m, x: x.detach()),
    "data": (lambda r, t: (), lambda m, x: x.data),
    "T": (lambda r, t: () if t[0].dim() == 2 else None, lambda m, x: x.T),
    "getitem": (lambda r, t: (_index(r, t[0]),), lambda m, x, i: x[_item(i)]),
    "view_bits": (lambda r, t: () if t[0].dtype is torch.float64 and r.random() < 0.3
                  else None, lambda m, x: x.view(m.int64)),
    "movedim": (lambda r, t: (_dim(r, t[0]), _dim(r, t[0])) if t[0].dim() else None,
                lambda m, x, a, b: x.movedim(a, b)),
    "contiguous": (lambda r, t: (), lambda m, x: x.contiguous()),
}


def _whole(t):
    """Does a tensor show all of its storage? (Else torch drops what a gradient of ``as_strided`` has beyond it.)"""
    return len(np.unique(places(t))) * t.element_size() == t.untyped_storage().nbytes()


def _strided(r, t):
    n = t.untyped_storage().nbytes() // t.element_size()
    size = tuple(r.randint(1, 3) for _ in range(r.randint(0, 2)))
    stride = tuple(r.randint(0, 3) for _ in size)
    reach = sum((a - 1) * b for a, b in zip(size, stride, strict=True))
    return (size, stride, r.randint(0, max(0, n - reach - 1)))


def _index(r, t):
    """A basic index: ints, (start, stop, step), None, '...'."""
    items: list[Any] = []
    for n in t.shape[:r.randint(0, t.dim())]:
        roll = r.random()
        if roll < 0.4 and n:
            items.append(r.randint(-n, n - 1))
        elif roll < 0.9:
            items.append((r.choice((None, r.randint(-n, n))), r.choice((None, r.randint(-n, n))),
                          r.choice((None, 1, 2))))
        else:
            items += [None, (None, None, None)]
    if r.random() < 0.2:
        items.append("...")
    return tuple(items)


def _item(items):
    found = tuple(slice(*i) if isinstance(i, tuple) else Ellipsis if i == "..." else i for i in items)
    return found if len(found) != 1 else found[0]


def _register_views() -> None:
    for name, (arguments, function) in VIEWS.items():
        weight = {"view": 2.0, "select": 1.5, "getitem": 3.0, "detach": 0.7, "data": 0.4}.get(name, 0.8)
        kind(name, weight=weight, arguments=arguments)(lambda m, ts, args, f=function: f(m, ts[0], *args))


_register_views()


# --- results of operations

PURE: dict[str, tuple[int, Arguments, Callable]] = {
    "clone": (1, lambda r, t: (), lambda m, t: t[0].clone()),
    "scale": (1, lambda r, t: (round(r.uniform(-1, 1), 2),), lambda m, t, c: t[0] * c),
    "sin": (1, lambda r, t: () if _floating(t[0]) else None, lambda m, t: t[0].sin()),
    "tanh": (1, lambda r, t: () if _floating(t[0]) else None, lambda m, t: t[0].tanh()),
    "mul": (2, lambda r, t: (), lambda m, t: t[0] * t[1]),
    "add": (2, lambda r, t: (), lambda m, t: t[0] + t[1]),
    "sub": (2, lambda r, t: (), lambda m, t: t[0] - t[1]),
    "sum": (1, lambda r, t: (), lambda m, t: t[0].sum()),
    "sum_dim": (1, _with_dim(lambda r, n: ()), lambda m, t, d: t[0].sum(d)),
    "cat": (2, lambda r, t: (0,), lambda m, t, d: m.cat([t[0], t[1]], d)),
    "stack": (2, lambda r, t: (0,), lambda m, t, d: m.stack([t[0], t[1]], d)),
    "matmul": (2, lambda r, t: () if t[0].dim() == 2 and t[1].dim() == 2 else None, lambda m, t: t[0] @ t[1]),
    "rows": (1, lambda r, t: (tuple(r.randint(-t[0].shape[0], t[0].shape[0] - 1) for _ in range(r.randint(1, 3))),)
             if t[0].dim() and t[0].shape[0] else None, lambda m, t, i: t[0][list(i)]),
    "where": (2, lambda r, t: (), lambda m, t: m.where(t[0] > 0, t[0], t[1])),
    "masked": (1, lambda r, t: (), lambda m, t: t[0][t[0] > 0]),
    "flip": (1, lambda r, t: (0,) if t[0].dim() else None, lambda m, t, d: t[0].flip(d)),
}


def _register_pure() -> None:
    for name, (arity, arguments, function) in PURE.items():
        kind(name, arity, True, 1.0 if name in ("mul", "clone", "sin") else 0.6, arguments)(
            lambda m, ts, args, f=function: f(m, ts, *args))


_register_pure()


# --- writes in place

def _number(r, t):
    return (round(r.uniform(-2, 2), 1),) if _floating(t[0]) else (r.randint(-3, 3),)


def _rows(r, t):
    if not t[0].dim() or not t[0].shape[0]:
        return None
    n = t[0].shape[0]
    return (tuple(r.randint(0, n - 1) for _ in range(r.randint(1, 2))),)


def _set(x, index, value):
    x[index] = value


def _set_combined(x, index, value, op):
    if op == "+":
        x[index] += value
    elif op == "*":
        x[index] *= value
    else:
        x[index] -= value


WRITES: dict[str, tuple[int, Arguments, Callable]] = {
    "add_": (1, _number, lambda m, t, c: t[0].add_(c)),
    "mul_": (1, lambda r, t: (round(r.uniform(-1, 1), 1),) if _floating(t[0]) else (r.randint(-1, 2),),
             lambda m, t, c: t[0].mul_(c)),
    "add_tensor_": (2, lambda r, t: (), lambda m, t: t[0].add_(t[1])),
    "mul_tensor_": (2, lambda r, t: (), lambda m, t: t[0].mul_(t[1])),
    "sub_tensor_": (2, lambda r, t: (), lambda m, t: t[0].sub_(t[1])),
    "copy_": (2, lambda r, t: (), lambda m, t: t[0].copy_(t[1])),
    "fill_": (1, _number, lambda m, t, c: t[0].fill_(c)),
    "zero_": (1, lambda r, t: (), lambda m, t: t[0].zero_()),
    "sin_": (1, lambda r, t: () if _floating(t[0]) else None, lambda m, t: t[0].sin_()),
    "tanh_": (1, lambda r, t: () if _floating(t[0]) else None, lambda m, t: t[0].tanh_()),
    "set": (1, lambda r, t: (_index(r, t[0]), *_number(r, t)), lambda m, t, i, c: _set(t[0], _item(i), c)),
    "set_tensor": (2, lambda r, t: (_index(r, t[0]),), lambda m, t, i: _set(t[0], _item(i), t[1])),
    "set_combined": (1, lambda r, t: (_index(r, t[0]), *_number(r, t), r.choice("+*-")),
                     lambda m, t, i, c, op: _set_combined(t[0], _item(i), c, op)),
    "set_rows": (1, lambda r, t: (*_rows(r, t), *_number(r, t)) if _rows(r, t) else None,
                 lambda m, t, i, c: _set(t[0], list(i), c)),
    "set_rows_tensor": (2, _rows, lambda m, t, i: _set(t[0], list(i), t[1])),
    "set_mask": (1, _number, lambda m, t, c: _set(t[0], t[0] > 0, c)),
    "masked_fill_": (2, _number, lambda m, t, c: t[0].masked_fill_(t[1] > 0, c)),
    "index_add_": (2, _rows, lambda m, t, i: t[0].index_add_(0, m.tensor(i), t[1])),
    "index_fill_": (1, lambda r, t: (*_rows(r, t), *_number(r, t)) if _rows(r, t) else None,
                    lambda m, t, i, c: t[0].index_fill_(0, m.tensor(i), c)),
    "squeeze_": (1, lambda r, t: (), lambda m, t: t[0].squeeze_()),
    "unsqueeze_": (1, lambda r, t: (0,) if t[0].dim() < 4 else None, lambda m, t, d: t[0].unsqueeze_(d)),
    "t_": (1, lambda r, t: () if t[0].dim() == 2 else None, lambda m, t: t[0].t_()),
    "detach_": (1, lambda r, t: (), lambda m, t: t[0].detach_()),
    "requires_grad_": (1, lambda r, t: (r.random() < 0.8,), lambda m, t, f: t[0].requires_grad_(f)),
}


def _register_writes() -> None:
    for name, (arity, arguments, function) in WRITES.items():
        weight = {"set": 2.0, "add_": 1.5, "mul_": 1.5, "copy_": 1.5, "set_tensor": 1.5, "squeeze_": 0.3,
                  "unsqueeze_": 0.3, "t_": 0.3, "detach_": 0.2, "requires_grad_": 0.5}.get(name, 0.8)

        def run(m, ts, args, f=function):
            f(m, ts, *args)
        kind(name, arity, False, weight, arguments)(run)


_register_writes()


# --- reads, gradients, and handles that go

@kind("read", weight=2.0)
def _(m, ts, args):
    return None  # the runner compares


@kind("forget", weight=0.8)
def _(m, ts, args):
    return None  # the runner drops the handle


def _differentiable(r, ts):
    return (r.random() < 0.5,) if ts[0].requires_grad and _floating(ts[0]) and ts[0].numel() else None


@kind("backward", weight=1.5, arguments=_differentiable)
def _(m, ts, args):
    x = ts[0]
    (x.cos().sum() if x.dim() else x).backward(retain_graph=args[0])


@kind("gradient", 2, weight=0.6, arguments=lambda r, ts: _differentiable(r, ts) if ts[1].requires_grad else None,
      fresh=True)
def _(m, ts, args):
    found, = m.autograd.grad(ts[0].sum(), [ts[1]], retain_graph=True, create_graph=args[0], allow_unused=True)
    return found


@kind("grad", weight=0.6, arguments=lambda r, ts: () if ts[0].is_leaf and ts[0].grad is not None else None)
def _(m, ts, args):
    return ts[0].grad


class World:
    """The tensors of a program in one library."""

    def __init__(self, library: Any) -> None:
        self.library, self.slots = library, {}
        ARRAYS[library.__name__] = []

    def has(self, step: Step) -> bool:
        return all(n in self.slots for n in step.of)

    def do(self, step: Step) -> BaseException | None:
        """Run a step; the error that it raised."""
        operation = KINDS[step.op]
        m = self.library
        try:
            with warnings.catch_warnings(), m.set_grad_enabled(step.grad):
                warnings.simplefilter("ignore")
                found = operation.run(m, [self.slots[n] for n in step.of], step.args)
        except ERRORS as error:
            return error
        if found is not None:
            self.slots[step.out] = found
        if step.op == "forget":
            del self.slots[step.of[0]]
        return None


def places(t: torch.Tensor) -> np.ndarray:
    """Where in its storage each element lies."""
    return np.asarray(t.storage_offset() + sum(
        np.arange(n).reshape(-1, *(1,) * (t.dim() - i - 1)) * s
        for i, (n, s) in enumerate(zip(t.shape, t.stride(), strict=True))) + np.zeros(tuple(t.shape), np.int64))


def comparable(step: Step, slots: dict[int, torch.Tensor]) -> bool:
    """Is what torch will do defined by more than its memory layout? Not compared: writes to overlapping elements,
    from elements of the same storage elsewhere, and writes and gradients of what only seems to require one."""
    ts = [slots[n] for n in step.of]
    if any(_broken(t) for t in ts):
        return False
    if any(_seeming(t) for t in ts):
        if step.op in ("backward", "gradient", "requires_grad_") or step.op in WRITES and step.grad:
            return False
    if step.op in ("requires_grad_", "detach_"):
        memory = ts[0].untyped_storage().data_ptr()
        others = [t for t in slots.values() if t is not ts[0] and t.untyped_storage().data_ptr() == memory]
        if any(_broken(t) or _seeming(t) or t.requires_grad and t.is_leaf and t._is_view() for t in others):
            return False
    if step.op not in WRITES or not ts:
        return True
    if len(ts) == 2 and not _floating(ts[0]) and ts[1].requires_grad:
        return False  # torch has the integers require a gradient
    if len(ts) == 2 and not _floating(ts[0]) and _floating(ts[1]) and not bool((ts[1].abs() < 1e9).all()):
        return False
    at = places(ts[0])
    if len(np.unique(at)) < at.size:
        repeated = any(s == 0 and n > 1 for n, s in zip(ts[0].shape, ts[0].stride(), strict=True))
        alone = len(ts) < 2 or ts[0].untyped_storage().data_ptr() != ts[1].untyped_storage().data_ptr()
        return (repeated and alone and step.op in ("add_", "mul_", "sin_", "copy_")) or (
            step.op in ("fill_", "zero_") and not ts[0].requires_grad)
    if len(ts) == 2 and ts[0].untyped_storage().data_ptr() == ts[1].untyped_storage().data_ptr():
        try:
            target = ts[0][_item(step.args[0])] if step.op == "set_tensor" else ts[0]
        except ERRORS:
            return True
        where, other = places(target), places(ts[1])
        same = where.shape == other.shape and bool((where == other).all()) and ts[0].stride() == ts[1].stride()
        apart = ts[0] is not ts[1] and not np.isin(where, other).any()
        return apart or (same and step.op in ("add_tensor_", "mul_tensor_", "copy_"))
    return True


def _seeming(t: torch.Tensor) -> bool:
    """Does torch say that a tensor requires a gradient, and drop it? (A view that was made under ``no_grad``, or before
    ``requires_grad_()``, ``requires_grad_(False)`` or ``detach_()`` of its base, and what is computed from it.)"""
    if not t.requires_grad:
        return False
    if t.grad_fn is None and not t._is_view():
        return False
    with torch.enable_grad():
        stack = [t.grad_fn or t.view_as(t).grad_fn]
    seen = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::AccumulateGrad":
            return False
        seen.add(node)
        stack += [n for n, _ in node.next_functions]
    return True


def acceptable(step: Step, found: Any) -> bool:
    """Is a result of torch one whose strides ours has too (row-major), and of a size that stays small?"""
    if found is None:
        return True
    if _broken(found):
        return False
    if found._is_view() and step.op == "gradient":
        return False
    return found.dim() <= MAX_DIMS and found.numel() <= MAX_SIZE and (
        not KINDS[step.op].fresh or found.is_contiguous())


def generate(seed: int, length: int) -> list[Step]:
    """A random program that torch has run."""
    r = random.Random(seed)
    world = World(torch)
    names, weights = list(KINDS), [k.weight for k in KINDS.values()]
    steps: list[Step] = []
    while len(steps) < length:
        name = "new" if len(world.slots) < 2 else r.choices(names, weights)[0]
        if name == "new" and len(world.slots) > 12:
            continue
        operation = KINDS[name]
        recent = list(world.slots)
        of = tuple(r.choice(recent[-5:] if r.random() < 0.5 else recent) for _ in range(operation.arity))
        if len(set(of)) < len(of) and r.random() < 0.7:
            continue
        try:
            args = operation.arguments(r, [world.slots[n] for n in of])
        except RuntimeError:  # torch does not say where the tensor came from
            continue
        if args is None:
            continue
        step = Step(len(steps), name, of, args, r.random() < 0.88)
        if not comparable(step, world.slots):
            continue
        error = world.do(step)
        found = world.slots.get(step.out)
        if error is not None and r.random() < 0.8 and name != "backward":
            steps.append(step) if r.random() < 0.3 else None
            continue
        if not acceptable(step, found):
            del world.slots[step.out]
            continue
        steps.append(step)
        if error is not None and name in ("backward", "gradient"):
            break
    return steps


# --- running and comparing

class Mismatch(AssertionError):
    """The libraries disagree."""


def _same_state(step: Step, n: int, ours: Any, theirs: Any) -> None:
    """What can be compared without reading the values."""
    facts: dict[str, tuple] = {
        "shape": (tuple(ours.shape), tuple(theirs.shape)), "dtype": (ours.dtype.name, str(theirs.dtype)[6:]),
    }
    if not _seeming(theirs):
        facts |= {
            "requires_grad": (ours.requires_grad, theirs.requires_grad), "is_leaf": (ours.is_leaf, theirs.is_leaf),
            "has grad": (_grad(ours) is not None, _grad(theirs) is not None),
        }
    if theirs.numel():
        kept = [i for i, size in enumerate(theirs.shape) if size > 1]
        facts["strides"] = ([ours.stride()[i] for i in kept], [theirs.stride()[i] for i in kept])
        facts["offset"] = (ours.storage_offset(), theirs.storage_offset())
    for what, (mine, its) in facts.items():
        if mine != its:
            raise Mismatch(f"after {step}: {what} of t{n} is {mine}, torch's is {its}")


def _same_versions(step: Step, before: dict[int, tuple[int, int]], now: list[tuple[int, Any, Any]]) -> None:
    """Has the version counter moved in both or in none? (``x[i] += 1`` is two writes in torch, one here.)"""
    for n, ours, theirs in now:
        mine, its = before.get(n, (ours._version, theirs._version))
        if (ours._version > mine) != (theirs._version > its):
            raise Mismatch(f"after {step}: version of t{n} went from {mine} to {ours._version}, torch's from {its} to "
                           f"{theirs._version}")


def _shared(step: Step, world: World) -> bool:
    """``x[i] = x[i]``: ours sees that nothing changes."""
    x, y = (world.slots[n].untyped_storage().data_ptr() for n in step.of)
    return x == y


def _broken(t: torch.Tensor) -> bool:
    """Does torch refuse to say where the tensor came from? (One of several views whose base was written.)"""
    try:
        return t.grad_fn is None and False
    except RuntimeError:
        return True


def _grad(t: Any) -> Any:
    return t.grad if t.is_leaf else None


def _without_bits(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without integers that are the bits of floats, whose last ones may differ, or follow from them."""
    if want.dtype.kind != "i":
        kept = ~(np.abs(got) >= 2.0**62)  # integers as floats
        return got[kept], want[kept]
    kept = np.abs(want.astype(np.float64)) < 2.0**40
    if want.dtype == np.int64:  # what is computed from a NaN is one, of any bits
        kept &= ~(np.isnan(got.view(np.float64)) & np.isnan(want.view(np.float64)) & (np.abs(got / 2.0**40) >= 1))
    return got[kept], want[kept]


def _same_values(step: Step, n: int, ours: Any, theirs: Any, exact: bool) -> None:
    for what, mine, its in (("values", ours, theirs), ("gradient", _grad(ours), _grad(theirs))):
        if its is None:
            continue
        got, want = np.asarray(mine.detach().tolist()), np.asarray(its.detach().tolist())
        bound = 1e-9 if exact else 1e-5
        if got.shape == want.shape:
            got, want = _without_bits(got, want)
        if got.shape != want.shape or not np.allclose(got, want, rtol=bound, atol=bound, equal_nan=True):
            raise Mismatch(f"after {step}: {what} of t{n}\n{got}\ntorch has\n{want}")


def run(steps: list[Step]) -> None:
    """Run a program on both libraries.

    Raises:
        Mismatch: they differ. Errors of Gemel that are not of the kinds that users see come through.
    """
    theirs, ours = World(torch), World(gemel)
    loose, written, counted, exact, dropped, turned = False, False, True, True, False, ""
    for step in steps:
        loose = loose or step.op in ("squeeze_", "unsqueeze_", "t_", "mul", "mul_tensor_", "where")
        if not theirs.has(step) or not comparable(step, theirs.slots):
            continue
        if not ours.has(step):
            raise Mismatch(f"before {step}: an operand is missing")
        before = {n: (ours.slots[n]._version, t._version) for n, t in theirs.slots.items()}
        if step.op == "data":  # has a counter of its own in torch
            counted = False
        written = written or step.op in WRITES
        if step.op in ("squeeze_", "unsqueeze_", "t_") and not step.grad and theirs.slots[step.of[0]].requires_grad:
            turned = "leaf" if theirs.slots[step.of[0]].is_leaf and turned != "result" else "result"
        seeming = step.grad and any(_seeming(theirs.slots[n]) for n in step.of)
        if (dropped or turned == "result") and step.op in ("backward", "gradient"):
            break  # torch has dropped a gradient that ours has, or has it for the elements in their old order
        expected = theirs.do(step)
        found = theirs.slots.get(step.out)
        if expected is None and not acceptable(step, found):
            del theirs.slots[step.out]
            continue
        dropped = dropped or seeming and found is not None and found.requires_grad and not _seeming(found)
        error = ours.do(step)
        if isinstance(error, UnsupportedError) and (step.op == "as_strided" or "as_strided" in str(error)):
            break
        if expected is not None and error is None and loose and "modified by an inplace operation" in str(expected):
            break  # what was saved (here: broadcast, or another view) has not changed: ours goes on
        if "saved tensor that has been detached in-place" in str(expected) and error is None:
            break
        if not counted and expected is None and "modified by an inplace operation" in str(error):
            break  # torch has saved what was read through ``.data``, and computes with what was written since
        if turned and any(what in str(e) for e in (expected, error) for what in (
                "invalid gradient at", "can't be added to .grad")):
            break  # ours has the gradient of a view that was read again, and never one for elements in another order
        if expected is not None and error is None and written and "backward through the graph a second time" in str(
                expected):
            break  # torch frees what a write in place has recorded, ours only what it has saved
        if (error is None) != (expected is None) or error is not None and step.op != "index_add_" and not any(
                isinstance(error, e) and isinstance(expected, e) for e in ERRORS):
            raise Mismatch(f"{step}: raised {error!r}, torch raised {expected!r}") from error
        counted = counted and step.op != "poke"
        if step.op in ("backward", "gradient") and (error is not None or not counted):
            # a write through ``.data`` or NumPy changes what torch has saved, not what ours has; and what was
            # accumulated before an error is not promised
            break
        if any(_broken(t) or t.requires_grad and not _floating(t) for t in theirs.slots.values()):
            break
        if counted and not (step.op == "set_tensor" and step.of[0] in before and _shared(step, theirs)):
            _same_versions(step, before, [(n, ours.slots[n], t) for n, t in theirs.slots.items()])
        for n, t in theirs.slots.items():
            _same_state(step, n, ours.slots[n], t)
        exact = exact and all(t.dtype is torch.float64 for t in theirs.slots.values())
        if step.op == "read":
            _same_values(step, step.of[0], ours.slots[step.of[0]], theirs.slots[step.of[0]], exact)
    else:
        for n, t in theirs.slots.items():
            _same_values(steps[-1], n, ours.slots[n], t, exact)
        for mine, its in zip(ARRAYS["gemel"], ARRAYS["torch"], strict=True):
            if not np.allclose(*_without_bits(mine, its), rtol=1e-5, atol=1e-5, equal_nan=True):
                raise Mismatch(f"memory of an array:\n{mine}\ntorch has\n{its}")


def outcome(steps: list[Step]) -> str | None:
    """How a program fails, or None."""
    try:
        run(steps)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def kind_of(failure: str | None) -> str:
    return (failure or "").split(":")[0]


def minimize(steps: list[Step]) -> list[Step]:
    """A program with fewer steps that fails in the same way."""
    how = kind_of(outcome(steps))
    size = max(1, len(steps) // 2)
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size:]
            if fewer and kind_of(outcome(fewer)) == how:
                steps = fewer
            else:
                at += size
        size //= 2
    return steps
