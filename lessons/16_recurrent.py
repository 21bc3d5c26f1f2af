"""Lesson 16: can a network remember?

A table of n-grams forgets what lies n letters back. A recurrent network carries a state h from one
letter to the next: h_t = cell(x_t, h_t-1). What the state keeps is learned. A plain cell mixes all
into it at each step; a GRU and an LSTM have gates, which decide what to keep.

Promise: GRU beats 4-grams, they beat pairs, and none is below the floor; before training, gates let
more of the gradient through from 6 to 15 letters back than the plain cell does.
Changed since lesson 13: the context has no length; one cell is used at every place
- the same loss, nats per name, against the same floor; KL is exact, over all 45,578 names
- how far back a gradient reaches: d logits_t / d letter_s, for plain and gated cells

    python lessons/16_recurrent.py                      about a minute on two cores
    python lessons/16_recurrent.py --data names.txt     any file with a name a line (no floor)

순환 신경망은 상태 h를 글자에서 글자로 넘기며, 무엇을 기억할지 배운다. n-그램과 달리 문맥의 길이에 한계가
없다. 게이트가 있는 GRU와 LSTM은 무엇을 남기고 잊을지 정하므로 기울기가 더 멀리까지 닿는다.
"""
# %% The world: every name, with its probability
import numpy as np

import tinygen as tg
from tinygen import evaluation, nn, plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Words
from tinygen.datasets.text import Vocabulary, padded, read_names, split_names, unpadded
from tinygen.models.tractable.counting import NGram
from tinygen.models.tractable.recurrent import ContextMLP, RecurrentLM
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("Recurrent networks against n-grams.", worlds=("words", "FILE.txt"))
rng = np.random.default_rng(args.seed)
if args.data == "words":
    world, N = Words(), 2000 if args.quick else 20_000
    names, floor = world.sample(N, rng), world.entropy()[0]
    new = list(world.support)[:: 200 if args.quick else 1]
    log_p = world.log_prob(new)
    weight = np.exp(log_p) / np.exp(log_p).sum()
else:
    with one_sentence():
        names, _, new = split_names(read_names(args.data))
    world, floor, log_p, weight = None, None, 0.0, np.full(len(new), 1 / len(new))
with one_sentence():
    vocabulary = Vocabulary(world.alphabet if world else names + new, boundary=".")
    train, everything = padded(names, vocabulary)[1], padded(new, vocabulary)[1]
V = len(vocabulary)


def kl(model):
    """E_p_data[ln p_data - ln p_theta] over `new`, nats per name; of a file E[-ln p_theta] alone"""
    with tg.no_grad():
        log_q = np.concatenate([tg.to_numpy(model.log_prob(everything[i:i + 500]))
                                for i in range(0, len(everything), 500)])
    return float(weight @ (log_p - log_q))


# %% A ladder: a table, a network with a window, three cells
tables = {f"{n}-gram": NGram(V, n, 0.1).fit(train) for n in (2, 4)}
networks = {"MLP, 4 letters": ContextMLP(V, context=4, embedding=12, hidden=(128,)),
            "RNN": RecurrentLM(V, nn.RNNCell, 24, 96), "GRU": RecurrentLM(V, nn.GRUCell, 24, 96),
            "LSTM": RecurrentLM(V, nn.LSTMCell, 24, 96)}
steps, histories = args.steps or (10 if args.quick else 500), {}
for name, model in networks.items():
    optimizer = Adam(model.parameters(), cosine(1e-2, steps, warmup=min(20, steps // 2)))
    histories[name] = fit(model, Endless(train, min(128, len(train)), rng), steps,
                          [("nll", model.loss, optimizer)], report=Progress(name), clip=1.0)["nll"]
rows = []
for name, model in {**tables, **networks}.items():
    drawn = unpadded(model.sample(300), vocabulary)
    rows.append([name, sum(p.size for p in model.parameters()) or model.log_p.size, kl(model),
                 np.mean([n in world.support for n in drawn]) if world else None,
                 " ".join(drawn[:3])])
print(f"floor H(p_data) {floor:.3f} nats per name; KL is what a model needs beyond it" if world
      else f"{len(names)} names; p_data is unknown: nll on {len(new)} others, nats per name")
measure = "KL, nats" if world else "nll, nats"
print(evaluation.table(["model", "numbers", measure, "possible", "samples"], rows))


# %% How far back does a gradient reach? The logits of the last letter, by each letter before
def reach(cell):
    """Size of d logits_T / d x_s by distance T - s, of an untrained cell, started alike"""
    tg.seed(args.seed)
    model, T = RecurrentLM(V, cell, 24, 96), 20
    onehot = np.eye(V, dtype="float32")[rng.integers(0, V, (8, T))]
    return evaluation.dependency_map(model, onehot)[-1][::-1][1:]


cells = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}
reaches = {name: reach(cell) for name, cell in cells.items()}
for name, r in reaches.items():
    print(f"{name:5s} gradient from 1, 5, 10 letters back: "
          + ", ".join(f"{r[d - 1] / r[0]:.1e}" for d in (1, 5, 10)) + " (of the nearest)")

# %% The picture
fig, axes = plotting.figure(1, 3, (15, 4))
for name, losses in histories.items():
    plotting.curve(axes[0, 0], losses, name)
if world:
    plotting.floor_line(axes[0, 0], floor, "floor H(p_data)")
axes[0, 0].set(xlabel="step", ylabel="nll, nats per name", title="learning",
               ylim=(9.5, 20) if world else None)
axes[0, 1].plot([r[2] for r in rows][::-1], [r[0] for r in rows][::-1], "o", color="#1b6ca8")
axes[0, 1].set(xlabel="KL(p_data || p_theta), nats per name" if world else "nll, nats per name",
               xscale="log" if world else "linear",
               title="what is missing" if world else "on new names")
axes[0, 1].grid(axis="y", alpha=0.3)
for name, r in reaches.items():
    axes[0, 2].semilogy(np.arange(1, len(r) + 1), r / r[0], label=name)
axes[0, 2].set(xlabel="letters back", ylabel="gradient / gradient from 1 back",
               title="before training", xticks=range(1, 20, 3))
for ax in (axes[0, 0], axes[0, 2]):
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "16_recurrent.png", args.show))

# %% The promise of this lesson
distance = {row[0]: row[2] for row in rows}
if world and not (args.quick or args.steps):
    assert distance["GRU"] < distance["4-gram"] < distance["2-gram"]
far = {name: np.log(r[5:15] / r[0]).mean() for name, r in reaches.items()}
assert not world or min(far["GRU"], far["LSTM"]) > far["RNN"], "gates let the gradient through"
assert min(distance.values()) > -0.05, "below the floor: a leak, not a model"

# %% What we left out: long texts, by truncated back-propagation (TruncatedBPTT, Streams); longer
# training brings the GRU to .008 nats: python -m tinygen.reproduce words-gru.
# Exercise: ex14_gather.
