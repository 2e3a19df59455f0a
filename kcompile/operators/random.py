"""Random tensors. Each drawing has its own ``draw`` number, so that two of equal form stay two.

With a ``seed`` operand (int64 [2]: seed, counter) torch draws from a generator of that seed. ONNX
has no such operand: its numbers are of the same distribution but not the same, and they repeat
from session to session only where the seed is a constant (the nodes' ``seed`` attribute).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import DType, Op, Type, Value, constant
from kcompile.ir.dims import Dim, DimLike
from kcompile.ir.op import unsupported
from kcompile.ir.shapes import broadcast
from kcompile.ir.types import f32, f64, i32
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.math import ErfInv


def _check_seed(op: Op, seed: Type | None) -> None:
    fits = seed is None or (seed.dtype.name == "i64" and seed.shape == (2,))
    op.require(fits, f"seed must be int64 [2] (seed, counter), got {seed}")


def _onnx_seed(o: Any, seed: str | None, draw: int) -> float | None:
    """The attribute for a constant seed: a float, so 24 bits of it."""
    known = o.value_of(seed)
    if known is None:
        return None
    first, counter = known.tolist()
    # Odd constants (of the golden ratio and of pi) spread the counter and the draw over the bits.
    return float((first ^ (counter * 0x9E3779B9) ^ (draw * 0x243F6A88)) & 0xFFFFFF)


class _Random(Op):
    """A tensor of a given shape."""

    shape: tuple[DimLike, ...]

    def runs_opaque(self, operands: Sequence[Any]) -> bool:
        # The generator's state is read from the seed tensor when the model runs.
        return any(v is not None for v in operands)

    def infer(self, seed: Type | None = None) -> Type:
        _check_seed(self, seed)
        dtype: DType = self.dtype  # type: ignore[attr-defined]
        kind = "an integer" if isinstance(self, RandomInteger) else "a float"
        self.require(dtype.is_integer if isinstance(self, RandomInteger) else dtype.is_float, f"dtype must be {kind}")
        return Type(dtype, self.shape)

    def _draw(self, o: Any, op_type: str, dtype: DType, seed: str | None, **attributes: float) -> str:
        """A Random* node, on a tensor of the shape where that is symbolic."""
        # The operators draw float32 and float64 only.
        drawn = f64 if dtype is f64 else f32
        fields: dict[str, Any] = {k: float(v) for k, v in attributes.items()}
        fields |= {"dtype": o.element_type(drawn), "seed": _onnx_seed(o, seed, self.draw)}  # type: ignore[attr-defined]
        if any(isinstance(d, Dim) for d in self.shape):
            x = o.node(f"{op_type}Like", o.Expand(o.like(0, drawn), o.shape(self.shape)), **fields)
        else:
            x = o.node(op_type, shape=list(self.shape), **fields)
        return x if drawn is dtype else o.cast(x, dtype)


class RandomUniform(_Random, name="random_uniform"):
    """Floats evenly from [low, high), of the given shape; ONNX RandomUniform."""

    low: float = 0.0
    high: float = 1.0
    dtype: DType = f32
    draw: int = 0

    def torch(self, t: Any, seed: Any = None) -> Any:
        x = t.rand(
            t.shape(self.shape), generator=t.generator(seed, self.draw), dtype=t.dtype(self.dtype), device=t.device
        )
        return x * (self.high - self.low) + self.low

    def onnx(self, o: Any, seed: str | None = None) -> str:
        return self._draw(o, "RandomUniform", self.dtype, seed, low=self.low, high=self.high)


class RandomNormal(_Random, name="random_normal"):
    """Normally distributed floats of the given shape; ONNX RandomNormal."""

    mean: float = 0.0
    stddev: float = 1.0
    dtype: DType = f32
    draw: int = 0

    def torch(self, t: Any, seed: Any = None) -> Any:
        x = t.randn(
            t.shape(self.shape), generator=t.generator(seed, self.draw), dtype=t.dtype(self.dtype), device=t.device
        )
        return x * self.stddev + self.mean

    def onnx(self, o: Any, seed: str | None = None) -> str:
        return self._draw(o, "RandomNormal", self.dtype, seed, mean=self.mean, scale=self.stddev)


class TruncatedNormal(_Random, name="truncated_normal"):
    """Normally distributed floats within two standard deviations of the mean, by the inverse distribution."""

    mean: float = 0.0
    stddev: float = 1.0
    dtype: DType = f32
    draw: int = 0

    def decompose(self, seed: Value | None = None) -> Value:
        # erf(2 / sqrt(2)): the share of a normal distribution within two deviations.
        share = 0.9544997361036416
        uniform = RandomUniform(self.shape, -share, share, self.dtype, self.draw)(seed)
        scaled = Multiply()(ErfInv()(uniform), constant(2**0.5 * self.stddev, self.dtype))
        return Add()(scaled, constant(self.mean, self.dtype))


class RandomInteger(_Random, name="random_integer"):
    """Integers evenly from low up to but without high, of the given shape; ONNX RandomUniform, rounded down."""

    low: int
    high: int
    dtype: DType = i32
    draw: int = 0

    def torch(self, t: Any, seed: Any = None) -> Any:
        return t.randint(
            self.low,
            self.high,
            t.shape(self.shape),
            generator=t.generator(seed, self.draw),
            dtype=t.dtype(self.dtype),
            device=t.device,
        )

    def onnx(self, o: Any, seed: str | None = None) -> str:
        from_zero = self._draw(o, "RandomUniform", f64, seed, low=0.0, high=1.0)
        # In double: the attributes low and high are float32, which has not every integer.
        # Floor comes before low: added to a large low, a fraction near 1 would round up to high.
        steps = o.Floor(o.Mul(from_zero, o.like(self.high - self.low, f64)))
        return o.cast(o.Add(steps, o.like(self.low, f64)), self.dtype)


class DropoutNoise(_Random, name="dropout_noise"):
    """0 with probability ``rate``, else 1 / (1 - rate), of the given shape: what `Dropout` multiplies by."""

    rate: float
    dtype: DType = f32
    draw: int = 0

    def infer(self, seed: Type | None = None) -> Type:
        self.require(0 <= self.rate < 1, f"rate must be at least 0 and below 1, got {self.rate}")
        return super().infer(seed)

    def torch(self, t: Any, seed: Any = None) -> Any:
        generator = t.generator(seed, self.draw)
        return t.noise.dropout_noise(t.shape(self.shape), self.rate, t.dtype(self.dtype), t.device, generator)

    def onnx(self, o: Any, seed: str | None = None) -> str:
        kept = o.Less(self._draw(o, "RandomUniform", f32, seed, low=0.0, high=1.0), o.like(1 - self.rate, f32))
        return o.Where(kept, o.like(1 / (1 - self.rate), self.dtype), o.like(0, self.dtype))


class _Parametrised(Op):
    """A tensor of a given shape whose distribution differs from cell to cell, by float operands that broadcast to it."""

    torch_opaque = True

    shape: tuple[DimLike, ...]
    draw: int = 0

    def _result(self, seed: Type | None, *parameters: Type) -> Type:
        _check_seed(self, seed)
        first = parameters[0]
        for type in parameters:
            fits = type.dtype.is_float and type.dtype is first.dtype
            self.require(fits, f"parameters must be float tensors of one dtype, got {type}")
        self.require(
            len(broadcast(self.shape, *(p.shape for p in parameters))) == len(self.shape),
            f"parameters must broadcast to {list(self.shape)}",
        )
        return first.with_shape(self.shape)


class RandomGamma(_Parametrised, name="random_gamma"):
    """Numbers from gamma distributions of the given alphas and scale 1, of the given shape."""

    def infer(self, alpha: Type, seed: Type | None = None) -> Type:
        return self._result(seed, alpha)

    def torch(self, t: Any, alpha: Any, seed: Any = None) -> Any:
        alpha = alpha.expand(t.shape(self.shape))
        return t._standard_gamma(alpha.contiguous(), generator=t.generator(seed, self.draw))

    onnx = unsupported("ONNX draws from uniform and normal distributions only; draw outside of the model")


class RandomBinomial(_Parametrised, name="random_binomial"):
    """How many of so many trials (whole floats) succeed at a probability each, of the given shape."""

    def infer(self, counts: Type, probabilities: Type, seed: Type | None = None) -> Type:
        return self._result(seed, counts, probabilities)

    def torch(self, t: Any, counts: Any, probabilities: Any, seed: Any = None) -> Any:
        shape = t.shape(self.shape)
        counts, probabilities = (x.expand(shape).contiguous() for x in (counts, probabilities))
        return t.binomial(counts, probabilities, generator=t.generator(seed, self.draw))

    onnx = unsupported("ONNX draws from uniform and normal distributions only; draw outside of the model")


class Dropout(Op, name="dropout"):
    """x with each cell zeroed at the given rate and the others divided by 1 - rate; ONNX Dropout in training mode.

    ``noise_shape`` broadcasts to x: cells along its axes of size 1 share one decision; a None in it
    stands for x's size.
    """

    rate: float
    draw: int = 0
    noise_shape: tuple[DimLike | None, ...] | None = None

    def runs_opaque(self, operands: Sequence[Any]) -> bool:
        return any(v is not None for v in operands[1:])

    def infer(self, x: Type, seed: Type | None = None) -> Type:
        _check_seed(self, seed)
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
        self.require(0 <= self.rate <= 1, f"rate must be from 0 to 1, got {self.rate}")
        fits = self.noise_shape is None or len(self.noise_shape) == x.rank
        self.require(fits, f"noise_shape {self.noise_shape} must have an entry for each axis of {x}")
        return x

    def noise(self, x: Type) -> DropoutNoise:
        """What an operand of this type is multiplied by, where the rate is below 1."""
        shape = tuple(d if n is None else n for n, d in zip(self.noise_shape or x.shape, x.shape, strict=True))
        return DropoutNoise(shape, self.rate, x.dtype, self.draw)

    def torch(self, t: Any, x: Any, seed: Any = None) -> Any:
        if self.rate in (0, 1):
            return x * (1.0 - self.rate)
        if seed is None and self.noise_shape is None and t.device.type != "cpu":
            return t.nn.functional.dropout(x, self.rate, True)  # one kernel there
        return x * self.noise(t.inputs[0]).torch(t, seed)

    def onnx(self, o: Any, x: str, seed: str | None = None) -> str:
        type = o.inputs[0]
        if self.rate in (0, 1):
            return o.Mul(x, o.like(1.0 - self.rate, type.dtype))
        drawn = _onnx_seed(o, seed, self.draw)
        if self.noise_shape is None:
            number = None if drawn is None else int(drawn)
            training = o.array(True, "training")
            return o.Dropout(x, o.like(self.rate, f32), training, seed=number)
        return o.Mul(x, self.noise(type).onnx(o, seed))


# What draws numbers of its own; gamma and binomial numbers, which ONNX can't draw, are made in torch alone.
RANDOM = (RandomUniform, RandomNormal, TruncatedNormal, RandomInteger, Dropout, DropoutNoise)
