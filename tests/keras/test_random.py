"""keras.random: distributions, seeds, traces and files; real Keras draws other numbers of the same distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from kcompile.errors import UnsupportedError
from tests.keras.support import array, export_and_run, keras, numbers, real

random = keras.random
LOGITS = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-9]], "float32"))
SHARES = np.exp(LOGITS.astype("float64"))

CALLS: dict[str, Any] = {
    "categorical": lambda room, seed: room.random.categorical(LOGITS, 4000, seed=seed),
    "shuffle": lambda room, seed: room.random.shuffle(np.arange(4000).reshape(1000, 4), seed=seed),
    "gamma": lambda room, seed: room.random.gamma((4000,), 0.7, seed=seed),
    "beta": lambda room, seed: room.random.beta((4000,), 2.0, 3.0, seed=seed),
    "binomial": lambda room, seed: room.random.binomial((4000,), 5.0, 0.3, seed=seed),
}
CDF = {"gamma": stats.gamma(0.7).cdf, "beta": stats.beta(2, 3).cdf}


def check_shares(drawn: np.ndarray) -> None:
    for row, shares in zip(drawn, SHARES, strict=True):
        counts = np.bincount(row, minlength=3)
        likely = shares > 1e-6
        assert not counts[~likely].any()
        assert stats.chisquare(counts[likely], shares[likely] / shares[likely].sum() * counts.sum()).pvalue > 1e-5


@pytest.mark.parametrize("seed", [None, 3, "generator"])
@pytest.mark.parametrize("name", CALLS)
def test_distribution(name: str, seed: Any) -> None:
    made = array(CALLS[name](keras, random.SeedGenerator(2) if seed == "generator" else seed))
    theirs = array(CALLS[name](real, 3))
    assert (made.dtype, made.shape) == (theirs.dtype, theirs.shape)
    if name in CDF:
        assert stats.kstest(made, CDF[name]).pvalue > 1e-5
    elif name == "binomial":
        assert stats.binomtest(int(made.sum()), 20000, 0.3).pvalue > 1e-5
    elif name == "categorical":
        check_shares(made)
    else:
        assert not np.array_equal(made, np.sort(made, 0))
        np.testing.assert_array_equal(made[np.argsort(made[:, 0])], np.arange(4000).reshape(1000, 4))


@pytest.mark.parametrize("name", CALLS)
def test_seeds(name: str) -> None:
    draw = lambda seed: array(CALLS[name](keras, seed))  # noqa: E731
    np.testing.assert_array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))
    generators = [random.SeedGenerator(7), random.SeedGenerator(7)]
    first, second = draw(generators[0]), draw(generators[0])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, draw(generators[1]))
    assert not np.array_equal(draw(None), draw(None))


def test_shapes_and_parameters() -> None:
    assert array(random.gamma((3, 2), np.array([[1.0], [2.0], [3.0]]))).shape == (3, 2)
    assert array(random.beta((2,), [0.5, 0.5], 1.0, dtype="float64")).dtype == np.float64
    counts = array(random.binomial((500, 2), np.array([0, 4]), 1.0))
    np.testing.assert_array_equal(counts, np.broadcast_to([0, 4], (500, 2)))
    x = numbers((2, 50))
    np.testing.assert_array_equal(np.sort(array(random.shuffle(x, axis=1)), 1), np.sort(x, 1))
    assert array(random.categorical(LOGITS, 5, dtype="int64")).dtype == np.int64
    with pytest.raises(ValueError, match="categorical"):
        random.categorical(LOGITS[0], 5)


class Draw(keras.layers.Layer):
    """A layer that draws on its input by a generator of its own."""

    def __init__(self, function: Any, seed: int | None = None):
        super().__init__()
        self.function, self.generator = function, random.SeedGenerator(seed)

    def call(self, x: Any) -> Any:
        return self.function(x, self.generator)


def as_model(function: Any, seed: int | None = None) -> Any:
    x = keras.Input((3,), name="x")
    return keras.Model(x, Draw(function, seed)(x))


@pytest.mark.parametrize("seed", [None, 3])
def test_files_draw_too(seed: int | None) -> None:
    model = as_model(lambda x, g: random.categorical(x, 4000, seed=g), seed)
    check_shares(array(model(LOGITS)))
    check_shares(export_and_run(model, {"x": LOGITS})[0][0])
    x = numbers((200, 3))
    model = as_model(lambda x, g: random.shuffle(x, seed=g), seed)
    for got in (model.predict(x, verbose=0, batch_size=200), export_and_run(model, {"x": x})[0][0]):
        assert not np.array_equal(got, x)
        np.testing.assert_array_equal(got[np.argsort(got[:, 0])], x[np.argsort(x[:, 0])])


@pytest.mark.parametrize("name", ["gamma", "beta", "binomial"])
def test_what_onnx_has_not_is_refused(name: str) -> None:
    parameters = {"gamma": (1.0,), "beta": (1.0, 2.0), "binomial": (3.0, 0.5)}[name]
    model = as_model(lambda x, g: x + getattr(random, name)((3,), *parameters, seed=g))
    assert np.isfinite(model.predict(numbers((4, 3)), verbose=0)).all()
    with pytest.raises(UnsupportedError, match=r"random_gamma|random_binomial"):
        export_and_run(model, {"x": numbers((4, 3))})
