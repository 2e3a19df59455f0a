"""One oracle for all layers: real Keras (torch backend), with the same config and the same weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from tests.keras.support import array, arrays, close, export_and_run, fill, keras, numbers, real, same, sized

SMALL, LARGE = (2, 7), (5, 10)  # batch and length


@dataclass(frozen=True)
class Case:
    """A layer's config, and its inputs' shapes without the batch axis; None is a free size."""

    layer: str
    config: dict[str, Any]
    shapes: tuple[Any, ...]
    dtype: str = "float32"
    rtol: float = 1e-5
    seed: int = 0
    call: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ",".join(f"{k}={v}" for k, v in self.config.items() if k != "name")
        return f"{self.layer}-{told}-{self.shapes}".replace(" ", "")

    def make(self, room: Any) -> Any:
        return getattr(room.layers, self.layer)(**{"name": "it", **self.config})

    def inputs(self, batch: int, length: int) -> Any:
        """Arrays as the layer takes them: one, or a list."""
        made = [numbers(sized(s, batch, length), self.seed + i, self.dtype) for i, s in enumerate(self.shapes)]
        return made[0] if len(made) == 1 else made

    def symbols(self, room: Any) -> Any:
        made = [room.Input(s, dtype=self.dtype, name=f"x{i}") for i, s in enumerate(self.shapes)]
        return made[0] if len(made) == 1 else made


def cases(layer: str, *shapes: Any, dtype: str = "float32", rtol: float = 1e-5, configs: Any = ({},)) -> list[Case]:
    """One case for each of the configs; a config's "shapes" replaces the shapes."""
    made = []
    for config in configs:
        config = dict(config)
        made.append(Case(layer, config, config.pop("shapes", shapes), config.pop("input", dtype), rtol))
    return made


def options(**values: list[Any]) -> list[dict[str, Any]]:
    """Every value of every option, one at a time."""
    return [{}, *({k: v} for k, vs in values.items() for v in vs)]


def window(rank: int, *extra: dict[str, Any], **common: Any) -> list[dict[str, Any]]:
    """Configs of layers with a window over ``rank`` axes."""
    sizes = (3, 2, 2)[:rank]
    rows: list[dict[str, Any]] = [
        {}, {"padding": "same"}, {"strides": 2}, {"strides": 2, "padding": "same"}, {"strides": sizes},
        {"data_format": "channels_first"}, {"data_format": "channels_first", "padding": "same", "strides": 2},
        *extra,
    ]  # fmt: skip
    return [{**common, **row} for row in rows]


def convolution(rank: int, *extra: dict[str, Any], **common: Any) -> list[dict[str, Any]]:
    size = (3, 2, 4)[:rank]
    rows: list[dict[str, Any]] = [
        {"use_bias": False, "activation": "relu"}, {"dilation_rate": 2}, {"dilation_rate": 2, "padding": "same"},
        {"kernel_size": size, "padding": "same"}, {"kernel_size": size, "padding": "same", "strides": 2},
        {"bias_initializer": "ones", "kernel_regularizer": "l2", "kernel_constraint": "unit_norm"}, *extra,
    ]  # fmt: skip
    return window(rank, *rows, kernel_size=3, **common)


def first(rows: list[dict[str, Any]], last: tuple[int, ...]) -> list[dict[str, Any]]:
    """Inputs turned around for the rows with channels first."""
    turned = (last[-1], *last[:-1])
    return [{**r, "shapes": (turned if r.get("data_format") == "channels_first" else last,)} for r in rows]


LINE, IMAGE, VOLUME = (11, 4), (9, 8, 4), (7, 6, 5, 4)
# Real Keras 3.15 is wrong on torch for sparsemax (its rows don't sum to 1) and refuses LayerNormalization(axis=1).
NAMES = [f.__name__ for f in keras.activations.FUNCTIONS if f.__name__ not in ("glu", "threshold", "sparsemax")]
MERGES = [("Add", {}), ("Subtract", {}), ("Multiply", {}), ("Average", {}), ("Maximum", {}), ("Minimum", {})]

