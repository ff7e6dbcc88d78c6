"""Who answers which problem: dots by the score of a first look, parted by a threshold to move."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require
from itslab.study.methods import MethodResult
from itslab.viz.controls import slider
from itslab.viz.panels import Panel
from itslab.viz.style import BLUE, FONT, GRID, INK, MUTED, ORANGE

Array = NDArray[np.float64]

_WIDTH, _LEFT, _RIGHT = 660, 64, 20  # pixels of the picture
_DOT, _PITCH = 5, 12
_CURVE, _TALL, _INSET = 210, 260, 60
_FEW = 12
"""So many different scores, or fewer, have a tick and a block of dots each."""


class RoutePanel(Panel):
    """Problems by the score of a first look, and what comes of every threshold between two routes.

    A problem whose score is the threshold or above stays with the first method, every other goes on
    to the second. Dots are filled where the answer is right. Below, what all thresholds solve and
    cost, with the 95 % interval of the one that is set.

    Args:
        scores: (p,) how sure the look is of each problem; nan is not sure at all.
        methods: the names of both, and what each does on these problems. The second one pays for
            the look as well.
        label: what the scores are, for the axis.
        problems: (p,) names, shown where the mouse rests.
        threshold: that is set at first; by default the middle one.
        beside: the name of a method to compare with, and what it does, such as the second one
            without any look.

    Attributes:
        thresholds: that can be set: between which routes differ.
    """

    mime = "image/svg+xml"

    def __init__(
        self,
        scores: ArrayLike,
        methods: dict[str, MethodResult],
        *,
        label: str,
        problems: Sequence[str] = (),
        threshold: float | None = None,
        beside: tuple[str, MethodResult] | None = None,
    ) -> None:
        require(len(methods) == 2, "methods", list(methods), "two: who is asked first, and second")
        self._names, (self._first, self._second) = list(methods), methods.values()
        self._scores = np.asarray(scores, dtype=float)
        count = len(self._first.success)
        same = self._scores.shape == (count,) == self._second.success.shape
        require(same, "scores", self._scores.shape, f"of shape ({count},), one for each problem")
        require(count > 0, "scores", scores, "those of one problem at least")
        for name, method in methods.items():
            priced = bool(np.isfinite([method.tokens, method.flops]).all())
            require(priced, "methods", f"nan or inf of {name!r}", "finite tokens and flops")
        self._label = label
        self._problems = list(problems) or [str(i + 1) for i in range(count)]
        named = len(self._problems) == count
        require(named, "problems", self._problems, f"{count} names, one for each problem")
        known = self._scores[~np.isnan(self._scores)]
        levels = np.unique(known[known < math.inf])
        self.thresholds = [*levels.tolist(), math.inf]
        choices = list(zip(_labels(self.thresholds), self.thresholds, strict=True))
        middle = self.thresholds[len(self.thresholds) // 2]
        chosen = middle if threshold is None else threshold
        require(chosen in self.thresholds, "threshold", chosen, f"one of {self.thresholds}")
        self.threshold = slider("threshold", choices, chosen)
        self._courses = {t: self.at(t) for t in self.thresholds}
        self._beside = beside
        self._range = self._accuracies()
        super().__init__([self.threshold])
        self.threshold.observe(self._show, "value")
        self._show()

    def routed(self) -> MethodResult:
        """Return what the threshold that is set does."""
        return self._courses[self.threshold.value]

    def stays(self) -> NDArray[np.bool_]:
        """Return (p,) which problems stay with the first method."""
        return self._stays(self.threshold.value)

    def _accuracies(self) -> tuple[float, float]:
        """The axis, which stays where it is: the intervals of all thresholds, in tenths."""
        results = [*self._courses.values(), *([self._beside[1]] if self._beside else [])]
        seen = [result.solved for result in results]
        lowest = math.floor((min(each.low for each in seen) - 0.02) * 10) / 10
        highest = math.ceil((max(each.high for each in seen) + 0.02) * 10) / 10
        return max(lowest, 0.0), min(highest, 1.0)

    def _stays(self, threshold: float) -> NDArray[np.bool_]:
        return np.asarray(np.nan_to_num(self._scores, nan=-np.inf) >= threshold)

    def at(self, threshold: float) -> MethodResult:
        """Return what a threshold does, whether or not the slider has it."""
        first, second, stays = self._first, self._second, self._stays(threshold)
        return MethodResult(
            np.where(stays, first.success, second.success),
            np.where(stays, first.tokens, second.tokens),
            np.where(stays, first.flops, second.flops),
            first.clusters,
        )

    def _show(self, _: Any = None) -> None:
        self.view.value = self.draw()

    def draw(self) -> str:
        """Return the problems, and below them accuracy against FLOPs, as an SVG picture."""
        dots, floor = self._dots()
        curve, height = self._curve(floor + 96)
        return (
            f'<svg class="its-view" xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {_WIDTH} {height}" '
            f'style="max-width: 100%; width: {_WIDTH}px" font-family="{FONT}" font-size="13" '
            f'fill="{INK}"><rect width="100%" height="100%" fill="white"/>{dots}{curve}</svg>'
        )

    # -- the problems

    def _dots(self) -> tuple[str, int]:
        """Dots stacked where scores are alike, and where their axis lies."""
        result, stays = self.routed(), self.stays()
        # What cannot be scored lies with the lowest; the ones that stay lie lowest in a stack.
        known = _placed(self._scores)
        order = np.lexsort((result.success < 0.5, ~stays))
        scale = _Scale(float(known.min()), float(known.max()))
        few = len(np.unique(known)) <= _FEW
        stacks = _Stacks(scale, known, few)
        floor = round(64 + stacks.height)
        parts = [self._legend(stays)]
        for i in order:
            x, y = stacks.place(known[i])
            colour, route = (BLUE, 0) if stays[i] else (ORANGE, 1)
            right = result.success[i] >= 0.5
            told = f"{self._problems[i]}: {self._label} {self._scores[i]:.3g}, {self._names[route]}"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{floor - 8 - y:.1f}" r="{stacks.radius:.1f}" '
                f'fill="{colour if right else "white"}" stroke="{colour}" stroke-width="1.6">'
                f"<title>{html.escape(told)}, {'right' if right else 'wrong'}</title></circle>"
            )
        parts.append(_axis(floor, _LEFT, _WIDTH - _RIGHT))
        ticks = np.unique(known) if few else scale.ticks()
        parts += [_text(scale(tick), floor + 18, f"{tick:.3g}", "middle") for tick in ticks]
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, floor + 38, self._label, "middle"))
        cut = self.threshold.value
        below = max((level for level in self.thresholds if level < cut), default=None)
        if below is not None and cut < math.inf:
            x = scale(cut / 2 + max(below, scale.low) / 2)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="52" y2="{floor}" stroke="{INK}" '
                'stroke-dasharray="4 3"/>'
            )
        return "".join(parts), floor

    def _legend(self, stays: NDArray[np.bool_]) -> str:
        counts = int(stays.sum()), int((~stays).sum())
        parts = []
        for place, (y, colour) in enumerate(((34, BLUE), (12, ORANGE))):
            parts.append(f'<circle cx="{_LEFT}" cy="{y}" r="{_DOT}" fill="{colour}"/>')
            said = f"{self._names[place]}: {counts[place]} problems"
            parts.append(_text(_LEFT + 12, y + 5, said))
        parts.append(_text(_WIDTH - _RIGHT, 17, "hollow: wrong", "end", MUTED))
        return "".join(parts)

    # -- what thresholds come to

    def _curve(self, top: int) -> tuple[str, int]:
        """Accuracy against FLOPs of every threshold, and the height of the picture."""
        results = list(self._courses.values())
        flops = [result.flops.mean() / 1e9 for result in results]
        solved = [result.success.mean() for result in results]
        chosen = self.routed()
        estimate = chosen.solved
        other = [self._beside[1].flops.mean() / 1e9] if self._beside else []
        most = max([*flops, *other]) * 1.05 or 1.0
        lowest, highest = self._range
        floor = top + _CURVE

        def x(value: float) -> float:
            return _LEFT + value / most * (_WIDTH - _LEFT - _RIGHT)

        def y(value: float) -> float:
            return float(floor - (value - lowest) / (highest - lowest) * _CURVE)

        parts = [_text(8, top - 14, "problems solved")]
        for tick in np.arange(lowest, highest + 0.01, 0.1):
            parts.append(_axis(y(tick), _LEFT, _WIDTH - _RIGHT, GRID))
            parts.append(_text(_LEFT - 8, y(tick) + 4, f"{tick:.0%}", "end"))
        parts.append(_axis(floor, _LEFT, _WIDTH - _RIGHT))
        for tick in _ticks(most):
            parts.append(_text(x(tick), floor + 18, f"{tick:,.0f}", "middle"))
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(_text(middle, floor + 38, "GFLOPs per problem", "middle"))
        order = np.argsort(flops)
        path = " ".join(f"{x(flops[i]):.1f},{y(solved[i]):.1f}" for i in order)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{MUTED}" stroke-width="1.5"/>')
        parts += [
            f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.5" fill="{MUTED}"/>'
            for a, b in zip(flops, solved, strict=True)
        ]
        if self._beside:
            name, result = self._beside
            px, py = x(result.flops.mean() / 1e9), y(result.success.mean())
            parts.append(
                f'<path d="M{px:.1f} {py - 6:.1f}l6 6l-6 6l-6-6z" fill="{ORANGE}"/>'
                f"{_text(px - 10, py - 8, name, 'end')}"
            )
        at = x(chosen.flops.mean() / 1e9)
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(estimate.low):.1f}" '
            f'y2="{y(estimate.high):.1f}" stroke="{INK}" stroke-width="1.5"/>'
            f'<circle cx="{at:.1f}" cy="{y(estimate.value):.1f}" r="6" fill="{INK}"/>'
        )
        said = (
            f"{estimate.percent} (95 % interval) of {len(chosen.success)} problems solved, for "
            f"{chosen.tokens.mean():,.0f} tokens and {chosen.flops.mean() / 1e9:,.0f} GFLOPs each"
        )
        parts.append(_text(8, floor + 64, said))
        return "".join(parts), floor + 78

    def picture(self) -> str:
        """Return the picture that replaces the panel in a page."""
        return self.draw()


def _labels(thresholds: Sequence[float]) -> list[str]:
    """What a slider calls thresholds: as short as tells them apart."""
    for digits in range(3, 18):
        labels = [f"{t:.{digits}g}" if t < math.inf else "none stays" for t in thresholds]
        if len(set(labels)) == len(labels):
            break
    return labels


def _placed(scores: Array) -> Array:
    """Where scores lie: infinite ones beyond all others, and what has none with the lowest."""
    known = scores[np.isfinite(scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    beyond = (high / 2 - low / 2) / 5 or 1.0
    low = low - beyond if (scores == -math.inf).any() else low
    high = high + beyond if (scores == math.inf).any() else high
    return np.asarray(np.nan_to_num(scores, nan=low, neginf=low, posinf=high))


class _Scale:
    """Where scores lie between the margins (pixels)."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, score: float) -> float:
        wide = _WIDTH - _LEFT - _RIGHT - 2 * _INSET
        long = self.high / 2 - self.low / 2  # halves do not overflow
        part = (score / 2 - self.low / 2) / long if long > 0 else 0.5
        return _LEFT + _INSET + part * wide

    def ticks(self) -> Array:
        """Five, with the ends."""
        return np.linspace(self.low / 4, self.high / 4, 5) * 4


