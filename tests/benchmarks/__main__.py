"""python -m tests.benchmarks [name ...]: milliseconds per training step, and how cost grows.

Columns: tinygen; the same step by hand in NumPy, where there is one; its matrix products alone; and
PyTorch, where it happens to be installed and a folder of its steps is named by TORCH_STEPS. Each
column runs in a process of its own (two thread pools in one process slow each other down), and they
take turns, so that a noisy machine is noisy for all. The figure is the median of the rounds.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import tracemalloc

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
NAMES = ("vae_mlp", "made", "pixelcnn", "dcgan", "gpt", "realnvp", "wgan_gp", "char_gru",
         "overhead", "adam")


def steps_of(column):
    """{name: step} of a column, made when asked for."""
    if column == "tinygen":
        import steps
        return steps.workloads()
    if column == "pytorch":
        spec = importlib.util.spec_from_file_location("torch_steps", os.environ["TORCH_STEPS"])
        sys.path.insert(0, os.path.dirname(os.environ["TORCH_STEPS"]))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.workloads()
    import floors
    if column == "by hand":
        return {build.__name__: build() for build in floors.HAND_WRITTEN}
    return {name: step for name in NAMES if (step := floors.products(name))}


def serve(column):
    """In a process of its own: answers each name on stdin with the median seconds of a step."""
    answers, steps = os.fdopen(os.dup(1), "w"), steps_of(column)
    os.dup2(2, 1)
    for line in sys.stdin:
        step, times = steps.get(line.strip()), []
        end = time.perf_counter() + 0.4
        while step and (len(times) < 3 or time.perf_counter() < end):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        answers.write(json.dumps(statistics.median(times) if times else None) + "\n")
        answers.flush()


def ask(process, name):
    process.stdin.write(name + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def compare(names, rounds):
    columns = ["tinygen", "by hand", "products"]
    if importlib.util.find_spec("torch") and "TORCH_STEPS" in os.environ:
        columns.append("pytorch")
    print("ms per step".ljust(12), *(c.rjust(9) for c in columns), *(
        f"/ {c}".rjust(11) for c in columns[1:]))
    environment = os.environ | {"PEERS_STILL": "1"}
    for name in names:
        processes = [subprocess.Popen([sys.executable, "-m", "tests.benchmarks", "--serve", c],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      env=environment) for c in columns]
        ask_all = [[ask(p, name) for p in processes] for _ in range(rounds + 1)][1:]
        for p in processes:
            p.stdin.close()
            p.wait()
        print_row(name, list(zip(*ask_all)))


def print_row(name, times):
    own = times[0]
    cells = ["-" if t[0] is None else f"{1e3 * statistics.median(t):.2f}" for t in times]
    ratios = ["-" if t[0] is None else f"{statistics.median(a / b for a, b in zip(own, t)):.2f}"
              for t in times[1:]]
    print(name.ljust(12), *(c.rjust(9) for c in cells), *(r.rjust(11) for r in ratios), flush=True)


def growth():
    """Time and peak memory of a training step of an MLP, as one size at a time is doubled."""
    import numpy as np

    import tinygen as tg
    print("\nMLP, 784 -> width x depth -> 784", "ms".rjust(9), "peak MiB".rjust(9))
    base = {"batch": 64, "width": 256, "depth": 2}
    for size in base:
        for factor in (1, 2, 4, 8):
            at = base | {size: base[size] * factor}
            model = tg.nn.mlp((784, *[at["width"]] * at["depth"], 784), tg.relu)
            optimizer = tg.optim.Adam(model.parameters(), 1e-7)
            x = np.random.default_rng(0).random((at["batch"], 784)).astype("float32")

            def step():
                optimizer.zero_grad()
                tg.mse(model(x), x).backward()
                optimizer.step()
            times = []
            for _ in range(12):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            tracemalloc.start()
            step()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"  {size} {at[size]}".ljust(33),
                  f"{1e3 * statistics.median(times[2:]):9.2f} {peak / 2 ** 20:9.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="workloads; all of them when left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    unknown = sorted(set(args.names) - set(NAMES))
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    compare(args.names or NAMES, args.rounds)
    if not args.names:
        growth()


if __name__ == "__main__":
    main()
