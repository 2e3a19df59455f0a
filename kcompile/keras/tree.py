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
    return _filled(structure, iter(flat))


def _filled(part: Any, rest: Iterator[Any]) -> Any:
    # Not a function within `pack_like`: one that calls itself is a cycle, which would keep a step's
    # tensors until Python next collects, and with them the memory that the next step wants.
    if isinstance(part, dict):
        made = {key: _filled(part[key], rest) for key in sorted_keys(part)}
        return type(part)((key, made[key]) for key in part)
    if isinstance(part, (tuple, list)):
        items = [_filled(p, rest) for p in part]
        return type(part)(*items) if hasattr(part, "_fields") else type(part)(items)
    return next(rest)


def sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    """The keys in the order in which leaves are taken."""
    try:
        return sorted(mapping)
    except TypeError:
        return list(mapping)


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """`pack_like` by Keras's name; raises ValueError where the number of leaves differs."""
    if not is_nested(structure):
        if len(flat_sequence) != 1:
            raise ValueError(f"the structure is one leaf, the sequence has {len(flat_sequence)}")
        return flat_sequence[0]
    wanted = len(flatten(structure))
    if wanted != len(flat_sequence):
        raise ValueError(f"the structure has {wanted} leaves, the sequence {len(flat_sequence)}")
    return pack_like(structure, flat_sequence)


def assert_same_structure(a: Any, b: Any) -> None:
    """Raise ValueError where two structures differ in their containers, keys or lengths."""
    if is_nested(a) != is_nested(b):
        raise ValueError(f"structures differ: {a} and {b}")
    if is_nested(a):
        if type(a) is not type(b) or len(a) != len(b) or (isinstance(a, dict) and set(a) != set(b)):
            raise ValueError(f"structures differ: {a} and {b}")
        for key in a if isinstance(a, dict) else range(len(a)):
            assert_same_structure(a[key], b[key])


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, leaf) of each leaf; a path is the keys and indices that lead to it."""
    if not is_nested(structure):
        return [((), structure)]
    items = [(k, structure[k]) for k in sorted_keys(structure)] if isinstance(structure, dict) else enumerate(structure)
    return [((key, *path), leaf) for key, part in items for path, leaf in flatten_with_path(part)]


def lists_to_tuples(structure: Any) -> Any:
    """The structure with tuples in place of lists."""
    if isinstance(structure, dict):
        return {k: lists_to_tuples(v) for k, v in structure.items()}
    return tuple(lists_to_tuples(v) for v in structure) if isinstance(structure, (list, tuple)) else structure
