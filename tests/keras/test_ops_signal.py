"""Linear algebra and Fourier transforms of keras.ops against real Keras, and what ONNX has not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompile.errors import UnsupportedError
from kcompile.keras import ops
from tests.keras.support import array, arrays, close, export_and_run, keras, numbers, real
from tests.keras.test_ops import NONE, A, Row, compare

SQUARE, TALL, WIDE = numbers((2, 4, 4)), numbers((2, 5, 3)), numbers((3, 5), 1)
POSITIVE = (SQUARE @ SQUARE.transpose(0, 2, 1) + np.eye(4)).astype("float32")
FACTOR = np.linalg.cholesky(POSITIVE)
THIN = np.concatenate([TALL[0], TALL[0][:, :1]], 1)
RIGHT, VECTORS = numbers((2, 4, 3), 1), numbers((2, 4), 2)
LINE, BATCH, PAIR = numbers((40,)), numbers((2, 3, 40)), (numbers((2, 8)), numbers((2, 8), 1))
SPECTRUM = (numbers((2, 5)), numbers((2, 5), 1))

# ONNX has these: compared there too.
ROWS: dict[str, list[Row]] = {
    "det": [((SQUARE,), NONE), ((SQUARE[0],), NONE)],
    "slogdet": [((SQUARE,), NONE)],
    "logdet": [((SQUARE,), NONE), ((POSITIVE,), NONE)],
    "norm": [
        ((A,), NONE), ((A,), {"axis": 1}), ((A,), {"axis": -1, "ord": 1, "keepdims": True}), ((A,), {"axis": 1, "ord": 3}),
        ((A,), {"axis": 1, "ord": np.inf}), ((A,), {"axis": 1, "ord": -np.inf}), ((A,), {"axis": 1, "ord": 0}),
        ((A,), {"axis": (1, 2)}), ((A,), {"axis": (1, 2), "ord": "fro"}), ((A,), {"axis": (1, 2), "ord": 1}),
        ((A,), {"axis": (2, 0), "ord": np.inf, "keepdims": True}), ((A,), {"axis": (1, 2), "ord": -1}), ((WIDE,), {"ord": -np.inf}),
        ((LINE,), {"ord": 1.5}),
    ],
    "fft": [((PAIR,), NONE), (((numbers((7,)), numbers((7,), 1)),), NONE)],
    "fft2": [((PAIR,), NONE)],
    "ifft2": [((PAIR,), NONE)],
    "rfft": [((BATCH,), NONE), ((BATCH,), {"fft_length": 64}), ((BATCH,), {"fft_length": 15}), ((LINE[:7],), NONE)],
    "irfft": [((SPECTRUM,), NONE), ((SPECTRUM,), {"fft_length": 9}), ((SPECTRUM,), {"fft_length": 6}), ((SPECTRUM,), {"fft_length": 16})],
    "stft": [
        ((x,), {"sequence_length": 8, "sequence_stride": 4, "fft_length": 8, **o})
        for x in (LINE, BATCH)
        for o in (NONE, {"fft_length": 12}, {"window": "hamming", "sequence_stride": 3}, {"window": None}, {"center": False},
                  {"window": np.arange(1, 9).astype("float32")})
    ],
    "istft": [
        ((tuple(arrays(real.ops.stft(x, 8, 4, n))),), {"sequence_length": 8, "sequence_stride": 4, "fft_length": n, **o})
        for x in (LINE, BATCH)
        for n, o in ((8, NONE), (8, {"length": 33}), (8, {"window": None}), (12, NONE), (12, {"center": False}), (8, {"center": False}),
                     (8, {"window": "hamming"}), (12, {"length": 20}))
    ],
}  # fmt: skip
CASES = [(name, i) for name, given in ROWS.items() for i in range(len(given))]


@pytest.mark.parametrize("name, index", CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_ops(name: str, index: int) -> None:
    compare(name, *ROWS[name][index])


# ONNX has not these. name, arguments, options.
TORCH: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("cholesky", (POSITIVE,), {}), ("cholesky", (POSITIVE,), {"upper": True}), ("cholesky_inverse", (FACTOR,), {}),
    ("cholesky_inverse", (FACTOR.transpose(0, 2, 1).copy(),), {"upper": True}), ("inv", (SQUARE,), {}), ("solve", (SQUARE, RIGHT), {}),
    ("solve", (SQUARE[0], VECTORS[0]), {}), ("solve_triangular", (FACTOR, RIGHT), {"lower": True}),
    ("solve_triangular", (POSITIVE, RIGHT), {}), ("solve_triangular", (POSITIVE[0], VECTORS[0]), {"lower": True}), ("qr", (TALL,), {}),
    ("qr", (TALL,), {"mode": "complete"}), ("svd", (TALL,), {}), ("svd", (TALL,), {"full_matrices": False}), ("svd", (WIDE,), {"compute_uv": False}),
    ("eigh", (POSITIVE,), {}), ("lu_factor", (SQUARE,), {}), ("pinv", (TALL,), {}), ("pinv", (THIN,), {}), ("pinv", (WIDE,), {"rcond": 0.3}),
    ("lstsq", (TALL[0], VECTORS[0].repeat(2)[:5]), {}), ("lstsq", (TALL[0], numbers((5, 2))), {}), ("lstsq", (THIN, numbers((5, 2))), {"rcond": 1e-4}),
    ("matrix_rank", (TALL,), {}), ("matrix_rank", (THIN,), {}), ("matrix_rank", (WIDE,), {"tol": 2.0}),
    ("norm", (A,), {"ord": 2, "axis": (1, 2)}), ("norm", (A,), {"ord": -2, "axis": (1, 2), "keepdims": True}), ("norm", (WIDE,), {"ord": "nuc"}),
]  # fmt: skip
OTHERS = {name for name, *_ in TORCH}


@pytest.mark.parametrize("name, given, options", TORCH, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(TORCH)])
def test_in_torch_alone(name: str, given: Any, options: Any) -> None:
    wanted = arrays(getattr(real.ops, name)(*map(real.ops.convert_to_tensor, given), **options))
    function = getattr(ops, name)
    for a, b in zip(arrays(function(*map(ops.convert_to_tensor, given), **options)), wanted, strict=True):
        close(a, b, 5e-5)  # systems of condition 10 to 100
    inputs = [keras.Input(batch_shape=x.shape, name=f"x{i}") for i, x in enumerate(given)]
    outputs = function(*inputs, **options)
    assert [tuple(t.shape) for t in keras.tree.leaves(outputs)] == [w.shape for w in wanted]
    with pytest.raises(UnsupportedError, match="ONNX has no such operator"):
        export_and_run(keras.Model(inputs, outputs), {f"x{i}": x for i, x in enumerate(given)})


def test_gradients_flow() -> None:
    import torch

    x = torch.tensor(POSITIVE, requires_grad=True)
    for function in (ops.det, ops.inv, ops.cholesky, lambda v: ops.svd(v, compute_uv=False), lambda v: ops.rfft(v)[0]):
        (gradient,) = torch.autograd.grad(ops.sum(function(x)), x)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_free_lengths() -> None:
    """A spectrogram of a signal of any length, and the signal back."""

    class Layer(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            spectrum = ops.stft(x, 8, 4, 8)
            return spectrum[0], ops.istft(spectrum, 8, 4, 8)

    x = keras.Input((None,), name="x")
    model = keras.Model(x, Layer()(x))
    for length in (16, 40, 12):
        given = numbers((3, length))
        spectrum, signal = export_and_run(model, {"x": given})[0]
        close(spectrum, array(real.ops.stft(given, 8, 4, 8)[0]), 2e-5)
        close(signal, given, 2e-5)


REFUSED: list[tuple[Any, str]] = [
    (lambda: ops.stft(LINE, 8, 4, 4), "fft_length"), (lambda: ops.stft(LINE, 8, 4, 8, window="odd"), "window"),
    (lambda: ops.stft(LINE, 8, 4, 8, window=np.ones(3)), "window"), (lambda: ops.fft([LINE]), "tuple"), (lambda: ops.fft((LINE, LINE[:3])), "same shape"),
    (lambda: ops.qr(TALL, mode="odd"), "mode"), (lambda: ops.norm(A, ord=2), "axes"), (lambda: ops.norm(A, ord="nuc", axis=1), "matrices"),
    (lambda: ops.norm(A, ord=7, axis=(0, 1)), "no norm"),
]  # fmt: skip


@pytest.mark.parametrize("call, words", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused_by_name(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
