"""The table of primitives: one row each, with its type rule and meaning in a sentence.

What a primitive *does* is in ``interpreter/``; its derivative and batching rules are in ``autodiff/``; its
native form in ``loops/``. A test fails when a row lacks any of them. Elementwise operands have one shape and
dtype; floats of 16 bits round after every op; integers wrap; integer division and float-to-int casts are total.
"""
from __future__ import annotations

from . import rules as r
from .op import KINDS, Row

ROWS: dict[str, Row] = {}


def register(row: Row) -> Row:
    """Add a row to the table; names are unique and kinds known."""
    if row.name in ROWS or row.kind not in KINDS:
        raise ValueError(f"row {row.name!r}: name taken or kind {row.kind!r} unknown")
    ROWS[row.name] = row
    return row


def _rows(kind: str, arity: int, infer, names_and_docs: dict[str, str], attrs: tuple[str, ...] = (),
          n_outputs: int = 1) -> None:
    for name, doc in names_and_docs.items():
        register(Row(name, kind, arity, infer, attrs, doc, n_outputs))


# --- leaves
_rows("leaf", 0, r.const, {"const": "a compile-time constant: raw little-endian `data` of `type`"}, ("type", "data"))
_rows("leaf", 0, r.iota, {"iota": "the index along `axis`"}, ("dtype", "shape", "axis"))
_rows("leaf", 2, r.random_bits, {
    "random_bits": "Philox4x32-10 of (key; counter, logical index): words 0 (u32) or 0 and 1 (u64)",
}, ("dtype", "shape"))

# --- unary
_rows("unary", 1, r.like_operand("fiuc"), {"neg": "-x", "sign": "-1, 0 or 1; 0 for NaN, as torch; complex: x/|x|"})
_rows("unary", 1, r.absolute, {"abs": "|x|"})
_rows("unary", 1, r.like_operand("f"), {
    "floor": "largest integer <= x", "ceil": "smallest integer >= x", "trunc": "towards zero",
    "round": "nearest integer, halves to even",
    "erf": "error function", "erfinv": "inverse error function on (-1, 1)",
    "lgamma": "log |gamma(x)|", "digamma": "derivative of lgamma",
})
_rows("unary", 1, r.like_operand("fc"), {
    "sqrt": "square root, correctly rounded", "rsqrt": "1 / sqrt(x), as two rounded operations",
    "exp": "e^x", "exp2": "2^x", "expm1": "e^x - 1", "log": "natural logarithm", "log2": "base-2 logarithm",
    "log1p": "log(1 + x)",
    "sin": "sine", "cos": "cosine", "tan": "tangent", "asin": "arc sine", "acos": "arc cosine", "atan": "arc tangent",
    "sinh": "hyperbolic sine", "cosh": "hyperbolic cosine", "tanh": "hyperbolic tangent",
    "sigmoid": "1 / (1 + e^-x)",
})
_rows("unary", 1, r.like_operand("iub"), {"not": "bitwise complement; logical for bool"})
_rows("unary", 1, r.absolute, {"real": "real part", "imag": "imaginary part (zero for real types)"})
_rows("unary", 1, r.like_operand("fiucb"), {
    "conj": "complex conjugate", "copy": "the same values as a new value (elided where nobody can tell)",
})

# --- binary
_rows("binary", 2, r.like_operand("fiuc"), {"add": "x + y", "sub": "x - y", "mul": "x * y"})
_rows("binary", 2, r.like_operand("fc"), {"div": "x / y", "pow": "x ** y"})
_rows("binary", 2, r.like_operand("fiu"), {
    "floor_divide": "floor(x / y); integers: 0 where y is 0",
    "remainder": "x - floor(x / y) * y, the sign of y; integers: 0 where y is 0",
    "fmod": "x - trunc(x / y) * y, the sign of x; integers: 0 where y is 0",
})
_rows("binary", 2, r.like_operand("fiub"), {
    "max": "the larger; NaN if either is", "min": "the smaller; NaN if either is",
})
_rows("binary", 2, r.like_operand("f"), {"atan2": "angle of the point (y=x operand, x=y operand)"})
_rows("binary", 2, r.like_operand("iub"), {"and": "bitwise and", "or": "bitwise or", "xor": "bitwise exclusive or"})
_rows("binary", 2, r.like_operand("iu"), {
    "shl": "x << y; 0 when y >= width", "shr": "x >> y, arithmetic for signed; fills with the sign when y >= width",
})
_rows("binary", 2, r.compare, {"eq": "x == y", "ne": "x != y", "lt": "x < y", "le": "x <= y"})
_rows("binary", 2, r.make_complex, {"complex": "x + iy"})

