"""Objects as Keras 3's JSON configs and back. Nothing named in a config is imported: names are looked up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from kcompile.errors import FileFormatError, UnsupportedError, did_you_mean, printable
from kcompile.ir import Dim
from kcompile.ir import dtype as ir_dtype
from kcompile.keras.saving import registration
from kcompile.keras.saving.registration import custom_object_scope
from kcompile.tracing.variable import to_numpy

PLAIN = (str, int, float, bool, type(None))


def serialize_keras_object(obj: Any) -> Any:
    """A config that JSON holds: module, class name, registered name, config.

    Raises TypeError for an object that has none.
    """
    if isinstance(obj, PLAIN):
        return obj
    if isinstance(obj, (list, tuple)):
        items = [serialize_keras_object(x) for x in obj]
        return {"class_name": "__tuple__", "items": items} if isinstance(obj, tuple) else items
    if isinstance(obj, dict):
        return {k: serialize_keras_object(v) for k, v in obj.items()}
    if isinstance(obj, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if hasattr(obj, "detach"):
        array = to_numpy(obj)
        return {"class_name": "__tensor__", "config": {"value": array.tolist(), "dtype": array.dtype.name}}
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, slice):
        parts = {"start": obj.start, "stop": obj.stop, "step": obj.step}
        return {"class_name": "__slice__", "config": parts}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, Dim):
        raise TypeError(f"the size {obj} is known only when the model runs and can't be written into a file")
    if inspect.isfunction(obj) or inspect.isbuiltin(obj):
        return _serialize_function(obj)
    if hasattr(obj, "get_config"):
        return _serialize_object(obj)
    raise TypeError(f"Cannot serialize object {printable(obj)} of type {type(obj).__name__}")


def _serialize_function(function: Callable[..., Any]) -> Any:
    if function.__name__ == "<lambda>":
        raise TypeError(
            "a lambda is Python code and is not written into a file; give the function a name and register it"
        )
    name = registration.get_registered_name(function)
    module = "builtins"
    if name == function.__name__:
        tables = registration.BUILTINS
        if tables["keras.activations"].get(name) is function:
            return name
        own = any(table.get(name) is function for table in tables.values())
        label = "function" if own else name
        return {"module": module, "class_name": "function", "config": name, "registered_name": label}
    return {"module": module, "class_name": "function", "config": function.__name__, "registered_name": name}


def _serialize_object(obj: Any) -> dict[str, Any]:
    cls = type(obj)
    module = module_of(cls)
    registered = registration.get_registered_name(cls)
    config = {k: plain_config(v) for k, v in obj.get_config().items()}
    made: dict[str, Any] = {
        "module": module or cls.__module__,
        "class_name": registration.public_name(cls),
        "config": config,
        "registered_name": None if module is not None and module != _FUNCTIONAL else registered,
    }
    build = obj.get_build_config() if hasattr(obj, "get_build_config") else None
    if build is not None:
        made["build_config"] = plain_config(build)
    compiled = getattr(obj, "get_compile_config", None)
    if compiled is not None and getattr(obj, "compiled", False):
        made["compile_config"] = compiled()
    return made


def plain_config(value: Any) -> Any:
    """Config values as Keras writes them: tuples of numbers as lists, objects as configs."""
    if isinstance(value, (list, tuple)):
        return [plain_config(v) for v in value]
    if isinstance(value, dict):
        return {k: plain_config(v) for k, v in value.items()}
    return serialize_keras_object(value)


def deserialize_keras_object(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The object of a config.

    Only kcompile's own classes, registered ones and ``custom_objects`` are found. Raises
    UnsupportedError naming a class that is none of them, FileFormatError for a broken config.
    """
    with custom_object_scope(custom_objects or {}):
        return _deserialize(config, 0)


MOST_NESTED = 100


