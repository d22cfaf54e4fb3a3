"""Elementwise functions of two operands and special functions, each one recorded node."""
from __future__ import annotations

import math

from ..autodiff.vjp import trigamma, vjp
from ..base.dtypes import compute_type, float64, int32
from ..ir.builder import trace_body
from .base import composite


def _wide(b, *xs):
    return [b.cast(x, compute_type(x.type.dtype)) for x in xs]


def _double(b, x):
    """In double precision: the functions below lose digits otherwise."""
    return b.cast(x, float64)


# --- logarithms with a convention at 0 ---------------------------------------------------------------

def _register_xlog(name: str, log: str) -> None:
    def body(b, x, y):
        w, v = _wide(b, x, y)
        value = b.select(b.is_zero(w), b.full_like(w, 0), b.mul(w, b._(log, v)))
        return b.cast(b.select(b.is_nan(v), v, value), x.type.dtype)
    body.__doc__ = f"x * {log}(y); 0 where x is 0 and y is a number"
    composite(name, 2)(body)

    @vjp(name, inputs=(0, 1))
    def rule(b, g, s):
        x, y = s.inputs
        base = b.add(y, b.full_like(y, 1)) if log == "log1p" else y
        flat = b.and_(b.is_zero(x), b.le(base, b.full_like(base, 0)))
        return b.select(flat, b.full_like(g, 0), b.mul(g, b._(log, y))), b.mul(g, b.div(x, base))


_register_xlog("xlogy", "log")
_register_xlog("xlog1py", "log1p")


@composite("entr", 1)
def entr(b, x):
    """-x log(x); 0 at 0, -inf below"""
    (w,) = _wide(b, x)
    zero = b.full_like(w, 0)
    value = b.select(b.gt(w, zero), b.neg(b.mul(w, b.log(w))),
                     b.select(b.eq(w, zero), zero, b.full_like(w, -math.inf)))
    return b.cast(b.select(b.is_nan(w), w, value), x.type.dtype)


@vjp("entr", inputs=(0,))
def _entr(b, g, s):
    (x,) = s.inputs
    return (b.mul(g, b.neg(b.add(b.log(x), b.full_like(x, 1)))),)


# --- of two operands ---------------------------------------------------------------------------------

@composite("hypot", 2)
def hypot(b, x, y):
    """sqrt(x^2 + y^2) without overflow; inf if either is infinite"""
    if x.type.dtype is float64:
        u, v = b.abs(x), b.abs(y)
        most, least = b.max(u, v), b.min(u, v)
        ratio = b.select_or_zero(b.not_(b.is_zero(most)), b.div(least, most))
        value = b.mul(most, b.sqrt(b.add(b.full_like(x, 1), b.mul(ratio, ratio))))
    else:
        u, v = _double(b, x), _double(b, y)
        value = b.sqrt(b.add(b.mul(u, u), b.mul(v, v)))
    inf = b.full_like(u, math.inf)
    endless = b.or_(b.eq(b.abs(u), inf), b.eq(b.abs(v), inf))
    return b.cast(b.select(endless, inf, value), x.type.dtype)


@vjp("hypot", inputs=(0, 1), outputs=True)
def _hypot(b, g, s):
    share = b.div(g, s.output)
    return b.mul(share, s.inputs[0]), b.mul(share, s.inputs[1])


@composite("heaviside", 2)
def heaviside(b, x, at_zero):
    """0 below zero (and for NaN), 1 above, `at_zero` at 0"""
    zero, one = b.full_like(x, 0), b.full_like(x, 1)
    return b.select(b.eq(x, zero), at_zero, b.select(b.gt(x, zero), one, zero))


@vjp("heaviside", inputs=(0,))
def _heaviside(b, g, s):
    return b.full_like(g, 0), b.select_or_zero(b.is_zero(s.inputs[0]), g)


@composite("gcd", 2)
def gcd(b, x, y):
    """greatest common divisor of |x| and |y|, by Euclid's steps"""
    t = x.type

    def more(b, u, v):
        return b.reduce_max(b.ne(v, b.full_like(v, 0)), tuple(range(t.ndim)))

    def step(b, u, v):
        done = b.is_zero(v)
        rest = b._("fmod", u, v)
        return b.select(done, u, v), b.select(done, v, rest)

    if not t.size:
        return x
    u, v = (x, y) if t.dtype.kind == "u" else (b.abs(x), b.abs(y))
    return b.while_(trace_body(more, (t, t)), trace_body(step, (t, t)), (u, v))[0]


