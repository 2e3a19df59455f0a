"""Nested structures: tuples, lists and dicts of anything, as layers take and give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def is_nested(x: Any) -> bool:
    """True for a container that is walked into."""
    return isinstance(x, (tuple, list, dict))


def map_structure(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """``function`` of each leaf, in the same structure; ``others`` have that structure too.

    Raises ValueError where a structure differs from the first.
    """
    if isinstance(structure, dict):
        for other in others:
            if not isinstance(other, dict) or set(other) != set(structure):
                raise ValueError(f"structures differ: {structure} and {other}")
        return type(structure)((k, map_structure(function, v, *(o[k] for o in others))) for k, v in structure.items())
    if isinstance(structure, (tuple, list)):
        for other in others:
            if not isinstance(other, (tuple, list)) or len(other) != len(structure):
                raise ValueError(f"structures differ: {structure} and {other}")
        items = [map_structure(function, *parts) for parts in zip(structure, *others, strict=True)]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    return function(structure, *others)


def leaves(structure: Any) -> Iterator[Any]:
    """Leaves in order; dicts in sorted order of their keys where the keys sort, as Keras walks them."""
    if isinstance(structure, dict):
        for key in sorted_keys(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def flatten(structure: Any) -> list[Any]:
    """`leaves` as a list."""
    return list(leaves(structure))


def pack_like(structure: Any, flat: Any) -> Any:
    """The leaves ``flat`` (in `flatten`'s order) in the form of ``structure``."""
    rest = iter(flat)

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            made = {key: fill(part[key]) for key in sorted_keys(part)}
            return type(part)((key, made[key]) for key in part)
        if isinstance(part, (tuple, list)):
            items = [fill(p) for p in part]
            return type(part)(*items) if hasattr(part, "_fields") else type(part)(items)
        return next(rest)

    return fill(structure)


def sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    """The keys in the order in which leaves are taken."""
    try:
        return sorted(mapping)
    except TypeError:
        return list(mapping)
