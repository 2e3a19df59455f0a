"""Models as ``.keras`` and ``.weights.h5`` files, as Keras 3 writes and reads them."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, KcompileError, UnsupportedError, UsageError, printable
from kcompile.keras import initializers, naming
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.lora import LowRank
from kcompile.keras.metrics.base import Metric
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.saving import h5_file
from kcompile.keras.saving.registration import custom_object_scope
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object

KERAS_VERSION = "3.15.0"
WHOLE_H5 = (".h5", ".hdf5")


def save_model(model: Any, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a ``.keras`` file, or by its name an ``.h5`` file (without the optimizer's state).

    Raises UsageError for a bad path, TypeError for what has no config.
    """
    from kcompile.files.atomic import replacing
    from kcompile.files.keras_archive import write_archive
    from kcompile.files.weights import write_weights

    path = _target(filepath, (".keras", *WHOLE_H5), overwrite)
    if path.suffix in WHOLE_H5:
        h5_file.check_name(path)
        h5_file.check_model(model)
        with replacing(path) as stream:
            h5_file.save(model, stream, KERAS_VERSION)
        return
    config = serialize_keras_object(model)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": KERAS_VERSION, "date_saved": stamp}
    groups = stored_groups(model)
    write_archive(path, metadata, config, lambda stream: write_weights(stream, groups))


def save_weights(model: Any, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a ``.weights.h5`` file."""
    from kcompile.files.atomic import replacing
    from kcompile.files.weights import write_weights

    path = _target(filepath, (".weights.h5",), overwrite)
    with replacing(path) as stream:
        write_weights(stream, stored_groups(model))


def _target(filepath: str | Path, endings: tuple[str, ...], overwrite: bool) -> Path:
    path = Path(filepath)
    if not path.name.endswith(endings):
        raise UsageError(f"{path}: the name must end in {' or '.join(endings)}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; pass overwrite=True to replace it")
    return path


def load_model(
    filepath: str | Path, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model of a ``.keras`` or ``.h5`` file. Code in the file is never run, whatever ``safe_mode`` says.

    Raises FileFormatError for a damaged file, UnsupportedError naming a class that is not known.
    """
    from kcompile.files.keras_archive import read_archive
    from kcompile.files.legacy_h5 import LegacyReader
    from kcompile.files.weights import WeightsReader

    path = Path(filepath)
    if path.suffix in WHOLE_H5:
        h5_file.check_name(path)
        with LegacyReader(path) as legacy:
            config, compile_config = h5_file.config_of(path, legacy)
            model = _model(path, config, custom_objects)
            if not model.built:
                raise UnsupportedError(f"{path}: the file does not say for which input shape to build {model.name!r}")
            h5_file.restore(model, legacy)
            if compile and compile_config:
                _compile(model, compile_config, custom_objects, None, str(path))
                h5_file.tell_about_optimizer(legacy)
        return model
    if path.suffix != ".keras":
        raise UsageError(f"{path}: expected a .keras or .h5 file")
    archive = read_archive(path)
    config = dict(archive.config)
    compile_config = config.pop("compile_config", None)
    model = _model(path, config, custom_objects)
    with WeightsReader(archive.weights, str(path)) as reader:
        _restore(model, reader, skip_mismatch=False)
        if compile and compile_config:
            _compile(model, compile_config, custom_objects, reader, str(path))
    return model


def _model(path: Path, config: dict[str, Any], custom_objects: dict[str, Any] | None) -> Any:
    """The model of a config; whatever is wrong with it is one line that names the file."""
    try:
        with custom_object_scope(custom_objects or {}), initializers.loading():
            model = deserialize_keras_object(config)
            if not isinstance(model, Layer):
                raise FileFormatError(f"the file holds a {type(model).__name__}, not a model")
            return model
    except KcompileError as error:
        raise type(error)(f"{path}: {error}") from error
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        MemoryError,
        RecursionError,
        OverflowError,
    ) as error:
        text = " ".join(printable(error, 300).split())
        raise FileFormatError(
            f"{path}: the model's config does not make a model: {type(error).__name__}: {text}"
        ) from error


def _compile(model: Any, config: Any, custom_objects: Any, reader: Any, label: str) -> None:
    """Compile as the file says; a loss or metric that is not known leaves the model uncompiled, with a warning."""
    try:
        with custom_object_scope(custom_objects or {}):
            model.compile_from_config(config)
        if model.optimizer is not None and reader is not None and reader.variables("optimizer"):
            _restore(model.optimizer, reader, False, "optimizer")
    except (KcompileError, TypeError, ValueError, KeyError) as error:
        warnings.warn(f"{label}: the model is loaded but not compiled: {printable(error)}", stacklevel=3)


def load_weights(model: Any, filepath: str | Path, skip_mismatch: bool = False) -> None:
    """Set a model's weights from a ``.weights.h5``, ``.keras`` or ``.h5`` file; nothing changes where they don't fit."""
    from kcompile.files.keras_archive import read_archive
    from kcompile.files.legacy_h5 import LegacyReader
    from kcompile.files.weights import WeightsReader

    path = Path(filepath)
    if path.name.endswith(".weights.h5"):
        source: Any = path
    elif path.suffix == ".keras":
        source = read_archive(path).weights
    elif path.suffix in WHOLE_H5:
        with LegacyReader(path) as legacy:
            h5_file.restore(model, legacy)
        return
    else:
        raise UsageError(f"{path}: weights are read from .weights.h5, .keras and .h5 files")
    if not model.built and not model.weights:
        raise UsageError(f"model {model.name!r} has no weights yet: build it (or call it once) before loading")
    with WeightsReader(source, str(path)) as reader:
        _restore(model, reader, skip_mismatch)


