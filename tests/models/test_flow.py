"""Flows keep the law of the change of variables: inverse and log-det against a numeric Jacobian,
and a density that integrates to one and that samples follow."""
import math
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from flow_laws import check_bijection, log_prob, numeric_jacobian, shaken
from tinygen import gradcheck
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.engine import tensor
from tinygen.engine.backend import xp
from tinygen.evaluation import dependency_map
from tinygen.models.tractable.autoregressive_flow import (Autoregressive, MaskedMLP, MixtureMADE,
                                                          maf)
from tinygen.models.tractable.coupling_flow import Coupling, alternating, coupling_flow
from tinygen.models.tractable.flow import (ActNorm, BatchNorm, Chain, Flow, Inverse,
                                           InvertibleLinear, Planar, gaussian, inv, logabsdet)
from tinygen.models.tractable.image_flow import Logit
from tinygen.nn import mlp
from tinygen.optim import Adam
from tinygen.training import fit

HIDDEN = (8, 8)                     # tanh in all nets below: smooth, so that differences are exact
RNG = np.random.default_rng(0)


def trained_moments(f, C):
    """A BatchNorm whose running averages are those of some data."""
    f(tg.tensor(RNG.normal(2, 3, (50, C)), dtype="float64"))
    return f


def affine(D=4, first=1):
    return Coupling(alternating(D, first), mlp((D, 8, 2 * D), tg.tanh))


BIJECTIONS = {                      # name: (how to make it, the shape of an example)
    "linear": (lambda: InvertibleLinear(4), (4,)),
    "1x1 convolution": (lambda: InvertibleLinear(3), (3, 2, 4)),
    "actnorm": (lambda: ActNorm(4), (4,)),
    "actnorm of channels": (lambda: ActNorm(3), (3, 2, 2)),
    "batch norm": (lambda: trained_moments(BatchNorm(4), 4), (4,)),
    "batch norm of channels": (lambda: BatchNorm(3), (3, 2, 2)),
    "planar": (lambda: Planar(4), (4,)),
    "inverse planar": (lambda: Inverse(Planar(4)), (4,)),
    "additive coupling": (
        lambda: Coupling(alternating(5, 0), mlp((5, 8, 5), tg.tanh), affine=False), (5,)),
    "affine coupling": (affine, (4,)),
    "MAF": (lambda: Autoregressive(4, HIDDEN, activation=tg.tanh), (4,)),
    "MAF, mixed order": (lambda: Autoregressive(4, HIDDEN, [2, 0, 3, 1], tg.tanh), (4,)),
    "IAF": (lambda: Inverse(Autoregressive(4, HIDDEN, activation=tg.tanh)), (4,)),
    "chain": (lambda: Chain([ActNorm(4), affine(), InvertibleLinear(4), affine(first=0),
                             Autoregressive(4, HIDDEN, activation=tg.tanh)]), (4,)),
}
bijections = pytest.mark.parametrize("name", BIJECTIONS)


def made(name, B=3):
    """The bijection of that name, shaken, and a batch of examples, float64."""
    make, shape = BIJECTIONS[name]
    return shaken(make()), np.random.default_rng(2).normal(size=(B, *shape))


# --- every bijection ------------------------------------------------------------------------------

@bijections
def test_inverse_and_logdet_against_a_numeric_jacobian(name):
    check_bijection(*made(name))


@bijections
def test_it_is_far_from_the_identity(name):
    f, x = made(name)
    z, logdet = f(xp.asarray(x))
    assert abs(tg.to_numpy(z) - x).max() > 0.1
    assert (abs(tg.to_numpy(logdet)) > 0.01).all() or name == "additive coupling"


@bijections
def test_gradients_pass_through_both_directions(name):
    f, x = made(name, B=2)
    for direction in (f, f.inverse):
        def recorded(x, *values):
            with replaced(f, dict(zip(map(id, parameters), values))):
                y = direction(x)
            return [a for a in (y if isinstance(y, tuple) else (y,)) if isinstance(a, tg.Tensor)]
        parameters = f.parameters()
        assert gradcheck(recorded, xp.asarray(x), *[p.data for p in parameters], order=1)


