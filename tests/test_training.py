"""fit: runs repeat and resume bit for bit, stop cleanly, never lose the last good checkpoint."""
import errno
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.models.approximate.vae import VAE
from tinygen.models.implicit.gan import GAN
from tinygen.models.tractable.made import MADE
from tinygen.nn import Dropout, Linear, Module
from tinygen.optim import SGD, Adam, cosine
from tinygen.training import Progress, fit, load_arrays, save_arrays


def made():
    model = MADE(9, (12,))

    def loss(x):
        model.resample_order()                          # draws random numbers, changes the masks
        return model.loss(x)
    return model, [("loss", loss, Adam(model.parameters(), cosine(1e-2, 30)))]


def vae():
    model = VAE(9, latent=2, hidden=(8,))
    return model, [("loss", model.loss, SGD(model.parameters(), 0.01, momentum=0.9))]


def gan():
    model = GAN(9, latent=2, hidden=(8,))
    return model, [("critic", model.critic_loss, Adam(model.critic.parameters())),
                   ("generator", lambda x: model.generator_loss(len(x)),
                    Adam(model.generator.parameters()))]


MAKERS = {"made": made, "vae": vae, "gan": gan}


def data(batch_size=10, seed=2):
    """Batches with a random transform, so that their own random state matters too."""
    x = np.random.default_rng(0).random((45, 9), dtype="float32")
    return Endless(x, batch_size, np.random.default_rng(seed),
                   transform=lambda x, rng: (rng.random(x.shape) < x).astype("float32"))


def train(name, steps, path, seed=0, **settings):
    """A run from its first line, as a script would do it: its model, optimizers and history."""
    tg.seed(seed)
    model, goals = MAKERS[name]()
    history = fit(model, data(), steps, goals, checkpoint=path, every=5, **settings)
    return model, goals, history


def outcome(model, goals, history):
    """Everything that a run leaves behind, as {name: array}, and its random numbers to come."""
    state = {f"model {k}": v for k, v in model.state_dict().items()}
    for name, _, optimizer in goals:
        state |= {f"{name} {k}": v for k, v in optimizer.state_dict().items()}
    return state | history | {"to come": tg.to_numpy(backend.normal(5)),
                              "on the host": backend.host_rng().random(5)}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]), name


# --- resume ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_run_equals_one_never_stopped(name, tmp_path):
    whole = outcome(*train(name, 20, tmp_path / "whole.npz"))
    train(name, 10, tmp_path / "parts.npz")
    resumed = outcome(*train(name, 20, tmp_path / "parts.npz", seed=99))
    assert_same(whole, resumed)
    assert len(whole["step"]) == 20 and whole["step"][-1] == 20
    a, b = (load_arrays(tmp_path / f"{run}.npz") for run in ("whole", "parts"))
    assert_same(a[0], b[0])
    assert a[1] == b[1] and a[1]["step"] == 20 and a[1]["batches"]["step"] == 20


@pytest.mark.host_only(reason="starts a process on NumPy")
def test_a_run_resumed_in_another_process_equals_one_never_stopped(tmp_path):
    whole = outcome(*train("made", 15, tmp_path / "whole.npz"))
    script = ("import sys; sys.path[:0] = ['.', 'tests']\n"
              "from test_training import *\n"
              "assert len(train('made', 10, sys.argv[1], seed=99)[2]['loss']) == 10\n"
              "save_arrays(sys.argv[2], outcome(*train('made', 15, sys.argv[1], seed=7)), {})\n")
    train("made", 5, tmp_path / "parts.npz")
    subprocess.run([sys.executable, "-c", script, tmp_path / "parts.npz", tmp_path / "out.npz"],
                   cwd=Path(__file__).parent.parent, check=True)
    assert_same(whole, load_arrays(tmp_path / "out.npz")[0])


def test_a_finished_run_gives_its_history_at_once(tmp_path):
    path = tmp_path / "run.npz"
    _, _, history = train("vae", 10, path)
    before = path.read_bytes()
    for steps in (10, 3):
        model, _, again = train("vae", steps, path, report=lambda *_: pytest.fail("took a step"))
        assert_same(history, again)
    assert path.read_bytes() == before
    assert model.state_dict().keys() == load_model(path).keys()


