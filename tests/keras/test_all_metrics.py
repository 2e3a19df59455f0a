"""Every metric against real Keras: updates with and without weights, results, states, reset; in `fit`; configs."""

from __future__ import annotations

import inspect
import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import array, close, keras, numbers, real
from tests.keras.test_all_losses import (
    binary,
    classes,
    classes_in_maps,
    classes_in_sequences,
    columns,
    masks,
    numeric,
    one_hot,
    positive,
    sequences,
    signs,
    softmax,
)  # fmt: skip


def yes_no(batch: int) -> Any:
    return numbers((batch,), 2, "int32", 2), np.round(softmax(numbers((batch, 2), 1))[:, 0], 1)


def yes_no_columns(batch: int) -> Any:
    y_true, y_pred = yes_no(batch)
    return y_true, y_pred[:, None]


def logits(batch: int) -> Any:
    return numbers((batch, 3), 2, "int32", 2), 3 * numbers((batch, 3), 1)


def labels(batch: int) -> Any:
    return numbers((batch, 2), 2, "int32", 3), numbers((batch, 2), 3, "int32", 3)


def many_classes(batch: int) -> Any:
    return numbers((batch,), 2, "int32", 9), softmax(numbers((batch, 9), 1))


def many_hot(batch: int) -> Any:
    return np.eye(9, dtype="float32")[many_classes(batch)[0]], many_classes(batch)[1]


def ranked(batch: int) -> Any:
    return numbers((batch,), 2, "int32", 5), np.argsort(numbers((batch, 5), 1)).astype("int32")


def pixels(batch: int) -> Any:
    return numbers((batch, 2, 2), 2, "int32", 3), softmax(numbers((batch, 2, 2, 3), 1))


def hot_pixels(batch: int) -> Any:
    y_true, y_pred = pixels(batch)
    return np.eye(3, dtype="float32")[y_true], y_pred


def values(batch: int) -> Any:
    return (numbers((batch, 3)),)


FOUR = ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")
AT = {"SensitivityAtSpecificity": "specificity", "SpecificityAtSensitivity": "sensitivity",
      "PrecisionAtRecall": "recall", "RecallAtPrecision": "precision"}  # fmt: skip
