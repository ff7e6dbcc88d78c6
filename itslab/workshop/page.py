"""The class's page: who handed in, what was expected beside what came, choices, exercises, texts.

One file that needs nothing but a browser. All that participants wrote is shown as they wrote it,
and as nothing else: never as a part of the page.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from itslab.core import ItslabError
from itslab.printable import printable
from itslab.viz import pieces, sheet, style
from itslab.viz.style import BELOW, BLUE, CYAN, GREEN, GREY, INK, ORANGE, TEMPLATE, headed
from itslab.workshop.gathered import Answers, Gathered, Tries, answers, gather, tries

NAME = "class.html"
"""Of the page, in the folder of the journals."""
BINS = 60
"""Places for dots, side by side."""
WORDS = 12
"""Bars of one question; what few chose is one bar."""
HINTS = 3
"""Of an exercise that are shown."""
LONG = 36
"""Letters of a word or an exercise beside its bar: more than the sessions' own choices have."""
_STEPS = (
    ("right at once", GREEN, ""),
    ("at the 2nd or 3rd try", CYAN, "."),
    ("later", BLUE, ""),
    ("not yet", ORANGE, "/"),
)
_PATTERN = {"fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.5, "size": 8}


def collect(folder: str | Path, names: bool = True) -> Path:
    """Write the page of a class's journals, in their folder, and return where it is.

    Args:
        folder: of the journals, as they were handed in or brought.
        names: whether participants are called by their names, or by signs.

    Raises:
        ItslabError: there is no such folder, or the page cannot be written.
    """
    path = Path(folder, NAME)
    page = drawn(gather(folder, names))
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ItslabError(f"the page {path} cannot be written: {error.strerror}") from error
    return path


def drawn(class_: Gathered) -> str:
    """Return the page of a class, as HTML."""
    count, written = len(class_.participants), sum(len(one.entries) for one in class_.participants)
    lead = (
        f"{_counted(count, 'journal')}, {_counted(written, 'entry', 'entries')}. Expectations are "
        "those that were written down first; choices and texts those that were written last."
    )
    parts = [_handed_in(class_)] if count else []
    if class_.left_out:
        parts += ["<h2>Left out</h2>", pieces.view(pieces.remarks(class_.left_out))]
    for session in class_.sessions:
        parts += [f"<h2>Session {session}</h2>", *_session(class_, session)]
    return sheet.page("The class", lead, "\n".join(parts))


def _session(class_: Gathered, session: int) -> Iterator[str]:
    more = 0
    for kind, draw in (("expected", _expected), ("chosen", bars), ("written", _texts)):
        names, others = class_.names(session, kind)  # type: ignore[arg-type]
        more += others
        if kind == "written":
            yield from _exercises(class_, session)
        for name in names:
            said = answers(class_, session, kind, name)  # type: ignore[arg-type]
            try:
                part = draw(said) if said.given else ""
                yield part if isinstance(part, str) else sheet.figure(part)
            except Exception as error:  # what one wrote must not take the page from all
                why = f"{type(error).__name__}: {error}"
                yield f"<p>{_text(name)} is left out, for it cannot be drawn: {_text(why)}</p>"
    if more:
        yield f"<p>{_counted(more, 'question')} about which fewer wrote are not shown.</p>"


def _expected(said: Answers) -> go.Figure:
    return dots(said) if said.numbers else bars(said)


# -- who handed in ---------------------------------------------------------------------------------


def _handed_in(class_: Gathered) -> str:
    tried = {session: class_.names(session, "tried")[0] for session in class_.sessions}
    exercises = {session: names for session, names in tried.items() if names}
    heads = ["", "entries", "the last", *(f"session {n}: right" for n in exercises)]
    rows = []
    for one in class_.participants:
        row = [_text(one.name), f"{len(one.entries):,}", _at(one.entries[-1].time)]
        for session, names in exercises.items():
            right = {e.name for e in one.entries if e.session == session and e.right}
            row.append(f"{len(right & {*names})} of {len(names)}")
        rows.append(row)
    title = f"who handed in, and how many exercises are right: {len(rows)}"
    return pieces.view(pieces.details(title, pieces.table(heads, rows)))


def _at(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%d %b, %H:%M")
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return ""


# -- questions -------------------------------------------------------------------------------------


def dots(said: Answers) -> go.Figure:
    """Draw what each participant expected as a dot, and what came as a line, or as dots below.

    Args:
        said: of a question that asks for numbers.
    """
    ends = [*said.between, *said.given.values(), *said.came.values()]
    least, most = min(ends), max(ends)
    width = (most - least) / BINS or 1.0
    inside = 0.0  # to the middle of a place
    if all(float(end).is_integer() for end in ends):
        width = math.ceil(width)
        inside = (width - 1) / 2  # so that each has as many whole numbers
    figure = go.Figure()
    places = (least + inside, width)
    above = _stacked(figure, said.given, "expected", ORANGE, "circle", places, 1)
    seen = [*said.came.values()]
    vary = len({*seen}) > 1
    below = _stacked(figure, said.came, "came", BLUE, "diamond", places, -1) if vary else 0
    if seen:
        middle = statistics.median(seen)
        what = f"came: {_number(middle)}{' (median)' if vary else ''}"
        figure.add_vline(
            middle,
            line={"color": BLUE, "width": 3},
            annotation={"text": what, "font_color": BLUE},
            annotation_position="top",
        )
    figure.update_layout(
        template=TEMPLATE,
        height=160 + min(13 * (max(above, 4) + below), 260),
        showlegend=vary,
        legend=BELOW,
        margin={"b": 88 if vary else 44, "l": 30},
    )
    edge = (most - least) / 25 or 1.0
    figure.update_xaxes(range=[least - edge, most + edge])
    figure.update_yaxes(visible=False, range=[-below - 1.5 if below else -0.2, max(above, 4) + 1])
    middle = statistics.median(said.given.values())
    return headed(
        figure, _title(said), f"{_n(said)}; half expected {_number(middle)} or less", room=26
    )


def _stacked(
    figure: go.Figure,
    values: dict[str, Any],
    name: str,
    colour: str,
    symbol: str,
    places: tuple[float, float],
    way: int,
) -> int:
    """Draw values as dots, those in one place upon each other; return how many at most are."""
    first, width = places
    at: Counter[int] = Counter()
    x, y, told = [], [], []
    for who, value in sorted(values.items(), key=lambda one: one[1]):
        place = math.floor((value - first) / width + 0.5)
        at[place] += 1
        x.append(first + place * width)
        y.append(way * (at[place] - 0.5 + (way < 0)))
        told.append(f"{_text(who)}: {_number(value)}")
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": 10, "line": {"color": INK, "width": 1}},
        text=told,
        hovertemplate=f"%{{text}}<extra>{name}</extra>",
    )
    return max(at.values(), default=0)


def bars(said: Answers) -> go.Figure:
    """Draw how many chose, or expected, each word; what came is marked.

    Args:
        said: of a question that asks for words.
    """
    votes = Counter(map(str, said.given.values()))
    words = [*map(str, said.between)] or [word for word, _ in votes.most_common()]
    rare = words[WORDS:]
    shown = [(word, votes[word]) for word in words[:WORDS]]
    came = Counter(map(str, said.came.values()))
    labels = [_word(word) + (f"  ✓ came ({came[word]})" if came[word] else "") for word, _ in shown]
    if rare:
        shown.append(("", sum(votes[word] for word in rare)))
        labels.append(f"{len(rare)} others")
    colours = [BLUE if came[word] else GREY for word, _ in shown] if came else BLUE
    figure = go.Figure(
        go.Bar(
            x=[votes for _, votes in shown],
            y=[*range(len(shown))],
            orientation="h",
            marker={"color": colours, "line": {"color": INK, "width": 1}},
            text=[f"{votes}" for _, votes in shown],
            textposition="outside",
            cliponaxis=False,
            hovertext=[_text(word, 120) for word, _ in shown],
            hovertemplate="%{hovertext}: %{x}<extra></extra>",
        )
    )
    longest = max(votes for _, votes in shown)
    return _rows(figure, labels, longest, _title(said), _n(said))


def _rows(figure: go.Figure, labels: Sequence[str], most: int, title: str, below: str) -> go.Figure:
    """Bars one below the other, the longest of so many, under their title."""
    figure.update_layout(
        template=TEMPLATE, height=130 + 32 * len(labels), bargap=0.3, showlegend=False, margin_b=40
    )
    step = math.ceil(max(most, 1) / 6)
    figure.update_xaxes(tickformat="d", rangemode="tozero", dtick=step)
    ticks = {"tickvals": [*range(len(labels))], "ticktext": labels, "ticks": ""}
    figure.update_yaxes(**ticks, autorange="reversed", showgrid=False)
    return headed(figure, title, below)


def _title(said: Answers) -> str:
    return _text(said.asked)


def _n(said: Answers) -> str:
    others = f", {said.others} other answer{'s' * (said.others > 1)} left out"
    return f"n = {len(said.given)}{others if said.others else ''}"


# -- exercises -------------------------------------------------------------------------------------


def _exercises(class_: Gathered, session: int) -> Iterator[str]:
    fared = [tries(class_, session, name) for name in class_.names(session, "tried")[0]]
    if fared:
        yield sheet.figure(steps(fared, len(class_.participants)))
        yield _hints(fared)


def steps(fared: Sequence[Tries], count: int) -> go.Figure:
    """Draw how many had each exercise right at once, later, and not yet.

    Args:
        fared: the exercises.
        count: of participants.
    """
    figure = go.Figure()
    for part, (name, colour, pattern) in enumerate(_STEPS):
        votes = [_parts(one)[part] for one in fared]
        figure.add_bar(
            x=votes,
            y=[*range(len(fared))],
            orientation="h",
            name=name,
            text=[str(n) if n else "" for n in votes],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"color": INK if colour != BLUE else "white", "size": 13},
            marker={
                "color": colour,
                "line": {"color": INK, "width": 1},
                "pattern": {"shape": pattern, **_PATTERN},
            },
            hovertemplate=f"{name}: %{{x}}<extra></extra>",
        )
    labels = [f"{_word(one.name)}  (n = {len(one.right) + len(one.wrong)})" for one in fared]
    title = "Exercises: who had them right, after how many tries"
    longest = max(len(one.right) + len(one.wrong) for one in fared)
    drawn = _rows(figure, labels, longest, title, f"n: who tried, of {count}")
    drawn.update_layout(
        barmode="stack", showlegend=True, legend=BELOW | {"traceorder": "normal"}, margin_b=88
    )
    drawn.layout.height += 60
    return drawn


