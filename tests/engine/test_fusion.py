"""What fusion must not do."""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.ir.types import tensor_type
from tests.plans import Native, check, interpret, program, same_bits


@pytest.mark.parametrize("tier", ["0", "1"])
@pytest.mark.parametrize("taps", [2, 3, 5])
def test_a_value_needed_at_several_places_is_not_absorbed_at_one(taps, tier):
    x = np.arange(6 * 17, dtype=np.float32).reshape(6, 17)
    with override(TIER=tier):
        doubled = gemel.tensor(x) * 2
        total = doubled[:, 0:10]
        for at in range(1, taps):
            total = total + doubled[:, at:at + 10]
        found = total.numpy()
    np.testing.assert_array_equal(found, sum(2 * x[:, at:at + 10] for at in range(taps)))


F8, F3 = tensor_type(dt.float32, (8,)), tensor_type(dt.float32, (3,))


def _window(b, x, at):
    return b.slice(x, (2,), (5,))


def _computed_window(b, x, at):
    return b.dynamic_slice(x, [at], (3,), (1,))


@pytest.mark.parametrize("window", [_window, _computed_window])
@pytest.mark.parametrize("also", ["output", "view", "reader", "write", "state"])
def test_a_value_that_others_need_whole_is_not_computed_in_part(window, also):
    """``a`` is read twice through a window, so that it would fit into the loops of the window's readers."""
    def body(b, x, y, at):
        a = b.neg(x)
        part = window(b, a, at)
        c = b.select(b.lt(part, y), part, y)
        if also == "output":
            return c, a
        if also == "view":
            return c, b.flip(a, (0,))
        if also == "reader":
            return c, b.reduce_sum(a, (0,))
        if also == "write":
            return c, b.dynamic_update(a, c, [at], (1,))
        loop = program([tensor_type(dt.int64), F8], lambda b, i, s: (b.mul(s, s),))
        return c, b.loop(loop, 2, [a], [])[0]
    p = program([F8, F3, tensor_type(dt.int64)], body)
    arrays = [np.arange(8, dtype=np.float32) - 4, np.ones(3, np.float32), np.asarray(2)]
    _, one = check(p, arrays)
    assert same_bits(one.outputs[1], interpret(p, arrays)[1])


def test_a_value_that_only_the_window_needs_is_computed_in_part():
    def body(b, x, y):
        part = b.slice(b.neg(x), (2,), (5,))
        return b.select(b.lt(part, y), part, y)
    _, one = check(program([F8, F3], body), [np.arange(8, dtype=np.float32) - 4, np.ones(3, np.float32)])
    assert len(one.kernels) == 1


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16, dt.float32, dt.float64], ids=str)
@pytest.mark.parametrize("exponent", [-24, -20, -15, -14, -2, 3, 14, 15])
def test_division_by_a_power_of_two(dtype, exponent):
    """It becomes a product only where the reciprocal is a number of the dtype."""
    x = np.ldexp(np.array([1, 1.5, -3, 0, 1023, 1.25]), np.array([exponent, exponent - 1, exponent + 2, 0, 4, 9]))
    x = np.clip(x, -60000, 60000)
    p = program([tensor_type(dtype, (6,))], lambda b, v: b.div(v, b.full_like(v, 2.0 ** exponent)))
    check(p, [x.astype(dtype.numpy)])


def test_complex_numbers_times_one_keep_their_rules():
    """(1 - 0i) * 1 is 1 + 0i."""
    x = np.array([complex(1, -0.0), complex(-0.0, 2), complex(np.inf, 1)], np.complex64)
    p = program([tensor_type(dt.complex64, (3,))],
                lambda b, v: (b.mul(v, b.full_like(v, 1)), b.sub(v, b.full_like(v, 0))))
    check(p, [x], host=True)


@pytest.mark.parametrize("n", [3, 40, 300])
@pytest.mark.parametrize("needed", ["after", "before and after", "after twice"])
def test_a_costly_value_that_only_a_later_phase_needs(needed, n):
    """It is computed there: no earlier walk over the row has kept it."""
    def body(b, x, z):
        def spread(v):
            return b.expand(b.reshape(v, (2, 1)), (2, n))
        e = b.exp(z)
        total = b.reduce_sum(b.add(x, e) if needed == "before and after" else x, (1,))
        scaled = b.mul(spread(total), e)
        if needed != "after twice":
            return scaled
        return b.mul(spread(b.reduce_max(scaled, (1,))), e)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, n)).astype(np.float32) for _ in range(2)]
    _, one = check(program([tensor_type(dt.float32, (2, n))] * 2, body), arrays, ulps=8)
    assert len(one.kernels) == 1


