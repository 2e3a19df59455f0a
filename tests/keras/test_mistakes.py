"""Mistakes that are made in training, and the one line that each is answered with; real Keras refuses them too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile import keras
from kcompile.errors import OutOfRangeError, RunError

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras as real

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(12, 4)).astype("float32"), RANDOM.normal(size=(12, 1)).astype("float32")
CLASSES = np.arange(12) % 3
HOT = np.eye(3, dtype="float32")[CLASSES]
IDS = RANDOM.integers(0, 10, (12, 5))
Room = Any


def model(room: Room, units: int = 1, activation: str | None = None, **compiled: Any) -> Any:
    layers = room.layers
    made = room.Sequential(
        [room.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(units, activation, name="out")], name="net"
    )
    made.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return made


def classifier(room: Room, loss: Any = "sparse_categorical_crossentropy", **compiled: Any) -> Any:
    return model(room, 3, "softmax", loss=loss, **compiled)


def embedding(room: Room, **compiled: Any) -> Any:
    words = room.layers.Embedding(10, 4, name="words")
    made = room.Sequential(
        [room.Input((5,), dtype="int32"), words, room.layers.Flatten(), room.layers.Dense(1)], name="net"
    )
    made.compile("sgd", "mse", **compiled)
    return made


def two(room: Room, **compiled: Any) -> Any:
    i = room.Input((4,))
    made = room.Model(i, [room.layers.Dense(1, name="a")(i), room.layers.Dense(3, activation="softmax", name="b")(i)])
    made.compile(**{"optimizer": "sgd", "loss": ["mse", "sparse_categorical_crossentropy"], **compiled})
    return made


def fit(make: Callable[..., Any], x: Any = X, y: Any = Y, **options: Any) -> Callable[[Room], Any]:
    """A fit of a model; what stands in ``made`` goes to its compile."""
    made = options.pop("made", {})

    def run(room: Room) -> Any:
        own = {k: v(room) if k == "callbacks" else v for k, v in options.items()}
        return make(room, **made).fit(x() if callable(x) else x, y, **{"verbose": 0, **own})

    return run


def layer(call: Callable[..., Any]) -> Callable[[Room], Any]:
    """A model whose layer 'mine' calls this."""

    def run(room: Room) -> Any:
        kind = type("Mine", (room.layers.Layer,), {"call": lambda self, x: call(room, x)})
        made = room.Sequential([room.Input((4,)), kind(name="mine"), room.layers.Dense(1)], name="net")
        made.compile("sgd", "mse")
        return made.fit(X, Y, verbose=0)

    return run


def loss(function: Callable[..., Any]) -> Callable[[Room], Any]:
    def run(room: Room) -> Any:
        return model(room, loss=lambda y, p: function(room.ops, y, p)).fit(X, Y, verbose=0)

    return run


def own_step(returned: Any) -> Callable[[Room], Any]:
    def run(room: Room) -> Any:
        i = room.Input((4,))
        kind = type("Own", (room.Model,), {"train_step": lambda self, data: returned})
        made = kind(i, room.layers.Dense(1)(i))
        made.compile("sgd", "mse")
        return made.fit(X, Y, verbose=0)

    return run


NOTHING = (
    "the loss depends on no trainable variable, there is nothing to train: it must be computed from y_pred, and with "
    "neither integers (argmax, casts) nor stop_gradient in between"
)
SPARSE = "operator 'gather_elements' in layer 'sparse_categorical_crossentropy': class"
WORDS = "operator 'embedding' in layer 'words': id {} is out of range, there are 10 (0 to 9): raise `input_dim` or change the data"
BATCH = "a batch must be x, (x,), (x, y) or (x, y, sample_weight), got"
SHAPES = "of output 'out': y has shape"

# name: what is done, the error's type, its whole message
MISTAKES: dict[str, tuple[Callable[[Room], Any], type[Exception], str]] = {
    # labels and ids
    "a class too many": (
        fit(classifier, y=CLASSES + (CLASSES == 2) * 5, batch_size=12), OutOfRangeError, f"{SPARSE} 7 is out of range, there are 3 (0 to 2)",
    ),
    "a class below 0": (
        fit(classifier, y=CLASSES - 1, batch_size=12, shuffle=False), OutOfRangeError, f"{SPARSE} -1 is out of range, there are 3 (0 to 2)",
    ),
    "a class of logits": (
        lambda r: model(r, 3, loss=r.losses.SparseCategoricalCrossentropy(from_logits=True)).evaluate(X, CLASSES * 3, verbose=0),
        OutOfRangeError, "operator 'sparse_softmax_cross_entropy' in layer 'sparse_categorical_crossentropy': class 3 is out of range, there are 3 (0 to 2)",
    ),
    "a class, eagerly": (
        fit(classifier, y=CLASSES + 3, shuffle=False, made={"run_eagerly": True}), OutOfRangeError, f"{SPARSE} 3 is out of range, there are 3 (0 to 2)",
    ),
    "a class of the second output": (
        fit(two, y=[Y, CLASSES + 3], shuffle=False), OutOfRangeError,
        "operator 'gather_elements' in layer 'b/sparse_categorical_crossentropy': class 3 is out of range, there are 3 (0 to 2)",
    ),
    "an id in fit": (fit(embedding, IDS * 0 + 12), OutOfRangeError, WORDS.format(12)),
    "an id in predict": (lambda r: embedding(r).predict(IDS * 0 + 10, verbose=0), OutOfRangeError, WORDS.format(10)),
    "an id in a call": (lambda r: embedding(r)(IDS * 0 + 10), OutOfRangeError, WORDS.format(10).replace("'words'", "'net/words'")),
    # targets that don't fit
    "classes that are no rows": (
        fit(classifier, y=CLASSES, made={"loss": "categorical_crossentropy"}), ValueError,
        f"loss 'categorical_crossentropy' {SHAPES} (None,), the output (None, 3): the target's shape (None,) must be the shape (None, 3) of the "
        "output; for integer classes use sparse_categorical_crossentropy",
    ),
    "rows that are no classes": (
        fit(classifier, y=HOT), ValueError,
        f"loss 'sparse_categorical_crossentropy' {SHAPES} (None, 3), the output (None, 3): the target's shape (None, 3) must be the shape "
        "(None,) of the output without its classes; for one-hot rows use categorical_crossentropy",
    ),
    "numbers for rows": (
        fit(classifier, y=Y[:, 0], made={"loss": "mse"}), ValueError, f"loss 'mse' {SHAPES} (None,), the output (None, 3): they must be of one shape",
    ),
    "no y": (fit(model, y=None), ValueError, "loss 'mse' of output 'out': there is no y; give the targets, or no loss for this output"),
    "one y for two outputs": (fit(two), ValueError, "y holds 1 array(s), the model has 2 outputs: a, b"),
    # kinds of data
    "words": (fit(model, np.full((12, 4), "a")), ValueError, "x: an array of dtype <U1 can't be trained on; give numbers"),
    "objects": (fit(model, y=np.full((12, 1), None)), ValueError, "y: an array of dtype object can't be trained on; give numbers"),
    "dates": (
        fit(model, np.full((12, 4), "2020-01-01", "datetime64[D]")), ValueError, "x: an array of dtype datetime64[D] can't be trained on; give numbers",
    ),
    "lists of other lengths": (
        fit(model, [[1, 2], [3]], Y[:2]), ValueError, "lists of different lengths make no array; make them of one length (keras.utils.pad_sequences)",
    ),
    "the name of a file": (fit(model, "data.csv"), ValueError, "Unrecognized data type: x=data.csv (of type str)"),
    "no samples": (fit(model, X[:0], Y[:0]), ValueError, "the data hold no sample: x has shape (0, 4), y has shape (0, 1)"),
    "no samples in lists": (fit(model, [], []), ValueError, "the data hold no sample: x has shape (0,), y has shape (0,)"),
    "nothing": (lambda r: model(r).train_on_batch(None, Y), ValueError, "x must be an array of samples, or several, got None"),
    "lengths of validation data": (
        fit(model, validation_data=(X, Y[:3])), ValueError,
        "validation_data: Data cardinality is ambiguous. Make sure all arrays contain the same number of samples: x has shape (12, 4), y has shape (3, 1)",
    ),
    "weights by a word": (
        fit(classifier, y=CLASSES, class_weight="balanced"), ValueError,
        "`class_weight` must be a dict of numbers by class, such as {0: 1.0, 1: 2.0}, got 'balanced'",
    ),
    "weights of no classes": (fit(model, y=None, class_weight={0: 1.0}), ValueError, "`class_weight` needs `y`, the classes that it weighs"),
    "a generator of nothing": (fit(model, lambda: iter([None]), None), ValueError, f"{BATCH} None"),
    "a generator of lists": (fit(model, lambda: iter([[X, Y]]), None), ValueError, f"{BATCH} list of 2"),
    "a generator of four": (fit(model, lambda: iter([(X, Y, Y, Y)]), None), ValueError, f"{BATCH} tuple of 4"),
    # numbers
    "a split above 1": (fit(model, validation_split=2), ValueError, "`validation_split` must be a number from 0 to 1, got 2"),
    "a split of NaN": (fit(model, validation_split=float("nan")), ValueError, "`validation_split` must be a number from 0 to 1, got nan"),
    "a batch of -1": (fit(model, batch_size=-1), ValueError, "`batch_size` must be at least 1, got -1"),
    "a batch in words": (fit(model, batch_size="32"), TypeError, "`batch_size` must be an integer, got '32'"),
    "epochs and a half": (fit(model, epochs=1.5), TypeError, "`epochs` must be an integer, got 1.5"),
    "steps below 0": (fit(model, steps_per_epoch=-2), ValueError, "`steps_per_epoch` must be at least 1, got -2"),
    # compile
    "no optimizer": (fit(model, made={"optimizer": None}), ValueError, "fit needs an optimizer: `compile` got optimizer=None"),
    "a metric and no list": (fit(model, made={"metrics": "mae"}), ValueError, "`metrics` must be a list, a tuple or a dict, got 'mae'"),
    "weights in words": (fit(model, made={"loss_weights": "a"}), ValueError, "`loss_weights` must be a number, a list, a tuple or a dict, got 'a'"),
    "weights for another": (fit(model, made={"loss_weights": [1.0, 2.0]}), ValueError, "loss_weights: 2 entries for 1 outputs"),
    # losses and steps of one's own
    "a loss of nothing": (
        loss(lambda ops, y, p: None), ValueError,
        f"loss '<lambda>' {SHAPES} (None, 1), the output (None, 1): '<lambda>' must return a tensor, it returned None",
    ),
    "a loss of numbers": (loss(lambda ops, y, p: 3.0), ValueError, NOTHING),
    "a loss of integers": (loss(lambda ops, y, p: ops.argmax(p, -1)), ValueError, NOTHING),
    "a loss without gradient": (loss(lambda ops, y, p: ops.stop_gradient(p)), ValueError, NOTHING),
    "a step of nothing": (own_step(None), TypeError, "train_step must return a dict of values by name, got NoneType"),
    "a step of a number": (own_step(3.0), TypeError, "train_step must return a dict of values by name, got float"),
    # callbacks
    "a callback's class": (
        fit(model, callbacks=lambda r: [r.callbacks.EarlyStopping]), TypeError,
        "callbacks: got the class EarlyStopping; give an object of it, EarlyStopping(...)",
    ),
    "a function": (
        fit(model, callbacks=lambda r: [len]), TypeError, "callbacks must be keras.callbacks.Callback objects, got <built-in function len>",
    ),
    "a slip of what to watch": (
        fit(model, callbacks=lambda r: [r.callbacks.EarlyStopping("los")]), ValueError,
        "EarlyStopping: the metric `los` is not available (did you mean 'loss'?). Available metrics are: loss",
    ),
    "a metric of unknown direction": (
        fit(model, made={"metrics": [lambda y, p: p]}, callbacks=lambda r: [r.callbacks.ReduceLROnPlateau("lambda" if r is real else "<lambda>")]),
        ValueError, "ReduceLROnPlateau: whether more or less of `<lambda>` is better is not known; pass mode='max' or mode='min'",
    ),
    "a brace": (
        lambda r: r.callbacks.ModelCheckpoint("m-{epoch.keras").on_epoch_end(0, {}), ValueError,
        "ModelCheckpoint: 'm-{epoch.keras' is no format of a path: expected '}' before end of string",
    ),
    # tensors without values
    "a variable as a condition": (
        lambda r: bool(r.Variable(1.0, name="v")), TypeError, "variable 'v' can't be used as a boolean: compare it with None, or its `numpy()` with a number",
    ),
    "steps of a functional tensor": (lambda r: list(r.Input((4,))), NotImplementedError, "Iterating over a symbolic KerasTensor is not supported."),
    "a layer of nothing": (layer(lambda r, x: None), ValueError, "layer 'mine': `call` of Mine must return tensors, not None"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    act, kind, message = MISTAKES[name]
    with pytest.raises(Exception) as theirs:
        act(real)
    with pytest.raises(kind) as caught:
        act(keras)
    assert str(caught.value) == message
    # Who waits for Keras's error gets ours, but where Keras's is one of Python's that says nothing.
    accident = (AttributeError, TypeError, UnboundLocalError, RuntimeError, KeyError, IndexError)
    assert isinstance(caught.value, type(theirs.value)) or isinstance(theirs.value, accident)


# What Keras lets pass: nothing is trained, or something else than was meant.
SILENT: dict[str, tuple[Callable[[Room], Any], type[Exception], str]] = {
    "a split below 0": (fit(model, validation_split=-0.1), ValueError, "`validation_split` must be a number from 0 to 1, got -0.1"),
    "a batch of 0": (fit(model, batch_size=0), ValueError, "`batch_size` must be at least 1, got 0"),
    "no steps": (fit(model, steps_per_epoch=0), ValueError, "`steps_per_epoch` must be at least 1, got 0"),
    "epochs below 0": (fit(model, epochs=-1), ValueError, "`epochs` must be at least 0, got -1"),
    "an order in words": (fit(model, shuffle="yes"), ValueError, "`shuffle` must be one of True, False, 'batch', None, got 'yes'"),
    "verbose in words": (fit(model, verbose="no"), ValueError, "`verbose` must be 'auto', 0, 1 or 2, got 'no'"),
    "jit in words": (
        fit(model, made={"jit_compile": "yes"}), ValueError, "`jit_compile` must be one of True, False, 'auto', None, got 'yes'",
    ),
    "eagerly in words": (
        fit(model, made={"run_eagerly": "no"}), ValueError, "`run_eagerly` must be one of True, False, None, got 'no'",
    ),
    "a rate of NaN": (
        lambda r: r.optimizers.SGD(float("nan")), ValueError, "`learning_rate` must be a finite number, got nan",
    ),
    "weights by words": (
        fit(classifier, y=CLASSES, class_weight={"0": 2.0}), ValueError,
        "`class_weight` must be a dict of numbers by class, such as {0: 1.0, 1: 2.0}, got {'0': 2.0}",
    ),
    "no samples to validate": (
        fit(model, validation_data=(X[:0], Y[:0])), ValueError,
        "validation_data: the data hold no sample: x has shape (0, 4), y has shape (0, 1)",
    ),
    "a class that torch leaves out": (
        lambda r: model(r, 3, loss=r.losses.SparseCategoricalCrossentropy(from_logits=True)).evaluate(X, CLASSES * 0 - 100, verbose=0),
        OutOfRangeError, "operator 'sparse_softmax_cross_entropy' in layer 'sparse_categorical_crossentropy': class -100 is out of range, there are 3 (0 to 2)",
    ),
    "an id below 0": (fit(embedding, IDS * 0 - 1), OutOfRangeError, WORDS.format(-1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
def test_mistakes_that_keras_lets_pass(name: str) -> None:
    act, kind, message = SILENT[name]
    act(real)
    with pytest.raises(kind) as caught:
        act(keras)
    assert str(caught.value) == message


# What a layer's own code gets wrong; the place in the code follows.
IN_LAYERS: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "torch's methods": (
        lambda r, x: x.numpy(), AttributeError,
        "a symbolic tensor (f32[N, 4]) has no 'numpy': it is no torch tensor, and its values are not known while the model is traced; "
        "use keras.ops (layer 'net/mine', ",
    ),
    "in place": (
        lambda r, x: x.__setitem__(0, 1), TypeError,
        "a symbolic tensor (f32[N, 4]) can't be changed in place; use ops.where or ops.slice_update (layer 'net/mine', ",
    ),
    "the batch's size": (
        lambda r, x: len(x) * x, TypeError,
        "the size N is not known before the model runs, so it can't be used as a Python integer; give the input a fixed size, or compute with it "
        "in keras.ops (layer 'net/mine', ",
    ),
    "an error of one's own": (lambda r, x: _refuse("not this"), ValueError, "not this (layer 'net/mine', "),
    "a form that fits no batch": (
        lambda r, x: r.ops.reshape(x, (-1, 3, 5)), RunError,
        "operator 'reshape' in layer 'mine': can't take float32[12, 4]: shape '[3, 3, 5]' is invalid for input of size 48",
    ),
}  # fmt: skip


def _refuse(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("name", IN_LAYERS)
def test_mistakes_in_layers_name_the_layer(name: str) -> None:
    call, kind, message = IN_LAYERS[name]
    with pytest.raises(kind) as caught:
        layer(call)(keras)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_targets_that_meet_the_batch_are_told() -> None:
    # As in Keras each sample is compared with all others; that is never meant.
    words = r"loss 'mse' of output 'out': y has shape \(None, 1, 3\), the output \(None, 3\): each sample is compared"
    with pytest.warns(UserWarning, match=words):
        model(keras, 3).fit(X, HOT[:, None], verbose=0)


def test_a_model_that_is_frozen_is_evaluated() -> None:
    losses = []
    for room in (keras, real):
        made = model(room)
        made.set_weights([np.full(w.shape, 0.5, "float32") for w in made.get_weights()])
        made.trainable = False
        made.compile("sgd", "mse")
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            losses.append(made.fit(X, Y, verbose=0).history["loss"])
        assert all((w == 0.5).all() for w in made.get_weights())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_an_id_in_compiled_code_names_its_layer() -> None:
    with pytest.raises(OutOfRangeError, match=r"'embedding' in layer 'words': id 12 is out of range"):
        embedding(keras, jit_compile=True).fit(IDS * 0 + 12, Y, verbose=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: keras.callbacks.ModelCheckpoint(path / "m.keras"),
        lambda path: keras.callbacks.ModelCheckpoint(path / "{epoch}" / "m.keras"),
        lambda path: keras.callbacks.BackupAndRestore(path),
    ],
)
def test_a_place_that_is_no_folder_is_told_before_training(make: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    made = model(keras)
    before = made.get_weights()
    with pytest.raises(ValueError, match=r"file: can't write there: .*file is no folder"):
        made.fit(X, Y, callbacks=[make(tmp_path / "file")], verbose=0)
    assert all(map(np.array_equal, before, made.get_weights())) and (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_full_disk_keeps_the_file_that_was_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    made, path = model(keras), tmp_path / name
    save = made.save if name.endswith(".keras") else made.save_weights
    save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=f"{name}: can't write: No space left on device"):
        save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [name]