EVEN = {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}
SOME = {"thresholds": [0.2, 0.5, 0.55]}
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("Mean", values, {}), ("Sum", values, {}),
    *[(n, data, {}) for n in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "LogCoshError",
                              "RootMeanSquaredError", "CosineSimilarity") for data in (numeric, sequences, columns)],
    ("MeanSquaredLogarithmicError", positive, {}), ("CosineSimilarity", sequences, {"axis": 1}),
    *[("R2Score", numeric, o) for o in ({}, {"class_aggregation": None}, {"num_regressors": 2},
                                        {"class_aggregation": "variance_weighted_average"}, {"num_regressors": 50})],
    *[(n, data, o) for n in ("PearsonCorrelation", "ConcordanceCorrelation")
      for data, o in ((numeric, {}), (sequences, {}), (sequences, {"axis": 1}))],
    *[(n, signs, {}) for n in ("Hinge", "SquaredHinge")], ("CategoricalHinge", one_hot, {}),
    ("KLDivergence", one_hot, {}), ("Poisson", positive, {}),
    *[("BinaryCrossentropy", binary, o) for o in ({}, {"from_logits": True, "label_smoothing": 0.2})],
    *[("CategoricalCrossentropy", one_hot, o) for o in ({}, {"from_logits": True, "label_smoothing": 0.2})],
    *[("SparseCategoricalCrossentropy", data, o) for data in (classes, classes_in_sequences)
      for o in ({}, {"from_logits": True}, {"ignore_class": 1})],
    ("SparseCategoricalCrossentropy", classes_in_maps, {"axis": 1}),
    ("Accuracy", labels, {}), ("BinaryAccuracy", binary, {}), ("BinaryAccuracy", yes_no_columns, {"threshold": 0.3}),
    ("CategoricalAccuracy", one_hot, {}), ("CategoricalAccuracy", hot_pixels, {}),
    *[("SparseCategoricalAccuracy", data, {}) for data in (classes, classes_in_sequences, pixels)],
    *[("TopKCategoricalAccuracy", many_hot, o) for o in ({}, {"k": 2})], ("TopKCategoricalAccuracy", hot_pixels, {"k": 2}),
    *[("SparseTopKCategoricalAccuracy", data, {"k": 2}) for data in (many_classes, pixels)],
    ("SparseTopKCategoricalAccuracy", ranked, {"k": 3, "from_sorted_ids": True}),
    *[(n, data, o) for n in FOUR for data, o in ((binary, {}), (yes_no, SOME), (yes_no_columns, EVEN))],
    *[(n, data, o) for n in ("Precision", "Recall") for data, o in (
        (binary, {}), (yes_no, SOME), (yes_no, EVEN), (one_hot, {"top_k": 2}), (one_hot, {"class_id": 1}),
        (one_hot, {"top_k": 2, "class_id": 1, "thresholds": 0.2}))],
    *[(n, data, {a: 0.5, **o}) for n, a in AT.items()
      for data, o in ((yes_no, {}), (binary, {"num_thresholds": 1}), (binary, {"num_thresholds": 7, "class_id": 1}))],
    *[("AUC", yes_no, {"curve": c, "summation_method": m}) for c in ("ROC", "PR", "PRGAIN")
      for m in ("interpolation", "Majoring", "minoring")],
    *[("AUC", binary, o) for o in (
        {}, {"num_thresholds": 5, "curve": "pr"}, {"thresholds": [0.8, 0.1, 0.5]}, {"label_weights": [0.2, 0.5, 0.1, 0.3]},
        {"multi_label": True}, {"multi_label": True, "num_labels": 4, "label_weights": [0.2, 0.5, 0.1, 0.3]},
        {"multi_label": True, "thresholds": [0.8, 0.1, 0.5], "curve": "PR"})],
    ("AUC", logits, {"from_logits": True}), ("AUC", masks, {}),
    *[(n, one_hot, o) for n in ("F1Score", "FBetaScore")
      for o in ({}, {"average": "micro"}, {"average": "macro"}, {"average": "weighted"}, {"threshold": 0.3})],
    ("FBetaScore", binary, {"beta": 2.0, "threshold": 0.2, "average": "macro"}),
    *[("IoU", labels, {"num_classes": 3, "target_class_ids": [0, 2], **o}) for o in ({}, {"ignore_class": 1},
                                                                                   {"dtype": "float32"})],
    ("IoU", pixels, {"num_classes": 3, "target_class_ids": [1], "sparse_y_pred": False}),
    *[("BinaryIoU", binary, o) for o in ({}, {"target_class_ids": [1], "threshold": 0.2, "dtype": "float32"})],
    *[("MeanIoU", labels, {"num_classes": 3, **o}) for o in ({}, {"ignore_class": 0})],
    ("OneHotIoU", hot_pixels, {"num_classes": 3, "target_class_ids": [0, 1]}),
    ("OneHotMeanIoU", hot_pixels, {"num_classes": 3}),
]  # fmt: skip


# Weights of samples don't broadcast against these in Keras on torch.
UNWEIGHTED = [("AUC", masks), ("SparseCategoricalCrossentropy", classes_in_sequences, "ignore_class")]


