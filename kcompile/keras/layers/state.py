"""What a layer holds: variables, dtypes, losses."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.ir import dtype as ir_dtype
from kcompile.keras import initializers, regularizers
from kcompile.keras.layers import tracking
from kcompile.tracing import variable as trace_variable
from kcompile.tracing.scope import tracing
from kcompile.tracing.variable import Variable

# Layers that hold losses of a call: few have any, and a call clears those of the call before.
LOSING: weakref.WeakSet[Any] = weakref.WeakSet()


class LayerState:
    """Variables of a layer and of the layers within, found among its attributes."""

    name: str
    built: bool
    dtype_policy: Any
    _trainable: bool
    _own_weights: list[Variable]
    _loss_tensors: list[Any]

    # ---- variables

    def add_weight(
        self,
        shape: Sequence[int] | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """A new variable of this layer; floats start Glorot-uniform, others at zero."""
        from kcompile.keras import constraints

        dtype = dtype or self.variable_dtype
        if initializer is None:
            initializer = "glorot_uniform" if ir_dtype(dtype).is_float else "zeros"
        dims = (shape,) if isinstance(shape, int) else tuple(shape or ())
        if any(d is None for d in dims):
            raise ValueError(f"layer {self.name!r}: a weight needs a fixed shape, got {dims}")
        with tracing(None):
            start = initializers.starting(initializers.get(initializer))
            made = Variable(start, dims, dtype, trainable, autocast, aggregation, name=name)
        made.regularizer = regularizers.get(regularizer)
        made.constraint = constraints.get(constraint)
        made.overwrite_with_gradient = overwrite_with_gradient
        self._own_weights.append(made)
        return made

    @property
    def trainable(self) -> bool:
        """False freezes the layer and all layers within."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._sublayers():
            layer.trainable = value

    def _sublayers(self) -> list[Any]:
        return list(tracking.held(self, LayerState))

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> list[Any]:
        """This layer and those within, each once, outer before inner."""
        found: dict[int, Any] = {}
        pending: list[Any] = [self]
        while pending:
            layer = pending.pop(0)
            if id(layer) not in found:
                found[id(layer)] = layer
                if recursive or layer is self:
                    pending = layer._sublayers() + pending
        return [x for x in found.values() if include_self or x is not self]

    @property
    def variables(self) -> list[Variable]:
        """All variables, those of random generators and metrics among them."""
        from kcompile.keras.random_state import SeedGenerator

        own = tracking.variables_of(self) + [g.state for g in tracking.held(self, SeedGenerator)]
        return tracking.unique(v for part in (own, *(x.variables for x in self._sublayers())) for v in part)

    @property
    def weights(self) -> list[Variable]:
        """Variables that are saved with the layer."""
        parts = (tracking.variables_of(self), *(x.weights for x in self._sublayers()))
        return tracking.unique(v for part in parts for v in part)

    @property
    def trainable_variables(self) -> list[Variable]:
        """Variables that training changes; none where the layer is frozen."""
        if not self.trainable:
            return []
        own = [v for v in tracking.variables_of(self) if v.trainable]
        parts = (own, *(x.trainable_variables for x in self._sublayers()))
        return tracking.unique(v for part in parts for v in part)

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        changing = {id(v) for v in self.trainable_variables}
        return [v for v in self.variables if id(v) not in changing]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        changing = {id(v) for v in self.trainable_variables}
        return [v for v in self.weights if id(v) not in changing]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as numpy arrays."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Assign all weights; raises ValueError, changing nothing, where count or a shape differs."""
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(own)} weights."
            )
        arrays = [trace_variable.to_numpy(w) for w in weights]
        for variable, array in zip(own, arrays, strict=True):
            if variable.shape != array.shape:
                raise ValueError(
                    f"Layer '{self.name}' weight shape {variable.shape} is not compatible with provided weight shape "
                    f"{array.shape} ({variable.path})."
                )
        for variable, array in zip(own, arrays, strict=True):
            variable.assign(array)

    def count_params(self) -> int:
        """Number of numbers in all weights; raises ValueError before the layer is built."""
        if not self.built:
            raise ValueError(f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built.")
        return sum(int(np.prod(v.shape)) for v in self.weights)

    # ---- dtypes

    @property
    def dtype(self) -> str:
        return self.variable_dtype

    @property
    def variable_dtype(self) -> str:
        return self.dtype_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        return self.dtype_policy.compute_dtype

    # ---- losses

    def __getstate__(self) -> dict[str, Any]:
        """A copy has not been called."""
        return {**vars(self), "_loss_tensors": []}

    def add_loss(self, loss: Any) -> None:
        """Add a scalar tensor (or a list of them) to the loss of the model this layer is in."""
        self._loss_tensors.extend(loss if isinstance(loss, (list, tuple)) else [loss])
        LOSING.add(self)

    @property
    def losses(self) -> list[Any]:
        """Tensors given to `add_loss` in the last call, and the penalties of regularised weights."""
        layers = self._flatten_layers()
        found = [t for layer in layers for t in layer._loss_tensors]
        penalised = [v for v in self.trainable_variables if v.regularizer is not None]
        return found + [v.regularizer(v.value) for v in penalised]