class replaced:
    """`with replaced(module, {id(parameter): Tensor}):` computes with other parameters."""

    def __init__(self, module, values):
        self.module, self.values, self.undo = module, values, []

    def __enter__(self):
        for m in self.module.modules():
            for name, p in list(vars(m).items()):
                if id(p) in self.values:
                    self.undo.append((m, name, p))
                    setattr(m, name, self.values[id(p)])

    def __exit__(self, *error):
        for m, name, p in self.undo:
            setattr(m, name, p)


@bijections
def test_float32_stays_float32(name):
    make, shape = BIJECTIONS[name]
    f = make()
    x = tg.tensor(np.random.default_rng(2).normal(size=(3, *shape)), dtype="float32")
    z, logdet = f(x)
    (z.sum() + logdet.sum()).backward()
    assert z.dtype == logdet.dtype == f.inverse(z).dtype == "float32"
    assert all(p.grad.dtype == "float32" for p in f.parameters() if p.grad is not None)


@bijections
def test_every_parameter_learns(name):
    f, x = made(name)
    z, logdet = f(tg.tensor(x))
    ((z * xp.asarray(RNG.normal(size=x.shape))).sum() + logdet.sum()).backward()
    assert all(p.grad is not None and tg.to_numpy(p.grad).any() for p in f.parameters())


# --- single rungs ---------------------------------------------------------------------------------

def test_matrix_primitives():
    W = xp.asarray(RNG.normal(size=(4, 4)))
    assert gradcheck(inv, W) and gradcheck(logabsdet, W)
    np.testing.assert_allclose(tg.to_numpy(inv(W) @ W), np.eye(4), atol=1e-12)
    assert float(logabsdet(W)) == pytest.approx(math.log(abs(np.linalg.det(tg.to_numpy(W)))))


def test_a_1x1_convolution_is_the_same_matrix_at_every_pixel():
    f, x = made("1x1 convolution")
    W, b = (tg.to_numpy(p) for p in f.parameters())
    z, logdet = f(xp.asarray(x))
    np.testing.assert_allclose(tg.to_numpy(z), np.einsum("bihw,ij->bjhw", x, W) + b[:, None, None])
    np.testing.assert_allclose(tg.to_numpy(logdet), 8 * np.linalg.slogdet(W)[1])


@pytest.mark.parametrize("shape", [(500, 3), (20, 3, 4, 4)])
def test_actnorm_starts_from_its_first_training_batch(shape):
    x = np.random.default_rng(3).normal(5, 3, shape).astype("f")
    f, axes = ActNorm(3), tuple(i for i in range(len(shape)) if i != 1)
    before = tg.to_numpy(f.eval()(xp.asarray(x))[0])
    assert (before == x).all()                                  # not while evaluating
    z = tg.to_numpy(f.train()(xp.asarray(x))[0])
    assert abs(z.mean(axes)).max() < 1e-5 and abs(z.std(axes) - 1).max() < 1e-4
    again = tg.to_numpy(f(xp.asarray(x + 1))[0])
    assert (abs(again.mean(axes)) > 0.1).all()                  # and only from the first
    other = ActNorm(3)
    other.load_state_dict(f.state_dict())
    assert (tg.to_numpy(other(xp.asarray(x + 1))[0]) == again).all()


def test_actnorm_does_not_start_from_a_single_vector():
    f, x = ActNorm(2), np.array([[5.0, 3.0], [1.0, 2.0]], "f")
    assert (tg.to_numpy(f(xp.asarray(x[:1]))[0]) == x[:1]).all()
    assert abs(tg.to_numpy(f(xp.asarray(x))[0]).mean(0)).max() < 1e-5


def test_batch_norm_uses_the_batch_and_then_what_it_remembers():
    f, x = BatchNorm(3, momentum=0.5), np.random.default_rng(3).normal(5, 3, (500, 3)).astype("f")
    z = tg.to_numpy(f(xp.asarray(x))[0])
    assert abs(z.mean(0)).max() < 1e-5 and abs(z.std(0) - 1).max() < 1e-4
    assert not np.allclose(tg.to_numpy(f.eval()(xp.asarray(x))[0]).mean(0), 0, atol=0.1)
    f.train()
    for _ in range(20):
        f(xp.asarray(x))
    np.testing.assert_allclose(tg.to_numpy(f.eval()(xp.asarray(x))[0]), z, atol=1e-4)
    other = BatchNorm(3)
    other.load_state_dict(f.state_dict())
    assert (tg.to_numpy(other.eval()(xp.asarray(x))[0]) == tg.to_numpy(f(xp.asarray(x))[0])).all()


