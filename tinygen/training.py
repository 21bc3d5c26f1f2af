"""The training loop: progress, checkpoints, resume.

    goals    [(name, loss, optimizer), ...]: at each step every loss(x) in turn is lowered by its
             optimizer. One goal for maximum likelihood, two for a GAN.
    batches  an endless iterator that can tell and take back its place (datasets.batches.Endless);
             x is what it gives, an array or a tuple of arrays, on the backend
    step     1, 2, ...; a checkpoint holds everything that the next step depends on
"""
import glob
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress

import numpy

from .datasets.files import read_npz
from .engine.backend import device_errors, random_state, set_random_state, xp
from .nn.linear import check_sizes
from .optim import clip_grad_norm
from .parallel import team

FORMAT = 1                      # of checkpoint files; raised when an older file would be misread


def fit(model, batches, steps, goals, *, clip=None, checkpoint=None, every=1000, report=None,
        evaluate=None):
    """Trains for `steps` steps (counted from the first, also after a resume) and gives the history
    {"step": ..., name: ...}: the losses, in nats where the model's are, at every step.

    clip         the largest norm of a goal's gradients together (optim.clip_grad_norm)
    checkpoint   a path (.npz): continued from if it exists, written at the start, every `every`
                 steps, at the end, and on Ctrl-C, which stops after the current step and raises
                 KeyboardInterrupt; FileExistsError when another run has written it meanwhile
    report       called as report(step, steps, losses, examples) after every step; see Progress
    evaluate     called as evaluate(step) every `every` steps and at the end, in eval mode
    A loss that is not finite raises FloatingPointError before its optimizer changes anything.
    Under mpirun, each process learns from its part of every batch (parallel.py), and the first one
    reports and saves; Ctrl-C is mpirun's there, and ends all at once.
    """
    check_sizes("fit", every=every)
    check_sizes("fit", 0, steps=steps)
    run = _Run(model, batches, goals, clip)
    if run.team and run.team.rank:
        checkpoint = report = None
    if checkpoint and os.path.exists(checkpoint):
        run.load(checkpoint)
    elif checkpoint:
        run.save(checkpoint)                        # a path that cannot be written fails now
    if run.team:
        run.set_state(*run.team.same(run.state()))
    model.train()
    with _interrupt_between_steps() if not run.team else nullcontext() as interrupted:
        while run.step < steps and not interrupted:
            losses, examples = run.advance()
            if report:
                report(run.step, steps, losses, examples)
            if run.step % every == 0 or run.step == steps:
                if evaluate:
                    model.eval()
                    evaluate(run.step)
                    model.train()
                if checkpoint and not interrupted:
                    run.save(checkpoint)
        if interrupted:
            if checkpoint:
                run.save(checkpoint)
            raise KeyboardInterrupt(f"stopped after step {run.step}" + (
                f"; run the same command again to go on from {checkpoint}" if checkpoint else ""))
    return run.history()


