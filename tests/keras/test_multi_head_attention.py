"""MultiHeadAttention and GroupQueryAttention against real Keras: every parameter, masks, any axes, penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.keras.support import array, close, export_and_run, keras, numbers, real
from tests.keras.test_layers_more import agree, exported, mask, steps

HEADS: dict[str, dict[str, Any]] = {
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3},
    "GroupQueryAttention": {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
}
# (constructor's options, call's): those of the first list are MultiHeadAttention's alone.
OWN = [
    ({"value_dim": 5, "output_shape": 7}, {}),
    ({"value_dim": 5, "use_gate": True}, {}),
    ({"output_shape": (2, 3)}, {}),
]
BOTH: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}), ({"use_bias": False}, {}), ({}, {"use_causal_mask": True}), ({}, {"return_attention_scores": True}),
    ({"kernel_regularizer": "l2"}, {"return_attention_scores": True, "use_causal_mask": True}),
    ({"use_gate": True}, {}), ({"use_gate": True, "use_bias": False}, {"return_attention_scores": True}),
    ({"sliding_window": 2}, {}), ({"sliding_window": 1}, {"return_attention_scores": True}),
    ({"sliding_window": 3}, {"use_causal_mask": True}), ({"sliding_window": 100}, {}), ({"dropout": 0.3}, {}),
    ({"dropout": 0.3, "seed": 2, "use_gate": True}, {"use_causal_mask": True}), ({"flash_attention": False}, {}),
]  # fmt: skip
ROWS = [("MultiHeadAttention", *row) for row in OWN] + [(name, *row) for name in HEADS for row in BOTH]


@pytest.mark.parametrize("layer, options, call", ROWS, ids=str)
def test_options(layer: str, options: dict[str, Any], call: dict[str, Any]) -> None:
    make = lambda L: getattr(L, layer)(**HEADS[layer], **options)  # noqa: E731
    made = agree(make, steps(), steps(seed=1), **call)
    agree(make, steps(), steps(length=5, seed=1), steps(length=5, seed=2), **call)
    if not call.get("return_attention_scores"):
        exported(made, steps(), steps(), **call)


@pytest.mark.parametrize("options", [{}, {"use_gate": True}, {"sliding_window": 2}], ids=str)
@pytest.mark.parametrize("layer", HEADS)
def test_masks(layer: str, options: dict[str, Any]) -> None:
    make = lambda L: getattr(L, layer)(**HEADS[layer], **options)  # noqa: E731
    visible = np.random.default_rng(3).random((3, 6, 6)) > 0.4
    visible |= np.eye(6, dtype=bool)
    agree(make, steps(), steps(), attention_mask=visible)
    if not options.get("sliding_window"):
        agree(make, steps(), steps(), value_mask=mask())
        # A query that is masked sees nothing, and what it gets then does not matter: only the others are compared.
        agree(make, steps(), steps(), query_mask=mask(), value_mask=mask(), use_causal_mask=True, only=mask())


IMAGE, VOLUME = (2, 3, 4, 5), (2, 3, 2, 4, 5)
AXES: list[tuple[tuple[int, ...], Any]] = [
    (IMAGE, None), (IMAGE, 1), (IMAGE, 2), (IMAGE, (1, 2)), (IMAGE, [2, 1]), (VOLUME, (1, 3)), (VOLUME, 2), (VOLUME, None),
    ((2, 4, 5), 1),
]  # fmt: skip


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("shape, axes", AXES, ids=str)
def test_attention_axes(shape: tuple[int, ...], axes: Any, scores: bool) -> None:
    # Negative axes are left out: real Keras 3.15 counts them from the projected tensor's rank less 1, as here.
    make = lambda L: L.MultiHeadAttention(2, 3, value_dim=2, attention_axes=axes, use_gate=scores)  # noqa: E731
    layer = agree(make, numbers(shape), numbers(shape, 1), return_attention_scores=scores)
    symbols = [keras.Input((*shape[1:-2], None, shape[-1]), name=n) for n in ("q", "v")]
    model = keras.Model(symbols, layer(*symbols))
    for size in (shape[-2], 3):
        feed = {n: numbers((4, *shape[1:-2], size, shape[-1]), i) for i, n in enumerate(("q", "v"))}
        (got,) = export_and_run(model, feed)[0]
        close(got, array(layer(*feed.values())), 2e-5)


def test_attention_over_other_axes_of_the_values() -> None:
    """The keys' attended axis may have another size; a mask [B, T, S] reaches over batch axes and heads."""
    query, value = numbers((2, 3, 4, 5)), numbers((2, 6, 4, 5), 1)
    make = lambda L: L.MultiHeadAttention(2, 3, attention_axes=1)  # noqa: E731
    agree(make, query, value)
    visible = np.random.default_rng(3).random((2, 3, 6)) > 0.4
    visible[..., 0] = True
    agree(make, query, value, attention_mask=visible)
    agree(make, numbers((2, 4, 3, 5)), numbers((2, 4, 3, 5), 1), use_causal_mask=True)
    both = np.random.default_rng(3).random((2, 3, 4, 6, 4)) > 0.4
    both[..., 0, 0] = True
    agree(lambda L: L.MultiHeadAttention(2, 3, attention_axes=(1, 2)), query, value, attention_mask=both)


