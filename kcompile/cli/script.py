"""Loads a model out of a user's Python script or a ``.keras`` file."""

from __future__ import annotations

import ast
import contextlib
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcompile.cli.alias import keras_alias
from kcompile.cli.constants import with_constants
from kcompile.errors import KcompileError, ScriptError, UsageError, did_you_mean


@dataclass
class Loaded:
    """A model and the namespace it came from (empty for a file)."""

    model: Any
    namespace: dict[str, Any]
    source: Path


def load_model(
    source: str, name: str | None = None, custom: tuple[str, ...] = (), constants: Mapping[str, str] | None = None
) -> Loaded:
    """The model of a script or of a ``.keras`` / ``.h5`` file; ``custom`` scripts are run first.

    ``constants`` are other values for what the script assigns at its top (`kcompile.cli.constants`).
    Raises ScriptError naming file and line for a script that fails, holds no model or several.
    """
    for script in custom:
        run_script(Path(script))
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{source}: no such file")
    if path.suffix in (".keras", ".h5", ".hdf5"):
        from kcompile.keras.saving.keras_file import load_model as load_file

        return Loaded(load_file(path), {}, path)
    if path.suffix != ".py":
        raise UsageError(f"{source}: expected a Python script (.py) or a Keras file (.keras)")
    namespace = run_script(path, constants)
    return Loaded(find_model(namespace, path, name), namespace, path)


def run_script(path: Path, constants: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The script's namespace after running it as a module, not as ``__main__``.

    Raises ScriptError with file and line for a syntax error, an exception or a ``sys.exit``.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    module = types.ModuleType(f"kcompile_script_{path.stem}")
    module.__file__, module.__package__ = str(path), _package(path)[0]
    # Pickle and dataclasses look a class's module up; a name of its own hides no library (a script random.py, say).
    sys.modules[module.__name__] = module

    def execute() -> None:
        tree = ast.parse(path.read_bytes(), str(path))
        exec(compile(with_constants(tree, constants or {}), str(path), "exec"), module.__dict__)

    call_user(execute, path)
    return module.__dict__


@contextlib.contextmanager
def _as_script(path: Path) -> Iterator[None]:
    """Imports find the script's siblings and its package, and it has no arguments, as where Python runs it alone."""
    places, arguments = list(dict.fromkeys([str(path.resolve().parent), str(_package(path)[1])])), sys.argv
    sys.path[:0], sys.argv = places, [str(path)]
    try:
        yield
    finally:
        sys.argv = arguments
        for place in places:
            with contextlib.suppress(ValueError):
                sys.path.remove(place)


def _package(path: Path) -> tuple[str | None, Path]:
    """The package that a script lies in, for its relative imports, and the folder which that is imported from."""
    folder = path.resolve().parent
    names: list[str] = []
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names) or None, folder


def find_model(namespace: dict[str, Any], path: Path, name: str | None) -> Any:
    """What the script calls ``name`` or ``model``, the one model that it defines, or what ``build()`` gives."""
    from kcompile.keras.models import Model

    models = {k: v for k, v in namespace.items() if isinstance(v, Model)}
    if name is not None:
        if name in models:
            return models[name]
        target = namespace.get(name)
        if callable(target):
            return _call(target, name, path)
        raise ScriptError(f"{path}: no model is called {name!r}{did_you_mean(name, models)}")
    if "model" in models:
        return models["model"]
    distinct = {id(v): v for v in models.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if len(distinct) > 1:
        raise ScriptError(f"{path}: defines {len(distinct)} models ({', '.join(models)}); choose one with --name")
    if callable(namespace.get("build")):
        return _call(namespace["build"], "build", path)
    raise ScriptError(
        f"{path}: defines no model; call one `model`, or write a function `build()` that returns it "
        "(`import keras` and `from kcompile import keras` are the same in it; models of tensorflow.keras don't count)"
    )


def _call(function: Any, name: str, path: Path) -> Any:
    from kcompile.keras.layers import Layer

    made = call_user(function, path)
    if not isinstance(made, Layer):
        raise ScriptError(f"{path}: {name}() returned {type(made).__name__}, not a model")
    return made


def train_function(loaded: Loaded, what: str) -> Any:
    """The script's ``train``, which ``what`` needs."""
    if not loaded.namespace:
        raise UsageError(f"{what} needs a script with a function train(model); a .keras file has none")
    function = loaded.namespace.get("train")
    if not callable(function):
        raise ScriptError(f"{loaded.source}: {what} needs a function train(model), the script defines none")
    return function


def call_user(function: Any, path: Path, *args: Any) -> Any:
    """A function of the script; what it raises becomes a ScriptError with file and line."""
    try:
        with _as_script(path), keras_alias():
            return function(*args)
    except KcompileError as error:
        raise type(error)(f"{_place(error, path)}: {error}") from error
    except SyntaxError as error:
        raise ScriptError(f"{error.filename or path}:{error.lineno}: syntax error: {error.msg}") from error
    except SystemExit as error:
        raise ScriptError(
            f"{_place(error, path)}: the script called sys.exit({error.code!r}); guard it with "
            "`if __name__ == '__main__':`"
        ) from error
    except Exception as error:
        raise ScriptError(f"{_place(error, path)}: {type(error).__name__}: {_line(error)}") from error


def _place(error: BaseException, path: Path) -> str:
    """``file:line`` of the innermost frame in the user's script, else of the script itself."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "(no message)"
