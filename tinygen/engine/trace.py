"""Looking at a graph, and catching what went wrong in it: trace and debug mode.

    y      a recorded Tensor;  its op, args, settings: the primitive and what it was given
    birth  a Tensor's serial number;   gx  the gradient with respect to one argument of op

`trace(y)` lists the graph behind y. `debug()` looks at each result as it is recorded, through the
hooks `watch` and `watch_gradient` of tensor.py, which are None while it is off.
"""
import contextlib
import math
import os
import sys
import warnings
import weakref
from collections import namedtuple

from . import tensor
from .backend import xp
from .backward import _walk_back, behind, inputs_of
from .tensor import Tensor

# --- the graph as text and as a drawing -----------------------------------------------------------

Row = namedtuple("Row", "name inputs shapes shape dtype gradient")


class Trace:
    """rows: one per Tensor, oldest first; str() is a table and draw() a picture.

    name      the op that made it (after the user's name for it), or of a leaf its name
    inputs    the row numbers of the Tensors it was made from;  shapes: of all arrays it came from
    gradient  the norm of d sum(y) / d it, None where none flows
    """

    def __init__(self, rows):
        self.rows = rows

    def __str__(self):
        table = [("#", "op", "from", "shapes", "dtype", "|gradient|")]
        for i, row in enumerate(self.rows):
            source = " ".join(map(str, row.inputs)) if row.shapes else "leaf"
            shapes = " ".join(map(str, row.shapes)) + " -> " if row.shapes else ""
            norm = "-" if row.gradient is None else f"{row.gradient:.4g}"
            table.append((str(i), row.name, source, shapes + str(row.shape), str(row.dtype), norm))
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(line, widths)) for line in table)
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def draw(self, ax=None):
        """A box per row, from the leaves on the left to y on the right. Gives the Axes."""
        import matplotlib.pyplot as plt
        at = _places(self.rows)
        if ax is None:
            columns, height = 1 + at[-1][0], 1 + max(abs(v) for _, v in at)
            _, ax = plt.subplots(figsize=(1 + 1.3 * columns, 1 + 1.2 * height))
        for row, place in zip(self.rows, at):
            ax.text(*place, f"{row.name}\n{row.shape}", ha="center", va="center", fontsize=8,
                    bbox={"boxstyle": "round", "facecolor": "white" if row.shapes else "0.85"})
            for i in row.inputs:
                ax.plot(*zip(at[i], place), color="0.6", zorder=0)
        ax.update_datalim(at)
        ax.margins(0.15)
        ax.set_axis_off()
        return ax


def _places(rows):
    """(column, height) of each row: right of all its inputs, a leaf just left of its first use."""
    column = []
    for row in rows:
        column.append(1 + max((column[j] for j in row.inputs), default=-1))
    for i, row in enumerate(rows):
        if not row.shapes:
            uses = (column[k] for k, user in enumerate(rows) if i in user.inputs)
            column[i] = min(uses, default=1) - 1
    members = {c: [i for i in range(len(rows)) if column[i] == c] for c in column}
    return [(c, (len(members[c]) - 1) / 2 - members[c].index(i)) for i, c in enumerate(column)]


