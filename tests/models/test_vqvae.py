"""The VQ-VAE: its quantiser, its two ways to move a codebook, and a bound that is one."""
import itertools

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine import backend
from tinygen.engine.backend import to_numpy, xp
from tinygen.evaluation import rate_and_distortion
from tinygen.models.approximate.vqvae import VQVAE, CodePrior, perplexity, straight_through
from tinygen.models.tractable.pixelcnn import PixelCNN
from tinygen.optim import Adam
from tinygen.training import fit

D, GRID, K, C = 5, (1, 3), 4, 2
X = (np.random.default_rng(0).random((7, D)) < 0.5).astype("float64")


def tiny(**settings):
    """A model in float64, its weights large enough to matter."""
    model = VQVAE(D, GRID, K, C, (6,), tg.tanh, prior=CodePrior(GRID, K, 4, 2), **settings)
    for x in model.named_tensors().values():
        x.data = x.data.astype("float64") * 2
    return model


def host(x):
    return to_numpy(x).copy()


def all_codes():
    return np.array(list(itertools.product(range(K), repeat=3)))


def spelled_out(model, x):
    """(z, codes, q) by a loop over every place and every code."""
    z, e = host(model.vectors(xp.asarray(x))), host(model.e)
    codes = np.array([[min(range(K), key=lambda k: ((v - e[k]) ** 2).sum()) for v in row]
                      for row in z])
    return z, codes, e[codes]


# --- the quantiser --------------------------------------------------------------------------------

def test_a_place_takes_the_nearest_code():
    model = tiny()
    codes = host(model.encode(X))
    assert codes.shape == (7, 3) and (codes == spelled_out(model, X)[1]).all()
    assert len(np.unique(codes)) > 2


def test_the_gradient_goes_straight_through():
    """y is q, and dL/dz is dL/dy whatever L is; q gets none."""
    rng = np.random.default_rng(1)
    z, q = tg.tensor(rng.normal(size=(3, 2)), True), rng.normal(size=(3, 2))
    y = straight_through(z, xp.asarray(q))
    weights = rng.normal(size=(3, 2))
    assert (host(y) == q).all()
    g = tg.grad((tg.sin(y) * xp.asarray(weights)).sum(), z)
    assert np.allclose(host(g), weights * np.cos(q), atol=1e-15)


@pytest.mark.parametrize("ema", [True, False])
def test_gradcheck_with_the_choice_fixed(ema):
    """With codes and q - z held at what they are, the loss is smooth, and its derivative is the
    gradient that training follows."""
    model = tiny(ema=ema, beta=0.7).eval()
    z, codes, q = spelled_out(model, X)
    offset, stop_q, stop_z = xp.asarray(q - z), xp.asarray(q), xp.asarray(z)

    def by_hand(W, V, e):
        model.encoder[0].W, model.decoder[0].W = W, V
        z, q = model.vectors(xp.asarray(X)), e[xp.asarray(codes)]
        log_likelihood = model.likelihood(z + offset).log_prob(xp.asarray(X)).sum(1)
        loss = (0.7 * (z - stop_q) ** 2).sum(2).mean() - log_likelihood.mean()
        return loss if ema else loss + ((q - stop_z) ** 2).sum(2).mean()
    W, V, e = model.encoder[0].W, model.decoder[0].W, model.e
    tg.gradcheck(by_hand, *(a.data for a in (W, V, e)), order=1)
    wanted = [W, V] + ([] if ema else [e])
    assert model.loss(X).item() == pytest.approx(by_hand(W, V, e).item(), abs=1e-12)
    for g, h in zip(tg.grad(model.loss(X), wanted), tg.grad(by_hand(W, V, e), wanted)):
        assert abs(host(h)).max() > 1e-3 and np.allclose(host(g), host(h), atol=1e-12)


def test_a_codebook_is_a_buffer_or_a_parameter():
    assert "e" not in tiny().named_parameters() and "e" in tiny(ema=False).named_parameters()
    assert {"e", "used"} <= set(tiny().state_dict()) & set(tiny(ema=False).state_dict())


# --- the codebook ---------------------------------------------------------------------------------

