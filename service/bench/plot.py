"""Two small kinds of SVG picture: lines on logarithmic axes, and bars. No library: a hundred lines draw all we need."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 40, 50
BAR, GAP, NAMES = 16, 10, 330
# Told apart by people who see few colours too: Okabe and Ito's palette.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def draw_lines(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """Lines of (x, y), each under its name. Both axes are logarithmic; an x of 0 stands a decade below the others.

    Raises ValueError where there is no point at all, or a y that is not above 0.
    """
    points = [point for line in lines.values() for point in line]
    across, up = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT), _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 20, title, bold=True), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, anchor="middle")]
    parts.append(_text(8, 20, y_name))
    for value, x in across.ticks():
        parts += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 18, _short(value), anchor="middle")]
    for value, y in up.ticks():
        parts += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, _short(value), anchor="end")]
    for index, (name, line) in enumerate(lines.items()):
        parts += _drawn(name, [(across.place(x), up.place(y)) for x, y in sorted(line)], index)
    return _picture(WIDTH, HEIGHT, parts)


def draw_bars(title: str, bars: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: name, length, and what is written behind it. Raises ValueError where there is none."""
    longest = max(length for _, length, _ in bars)
    parts = [_text(0, 20, title, bold=True)]
    for index, (name, length, told) in enumerate(bars):
        y = TOP + index * (BAR + GAP)
        width = max(1, round((WIDTH - NAMES - 110) * length / longest))
        parts.append(_text(0, y + BAR - 3, name))
        parts.append(f'<rect x="{NAMES}" y="{y}" width="{width}" height="{BAR}" fill="{COLOURS[0]}"/>')
        parts.append(_text(NAMES + width + 6, y + BAR - 3, told))
    return _picture(WIDTH, TOP + len(bars) * (BAR + GAP), parts)


class _Axis:
    """Where a value stands between two ends of a picture, whole decades apart."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        positive = [each for each in values if each > 0]
        if not positive:
            raise ValueError("nothing above 0 to draw")
        self._has_zero = min(values) <= 0
        self._least = floor(log10(min(positive))) - self._has_zero
        self._greatest = max(self._least + 1, ceil(log10(max(positive))))
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        decade = log10(value) if value > 0 else self._least
        share = (decade - self._least) / (self._greatest - self._least)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> Iterator[tuple[float, float]]:
        for decade in range(self._least, self._greatest + 1):
            is_zero = self._has_zero and decade == self._least
            yield 0.0 if is_zero else 10.0**decade, self.place(10.0**decade)


def _drawn(name: str, places: Sequence[tuple[float, float]], index: int) -> list[str]:
    colour = COLOURS[index % len(COLOURS)]
    path = " ".join(f"{x},{y}" for x, y in places)
    dots = [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
    # The names stand in a list of their own: at the ends of the lines they would cover each other.
    x, y = WIDTH - RIGHT + 14, TOP + 12 + index * 20
    key = [f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>', _text(x + 16, y, name)]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, *key]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = "bold" if bold else "normal"
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" font-size="13">{escape(text)}</text>'


def _picture(width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {width + 10} {height + 10}" font-family="sans-serif">'
    )
    ground = f'<rect x="-10" y="0" width="{width + 10}" height="{height + 10}" fill="white"/>'
    return "\n".join((head, ground, *parts, "</svg>", ""))
