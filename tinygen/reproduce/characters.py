"""Language models of characters: names, real ones and those of the known world Words."""
import numpy as np

from .. import evaluation
from ..datasets.batches import Endless
from ..datasets.known import Words
from ..datasets.text import Vocabulary, contexts, padded, read_names, split_names
from ..engine.backend import to_numpy
from ..engine.fused import cross_entropy
from ..engine.tensor import no_grad
from ..models.tractable.recurrent import ContextMLP, RecurrentLM
from ..nn import GRUCell, init
from ..optim import SGD, Adam, cosine, step_decay
from .protocol import experiment


@experiment("P8", published=2.17, tolerance=0.02, unit="nats per character")
def mlp_on_names(run):
    """Character MLP (Bengio et al. 2003; Karpathy's "makemore", lecture 2), context 3, embedding
    10, 200 tanh units, names.txt shuffled with seed 42 and cut 80:10:10, SGD, batch 32, 200,000
    steps, learning rate 0.1, from half-way on 0.01, all weights from N(0, 1) as there (from
    this package's own start the same run gave 2.106); nats per character of the dev names."""
    names = read_names("names.txt")
    vocabulary = Vocabulary(names, boundary=".")
    train, dev, _ = split_names(names)
    dev, characters = padded(dev, vocabulary)[1], sum(len(name) + 1 for name in dev)
    model, steps = ContextMLP(len(vocabulary), 3, 10, (200,)), 200_000
    for p in model.parameters():
        p.data[...] = init.normal(p.shape, std=1.0).data
    x, y = contexts(train, vocabulary, 3)
    sgd = SGD(model.parameters(), step_decay(0.1, steps // 2))

    def nats():
        return -evaluation.mean_and_error(model.log_prob, dev)[0] * len(dev) / characters
    run.fit(model, Endless(x, 32, run.rng, y), steps,
            [("nll", lambda batch: cross_entropy(model(batch[0]), batch[1]), sgd)],
            nats, every=steps // 10, unit="nats per character")
    return nats()


@experiment("words-gru", published=0.05, unit="nats per name above the floor", word="at most")
def gru_on_words(run):
    """GRU, embedding 32, state 160, on endless fresh names of the known world Words, Adam 4e-3 with
    a cosine to 0, batch 256, 4,000 steps; KL(p_data || p_theta), exact, by summing over all 45,578
    names that there are."""
    world = Words()
    names = list(world.support)[:500 if run.quick else None]
    vocabulary = Vocabulary(world.alphabet, boundary=".")
    x, log_p = padded(names, vocabulary)[1], world.log_prob(names)
    model, steps = RecurrentLM(len(vocabulary), GRUCell, 32, 160), 4000
    B = 32 if run.quick else 256
    batches = Endless(np.arange(B), B, run.rng, transform=lambda _, rng: padded(
        world.sample(B, rng), vocabulary)[1])

    def distance():
        with no_grad():
            log_q = [to_numpy(model.log_prob(x[i:i + 500])) for i in range(0, len(x), 500)]
        return float(np.exp(log_p) @ (log_p - np.concatenate(log_q)))
    run.fit(model, batches, steps,
            [("nll", model.loss, Adam(model.parameters(), cosine(4e-3, steps, warmup=100)))],
            distance, every=steps // 4)
    return distance(), 0.0
