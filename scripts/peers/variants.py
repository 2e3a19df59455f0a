"""A peer's ONNX file after each optimiser that installs. Called by bench_inference.py.

python variants.py FILE.onnx
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx


def slim(model: onnx.ModelProto, target: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(model), target)


def sim(model: onnx.ModelProto, target: Path) -> None:
    import onnxsim

    onnx.save(onnxsim.simplify(model)[0], target)


def script(model: onnx.ModelProto, target: Path) -> None:
    from onnxscript import optimizer

    onnx.save(optimizer.optimize(model), target)


def ort(model: onnx.ModelProto, target: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


OPTIMISERS: dict[str, Callable[[onnx.ModelProto, Path], None]] = {
    "slim": slim,
    "sim": sim,
    "script": script,
    "ort": ort,
}


def main() -> None:
    source = Path(sys.argv[1])
    for name, work in OPTIMISERS.items():
        target = source.with_name(f"{source.stem}+{name}.onnx")
        try:
            work(onnx.load(source), target)
        except Exception as error:  # a peer's failure is a result, which the benchmark shows
            target.with_suffix(".txt").write_text(f"{type(error).__name__}: {str(error).strip()[:200]}\n")


if __name__ == "__main__":
    main()