# --- select and conversions
_rows("select", 3, r.select, {"select": "x where the condition holds, else y"})
_rows("cast", 1, r.cast, {
    "cast": "convert the value; float to int truncates, saturates, and gives 0 for NaN",
}, ("dtype",))
_rows("cast", 1, r.bitcast, {"bitcast": "the same bits as another type of that width"}, ("dtype",))

# --- movement
_rows("movement", 1, r.reshape, {"reshape": "the same elements in row-major order"}, ("shape",))
_rows("movement", 1, r.permute, {"permute": "result axis i is operand axis axes[i]"}, ("axes",))
_rows("movement", 1, r.expand, {"expand": "right-aligned broadcast"}, ("shape",))
_rows("movement", 2, r.pad, {"pad": "surround with a scalar value"}, ("low", "high"))
_rows("movement", 1, r.slice_, {"slice": "start:stop:step per axis, all static"}, ("start", "stop", "step"))
_rows("movement", 1, r.flip, {"flip": "reverse along axes"}, ("axes",))
_rows("movement", -1, r.cat, {"cat": "join along an axis"}, ("axis",))

# --- reductions, scans, sort
_rows("reduce", 1, r.reduce, {
    "reduce_sum": "sum: 16 strided partials per block of 256, a fixed tree, recursively over blocks",
    "reduce_prod": "product, in the order of reduce_sum",
}, ("axes",))
_rows("reduce", 1, r.reduce_nonempty, {
    "reduce_max": "maximum; NaN if any is (bool: or)", "reduce_min": "minimum; NaN if any is (bool: and)",
}, ("axes",))
_rows("reduce", 1, r.arg_reduce, {
    "argmax": "first index of the maximum (of the first NaN, if any)", "argmin": "first index of the minimum",
}, ("axis",))
_rows("scan", 1, r.scan, {
    "cumsum": "running sum, rising index", "cumprod": "running product, rising index",
    "cummax": "running maximum, NaN from the first NaN on", "cummin": "running minimum",
}, ("axis",))
_rows("sort", 1, r.sort, {
    "sort": "stable sort: values and int64 source indices; NaN counts as the largest",
}, ("axis", "descending"), n_outputs=2)

# --- contractions
_rows("contract", 2, r.dot, {
    "dot": "sum over contracted axes, batch axes aligned; accumulates in f32 (f64, i32) and rounds to `dtype` once",
}, ("x_contract", "y_contract", "x_batch", "y_batch", "dtype"))
_CONV = ("stride", "padding", "dilation", "groups")
_rows("contract", 2, r.conv, {"conv": "cross-correlation of (N, C, *size) with (O, C/groups, *kernel)"}, _CONV)
_rows("contract", 2, r.conv_transpose, {
    "conv_transpose": "gradient of conv in its input: scatters g through the kernel, phase by phase",
}, ("size", *_CONV))
_rows("contract", 2, r.conv_weight_grad, {
    "conv_weight_grad": "gradient of conv in its weight: correlates input and output gradient",
}, ("kernel", *_CONV))

# --- indexing
_rows("index", 2, r.take, {"take": "rows along `axis` chosen by an integer tensor (indices are clamped)"}, ("axis",))
_rows("index", 3, r.scatter, {
    "scatter": "combine updates into x at `index` along `axis`, rising source index; out-of-range rows are dropped",
}, ("axis", "mode"))
_rows("index", -1, r.dynamic_slice, {"dynamic_slice": "a window of static shape at runtime starts"}, ("shape", "step"))
_rows("index", -1, r.dynamic_update, {"dynamic_update": "x with a window replaced by update"}, ("step",))

# --- control
_rows("control", -1, r.cond, {"if": "one of two programs, by a bool scalar"}, ("then", "otherwise"), n_outputs=-1)
_rows("control", -1, r.while_, {"while": "body while condition"}, ("condition", "body", "n_fixed"), n_outputs=-1)
_rows("control", -1, r.loop, {
    "loop": "a counted loop with carried state and stacked results; `backwards`: from the last step to the first",
}, ("body", "trips", "n_carried", "backwards"), n_outputs=-1)
_rows("control", -1, r.custom, {"custom": "an opaque op registered by name"}, ("name", "arguments"), n_outputs=-1)
_rows("control", 2, r.check, {
    "check": "pass x on if the condition holds everywhere, else raise `message`",
}, ("message",))

PRIMITIVES: tuple[Row, ...] = tuple(ROWS.values())
