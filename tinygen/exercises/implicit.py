"""Exercises 33 and 34: the losses of the two players, and what keeps the critic smooth."""
from types import SimpleNamespace

import numpy as np

from ..models.implicit import objectives
from .approximate import softplus
from .task import Case, Exercise, random

GAN_LOSSES = Exercise(
    "ex33_gan_losses", "the critic's loss, and the non-saturating generator's",
    right=SimpleNamespace(
        critic_loss=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        generator_loss=lambda fake: softplus(-fake).mean()),
    run=lambda answer, real, fake: {"critic": answer.critic_loss(real, fake),
                                    "generator": answer.generator_loss(fake)},
    cases=[Case("one each", real=random(1), fake=random(1, seed=1), spares="one example each"),
           Case("plain", real=random(5), fake=random(5, seed=1)),
           Case("plain, larger", real=random(7), fake=random(7, seed=1) + 0.4),
           Case("sure of itself", real=900 * random(4), fake=900 * random(4, seed=1),
                fault="wrong at large logits")],
    terms=lambda real, fake: {"-E ln D(real)": softplus(-real).mean(),
                              "-E ln(1 - D(fake))": softplus(fake).mean()},
    variants={
        "that is the saturating loss: minus what the critic minimises": dict(
            generator_loss=lambda fake: -softplus(fake).mean()),
        "least squares, where the logarithm of a probability was needed": dict(
            critic_loss=lambda real, fake: ((real - 1) ** 2).mean() + (fake ** 2).mean(),
            generator_loss=lambda fake: ((fake - 1) ** 2).mean()),
        "probabilities, where their logarithms were needed": dict(
            critic_loss=lambda real, fake: -np.exp(-softplus(-real)).mean() - np.exp(
                -softplus(fake)).mean(),
            generator_loss=lambda fake: -np.exp(-softplus(-fake)).mean()),
        "both of the critic's terms, on fake logits: the first alone was needed": dict(
            generator_loss=lambda fake: (softplus(-fake) + softplus(fake)).mean()),
        "hinges, where softplus was needed": dict(
            critic_loss=lambda real, fake: np.maximum(1 - real, 0).mean() + np.maximum(
                1 + fake, 0).mean()),
        "the logarithm of the mean: the mean of logarithms was needed": dict(
            critic_loss=lambda real, fake: -np.log(np.exp(-softplus(-real)).mean()) - np.log(
                np.exp(-softplus(fake)).mean()),
            generator_loss=lambda fake: -np.log(np.exp(-softplus(-fake)).mean())),
        "the logits themselves, without softplus: that is Wasserstein's": dict(
            critic_loss=lambda real, fake: fake.mean() - real.mean(),
            generator_loss=lambda fake: -fake.mean())},
    hint="-ln sigmoid(l) = softplus(-l), and -ln(1 - sigmoid(l)) = softplus(l).",
    stronger="The critic wants real logits up and fake ones down: the mean of softplus(-real) plus "
             "the mean of softplus(fake).",
    own={"generator_loss": ("The generator wants the critic to say \"real\": the critic's own term "
                            "for real ones, on fake logits.",
                            "-ln sigmoid(fake) = softplus(-fake), and its mean.")},
    solution=(objectives.logistic_critic, objectives.non_saturating_generator))


def _penalty_backward(slopes, weight):
    norm = np.sqrt((slopes * slopes).sum(1, keepdims=True))
    return 2 * weight * (norm - 1) * slopes / norm / len(slopes)


GRADIENT_PENALTY = Exercise(
    "ex34_gradient_penalty", "the gradient penalty of WGAN-GP, and its derivative",
    right=SimpleNamespace(
        penalty=lambda slopes, weight: weight * (
            (np.sqrt((slopes * slopes).sum(1)) - 1) ** 2).mean(),
        penalty_backward=_penalty_backward),
    run=lambda answer, **args: {"penalty": answer.penalty(*args.values()),
                                "dslopes": answer.penalty_backward(*args.values())},
    cases=[Case("a batch of 1", slopes=random(1, 3), weight=10.0, spares="a batch of 1"),
           Case("plain", slopes=0.5 * random(4, 3), weight=10.0),
           Case("plain, larger", slopes=0.4 * random(7, 5), weight=3.0),
           Case("slope 1", slopes=np.array([[0.6, 0.8], [1.0, 0.0]]), weight=10.0,
                fault="a critic of slope 1 costs nothing")],
    parts=lambda slopes, weight: {
        "|slope|": np.sqrt((slopes * slopes).sum(1, keepdims=True)) + 0 * slopes,
        "(|slope| - 1)": np.sqrt((slopes * slopes).sum(1, keepdims=True)) - 1 + 0 * slopes},
    variants={
        "one length of all slopes together, where each example has its own": dict(
            penalty=lambda slopes, weight: weight * (np.sqrt((slopes * slopes).sum()) - 1) ** 2),
        "the mean length is compared with 1: each example has its own": dict(
            penalty=lambda slopes, weight: weight * (
                np.sqrt((slopes * slopes).sum(1)).mean() - 1) ** 2),
        "the squared length is compared with 1: its root is missing": dict(
            penalty=lambda slopes, weight: weight * (((slopes * slopes).sum(1) - 1) ** 2).mean()),
        "the distance from 1 is not squared": dict(
            penalty=lambda slopes, weight: weight * abs(
                np.sqrt((slopes * slopes).sum(1)) - 1).mean()),
        "the root of the mean of squares: the length is that of their sum": dict(
            penalty=lambda slopes, weight: weight * (
                (np.sqrt((slopes * slopes).mean(1)) - 1) ** 2).mean()),
        "the factor s / |s|, the derivative of |s|, is missing": dict(
            penalty_backward=lambda slopes, weight: 2 * weight * (np.sqrt((slopes * slopes).sum(
                1, keepdims=True)) - 1) / len(slopes) + 0 * slopes),
        "each slope's own distance from 1: the length of all of an example was needed": dict(
            penalty_backward=lambda slopes, weight: 2 * weight * (slopes - 1) / len(slopes)),
        "absolute values are added up: the length is the root of the sum of squares": dict(
            penalty=lambda slopes, weight: weight * ((abs(slopes).sum(1) - 1) ** 2).mean()),
        "the distance from 0 where that from 1 was meant": dict(
            penalty=lambda slopes, weight: weight * (slopes * slopes).sum(1).mean()),
        "slopes below 1 cost nothing: that is the one-sided penalty": dict(
            penalty=lambda slopes, weight: weight * (np.maximum(
                np.sqrt((slopes * slopes).sum(1)) - 1, 0) ** 2).mean())},
    hint="Differentiate (|s| - 1)^2 by |s|, then |s| by s.",
    stronger="d|s|/ds = s / |s|, so the derivative is 2 weight (|s| - 1) s / |s| / B.",
    own={"penalty": ("One length for each example; how far it is from 1, squared; the mean over "
                     "examples.",
                     "|s| = sqrt((slopes ** 2).sum(1)), one for each example; then weight times "
                     "the mean of (|s| - 1)^2.")},
    solution=(objectives.squared_slopes, objectives.gradient_penalty))

EXERCISES = [GAN_LOSSES, GRADIENT_PENALTY]
