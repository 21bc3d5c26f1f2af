"""python -m tinygen.compare: every family on the same worlds, in one table.

    python -m tinygen.compare                                8 minutes on two cores
    python -m tinygen.compare --models made,vae,gan --worlds glyphs --seeds 2
    python -m tinygen.compare --worlds mnist                 asks for MNIST

Each model gets the same split and the same budget: --budget seconds of one processor, or --steps.
Writes table.txt, table.csv, table.png and table.html below --out. Started again with the same
budget it goes on from what is there. Read next: worlds.py, clock.py, contenders.py, cell.py; then
runner.py and report.py, which run the cells and show them.
"""
import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from ..commands import one_sentence
from ..datasets.files import alone
from . import report
from .contenders import CONTENDERS
from .runner import Cell, finished, run_all

BUDGET, SEEDS, MOST_SEEDS = 10.0, 3, 1000
OFFLINE = ("glyphs", "mixture2d", "words")      # the default: MNIST may have to be downloaded


def compare(worlds=OFFLINE, models=None, seeds=SEEDS, seconds=BUDGET, steps=None, quick=False,
            out="out/compare", jobs=None, command="tinygen.compare.compare()", progress=None):
    """Trains and measures every cell that is not finished yet, writes the table below `out`, and
    gives its lines (see report.lines). models: names in CONTENDERS, left out: all of each world.
    seeds: how many, from 0 on, or which.

    The table is written also when it is interrupted, of what is finished until then."""
    cells = plan(worlds, models, seeds, seconds, steps, quick, out)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"compare: {jobs} jobs; needs at least one process at a time")
    limit = 3600 if steps else 300 + 20 * seconds
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        with alone(out, wait=False):
            try:
                results = run_all(cells, jobs, limit, progress)
            except KeyboardInterrupt:
                write(finished(cells), out, command)
                raise KeyboardInterrupt(f"stopped; the same command goes on from {out}") from None
            return write(results, out, command)
    except BlockingIOError:
        raise BlockingIOError(f"compare: another run is filling {out}; wait for it, or give this "
                              "one another --out") from None
    except OSError as error:
        raise OSError(f"compare: cannot write below {out} ({error.strerror or error}); what is "
                      "finished there stays: free some space, or give another --out") from error


def plan(worlds, models, seeds, seconds, steps, quick, out):
    """The cells, seed by seed, so that what an interruption leaves is a whole table of fewer"""
    for asked, offered, what in ((worlds, list(CONTENDERS), "world"), (
            models or [], {m for w in worlds if w in CONTENDERS for m in CONTENDERS[w]}, "model")):
        for name in asked:
            if name not in offered:
                raise ValueError(f"compare: no {what} {name!r}; choose from "
                                 f"{', '.join(sorted(offered))}")
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    ample = seconds > 0 if steps is None else steps >= 1
    if not ample or not 1 <= len(seeds) <= MOST_SEEDS:
        raise ValueError(f"compare: {len(seeds)} seeds, {seconds} seconds, {steps} steps; needs 1 "
                         f"to {MOST_SEEDS} seeds and a budget above 0")
    settings = budget(seconds, steps, quick)
    return [Cell(world, model, seed, settings, out) for seed in seeds
            for world in dict.fromkeys(worlds)
            for model in CONTENDERS[world] if not models or model in models]


def budget(seconds, steps, quick):
    """What a cell's numbers depend on, beside its name: arguments of cell.measure"""
    return ({"steps": steps} if steps else {"seconds": seconds}) | {"quick": quick}


def write(results, out, command):
    """The four files, each whole or as it was; gives the lines of the table."""
    lines = sorted(report.lines(results), key=_place)
    if not lines:
        return lines
    picture = report.draw(lines)
    for kind, content in (("txt", report.text(lines)), ("csv", report.as_csv(lines)),
                          ("png", picture), ("html", report.page(lines, picture, command))):
        path, unfinished = (Path(out) / f"table.{kind}{end}" for end in ("", ".part"))
        unfinished.write_bytes(content if kind == "png" else content.encode())
        os.replace(unfinished, path)
    return lines


def _place(line):
    """Where a line stands: worlds and models in the order of CONTENDERS"""
    return list(CONTENDERS).index(line["world"]), list(CONTENDERS[line["world"]]).index(line["key"])


def show(done, total, spent, own, row):
    """progress= for compare: a line on stderr for each cell that ends, with the time left."""
    minutes, seconds = divmod(round(spent / own * (total - done)), 60)
    what = row.get("failed") or (f"{row['nats']:.2f} nats" if "nats" in row else "trained")
    print(f"{done}/{total}  {row['world']}  {row['model']}  seed {row['seed']}: {what}  "
          f"{minutes}:{seconds:02d} left", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(prog="python -m tinygen.compare", description="every family "
                                     "on the same worlds, in one table")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS",
                        help=f"of one processor, to train each model ({BUDGET:g})")
    parser.add_argument("--steps", type=int, help="a budget in steps instead: numbers that repeat")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many ({SEEDS})")
    parser.add_argument("--worlds", default=",".join(OFFLINE), help=", ".join(CONTENDERS))
    parser.add_argument("--models", help="names, separated by commas; left out: all")
    parser.add_argument("--jobs", type=int, help="processes at a time: as many as processors")
    parser.add_argument("--out", default="out/compare", metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="few examples: for tests")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    if args.cell:
        world, model, seed = args.cell
        settings = budget(args.budget, args.steps, args.quick)
        Cell(world, model, int(seed), settings, args.out).run()
        return
    start = time.monotonic()
    with one_sentence("compare"):
        lines = compare(args.worlds.split(","), args.models and args.models.split(","), args.seeds,
                        args.budget, args.steps, args.quick, args.out, args.jobs,
                        shlex.join(["python", "-m", "tinygen.compare", *sys.argv[1:]]), show)
    print(report.text(lines))
    print(f"{time.monotonic() - start:.0f} s; {args.out}/table.html has the samples beside it")
