"""Tiers of service side by side: what each would answer, second by second, and what it costs."""

from __future__ import annotations

import html
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from itslab import answers
from itslab.core import Extractor, Key, Message, Result, Tree, require
from itslab.serving import wire
from itslab.serving.desk import Desk
from itslab.serving.order import Order
from itslab.viz.panels import Panel, error_text
from itslab.viz.style import FONT, GREEN, GRID, INK, MARKS, MUTED, RED, short, view

REFRESH = 0.2
"""Seconds from one look at live tiers to the next."""
_WIDTH, _LEFT, _ROW = 640, 8, 74
_HUES = [mark.colour for mark in MARKS[1:]]


class Sampled(NamedTuple):
    """A sample that is finished: when, what it answers, and what leads from then on.

    Args:
        time: seconds after the request arrived.
        answer: of the sample; None without one.
        leads: what would be answered now.
        tokens: decoded by then.
    """

    time: float
    answer: str | None
    leads: str | None
    tokens: int


class Course(NamedTuple):
    """How a tier answered one question.

    Args:
        tier: its name.
        samples: in the order in which they were finished.
        end: when the answer was given; None while it is not.
        deadline: when it has to be; None for whenever.
    """

    tier: str
    samples: Sequence[Sampled]
    end: float | None
    deadline: float | None = None


def course(
    tier: str,
    tree: Tree,
    *,
    extract: Extractor = answers.extract,
    key: Key = answers.canonical,
    waited: float = 0.0,
    end: float | None = None,
    deadline: float | None = None,
) -> Course:
    """Return how a run answered, by the events of its tree: answers vote as they come.

    Args:
        tier: its name.
        tree: of the run.
        extract, key: read and compare answers.
        waited: seconds from the request's arrival until the run began.
        end, deadline: as of ``Course``.
    """
    votes: Counter[str] = Counter()
    shown: dict[str, str] = {}
    samples, tokens = [], 0
    for event in list(tree.events):
        if event.kind != "done":
            continue
        node = tree.nodes[event.node]
        said = extract(node.turn_text)
        tokens += node.completion.cost.decoded if node.completion else 0
        if said is not None:
            form = key(said)
            shown.setdefault(form, said)
            votes[form] += 1
        leads = next((shown[form] for form, _ in votes.most_common(1)), None)
        samples.append(Sampled(waited + event.time, said, leads, tokens))
    return Course(tier, samples, end, deadline)


def recorded(tier: str, result: Result, deadline: float | None = None, **reads: Any) -> Course:
    """Return how a recorded run answered; its end is that of its last sample."""
    made = course(tier, result.tree, deadline=deadline, **reads)
    return made._replace(end=made.samples[-1].time if made.samples else 0.0)


def _of(order: Order) -> Course:
    """How an order stands."""
    label = order.visit.tier
    limit = order.deadline - order.arrived
    if not order.handles:
        return Course(label, (), None, limit)
    run = order.handles[0].run
    waited = (order.started or order.arrived) - order.arrived
    over = order.ended is not None
    end = min(order.ended or 0.0, order.deadline) - order.arrived if over else None
    return course(
        label, run.tree, extract=run.extract, key=run.key, waited=waited, end=end, deadline=limit
    )


# -- the picture -----------------------------------------------------------------------------------


def picture(
    courses: Sequence[Course], now: float, gold: str | None = None, until: float | None = None
) -> str:
    """Return the courses at a time as an SVG picture: a bar for what leads, a dot for each sample.

    Args:
        courses: one for each tier.
        now: seconds after the question was asked.
        gold: the gold answer, where it is known.
        until: seconds that the axis spans; None is what they all took.
    """
    span = until or max([c.end or now for c in courses] + [now, 0.1])
    hues = _hues(courses)
    rows = [_row(c, i, now, span, hues, gold) for i, c in enumerate(courses)]
    bottom = _ROW * len(courses) + 6
    axis = []
    for seconds in _ticks(span):
        x = f"{_x(seconds, span):.1f}"
        axis.append(f'<path d="M {x} 0 V {bottom}" stroke="{GRID}"/>')
        at = f'x="{x}" y="{bottom + 16}"'
        axis.append(f'<text {at} fill="{MUTED}" text-anchor="middle">{seconds:g}</text>')
    cursor = f'<path d="M {_x(min(now, span), span):.1f} 0 V {bottom}" stroke="{INK}"/>'
    label = (
        f'<text x="{_WIDTH / 2}" y="{bottom + 34}" fill="{MUTED}" text-anchor="middle">'
        "seconds after the question was asked</text>"
    )
    legend, height = _legend(hues, bottom + 56)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" style="max-width: {_WIDTH}px; '
        f'min-width: 420px; font: 13px {FONT}" role="img" '
        f'aria-label="{html.escape(_said(courses, now))}">'
        f"{''.join(axis)}{''.join(rows)}{cursor}{label}{legend}</svg>"
    )


