"""Language models of characters: names, real ones and those of the known world Words."""
import numpy as np

from ..datasets.batches import Endless
from ..datasets.known import Words
from ..datasets.text import Vocabulary, contexts, padded, read_names, split_names
from ..engine.fused import cross_entropy
from ..evaluation import in_batches
from ..models.tractable.causal import WaveNet
from ..models.tractable.recurrent import ContextMLP, RecurrentLM
from ..models.tractable.transformer import Transformer
from ..nn import GRUCell, init
from ..optim import SGD, Adam, cosine, step_decay
from .protocol import drawn, experiment, nll


def real_names():
    """(vocabulary, the names to train on, the ids of the dev names, the number of characters of
    these)"""
    names = read_names("names.txt")
    vocabulary = Vocabulary(names, boundary=".")
    train, dev, _ = split_names(names)
    return vocabulary, train, padded(dev, vocabulary)[1], sum(len(name) + 1 for name in dev)


@experiment("P8", published=2.17, tolerance=0.02, unit="nats per character")
def mlp_on_names(run):
    """Character MLP (Bengio et al. 2003; Karpathy's "makemore", lecture 2), context 3, embedding
    10, 200 tanh units, names.txt shuffled with seed 42 and cut 80:10:10, SGD, batch 32, 200,000
    steps, learning rate 0.1, from half-way on 0.01, all weights from N(0, 1) as there (from
    this package's own start the same run gave 2.106); nats per character of the dev names."""
    vocabulary, train, dev, characters = real_names()
    model, steps = ContextMLP(len(vocabulary), 3, 10, (200,)), 200_000
    for p in model.parameters():
        p.data[...] = init.normal(p.shape, std=1.0).data
    x, y = contexts(train, vocabulary, 3)
    sgd = SGD(model.parameters(), step_decay(0.1, steps // 2))

    def nats():
        return nll(model.log_prob, dev) * len(dev) / characters
    run.fit(model, Endless(x, 32, run.rng, y), steps,
            [("nll", lambda batch: cross_entropy(model(batch[0]), batch[1]), sgd)],
            nats, every=steps // 10, unit="nats per character")
    return nats()


@experiment("P9", published=2.02, unit="nats per character", word="at most")
def wavenet_on_names(run):
    """WaveNet, names.txt shuffled with seed 42 and cut 80:10:10, gated causal convolutions of size
    2 with dilations 1, 2, 4 (so 8 characters of context), width 64, dropout .1, Adam 2e-3 with a
    cosine to 0, batch 128 names, 12,000 steps; nats per character of the dev names. Karpathy's
    "makemore", lecture 5, merges 8 characters two by two with batch norm, 200,000 steps on batches
    of 32 characters: 1.993."""
    vocabulary, train, dev, characters = real_names()
    model, steps = WaveNet(len(vocabulary), 32, dropout=0.1, start=0, end=0), 12_000
    adam = Adam(model.parameters(), cosine(2e-3, steps, warmup=100))
    run.fit(model, Endless(padded(train, vocabulary)[1], 128, run.rng), steps,
            [("nll", model.loss, adam)], lambda: nll(model.log_prob, dev), every=steps // 8)
    model.eval()
    return nll(model.log_prob, dev) * len(dev) / characters


# --- a known world --------------------------------------------------------------------------------

def on_words(run, make, lr, batch_size):
    """Trains make(size of the vocabulary, length of the longest name with its boundary) on fresh
    names; gives KL(p_data || p_theta) and its error, 0."""
    world, steps, B = Words(), 4000, 32 if run.quick else batch_size
    names = sorted(world.support, key=len)
    vocabulary = Vocabulary(world.alphabet, boundary=".")
    model = make(len(vocabulary), len(names[-1]) + 1)
    names = names[:500 if run.quick else None]
    x, log_p = padded(names, vocabulary)[1], world.log_prob(names)

    def distance():
        return float(np.exp(log_p) @ (log_p - in_batches(model.log_prob, x).astype("float64")))
    adam = Adam(model.parameters(), cosine(lr, steps, warmup=100))
    run.fit(model, drawn(lambda n, rng: padded(world.sample(n, rng), vocabulary)[1], B, run.rng),
            steps, [("nll", model.loss, adam)], distance, every=steps // 4)
    return distance(), 0.0


@experiment("words-gru", published=0.05, unit="nats per name above the floor", word="at most")
def gru_on_words(run):
    """GRU, embedding 32, state 160, on endless fresh names of the known world Words, Adam 4e-3 with
    a cosine to 0, batch 256, 4,000 steps; KL(p_data || p_theta), exact, by summing over all 45,578
    names that there are."""
    return on_words(run, lambda V, T: RecurrentLM(V, GRUCell, 32, 160), 4e-3, 256)


@experiment("words-transformer", published=0.05, unit="nats per name above the floor",
            word="at most")
def transformer_on_words(run):
    """Transformer, 3 layers, 4 heads, width 64, on endless fresh names of the known world Words,
    Adam 3e-3 with a cosine to 0, batch 128, 4000 steps; KL(p_data || p_theta), exact, by summing
    over all 45,578 names that there are."""
    return on_words(run, lambda V, T: Transformer(V, T, 3, 4, 64, start=0, end=0), 3e-3, 128)