def test_batch_norm_differentiates_through_the_moments_of_the_batch():
    x = xp.asarray(RNG.normal(size=(6, 3)))
    assert gradcheck(lambda x: BatchNorm(3)(x)[0], x)


@pytest.mark.parametrize("push", [-30.0, -1.0, 30.0])
def test_planar_stays_a_bijection_wherever_its_weights_go(push):
    f = shaken(Planar(3))
    f.v.data = push * f.w.data
    assert f._u()[1].item() > 0
    x = RNG.normal(size=(4, 3)) * 3
    z, logdet = f(xp.asarray(x))
    assert np.isfinite(tg.to_numpy(logdet)).all()
    if push > -30:                      # at w . u = -1 + 1e-13 the slope at a = 0 is 1e-13
        assert abs(tg.to_numpy(f.inverse(z)) - x).max() < 1e-8


def test_planar_at_its_flattest_has_a_logdet_in_float32():
    f = Planar(2)
    f.v.data = -30 * f.w.data / (f.w.data ** 2).sum()
    z, logdet = f(xp.zeros((1, 2), "float32"))
    assert logdet.item() == pytest.approx(-30) and np.isfinite(tg.to_numpy(f.inverse(z))).all()


def test_additive_couplings_keep_the_volume():
    flow = shaken(coupling_flow(4, 3, HIDDEN, affine=False))
    flow.f.layers = flow.f.layers[1:]                           # without the ActNorm
    assert (tg.to_numpy(flow(RNG.normal(size=(3, 4)))[1]) == 0).all()


def test_a_coupling_keeps_what_its_mask_says_and_looks_at_nothing_else():
    f, x = made("affine coupling")
    z = tg.to_numpy(f(xp.asarray(x))[0])
    assert (z[:, ::2] == x[:, ::2]).all() and (z[:, 1::2] != x[:, 1::2]).all()
    J = numeric_jacobian(f, x[0])
    assert (abs(J[1::2, ::2]) > 1e-4).all() and abs(J[1, 3]) < 1e-12 and abs(J[3, 1]) < 1e-12


# --- autoregressive -------------------------------------------------------------------------------

@pytest.mark.parametrize("order", [None, [3, 0, 4, 1, 2]])
def test_maf_is_triangular_in_its_order_and_alive(order):
    f = shaken(Autoregressive(5, (16,), order, tg.tanh))
    rank = np.arange(5) if order is None else np.array(order)
    J = abs(numeric_jacobian(f, RNG.normal(size=5)))
    assert ((J > 1e-9) == (rank[None, :] <= rank[:, None])).all()


def test_iaf_is_maf_read_the_other_way_round():
    """z = MAF(x): x is given, one pass. x = IAF(z): z is given, one pass of the same network."""
    maf_, iaf = made("MAF")[0], made("IAF")[0]
    passes = []
    maf_.net.forward = lambda x: passes.append(1) or MaskedMLP.forward(maf_.net, x)
    iaf.f.net.forward = maf_.net.forward
    x = xp.asarray(RNG.normal(size=(3, 4)))
    for call, count in [(maf_, 1), (maf_.inverse, 4), (iaf.inverse, 1), (iaf, 5)]:
        passes.clear()
        call(x)
        assert len(passes) == count
    z, logdet = maf_(x)
    back, its = iaf(z)
    np.testing.assert_allclose(tg.to_numpy(back), tg.to_numpy(x), atol=1e-12)
    np.testing.assert_allclose(tg.to_numpy(its), -tg.to_numpy(logdet), atol=1e-12)


def test_a_frequency_multiplies_the_first_layer():
    nets = []
    for frequency in (1.0, 20.0):
        tg.seed(0)
        nets.append(MaskedMLP(3, 2, HIDDEN, activation=tg.sin, frequency=frequency))
    for name, p in nets[0].named_parameters().items():
        factor = 20 if name.startswith("layers.0.") else 1
        assert np.allclose(tg.to_numpy(nets[1].named_parameters()[name]), factor * tg.to_numpy(p))


@pytest.mark.parametrize("order", [None, [2, 0, 3, 1]])
def test_mixture_conditionals_see_exactly_what_comes_before(order):
    model = shaken(MixtureMADE(4, 3, (16,), order, tg.tanh))
    rank = np.arange(4) if order is None else np.array(order)
    seen = dependency_map(model, RNG.normal(size=(6, 4))) > 0
    assert (seen == (rank[None, :] < rank[:, None])).all()


