"""`Input` and `InputLayer`: where a functional model begins."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Type
from kcompile.ir import dtype as ir_dtype
from kcompile.keras import config, naming, symbolic
from kcompile.keras.layers.base import Layer


class InputLayer(Layer):
    """Makes the tensor of shape ``batch_shape`` (or ``shape`` with a batch axis in front)."""

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or naming.auto_name("input_layer"), dtype=None)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to InputLayer: {kwargs}")
        if sparse or ragged:
            raise ValueError("sparse and ragged inputs are not supported")
        if (shape is None) == (batch_shape is None):
            raise ValueError("You must pass exactly one of `shape` and `batch_shape`.")
        if batch_shape is None:
            batch_shape = (batch_size, *((shape,) if isinstance(shape, int) else shape))
        self.batch_shape = tuple(batch_shape)
        self.input_dtype = ir_dtype(dtype or config.floatx())
        self.optional = optional
        self.built = True
        if input_tensor is not None:
            tensor = input_tensor
        else:
            tensor = symbolic.KerasTensor(input_type(self.batch_shape, self.input_dtype, set(), own=True), self.name)
        self._nodes.append(symbolic.FunctionalNode(self, (), {}, tensor))

    @property
    def dtype(self) -> str:
        return self.input_dtype.keras

    def call(self) -> Any:
        return self._nodes[0].outputs

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": list(self.batch_shape),
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }


def input_type(batch_shape: Any, dtype: Any, taken: set[str], own: bool = False) -> Type:
    """The IR type of an input: the batch is ``N``, other free sizes T, H, W ... (``own``: never shared)."""
    letters = symbolic.dim_letters(len(batch_shape))
    dims: list[Any] = []
    for i, size in enumerate(batch_shape):
        if size is not None:
            dims.append(size)
        elif i == 0:
            dims.append(symbolic.symbol("N"))
        elif own:
            dims.append(symbolic.fresh_symbol(letters[i - 1]))
        else:
            dims.append(symbolic.new_symbol(letters[i - 1], taken))
    return Type(dtype, dims)


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> Any:
    """The tensor at which a functional model begins; None in the shape is a size that stays free."""
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        name=name,
        input_tensor=tensor,
        optional=optional,
    )
    return layer._nodes[0].outputs
