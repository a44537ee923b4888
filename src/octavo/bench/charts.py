"""Line charts as inline SVG: axes with round ticks, a line for each series, values on hover, no script.

Colours are classes (s0, s1, ...), which the page defines for light and dark.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 14, 34  # margins around the plot
LABEL_HEIGHT = 30  # between the name of a mark and the points of a line
NUM_COLOURS = 8
MAX_TICKS = 6
MAX_LABEL_CHARACTERS = 60  # of all labels of an axis, before they are thinned out

Format = Callable[[float], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie: low at 0, high at 1."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    is_log: bool = False

    def at(self, value: float) -> float:
        if self.is_log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """points: (x, y, what hovering says)."""

    name: str
    points: Sequence[tuple[float, float, str]]
    has_dots: bool = True


def linear_axis(values: Sequence[float], label: Format) -> Axis:
    """From 0 to a round number above them all."""
    highest = max([value for value in values if value > 0], default=1.0)
    step = _round_up(highest / (MAX_TICKS - 1))
    count = math.ceil(highest / step - 1e-9)
    return Axis(0.0, count * step, [(i * step, label(i * step)) for i in range(count + 1)])


def log_axis(values: Sequence[float], label: Format) -> Axis:
    """Around all values above 0, with ticks at 1, 2 and 5 times a power of ten, or at the powers alone."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.15, max(positive) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MAX_TICKS:
            break
    return Axis(low, high, [(tick, label(tick)) for tick in ticks], is_log=True)


def name_axis(names: Sequence[str]) -> Axis:
    """One place for each name, evenly."""
    every = max(1, math.ceil(sum(map(len, names)) / MAX_LABEL_CHARACTERS))
    ticks = [(float(i), name) for i, name in enumerate(names) if i % every == 0 or i == len(names) - 1]
    return Axis(-0.25, max(len(names) - 0.75, 0.25), ticks)


def line_chart(
    x: Axis, y: Axis, series: Sequence[Series], *, description: str, mark: tuple[float, str] | None = None
) -> Markup:
    """mark: an x value to draw a dashed line at, and its name."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">',
        *(_y_tick(y, value, label) for value, label in y.ticks),
        *(_x_tick(x, value, label) for value, label in x.ticks),
    ]
    if mark is not None:
        parts.append(_mark(x, *mark, top=_free_place(y, series, mark[0])))
    for index, line in enumerate(series):
        parts += _line(x, y, line, index % NUM_COLOURS)
    return Markup("".join((*parts, "</svg>")))


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, or 25, 250, ..."""
    power = 10.0 ** math.floor(math.log10(value))
    digits = (1, 2, 2.5, 5, 10) if power >= 10 else (1, 2, 5, 10)
    return next(digit * power for digit in digits if digit * power >= value * (1 - 1e-9))


def _left(x: Axis, value: float) -> float:
    return round(LEFT + x.at(value) * (WIDTH - LEFT - RIGHT), 1)


def _top(y: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM), 1)


def _y_tick(y: Axis, value: float, label: str) -> str:
    top = _top(y, value)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top}" y2="{top}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{top + 4}" text-anchor="end">{escape(label)}</text>'
    )


def _x_tick(x: Axis, value: float, label: str) -> str:
    left, top = _left(x, value), HEIGHT - BOTTOM + 20
    return f'<text class="tick" x="{left}" y="{top}" text-anchor="middle">{escape(label)}</text>'


def _free_place(y: Axis, series: Sequence[Series], value: float) -> int:
    """Where the name of a mark at an x value is in no line's way: at its foot, its head, or between."""
    foot, head = HEIGHT - BOTTOM - 8, TOP + 12
    heights = [_top(y, py) for line in series for px, py, _ in line.points if px == value]
    places = (foot, head, (foot + head) // 2)
    free = (place for place in places if all(abs(height - place) >= LABEL_HEIGHT for height in heights))
    return next(free, foot)


def _mark(x: Axis, value: float, name: str, *, top: int) -> str:
    left = _left(x, value)
    is_right = left > (WIDTH + LEFT) / 2
    offset, anchor = (-6, "end") if is_right else (6, "start")
    return (
        f'<line class="mark" x1="{left}" x2="{left}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{left + offset}" y="{top}" text-anchor="{anchor}">'
        f"{escape(name)}</text>"
    )


def _line(x: Axis, y: Axis, series: Series, colour: int) -> list[str]:
    places = [(_left(x, px), _top(y, py), text) for px, py, text in series.points]
    path = " ".join(f"{left},{top}" for left, top, _ in places)
    parts = [f'<polyline class="line s{colour}" points="{path}"/>']
    for left, top, text in places:
        shape = f'<circle class="dot s{colour}" cx="{left}" cy="{top}" r="4"/>' if series.has_dots else ""
        hover = f'<circle class="hover" cx="{left}" cy="{top}" r="9"/>'
        parts.append(f"<g>{shape}{hover}<title>{escape(f'{series.name}: {text}')}</title></g>")
    return parts