def _parts(one: Tries) -> tuple[int, int, int, int]:
    taken = [*one.right.values()]
    some = sum(1 < n <= 3 for n in taken)
    return taken.count(1), some, sum(n > 3 for n in taken), len(one.wrong)


def _hints(fared: Sequence[Tries]) -> str:
    """What went wrong most often: that is to be explained again."""
    rows = []
    for one in fared:
        for hint, who in list(one.hints.items())[:HINTS]:
            told = f"{len(who)} of {len(one.right) + len(one.wrong)}"
            rows.append((len(who), [_whole(_word(one.name)), _whole(told), _text(hint, 200)]))
    if not rows:
        return ""
    rows.sort(key=lambda row: -row[0])
    heads = ("exercise", "told to", "what")
    table = pieces.table(heads, [row for _, row in rows], numbers=False)
    return pieces.view("<b>What went wrong most often</b>: to be explained again", table)


# -- texts -----------------------------------------------------------------------------------------


def _texts(said: Answers) -> str:
    """What each wrote, below the question."""
    boxes = [
        f'<div style="margin: 10px 0">{_text(who)}'
        f"{style.box(pieces.cut(printable(text), pieces.SHOWN), BLUE)}</div>"
        for who, text in said.given.items()
    ]
    title = f"{printable(said.asked)[:300]} (n = {len(boxes)})"
    return pieces.view(f"<b>{escape(title)}</b>", *boxes)


# -- what others wrote, as it may stand on a page --------------------------------------------------


def _text(text: str, most: int = 300) -> str:
    return escape(pieces.brief_line(printable(text), most))


def _word(word: str) -> str:
    """A word beside a bar: plotly would read marks in it."""
    return _text(word, LONG)


def _whole(cell: str) -> str:
    """A cell of a table that is not broken into lines."""
    return f'<span style="white-space: nowrap">{cell}</span>'


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