def both(name: str, config: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(keras.metrics, name)(**config), getattr(real.metrics, name)(**config)


def plain(config: Any) -> Any:
    """As a file holds it; an array and a tensor of the same numbers are the same."""
    return json.loads(json.dumps(config, default=lambda x: array(x).tolist()).replace("__tensor__", "__numpy__"))


@pytest.mark.parametrize("name, data, config", CASES, ids=lambda x: getattr(x, "__name__", str(x)))
@pytest.mark.filterwarnings("ignore")
def test_metric(name: str, data: Any, config: dict[str, Any]) -> None:
    """Three updates, with and without weights: states and results after each, and after a reset."""
    ours, theirs = both(name, {"name": "mine", **config})
    assert plain(ours.get_config()) == plain(theirs.get_config())
    written = plain(real.metrics.serialize(theirs))
    assert plain(keras.metrics.serialize(ours)) == written or "label_weights" in config
    again = keras.metrics.deserialize(written)
    assert plain(again.get_config()) == plain(theirs.get_config())
    # A cosine's axis is not in its config.
    ours = ours if name == "CosineSimilarity" else again
    traced = Traced(both(name, {"name": "mine", **config})[0])
    for round, batch in enumerate((4, 7, 3)):
        given = data(batch)
        integer = "IoU" in name and "dtype" not in config
        weights = numbers((batch,), 5, "int32") if integer else abs(numbers((batch,), 5))
        if "IoU" in name:  # Keras takes one weight an element there
            shape = given[0].shape[:-1] if name.startswith("OneHot") else given[0].shape
            weights = np.broadcast_to(weights.reshape(-1, *(1,) * (len(shape) - 1)), shape)
        for weight in (None, weights) if (name, data, *config) not in UNWEIGHTED else (None,):
            tensors = [torch.from_numpy(np.array(a)) for a in given]
            for metric in (ours, theirs, traced):
                metric.update_state(
                    *tensors, sample_weight=None if weight is None else torch.from_numpy(np.array(weight))
                )
            compare(ours, theirs, f"update {round}")
            compare(traced.metric, theirs, f"traced, update {round}")
    ours.reset_state(), theirs.reset_state()
    if name != "R2Score":
        compare(ours, theirs, "reset")


def compare(ours: Any, theirs: Any, what: str) -> None:
    assert [v.name for v in ours.variables] == [v.name for v in theirs.variables]
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        close(a.numpy(), array(b.value), 2e-5, what=f"{what}: {a.name}")
    close(array(ours.result()), array(theirs.result()), 3e-5, what=f"{what}: result")


class Traced:
    """A metric whose updates are recorded with a free batch size, and run in torch."""

    def __init__(self, metric: Any):
        self.metric = metric

    def update_state(self, *given: Any, sample_weight: Any = None) -> None:
        from kcompile.engine.function import Function
        from kcompile.ir import Type, dtype, input_value
        from kcompile.ir.dims import symbol
        from kcompile.tracing.tensor import SymbolicTensor
        from kcompile.tracing.tracer import Tracer

        tensors = [*given, *([] if sample_weight is None else [sample_weight])]
        inputs = [
            input_value(f"x{i}", Type(dtype(t.dtype), (symbol("N"), *t.shape[1:]))) for i, t in enumerate(tensors)
        ]
        tracer = Tracer()
        with tracer.scope():
            symbols = [SymbolicTensor(v) for v in inputs]
            self.metric.update_state(
                *symbols[: len(given)], **({"sample_weight": symbols[-1]} if sample_weight is not None else {})
            )
        Function(tracer.graph("update", inputs, []), tracer.variables)(*tensors)


@pytest.mark.parametrize("name", sorted({n for n in dir(real.metrics) if n[0].isupper()}))
def test_signature(name: str) -> None:
    ours, theirs = getattr(keras.metrics, name), getattr(real.metrics, name)
    rows = [[(p.name, p.default) for p in inspect.signature(c.__init__).parameters.values()] for c in (ours, theirs)]
    assert rows[0] == rows[1]


def test_names() -> None:
    assert {c.__name__ for c in keras.metrics.CLASSES} == {n for n, _, _ in CASES} | {"MeanMetricWrapper"}
    functions = {n for n in dir(real.metrics) if n[0].islower()} - {"get", "serialize", "deserialize"}
    assert functions <= {f.__name__ for f in keras.metrics.FUNCTIONS}
    for name in ("mse", "MSE", "mae", "mape", "msle", "bce", "BCE", "AUC", "auc", "MeanIoU", "precision", "f1_score"):
        if name == "MeanIoU":
            continue
        assert type(keras.metrics.get(name)).__name__ == type(real.metrics.get(name)).__name__
    for room in (keras, real):
        assert room.metrics.get(None) is None
        with pytest.raises(ValueError, match="nope"):
            room.metrics.get("nope")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("AUC", {"curve": "x"}, "curve"), ("AUC", {"summation_method": "x"}, "summation"), ("AUC", {"num_thresholds": 1}, "num_thresholds"),
    ("AUC", {"num_labels": 3}, "num_labels"), ("Precision", {"thresholds": [0.5, 2.0]}, "Threshold"),
    ("PrecisionAtRecall", {"recall": 2.0}, "recall"), ("PrecisionAtRecall", {"recall": 0.5, "num_thresholds": 0}, "num_thresholds"),
    ("F1Score", {"average": "x"}, "average"), ("FBetaScore", {"beta": -1.0}, "beta"), ("FBetaScore", {"beta": 1}, "beta"),
    ("F1Score", {"threshold": 2.0}, "threshold"), ("IoU", {"num_classes": 2, "target_class_ids": [2]}, "out of range"),
    ("R2Score", {"class_aggregation": "x"}, "class_aggregation"), ("R2Score", {"num_regressors": -1}, "num_regressors"),
]  # fmt: skip