def test_averages_follow_appendix_a_1():
    """N and m as the paper keeps them: e = m / N after every step."""
    model, rng, d = tiny(decay=0.8, restart=0.0), np.random.default_rng(2), 0.8
    N = np.array([3.0, 0.5, 7.0, 2.0])
    model.used.data[...] = xp.asarray(N)
    m = host(model.e) * N[:, None]
    for step in range(6):
        x = (rng.random((5, D)) < 0.5).astype("float64")
        z, codes, _ = spelled_out(model, x)
        one_hot = np.eye(K)[codes.reshape(-1)]
        N = d * N + (1 - d) * one_hot.sum(0)
        m = d * m + (1 - d) * one_hot.T @ z.reshape(-1, C)
        model.loss(x)
        assert np.allclose(host(model.used), N, rtol=1e-12)
        assert np.allclose(host(model.e), m / N[:, None], rtol=1e-10)
    assert (N < 3 * d ** 6).any()                       # a code that nobody chose stayed put


def test_a_code_that_is_never_chosen_stays_finite():
    """Its N decays below the smallest float; e must not become 0 / 0."""
    model = tiny(restart=0.0)
    model.e.data[0] = 100.0
    model.used.data[...] = 1e-320
    for _ in range(3):
        model.loss(X)
    assert (host(model.e)[0] == 100.0).all() and np.isfinite(host(model.e)).all()


@pytest.mark.parametrize("ema", [True, False])
def test_only_training_changes_the_codebook(ema):
    model = tiny(ema=ema).eval()
    before = model.state_dict()
    model.loss(X), model.elbo(X), model.prior_loss(X), model.encode(X), model.usage(X)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    model.train()
    model.elbo(X), model.prior_loss(X), model.encode(X)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    model.loss(X)
    assert (before["e"] != model.state_dict()["e"]).any()


@pytest.mark.parametrize("ema", [True, False])
def test_dead_codes_start_anew_on_the_data(ema):
    model = tiny(ema=ema, restart=0.1, decay=0.999)
    even = X.shape[0] * 3 / K
    model.used.data[...] = xp.asarray([even, 0.11 * even, 0.09 * even, 0.0])
    e, z = host(model.e), spelled_out(model, X)[0].reshape(-1, C)
    model._restart(xp.asarray(z))
    assert (host(model.e)[:2] == e[:2]).all()
    for row in host(model.e)[2:]:
        assert (row == z).all(1).any()
    assert host(model.used) == pytest.approx([even, 0.11 * even, even, even])


def test_the_first_batch_lays_out_the_codebook():
    model = tiny(decay=0.9)
    model.e.data[...] = 1e3                             # nowhere near any z
    model.loss(X)
    assert abs(host(model.e)).max() < 50 and host(model.usage(X)).max() < 1


@pytest.mark.once
def test_restarts_keep_codes_in_use():
    """Codes that start far from z: without restarts one of the 16 takes everything."""
    perplexities = []
    for restart in (0.0, 0.1):
        backend.seed(3)
        model = VQVAE(9, (1, 2), 16, 4, (32,), restart=restart, prior=CodePrior((1, 2), 16, 4, 1))
        model.e.data += 20.0
        x = TinyBits(3).sample(1000, np.random.default_rng(0))
        fit(model, Endless(x, 100, np.random.default_rng(1)), 60,
            [("loss", model.loss, Adam(model.parameters(), 3e-3))])
        perplexities.append(perplexity(model.usage(x)))
    assert perplexities[0] < 2 and perplexities[1] > 4


def test_usage_and_perplexity():
    model = tiny()
    share = host(model.usage(X))
    codes = spelled_out(model, X)[1]
    assert share == pytest.approx(np.bincount(codes.reshape(-1), minlength=K) / codes.size)
    assert perplexity(xp.asarray([0.25] * 4)) == pytest.approx(4)
    assert perplexity(xp.asarray([0.0, 1.0])) == 1
    assert perplexity(xp.asarray([0.5, 0.25, 0.25])) == pytest.approx(2 ** 1.5)


def test_the_state_is_all_there_is():
    """Saved after some training and loaded into another model: same codes, and the same step on."""
    model, other = tiny(), tiny()
    for _ in range(3):
        model.loss(X)
    other.load_state_dict(model.state_dict())
    for m in (model, other):
        backend.seed(5)
        m.loss(X)
    assert (host(model.e) == host(other.e)).all() and (host(model.used) == host(other.used)).all()
    assert (host(model.encode(X)) == host(other.encode(X))).all()


# --- the bound ------------------------------------------------------------------------------------

def joint(model, x):
    """ln p(x | c) + ln p(c) of every example with all K^N codes: (K^N, B)"""
    codes = xp.asarray(all_codes())
    log_prior = host(model.prior.log_prob(codes))
    logits = host(model.decode(codes).logits)[:, None]
    return (x * logits - np.logaddexp(0, logits)).sum(2) + log_prior[:, None]