def test_a_mixture_of_one_is_maf_on_a_normal():
    mixture, flow = shaken(MixtureMADE(3, 1, HIDDEN)), Flow(3, [Autoregressive(3, HIDDEN)])
    x, f = RNG.normal(size=(5, 3)), shaken(flow).f.layers[0]
    y = tg.to_numpy(mixture.conditionals(x))                    # logit, mu, logvar
    f.net.forward = lambda x: xp.asarray(np.stack([y[:, :, 2] / 2, y[:, :, 1]], 2))
    np.testing.assert_allclose(log_prob(flow, x), log_prob(mixture, x), rtol=1e-12)


# --- the density ----------------------------------------------------------------------------------

FLOWS = {
    "linear": lambda: Flow(2, [InvertibleLinear(2)]),
    "planar": lambda: Flow(2, [Planar(2) for _ in range(4)]),
    "NICE": lambda: coupling_flow(2, 4, HIDDEN, affine=False),
    "RealNVP": lambda: coupling_flow(2, 4, HIDDEN),
    "MAF": lambda: maf(2, 2, HIDDEN),
    "IAF": lambda: Flow(2, [Inverse(Autoregressive(2, HIDDEN))]),
    "MAF MoG": lambda: maf(2, 1, HIDDEN, K=3),
    "MADE MoG": lambda: MixtureMADE(2, 3, HIDDEN),
}


def grid(model, h=0.125, reach=30.0):
    """The middles of small squares (n^2, 2) and the probability in each."""
    ticks = np.arange(-reach, reach, h) + h / 2
    x = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    return x, np.exp(log_prob(model, x)) * h * h


@pytest.mark.parametrize("name", FLOWS)
def test_the_density_integrates_to_one(name):
    model = shaken(FLOWS[name](), 0.3)
    assert abs(grid(model)[1].sum() - 1) < 2e-4                 # what relu's kinks cost on a grid


def deviation(x, centres, p, cell=1.0, reach=30.0):
    """Pearson's chi-square of samples x (n, 2) in squares of side `cell`, in standard deviations
    above its mean; squares expected fewer than 10 times are pooled."""
    n = int(2 * reach / cell)

    def index(x):
        cells = np.floor((x + reach) / cell).astype(int)
        return np.where(((cells >= 0) & (cells < n)).all(1), cells @ [n, 1], n * n)
    counts = np.bincount(index(x), minlength=n * n + 1)
    expected = np.bincount(index(centres), weights=p, minlength=n * n + 1) * len(x)
    expected[-1] += max(len(x) - expected.sum(), 0)
    rare = expected < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum() + 1e-9)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("name", FLOWS)
def test_samples_follow_the_density(name):
    model = shaken(FLOWS[name](), 0.3)
    x = tg.to_numpy(model.sample(20_000))
    assert x.shape == (20_000, 2)
    centres, p = grid(model)
    assert abs(deviation(x, centres, p)) < 5
    assert deviation(x + [0.2, 0], centres, p) > 10             # it can fail
    assert deviation(x * 1.15, centres, p) > 10


@pytest.mark.parametrize("make", [coupling_flow, maf])
def test_a_flow_starts_by_standardizing_its_first_batch(make):
    x = np.random.default_rng(3).normal(5, 30, (500, 3)).astype("f")
    z = tg.to_numpy(make(3)(x)[0])
    assert np.allclose(z, (x - x.mean(0)) / x.std(0), atol=1e-4)


