"""Tiers of service side by side: what each would answer, second by second, and what it costs."""

from __future__ import annotations

import html
import math
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from itslab import answers
from itslab.core import Cost, Extractor, Key, Message, Node, Result, Tree, require
from itslab.serving import wire
from itslab.serving.desk import Desk
from itslab.serving.order import Order
from itslab.viz.panels import Panel, error_text
from itslab.viz.style import GREEN, GRID, HUES, INK, MUTED, RARE, RED, short, view

REFRESH = 0.2
"""Seconds from one look at live tiers to the next."""
_WIDTH = "56rem"
_QUESTION = 160
"""Characters of a question that are shown."""
_APART = 0.015
"""How far dots in one lane are apart, as a part of the axis."""
_ALONE = 1.5
"""Seconds on the clock and of compute differ by this factor at most where a run was alone."""
_NONE = ""
"""In place of a colour: a hollow dot, of a sample without an answer."""


class Sampled(NamedTuple):
    """A sample that is finished: when, what it answers, and what leads from then on.

    Args:
        time: seconds after the request arrived.
        answer: of the sample, as it was first written; None without one.
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
    computed: bool = False,
) -> Course:
    """Return how a run answered, by the events of its tree: answers vote as they come.

    A program answers with what it prints, as soon as that is written into its turn.

    Args:
        tier: its name.
        tree: of the run.
        extract, key: read and compare answers.
        waited: seconds from the request's arrival until the run began.
        end, deadline: as of ``Course``.
        computed: whether a sample is there after the seconds of compute that were paid by then, in
            place of those on the clock.
    """
    votes: Counter[str] = Counter()
    shown: dict[str, str] = {}
    samples: list[Sampled] = []
    tokens, paid = 0, 0.0
    ran = [node.parent for node in tree if _printed(node) and node.parent]
    printed, asked = {node.id for node in ran}, [node.parent for node in ran]
    for event in list(tree.events):
        node = tree.nodes[event.node]
        cost = event.data.get("cost", Cost())
        tokens, paid = tokens + cost.decoded * (event.kind == "done"), paid + cost.seconds
        prints = event.kind == "node" and _printed(node)
        if not prints and (event.kind != "done" or node.id in printed):
            continue  # a program answers when it has run
        said = extract(node.turn_text)
        if not prints and any(node.parent is parent for parent in asked):
            said = None  # a program that did not work, unlike others: a number in it is no answer
        if said is not None:
            form = key(said)
            shown.setdefault(form, said)
            votes[form] += 1
            said = shown[form]  # what is written in two ways is one answer
        leads = next((shown[form] for form, _ in votes.most_common(1)), None)
        samples.append(Sampled(waited + (paid if computed else event.time), said, leads, tokens))
    return Course(tier, samples, end, deadline)


def _printed(node: Node) -> bool:
    """Whether a node is what was appended to a finished turn, such as what a program prints."""
    after = node.parent is not None and node.parent.completion is not None
    return after and node.role == "assistant" and node.status == "done" and not node.completion


def recorded(tier: str, result: Result, deadline: float | None = None, **reads: Any) -> Course:
    """Return how a recorded run answered; its end is that of its last sample, or the deadline.

    What leads at its end is the run's answer, which is no vote where a last stage has the say. On
    the clock are the seconds of a run that was alone; where samples were found in a bank, or many
    runs shared the machine, those of compute are taken, as if one sample came after another.
    """
    paid = result.cost.seconds
    computed = paid > 0 and not paid / _ALONE <= result.elapsed <= paid * _ALONE
    made = course(tier, result.tree, deadline=deadline, computed=computed, **reads)
    if not made.samples:
        return made._replace(end=0.0)
    *before, last = made.samples
    given, key = result.answer, reads.get("key", answers.canonical)
    written = (one.answer for one in made.samples if one.answer and given)
    last = last._replace(leads=next((w for w in written if key(w) == key(given)), given))
    limit = math.inf if deadline is None else deadline
    there = [sample for sample in (*before, last) if sample.time <= limit]
    return made._replace(samples=there, end=min(last.time, limit))


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
    courses: Sequence[Course],
    now: float,
    gold: str | None = None,
    until: float | None = None,
    question: str = "",
) -> str:
    """Return the courses at a time as HTML: a bar for what leads, a dot for each sample.

    Args:
        courses: one for each tier.
        now: seconds after the question was asked.
        gold: the gold answer, where it is known.
        until: seconds that the axis spans; None is what they all took.
        question: of which the beginning is shown.
    """
    span = until or max([c.end or now for c in courses] + [now, 0.1])
    hues = _hues(courses, gold)
    rows = "".join(_row(c, now, span, hues, gold) for c in courses)
    asked = textwrap.shorten(question, _QUESTION, placeholder=" …")
    told = f"<div>{html.escape(asked)}</div>" if asked else ""
    if gold is not None:
        told += f'<div style="color: {MUTED}">gold answer: {_chip(gold, GREEN)}</div>'
    return (
        f'{told}<div role="img" style="min-width: 400px; margin-top: 8px; font-size: 13px" '
        f'aria-label="{html.escape(_said(courses, now))}">{rows}{_axis(span)}</div>'
        f"{_legend(courses, hues)}"
    )


def _chip(text: str, colour: str, look: str = "") -> str:
    """A dot in a colour, and what it stands for; the same in legend and rows."""
    dot = (
        f'<svg width="10" height="10" style="margin-right: 4px"><circle cx="5" cy="5" r="4" '
        f"{_filled(colour)}/></svg>"
    )
    style = f"white-space: nowrap; color: {INK}; {look}"
    return f'<span style="{style}">{dot}{html.escape(text)}</span>'


def _filled(colour: str) -> str:
    hollow = f'fill="white" stroke="{MUTED}" stroke-width="1.5"'
    return hollow if colour == _NONE else f'fill="{colour}"'


def _legend(courses: Sequence[Course], hues: Mapping[str, str]) -> str:
    """Which colour is which answer, and what bars, dots and lines are."""
    given = {sample.answer for one in courses for sample in one.samples}
    chips = [_chip(short(answer, 24), colour) for answer, colour in hues.items()]
    chips += [_chip("other answers", RARE)] if given - {*hues, None} else []
    chips += [_chip("no answer", _NONE)] if None in given else []
    words = "bar: the answer that leads · dot: a finished sample · red: deadline · dark: now"
    return (
        '<div style="display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px">'
        f'{"".join(chips)}</div><div style="color: {MUTED}; font-size: 12px">{words}</div>'
    )


def _at(seconds: float, span: float) -> str:
    """Where a time is on the axis; a bit of it is left at both ends, for dots."""
    return f"{1 + 98 * min(seconds / span, 1):.2f}%"


def _ticks(span: float) -> list[float]:
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 1e9) if span / s <= 8)
    return [i * step for i in range(int(span / step) + 1)]


def _drawn(content: str, height: int) -> str:
    return f'<svg width="100%" height="{height}" style="display: block">{content}</svg>'


def _axis(span: float) -> str:
    ticks = "".join(
        f'<text x="{_at(seconds, span)}" y="14" fill="{MUTED}" text-anchor="middle">'
        f"{seconds:g}</text>"
        for seconds in _ticks(span)
    )
    label = (
        f'<text x="50%" y="32" fill="{MUTED}" text-anchor="middle">'
        "seconds after the question was asked</text>"
    )
    return _drawn(ticks + label, 40)


def _hues(courses: Sequence[Course], gold: str | None) -> dict[str, str]:
    """A colour for each answer: the right one's, then the most frequent first; those that are given
    once have none of their own."""
    votes = Counter(s.answer for c in courses for s in c.samples if s.answer is not None)
    leading = {s.leads for c in courses for s in c.samples}
    told = [answer for answer, n in votes.most_common() if n > 1 or answer in leading]
    right = [answer for answer in votes if gold is not None and answers.equal(answer, gold)]
    others = [answer for answer in told if answer not in right]
    return {**dict.fromkeys(right, GREEN), **dict(zip(others, HUES, strict=False))}


def _lanes(samples: Sequence[Sampled], span: float) -> list[int]:
    """A lane for each sample's dot, so that those finished at the same moment lie side by side."""
    last: list[float] = []  # the time of the last dot of each lane
    lanes = []
    for sample in samples:
        free = (i for i, time in enumerate(last) if sample.time - time > _APART * span)
        lanes.append(lane := next(free, len(last)))
        last[lane : lane + 1] = [sample.time]
    return lanes