@pytest.mark.parametrize("name, config, words", REFUSED, ids=str)
def test_bad_arguments(name: str, config: dict[str, Any], words: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=words):
            getattr(room.metrics, name)(**config)


@pytest.mark.parametrize("name, config", [("F1Score", {}), ("R2Score", {}), ("AUC", {"multi_label": True})], ids=str)
def test_shapes_that_do_not_fit(name: str, config: dict[str, Any]) -> None:
    for metric in both(name, config):
        with pytest.raises(ValueError, match="2"):
            metric.update_state(np.ones((2, 3, 4), "float32"), np.ones((2, 3, 4), "float32"))


def test_mean_metric_wrapper() -> None:
    ours, theirs = (r.metrics.MeanMetricWrapper(r.losses.huber, name="h", delta=2.0) for r in (keras, real))
    assert plain(keras.metrics.serialize(ours)) == plain(real.metrics.serialize(theirs))
    ours = keras.metrics.deserialize(plain(real.metrics.serialize(theirs)))
    y_true, y_pred = (torch.from_numpy(a) for a in sequences(4))
    for mask in (None, torch.from_numpy(numbers((4, 4)) > 0)):
        for weight in (None, abs(numbers((4,), 3)), abs(numbers((4, 4), 3)), abs(numbers((4, 1), 3))):
            for metric in (ours, theirs):
                y = y_pred.clone()
                if mask is not None:
                    y._keras_mask = mask
                if mask is not None and weight is not None and weight.shape != (4, 4):
                    continue
                metric.update_state(y_true, y, sample_weight=None if weight is None else torch.from_numpy(weight))
            compare(ours, theirs, "wrapped")


# ---- in fit: at least one of each family, as traced updates