def test_log_prob_is_the_base_and_the_logdet():
    flow, x = shaken(coupling_flow(3, 2, HIDDEN)), RNG.normal(size=(4, 3))
    z, logdet = (tg.to_numpy(a) for a in flow(x))
    want = -0.5 * (z ** 2).sum(1) - 1.5 * math.log(2 * math.pi) + logdet
    np.testing.assert_allclose(log_prob(flow, x), want, rtol=1e-12)
    assert flow.loss(x).item() == pytest.approx(-want.mean())
    np.testing.assert_allclose(tg.to_numpy(flow.inverse(xp.asarray(z))), x, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_float32_weights_compute_in_float32(dtype):
    for model in (coupling_flow(2, 2, HIDDEN), maf(2, 2, HIDDEN), maf(2, 1, HIDDEN, K=2)):
        x = xp.asarray((RNG.normal(size=(5, 2)) * 3).astype(dtype))
        y = model.log_prob(x)
        assert y.shape == (5,) and y.dtype == "float32" == model.sample(3).dtype
        assert model.loss(x).dtype == "float32"
    assert Flow(2, []).log_prob(x).dtype == ("float64" if dtype == "float64" else "float32")


def test_samples_repeat_with_the_seed_and_record_nothing(monkeypatch):
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    for model in (coupling_flow(2), maf(2, 2), maf(2, 1, K=3), Flow(2, [Planar(2)]), Flow(2, [])):
        samples = []
        for _ in range(2):
            tg.seed(3)
            samples.append(tg.to_numpy(model.sample(20)))
        assert (samples[0] == samples[1]).all() and model.sample(0).shape == (0, 2)
        assert isinstance(model.sample(1), xp.ndarray)


# --- Gaussians in closed form ---------------------------------------------------------------------

def test_whitening_makes_the_gaussian_of_largest_likelihood():
    x = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3)) + [1, 2, 3]
    flow = gaussian(x)
    z = tg.to_numpy(flow(x)[0])
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / 200, np.eye(3), atol=1e-12)
    S, d = np.cov(x.T, bias=True), x - x.mean(0)
    want = -0.5 * ((d @ np.linalg.inv(S) * d).sum(1) + np.linalg.slogdet(2 * np.pi * S)[1])
    np.testing.assert_allclose(log_prob(flow, x), want, rtol=1e-12)
    flow.loss(x).backward()
    assert all(abs(tg.to_numpy(p.grad)).max() < 1e-12 for p in flow.parameters())
    assert flow.log_prob(x).dtype == "float64"
    assert gaussian(x.astype("f")).log_prob(x.astype("f")).dtype == "float32"


# --- learning, saving, mistakes -------------------------------------------------------------------

WORLD = Mixture2D("moons")


def distance(model):
    """KL(p_data || p_theta), nats, over 5,000 draws"""
    x = WORLD.sample(5000, np.random.default_rng(7))
    return float((WORLD.log_prob(x) - log_prob(model, x)).mean())


def learn(model, steps, path=None):
    x = WORLD.sample(20_000, np.random.default_rng(0))
    batches = Endless(x, 200, np.random.default_rng(1))
    goals = [("nll", model.loss, Adam(model.parameters(), 5e-3))]
    return fit(model, batches, steps, goals, checkpoint=path)


@pytest.mark.once
@pytest.mark.parametrize("make, nats", [(lambda: coupling_flow(2, 4, (32, 32)), 0.5),
                                        (lambda: maf(2, 0, (32,), K=10), 0.15)])
def test_learning_comes_near_the_known_density(make, nats):
    model = make()
    learn(model, 1)
    before = distance(model)
    learn(model, 200)
    assert before > 0.7 and 0 < distance(model) < nats


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    found = []
    for steps in [8], [3, 8]:
        for n in steps:
            tg.seed(0)
            model = Flow(2, [ActNorm(2), BatchNorm(2), affine(2)])
            learn(model, n, str(tmp_path / f"{len(steps)}.npz"))
        found.append(model.state_dict())
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