def _row(one: Course, now: float, span: float, hues: Mapping[str, str], gold: str | None) -> str:
    there = [s for s in one.samples if s.time <= now]
    end = min(now, span if one.end is None else one.end)
    lanes = _lanes(one.samples, span)
    height = 34 + 10 * max(lanes, default=0)
    lines = [(seconds, GRID, 1, height, "") for seconds in _ticks(span)]
    parts = []
    for i, sample in enumerate(there):
        until = there[i + 1].time if i + 1 < len(there) else end
        parts.append(_bar(sample.time, until, span, hues.get(sample.leads or "", RARE)))
        colour = _NONE if sample.answer is None else hues.get(sample.answer, RARE)
        said = html.escape(sample.answer or "no answer")
        parts.append(
            f'<circle cx="{_at(sample.time, span)}" cy="{24 + 10 * lanes[i]}" r="4" '
            f"{_filled(colour)}><title>{sample.time:.1f} s: {said}</title></circle>"
        )
    first = there[0].time if there else end
    parts.insert(0, _bar(0, min(first, end), span, GRID))
    marks = [(min(now, span), INK, 1, height, "")]
    if one.deadline is not None and one.deadline <= span:
        marks.append((one.deadline, RED, 2, 18, "<title>deadline</title>"))
    drawn = [_line(*line, span) for line in lines] + parts + [_line(*mark, span) for mark in marks]
    return _words(one, there, now, hues, gold) + _drawn("".join(drawn), height)


