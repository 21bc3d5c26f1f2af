"""The pieces of the GAN experiments that a wrong number would come from."""
import math
import re

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.known import Glyphs, Mixture2D
from tinygen.engine.backend import to_numpy
from tinygen.models.implicit.architectures import leaky
from tinygen.models.implicit.gan import GAN
from tinygen.nn import mlp
from tinygen.reproduce.gans import (CodeGAN, beside_fresh, beyond, code_generator, flipped,
                                    glyph_classifier, in_features, judge, likelier, modes_missing,
                                    over_seeds, players, points, stack)
from tinygen.reproduce.protocol import Run


def code_gan(kinds=5):
    return CodeGAN(9, latent=kinds, output=flipped, generator=code_generator(kinds, 8, 9),
                   critic=mlp((9, 8, 1), leaky))


def test_a_code_is_one_of_its_kinds_and_all_are_drawn_evenly():
    z = to_numpy(code_gan().latents(5000))
    assert z.dtype == np.float32 and np.allclose(np.sort(z, axis=1)[:, :-1], 0)
    assert np.allclose(z.max(1), math.sqrt(5))
    counts = (z > 0).sum(0)
    assert (abs(counts / 5000 - 0.2) < 4 * math.sqrt(0.16 / 5000)).all()


@pytest.mark.parametrize("sure, share", [(-40.0, 0.02), (40.0, 0.98)])
def test_flips_are_the_worlds_own(sure, share):
    """Sure logits are a template; what is off it is Bernoulli(eps), as in Glyphs."""
    x = to_numpy(flipped(tg.tensor(np.full((200, 256), sure, "float32"))))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0.0, 1.0}
    assert abs(x.mean() - share) < 4 * math.sqrt(0.02 * 0.98 / x.size)


def test_thresholded_pixels_take_their_likelier_value():
    logits = tg.tensor([[-0.1, 0.1, -3.0, 2.0]])
    assert (to_numpy(flipped(logits, eps=0.0, template=likelier)) == [[0, 1, 0, 1]]).all()
    assert (to_numpy(flipped(logits, eps=1.0, template=likelier)) == [[1, 0, 1, 0]]).all()


def test_a_flipped_pixels_gradient_is_turned_round():
    l = tg.tensor(np.zeros((400, 9)), requires_grad=True)
    slope = to_numpy(tg.grad(flipped(l, eps=0.5).sum(), l))
    assert (slope != 0).all() and abs((slope < 0).mean() - 0.5) < 4 * 0.5 / 60


def test_true_samples_pass_the_judge_and_collapsed_ones_do_not():
    world, rng = Glyphs(), np.random.default_rng(0)
    nats, share = judge(world, world.sample(2000, rng), world.sample(2000, rng))
    assert nats < 2 and 0.95 < share < 1.05
    alike = world.sample(2000, rng)[:1].repeat(2000, axis=0)
    assert judge(world, alike, world.sample(2000, rng))[1] < 0.01


def test_beside_fresh_glyphs_true_samples_are_as_far_and_inverted_ones_are_told(capsys):
    world, rng = Glyphs(), np.random.default_rng(0)
    real = world.sample(300, rng)

    def numbers(y):
        beside_fresh(world, y, real, np.random.default_rng(1))
        line = capsys.readouterr().out
        assert "pixels off the nearest of 300 fresh glyphs (training repeats none): " in line
        return [float(a) for a in re.findall(r"(?:samples|glyphs|p =) ([\d.]+)", line)]
    own, other, p = numbers(world.sample(300, rng))
    assert abs(own - other) < 2 and p > 0.05
    own, other, p = numbers(1 - real)
    assert own > 100 and p < 0.05


