"""``--set key=value``: other values for the constants at the top of a script, and for defaults of its `train`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kcompile.errors import ScriptError, UsageError, did_you_mean, printable

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parsed(settings: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` words as a dict. Raises UsageError for a word without ``=`` and for a key given twice."""
    found: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--set {printable(setting)}: expected key=value")
        if key in found:
            raise UsageError(f"--set {key}: given twice")
        found[key] = value
    return found


@dataclass(frozen=True)
class Place:
    """Where a source says a value: the expression, and what puts another one there."""

    value: ast.expr
    put: Callable[[ast.expr], None]


def with_constants(tree: ast.Module, given: Mapping[str, str]) -> ast.Module:
    """``tree`` with other values for constants of its top level and defaults of its `train`; each keeps its type.

    The source changes, not the finished module, so that a model which is made at the top level sees the value.
    Raises ScriptError for a key that the script doesn't assign, computes, or that has another type.
    """
    places: dict[str, list[Place]] = {}
    for name, place in (found for statement in tree.body for found in _places(statement)):
        places.setdefault(name, []).append(place)
    for key, text in given.items():
        if key not in places:
            constants = [k for k, found in places.items() if all(_is_literal(p.value) for p in found)]
            known = f"; it has {', '.join(sorted(constants))}" if constants else ""
            raise ScriptError(f"--set {key}: the script has no such constant{did_you_mean(key, constants)}{known}")
        for place in places[key]:
            if not _is_literal(place.value):
                raise ScriptError(f"--set {key}: line {place.value.lineno} computes it; only constants can be set")
            value = _converted(text, ast.literal_eval(place.value), f"--set {key}, line {place.value.lineno}")
            place.put(_at(ast.parse(repr(value), mode="eval").body, place.value))
    return tree


def _places(statement: ast.stmt) -> Iterator[tuple[str, Place]]:
    """(name, where its value stands) for what a statement assigns, and for defaults where it is the function `train`."""
    if isinstance(statement, ast.FunctionDef) and statement.name == "train":
        arguments = statement.args
        last = [*arguments.posonlyargs, *arguments.args][-len(arguments.defaults) :]
        for names, values in ((last, arguments.defaults), (arguments.kwonlyargs, arguments.kw_defaults)):
            for i, (name, value) in enumerate(zip(names, values, strict=False)):
                if value is not None:
                    yield name.arg, Place(value, partial(operator.setitem, values, i))
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if len(targets) == 1:
            yield from _assigned(targets[0], Place(statement.value, partial(setattr, statement, "value")))


def _assigned(target: ast.expr, place: Place) -> Iterator[tuple[str, Place]]:
    """What an assignment gives names: itself, or the parts of ``A, B = 1, 2``."""
    value = place.value
    if isinstance(target, ast.Name):
        yield target.id, place
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for i, (part, given) in enumerate(zip(target.elts, value.elts, strict=True)):
            yield from _assigned(part, Place(given, partial(operator.setitem, value.elts, i)))


def _at(made: ast.expr, place: Any) -> ast.expr:
    """``made`` where ``place`` stands, for tracebacks."""
    for node in ast.walk(made):
        ast.copy_location(node, place)
    return made


def _is_literal(value: Any) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError):
        return False
    return True


def _converted(text: str, present: Any, place: str) -> Any:
    """``text`` as a value of the type of ``present``; any type where that is None."""
    kind = type(present)
    if kind is str:
        return text
    try:
        if kind is bool:
            return WORDS[text.lower()]
        if kind in (int, float):
            value = kind(text)
        else:
            value = ast.literal_eval(text)
    except (ValueError, KeyError, SyntaxError) as error:
        if present is None:
            return text
        raise ScriptError(f"{place}: {printable(text)!r} is no {kind.__name__}, as {present!r} is") from error
    if present is not None and type(value) is not kind:
        raise ScriptError(f"{place}: {printable(text)!r} is no {kind.__name__}, as {printable(present)} is")
    if kind is float and repr(value) in ("inf", "-inf", "nan"):
        raise ScriptError(f"{place}: {printable(text)!r} is no finite number")
    return value
