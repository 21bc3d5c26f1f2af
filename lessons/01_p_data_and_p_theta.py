"""Lesson 01: what is a generative model, and when is it a good one?

p_data(x)     the distribution that nature draws from; we see samples only
p_theta(x)    a distribution that we can compute and draw from; theta are its parameters
learning      choosing theta so that p_theta comes near p_data

The world of this lesson is one that we built ourselves, so here p_data is known, and "near" is a
number:   KL(p_data || p_theta) = E_p_data[ln p_data(x) - ln p_theta(x)] >= 0, in nats.

nll           E_p_data[-ln p_theta(x)], the negative log-likelihood = H(p_data) + KL
H(p_data)     E_p_data[-ln p_data(x)], the entropy: the floor of every nll
nats          the unit of natural logarithms; a bit is 0.693 of them

Promise: the best histogram's nll is H(p_data) + KL to 0.05 nats, and beats the Gaussian's; fewer
points want fewer bins, and 160 a side are too many.
Changed since lesson 00: no neural network. Two models that need a few lines of NumPy:
- a Gaussian, whose theta is a mean and a covariance
- a histogram, whose theta is one probability for each bin

    python lessons/01_p_data_and_p_theta.py       a few seconds

생성모델은 자료의 확률 분포 p_data를 흉내 내는 분포 p_theta이다. 표본만 보고 모수 theta를 정하며,
좋은 모델인지는 우도(likelihood)와 KL 발산으로 잰다. 여기서는 p_data를 우리가 만들었으므로 둘 사이의
거리가 정확한 수로 나오고, 학습한 분포에서 새 표본을 뽑아 볼 수도 있다.
"""
# %% The world: points on two half moons, whose p_data we know
import numpy as np

from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Mixture2D

args = lesson_options("p_data and p_theta: a Gaussian and histograms against a known p_data.")
rng = np.random.default_rng(args.seed)
world = Mixture2D("moons")
N = 2000 if args.quick else 20_000
train, test = world.sample(N, rng), world.sample(N, rng)                # (N, 2)
floor = world.entropy()[0]                      # H(p_data) = E[-ln p_data(x)]


# %% A first p_theta: one Gaussian. The best theta has a formula: the moments of the samples
class Gaussian:
    def __init__(self, x):
        self.mean, self.covariance = x.mean(0), np.cov(x.T)

    def log_prob(self, x):
        """ln N(x) = -(d' C^-1 d + ln det(2 pi C)) / 2,   d = x - mean"""
        d, C = x - self.mean, self.covariance
        return -0.5 * ((d @ np.linalg.inv(C) * d).sum(1) + np.linalg.slogdet(2 * np.pi * C)[1])

    def sample(self, n):
        return rng.multivariate_normal(self.mean, self.covariance, n)


# %% A second one: a histogram. The best theta is again a formula: the share of samples in each bin
class Histogram:
    low, high = np.array([-1.6, -1.1]), np.array([2.6, 1.6])            # the box that is cut up

    def __init__(self, x, bins, extra=0.1):
        """`extra` is added to each count, so that no bin gets probability 0 (and ln 0)."""
        counts = np.full((bins, bins), float(extra))
        np.add.at(counts, self.cell(x, bins), 1)
        self.bins, self.p = bins, counts / counts.sum()
        self.area = np.prod((self.high - self.low) / bins)

    def cell(self, x, bins):
        at = ((x - self.low) / (self.high - self.low) * bins).astype(int)
        return tuple(np.clip(at, 0, bins - 1).T)

    def log_prob(self, x):
        """ln of a density: the bin's probability by its area"""
        return np.log(self.p[self.cell(x, self.bins)] / self.area)

    def sample(self, n):
        """A bin by its probability, then a place in it, evenly."""
        k = rng.choice(self.p.size, n, p=self.p.ravel())
        corner = np.stack(np.divmod(k, self.bins), 1)
        return self.low + (corner + rng.random((n, 2))) / self.bins * (self.high - self.low)


# %% How good? Likelihood on points that no model has seen, and its distance from the floor
def nll(model):
    return -model.log_prob(test).mean()


def kl(model):
    """E_p_data[ln p_data(x) - ln p_theta(x)], estimated on the test points"""
    return (world.log_prob(test) - model.log_prob(test)).mean()


print(f"H(p_data)                        {floor:6.3f} nats per point: no model can have fewer")
gaussian = Gaussian(train)
print(f"Gaussian          nll {nll(gaussian):6.3f}  KL {kl(gaussian):6.3f} nats")
bins, few = (2, 5, 10, 20, 40, 80, 160), train[:500]
histograms = {b: Histogram(train, b) for b in bins}
for b, model in histograms.items():
    print(f"histogram {b:3d} x {b:<3d} nll {nll(model):6.3f}  KL {kl(model):6.3f} nats")
best = min(bins, key=lambda b: kl(histograms[b]))
best_few = min(bins, key=lambda b: kl(Histogram(few, b)))
print(f"best bins: {best} x {best} from {N} points, {best_few} x {best_few} from {len(few)} only")
seen = -histograms[160].log_prob(few).mean()
print(f"160 x 160, nll on points it was fitted to {seen:6.3f} nats: below the floor is no feat")

# %% The picture: samples of the world, and of both models; then KL against the number of bins
fig, axes = plotting.figure(1, 4, (14, 3.6))
shown = ((world, "p_data"), (gaussian, "p_theta: Gaussian"),
         (histograms[best], f"p_theta: {best} x {best} bins"))
for ax, (model, title) in zip(axes[0], shown):
    x = model.sample(3000, rng) if model is world else model.sample(3000)
    ax.plot(*x.T, ".", markersize=1.5, alpha=0.5, color="#555555" if model is world else "#1b6ca8")
    ax.set(title=f"samples of {title}", xlim=(-1.9, 2.9), ylim=(-1.5, 2.0), xlabel="x_1",
           ylabel="x_2")
ax = axes[0, 3]
ax.plot(bins, [kl(histograms[b]) for b in bins], "o-", label=f"histogram, {N} points")
ax.plot(bins, [kl(Histogram(few, b)) for b in bins], "s-", label=f"histogram, {len(few)} points")
ax.axhline(kl(gaussian), color="#c8553d", label="Gaussian")
plotting.floor_line(ax, 0, "p_theta = p_data")
ax.set(xscale="log", xlabel="bins along each axis", ylabel="KL(p_data || p_theta), nats",
       title="too coarse, too fine", ylim=(-0.1, 2), xticks=bins, xticklabels=bins)
ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "01_p_data_and_p_theta.png", args.show))

# %% The promise of this lesson: KL is the gap to the floor, and the number of bins is a trade
assert abs(nll(histograms[best]) - floor - kl(histograms[best])) < 0.05, "nll = H(p_data) + KL"
assert kl(histograms[best]) < kl(gaussian) and (args.quick or best_few < best < 160)

# %% What we left out
# - A histogram of D axes has bins^D cells: with 256 pixels there is nothing to count. Lesson 14 on.
# - KL(p_data || p_theta) asks for ln p_data, which nature keeps to itself; nll differs from it only
#   by H(p_data), which no theta can change. So learning goes by nll: lesson 04.
# - Is "near" in KL what we want? GANs ask for something else: lesson 28.
# Exercises: ex28_gaussian_kl (KL between two Gaussians, in closed form).
