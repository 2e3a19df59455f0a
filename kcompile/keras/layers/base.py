"""`Layer`: the base of all layers and models."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kcompile.ir import dtype as ir_dtype
from kcompile.keras import backend, dtype_policies, initializers, naming, ops, regularizers, symbolic, tree
from kcompile.keras.layers import signature, tracking
from kcompile.tracing import variable as trace_variable
from kcompile.tracing.scope import current_tracer, name_scope, tracing
from kcompile.tracing.variable import Variable


class CallContext:
    """What the outermost layer call decides for all calls within."""

    def __init__(self, training: bool | None):
        self.training = training


_CONTEXT: contextvars.ContextVar[CallContext | None] = contextvars.ContextVar("kcompile_call", default=None)
_OPEN: contextvars.ContextVar[Layer | None] = contextvars.ContextVar("kcompile_open", default=None)


def _building(build: Callable[..., None]) -> Callable[..., None]:
    """A layer's ``build`` in the layer's name scope, outside of any trace; the layer is built after it."""

    @functools.wraps(build)
    def run(self: Layer, *args: Any, **kwargs: Any) -> None:
        with tracing(None), trace_variable.autocast(None), self._scope():
            build(self, *args, **kwargs)
        if self._build_shapes is None:
            self._build_shapes = dict(inspect.signature(build).bind(self, *args, **kwargs).arguments)
            self._build_shapes.pop("self")
        self.built = True

    return run


class Layer:
    """A function of tensors with variables.

    Subclasses define ``call`` and, where variables depend on the input's shape, ``build``.
    A call with a functional model's tensors makes a node of that model; a call inside a trace
    records operators; a call with arrays computes in torch.
    """

    _auto_config: tuple[Any, Any]
    supports_masking = False
    is_model = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _building(cls.build)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__new__(cls)
        instance._auto_config = (args, kwargs)
        return instance

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ):
        self._input_shape_arg = signature.input_shape_argument(kwargs)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}")
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        if not isinstance(self.name, str) or "/" in self.name:
            raise ValueError(f"Argument `name` must be a string and cannot contain character `/`. Received: {name}")
        self.dtype_policy = dtype_policies.get(dtype)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = trainable
        self.autocast = autocast
        self.built = False
        self.input_spec: Any = None
        self._build_shapes: dict[str, Any] | None = None
        self._own_weights: list[Variable] = []
        self._loss_tensors: list[Any] = []
        self._nodes: list[symbolic.FunctionalNode] = []
        # Shapes and dtypes of a model's first call: what to trace a subclassed model with.
        self._called_with: Any = None

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

    def _sublayers(self) -> list[Layer]:
        return list(tracking.held(self, Layer))

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> list[Layer]:
        """This layer and those within, each once, outer before inner."""
        found: dict[int, Layer] = {}
        pending: list[Layer] = [self]
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

    def add_loss(self, loss: Any) -> None:
        """Add a scalar tensor (or a list of them) to the loss of the model this layer is in."""
        self._loss_tensors.extend(loss if isinstance(loss, (list, tuple)) else [loss])

    @property
    def losses(self) -> list[Any]:
        """Tensors given to `add_loss` in the last call, and the penalties of regularised weights."""
        layers = self._flatten_layers()
        found = [t for layer in layers for t in layer._loss_tensors]
        penalised = [v for v in self.trainable_variables if v.regularizer is not None]
        return found + [v.regularizer(v.value) for v in penalised]

    # ---- building and calling

    def build(self, *args: Any, **kwargs: Any) -> None:
        """Create variables for inputs of these shapes; None is a free size. Nothing to do by default."""
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"Layer {type(self).__name__} does not have a `call()` method implemented.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_own_weights"):
            raise RuntimeError(
                f"In layer '{type(self).__name__}', you forgot to call `super().__init__()` as the first statement "
                "in the `__init__()` method."
            )
        bound = signature.bind(self, args, kwargs)
        if current_tracer() is None and symbolic.has_keras_tensor(args, kwargs):
            return self._call_functional(bound, args, kwargs)
        bound.convert(self._to_tensor)
        self._maybe_build(bound)
        self._check_input_spec(bound)
        return self._run(bound)

    def _call_functional(self, bound: signature.Bound, args: Any, kwargs: Any) -> Any:
        self._check_input_spec(bound)
        self._maybe_build(bound)
        outputs = symbolic.symbolic_outputs(self, args, kwargs)
        self._nodes.append(symbolic.FunctionalNode(self, args, kwargs, outputs))
        return outputs

    def _to_tensor(self, x: Any) -> Any:
        if not backend.is_array_like(x):
            return x
        mask = getattr(x, "_keras_mask", None)
        kind = backend.dtype_of(x)
        wanted = ir_dtype(self.compute_dtype)
        # numpy's float64 is Python's default, not a choice: it becomes the layer's dtype too.
        cast = kind.is_float and kind is not wanted and self.autocast and wanted.is_float
        tensor = backend.convert_to_tensor(x, wanted if cast else None)
        if mask is not None and tensor is not x:
            tensor._keras_mask = mask
        return tensor

    def _maybe_build(self, bound: signature.Bound) -> None:
        if self.built:
            return
        shapes = signature.build_shapes(self, bound)
        if shapes is not None and not self._has_default_build():
            self.build(**shapes)
        self._build_shapes = shapes or None
        self.built = True

    def _ensure_built(self, input_shape: Any) -> None:
        """Build for inputs of this shape, if that has not been done."""
        if not self.built:
            self.build(input_shape)

    def _call_parameters(self) -> list[str]:
        """Names of the arguments of ``call``."""
        return signature.call_parameters(type(self))

    def _has_default_build(self) -> bool:
        """True where building makes nothing: layers within are built by the call."""
        return type(self).build is Layer.build

    def _is_root(self) -> bool:
        return self.is_model and _CONTEXT.get() is None

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        """The layer's name in front of paths, once; a root model's is not in origins, where it would tell nothing."""
        if _OPEN.get() is self:
            yield
            return
        token = _OPEN.set(self)
        try:
            with name_scope(self.name, shown=not self._is_root()):
                yield
        finally:
            _OPEN.reset(token)

    def _check_input_spec(self, bound: signature.Bound) -> None:
        if self.input_spec is not None and bound.inputs is not None:
            signature.check_input_spec(self, bound.inputs)

    def _run(self, bound: signature.Bound) -> Any:
        outer = _CONTEXT.get()
        training = bound.training(outer.training if outer is not None else None)
        masks = bound.fill_masks()
        if self.is_model and self._called_with is None:
            from kcompile.keras.tracing import called_with

            self._called_with = called_with(bound.inputs)
        if outer is None:
            for layer in self._flatten_layers():
                layer._loss_tensors.clear()
        compute = ir_dtype(self.compute_dtype)
        cast = compute if self.autocast and compute.is_float else None
        with self._scope(), trace_variable.autocast(cast):
            token = _CONTEXT.set(CallContext(training))
            try:
                outputs = self.call(*bound.args, **bound.kwargs)
                self._add_activity_loss(outputs)
                self._set_masks(outputs, bound, masks)
            finally:
                _CONTEXT.reset(token)
        return outputs

    def _add_activity_loss(self, outputs: Any) -> None:
        if self.activity_regularizer is not None:
            for output in tree.leaves(outputs):
                penalty = self.activity_regularizer(output)
                shape = backend.shape_of(output)
                # A sample's share, so that the penalty does not grow with the batch.
                self.add_loss(ops.divide_no_nan(penalty, ops.cast(shape[0], penalty.dtype)) if shape else penalty)

    def _set_masks(self, outputs: Any, bound: signature.Bound, masks: list[Any]) -> None:
        known = [m for m in masks if m is not None]
        computes = type(self).compute_mask is not Layer.compute_mask
        if not self.supports_masking and not computes:
            if known and not bound.takes_mask and outputs is not None:
                warnings.warn(
                    f"Layer '{self.name}' (of type {type(self).__name__}) was passed an input with a mask attached to "
                    "it. However, this layer does not support masking and will therefore destroy the mask "
                    "information.",
                    stacklevel=4,
                )
            return
        if not known and not computes:
            return
        previous = masks if len(masks) > 1 else (masks[0] if masks else None)
        computed = self.compute_mask(bound.inputs, previous)
        if computed is None:
            return
        flat = tree.flatten(outputs)
        flat_masks = list(computed) if isinstance(computed, (list, tuple)) else [computed] * len(flat)
        for tensor, mask in zip(flat, flat_masks, strict=False):
            if mask is not None and backend.is_tensor(tensor):
                tensor._keras_mask = mask

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The outputs' mask; by default the first input's."""
        if isinstance(previous_mask, list):
            return next((m for m in previous_mask if m is not None), None)
        return previous_mask

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shape of the output for inputs of a shape (None for a free size), found by tracing the layer."""
        shapes = [*args, *kwargs.values()]
        inputs = [signature.as_keras_tensors(s, self.compute_dtype) for s in shapes]
        outputs = symbolic.symbolic_outputs(self, tuple(inputs), {})
        return tree.map_structure(lambda t: t.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What a call on a functional model's tensors gives, without making a node."""
        return symbolic.symbolic_outputs(self, args, kwargs)

    def stateless_call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("stateless_call belongs to Keras's JAX backend; trace the layer with kcompile.trace")

    # ---- functional attributes

    @property
    def input(self) -> Any:
        """The tensors of the layer's first call in a functional model."""
        return self._first_node().args[0]

    @property
    def output(self) -> Any:
        return self._first_node().outputs

    def _first_node(self) -> symbolic.FunctionalNode:
        if not self._nodes:
            raise AttributeError(f"The layer {self.name} has never been called and thus has no defined input.")
        return self._nodes[0]

    @property
    def path(self) -> str:
        return self.name

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again; a custom layer's are taken from its ``__init__`` call."""
        from kcompile.keras.saving.serialization import serialize_keras_object

        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize_keras_object(self.dtype_policy),
        }
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = serialize_keras_object(self.activity_regularizer)
        if type(self).get_config is Layer.get_config:
            config.update(signature.constructor_arguments(self))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        try:
            return cls(**config)
        except TypeError as error:
            # Not the whole config, which is kilobytes: the class, the layer's name and what was wrong.
            raise TypeError(
                f"{cls.__name__} {config.get('name', '')!r} can't be made from its config: {error}"
            ) from error

    def get_build_config(self) -> dict[str, Any] | None:
        if self._build_shapes is None:
            return None
        shapes = self._build_shapes
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": dict(shapes)}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not config or self.built:
            return
        if "shapes_dict" in config:
            self.build(**{k: tuple(v) for k, v in config["shapes_dict"].items()})
            self._build_shapes = config["shapes_dict"]
        elif config.get("input_shape") is not None:
            shape = signature.tuples(config["input_shape"])
            self.build(shape)
            self._build_shapes = {"input_shape": shape}
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own variables, numbered, into a mapping."""
        for i, variable in enumerate(tracking.variables_of(self)):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote; raises ValueError where count or shape differs."""
        own = tracking.variables_of(self)
        if len(store.keys()) != len(own):
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables, but received {len(store.keys())} variables "
                "during loading."
            )
        for i, variable in enumerate(own):
            variable.assign(np.asarray(store[str(i)]))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
