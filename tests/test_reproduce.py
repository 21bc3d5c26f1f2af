"""The command that reproduces published numbers: what it says, and that a quick run works."""
import os
from pathlib import Path

import pytest

from tinygen import reproduce

REAL_DATA = Path(os.environ.get("TINYGEN_DATA", "nowhere")) / "mnist"


def run(monkeypatch, *flags):
    monkeypatch.setattr("sys.argv", ["reproduce", *flags])
    return reproduce.main()


def test_the_list_names_protocol_and_number(monkeypatch, capsys):
    assert run(monkeypatch, "--list") == 0
    assert "P5: 86.7 ± 1.0 nats: MADE [512, 512]" in capsys.readouterr().out


def test_an_unknown_experiment_is_one_sentence(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "P0")
    assert stop.value.code == 2 and "no experiment 'P0'" in capsys.readouterr().err


@pytest.mark.parametrize("nats, verdict, code", [(87.69, "ok", 0), (87.71, "short", 1)])
def test_the_verdict(nats, verdict, code, monkeypatch, capsys):
    f, published, tolerance = reproduce.EXPERIMENTS["P5"]
    monkeypatch.setitem(reproduce.EXPERIMENTS, "P5", (lambda run: nats, published, tolerance))
    monkeypatch.setattr(reproduce.EXPERIMENTS["P5"][0], "__doc__", f.__doc__, raising=False)
    assert run(monkeypatch, "P5") == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"P5: {nats:.2f} nats (published 86.7 ± 1.0): {verdict}"


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="TINYGEN_DATA names no folder with mnist/")
def test_a_quick_run_saves_a_checkpoint(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "P5", "--quick", "--out", str(tmp_path)) == 0
    assert (tmp_path / "P5.npz").exists() and "no verdict" in capsys.readouterr().out