def _line(seconds: float, colour: str, width: int, height: int, title: str, span: float) -> str:
    at = _at(seconds, span)
    return (
        f'<line x1="{at}" x2="{at}" y1="0" y2="{height}" stroke="{colour}" '
        f'stroke-width="{width}">{title}</line>'
    )


def _bar(start: float, end: float, span: float, colour: str) -> str:
    width = 98 * max(min(end / span, 1) - min(start / span, 1), 0)
    x = _at(start, span)
    return f'<rect x="{x}" y="2" width="{width:.2f}%" height="14" fill="{colour}"/>'


def _words(
    one: Course,
    there: Sequence[Sampled],
    now: float,
    hues: Mapping[str, str],
    gold: str | None,
) -> str:
    leads = there[-1].leads if there else None
    done = one.end is not None and now >= one.end
    said = (
        f'<span style="color: {MUTED}">no answer{"" if done else " yet"}</span>'
        if leads is None
        else _chip(short(leads, 40), hues.get(leads, RARE), "font-weight: bold")
    )
    if gold is not None and leads is not None:
        fits = answers.equal(leads, gold)
        said += f' <b style="color: {GREEN if fits else RED}">{"✓" if fits else "✗"}</b>'
    tokens = there[-1].tokens if there else 0
    cut = one.deadline is not None and one.end == one.deadline
    how = "cut at the deadline," if cut else "answered after"
    told = [f"{how} {one.end:.1f} s" if done and one.end is not None else "so far"]
    told += [f"{len(there)} sample{'' if len(there) == 1 else 's'}", f"{tokens:,} tokens"]
    told += [] if one.deadline is None else [f"deadline {one.deadline:g} s"]
    return (
        '<div style="display: flex; flex-wrap: wrap; justify-content: space-between; '
        f'gap: 0 16px; padding: 4px 1%"><span><b style="margin-right: 10px">'
        f"{html.escape(one.tier)}</b>{said}</span>"
        f'<span style="color: {MUTED}">{" · ".join(told)}</span></div>'
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
        questions: what was asked, by the same names.
    """

    def __init__(
        self,
        problems: Mapping[str, Sequence[Course]],
        gold: Mapping[str, str] = {},
        questions: Mapping[str, str] = {},
    ) -> None:
        import ipywidgets as widgets

        require(len(problems) > 0, "problems", problems, "at least one")
        self._problems, self._gold, self._questions = problems, gold, questions
        named = [(f"{n}. {self._named(name)}", name) for n, name in enumerate(problems, 1)]
        wide = {"width": "440px"}
        self.problem = widgets.Dropdown(description="problem", options=named, layout=wide)
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

    def _named(self, name: str) -> str:
        """The first words of a question; its name where they are not known."""
        return textwrap.shorten(self._questions.get(name, name), 48, placeholder=" …")

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
        asked = self._questions.get(name, "")
        shown = picture(self._problems[name], now, self._gold.get(name), until, asked)
        self.view.value = view(shown, _WIDTH)


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
        self._first = self._asked = question
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
            self._asked = self.question.value
            asked = (Message("user", self._asked),)
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
            self.view.value = view(f'<span style="color: {MUTED}">Press Ask.</span>', _WIDTH)
            return
        courses = [_of(order) for order in self.orders]
        began = min(order.arrived for order in self.orders)
        running = any(one.end is None for one in courses)
        now = time.monotonic() - began if running else max(one.end or 0.0 for one in courses) + 0.1
        gold = self._gold if self._asked == self._first else None
        self.view.value = view(picture(courses, now, gold, question=self._asked), _WIDTH)
