"""The k-sample objective and its two gradients: one mean, different noise."""
import math
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.distributions import Normal
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.models.approximate.iwae import IWAE, doubly_reparameterised_bound
from tinygen.models.approximate.priors import MixturePrior, VampPrior
from tinygen.models.approximate.vae import VAE, HierarchicalVAE
from tinygen.optim import Adam
from tinygen.training import fit

D, Z = 4, 2
X = (np.random.default_rng(0).random((3, D)) < 0.5).astype("float64")


def float64(model, times=1.0):
    for p in model.parameters():
        p.data = xp.asarray(p.data * times, dtype="float64")
    return model


def with_vamp():
    model = VAE(D, Z, (5,))
    model.prior = VampPrior(model.encoder, X[:2].astype("float32"))
    return model


MODELS = {"plain": lambda: VAE(D, Z, (5,)), "vamp": with_vamp,
          "mixture": lambda: VAE(D, Z, (5,), prior=MixturePrior(Z, 3)),
          "two levels": lambda: HierarchicalVAE(D, (Z, 2), (5,), (5,))}


@pytest.fixture(params=MODELS)
def model(request):
    return float64(MODELS[request.param]())


def seeded(f, *args):
    backend.seed(7)
    return f(*args)


# --- values ---------------------------------------------------------------------------------------

def test_the_loss_is_minus_the_bound():
    for doubly in (False, True):
        model = float64(IWAE(D, Z, (5,), k=6, doubly=doubly))
        loss = seeded(model.loss, X).item()
        bound = seeded(lambda: model.log_prob_bound(X, 6, chunk=6).mean()).item()
        assert loss == pytest.approx(-bound, abs=1e-12)


def test_one_sample_is_the_elbo(model):
    """In expectation: the ELBO takes its KL in closed form where there is one."""
    x = np.repeat(X, 3000, 0)
    with tg.no_grad():
        gap = tg.to_numpy(model.elbo(x) - doubly_reparameterised_bound(model, x, 1))
    assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(x)) < 0.2


def test_chunks_change_nothing():
    """Drawn one, two or five at a time, five samples are the same five."""
    model = float64(VAE(D, Z, (5,)))
    bounds = [tg.to_numpy(seeded(lambda: model.log_prob_bound(X, 5, chunk=c))) for c in (1, 2, 5)]
    assert np.allclose(bounds[0], bounds[1], atol=1e-12)
    assert np.allclose(bounds[0], bounds[2], atol=1e-12)


@pytest.mark.host_only(reason="counts the host's memory")
def test_five_thousand_samples_take_the_memory_of_one_chunk():
    """And come near ln p(x), the sum over z on a fine grid."""
    model, peaks, bounds = float64(IWAE(D, Z, (5,))), {}, {}
    for k in (100, 200, 5000):                          # the first makes what is made once
        tracemalloc.start()
        with tg.no_grad():
            bounds[k] = tg.to_numpy(model.log_prob_bound(X, k, chunk=100))
        peaks[k] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[5000] < 1.2 * peaks[200]
    line = np.linspace(-6, 6, 121)
    z = np.stack(np.meshgrid(line, line), -1).reshape(-1, 1, Z)
    joint = tg.to_numpy((model.decode(z).log_prob(X).sum(-1) + model.log_prior(z)).data)
    log_p = np.log(np.exp(joint).sum(0)) + 2 * math.log(line[1] - line[0])
    assert np.allclose(bounds[5000], log_p, rtol=0, atol=0.02)


# --- gradients ------------------------------------------------------------------------------------