def load_model(path):
    return {k.removeprefix("model/"): v for k, v in load_arrays(path)[0].items()
            if k.startswith("model/")}


def test_runs_repeat_with_the_seed():
    runs = [outcome(*train("gan", 6, None, seed)) for seed in (1, 1, 2)]
    assert_same(runs[0], runs[1])
    assert (runs[0]["generator"] != runs[2]["generator"]).any()


def test_evaluation_may_draw_random_numbers(tmp_path):
    def run(name, steps):
        tg.seed(0)
        model, goals = vae()
        return outcome(model, goals, fit(model, data(), steps, goals, every=5,
                                         checkpoint=tmp_path / name,
                                         evaluate=lambda step: model.sample(step)))
    whole = run("whole.npz", 15)
    run("parts.npz", 10)
    assert_same(whole, run("parts.npz", 15))


# --- one step -------------------------------------------------------------------------------------

def test_fit_is_the_plain_loop():
    """zero_grad, backward, step: on the same batches by hand."""
    tg.seed(0)
    model, [(_, loss, optimizer)] = vae()
    expected = []
    for x, _ in zip(data(), range(8)):
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        optimizer.step()
        expected.append(value.item())
    model_of_fit, _, history = train("vae", 8, None)
    assert history["loss"].tolist() == expected and history["step"].tolist() == [*range(1, 9)]
    assert_same(model.state_dict(), model_of_fit.state_dict())


def test_clip_bounds_the_norm_of_each_step():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    model = Linear(1, 1)                                # fit asks for a model; w is trained
    for clip, moved in ((2.5, 0.5), (100, 1.0)):
        w.data[...] = xp.asarray([3.0, 4.0])
        goal = ("loss", lambda x: 0.5 * (w * w).sum(), SGD([w], lr=0.2))
        fit(model, data(), 1, [goal], clip=clip)
        assert np.linalg.norm(tg.to_numpy(w) - [3, 4]) == pytest.approx(moved, rel=1e-5)


def test_each_goal_moves_its_own_parameters_only():
    tg.seed(0)
    model, (critic, generator) = gan()
    before = model.state_dict()
    fit(model, data(), 3, [critic])
    after = model.state_dict()
    assert all((after[k] == before[k]).all() == k.startswith("generator") for k in before)
    model.zero_grad()
    fit(model, data(), 3, [generator])
    assert all((after[k] == v).all() == k.startswith("critic")
               for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.critic.parameters())


@pytest.mark.parametrize("name", MAKERS)
def test_no_tensor_outlives_its_step(name, count_tensors):
    model, goals = MAKERS[name]()
    counts = [count_tensors()]
    fit(model, data(), 5, goals, report=lambda *_: counts.append(count_tensors()))
    assert counts == [counts[0]] * 6


def test_report_and_evaluate_hear_what_they_should():
    tg.seed(0)
    model, goals = gan()
    reported, evaluated = [], []
    history = fit(model, data(batch_size=7), 7, goals, every=3, evaluate=evaluated.append,
                  report=lambda *said: reported.append(said))
    assert [(step, steps, n) for step, steps, _, n in reported] == [(i, 7, 7) for i in range(1, 8)]
    assert [losses["critic"] for _, _, losses, _ in reported] == history["critic"].tolist()
    assert evaluated == [3, 6, 7]


def test_evaluate_sees_the_model_in_eval_mode():
    class Net(Module):
        def __init__(self):
            self.linear, self.dropout, self.modes = Linear(9, 1), Dropout(0.5), []

        def loss(self, x):
            self.modes.append(self.dropout.training)
            return (self.dropout(self.linear(x)) ** 2).mean()
    model = Net()
    fit(model.eval(), data(), 3, [("loss", model.loss, SGD(model.parameters(), 0.1))], every=2,
        evaluate=lambda step: model.modes.append(model.dropout.training))
    assert model.modes == [True, True, False, True, False] and model.dropout.training