def test_features_hold_samples_beside_a_floor(capsys):
    world, rng = Glyphs(), np.random.default_rng(0)
    classifier = glyph_classifier(world, Run("made-up", 0, True, "nowhere"))
    real, other = world.sample(100, rng), world.sample(100, rng)
    in_features(classifier, real, other, 1 - real)
    (name, *floor), (names, *found) = (
        re.match(r"(.*): frechet (\S+), precision (\S+), recall (\S+)", line).groups()
        for line in capsys.readouterr().out.splitlines())
    assert (name, names) == ("real against real", "real against samples")
    assert float(found[0]) > 5 * float(floor[0]) and float(found[2]) < float(floor[2]) - 0.5


def test_each_player_has_its_own_rate():
    (_, _, critic), (_, _, generator) = players(code_gan(), 100, 1e-3, critic_lr=4e-3)
    assert critic.lr(1) == pytest.approx(4 * generator.optimizer.lr(1)) == 4e-3


def test_stacked_pictures_keep_the_first_and_draw_the_others():
    pool = np.arange(10, dtype="uint8")[:, None, None].repeat(28, 1).repeat(28, 2)
    x = stack(pool[[7, 7]], pool, np.random.default_rng(0))
    assert x.shape == (2, 3 * 784) and x.dtype == np.float32
    digits = np.rint(255 * x.reshape(2, 3, 784)[:, :, 0]).astype(int)
    assert (digits[:, 0] == 7).all() and len(set(digits[:, 1:].ravel())) > 1


def test_missing_modes_are_triples_not_met():
    every = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=1)
    assert modes_missing(every) == 0 and modes_missing(every[[5, 5, 7]]) == 998
    assert modes_missing(np.array([[1, 2, 3], [3, 2, 1]])) == 998           # order counts


# --- points in the plane --------------------------------------------------------------------------

@pytest.mark.parametrize("least, expected", [(8, 20.0), (7, 20.0), (9, 100.0)])
def test_beyond_asks_every_seed_for_its_modes(least, expected):
    found = np.array([[8, 0.9], [9, 0.7]])
    assert beyond(found, least) == pytest.approx(expected)
    assert beyond(found[::-1], least) == pytest.approx(expected)


def test_jobs_run_once_for_each_seed_and_go_on_from_what_is_done(tmp_path, capsys):
    run, asked = Run("made-up", 10, False, tmp_path), []

    def job(seed):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(seed)
        return seed, seed / 20
    with pytest.raises(KeyboardInterrupt):
        over_seeds(run, {"a": job}, seeds=4)
    asked.clear()
    found = over_seeds(run, {"a": job}, seeds=4)
    assert asked == [13] and found["a"].tolist() == [[i, i / 20] for i in range(10, 14)]
    row = capsys.readouterr().out.splitlines()[2].split()
    assert row == ["a", "11.50", "1.12", "57.50", "50.00"]
    assert len(over_seeds(Run("quick", 0, True, tmp_path), {"a": lambda seed: (1, 1)})["a"]) == 1


def test_points_are_counted_and_diagnosed(tmp_path, capsys):
    """Half the samples sit on one mode, half at 0: 1 of 8, 50 %, and the line says collapse."""
    class OnOne(GAN):
        def generate(self, n):
            on = (np.arange(n)[:, None] % 2 == 0) * Mixture2D("ring").modes[:1]
            return 0 * super().generate(n) + tg.tensor(on.astype("f4"))
    run = Run("made-up", 0, True, tmp_path)
    found = points(run, "ring", 3, lambda: OnOne(2, 2, (4,), output=None), 20, limit=0.01)
    line = capsys.readouterr().out
    assert found == (1, 0.5)
    assert "ring, seed 3, pack 1: 1 of 8 modes, 50.0 % within 3 sigma; " in line
    assert "modes collapse: the critic is right on " in line


def test_a_limit_clips_the_critics_weights_alone():
    model = code_gan()
    (_, _, critic), (_, _, generator) = players(model, 100, 1e-3, limit=1e-3)
    for optimizer in (critic, generator):
        for p in optimizer.params:
            (p * p).sum().backward()
        optimizer.step()
    assert max(abs(to_numpy(p)).max() for p in critic.params) <= np.float32(1e-3)
    assert max(abs(to_numpy(p)).max() for p in generator.params) > 0.1
