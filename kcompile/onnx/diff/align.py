"""Which node of one model is which of another."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence

from kcompile.onnx.diff.weights import Stored
from kcompile.onnx.diff.wiring import Interned, Wiring, by_key, from_inputs, from_outputs

Keys = tuple[Sequence[Hashable], Sequence[Hashable]]  # of the nodes of either model


def aligned(a: Wiring, b: Wiring, weights_a: dict[str, Stored], weights_b: dict[str, Stored]) -> dict[int, int]:
    """Nodes of ``a`` by number, each with the node of ``b`` that it is.

    In this order: those of equal names where what they are computed from (with the weights' content, then
    with their types alone) or what is computed from them is equal too; those of which that is equal
    whatever their names; equal names of one operator; neighbours of those found; operators with
    their attributes, then operators alone, in the order of the files.
    """
    number = Interned()
    both = ((a, weights_a), (b, weights_b))
    exact: Keys = _keys(from_inputs(w, {n: s.digest for n, s in stored.items()}, number) for w, stored in both)
    into: Keys = _keys(from_inputs(w, {n: s.type for n, s in stored.items()}, number) for w, stored in both)
    out: Keys = from_outputs(a, number), from_outputs(b, number)
    names: Keys = ([n.name for n in a.nodes], [n.name for n in b.nodes])
    kinds: Keys = ([(n.domain, n.op_type) for n in a.nodes], [(n.domain, n.op_type) for n in b.nodes])
    pairs = _Pairs(a, b)
    known = [_both(names, exact), _both(names, into), _both(names, out), _both(exact, out), exact, _both(into, out)]
    for keys in (*known, into, out, _both(names, kinds)):
        pairs.take(*keys)
    pairs.spread(kinds)
    for keys in ((a.forms, b.forms), kinds):
        pairs.take(*keys, in_order=True)
        pairs.spread(kinds)
    return pairs.found


def _keys(each: Iterable[Sequence[Hashable]]) -> Keys:
    first, second = each
    return first, second


def _both(first: Keys, second: Keys) -> Keys:
    """Keys of two parts; none for a node whose first part is empty (it has no name)."""
    a, b = (
        [(x, y) if x != "" else None for x, y in zip(*each, strict=True)] for each in zip(first, second, strict=True)
    )
    return a, b


class _Pairs:
    """Pairs found so far."""

    def __init__(self, a: Wiring, b: Wiring):
        self.a, self.b = a, b
        self.found: dict[int, int] = {}
        self.taken: set[int] = set()

    def left(self) -> tuple[list[int], list[int]]:
        mine = [i for i in range(len(self.a.nodes)) if i not in self.found]
        return mine, [j for j in range(len(self.b.nodes)) if j not in self.taken]

    def add(self, i: int, j: int) -> None:
        self.found[i] = j
        self.taken.add(j)

    def take(self, keys_a: Sequence[Hashable], keys_b: Sequence[Hashable], in_order: bool = False) -> None:
        """Pair what is left by key (None: none), where as many have it on both sides, or in order as far as it goes."""
        mine, others = (by_key(list(k), left) for k, left in zip((keys_a, keys_b), self.left(), strict=True))
        for key, group in mine.items():
            other = others.get(key, [])
            if key is not None and (in_order or len(group) == len(other)):
                for i, j in zip(group, other, strict=False):
                    self.add(i, j)

    def spread(self, kinds: Keys) -> None:
        """Pair the neighbours of pairs: what makes the same operand, and users that are alone in their kind."""
        queue = deque(self.found.items())
        while queue:
            i, j = queue.popleft()
            near = zip(self.a.sources[i], self.b.sources[j], strict=False)
            candidates = [(s[1], t[1]) for s, t in near if s[0] == t[0] == "node" and s[2] == t[2]]
            mine, others = (self._free_users(w, n, k) for w, n, k in zip((self.a, self.b), (i, j), kinds, strict=True))
            candidates += [(u, others[key]) for key, u in mine.items() if key in others]
            for x, y in candidates:
                if x not in self.found and y not in self.taken and kinds[0][x] == kinds[1][y]:
                    self.add(x, y)
                    queue.append((x, y))

    def _free_users(self, wiring: Wiring, node: int, kinds: Sequence[Hashable]) -> dict[Hashable, int]:
        """Users that are not paired yet, by operator and operand, where there is one such."""
        found: dict[Hashable, list[int]] = {}
        known = self.found if wiring is self.a else self.taken
        for user, operand, output in wiring.users[node]:
            if user >= 0 and user not in known:
                found.setdefault((kinds[user], operand, output), []).append(user)
        return {key: users[0] for key, users in found.items() if len(users) == 1}