@composite("lcm", 2)
def lcm(b, x, y):
    """least common multiple of |x| and |y|; 0 if either is 0"""
    dtype = x.type.dtype
    if dtype.bits < 32:  # products of small integers are cut off at the end, as in C
        return b.cast(b.call("lcm", b.cast(x, int32), b.cast(y, int32)), dtype)
    divisor = b.call("gcd", x, y)
    value = b.mul(b.floor_divide(x, divisor), y)
    value = value if x.type.dtype.kind == "u" else b.abs(value)
    return b.select(b.is_zero(divisor), divisor, value)


# --- of one operand ----------------------------------------------------------------------------------

@composite("sinc", 1)
def sinc(b, x):
    """sin(pi x) / (pi x); 1 at 0"""
    (w,) = _wide(b, x)
    p = b.scale(w, math.pi)
    return b.cast(b.select(b.is_zero(w), b.full_like(w, 1), b.div(b.sin(p), p)), x.type.dtype)


@vjp("sinc", inputs=(0,))
def _sinc(b, g, s):
    (x,) = s.inputs
    p = b.scale(x, math.pi)
    slope = b.div(b.sub(b.mul(p, b.cos(p)), b.sin(p)), b.mul(p, x))
    return (b.select_or_zero(b.not_(b.is_zero(x)), b.mul(g, slope)),)


def _polynomial(b, x, coefficients):
    """Horner's rule, highest power first."""
    value = b.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = b.add(b.mul(value, x), b.full_like(x, c))
    return value


# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), as in SPECFUN
_ERFC_MIDDLE = (
    (2.15311535474403846343e-8, 5.64188496988670089180e-1, 8.88314979438837594118, 66.1191906371416294775,
     298.635138197400131132, 881.952221241769090411, 1712.04761263407058314, 2051.07837782607146532,
     1230.33935479799725272),
    (1.0, 15.7449261107098347253, 117.693950891312499305, 537.181101862009857509, 1621.38957456669018874,
     3290.79923573345962678, 4362.61909014324715820, 3439.36767414372163696, 1230.33935480374942043))
_ERFC_FAR = (
    (-1.63153871373020978498e-2, -3.05326634961232344035e-1, -3.60344899949804439429e-1, -1.25781726111229246204e-1,
     -1.60837851487422766278e-2, -6.58749161529837803157e-4),
    (1.0, 2.56852019228982242072, 1.87295284992346725209, 5.27905102951428412248e-1, 6.05183413124413191178e-2,
     2.33520497626869185443e-3))


def scaled_erfc(b, x):
    """e^(x^2) erfc(x) of a double x >= 0.46875."""
    up, down = _ERFC_MIDDLE
    middle = b.div(_polynomial(b, x, up), _polynomial(b, x, down))
    r = b.div(b.full_like(x, 1), b.mul(x, x))
    up, down = _ERFC_FAR
    series = b.mul(r, b.div(_polynomial(b, r, up), _polynomial(b, r, down)))
    far = b.div(b.add(b.full_like(x, 1 / math.sqrt(math.pi)), series), x)
    return b.select(b.gt(x, b.full_like(x, 4.0)), far, middle)


def _exp_square(b, x):
    """exp(-x^2) with the square split so that its rounding does not show."""
    head = b.scale(b.trunc(b.scale(x, 16.0)), 1 / 16)
    tail = b.mul(b.sub(x, head), b.add(x, head))
    return b.mul(b.exp(b.neg(b.mul(head, head))), b.exp(b.neg(tail)))


@composite("erfc", 1)
def erfc(b, x):
    """1 - erf(x), accurate where it is small"""
    w = _double(b, x)
    size = b.abs(w)
    near = b.lt(size, b.full_like(w, 0.46875))
    safe = b.min(b.select(near, b.full_like(w, 1), size), b.full_like(w, 28.0))
    tail = b.mul(_exp_square(b, safe), scaled_erfc(b, safe))
    tail = b.select(b.lt(w, b.full_like(w, 0)), b.sub(b.full_like(w, 2), tail), tail)
    return b.cast(b.select(near, b.sub(b.full_like(w, 1), b.erf(w)), b.select(b.is_nan(w), w, tail)), x.type.dtype)