class _Run:
    """Everything that the next step depends on."""

    def __init__(self, model, batches, goals, clip=None):
        self.model, self.batches, self.goals, self.clip = model, batches, goals, clip
        self.step, self.losses = 0, {name: [] for name, _, _ in goals}
        if len(self.losses) < len(goals) or "step" in self.losses:
            raise ValueError(f"fit: goals are called {', '.join(name for name, _, _ in goals)}; "
                             "each needs a name of its own, and 'step' is taken")
        self.written = None                             # which file the checkpoint was, by us
        self.team = team()
        if self.team:
            batches.share(self.team.rank, self.team.size)

    def advance(self):
        """One step; its losses by name, and how many examples it saw."""
        x = next(self.batches, None)
        if x is None:
            raise ValueError(f"fit: the batches ended after step {self.step}; give an endless "
                             "iterator, such as datasets.batches.Endless")
        x = tuple(map(xp.asarray, x)) if isinstance(x, tuple) else xp.asarray(x)
        examples = len(x[0] if isinstance(x, tuple) else x)
        try:
            with self.team.random_numbers(examples) if self.team else nullcontext():
                losses = {name: self.lower(name, loss(x), optimizer)
                          for name, loss, optimizer in self.goals}
        except MemoryError as error:
            raise MemoryError(
                f"fit: out of memory at step {self.step + 1}, with {examples} examples a batch "
                f"({error}); lower the batch size or the model's width, or compute parts again "
                "with tg.checkpoint") from error
        except device_errors() as error:
            raise RuntimeError(
                f"fit: the GPU failed at step {self.step + 1} ({error}); look at nvidia-smi, then "
                "run the same command again: it goes on from its last checkpoint") from error
        for name, value in losses.items():
            self.losses[name].append(value)
        self.step += 1
        return losses, examples * (self.team.size if self.team else 1)

    def lower(self, name, loss, optimizer):
        """One step of the optimizer; gives the loss before it."""
        value = loss.item()
        optimizer.zero_grad()
        if math.isfinite(value):
            loss.backward(optimizer.params)
        if self.team:
            value = self.team.average(optimizer.params, value)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"fit: the {name} became {value} at step {self.step + 1}; the step was not taken. "
                "Lower the learning rate, clip the gradients, or look with tg.debug()")
        if self.clip is not None:
            clip_grad_norm(optimizer.params, self.clip)
        optimizer.step()
        return value

    def history(self):
        return {"step": numpy.arange(1, self.step + 1),
                **{name: numpy.array(values) for name, values in self.losses.items()}}

    def state(self):
        """({name: array}, what else there is to know)"""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for i, (_, _, optimizer) in enumerate(self.goals):
            arrays |= {f"optimizer{i}/{k}": v for k, v in optimizer.state_dict().items()}
        arrays |= {f"loss/{k}": numpy.array(v) for k, v in self.losses.items()}
        return arrays, {"step": self.step, "goals": list(self.losses), "random": random_state(),
                        "batches": self.batches.state()}

    def set_state(self, arrays, meta):
        def part(prefix):
            return {k[len(prefix):]: v for k, v in arrays.items() if k.startswith(prefix)}
        if meta["goals"] != list(self.losses):
            raise ValueError(f"its goals are {meta['goals']}, not {list(self.losses)}")
        self.model.load_state_dict(part("model/"))
        for i, (_, _, optimizer) in enumerate(self.goals):
            optimizer.load_state_dict(part(f"optimizer{i}/"))
        self.step = meta["step"]
        if type(self.step) is not int or any(
                values.shape != (self.step,) for values in part("loss/").values()):
            raise ValueError("it does not hold one loss for each of its steps")
        self.losses = {name: values.tolist() for name, values in part("loss/").items()}
        self.batches.load_state(meta["batches"])
        set_random_state(meta["random"])

    def save(self, path):
        for name, p in self.model.named_parameters().items():
            if not xp.isfinite(p.data).all():       # a finite loss may have such a gradient
                raise FloatingPointError(
                    f"fit: {name} is no longer finite after step {self.step}; {path} was left as "
                    "it is. Lower the learning rate, clip the gradients, or look with tg.debug()")
        if _which_file(path) not in (None, self.written):
            raise FileExistsError(
                f"fit: another run has written {path} since this one did; this one stops at step "
                f"{self.step} and leaves it as it is: give each run a checkpoint of its own")
        self.written = save_arrays(path, *self.state())

    def load(self, path):
        self.written = _which_file(path)
        saved, before = load_arrays(path), self.state()
        try:
            _check_numbers(saved[0], before[0])
            self.set_state(*saved)
        except Exception as error:                  # a stranger's file may lack or hold anything
            self.set_state(*before)
            raise ValueError(f"{path} is the checkpoint of another run ({error}); delete it, or "
                             "name another file") from None


