"""Every loss against real Keras: values for all reductions, weights and masks, gradients, traced, exported; configs."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import array, close, export_and_run, keras, numbers, real

REDUCTIONS = ["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None]
LOGITS = [{"from_logits": True}, {"from_logits": False}]


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def numeric(batch: int) -> Any:
    return numbers((batch, 3)), numbers((batch, 3), 1)


def positive(batch: int) -> Any:
    return abs(numbers((batch, 3))), abs(numbers((batch, 3), 1)) + 0.1


def sequences(batch: int) -> Any:
    return numbers((batch, 4, 3)), numbers((batch, 4, 3), 1)


def columns(batch: int) -> Any:
    return numbers((batch,)), numbers((batch, 1), 1)


def binary(batch: int) -> Any:
    return numbers((batch, 4), 2, "int32", 2), softmax(numbers((batch, 4), 1))


def signs(batch: int) -> Any:
    return numbers((batch, 3), 2, "int32", 2) * 2 - 1, numbers((batch, 3), 1)


def one_hot(batch: int) -> Any:
    return np.eye(4, dtype="float32")[numbers((batch,), 2, "int32", 4)], softmax(numbers((batch, 4), 1))


def one_hot_maps(batch: int) -> Any:
    return np.moveaxis(np.eye(3)[numbers((batch, 2), 2, "int32", 3)], -1, 1), softmax(numbers((batch, 3, 2), 1), 1)


def classes(batch: int) -> Any:
    return numbers((batch,), 2, "int32", 4), softmax(numbers((batch, 4), 1))


def classes_in_sequences(batch: int) -> Any:
    return numbers((batch, 3, 1), 2, "int64", 4), softmax(numbers((batch, 3, 4), 1))


def classes_in_maps(batch: int) -> Any:
    return numbers((batch, 2), 2, "int32", 3), softmax(numbers((batch, 3, 2), 1), 1)


def masks(batch: int) -> Any:
    return numbers((batch, 4, 4, 2), 2, "int32", 2), softmax(numbers((batch, 4, 4, 2), 1))


def embeddings(batch: int) -> Any:
    x = numbers((batch, 5), 1)
    return numbers((batch,), 2, "int32", 3), x / np.linalg.norm(x, axis=-1, keepdims=True)


def transcripts(batch: int) -> Any:
    labels = numbers((batch, 3), 2, "int32", 4) + 1
    labels[0, 1:] = 0
    labels[1] = 2
    return labels, numbers((batch, 8, 6), 1)


SMOOTH = [{"label_smoothing": 0.2}, {"label_smoothing": 0.2, "from_logits": True}]
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    *[(n, data, {}) for n in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "LogCosh", "Huber",
                              "CosineSimilarity") for data in (numeric, sequences, columns)],
    *[("MeanSquaredLogarithmicError", data, {}) for data in (positive, numeric)],
    ("Huber", numeric, {"delta": 0.3}), ("CosineSimilarity", sequences, {"axis": 1}),
    *[(n, data, {}) for n in ("Hinge", "SquaredHinge") for data in (signs, binary, numeric)],
    ("CategoricalHinge", one_hot, {}), ("KLDivergence", one_hot, {}), ("KLDivergence", positive, {}),
    ("Poisson", positive, {}),
    *[("BinaryCrossentropy", binary, o) for o in (*LOGITS, *SMOOTH, {"axis": 0})],
    *[("BinaryFocalCrossentropy", binary, o) for o in (
        *LOGITS, *SMOOTH, {"apply_class_balancing": True, "alpha": 0.4, "gamma": 1.5}, {"axis": 0})],
    *[(n, one_hot, o) for n in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy") for o in (*LOGITS, *SMOOTH)],
    *[(n, one_hot_maps, {"axis": 1, **o}) for n in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy")
      for o in LOGITS],
    ("CategoricalFocalCrossentropy", one_hot, {"alpha": 0.6, "gamma": 1.0}),
    ("CategoricalFocalCrossentropy", one_hot, {"alpha": [0.1, 0.2, 0.3, 0.4]}),
    *[("SparseCategoricalCrossentropy", data, o) for data in (classes, classes_in_sequences)
      for o in (*LOGITS, {"ignore_class": 1}, {"ignore_class": -1, "from_logits": True})],
    *[("SparseCategoricalCrossentropy", classes_in_maps, {"axis": 1, **o}) for o in (*LOGITS, {"ignore_class": 0})],
    *[("CategoricalGeneralizedCrossEntropy", classes, o) for o in ({}, {"q": 0.8})],
    *[("Dice", masks, {"axis": axis}) for axis in (None, (1, 2), [1, 2, 3])],
    *[("Tversky", masks, o) for o in ({}, {"alpha": 0.3, "beta": 0.7, "axis": (1, 2, 3)})],
    *[("Circle", embeddings, o) for o in ({}, {"gamma": 10.0, "margin": 0.2, "remove_diagonal": False})],
    ("CTC", transcripts, {}),
]  # fmt: skip


def both(name: str, config: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(keras.losses, name)(**config), getattr(real.losses, name)(**config)


def plain(config: Any) -> Any:
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("name, data, config", CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_loss(name: str, data: Any, config: dict[str, Any]) -> None:
    check_config(name, config)
    for batch, reduction in [(5, r) for r in REDUCTIONS] + [(3, "sum_over_batch_size")]:
        ours, theirs = both(name, {**config, "reduction": reduction})
        y_true, y_pred = data(batch)
        plain_values = array(both(name, {**config, "reduction": "none"})[1](y_true, y_pred))
        weights = [None, abs(numbers(plain_values.shape, 3)) + 0.1, np.float32(2.0)]
        if plain_values.ndim > 1:
            weights.append(abs(numbers((*plain_values.shape[:-1], 1), 3)))
        # Two reductions in all combinations, the others where both weights and mask matter.
        whole = reduction in ("sum_over_batch_size", "none")
        for weight in weights if whole else weights[1:2]:
            for masked in [m for m in (False, True) if (whole or m) and (plain_values.ndim or not m)]:
                mask = numbers(plain_values.shape, 4) > 0 if masked else None
                compare((ours, theirs), (y_true, y_pred, weight), mask, f"{reduction}, {weight}, {masked}", batch == 3)


def compare(losses: Any, given: Any, mask: Any, what: str, trace: bool) -> None:
    """Values and gradients, eager and traced."""
    y_true, y_pred, weight = given
    found = []
    for loss in (losses[1], losses[0], *([traced(losses[0])] if trace else [])):
        x = torch.tensor(y_pred, requires_grad=True)
        if mask is not None:
            x._keras_mask = torch.from_numpy(mask)
        try:
            value = loss(torch.from_numpy(y_true), x, None if weight is None else torch.tensor(weight))
        except RuntimeError as error:  # Keras on torch multiplies weights by a mask in place, so they can't broadcast
            assert loss is losses[1] and "broadcast shape" in str(error)
            return
        (gradient,) = torch.autograd.grad(value.sum(), x)
        found.append((array(value), array(gradient)))
    for got, kind in zip(found[1:], ("eager", "traced"), strict=False):
        close(got[0], found[0][0], 2e-5, what=f"{kind}: {what}")
        close(got[1], found[0][1], 5e-5, what=f"{kind}, gradient: {what}")


def traced(loss: Any) -> Any:
    """The loss recorded with a free batch size and lowered to torch."""
    from kcompile.engine.lower import lower
    from kcompile.ir import Type, dtype, input_value
    from kcompile.ir.dims import symbol
    from kcompile.tracing.tensor import SymbolicTensor, lift
    from kcompile.tracing.tracer import Tracer

    def call(y_true: Any, y_pred: Any, weight: Any) -> Any:
        given = {"y": y_true, "x": y_pred, "w": weight, "m": getattr(y_pred, "_keras_mask", None)}
        given = {k: v for k, v in given.items() if v is not None}
        shapes = {
            k: tuple(symbol("N") if i == 0 and d == len(y_true) else d for i, d in enumerate(v.shape))
            for k, v in given.items()
        }
        values = {k: input_value(k, Type(dtype(v.dtype), shapes[k])) for k, v in given.items()}
        tracer = Tracer()
        with tracer.scope():
            tensors = {k: SymbolicTensor(v) for k, v in values.items()}
            if "m" in tensors:
                tensors["x"]._keras_mask = tensors["m"]  # type: ignore[attr-defined]
            result = lift(loss(tensors["y"], tensors["x"], tensors.get("w")))
        return lower(tracer.graph("loss", list(values.values()), [result]))(*given.values())[0]

    return call


def check_config(name: str, config: dict[str, Any]) -> None:
    ours, theirs = both(name, {**config, "reduction": "sum", "name": "mine"})
    assert plain(ours.get_config()) == plain(theirs.get_config())
    written = plain(real.losses.serialize(theirs))
    assert plain(keras.losses.serialize(ours)) == written
    again = keras.losses.deserialize(written)
    assert type(again) is type(ours) and plain(again.get_config()) == plain(ours.get_config())
    rows = [
        [(p.name, p.default) for p in inspect.signature(type(s).__init__).parameters.values()] for s in (ours, theirs)
    ]
    assert rows[0] == rows[1]
    assert both(name, {})[0].name == both(name, {})[1].name


FUNCTIONS = [n for n in dir(real.losses) if n[0].islower() and n not in ("get", "serialize", "deserialize")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    ours, theirs = getattr(keras.losses, name), getattr(real.losses, name)
    rows = [[(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in (ours, theirs)]
    assert rows[0] == rows[1]
    assert plain(keras.losses.serialize(ours)) == plain(real.losses.serialize(theirs))
    assert keras.losses.get(name) is ours


def test_names() -> None:
    assert {c for c in dir(real.losses) if c[0].isupper()} == {c.__name__ for c in keras.losses.CLASSES} | {"Loss"}
    assert {c.__name__ for c in keras.losses.CLASSES} == {name for name, _, _ in CASES}
    for short in ("bce", "kld", "mae", "mse", "mape", "msle"):
        for alias in (short, short.upper()):
            assert keras.losses.get(alias).__name__ == real.losses.get(alias).__name__
    for room in (keras, real):
        assert room.losses.get(None) is None
        assert isinstance(room.losses.get("MeanSquaredError"), room.losses.MeanSquaredError)
        assert isinstance(room.losses.get(room.losses.Huber), room.losses.Huber)
        with pytest.raises(ValueError, match="nope"):
            room.losses.get("nope")
        with pytest.raises(ValueError, match="reduction"):
            room.losses.Huber(reduction="nope")
        with pytest.raises(ValueError, match="q must"):
            room.losses.CategoricalGeneralizedCrossEntropy(q=2.0)


def test_ctc_takes_lengths_and_refuses_what_can_not_be_aligned() -> None:
    labels, logits = transcripts(4)
    label_lengths, lengths = np.array([1, 3, 2, 0], "int32"), np.array([8, 5, 1, 6], "int32")
    for blank in (0, 5):
        ours, theirs = (room.ops.ctc_loss(labels, logits, label_lengths, lengths, blank) for room in (keras, real))
        assert np.isinf(array(ours)).tolist() == np.isinf(array(theirs)).tolist() == [False, False, True, False]
        close(array(ours)[[0, 1, 3]], array(theirs)[[0, 1, 3]])
    for room in (keras, real):
        for shapes in ([(2, 3, 4), (2, 3, 4)], [(2, 3), (2, 3)]):
            with pytest.raises(ValueError, match="shape"):
                room.losses.ctc(*(room.ops.convert_to_tensor(np.ones(s, "float32")) for s in shapes))


def test_ctc_and_segment_sum_are_exported() -> None:
    start = [
        keras.Input((6, 3), name="x"),
        *(keras.Input(s, dtype="int32", name=n) for s, n in (((4,), "y"), ((), "n"), ((), "m"))),
    ]
    ctc = keras.Model(start, keras.ops.ctc_loss(start[1], start[0], start[2], start[3]))
    for batch in (2, 5):
        lengths = np.array([2, 1, 0, 3, 2][:batch], "int32"), np.array([6, 5, 4, 6, 3][:batch], "int32")
        feed = {
            "x": numbers((batch, 6, 3)),
            "y": numbers((batch, 4), 2, "int32", 2) + 1,
            "n": lengths[0],
            "m": lengths[1],
        }
        close(export_and_run(ctc, feed)[0][0], array(real.ops.ctc_loss(feed["y"], feed["x"], *lengths)))
    for kind in ("float32", "int32"):
        start = [keras.Input((2,), dtype=kind, name="x"), keras.Input((), dtype="int32", name="ids")]
        sums = keras.Model(start, keras.ops.segment_sum(*start, num_segments=3))
        for ids in (np.array([0, 2, 2, 1], "int32"), np.array([1, -1, 5], "int32")):
            x = numbers((len(ids), 2), 1, kind)
            wanted = np.stack([x[ids == i].sum(0, dtype=kind) for i in range(3)])
            close(export_and_run(sums, {"x": x, "ids": ids})[0][0], wanted)


@pytest.mark.parametrize("loss", ["crossentropy", "ce"])
def test_crossentropy_is_chosen_by_the_targets(loss: str) -> None:
    x = numbers((6, 4))
    for units, y in (
        (1, numbers((6, 1), 2, "int32", 2)),
        (3, numbers((6,), 2, "int32", 3)),
        (3, np.eye(3)[numbers((6,), 2, "int32", 3)]),
    ):
        values = []
        for room in (keras, real):
            model = room.Sequential([room.Input((4,)), room.layers.Dense(units, activation="sigmoid")])
            model.set_weights([0.5 * numbers(tuple(w.shape), i) for i, w in enumerate(model.weights)])
            model.compile("sgd", loss)
            values.append(model.evaluate(x, y, verbose=0))
        close(np.float32(values[0])[()], np.float32(values[1])[()])


@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy", "sparse_categorical_crossentropy"])
def test_shapes_that_differ_are_refused(name: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match="shape"):
            getattr(room.losses, name)(np.ones((3, 2), "float32"), np.ones((3, 4), "float32"))


def test_a_loss_of_ones_own_function_with_structures() -> None:
    for room in (keras, real):

        def apart(y_true: Any, y_pred: Any, by: float, room: Any = room) -> Any:
            return room.ops.abs(y_true["a"] - y_pred["a"]) * by

        loss = room.losses.LossFunctionWrapper(apart, by=2.0) if room is keras else None
        loss = loss or real.src.losses.losses.LossFunctionWrapper(apart, by=2.0)
        close(array(loss({"a": np.ones(3, "float32")}, {"a": np.zeros(3, "float32")})), np.float32(2.0)[()])