CASES: list[Case] = [
    *cases("Dense", (4,), configs=[
        {"units": 3, **o} for o in options(
            activation=["relu", "softmax", None], use_bias=[False], kernel_initializer=["he_normal", "ones"],
            bias_initializer=["ones", {"class_name": "Constant", "config": {"value": 2.0}}],
            kernel_regularizer=["l1", "l2", {"class_name": "L1L2", "config": {"l1": 0.1}}], bias_constraint=["non_neg"], trainable=[False],
            dtype=["float64"], activity_regularizer=["l2"],
        )
    ]),
    *cases("Dense", (None, 4), configs=[{"units": 3, "activation": "gelu"}]),
    *cases("Dense", (3, None, 4), configs=[{"units": 3}]),
    *cases("Embedding", (None,), dtype="int32", configs=[
        {"input_dim": 5, "output_dim": 3, **o} for o in options(mask_zero=[True], embeddings_initializer=["ones"])
    ]),
    *cases("Embedding", (2, 3), dtype="int64", configs=[{"input_dim": 5, "output_dim": 1}]),
    *cases("Activation", (None, 6), configs=[{"activation": n} for n in NAMES]),
    *cases("Identity", (None, 4)),
    *cases("ReLU", (4,), configs=[
        *options(max_value=[0.5], negative_slope=[0.3], threshold=[0.2]),
        {"max_value": 0.6, "negative_slope": 0.1, "threshold": 0.2}, {"max_value": 0.4, "negative_slope": 0.1},
    ]),
    *cases("LeakyReLU", (4,), configs=options(negative_slope=[0.1])),
    *cases("ELU", (4,), configs=options(alpha=[0.5])),
    *cases("PReLU", (3, 4), configs=options(shared_axes=[[1], [1, 2]], alpha_initializer=["ones"])),
    *cases("Softmax", (3, 4), configs=options(axis=[1, (1, 2)])),
    *cases("Flatten", (3, 4), configs=options(data_format=["channels_first"])),
    *cases("Flatten", (3, 2, 4), configs=options(data_format=["channels_first"])),
    *cases("Flatten", (), (), configs=[{"shapes": ((),)}]),
    *cases("Flatten", (None, 4)),
    *cases("Reshape", (3, 4), configs=[{"target_shape": t} for t in [(12,), (2, -1), (4, 3), (-1, 2, 2), (-1,)]]),
    *cases("Reshape", (None, 4), configs=[{"target_shape": (-1, 2, 2)}, {"target_shape": (-1, 2)}]),
    *[c for name, config in MERGES for c in cases(name, (None, 4), (None, 4), configs=[config])],
    *[c for name, config in MERGES if name != "Subtract" for c in cases(name, (3, 4), (3, 1), (4,), configs=[config])],
    *cases("Concatenate", (3, 4), (3, 2)),
    *cases("Concatenate", (None, 4), (None, 4), configs=options(axis=[1, -2])),
    *cases("BatchNormalization", (4,), configs=options(
        momentum=[0.5], epsilon=[0.1], center=[False], scale=[False], gamma_initializer=["zeros"],
        moving_mean_initializer=["ones"], beta_regularizer=["l2"],
    )),
    *cases("BatchNormalization", (3, 5, 4), configs=options(axis=[1, 2, -2])),
    *cases("BatchNormalization", (None, 4)),
    *cases("LayerNormalization", (3, 4), configs=options(
        axis=[[1, 2], (2, 1)], rms_scaling=[True], epsilon=[0.1], center=[False], scale=[False], beta_initializer=["ones"],
    )),
    *cases("LayerNormalization", (None, 4)),
    *cases("Dropout", (4,), configs=[{"rate": 0.5}, {"rate": 0.0}, {"rate": 0.5, "noise_shape": (None, 1), "seed": 3}]),
    *cases("LSTM", (None, 3), configs=[
        {"units": 4, **o} for o in options(
            return_sequences=[True], return_state=[True], go_backwards=[True], use_bias=[False],
            unit_forget_bias=[False], activation=["relu"], recurrent_activation=["hard_sigmoid", "relu"], unroll=[True],
            dropout=[0.5], kernel_regularizer=["l2"], recurrent_initializer=["glorot_uniform"],
        )
    ] + [{"units": 2, "return_sequences": True, "return_state": True, "go_backwards": True, "activation": "elu"}]),
    *[c for rank, shape in enumerate((LINE, IMAGE, VOLUME), 1) for c in [
        *cases(f"Conv{rank}D", configs=first(convolution(
            rank, {"groups": 2}, {"groups": 4, "padding": "same", "data_format": "channels_first"},
            *([{"padding": "causal"}, {"padding": "causal", "dilation_rate": 2}, {"padding": "causal", "strides": 2}]
              if rank == 1 else []), filters=4), shape)),
        *cases(f"Conv{rank}DTranspose", configs=first(convolution(
            rank, {"strides": 2, "output_padding": 1}, {"strides": 3, "padding": "same", "output_padding": 0},
            {"strides": 3, "padding": "valid", "kernel_size": 2}, {"strides": 2, "padding": "same", "kernel_size": 1},
            filters=3), shape)),
        *(cases(f"DepthwiseConv{rank}D", configs=[
            {{"kernel_regularizer": "depthwise_regularizer", "kernel_constraint": "depthwise_constraint"}.get(k, k): v
             for k, v in row.items()} for row in first(convolution(rank, {"depth_multiplier": 2}), shape)
            if row.get("strides") != (3, 2)
        ]) if rank < 3 else []),
        *[c for kind in ("Max", "Average") for c in cases(f"{kind}Pooling{rank}D", configs=first(window(
            rank, {"pool_size": (3, 2, 4)[:rank]}, {"pool_size": 3, "strides": 1, "padding": "same"}, pool_size=2), shape))],
        *[c for kind in ("Max", "Average") for c in cases(f"Global{kind}Pooling{rank}D", configs=first(
            options(keepdims=[True], data_format=["channels_first"]), shape))],
    ]],
    *cases("Conv1D", (None, 4), configs=[
        {"filters": 3, "kernel_size": 3, **o} for o in options(padding=["same", "causal"], strides=[2])
    ]),
    *cases("Conv2D", (None, None, 4), configs=[
        {"filters": 3, "kernel_size": 3, **o} for o in options(padding=["same"], strides=[2])
    ]),
    *cases("MaxPooling1D", (None, 4), configs=options(strides=[3])),
    *cases("AveragePooling2D", (None, None, 4), configs=[{"pool_size": 2}, {"pool_size": 2, "padding": "same"}]),
    *cases("GlobalMaxPooling1D", (None, 4)),
    *cases("GlobalAveragePooling2D", (None, None, 4), configs=options(keepdims=[True])),
]  # fmt: skip

