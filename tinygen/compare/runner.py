"""Runs the cells of the table in processes of their own, and keeps each result in its own file.

A process for each cell, a fresh interpreter with one BLAS thread: what crashes takes only its own
row along, and two cells on two processors get through more than one cell with two threads (1.8
times the steps of MADE a second, twice the VAE's: medians of three interleaved rounds). A
result is written all at once or not at all (training.save_arrays), so a run that was killed finds
its finished cells again; they count only if budget and sizes are the same.
"""
import os
import subprocess
import sys
import time
from pathlib import Path

from ..training import load_arrays, save_arrays
from .contenders import CONTENDERS

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POLL = 0.05                     # seconds between looks at the processes


class Cell:
    """A world, a model and a seed, with the budget, and the file that its result goes to."""

    def __init__(self, world, model, seed, settings, out):
        self.world, self.model, self.seed, self.settings = world, model, seed, settings
        self.name = f"{world}-{model}-{seed}"
        self.path = Path(out) / "cells" / f"{self.name}.npz"
        self.log = self.path.with_suffix(".log")
        self.process = self.deadline = None

    def result(self):
        """(row, samples), or None if there is no whole file of these settings."""
        try:
            arrays, meta = load_arrays(self.path)
        except (OSError, ValueError):
            return None
        if meta.get("settings") != self.settings:
            return None
        return meta["row"], arrays.get("samples")

    def run(self):
        """Measures, here, and writes the file: a row, or what went wrong."""
        from .cell import measure
        arrays = {}
        try:
            row, arrays["samples"] = measure(self.world, self.model, self.seed, **self.settings)
        except Exception as error:                      # whatever it is, it is this row's to say
            text = (str(error) or "no message").splitlines()[0]
            row = self.failed(f"{type(error).__name__}: {text}")
        save_arrays(self.path, arrays, {"settings": self.settings, "row": row})

    def failed(self, why):
        doc = CONTENDERS[self.world][self.model].__doc__
        return {"world": self.world, "key": self.model, "seed": self.seed, "model": doc,
                "failed": why}

    def start(self, limit):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {name: "1" for name in THREADS} | {
            "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "tinygen.compare", "--cell", self.world, self.model,
                   str(self.seed), "--out", str(self.path.parents[1])]
        for name, value in self.settings.items():
            flag = {"seconds": "--budget"}.get(name, f"--{name}")
            command += [flag] if value is True else [flag, str(value)] if value else []
        with open(self.log, "w") as log:                # its own session: Ctrl-C is for the parent
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        self.deadline = time.monotonic() + limit

    def ended(self):
        """Whether the process is over; one that is past its time is ended."""
        if self.process.poll() is None and time.monotonic() > self.deadline:
            self.stop()
        return self.process.poll() is not None

    def outcome(self):
        """The row and samples of a process that ended, also of one that left no file."""
        result = self.result()
        if result is None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"its process ended with {self.process.returncode}"
            if time.monotonic() > self.deadline:
                why = "it took longer than its limit, and was stopped"
            return self.failed(why), None
        self.log.unlink(missing_ok=True)
        return result

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run_all(cells, jobs, limit, report=None):
    """[(row, samples)] of the cells in their order, `jobs` processes at a time.

    Finished ones are not run again, failed ones are. report(done, all, seconds of this run's own
    cells so far, how many those are, row) hears of each that ends. Ctrl-C ends the processes."""
    results = {cell.name: cell.result() for cell in cells}
    results = {k: v for k, v in results.items() if v and "failed" not in v[0]}
    waiting = [cell for cell in cells if cell.name not in results]
    for cell in cells:
        cell.log.unlink(missing_ok=True)                # left by a run that was killed
    running, own, start = [], 0, time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(waiting.pop(0))
                running[-1].start(limit)
            time.sleep(POLL)
            for cell in [c for c in running if c.ended()]:
                running.remove(cell)
                results[cell.name], own = cell.outcome(), own + 1
                if report:
                    report(len(results), len(cells), time.monotonic() - start, own,
                           results[cell.name][0])
    finally:
        for cell in running:
            cell.stop()
    return [results[cell.name] for cell in cells]


def finished(cells):
    """[(row, samples)] of those that have a file"""
    return [r for r in (cell.result() for cell in cells) if r]
