"""`Functional`: a model given by its input and output tensors."""

from __future__ import annotations

from typing import Any

from kcompile.errors import printable
from kcompile.ir import Type
from kcompile.keras import backend, ops, symbolic, tree
from kcompile.keras.layers.base import Layer
from kcompile.keras.models.model import Model
from kcompile.keras.symbolic import FunctionalNode, KerasTensor


class Functional(Model):
    """The graph of layer calls between ``inputs`` and ``outputs`` (tensors or nests of them)."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any):
        trainable = kwargs.pop("trainable", None)
        super().__init__(name=name, **kwargs)
        for tensor in tree.leaves((inputs, outputs)):
            if not isinstance(tensor, KerasTensor):
                raise ValueError(
                    "All `inputs` and `outputs` values must be KerasTensors. Received: "
                    f"{printable(tensor)} (of type {type(tensor).__name__})"
                )
        self._inputs_struct, self._outputs_struct = inputs, outputs
        self._graph_nodes, self._operations = map_graph(tree.flatten(inputs), tree.flatten(outputs))
        self._functional_layers = [op for op in self._operations if isinstance(op, Layer)]
        names = [op.name for op in self._operations]
        repeated = {n for n in names if names.count(n) > 1}
        if repeated:
            raise ValueError(
                f'The name "{sorted(repeated)[0]}" is used {names.count(sorted(repeated)[0])} times in the model. '
                "All operation names should be unique."
            )
        self.built = True
        if trainable is not None:
            self.trainable = trainable

    @property
    def layers(self) -> list[Layer]:
        return list(self._functional_layers)

    @property
    def inputs(self) -> list[KerasTensor]:
        return tree.flatten(self._inputs_struct)

    @property
    def outputs(self) -> list[KerasTensor]:
        return tree.flatten(self._outputs_struct)

    @property
    def input(self) -> Any:
        return self._inputs_struct

    @property
    def output(self) -> Any:
        return self._outputs_struct

    @property
    def output_names(self) -> list[str]:
        """Names of the operations that make the outputs."""
        return [t._keras_history[0].operation.name for t in self.outputs]  # type: ignore[index]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs in their form; of a list or tuple of one the tensor, but for a model's tensors, as in Keras."""
        outputs = super().__call__(*args, **kwargs)
        return outputs if symbolic.has_keras_tensor(outputs) or not self._lists_one() else tree.flatten(outputs)[0]

    def _lists_one(self) -> bool:
        return isinstance(self._outputs_struct, (list, tuple)) and len(tree.flatten(self._outputs_struct)) == 1

    def _symbolic_outputs(self, args: Any, kwargs: Any) -> Any:
        outputs = super()._symbolic_outputs(args, kwargs)
        return tree.pack_like(self._outputs_struct, [outputs]) if self._lists_one() else outputs

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        flat = self._standardize(inputs)
        masks = [None] * len(flat) if mask is None else tree.flatten(mask)
        tensors: dict[int, Any] = {}
        types: list[Type] = []
        for reference, x, given in zip(self.inputs, flat, masks, strict=True):
            x = adjust_rank(x, reference.type.rank, reference.shape)
            check_input(self.name, reference, x)
            if given is not None:
                x._keras_mask = given
            tensors[id(reference)] = x
            types.append(Type(backend.dtype_of(x), backend.shape_of(x)))
        return self._run_through(tensors, types, lambda operation, *args, **kwargs: operation(*args, **kwargs))

    def _run_through(self, tensors: dict[int, Any], types: list[Type], operate: Any) -> Any:
        """The outputs where ``operate(operation, *args, **kwargs)`` does each node's work.

        ``tensors`` holds what takes the place of each input, by the input's id; ``types`` are their types.
        """
        sizes = symbolic.dims_between([t.type for t in self.inputs], types)
        for node in self._graph_nodes:
            if all(id(t) in tensors for t in tree.leaves(node.outputs)):
                continue
            args, kwargs = symbolic.replay((node.args, node.kwargs), tensors, sizes)
            outputs = operate(node.operation, *args, **kwargs)
            for made, tensor in zip(tree.leaves(node.outputs), tree.leaves(outputs), strict=True):
                tensors[id(made)] = tensor
        return tree.map_structure(lambda t: tensors[id(t)], self._outputs_struct)

    def _standardize(self, inputs: Any) -> list[Any]:
        """The call's tensors in the order of the model's inputs."""
        wanted = self.inputs
        if isinstance(inputs, dict) and not isinstance(self._inputs_struct, dict):
            missing = [t.name for t in wanted if t.name not in inputs]
            if missing:
                raise ValueError(f'Model "{self.name}" has no value for the input(s) {missing}; got {sorted(inputs)}')
            return [inputs[t.name] for t in wanted]
        if isinstance(inputs, dict):
            missing = [k for k in self._inputs_struct if k not in inputs]
            if missing:
                raise ValueError(f'Model "{self.name}" has no value for the input(s) {missing}; got {sorted(inputs)}')
            inputs = {k: inputs[k] for k in self._inputs_struct}
        flat = tree.flatten(inputs)
        if len(flat) != len(wanted):
            raise ValueError(
                f'Layer "{self.name}" expects {len(wanted)} input(s), but it received {len(flat)} input tensors. '
                f"Expected inputs: {[t.name for t in wanted]}"
            )
        return flat

    def get_config(self) -> dict[str, Any]:
        from kcompile.keras.saving.functional_config import functional_config

        if type(self) is not Functional and type(self).__init__ is not Functional.__init__:
            return Layer.get_config(self)
        return functional_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from kcompile.keras.saving.functional_config import functional_from_config

        if "layers" not in config or "input_layers" not in config:
            return super().from_config(config)
        return functional_from_config(cls, config)


