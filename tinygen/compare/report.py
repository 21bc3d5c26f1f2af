"""The table, four times: as text, CSV, a drawing, and one HTML page that holds all it shows.

A line is a model; each number is the mean over seeds, with the standard deviation beside it.
"""
import base64
import csv
import html
import io
import math
import statistics

import numpy as np

from .. import plotting
from ..datasets.text import unpadded
from ..evaluation import table
from .worlds import WORLDS

COLUMNS = ("parameters", "nats", "bits/dim", "KL", "ln p_data(samples)", "possible %", "found",
           "s per 1000", "AUROC", "train s", "steps")
DIGITS = {"parameters": 0, "found": 0, "steps": 0, "AUROC": 3, "bits/dim": 3, "train s": 1,
          "possible %": 1, "s per 1000": 3}
MEANING = {
    "parameters": "how many numbers the model learned, masked weights and critics included",
    "nats": "-ln p of a test example, lower is better; `kind` says what it is: exact, or an upper "
            "bound of it by k samples, or none: then there is no density",
    "bits/dim": "nats / (D ln 2); for names, bits per character",
    "KL": "KL(p_data || p_theta) in nats: what is above the floor; of a bound, at most this",
    "ln p_data(samples)": "what the true density says of the model's samples, nats; near the row "
                          "of p_data itself is right, above it is too typical",
    "possible %": "samples that p_data could well have made",
    "found": "modes that the samples hit: templates, Gaussians, different names",
    "s per 1000": "seconds for 1000 samples on one processor",
    "AUROC": "the chance that a test example is denser than an unfamiliar input",
    "train s": "seconds of one processor for training; steps: how many there was time for",
    "probe": "% of test examples whose factor a linear layer reads off the representation; in the "
             "row of p_data itself, off x"}


def lines(results):
    """[line]: a dict for each world and model, in order; each number as (mean, spread), the spread
    None for a single seed; `samples` of its first seed; `failed` where every seed did."""
    groups = {}
    for row, samples in results:
        groups.setdefault((row["world"], row["key"]), []).append((row, samples))
    return [_line(group) for group in groups.values()]


def _line(group):
    good = [(row, samples) for row, samples in group if "failed" not in row]
    bad = [row["failed"] for row, _ in group if "failed" in row]
    first, samples = good[0] if good else group[0]
    line = {k: first.get(k) for k in ("world", "key", "branch", "model", "kind")}
    line |= {"samples": samples, "seeds": len(good), "failed": bad[0] if bad else None}
    for name in COLUMNS:
        line[name] = _mean_and_spread([row.get(name) for row, _ in good])
    line["probes"] = {name: _mean_and_spread([row["probes"].get(name) for row, _ in good])
                      for name in first.get("probes", {})}
    return line


def _mean_and_spread(values):
    values = [v for v in values if v is not None]
    if not values:
        return None
    finite = len(values) > 1 and all(map(math.isfinite, values))
    return statistics.fmean(values), statistics.stdev(values) if finite else None


def cell(value, digits):
    """(mean, spread) as 12.34 ±0.05"""
    if value is None:
        return "-"
    mean, spread = value
    return f"{mean:,.{digits}f}" + (f" ±{spread:,.{digits}f}" if spread else "")


def rows(world_lines):
    """(column names, rows of text) of the lines of one world"""
    factors = list(dict.fromkeys(f for line in world_lines for f in line["probes"]))
    shown = [c for c in COLUMNS if any(line[c] for line in world_lines)]
    names = ["branch", "model", "kind", *shown, *[f"{f} %" for f in factors]]
    body = []
    for line in world_lines:
        head = [line["branch"] or "-", line["model"], line["kind"] or "-"]
        body.append(head + [cell(line[c], DIGITS.get(c, 2)) for c in shown] + [
            cell(line["probes"].get(f), 1) for f in factors])
    return names, body


def by_world(all_lines):
    worlds = dict.fromkeys(line["world"] for line in all_lines)
    return {w: [line for line in all_lines if line["world"] == w] for w in worlds}


def failure(line):
    return (f"{line['model']}: FAILED ({line['failed']})" if not line["seeds"] else
            f"{line['model']}: one seed failed ({line['failed']})")


def text(all_lines):
    """The table of each world, and below it the rows that failed"""
    parts = []
    for world, world_lines in by_world(all_lines).items():
        parts += [world, table(*rows(world_lines))]
        parts += [failure(line) for line in world_lines if line["failed"]] + [""]
    return "\n".join(parts)


def as_csv(all_lines):
    """A line a model; beside each number its spread over seeds"""
    factors = list(dict.fromkeys(f for line in all_lines for f in line["probes"]))
    names = [*COLUMNS, *[f"{f} %" for f in factors]]
    about, file = ["world", "branch", "model", "kind", "seeds", "failed"], io.StringIO()
    out = csv.writer(file)
    out.writerow([*about, *[n for name in names for n in (name, f"{name} spread")]])
    for line in all_lines:
        values = [line[c] for c in COLUMNS] + [line["probes"].get(f) for f in factors]
        out.writerow([*(line[k] for k in about),
                      *[n for v in values for n in (v or (None, None))]])
    return file.getvalue()


# --- pictures -------------------------------------------------------------------------------------

