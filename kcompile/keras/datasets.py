"""`keras.datasets`: what lies in ``~/.keras/datasets`` already; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, MissingError, printable
from kcompile.keras.submodules import submodule

FOLDER = Path("~/.keras/datasets")
ELSEWHERE = {
    "mnist": "sklearn.datasets.load_digits is small and ships with scikit-learn",
    "boston_housing": "sklearn.datasets.load_diabetes ships with scikit-learn",
    "california_housing": "sklearn.datasets.load_diabetes ships with scikit-learn",
}
NONE_SHIPPED = "make arrays of your own, or fetch the file once with real Keras"


def _arrays(name: str, file: str) -> dict[str, np.ndarray]:
    """The arrays of a file in the cache. Raises MissingError where it is not there, FileFormatError where damaged."""
    path = (FOLDER / file).expanduser()
    if not path.is_file():
        raise MissingError(
            f"keras.datasets.{name}: kcompile downloads nothing and {path} is not there; "
            f"{ELSEWHERE.get(name, NONE_SHIPPED)}"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {k: stored[k] for k in stored.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise FileFormatError(f"{path}: can't be read as plain arrays: {printable(error)}") from error


def _mnist(path: str = "mnist.npz") -> Any:
    """((x, y), (x, y)) of training and test images, uint8."""
    stored = _arrays("mnist", path)
    return (stored["x_train"], stored["y_train"]), (stored["x_test"], stored["y_test"])


def _housing(name: str, file: str) -> Callable[..., Any]:
    def load_data(path: str = file, test_split: float = 0.2, seed: int = 113) -> Any:
        """((x, y), (x, y)) of training and test rows, shuffled by the seed."""
        stored = _arrays(name, path)
        order = np.random.RandomState(seed).permutation(len(stored["x"]))
        x, y = stored["x"][order], stored["y"][order]
        at = int(len(x) * (1 - test_split))
        return (x[:at], y[:at]), (x[at:], y[at:])

    return load_data


def _absent(name: str) -> Callable[..., Any]:
    def load_data(*args: Any, **kwargs: Any) -> Any:
        """Raises MissingError: this dataset is only to be had by a download."""
        raise MissingError(f"keras.datasets.{name}: kcompile downloads nothing; {ELSEWHERE.get(name, NONE_SHIPPED)}")

    return load_data


LOADERS: dict[str, Callable[..., Any]] = {
    "mnist": _mnist,
    "boston_housing": _housing("boston_housing", "boston_housing.npz"),
    **{n: _absent(n) for n in ("cifar10", "cifar100", "fashion_mnist", "imdb", "reuters", "california_housing")},
}
mnist, boston_housing, cifar10, cifar100, fashion_mnist, imdb, reuters, california_housing = (
    submodule(f"{__name__}.{name}", f"The dataset {name}.", load_data=load) for name, load in LOADERS.items()
)
