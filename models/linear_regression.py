"""The classic first Keras model: a line through noisy points, y = 2x + 1.

Run it as a script, or deliver it: kcompile export models/linear_regression.py --train
"""

import numpy as np

from kcompile.keras.layers import Dense
from kcompile.keras.models import Sequential
from kcompile.keras.optimizers import SGD
from kcompile.keras.utils import set_random_seed

set_random_seed(0)
rng = np.random.default_rng(0)
X = np.linspace(-2, 2, 1000)
Y = 2 * X + 1 + rng.normal(0, 0.05, X.shape)

model = Sequential(name="linear_regression")
model.add(Dense(1, input_shape=(1,), name="line"))


def train(model):
    model.compile(SGD(), "mean_squared_error")
    model.fit(X, Y, epochs=20)
    slope, offset = (float(w.ravel()[0]) for w in model.get_weights())
    print(f"y = {slope:.3f} x + {offset:.3f}")


if __name__ == "__main__":
    train(model)
    print(model.predict(np.array([0.0, 1.0])))