# Layers with tests of their own below: no inputs, Python code, a cell.
ELSEWHERE = {"InputLayer", "Lambda", "LSTMCell"}


def test_every_layer_has_a_case() -> None:
    from tests.keras import test_conv_lstm, test_image_layers, test_layers_more, test_layers_rest

    modules = (test_conv_lstm, test_layers_more, test_layers_rest)
    tested = {c.layer for c in [*CASES, *(c for m in modules for c in m.CASES)]} | ELSEWHERE
    tested |= test_layers_more.ELSEWHERE | test_layers_rest.ELSEWHERE | test_image_layers.TESTED
    assert {c.__name__ for c in keras.layers.CLASSES} == tested


def plain(config: Any) -> Any:
    """As a file holds it: tuples are lists; floats to float32's digits, through which real Keras passes some."""
    return json.loads(json.dumps(config), parse_float=lambda text: float(np.float32(text)))


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_layer(case: Case) -> None:
    """Config, built shapes, outputs, gradients, ONNX: each equal to real Keras's."""
    ours, theirs = case.make(keras), case.make(real)
    assert plain(ours.get_config()) == plain(theirs.get_config())
    ours = type(ours).from_config(plain(theirs.get_config()))
    assert plain(ours.get_config()) == plain(theirs.get_config())
    symbols = case.symbols(keras)
    model = keras.Model(symbols, ours(symbols))
    feeds, wanted = [], []
    for batch, length in (SMALL, LARGE):
        x = case.inputs(batch, length)
        if not theirs.built:
            theirs(x)
            fill(ours, theirs, case.seed)
        expected = theirs(x)
        same(ours(x), expected, case.rtol, "eager")
        feeds.append({f"x{i}": a for i, a in enumerate(x if isinstance(x, list) else [x])})
        wanted.append(expected)
    check_shapes(case, ours, theirs, model)
    for got, expected in zip(export_and_run(model, *feeds), wanted, strict=True):
        same(got, arrays(expected), max(case.rtol, 2e-5 if case.layer == "LSTM" else 0), "ONNX")
    check_gradients(case, ours, theirs)