@vjp("erfc", inputs=(0,))
def _erfc(b, g, s):
    (x,) = s.inputs
    return (b.mul(g, b.scale(b.exp(b.neg(b.mul(x, x))), -2 / math.sqrt(math.pi))),)


@composite("erfcx", 1)
def erfcx(b, x):
    """e^(x^2) erfc(x)"""
    w = _double(b, x)
    far = b.ge(w, b.full_like(w, 0.46875))
    safe = b.select(far, w, b.full_like(w, 1))
    direct = b.mul(b.exp(b.mul(w, w)), b.call("erfc", w))
    return b.cast(b.select(far, scaled_erfc(b, safe), direct), x.type.dtype)


@vjp("erfcx", inputs=(0,), outputs=True)
def _erfcx(b, g, s):
    slope = b.scale(b.mul(s.inputs[0], s.output), 2.0)
    return (b.mul(g, b.sub(slope, b.full_like(g, 2 / math.sqrt(math.pi)))),)


@composite("ndtr", 1)
def ndtr(b, x):
    """distribution function of the standard normal: erfc(-x / sqrt 2) / 2"""
    w = _double(b, x)
    return b.cast(b.scale(b.call("erfc", b.scale(w, -math.sqrt(0.5))), 0.5), x.type.dtype)


@composite("log_ndtr", 1)
def log_ndtr(b, x):
    """log of ndtr, also far in the tail"""
    w = _double(b, x)
    t = b.scale(w, -math.sqrt(0.5))
    low = b.lt(w, b.full_like(w, -1.0))
    scaled = b.call("erfcx", b.select(low, t, b.full_like(t, 1)))
    below = b.sub(b.log(b.scale(scaled, 0.5)), b.mul(t, t))
    above = b.log1p(b.scale(b.call("erfc", b.neg(t)), -0.5))
    return b.cast(b.select(low, below, above), x.type.dtype)


@vjp("log_ndtr", inputs=(0,))
def _log_ndtr(b, g, s):
    """The slope is phi(x) / Phi(x) = sqrt(2 / pi) / erfcx(-x / sqrt 2)."""
    scaled = b.call("erfcx", b.scale(s.inputs[0], -math.sqrt(0.5)))
    return (b.mul(g, b.div(b.full_like(scaled, math.sqrt(2 / math.pi)), scaled)),)


@composite("trigamma", 1)
def trigamma_(b, x):
    """derivative of digamma"""
    return b.cast(trigamma(b, _double(b, x)), x.type.dtype)


# --- the Hurwitz zeta function and what is made from it ------------------------------------------------

#: (2k)! / B_2k for k = 1 ... 12
_EULER_MACLAURIN = (
    12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
    -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15, 1.8152105401943546773e17,
    -7.1661652561756670113e18)


@composite("zeta", 2)
def zeta(b, s, q):
    """sum over k >= 0 of (k + q)^-s, by Euler and Maclaurin after ten terms"""
    x, a = _double(b, s), _double(b, q)
    one = b.full_like(x, 1)
    total = b.full_like(x, 0)
    for _ in range(10):
        total = b.add(total, b.pow(a, b.neg(x)))
        a = b.add(a, one)
    power = b.pow(a, b.neg(x))
    total = b.add(total, b.div(b.mul(power, a), b.sub(x, one)))
    total = b.add(total, b.scale(power, 0.5))
    factor, k = one, 0.0
    for c in _EULER_MACLAURIN:
        factor = b.mul(factor, b.add(x, b.full_like(x, k)))
        power = b.div(power, a)
        total = b.add(total, b.div(b.mul(factor, power), b.full_like(x, c)))
        factor = b.mul(factor, b.add(x, b.full_like(x, k + 1.0)))
        power = b.div(power, a)
        k += 2.0
    start = _double(b, q)
    whole = b.eq(start, b.floor(start))
    below = b.le(start, b.full_like(start, 0))
    total = b.select(b.and_(below, whole), b.full_like(x, math.inf), total)
    total = b.select(b.and_(below, b.and_(b.not_(whole), b.ne(x, b.floor(x)))), b.full_like(x, math.nan), total)
    total = b.select(b.eq(x, one), b.full_like(x, math.inf), total)
    return b.cast(b.select(b.lt(x, one), b.full_like(x, math.nan), total), s.type.dtype)


