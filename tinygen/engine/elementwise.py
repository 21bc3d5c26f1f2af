"""Operations that treat every element alike, and the operators of Tensor.

    x, y   input and output, broadcast against each other as in NumPy
    g      gradient with respect to y
Each primitive stands above its derivative; the engine undoes broadcasting and dtype.
"""
import math
import operator

from .backend import xp
from .blocks import in_blocks
from .tensor import Tensor, defvjp, primitive


# --- arithmetic -----------------------------------------------------------------------------------

@primitive
def add(x, y):
    """x + y"""
    return x + y
defvjp(add, lambda g, out, x, y: g, lambda g, out, x, y: g)


@primitive
def subtract(x, y):
    """x - y"""
    return x - y
defvjp(subtract, lambda g, out, x, y: g, lambda g, out, x, y: -g)


@primitive
def multiply(x, y):
    """x * y"""
    return x * y
defvjp(multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)


@primitive
def divide(x, y):
    """x / y"""
    return x / y
defvjp(divide, lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)


@primitive
def negative(x):
    """-x"""
    return -x
defvjp(negative, lambda g, y, x: -g)


@primitive
def power(x, p):
    """x ** p.   d/dx = p x^(p-1), which is 0 where p = 0;   d/dp = y ln x, 0 where x = 0"""
    if isinstance(p, (int, float)) and p in (2, 3):
        return x * x if p == 2 else x * x * x       # a general power costs a hundred times as much
    return x ** p


def _power_dx(g, y, x, p):
    if isinstance(p, (int, float)):
        return g * x * 2.0 if p == 2 else g * p * power(x, p - 1) if p else 0.0 * g
    return g * p * power(x, p * 1 - (p != 0))       # p * 1: booleans cannot be subtracted


defvjp(power, _power_dx, lambda g, y, x, p: g * y * log(x + (x == 0)))


# --- functions of one argument --------------------------------------------------------------------

@primitive
def exp(x):
    """e^x.   dy/dx = y"""
    return xp.exp(x)
defvjp(exp, lambda g, y, x: g * y)


@primitive
def log(x):
    """ln x.   dy/dx = 1/x"""
    return xp.log(x)
defvjp(log, lambda g, y, x: g / x)


@primitive
def sqrt(x):
    """x^(1/2).   dy/dx = 1 / (2 y)"""
    return xp.sqrt(x)
defvjp(sqrt, lambda g, y, x: 0.5 * g / y)


@primitive
def sin(x):
    """sin x"""
    return xp.sin(x)
defvjp(sin, lambda g, y, x: g * cos(x))


@primitive
def cos(x):
    """cos x"""
    return xp.cos(x)
defvjp(cos, lambda g, y, x: -g * sin(x))


@primitive
def tanh(x):
    """tanh x.   dy/dx = 1 - y^2"""
    return xp.tanh(x)
defvjp(tanh, lambda g, y, x: g * (1 - y * y))


@primitive
@in_blocks
def sigmoid(x):
    """1 / (1 + e^-x).   dy/dx = y (1 - y)"""
    y = xp.exp(xp.minimum(x * -1.0, 88.0))  # e^88 is the last power of e that float32 holds
    y += 1
    return 1 / y
defvjp(sigmoid, lambda g, y, x: g * (y * (1 - y)))


@primitive
@in_blocks
def softplus(x):
    """ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).   dy/dx = sigmoid(x)"""
    y = xp.log1p(xp.exp(xp.abs(x) * -1.0))  # -x would turn bytes, 1, into 255
    y += xp.maximum(x, 0)
    return y
defvjp(softplus, lambda g, y, x: g * sigmoid(x))


@primitive
def relu(x):
    """max(x, 0).   dy/dx = 1 where x > 0, else 0: so relu'(0) = 0"""
    return xp.maximum(x, 0)
defvjp(relu, lambda g, y, x: g * (y > 0))


@primitive
def leaky_relu(x, slope=0.01):
    """x where x > 0, else slope * x (0 <= slope <= 1).   The derivative at 0 is slope"""
    return xp.maximum(x, x * slope)
defvjp(leaky_relu, lambda g, y, x, slope=0.01: g * ((x > 0).astype(g.dtype) * (1 - slope) + slope))


@primitive
def silu(x):
    """x sigmoid(x), also called swish.   With s = sigmoid(x): dy/dx = s + y (1 - s)
    Source: Elfwing et al. 2018."""
    return x * sigmoid(x)
