"""What every model of the table is given alike: a budget.

A budget is seconds of one processor's time, or steps. Seconds are the default: one step of a
Transformer costs as much as many of a logistic regression, so equal steps would compare neither
effort nor patience. They are the process's own seconds, so other work on the machine does not
decide who wins. How many steps they will hold is not known beforehand; so a learning rate follows
the clock, not a count: down to 0 along half a cosine of the share of the budget that is used up.
"""
import math
import time

from ..datasets.batches import Endless
from ..engine.backend import host_rng
from ..training import fit


class _TimeUp(Exception):
    pass


class Clock:
    """A budget of `seconds` of this process's time, or of `steps`."""

    def __init__(self, seconds=None, steps=None):
        self.seconds, self.steps, self.done, self.spent = seconds, steps, 0, 0.0
        self.start = time.process_time()

    def used(self):
        """The share of the budget that is used up, from 0 to 1"""
        used = self.done / self.steps if self.steps else (
            (time.process_time() - self.start) / self.seconds)
        return min(1.0, used)

    def tick(self, *_):
        """Counts a step; _TimeUp after the last one."""
        self.done += 1
        if self.used() >= 1:
            raise _TimeUp

    def rate(self, lr, begin=0.0, end=1.0, warmup=20):
        """A schedule: up to lr over `warmup` steps, and down along half a cosine from share
        `begin` of the budget to `end`"""
        def schedule(t):
            along = min(max((self.used() - begin) / (end - begin), 0), 1)
            return lr * min(1, t / warmup) * (1 + math.cos(math.pi * along)) / 2
        return schedule

    def fit(self, model, world, goals, batch_size=100, until=1.0, clip=None):
        """training.fit until the share `until` of the budget is used up; then eval()"""
        def report(step, steps, losses, examples):
            self.tick()
            if self.used() >= until:
                raise _TimeUp
        batches = Endless(world.train, min(batch_size, len(world.train)), host_rng())
        try:
            fit(model, batches, 10 ** 9, goals, clip=clip, report=report)
        except _TimeUp:
            model.eval()

    def climb(self, step, tolerance=1e-4):
        """Repeats step(), which gives a mean ln p, until it gains less or the budget is used up."""
        before = -math.inf
        while (log_p := step()) - before >= tolerance:
            before = log_p
            try:
                self.tick()
            except _TimeUp:
                break
