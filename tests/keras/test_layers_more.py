"""The oracle of `test_layers` over recurrent, attention, wrapping, padding, noise and preprocessing layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.keras import test_layers as oracle
from tests.keras.support import array, close, fill, keras, numbers, real
from tests.keras.test_layers import Case, cases, options

STEPS, IMAGE, VOLUME = (6, 4), (6, 7, 4), (4, 5, 4, 2)
RECURRENT = {
    "return_sequences": [True], "return_state": [True], "go_backwards": [True], "use_bias": [False],
    "activation": ["relu"], "dropout": [0.3], "recurrent_dropout": [0.2], "seed": [3],
}  # fmt: skip

CASES: list[Case] = [
    *cases("SimpleRNN", (None, 3), configs=[{"units": 4, **o} for o in options(**{**RECURRENT, "seed": []})]),
    *cases("GRU", (None, 3), configs=[
        {"units": 4, **o} for o in options(reset_after=[False], recurrent_activation=["hard_sigmoid"], **RECURRENT)
    ]),
    *cases("EinsumDense", (None, 4), configs=[
        {"equation": "abc,cd->abd", "output_shape": [None, 5], **o}
        for o in options(bias_axes=["d"], activation=["relu"], kernel_regularizer=["l2"])
    ]),
    *cases("EinsumDense", (None, 4), configs=[
        {"equation": "abc,cde->abde", "output_shape": [None, 2, 5], "bias_axes": "de"},
    ]),
    *cases("EinsumDense", STEPS, configs=[
        {"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"},
        {"equation": "abc,bd->acd", "output_shape": [4, 3]},
    ]),
    *cases("GroupNormalization", IMAGE, configs=[
        {"groups": 2, **o} for o in options(center=[False], scale=[False], epsilon=[0.1], groups=[-1])
    ]),
    *cases("RMSNormalization", (None, 4), configs=options(epsilon=[0.1])),
    *cases("UnitNormalization", (3, 4), configs=options(axis=[1, [1, 2]])),
    *cases("SeparableConv1D", (11, 4), configs=[
        {"filters": 3, "kernel_size": 3, **o} for o in options(padding=["same"], strides=[2], depth_multiplier=[2])
    ]),
    *cases("SeparableConv2D", (9, 8, 4), configs=[
        {"filters": 3, "kernel_size": (3, 2), **o}
        for o in options(padding=["same"], strides=[2], depth_multiplier=[2], use_bias=[False], dilation_rate=[2],
                         activation=["relu"], pointwise_regularizer=["l2"])
    ]),
    *cases("Permute", (3, 4, 2), configs=[{"dims": (2, 3, 1)}, {"dims": (1, 2, 3)}]),
    *cases("RepeatVector", (4,), configs=[{"n": 3}, {"n": 1}]),
    *cases("ZeroPadding1D", (None, 4), configs=options(padding=[2, (1, 3), (0, 0)])),
    *cases("ZeroPadding2D", IMAGE, configs=options(
        padding=[2, (1, 3), ((1, 2), (0, 3))], data_format=["channels_first"]
    )),
    *cases("ZeroPadding3D", VOLUME, configs=options(padding=[2, ((1, 0), (0, 2), (1, 1))])),
    *cases("Cropping1D", (6, 4), configs=options(cropping=[2, (1, 3), (0, 0)])),
    *cases("Cropping1D", (None, 4), configs=[{"cropping": (1, 2)}]),
    *cases("Cropping2D", IMAGE, configs=options(cropping=[1, ((1, 2), (0, 3))])),
    *cases("Cropping3D", VOLUME, configs=options(cropping=[((1, 0), (0, 2), (0, 1))])),
    *cases("UpSampling1D", (None, 4), configs=options(size=[3])),
    *cases("UpSampling2D", IMAGE, configs=options(size=[3, (1, 2)], interpolation=["bilinear", "bicubic"],
                                                  data_format=["channels_first"])),
    *cases("UpSampling3D", VOLUME, configs=options(size=[(1, 2, 3)])),
    *cases("Dot", (4,), (4,), configs=[{"axes": 1}, {"axes": -1, "normalize": True}]),
    *cases("Dot", (6, 4), (5, 4), configs=[{"axes": (2, 2)}, {"axes": 2, "normalize": True}]),
    *cases("Dot", (6, 4), (4,), configs=[{"axes": -1}]),
    *cases("SpatialDropout1D", STEPS, configs=[{"rate": 0.3}]),
    *cases("SpatialDropout2D", IMAGE, configs=[{"rate": 0.3, "seed": 2}]),
    *cases("SpatialDropout3D", VOLUME, configs=[{"rate": 0.3}]),
    *cases("GaussianNoise", STEPS, configs=[{"stddev": 0.3}]),
    *cases("GaussianDropout", STEPS, configs=[{"rate": 0.3}]),
    *cases("AlphaDropout", STEPS, configs=[{"rate": 0.3, "noise_shape": None, "seed": 3}]),
    *cases("ActivityRegularization", STEPS, configs=[{"l1": 0.1}, {"l2": 0.2}]),
    *cases("Masking", (None, 4), configs=[{}, {"mask_value": 1.0}]),
    *cases("Rescaling", IMAGE, configs=[{"scale": 2.0}, {"scale": 1 / 255, "offset": -1.0}]),
    *cases("Normalization", IMAGE, configs=[
        {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 2.0, 3.0, 0.5]}, {"mean": 1.0, "variance": 4.0, "axis": None},
        {"mean": 1.0, "variance": 4.0, "axis": None, "invert": True},
    ]),
    *cases("CategoryEncoding", (3,), dtype="int32", configs=[
        {"num_tokens": 12, "output_mode": m} for m in ("multi_hot", "count", "one_hot")
    ]),
    *cases("Discretization", (4,), configs=[
        {"bin_boundaries": [-1.0, 0.0, 1.0], "output_mode": m} for m in ("int", "one_hot", "multi_hot", "count")
    ]),
]  # fmt: skip
# Layers that hold layers, or that take more than tensors: tested below.
ELSEWHERE = {
    "AdditiveAttention", "Attention", "Bidirectional", "GRUCell", "GroupedQueryAttention", "MultiHeadAttention", "RNN",
    "SimpleRNNCell", "StackedRNNCells", "TimeDistributed",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer(case: Case) -> None:
    oracle.test_layer(case)


def steps(batch: int = 3, length: int = 6, size: int = 4, seed: int = 0) -> np.ndarray:
    return numbers((batch, length, size), seed, "float32")


def mask(batch: int = 3, length: int = 6) -> np.ndarray:
    """Holes anywhere, but something at the first step of every row."""
    found = np.random.default_rng(5).random((batch, length)) > 0.4
    found[:, 0] = True
    return found


def agree(make: Any, *x: Any, only: Any = None, **call: Any) -> Any:
    """The same layer of both Keras on the same weights; its outputs' rows are compared where ``only`` says."""
    ours, theirs = make(keras.layers), make(real.layers)
    wanted = theirs(*x, **call)
    ours(*x, **call)
    fill(ours, theirs, 0)
    wanted, got = theirs(*x, **call), ours(*x, **call)
    pairs = list(zip(keras.tree.leaves(got), real.tree.flatten(wanted), strict=True))
    for a, b in pairs:
        p, q = array(a), array(b)
        close(p if only is None else p[only], q if only is None else q[only], 1e-5, what="output")
    assert ours.get_config().keys() == theirs.get_config().keys()
    again = type(ours).from_config(ours.get_config())
    again(*x, **call)
    again.set_weights(ours.get_weights())
    for a, (b, _) in zip(keras.tree.leaves(again(*x, **call)), pairs, strict=True):
        np.testing.assert_array_equal(array(a), array(b))
    return ours


