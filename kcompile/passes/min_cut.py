"""Minimum cuts: the cheapest way to part a network's source from its sink (Dinic, 1970)."""

from __future__ import annotations

from collections import deque

UNLIMITED = 1 << 40


class Network:
    """Directed edges with capacities between vertices 0, 1, ...; 0 is the source, 1 the sink."""

    SOURCE, SINK = 0, 1

    def __init__(self) -> None:
        self.edges: list[list[int]] = [[], []]  # by vertex: numbers of its edges
        self.heads: list[int] = []
        self.left: list[int] = []  # capacity that is left; edge i ^ 1 runs the other way

    def vertex(self) -> int:
        """A new vertex."""
        self.edges.append([])
        return len(self.edges) - 1

    def edge(self, tail: int, head: int, capacity: int) -> None:
        for a, b, room in ((tail, head, capacity), (head, tail, 0)):
            self.edges[a].append(len(self.heads))
            self.heads.append(b)
            self.left.append(room)

    def cut(self) -> list[bool]:
        """For each vertex whether it is on the source's side of a minimum cut, the one nearest to the sink."""
        while (level := self._levels())[self.SINK] >= 0:
            self._block(level)
        return [not reaches for reaches in self._reaching_sink()]

    def _levels(self) -> list[int]:
        level = [-1] * len(self.edges)
        level[self.SOURCE] = 0
        queue = deque([self.SOURCE])
        while queue:
            vertex = queue.popleft()
            for number in self.edges[vertex]:
                head = self.heads[number]
                if self.left[number] and level[head] < 0:
                    level[head] = level[vertex] + 1
                    queue.append(head)
        return level

    def _block(self, level: list[int]) -> None:
        """Saturate every shortest path from the source to the sink."""
        following = [0] * len(self.edges)
        path: list[int] = []
        while True:
            vertex = self.heads[path[-1]] if path else self.SOURCE
            if vertex == self.SINK:
                room = min(self.left[number] for number in path)
                for number in path:
                    self.left[number] -= room
                    self.left[number ^ 1] += room
                path.clear()
                continue
            while following[vertex] < len(self.edges[vertex]):
                number = self.edges[vertex][following[vertex]]
                if self.left[number] and level[self.heads[number]] == level[vertex] + 1:
                    path.append(number)
                    break
                following[vertex] += 1
            else:
                if not path:
                    return
                following[self.heads[path.pop() ^ 1]] += 1

    def _reaching_sink(self) -> list[bool]:
        reached = [False] * len(self.edges)
        reached[self.SINK] = True
        queue = deque([self.SINK])
        while queue:
            for number in self.edges[queue.popleft()]:
                tail = self.heads[number]
                if self.left[number ^ 1] and not reached[tail]:
                    reached[tail] = True
                    queue.append(tail)
        return reached