def check_shapes(case: Case, ours: Any, theirs: Any, model: Any) -> None:
    full = [(None, *s) for s in case.shapes]
    shape = full[0] if len(full) == 1 else full
    wanted = theirs.compute_output_shape(shape)
    assert plain(ours.compute_output_shape(shape)) == plain(wanted)
    outputs = [list(t.shape) for t in model.outputs]
    assert outputs == (plain(wanted) if isinstance(wanted[0], (tuple, list)) else [plain(wanted)])


def check_gradients(case: Case, ours: Any, theirs: Any) -> None:
    """Of a loss that weighs every output, for each weight and each float input."""
    found = []
    for layer in (ours, theirs):
        given = case.inputs(*SMALL)
        x = [
            torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in (given if isinstance(given, list) else [given])
        ]
        outputs = layer(x if len(x) > 1 else x[0])
        flat = [o for o in keras.tree.leaves(outputs) if o.requires_grad]
        loss = sum((o * torch.from_numpy(numbers(tuple(o.shape), 9)).to(o.dtype)).sum() for o in flat)
        wrt = [w.value for w in layer.trainable_variables] + [a for a in x if a.requires_grad]
        found.append(torch.autograd.grad(loss, wrt, allow_unused=True) if wrt and flat else ())
    assert [g is None for g in found[0]] == [g is None for g in found[1]]
    for a, b in zip(*found, strict=True):
        if a is not None:
            close(array(a), array(b), 3e-5, what="gradient")


# ---- what one forward pass does not show


def pair(layer: str, **config: Any) -> tuple[Any, Any]:
    return getattr(keras.layers, layer)(**config), getattr(real.layers, layer)(**config)


@pytest.mark.parametrize("config", options(momentum=[0.5], axis=[1], scale=[False]), ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_batch_normalization_while_training(config: dict[str, Any], masked: bool) -> None:
    ours, theirs = pair("BatchNormalization", **config)
    for batch in (2, 5):
        x = numbers((batch, 3, 4)) + 1
        call: dict[str, Any] = {"training": True}
        if masked:
            if config.get("axis") == 1:
                return
            call["mask"] = np.arange(3)[None] < np.arange(1, batch + 1)[:, None]
        got, wanted = ours(x, **call), theirs(x, **call)
        same(got, wanted)
        same(ours.get_weights(), theirs.get_weights(), what="moving statistics")
    ours.trainable = theirs.trainable = False
    same(ours(x, training=True), theirs(x, training=True), what="frozen")


def test_layer_normalization_of_an_inner_axis() -> None:
    layer, x = keras.layers.LayerNormalization(axis=1, epsilon=0.1), numbers((2, 3, 4))
    wanted = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1)
    close(array(layer(x)), wanted)


IDS = np.array([[1, 2, 0, 0], [3, 0, 4, 0], [0, 0, 1, 2], [1, 1, 1, 1]], "int32")
AFTER: list[Any] = [
    [("LSTM", {"units": 3})], [("LSTM", {"units": 3, "return_sequences": True})],
    [("LSTM", {"units": 3, "return_sequences": True, "zero_output_for_mask": True})],
    [("LSTM", {"units": 3, "go_backwards": True, "return_sequences": True})],
    [("LSTM", {"units": 3, "return_sequences": True}), ("LSTM", {"units": 2})],
    [("GlobalAveragePooling1D", {})], [("GlobalAveragePooling1D", {"keepdims": True})],
    [("Dense", {"units": 3}), ("GlobalAveragePooling1D", {})], [("Dropout", {"rate": 0.5}), ("LSTM", {"units": 3})],
    [("LayerNormalization", {}), ("Activation", {"activation": "relu"}), ("GlobalAveragePooling1D", {})],
    [("Softmax", {"axis": 1}), ("LSTM", {"units": 3})],
]  # fmt: skip


@pytest.mark.parametrize("rest", AFTER, ids=lambda rest: "-".join(f"{n}{list(c.items())}" for n, c in rest))
def test_masks_flow(rest: Any) -> None:
    """Embedding(mask_zero) and what follows: right-padded, holes, left-padded, full rows."""
    models = []
    for room in (keras, real):
        start = room.Input((None,), dtype="int32", name="ids")
        x = room.layers.Embedding(5, 4, mask_zero=True)(start)
        for name, config in rest:
            x = getattr(room.layers, name)(**config)(x)
        models.append(room.Model(start, x))
    ours, theirs = models
    fill(ours, theirs)
    wanted = array(theirs(IDS))
    result = ours(IDS)
    same(result, wanted, what="eager")
    mask, kept = (getattr(r, "_keras_mask", None) for r in (result, theirs(IDS)))
    assert (mask is None) == (kept is None)
    if mask is not None:
        same(mask, kept, what="mask")
    same(export_and_run(ours, {"ids": IDS})[0], [wanted], 2e-5, "ONNX")