def test_the_bound_is_one_term_of_the_exact_sum():
    model = tiny()
    table = joint(model, X)
    exact = np.logaddexp.reduce(table, 0)
    elbo = host(model.elbo(X))
    chosen = host(model.encode(X)) @ K ** np.array([2, 1, 0])
    assert elbo.shape == (7,) and np.allclose(elbo, table[chosen, np.arange(7)], atol=1e-12)
    assert (elbo < exact - 1e-6).all()
    posterior = (table - exact)[chosen, np.arange(7)]
    assert np.allclose(exact + posterior, elbo, atol=1e-12)     # the gap is -ln p(c | x)


def test_the_exact_sum_is_a_density_and_the_bound_is_less_than_one():
    """Over all x: p(x) sums to 1; the bound's exponentials sum to less."""
    model, x = tiny(), np.array(list(itertools.product((0.0, 1.0), repeat=D)))
    assert abs(np.exp(np.logaddexp.reduce(joint(model, x), 0)).sum() - 1) < 1e-12
    assert np.exp(host(model.elbo(x))).sum() < 1 - 1e-3


def test_the_prior_of_all_codes_sums_to_one_and_reads_names():
    """Permuting which code is which one-hot input permutes nothing else: codes have no order."""
    prior = CodePrior((2, 2), 3, 4, 2)
    for p in prior.parameters():
        p.data = p.data.astype("float64") * 3
    codes = np.array(list(itertools.product(range(3), repeat=4)))
    log_p = host(prior.log_prob(codes))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12 and np.exp(log_p).max() > 2 / 81
    new = np.array([2, 0, 1])                           # code k is called new[k]
    for layer in (prior.layers[0].vertical, prior.layers[0].horizontal):
        layer.W.data = layer.W.data[:, xp.asarray(np.argsort(new))]
    last = prior.head[3]
    last.W.data = last.W.data[xp.asarray(np.argsort(new))]
    last.b.data = last.b.data[xp.asarray(np.argsort(new))]
    assert np.allclose(host(prior.log_prob(new[codes])), log_p, atol=1e-12)


def test_samples_of_the_prior_follow_it():
    prior = CodePrior((1, 2), 3, 4, 2)
    for p in prior.parameters():
        p.data = p.data * 3
    codes = np.array(list(itertools.product(range(3), repeat=2)))
    p = np.exp(host(prior.log_prob(codes)).astype("float64"))
    drawn = host(prior.sample(20_000)).astype(int) @ [3, 1]
    counts = np.bincount(drawn, minlength=9)

    def chi_square(p):
        return ((counts - 20_000 * p) ** 2 / (20_000 * p)).sum()
    assert chi_square(p) < 32 < chi_square(p.reshape(3, 3).T.reshape(-1))   # 8 degrees: p = 1e-4


@pytest.mark.parametrize("k", [1, 7])
def test_more_samples_of_one_point_change_nothing(k):
    model = tiny()
    assert (host(model.log_prob_bound(X, k)) == host(model.elbo(X))).all()


def test_rate_and_distortion_are_the_elbo():
    model = tiny()
    rate, distortion = rate_and_distortion(model, X)
    assert rate > 0 and rate + distortion == pytest.approx(-host(model.elbo(X)).mean(), abs=1e-10)
    assert model.prior_loss(X).item() == pytest.approx(rate, abs=1e-10)


# --- learning and samples -------------------------------------------------------------------------

def test_stage_two_changes_the_prior_alone():
    model = tiny()
    before = model.state_dict()
    fit(model, Endless(X, 5, np.random.default_rng(0)), 3,
        [("prior", model.prior_loss, Adam(model.prior.parameters(), 1e-2))])
    changed = {k for k, v in model.state_dict().items() if (v != before[k]).any()}
    assert changed and all(k.startswith("prior.") for k in changed)


