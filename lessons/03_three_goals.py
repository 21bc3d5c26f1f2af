"""Lesson 03: what are generative models for, and can one model do it all?

Three goals, each a number:

    density estimation    how probable is x?        nats per picture, against the floor H(p_data)
    generation            draw a new x              ln p_data of the samples, templates they reach
    representation        what is x about?          accuracy of naming the digit from p(k | x)

The model is a mixture of Bernoullis:   p(x) = sum_k w_k prod_d p_kd^x_d (1 - p_kd)^(1 - x_d).
Component k, the hidden cause, is an average picture; p(k | x) says which cause x points to.

Promise: 300 components need fewer nats than one, not fewer than the floor, and name over half the
digits; to one that knows pictures by heart, new ones cost over 10 nats more than those.
Changed since lesson 02: x is a picture of 256 bits; the class is hidden; EM finds it (lesson 21)
    python lessons/03_three_goals.py       a few seconds

생성모델의 세 가지 목표는 밀도 추정, 생성, 표현 학습이다. 같은 혼합 모델 하나로 세 목표를 각각 수로 재고,
성분의 수 K에 따라 어떻게 달라지는지 본다. 학습 자료를 외운 모델은 그럴듯한 표본을 내지만 밀도 추정에서는
드러난다: 목표마다 재는 자가 따로 필요하다.
"""
# %% The world: noisy pictures of digits; the digit is a factor that no model is told
import warnings

import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Glyphs
from tinygen.models.tractable.counting import MixtureOfBernoullis

args = lesson_options("Density, generation and representation of one mixture.")
warnings.filterwarnings("ignore", message="MixtureOfBernoullis: .* components answer for less")
rng = np.random.default_rng(args.seed)
world = Glyphs()                # 540 templates; each pixel flipped with p = 0.02
N = 1000 if args.quick else 5000
train, factors = world.sample(N, rng, return_factors=True)
test, test_factors = world.sample(N, rng, return_factors=True)
digit, test_digit = factors["digit"], test_factors["digit"]
floor = world.entropy()[0]


# %% Goal 1, density estimation
def nats(model):
    return -evaluation.mean_and_error(model.log_prob, test)[0]


# %% Goal 2, generation: judged by the true p_data, which a model never sees
def quality(x):
    """Mean ln p_data of samples, and how many templates they reach"""
    x = tg.to_numpy(x)
    return world.log_prob(x).mean(), len(world.modes_found(x))


# %% Goal 3, representation: p(k | x), and from it the digit. Labels serve only to read it out
def named(model):
    """Each component gets the digit that it mostly stands for; x gets its component's."""
    votes = tg.to_numpy(model.responsibilities(train)).T @ np.eye(10)[digit]            # (K, 10)
    votes /= votes.sum(1, keepdims=True) + 1e-9
    guess = tg.to_numpy(model.responsibilities(test)) @ votes
    return (guess.argmax(1) == test_digit).mean()


def row(name, model):
    return [name, nats(model), *quality(model.sample(1000)), named(model)]


# %% From one component to hundreds
sizes = (1, 10, 40) if args.quick else (1, 3, 10, 30, 100, 300)
models = {K: MixtureOfBernoullis(256, K).fit(train, steps=30) for K in sizes}
rows = [row(f"K = {K}", model) for K, model in models.items()]

# %% A model that has learned the training pictures by heart: one component each, flips of 2 %
memory = MixtureOfBernoullis(256, 500)
memory.p.data[...] = abs(train[:500] - 0.02)
rows.append(row("500 pictures by heart", memory))
true = world.sample(1000, rng)
rows.append(["true samples", floor, *quality(true), None])
columns = ["mixture", "nll, nats", "ln p_data(samples)", "templates", "digit right"]
print(f"1: density, 2: generation, 3: representation. Floor H(p_data) {floor:.2f} nats, "
      f"{world.K} templates, chance of a digit 0.10")
print(evaluation.table(columns, rows))

# %% What the memory does not know, pictures that it has not seen; and which model is best at what
seen, unseen = (-memory.log_prob(x).data.mean() for x in (train[:500], test))
print(f"by heart: {seen:.1f} nats on what it has seen, {unseen:.1f} on new pictures: density "
      "estimation finds it out")
best = {goal: max(rows[:-1], key=lambda r: sign * r[i])[0]
        for goal, i, sign in (("density", 1, -1), ("generation", 2, 1), ("representation", 4, 1))}
print("best by goal:", ", ".join(f"{goal}: {name}" for goal, name in best.items()))

# %% The picture: components, samples, and the three goals against K
fig, axes = plotting.figure(1, 4, (16, 4))
shown = models[sizes[-2]]
plotting.images(axes[0, 0], tg.to_numpy(shown.p)[:64], (16, 16),
                title=f"components of K = {sizes[-2]}: average pictures")
plotting.images(axes[0, 1], tg.to_numpy(shown.sample(64)), (16, 16), title="its samples")
goals = rows[:len(sizes)]
axes[0, 2].plot(sizes, [r[1] for r in goals], "o-", color="#1b6ca8", label="nll on new pictures")
axes[0, 2].plot(sizes, [-r[2] for r in goals], "s-", color="#3c8d5a", label="-ln p_data(samples)")
plotting.floor_line(axes[0, 2], floor, "floor H(p_data)")
axes[0, 2].set(xscale="log", xlabel="components K", ylabel="nats per picture",
               title="density, generation", ylim=(0, 180))
axes[0, 3].plot(sizes, [r[4] for r in goals], "o-", color="#c8553d", label="digit named right")
axes[0, 3].plot(sizes, [r[3] / world.K for r in goals], "s-", color="#3c8d5a",
                label="share of templates reached")
axes[0, 3].set(xscale="log", xlabel="components K", ylabel="share",
               title="representation, coverage", ylim=(0, 1))
for ax in axes[0, 2:]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "03_three_goals.png", args.show))

# %% The promise of this lesson
assert rows[0][1] > rows[-3][1] > floor and rows[-3][4] > 0.5, "causes help, and the floor holds"
assert unseen > seen + 10, "what was learned by heart does not carry over"

# %% What we left out
# - Components share nothing: each must see its own examples. A VAE's causes combine: lesson 24.
# - The probe reads the digit out of p(k | x) by votes; lesson 32 uses linear probes for all models.
# Exercises: ex31_em_step.
