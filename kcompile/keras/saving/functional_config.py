"""Functional models as Keras 3's configs and back."""

from __future__ import annotations

import inspect
from typing import Any

from kcompile.errors import FileFormatError, UnsupportedError, printable
from kcompile.keras import ops, tree
from kcompile.keras.config import floatx
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.input_layer import InputLayer
from kcompile.keras.saving.serialization import (
    deserialize_keras_object,
    plain_config,
    serialize_keras_object,
)
from kcompile.keras.symbolic import FunctionalNode, KerasTensor, OpCall

# Arguments that a Keras operation takes with each call; all others go to its config.
_CALL_ARGUMENTS = frozenset({
    "x", "x1", "x2", "xs", "y", "inputs", "images", "variable", "condition", "kernel", "depthwise_kernel",
    "pointwise_kernel", "target", "output", "target_length", "output_length", "targets", "predictions", "indices",
    "values", "updates", "data", "segment_ids", "key", "operands", "query", "value", "transform", "coordinates",
    "volumes", "start_points", "end_points", "image1", "image2",
})  # fmt: skip
_MORE_CALL_ARGUMENTS = {
    "full_like": {"fill_value"},
    "pad": {"constant_values"},
    "isclose": {"rtol", "atol"},
    "dot_product_attention": {"bias", "mask", "scale"},
    "scale_and_translate": {"output_shape", "scale", "translation"},
    "average": {"weights"}, "diff": {"a"}, "digitize": {"bins"}, "lstsq": {"a", "b"}, "nanpercentile": {"q"},
    "nanquantile": {"q"}, "percentile": {"q"}, "quantile": {"q"}, "rot90": {"array"},
    "searchsorted": {"sorted_sequence"}, "select": {"condlist", "choicelist", "default"}, "slice": {"start_indices"},
    "slice_update": {"start_indices"}, "solve": {"a", "b"}, "solve_triangular": {"a", "b"},
}  # fmt: skip
_FEWER_CALL_ARGUMENTS = {"trapezoid": {"x"}}
_CLASS_NAMES = {
    "getitem": "GetItem", "rgb_to_grayscale": "RGBToGrayscale", "rgb_to_hsv": "RGBToHSV", "hsv_to_rgb": "HSVToRGB",
    "ssim": "SSIM", "extract_patches_3d": "ExtractPatches", "allclose": "AllClose", "cdist": "CDist",
    "ctc_loss": "CTCLoss", "fft": "FFT", "fft2": "FFT2", "ifft2": "IFFT2", "irfft": "IRFFT", "isin": "IsIn",
    "istft": "ISTFT", "psnr": "PSNR", "rfft": "RFFT", "searchsorted": "SearchSorted", "stft": "STFT", "svd": "SVD",
}  # fmt: skip
# Where Keras keeps an operation's class; those that stand nowhere here are in keras.src.ops.numpy.
_MODULES = {
    "core": "cast scatter scatter_update slice slice_update stop_gradient unstack",
    "math": "cdist erf erfc erfinv extract_sequences fft fft2 ifft2 in_top_k irfft istft logdet logsumexp rfft rsqrt "
    "segment_max segment_min segment_prod segment_sum stft top_k",
    "linalg": " ".join(n for n in ops.linalg.__all__ if n not in ("logdet", "slogdet")),
    "image": " ".join(ops.image.__all__),
    "nn": "relu relu6 sigmoid softplus softsign silu log_sigmoid leaky_relu hard_sigmoid hard_silu elu selu celu gelu "
    "glu softmax log_softmax max_pool average_pool conv depthwise_conv separable_conv conv_transpose one_hot "
    "binary_crossentropy categorical_crossentropy ctc_decode ctc_loss sparse_categorical_crossentropy "
    "dot_product_attention hard_shrink hard_tanh moments normalize soft_shrink sparse_plus sparse_sigmoid sparsemax squareplus tanh_shrink threshold "
    "adaptive_average_pool adaptive_max_pool depth_to_space fold multi_hot psnr space_to_depth unfold",
}
_MODULE_OF = {name: f"keras.src.ops.{module}" for module, names in _MODULES.items() for name in names.split()}
# Functions of ours that are several operations, or none, in Keras.
_NO_CLASS = frozenset({
    "batch_normalization", "batch_normalization_training", "dense", "embedding", "group_normalization", "gru",
    "layer_normalization", "lstm", "mish", "rearrange", "rms_normalization", "simple_rnn",
})  # fmt: skip