def exported(layer: Any, *x: np.ndarray, **call: Any) -> None:
    """The layer as a model with free batch and length: the file agrees at two of each (export itself compares)."""
    import tempfile
    from pathlib import Path

    import kcompile

    inputs = [keras.Input((None, a.shape[-1])) for a in x]
    model = keras.Model(inputs, layer(*inputs, **call))
    with tempfile.TemporaryDirectory() as folder:
        report = kcompile.export(model, Path(folder) / "layer.onnx", latency=False)
    assert report.error < 2e-5
    assert report.verified.runs >= 8 and not report.verified.weak


RECURRENT_OPTIONS = [
    {}, {"return_sequences": True}, {"return_sequences": True, "go_backwards": True},
    {"return_sequences": True, "return_state": True}, {"return_sequences": True, "zero_output_for_mask": True},
]  # fmt: skip
CELLS = {
    "lstm": lambda L: L.LSTMCell(3),
    "gru": lambda L: L.GRUCell(3, reset_after=False),
    "simple": lambda L: L.SimpleRNNCell(3, activation="relu"),
    "stack": lambda L: [L.LSTMCell(3), L.GRUCell(2)],
}


@pytest.mark.parametrize("options", RECURRENT_OPTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_rnn_of_cells(cell: str, masked: bool, options: dict[str, Any]) -> None:
    call = {"mask": mask()} if masked else {}
    layer = agree(lambda L: L.RNN(CELLS[cell](L), **options), steps(), **call)
    if not masked and not options.get("return_state"):
        exported(layer, steps())


@pytest.mark.parametrize("options", RECURRENT_OPTIONS, ids=str)
@pytest.mark.parametrize("layer", ["SimpleRNN", "GRU", "LSTM"])
def test_masked_recurrent_layers(layer: str, options: dict[str, Any]) -> None:
    agree(lambda L: getattr(L, layer)(3, **options), steps(), mask=mask())


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("inner", ["LSTM", "GRU"])
def test_bidirectional(inner: str, mode: str | None) -> None:
    layer = agree(lambda L: L.Bidirectional(getattr(L, inner)(3, return_sequences=True), merge_mode=mode), steps())
    exported(layer, steps())


def test_bidirectional_with_masks_states_and_a_backward_layer() -> None:
    agree(lambda L: L.Bidirectional(L.GRU(3)), steps(), mask=mask())
    agree(lambda L: L.Bidirectional(L.LSTM(3, return_sequences=True)), steps(), mask=mask())
    agree(lambda L: L.Bidirectional(L.LSTM(3, return_state=True)), steps())
    backward = {"go_backwards": True, "activation": "relu"}
    agree(lambda L: L.Bidirectional(L.LSTM(3), backward_layer=L.LSTM(3, **backward)), steps())


def test_time_distributed() -> None:
    exported(agree(lambda L: L.TimeDistributed(L.Dense(3, activation="relu")), steps()), steps())
    agree(lambda L: L.TimeDistributed(L.Conv2D(2, 2)), numbers((2, 3, 5, 5, 1), 0, "float32"))


@pytest.mark.parametrize("options", options(use_scale=[True, False], dropout=[0.2]), ids=str)
@pytest.mark.parametrize("layer", ["Attention", "AdditiveAttention"])
def test_attention(layer: str, options: dict[str, Any]) -> None:
    make = lambda L: getattr(L, layer)(**options)  # noqa: E731
    agree(make, [steps(), steps(length=5, seed=1)])
    agree(make, [steps(), steps(length=5, seed=1), steps(length=5, seed=2)])
    agree(make, [steps(), steps(seed=1)], use_causal_mask=True)
    agree(make, [steps(), steps(seed=1)], mask=[mask(), mask()])
    agree(make, [steps(), steps(seed=1)], return_attention_scores=True)


def test_attention_by_concatenated_scores() -> None:
    agree(lambda L: L.Attention(score_mode="concat", use_scale=True), [steps(), steps(length=5, seed=1)])


def test_adapt_normalization() -> None:
    data = numbers((50, 4), 0, "float32")
    ours, theirs = keras.layers.Normalization(), real.layers.Normalization()
    ours.adapt(data)
    theirs.adapt(data)
    close(array(ours(data)), array(theirs(data)), 1e-5, what="normalised")


def test_adapt_discretization() -> None:
    """The bins are equally full; real Keras needs TensorFlow to adapt this layer, so the definition is the oracle."""
    data = numbers((50, 4), 0, "float32")
    layer = keras.layers.Discretization(num_bins=4)
    layer.adapt(data)
    assert np.bincount(array(layer(data)).ravel(), minlength=4).tolist() == [50, 50, 50, 50]


def test_dropout_of_recurrent_layers_trains_on_one_mask_for_all_steps() -> None:
    x = np.ones((64, 5, 8), "float32")
    for cls in (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN):
        layer = cls(3, recurrent_dropout=0.5, dropout=0.5, seed=1)
        trained, tested = array(layer(x, training=True)), array(layer(x))
        assert not np.allclose(trained, tested)
        assert len(np.unique(trained.round(5), axis=0)) > 32
        np.testing.assert_array_equal(tested, array(layer(x, training=False)))


def test_noise_layers_keep_mean_and_variance() -> None:
    x = np.random.default_rng(0).standard_normal((400, 50)).astype("float32")
    selu = array(keras.ops.selu(x))
    for layer, given, deviation in (
        (keras.layers.GaussianNoise(0.5), x * 0, 0.5),
        (keras.layers.GaussianDropout(0.5), x * 0 + 1, 1.0),
        (keras.layers.AlphaDropout(0.3), selu, selu.std()),
    ):
        made = array(layer(given, training=True))
        assert abs(made.mean() - given.mean()) < 0.05
        assert abs(made.std() - deviation) < 0.05


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spatial_dropout_drops_whole_channels(rank: int) -> None:
    x = np.ones((8, *(3,) * rank, 16), "float32")
    made = array(getattr(keras.layers, f"SpatialDropout{rank}D")(0.5, seed=1)(x, training=True))
    for channel in made.reshape(8, -1, 16).transpose(0, 2, 1).reshape(-1, 3**rank):
        assert len(set(channel.tolist())) == 1
    assert 0.2 < (made == 0).mean() < 0.8
