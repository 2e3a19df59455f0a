"""clone_model, configs of models with nests, stateless calls, and what saving walks, against real Keras."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kcompile.errors import UnsupportedError
from tests.keras import builders
from tests.keras.support import array, arrays, close, keras, numbers, real, same

X = numbers((6, 4))


def sequential(room: Any) -> Any:
    return room.Sequential([room.Input((4,), name="x"), room.layers.Dense(3, name="a"), room.layers.Dense(2, name="b")])


def functional(room: Any) -> Any:
    x = room.Input((4,), name="x")
    shared = room.layers.Dense(4, name="shared")
    h = shared(shared(x)) * 2.0
    return room.Model(x, room.layers.Dense(2, name="last")(room.ops.concatenate([h, x], axis=-1)), name="net")


def nested(room: Any) -> Any:
    inner = room.Sequential([room.Input((4,)), room.layers.Dense(4, name="deep")], name="inner")
    x = room.Input((4,), name="x")
    return room.Model(x, room.layers.Dense(2, name="last")(inner(inner(x))), name="outer")


def structured(room: Any) -> Any:
    """Dicts within lists, in and out."""
    a, b, c = (room.Input((4,), name=n) for n in "abc")
    h = room.layers.Dense(2, name="h")(room.layers.Add(name="sum")([a, b]))
    outputs = {"sum": h, "rest": [room.layers.Dense(3, name="t")(c), {"deep": h + 1.0}]}
    return room.Model({"pair": [a, b], "one": {"c": c}}, outputs, name="nest")


MODELS = [sequential, functional, nested, structured]


def feed(model: Any) -> Any:
    return X if len(model.inputs) == 1 else {"pair": [X, X + 1], "one": {"c": X - 1}}


def weights(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(w.path.rpartition("/")[2], tuple(w.shape)) for w in model.weights]


@pytest.mark.parametrize("make", MODELS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("recursive", [False, True])
def test_clones(make: Any, recursive: bool) -> None:
    ours, theirs = make(keras), make(real)
    for room, model in ((keras, ours), (real, theirs)):
        model.compile(room.optimizers.SGD(0.3), "mse")
    clones = [
        keras.models.clone_model(ours, recursive=recursive), real.models.clone_model(theirs, recursive=recursive),
    ]  # fmt: skip
    assert weights(clones[0]) == weights(clones[1])
    assert [layer.name for layer in clones[0].layers] == [layer.name for layer in clones[1].layers]
    assert clones[0].compiled == clones[1].compiled
    assert not {id(v) for v in clones[0].variables} & {id(v) for v in ours.variables}
    values = [numbers(w.shape, i) for i, w in enumerate(ours.weights)]
    for model in (ours, *clones):
        model.set_weights(values)
    outputs = [arrays(m(feed(m))) for m in (ours, *clones)]
    same(outputs[1], outputs[0])
    same(outputs[1], outputs[2])


@pytest.mark.parametrize("make", [sequential, functional, nested], ids=lambda m: m.__name__)
def test_clone_functions_see_what_keras_shows_them(make: Any) -> None:
    seen = []
    for room in (keras, real):
        layers: list[str] = []

        def wider(layer: Any, room: Any = room, layers: list[str] = layers) -> Any:
            layers.append(layer.name)
            if isinstance(layer, room.layers.Dense):
                return type(layer).from_config({**layer.get_config(), "activation": "relu"})
            return type(layer).from_config(layer.get_config())

        clone = room.models.clone_model(make(room), clone_function=wider, recursive=make is nested)
        clone.set_weights([numbers(w.shape, i) for i, w in enumerate(clone.weights)])
        seen.append((layers, array(clone(X))))
    # Keras shows the function each operation of keras.ops too, which has nothing to clone.
    assert sorted(seen[0][0]) == sorted(n for n in seen[1][0] if not n.startswith(("multiply", "concatenate")))
    close(seen[0][1], seen[1][1])


def test_call_functions() -> None:
    found = []
    for room in (keras, real):
        calls: list[str] = []

        def scaled(layer: Any, *args: Any, calls: list[str] = calls, **kwargs: Any) -> Any:
            calls.append(layer.name)
            return layer(*args, **kwargs) * 3.0

        clone = room.models.clone_model(nested(room), call_function=scaled)
        clone.set_weights([numbers(w.shape, i) for i, w in enumerate(clone.weights)])
        found.append((calls, array(clone(X))))
        with pytest.raises(ValueError, match="call_function"):
            room.models.clone_model(sequential(room), call_function=scaled)
    assert found[0][0] == found[1][0]
    close(found[0][1], found[1][1])


@pytest.mark.parametrize("make", [sequential, functional], ids=lambda m: m.__name__)
def test_input_tensors(make: Any) -> None:
    for room in (keras, real):
        tensor = room.Input((4,), name="other")
        clone = room.models.clone_model(make(room), input_tensors=[tensor] if make is sequential else tensor)
        clone.set_weights([numbers(w.shape, i) for i, w in enumerate(clone.weights)])
        assert tuple(clone.input_shape) == (None, 4)
        assert len(array(clone(X))) == 6
        with pytest.raises(ValueError, match="input_tensors"):
            room.models.clone_model(make(room), input_tensors=[X, X])


def test_subclassed_models_are_cloned_by_their_config() -> None:
    for room in (keras, real):

        class Own(room.Model):
            def __init__(self, units: int = 2, room: Any = room, **kwargs: Any):
                super().__init__(**kwargs)
                self.units, self.dense = units, room.layers.Dense(units)

            def call(self, x: Any) -> Any:
                return self.dense(x)

            def get_config(self) -> Any:
                return {"units": self.units}

        assert room.models.clone_model(Own(5)).units == 5
        with pytest.raises(ValueError, match="clone_function"):
            room.models.clone_model(Own(), clone_function=lambda layer: layer)
        with pytest.raises(ValueError, match="surprise"):
            room.models.clone_model(sequential(room), surprise=1)


@pytest.mark.parametrize("make", [functional, nested, structured], ids=lambda m: m.__name__)
def test_configs_of_nests_are_keras_configs(make: Any, tmp_path: Path) -> None:
    ours, theirs = make(keras), make(real)
    config, wanted = ours.get_config(), theirs.get_config()
    for key in ("name", "input_layers", "output_layers"):
        # Operations are numbered as they come.
        assert re.sub(r"_\d+", "", str(config[key])) == re.sub(r"_\d+", "", str(wanted[key]))
    again = type(ours).from_config(wanted)
    values = [numbers(w.shape, i) for i, w in enumerate(theirs.weights)]
    for model in (ours, again, theirs):
        model.set_weights(values)
    outputs = [m(feed(m)) for m in (ours, again, theirs)]
    same(outputs[0], outputs[2])
    same(outputs[1], outputs[2])
    assert keras.tree.map_structure(lambda _: 0, outputs[1]) == keras.tree.map_structure(lambda _: 0, outputs[2])
    ours.save(tmp_path / "m.keras")
    same(real.saving.load_model(tmp_path / "m.keras")(feed(theirs)), outputs[2])


# ---- what saving walks


def holder(room: Any) -> Any:
    """Layers behind properties, and under names with and without an underscore."""

    class Holder(room.Model):
        def __init__(self) -> None:
            super().__init__(name="holder")
            self._zeta = room.layers.Dense(3)
            self._inner = [room.layers.Dense(4), room.layers.Dense(2)]

        @property
        def encoder(self) -> Any:
            return self._zeta

        @property
        def parts(self) -> Any:
            return self._inner

        @property
        def broken(self) -> Any:
            raise ValueError("not yet")

        def call(self, x: Any) -> Any:
            return self._inner[1](self._inner[0](self._zeta(x)))

    made = Holder()
    made(X)
    made.set_weights([numbers(w.shape, i) for i, w in enumerate(made.weights)])
    return made


def test_properties_that_give_layers_are_walked(tmp_path: Path) -> None:
    ours, theirs = holder(keras), holder(real)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    for model, path in ((theirs, "ours"), (ours, "theirs")):
        model.set_weights([np.zeros(w.shape) for w in model.weights])
        model.load_weights(tmp_path / f"{path}.weights.h5")
    same(ours(X), theirs(X))
    assert np.abs(array(ours(X))).max() > 0


# ---- stateless


@pytest.mark.parametrize("training", [False, True])
def test_stateless_calls(training: bool) -> None:
    """The numbers of real Keras, gradients to what was passed, and nothing of the layer changed."""
    found = []
    for room in (keras, real):
        model = room.Sequential([room.Input((4,)), room.layers.Dense(3, kernel_regularizer="l2"),
                                 room.layers.BatchNormalization()])  # fmt: skip
        trained = [
            torch.tensor(numbers(v.shape, i), requires_grad=True) for i, v in enumerate(model.trainable_variables)
        ]
        others = [torch.tensor(abs(numbers(v.shape, i)) + 1) for i, v in enumerate(model.non_trainable_variables)]
        before = model.get_weights()
        outputs, after, losses = model.stateless_call(trained, others, X, training=training, return_losses=True)
        (outputs.sum() + sum(losses)).backward()
        same(model.get_weights(), before, 0)
        found.append([outputs, *after, *losses, *(t.grad for t in trained)])
    for a, b in zip(*found, strict=True):
        # A gradient that is 0 but for rounding has no digits to agree in.
        close(array(a), array(b), 2e-5, atol=1e-6)
    with pytest.raises(ValueError, match="non_trainable_variables"):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).stateless_call([X, X], [X], X)
    with pytest.raises(ValueError, match="build"):
        keras.layers.Dense(3).stateless_call([], [], X)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_stateless_optimizer_steps(name: str) -> None:
    found = []
    for room in (keras, real):
        variables = [room.Variable(numbers(s, i), name=f"v{i}") for i, s in enumerate(((3, 2), (2,)))]
        optimizer = getattr(room.optimizers, name)(0.1)
        optimizer.build(variables)
        state = [torch.tensor(array(v.value)) for v in optimizer.variables]
        values = [torch.tensor(numbers(v.shape, 5 + i)) for i, v in enumerate(variables)]
        for step in range(2):
            grads = [torch.tensor(numbers(v.shape, 9 + i + step)) for i, v in enumerate(variables)]
            values, state = optimizer.stateless_apply(state, grads, values)
        same([v.value for v in variables], [numbers((3, 2), 0), numbers((2,), 1)], 0)
        assert int(array(optimizer.iterations.value)) == 0
        found.append([*values, *state])
    same(found[0], found[1], 2e-5)


@pytest.mark.parametrize("name", ["Mean", "MeanSquaredError", "AUC", "CategoricalAccuracy"])
def test_stateless_metrics(name: str) -> None:
    found = []
    for room in (keras, real):
        metric = getattr(room.metrics, name)()
        args = (abs(X) / 4,) if name == "Mean" else ((X > 0).astype("float32"), abs(X) / abs(X).max())
        state = [torch.tensor(array(v.value)) for v in metric.variables]
        for _ in range(2):
            state = metric.stateless_update_state(state, *args)
        before = array(metric.result())
        found.append([metric.stateless_result(state), *state, *metric.stateless_reset_state()])
        same(metric.result(), before, 0)
    same(found[0], found[1])


def test_every_model_is_cloned() -> None:
    for name, (build, shapes) in builders.MODELS.items():
        model = build(keras)
        x = builders.inputs(shapes, 3) if shapes else None
        if x is None or ("functional" not in str(type(model)).lower() and "sequential" not in str(type(model)).lower()):
            continue
        model(x)
        clone = keras.models.clone_model(model)
        clone(x)
        assert weights(clone) == weights(model), name
        clone.set_weights(model.get_weights())
        same(clone(x), model(x), what=name)


def test_a_lambda_is_cloned_with_its_function() -> None:
    start = keras.Input((3,))
    layer = keras.layers.Lambda(lambda t, by: t * by, arguments={"by": 3.0}, name="by_three", trainable=False)
    model = keras.Model(start, keras.layers.Dense(2)(layer(start)))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = numbers((4, 3))
    same(clone.predict(x, verbose=0), model.predict(x, verbose=0))
    copy = clone.get_layer("by_three")
    assert copy is not layer and not copy.trainable


def test_a_function_is_a_graph_without_a_model() -> None:
    found = []
    for room in (keras, real):
        room.utils.clear_session()
        start = room.Input((3,), name="x")
        made = room.Function(start, {"y": room.ops.relu(room.layers.Dense(2, kernel_initializer="ones")(start))})
        y = made(numbers((4, 3)))["y"]
        found.append((made.name, [op.name for op in made.operations], made.compute_output_shape((4, 3)), array(y)))
    assert found[0][:3] == found[1][:3]
    same(found[0][3], found[1][3])


@pytest.mark.parametrize("make", [lambda: keras.layers.Dense(2, name="d"), lambda: keras.Sequential([], name="d")])
def test_quantize_says_what_to_do(make: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"'d': quantize is not supported.*onnxruntime.quantization"):
        make().quantize("int8")