def functional_config(model: Any) -> dict[str, Any]:
    """The config of a functional model; raises UnsupportedError for a node that a file can't hold."""
    kept: dict[int, list[FunctionalNode]] = {}
    for node in model._graph_nodes:
        kept.setdefault(id(node.operation), []).append(node)
    keys = {id(n): (n.operation.name, i) for nodes in kept.values() for i, n in enumerate(nodes)}

    def history(tensor: KerasTensor) -> list[Any]:
        node, index = tensor._keras_history  # type: ignore[misc]
        return [*keys[id(node)], index]

    layers = []
    for operation in model._operations:
        entry = serialize_keras_object(operation) if isinstance(operation, Layer) else _op_config(operation, kept)
        nodes = [] if isinstance(operation, InputLayer) else kept.get(id(operation), [])
        entry["name"] = operation.name
        entry["inbound_nodes"] = [_node_config(n, history) for n in nodes]
        layers.append(entry)
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": tree.map_structure(history, model._inputs_struct),
        "output_layers": tree.map_structure(history, model._outputs_struct),
    }


def _op_config(operation: OpCall, kept: dict[int, list[FunctionalNode]]) -> dict[str, Any]:
    name = operation.function.__name__
    if name in _NO_CLASS:
        raise UnsupportedError(f"operation {operation.name!r} has no form in a .keras file; use the layer of that name")
    class_name = _CLASS_NAMES.get(name) or "".join(part.capitalize() for part in name.split("_"))
    _, config = _arguments(kept[id(operation)][0])
    made = {k: plain_config(v) for k, v in config.items()}
    return {
        "module": _MODULE_OF.get(name, "keras.src.ops.numpy"),
        "class_name": class_name,
        "config": {"name": operation.name, **made},
        "registered_name": class_name,
    }


def _node_config(node: FunctionalNode, history: Any) -> dict[str, Any]:
    def write(x: Any) -> Any:
        if isinstance(x, KerasTensor):
            config = {"shape": list(x.shape), "dtype": x.dtype, "keras_history": history(x)}
            return {"class_name": "__keras_tensor__", "config": config}
        if isinstance(x, (list, tuple)):
            return [write(v) for v in x]
        if isinstance(x, dict):
            return {k: write(v) for k, v in x.items()}
        return serialize_keras_object(x)

    args, kwargs = node.args, node.kwargs
    if isinstance(node.operation, OpCall):
        args, kwargs = _arguments(node)[0], {}
    return {"args": [write(a) for a in args], "kwargs": {k: write(v) for k, v in kwargs.items()}}


def goes_with_the_call(function: str, parameter: str) -> bool:
    """True for an argument that Keras's operation takes with each call; others are in its config."""
    more, fewer = _MORE_CALL_ARGUMENTS.get(function, ()), _FEWER_CALL_ARGUMENTS.get(function, ())
    return (parameter in _CALL_ARGUMENTS or parameter in more) and parameter not in fewer


def _arguments(node: FunctionalNode) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An ops node's arguments as Keras's operation takes them: with the call, and in its config."""
    function = node.operation.function
    signature = inspect.signature(function)
    bound = signature.bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    name = function.__name__
    call: list[Any] = []
    config: dict[str, Any] = {}
    for parameter, value in bound.arguments.items():
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            call.extend(value)
        elif goes_with_the_call(name, parameter):
            call.append(value)
        elif parameter != "bias":
            config[parameter] = value
        elif value is not None:
            raise UnsupportedError(
                f"operation {node.operation.name!r}: a bias has no form in a .keras file; add it after"
            )
    if name == "one_hot":
        config["dtype"] = config["dtype"] or floatx()
    if name == "getitem" and isinstance(call[1], list):
        raise UnsupportedError(
            f"operation {node.operation.name!r}: a list as index has no form in a .keras file; use ops.take"
        )
    return tuple(call), config


def functional_from_config(cls: Any, config: dict[str, Any]) -> Any:
    """The model of a config; raises FileFormatError where its nodes don't fit together."""
    operations: dict[str, Any] = {}
    nodes: dict[str, list[Any]] = {}
    pending: list[tuple[str, dict[str, Any]]] = []
    for entry in config["layers"]:
        name = entry.get("name", entry.get("config", {}).get("name"))
        if name in operations:
            raise FileFormatError(f"two layers of the model are called {printable(name)}")
        operations[name] = _operation(entry)
        nodes[name] = []
        if isinstance(operations[name], InputLayer):
            nodes[name].append(operations[name].output)
        pending += [(name, node) for node in entry.get("inbound_nodes", [])]
    _connect(operations, nodes, pending)

    def tensor(place: Any) -> Any:
        name, node, index = place
        return _result(nodes, name, node, index)

    inputs = _map_places(tensor, config["input_layers"])
    outputs = _map_places(tensor, config["output_layers"])
    model = cls(inputs, outputs, name=config.get("name"))
    model._trainable = config.get("trainable", True)
    return model