SINGULAR = InvertibleLinear(2)
SINGULAR.W.data[...] = xp.asarray([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize("sentence, call", [
    (r"Flow: x has shape \(3, 5\); needed \(B, 4\)",
     lambda: coupling_flow(4).loss(xp.ones((3, 5)))),
    (r"Flow: x has shape \(4,\); needed \(B, 4\)", lambda: coupling_flow(4).loss(xp.ones(4))),
    (r"Flow: x has shape \(0, 4\); needed .* at least one", lambda: maf(4).loss(xp.ones((0, 4)))),
    (r"Flow: x has shape \(3, 4\); needed \(B, 1, 2, 2\)",
     lambda: Flow((1, 2, 2), []).loss(xp.ones((3, 4)))),
    ("Flow: size 0 of an example is 0; needs a whole number", lambda: Flow(0, [])),
    *[(r"Flow: x has shape \(3, 5\); needed \(B, 4\)",
       lambda make=make: make(4).inverse(xp.ones((3, 5)))) for make in (coupling_flow, maf)],
    ("alternating: D is 1; needs a whole number of at least 2", lambda: coupling_flow(1)),
    ("coupling_flow: n is 0; needs", lambda: coupling_flow(4, 0)),
    ("maf: n is -1; needs a whole number of at least 0", lambda: maf(4, -1)),
    ("maf: K is 0; needs a whole number of at least 1", lambda: maf(4, K=0)),
    ("MixtureMADE: asked for -1 draws", lambda: MixtureMADE(4).sample(-1)),
    *[(rf"whitening: x is .*{shape}; needs floats \(N, D\)", lambda x=x: gaussian(x))
      for x, shape in ((np.arange(6).reshape(3, 2), "int64 .*"), (np.ones(3), r"\(3,\)"),
                       (None, "object .*"), (np.ones((0, 2)), r"\(0, 2\)"))],
    ("MaskedMLP: order must be a permutation of 0..3",
     lambda: Autoregressive(4, order=[0, 1, 1, 2])),
    ("MaskedMLP: order must be a permutation", lambda: MixtureMADE(4, 2, order=[0, 1, 2])),
    ("MaskedMLP: K is 0", lambda: MixtureMADE(4, 0)),
    ("MaskedMLP: order must be a permutation", lambda: Autoregressive(2, order=[None, 1])),
    ("MaskedMLP: hidden is 8; needs a size for each", lambda: maf(4, hidden=8)),
    ("coupling_flow: hidden is 8; needs a size", lambda: coupling_flow(4, hidden=8)),
    *[(r"Coupling: a mask of shape \(4,\) from .*; needs 0 and 1, both of them",
       lambda mask=mask: Coupling(mask, None))
      for mask in ([1, 0, 0.5, 0], [1, 1, 1, 1], [0, 0, 0, 0], [math.nan, 0, 1, 0])],
    (r"Coupling: a mask of shape \(4,\) for x of shape \(2, 5\); needs a number for each",
     lambda: Coupling([1, 0, 1, 0], mlp((5, 10), tg.relu))(xp.ones((2, 5)))),
    (r"Coupling: the net gives \(2, 7\) for x \(2, 4\); needs 8 channels",
     lambda: Coupling([1, 0, 1, 0], mlp((4, 7), tg.relu))(xp.ones((2, 4)))),
    (r"Coupling: the net gives \(2, 8\) for x \(2, 4\); needs 4 channels",
     lambda: Coupling([1, 0, 1, 0], mlp((4, 8), tg.relu), False).inverse(xp.ones((2, 4)))),
    *[(kind.__name__ + r": x has shape \(5, 4\); needed \(B, 3\) or \(B, 3, H, W\)",
       lambda kind=kind, way=way: way(kind(3))(xp.ones((5, 4)))) for kind in (ActNorm, BatchNorm)
      for way in (lambda f: f, lambda f: f.eval(), lambda f: f.inverse)],
    (r"logabsdet: ln \|det W\| is -inf, so W \(2, 2\) has no inverse",
     lambda: SINGULAR(xp.ones((1, 2), dtype="float32"))),
    (r"whitening: the covariance of x \(3, 4\) is singular",
     lambda: gaussian(np.random.default_rng(0).normal(size=(3, 4)))),
    (r"whitening: the covariance of x \(9, 2\) is singular",
     lambda: gaussian(np.repeat(np.arange(9.0)[:, None], 2, axis=1))),
    (r"BatchNorm: a batch of shape \(1, 3\) has one value per channel",
     lambda: BatchNorm(3)(xp.ones((1, 3)))),
    ("Logit: alpha is 0.5", lambda: Logit(0.5)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.host_only(reason="tracemalloc sees NumPy's memory")
@pytest.mark.parametrize("make, per_D", [(coupling_flow, 10), (maf, 7)])
@pytest.mark.parametrize("D, H, n", [(16, 64, 4), (32, 64, 6), (16, 128, 6)])
def test_a_step_keeps_what_the_docstring_says(make, per_D, D, H, n):
    B, flow = 2048, make(D, n, (H, H))
    x = RNG.normal(size=(B, D)).astype("float32")
    flow.loss(x).backward()                     # sets ActNorm up, and warms caches
    tracemalloc.start()
    loss = flow.loss(x)
    kept = tracemalloc.get_traced_memory()[0] / 4 / (B * n)
    tracemalloc.stop()
    assert loss.requires_grad and kept == pytest.approx(per_D * D + 2 * 2 * H, rel=0.06)
