"""Configs of Keras 2, and of Keras 3's ``.h5`` files, in the form of Keras 3."""

from __future__ import annotations

from typing import Any

from kcompile.errors import FileFormatError, printable

# Which module the objects of these arguments of `compile` are from, where the file does not say.
_FAMILIES = {"loss": "keras.losses", "metrics": "keras.metrics", "weighted_metrics": "keras.metrics"}
MOST_NESTED = 100


def with_modules(training: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `compile` with the module of each loss and metric: the two share names."""
    return {k: _named(v, _FAMILIES[k], 0) if k in _FAMILIES else v for k, v in training.items()}


def _named(config: Any, module: str, depth: int) -> Any:
    _check_depth(depth)
    if isinstance(config, dict):
        if "class_name" in config and "config" in config:
            return {"module": module, **config}
        return {k: _named(v, module, depth + 1) for k, v in config.items()}
    if isinstance(config, list):
        return [_named(v, module, depth + 1) for v in config]
    return config


def without_legacy(config: Any, depth: int = 0) -> Any:
    """A model's config with nodes and input shapes as Keras 3 writes them."""
    _check_depth(depth)
    if isinstance(config, list):
        return [without_legacy(v, depth + 1) for v in config]
    if not isinstance(config, dict):
        return config
    made = {
        k: without_legacy(v, depth + 1) for k, v in config.items() if k not in ("inbound_nodes", "batch_input_shape")
    }
    if "batch_input_shape" in config:
        made["batch_shape"] = config["batch_input_shape"]
    if config.get("class_name") == "InputLayer" and isinstance(made.get("config"), dict):
        made["config"] = {k: v for k, v in made["config"].items() if k not in ("sparse", "ragged") or v}
    if "inbound_nodes" in config:
        if "module" not in config and not {"trainable", "dtype"} & set(made.get("config") or ()):
            # A function of keras.ops, which may be called like a layer (Add): layers say more about themselves.
            made["module"] = "keras.src.ops"
        made["inbound_nodes"] = [_node(n, depth) for n in _listed(config["inbound_nodes"])]
    return made


def _node(node: Any, depth: int) -> Any:
    """Keras 2: a list of [layer, node, tensor, arguments]; the first's arguments are the call's."""
    if isinstance(node, dict):
        return without_legacy(node, depth + 1)
    rows = _listed(node)
    if rows and not isinstance(rows[0], list):
        rows = [rows]
    if not all(isinstance(r, list) and len(r) in (3, 4) for r in rows):
        raise FileFormatError(
            f"a layer's inputs are given as {printable(node)}, not as [layer, node, tensor, arguments]"
        )
    tensors = [_tensor(r[:3]) for r in rows]
    kwargs = {k: _argument(v) for r in rows[:1] if len(r) == 4 and isinstance(r[3], dict) for k, v in r[3].items()}
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def _argument(value: Any) -> Any:
    """A call's argument: a tensor where it is written as [layer, node, tensor]."""
    place = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    return _tensor(value) if place and all(isinstance(i, int) for i in value[1:]) else value


def _tensor(place: list[Any]) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": place}}


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FileFormatError(f"a list of calls is given as {printable(value)}")
    return value


def _check_depth(depth: int) -> None:
    if depth > MOST_NESTED:
        raise FileFormatError(f"a config is nested more than {MOST_NESTED} deep")
