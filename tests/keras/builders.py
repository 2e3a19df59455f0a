"""Models as functions of the Keras module that makes them: ``room`` is kcompile's or the real one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.keras.support import numbers


def mlp(room: Any) -> Any:
    return room.Sequential([room.Input((4,), name="x"), room.layers.Dense(3, activation="relu"), room.layers.Dense(2)])


def mlp_named(room: Any) -> Any:
    layers = [room.layers.Dense(3, name="first"), room.layers.Dense(2, name="second")]
    return room.Sequential([room.Input((4,), name="x"), *layers], name="net")


def mlp_input_shape(room: Any) -> Any:
    return room.Sequential([room.layers.Dense(3, input_shape=(4,)), room.layers.Dense(2)])


def deferred(room: Any) -> Any:
    model = room.Sequential([room.layers.Dense(3), room.layers.BatchNormalization(), room.layers.Dense(2)])
    model.build((None, 4))
    return model


def add_and_pop(room: Any) -> Any:
    model = room.Sequential()
    for layer in (room.Input((4,)), room.layers.Dense(3), room.layers.Dense(9), room.layers.Dropout(0.5)):
        model.add(layer)
    model.pop()
    model.pop()
    model.add(room.layers.Dense(2))
    return model


def cnn(room: Any) -> Any:
    return room.Sequential([
        room.Input((8, 8, 3)), room.layers.Conv2D(4, 3, padding="same"), room.layers.BatchNormalization(),
        room.layers.ReLU(), room.layers.MaxPooling2D(), room.layers.Conv2D(5, 3), room.layers.Flatten(),
        room.layers.Dropout(0.3), room.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip


def lstm(room: Any) -> Any:
    return room.Sequential([
        room.Input((None,), dtype="int32"), room.layers.Embedding(5, 4, mask_zero=True),
        room.layers.LSTM(3, return_sequences=True), room.layers.LSTM(3), room.layers.Dense(1),
    ])  # fmt: skip


def nested_sequential(room: Any) -> Any:
    inner = room.Sequential([room.Input((4,)), room.layers.Dense(3), room.layers.Dense(5)], name="inner")
    return room.Sequential([room.Input((4,)), inner, room.layers.Dense(2)], name="outer")


def nested_deferred(room: Any) -> Any:
    inner = room.Sequential([room.layers.Dense(3), room.layers.Dense(5)], name="inner")
    model = room.Sequential([inner, room.layers.Dense(2)], name="outer")
    model.build((None, 4))
    return model


def branches(room: Any) -> Any:
    x = room.Input((4,), name="x")
    a, b = room.layers.Dense(3, name="a")(x), room.layers.Dense(3, name="b")(x)
    return room.Model(x, room.layers.Dense(2, name="out")(room.layers.add([a, room.layers.ReLU()(b)])))


def residual(room: Any) -> Any:
    x = room.Input((4,))
    y = room.layers.Dense(4)(x)
    for _ in range(3):
        y = room.layers.Add()([y, room.layers.Dense(4, activation="tanh")(room.layers.LayerNormalization()(y))])
    return room.Model(x, y)


def lists(room: Any) -> Any:
    a, b = room.Input((4,), name="a"), room.Input((3,), name="b")
    joined = room.layers.Concatenate()([a, b])
    return room.Model([a, b], [room.layers.Dense(2, name="p")(joined), room.layers.Dense(1, name="q")(b)])


def dicts(room: Any) -> Any:
    a, b = room.Input((4,), name="a"), room.Input((3,), name="b")
    joined = room.layers.Concatenate()([a, b])
    outputs = {"q": room.layers.Dense(1, name="q")(b), "p": room.layers.Dense(2, name="p")(joined)}
    return room.Model({"b": b, "a": a}, outputs)


def nests(room: Any) -> Any:
    a, b, c = (room.Input((4,), name=n) for n in "abc")
    total = room.layers.Add()([a, b, c])
    return room.Model([a, {"b": b, "c": c}], {"one": total, "more": [room.layers.Dense(2)(a), room.layers.ReLU()(b)]})


def shared(room: Any) -> Any:
    a, b = room.Input((4,), name="a"), room.Input((4,), name="b")
    layer = room.layers.Dense(3, name="shared")
    return room.Model([a, b], room.layers.subtract([layer(a), layer(b)]))


def shared_inner_model(room: Any) -> Any:
    x = room.Input((4,), name="ix")
    inner = room.Model(x, room.layers.Dense(4, activation="tanh", name="d")(x), name="inner")
    a, b = room.Input((4,), name="a"), room.Input((4,), name="b")
    return room.Model([a, b], room.layers.Dense(2, name="top")(inner(inner(a)) + inner(b)))


def twice_nested(room: Any) -> Any:
    x = room.Input((4,), name="x0")
    one = room.Model(x, room.layers.Dense(4, name="d")(x), name="one")
    y = room.Input((4,), name="y0")
    two = room.Model(y, room.layers.Dense(3, name="d")(one(y)), name="two")
    z = room.Input((4,), name="z0")
    return room.Model(z, room.layers.Dense(2, name="d")(two(z)), name="three")


def operators(room: Any) -> Any:
    x, y = room.Input((3, 4), name="x"), room.Input((3, 4), name="y")
    z = (x + y) * 2.0 - x / 3.0
    z = z + room.ops.relu(-y) ** 2 + (1.0 - x)
    return room.Model([x, y], z)


def indexing(room: Any) -> Any:
    x = room.Input((6, 4), name="x")
    first, last, even = x[:, 0], x[:, -1, :], x[:, ::2, 1:3]
    return room.Model(x, [first + last, even, x[..., None], x[:, 1:4]])


def functions(room: Any) -> Any:
    x = room.Input((6, 4), name="x")
    y = room.ops.transpose(x, (0, 2, 1))
    z = room.ops.concatenate([room.ops.mean(y, axis=1, keepdims=True), room.ops.max(y, axis=1, keepdims=True)], axis=1)
    w = room.ops.matmul(y, x)
    return room.Model(x, [room.ops.softmax(z), room.ops.reshape(w, (-1, 16)), room.ops.expand_dims(z, 1)])


def free_length(room: Any) -> Any:
    x = room.Input((None, 4), name="x")
    y = room.layers.Conv1D(3, 3, padding="same")(x)
    return room.Model(x, [room.layers.GlobalMaxPooling1D()(y), y[:, 1:]])


def passes_through(room: Any) -> Any:
    x = room.Input((4,), name="x")
    return room.Model(x, [x, room.layers.Dense(2)(x)])


def keywords(room: Any) -> Any:
    """Layers called with keyword arguments and with states."""
    x, h, c = room.Input((None, 4), name="x"), room.Input((3,), name="h"), room.Input((3,), name="c")
    sequence, last, _ = room.layers.LSTM(3, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    return room.Model([x, h, c], [room.layers.Dense(2)(sequence), last])


def frozen(room: Any) -> Any:
    model = cnn(room)
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    return model


def regularised(room: Any) -> Any:
    x = room.Input((4,))
    y = room.layers.Dense(3, kernel_regularizer="l2", bias_regularizer=room.regularizers.L1(0.1))(x)
    return room.Model(x, room.layers.Dense(2, activity_regularizer=room.regularizers.L1L2(0.1, 0.2))(y))


def subclass(room: Any) -> Any:
    """Layers in attributes, lists and dicts, made in __init__ and in build; a training argument."""

    class Block(room.layers.Layer):
        def __init__(self, units: int, **kwargs: Any):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight((input_shape[-1],), initializer="ones", name="scale")
            self.dense = room.layers.Dense(self.units, name="dense")
            self.dense.build(input_shape)
            self.count = self.add_weight((), initializer="zeros", trainable=False, name="count")

        def call(self, x: Any, training: bool = False) -> Any:
            return self.dense(x * self.scale) * (2.0 if training else 1.0)

    class Net(room.Model):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.blocks = [Block(4), Block(4)]
            self.heads = {"left": room.layers.Dense(2), "right": room.layers.Dense(2)}
            self.last = room.layers.Dense(3)
            self.norm = room.layers.BatchNormalization()

        def call(self, x: Any, training: bool = False) -> Any:
            for block in self.blocks:
                x = block(x)
            return self.last(self.norm(self.heads["left"](x) - self.heads["right"](x)))

    model = Net(name="net")
    model(numbers((2, 4)))
    return model


def functional_subclass(room: Any) -> Any:
    class Net(room.Model):
        def __init__(self, width: int = 3):
            x = room.Input((4,))
            super().__init__(inputs=x, outputs=room.layers.Dense(width)(x), name="given")

    return Net()


IDS = np.array([[1, 2, 0, 0], [3, 4, 1, 0]], "int32")

# name -> (builder, the shapes of its inputs without the batch axis, in the order of a flat call)
MODELS: dict[str, tuple[Any, Any]] = {
    f.__name__: (f, shapes)
    for f, shapes in [
        (mlp, (4,)), (mlp_named, (4,)), (mlp_input_shape, (4,)), (deferred, (4,)), (add_and_pop, (4,)),
        (cnn, (8, 8, 3)), (lstm, "ids"), (nested_sequential, (4,)), (nested_deferred, (4,)), (branches, (4,)),
        (residual, (4,)), (lists, [(4,), (3,)]), (dicts, {"a": (4,), "b": (3,)}),
        (nests, [(4,), {"b": (4,), "c": (4,)}]), (shared, [(4,), (4,)]), (shared_inner_model, [(4,), (4,)]),
        (twice_nested, (4,)), (operators, [(3, 4), (3, 4)]), (indexing, (6, 4)), (functions, (6, 4)),
        (free_length, (9, 4)), (passes_through, (4,)), (keywords, [(5, 4), (3,), (3,)]), (frozen, (8, 8, 3)),
        (regularised, (4,)), (subclass, (4,)), (functional_subclass, (4,)),
    ]
}  # fmt: skip


def inputs(shapes: Any, batch: int = 3, seed: int = 0) -> Any:
    """Arrays for a model of the table."""
    if isinstance(shapes, str):
        return np.resize(IDS, (batch, 4))
    if isinstance(shapes, list):
        return [inputs(s, batch, seed + i) for i, s in enumerate(shapes)]
    if isinstance(shapes, dict):
        return {k: inputs(s, batch, seed + len(k) + i) for i, (k, s) in enumerate(shapes.items())}
    return numbers((batch, *shapes), seed)
