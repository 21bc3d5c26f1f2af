"""The table holds: whatever a cell does, and whenever a run is stopped."""
import base64
import csv
import io
import math
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tinygen.compare import compare, plan, report, write
from tinygen.compare.cell import measure
from tinygen.compare.clock import Clock
from tinygen.compare.contenders import CONTENDERS, Dequantized
from tinygen.compare.runner import Cell
from tinygen.compare.worlds import WORLDS
from tinygen.datasets.files import alone
from tinygen.engine import backend
from tinygen.models.tractable.flow import Flow

pytestmark = pytest.mark.host_only(reason="measures in processes of their own, on NumPy")
ROOT = Path(__file__).parents[1]
CELLS = [(w, m) for w in ("glyphs", "mixture2d", "words") for m in CONTENDERS[w]]
CELLS += [("mnist", "vae"), ("mnist", "gan")]               # few: reading it takes a while
FEW = ["--worlds", "mixture2d", "--models", "data,gaussians,realnvp", "--seeds", "2", "--steps",
       "3", "--quick", "--jobs", "2"]
QUICK = {"worlds": ["mixture2d"], "models": ["data", "gaussians", "realnvp"], "seeds": 2,
         "steps": 3, "quick": True, "jobs": 2}


def run(*flags, **environment):
    return subprocess.run([sys.executable, "-m", "tinygen.compare", *flags], cwd=ROOT, text=True,
                          capture_output=True, timeout=120, env=os.environ | environment)


# --- cells ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("world, model", CELLS)
def test_every_model_can_be_measured(world, model):
    if world == "mnist" and not (Path(os.environ.get("TINYGEN_DATA", "nowhere")) / world).is_dir():
        pytest.skip("TINYGEN_DATA names no folder with mnist/")
    row, samples = measure(world, model, 0, steps=2, quick=True)
    data = WORLDS[world](True)
    assert len(samples) == data.samples and row["s per 1000"] > 0
    assert ("nats" in row) == (row["kind"] != "none") == (model != "gan")
    if "nats" in row:
        if world != "mnist":                            # whose p_data nobody knows
            floor = -data.log_p_data(data.test).mean()
            assert math.isclose(row["KL"], row["nats"] - floor, abs_tol=1e-6)
        assert math.isclose(row["bits/dim"], row["nats"] / data.dims / math.log(2))
        assert 0 <= row["AUROC"] <= 1
    assert set(row["probes"]) == (set(data.factors) if row["probes"] else set())
    assert all(0 <= share <= 100 for share in row["probes"].values())
    assert row["parameters"] > 0 or model == "data"


def test_p_data_scores_what_is_best():
    for world in ("glyphs", "mixture2d", "words"):
        row, _ = measure(world, "data", 0, steps=1, quick=True)
        assert row["KL"] == 0 and row["AUROC"] > 0.8 and row["possible %"] >= 90


def test_a_budget_in_steps_gives_the_same_numbers_again():
    (a, x), (b, y) = (measure("mixture2d", "maf", 3, steps=4, quick=True) for _ in range(2))
    for row in (a, b):
        del row["train s"], row["s per 1000"]
    assert a == b and (x == y).all() and a["steps"] == 4
    assert measure("mixture2d", "maf", 4, steps=4, quick=True)[0]["nats"] != a["nats"]


def test_a_budget_in_seconds_is_kept():
    row, _ = measure("mixture2d", "realnvp", 0, seconds=0.5, quick=True)
    assert 0.4 < row["train s"] < 1.5 and row["steps"] > 5


def test_the_rate_falls_with_the_budget():
    clock = Clock(steps=100)
    rate, second = clock.rate(1.0, warmup=2), clock.rate(1.0, begin=0.5, warmup=2)
    assert rate(1) == 0.5 and rate(9) == 1
    clock.done = 50
    assert rate(9) == pytest.approx(0.5) and second(9) == 1
    clock.done = 100
    assert rate(9) == second(9) == 0