def _legend(hues: Mapping[str, str], y: float) -> tuple[str, float]:
    """Which colour is which answer, what bars and dots are; and the height it ends at."""
    parts, x = [], float(_LEFT)
    for answer, colour in hues.items():
        said = short(answer, 14)
        parts.append(
            f'<circle cx="{x + 4:.0f}" cy="{y - 4}" r="4" fill="{colour}"/>'
            f'<text x="{x + 13:.0f}" y="{y}" fill="{INK}">{html.escape(said)}</text>'
        )
        x += 30 + 7.5 * len(said)
        if x > _WIDTH - 110:
            break
    words = "bar: the answer that leads · dot: a finished sample · red: deadline"
    below = f'<text x="{_LEFT}" y="{y + 20}" fill="{MUTED}" font-size="12">{words}</text>'
    return "".join(parts) + below, y + 28


def _x(seconds: float, span: float) -> float:
    return _LEFT + (_WIDTH - 2 * _LEFT) * min(seconds / span, 1)


def _ticks(span: float) -> list[float]:
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 1e9) if span / s <= 8)
    return [i * step for i in range(int(span / step) + 1)]


def _hues(courses: Sequence[Course]) -> dict[str, str]:
    """A colour for each answer, the most frequent first; those that are given once are grey."""
    votes = Counter(s.answer for c in courses for s in c.samples if s.answer is not None)
    leading = {s.leads for c in courses for s in c.samples}
    told = [answer for answer, n in votes.most_common() if n > 1 or answer in leading]
    return dict(zip(told, _HUES, strict=False))


def _row(
    one: Course, index: int, now: float, span: float, hues: Mapping[str, str], gold: str | None
) -> str:
    top = index * _ROW
    there = [s for s in one.samples if s.time <= now]
    end = min(now, span if one.end is None else one.end)
    parts = []
    for i, sample in enumerate(there):
        until = there[i + 1].time if i + 1 < len(there) else end
        colour = hues.get(sample.leads or "", MUTED)
        parts.append(_bar(sample.time, max(until, sample.time), top + 30, span, colour))
        colour = hues.get(sample.answer or "", MUTED)
        said = html.escape(sample.answer or "no answer")
        parts.append(
            f'<circle cx="{_x(sample.time, span):.1f}" cy="{top + 56}" r="4" fill="{colour}">'
            f"<title>{sample.time:.1f} s: {said}</title></circle>"
        )
    first = there[0].time if there else end
    parts.insert(0, _bar(0, min(first, end), top + 30, span, GRID))
    if one.deadline is not None and one.deadline <= span:
        x = _x(one.deadline, span)
        parts.append(
            f'<line x1="{x:.1f}" y1="{top + 26}" x2="{x:.1f}" y2="{top + 48}" stroke="{RED}" '
            'stroke-width="2"><title>deadline</title></line>'
        )
    return "".join(parts) + _words(one, there, top, now, hues, gold)


def _bar(start: float, end: float, y: float, span: float, colour: str) -> str:
    x, width = _x(start, span), max(_x(end, span) - _x(start, span), 0)
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="14" fill="{colour}"/>'


def _words(
    one: Course,
    there: Sequence[Sampled],
    top: float,
    now: float,
    hues: Mapping[str, str],
    gold: str | None,
) -> str:
    leads = there[-1].leads if there else None
    done = one.end is not None and now >= one.end
    said = "no answer yet" if leads is None else short(leads, 24)
    colour = hues.get(leads or "", MUTED)
    right = ""
    if gold is not None and leads is not None:
        fits = answers.equal(leads, gold)
        right = f'<tspan fill="{GREEN if fits else RED}"> {"✓" if fits else "✗"}</tspan>'
    tokens = there[-1].tokens if there else 0
    when = f"answered after {one.end:.1f} s" if done and one.end is not None else "so far"
    samples = f"{len(there)} sample{'' if len(there) == 1 else 's'}"
    return (
        f'<text x="{_LEFT}" y="{top + 20}" fill="{INK}"><tspan font-weight="bold">'
        f'{html.escape(one.tier)}</tspan><tspan dx="10" fill="{colour}" font-weight="bold">'
        f"{html.escape(said)}</tspan>{right}</text>"
        f'<text x="{_WIDTH - _LEFT}" y="{top + 20}" fill="{MUTED}" text-anchor="end">'
        f"{when} · {samples} · {tokens:,} tokens</text>"
    )


def _said(courses: Sequence[Course], now: float) -> str:
    """The picture in words."""
    lines = []
    for one in courses:
        there = [s for s in one.samples if s.time <= now]
        lines.append(f"{one.tier}: {there[-1].leads if there else 'no answer yet'}")
    return f"after {now:.1f} seconds: {'; '.join(lines)}"