@vjp("zeta", inputs=(0, 1))
def _zeta(b, g, s):
    x, q = s.inputs
    slope = b.neg(b.mul(x, b.call("zeta", b.add(x, b.full_like(x, 1)), q)))
    return None, b.mul(g, slope)


@composite("polygamma", 1, ("n",))
def polygamma(b, x, *, n):
    """n-th derivative of digamma: (-1)^(n+1) n! zeta(n + 1, x)"""
    if n == 0:
        return b.digamma(x)
    if n == 1:
        return b.call("trigamma", x)
    w = _double(b, x)
    value = b.call("zeta", b.full_like(w, n + 1.0), w)
    return b.cast(b.scale(value, (1.0 if n % 2 else -1.0) * math.factorial(n)), x.type.dtype)


@vjp("polygamma", inputs=(0,))
def _polygamma(b, g, s):
    return (b.mul(g, b.call("polygamma", s.inputs[0], n=s.attrs.n + 1)),)


@vjp("trigamma", inputs=(0,))
def _trigamma(b, g, s):
    return (b.mul(g, b.call("polygamma", s.inputs[0], n=2)),)


#: numerators and denominators of Wichura's AS241 (1988), the highest power first: near 1/2, in the tails, far in them
_QUANTILE = (
    ((2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946,
     1971.5909503065513, 133.14166789178438, 3.3871328727963665), (5226.495278852854, 28729.085735721943,
     39307.89580009271, 21213.794301586597, 5394.196021424751, 687.1870074920579, 42.31333070160091, 1.0)),
    ((0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
     5.769497221460691, 4.630337846156546, 1.4234371107496835), (1.0507500716444169e-09, 0.0005475938084995345,
     0.015198666563616457, 0.14810397642748008, 0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0)),
    ((2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124,
     0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103), (2.0442631033899397e-15,
     1.421511758316446e-07, 1.8463183175100548e-05, 0.0007868691311456133, 0.014875361290850615,
     0.1369298809227358, 0.599832206555888, 1.0)),
)


def _ratio(b, t, which: int):
    """One of the rational functions of AS241, at ``t``."""
    found = []
    for coefficients in _QUANTILE[which]:
        value = b.full_like(t, coefficients[0])
        for c in coefficients[1:]:
            value = b.add(b.mul(value, t), b.full_like(t, c))
        found.append(value)
    return b.div(*found)


@composite("ndtri", 1)
def ndtri(b, p):
    """quantile of the standard normal distribution (Wichura, 1988): the inverse of ndtr"""
    w = _double(b, p)
    half = b.full_like(w, 0.5)
    q = b.sub(w, half)
    middle = b.mul(q, _ratio(b, b.sub(b.full_like(w, 0.180625), b.mul(q, q)), 0))
    lower = b.le(q, b.full_like(q, 0))
    r = b.sqrt(b.neg(b.log(b.select(lower, w, b.sub(b.full_like(w, 1), w)))))
    near = b.le(r, b.full_like(r, 5))
    size = b.select(near, _ratio(b, b.sub(r, b.full_like(r, 1.6)), 1), _ratio(b, b.sub(r, b.full_like(r, 5)), 2))
    tail = b.select(lower, b.neg(size), size)
    found = b.select(b.le(b.abs(q), b.full_like(q, 0.425)), middle, tail)
    infinite = b.full_like(w, math.inf)
    found = b.select(b.is_zero(w), b.neg(infinite), b.select(b.eq(w, b.full_like(w, 1)), infinite, found))
    return b.cast(found, p.type.dtype)


@vjp("ndtri", outputs=True)
def _ndtri(b, g, s):
    """sqrt(2 pi) exp(x^2 / 2)."""
    x = s.output
    slope = b.scale(b.exp(b.scale(b.mul(x, x), 0.5)), math.sqrt(2 * math.pi))
    return (b.mul(g, slope),)
