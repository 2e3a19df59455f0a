"""Sequential, functional and subclassed models against real Keras."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

import kcompile
from kcompile.errors import UsageError
from tests.keras.builders import MODELS, inputs
from tests.keras.support import array, arrays, close, export_and_run, keras, numbers, real, same

INFO = list(MODELS.items())


def both(builder: Any) -> tuple[Any, Any]:
    """The model in each room, automatic names counted from the start, with the same weights."""
    keras.utils.clear_session()
    real.utils.clear_session()
    ours, theirs = builder(keras), builder(real)
    values = [
        abs(numbers(w.shape, i)) if "variance" in w.path else numbers(w.shape, i) for i, w in enumerate(theirs.weights)
    ]
    ours.set_weights(values)
    theirs.set_weights(values)
    return ours, theirs


def plain(config: Any) -> Any:
    return json.loads(json.dumps(config), parse_float=lambda text: float(np.float32(text)))


def described(model: Any) -> list[tuple[str, str]]:
    return [(layer.name, type(layer).__name__) for layer in model.layers]


@pytest.mark.parametrize("builder, shapes", [v for _, v in INFO], ids=[k for k, _ in INFO])
class TestModels:
    def test_layers_and_weights_have_keras_names_and_order(self, builder: Any, shapes: Any) -> None:
        ours, theirs = both(builder)
        assert described(ours) == described(theirs)
        for what in ("weights", "trainable_weights", "non_trainable_weights", "trainable_variables"):
            assert [w.path for w in getattr(ours, what)] == [w.path for w in getattr(theirs, what)], what
        assert ours.count_params() == theirs.count_params()
        assert (ours.name, ours.built) == (theirs.name, theirs.built)

    def test_outputs(self, builder: Any, shapes: Any) -> None:
        """Eager, traced (predict), and as an ONNX file at two batch sizes."""
        ours, theirs = both(builder)
        feeds, wanted = [], []
        graph = kcompile.trace(ours)
        for batch in (1, 3):
            x = inputs(shapes, batch)
            expected = theirs(x)
            same(ours(x), expected, what="eager")
            same(ours.predict(x, verbose=0), expected, what="predict")
            by_name = dict(x) if isinstance(x, dict) else dict(zip(graph.input_names, arrays(x), strict=True))
            feeds.append(by_name)
            wanted.append(arrays(expected))
        for got, expected in zip(export_and_run(ours, *feeds), wanted, strict=True):
            same(got, expected, 2e-5, "ONNX")

    def test_config(self, builder: Any, shapes: Any) -> None:
        ours, theirs = both(builder)
        if type(theirs).__name__ == "Net":
            return
        assert strip(plain(ours.get_config())) == strip(plain(theirs.get_config()))
        again = type(ours).from_config(plain(theirs.get_config()))
        assert described(again) == described(theirs)
        again.set_weights(theirs.get_weights())
        x = inputs(shapes)
        same(again(x), theirs(x))


# What real Keras writes and no reader needs: where in its source a class is, an id of the run.
NOISE = {"shared_object_id", "registered_name"}


def strip(config: Any) -> Any:
    if isinstance(config, dict):
        kept = {k: strip(v) for k, v in config.items() if k not in NOISE and v != {"input_shape": None}}
        return {
            k: v for k, v in kept.items() if v or k not in ("compile_config", "mask", "sparse", "ragged", "optional")
        }
    return [strip(c) for c in config] if isinstance(config, list) else config


TABLE = MODELS


def test_the_summary_tells_what_keras_tells() -> None:
    ours, theirs = both(TABLE["frozen"][0])
    texts = []
    for model in (ours, theirs):
        lines: list[str] = []
        model.summary(print_fn=lambda text, *_, lines=lines, **__: lines.append(text))
        texts.append("\n".join(lines))
    for line in texts[1].splitlines():
        if "params" in line:
            assert line.strip() in texts[0]
        for cell in [c.strip() for c in re.split("[│┃]", line)[1:-1]]:
            assert cell in texts[0], cell


def branched(room: Any) -> Any:
    layers = room.layers
    a, b = room.Input((4,), name="a"), room.Input((4,), name="b")
    shared = layers.Dense(3, name="shared")
    joined = layers.Concatenate(name="joined")([shared(a), shared(b)])
    return room.Model([a, b], [layers.Dense(1, name="one")(joined), layers.Dense(2, name="two")(joined)], name="net")


def with_functions(room: Any) -> Any:
    a = room.Input((4,), name="a")
    return room.Model(a, room.layers.Dense(2, name="last")(room.ops.logical_not(a > 0) + a), name="net")


@pytest.mark.parametrize("make", [branched, with_functions, TABLE["mlp_named"][0]])
def test_the_summary_tells_what_is_connected_to_what(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tables = []
    for model in both(make):
        lines: list[str] = []
        model.summary(print_fn=lambda text, *_, lines=lines, **__: lines.append(text), line_length=200)
        rows = [line for line in "\n".join(lines).splitlines() if line[:1] in ("│", "┃")]
        tables.append([[cell.strip() for cell in re.split("[│┃]", row)[1:-1]] for row in rows])
    assert tables[0] == tables[1]


def test_get_layer() -> None:
    for model in both(TABLE["mlp_named"][0]):
        assert model.get_layer("second").name == "second"
        assert model.get_layer(index=0).name == "first"
        with pytest.raises(ValueError, match="third"):
            model.get_layer("third")
        with pytest.raises(ValueError, match="7"):
            model.get_layer(index=7)


def test_freezing() -> None:
    for model in both(TABLE["nested_sequential"][0]):
        model.get_layer("inner").trainable = False
        assert [w.path for w in model.trainable_weights] == ["outer/dense_2/kernel", "outer/dense_2/bias"]
        assert len(model.non_trainable_weights) == 4
        model.trainable = True
        assert len(model.trainable_weights) == 6
        model.trainable = False
        assert model.trainable_weights == []


def test_set_weights_that_do_not_fit_change_nothing() -> None:
    for model in both(TABLE["mlp"][0]):
        before = model.get_weights()
        for wrong in (before[:-1], [*before[:-1], np.zeros(7, "float32")]):
            with pytest.raises(ValueError, match="weight"):
                model.set_weights(wrong)
    ours = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    before = ours.get_weights()
    with pytest.raises(ValueError, match="shape"):
        ours.set_weights([before[0] + 1, *before[1:-1], np.zeros(7, "float32")])
    same(ours.get_weights(), before)


def test_losses_of_regularizers_and_add_loss() -> None:
    found = []
    for room in (keras, real):

        class Penalty(room.layers.Layer):
            def call(self, x: Any, room: Any = room) -> Any:
                self.add_loss(room.ops.mean(x * x))
                return x

        x = room.Input((4,))
        y = Penalty()(room.layers.Dense(3, kernel_regularizer="l2", bias_regularizer="l1")(x))
        model = room.Model(x, room.layers.Dense(2, activity_regularizer="l2")(y))
        model.set_weights([numbers(w.shape) for w in model.weights])
        model(numbers((2, 4)))
        model(numbers((3, 4)))
        found.append(sorted(float(array(v)) for v in model.losses))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert len(found[0]) == 4


def test_subclass_with_training_mask_and_keyword_arguments() -> None:
    results = []
    for room in (keras, real):

        class Net(room.Model):
            def __init__(self, **kwargs: Any):
                super().__init__(**kwargs)
                self.dense = room.layers.Dense(3)  # noqa: B023 (made in the same turn of the loop)

            def call(
                self, x: Any, extra: Any = None, scale: float = 1.0, training: Any = None, mask: Any = None
            ) -> Any:
                y = self.dense(x) * scale
                y = y if extra is None else y + extra
                y = y if mask is None else y * mask
                return y + 1.0 if training else y

        model = Net()
        x = numbers((2, 4))
        model(x)
        model.set_weights([numbers(w.shape) for w in model.weights])
        mask = np.array([[1.0], [0.0]], "float32")
        results.append([
            model(x), model(x, training=True), model(x, numbers((2, 3), 5)), model(x, scale=3.0),
            model(x, mask=mask), model(x, extra=numbers((2, 3), 5), scale=2.0, training=True, mask=mask),
        ])  # fmt: skip
    same(results[0], results[1])


def test_subclass_that_builds_itself() -> None:
    paths = []
    for room in (keras, real):

        class Net(room.Model):
            def build(self, input_shape: Any) -> None:
                self.inner = room.layers.Dense(3, name="inner")  # noqa: B023 (as above)
                self.inner.build(input_shape)
                self.factor = self.add_weight((), initializer="ones", name="factor")

            def call(self, x: Any) -> Any:
                return self.inner(x) * self.factor

        model = Net(name="net")
        model.build((None, 4))
        assert model.built
        paths.append([w.path for w in model.weights])
        assert array(model(numbers((2, 4)))).shape == (2, 3)
    assert paths[0] == paths[1]


def test_shapes_of_tensors() -> None:
    for room in (keras, real):
        x = room.Input((None, 4), name="x")
        y = room.layers.Dense(3)(x)
        assert (x.shape, y.shape, x.dtype, x.name, x.ndim) == ((None, None, 4), (None, None, 3), "float32", "x", 3)
        assert room.ops.shape(y)[2] == 3
        model = room.Model(x, y)
        assert (model.input_shape, model.output_shape) == ((None, None, 4), (None, None, 3))
        assert model.output_names and [t.name for t in model.inputs] == ["x"]
        assert model.layers[-1].output.shape == (None, None, 3)


def test_intermediate_outputs_of_a_model() -> None:
    """Feature extraction: a new model on a tensor inside another."""
    x = inputs(TABLE["cnn"][1])
    found = []
    for model in both(TABLE["cnn"][0]):
        room = keras if isinstance(model, keras.Model) else real
        found.append(room.Model(model.inputs, model.layers[3].output)(x))
    same(found[0], found[1])


def test_clone_of_a_sequential_has_its_own_weights() -> None:
    ours, _ = both(TABLE["mlp"][0])
    again = type(ours).from_config(ours.get_config())
    again.set_weights([w + 1 for w in ours.get_weights()])
    assert not np.allclose(again.get_weights()[0], ours.get_weights()[0])


def bad_output(room: Any) -> Any:
    x, y = room.Input((4,)), room.Input((4,))
    return room.Model(x, room.layers.Dense(2)(y))


def same_names(room: Any) -> Any:
    x = room.Input((4,))
    return room.Model(x, room.layers.Dense(2, name="d")(room.layers.Dense(2, name="d")(x)))


BAD: list[tuple[Any, str]] = [
    (bad_output, "inputs"), (same_names, "unique|used 2 times"),
    (lambda room: room.Sequential([room.layers.Dense(2, name="d"), room.layers.Dense(2, name="d")]), "unique"),
    (lambda room: room.Sequential(["dense"]), "layer|Layer"),
    (lambda room: room.Model(room.Input((4,)), 3), "KerasTensor"),
    (lambda room: room.layers.Dense(2, name="a/b"), "/"),
    (lambda room: room.Sequential([room.Input((4,)), room.Input((4,))]), "already"),
]  # fmt: skip


@pytest.mark.parametrize("make, words", BAD)
def test_bad_models_are_refused_as_keras_refuses_them(make: Any, words: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=words):
            make(room)


WRONG: list[tuple[str, Any, str]] = [
    ("mlp", numbers((2, 5)), "shape|axis"), ("lists", [numbers((2, 4))], "2 (named )?input"),
    ("dicts", {"a": numbers((2, 4))}, "'b'|b"), ("lists", [numbers((2, 4)), numbers((2, 5))], '"b"|shape'),
]  # fmt: skip


@pytest.mark.parametrize("name, x, words", WRONG, ids=[w[0] for w in WRONG])
def test_wrong_inputs_are_refused(name: str, x: Any, words: str) -> None:
    for model in both(TABLE[name][0]):
        with pytest.raises((ValueError, KeyError), match=words):
            model(x)


def test_call_without_layers_or_super() -> None:
    class Forgot(keras.layers.Layer):
        def __init__(self) -> None:
            self.units = 3

    with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
        Forgot()(numbers((2, 3)))
    with pytest.raises((UsageError, ValueError)):
        keras.Sequential()(numbers((2, 3)))


def test_inputs_may_lack_or_have_a_last_axis_of_one() -> None:
    for room in (keras, real):
        model = room.Sequential([room.Input((1,)), room.layers.Dense(2)])
        assert array(model(numbers((3,)))).shape == (3, 2)


def test_dense_is_traced_once_whatever_the_path() -> None:
    """The same numbers from Layer.__call__, the traced graph and a functional model: one implementation."""
    ours, _ = both(TABLE["residual"][0])
    x = inputs(TABLE["residual"][1])
    close(array(ours(x)), ours.predict(x, verbose=0))
