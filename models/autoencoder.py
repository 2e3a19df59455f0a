"""Two autoencoders of scikit-learn's digits: a convolutional one with a layer and a loss of its own, and a variational
one with its own ``train_step``.

Deliver them: kcompile export models/autoencoder.py --train, and --name decoder for the variational one's decoder.
"""

import numpy as np
from sklearn.datasets import load_digits

from kcompile import keras
from kcompile.keras import layers, ops

keras.utils.set_random_seed(0)


@keras.saving.register_keras_serializable("models")
class Sharpen(layers.Layer):
    """x + strength * (x - its 3 x 3 mean), the strength learnt for each channel."""

    def build(self, input_shape):
        self.strength = self.add_weight((input_shape[-1],), "zeros", name="strength")

    def call(self, x):
        return x + self.strength * (x - ops.average_pool(x, 3, 1, "same"))


@keras.saving.register_keras_serializable("models")
def edges_and_pixels(y_true, y_pred):
    """Squared error of the pixels and of the differences between neighbours, so that strokes stay sharp."""

    def differences(x):
        return x[:, 1:, :] - x[:, :-1, :], x[:, :, 1:] - x[:, :, :-1]

    error = ops.mean(ops.square(y_true - y_pred), axis=(1, 2, 3))
    for wanted, got in zip(differences(y_true), differences(y_pred), strict=True):
        error = error + 0.5 * ops.mean(ops.square(wanted - got), axis=(1, 2, 3))
    return error


def encoder_layers():
    return [
        layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        layers.Flatten(),
    ]


def decoder_layers():
    return [
        layers.Dense(2 * 2 * 32, activation="relu"),
        layers.Reshape((2, 2, 32)),
        layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
    ]


model = keras.Sequential(
    [
        keras.Input((8, 8, 1), name="image"),
        *encoder_layers(),
        layers.Dense(12, name="code"),
        *decoder_layers(),
        layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        Sharpen(name="copy"),
    ],
    name="autoencoder",
)


class Variational(keras.Model):
    """An encoder to the mean and log variance of a code, and a decoder (Kingma & Welling 2013)."""

    def __init__(self, size=8, **kwargs):
        super().__init__(**kwargs)
        self.encode = keras.Sequential(
            [keras.Input((8, 8, 1)), *encoder_layers(), layers.Dense(2 * size)], name="encode"
        )
        self.decode = keras.Sequential(
            [keras.Input((size,), name="code"), *decoder_layers(), layers.Conv2D(1, 3, padding="same", name="logits")],
            name="decode",
        )
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.divergence_tracker = keras.metrics.Mean(name="divergence")

    @property
    def metrics(self):
        return [self.loss_tracker, self.divergence_tracker]

    def call(self, x):
        mean, _ = ops.split(self.encode(x), 2, axis=-1)
        return ops.sigmoid(self.decode(mean))

    def train_step(self, x):
        self.zero_grad()
        mean, log_variance = ops.split(self.encode(x), 2, axis=-1)
        code = mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean))
        errors = ops.binary_crossentropy(x, self.decode(code), from_logits=True)
        divergence = -0.5 * ops.mean(ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=-1))
        loss = ops.mean(ops.sum(errors, axis=(1, 2, 3))) + divergence
        loss.backward()
        variables = self.trainable_variables
        self.optimizer.apply([v.value.grad for v in variables], variables)
        self.loss_tracker.update_state(ops.stop_gradient(loss))
        self.divergence_tracker.update_state(ops.stop_gradient(divergence))
        return {m.name: m.result() for m in self.metrics}


variational = Variational(name="variational")
decoder = variational.decode


def data():
    """(images to train on, images to test on), every fifth tests."""
    x = (load_digits().images[..., None] / 16).astype("float32")
    test = np.arange(len(x)) % 5 == 0
    return x[~test], x[test]


def train_variational(epochs=60):
    x, _ = data()
    variational.compile(keras.optimizers.Adam(2e-3))
    history = variational.fit(x, batch_size=64, epochs=epochs, verbose=0).history
    bound = history["loss"]
    print(f"variational: bound {bound[0]:.1f} nats at first, {bound[-1]:.1f} after {len(bound)} epochs")
    return history


def train(model, epochs=60):
    if model is decoder or model is variational:
        return train_variational()
    x, x_test = data()
    model.compile(keras.optimizers.Adam(3e-3), edges_and_pixels)
    model.fit(x, x, batch_size=64, epochs=epochs, validation_data=(x_test, x_test), verbose=2)
    error = float(np.mean((model.predict(x_test, verbose=0) - x_test) ** 2))
    print(f"test error {error:.4f}, {error / x_test.var():.1%} of the images' variance")
    return None


if __name__ == "__main__":
    train(model)
    train_variational()