def _silu_dx(g, y, x):
    s = sigmoid(x)
    return g * (s + y * (1 - s))
defvjp(silu, _silu_dx)


GELU_A, GELU_B = math.sqrt(2 / math.pi), 0.044715


def gelu(x):
    """x sigmoid(2 a (x + b x^3)) = x (1 + tanh(a (x + b x^3))) / 2, a = sqrt(2/pi), b = 0.044715.
    Source: Hendrycks & Gimpel 2016, the tanh form."""
    return _gelu(x, saved={})


@primitive
def _gelu(x, saved):
    """y = x s, s kept for backward.   dy/dx = s + y (1 - s) 2 a (1 + 3 b x^2)"""
    y, saved["s"] = _gated(x)
    return y


@in_blocks
def _gated(x):
    s = _gelu_gate(x)
    return x * s, s


def _gelu_gate(x):
    """sigmoid(2 a (x + b x^3)), with as few arrays as it takes."""
    t = x * x * (2 * GELU_A * GELU_B)
    t += 2 * GELU_A
    t *= x
    return sigmoid(t)


@in_blocks
def _gelu_dx(g, y, x, s):
    d = x * x * (6 * GELU_A * GELU_B)
    d += 2 * GELU_A
    d *= y
    d *= 1 - s
    d += s
    d *= g
    return d


defvjp(_gelu, lambda g, y, x, saved: _gelu_dx(
    g, y, x, _gelu_gate(x) if isinstance(x, Tensor) else saved["s"]))


@primitive
def abs(x):
    """|x|.   dy/dx = sign(x), 0 at 0"""
    return xp.abs(x)
defvjp(abs, lambda g, y, x: g * sign(x))


@primitive
def sign(x):
    """-1, 0 or 1.   dy/dx = 0"""
    return xp.sign(x)
defvjp(sign, lambda g, y, x: 0.0 * g)


@primitive
def astype(x, dtype):
    """x as another dtype.   dy/dx = 1 in x's own dtype; 0 where y holds integers or booleans"""
    return x.astype(dtype)
defvjp(astype, lambda g, y, x, dtype: g if y.dtype.kind == "f" else 0.0 * g)


# --- choices --------------------------------------------------------------------------------------

@primitive
def maximum(x, y):
    """The larger of x and y.   Where they tie each gets half of the gradient"""
    return xp.maximum(x, y)
defvjp(maximum, lambda g, out, x, y: g * _share(x > y, x == y, g),
       lambda g, out, x, y: g * _share(y > x, x == y, g))


@primitive
def minimum(x, y):
    """The smaller of x and y.   Where they tie each gets half of the gradient"""
    return xp.minimum(x, y)
defvjp(minimum, lambda g, out, x, y: g * _share(x < y, x == y, g),
       lambda g, out, x, y: g * _share(y < x, x == y, g))


def _share(wins, ties, g):
    return (wins + 0.5 * ties).astype(g.dtype)


@primitive
def where(condition, x, y):
    """x where the condition holds, else y.   A number as the condition holds unless it is 0"""
    return xp.where(condition, x, y)
defvjp(where, None, lambda g, out, condition, x, y: g * (condition != 0),
       lambda g, out, condition, x, y: g * (condition == 0))


@primitive
def clip(x, low, high):
    """min(max(x, low), high), low and high numbers, one may be None.
    dy/dx = 1 where low <= x <= high, else 0"""
    return xp.clip(x, low, high)
defvjp(clip, lambda g, y, x, low, high: g * (y == x))


# --- operators and methods ------------------------------------------------------------------------

def _compare(symbol, compare):
    """A comparison gives a plain boolean array: there is nothing to differentiate."""
    def method(self, other):
        return compare(self.data, other.data if isinstance(other, Tensor) else other)
    method.__name__ = symbol
    return method


def _install():
    swapped = {"sub": subtract, "truediv": divide, "pow": power}
    for name, op in {"add": add, "mul": multiply, "neg": negative, "abs": abs, **swapped}.items():
        setattr(Tensor, f"__{name}__", op)
    Tensor.__radd__, Tensor.__rmul__ = add, multiply
    for name, op in swapped.items():
        setattr(Tensor, f"__r{name}__", lambda self, other, op=op: op(other, self))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Tensor, f"__{name}__", _compare(name, getattr(operator, f"__{name}__")))
    for op in (exp, log, sqrt, sin, cos, tanh, sigmoid, softplus, relu, abs, clip, astype):
        setattr(Tensor, op.__name__, op)


_install()