def adjust_rank(x: Any, rank: int, shape: tuple[int | None, ...]) -> Any:
    """x with a last axis of 1 put in or taken out where that is all it lacks: [N] for [N, 1]."""
    have = len(backend.shape_of(x))
    if have == rank - 1 and shape[-1] == 1:
        return ops.expand_dims(x, -1)
    if have == rank + 1 and backend.shape_of(x)[-1] == 1:
        return ops.squeeze(x, -1)
    return x


def check_input(model: str, reference: KerasTensor, x: Any, sizes: bool = True) -> None:
    """Raises ValueError where a model is called with what does not fit its input's shape, or only its rank."""
    shape, wanted = tuple(s if isinstance(s, int) else None for s in backend.shape_of(x)), reference.shape
    fits = len(shape) == len(wanted) and all(
        w is None or s is None or s == w or not sizes for s, w in zip(shape[1:], wanted[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f'Input "{reference.name}" of model "{model}" is incompatible: expected shape={wanted}, found shape={shape}'
        )


def map_graph(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> tuple[list[FunctionalNode], list[Any]]:
    """Nodes in an order in which they can run, and operations in Keras's order of layers.

    That order: longest distance from the outputs first, then the order in which a walk from the
    outputs meets them. Raises ValueError where an output does not come from the inputs.
    """
    order, index = _walk(inputs, outputs)
    depth: dict[FunctionalNode, int] = {}
    op_depth: dict[Any, int] = {}
    for node in reversed(order):
        own = max(depth.get(node, 0), op_depth.get(node.operation, 0))
        depth[node] = op_depth[node.operation] = own
        for parent in node.parents:
            if parent in index:
                depth[parent] = max(own + 1, depth.get(parent, 0))
    for tensor in inputs:
        node = tensor._keras_history[0]  # type: ignore[index]
        if node.operation not in op_depth:
            op_depth[node.operation] = 0
            index.setdefault(node, len(index))
    first: dict[Any, int] = {}
    for node, place in index.items():
        first.setdefault(node.operation, place)
    operations = sorted(op_depth, key=lambda op: (-op_depth[op], first.get(op, 0)))
    return order, operations


def _walk(
    inputs: list[KerasTensor], outputs: list[KerasTensor]
) -> tuple[list[FunctionalNode], dict[FunctionalNode, int]]:
    known = {id(t) for t in inputs}
    order: list[FunctionalNode] = []
    index: dict[FunctionalNode, int] = {}
    done: set[FunctionalNode] = set()
    for output in outputs:
        stack: list[tuple[KerasTensor, bool]] = [(output, False)]
        while stack:
            tensor, ready = stack.pop()
            if tensor._keras_history is None:
                raise ValueError(f"tensor {tensor.name!r} does not come from any of the model's inputs")
            node = tensor._keras_history[0]
            if ready:
                if node not in done:
                    done.add(node)
                    order.append(node)
                continue
            if node in index:
                continue
            index[node] = len(index)
            stack.append((tensor, True))
            if id(tensor) in known:
                continue
            if not node.input_tensors:
                raise ValueError(
                    f"`inputs` not connected to `outputs`: {tensor.name!r} comes from layer "
                    f"{node.operation.name!r}, which is not among the model's inputs"
                )
            stack.extend((t, False) for t in reversed(node.input_tensors))
    return order, index