def _check_numbers(arrays, own):
    """That saved arrays hold what a run saves: numbers of the same kind, all of them finite."""
    for name, a in arrays.items():
        if name in own and a.dtype.kind != own[name].dtype.kind:
            raise ValueError(f"{name} holds {a.dtype}, not {own[name].dtype}")
        if a.dtype.kind == "f" and not numpy.isfinite(a).all():
            raise ValueError(f"{name} is not finite")


# --- files ----------------------------------------------------------------------------------------

def _which_file(path):
    """Tells a file from another that took its place; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def save_arrays(path, arrays, meta):
    """Writes {name: array} and JSON-able meta to an .npz file, all of it or nothing: a reader finds
    the old file or the new one. OSError, naming the path, when it cannot be written.

    Half-written files of killed runs, an hour old or more, are deleted."""
    text = json.dumps({"format": FORMAT, "arrays": list(arrays), **meta})
    unfinished = f"{path}.{os.getpid()}.part"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(unfinished, "wb") as file:
            numpy.savez(file, meta=numpy.array(text), **arrays)
            file.flush()
            os.fsync(file.fileno())
        which = _which_file(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror or error}; the file there, if any"
                          ", is as it was") from None
    finally:
        with suppress(OSError):
            os.unlink(unfinished)                   # still there only if something went wrong
    for left in glob.glob(f"{glob.escape(str(path))}.*.part"):
        with suppress(OSError):
            if time.time() - os.path.getmtime(left) > 3600:
                os.unlink(left)
    return which


def load_arrays(path):
    """({name: array}, meta) of a file by save_arrays. Nothing in the file is executed; ValueError
    when it is damaged, or of another format."""
    try:
        arrays = read_npz(path, os.path.getsize(path))      # ours are not packed
        meta = json.loads(arrays.pop("meta").item())
        found = meta["format"]
        if found == FORMAT and meta["arrays"] != list(arrays):
            raise ValueError("arrays are missing")
    except Exception as error:                      # damage has many faces, and none matters
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged or no checkpoint ({why}); delete it, or name "
                         "another file") from None
    if found != FORMAT:
        raise ValueError(f"{path} has checkpoint format {found}; this version reads {FORMAT}: "
                         "train anew, or use the version that wrote it")
    return arrays, meta


# --- Ctrl-C and progress --------------------------------------------------------------------------

@contextmanager
def _interrupt_between_steps():
    """Gives a list that is empty until Ctrl-C; a second Ctrl-C interrupts at once."""
    interrupted = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted                           # only the main thread may handle signals
        return

    def handle(number, frame):
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(number)
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """report= for fit: one line with step, losses, examples/s and time left.

    On a terminal the line rewrites itself; elsewhere a line comes every `seconds`."""

    def __init__(self, name, unit="nats", seconds=10, file=None):
        self.name, self.unit, self.file = name, unit, file or sys.stderr
        self.live = self.file.isatty()
        self.seconds = 0.2 if self.live else seconds
        self.start = self.shown = time.perf_counter()
        self.first = self.examples = None

    def __call__(self, step, steps, losses, examples):
        now = time.perf_counter()
        if self.first is None:
            self.first, self.examples = step - 1, 0
        self.examples += examples
        if step < steps and now - self.shown < self.seconds:
            return
        self.shown, spent = now, now - self.start
        minutes, seconds = divmod(round(spent / (step - self.first) * (steps - step)), 60)
        values = "  ".join(f"{name} {value:.2f} {self.unit}" for name, value in losses.items())
        line = (f"{self.name}  step {step}/{steps}  {values}  "
                f"{self.examples / spent:,.0f} examples/s  {minutes}:{seconds:02d} left")
        if self.live:                               # a line that wraps could not be rewritten
            line = "\r\x1b[K" + line[:shutil.get_terminal_size().columns - 1]
        self.file.write(line + ("\n" if step == steps or not self.live else ""))
        self.file.flush()
