"""A syntax highlighter: a Transformer that says of every character of Python source what it belongs to.

It sees characters only, 256 at a time, no rules; the truth comes from Python's own tokenizer over the standard
library. Deliver it: kcompile export models/text_transformer.py --train
"""

import io
import keyword
import sysconfig
import tokenize
from pathlib import Path

import numpy as np

from kcompile import keras
from kcompile.keras import layers, ops

keras.utils.set_random_seed(0)
KINDS = ["other", "keyword", "name", "number", "string", "comment", "operator"]
FILES = (
    "ast base64 bisect calendar cmd code codeop configparser contextlib copy csv datetime difflib dis enum fileinput "
    "fnmatch fractions functools getopt glob graphlib gzip hashlib heapq hmac inspect keyword linecache mimetypes numbers"
).split()
TEST_FILES = """ast base64 bisect calendar cmd code codeop configparser contextlib copy csv dataclasses datetime difflib dis enum
fileinput fnmatch fractions functools getopt glob graphlib gzip hashlib heapq hmac imghdr inspect ipaddress json keyword
linecache locale mailbox mimetypes numbers operator optparse pathlib pickle""".replace("json", "").split()
LENGTH, VOCABULARY = 256, 128  # ASCII; 0 is padding


@keras.saving.register_keras_serializable("models")
class PositionEmbedding(layers.Layer):
    """Adds a learnt vector for each position; lengths up to ``length``."""

    def __init__(self, length, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.supports_masking = True

    def build(self, input_shape):
        self.table = self.add_weight((self.length, input_shape[-1]), "uniform", name="table")

    def call(self, x):
        return x + self.table[: ops.shape(x)[1]]

    def get_config(self):
        return {**super().get_config(), "length": self.length}


def block(x, heads, width):
    """Attention and a feed-forward part, each normalised before and added after."""
    attended = layers.LayerNormalization(epsilon=1e-5)(x)
    attended = layers.MultiHeadAttention(heads, width // heads)(attended, attended)
    x = layers.Add()([x, attended])
    hidden = layers.LayerNormalization(epsilon=1e-5)(x)
    hidden = layers.Dense(4 * width, activation="gelu")(hidden)
    return layers.Add()([x, layers.Dense(width)(hidden)])


characters = keras.Input((None,), dtype="int32", name="characters")
x = layers.Embedding(VOCABULARY, 64, mask_zero=True)(characters)
x = PositionEmbedding(LENGTH)(x)
# What stands beside a character says most: a convolution looks there first.
look = layers.Conv1D(64, 7, padding="same", activation="relu")
look.supports_masking = True  # as many places come out, so that attention and loss still know which are padding
x = look(x)
for _ in range(2):
    x = block(x, 4, 64)
kinds = layers.Dense(len(KINDS), activation="softmax", name="kinds")(layers.LayerNormalization(epsilon=1e-5)(x))
model = keras.Model(characters, kinds, name="text_transformer")


def tag(source):
    """The kind of each character of Python source, by Python's tokenizer."""
    starts = np.cumsum([0, *(len(line) for line in source.splitlines(keepends=True))])
    kinds = np.zeros(len(source), dtype="int32")
    by_type = {tokenize.NUMBER: 3, tokenize.STRING: 4, tokenize.COMMENT: 5, tokenize.OP: 6}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = by_type.get(token.type, 0)
        if token.type == tokenize.NAME:
            kind = 1 if keyword.iskeyword(token.string) else 2
        begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        kinds[begin:end] = kind
    return kinds


def windows(files):
    """(characters, kinds) of modules of the standard library, cut into rows of LENGTH, the last ones padded."""
    xs, ys = [], []
    for name in files:
        source = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text().encode("ascii", "replace").decode()
        x, y = np.frombuffer(source.encode(), dtype="uint8").astype("int32"), tag(source)
        missing = -len(x) % LENGTH
        xs.append(np.pad(x, (0, missing)).reshape(-1, LENGTH))
        ys.append(np.pad(y, (0, missing)).reshape(-1, LENGTH))
    return np.concatenate(xs), np.concatenate(ys)


def train(model, epochs=6, files=FILES):
    (x, y), (x_test, y_test) = windows(files), windows(TEST_FILES)
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, validation_data=(x_test, y_test))
    print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    train(model)
    line = 'def area(r): return 3.14 * r ** 2  # a "circle"'
    shown = model.predict(np.frombuffer(line.encode(), "uint8").astype("int32")[None], verbose=0)[0].argmax(-1)
    print(line)
    print("".join(KINDS[k][0] for k in shown))
