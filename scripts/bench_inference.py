#!/usr/bin/env python
"""Every model of the zoo as a file of kcompile and of each peer: right or wrong, nodes, bytes, start, latency.

    scripts/bench_inference.py [--folder DIR] [--models a,b] [--tensorflow PYTHON] [--seconds S] [--json FILE]

All files of a model are timed in turns, so that noise falls on all alike; a figure is the least of many
rounds. Sessions of one and the same file differ, with two threads by a third and more, and the least of
many sessions is below the least of few: so kcompile's file is opened as often as peers have files. With
two threads each session has a process of its own, whose threads are bound to a core each. A peer's file counts only where it is right at every input of `Entry.checks`,
against real Keras. Peers: Keras's torch export, tf2onnx (where --tensorflow names an interpreter that
has it), each after onnxslim, onnxsim, onnxscript and as ONNX Runtime saves it; OpenVINO (on the best
peer's file) and LiteRT run what they can.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import zoo

TOLERANCE = 1e-4  # of the output's range
Run = Callable[[list[np.ndarray]], np.ndarray]


# ---- files


def prepare(folder: Path, entry: zoo.Entry, peers: bool = True) -> None:
    """kcompile's files and the weights; then real Keras's outputs and export, and the optimisers' versions of it."""
    from kcompile import keras
    from kcompile.keras.exporting import export

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir() if peers else ():
        old.unlink()
    keras.utils.set_random_seed(0)  # dropout is on while statistics are taken
    model = entry.build(keras)
    if peers:
        arrays = zoo.randomise(model, entry.feed(2 if entry.heavy else 8, seed=9))
        np.savez(folder / "weights.npz", **{str(i): a for i, a in enumerate(arrays)})
    else:
        with np.load(folder / "weights.npz") as stored:
            model.set_weights([stored[str(i)] for i in range(len(stored.files))])
    start = time.process_time()
    export(model, folder / "kcompile.onnx")
    (folder / "seconds.txt").write_text(f"{time.process_time() - start:.2f}\n")
    export(model, folder / "kcompile-ort.onnx", target="onnxruntime")
    if not peers:
        return
    program(folder / "keras.txt", sys.executable, "keras_torch.py", str(folder), entry.name)
    variants(folder / "keras.onnx")


