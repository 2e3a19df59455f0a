"""Models of the zoo in real Keras on TensorFlow, as files of tf2onnx and of LiteRT. Called by bench_inference.py.

    python tensorflow.py FOLDER NAME ...

Needs its own environment: tensorflow-cpu, tf2onnx. One process makes all files, for TensorFlow takes
long to start; a converter that fails leaves its last line in NAME/tf.txt or NAME/litert.txt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# This file's own folder would hide the package that it is named after.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
import zoo


def attempt(folder: Path, what: str, work: Callable[[], Any]) -> None:
    """Run one converter; a benchmark goes on where a peer fails, and says why it did."""
    try:
        work()
    except Exception as error:
        (folder / f"{what}.txt").write_text(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}\n")


def main() -> None:
    root = Path(sys.argv[1])
    for name in sys.argv[2:]:
        folder, entry = root / name, zoo.ZOO[name]
        model = entry.build(keras)
        with np.load(folder / "weights.npz") as arrays:
            model.set_weights([arrays[str(i)] for i in range(len(arrays.files))])
        specs = [tf.TensorSpec([None, *v.shape[1:]], v.dtype, name=f"input_{i}") for i, v in enumerate(model.inputs)]
        call = tf.function(lambda *x, model=model: model(list(x) if len(x) > 1 else x[0], training=False), specs)
        attempt(
            folder,
            "tf",
            lambda call=call, specs=specs, folder=folder: tf2onnx.convert.from_function(
                call, input_signature=specs, opset=18, output_path=str(folder / "tf.onnx")
            ),
        )

        def lite(call: Any = call, folder: Path = folder) -> None:
            converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
            (folder / "litert.tflite").write_bytes(converter.convert())

        attempt(folder, "litert", lite)


if __name__ == "__main__":
    main()
