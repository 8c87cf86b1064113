"""PURE. Plots as SVG, to stand inside a page: lines, points and stacked bars, on linear or logarithmic axes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 36, 14, 44
COLOURS = (
    "#4269d0", "#ff725c", "#3ca951", "#efb118", "#a463f2", "#6cc5b0", "#9c6b4e", "#ff8ab7", "#97bbf5", "#9498a0",
)  # fmt: skip
_BAR, _GAP, _NAMES = 16, 9, 250
_LETTER = 6.2
"""The width of a letter, about."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, with ticks at values and what is written there. A logarithmic one has no zero."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value is, from 0 to 1; beyond the ends it is at the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


def logarithmic(title: str, values: Sequence[float]) -> Axis:
    """An axis around these values, those that are not above 0 left out, with ticks at 1, 2 and 5 of each decade."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    steps = [digit * 10.0**exponent for exponent in decades for digit in (1, 2, 5)]
    first = max(number for number, step in enumerate(steps) if step <= low)
    last = next(number for number, step in enumerate(steps) if number > first and step >= high)
    ticks = tuple((step, short_number(step)) for step in steps[first : last + 1])
    return Axis(title, steps[first], steps[last], ticks, is_logarithmic=True)


def percentiles(title: str = "percentile") -> Axis:
    """An axis on which 90, 99 and 99.9 % are equally far from each other; its values are 1 / (1 - share)."""
    points = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"))
    ticks = tuple((percentile_place(point), f"{name} %") for point, name in points)
    return Axis(title, 1.0, ticks[-1][0], ticks, is_logarithmic=True)


def percentile_place(percentile: float) -> float:
    """Where a percentile is on the axis of `percentiles`."""
    return 1 / (1 - percentile / 100)


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    width: float
    height: float

    def fits(self, others: Iterable["_Box"]) -> bool:
        """Whether it lies within the plot, and over none of the others."""
        return self.left >= _LEFT and self.left + self.width <= WIDTH and not any(map(self._overlaps, others))

    def _overlaps(self, other: "_Box") -> bool:
        beside = self.left >= other.left + other.width or other.left >= self.left + self.width
        above = self.top >= other.top + other.height or other.top >= self.top + self.height
        return not (beside or above)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], x: Axis, y: Axis) -> str:
    """A line for each name, through its points in order, with a legend."""
    drawn = [_frame(x, y)]
    for number, (name, points) in enumerate(series.items()):
        path = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in points)
        colour = COLOURS[number % len(COLOURS)]
        dashes = (
            f' stroke-dasharray="{(5, 3)[number // len(COLOURS) % 2]} 3"' if number >= len(COLOURS) else ""
        )
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}>'
            f"<title>{escape(name)}</title></polyline>"
        )
    return _svg(HEIGHT, drawn) + legend(list(series))


def points(series: Mapping[str, Sequence[tuple[float, float, str]]], x: Axis, y: Axis) -> str:
    """Points for each name; the third of a point is what it is called when pointed at, and beside it.

    One that stands in another's way is not written: it is named when pointed at.
    """
    drawn = [_frame(x, y)]
    boxes = [_Box(_x(x, a) - 5, _y(y, b) - 5, 10, 10) for marks in series.values() for a, b, _ in marks]
    for number, (name, marks) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for a, b, label in marks:
            at_x, at_y = _x(x, a), _y(y, b)
            drawn.append(
                f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4.5" fill="{colour}">'
                f"<title>{escape(name)}: {escape(label)}</title></circle>"
            )
            width = _LETTER * len(label)
            for anchor, left in (("start", at_x + 8), ("end", at_x - 8 - width)):
                spot = _Box(left, at_y - 6, width, 12)
                if spot.fits(boxes):
                    boxes.append(spot)
                    text_x = left if anchor == "start" else left + width
                    drawn.append(
                        f'<text x="{text_x:.1f}" y="{at_y + 4:.1f}" text-anchor="{anchor}">{escape(label)}</text>'
                    )
                    break
    return _svg(HEIGHT, drawn) + legend(list(series))


def bars(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A bar for each row, of parts that are stacked, with the sum at its end."""
    parts = list(dict.fromkeys(part for values in rows.values() for part in values))
    longest = max((sum(values.values()) for values in rows.values()), default=0.0) or 1.0
    room = WIDTH - _NAMES - 96
    drawn = []
    for line, (name, values) in enumerate(rows.items()):
        top, left = line * (_BAR + _GAP) + 4, float(_NAMES)
        drawn.append(f'<text x="{_NAMES - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
        for part, value in values.items():
            width = value / longest * room
            drawn.append(
                f'<rect x="{left:.1f}" y="{top}" width="{max(width, 0):.1f}" height="{_BAR}" '
                f'fill="{COLOURS[parts.index(part) % len(COLOURS)]}">'
                f"<title>{escape(part)}: {value:.3g} {escape(unit)}</title></rect>"
            )
            left += width
        total = short_number(sum(values.values()))
        drawn.append(f'<text x="{left + 6:.1f}" y="{top + 12}">{total} {escape(unit)}</text>')
    chart = _svg(len(rows) * (_BAR + _GAP) + 8, drawn)
    return chart + (legend(parts) if len(parts) > 1 else "")


def legend(names: Sequence[str]) -> str:
    """Which colour is whose."""
    keys = (
        f'<span class="key"><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<div class="legend">{"".join(keys)}</div>'


def short_number(value: float) -> str:
    """At most three figures that count, and a letter for thousands and millions."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _svg(height: float, drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(drawn)}</svg>'


def _frame(x: Axis, y: Axis) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    drawn = []
    for value, name in x.ticks:
        at = _x(x, value)
        drawn.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        drawn.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(name)}</text>')
    for value, name in y.ticks:
        at = _y(y, value)
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        drawn.append(f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{escape(name)}</text>')
    middle_x, middle_y = (_LEFT + right) / 2, (_TOP + bottom) / 2
    drawn.append(f'<text x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.title)}</text>')
    drawn.append(
        f'<text transform="translate(13 {middle_y}) rotate(-90)" text-anchor="middle">{escape(y.title)}</text>'
    )
    return "".join(drawn)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM)
