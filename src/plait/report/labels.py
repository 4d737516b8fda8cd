"""Where the labels of points stand, so that they cover neither each other nor the points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi, sin

GAP = 6.0
"""Between a point and its label."""
RINGS = 12
"""How many times further out a label may go."""
FAR = 2.5
"""Gaps beyond which a line leads from the label to its point."""


@dataclass(frozen=True)
class Box:
    """A rectangle by its lower left and upper right corner."""

    left: float
    low: float
    right: float
    high: float

    def common(self, other: "Box") -> float:
        """The area that two boxes share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.high, other.high) - max(self.low, other.low)
        return max(wide, 0.0) * max(tall, 0.0)

    @property
    def area(self) -> float:
        """Its area."""
        return (self.right - self.left) * (self.high - self.low)


@dataclass(frozen=True)
class Placed:
    """The box of a label, and whether a line should lead to its point."""

    box: Box
    far: bool


def placed(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    lines: Sequence[Box] = (),
    radius: float = 4.0,
) -> list[Placed]:
    """A box for the label of each point: the nearest one that is free, and else the one that covers least.

    Points that have the most neighbours choose first. `lines` are covered no more than points are. All numbers are in
    one unit; `radius` is that of a point.
    """
    taken = [*lines, *(Box(x - radius, y - radius, x + radius, y + radius) for x, y in points)]
    found: dict[int, Placed] = {}
    for number in sorted(range(len(points)), key=lambda n: -_neighbours(points, n)):
        best, least = None, 0.0
        for candidate in _candidates(points[number], sizes[number]):
            covered = sum(candidate.box.common(box) for box in taken)
            covered += candidate.box.area - candidate.box.common(frame)
            if best is None or covered < least - 1e-9:
                best, least = candidate, covered
            if least <= 1e-9:
                break
        assert best is not None
        found[number] = best
        taken.append(best.box)
    return [found[number] for number in range(len(points))]


def _neighbours(points: Sequence[tuple[float, float]], number: int) -> int:
    x, y = points[number]
    return sum(abs(x - other) < 60 and abs(y - over) < 30 for other, over in points)


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Placed]:
    """Boxes around a point, nearest first: right, left, above, below, then between, then further out."""
    (x, y), (wide, tall) = point, size
    turns = [0.0, 1.0, 0.5, 1.5, 0.25, 0.75, 1.25, 1.75, 0.125, 0.875, 1.125, 1.875, 0.375, 0.625, 1.375, 1.625]
    for ring in range(1, RINGS + 1):
        for turn in turns:
            across, up = cos(turn * pi), sin(turn * pi)
            left = x + across * GAP * ring + (across - 1) * wide / 2
            low = y + up * GAP * ring + (up - 1) * tall / 2
            yield Placed(Box(left, low, left + wide, low + tall), ring > FAR)