HEADS: dict[str, tuple[list[Any], Any, str]] = {
    "numbers": (["mse", "MAE", "R2Score", ("RootMeanSquaredError", {}), ("CosineSimilarity", {}), ("PearsonCorrelation", {}),
                 "log_cosh_error", "mean_squared_logarithmic_error"], lambda n: numbers((n, 3)), "linear"),
    "yes or no": (["accuracy", "AUC", "precision", ("Recall", {"thresholds": [0.2, 0.6]}), ("BinaryIoU", {"threshold": 0.4}),
                   ("SensitivityAtSpecificity", {"specificity": 0.4}), ("FalseNegatives", {}), "hinge", "bce",
                   ("AUC", {"multi_label": True, "curve": "PR", "name": "labels"})],
                  lambda n: numbers((n, 3), 2, "int32", 2), "sigmoid"),
    "one hot": (["acc", ("F1Score", {"average": "macro"}), ("TopKCategoricalAccuracy", {"k": 2}), "kl_divergence",
                 ("OneHotMeanIoU", {"num_classes": 3}), "categorical_crossentropy", "categorical_hinge"],
                lambda n: np.eye(3, dtype="float32")[numbers((n,), 2, "int32", 3)], "softmax"),
    "classes": (["accuracy", "sparse_categorical_crossentropy", ("SparseTopKCategoricalAccuracy", {"k": 2}),
                 ("MeanIoU", {"num_classes": 3, "sparse_y_pred": False})], lambda n: numbers((n,), 2, "int32", 3), "softmax"),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_in_fit(head: str, weighted: bool) -> None:
    wanted, targets, activation = HEADS[head]
    x, y = numbers((10, 4)), targets(10)
    logs = []
    for room in (keras, real):
        made = [
            m if isinstance(m, str) else getattr(room.metrics, m[0])(**{"name": m[0].lower(), **m[1]}) for m in wanted
        ]
        made = [m for m in made if not (weighted and ("iou" in str(getattr(m, "name", m))))]
        model = room.Sequential([room.Input((4,)), room.layers.Dense(3, activation=activation)])
        model.set_weights([0.5 * numbers(tuple(w.shape), i) for i, w in enumerate(model.weights)])
        loss = "sparse_categorical_crossentropy" if head == "classes" else "mse"
        model.compile("sgd", loss, **({"weighted_metrics" if weighted else "metrics": made}))
        weight = {"sample_weight": abs(numbers((10,), 3))} if weighted else {}
        history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, **weight).history
        logs.append(
            {**history, **{f"val_{k}": [v] for k, v in model.evaluate(x, y, 4, 0, return_dict=True, **weight).items()}}
        )
        if room is keras:
            assert not model._steps["train"].failed
    assert list(logs[0]) == list(logs[1])
    for key, wanted_values in logs[1].items():
        got = [np.asarray(v, "float32") for v in logs[0][key]]
        for a, b in zip(got, wanted_values, strict=True):
            close(a, np.asarray(b, "float32"), 1e-4, what=key)


LOSSES: list[Any] = [
    lambda r: r.losses.BinaryFocalCrossentropy(label_smoothing=0.1), lambda r: r.losses.mean_squared_error,
    lambda r: "msle", lambda r: r.losses.Dice(axis=(1,)),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rooms", [(keras, real), (real, keras)])
@pytest.mark.filterwarnings("ignore")
def test_files_hold_losses_and_metrics(loss: Any, rooms: Any, tmp_path: Any) -> None:
    """A class called Hinge is a loss and a metric: a file says which."""
    writer, reader = rooms
    model = writer.Sequential([writer.Input((4,)), writer.layers.Dense(3, activation="sigmoid")])
    wrapped = writer.metrics.MeanMetricWrapper(writer.losses.huber, name="h", delta=2.0)
    weights = {"label_weights": [0.1, 0.2, 0.3]} if writer is keras else {}  # Keras can't read what it writes of them
    made = [
        writer.metrics.Hinge(),
        writer.metrics.AUC(multi_label=True, **weights),
        writer.metrics.BinaryIoU(),
        "mae",
        wrapped,
    ]
    model.compile("sgd", loss(writer), metrics=made, weighted_metrics=["mse"])
    x, y = numbers((8, 4)), numbers((8, 3), 2, "int32", 2)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    again = reader.saving.load_model(tmp_path / "m.keras")
    got, wanted = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (again, model))
    assert list(got) == list(wanted)
    close(np.float32(list(got.values())), np.float32(list(wanted.values())))


def test_own_metric_with_inner_metrics() -> None:
    results = []
    for room in (keras, real):

        class Both(room.metrics.Metric):
            def __init__(self, room: Any = room, **options: Any):
                super().__init__(**options)
                self.mean, self.weight = room.metrics.Mean(), self.add_weight(name="seen", initializer="zeros")

            def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
                self.mean.update_state(y_pred)
                self.weight.assign_add(1.0)

            def result(self) -> Any:
                return self.mean.result() + self.weight.value

        metric = Both(name="a/b")
        metric(np.ones(3, "float32"), np.ones(3, "float32"))
        results.append((array(metric.result()), [v.path for v in metric.variables]))
        metric.reset_state()
        close(array(metric.result()), np.float32(0)[()])
    close(results[0][0], results[1][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert results[0][1][0].startswith("a>b") and results[1][1][0].startswith("a>b")