def encoder_gradients(model, bound, k, copies=3000):
    """The gradient by (mu, ln s^2) of q(z | X[0]) for each copy of X[0]: (copies, 2 Z)."""
    q = model.encode(X[:1])
    leaves = [tg.tensor(np.repeat(tg.to_numpy(a), copies, 0), requires_grad=True)
              for a in (q.mu, q.logvar)]
    x = xp.asarray(np.repeat(X[:1], copies, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "encode", lambda x, labels=None: Normal(*leaves))
        g = tg.grad(bound(model, x, k).sum(), leaves)
    return np.concatenate([tg.to_numpy(a) for a in g], 1)


def plainly(model, x, k):
    return model.log_prob_bound(x, k, chunk=k)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_both_gradients_have_one_mean(model, k):
    for p in model.parameters():
        p.data *= 2                                     # far from any optimum
    plain, doubly = (encoder_gradients(model, bound, k)
                     for bound in (plainly, doubly_reparameterised_bound))
    error = np.hypot(plain.std(0), doubly.std(0)) / math.sqrt(len(plain))
    assert (abs(plain.mean(0) - doubly.mean(0)) < 4.5 * error).all()
    assert (abs(doubly.mean(0)) > 8 * doubly.std(0) / math.sqrt(len(plain))).any()


def test_a_factor_short_of_the_square_is_another_gradient():
    """The test above can fail: share_i in place of share_i^2 has another mean."""
    model = float64(VAE(D, Z, (5,)), 2)

    def once(model, x, k):
        q = model.encode(x)
        z = q.rsample(k)
        fixed = Normal(q.mu.detach(), q.logvar.detach())
        return tg.logsumexp(model.log_weight(x, fixed, z), 0)
    plain, wrong = (encoder_gradients(model, bound, 8) for bound in (plainly, once))
    error = np.hypot(plain.std(0), wrong.std(0)) / math.sqrt(len(plain))
    assert (abs(plain.mean(0) - wrong.mean(0)) > 8 * error).any()


def test_signal_to_noise_falls_with_k_unless_reparameterised_twice():
    """Noise / signal grows as sqrt(k) for IWAE and shrinks as 1 / sqrt(k) for DReG (figure 1)."""
    model, noise = float64(VAE(D, Z, (5,)), 0.5), {}
    for k in (4, 64):
        plain, doubly = (encoder_gradients(model, bound, k)
                         for bound in (plainly, doubly_reparameterised_bound))
        signal = (doubly.mean(0) ** 2).sum()
        noise[k] = [math.sqrt(g.var(0).sum() / signal) for g in (plain, doubly)]
    assert noise[64][0] > 2 * noise[4][0]               # 4 times, far from k = 1
    assert noise[64][1] < 0.7 * noise[4][1]             # 1/4 in the end


def test_the_decoder_has_the_gradient_that_it_had():
    model = float64(VAE(D, Z, (5,), prior=MixturePrior(Z, 3)))
    theta = model.decoder.parameters() + model.prior.parameters()
    g, h = (seeded(lambda: tg.grad(bound(model, X, 5).sum(), theta))
            for bound in (plainly, doubly_reparameterised_bound))
    for a, b in zip(g, h):
        assert np.allclose(tg.to_numpy(a), tg.to_numpy(b), atol=1e-12)


def test_gradcheck_of_the_objective(model):
    def f(W, V):                                        # gradcheck draws the same eps each time
        model.encoder[0].W, model.decoder[0].W = W, V
        return model.log_prob_bound(X, 4, chunk=4)
    tg.gradcheck(f, model.encoder[0].W.data, model.decoder[0].W.data, order=1)


def test_no_tensor_outlives_a_step(count_tensors):
    model = IWAE(D, Z, (5,), k=3, doubly=True)
    before = count_tensors()
    model.loss(X)                                       # no backward: nothing else breaks a cycle
    assert count_tensors() == before


# --- learning -------------------------------------------------------------------------------------

@pytest.mark.once
@pytest.mark.parametrize("doubly", [False, True])
def test_learning_closes_in_on_the_floor(doubly):
    """Within 1.1 nats of H(p_data) = 4.26, where an untrained model has 6.3."""
    world, model = TinyBits(3), IWAE(9, 4, (64,), k=5, doubly=doubly)
    x = world.sample(5000, np.random.default_rng(0))
    fit(model, Endless(x, 100, np.random.default_rng(1)), 350,
        [("loss", model.loss, Adam(model.parameters(), 5e-3))])
    floor = -world.log_prob(x[:1000]).mean()
    with tg.no_grad():
        nll = -tg.to_numpy(model.log_prob_bound(x[:1000], 64, chunk=4)).mean()
    assert floor - 0.1 < nll < floor + 1.1


@pytest.mark.parametrize("k", [0, 1.5, None])
def test_k_that_is_no_count_gets_one_sentence(k):
    for call in (lambda: IWAE(D, k=k), lambda: IWAE(D).log_prob_bound(X, k),
                 lambda: doubly_reparameterised_bound(VAE(D), X, k)):
        with pytest.raises(ValueError, match=f": k is {k}; needs a whole number of at least 1"):
            call()