def draw(all_lines):
    """A PNG, as bytes. A row of panels a world: nats, samples under p_data, time to sample, a
    factor read off."""
    worlds = by_world(all_lines)
    longest = max(map(len, worlds.values()))
    fig, axes = plotting.figure(len(worlds), 4, (17, len(worlds) * (2 + 0.3 * longest)))
    for panels, (world, world_lines) in zip(axes, worlds.items()):
        factor = next((f for line in world_lines for f in line["probes"]), None)
        wanted = [("nats", "test nats: lower is better", "nats"),
                  ("ln p_data(samples)", "what p_data says of samples", "nats"),
                  ("s per 1000", "time for 1000 samples", "s"),
                  (factor, f"{factor}, read off by a linear layer", "%")]
        for ax, (column, title, unit) in zip(panels, wanted):
            values = [line.get(column) or line["probes"].get(column) for line in world_lines]
            _bars(ax, world_lines, values)
            ax.set(xlabel=unit, title=f"{world}: {title}")
            times = [v[0] for v in values if v and v[0] > 0]
            if column == "s per 1000" and times:        # of one time alone no limits can be guessed
                ax.set_xlim(min(times) / 3, max(times) * 3)
                ax.set_xscale("log")
        for ax in panels[1:]:
            ax.set_yticklabels([])
    legend = {label: handle for ax in axes.flat
              for handle, label in zip(*ax.get_legend_handles_labels())}
    fig.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=len(legend))
    return plotting.png(fig, dpi=130)


def _bars(ax, world_lines, values):
    truth = None
    for i, (line, value) in enumerate(zip(world_lines, values)):
        if value is None or not math.isfinite(value[0]):
            ax.annotate("failed" if not line["seeds"] else "none", (0.02, i), va="center",
                        xycoords=("axes fraction", "data"), fontsize=8, color="#777777")
            continue
        truth = value[0] if line["branch"] == "data" else truth
        ax.barh(i, value[0], xerr=value[1], color=plotting.BRANCH_COLORS[line["branch"]],
                label=line["branch"], error_kw={"linewidth": 1})
    if truth is not None:
        ax.axvline(truth, color="black", linewidth=1, linestyle="--", label="p_data itself")
    ax.set_yticks(range(len(world_lines)), [line["model"] for line in world_lines], fontsize=8)
    ax.set_ylim(len(world_lines) - 0.5, -0.5)


def thumbnail(line):
    """A PNG, as bytes, of some samples"""
    world, x = WORLDS[line["world"]](), line["samples"]
    fig, axes = plotting.figure(1, 1, (2.4, 1.2) if world.side else (1.6, 1.6))
    if world.side:
        plotting.images(axes[0, 0], x[:18], (world.side, world.side), columns=6)
    else:
        axes[0, 0].plot(*x[:1000].T, ".", markersize=1, color="#333333")
        axes[0, 0].set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
        axes[0, 0].set_axis_off()
    return plotting.png(fig)


# --- one page -------------------------------------------------------------------------------------

STYLE = """body{font:13px/1.4 system-ui,sans-serif;margin:2em;color:#222}
table{border-collapse:collapse;margin:.5em 0 2em}
th,td{padding:.3em .45em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th{position:sticky;top:0;background:#fff;font-weight:600}
th:nth-child(-n+4),td:nth-child(-n+4){text-align:left}
td.failed{text-align:left;color:#a00;white-space:normal}
td ul{margin:0;padding:0;list-style:none;font-size:12px}
img{display:block} dt{font-weight:600} dd{margin:0 0 .3em 1.5em} .scroll{overflow-x:auto}"""


def page(all_lines, picture, command):
    """The whole page as a string: style, pictures and all; no script, nothing to fetch"""
    parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><title>tinygen: every family, "
             f"one table</title><style>{STYLE}</style></head><body><h1>Every family, one table</h1>"
             f"<p>Made by <code>{html.escape(command)}</code>. Each number is a mean over seeds ± "
             "the standard deviation between them; samples are of the first seed.</p>"]
    for world, world_lines in by_world(all_lines).items():
        parts.append(f"<h2>{html.escape(world)}</h2><p>{html.escape(WORLD_SAYS[world])}</p>"
                     f"<div class=scroll>{_html_table(world_lines)}</div>")
    parts.append(f"<h2>Drawn</h2>{_image(picture, 'the table, drawn as bars', 'width:100%')}"
                 "<h2>What the columns mean</h2><dl>")
    parts += [f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in MEANING.items()]
    return "\n".join(parts) + "</dl></body></html>\n"


WORLD_SAYS = {name: f.__doc__.strip() for name, f in WORLDS.items()}


def _html_table(world_lines):
    names, body = rows(world_lines)
    head = "".join(f"<th>{html.escape(n)}</th>" for n in ("samples", *names))
    out = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
    for line, values in zip(world_lines, body):
        if line["seeds"]:
            color = plotting.BRANCH_COLORS[line["branch"]]
            cells = "".join(f"<td>{html.escape(v)}</td>" for v in values)
            out.append(f'<tr style="border-left:6px solid {color}"><td>{_samples(line)}</td>{cells}'
                       "</tr>")
        if line["failed"]:
            out.append(f"<tr><td class=failed colspan={len(names) + 1}>"
                       f"{html.escape(failure(line))}</td></tr>")
    return "".join(out) + "</tbody></table>"


def _samples(line):
    vocabulary = WORLDS[line["world"]]().vocabulary
    if vocabulary:
        names = unpadded(np.asarray(line["samples"])[:4], vocabulary)
        return "<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in names) + "</ul>"
    return _image(thumbnail(line), f"samples of {line['model']}")


def _image(png, alt, style=""):
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'
