"""How a layer's call binds its arguments: inputs, masks, training, shapes for build."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from kcompile.ir import Type
from kcompile.ir import dtype as ir_dtype
from kcompile.ir.shapes import known
from kcompile.keras import backend, symbolic, tree
from kcompile.tracing.tensor import SymbolicTensor


@functools.lru_cache(maxsize=1024)
def _call_signature(cls: Any) -> inspect.Signature:
    signature = inspect.signature(cls.call)
    parameters = list(signature.parameters.values())[1:]
    return signature.replace(parameters=parameters)


def call_parameters(cls: Any) -> list[str]:
    """Names of the arguments of a layer class's ``call``."""
    return list(_call_signature(cls).parameters)


@functools.lru_cache(maxsize=1024)
def _takes_any_name(cls: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in _call_signature(cls).parameters.values())


@functools.lru_cache(maxsize=1024)
def _masked_parameters(cls: Any) -> list[tuple[str, str]]:
    """Parameters of ``call``, each with the one that takes its mask, where there is one."""
    names = call_parameters(cls)
    takers = [(n, "mask" if i == 0 and "mask" in names else f"{n}_mask") for i, n in enumerate(names)]
    return [(name, taker) for name, taker in takers if taker in names]


class Bound:
    """The arguments of one layer call."""

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        cls: Any = type(layer)
        self.cls = cls
        self.signature = _call_signature(cls)
        names, loose, kwargs = self.signature.parameters, _takes_any_name(cls), dict(kwargs)
        self._training = kwargs.pop("training", None) if "training" not in names and not loose else None
        if "mask" not in names and not loose:
            kwargs.pop("mask", None)
        try:
            self._bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.call(): {error}") from error

    @property
    def args(self) -> tuple[Any, ...]:
        return self._bound.args

    @property
    def kwargs(self) -> dict[str, Any]:
        return self._bound.kwargs

    @property
    def takes_mask(self) -> bool:
        return any(n == "mask" or n.endswith("_mask") for n in self.signature.parameters)

    def named(self) -> dict[str, Any]:
        """Arguments by parameter name."""
        return dict(self._bound.arguments)

    @property
    def inputs(self) -> Any:
        """The first argument."""
        args = self.args
        return args[0] if args else next(iter(self.kwargs.values()), None)

    def convert(self, function: Callable[[Any], Any]) -> None:
        """Apply ``function`` to every leaf of the arguments."""
        found = self._bound.arguments.items()
        self._bound.arguments = {name: tree.map_structure(function, value) for name, value in found}  # type: ignore[assignment]

    def training(self, outer: bool | None) -> bool | None:
        """Decide training: the call's own argument, else the outer call's; filled into the arguments."""
        parameters = self.signature.parameters
        value = self._bound.arguments.get("training", self._training)
        if value is None:
            value = outer
        if value is None and "training" in parameters:
            default = parameters["training"].default
            value = None if default is inspect.Parameter.empty else default
        if "training" in parameters and value is not None:
            self._set("training", value)
        return value

    def fill_masks(self) -> list[Any]:
        """Masks of the tensors in the first argument; also put into absent mask parameters."""
        masks = [getattr(x, "_keras_mask", None) for x in tree.leaves(self.inputs)]
        for name, parameter in _masked_parameters(self.cls):
            value = self._bound.arguments.get(name)
            if value is not None and self._bound.arguments.get(parameter) is None:
                own = tree.map_structure(lambda x: getattr(x, "_keras_mask", None), value)
                if any(m is not None for m in tree.leaves(own)):
                    self._set(parameter, own)
        given = self._bound.arguments.get("mask")
        if given is not None and backend.is_tensor(given):
            masks = [given, *masks[1:]]
        return masks

    def _set(self, name: str, value: Any) -> None:
        # In the signature's order: BoundArguments passes what comes after a gap by keyword.
        found = {**self._bound.arguments, name: value}
        self._bound.arguments = {n: found[n] for n in self.signature.parameters if n in found}  # type: ignore[assignment]