@pytest.mark.parametrize("layer", HEADS)
def test_activity_regularizer(layer: str) -> None:
    """Of each projection; in GroupQueryAttention of the output too."""
    made, theirs = (
        getattr(room.layers, layer)(**HEADS[layer], activity_regularizer="l2", use_gate=True) for room in (keras, real)
    )
    made(steps(), steps())
    theirs(steps(), steps())
    theirs.set_weights(made.get_weights())
    made(steps(), steps())
    theirs(steps(), steps())
    ours, wanted = (sum(array(x) for x in layer.losses) for layer in (made, theirs))
    close(ours, wanted)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"num_heads": 0}, "num_heads"), ({"key_dim": -1}, "key_dim"), ({"value_dim": 2.5}, "value_dim"),
    ({"sliding_window": 0}, "sliding_window"), ({"attention_axes": "1"}, "attention_axes"),
    ({"flash_attention": True, "dropout": 0.1}, "flash"),
]  # fmt: skip


@pytest.mark.parametrize("config, words", REFUSED, ids=str)
def test_refused_as_in_keras(config: dict[str, Any], words: str) -> None:
    for room in (keras, real):
        with pytest.raises(ValueError, match=f"(?i){words}"):
            room.layers.MultiHeadAttention(**{"num_heads": 2, "key_dim": 3, **config})


def test_calls_refused_by_name() -> None:
    image = numbers(IMAGE)
    with pytest.raises(ValueError, match=r"'it'.*one attention axis"):
        keras.layers.MultiHeadAttention(2, 3, name="it")(image, image, use_causal_mask=True)
    with pytest.raises(ValueError, match="flash"):
        keras.layers.MultiHeadAttention(2, 3, flash_attention=True)(steps(), steps(), return_attention_scores=True)
    with pytest.raises(ValueError, match="must be equal"):
        keras.layers.MultiHeadAttention(2, 3)(steps(), steps(), steps(length=3))


@pytest.mark.parametrize("cap", [0.5, 5.0])
@pytest.mark.parametrize("causal", [False, True])
def test_soft_cap(cap: float, causal: bool) -> None:
    """Scores s become cap tanh(s / cap): Keras computes it on TPUs only, so the formula is the oracle."""
    q, k, v = (numbers((2, 5, 3, 4), i) for i in range(3))
    scores = np.einsum("btnh,bsnh->bnts", q, k) / 2
    scores = cap * np.tanh(scores / cap)
    scores = np.where(np.tri(5, dtype=bool), scores, -np.inf) if causal else scores
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wanted = np.einsum("bnts,bsnh->btnh", weights, v).astype("float32")
    call = lambda *x: keras.ops.dot_product_attention(*x, is_causal=causal, attn_logits_soft_cap=cap)  # noqa: E731
    close(array(call(q, k, v)), wanted)
    x = [keras.Input((None, 3, 4), name=n) for n in "qkv"]
    (got,) = export_and_run(keras.Model(x, call(*x)), {"q": q, "k": k, "v": v})[0]
    close(got, wanted)


@pytest.mark.parametrize("layer, options", [(n, {"use_gate": g}) for n in HEADS for g in (False, True)], ids=str)
def test_files_are_kerass(layer: str, options: dict[str, Any], tmp_path: Any) -> None:
    """Written by either Keras, read by the other: names of classes, and of projections in the weights."""
    x = numbers((2, 4, 5))
    for writer, reader in ((keras, real), (real, keras)):
        start = writer.Input((None, 5))
        model = writer.Model(start, getattr(writer.layers, layer)(**HEADS[layer], **options)(start, start))
        model.save(tmp_path / "m.keras")
        close(array(reader.models.load_model(tmp_path / "m.keras")(x)), array(model(x)))


def test_softmax_of_masked_rows() -> None:
    x, seen = numbers((2, 3, 4)), np.random.default_rng(1).random((2, 3, 4)) > 0.4
    seen[0, 1] = False
    close(array(keras.layers.Softmax()(x, mask=seen)), array(real.layers.Softmax()(x, mask=seen)))


def test_dropout_trains() -> None:
    layer = keras.layers.MultiHeadAttention(2, 3, dropout=0.5, attention_axes=(1, 2), seed=1)
    x = numbers(IMAGE)
    assert not np.allclose(array(layer(x, x, training=True)), array(layer(x, x)))
