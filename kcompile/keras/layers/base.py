"""`Layer`: the base of all layers and models."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from kcompile.errors import TraceError, UnsupportedError
from kcompile.ir import dtype as ir_dtype
from kcompile.keras import backend, dtype_policies, naming, ops, regularizers, rematerialization, symbolic, tree
from kcompile.keras.call_context import CONTEXT, CallContext
from kcompile.keras.layers import signature
from kcompile.keras.layers.call_inputs import called_with
from kcompile.keras.layers.configuration import Configurable
from kcompile.keras.layers.state import LOSING
from kcompile.keras.stateless import StatelessLayer
from kcompile.tracing import variable as trace_variable
from kcompile.tracing.scope import current_tracer, locate, name_scope, tracing
from kcompile.tracing.variable import Variable

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


class Layer(Configurable, StatelessLayer):
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
        policy = dtype_policies.get(dtype)
        self.dtype_policy = policy[self.name] if isinstance(policy, dtype_policies.DTypePolicyMap) else policy
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = trainable
        self.autocast = autocast
        self.built = False
        self.input_spec: Any = None
        self._build_shapes: dict[str, Any] | None = None
        self._own_weights: list[Variable] = []
        self._loss_tensors: list[Any] = []
        self._nodes: list[symbolic.FunctionalNode] = []
        self._remat_mode = rematerialization.current_mode()
        # Shapes and dtypes of a model's first call: what to trace a subclassed model with.
        self._called_with: Any = None

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
        try:
            if current_tracer() is None and symbolic.has_keras_tensor(args, kwargs):
                return self._call_functional(bound, args, kwargs)
            bound.convert(self._to_tensor)
            self._maybe_build(bound)
            self._check_input_spec(bound)
            return self._run(bound)
        except (ValueError, TraceError) as error:
            with self._scope():
                locate(error)
            raise

    def _call_functional(self, bound: signature.Bound, args: Any, kwargs: Any) -> Any:
        self._check_input_spec(bound)
        self._maybe_build(bound)
        outputs = self._symbolic_outputs(args, kwargs)
        if any(x is None for x in tree.leaves(outputs)):
            raise ValueError(f"layer {self.name!r}: `call` of {type(self).__name__} must return tensors, not None")
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
        return self.is_model and CONTEXT.get() is None

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

    def quantize(self, mode: Any = None, **kwargs: Any) -> None:
        """Raises UnsupportedError: weights are floats."""
        raise UnsupportedError(
            f"{type(self).__name__} {self.name!r}: quantize is not supported, weights stay floats; export the model and "
            "quantize its file (onnxruntime.quantization)"
        )

    def _check_input_spec(self, bound: signature.Bound) -> None:
        if self.input_spec is not None and bound.inputs is not None:
            signature.check_input_spec(self, bound.inputs)

    def _run(self, bound: signature.Bound) -> Any:
        outer = CONTEXT.get()
        training = bound.training(outer.training if outer is not None else None)
        masks = bound.fill_masks()
        if self.is_model and self._called_with is None:
            self._called_with = called_with(bound.inputs)
        if outer is None and LOSING:
            for layer in LOSING.intersection(self._flatten_layers()):
                layer._loss_tensors.clear()
                LOSING.discard(layer)
        compute = ir_dtype(self.compute_dtype)
        cast = compute if self.autocast and compute.is_float else None
        with self._scope(), trace_variable.autocast(cast):
            token = CONTEXT.set(CallContext(training))
            try:
                # A whole model would be computed twice, and nothing saved.
                mode = None if self.is_model and outer is None else self._remat_mode
                call = self.call if mode is None else rematerialization.call_of(self, mode, training)
                outputs = call(*bound.args, **bound.kwargs)
                self._add_activity_loss(outputs)
                self._set_masks(outputs, bound, masks)
            finally:
                CONTEXT.reset(token)
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
        # One mask is the first output's.
        flat_masks = list(computed) if isinstance(computed, (list, tuple)) else [computed]
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
        outputs = self._symbolic_outputs(tuple(inputs), {})
        return tree.map_structure(lambda t: t.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What a call on a functional model's tensors gives, without making a node."""
        return self._symbolic_outputs(args, kwargs)

    def _symbolic_outputs(self, args: Any, kwargs: Any) -> Any:
        return symbolic.symbolic_outputs(self, args, kwargs)

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
