"""``--set key=value``: other values for the constants at the top of a script."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from kcompile.errors import ScriptError, UsageError, did_you_mean, printable

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


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


def with_constants(tree: ast.Module, given: Mapping[str, str]) -> ast.Module:
    """``tree`` with other values for constants that it assigns at its top level; each keeps its type.

    The source changes, not the finished module, so that a model which is made at the top level sees the value.
    Raises ScriptError for a key that the script doesn't assign, computes, or that has another type.
    """
    places: dict[str, list[ast.Assign | ast.AnnAssign]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target = statement.target
        else:
            continue
        if isinstance(target, ast.Name):
            places.setdefault(target.id, []).append(statement)  # type: ignore[arg-type]
    for key, text in given.items():
        if key not in places:
            constants = [k for k, found in places.items() if all(_is_literal(s.value) for s in found)]
            known = f"; it has {', '.join(sorted(constants))}" if constants else ""
            raise ScriptError(f"--set {key}: the script has no such constant{did_you_mean(key, constants)}{known}")
        for statement in places[key]:
            if not _is_literal(statement.value):
                raise ScriptError(f"--set {key}: line {statement.lineno} computes it; only constants can be set")
            assert statement.value is not None  # a declaration without a value is no place
            value = _converted(text, ast.literal_eval(statement.value), f"--set {key}, line {statement.lineno}")
            made = ast.parse(repr(value), mode="eval").body
            statement.value = _at(made, statement.value)
    return tree


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