@pytest.mark.parametrize("write", ["cast", "neg"])
def test_a_value_computed_where_it_is_used_is_not_skipped_as_a_copy(write):
    """Its operand's memory becomes the result's: only a real copy has nothing to do then."""
    def body(b, x, at):
        y = b.cast(x, dt.int64) if write == "cast" else b.neg(x)
        empty = b.zeros(tensor_type(y.type.dtype, (0,)))
        return b.dynamic_update(y, empty, [at], (1,))
    p = program([tensor_type(dt.float64, (1,)), tensor_type(dt.int64)], body)
    arrays = [np.array([0.43]), np.asarray(0)]
    for fused in (False, True):
        found = Native(p, arrays, fused, donate=(0,))
        assert same_bits(found.outputs[0], interpret(p, arrays)[0])


def test_a_copy_of_a_view_that_has_been_copied_is_no_part_of_its_source():
    """``d`` needs a copy of what is itself copied from the loops in which ``d`` would otherwise be computed."""
    def body(b, x):
        a = b.copy(b.reshape(x, (3, 1, 2)))
        wide = b.reshape(b.sqrt(b.reshape(a, (1, 3, 2))), (2, 3))
        c = b.copy(wide)
        diagonal = b.slice(b.reshape(b.permute(wide, (1, 0)), (6,)), (0,), (4,), (3,))
        d = b.add(b.reshape(a, (3, 2)), b.expand(diagonal, (3, 2)))
        return a, wide, c, d
    p = program([tensor_type(dt.float64, (6,))], body)
    arrays = [np.arange(6.0)]
    _, one = check(p, arrays)
    for got, want in zip(one.outputs, interpret(p, arrays), strict=True):
        assert same_bits(got, want)


@pytest.mark.parametrize("fused", [False, True])
def test_what_is_read_in_every_iteration_gives_its_memory_to_nothing_there(fused):
    """The results have the size of the innermost of the axes that are summed over, not of all of them."""
    def body(b, x, y, z):
        total = b.reduce_sum(b.neg(x), (0, 1))
        a = b.mul(b.expand(total, (2,)), y)
        return a, b.select(b.lt(z, a), a, z)
    p = program([tensor_type(dt.float64, (4, 2)), *[tensor_type(dt.float64, (2,))] * 2], body)
    arrays = [np.arange(8.0).reshape(4, 2), np.array([0.5, 2.0]), np.array([-1.5, -700.0])]
    found = Native(p, arrays, fused, donate=(2,))
    for got, want in zip(found.outputs, interpret(p, arrays), strict=True):
        assert same_bits(got, want)


def test_random_bits_are_not_computed_at_a_runtime_start():
    def body(b, key, counter, at):
        bits = b.random_bits(key, counter, dt.uint32, (8,))
        part = b.dynamic_slice(bits, [at], (1,), (2,))
        return b.neg(part), b.lt(b.neg(part), part)
    u64 = tensor_type(dt.uint64)
    p = program([u64, u64, tensor_type(dt.int64)], body)
    arrays = [np.asarray(808102392338233440, np.uint64), np.asarray(4094054945990137305, np.uint64), np.asarray(8)]
    _, one = check(p, arrays)
    for got, want in zip(one.outputs, interpret(p, arrays), strict=True):
        assert same_bits(got, want)


def test_a_start_that_can_only_be_one_place_is_not_computed():
    """The window is as long as its axis, so that nothing reads the start, which comes from constants alone."""
    def body(b, x, at):
        start = b.argmax(b.expand(b.const(0, dt.int64), (257,)), 0)
        return b.reshape(b.dynamic_slice(x, [b.const(4, dt.int64), start, at], (4, 8, 3), (2, 1, 1)), (16, 2, 3))
    p = program([tensor_type(dt.float32, (8, 8, 8)), tensor_type(dt.int64)], body)
    arrays = [np.arange(512, dtype=np.float32).reshape(8, 8, 8), np.asarray(2)]
    for found in check(p, arrays):
        for got, want in zip(found.outputs, interpret(p, arrays), strict=True):
            assert same_bits(got, want)


