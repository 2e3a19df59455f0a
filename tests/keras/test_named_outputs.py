"""Losses, metrics and targets of several outputs by key, by layer and by place: names, order and numbers as in real Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.keras.support import keras, numbers, real

A, B = np.zeros((4, 2), "float32"), np.ones((4, 1), "float32")


def built(room: Any, form: str) -> Any:
    """A model of two outputs made by the layers ``wide`` and ``thin``; as a dict they are ``p`` and ``d``."""
    i = room.Input((3,))
    a = room.layers.Dense(2, kernel_initializer="ones", name="wide")(i)
    b = room.layers.Dense(1, kernel_initializer="ones", name="thin")(i)
    return room.Model(i, {"p": a, "d": b} if form == "dict" else [a, b])


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("dict", {"loss": {"p": "mse", "d": "mae"}, "metrics": {"p": "mse", "d": ["mae", "mse"]}}, {"d": B, "p": A}),
    ("dict", {"loss": {"d": "mse", "p": "mae"}, "loss_weights": {"d": 1.0, "p": 0.2}}, {"p": A, "d": B}),
    ("dict", {"loss": {"p": "mse"}, "metrics": {"d": ["mae", "mse"]}}, {"p": A, "d": B}),
    ("dict", {"loss": {"p": "mse"}}, {"p": A}),
    ("list", {"loss": ["mse", "mae"], "metrics": [["mse"], ["mae"]]}, [A, B]),
    ("list", {"loss": {"thin": "mse", "wide": "mae"}, "metrics": {"thin": "mse", "wide": ["mae"]}}, [A, B]),
    ("list", {"loss": ["mse", None]}, A),
    ("list", {"loss": [None, "mse"]}, B),
    ("list", {"loss": ["mse", None], "metrics": [["mae"], []]}, [A]),
]


@pytest.mark.parametrize(("form", "compiled", "y"), CASES)
def test_names_order_and_numbers(form: str, compiled: dict[str, Any], y: Any) -> None:
    x = np.ones((4, 3), "float32")
    found = []
    for room in (keras, real):
        model = built(room, form)
        model.compile("sgd", **compiled)
        values = np.atleast_1d(model.evaluate(x, y, verbose=0))
        logs = model.evaluate(x, y, verbose=0, return_dict=True)
        found.append((list(map(float, values)), {k: float(v) for k, v in logs.items()}, model.metrics_names))
    assert found[0] == found[1]


def test_a_step_of_ones_own_that_goes_through_all_metrics() -> None:
    class Own(keras.Model):
        def test_step(self, data: Any) -> Any:
            x, y = data
            y_pred = self(x, training=False)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    i = keras.Input((3,))
    model = Own(i, keras.layers.Dense(1, kernel_initializer="ones")(i))
    model.compile("sgd", "mse", metrics=["mae"])
    logs = model.evaluate(np.ones((4, 3), "float32"), B, verbose=0, return_dict=True)
    assert logs == {"loss": 4.0, "mae": 2.0}


@pytest.mark.parametrize(
    ("compiled", "y", "message"),
    [
        ({"loss": ["mse", "mae"]}, [A], r"y holds 1 array\(s\), the model has 2 outputs: wide, thin"),
        ({"loss": {"wide": "mse", "hin": "mae"}}, [A, B], "loss: 'hin' is not an output of the model; its outputs are"),
        ({"loss": {"wide": "mse", "thin": "mae"}}, {"wide": A}, "y has no entry for the output 'thin'"),
    ],
)
def test_what_does_not_fit_is_named(compiled: dict[str, Any], y: Any, message: str) -> None:
    model = built(keras, "list")
    model.compile("sgd", **compiled)
    with pytest.raises(ValueError, match=message):
        model.evaluate(np.ones((4, 3), "float32"), y, verbose=0)


FORMS: dict[str, Any] = {
    "list": lambda t: [t],
    "tuple": lambda t: (t,),
    "dict": lambda t: {"o": t},
    "bare": lambda t: t,
}


@pytest.mark.parametrize("form", FORMS)
def test_one_output_in_any_form(form: str) -> None:
    """A list of one output is a bare tensor once it is computed."""
    x, found = np.ones((4, 3), "float32"), []
    for room in (keras, real):
        start = room.Input((3,))
        model = room.Model([start], FORMS[form](room.layers.Dense(2, kernel_initializer="ones", name="o")(start)))
        model.compile("sgd", FORMS[form]("mse"))
        results = model(x), model(start), model.predict(x, verbose=0), model.predict_on_batch(x), model.output
        forms = [type(r).__name__ if isinstance(r, (list, tuple, dict)) else np.shape(r) for r in results]
        loss = model.evaluate(x, FORMS[form](np.zeros((4, 2), "float32")), verbose=0)
        found.append((forms, model.compute_output_shape((None, 3)), loss))
    assert found[0] == found[1]


def test_an_input_of_another_rank_is_refused() -> None:
    start = keras.Input((4,), name="x")
    for model in (
        keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(1)]),
        keras.Model(start, start + 1),
    ):
        with pytest.raises(ValueError, match=r"\"x\".*expected shape=\(None, 4\), found shape=\((None|8), 2, 4\)"):
            model.predict(np.ones((8, 2, 4), "float32"), verbose=0)


def test_metrics_of_a_model_are_two() -> None:
    """The loss and all compiled metrics as one, objects that were handed to `compile` among them."""
    found = []
    for room in (keras, real):
        model = room.Sequential([room.Input((3,)), room.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[room.metrics.MeanAbsoluteError(name="q"), "mae"])
        model.fit(numbers((8, 3)), numbers((8, 1)), verbose=0)
        found.append([m.name for m in model.metrics])
    assert found[0] == found[1] == ["loss", "compile_metrics"]
