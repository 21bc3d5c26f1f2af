"""Lesson 04: how does a random theta become a model?

Three choices, the same for everything in this course:

    model family     p_theta(next | letter) = softmax(theta[letter]):  a table theta (V, V)
    objective        cross-entropy  E_p_data[-ln p_theta(next | letter)]
    optimization     theta <- theta - lr d objective / d theta, from a random theta_0 to theta*

The objective needs samples only, and it is the right one: cross-entropy = entropy + KL, and the
entropy of p_data does not depend on theta. Here p_data is known, so all three are printed.

Promise: cross-entropy = entropy + KL at every step; our gradient is what differences say; KL falls
to under a tenth, and theta* is what counting gives, to 0.01 nats.
Changed since lesson 03: theta is found step by step, by a gradient that we derive by hand
    d -ln softmax(s)[k] / ds = softmax(s) - onehot(k)

    python lessons/04_the_recipe.py       a few seconds

생성모델을 만드는 법은 늘 같다: 모델의 집합(모수 theta), 학습 목표(교차 엔트로피 = 엔트로피 + KL), 최적화
(경사 하강). 무작위 theta_0에서 시작하여 손으로 유도한 기울기를 따라가면 세기로 얻은 최적해 theta*에
이르고, 교차 엔트로피가 줄어드는 만큼 KL이 줄어든다.
"""
# %% The world: romanised Korean-style names, letter after letter; "." begins and ends a name
import numpy as np

from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Words

args = lesson_options("A bigram model: family, objective, optimization.")
rng = np.random.default_rng(args.seed)
world = Words()
letters = "." + world.alphabet
V = len(letters)
ids = {c: i for i, c in enumerate(letters)}


def pairs(names, weights):
    """How often, by weight, each letter follows each: (V, V)"""
    counts = np.zeros((V, V))
    for name, w in zip(names, weights):
        for a, b in zip("." + name, name + "."):
            counts[ids[a], ids[b]] += w
    return counts


# %% p_data of a pair, exactly: every name that there is, times its probability
joint = pairs(world.support, world.support.values())
joint /= joint.sum()                                # p_data(letter, next)
p_data = joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)       # p_data(next | letter)
seen = joint > 0
entropy = -(joint[seen] * np.log(p_data[seen])).sum()       # E[-ln p_data(next | letter)]


# %% Family and objective, and the gradient by hand
def log_softmax(theta):
    return theta - np.logaddexp.reduce(theta, 1)[:, None]


def cross_entropy(theta, freq):
    """-sum over pairs of freq ln p_theta, nats per letter; freq (V, V) adds up to 1"""
    return -(freq * log_softmax(theta)).sum()


def gradient(theta, freq):
    """Each pair brings softmax - onehot; all pairs with one first letter share their softmax."""
    return freq.sum(1, keepdims=True) * np.exp(log_softmax(theta)) - freq


def kl(theta):
    """E_p_data[ln p_data - ln p_theta] given the letter before, nats per letter"""
    return (joint[seen] * (np.log(p_data[seen]) - log_softmax(theta)[seen])).sum()


# %% Is the gradient right? Push theta a little in a random direction, and compare
theta = rng.normal(size=(V, V))
direction, eps = rng.normal(size=(V, V)), 1e-5
by_hand = (gradient(theta, joint) * direction).sum()
pushed = (cross_entropy(theta + eps * direction, joint)
          - cross_entropy(theta - eps * direction, joint)) / (2 * eps)
print(f"slope along a random direction: by hand {by_hand:.8f}, by differences {pushed:.8f}")

# %% Optimization: from a random theta_0, on samples
train = pairs(world.sample(20_000, rng), np.ones(20_000))
train /= train.sum()
steps, lr = (300 if args.quick else 3000), 20.0
history, snapshots = [], {}
for step in range(steps + 1):
    if step in (0, 10, 100, steps):
        snapshots[step] = np.exp(log_softmax(theta))
    history.append((cross_entropy(theta, joint), kl(theta)))
    if step in (0, 10, 100, 300, 1000, 3000):
        ce, gap = history[-1]
        print(f"step {step:4d}  cross-entropy {ce:.4f} = entropy {entropy:.4f} + KL {gap:.4f} nats "
              "per letter")
    theta -= lr * gradient(theta, train)
history = np.array(history)

# %% theta* has a formula here: counting. Gradient descent arrives at the same model
counted = train / np.maximum(train.sum(1, keepdims=True), 1e-300)
best = -(train[train > 0] * np.log(counted[train > 0])).sum()
print(f"on the training pairs: by steps {cross_entropy(theta, train):.4f}, by counting {best:.4f}")


def spell():
    """A name from p_theta: letters drawn until "." comes"""
    name, at = "", 0
    while True:
        at = rng.choice(V, p=np.exp(log_softmax(theta))[at])
        if at == 0:
            return name
        name += letters[at]


print("names of p_data :", " ".join(world.sample(8, rng)))
print("names of p_theta:", " ".join(spell() for _ in range(8)))
print("pairs know nothing of the letters before: the floor of whole names is "
      f"{world.entropy()[0] / (joint.sum() / joint[0].sum()):.4f} nats per letter")

# %% The picture: tables on the way, and the identity at every step
fig, axes = plotting.figure(1, 5, (17, 3.6))
for ax, (step, p) in zip(axes[0], snapshots.items()):
    ax.imshow(p, cmap="gray_r", vmin=0, vmax=0.6)
    ax.set(title=f"p_theta, step {step}", xlabel="next letter", ylabel="letter",
           xticks=range(V), yticks=range(V), xticklabels=letters, yticklabels=letters)
    ax.tick_params(labelsize=6)
ax = axes[0, 4]
ax.semilogx(np.arange(len(history)) + 1, history[:, 0], label="cross-entropy")
ax.fill_between(np.arange(len(history)) + 1, entropy, history[:, 0], alpha=0.2, label="KL")
plotting.floor_line(ax, entropy, "entropy: the floor")
ax.set(xlabel="step + 1", ylabel="nats per letter", title="cross-entropy = entropy + KL")
ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "04_the_recipe.png", args.show))

# %% The promise of this lesson
assert np.abs(history[:, 0] - entropy - history[:, 1]).max() < 1e-9, "the identity, at every step"
assert abs(by_hand - pushed) < 1e-8 and history[-1, 1] < 0.1 * history[0, 1]
assert args.quick or cross_entropy(theta, train) < best + 0.01, "theta* is what counting gives"

# %% What we left out: more than one letter of context (lessons 13, 16, 17), steps that adapt (10),
# and gradients that nobody has to derive (05 to 09). Exercises: ex08_cross_entropy.