class _Stacks:
    """Dots that lie over each other: in blocks of several columns, where scores are few.

    Args:
        scale: where scores lie.
        scores: of all problems.
        few: whether each score has a block of its own.
    """

    def __init__(self, scale: _Scale, scores: Array, few: bool) -> None:
        self._scale, self._few = scale, few
        levels = np.unique(scores)
        gap = min((scale(b) - scale(a) for a, b in pairwise(levels)), default=_WIDTH / 2)
        self._columns = max(int(min(0.75 * gap, 2 * _INSET) / _PITCH), 1) if few else 1
        self._counts = Counter(map(self._name, scores.tolist()))
        tallest = max(-(-count // self._columns) for count in self._counts.values())
        self._pitch = min(_PITCH, _TALL / tallest)
        self._placed: Counter[float] = Counter()

    @property
    def height(self) -> float:
        return self._pitch * max(-(-c // self._columns) for c in self._counts.values())

    @property
    def radius(self) -> float:
        return _DOT * self._pitch / _PITCH

    def place(self, score: float) -> tuple[float, float]:
        """Where the next dot of this score lies: from the left, and above the axis."""
        name = self._name(score)
        row, column = divmod(self._placed[name], self._columns)
        self._placed[name] += 1
        wide = min(self._columns, self._counts[name])
        middle = self._scale(score) if self._few else name * _PITCH
        return middle + (column - (wide - 1) / 2) * _PITCH, row * self._pitch

    def _name(self, score: float) -> float:
        return score if self._few else round(self._scale(score) / _PITCH)


def _text(x: float, y: float, said: str, anchor: str = "start", colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{html.escape(said)}</text>"
    )


def _axis(y: float, left: float, right: float, colour: str = MUTED) -> str:
    return f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'


def _ticks(most: float) -> list[float]:
    """Four to nine round numbers up to a value."""
    power = 10.0 ** math.floor(math.log10(most))
    steps = [power / 5, power / 2, power, power * 2]
    wide: float = next(step for step in steps if most / step < 9)
    return [wide * i for i in range(int(most / wide) + 1)]
