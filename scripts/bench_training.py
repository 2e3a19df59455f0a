#!/usr/bin/env python
"""Training steps of kcompile and of each peer, side by side in one run, as ratios.

    scripts/bench_training.py [--models a,b] [--batches 32,256] [--tensorflow PYTHON] [--jax PYTHON]
                              [--compiled] [--rounds N] [--starts N] [--json FILE]

Every peer is a process of its own, on one thread, that keeps its model; they train epochs in turns,
so that noise falls on all alike. A figure is the least of the rounds: CPU milliseconds a step. Time to
the first step is CPU seconds from the program's start, the least of so many starts, which are in turns too; memory is
the highest resident size. ``neuron`` is linear regression, a measure of what `fit` costs by itself.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
from training import CASES

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class Peer:
    """A peer's process for one model and batch size."""

    def __init__(self, name: str, command: list[str], model: str, batch: int, steps: int):
        self.name, self.times = name, list[float]()
        self.log = open(HERE.parent / "build" / f"training-{name}.log", "w")  # noqa: SIM115
        program = [str(HERE / "peers" / command[1]), *command[2:]]
        self.process = subprocess.Popen(
            [command[0], *program, model, str(batch), str(steps)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        self.found = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: see {self.log.name}")
        return dict(json.loads(line))

    def _say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def train(self, steps: int) -> float:
        self._say(str(steps))
        self.times.append(self._answer()["step"])
        return self.times[-1]

    def end(self) -> dict[str, Any]:
        return {**self.found, **self.leave(), "step": min(self.times[1:]), "times": self.times}

    def leave(self) -> dict[str, Any]:
        """End the process; what it says of its memory."""
        self._say("")
        found = self._answer()
        self.process.wait()
        self.log.close()
        return found


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """How each peer is started."""
    keras, python = "train_keras.py", sys.executable
    found = {"kcompile": [python, keras, "kcompile", "auto"], "torch": [python, "train_torch.py", "eager"]}
    if not options.quick:
        found["keras-torch"] = [python, keras, "torch", "auto"]
    if options.compiled:
        found["torch-compiled"] = [python, "train_torch.py", "compiled"]
        found["kcompile-jit"] = [python, keras, "kcompile", "jit"]
    if options.tensorflow:
        found["keras-tensorflow"] = [options.tensorflow, keras, "tensorflow", "jit"]
    if options.jax:
        found["keras-jax"] = [options.jax, keras, "jax", "auto"]
    return found


def measure(model: str, batch: int, peers: dict[str, list[str]], rounds: int, starts: int) -> dict[str, Any]:
    """Each peer's figures; a peer that fails is left out, with what it said."""
    steps = max(2, CASES[model].steps * 32 // max(batch, 32))
    running: dict[str, Peer] = {}
    results: dict[str, Any] = {}
    for name, command in peers.items():
        try:
            running[name] = Peer(name, command, model, batch, steps)
        except RuntimeError as error:
            results[name] = {"failed": str(error)}
    for _ in range(starts - 1):
        for name, peer in running.items():
            again = Peer(name, peers[name], model, batch, steps)
            again.leave()
            peer.found = min(peer.found, again.found, key=lambda found: float(found["start"]))
    for _ in range(rounds + 1):  # the first round warms up
        for peer in running.values():
            peer.train(steps)
    results.update({name: peer.end() for name, peer in running.items()})
    return results


def geometric(ratios: list[float]) -> float:
    product = 1.0
    for r in ratios:
        product *= r
    return product ** (1 / len(ratios)) if ratios else float("nan")


def summary(results: dict[str, Any]) -> str:
    """Markdown: kcompile's milliseconds, and its ratio to every peer's; then start and memory."""
    names = [n for n in dict.fromkeys(n for r in results.values() for n in r) if n != "kcompile"]
    parts = []
    for title, key in (
        ("CPU ms a step", "step"),
        ("CPU s to the first step", "start"),
        ("peak memory, MB", "peak"),
    ):
        lines = [f"| {title} | kcompile | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
        ratios: dict[str, list[float]] = {n: [] for n in names}
        for label, row in results.items():
            own = row["kcompile"][key]
            cells = []
            for name in names:
                other = row.get(name, {}).get(key)
                if other is None:
                    cells.append("-")
                    continue
                ratios[name].append(own / other)
                cells.append(f"{own / other:.2f} ({other:.3g})")
            lines.append(f"| {label} | {own:.3g} | {' | '.join(cells)} |")
        means = " | ".join(f"{geometric(ratios[n]):.2f}" for n in names)
        parts.append("\n".join([*lines, f"| geometric mean | | {means} |"]))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--batches", default="32,256", help="of the models; a neuron has 1 and 32")
    parser.add_argument("--tensorflow", metavar="PYTHON", help="interpreter with tensorflow-cpu and keras")
    parser.add_argument("--jax", metavar="PYTHON", help="interpreter with jax and keras")
    parser.add_argument("--compiled", action="store_true", help="torch.compile of both as well")
    parser.add_argument("--quick", action="store_true", help="hand-written PyTorch alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=1, help="of each peer's process, for the time to the first step")
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    (HERE.parent / "build").mkdir(exist_ok=True)
    # An installed package has its byte code, as the peers have; a checkout need not.
    compileall.compile_dir(HERE.parent / "kcompile", quiet=1)
    results: dict[str, Any] = {}
    for model in options.models.split(","):
        batches = (1, 32) if model == "neuron" else tuple(map(int, options.batches.split(",")))
        for batch in batches:
            print(f"{model}, batch {batch}", file=sys.stderr)
            results[f"{model}, {batch}"] = measure(model, batch, commands(options), options.rounds, options.starts)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    print(summary(results))


if __name__ == "__main__":
    main()