def trace(y, names=None):
    """The graph behind y, with the norm of each gradient d sum(y) / dx. `.grad` is not touched.

    names: {"W1": Tensor, ...} for those to be called by name. RuntimeError once backward() has
    freed the graph.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"trace: needs a Tensor, got {type(y).__name__}")
    called = {t.birth: name for name, t in (names or {}).items()}
    reached = [t for _, t in sorted(behind(y).items())]      # oldest first
    norms, number, rows = _gradient_norms(y, reached), {}, []
    for i, t in enumerate(reached):
        number[t.birth] = i
        name = [called.get(t.birth), t.op and t.op.__name__]
        rows.append(Row(name=" = ".join(filter(None, name)),
                        inputs=tuple(number[a.birth] for a in inputs_of(t)),
                        shapes=tuple(a.shape for a in t.args if hasattr(a, "shape")),
                        shape=t.shape, dtype=t.dtype, gradient=norms.get(t.birth)))
    return Trace(rows)


def _gradient_norms(y, reached):
    norms = {}

    def deliver(x, g, owned):
        norms[x.birth] = math.sqrt(float((g * g).sum()))

    if y.requires_grad:
        wanted = {t.birth: True for t in reached if t.requires_grad}
        _walk_back(y, xp.ones_like(y.data), deliver, wanted)
    return norms


# --- debug mode -----------------------------------------------------------------------------------

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_records = {}           # birth of a recorded Tensor -> its _Record
_locked = {}            # id of an array -> [the array, how many records need it]
_Record = namedtuple("_Record", "gone line arrays leaves")


class debug:
    """`with debug():` stops at the first mistake and names the user's line; TINYGEN_DEBUG=1 does so
    for a whole run. What is not recorded (under no_grad) is not looked at.

    FloatingPointError   an op made a NaN or infinity, forward or backward, or was given a NaN.
                         An infinity may come from one that was given, as a mask of -inf is
    ValueError           NumPy's "read-only": an array was edited that backward still needs. It is
                         locked until what was made from it is freed or gone (so evaluate under
                         no_grad); backward() unlocks the parameters it has reached. CuPy's
                         arrays cannot be locked
    RuntimeWarning       (N, 1) met (N,), which makes (N, N)
    """

    def __enter__(self):
        self.before = tensor.watch, tensor.watch_gradient
        tensor.watch, tensor.watch_gradient = _watch, _watch_gradient

    def __exit__(self, *error):
        tensor.watch, tensor.watch_gradient = self.before
        if tensor.watch is None:
            _records.clear()
            for a, _ in list(_locked.values()):
                _unlock(a, whoever_needs_it=True)


def _watch(y):
    frame = _user_frame()
    line = f"{frame.f_code.co_filename.removeprefix(os.getcwd() + os.sep)}:{frame.f_lineno}"
    given = [a.data if isinstance(a, Tensor) else a for a in (*y.args, *y.settings.values())]
    arrays = [a for a in given if isinstance(a, xp.ndarray)]
    _check_result(y, given, arrays, line)
    _warn_of_outer(y, frame)
    arrays.append(y.data)               # last: a view can be unlocked only after what it views
    for a in arrays:
        _lock(a)
    leaves = [a.data for a in y.args if isinstance(a, Tensor) and a.is_leaf and a.requires_grad]
    birth = y.birth
    _records[birth] = _Record(weakref.ref(y, lambda _: _forget(birth)), line, arrays, leaves)


def _watch_gradient(y, i, gx):
    record = _records.get(y.birth)
    if record is None:                  # made before debug() was entered
        return
    flaw = _flaw(gx.data if isinstance(gx, Tensor) else gx)
    if flaw:
        raise FloatingPointError(f"{y.op.__name__}: backward made {flaw} in the gradient of "
                                 f"argument {i}, shape {gx.shape}, of the call at {record.line}")
    if y.args is None:                  # backward() has freed y
        for a in record.leaves:         # the optimizer's turn is next
            _unlock(a, whoever_needs_it=True)
        _release(record)


def _user_frame():
    """The innermost frame outside this package; the outermost one if all are inside."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame


def _flaw(a):
    """The worst that an array or a float holds: "nan", "inf", "-inf", or "" where all is finite."""
    a = xp.asarray(a) if isinstance(a, float) else a
    if not isinstance(a, xp.ndarray) or a.dtype.kind != "f" or xp.isfinite(a).all():
        return ""
    return "nan" if xp.isnan(a).any() else "inf" if (a == math.inf).any() else "-inf"


def _check_result(y, given, arrays, line):
    flaw = _flaw(y.data)
    if not flaw:
        return
    flaws = [_flaw(a) for a in given]
    if flaw != "nan" and any(flaws):
        return
    did = f"was given nan as argument {flaws.index('nan')}" if "nan" in flaws else f"made {flaw}"
    spans = ", ".join(f"{a.shape} from {float(a.min()):.4g} to {float(a.max()):.4g}"
                      for a in arrays if a.size)
    raise FloatingPointError(f"{y.op.__name__}: {did} at {line}; given {spans}")


def _warn_of_outer(y, frame):
    n = y.shape[0] if y.ndim else 0
    if n > 1 and y.shape == (n, n):
        shapes = {getattr(a, "shape", None) for a in y.args}
        if {(n, 1), (n,)} <= shapes:
            text = (f"{y.op.__name__}: ({n}, 1) met ({n},), which made ({n}, {n}); reshape one, or "
                    "write x[None, :] if this was meant")
            warnings.warn_explicit(text, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno)


# --- locks ----------------------------------------------------------------------------------------

def _lock(a):
    """Makes an array read-only, or counts one more that needs it so."""
    if id(a) in _locked:
        _locked[id(a)][1] += 1
    elif getattr(a.flags, "writeable", False):
        a.flags.writeable = False
        _locked[id(a)] = [a, 1]


def _unlock(a, whoever_needs_it=False):
    if id(a) not in _locked:
        return
    _locked[id(a)][1] -= 1
    if whoever_needs_it or not _locked[id(a)][1]:
        del _locked[id(a)]
        with contextlib.suppress(ValueError):       # a view of an array that is still locked
            a.flags.writeable = True


def _release(record):
    for a in record.arrays:
        _unlock(a)
    record.arrays.clear()


def _forget(birth):
    """The Tensor is gone."""
    if birth in _records:
        _release(_records.pop(birth))


if os.environ.get("TINYGEN_DEBUG", "0") not in ("", "0"):
    debug().__enter__()
