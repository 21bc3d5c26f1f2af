"""The command that reproduces published numbers: what it says, and that quick runs work."""
import os
from pathlib import Path

import pytest

from tinygen import reproduce
from tinygen.reproduce.protocol import Experiment

DATA = Path(os.environ.get("TINYGEN_DATA", "nowhere"))


def run(monkeypatch, *flags):
    monkeypatch.setattr("sys.argv", ["reproduce", *flags])
    return reproduce.main()


def test_the_list_names_protocol_and_number(monkeypatch, capsys):
    assert run(monkeypatch, "--list") == 0
    assert "P5: published 86.7 ± 1.0 nats: MADE [512, 512]" in capsys.readouterr().out


def test_an_unknown_experiment_is_one_sentence(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "P0")
    assert stop.value.code == 2 and "no experiment 'P0'" in capsys.readouterr().err


@pytest.mark.parametrize("nats, verdict, code", [(87.69, "ok", 0), (87.71, "short", 1)])
def test_the_verdict(nats, verdict, code, monkeypatch, capsys):
    def protocol(run):
        """How it is done"""
        return nats
    made_up = Experiment(protocol, 86.7, 1.0, "nats", "published")
    monkeypatch.setitem(reproduce.EXPERIMENTS, "P5", made_up)
    assert run(monkeypatch, "P5") == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"P5: {nats:.4g} nats (published 86.7 ± 1.0): {verdict}"


def lacks_data(name):
    """Published numbers are on real data, floors on known worlds."""
    sets = ("mnist", "names.txt", "tinyshakespeare.txt", "binary")
    return name[0] in "CPG" and not all((DATA / part).exists() for part in sets)


@pytest.mark.parametrize("name", reproduce.EXPERIMENTS)
def test_a_quick_run_saves_a_checkpoint(name, monkeypatch, capsys, tmp_path):
    if lacks_data(name):
        pytest.skip("TINYGEN_DATA names no folder with mnist, binary, names and tinyshakespeare")
    assert run(monkeypatch, name, "--quick", "--out", str(tmp_path)) == 0
    assert (tmp_path / f"{name}-seed0-quick.npz").exists()
    assert "no verdict" in capsys.readouterr().out
