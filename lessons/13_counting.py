"""Lesson 13: how far does counting take us?

The chain rule splits any distribution of sequences into small ones:

    p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ...

If each factor looks back at most n - 1 letters, it is a table, and the best table is a count:
n = 1 the letters alone, n = 2 pairs, ... The floor is known here, so we see both walls: a short
context cannot know enough, and a long one has more cells than there are names to fill them.
The samples of a good table are possible: names that p_data can make.

Promise: from names seen to new ones the largest table loses more nats than pairs do; in the known
world n = 2 beats 1, n = 3 beats 2, and none goes below the floor.
Changed since lesson 04: contexts of any length; smoothing, so that nothing unseen is impossible
    python lessons/13_counting.py                      a few seconds
    python lessons/13_counting.py --data names.txt     any file with a name a line (no floor)

확률의 연쇄 법칙으로 이름의 확률을 글자 하나하나의 조건부 확률의 곱으로 쓴다. 조건을 앞의 n-1 글자로 줄이면
표를 세는 것만으로 최적해가 나온다. n이 작으면 모르는 것이 많고, n이 크면 표의 칸이 자료보다 많아진다.
"""
# %% The world: names, and what fits into a table
from textwrap import shorten

import numpy as np

from tinygen import evaluation, plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.known import Words
from tinygen.datasets.text import Vocabulary, padded, read_names, split_names, unpadded
from tinygen.models.tractable.counting import NGram

args = lesson_options("n-gram tables against a known floor.", worlds=("words", "FILE.txt"))
rng = np.random.default_rng(args.seed)
if args.data == "words":
    world, N = Words(), 2000 if args.quick else 20_000
    names, test_names, floor = world.sample(N, rng), world.sample(5000, rng), world.entropy()[0]
else:
    with one_sentence():
        names, _, test_names = split_names(read_names(args.data))
    world, floor = None, None
with one_sentence():
    vocabulary = Vocabulary(names + test_names, boundary=".")
    train, test = padded(names, vocabulary)[1], padded(test_names, vocabulary)[1]
V, letters = len(vocabulary), np.mean([len(name) + 1 for name in test_names])
unit = f"1 nat per name is {1 / letters:.3f} nats per letter"
print(f"{len(names):,} names, an alphabet of {V - 1} letters; {unit}" + (
    f"; floor H(p_data) {floor:.3f} nats per name" if world else ""))


# %% Tables of every order
def nats(model, x):
    return -evaluation.mean_and_error(model.log_prob, x)[0]


orders = [n for n in (1, 2, 3, 4, 5) if V ** n < 2e7]        # an alphabet may be large
few = train[::20]
rows, curves = [], {"all names": [], "a twentieth": []}
for n in orders:
    model = NGram(V, n, smoothing=0.1).fit(train)
    small = NGram(V, n, smoothing=0.1).fit(few)
    seen, new = nats(model, train[:5000]), nats(model, test)
    curves["all names"].append(new)
    curves["a twentieth"].append(nats(small, test))
    samples = unpadded(model.sample(300), vocabulary)
    real = np.mean([name in world.support for name in samples]) if world else None
    rows.append([n, V ** n, seen, new, new - floor if world else None, real,
                 shorten(" ".join(samples[:3]), 50, placeholder=" ...")])
columns = ["n", "cells", "nats, seen", "nats, new", "KL", "possible", "samples"]
print(evaluation.table(columns, rows))

# %% Smoothing: what to give to what was never seen?
amounts = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0)
n = min(4, orders[-1])
smoothed = [nats(NGram(V, n, smoothing=a).fit(train), test) for a in amounts]
print(f"n = {n}, smoothing: " + ", ".join(f"{a:g}: {v:.2f}" for a, v in zip(amounts, smoothed))
      + " nats (inf: a new name has a step that was never seen)")

# %% The picture
fig, axes = plotting.figure(1, 3, (15, 4))
for (label, values), marker in zip(curves.items(), "os"):
    axes[0, 0].plot(orders, values, f"{marker}-", label=f"new names, counted on {label}")
axes[0, 0].plot(orders, [r[2] for r in rows], "^:", label="names that were counted")
if world:
    plotting.floor_line(axes[0, 0], floor, "floor H(p_data)")
axes[0, 0].set(xlabel="n: letters in a cell", ylabel="nats per name", xticks=orders,
               title="too little context, too many cells")
axes[0, 0].legend(fontsize=8)
axes[0, 1].semilogx(amounts[1:], smoothed[1:], "o-")
axes[0, 1].set(xlabel="smoothing, added to each count", ylabel="nats per new name",
               title=f"n = {n}: how much smoothing?")
table = np.exp(NGram(V, 2, 0.1).fit(train).log_p.data)
axes[0, 2].imshow(table, cmap="gray_r")
ticks = dict(ticks=range(V), labels=vocabulary.chars, fontsize=7)
axes[0, 2].set_xticks(**ticks)
axes[0, 2].set_yticks(**ticks)
axes[0, 2].set(xlabel="next letter", ylabel="letter", title="n = 2: the table is the model")
print("figure:", plotting.save(fig, args.out, "13_counting.png", args.show))

# %% The promise of this lesson
news = curves["all names"]
assert rows[-1][3] - rows[-1][2] > rows[1][3] - rows[1][2], "large tables carry over less"
if world:
    assert news[2] < news[1] < news[0], "context helps, as long as it can be counted"
    assert min(news) > floor

# %% What we left out: backing off to shorter contexts (Kneser & Ney 1995). Networks share what they
# know between contexts instead: lessons 14 to 17. Exercises: ex08_cross_entropy.