MASKED_MERGES = [("Add", {}), ("Average", {}), ("Multiply", {}), ("Maximum", {}), ("Concatenate", {"axis": -1}),
                 ("Concatenate", {"axis": 1})]  # fmt: skip


@pytest.mark.parametrize("layer, config", MASKED_MERGES, ids=str)
@pytest.mark.parametrize("which", [(True, True), (True, False)])
def test_masks_of_merges(layer: str, config: dict[str, Any], which: tuple[bool, bool]) -> None:
    other = np.roll(IDS, 1, axis=1)
    masks = []
    for room in (keras, real):
        parts = []
        for ids, masked in zip((IDS, other), which, strict=True):
            parts.append(room.layers.Embedding(5, 4, mask_zero=masked)(ids))
        out = getattr(room.layers, layer)(**config)(parts)
        masks.append(getattr(out, "_keras_mask", None))
    assert (masks[0] is None) == (masks[1] is None)
    if masks[0] is not None:
        same(masks[0], masks[1])


@pytest.mark.parametrize("sequences", [False, True])
def test_lstm_takes_an_initial_state(sequences: bool) -> None:
    ours, theirs = pair("LSTM", units=3, return_sequences=sequences, return_state=True)
    x, state = numbers((2, 5, 4)), [numbers((2, 3), 1), numbers((2, 3), 2)]
    theirs(x)
    ours(x)
    fill(ours, theirs)
    same(ours(x, initial_state=state), theirs(x, initial_state=state))
    inputs = [keras.Input((None, 4), name="x"), keras.Input((3,), name="h"), keras.Input((3,), name="c")]
    model = keras.Model(inputs, ours(inputs[0], initial_state=inputs[1:]))
    got = export_and_run(model, {"x": x, "h": state[0], "c": state[1]})[0]
    same(got, arrays(theirs(x, initial_state=state)), 2e-5, "ONNX")


def test_stateful_lstm() -> None:
    models = []
    for room in (keras, real):
        start = room.Input(batch_shape=(2, 5, 4))
        models.append(room.Model(start, room.layers.LSTM(3, stateful=True)(start)))
    ours, theirs = models
    ours.set_weights(theirs.get_weights())
    for seed in range(3):
        x = numbers((2, 5, 4), seed)
        same(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), what=f"step {seed}")
    ours.layers[-1].reset_state(), theirs.layers[-1].reset_state()
    same(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), what="after reset_state")
    with pytest.raises(ValueError, match="batch"):
        keras.layers.LSTM(3, stateful=True)(keras.Input((5, 4)))


