"""n processes under mpirun learn what one learns from batches n times as large."""
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets import batches as batch_module
from tinygen.datasets.batches import Endless
from tinygen.engine import backend
from tinygen.models.approximate.vae import VAE
from tinygen.models.implicit.gan import GAN
from tinygen.nn import Linear
from tinygen.optim import Adam
from tinygen.training import fit, load_arrays, save_arrays

ROOT = Path(__file__).parents[1]


def vae(batch_size):
    """Random numbers in the batches' transform and in the model; several arrays, an odd N."""
    model = VAE(9, latent=3, hidden=(8,))
    x = np.random.default_rng(0).random((45, 9), dtype="float32")
    batches = Endless(x, batch_size, np.random.default_rng(2), np.arange(45),
                      transform=lambda x, rng: (rng.random(x.shape) < x).astype("float32"))
    return model, batches, [("-elbo", lambda x: model.loss(x[0]), Adam(model.parameters(), 1e-2))]


def gan(batch_size):
    model = GAN(9, latent=2, hidden=(8,))
    batches = Endless(np.random.default_rng(0).random((40, 9), dtype="float32"), batch_size,
                      np.random.default_rng(2))
    return model, batches, [("critic", model.critic_loss, Adam(model.critic.parameters())),
                            ("generator", lambda x: model.generator_loss(len(x)),
                             Adam(model.generator.parameters()))]


def exact(batch_size):
    """In float64, so that rounding cannot hide a difference, nor make one in a hundred steps."""
    model = VAE(9, latent=3, hidden=(8,))
    for p in model.parameters():
        p.data = p.data.astype("float64")
    batches = Endless(np.random.default_rng(0).random((45, 9)), batch_size,
                      np.random.default_rng(2))
    return model, batches, [("-elbo", model.loss, Adam(model.parameters(), 1e-2))]


def train(make, batch_size, steps, path, **settings):
    """A run as a script would do it, with weights that differ where processes did not agree."""
    tg.seed(int(os.environ.get("OMPI_COMM_WORLD_RANK", 0)) + 1)
    model, batches, goals = make(batch_size)
    history = fit(model, batches, steps, goals, checkpoint=path, every=5, **settings)
    return {**model.state_dict(), **history, "to come": tg.to_numpy(backend.normal(5))}


def under_mpirun(n, call, timeout=120):
    pytest.importorskip("mpi4py", reason="needs mpi4py: pip install -e .[mpi], and an MPI")
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        pytest.skip("needs mpirun, such as Open MPI's")
    script = f"import sys; sys.path[:0] = ['.', 'tests']\nfrom test_parallel import *\n{call}"
    told = subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout
    more = ["--oversubscribe"] if "Open MPI" in told or "open-mpi" in told else []
    asroot = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run([mpirun, *more, "-n", str(n), sys.executable, "-c", script], cwd=ROOT,
                          env={**os.environ, **asroot}, capture_output=True, text=True,
                          timeout=timeout)


on_the_host = pytest.mark.host_only(reason="starts processes on NumPy")


@on_the_host
@pytest.mark.parametrize("name, n, clip, steps, tolerance", [
    ("vae", 3, 0.5, 12, 1e-4), ("gan", 2, None, 12, 1e-4), ("exact", 2, None, 100, 1e-9)])
def test_n_processes_are_one_with_n_times_the_batch(name, n, clip, steps, tolerance, tmp_path):
    done = under_mpirun(n, f"rank = os.environ['OMPI_COMM_WORLD_RANK']\n"
                           f"path = {str(tmp_path / 'run.npz')!r}\n"
                           f"out = train({name}, 4, {steps}, path, clip={clip})\n"
                           f"save_arrays({str(tmp_path)!r} + f'/{{rank}}.npz', out, {{}})")
    assert done.returncode == 0, done.stderr
    one = train(globals()[name], 4 * n, steps, tmp_path / "one.npz", clip=clip)
    many = [load_arrays(tmp_path / f"{rank}.npz")[0] for rank in range(n)]
    for key, value in one.items():
        for other in many:
            assert np.array_equal(many[0][key], other[key]), key
        assert np.allclose(value, many[0][key], rtol=tolerance, atol=tolerance / 100), key
    assert load_arrays(tmp_path / "run.npz")[1] == load_arrays(tmp_path / "one.npz")[1]


def lesson(path, times):
    """Lesson 24 as it stands, its batches `times` as large: what its VAE has learned."""
    class Larger(Endless):
        def __init__(self, x, batch_size, rng, *more, **settings):
            super().__init__(x, times * batch_size, rng, *more, **settings)
    sys.argv = ["24_vae.py", "--quick", "--steps", "10", "--out", str(path)]
    batch_module.Endless = Larger
    try:
        return runpy.run_path(str(ROOT / "lessons" / "24_vae.py"))["vae"].state_dict()
    finally:
        batch_module.Endless = Endless


