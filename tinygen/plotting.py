"""Every picture a lesson shows. Each function draws into the axes it is given and returns nothing;
`figure` makes the axes and `save` writes the file.
"""
import io
import os
import warnings

import numpy

BRANCH_COLORS = {"explicit, tractable": "#1b6ca8", "explicit, approximate": "#c8553d",
                 "implicit": "#3c8d5a", "data": "#555555"}
KOREAN = {"NanumGothic", "Noto Sans CJK KR", "Malgun Gothic", "AppleGothic"}   # for Hangul


def figure(rows, columns, size):
    """(figure, axes (rows, columns)), size in inches, drawn without a screen."""
    import matplotlib.pyplot as plt
    from matplotlib.font_manager import get_font_names
    plt.rcParams["font.family"] = ["DejaVu Sans", *sorted(KOREAN & set(get_font_names()))]
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return fig, axes


def save(fig, folder, name, show=False):
    """Writes folder/name and returns that path; with show, opens a window where there is one."""
    import matplotlib.pyplot as plt
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")       # boxes in the picture say it
        fig.savefig(path, dpi=130)
    if show:
        plt.show()
    plt.close(fig)
    return path


def png(fig, dpi=110):
    """The picture as the bytes of a PNG, to be put into a page."""
    import matplotlib.pyplot as plt
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=dpi)
    plt.close(fig)
    return file.getvalue()


def images(ax, x, shape, columns=8, title="", color=None):
    """x (n, H*W) in [0, 1] as a grid of pictures of shape (H, W), with thin lines between."""
    (H, W), rows = shape, -(-len(x) // columns)
    grid = numpy.full((rows * (H + 1) - 1, columns * (W + 1) - 1), 0.5)
    for i, picture in enumerate(x.reshape(-1, H, W)):
        r, c = divmod(i, columns)
        grid[r * (H + 1):r * (H + 1) + H, c * (W + 1):c * (W + 1) + W] = picture
    ax.imshow(grid, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(title, color=color or "black", fontsize=10)


def curve(ax, values, label, color=None, window=50):
    """A noisy loss: every step faintly, and its running mean over the `window` steps around it."""
    steps = numpy.arange(1, len(values) + 1)
    window = max(1, min(window, len(values) // 4))
    smooth = numpy.convolve(values, numpy.ones(window) / window, mode="valid")
    middle = steps[window // 2:][:len(smooth)]
    line, = ax.plot(middle, smooth, color=color, linewidth=1.6, label=label)
    ax.plot(steps, values, color=line.get_color(), alpha=0.2, linewidth=0.6)


def floor_line(ax, value, label):
    """A level that no model can go below."""
    ax.axhline(value, color="black", linewidth=1, linestyle="--", label=label)


def contours(ax, points, found, exact, title=""):
    """A function of the plane with values in [0, 1], filled, under the lines of the exact one, at
    .1, .3, .5, .7 and .9.   points (n, 2), a square grid row by row;   found, exact (n,)"""
    side = round(len(points) ** 0.5)
    x, y, found, exact = (a.reshape(side, side) for a in (*points.T, found, exact))
    ax.contourf(x, y, found, numpy.linspace(0, 1, 11), cmap="RdBu_r")
    ax.contour(x, y, exact, numpy.linspace(0.1, 0.9, 5), colors="black", linewidths=0.8)
    ax.set(aspect="equal", xlabel="x_1", ylabel="x_2")
    ax.set_title(title)


def dependency_map(ax, strength, title=""):
    """evaluation.dependency_map: a row for each output, a column for each input, 0 left white."""
    with numpy.errstate(divide="ignore"):
        ax.imshow(numpy.ma.masked_invalid(numpy.log10(strength)), cmap="viridis",
                  interpolation="nearest")
    ax.set_xlabel("input: x_j")
    ax.set_ylabel("output: what the model says of x_i")
    ax.set_title(title, fontsize=10)


def traversal(ax, decode, z, shape, units=None, span=3.0, steps=9, title=""):
    """decode(z) with one z_i moved from -span to span: a row for each i in `units`, or for all.

    z (Z,);   decode: codes (n, Z) -> pictures (n, H*W) in [0, 1], shape (H, W)"""
    units = range(len(z)) if units is None else units
    rows = [numpy.repeat(z[None], steps, 0) for _ in units]
    for i, row in zip(units, rows):
        row[:, i] = numpy.linspace(-span, span, steps)
    images(ax, decode(numpy.concatenate(rows)), shape, steps, title)


def interpolation(ax, decode, starts, ends, shape, steps=9, title=""):
    """decode((1 - t) start + t end), t from 0 to 1: a row for each pair of codes (n, Z)."""
    t = numpy.linspace(0, 1, steps, dtype=starts.dtype)[:, None]
    paths = (1 - t) * starts[:, None] + t * ends[:, None]                       # (n, steps, Z)
    images(ax, decode(paths.reshape(-1, starts.shape[1])), shape, steps, title)


def codebook_usage(ax, share, title=""):
    """A bar for each code's share (K,), the most used first, beside 1 / K, an even use."""
    ax.bar(numpy.arange(len(share)), numpy.sort(share)[::-1], width=1.0)
    floor_line(ax, 1 / len(share), "even use")
    ax.legend(fontsize=8)
    ax.set_xlabel("code, by use")
    ax.set_ylabel("share")
    ax.set_title(title, fontsize=10)
