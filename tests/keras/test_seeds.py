"""The same seed, the same run; in fresh processes, since seeding comes before torch is loaded."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from kcompile import keras
keras.utils.set_random_seed(int(sys.argv[1]))
assert "torch" not in sys.modules
import numpy as np
layers = [keras.Input((3,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
model = keras.Sequential(layers)
model.compile("adam", "mse")
x = np.random.rand(64, 3).astype("float32")
model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0)
print(np.concatenate([w.ravel() for w in model.get_weights()]).tolist())
"""


def run(seed: int) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(seed)], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_seed_set_before_torch_is_loaded_counts() -> None:
    first = run(5)
    assert first == run(5)
    assert first != run(6)