def test_batches_of_several_arrays():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    model, seen = Linear(3, 1), []

    def loss(batch):
        x, y = batch
        return tg.mse(model(x), y)
    history = fit(model, Endless(x, 10, np.random.default_rng(0), x @ [[1.0], [2], [3]]), 200,
                  [("mse", loss, SGD(model.parameters(), 0.1))],
                  report=lambda step, steps, losses, examples: seen.append(examples))
    assert set(seen) == {10} and history["mse"][-1] < 1e-6


# --- Ctrl-C ---------------------------------------------------------------------------------------

def press_ctrl_c_at(stop):
    return lambda step, *_: signal.raise_signal(signal.SIGINT) if step == stop else None


def test_ctrl_c_stops_after_the_step_and_saves(tmp_path):
    path, handler = tmp_path / "run.npz", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step 7; run the same command again "
                                                f"to go on from {re.escape(str(path))}"):
        train("vae", 20, path, report=press_ctrl_c_at(7))
    assert load_arrays(path)[1]["step"] == 7 and signal.getsignal(signal.SIGINT) is handler
    resumed = train("vae", 20, path)
    assert_same(train("vae", 20, None)[2], resumed[2])


def test_ctrl_c_at_a_step_that_saves_anyway_and_without_a_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5;"):
        train("vae", 20, tmp_path / "run.npz", report=press_ctrl_c_at(5))
    assert load_arrays(tmp_path / "run.npz")[1]["step"] == 5
    with pytest.raises(KeyboardInterrupt, match="^stopped after step 3$"):
        train("vae", 20, None, report=press_ctrl_c_at(3))


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice(step, *_):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train("vae", 20, tmp_path / "run.npz", report=twice)
    assert load_arrays(tmp_path / "run.npz")[1]["step"] == 0        # the one from the start


def test_fit_runs_in_a_thread_that_may_not_handle_signals():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(train("vae", 3, None)[2]))
    thread.start()
    thread.join()
    assert len(histories[0]["loss"]) == 3


# --- losses that are not finite -------------------------------------------------------------------

@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_changes_nothing(value, tmp_path):
    tg.seed(0)
    model, [(name, loss, optimizer)] = vae()
    calls, states = [], []

    def broken(x):
        calls.append(x)
        return loss(x) * (float(value) if len(calls) == 8 else 1.0)
    with pytest.raises(FloatingPointError, match=rf"^fit: the loss became {value} at step 8; the "
                                                 "step was not taken. Lower the learning rate"):
        fit(model, data(), 20, [(name, broken, optimizer)], every=5,
            checkpoint=tmp_path / "run.npz", report=lambda *_: states.append(model.state_dict()))
    assert_same(model.state_dict(), states[-1])
    assert load_arrays(tmp_path / "run.npz")[1]["step"] == 5 and optimizer.t == 7
    assert train("vae", 6, tmp_path / "run.npz")[2]["step"][-1] == 6   # it can go on from there


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """A finite loss can have a gradient that is not: d sqrt(x) at 0."""
    path, model = tmp_path / "run.npz", Linear(9, 1, bias=False)

    def loss(x):
        with np.errstate(divide="ignore", invalid="ignore"):
            return tg.sqrt(model(x) * 0.0).sum()
    with np.errstate(divide="ignore", invalid="ignore"), \
            pytest.raises(FloatingPointError, match="fit: W is no longer finite after step 1; .*"
                                                    "run.npz was left as it is"):
        fit(model, data(), 1, [("loss", loss, SGD(model.parameters(), 0.1))], checkpoint=path)
    assert np.isfinite(load_model(path)["W"]).all()


# --- files that cannot be written -----------------------------------------------------------------

def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    train("vae", 5, path)
    before = path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(os, call, full_disk)
        train("vae", 10, path)
    assert str(caught.value) == (f"cannot write {path}: No space left on device; the file there, "
                                 "if any, is as it was")
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]
    assert_same(train("vae", 10, path)[2], train("vae", 10, None)[2])


