"""What can make a number k times too large or too small, in words.

    sizes   {n: (what it is, what n times too large means, and n times too small)}
"""
import math
from itertools import permutations, product

ALIKE = 1e-5                    # of the largest element, or of a number: what counts as equal


def times(k, sizes):
    """In words, that a gradient is k times too large."""
    n, meant = max(abs(k), 1 / abs(k)), hints(k, sizes)
    words = f"{n:.6g} times too {'large' if abs(k) > 1 else 'small'}" + f" ({meant}?)" * bool(meant)
    sign = ["negated"] * (k < 0)
    return ", and ".join(sign if near(n, 1) else [*sign, words])


def hints(k, sizes):
    """What may have made a gradient k times too large."""
    large, n = abs(k) > 1, max(abs(k), 1 / abs(k))
    usual = [("added twice, or a half left out" if large else "the 2 of a square left out")
             ] * near(n, 2)
    whole = {m: what for m, (what, *_) in sizes.items() if what.startswith("the ")}
    usual += [f"{f'{m} is ' * (m in whole)}{what}: {meant[not large]}"
              for m, (what, *meant) in sizes.items() if near(n, m)]
    usual += [f"the square root of {m}, {whole[m]}" for m in whole if near(n * n, m)]
    unusual = [f"{p} is {whole[p]}, {q} is {whole[q]}: one in place of the other"
               for p, q in permutations(whole, 2) if near(n, p / q)]
    unusual += [f"{m} is {whole[m]}: {m} - 1 in its place{' under a square root' * root}"
                for m, root in product(whole, (0, 1))
                if m > 2 and near(n * n if root else n, m / (m - 1), 1e-4)]      # or with an eps
    unusual += [f"2 times {what}: {meant[not large]}"
                for m, (what, *meant) in sizes.items() if m not in whole and near(n, 2 * m)]
    unusual += ["bits in place of nats"] * near(n, 1 / math.log(2))
    return ", or ".join(usual or unusual[:2])


def sizes_in_sight(b, named):
    """{n: (what it is, what n times too large means, and n times too small)}, for every size and
    every number in sight."""
    found = {}
    for of, t in [("", b), *((f" of {name}", t) for name, t in named.items())]:
        for axis, n in enumerate(t.shape):
            found.setdefault(n, f"the size of axis {axis}{of}")
        found.setdefault(t.size, f"the number of elements{of}")
    sizes = {n: (what, "a sum where a mean was meant", "a mean where a sum was meant")
             for n, what in found.items() if n > 1}
    often, left_out = "a factor once too often", "a factor left out"
    for name, t in named.items():
        if t.ndim == 0 and 0 < t != 1:
            t = float(t)
            sizes |= {t: (f"{name} = {t:.4g}", often, left_out)} if t > 1 else {
                1 / t: (f"{name} = {t:.4g}", left_out, often),
                1 / (1 - t): (f"1 - {name} = {1 - t:.4g}", left_out, often)}
    return sizes


def near(x, y, rtol=ALIKE):
    return abs(x - y) <= rtol * abs(y)