def _connect(operations: dict[str, Any], nodes: dict[str, list[Any]], pending: list[tuple[str, Any]]) -> None:
    """Call operations as soon as their inputs exist; each operation's calls stay in order."""
    while pending:
        later: list[tuple[str, dict[str, Any]]] = []
        blocked: set[str] = set()
        for name, node in pending:
            ready = name not in blocked and all(p[0] in nodes and 0 <= p[1] < len(nodes[p[0]]) for p in _places(node))
            if not ready:
                later.append((name, node))
                blocked.add(name)
                continue
            args = _read(node.get("args", []), nodes)
            kwargs = _read(node.get("kwargs", {}), nodes)
            nodes[name].append(operations[name](*args, **kwargs))
        if len(later) == len(pending):
            names = sorted({printable(n) for n, _ in later})
            raise FileFormatError(
                f"the model's nodes form a circle or name layers that don't exist: {', '.join(names[:5])}"
            )
        pending = later


def _operation(entry: dict[str, Any]) -> Any:
    module = str(entry.get("module"))
    if not module.startswith("keras.src.ops"):
        return deserialize_keras_object(entry)
    class_name = entry["class_name"]
    function = _functions().get(class_name.lower())
    if function is None:
        raise UnsupportedError(
            f"the file uses keras.ops operation {printable(class_name)}, which kcompile doesn't have"
        )
    config = {k: deserialize_keras_object(v) for k, v in entry.get("config", {}).items() if k != "name"}
    names = inspect.signature(function).parameters
    return _OpFactory(function, {k: v for k, v in config.items() if k in names})


class _OpFactory:
    """An ops function with the arguments of its config, called once a node."""

    def __init__(self, function: Any, config: dict[str, Any]):
        self.function, self.config = function, config

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.function is ops.getitem and isinstance(args[1], list):
            # A tuple of indices, which JSON can only give as a list.
            args = (args[0], tuple(args[1]))
        if self.function is ops.einsum:
            return ops.einsum(self.config["subscripts"], *args)
        names = list(inspect.signature(self.function).parameters)
        # By name: in Keras a call's arguments need not be a function's first ones.
        called = [n for n in names if n not in self.config]
        return self.function(**dict(zip(called, args, strict=False)), **self.config, **kwargs)


def _functions() -> dict[str, Any]:
    found = {**vars(ops.image), **vars(ops)}
    return {n.replace("_", "").lower(): f for n, f in found.items() if callable(f)}


def _places(node: Any) -> list[Any]:
    found = []
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [_place(node["config"]["keras_history"])]
        for value in node.values():
            found += _places(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            found += _places(value)
    return found


def _place(history: Any) -> Any:
    # Lists in a file; tuples in a config that comes straight from Keras's get_config.
    fits = isinstance(history, (list, tuple)) and len(history) == 3 and isinstance(history[0], str)
    if not fits or not all(isinstance(i, int) and i >= 0 for i in history[1:]):
        raise FileFormatError(f"a node's input is given as {printable(history)}, not as [layer, node, tensor]")
    return history


def _read(structure: Any, nodes: dict[str, list[Any]]) -> Any:
    if isinstance(structure, dict):
        if structure.get("class_name") == "__keras_tensor__":
            return _result(nodes, *structure["config"]["keras_history"])
        if "class_name" in structure:
            return deserialize_keras_object(structure)
        return {k: _read(v, nodes) for k, v in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_read(v, nodes) for v in structure]
    return structure


def _result(nodes: dict[str, list[Any]], name: str, node: int, index: int) -> Any:
    try:
        if node < 0 or index < 0:
            raise IndexError
        return tree.flatten(nodes[name][node])[index]
    except (KeyError, IndexError) as error:
        raise FileFormatError(
            f"the model refers to tensor {index} of call {node} of {printable(name)}, which doesn't exist"
        ) from error


def _map_places(function: Any, structure: Any) -> Any:
    if isinstance(structure, dict):
        return {k: _map_places(function, v) for k, v in structure.items()}
    if isinstance(structure, (list, tuple)) and len(structure) == 3 and isinstance(structure[0], str):
        return function(_place(structure))
    if isinstance(structure, (list, tuple)):
        return [_map_places(function, s) for s in structure]
    raise FileFormatError(f"the model's inputs or outputs are given as {printable(structure)}")
