"""A causal character language model on Python's own documentation (pydoc_data.topics, 465,000 characters).

Deliver it: kcompile export models/tiny_gpt.py --train; then models/tiny_gpt.py writes text by running the file at
growing length, and a second file, which keeps keys and values, one character at a time.
"""

import sys
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import kcompile
from kcompile import keras
from kcompile.keras import layers, ops

keras.utils.set_random_seed(0)
TEXT = "\n\n".join(topics[k] for k in sorted(topics)).encode("ascii", "replace").decode()
ALPHABET = sorted(set(TEXT))
LENGTH, WIDTH, HEADS, BLOCKS = 96, 96, 4, 2


@keras.saving.register_keras_serializable("models")
class Block(layers.Layer):
    """Causal attention and a feed-forward part, each normalised before and added after.

    With ``past``, the keys and values [N, S, heads, width] of what came before, the input is what is new, and the new
    keys and values come out too.
    """

    def __init__(self, width, heads, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.before, self.between = layers.LayerNormalization(epsilon=1e-5), layers.LayerNormalization(epsilon=1e-5)
        self.project, self.join = layers.Dense(3 * width), layers.Dense(width)
        self.expand, self.shrink = layers.Dense(4 * width, activation="gelu"), layers.Dense(width)

    def call(self, x, past=None):
        sizes = ops.shape(x)
        heads = (sizes[0], sizes[1], self.heads, self.width // self.heads)
        q, k, v = (ops.reshape(part, heads) for part in ops.split(self.project(self.before(x)), 3, axis=-1))
        if past is not None:
            k, v = ops.concatenate([past[0], k], axis=1), ops.concatenate([past[1], v], axis=1)
        attended = ops.dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.join(ops.reshape(attended, (sizes[0], sizes[1], self.width)))
        x = x + self.shrink(self.expand(self.between(x)))
        return x if past is None else (x, [k, v])

    def get_config(self):
        return {**super().get_config(), "width": self.width, "heads": self.heads}


@keras.saving.register_keras_serializable("models")
class TinyGPT(keras.Model):
    """Logits [N, T, letters] of the next character for characters [N, T], T at most ``LENGTH``."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.letters = layers.Embedding(len(ALPHABET), WIDTH)
        self.places = layers.Embedding(LENGTH, WIDTH)
        self.blocks = [Block(WIDTH, HEADS) for _ in range(BLOCKS)]
        self.last, self.head = layers.LayerNormalization(epsilon=1e-5), layers.Dense(len(ALPHABET), name="next")

    def call(self, characters):
        x = self.letters(characters) + self.places(ops.arange(ops.shape(characters)[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))

    def step(self, character, place, past):
        """One character [N, 1] at a place [1], after ``past``: logits and the new keys and values."""
        x = self.letters(character) + self.places(place)
        kept = []
        for block, before in zip(self.blocks, past, strict=True):
            x, after = block(x, past=before)
            kept.append(after)
        return self.head(self.last(x)), kept


def build():
    characters = keras.Input((None,), dtype="int32", name="characters")
    gpt = TinyGPT(name="gpt")
    return keras.Model(characters, gpt(characters), name="tiny_gpt")


model = build()


@keras.saving.register_keras_serializable("models")
class Step(layers.Layer):
    """`TinyGPT.step` as a layer, to be exported with its cache as inputs and outputs."""

    def __init__(self, gpt, **kwargs):
        super().__init__(**kwargs)
        self.gpt = gpt

    def call(self, inputs):
        pairs = [[inputs[f"key_{i}"], inputs[f"value_{i}"]] for i in range(BLOCKS)]
        logits, kept = self.gpt.step(inputs["character"], inputs["place"], pairs)
        named = {f"{kind}_{i}_out": kept[i][j] for i in range(BLOCKS) for j, kind in enumerate(("key", "value"))}
        return {"next": logits, **named}


def with_cache(model):
    """The model that reads one character at a time."""
    gpt = model.get_layer("gpt")
    inputs = {"character": keras.Input((1,), dtype="int32", name="character")}
    inputs["place"] = keras.Input(batch_shape=(1,), dtype="int32", name="place")
    for i in range(BLOCKS):
        for kind in ("key", "value"):
            inputs[f"{kind}_{i}"] = keras.Input((None, HEADS, WIDTH // HEADS), name=f"{kind}_{i}")
    return keras.Model(inputs, Step(gpt, name="step")(inputs), name="tiny_gpt_step")


def data():
    """((x, y) to train on, (x, y) to test on): rows of characters and what follows each; the last tenth tests."""
    codes = np.array([ALPHABET.index(c) for c in TEXT], dtype="int32")
    rows = codes[: len(codes) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    cut = len(rows) * 9 // 10
    x, y = rows[:, :-1], rows[:, 1:]
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def train(model, epochs=6, rows=None):
    (x, y), (x_test, y_test) = ([a[:rows] for a in part] for part in data())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3, clipnorm=1.0), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, validation_data=(x_test, y_test))
    found = model.evaluate(x_test, y_test, verbose=0)[0]
    print(
        f"test loss {found:.4f} nats, {found / np.log(2):.3f} bits a character (uniform: {np.log2(len(ALPHABET)):.2f})"
    )


def write(run, start, count):
    """Text by the exported file, run anew on all that there is (its last LENGTH characters), taking the likeliest."""
    codes = [ALPHABET.index(c) for c in start]
    for _ in range(count):
        logits = run(np.array([codes[-LENGTH:]], dtype="int32"))
        codes.append(int(logits[0, -1].argmax()))
    return "".join(ALPHABET[c] for c in codes)


def write_with_cache(run, start, count):
    """The same text by the second file, each character read once; start and count make at most LENGTH."""
    codes = [ALPHABET.index(c) for c in start]
    kept = {
        f"{k}_{i}": np.zeros((1, 0, HEADS, WIDTH // HEADS), "float32") for i in range(BLOCKS) for k in ("key", "value")
    }
    place = 0
    while len(codes) < len(start) + count:
        while place < len(codes):
            one = {"character": np.array([[codes[place]]], "int32"), "place": np.array([place], "int32")}
            outputs = run({**one, **kept})
            kept = {name: outputs[f"{name}_out"] for name in kept}
            place += 1
        codes.append(int(outputs["next"][0, -1].argmax()))
    return "".join(ALPHABET[c] for c in codes)


if __name__ == "__main__":
    train(model, epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 6)
    kcompile.export(model, "tiny_gpt.onnx")
    kcompile.export(with_cache(model), "tiny_gpt_step.onnx")
    start = "The statement "
    text = write(kcompile.load("tiny_gpt.onnx"), start, 80)
    print(text)
    assert write_with_cache(kcompile.load("tiny_gpt_step.onnx"), start, 80) == text, "the cache changes the text"
    print(*(f"{p}: {Path(p).stat().st_size} bytes" for p in ("tiny_gpt.onnx", "tiny_gpt_step.onnx")), sep="\n")