@pytest.mark.parametrize("room", [0, 100, 3000])
def test_a_write_that_breaks_off_leaves_the_old_file(room, tmp_path):
    """With a real limit on the size of files."""
    resource = pytest.importorskip("resource")
    path, arrays = tmp_path / "x.npz", {"x": np.arange(1000)}
    save_arrays(path, arrays, {})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="x.npz: File too large; the file there"):
            save_arrays(path, arrays, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    save_arrays(path, {"x": np.zeros(3)}, {})
    monkeypatch.setattr(os, "fsync", lambda handle: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        save_arrays(path, {"x": np.ones(3)}, {})
    assert not load_arrays(path)[0]["x"].any() and os.listdir(tmp_path) == ["x.npz"]


def test_a_place_that_cannot_be_written_fails_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write .*run.npz: "):
        train("vae", 5, tmp_path / "file" / "run.npz", report=lambda *_: pytest.fail("took a step"))


def test_a_new_folder_is_made_and_the_file_is_as_readable_as_any(tmp_path):
    path = tmp_path / "new" / "run.npz"
    save_arrays(str(path), {"x": np.arange(3)}, {"note": "hello"})
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    arrays, meta = load_arrays(path)
    assert arrays["x"].tolist() == [0, 1, 2] and meta["note"] == "hello"


# --- files that cannot be read --------------------------------------------------------------------

class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a checkpoint was executed",)


def meta(**values):
    return np.array(json.dumps(values))


@pytest.mark.parametrize("write", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("these are no arrays"),
    lambda path: path.write_bytes(pickle.dumps(Bomb())),
    lambda path: np.savez(path, x=np.array([Bomb()]), meta=meta(format=1)),
    lambda path: np.savez(path, x=np.ones(3)),
    lambda path: np.savez(path, x=np.ones(3), meta=meta(format=1, arrays=["x", "y"])),
    lambda path: np.savez(path, meta=np.ones(3)),
    lambda path: np.savez(path, meta=np.array(7)),
    lambda path: np.savez(path, meta=np.array("not JSON")),
    lambda path: np.savez(path, meta=np.array("[1, 2]")),
    lambda path: np.savez(path, meta=meta(step=3)),
    lambda path: np.save(path.open("wb"), np.ones(3)),
], ids=["empty", "text", "pickle", "pickle inside", "no meta", "an array is missing",
        "meta is an array", "meta is a number", "meta is no JSON", "meta is a list", "no format",
        "one array"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_checkpoint_gets_one_sentence(write, tmp_path):
    path = tmp_path / "run.npz"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="run.npz is damaged or no checkpoint") as caught:
        train("vae", 5, path)
    assert "\n" not in str(caught.value) and path.read_bytes() == before


def test_another_format_gets_one_sentence(tmp_path):
    np.savez(tmp_path / "run.npz", meta=meta(format=2))
    with pytest.raises(ValueError, match="has checkpoint format 2; this version reads 1: train"):
        train("vae", 5, tmp_path / "run.npz")


def other_width():
    model = VAE(9, latent=2, hidden=(7,))
    return model, [("loss", model.loss, SGD(model.parameters(), 0.01, momentum=0.9))]


def other_optimizer():
    model = VAE(9, latent=2, hidden=(8,))
    return model, [("loss", model.loss, Adam(model.parameters(), 0.01))]


@pytest.mark.parametrize("make, batch_size, why", [
    (made, 10, "is missing"), (gan, 10, r"goals are \['loss'\], not \['critic', 'generator'\]"),
    (other_width, 10, "has shape"), (other_optimizer, 10, "not the state of this Adam"),
    (vae, 9, "saved with batch_size 10, here it is 9"),
])
def test_the_checkpoint_of_another_run_changes_nothing(make, batch_size, why, tmp_path):
    path = tmp_path / "run.npz"
    train("vae", 5, path)
    model, goals = make()
    before = model.state_dict(), [goal[2].state_dict() for goal in goals], backend.random_state()
    with pytest.raises(ValueError, match=rf"run.npz is the checkpoint of another run \(.*{why}.*\)"
                                         "; delete it, or name another file"):
        fit(model, data(batch_size), 10, goals, checkpoint=path)
    assert_same(model.state_dict(), before[0])
    for goal, state in zip(goals, before[1]):
        assert_same(goal[2].state_dict(), state)
    assert backend.random_state() == before[2] or backend.xp.__name__ == "cupy"


# --- mistakes -------------------------------------------------------------------------------------

def test_batches_that_end_get_one_sentence():
    model, goals = vae()
    with pytest.raises(ValueError, match="fit: the batches ended after step 3; give an endless"):
        fit(model, iter([np.zeros((10, 9), "float32")] * 3), 5, goals)


def test_mistakes_get_one_sentence():
    model, goals = vae()
    with pytest.raises(ValueError, match="fit: every is 0; needs a whole number of at least 1"):
        fit(model, data(), 5, goals, every=0)
    with pytest.raises(ValueError, match="fit: goals are called loss, loss; each needs a name"):
        fit(model, data(), 5, goals + goals)
    with pytest.raises(ValueError, match="fit: steps is None; needs a whole number of at least 0"):
        fit(model, data(), None, goals)
    with pytest.raises(ValueError, match="depends on none of the given inputs"):
        fit(model, data(), 5, [("loss", model.loss, SGD(VAE(9).parameters(), 0.1))])
    with pytest.raises(ValueError, match="item: needs one element, got shape"):
        fit(model, data(), 5, [("loss", model.elbo, goals[0][2])])


# --- progress -------------------------------------------------------------------------------------

class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [100.0]
    monkeypatch.setattr("tinygen.training.time.perf_counter", lambda: now[0])
    return now


def test_progress_in_a_file_is_a_line_now_and_then(clock):
    file = io.StringIO()
    report = Progress("vae", file=file)
    for step in range(1, 101):
        clock[0] += 0.5
        report(step, 100, {"critic": 1.38629, "generator": 0.7}, 64)
    lines = file.getvalue().splitlines()
    assert len(lines) == 5 and file.getvalue().endswith("\n")
    assert lines[0] == ("vae  step 20/100  critic 1.39 nats  generator 0.70 nats  128 examples/s"
                        "  0:40 left")
    assert lines[-1].startswith("vae  step 100/100  ") and lines[-1].endswith("  0:00 left")


def test_progress_on_a_terminal_rewrites_its_line(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    report = Progress("made", unit="bits", file=screen)
    for step in range(1, 4):
        clock[0] += 1
        report(step, 3, {"loss": 31.925}, 2_000)
        clock[0] += 0.001
    shown = screen.getvalue()
    assert shown.count("\r\x1b[K") == 3 and shown.count("\n") == 1 and shown.endswith("\n")
    first = shown.split("\r\x1b[K")[1]
    assert first == "made  step 1/3  loss 31.93 bits  2,000 examples/s  0:02 left"[:59]
    assert all(len(line) < 60 for line in shown.rstrip("\n").split("\r\x1b[K"))


@pytest.mark.parametrize("step, left", [(0.0999, "0:10"), (0.5996, "1:00"), (36, "60:00")])
def test_time_left_is_minutes_and_seconds(step, left, clock):
    file = io.StringIO()
    report = Progress("x", seconds=0, file=file)
    clock[0] += step
    report(1, 101, {}, 1)
    assert file.getvalue().endswith(f"  {left} left\n")


def test_progress_counts_from_where_a_run_resumed(clock):
    file = io.StringIO()
    report = Progress("x", seconds=0, file=file)
    for step in (51, 52):
        clock[0] += 2
        report(step, 60, {"loss": 1.0}, 10)
    assert file.getvalue().splitlines()[1] == ("x  step 52/60  loss 1.00 nats  5 examples/s"
                                               "  0:16 left")


def test_progress_follows_fit(capsys):
    train("gan", 3, None, report=Progress("gan", seconds=0))
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 3
    assert re.fullmatch(r"gan  step 3/3  critic \d\.\d\d nats  generator \d\.\d\d nats  [\d,]+ "
                        r"examples/s  0:00 left", said.err.splitlines()[-1])
