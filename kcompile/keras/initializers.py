"""Initialisers: how variables start. Computed in numpy, so that building a model needs no torch."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kcompile.ir import dtype as ir_dtype
from kcompile.keras import config
from kcompile.keras.random_state import SeedGenerator, make_seed
from kcompile.keras.saving.lookup import find
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object

_LOADING: contextvars.ContextVar[bool] = contextvars.ContextVar("kcompile_loading", default=False)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Variables made within start at zero: a file's weights take their place.

    Zeros take no memory before they are written to, so a file whose config claims huge layers costs
    nothing until its weights prove to be there.
    """
    token = _LOADING.set(True)
    try:
        yield
    finally:
        _LOADING.reset(token)


def starting(initializer: Any) -> Any:
    """The initialiser for a new variable: zeros while loading."""
    return Zeros() if _LOADING.get() else initializer


class Initializer:
    """Called with a shape and a dtype, gives the array."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__`")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def clone(self) -> Initializer:
        return type(self).from_config(self.get_config())


def _numpy_dtype(dtype: Any) -> np.dtype:
    return ir_dtype(dtype or config.floatx()).numpy


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.zeros(tuple(shape), _numpy_dtype(dtype))


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.ones(tuple(shape), _numpy_dtype(dtype))


class Constant(Initializer):
    """All the same number (or a given array)."""

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.value, _numpy_dtype(dtype)), tuple(shape)).copy()

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class Identity(Initializer):
    """``gain`` on the diagonal of a matrix."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity matrix initializer can only be used for 2D matrices. Received: shape={shape}")
        return (self.gain * np.eye(shape[0], shape[1])).astype(_numpy_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of random ones: the same object gives the same numbers for the same shape, as Keras's do."""

    def __init__(self, seed: Any = None):
        self._init_seed = seed
        self.seed = make_seed() if seed is None else seed

    def _generator(self) -> np.random.Generator:
        if isinstance(self.seed, SeedGenerator):
            state = self.seed.state.numpy()
            self.seed.state.assign(state + np.array([0, 1]))
            return np.random.default_rng([int(v) for v in state])
        return np.random.default_rng(int(self.seed))

    def get_config(self) -> dict[str, Any]:
        seed = self._init_seed
        return {"seed": seed.get_config() if isinstance(seed, SeedGenerator) else seed}


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers within two deviations: what falls outside is drawn again."""
    values = generator.standard_normal(shape)
    while True:
        outside = np.abs(values) > 2
        count = int(outside.sum())
        if not count:
            return values
        values[outside] = generator.standard_normal(count)


class RandomNormal(RandomInitializer):
    """Normal numbers."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return (self.mean + self.stddev * self._generator().standard_normal(tuple(shape))).astype(_numpy_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal numbers, none further than two deviations from the mean."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        values = _truncated_normal(self._generator(), tuple(shape))
        return (self.mean + self.stddev * values).astype(_numpy_dtype(dtype))


class RandomUniform(RandomInitializer):
    """Uniform numbers in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return self._generator().uniform(self.minval, self.maxval, tuple(shape)).astype(_numpy_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[float, float]:
    """(fan in, fan out) of a kernel [*window, in, out], or of one whose axes are named."""
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return float(math.prod(shape[a] for a in input_axes)), float(math.prod(shape[a] for a in output_axes))
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    window = math.prod(shape[:-2])
    return float(shape[-2] * window), float(shape[-1] * window)


class VarianceScaling(RandomInitializer):
    """Numbers whose variance is scale / fan (Glorot & Bengio 2010, He et al. 2015, LeCun et al. 1998)."""

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        if scale <= 0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"Invalid `mode` argument: {mode}. Please use one of fan_in, fan_out, fan_avg")
        distribution = {"normal": "truncated_normal"}.get(distribution.lower(), distribution.lower())
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(f"Invalid `distribution` argument: {distribution}.")
        super().__init__(seed)
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        generator, dims = self._generator(), tuple(shape)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            values = generator.uniform(-limit, limit, dims)
        elif self.distribution == "truncated_normal":
            # A standard normal cut at two deviations has this deviation.
            values = _truncated_normal(generator, dims) * (math.sqrt(variance) / 0.87962566103423978)
        else:
            values = generator.standard_normal(dims) * math.sqrt(variance)
        return values.astype(_numpy_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        own = {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
        return {**super().get_config(), **own, "input_axes": self.input_axes, "output_axes": self.output_axes}


def _scaled(name: str, scale: float, mode: str, distribution: str, doc: str) -> type[VarianceScaling]:
    def __init__(self: Any, seed: Any = None, input_axes: Any = None, output_axes: Any = None) -> None:
        VarianceScaling.__init__(self, scale, mode, distribution, seed, input_axes, output_axes)

    def get_config(self: Any) -> dict[str, Any]:
        axes = {"input_axes": self.input_axes, "output_axes": self.output_axes}
        return {**RandomInitializer.get_config(self), **axes}

    members = {"__init__": __init__, "get_config": get_config, "__doc__": doc, "__module__": __name__}
    return type(name, (VarianceScaling,), members)


GlorotUniform = _scaled("GlorotUniform", 1.0, "fan_avg", "uniform", "Uniform, variance 1 / mean of the fans.")
GlorotNormal = _scaled("GlorotNormal", 1.0, "fan_avg", "truncated_normal", "Normal, variance 1 / mean of the fans.")
HeUniform = _scaled("HeUniform", 2.0, "fan_in", "uniform", "Uniform, variance 2 / fan in.")
HeNormal = _scaled("HeNormal", 2.0, "fan_in", "truncated_normal", "Normal, variance 2 / fan in.")
LecunUniform = _scaled("LecunUniform", 1.0, "fan_in", "uniform", "Uniform, variance 1 / fan in.")
LecunNormal = _scaled("LecunNormal", 1.0, "fan_in", "truncated_normal", "Normal, variance 1 / fan in.")


class Orthogonal(RandomInitializer):
    """A random matrix with orthonormal rows or columns (Saxe et al. 2014), the last axis being the columns."""

    def __init__(self, gain: float = 1.0, seed: Any = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"The tensor to initialize must be at least two-dimensional. Received: shape={shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        values = self._generator().standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(values)
        q = q * np.sign(np.diag(r))
        q = q.T if rows < columns else q
        return (self.gain * q.reshape(tuple(shape))).astype(_numpy_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


def _cosines(*weights: float) -> Callable[[int], np.ndarray]:
    """A window that is a sum of cosines of these weights, their signs alternating."""

    def window(count: int) -> np.ndarray:
        angle = 2 * np.pi * np.arange(count) / max(count - 1, 1)
        return sum(((-1) ** i * w * np.cos(i * angle) for i, w in enumerate(weights)), np.zeros(count))

    return window


# Symmetric windows (Harris 1978) under the names of scipy.signal.windows.
_WINDOWS: dict[str, Callable[[int], np.ndarray]] = {
    "hann": _cosines(0.5, 0.5), "hamming": _cosines(0.54, 0.46), "blackman": _cosines(0.42, 0.5, 0.08),
    "bartlett": np.bartlett, "boxcar": np.ones,
    "blackmanharris": _cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "nuttall": _cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411),
}  # fmt: skip


class STFT(Initializer):
    """A convolution's kernel [T, 1, F // 2 + 1] that computes one part of a short-time Fourier transform.

    ``side`` is real or imag; ``window`` a name, an array [T] or None; ``scaling`` density, spectrum or
    None; ``periodic`` leaves the window's last point, which equals its first, out.
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ):
        if side not in ("real", "imag"):
            raise ValueError(f"side should be 'real' or 'imag', not {side}")
        if isinstance(window, str) and window not in _WINDOWS:
            raise ValueError(f"Unknown window {window!r}: use one of {', '.join(_WINDOWS)}, or give its values")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(f"Scaling must be None, 'density' or 'spectrum'. Received scaling={scaling}")
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        length, _, bands = shape
        angle = -2 * np.pi * np.arange(length)[:, None, None] * np.arange(bands) / ((bands - 1) * 2)
        kernel = np.cos(angle) if self.side == "real" else np.sin(angle)
        window = self._window(length)
        if window is not None:
            kernel = kernel * window[:, None, None]
            if self.scaling == "density":
                kernel = kernel / np.sqrt(np.sum(window**2))
            elif self.scaling == "spectrum":
                kernel = kernel / np.sum(np.abs(window))
        return kernel.astype(_numpy_dtype(dtype))

    def _window(self, length: int) -> np.ndarray | None:
        if self.window is None:
            return None
        if isinstance(self.window, str):
            return _WINDOWS[self.window](length + 1)[:-1] if self.periodic else _WINDOWS[self.window](length)
        given = np.asarray(self.window, np.float64)
        if given.shape != (length,):
            raise ValueError(f"The shape of `window` must be equal to [frame_length]. Received: {given.shape}")
        return given

    def get_config(self) -> dict[str, Any]:
        return {"side": self.side, "window": self.window, "periodic": self.periodic, "scaling": self.scaling}


OrthogonalInitializer, IdentityInitializer, STFTInitializer = Orthogonal, Identity, STFT
stft = STFT
zeros, ones, constant, identity, orthogonal = Zeros, Ones, Constant, Identity, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, glorot_uniform, glorot_normal = VarianceScaling, GlorotUniform, GlorotNormal
he_uniform, he_normal, lecun_uniform, lecun_normal = HeUniform, HeNormal, LecunUniform, LecunNormal

CLASSES: tuple[type[Initializer], ...] = (
    Zeros, Ones, Constant, Identity, RandomNormal, TruncatedNormal, RandomUniform, VarianceScaling, GlorotUniform,
    GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal, STFT,
)  # fmt: skip
_ALIASES = {"uniform": RandomUniform, "normal": RandomNormal, "zero": Zeros, "one": Ones}


def get(identifier: Any) -> Any:
    """The initialiser for a name, a config, a class, an array or a callable; None stays None."""
    if isinstance(identifier, np.ndarray):
        return Constant(identifier)
    return find(identifier, CLASSES, "initializer", _ALIASES)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """The config of an initialiser."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initialiser of a config."""
    return deserialize_keras_object(config, custom_objects)
