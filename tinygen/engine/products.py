"""Matrix products: matmul, the linear layer, and einsum.

    x, y     operands, (..., M, K) and (..., K, N);   W, b   weights (in, out) and bias (out,)
    g        gradient with respect to the result

One large product is faster than many small ones. So leading axes are flattened into rows wherever
the other operand is a single matrix, and then a weight's gradient x^T g sums over them by itself.
"""
import functools
import math

from .backend import xp
from .shaping import expand_dims
from .tensor import Tensor, defvjp, primitive


def rows(x):
    """(..., D) -> (N, D)"""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


# --- matmul ---------------------------------------------------------------------------------------

@primitive
def matmul(x, y):
    """z = x y.   (..., M, K) @ (..., K, N) -> (..., M, N)

    Leading axes broadcast. As in NumPy a vector (K,) counts as a row on the left, as a column on
    the right, and the axis this adds is dropped again."""
    try:
        if x.ndim > 2 and y.ndim == 2:
            return xp.matmul(rows(x), y).reshape(x.shape[:-1] + y.shape[-1:])
        return xp.matmul(x, y)
    except (ValueError, TypeError, AttributeError) as error:
        raise _mismatch(x, y, error) from None


def _mismatch(x, y, error):
    """What is wrong with the shapes of x @ y."""
    shapes = [getattr(a, "shape", ()) for a in (x, y)]
    where = f"matmul: {shapes[0]} @ {shapes[1]}"
    if () in shapes:
        return ValueError(f"{where}: a number is no matrix; multiply with *")
    inner, other = shapes[0][-1], shapes[1][-2:][0]
    if inner != other:
        return ValueError(f"{where}: inner sizes {inner} and {other} differ")
    if "broadcast" in str(error):
        return ValueError(f"{where}: leading axes {shapes[0][:-2]} and {shapes[1][:-2]} differ; "
                          "sizes must be equal or 1")
    return type(error)(f"{where}: {error}")


def _matmul_dx(g, z, x, y):
    """dx = g y^T"""
    if y.ndim == 1:
        return expand_dims(g, -1) * y
    if x.ndim == 1:
        return matmul(y, expand_dims(g, -1)).squeeze(-1)
    return matmul(g, y.swapaxes(-1, -2))


def _matmul_dy(g, z, x, y):
    """dy = x^T g, summed over the rows of the whole batch where y is a single matrix"""
    if x.ndim == 1:
        return expand_dims(x, -1) * expand_dims(g, -2) if y.ndim > 1 else x * g
    if y.ndim == 1:
        return matmul(rows(x).T, g.reshape(-1))
    if y.ndim == 2:
        return matmul(rows(x).T, rows(g))
    return matmul(x.swapaxes(-1, -2), g)


defvjp(matmul, _matmul_dx, _matmul_dy)
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda self, other: matmul(other, self)


# --- the linear layer -----------------------------------------------------------------------------

@primitive
def linear(x, W, b=None):
    """y = x W + b.   (..., in) -> (..., out), W (in, out), b (out,)"""
    if W.ndim != 2 or x.shape[-1:] != W.shape[:1]:
        raise ValueError(f"linear: x {x.shape} with W {W.shape}: needs W (in, out) and x (..., in)")
    if b is not None and b.shape != W.shape[1:]:
        raise ValueError(f"linear: b has shape {b.shape}; W {W.shape} needs {W.shape[1:]}")
    y = xp.matmul(rows(x), W)
    if b is not None:
        y += b                                  # in place: nobody else has seen y
    return y if x.ndim == 2 else y.reshape(x.shape[:-1] + W.shape[1:])


def sum_rows(g):
    """(..., D) -> (D,): a product with ones, which is faster than g.sum."""
    g = rows(g)
    return matmul(xp.ones(g.shape[0], g.dtype), g)


defvjp(linear, lambda g, y, x, W, b=None: matmul(g, W.T),
       lambda g, y, x, W, b=None: matmul(rows(x).T, rows(g)),
       lambda g, y, x, W, b=None: sum_rows(g))


# --- einsum ---------------------------------------------------------------------------------------

MOST_OPERANDS = 16


@primitive
def einsum(spec, *operands):
    """einsum("ab,bc->ac", x, y) = sum_b x[a,b] y[b,c]: multiply, sum letters not in the result.

    Without "->" the result has the letters that occur once, in alphabetical order. No "..."."""
    inputs, output = _parse(spec, operands)
    return xp.einsum(",".join(inputs) + "->" + output, *operands, optimize=True)


def _parse(spec, operands):
    """"ab,bc->ac" as (["ab", "bc"], "ac")"""
    if not isinstance(spec, str):
        raise TypeError("einsum: the subscripts come first, as in einsum('ab,bc->ac', x, y)")
    if "." in spec:
        raise NotImplementedError(f"einsum: {spec!r} has an ellipsis; name every axis by a letter")
    left, arrow, output = spec.replace(" ", "").partition("->")
    inputs = left.split(",")
    if not arrow:
        output = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    _check_einsum(spec, inputs, output, operands)
    return inputs, output


def _check_einsum(spec, inputs, output, operands):
    if len(inputs) != len(operands) or len(inputs) > MOST_OPERANDS:
        raise ValueError(f"einsum: {spec!r} names {len(inputs)} operands, given {len(operands)} "
                         f"(at most {MOST_OPERANDS})")
    shapes = [getattr(x, "shape", ()) for x in operands]
    for letters, shape in zip(inputs, shapes):
        if len(letters) != len(shape):
            raise ValueError(f"einsum: {spec!r} names axes {letters!r} of shape {shape}")
    if len(set(output)) < len(output) or not set(output) <= set("".join(inputs)):
        raise ValueError(f"einsum: the result {output!r} of {spec!r} must name letters of the "
                         "operands, each once")
    sizes = {}
    for c, n in zip("".join(inputs), (n for shape in shapes for n in shape)):
        if sizes.setdefault(c, n) != n:
            raise ValueError(f"einsum: in {spec!r} the letter {c} has sizes {sizes[c]} and {n}")


def _einsum_gradient(i, g, z, spec, *operands):
    """Operand i trades places with the result: einsum("ac,bc->ab", g, y) for x above.

    A letter that only x has was summed away: the gradient is the same all along, a factor of ones.
    A letter that x has twice picked a diagonal: the gradient sits there, a factor of identity."""
    inputs, output = _parse(spec, operands)
    x, wanted = operands[i], inputs[i]
    letters = [output, *inputs[:i], *inputs[i + 1:]]
    factors = [g, *operands[:i], *operands[i + 1:]]
    unused = (c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in spec)
    for k, c in enumerate(wanted):
        if c in wanted[:k]:
            new = next(unused)
            wanted = wanted[:k] + new + wanted[k + 1:]
            letters.append(c + new)
            factors.append(xp.eye(x.shape[k], dtype=g.dtype))
        elif not any(c in a for a in letters):
            letters.append(c)
            factors.append(xp.ones(x.shape[k], g.dtype))
    return einsum(",".join(letters) + "->" + wanted, *factors)


defvjp(einsum, None, *[functools.partial(_einsum_gradient, i) for i in range(MOST_OPERANDS)])
