"""What every lesson and command accepts on its command line, and how it says no.

A mistake of the user's (a flag, a file, a data set) is one sentence and exit code 2.
"""
import argparse
import os
import sys
import tempfile
from contextlib import contextmanager

from .engine import backend


def lesson_options(description, worlds=()):
    """The flags of a lesson, parsed: steps, seed, backend, out, show, quick, and data, if any.

    The world FILE.txt stands for any text file.  Chooses the backend, seeds the random numbers,
    and makes sure that `out` can be written."""
    parser = argparse.ArgumentParser(description=description)
    if worlds:
        parser.add_argument("--data", type=_one_of(worlds), default=worlds[0],
                            metavar=f"{{{','.join(worlds)}}}", help="what to learn from")
    parser.add_argument("--steps", type=_at_least_one, help="training steps (lessons 00, 14 to 32)")
    parser.add_argument("--seed", type=int, default=0, help="of every random number")
    parser.add_argument("--backend", choices=("numpy", "cupy"), help="where arrays live")
    parser.add_argument("--out", default="out", metavar="DIR", help="where pictures go")
    parser.add_argument("--show", action="store_true", help="also open the pictures in a window")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: for tests")
    in_notebook = "ipykernel" in sys.modules
    args = parser.parse_args([] if in_notebook else None)
    with one_sentence(parser.prog):
        if args.seed < 0:
            raise ValueError(f"--seed {args.seed}: needs 0 or more")
        if args.backend:
            backend.use(args.backend)
        _check_writable(args.out)
    backend.seed(args.seed)
    if not args.show:
        import matplotlib
        matplotlib.use("Agg")
    return args


def _one_of(worlds):
    def world(text):
        is_file = text.endswith(".txt") or os.path.isfile(text)
        if text not in worlds and not ("FILE.txt" in worlds and is_file):
            raise argparse.ArgumentTypeError(f"invalid choice: {text} is none of "
                                             f"{', '.join(worlds)}")
        return text
    return world


def _at_least_one(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: needs a whole number, 1 or more")
    return int(text)


def _check_writable(folder):
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--out {folder}: cannot be written ({error.strerror})") from None


@contextmanager
def one_sentence(program=None):
    """Turns a user's mistake inside the block, or a run that broke off, into one sentence on stderr
    and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, MemoryError) as error:
        print(f"{program or os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        print(f"\n{error or 'stopped'}", file=sys.stderr)
        raise SystemExit(130) from None
