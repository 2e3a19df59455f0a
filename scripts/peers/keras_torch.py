"""A model of the zoo in real Keras on torch: its outputs, and Keras's own ONNX export. Called by bench_inference.py.

python keras_torch.py FOLDER NAME
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import zoo


def main() -> None:
    folder, entry = Path(sys.argv[1]), zoo.ZOO[sys.argv[2]]
    model = entry.build(keras)
    with np.load(folder / "weights.npz") as arrays:
        model.set_weights([arrays[str(i)] for i in range(len(arrays.files))])
    found = {}
    for name, feed in entry.checks().items():
        outputs = model(feed if len(feed) > 1 else feed[0], training=False)
        found[name] = keras.ops.convert_to_numpy(outputs)
    np.savez(folder / "reference.npz", **found)
    model.export(str(folder / "keras.onnx"), format="onnx", verbose=False)


if __name__ == "__main__":
    main()
