"""Charts as inline SVG, coloured by the page's style sheet so that they are readable on light and dark."""

import math
from collections.abc import Sequence

from batch.observers.html import Html, element, joined
from batch.observers.shown import compact
from batch.observers.throughput import Interval

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44


def histogram(edges: Sequence[float], counts: Sequence[int], described: str, label: str) -> Html:
    """Bars of counts.

    Args:
        edges: where bins begin, and the end of the last.
        described: what a reader hears who does not see the picture.
        label: of the horizontal axis.
    """
    high = max(counts, default=0)
    frame = _Frame((edges[0], edges[-1]), high, whole=True)
    bars = [
        element(
            "rect",
            element("title", f"{compact(begin)} to {compact(end)}: {count:,} rows"),
            class_="bar",
            x=f"{frame.x(begin):.2f}",
            y=f"{frame.y(count):.2f}",
            width=f"{max(frame.x(end) - frame.x(begin) - 1, 0.5):.2f}",
            height=f"{frame.y(0) - frame.y(count):.2f}",
        )
        for begin, end, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    return frame.svg(described, label, "rows", bars)


def rate_over_time(intervals: Sequence[Interval], described: str) -> Html:
    """A stepped area of rows per second."""
    frame = _Frame((0.0, intervals[-1].end_s), max(it.rows_per_s for it in intervals), whole=False)
    steps = [f"{frame.x(at):.2f},{frame.y(it.rows_per_s):.2f}" for it in intervals for at in (it.begin_s, it.end_s)]
    ground = f"{frame.x(intervals[-1].end_s):.2f},{frame.y(0):.2f} {frame.x(0):.2f},{frame.y(0):.2f}"
    area = element("polygon", class_="area", points=f"{' '.join(steps)} {ground}")
    line = element("polyline", class_="line", points=" ".join(steps))
    return frame.svg(described, "seconds since the first piece began", "rows/s", [area, line])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two others: about so many, multiples of 1, 2 or 5 times a power of ten."""
    if not high > low or not math.isfinite(high - low):
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if rough <= factor * power), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def distinct(numbers: Sequence[float]) -> list[str]:
    """Numbers with as many digits as it takes to tell them apart."""
    for digits in range(4, 17):
        told = [compact(number, digits) for number in numbers]
        if len(set(told)) == len(told):
            break
    return told


class _Frame:
    """Axes from 0 upwards, and where values lie between them."""

    def __init__(self, across: tuple[float, float], high: float, whole: bool) -> None:
        self._low, self._width = across[0], (across[1] - across[0]) or 1.0
        self._across = across
        self._ticks = [tick for tick in ticks(0, high or 1, 4) if not whole or tick == round(tick)]
        self._high = max(high, self._ticks[-1]) or 1

    def x(self, value: float) -> float:
        return _LEFT + (value - self._low) / self._width * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self._high * (_HEIGHT - _TOP - _BOTTOM)

    def svg(self, described: str, across: str, upwards: str, marks: Sequence[Html]) -> Html:
        picture = element(
            "svg",
            element("title", described),
            *self._grid(upwards),
            *marks,
            *self._axis(across),
            role="img",
            aria_label=described,
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        )
        return element("div", picture, class_="scroll")

    def _grid(self, label: str) -> list[Html]:
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        turned = {"text_anchor": "middle", "transform": f"rotate(-90 14 {middle})"}
        return [
            joined(
                element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=self.y(tick), y2=self.y(tick)),
                element("text", said, x=_LEFT - 8, y=self.y(tick) + 4, text_anchor="end"),
            )
            for tick, said in zip(self._ticks, distinct(self._ticks), strict=True)
        ] + [element("text", label, class_="label", x=14, y=middle, **turned)]

    def _axis(self, label: str) -> list[Html]:
        base = _HEIGHT - _BOTTOM
        places = ticks(*self._across, 6)
        numbers = [
            element("text", said, x=f"{self.x(tick):.2f}", y=base + 18, text_anchor="middle")
            for tick, said in zip(places, distinct(places), strict=True)
        ]
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        return [
            element("line", class_="axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base, y2=base),
            *numbers,
            element("text", label, class_="label", x=middle, y=_HEIGHT - 6, text_anchor="middle"),
        ]