def test_the_dequantized_bound_comes_near_the_integral_from_below():
    """p = N(0, 1): P(1) = Phi(2) - Phi(1)"""
    backend.seed(0)
    model, exact = Dequantized(Flow(1, [])), 0.5 * (math.erf(2 ** 0.5) - math.erf(0.5 ** 0.5))
    x = np.ones((400, 1), "float32")
    loose, tight = (float(backend.to_numpy(model.log_prob_bound(x, k)).mean()) for k in (1, 400))
    assert loose < tight - 0.05 and tight == pytest.approx(math.log(exact), abs=0.01)
    assert set(np.unique(model.sample(200))) <= {0.0, 1.0}


# --- runs -----------------------------------------------------------------------------------------

def test_a_killed_run_goes_on_without_repeating_what_is_finished(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "tinygen.compare", *FEW, "--jobs", "1",
                                "--out", str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cells/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*.npz")}
    assert 1 <= len(before) < 6
    done = run(*FEW, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert len(list(tmp_path.glob("cells/*.npz"))) == 6 and "RealNVP" in done.stdout
    assert "6/6" in done.stderr and "left" in done.stderr
    assert not list(tmp_path.glob("cells/*.log")), "logs of good cells are removed"


def test_a_damaged_result_or_one_of_another_budget_is_made_anew(tmp_path):
    settings = {"steps": 2, "quick": True}
    cell = Cell("mixture2d", "gaussians", 0, settings, tmp_path)
    assert cell.result() is None
    cell.run()
    row, samples = cell.result()
    assert row["steps"] == 2 and samples.shape == (10, 2)
    assert Cell("mixture2d", "gaussians", 0, {**settings, "steps": 3}, tmp_path).result() is None
    cell.path.write_bytes(cell.path.read_bytes()[:200])
    assert cell.result() is None


BREAK = """
import os, sys
if "--cell" in sys.argv:
    from tinygen.models.approximate.mixture import GaussianMixture
    from tinygen.models.tractable import coupling_flow
    from tinygen.models.tractable.flow import Flow
    def fail(*_):
        raise FloatingPointError("the <nll> became nan")
    GaussianMixture.start = fail
    Flow.log_prob = lambda *_: os.kill(os.getpid(), 9)
"""


def test_models_that_fail_are_rows_that_say_so(tmp_path):
    """One raises, one takes its process along; the others' numbers are there."""
    (tmp_path / "sitecustomize.py").write_text(BREAK)
    out = tmp_path / "out"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run(*FEW, "--seeds", "1", "--out", str(out), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "20 Gaussians, EM: FAILED (FloatingPointError: the <nll> became nan)" in done.stdout
    assert "RealNVP: FAILED (its process ended with -9)" in done.stdout
    assert "p_data itself" in done.stdout
    page = (out / "table.html").read_text("utf-8")
    assert "became nan" in page and "<nll>" not in page and "ended with -9" in page
    failed = {row["model"]: row["failed"] for row in csv.DictReader(
        (out / "table.csv").read_text("utf-8").splitlines())}
    assert failed["p_data itself"] == "" and "nan" in failed["20 Gaussians, EM"]
    again = run(*FEW, "--seeds", "1", "--out", str(out))
    assert "FAILED" not in again.stdout, "what failed is tried again"


def test_ctrl_c_leaves_the_table_of_what_is_finished(tmp_path, monkeypatch):
    def interrupted(cells, *_):
        cells[0].run()
        raise KeyboardInterrupt
    monkeypatch.setattr("tinygen.compare.run_all", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        compare(out=str(tmp_path), **QUICK)
    assert "p_data itself" in (tmp_path / "table.txt").read_text("utf-8")


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 0.1, 1000.0])
def test_a_table_of_one_row_is_drawn(seconds):
    line = {"world": "mixture2d", "branch": "data", "model": "p_data itself", "seeds": 1,
            "failed": "", "nats": (1.7, 0.0), "ln p_data(samples)": (-1.7, 0.0),
            "s per 1000": (seconds, 0.0), "probes": {"blade": (90.9, 0.0)}}
    assert len(report.draw([line])) > 1000


def test_the_legend_names_also_what_has_no_density(monkeypatch):
    line = {"world": "mixture2d", "branch": "implicit", "model": "GAN", "seeds": 1, "failed": "",
            "nats": None, "ln p_data(samples)": (-3.7, 0.0), "s per 1000": None, "probes": {}}
    monkeypatch.setattr("tinygen.plotting.png", lambda fig, dpi: fig)
    fig = report.draw([line])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["implicit"]


def test_a_world_asked_for_twice_is_filled_once():
    cells = plan(["words", "words"], ["gru"], 2, 1.0, None, True, "nowhere")
    assert [cell.name for cell in cells] == ["words-gru-0", "words-gru-1"]


def test_a_full_disk_leaves_the_old_table(table, tmp_path, monkeypatch):
    results = [Cell("mixture2d", "data", seed, {"steps": 3, "quick": True}, table[0]).result()
               for seed in range(2)]
    write(results[:1], tmp_path, "one seed")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {f"table.{kind}" for kind in ("txt", "csv", "png", "html")}

    def half(path, content):
        with open(path, "wb") as file:
            file.write(content[:len(content) // 2])
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError):
        write(results, tmp_path, "two seeds")
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_a_cell_that_does_not_end_is_stopped(tmp_path):
    cell = Cell("mixture2d", "realnvp", 0, {"seconds": 60.0, "quick": True}, tmp_path)
    cell.start(limit=0.3)
    while not cell.ended():
        time.sleep(0.05)
    row, samples = cell.outcome()
    assert "longer than its limit" in row["failed"] and samples is None


def test_two_runs_do_not_share_a_folder(tmp_path):
    with alone(tmp_path), pytest.raises(BlockingIOError, match="another run is filling .*--out"):
        compare(out=str(tmp_path), **QUICK)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="compare: cannot write below .*file/out .*another --out"):
        compare(out=str(tmp_path / "file" / "out"), **QUICK)


@pytest.mark.parametrize("flags, says", [
    (["--worlds", "moon"], "no world 'moon'"), (["--models", "gpt"], "no model 'gpt'"),
    (["--seeds", "0"], "needs 1 to 1000 seeds"), (["--seeds", "2000000000"], "1 to 1000 seeds"),
    (["--budget", "-1"], "a budget above 0"), (["--budget", "nan"], "a budget above 0"),
    (["--jobs", "-1"], "at least one process")])
def test_a_bad_flag_is_one_sentence(tmp_path, flags, says):
    done = run(*flags, "--out", str(tmp_path))
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


# --- what is written ------------------------------------------------------------------------------

class Page(HTMLParser):
    """The tags of a page, checked to be closed in order; its images."""
    def __init__(self):
        super().__init__()
        self.open, self.images, self.tags = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    out = tmp_path_factory.mktemp("table")
    settings = {**QUICK, "worlds": ["mixture2d", "words"], "models": ["data", "gaussians",
                                                                       "4-gram"]}
    return out, compare(out=str(out), command="compare --x '<y>'", **settings)


def test_the_page_holds_all_that_it_shows(table):
    out, lines = table
    text = (out / "table.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == [] and not page.tags & {"script", "link", "iframe", "object"}
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert len(page.images) == 3                    # two of points, one of the whole table
    for source in page.images:
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "&lt;y&gt;" in text and all(line["model"] in text for line in lines)


def test_the_csv_holds_mean_and_spread(table):
    out, lines = table
    written = list(csv.DictReader(io.StringIO((out / "table.csv").read_text("utf-8"))))
    assert [row["model"] for row in written] == [line["model"] for line in lines]
    row, line = written[1], lines[1]
    nats = [report.lines([Cell("mixture2d", "gaussians", seed, {"steps": 3, "quick": True},
                               out).result()])[0]["nats"][0] for seed in range(2)]
    assert float(row["nats"]) == pytest.approx(np.mean(nats)) and nats[0] != nats[1]
    assert float(row["nats spread"]) == pytest.approx(np.std(nats, ddof=1)) and line["seeds"] == 2
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_text_shows_each_world_and_a_dash_where_there_is_no_number(table):
    text = (table[0] / "table.txt").read_text("utf-8")
    assert text.index("mixture2d") < text.index("words") and "±" in text
    assert report.cell(None, 2) == "-" and report.cell((1.234, 0.05), 2) == "1.23 ±0.05"
    assert report.cell((1234.5, None), 0) == "1,234"
