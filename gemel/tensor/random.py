"""Random numbers: counter-based, the same on every machine and thread count.

A :class:`Generator` is a 64-bit key (its seed) and a counter. A draw takes the next counter; element ``i`` of the
draw is a function of key, counter and ``i`` alone (``docs/random.md``). Both are runtime inputs of the program, so
that drawing again compiles nothing.
"""
from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType, compute_type
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.base.forks import fork_lock
from ..engine.runtime.batched import batched_stream
from ..engine.runtime.trace import BUILDER, Value, local, scalar
from .core import TENSOR_CLASSES, from_array
from .creation import chosen, finish, into, type_of
from .devices import check_device, device
from .dims import named
from .factory import check_dtype, size_argument
from .recording import wrap

__all__ = ["Generator", "default_generator", "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state",
           "rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson",
           "rand_like", "randn_like", "randint_like"]

_MASK = (1 << 64) - 1


#: held while a generator moves on
_drawing = fork_lock("random", threading.Lock())


class Generator:
    """A stream of random numbers: a key and the number of the next draw. torch: ``torch.Generator``.

    >>> g = gemel.Generator().manual_seed(3)
    >>> a, b = gemel.rand(2, generator=g), gemel.rand(2, generator=g.manual_seed(3))
    >>> bool((a == b).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        check_device(device)
        self._key, self._counter = 67280421310721, 0

    @property
    def device(self) -> device:
        """Where it draws: ``cpu``."""
        return device("cpu")

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed`` (any integer; taken modulo 2^64); returns the generator."""
        if isinstance(seed, (float, str)) or not hasattr(seed, "__index__"):
            raise TypeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        n = seed.__index__()
        if not -(1 << 63) <= n <= _MASK:
            raise RuntimeError(f"Overflow when unpacking long long: a seed has 64 bits. Received: {n}")
        with _drawing:
            self._key, self._counter = n & _MASK, 0
        return self

    def seed(self) -> int:
        """Start a stream of an unpredictable seed; returns the seed."""
        found = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(found)
        return found

    def initial_seed(self) -> int:
        """The seed of this stream."""
        return self._key

    def draw(self, counters: int = 1) -> tuple[int, int]:
        """Key and first counter of a draw that uses ``counters`` of them."""
        with _drawing:
            first = self._counter
            self._counter = (first + counters) & _MASK
            return self._key, first

    def get_state(self) -> Any:
        """Key and counter as 16 bytes (a uint8 tensor)."""
        return wrap(from_array(np.array([self._key, self._counter], np.uint64).view(np.uint8)))

    def set_state(self, new_state: Any) -> Generator:
        """Go on from where :meth:`get_state` was called."""
        if new_state.__class__ not in TENSOR_CLASSES or new_state.dtype is not dt.uint8:
            raise TypeError("expected a torch.ByteTensor, the state that get_state() gave. "
                            f"Received: {new_state!r}")
        if new_state.shape != (16,):
            raise RuntimeError(f"a generator's state has 16 bytes. Received: shape {list(new_state.shape)}")
        key, counter = np.frombuffer(bytes(new_state.tolist()), np.uint64)
        with _drawing:
            self._key, self._counter = int(key), int(counter)
        return self

    def clone_state(self) -> Generator:
        """A generator that stands where this one does."""
        return Generator().set_state(self.get_state())

    def __getstate__(self) -> tuple[int, int]:
        return self._key, self._counter

    def __setstate__(self, state: tuple[int, int]) -> None:
        self._key, self._counter = state

    def __repr__(self) -> str:
        return f"<gemel.Generator seed {self._key}, {self._counter} draws>"


#: the generator that draws use when none is given; seeded unpredictably at import, as in torch
default_generator = Generator()
default_generator.seed()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it. torch: ``manual_seed``."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator unpredictably; returns the seed. torch: ``seed``."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator. torch: ``initial_seed``."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator, a uint8 tensor. torch: ``get_rng_state``."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the default generator back into a state of :func:`get_rng_state`. torch: ``set_rng_state``."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Draws in the block leave the default generator as it was before. torch: ``random.fork_rng``."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)


