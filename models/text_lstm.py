"""First names by their letters: a bidirectional LSTM over padded, masked sequences of any length.

The data are the 5,494 first names of the US census that the `names` package ships (pip install names).
Deliver it: kcompile export models/text_lstm.py --train
"""

from pathlib import Path

import names
import numpy as np

from kcompile import keras
from kcompile.keras import layers

keras.utils.set_random_seed(0)
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # 0 is padding, 1 is a

letters = keras.Input((None,), dtype="int32", name="letters")
x = layers.Embedding(len(LETTERS) + 1, 24, mask_zero=True)(letters)
x = layers.Bidirectional(layers.LSTM(48, return_sequences=True))(x)
x = layers.Dropout(0.3)(x)
x = layers.Bidirectional(layers.LSTM(48))(x)
x = layers.Dropout(0.3)(x)
female = layers.Dense(1, activation="sigmoid", name="female")(x)
model = keras.Model(letters, female, name="text_lstm")


def encode(words, length=None):
    """Words as rows of letter numbers, padded with 0 to the longest (or to ``length``)."""
    rows = [[LETTERS.index(c) + 1 for c in word.lower() if c in LETTERS] for word in words]
    width = length or max(map(len, rows))
    return np.array([row[:width] + [0] * (width - len(row)) for row in rows], dtype="int32")


def data():
    """((x, y) to train on, (x, y) to test on): names that are only one of the two, as many of each; every fifth tests."""
    folder = Path(names.__file__).parent

    def read(kind):  # most frequent first
        return [line.split()[0] for line in (folder / f"dist.{kind}.first").read_text().splitlines() if line.strip()]

    girls, boys = read("female"), read("male")
    both = set(girls) & set(boys)
    girls, boys = ([n for n in part if n not in both] for part in (girls, boys))
    count = min(len(girls), len(boys))
    words = sorted([(n, 1.0) for n in girls[:count]] + [(n, 0.0) for n in boys[:count]])
    x, y = encode([n for n, _ in words]), np.array([label for _, label in words], dtype="float32")
    test = np.arange(len(words)) % 5 == 0
    return (x[~test], y[~test]), (x[test], y[test])


def train(model, epochs=25):
    (x, y), (x_test, y_test) = data()
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=epochs, validation_data=(x_test, y_test))
    print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    train(model)
    for name, share in zip(
        ("Ada", "Alan", "Grace", "Dennis"),
        model.predict(encode(["Ada", "Alan", "Grace", "Dennis"]), verbose=0),
        strict=True,
    ):
        print(f"{name}: {share[0]:.2f}")
