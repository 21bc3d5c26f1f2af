"""Lesson 08: how do you know that a gradient is right?

Push x a little and watch f:    (f(x + eps v) - f(x - eps v)) / (2 eps)  =  <gradient, v>

One random direction v checks all elements at once. But f must be a scalar, and the usual way to
make one, sum(), is blind: softmax adds up to 1 whatever x is, so its plain sum has gradient 0, and
a rule that always gives 0 would pass. Random weights w, f(x) = <w, y(x)>, see everything.

Promise: random weights find all mistakes, a plain sum fewer; gradcheck passes the right rule alone;
the best step is between 1e-7 and 1e-3, its error below 1e-8 in float64 alone.
Changed since lesson 07: the engine stays; a checker for all its operations
- differences() along a random direction, under random output weights
- a table of planted mistakes, and which check finds which
- tinygen.gradcheck, the same idea with a diagnosis

    python lessons/08_checking_a_gradient.py       a few seconds

기울기가 맞는지는 x를 조금 움직여 보면 안다. 다만 출력을 그냥 더해서(sum) 스칼라로 만들면 소프트맥스의
잘못이나 전치, 순서 뒤바뀜을 보지 못한다. 출력에 무작위 가중치를 곱해 더하면 모두 드러난다.
"""
# %% A rule to check: softmax, right and with typical mistakes
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options

args = lesson_options("Central differences, and why a plain sum is blind.")
rng = np.random.default_rng(args.seed)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def right(g, y):
    return y * (g - (g * y).sum(1, keepdims=True))


mistakes = {
    "right": right,
    "always zero": lambda g, y: 0 * g,
    "negated": lambda g, y: -right(g, y),
    "twice too large": lambda g, y: 2 * right(g, y),
    "the sum is forgotten": lambda g, y: y * g,
    "a mean where the sum was": lambda g, y: y * (g - (g * y).mean(1, keepdims=True)),
    "rows reversed": lambda g, y: right(g, y)[::-1],
    "the wrong axis": lambda g, y: y * (g - (g * y).sum(0)),
}


# %% The check
def differences(f, x, v, eps=1e-5):
    """The slope of f along v, by the values of f alone"""
    return (f(x + eps * v) - f(x - eps * v)) / (2 * eps)


def passes(rule, weights):
    """Is <gradient of <weights, softmax(x)>, v> what differences say, for a random v?"""
    x, v = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    g = weights(x.shape)                            # the gradient of <w, y> by y is w
    slope = differences(lambda x: (g * softmax(x)).sum(), x, v)
    return abs((rule(g, softmax(x)) * v).sum() - slope) < 1e-7


checks = {"a plain sum": np.ones, "random weights": lambda shape: rng.normal(size=shape)}
print(f"{'rule of softmax':26s} " + "  ".join(f"{c:>14s}" for c in checks) + "   tinygen.gradcheck")
found = {name: 0 for name in checks}


# %% The same mistakes as primitives of tinygen: its checker also says which one it is
def diagnosis(rule):
    @tg.primitive
    def wrong(x):
        e = tg.xp.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    tg.defvjp(wrong, lambda g, y, x: rule(g, y))
    try:
        tg.gradcheck(wrong, rng.normal(size=(3, 4)), order=1)
        return "passes"
    except tg.GradientError as error:
        return error.diagnosis


said = {name: diagnosis(rule) for name, rule in mistakes.items()}
for name, rule in mistakes.items():
    verdicts = [passes(rule, weights) for weights in checks.values()]
    for check, ok in zip(checks, verdicts):
        found[check] += not ok
    print(f"{name:26s} " + "  ".join(f"{'passes' if ok else 'found':>14s}" for ok in verdicts)
          + f"   {said[name].split(' (')[0]}")
print("mistakes found by " + ", ".join(f"{check}: {n} of {len(mistakes) - 1}"
                                       for check, n in found.items()))

# %% How small should eps be? Too large: the curve bends. Too small: digits are lost
steps = 10.0 ** np.arange(-14, 0.5, 0.5)
x, v, w = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))


def errors(dtype):
    exact = (right(w, softmax(x)) * v).sum()
    def f(x):
        return (w.astype(dtype) * softmax(x.astype(dtype))).sum(dtype="float64")
    return [abs(differences(f, x.astype(dtype), v.astype(dtype), dtype(e)) / exact - 1) + 1e-17
            for e in steps]


double, single = errors(np.float64), errors(np.float32)
best = steps[int(np.argmin(double))]
print(f"best step: {best:.0e} in float64 (error {min(double):.0e}), "
      f"{steps[int(np.argmin(single))]:.0e} in float32 (error {min(single):.0e})")

# %% A kink has no slope: relu at 0 gets a rule by agreement, and differences see the middle
kink = differences(lambda x: np.maximum(x, 0).sum(), np.zeros(1), np.ones(1))
print(f"relu at 0: the rule says 0 by agreement, differences say {kink:.2f}; check away from kinks")
print("what became which file: passes (gradcheck) -> engine/gradcheck.py")

# %% The picture
fig, axes = plotting.figure(1, 1, (7, 4))
axes[0, 0].loglog(steps, double, label="float64")
axes[0, 0].loglog(steps, single, label="float32")
axes[0, 0].loglog(steps, steps ** 2, "--", color="black", linewidth=0.8, label="eps^2: the bend")
axes[0, 0].set(xlabel="eps", ylabel="relative error of the slope", ylim=(1e-14, 1e2),
               title="differences: a bend on one side, lost digits on the other")
axes[0, 0].legend()
print("figure:", plotting.save(fig, args.out, "08_checking_a_gradient.png", args.show))

# %% The promise of this lesson
assert passes(right, checks["random weights"]) and found["random weights"] == len(mistakes) - 1
assert found["a plain sum"] < found["random weights"], "a plain sum is blind to some"
assert all((s == "passes") == (name == "right") for name, s in said.items()), "as the package"
assert 1e-7 < best < 1e-3 and min(double) < 1e-8 < min(single)
# What we left out: checking the gradient's own gradient (gradcheck's order=2), and five-point
# differences, whose error is of order eps^4 (engine/gradcheck.py). Exercises: ex08, ex09, ex15_max.