@pytest.mark.once
@pytest.mark.parametrize("ema", [True, False])
def test_two_stages_close_in_on_the_floor(ema):
    """Within 1.5 nats of H(p_data) = 4.26; a coin per pixel has 6.24, and untrained codes more."""
    world, rng = TinyBits(3), np.random.default_rng(0)
    x = world.sample(5000, rng)
    model = VQVAE(9, (1, 2), 8, 8, (64,), ema=ema, prior=CodePrior((1, 2), 8, 16, 2))
    for name, loss, params in (("vq", model.loss, model.parameters()),
                               ("prior", model.prior_loss, model.prior.parameters())):
        fit(model, Endless(x, 100, rng), 300, [(name, loss, Adam(params, 5e-3))])
    floor = -world.log_prob(x).mean()
    with tg.no_grad():
        nll = -host(model.elbo(x.astype("float32"))).mean()
        sampled = host(model.sample(2000))
    assert floor < nll < floor + 1.5
    assert sampled.shape == (2000, 9) and sampled.dtype == np.float32
    assert -world.log_prob(sampled).mean() < floor + 1.5


def test_coders_may_be_convolutions():
    """A code then tells of its own corner of x: a flipped pixel moves z nearby, not far off."""
    encoder = tg.nn.Sequential(lambda x: x.reshape(-1, 1, 8, 8),
                               tg.nn.Conv2d(1, C, 4, stride=2, padding=1),
                               lambda z: z.transpose(0, 2, 3, 1))
    decoder = tg.nn.Sequential(lambda q: q.reshape(-1, 4, 4, C).transpose(0, 3, 1, 2),
                               tg.nn.ConvTranspose2d(C, 1, 4, stride=2, padding=1))
    model = VQVAE(64, (4, 4), K, C, coders=(encoder, decoder))
    x = xp.zeros((2, 64), "float32")
    x[1, 0] = 1
    z = host(model.vectors(x))
    moved = (z[0] != z[1]).any(1).reshape(4, 4)
    assert moved[0, 0] and not moved[2:].any() and not moved[:, 2:].any()
    assert model.loss(x).shape == () and model.sample(3).shape == (3, 64)


def test_float32_stays_float32():
    model = VQVAE(D, GRID, K, C, (6,))
    x = X.astype("float32")
    assert model.loss(x).dtype == model.elbo(x).dtype == model.sample(2).dtype == "float32"
    assert model.e.dtype == model.used.dtype == "float32"


def test_no_tensor_outlives_a_step(count_tensors):
    model = VQVAE(D, GRID, K, C, (6,))
    before = count_tensors()
    model.loss(X.astype("float32")), model.prior_loss(X.astype("float32"))
    assert count_tensors() == before


# --- mistakes -------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: VQVAE(D, GRID, 1), "K is 1; .* 2 codes or more"),
    (lambda: VQVAE(D, GRID, 2.5), "K is 2.5; needs a whole number"),
    (lambda: VQVAE(0, GRID), "VQVAE: D is 0"),
    (lambda: VQVAE(D, GRID, C=0), "VQVAE: C is 0"),
    (lambda: VQVAE(D, (0, 3)), "VQVAE: grid"),
    (lambda: VQVAE(D, GRID, decay=1.0), "decay is 1.0"),
    (lambda: VQVAE(D, GRID, beta=-1), "beta -1"),
    (lambda: VQVAE(D, GRID, restart=1), "restart 1"),
    (lambda: VQVAE(D, GRID, K, prior=PixelCNN((2, 2), K)), "prior over 4 codes out of 4; .* 3"),
    (lambda: VQVAE(D, GRID, K, prior=PixelCNN(GRID, 5)), "prior over 3 codes out of 5"),
    (lambda: VQVAE(D, GRID, K, C, coders=(tg.nn.Linear(D, 4), None)).encode(X), "gave .*7, 4"),
    (lambda: VQVAE(D, GRID, K, C, hidden=8), "VQVAE: hidden is 8; needs a size for each layer"),
    (lambda: tiny().loss(X[0]), r"x has shape \(5,\)"),
    (lambda: tiny().elbo(X[:, 1:]), r"x has shape \(7, 4\)"),
    (lambda: tiny().encode(X[:0]), r"x has shape \(0, 5\)"),
    (lambda: tiny().decode(xp.zeros((2, 4))), r"codes of shape \(2, 4\); decode needs"),
    (lambda: tiny().decode(xp.full((2, 3), K)), r"each 0\.\.3"),
    (lambda: tiny().log_prob_bound(X, 0), "k is 0; needs"),
    (lambda: tiny().log_prob_bound(X, 1.5), "k is 1.5; needs a whole number of at least 1"),
    (lambda: tiny().log_prob_bound(X, None), "k is None; needs a whole number of at least 1"),
    (lambda: tiny().loss(X * 255), "x runs from 0 to 255; needs values from 0 to 1"),
    (lambda: tiny().elbo(X - 3), "x runs from -3 to -2; needs"),
])
def test_mistakes_get_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
