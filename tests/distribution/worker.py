"""One rank: does what is named on the command line and leaves what came out in a file."""

from __future__ import annotations

import gc
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kcompile import keras
from kcompile.engine import collectives, distributed
from kcompile.engine.shards import Sharded
from tests.distribution.cases import APART, CASES, TOGETHER, Case, applied, trained
from tests.distribution.noise import NOISE, unseeded_autoencoder


def cases(kind: str) -> dict[str, Any]:
    """What training each case gives."""
    return {name: trained(make) for name, make in {**CASES, **NOISE}.items()}


def compiled(kind: str) -> dict[str, Any]:
    """What training gives with torch.compile."""

    def jitted() -> Case:
        case = unseeded_autoencoder()
        case.model.jit_compile = True
        return case

    return trained(jitted)


def operations(kind: str) -> dict[str, Any]:
    """(loss, weight after a step, names of the operators by which ranks talk) of each function."""
    found = {}
    for name, function in {**APART, **TOGETHER}.items():
        model, loss = applied(function)
        graph = model._steps["train"].split.traced.runner.forward.graph
        talk = {n.op.name for n in graph.nodes} & {"all_reduce", "gather_parts", "own_part"}
        found[name] = loss, model.weights[0].numpy(), talk
    return found


def memory(kind: str) -> tuple[int, int, int]:
    """Bytes of weights and optimizer state on this rank, and in all; whole weights as the backward pass begins."""
    whole = []
    begin = distributed.Buckets.differentiate

    def differentiate(self: Any, *arguments: Any) -> Any:
        gc.collect()
        whole.append(len(collectives._GATHERED))
        return begin(self, *arguments)

    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((63,)), layers.Dense(512, activation="relu"), layers.Dense(256), layers.Dense(10)]
    )
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=2), "mse")
    distributed.Buckets.differentiate = differentiate  # type: ignore[method-assign]
    model.train_on_batch(keras.ops.ones((8, 63)), keras.ops.ones((8, 10)))
    distributed.Buckets.differentiate = begin  # type: ignore[method-assign]
    variables = [*model.variables, *model.optimizer.variables]
    held = [v.storage.local if isinstance(v.storage, Sharded) else v.storage for v in variables]
    return sum(int(t.nbytes) for t in held), sum(v.numpy().nbytes for v in variables), max(whole)


def refused(kind: str) -> dict[str, str]:
    """What distributions can't do, in the words of their errors."""
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    found = {}

    def attempt(name: str, function: Any) -> None:
        try:
            function()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

    class Untraced(keras.Model):
        def call(self, x: Any) -> Any:
            return x * float(keras.ops.sum(x))

    model.compile("sgd", "mse", run_eagerly=True)
    attempt("eager", lambda: model.train_on_batch(keras.ops.ones((4, 4)), keras.ops.ones((4, 2))))
    untraced = Untraced()
    untraced.compile("sgd", "mse")
    attempt("untraced", lambda: untraced.evaluate(keras.ops.ones((4, 4)), keras.ops.ones((4, 4)), verbose=0))
    distributions = keras.distribution
    unsharded = distributions.DataParallel(auto_shard_dataset=False)
    attempt("auto_shard_dataset", lambda: distributions.set_distribution(unsharded))
    layouts = distributions.LayoutMap(distributions.DeviceMesh((1, 2), ("batch", "model")))
    layouts[".*kernel"] = (None, "model")
    attempt("layouts", lambda: distributions.set_distribution(distributions.ModelParallel(layout_map=layouts)))
    attempt("devices", lambda: distributions.set_distribution(distributions.DataParallel(devices=["cpu:0"])))
    return found


class Counting(np.memmap):
    """An array on the disk that remembers which of its rows were asked for."""

    asked: ClassVar[list[int]] = []

    def __getitem__(self, rows: Any) -> Any:
        self.asked.extend(np.arange(len(self))[rows].tolist())
        return np.asarray(super().__getitem__(rows))


def asked(function: Any, *arguments: Any, **options: Any) -> list[int]:
    """Which rows a call reads."""
    Counting.asked.clear()
    function(*arguments, **options)
    return Counting.asked[:]


def reads(kind: str) -> dict[str, Any]:
    """Rows that an epoch of 21 in batches of 4, an evaluation and a prediction read; weights after the epoch."""
    found = {}
    for shuffle in (False, True, "batch"):
        with tempfile.TemporaryFile() as file:
            x: Any = Counting(file, np.float32, "w+", shape=(21, 3))
            np.copyto(x, np.random.default_rng(0).standard_normal(x.shape))
            keras.utils.set_random_seed(1)
            model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
            model.compile("adam", "mse")
            y = np.ones((21, 2))
            rows = [
                asked(model.fit, x, y, batch_size=4, shuffle=shuffle, verbose=0),
                asked(model.evaluate, x, y, batch_size=4, verbose=0),
                asked(model.predict, x, batch_size=4, verbose=0),
            ]
            found[str(shuffle)] = rows, [v.numpy() for v in model.variables]
    return found


JOBS = {f.__name__: f for f in (cases, compiled, operations, memory, reads, refused)}


def main(folder: str, *jobs: str) -> None:
    """``jobs``: data:cases, fsdp:memory, ..."""
    kinds = {"data": keras.distribution.DataParallel, "fsdp": keras.distribution.FullySharded}
    results = {}
    for job in jobs:
        kind, _, name = job.partition(":")
        keras.distribution.set_distribution(kinds[kind]())
        results[job] = JOBS[name](kind)
    (Path(folder) / f"rank{distributed.rank()}.pickle").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