# --- drawing -------------------------------------------------------------------------------------

def stream(generator: Generator | None = None, counters: int = 1) -> tuple[Value, Value]:
    """Key and counter of a draw as runtime scalars."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a gemel.Generator, not {type(generator).__name__}")
    source = generator or default_generator
    if local.levels:
        return batched_stream(source.draw, counters)
    key, counter = (scalar(n, dt.uint64) for n in source.draw(counters))
    if local.capture is not None:
        local.capture.live.append(((key, counter), lambda: source.draw(counters)))
    return key, counter


#: composite -> counters that one draw uses
_COUNTERS = {"random_normal": 2, "random_log_normal": 2}


def draw(name: str, dtype: DType, shape: tuple[int, ...], generator: Generator | None, *parameters: Any) -> Value:
    """Record a draw of composite ``name``; parameters are Python numbers or values."""
    if not dtype.is_floating_point:
        raise NotImplementedError(f'"{name.removeprefix("random_")}" not implemented for {dtype.name!r}: expects a '
                                  f"floating point dtype")
    wide = compute_type(dtype)
    given = [p if isinstance(p, Value) else scalar(float(p), wide) for p in parameters]
    key, counter = stream(generator, _COUNTERS.get(name, 1))
    return BUILDER.call(name, key, counter, *given, dtype=dtype, shape=shape)


def _complex_draw(name: str, dtype: DType, shape: tuple[int, ...], generator: Generator | None,
                  scale: float | None = None) -> Value:
    """Real and imaginary parts, drawn one after the other."""
    part = dt.component(dtype)
    parameters = () if scale is None else (0.0, scale)
    return BUILDER.complex(*(draw(name, part, shape, generator, *parameters) for _ in range(2)))


def _factory(name: str, composite: str, size: Any, generator: Generator | None, out: Any, dtype: DType | None,
             device: Any, requires_grad: bool) -> Any:
    check_dtype(name, dtype)
    check_device(device)
    if not size:
        raise TypeError(f"{name}() missing 1 required positional arguments: \"size\"")
    shape = size_argument(name, size)
    dtype = chosen(dtype, out)
    made = finish(_of(composite, dtype, shape, generator), requires_grad)
    return made if out is None else into(out, made)


def _of(composite: str, dtype: DType, shape: tuple[int, ...], generator: Generator | None) -> Value:
    if dtype.is_complex:  # the parts of a complex normal number have variance 1/2 each
        scale = math.sqrt(0.5) if composite == "random_normal" else None
        return _complex_draw(composite, dtype, shape, generator, scale)
    return draw(composite, dtype, shape, generator)


def rand(*sizes: Any, size: Any = None, generator: Generator | None = None, out: Any = None,
         dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
         pin_memory: bool = False) -> Any:
    """Uniform numbers on [0, 1), of shape ``sizes``, which may also be named ``size``. torch: ``rand``."""
    shape = named("rand", "size", sizes, size)
    return _factory("rand", "random_uniform", shape, generator, out, dtype, device, requires_grad)


def randn(*sizes: Any, size: Any = None, generator: Generator | None = None, out: Any = None,
          dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
          pin_memory: bool = False) -> Any:
    """Standard normal numbers, of shape ``sizes``, which may also be named ``size``. torch: ``randn``."""
    shape = named("randn", "size", sizes, size)
    return _factory("randn", "random_normal", shape, generator, out, dtype, device, requires_grad)


def rand_like(input: Any, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
              device: Any = None, requires_grad: bool = False, memory_format: Any = None) -> Any:
    """Uniform numbers on [0, 1) of the shape and dtype of ``input``. torch: ``rand_like``."""
    t = type_of("rand_like", input)
    return _factory("rand_like", "random_uniform", (t.shape,), generator, None, dtype or t.dtype, device, requires_grad)


def randn_like(input: Any, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
               device: Any = None, requires_grad: bool = False, memory_format: Any = None) -> Any:
    """Standard normal numbers of the shape and dtype of ``input``. torch: ``randn_like``."""
    t = type_of("randn_like", input)
    return _factory("randn_like", "random_normal", (t.shape,), generator, None, dtype or t.dtype, device, requires_grad)


def _integers(name: str, low: Any, high: Any, dtype: DType, shape: tuple[int, ...],
              generator: Generator | None) -> Value:
    low, high = (x.item() if hasattr(x, "item") else x for x in (low, high))
    if not isinstance(low, int) or not isinstance(high, int):
        raise TypeError(f"{name}(): low and high must be integers. Received: {low!r}, {high!r}")
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if dtype.kind == "c":
        raise NotImplementedError(f'"random_" not implemented for {dtype.name!r}')
    least, most = _integer_limits(dtype)
    if low < least or high - 1 > most:
        raise RuntimeError(f"from and to - 1 must lie in [{least}, {most}], what {dtype.name} can hold. "
                           f"Received: from={low}, to={high}")
    count = high - low
    key, counter = stream(generator)
    start = low if low < 1 << 63 else low - (1 << 64)  # uint64: the same bits
    return BUILDER.call("random_integers", key, counter, scalar(start, dt.int64), scalar(count & _MASK, dt.uint64),
                        dtype=dtype, shape=shape, large=count >= 1 << 32)


def _integer_limits(dtype: DType) -> tuple[int, int]:
    """The integers that a draw into ``dtype`` may give."""
    if dtype.is_floating_point:
        limit = float(np.float64(math.ldexp(1, 127))) if dtype is not dt.float16 else 65504.0
        return int(max(-limit, -float(1 << 63))), int(min(limit, float(1 << 63)))
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def _randint_arguments(name: str, args: tuple, low: Any, high: Any, size: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """(low, high, shape) of ``randint(high, size)`` and ``randint(low, high, size)``."""
    rest = list(args)
    if size is None and rest and isinstance(rest[-1], (tuple, list)):
        size = rest.pop()
    if len(rest) == 2:
        low, high = rest
    elif len(rest) == 1:
        low, high = (low, rest[0]) if high is None else (rest[0], high)
    if high is None or size is None or len(rest) > 2:
        raise TypeError(f"{name}() received an invalid combination of arguments: expected (high, size) or (low, high, "
                        f"size). Received: {args!r}")
    return low, high, size_argument(name, (tuple(size),))


def randint(*args: Any, low: Any = 0, high: Any = None, size: Any = None, generator: Generator | None = None,
            out: Any = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False, pin_memory: bool = False) -> Any:
    """Uniform integers from ``low`` (0) to ``high - 1``: ``randint(high, size)``, ``randint(low, high, size)``.

    torch: ``randint``.
    """
    check_dtype("randint", dtype)
    check_device(device)
    low, high, shape = _randint_arguments("randint", args, low, high, size)
    dtype = chosen(dtype, out, dt.int64)
    made = finish(_integers("randint", low, high, dtype, shape, generator), requires_grad)
    return made if out is None else into(out, made)


def randint_like(input: Any, *args: Any, low: Any = 0, high: Any = None, generator: Generator | None = None,
                 dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                 memory_format: Any = None) -> Any:
    """Uniform integers of the shape and dtype of ``input``. torch: ``randint_like``."""
    t = type_of("randint_like", input)
    low, high, shape = _randint_arguments("randint_like", args, low, high, t.shape)
    return finish(_integers("randint_like", low, high, dtype or t.dtype, shape, generator), requires_grad)


def randperm(n: int, *, generator: Generator | None = None, out: Any = None, dtype: DType | None = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Any:
    """The numbers 0 ... n - 1 in random order. torch: ``randperm``."""
    check_dtype("randperm", dtype)
    check_device(device)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    dtype = chosen(dtype, out, dt.int64)
    key, counter = stream(generator)
    made = finish(BUILDER.cast(BUILDER.call("random_permutation", key, counter, n=int(n)), dtype), requires_grad)
    return made if out is None else into(out, made)


def _parameter(name: str, p: Any, dtype: DType, shape: tuple[int, ...]) -> Any:
    """A parameter of a draw: a number, or a tensor broadcast to the shape."""
    if p.__class__ not in TENSOR_CLASSES:
        return p
    wide = BUILDER.cast(p._read(), compute_type(dtype))
    if wide.type.shape not in ((), shape):
        wide = BUILDER.expand(wide, shape)
    return wide


def _common_shape(*parameters: Any) -> tuple[int, ...]:
    shapes = [p._read().type.shape for p in parameters if p.__class__ in TENSOR_CLASSES]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError("the shapes of the parameters do not broadcast together. "
                         f"Received: {' and '.join(str(list(s)) for s in shapes)}") from None


def _check_std(std: Any) -> None:
    if std.__class__ not in TENSOR_CLASSES and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, out: Any = None,
           dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """Normal numbers: ``mean`` and ``std`` are numbers (with ``size``) or tensors that broadcast together.

    torch: ``normal``.
    """
    check_dtype("normal", dtype)
    check_device(device)
    _check_std(std)
    tensors = [p for p in (mean, std) if p.__class__ in TENSOR_CLASSES]
    if tensors:
        found = dtype or tensors[0]._value.type.dtype
        shape = _common_shape(mean, std) if size is None else size_argument("normal", (size,))
    elif size is None:
        raise TypeError("normal() needs tensors for mean or std, or a size. "
                        f"Received: mean={mean!r}, std={std!r}")
    else:
        found, shape = chosen(dtype, out), size_argument("normal", (size,))
    if found.is_complex:
        value = _complex_draw("random_normal", found, shape, generator, float(std) * math.sqrt(0.5))
        return finish(BUILDER.add(value, BUILDER.full(mean, found, shape)), requires_grad)
    parameters = [_parameter("normal", p, found, shape) for p in (mean, std)]
    made = finish(draw("random_normal", found, shape, generator, *parameters), requires_grad)
    return made if out is None else into(out, made)


def _probability(p: Any) -> Any:
    """A number as a scalar, a tensor with a check that it lies in [0, 1]."""
    if p.__class__ not in TENSOR_CLASSES:
        if not 0.0 <= p <= 1.0:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        return scalar(float(p), dt.float32)
    b, v = BUILDER, p._read()
    if not v.type.dtype.is_floating_point:
        raise DTypeError(f"bernoulli expects probabilities of a floating point dtype. Received: {v.type.dtype.name}")
    v = b.cast(v, compute_type(v.type.dtype))
    inside = b.and_(b.ge(v, b.full_like(v, 0)), b.le(v, b.full_like(v, 1)))
    return b.check(inside, v, "Expected p_in >= 0 && p_in <= 1 to be true: bernoulli takes probabilities in [0, 1]")


def bernoulli(input: Any, p: Any = None, *, generator: Generator | None = None, out: Any = None) -> Any:
    """1 with the probability that ``input`` says (or ``p`` everywhere), else 0; in the dtype of ``input``.

    torch: ``bernoulli``.
    """
    t = type_of("bernoulli", input)
    probability = _probability(input if p is None else p)
    key, counter = stream(generator)
    made = wrap(BUILDER.call("random_bernoulli", key, counter, probability, dtype=t.dtype, shape=t.shape))
    return made if out is None else into(out, made)


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None,
                out: Any = None) -> Any:
    """``num_samples`` indices per row, with probabilities in proportion to the row's weights.

    Args:
        input: weights, (n,) or (m, n), finite and not negative.
        replacement: may an index be drawn again? Without it, the order is that of drawing one after the other.

    Returns:
        int64 (num_samples,) or (m, num_samples).

    torch: ``multinomial``.
    """
    t = type_of("multinomial", input)
    if t.ndim not in (1, 2):
        raise ShapeError(f"prob_dist must be 1 or 2 dim. Received: shape {list(t.shape)}")
    if not t.dtype.is_floating_point:
        raise DTypeError(f"multinomial only supports floating-point dtypes for input, got: {t.dtype.name}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > t.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement. "
                           f"Received: {num_samples} samples of {t.shape[-1]} weights")
    b = BUILDER
    w = b.cast(input._read(), dt.float64)
    w = b.check(b.and_(b.ge(w, b.full_like(w, 0)), b.lt(w, b.full_like(w, math.inf))), w,
                "probability tensor contains either `inf`, `nan` or element < 0")
    pick = _with_replacement if replacement else _without_replacement
    made = wrap(pick(w, int(num_samples), generator))
    return made if out is None else into(out, made)


def _with_replacement(w: Value, n: int, generator: Generator | None) -> Value:
    """The number of partial sums that a uniform share of the total exceeds."""
    b = BUILDER
    axis, k = w.type.ndim - 1, w.type.shape[-1]
    rows = w.type.shape[:-1]
    sums = b.scan("cumsum", w, axis)
    total = b.reduce_max(sums, (axis,))
    total = b.check(b.lt(b.full_like(total, 0), total), total,
                    "invalid multinomial distribution (sum of probabilities <= 0)")
    u = draw("random_uniform", dt.float64, (*rows, n), generator)
    mark = b.mul(u, b.keep_axes(total, (axis,), u.type.shape))
    last = b.lt(sums, b.keep_axes(total, (axis,), sums.type.shape))  # not counted: at most the last weight > 0
    full = (*rows, n, k)
    below = b.le(b.expand(b.reshape(sums, (*rows, 1, k)), full), b.expand(b.reshape(mark, (*rows, n, 1)), full))
    below = b.and_(below, b.expand(b.reshape(last, (*rows, 1, k)), full))
    return b.reduce_sum(b.cast(below, dt.int64), (axis + 1,))


def _without_replacement(w: Value, n: int, generator: Generator | None) -> Value:
    """The first arrivals of exponential clocks that run at the rates ``w`` (Efraimidis and Spirakis, 2006)."""
    b = BUILDER
    axis = w.type.ndim - 1
    some = b.reduce_sum(b.cast(b.lt(b.full_like(w, 0), w), dt.int64), (axis,))
    w = b.check(b.le(b.full_like(some, n), some), w,
                "invalid multinomial distribution (with replacement=False, not enough non-negative category to sample)")
    e = draw("random_exponential", dt.float64, w.type.shape, generator, 1.0)
    order = b.sort(b.div(e, w), axis)[1]
    starts = (0,) * w.type.ndim
    return b.slice(order, starts, (*w.type.shape[:-1], n))


def poisson(input: Any, generator: Generator | None = None) -> Any:
    """Poisson numbers with the rates ``input``, in its dtype. torch: ``poisson``."""
    t = type_of("poisson", input)
    if not t.dtype.is_floating_point:
        raise NotImplementedError(f'"poisson_cpu" not implemented for {t.dtype.name!r}')
    b = BUILDER
    rate = b.cast(input._read(), dt.float64)
    rate = b.check(b.le(b.full_like(rate, 0), rate), rate, "invalid Poisson rate, expected rate to be non-negative")
    key, counter = stream(generator)
    return wrap(b.cast(b._("custom", key, counter, rate, attrs=("gemel::poisson", ()))[0], t.dtype))


# --- in place ------------------------------------------------------------------------------------

def _fill(name: str, self: Any, generator: Generator | None, *parameters: Any) -> Any:
    t = self._read().type
    return self._write(wrap(draw(name, t.dtype, t.shape, generator, *parameters)))


class RandomMethods:
    """Methods of ``Tensor`` defined in this module."""

    __slots__ = ()
    bernoulli = bernoulli
    multinomial = multinomial

    def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None,
                 **bounds: float) -> Any:
        """Fill with uniform numbers on [from, to). torch: ``Tensor.uniform_``."""
        low = bounds.pop("from", from_)
        if bounds:
            raise TypeError(f"uniform_() got unexpected arguments {sorted(bounds)}")
        if not low <= to:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
        t = self._read().type
        if (low, to) == (0.0, 1.0):
            return self._write(wrap(_of("random_uniform", t.dtype, t.shape, generator)))
        return _fill("random_uniform", self, generator, low, to - low)

    def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with normal numbers. torch: ``Tensor.normal_``."""
        _check_std(std)
        t = self._read().type
        return self._write(normal(mean, std, t.shape, generator=generator, dtype=t.dtype))

    def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Any:
        """Fill with e^z, z normal. torch: ``Tensor.log_normal_``."""
        if not std > 0:
            raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
        return _fill("random_log_normal", self, generator, mean, std)

    def exponential_(self: Any, lambd: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with exponential numbers of rate ``lambd``. torch: ``Tensor.exponential_``."""
        if not lambd > 0:
            raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
        return _fill("random_exponential", self, generator, lambd)

    def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Any:
        """Fill with Cauchy numbers. torch: ``Tensor.cauchy_``."""
        if not sigma > 0:
            raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
        return _fill("random_cauchy", self, generator, median, sigma)

    def geometric_(self: Any, p: float, *, generator: Generator | None = None) -> Any:
        """Fill with numbers of trials up to the first success of probability ``p``. torch: ``Tensor.geometric_``."""
        if not 0 < p < 1:
            raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
        t = self._read().type
        dtype = t.dtype if t.dtype.is_floating_point else dt.float64
        made = draw("random_geometric", dtype, t.shape, generator, -1.0 / math.log1p(-p))
        return self._write(wrap(BUILDER.cast(made, t.dtype)))

    def bernoulli_(self: Any, p: Any = 0.5, *, generator: Generator | None = None) -> Any:
        """Fill with 1 where a draw of probability ``p`` (a number or a tensor) succeeds, else 0.

        torch: ``Tensor.bernoulli_``.
        """
        t = self._read().type
        probability = _probability(p)
        if probability.type.shape not in ((), t.shape):
            probability = BUILDER.expand(probability, t.shape)
        key, counter = stream(generator)
        drawn = BUILDER.call("random_bernoulli", key, counter, probability, dtype=t.dtype, shape=t.shape)
        return self._write(wrap(drawn))

    def random_(self: Any, *bounds: Any, generator: Generator | None = None, **named: Any) -> Any:
        """Fill with integers: ``random_()``, ``random_(to)``, ``random_(from, to)``; up to what the dtype holds.

        torch: ``Tensor.random_``.
        """
        t = self._read().type
        low, high = _random_bounds(bounds, named, t.dtype)
        return self._write(wrap(_integers("random_", low, high, t.dtype, t.shape, generator)))


_DIGITS = {dt.float64: 53, dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}


def _random_bounds(bounds: tuple, named: dict[str, Any], dtype: DType) -> tuple[int, int]:
    """(low, high) of a call of ``random_``."""
    given = [*bounds, *(named[n] for n in ("from", "to") if n in named)]
    if len(given) == 2:
        low, high = given
        if high is not None:
            return low, high
        given = []
        return low, _default_top(dtype)
    return (0, given[0]) if given else (0, _default_top(dtype))


def _default_top(dtype: DType) -> int:
    """One more than the largest integer that ``random_()`` draws."""
    if dtype.is_floating_point:
        return (1 << _DIGITS[dtype]) + 1
    return 2 if dtype.kind == "b" else int(np.iinfo(dtype.numpy).max) + (dtype is not dt.int64)