@pytest.mark.parametrize("dtype", [dt.int8, dt.float32], ids=str)
def test_a_kept_value_that_is_the_same_in_every_lane(dtype):
    """The index of ``take`` does not move along the row, so that a row has one element, which a later phase needs."""
    def body(b, x, index):
        taken = b.take(x, index, 2)
        least = b.expand(b.reshape(b.reduce_min(taken, (1, 2)), (5, 1, 1)), (5, 8, 16))
        return b.sub(b.abs(taken), least)
    p = program([tensor_type(dtype, (5, 8, 7)), tensor_type(dt.int32, (16,))], body)
    numbers = np.random.default_rng(0).integers(-100, 100, (5, 8, 7)).astype(dtype.numpy)
    arrays = [numbers, np.broadcast_to(np.array([1], np.int32), (16,))]
    _, one = check(p, arrays)
    assert same_bits(one.outputs[0], interpret(p, arrays)[0])


@pytest.mark.parametrize("fused", [False, True])
def test_an_empty_part_of_a_reshaped_value_is_flipped(fused):
    """Its only position is -1, which no size explains."""
    def body(b, x):
        return (b.flip(b.slice(b.reshape(x, (6,)), (1,), (1,)), (0,)),)
    p = program([tensor_type(dt.float32, (2, 3, 1))], body)
    assert Native(p, [np.ones((2, 3, 1), np.float32)], fused).outputs[0].shape == (0,)


M64 = tensor_type(dt.float32, (64, 64))


@pytest.mark.parametrize("also", ["", "permuted", "broadcast", "chain", "output", "reader", "operand", "reduced"])
def test_what_only_an_epilogue_needs_is_computed_there(also):
    """The momentum of an optimizer's step: scaled where the product that is added to it is made."""
    def body(b, x, y, m, s):
        a = b.mul(m, b.expand(s, (64, 64)))
        z = b.dot(x, y, (1,), (0,))
        others = ()
        if also == "permuted":
            a = b.permute(a, (1, 0))
        elif also == "broadcast":
            a = b.expand(b.reshape(b.slice(a, (0, 0), (1, 64)), (64,)), (64, 64))
        elif also == "chain":
            a = b.exp(b.sub(a, y))
        elif also == "output":
            others = (a,)
        elif also == "reader":
            others = (b.reduce_sum(a, (0,)),)
        elif also == "operand":
            z = b.dot(a, y, (1,), (0,))
        elif also == "reduced":
            a = b.expand(b.reshape(b.reduce_sum(a, (1,)), (64, 1)), (64, 64))
        return b.add(a, z), *others
    p = program([M64, M64, M64, tensor_type(dt.float32)], body)
    rng = np.random.default_rng(0)
    arrays = [*(rng.standard_normal((64, 64)).astype(np.float32) / 8 for _ in range(3)), np.float32(0.9)]
    _, one = check(p, arrays, ulps=2 if also == "chain" else 0)
    alone = [name for name in one.kernels if not name.startswith("gemm")]
    assert len(alone) == (also in ("broadcast", "output", "reader", "operand", "reduced")), one.kernels
    given = Native(p, arrays, True, donate=(2,), updates={0: 2}, scalars=1)
    assert same_bits(given.outputs[0], one.outputs[0])


def test_an_epilogue_that_splits_a_product_into_too_many_dimensions_is_done_apart():
    """The scores of an image's windows, written back to where the windows lie in it, onto the image."""
    def body(b, q, image):
        scores = b.dot(q, q, (5,), (5,), (0, 1, 2, 3), (0, 1, 2, 3))  # images, windows down, across, heads, 16, 16
        put_back = b.permute(b.reshape(scores, (2, 3, 5, 2, 4, 4, 16)), (0, 3, 1, 4, 2, 5, 6))
        return (b.add(b.reshape(put_back, (2, 2, 12, 20, 16)), image),)
    p = program([tensor_type(dt.float32, (2, 3, 5, 2, 16, 8)), tensor_type(dt.float32, (2, 2, 12, 20, 16))], body)
    rng = np.random.default_rng(0)
    _, one = check(p, [rng.standard_normal(v.shape).astype(np.float32) for v in p.inputs])
    assert [name for name in one.kernels if name.startswith("point")], one.kernels