@pytest.mark.parametrize(("kind", "count"), [("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1)])
def test_stateful_layers_train(kind: str, count: int, capfd: pytest.CaptureFixture[str]) -> None:
    """As a layer that is handed its states: real Keras on torch can't train a stateful LSTM or GRU."""
    start, states = keras.Input(batch_shape=(2, 5, 4)), [keras.Input((3,)) for _ in range(count)]
    layer = getattr(keras.layers, kind)
    stateful = keras.Model(start, layer(3, stateful=True)(start))
    output, *last = layer(3, return_state=True)(start, initial_state=states)
    handed, reading = keras.Model([start, *states], output), keras.Model([start, *states], last)
    handed.set_weights([0.3 * numbers(w.shape, i) for i, w in enumerate(handed.weights)])
    stateful.set_weights(handed.get_weights())
    for model in (stateful, handed):
        model.compile(keras.optimizers.SGD(0.1), "mse")
    held = [np.zeros((2, 3), "float32")] * count
    for seed in range(4):
        x, y = numbers((2, 5, 4), seed), numbers((2, 3), seed + 9)
        after = reading.predict([x, *held], verbose=0)
        same(stateful.train_on_batch(x, y), handed.train_on_batch([x, *held], y), what=f"step {seed}")
        held = after if isinstance(after, list) else [after]
    assert "eagerly" not in capfd.readouterr().err


def test_lstm_cell() -> None:
    ours, theirs = pair("LSTMCell", units=3, name="cell")
    assert plain(ours.get_config()) == plain(theirs.get_config())
    x, state = numbers((2, 4)), [numbers((2, 3), 1), numbers((2, 3), 2)]
    theirs(x, state)
    ours(x, state)
    fill(ours, theirs)
    same(ours(x, state), theirs(x, state))


def test_lambda_and_input_layer() -> None:
    x = numbers((2, 3))
    ours, theirs = (room.layers.Lambda(lambda x, by: x * by, arguments={"by": 3.0}) for room in (keras, real))
    same(ours(x), theirs(x))
    config = {"shape": (None, 3), "dtype": "int32", "name": "i", "batch_size": 4}
    ours, theirs = pair("InputLayer", **config)
    wanted = plain(theirs.get_config())
    assert {k: v for k, v in plain(ours.get_config()).items() if v is not None} == {
        k: v for k, v in wanted.items() if v is not None
    }


HALF = [("Dense", {"units": 3}, (4,)), ("Conv2D", {"filters": 2, "kernel_size": 3}, (6, 6, 4)),
        ("BatchNormalization", {}, (4,)), ("LayerNormalization", {}, (4,)), ("Softmax", {}, (4,)),
        ("LSTM", {"units": 3, "recurrent_initializer": "zeros"}, (5, 4)), ("MaxPooling1D", {}, (6, 4)), ("PReLU", {}, (4,)),
        ("Activation", {"activation": "gelu"}, (5, 4)), ("Resizing", {"height": 3, "width": 5}, (6, 6, 4))]  # fmt: skip


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
@pytest.mark.parametrize("layer, config, shape", HALF, ids=[h[0] for h in HALF])
def test_half_precision(layer: str, config: dict[str, Any], shape: tuple[int, ...], policy: str) -> None:
    """Dtypes exactly; values within the rounding of a half-precision sum (2^-8 for float16, 2^-5 for bfloat16)."""
    ours, theirs = pair(layer, dtype=policy, name="it", **config)
    assert plain(ours.get_config()) == plain(theirs.get_config())
    x = numbers((2, *shape))
    theirs(x)
    start = keras.Input(shape, name="x")
    model = keras.Model(start, ours(start))
    fill(ours, theirs)
    assert [w.dtype for w in ours.weights] == [w.dtype for w in theirs.weights]
    got, wanted = ours(x), theirs(x)
    assert got.dtype == wanted.dtype
    same(got.float(), wanted.float().detach(), 2**-5 if "bf" in policy else 2**-8)
    in_file = keras.Model(start, keras.layers.Activation("linear", dtype="float32")(model.output))
    same(export_and_run(in_file, {"x": x})[0][0], wanted.float().detach(), 2**-5 if "bf" in policy else 2**-8, "ONNX")


REFUSED = [
    (("Dense", {"units": 0}), "positive"), (("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 3}), "divisible"),
    (("Conv2D", {"filters": 4, "kernel_size": 3, "strides": 2, "dilation_rate": 2}), "strides"),
    (("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "causal"}), "padding"),
    (("Dropout", {"rate": 2.0}), "rate"), (("Dense", {"units": 3, "unit": 2}), "Unrecognized|unit"), (("Activation", {"activation": "rellu"}), "rellu"),
    (("ReLU", {"max_value": -1.0}), "negative"),
]  # fmt: skip


@pytest.mark.parametrize("made, words", REFUSED, ids=str)
def test_bad_arguments_are_refused_as_keras_refuses_them(made: Any, words: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=words):
            getattr(room.layers, made[0])(**made[1])


MISFITS = [
    (("Dense", {"units": 3}), (4,), (5,)), (("Conv2D", {"filters": 2, "kernel_size": 3}), (6, 6, 3), (6, 6, 4)),
    (("LSTM", {"units": 2}), (5, 4), (4,)), (("MaxPooling2D", {}), (6, 6, 3), (6, 6)),
    (("BatchNormalization", {}), (4,), (5,)),
]  # fmt: skip


@pytest.mark.parametrize("made, built, given", MISFITS, ids=str)
def test_inputs_that_do_not_fit_are_refused_by_name(made: Any, built: Any, given: Any) -> None:
    for room in (keras, real):
        layer = getattr(room.layers, made[0])(name="here", **made[1])
        layer(numbers((2, *built)))
        with pytest.raises(ValueError, match="here"):
            layer(numbers((2, *given)))
