"""Schedule of ``sort``: stable, values and source indices, NaN as the largest value.

In: a ``sort`` equation. Out: one call, a task per row. An element becomes an unsigned key whose order is the sort's
(equal values have equal keys; a descending sort complements it). Keys of up to 32 bits travel with their index in
one 64-bit word, so that words are unique and stability costs nothing; wider keys are pairs of words. Short rows
are merged from below; long ones go through a radix sort of 8-bit digits that skips the digits all keys share.
Values are picked from the source by index at the end.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..base import dtypes as dt
from ..base.dtypes import DType
from ..base.target import Target
from .calls import Call, KernelSpec, Operand, Temp
from .elementwise import load_element, memory_type, register_type, store_element
from .group import Group
from .ir import I64, KernelBuilder, Type, Val
from .rowwise.schedule import Context, share
from .strided import parts

RADIX_FROM = 512         # shorter rows are merged
SCRATCH = 1 << 20        # bytes of a row's words that fit into the thread's scratch memory
RADIX = 256


@dataclass(frozen=True)
class _Sort:
    """Structure of a kernel: element type, order, and where the words lie."""

    dtype: DType
    descending: bool
    in_scratch: bool

    @property
    def packed(self) -> bool:
        """Do key and index share a word?"""
        return self.dtype.bits <= 32

    @property
    def arrays(self) -> int:
        """Arrays of words: two (from, to), or two of keys and two of indices."""
        return 2 if self.packed else 4


def schedule_sort(g: Group, context: Context) -> list[Call]:
    """The call of a sort."""
    e = g.anchor
    assert e is not None
    x, axis = e.inputs[0], e.op.attrs.axis
    if not x.type.size:
        return []
    source = parts(context, x, axis, axis + 1, dense_inner=False)
    lead, n, inner = source.sizes
    rows = lead * inner
    row_bytes = 8 * n * (2 if x.type.dtype.bits <= 32 else 4)
    sort = _Sort(x.type.dtype, e.op.attrs.descending, row_bytes <= SCRATCH)
    merges = max(0, (n - 1).bit_length())
    params = [n, inner, *source.strides, merges, int(n >= RADIX_FROM)]
    operands = [source.operand, *map(Operand, e.outputs)]
    if not sort.in_scratch:
        operands.append(Operand(Temp(rows * row_bytes)))
    work, nbytes = x.type.size * (merges + 1), 3 * x.type.nbytes
    order = "descending" if sort.descending else "ascending"
    call = Call(KernelSpec(f"sort_{order}_{sort.dtype.ir}", ("sort", sort),
                           lambda symbol, target: _Rows(symbol, target, sort).kernel),
                operands, params, rows, share(rows, work, nbytes, context.threads),
                tuple(range(1, len(operands))), (), work, nbytes)
    return [*source.calls, call]


class _Rows:
    """Writes the kernel."""

    def __init__(self, symbol: str, target: Target, sort: _Sort) -> None:
        k = self.k = KernelBuilder(symbol, target.native)
        self.sort = sort
        self.source, self.values, self.indices = k.arg(0), k.arg(1), k.arg(2)
        self.space = k.scratch if sort.in_scratch else k.arg(3)
        self.n, self.inner, self.x_lead, self.x_step, self.x_inner, self.merges, self.long = (
            k.param(i) for i in range(7))
        self.counts = k.stack("i64", RADIX)
        k.loop(k.begin, k.end, 1, body=self.row)
        self.kernel = k.finish()

    def row(self, t: Val) -> None:
        k, n = self.k, self.n
        lead = k.udiv(t, self.inner)
        beside = t - lead * self.inner
        self.x0 = lead * self.x_lead + beside * self.x_inner
        self.y0 = lead * (n * self.inner) + beside
        first = k.i64(0) if self.sort.in_scratch else t * (n * self.sort.arrays)
        words = [k.offset(k.offset(self.space, first, "i64"), n * i, "i64") for i in range(self.sort.arrays)]
        half = self.sort.arrays // 2
        here, there = tuple(words[:half]), tuple(words[half:])
        k.loop(0, n, 1, body=lambda i: self.fill(i, here))
        sorted_ = k.if_(k.compare("ne", self.long, k.i64(0)),
                        lambda: self.radix(here, there), lambda: self.merge(here, there))
        k.loop(0, n, 1, body=lambda i: self.finish(i, sorted_))

    # --- keys
    def fill(self, i: Val, words: tuple[Val, ...]) -> None:
        k, key = self.k, self.key(i)
        if self.sort.packed:
            k.store(k.or_(k.shl(key, k.i64(32)), i), k.offset(words[0], i, "i64"))
            return
        k.store(key, k.offset(words[0], i, "i64"))
        k.store(i, k.offset(words[1], i, "i64"))

    def key(self, i: Val) -> Val:
        """The unsigned key of element ``i``, widened to 64 bits."""
        k, dtype = self.k, self.sort.dtype
        place = k.offset(self.source, self.x0 + i * self.x_step, memory_type(dtype))
        x = load_element(k, dtype, place)
        width = max(8, Type(register_type(dtype)).bits)
        elem = f"i{width}"
        if dtype.kind == "f":
            bits = self.float_key(x, elem)
        elif dtype is dt.bool_:
            bits = k.convert("zext", x, "i8")
        else:
            bits = k.xor(x, k.const(1 << (width - 1), x.type)) if dtype.kind == "i" else x
        if self.sort.descending:
            bits = k.xor(bits, k.const(-1, bits.type))
        return k.convert("zext", bits, "i64")

    def float_key(self, x: Val, elem: str) -> Val:
        """Negative numbers complemented, positive ones above them; -0 is 0; every NaN is the largest key."""
        k, bits = self.k, Type(elem).bits
        zero = k.compare("oeq", x, k.const(0.0, x.type))
        raw = k.bitcast(k.select(zero, k.const(0.0, x.type), x), elem)
        sign = k.ashr(raw, k.const(bits - 1, raw.type))
        key = k.xor(raw, k.or_(sign, k.const(1 << (bits - 1), raw.type)))
        return k.select(k.compare("uno", x, x), k.const(-1, raw.type), key)

    # --- short rows
    def merge(self, here: tuple[Val, ...], there: tuple[Val, ...]) -> tuple[Val, ...]:
        """Merge runs of 1, 2, 4, ... from one set of arrays to the other; where the result lies."""
        k = self.k
        half = len(here)

        def level(p: Val, *arrays: Val) -> list[Val]:
            source, target = arrays[:half], arrays[half:]
            width = k.shl(k.i64(1), p)
            k.loop(0, self.n, width + width, body=lambda lo: self.runs(lo, width, source, target))
            return [*target, *source]

        return k.loop(0, self.merges, 1, [*here, *there], level)[:half]

    def runs(self, lo: Val, width: Val, source: tuple[Val, ...], target: tuple[Val, ...]) -> None:
        """Merge the runs at ``lo`` and ``lo + width`` without branches; the earlier run wins a tie."""
        k = self.k
        middle, end = k.smin(lo + width, self.n), k.smin(lo + width + width, self.n)
        one = k.i64(1)

        def step(at: Val, left: Val, right: Val) -> list[Val]:
            a = k.load(k.offset(source[0], k.smin(left, middle - one), "i64"), I64)
            b = k.load(k.offset(source[0], k.smin(right, end - one), "i64"), I64)
            done = k.compare("sge", right, end)
            first = k.and_(k.compare("slt", left, middle), k.or_(done, k.compare("ule", a, b)))
            k.store(k.select(first, a, b), k.offset(target[0], at, "i64"))
            if len(source) > 1:
                k.store(k.load(k.offset(source[1], k.select(first, left, right), "i64"), I64),
                        k.offset(target[1], at, "i64"))
            taken = k.convert("zext", first, "i64")
            return [left + taken, right + (one - taken)]

        k.loop(lo, end, 1, [lo, middle], step, nonempty=True)

    # --- long rows
    def radix(self, here: tuple[Val, ...], there: tuple[Val, ...]) -> tuple[Val, ...]:
        """Digits of 8 bits from the lowest; where the result lies."""
        k, half = self.k, len(here)
        lowest = 32 if self.sort.packed else 0
        bits = max(8, Type(register_type(self.sort.dtype)).bits)

        def digit(p: Val, *arrays: Val) -> list[Val]:
            source, target = arrays[:half], arrays[half:]
            shift = k.shl(p, k.i64(3)) + lowest
            self.count(source[0], shift)
            some = self.digit_of(k.load(source[0], I64), shift)
            alike = k.compare("eq", k.load(k.offset(self.counts, some, "i64"), I64), self.n)

            def move() -> list[Val]:
                self.distribute(source, target, shift)
                return [*target, *source]

            return list(k.if_(alike, lambda: [*source, *target], move))

        return k.loop(0, bits // 8, 1, [*here, *there], digit)[:half]

    def digit_of(self, word: Val, shift: Val) -> Val:
        return self.k.and_(self.k.lshr(word, shift), self.k.i64(RADIX - 1))

    def count(self, source: Val, shift: Val) -> None:
        """How often each digit occurs."""
        k = self.k
        k.loop(0, RADIX, 8, body=lambda i: k.store(k.const(0, Type("i64", 8)), k.offset(self.counts, i, "i64")))

        def one(i: Val) -> None:
            place = k.offset(self.counts, self.digit_of(k.load(k.offset(source, i, "i64"), I64), shift), "i64")
            k.store(k.load(place, I64) + 1, place)

        k.loop(0, self.n, 1, body=one)

    def distribute(self, source: tuple[Val, ...], target: tuple[Val, ...], shift: Val) -> None:
        """Counts become first places, then every word goes to its digit's next place."""
        k = self.k

        def start(d: Val, before: Val) -> list[Val]:
            place = k.offset(self.counts, d, "i64")
            n = k.load(place, I64)
            k.store(before, place)
            return [before + n]

        k.loop(0, RADIX, 1, [k.i64(0)], start)

        def one(i: Val) -> None:
            word = k.load(k.offset(source[0], i, "i64"), I64)
            place = k.offset(self.counts, self.digit_of(word, shift), "i64")
            at = k.load(place, I64)
            k.store(at + 1, place)
            k.store(word, k.offset(target[0], at, "i64"))
            if len(source) > 1:
                k.store(k.load(k.offset(source[1], i, "i64"), I64), k.offset(target[1], at, "i64"))

        k.loop(0, self.n, 1, body=one)

    # --- results
    def finish(self, i: Val, words: tuple[Val, ...]) -> None:
        k, dtype = self.k, self.sort.dtype
        index = k.load(k.offset(words[-1], i, "i64"), I64)
        if self.sort.packed:
            index = k.and_(index, k.i64(0xFFFFFFFF))
        at = self.y0 + i * self.inner
        elem = memory_type(dtype)
        x = load_element(k, dtype, k.offset(self.source, self.x0 + index * self.x_step, elem))
        store_element(k, dtype, x, k.offset(self.values, at, elem))
        k.store(index, k.offset(self.indices, at, "i64"))
