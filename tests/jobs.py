"""Programs that run in the background while the tests go on: the other core's work.

    @pytest.mark.job("lessons/04_the_recipe.py", "--quick", "--out", "{out}")
    def test_runs(job):
        assert job.returncode == 0, job.stderr

The program starts while other tests run, one at a time; tests that need one come last.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
# Every address is refused, by a proxy that is not there: what runs here runs offline.
NO_NETWORK = {"no_proxy": ""} | {f"{kind}_proxy": "http://127.0.0.1:9" for kind in (
    "http", "https", "all")}


class Jobs:
    """Python programs by name, started in the order given, `at_once` of them at a time."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.waiting, self.started = {}, {}

    def add(self, name, arguments):
        self.waiting[name] = arguments

    def go_on(self, at_once=1):
        running = sum(job.process.poll() is None for job in self.started.values())
        for name in list(self.waiting)[:max(0, at_once - running)]:
            self.started[name] = self._start(self.waiting.pop(name))

    def _start(self, arguments):
        out = Path(tempfile.mkdtemp(dir=self.folder.name))
        command = [sys.executable, *(a.replace("{out}", str(out / "made")) for a in arguments)]
        with open(out / "stdout", "w") as stdout, open(out / "stderr", "w") as stderr:
            process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr,
                                       env=os.environ | NO_NETWORK | {"PYTHONPATH": str(ROOT)})
        return SimpleNamespace(process=process, out=out)

    def result(self, name):
        """Waits for it: its returncode, stdout and stderr, and the folder it was told to fill."""
        while name in self.waiting or self.started[name].process.poll() is None:
            self.go_on(at_once=2)
            time.sleep(.05)
        job = self.started[name]
        said = {name: (job.out / name).read_text("utf-8") for name in ("stdout", "stderr")}
        return SimpleNamespace(returncode=job.process.returncode, made=job.out / "made", **said)

    def stop(self):
        for job in self.started.values():
            job.process.kill()                  # only still there if the tests were cut off
            job.process.wait()
        self.folder.cleanup()