def program(problem: Path, python: str, script: str, *arguments: str) -> None:
    """Run a peer's program; its last line goes to ``problem`` where it fails."""
    done = subprocess.run([python, str(HERE / "peers" / script), *arguments], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        named = [line for line in lines if re.match(r"\S*(Error|Exception)\b", line)]
        problem.write_text((named or lines)[-1][:200] + "\n")


def variants(source: Path) -> None:
    if source.exists():
        program(source.with_suffix(".variants.txt"), sys.executable, "variants.py", str(source))


# ---- runtimes


def onnxruntime(path: Path, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if threads == 2:
        options.add_session_config_entry("session.intra_op_thread_affinities", "2")  # counted from 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda feed: session.run(None, dict(zip(names, feed, strict=True)))[0]


def openvino(path: Path, threads: int) -> Run:
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda feed: next(iter(request.infer(dict(enumerate(feed)), share_outputs=True).values()))


def litert(path: Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    inputs, output = interpreter.get_input_details(), interpreter.get_output_details()[0]["index"]
    places = sorted(inputs, key=lambda i: i["name"])
    shapes: list[tuple[int, ...]] = []

    def run(feed: list[np.ndarray]) -> np.ndarray:
        nonlocal shapes
        if shapes != [a.shape for a in feed]:
            shapes = [a.shape for a in feed]
            for place, array in zip(places, feed, strict=True):
                interpreter.resize_tensor_input(place["index"], array.shape)
            interpreter.allocate_tensors()
        for place, array in zip(places, feed, strict=True):
            interpreter.set_tensor(place["index"], array)
        interpreter.invoke()
        result: np.ndarray = interpreter.get_tensor(output)
        return result

    return run


def runtime_of(path: Path) -> Callable[[Path, int], Run]:
    return litert if path.suffix == ".tflite" else onnxruntime


def of(label: str) -> str:
    """The file that a session is of: several of one are numbered."""
    return label.split("#")[0]


class Elsewhere:
    """A file in a process of its own, on two cores; called, it gives the least milliseconds a run of a turn."""

    def __init__(self, path: Path, runtime: str, feed: list[np.ndarray]):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(path, runtime, feed, theirs), daemon=True)
        self.process.start()
        if self.pipe.recv() != "ready":
            raise RuntimeError(f"{path}: fails with two threads")

    def __call__(self) -> float:
        self.pipe.send("turn")
        return float(self.pipe.recv())

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join()


def serve(path: Path, runtime: str, feed: list[np.ndarray], pipe: Any) -> None:
    """The other end of `Elsewhere`."""
    run = (openvino if runtime == "openvino" else runtime_of(path))(path, 2)
    run(feed)
    os.sched_setaffinity(0, {0})  # this thread alone: those of the pool, which are there by now, keep theirs
    pipe.send("ready")
    repeats = 1
    while pipe.recv() != "end":
        run(feed)  # wakes the pool
        times: list[float] = []
        while not times or (len(times) < 3 and times[0] * repeats < 0.1):
            start = time.perf_counter()
            for _ in range(repeats):
                run(feed)
            times.append((time.perf_counter() - start) / repeats)
        repeats = max(1, int(2e-3 / min(times)))
        pipe.send(min(times) * 1e3)


# ---- one model


def wrong(run: Run, entry: zoo.Entry, reference: Any) -> str | None:
    """Why a file is not right, or None."""
    for name, feed in entry.checks().items():
        expected = reference[name]
        spread = float(np.ptp(expected)) or 1.0
        if name == "batch" and np.std(expected, axis=0).max() < 1e-3 * np.abs(expected).max():
            raise SystemExit(f"{entry.name}: the reference hardly depends on its input: nothing can be told from it")
        try:
            got = np.asarray(run(feed))
        except Exception as error:  # whatever a peer's file does is its result
            return f"fails on {name}: {str(error).strip().splitlines()[0][:100]}"
        if got.shape != expected.shape:
            return f"shape {got.shape} on {name}, not {expected.shape}"
        error = float(np.abs(got - expected).max()) / spread
        if not error <= TOLERANCE:
            return f"error {error:.1e} of the range on {name}"
    return None


def timed(runs: dict[str, Run], feed: list[np.ndarray], seconds: float) -> dict[str, float]:
    """Milliseconds a run, the least of rounds taken in turns and of a file's sessions."""
    repeats = {}
    for name, run in runs.items():
        run(feed)
        start = time.perf_counter()
        run(feed)
        repeats[name] = max(1, int(2e-3 / max(time.perf_counter() - start, 1e-9)))
    best: dict[str, float] = {}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or (time.perf_counter() < end and rounds < 400):
        rounds += 1
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run(feed)
            took = (time.perf_counter() - start) / repeats[name] * 1e3
            best[of(name)] = min(best.get(of(name), took), took)
    return best


def timed_elsewhere(
    paths: dict[str, Path], runtimes: dict[str, str], feed: list[np.ndarray], seconds: float
) -> dict[str, float]:
    """`timed` for two threads, in processes that take turns; those that wait are asleep."""
    runs = {name: Elsewhere(path, runtimes.get(name, ""), feed) for name, path in paths.items()}
    best: dict[str, float] = {}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or (time.perf_counter() < end and rounds < 400):
        rounds += 1
        for name, run in runs.items():
            took = run()
            best[of(name)] = min(best.get(of(name), took), took)
    for run in runs.values():
        run.end()
    return best


def measure(folder: Path, entry: zoo.Entry, seconds: float) -> dict[str, Any]:
    """All of a model's files: what they are, whether they are right, and their times."""
    with np.load(folder / "reference.npz") as stored:
        reference = {k: stored[k] for k in stored.files}
    files: dict[str, Any] = {}
    for problem in sorted(folder.glob("*.txt")):
        if problem.name != "seconds.txt":
            files[problem.stem] = {"wrong": problem.read_text().strip()}
    right: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.onnx"), *folder.glob("*.tflite")]):
        row: dict[str, Any] = {"bytes": path.stat().st_size}
        if path.suffix == ".onnx":
            row["nodes"] = nodes_of(path)
        try:
            run = runtime_of(path)(path, 1)
            row["wrong"] = wrong(run, entry, reference)
        except Exception as error:  # a file that doesn't load is a result
            row["wrong"] = f"does not load: {str(error).strip().splitlines()[0][:120]}"
        files[path.stem] = row
        if row["wrong"] is None:
            right[path.stem] = path
    for _ in range(3 if entry.heavy else 10):
        for name, path in right.items():
            start = time.perf_counter()
            runtime_of(path)(path, 1)
            took = time.perf_counter() - start
            files[name]["start"] = min(took, files[name].get("start", took))
    rivals = {n: p for n, p in right.items() if n not in OURS and p.suffix == ".onnx"}
    again = {f"kcompile#{i}": right["kcompile"] for i in range(1, len(rivals))}
    paths, runtimes = {**right, **again}, dict[str, str]()
    rival = next(iter(rivals.values()), right["kcompile"])
    runs = {name: runtime_of(path)(path, 1) for name, path in paths.items()}
    try:
        run = openvino(rival, 1)
        files["openvino"] = {"wrong": wrong(run, entry, reference)}
    except Exception as error:
        files["openvino"] = {"wrong": f"does not load: {str(error).strip().splitlines()[-1][:120]}"}
    if files["openvino"]["wrong"] is None:
        runs["openvino"], paths["openvino"], runtimes["openvino"] = run, rival, "openvino"
    times: dict[str, dict[str, float]] = {}
    for batch in (1, 32):
        times[f"batch {batch}, 1 thread"] = timed(runs, entry.feed(batch, seed=4), seconds)
    runs.clear()
    for batch in (1, 32):
        times[f"batch {batch}, 2 threads"] = timed_elsewhere(paths, runtimes, entry.feed(batch, seed=4), seconds)
    return {"files": files, "times": times, "export": float((folder / "seconds.txt").read_text())}


def nodes_of(path: Path) -> int:
    """Nodes, those within loops and branches too, without constants."""

    def count(graph: onnx.GraphProto) -> int:
        inner = [a.g for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH]
        return sum(n.op_type != "Constant" for n in graph.node) + sum(map(count, inner))

    return count(onnx.load(path, load_external_data=False).graph)


# ---- the report

OTHER_RUNTIMES = ("openvino", "litert")
OURS = ("kcompile", "kcompile-ort")  # the portable target, and ONNX Runtime's own


def summary(results: dict[str, Any]) -> str:
    """A table in Markdown: kcompile against the best right ONNX file of any peer, and the other runtimes.

    Nodes: of standard files, then of the target onnxruntime against what ONNX Runtime saves.
    """
    head = "model|nodes|best peer|nodes, onnxruntime|saved by it|bytes|start|b1|b32|b1, 2 threads|b32, 2 threads|OpenVINO b1|LiteRT b1"
    lines = [f"| {head.replace('|', ' | ')} |", "|" + "---|" * (head.count("|") + 1)]
    ratios: list[float] = []
    for name, result in results.items():
        files, times = result["files"], result["times"]
        peers = [k for k, f in files.items() if k not in (*OURS, *OTHER_RUNTIMES) and f.get("wrong") is None]
        ours, first = files["kcompile"], times["batch 1, 1 thread"]
        others = [f"{first['kcompile'] / first[o]:.2f}" if o in first else "-" for o in OTHER_RUNTIMES]
        if peers:
            cells = [_least(files, [p for p in peers if not p.endswith("+ort")], "nodes")]
            cells += [
                str(files["kcompile-ort"]["nodes"]),
                _least(files, [p for p in peers if p.endswith("+ort")], "nodes"),
            ]
            cells += [f"{ours[k] / min(files[p][k] for p in peers):.2f}" for k in ("bytes", "start")]
            for case in times.values():
                best = min(peers, key=case.__getitem__)
                ratios.append(case["kcompile"] / case[best])
                cells.append(f"{ratios[-1]:.2f} ({best})")
        else:
            cells = ["no right file", str(files["kcompile-ort"]["nodes"]), *"-------"]
        lines.append(f"| {' | '.join([name, str(ours['nodes']), *cells, *others])} |")
    if ratios:
        mean = float(np.exp(np.mean(np.log(ratios))))
        lines += ["", f"Geometric mean of the latency ratios: {mean:.3f}; the largest is {max(ratios):.3f}."]
    return "\n".join(lines)


def _least(files: dict[str, Any], names: list[str], key: str) -> str:
    best = min(names, key=lambda n: files[n][key], default=None)
    return "-" if best is None else f"{files[best][key]} ({best})"


def chart(results: dict[str, Any], path: Path) -> None:
    """Latency of every peer's best right file and of other runtimes, kcompile's being 1; batch 1, one thread."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kcompile"
    from matplotlib import pyplot

    families = {"Keras torch export": "keras", "tf2onnx": "tf", "OpenVINO": "openvino", "LiteRT": "litert"}
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for label, family in families.items():
        points = []
        for place, result in enumerate(results.values()):
            case = result["times"]["batch 1, 1 thread"]
            found = [t for name, t in case.items() if name.split("+")[0] == family]
            if found:
                points.append((place, min(found) / case["kcompile"]))
        axes.scatter(*zip(*points, strict=True), label=label, s=22)
    axes.axhline(1, color="black", linewidth=1, label="kcompile")
    axes.set_yscale("log")
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.grid(axis="y", linewidth=0.4)
    axes.set_xticks(range(len(results)), results, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("time / kcompile's (above 1: slower)")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/zoo"))
    parser.add_argument("--models", default=",".join(zoo.ZOO))
    parser.add_argument("--tensorflow", metavar="PYTHON", help="interpreter with tensorflow-cpu and tf2onnx")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of a model's four timings")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--chart", type=Path, help="an SVG of the latencies at batch 1")
    parser.add_argument("--keep-peers", action="store_true", help="make kcompile's files anew, and keep those of peers")
    options = parser.parse_args()
    names = options.models.split(",")
    for name in names:
        print(f"preparing {name}", file=sys.stderr)
        prepare(options.folder / name, zoo.ZOO[name], not options.keep_peers)
    if options.tensorflow and not options.keep_peers:
        program(options.folder / "tensorflow.txt", options.tensorflow, "tensorflow.py", str(options.folder), *names)
        for name in names:
            variants(options.folder / name / "tf.onnx")
    results = {}
    for name in names:
        print(f"timing {name}", file=sys.stderr)
        results[name] = measure(options.folder / name, zoo.ZOO[name], options.seconds)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    if options.chart:
        chart(results, options.chart)
    print(summary(results))


if __name__ == "__main__":
    main()
