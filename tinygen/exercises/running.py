"""Running what a learner wrote: whatever goes wrong in it becomes a Fault, told in a sentence."""
import ctypes
import runpy
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy

SECONDS = 10                # what takes longer is taken for an endless loop
NOT_THEIRS = str(Path(__file__).parent), str(Path(numpy.__file__).parent)


class Wrong(Exception):
    """What an exercise's `run` itself finds wrong with an answer, in a sentence."""


class Fault(Exception):
    """An answer is wrong in this way, in this place. name: the result that is wrong, if it is one
    that could be compared; told(): every diagnosis of it, if it is large enough to prove one"""

    def __init__(self, what, where="", name=None, told=None):
        self.what, self.where, self.name, self.told = what, where, name, told


class Endless(Fault):
    """What did not end in time. No other case is worth its SECONDS."""


def limited(function, *args, **settings):
    """function(*args, **settings); raises a Fault, or the NotImplementedError of a stub."""
    result, error = _within_seconds(function, args, settings)
    if isinstance(error, NotImplementedError):
        raise error
    if isinstance(error, Wrong):
        raise Fault(str(error))
    if error is not None:
        frames = [f for f in traceback.extract_tb(error.__traceback__)
                  if not f.filename.startswith(NOT_THEIRS)]
        line = f" in line {frames[-1].lineno} of {frames[-1].name}" if frames else ""
        raise Fault(f"it raises {type(error).__name__}{line}: {_first_line(error)}")
    return result


def load(path):
    """A namespace of what the file at `path` defines; raises a Fault where it does not load."""
    result, error = _within_seconds(runpy.run_path, (str(path),), {"run_name": "answer"})
    if error is not None:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                 if f.filename == str(path)]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        where = f"line {lines[-1]}" if lines else "while the file loads"
        raise Fault(f"{type(error).__name__}: {_first_line(error)}", where)
    return SimpleNamespace(**result)


def _within_seconds(function, args, settings):
    """(result, None), or (None, the exception); raises Endless."""
    outcome = []

    def work():
        try:
            with numpy.errstate(all="ignore"):
                outcome.append((function(*args, **settings), None))
        except BaseException as error:          # a learner's code may raise SystemExit, too
            outcome.append((None, error))
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident),
                                                   ctypes.py_object(SystemExit))
        raise Endless(f"no end after {SECONDS} seconds: an endless loop?")
    return outcome[0]


def _first_line(error):
    return (str(error).splitlines() or [""])[0]