def bind(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
    """The call's arguments; raises TypeError as the call itself would."""
    return Bound(layer, args, kwargs)


def shape_structure(x: Any) -> Any:
    """Shapes of all tensors in a structure, None for free sizes; None where there is no tensor."""
    found = [t for t in tree.leaves(x) if backend.is_array_like(t)]
    if not found:
        return None
    return tree.map_structure(lambda t: user_shape(t) if backend.is_array_like(t) else None, x)


def user_shape(x: Any) -> tuple[int | None, ...]:
    """A tensor's shape with None for free sizes."""
    return known(x.type.shape if isinstance(x, SymbolicTensor) else x.shape)


def build_shapes(layer: Any, bound: Bound) -> dict[str, Any] | None:
    """Keyword arguments for ``layer.build``: shapes of the call's tensors, by the names that build takes."""
    parameters = inspect.signature(layer.build).parameters
    shapes = {k: shape_structure(v) for k, v in bound.named().items() if k not in ("training", "mask")}
    shapes = {k: v for k, v in shapes.items() if v is not None}
    names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not names:
        # build(self, *args, **kwargs): the shape goes under the name that a saved config has for it.
        return {"input_shape": next(iter(shapes.values()))} if shapes else {}
    by_name = {n: shapes[n.removesuffix("_shape")] for n in names if n.removesuffix("_shape") in shapes}
    if len(by_name) == len(names) or (by_name and len(names) > 1):
        return by_name
    first = next(iter(shapes.values()), None)
    return {names[0]: first} if first is not None else None


def tuples(shape: Any) -> Any:
    """Lists of ints (as JSON gives shapes) as tuples."""
    if isinstance(shape, dict):
        return {k: tuples(v) for k, v in shape.items()}
    if isinstance(shape, (list, tuple)):
        if all(d is None or isinstance(d, int) for d in shape):
            return tuple(shape)
        return [tuples(s) for s in shape]
    return shape


def as_keras_tensors(shape: Any, dtype: str) -> Any:
    """KerasTensors of a shape or a structure of shapes."""
    if isinstance(shape, dict):
        return {k: as_keras_tensors(v, dtype) for k, v in shape.items()}
    if shape and not all(d is None or isinstance(d, int) for d in shape):
        return [as_keras_tensors(s, dtype) for s in shape]
    taken: set[str] = set()
    dims = [symbolic.new_symbol("N" if i == 0 else f"D{i}", taken) if d is None else d for i, d in enumerate(shape)]
    return symbolic.KerasTensor(Type(ir_dtype(dtype), dims))


def input_shape_argument(kwargs: dict[str, Any]) -> tuple[int | None, ...] | None:
    """The batch shape that ``input_shape=``, ``input_dim=`` or ``batch_input_shape=`` give; taken out of kwargs."""
    batch_size = kwargs.pop("batch_size", None)
    if "batch_input_shape" in kwargs:
        return tuple(kwargs.pop("batch_input_shape"))
    if "batch_shape" in kwargs:
        return tuple(kwargs.pop("batch_shape"))
    if "input_shape" in kwargs:
        shape = kwargs.pop("input_shape")
        return (batch_size, *((shape,) if isinstance(shape, int) else shape))
    if "input_dim" in kwargs:
        return (batch_size, kwargs.pop("input_dim"))
    if batch_size is not None:
        kwargs["batch_size"] = batch_size
    return None


class InputSpec:
    """What a layer requires of an input: rank, dtype, sizes of axes."""

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype, self.ndim, self.max_ndim, self.min_ndim = dtype, ndim, max_ndim, min_ndim
        self.shape = None if shape is None else tuple(shape)
        self.axes = {int(k): v for k, v in (axes or {}).items()}
        self.allow_last_axis_squeeze, self.name, self.optional = allow_last_axis_squeeze, name, optional


def check_input_spec(layer: Any, inputs: Any) -> None:
    """Raise ValueError, naming the layer, where an input is not what the layer's input_spec says."""
    specs = tree.flatten(layer.input_spec)
    tensors = [x for x in tree.leaves(inputs) if backend.is_array_like(x)]
    if len(tensors) != len(specs):
        raise ValueError(
            f'Layer "{layer.name}" expects {len(specs)} input(s), but it received {len(tensors)} input tensors.'
        )
    for i, (spec, x) in enumerate(zip(specs, tensors, strict=True)):
        if spec is not None:
            problem = _mismatch(spec, user_shape(x))
            if problem:
                raise ValueError(f'Input {i} of layer "{layer.name}" is incompatible with the layer: {problem}')


def _mismatch(spec: InputSpec, shape: tuple[int | None, ...]) -> str:
    rank = len(shape)
    if spec.ndim is not None and rank != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.max_ndim is not None and rank > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={rank}"
    if spec.min_ndim is not None and rank < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={rank}. Full shape received: {shape}"
    for axis, size in spec.axes.items():
        if size is not None and -rank <= axis < rank and shape[axis] not in (size, None):
            return f"expected axis {axis} of input shape to have value {size}, but received input with shape {shape}"
    if spec.shape is not None and any(
        want is not None and got is not None and want != got for want, got in zip(spec.shape, shape, strict=False)
    ):
        return f"expected shape={spec.shape}, found shape={shape}"
    return ""


def constructor_arguments(layer: Any) -> dict[str, Any]:
    """The arguments a custom layer was made with, for its config; NotImplementedError where they don't serialise."""
    args, kwargs = layer._auto_config
    try:
        bound = inspect.signature(type(layer).__init__).bind(layer, *args, **kwargs)
    except TypeError:
        return {}
    found = dict(list(bound.arguments.items())[1:])
    parameters = inspect.signature(type(layer).__init__).parameters
    for name in [n for n in found if parameters[n].kind is inspect.Parameter.VAR_KEYWORD]:
        found.update(found.pop(name))
    plain = (str, int, float, bool, bytes, type(None))
    for name in ("name", "trainable", "dtype"):
        found.pop(name, None)
    for name, value in found.items():
        if not all(isinstance(v, plain) for v in tree.leaves(value)):
            raise NotImplementedError(
                f"Object {type(layer).__name__} was created by passing non-serializable argument values in "
                f"`__init__()` ({name}={value!r}), and therefore the object must override `get_config()` in order to "
                "be serializable."
            )
    return found
