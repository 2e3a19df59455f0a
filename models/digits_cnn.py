"""Handwritten digits: a small convolutional network on scikit-learn's 8 x 8 images.

Run it as a script to train and test it, or deliver it: kcompile export models/digits_cnn.py --train
"""

import numpy as np
from sklearn.datasets import load_digits

from kcompile import keras
from kcompile.keras import layers

keras.utils.set_random_seed(0)


def conv_block(filters, strides=1):
    return [
        layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]


model = keras.Sequential(
    [
        keras.Input((8, 8, 1), name="image"),
        *conv_block(32),
        *conv_block(64, strides=2),
        layers.Flatten(),
        layers.Dropout(0.4),
        layers.Dense(10, activation="softmax", name="digit"),
    ],
    name="digits_cnn",
)


def data():
    """((x, y) to train on, (x, y) to test on): every fifth image is a test image."""
    digits = load_digits()
    x = (digits.images[..., None] / 16).astype("float32")
    y = digits.target
    test = np.arange(len(x)) % 5 == 0
    return (x[~test], y[~test]), (x[test], y[test])


def train(model, epochs=20):
    (x, y), (x_test, y_test) = data()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=epochs, validation_data=(x_test, y_test))
    print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    model.summary()
    train(model)
