"""What critic and generator lower: plain functions of the critic's logits.

    real, fake   C(x) of real examples and of generated ones, (B, 1);   D = sigmoid(C)
    q = p        at its optimum the critic then knows nothing; each docstring says what that costs

Each objective is a pair (critic, generator), called as critic(real, fake) and generator(fake). A
penalty is called as penalty(critic, x, y) on a batch of real and one of generated inputs.
"""
import functools
from collections import namedtuple

from ...engine.backend import to_numpy, uniform, xp
from ...engine.backward import grad
from ...engine.elementwise import relu, softplus, sqrt
from ...engine.reductions import mean
from ...engine.tensor import Tensor, no_grad

Objective = namedtuple("Objective", "critic generator")


# --- objectives -----------------------------------------------------------------------------------

def logistic_critic(real, fake, smooth=0.0):
    """-E [(1 - smooth) ln D(x) + smooth ln(1 - D(x))] - E ln(1 - D(G(z))), nats; 2 ln 2 at q = p.

    Lowest at C = ln p - ln q, where it is 2 ln 2 - 2 JS(p, q). With smooth > 0 the critic is told
    that real examples are real with chance 1 - smooth only, so that its logits stay small: label
    smoothing, one-sided. Source: Goodfellow et al. 2014, eq. 1; Salimans et al. 2016, section
    3.4."""
    loss = mean(softplus(-real)) + mean(softplus(fake))
    return loss + smooth * mean(real) if smooth else loss


def saturating_generator(fake):
    """E ln(1 - D(G(z))): -ln 2 at q = p. Its gradient dies where the critic is sure."""
    return -mean(softplus(fake))


def non_saturating_generator(fake):
    """-E ln D(G(z)): ln 2 at q = p. Source: Goodfellow et al. 2014, end of section 3."""
    return mean(softplus(-fake))


def least_squares_critic(real, fake):
    """E (C(x) - 1)^2 / 2 + E C(G(z))^2 / 2: 1/4 at q = p. At its lowest C = p / (p + q).
    Source: Mao et al. 2017, eq. 9."""
    return 0.5 * (mean((real - 1) ** 2) + mean(fake ** 2))


def least_squares_generator(fake):
    """E (C(G(z)) - 1)^2 / 2: 1/8 at q = p"""
    return 0.5 * mean((fake - 1) ** 2)


def hinge_critic(real, fake):
    """E max(0, 1 - C(x)) + E max(0, 1 + C(G(z))): 2 at q = p.
    Source: Lim & Ye 2017; Miyato et al. 2018, eq. 16."""
    return mean(relu(1 - real)) + mean(relu(1 + fake))


def wasserstein_critic(real, fake):
    """E C(G(z)) - E C(x): 0 at q = p. Over the C of slope at most 1 its lowest value is -W1(p, q).
    Source: Arjovsky et al. 2017, eq. 2."""
    return mean(fake) - mean(real)


def score_generator(fake):
    """-E C(G(z)): 0 at q = p, for a C that averages 0"""
    return -mean(fake)


MINIMAX = Objective(logistic_critic, saturating_generator)
NON_SATURATING = Objective(logistic_critic, non_saturating_generator)
LEAST_SQUARES = Objective(least_squares_critic, least_squares_generator)
HINGE = Objective(hinge_critic, score_generator)
WASSERSTEIN = Objective(wasserstein_critic, score_generator)


def smoothed(smooth):
    """NON_SATURATING with one-sided label smoothing."""
    if not 0 <= smooth < 0.5:
        raise ValueError(f"smoothed: smooth is {smooth!r}; needs 0 <= smooth < 0.5")
    return Objective(functools.partial(logistic_critic, smooth=smooth), non_saturating_generator)


# --- what keeps the critic's slope in hand --------------------------------------------------------

def squared_slopes(critic, x):
    """|dC/dx|^2 of each row of the array x, recorded, so that it can be lowered.   (B, D) -> (B,)

    One backward pass gives all rows their gradient, as C(x_i) depends on x_i only."""
    x = Tensor(x, requires_grad=True)
    g = grad(critic(x).sum(), x, create_graph=True)
    return (g * g).reshape(len(x), -1).sum(1)