def _deserialize(config: Any, depth: int) -> Any:
    if depth > MOST_NESTED:
        raise FileFormatError(f"a config is nested more than {MOST_NESTED} deep")
    if isinstance(config, PLAIN):
        return config
    if isinstance(config, (list, tuple)):
        return [_deserialize(c, depth + 1) for c in config]
    if not isinstance(config, dict):
        return config
    name = config.get("class_name")
    if name is None or ("config" not in config and name != "__tuple__"):
        return {k: _deserialize(v, depth + 1) for k, v in config.items()}
    special = _SPECIAL.get(name)
    if special is not None:
        return special(config, depth)
    if name == "function":
        return find_function(config)
    cls = find_class(config)
    inner = config["config"]
    if not isinstance(inner, dict):
        raise FileFormatError(f"the config of {printable(name)} is not an object")
    obj = cls.from_config(_tuples_back(inner)) if hasattr(cls, "from_config") else cls(**inner)
    build = config.get("build_config")
    if build and hasattr(obj, "build_from_config"):
        obj.build_from_config(build)
    return obj


def _tuples_back(config: dict[str, Any]) -> dict[str, Any]:
    return {
        k: tuple(_deserialize(v["items"], 0)) if isinstance(v, dict) and v.get("class_name") == "__tuple__" else v
        for k, v in config.items()
    }


def _numpy(config: dict[str, Any], depth: int) -> Any:
    inner = config["config"]
    return np.array(inner["value"], dtype=ir_dtype(inner["dtype"]).numpy)


def _slice(config: dict[str, Any], depth: int) -> Any:
    inner = config["config"]
    return slice(*(_deserialize(inner.get(k), depth + 1) for k in ("start", "stop", "step")))


def _tuple(config: dict[str, Any], depth: int) -> Any:
    return tuple(_deserialize(c, depth + 1) for c in config.get("items", config.get("config", [])))


def _lambda(config: dict[str, Any], depth: int) -> Any:
    raise UnsupportedError(
        "the file holds a Lambda function as Python bytecode, which is never run; rebuild the layer from its source "
        "as a registered Layer class"
    )


_SPECIAL: dict[str, Callable[[dict[str, Any], int], Any]] = {
    "__numpy__": _numpy,
    "__tensor__": _numpy,
    "__slice__": _slice,
    "__tuple__": _tuple,
    "__lambda__": _lambda,
    "__ellipsis__": lambda config, depth: Ellipsis,
}
_FUNCTIONAL = "keras.src.models.functional"


def module_of(cls: type) -> str | None:
    """The public module under which Keras writes a class, None for a user's own class."""
    for module, table in registration.BUILTINS.items():
        if table.get(registration.public_name(cls)) is cls:
            return module
    return None


def find_class(config: dict[str, Any]) -> Any:
    """The class that a config means: a custom one, else kcompile's own under Keras's name."""
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    for label in (registered, name):
        found = registration.get_registered_object(label)
        if found is not None:
            return found
    own = module is None or str(module).startswith(("keras", "tf_keras"))
    tables = registration.BUILTINS
    if own:
        # Losses and metrics share names: the module that is named comes first.
        family = str(module).removeprefix("keras.").removeprefix("src.").partition(".")[0]
        for table_module in sorted(tables, key=lambda m: (m != module, m.split(".")[1:2] != [family])):
            cls = tables[table_module].get(name)
            if isinstance(cls, type) and (module in (None, table_module) or str(module).startswith("keras.")):
                return cls
    known = [n for t in tables.values() for n in t]
    where = f"{printable(module)}.{printable(name)}" if module else printable(name)
    if own:
        raise UnsupportedError(f"the file names {where}, which kcompile doesn't have{did_you_mean(str(name), known)}")
    raise UnsupportedError(
        f"the file names the custom class {where}; import it first (kcompile export --custom FILE.py) and register it "
        "with keras.saving.register_keras_serializable, or pass custom_objects"
    )


def find_function(config: dict[str, Any]) -> Any:
    """The function that a config means."""
    name = str(config.get("config"))
    for label in (config.get("registered_name"), name):
        found = registration.get_registered_object(label)
        if found is not None:
            return found
    for module in ("keras.activations", "keras.losses", "keras.metrics"):
        found = registration.BUILTINS[module].get(name)
        if found is not None and not isinstance(found, type):
            return found
    raise UnsupportedError(
        f"the file names the function {printable(name)}, which is not known; register it or pass custom_objects"
    )
