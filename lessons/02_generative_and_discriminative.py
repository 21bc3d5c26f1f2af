"""Lesson 02: what does a generative model know that a discriminative one does not?

discriminative    p(y | x): a line between the classes.            logistic regression
generative        p(x | y) and p(y): what each class looks like.   Gaussians, then Bayes' rule:

    p(y | x) = p(x | y) p(y) / p(x),        p(x) = sum over y of p(x | y) p(y)

Both draw a decision boundary. Only the second has p(x): it can say "none of these".

Promise: Gaussians win at 30 examples; p(x) refuses over 80 % of the unfamiliar and under 6 % of
the rest; of the 60 % it accepts first under 2 % are mistakes, of logistic regression's more.
Changed since lesson 01: each class is a Gaussian; refused is what is less likely than 98 % of x
    python lessons/02_generative_and_discriminative.py       a few seconds

판별모델은 p(y|x)만 배워 결정 경계를 긋고, 생성모델은 p(x|y)와 p(y)를 배워 베이즈 정리로 같은 경계를
얻는다. 판별모델은 처음 보는 자료에도 반드시 한 부류를 골라야 하지만, 생성모델은 p(x)가 문턱값보다
낮으면 "이 중에 없음"이라고 말할 수 있다.
"""
# %% The world: three blades of a pinwheel, one class each, and points of no class at all
import numpy as np

from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Mixture2D

args = lesson_options("Gaussians and Bayes' rule against logistic regression.")
rng = np.random.default_rng(args.seed)
world = Mixture2D("pinwheel")


def draw(n):
    """Points of blades 0, 1 and 2, and their labels."""
    x, factors = world.sample(4 * n, rng, return_factors=True)
    kept = np.flatnonzero(factors["arm"] < 3)[:n]
    return x[kept].astype(float), factors["arm"][kept]


K, (test_x, test_y) = 3, draw(4000)
x, factors = world.sample(4000, rng, return_factors=True)
unfamiliar = x[factors["arm"] >= 3].astype(float)       # two blades that nobody was shown


# %% Generative: a Gaussian for each class, fitted by its moments, and Bayes' rule
class GaussianClasses:
    """naive: without what the features have to do with each other."""

    def __init__(self, x, y, naive=False):
        self.prior = np.log(np.bincount(y, minlength=K) / len(y))
        self.means = [x[y == k].mean(0) for k in range(K)]
        C = [np.cov(x[y == k].T) + 1e-3 * np.eye(2) for k in range(K)]
        self.covariances = [np.diag(c.diagonal()) if naive else c for c in C]

    def log_joint(self, x):
        """ln p(x | y) + ln p(y) -> (n, K)"""
        pairs = [(x - m, C) for m, C in zip(self.means, self.covariances)]
        return np.stack([-0.5 * ((d @ np.linalg.inv(C) * d).sum(1) + np.linalg.slogdet(
            2 * np.pi * C)[1]) for d, C in pairs], 1) + self.prior

    def log_p_x(self, x):
        return np.logaddexp.reduce(self.log_joint(x), 1)

    def p_y(self, x):
        return np.exp(self.log_joint(x) - self.log_p_x(x)[:, None])


# %% Discriminative: logistic regression on x and its squares, the very features of a Gaussian
class Logistic:
    def __init__(self, x, y, steps=400, lr=0.5, decay=1e-3):
        f, onehot, self.W = self.features(x), np.eye(K)[y], np.zeros((6, K))
        for _ in range(steps):                      # gradient of -ln p(y | x): f' (p - onehot)
            self.W -= lr * (f.T @ (self.p_y(x) - onehot) / len(x) + decay * self.W)

    def features(self, x):
        a, b = x.T
        return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], 1)

    def p_y(self, x):
        s = self.features(x) @ self.W
        return np.exp(s - np.logaddexp.reduce(s, 1)[:, None])


# %% Accuracy by the number of examples: means over several draws
sizes, repeats = (12, 30, 100, 300, 1000), 3 if args.quick else 15
kinds = {"Gaussians": GaussianClasses, "naive Bayes": lambda x, y: GaussianClasses(x, y, True),
         "logistic regression": Logistic}
