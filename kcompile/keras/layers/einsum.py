"""`EinsumDense`: a dense layer whose product is an einsum."""

from __future__ import annotations

from typing import Any

from kcompile.keras import activations, ops
from kcompile.keras.layers.lora import LowRank
from kcompile.keras.layers.parameters import add_parameter, get_parameters, serialized


class EinsumDense(LowRank):
    """activation(einsum(equation, x, kernel) + bias); ``bias_axes`` names the output axes that the bias has."""

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        gptq_unpacked_column_size: int | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if quantization_config is not None:
            raise ValueError(f"layer {self.name!r}: quantization_config is not supported; leave it None")
        self._take_lora(lora_rank, lora_alpha)
        self.equation, self.bias_axes = equation, bias_axes
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        get_parameters(self, locals(), "kernel", "bias")

    def build(self, input_shape: Any) -> None:
        kernel, bias = einsum_shapes(self.equation, self.bias_axes, input_shape, self.partial_output_shape)
        self.kernel = add_parameter(self, "kernel", kernel)
        self.bias = None if bias is None else add_parameter(self, "bias", bias)
        self._add_lora()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = ops.einsum(self.equation, inputs, self._weight())
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_shape": self.partial_output_shape,
            "equation": self.equation,
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
            **serialized(self, "kernel", "bias"),
            "quantization_config": None,
        }


def einsum_shapes(
    equation: str, bias_axes: str | None, input_shape: Any, output_shape: Any
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """(kernel shape, bias shape or None): sizes by label, from the input's shape and the output's without its batch.

    Raises ValueError for an equation that does not fit.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    x, comma, kernel = left.partition(",")
    if not arrow or not comma:
        raise ValueError(f"Invalid einsum equation {equation!r}: write it as 'ab,bc->ac'")
    dots = x.startswith("...") or x.endswith("...")
    labels, given = x.replace("...", ""), list(input_shape)
    sizes: dict[str, Any] = {}
    known = given[-len(labels) :] if x.startswith("...") else given[: len(labels)]
    if len(known) != len(labels) or (not dots and len(given) != len(labels)):
        raise ValueError(f"einsum equation {equation!r} does not fit an input of shape {tuple(input_shape)}")
    sizes.update(zip(labels, known, strict=True))
    ends = out.replace("...", "")
    # The output's shape may leave the batch out; it is read from its last axis on.
    wanted = list(output_shape)
    tail = ends[-len(wanted) :] if not out.endswith("...") else ends[len(ends) - len(wanted) :]
    for label, size in zip(tail, wanted[-len(tail) :], strict=True):
        known_size = sizes.get(label)
        if size is not None and known_size is not None and known_size != size:
            raise ValueError(
                f"Input shape and output shape do not match at shared dimension '{label}'. Input shape is {known_size}, "
                f"and output shape is {size}."
            )
        if size is not None or label not in sizes:
            sizes[label] = size
    missing = [c for c in kernel if sizes.get(c) is None]
    if missing:
        raise ValueError(
            f"the size of weight dimension '{missing[0]}' of {equation!r} is not in the input or output shape"
        )
    bias = None
    if bias_axes:
        unknown = [c for c in bias_axes if c not in ends]
        if unknown:
            raise ValueError(f"Bias dimension '{unknown[0]}' was requested, but is not part of the output spec '{out}'")
        first = min(ends.index(c) for c in bias_axes)
        bias = tuple(sizes[c] if c in bias_axes else 1 for c in ends[first:])
    return tuple(sizes[c] for c in kernel), bias