# -- the panels ------------------------------------------------------------------------------------


class TierReplay(Panel):
    """Recorded answers of all tiers: a problem is chosen, and time runs or is moved by hand.

    Args:
        problems: what is shown of a problem -> its courses, one for each tier.
        gold: the gold answers, by the same names.
    """

    def __init__(
        self, problems: Mapping[str, Sequence[Course]], gold: Mapping[str, str] = {}
    ) -> None:
        import ipywidgets as widgets

        require(len(problems) > 0, "problems", problems, "at least one")
        self._problems, self._gold = problems, gold
        self.problem = widgets.Dropdown(description="problem", options=[*problems])
        self.play = widgets.Play(interval=100, show_repeat=False)
        self.seconds = widgets.FloatSlider(description="seconds", step=0.1, readout_format=".1f")
        self._ticks = widgets.IntSlider()  # Play counts whole steps
        widgets.jslink((self.play, "value"), (self._ticks, "value"))
        super().__init__([self.problem, self.play, self.seconds])
        self.problem.observe(lambda _: self._choose(), "value")
        self._ticks.observe(lambda change: self._move(change["new"] / 10), "value")
        self.play.observe(lambda change: self._move(change["new"] / 10), "value")
        self.seconds.observe(lambda _: self._show(), "value")
        self._choose()

    @property
    def _longest(self) -> float:
        courses = self._problems[self.problem.value]
        return max([0.1, *(one.end or 0.0 for one in courses)])

    def _choose(self) -> None:
        longest = round(self._longest + 0.1, 1)
        self.play.max = self._ticks.max = round(10 * longest)
        self.seconds.max = longest
        self.play.value = 0
        self.seconds.value = longest
        self._show()

    def _move(self, seconds: float) -> None:
        self.seconds.value = min(seconds, self.seconds.max)

    def _show(self) -> None:
        name = self.problem.value
        now, until = self.seconds.value, self.seconds.max
        self.view.value = view(
            picture(self._problems[name], now, self._gold.get(name), until), "42rem"
        )


class TierPanel(Panel):
    """A question, and all tiers of a desk that answer it at the same time, live.

    Args:
        desk: that answers.
        question: that stands in the field at first.
        tiers: names of tiers; empty takes all.
        gold: the gold answer of the question, where it is known.
    """

    def __init__(
        self, desk: Desk, question: str, tiers: Sequence[str] = (), gold: str | None = None
    ) -> None:
        import ipywidgets as widgets

        known = desk.menu.tiers
        for tier in tiers:
            require(tier in known, "tiers", tier, f"one of {', '.join(known)}")
        self._desk, self._tiers, self._gold = desk, [*(tiers or known)], gold
        self._first = question
        self.orders: list[Order] = []
        self.question = widgets.Textarea(question, layout={"width": "100%", "height": "5.5em"})
        narrow = {"width": "90px"}
        self.ask_button = widgets.Button(
            description="Ask", icon="play", button_style="primary", layout=narrow
        )
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", disabled=True, layout=narrow
        )
        self.message = widgets.HTML(layout={"width": "100%"})
        self.ask_button.on_click(lambda _: self.ask())
        self.stop_button.on_click(lambda _: self.stop())
        super().__init__([self.question, self.ask_button, self.stop_button, self.message])
        self._show()

    def ask(self) -> None:
        """Ask all tiers; does nothing while they answer."""
        if any(not order.over.is_set() for order in self.orders):
            return
        self.message.value = ""
        model = next(iter(self._desk.menu.models))
        try:
            asked = (Message("user", self.question.value),)
            self.orders = [self._desk.ask(wire.Body(f"{model}@{t}", asked)) for t in self._tiers]
        except Exception as error:  # it has to be seen: a widget swallows it
            self.message.value = f'<b style="color:{RED}">{html.escape(error_text(error))}</b>'
            return
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """End what is being answered."""
        for order in self.orders:
            if not order.over.is_set():
                self._desk.cancel(order)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all have answered."""
        for order in self.orders:
            order.over.wait(seconds)
        self._show()

    def _watch(self) -> None:
        self.ask_button.disabled, self.stop_button.disabled = True, False
        while any(not order.over.is_set() for order in self.orders):
            self._show()
            time.sleep(REFRESH)
        self._show()
        self.ask_button.disabled, self.stop_button.disabled = False, True

    def _show(self) -> None:
        if not self.orders:
            self.view.value = view(f'<span style="color: {MUTED}">Press Ask.</span>', "42rem")
            return
        courses = [_of(order) for order in self.orders]
        began = min(order.arrived for order in self.orders)
        running = any(one.end is None for one in courses)
        now = time.monotonic() - began if running else max(one.end or 0.0 for one in courses) + 0.1
        gold = self._gold if self.question.value == self._first else None
        self.view.value = view(picture(courses, now, gold), "42rem")