scores = {name: [] for name in kinds}                # of accuracy, a mean for each size
for n in sizes:
    draws = [draw(n) for _ in range(repeats)]
    draws = [d for d in draws if np.bincount(d[1], minlength=K).min() > 2]
    for name, kind in kinds.items():
        scores[name].append(np.mean([(kind(*d).p_y(test_x).argmax(1) == test_y).mean()
                                     for d in draws]))
print("accuracy, share right, by examples  " + "".join(f"{n:>8d}" for n in sizes))
for name, row in scores.items():
    print(f"{name:35s} " + "".join(f"{a:8.3f}" for a in row))

# %% None of these: what do both say of points from a place where no training point was?
train_x, train_y = draw(1000)
bayes, logistic = GaussianClasses(train_x, train_y), Logistic(train_x, train_y)
threshold = np.quantile(bayes.log_p_x(train_x), 0.02)
sure = (logistic.p_y(unfamiliar).max(1) > 0.9).mean()
refused, wrongly = ((bayes.log_p_x(x) < threshold).mean() for x in (unfamiliar, test_x))
print(f"unfamiliar points: logistic regression is over 90 % sure of a class for {sure:.1%}")
print(f"                   p(x) is below the threshold for {refused:.1%} (familiar: {wrongly:.1%})")


def risk(score, right):
    """The share of mistakes among the points with the highest scores, for every coverage."""
    order = np.argsort(-score)
    return np.cumsum(~right[order]) / np.arange(1, len(right) + 1)


both_x = np.concatenate([test_x, unfamiliar])       # on unfamiliar points every class is a mistake
both_y = np.concatenate([test_y, np.full(len(unfamiliar), -1)])
p_y = logistic.p_y(both_x)
risks = {"logistic: highest p(y | x)": risk(p_y.max(1), p_y.argmax(1) == both_y),
         "generative: p(x)": risk(bayes.log_p_x(both_x), bayes.p_y(both_x).argmax(1) == both_y)}
half = {name: r[int(0.6 * len(r))] for name, r in risks.items()}
print("mistakes in the 60 % accepted first: " + ", ".join(f"{n} {v:.3f}" for n, v in half.items()))

# %% The picture: boundaries and densities, accuracy, risk against coverage
fig, axes = plotting.figure(1, 4, (16, 4))
colors = ["#1b6ca8", "#c8553d", "#3c8d5a"]         # of the classes
a, b = np.meshgrid(np.linspace(-3.2, 3.2, 160), np.linspace(-3.2, 3.2, 160))
place = np.stack([a.ravel(), b.ravel()], 1)
for ax, model, title in ((axes[0, 0], logistic, "discriminative: p(y | x)"),
                         (axes[0, 1], bayes, "generative: p(x | y), threshold on p(x)")):
    ax.contourf(a, b, model.p_y(place).argmax(1).reshape(a.shape), np.arange(K + 1) - 0.5,
                colors=colors, alpha=0.25)
    ax.scatter(*train_x.T, c=np.array(colors)[train_y], s=3)
    ax.plot(*unfamiliar[:300].T, "kx", markersize=3, label="unfamiliar")
    ax.set(title=title, xlabel="x_1", ylabel="x_2")
axes[0, 1].contour(a, b, bayes.log_p_x(place).reshape(a.shape), [threshold], colors="black")
for name, row in scores.items():
    axes[0, 2].plot(sizes, row, "o-", label=name)
axes[0, 2].set(xscale="log", xlabel="training examples", ylabel="accuracy", title="few examples")
for name, r in risks.items():
    axes[0, 3].plot(np.arange(1, len(r) + 1) / len(r), r, label=name)
axes[0, 3].set(xlabel="coverage: share of points accepted", ylabel="risk: share of mistakes",
               title="what to accept, with unfamiliar points")
for ax in axes[0]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "02_generative_and_discriminative.png", args.show))

# %% The promise of this lesson
assert args.quick or scores["Gaussians"][1] > scores["logistic regression"][1], "few examples"
assert refused > 0.8 and wrongly < 0.06, "p(x) tells the unfamiliar from the familiar"
assert half["generative: p(x)"] < 0.02 < min(half["logistic: highest p(y | x)"], sure)
# What we left out: p(x) of a poor model refuses the wrong points, and deep models can be fooled too
# (lesson 32 measures it). Exercises: ex07_softmax, ex08_cross_entropy.
