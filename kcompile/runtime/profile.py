"""Where a session's time goes, from ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.runtime.session import open_session, run_session

WARMUP = 3
LEAST_RUNS, MOST_RUNS = 8, 2000
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph that ran: milliseconds and calls a run.

    ``bytes`` that it read and wrote, weights aside; ``results`` are its results' shapes.
    """

    name: str
    operator: str
    time: float
    calls: float
    bytes: int
    results: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Profile:
    """``time``: of a whole run in milliseconds. ``optimised``: the graph that ran, as ONNX Runtime wrote it down."""

    runs: int
    time: float
    nodes: tuple[NodeTime, ...]
    optimised: bytes

    @property
    def outside(self) -> float:
        """Milliseconds of a run that no node took."""
        return self.time - sum(n.time for n in self.nodes)


def profile(
    model: bytes | str | Path,
    feeds: Mapping[str, np.ndarray],
    *,
    seconds: float = 1.0,
    threads: int | None = None,
    level: str = "all",
) -> Profile:
    """Run on the CPU for about ``seconds`` under the profiler; figures are means over the faster half of the runs.

    Nodes within loops and branches count to the loop or branch. Measuring costs each node a
    microsecond or so. Raises as `open_session` and `run_session` do.
    """
    with tempfile.TemporaryDirectory(prefix="kcompile-profile-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        session = open_session(
            model, level=level, threads=threads, profile=str(Path(folder) / "events"), optimised=str(optimised)
        )
        end = time.perf_counter() + seconds
        for count in range(WARMUP + MOST_RUNS):
            run_session(session, feeds)
            if count >= WARMUP + LEAST_RUNS and time.perf_counter() > end:
                break
        events = json.loads(Path(session.end_profiling()).read_text(errors="replace"))
        return _summed(events, optimised.read_bytes())


def _summed(events: list[dict[str, Any]], optimised: bytes) -> Profile:
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: e["ts"])[WARMUP:]
    kept = sorted(runs, key=lambda e: e["dur"])[: (len(runs) + 1) // 2]
    spans = sorted((r["ts"], r["ts"] + r["dur"]) for r in kept)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in _outermost(_within(events, spans)):
        found.setdefault((event["name"].removesuffix(_SUFFIX), event["args"]["op_name"]), []).append(event)
    count = len(kept)
    nodes = [
        NodeTime(
            name, operator, sum(e["dur"] for e in each) / count / 1e3, len(each) / count, _bytes(each[-1]["args"]),
            _results(each[-1]["args"]),
        )
        for (name, operator), each in found.items()
    ]  # fmt: skip
    return Profile(len(runs), sum(r["dur"] for r in kept) / count / 1e3, tuple(nodes), optimised)


def _within(events: list[dict[str, Any]], spans: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Node events that begin in one of the spans, in order of time."""
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_SUFFIX)]
    nodes.sort(key=lambda e: (e["ts"], -e["dur"]))
    starts, ends = np.array([s for s, _ in spans]), np.array([e for _, e in spans])
    span = np.searchsorted(starts, [e["ts"] for e in nodes], side="right") - 1
    return [e for e, i in zip(nodes, span, strict=True) if i >= 0 and e["ts"] <= ends[i]]


def _outermost(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events that lie in no other: a loop's time holds that of its body."""
    found: list[dict[str, Any]] = []
    end = -1
    for event in events:
        if event["ts"] + event["dur"] > end or event["ts"] >= end:
            found.append(event)
            end = max(end, event["ts"] + event["dur"])
    return found


def _bytes(args: dict[str, Any]) -> int:
    return int(args.get("activation_size", 0)) + int(args.get("output_size", 0))


def _results(args: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(shape) for typed in args.get("output_type_shape", ()) for shape in typed.values())