def _restore(root: Any, reader: Any, skip_mismatch: bool, path: str = "") -> None:
    """Read everything first, assign after: a file that does not fit changes nothing."""
    pending: list[tuple[Any, np.ndarray]] = []
    for place, owner in saveables(root, path):
        own = own_variables(owner)
        datasets = reader.variables(place)
        where = f"{reader.label}: layer {getattr(owner, 'name', place)!r}"
        if len(datasets) != len(own):
            if skip_mismatch or (isinstance(owner, Optimizer) and not datasets):
                continue
            raise FileFormatError(f"{where} has {len(own)} variables, the file {len(datasets)} (at {place or '/'})")
        for i, variable in enumerate(own):
            if str(i) not in datasets:
                raise FileFormatError(f"{where}: the file has no variable {i} (at {place or '/'})")
            if skip_mismatch and datasets[str(i)].shape != variable.shape:
                continue
            pending.append((variable, reader.array(datasets[str(i)], variable.shape, variable.path)))
    for variable, array in pending:
        variable.assign(array)
    for _, owner in saveables(root, path):
        if isinstance(owner, LowRank) and owner.lora_enabled:
            owner.forget_lora()


def stored_groups(model: Any) -> dict[str, tuple[str | None, list[np.ndarray]]]:
    """What a weights file holds: for each object its path, name and arrays."""
    groups = {path: (getattr(owner, "name", None), _arrays(owner)) for path, owner in saveables(model)}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        groups["optimizer"] = (optimizer.name, [v.numpy() for v in optimizer.variables])
    return groups


def _arrays(owner: Any) -> list[np.ndarray]:
    merged = owner.stored() if isinstance(owner, LowRank) else None
    return [v.numpy() for v in own_variables(owner)] if merged is None else [array for _, array in merged]


def own_variables(owner: Any) -> list[Any]:
    """The variables stored for one object, in order."""
    from kcompile.keras.layers import tracking

    if isinstance(owner, LowRank) and owner.lora_enabled:
        return [v for v, _ in owner.stored() or []]
    return owner.variables if isinstance(owner, Optimizer) else tracking.variables_of(owner)


def saveables(root: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path in the file, object): the root and all layers within, each once, under Keras's names."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [(path, root)]
    while stack:
        place, owner = stack.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        yield place, owner
        stack.extend(reversed([(f"{place}/{name}".lstrip("/"), child) for name, child in _children(owner)]))


def _children(owner: Any) -> Iterator[tuple[str, Any]]:
    """Layers of an object: a model's under ``layers``, others under the attribute that holds them."""
    if isinstance(owner, Optimizer):
        return
    attributes = {k: v for k, v in (*vars(owner).items(), *_own_properties(owner)) if k not in _INTERNAL}
    if hasattr(owner, "_functional_layers") or hasattr(owner, "_stack"):
        yield from _numbered("layers", owner.layers, {})
    elif getattr(owner, "is_model", False):
        # Among the attributes by its name: a layer's place is the first that leads to it.
        attributes["layers"] = owner.layers
    for name in sorted(attributes, key=lambda n: (n.startswith("_"), n)):
        value = attributes[name]
        if _is_saveable(value):
            yield name, value
        elif isinstance(value, (list, tuple, dict)):
            yield from _numbered(name, value, {})


def _own_properties(owner: Any) -> Iterator[tuple[str, Any]]:
    """What the properties of a user's class give; a property that has no value yet is left out."""
    classes = [c for c in type(owner).__mro__ if not c.__module__.startswith("kcompile.") and c is not object]
    names = {n for c in classes for n, member in vars(c).items() if isinstance(member, property)}
    for name in sorted(names):
        try:
            yield name, getattr(owner, name)
        except (AttributeError, ValueError, TypeError, LookupError, RuntimeError):
            continue


def _numbered(prefix: str, items: Any, used: dict[str, int]) -> Iterator[tuple[str, Any]]:
    """Layers in a container, by their class's name and a number, and those in containers within."""
    for item in items.values() if isinstance(items, dict) else items:
        if _is_saveable(item):
            yield f"{prefix}/{naming.unique(naming.to_snake_case(type(item).__name__), used)}", item
        elif isinstance(item, (list, tuple, dict)):
            yield from _numbered(f"{prefix}/{naming.unique('container', used)}", item, {})


def _is_saveable(x: Any) -> bool:
    return isinstance(x, Layer) and not isinstance(x, Metric)


# What a model or layer keeps about itself, not what it is made of.
_INTERNAL = frozenset(
    {"_auto_config", "_called_with", "_nodes", "_functional_layers", "_operations", "_graph_nodes", "_stack", "_steps",
     "_inputs_struct", "_outputs_struct", "_tensors", "optimizer", "_compile_arguments", "history", "_runner",
     "_epochs", "_shared_by"}
)  # fmt: skip