@on_the_host
def test_lesson_24_under_mpirun_is_one_process_with_twice_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    done = under_mpirun(2, f"rank = os.environ['OMPI_COMM_WORLD_RANK']\n"
                           f"out = lesson({str(tmp_path)!r} + f'/{{rank}}', 1)\n"
                           f"save_arrays({str(tmp_path)!r} + f'/{{rank}}.npz', out, {{}})")
    assert done.returncode == 0, done.stderr
    one = lesson(tmp_path / "one", 2)
    for rank in range(2):
        many = load_arrays(tmp_path / f"{rank}.npz")[0]
        assert all(np.allclose(v, many[k], rtol=1e-3, atol=1e-4) for k, v in one.items())


@on_the_host
def test_a_run_of_two_goes_on_alone_and_the_other_way_round(tmp_path):
    path = tmp_path / "run.npz"
    whole = train(vae, 8, 15, tmp_path / "whole.npz")
    train(vae, 8, 5, path)
    done = under_mpirun(2, f"train(vae, 4, 10, {str(path)!r})")
    assert done.returncode == 0, done.stderr
    parts = train(vae, 8, 15, path)
    assert len(parts["-elbo"]) == 15
    assert all(np.allclose(whole[k], parts[k], rtol=1e-4, atol=1e-6) for k in whole)


@on_the_host
def test_an_error_in_one_process_ends_all():
    done = under_mpirun(2, "def fail(step, *_):\n"
                           "    raise RuntimeError('the first fails')\n"
                           "train(vae, 4, 10**6, None, report=fail)", timeout=60)
    assert done.returncode != 0 and "RuntimeError: the first fails" in done.stderr


@on_the_host
def test_a_loss_that_is_not_finite_in_one_process_stops_each():
    done = under_mpirun(2, "model, batches, [(name, loss, adam)] = vae(4)\n"
                           "factor = float(['1', 'nan'][int(os.environ['OMPI_COMM_WORLD_RANK'])])\n"
                           "try:\n"
                           "    goal = name, lambda x: loss(x) * factor, adam\n"
                           "    fit(model, batches, 9, [goal])\n"
                           "except FloatingPointError as error:\n"
                           "    print(error)")
    assert done.returncode == 0 and done.stdout.count("became nan at step 1") == 2, done.stderr


def test_a_gradient_that_no_process_has_stays_none():
    from tinygen.parallel import Team

    class Doubled(Team):
        def __init__(self):
            self.size, self.nccl, self.in_place, self.world = 2, None, None, self
            self.calls = 0

        def Allreduce(self, _, flat):
            self.calls += 1
            flat *= 3                               # the other has twice what we have
    a, b = Linear(2, 3), Linear(3, 1)
    a.W.grad, b.b.grad = tg.xp.ones((2, 3), "float32"), tg.xp.ones(1, "float32")
    team = Doubled()
    assert team.average([*a.parameters(), *b.parameters()], 4.0) == 6.0
    assert team.calls == 1, "one call a step"
    assert a.b.grad is None and b.W.grad is None
    assert (a.W.grad == 1.5).all() and a.W.grad.shape == (2, 3) and (b.b.grad == 1.5).all()


def test_parts_of_a_shared_batch_are_the_whole():
    def first(batch_size, *share):
        batches = Endless(np.arange(20.0), batch_size, np.random.default_rng(0), np.arange(20),
                          transform=lambda x, rng: x + rng.random(x.shape))
        for s in share:
            batches.share(*s)
        return batches, next(batches)
    whole = first(12)[1]
    parts = [first(4, (i, 3), (i, 3))[1] for i in range(3)]     # sharing twice changes nothing
    assert all(np.array_equal(np.concatenate(p), w) for p, w in zip(zip(*parts), whole))
    assert first(4, (0, 3))[0].state() == first(12)[0].state()
    with pytest.raises(ValueError, match="batch_size 24 of 20 examples never fills"):
        first(12, (0, 2))


@pytest.mark.parametrize("shape, axis", [((4, 3), 0), ((5, 4), 1), (4, 0), ((2, 3), None), ((), 0)])
@pytest.mark.parametrize("draw", [backend.normal, backend.uniform])
def test_parts_of_the_random_numbers_are_the_whole(draw, shape, axis):
    parts = []
    for part in range(2):
        tg.seed(0)
        with backend.shared_random_numbers(4, part, 2):
            parts.append(tg.to_numpy(draw(shape)))
            after = tg.to_numpy(draw((2,)))
    tg.seed(0)
    if axis is None or shape == ():
        assert np.array_equal(parts[0], tg.to_numpy(draw(shape)))
        assert np.array_equal(parts[1], parts[0])
    else:
        size = [8 if i == axis else n for i, n in enumerate(np.atleast_1d(shape))]
        assert np.array_equal(np.concatenate(parts, axis), tg.to_numpy(draw(tuple(size))))
    assert np.array_equal(after, tg.to_numpy(draw((2,))))


def test_mpirun_without_mpi4py_says_what_to_install(monkeypatch):
    from tinygen import parallel
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    parallel.team.cache_clear()
    with pytest.raises(ImportError, match="mpirun started several processes, .*; pip install mpi4"):
        parallel.team()