def gradient_penalty(critic, real, fake, weight=10.0):
    """weight E (|dC/dx| - 1)^2 at x = u real + (1 - u) fake, u ~ U(0, 1): 0 at slope 1 everywhere.

    A critic with batch normalisation has no slope of one example: use none.
    Source: Gulrajani et al. 2017, eq. 3."""
    if real.shape != fake.shape or not len(real):
        raise ValueError(f"gradient_penalty: given real {real.shape} and generated {fake.shape}; "
                         "needs as many of each, at least one")
    u = uniform((len(real), *(1,) * (real.ndim - 1)), real.dtype)
    slopes = sqrt(squared_slopes(critic, u * real + (1 - u) * fake) + 1e-12)
    return weight * mean((slopes - 1) ** 2)


def r1_penalty(critic, real, fake=None, weight=1.0):
    """weight / 2 E |dC/dx|^2 at real examples: the critic must not stay steep where it is right.
    Source: Mescheder et al. 2018, eq. 9."""
    return 0.5 * weight * mean(squared_slopes(critic, real))


class WeightClipping:
    """After each step every weight is cut to [-limit, limit], which bounds the critic's slope.

    Stands in for the optimizer it wraps, as an EMA does. Source: Arjovsky et al. 2017, algorithm
    1."""

    def __init__(self, optimizer, limit=0.01):
        if not limit > 0:
            raise ValueError(f"WeightClipping: limit is {limit!r}; needs a number above 0")
        self.optimizer, self.params, self.limit = optimizer, optimizer.params, limit
        self.zero_grad = optimizer.zero_grad
        self.state_dict, self.load_state_dict = optimizer.state_dict, optimizer.load_state_dict

    def step(self):
        self.optimizer.step()
        for p in self.params:
            xp.clip(p.data, -self.limit, self.limit, out=p.data)


# --- training that tells --------------------------------------------------------------------------

def measures(model, x):
    """(right, pull, reach): the game's state, from a batch of real examples x (B, D), B at least 8.

    right   the share of pairs (real, generated) whose real one has the higher logit: the area under
            the ROC curve, 0.5 for a critic that knows nothing, 1 for one that is never wrong
    pull    how much the generator's loss moves, per example, if samples move by the spread of x
    reach   how many of half of x are nearest to some sample, over how many are to the other half:
            about 1 where samples lie as x does, little where they are alike, or far from x"""
    x = xp.asarray(x)
    if len(x) < 8:
        raise ValueError(f"diagnose: given {len(x)} real examples; needs at least 8")
    y = Tensor(model.sample(len(x)), requires_grad=True)
    g = to_numpy(grad(model.generator_objective(y), y)).reshape(len(x), -1) * len(x)
    pull = float((g ** 2).sum(1).mean() ** 0.5 * to_numpy(x).std(0).mean())
    with no_grad():
        right = _area(*(to_numpy(model.logits(a)).ravel() for a in (x, y.data)))
    half = len(x) // 2
    return right, pull, _reach(x[:half], y.data[:half]) / _reach(x[:half], x[half:2 * half])


def diagnose(model, x, sure=0.98, faint=1e-3, narrow=0.45):
    """One line of measures(model, x), after every verdict that holds: gradients vanish (pull below
    `faint`), the critic wins (right at least `sure`), modes collapse (reach below `narrow`)."""
    right, pull, reach = measures(model, x)
    verdicts = {"gradients vanish": pull < faint, "the critic wins": right >= sure,
                "modes collapse": reach < narrow}
    said = ", ".join(verdict for verdict, holds in verdicts.items() if holds) or "in balance"
    return (f"{said}: the critic is right on {100 * right:.0f} % of pairs, the generator's pull "
            f"is {pull:.2g}, samples reach {reach:.2f} of what real examples do")


def _area(real, fake):
    """P(C(real) > C(fake)), ties counted half"""
    above = (real[:, None] > fake).mean() + 0.5 * (real[:, None] == fake).mean()
    return float(above)


def _reach(x, y):
    """How many rows of x are the nearest one of some row of y."""
    distance = (x * x).sum(1) - 2 * y @ x.T
    return len(set(to_numpy(distance.argmin(1)).tolist()))
