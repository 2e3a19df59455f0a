"""Curves over epochs as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kcompile.drawing.svg import escaped

WIDTH, HEIGHT = 460.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 12.0, 40.0, 30.0  # margins: numbers, title and legend
COLORS = ("#2f5fa8", "#c4622d", "#3a7d3a", "#7d4fa0")


def to_svg(title: str, epochs: Sequence[int], curves: Mapping[str, Sequence[float]], mark: int | None = None) -> str:
    """A chart of ``curves``, each with one value an epoch; ``mark`` is an epoch to draw a line at.

    Values that are no finite numbers leave a gap.
    """
    finite = [v for curve in curves.values() for v in curve if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    # Half the distance, since that of two large numbers may be infinite; that of tiny ones may be 0.
    half = (high / 2 - low / 2) or 1.0
    first, last = (epochs[0], epochs[-1]) if epochs else (0, 1)

    def across(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (0.5 if first == last else (epoch - first) / (last - first))

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * ((high / 2 - value / 2) / half)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" '
        f'role="img" font-family="sans-serif" font-size="11"><title>{escaped(title)}</title>',
        f'<text x="{LEFT:.0f}" y="14" font-weight="bold">{escaped(title)}</text>',
    ]
    for i in range(5):
        value = low * (1 - i / 4) + high * (i / 4)
        y = down(value)
        parts.append(f'<path d="M{LEFT:.0f} {y:.1f} H{WIDTH - RIGHT:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>')
    for epoch in sorted({first, (first + last) // 2, last}):
        place = f'x="{across(epoch):.1f}" y="{HEIGHT - 12:.0f}"'
        parts.append(f'<text {place} text-anchor="middle" fill="#555">{epoch}</text>')
    if mark is not None:
        line = f"M{across(mark):.1f} {TOP:.0f} V{HEIGHT - BOTTOM:.0f}"
        parts.append(f'<path d="{line}" stroke="#999" stroke-dasharray="3 3"/>')
    for i, (name, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        points = [(across(e), down(v)) if math.isfinite(v) else None for e, v in zip(epochs, curve, strict=True)]
        parts.append(f'<path d="{_path(points)}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="2" fill="{color}"/>' for p in _alone(points)]
        parts.append(f'<text x="{LEFT + 120 * i:.0f}" y="29" fill="{color}">{escaped(name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _path(points: list[tuple[float, float] | None]) -> str:
    """Lines between neighbours."""
    words, pen_down = [], False
    for point in points:
        if point is not None:
            words.append(f"{'L' if pen_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        pen_down = point is not None
    return " ".join(words)


def _alone(points: list[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Points without a neighbour, of which a line shows nothing."""
    around = [None, *points, None]
    return [p for i, p in enumerate(points) if p is not None and around[i] is None and around[i + 2] is None]
