"""Figures of studies: accuracy, losses, reliability, revisions and votes.

Each is a function that takes a table and returns a plotly figure.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from itslab.answers import canonical
from itslab.core import require
from itslab.printable import printable
from itslab.viz.style import (
    AMBER,
    BELOW,
    BLUE,
    CYAN,
    FONT,
    GREEN,
    GREY,
    INK,
    MARKS,
    MUTED,
    RARE,
    SKY,
    TEMPLATE,
    Mark,
    headed,
    short,
)

if TYPE_CHECKING:
    import pandas as pd

# -- what figures have in common -------------------------------------------------------------------


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, Any]:
    """Return how an interval is drawn around a value."""
    return {"array": high - value, "arrayminus": value - low, "thickness": 1.5}


def drawn_as(mark: Mark) -> dict[str, Any]:
    """Return how a series is drawn as points with lines between them."""
    return {
        "marker": {"color": mark.colour, "symbol": mark.symbol, "size": 9},
        "line": {"color": mark.colour, "width": 2.5, "dash": mark.dash},
    }


class Part(NamedTuple):
    """One part of stacked bars: its column in the table, and how it is drawn."""

    column: str
    label: str
    colour: str
    pattern: str


LABELLED = 0.03
"""Larger parts of a bar have room for their label, as a fraction of the bar."""


def _stack(part: Part, fractions: pd.Series, labels: Sequence[str], edge: str) -> dict[str, Any]:
    """How one part of stacked bars is drawn."""
    shown = [
        label if fraction > LABELLED else ""
        for label, fraction in zip(labels, fractions, strict=True)
    ]
    pattern = {"fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.5, "size": 8}
    return {
        "y": fractions,
        "name": part.label,
        "text": shown,
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"color": INK, "size": 13},
        "marker": {
            "color": part.colour,
            "line": {"color": edge, "width": 1},
            "pattern": {"shape": part.pattern, **pattern},
        },
    }


# -- accuracy ------------------------------------------------------------------------------------


def forest(
    table: pd.DataFrame,
    title: str = "Accuracy of each method",
    reference: tuple[float, str] | None = None,
) -> go.Figure:
    """Draw the accuracy of methods one below the other, each with its interval.

    Args:
        table: columns ``method``, ``accuracy``, ``low``, ``high`` (fractions: the estimate and its
            interval); optionally ``group`` (a heading over the methods that share it) and ``note``
            (text at the right margin). Rows are drawn in their order.
        title: should say how many problems there are and what the interval is.
        reference: an accuracy that all others are held against, and its label.
    """
    figure = go.Figure()
    labels: list[str] = []
    grouped = "group" in table
    groups = table.group.unique() if grouped else [""]
    for group, mark in zip(groups, cycle(MARKS[1:]), strict=False):
        rows = table[table.group == group] if grouped else table
        labels += [f"<b>{group}</b>"] if grouped else []
        places = range(len(labels), len(labels) + len(rows))
        labels += map(str, rows.method)
        figure.add_scatter(
            x=rows.accuracy,
            y=list(places),
            error_x=error_bars(rows.accuracy, rows.low, rows.high),
            mode="markers",
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 10},
            customdata=rows[["method", "low", "high"]],
            hovertemplate=(
                "%{customdata[0]}: %{x:.1%} (%{customdata[1]:.1%} to %{customdata[2]:.1%})"
                "<extra></extra>"
            ),
        )
        right = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 12, "showarrow": False}
        for place, note in zip(places, rows.get("note", []), strict=False):
            figure.add_annotation(text=note, y=place, **right)
    if reference:
        value, label = reference
        above = {"y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        figure.add_vline(value, line={"color": INK, "width": 1.5, "dash": "dot"})
        figure.add_annotation(text=label, x=value, **above)
    figure.update_layout(
        template=TEMPLATE,
        height=170 + 30 * len(labels),
        showlegend=False,
        margin={"r": 30 + 8 * max(map(len, table.get("note", [""])))},
    )
    figure.update_xaxes(title="problems solved (%)", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        range=[len(labels) - 0.4, -0.6],
        ticks="",
        showgrid=False,
    )
    return headed(figure, title, room=28 if reference else 10)


# -- losses ----------------------------------------------------------------------------------------

LOSSES = [
    Part("solved", "solved", GREEN, ""),
    Part("selection", "lost in selection:<br>a right answer was not chosen", AMBER, "/"),
    Part("extraction", "lost in extraction:<br>a right answer was not read", CYAN, "x"),
    Part("coverage", "lost in coverage:<br>no sample is right", GREY, "."),
]
"""From the bottom of the stack to its top."""


def losses(table: pd.DataFrame, title: str = "Where problems are lost") -> go.Figure:
    """Draw the fractions of problems that are solved, and lost where, by number of samples.

    Args:
        table: columns ``samples`` (per problem), ``solved``, ``selection``, ``extraction`` and
            ``coverage`` (fractions of the problems, which add up to 1).
        title: should say how many problems there are.

    Raises:
        OptionError: fractions do not add up to 1.
    """
    totals = table[[part.column for part in LOSSES]].sum(axis=1)
    require(bool(np.allclose(totals, 1)), "table", list(totals), "of fractions that add up to 1")
    figure = go.Figure()
    for part in LOSSES:
        fractions = table[part.column]
        labels = [f"{fraction:.0%}" for fraction in fractions]
        figure.add_bar(
            x=table.samples.astype(str),
            **_stack(part, fractions, labels, edge="white"),
            hovertemplate="%{x} samples: %{y:.1%}",
        )
    figure.update_layout(
        template=TEMPLATE,
        height=520,
        barmode="stack",
        bargap=0.3,
        legend={"traceorder": "reversed", "itemsizing": "constant", **BELOW},
    )
    figure.update_xaxes(title="samples per problem", type="category", showgrid=False, ticks="")
    figure.update_yaxes(title="problems (%)", tickformat=".0%", range=[0, 1])
    return headed(figure, title)


# -- reliability -----------------------------------------------------------------------------------


def reliability(table: pd.DataFrame, title: str = "Reliability") -> go.Figure:
    """Draw how often samples are right against how likely they were judged to be, per method.

    On the diagonal, judgements mean what they say (DeGroot & Fienberg 1983).

    Args:
        table: one row for each bin of a method's samples: columns ``method``, ``predicted`` (mean
            judged probability), ``observed``, ``low``, ``high`` (fraction of right answers and its
            interval) and ``count`` (samples).
        title: should say how many problems and samples there are and what the interval is.
    """
    methods = list(table.groupby("method", sort=False))
    figure = make_subplots(
        cols=max(len(methods), 1),  # of samples without any score, an empty picture
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_titles=[f"<b>{method}</b>" for method, _ in methods],
        x_title="judged probability (%; dotted: as judged)",
    )
    for column, ((_, rows), mark) in enumerate(zip(methods, cycle(MARKS[1:]), strict=False), 1):
        diagonal = {"color": MUTED, "width": 1.5, "dash": "dot"}
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line=diagonal, hoverinfo="skip", row=1, col=column
        )
        figure.add_scatter(
            x=rows.predicted,
            y=rows.observed,
            error_y=error_bars(rows.observed, rows.low, rows.high),
            mode="lines+markers",
            marker=drawn_as(mark)["marker"],
            line_width=1.5,
            customdata=rows[["count", "low", "high"]],
            hovertemplate=(
                "judged %{x:.0%}, right %{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})"
                "<br>%{customdata[0]:,} samples<extra></extra>"
            ),
            row=1,
            col=column,
        )
    figure.update_layout(
        template=TEMPLATE,
        height=450,
        width=160 + 320 * len(methods) if len(methods) < 3 else None,
        margin={"b": 78},
        showlegend=False,
    )
    figure.update_xaxes(range=[-0.04, 1.04], tickformat=".0%", tickvals=[0, 0.5, 1], tickangle=0)
    figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")
    figure.update_yaxes(title="right answers (%)", col=1)
    return headed(figure, title, room=34)


# -- revisions -------------------------------------------------------------------------------------

VERSIONS = (
    ("right", "low", "high", "the last version", MARKS[1], -0.03),
    ("kept", "kept low", "kept high", "the best version by score", MARKS[2], 0.03),
)
"""The columns, label and look of each line. The number moves a line aside, so that intervals do not
overlap."""

CHANGES = (
    Part("wrong → right", "wrong → right: better", GREEN, "/"),
    Part("right → right", "right → right", GREY, ""),
    Part("wrong → wrong", "wrong → wrong", "white", ""),
    Part("right → wrong", "right → wrong: worse", AMBER, "x"),
)


def refinement(table: pd.DataFrame, title: str = "Refinement") -> go.Figure:
    """Draw how many answers are right after each iteration, and what the iteration changed.

    Args:
        table: as ``study.tables.refinement`` returns it.
        title: should say how many problems there are and what the interval is.
    """
    figure = make_subplots(
        cols=2,
        horizontal_spacing=0.12,
        subplot_titles=("right answers", "what revisions changed"),
    )
    for name, low, high, label, mark, aside in VERSIONS:
        figure.add_scatter(
            x=table.index + aside,
            y=table[name],
            error_y=error_bars(table[name], table[low], table[high]),
            name=label,
            mode="lines+markers",
            **drawn_as(mark),
            hovertemplate="iteration %{x:.0f}: %{y:.1%}",
            row=1,
            col=1,
        )
    revised = table[table.revised > 0]
    iterations = [f"{i}<br>({n})" for i, n in revised.revised.items()]
    for part in CHANGES:
        counts = revised[part.column]
        figure.add_bar(
            x=iterations,
            **_stack(part, counts / revised.revised, [str(n) for n in counts], edge=GREY),
            hovertemplate="%{x}: %{y:.1%}",
            row=1,
            col=2,
        )
    figure.update_layout(
        template=TEMPLATE,
        height=520,
        barmode="stack",
        bargap=0.3,
        legend={"itemsizing": "constant", **BELOW},
    )
    figure.update_xaxes(title="iteration (0: first)", dtick=1, col=1)
    figure.update_xaxes(title="iteration (revisions)", type="category", ticks="", col=2)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", col=1)
    figure.update_yaxes(tickformat=".0%", range=[0, 1], col=2)
    return headed(figure, title, room=34)


# -- votes -----------------------------------------------------------------------------------------

SHOWN = 9
"""The most bars for answers; rarer answers share the last one."""

_ROW, _LABEL, _WIDTH = 28, 150, 640  # pixels of a picture


class Bar(NamedTuple):
    """One bar of a chart of votes; ``whole`` is what its label cuts."""

    label: str
    votes: float
    colour: str
    whole: str = ""


def bars(
    votes: Mapping[str, float],
    right: Collection[str] = (),
    unanswered: float = 0,
    drawing: float = 0,
    hues: Mapping[str, str] | None = None,
) -> list[Bar]:
    """Return the bars of a chart of votes, the most frequent answer first.

    Args:
        votes: the votes of each canonical answer, as ``answers.tally`` counts them.
        right: canonical answers whose bars are marked.
        unanswered: samples without an answer.
        drawing: samples that are not finished yet.
        hues: of answers; those without one are grey. None draws all in one hue.
    """

    def hue(answer: str) -> str:
        if answer in right:
            return GREEN
        return BLUE if hues is None else hues.get(answer, RARE)

    order = sorted(votes, key=lambda answer: -votes[answer])  # stable: first seen, first shown
    cut = SHOWN if len(order) <= SHOWN else SHOWN - 1
    rows = [
        Bar(f"✓ {short(a)}" if a in right else short(a), votes[a], hue(a), a) for a in order[:cut]
    ]
    if rest := order[cut:]:
        here = "with ✓ " if not set(rest).isdisjoint(right) else ""
        rows.append(Bar(f"{len(rest)} others {here}".strip(), sum(votes[a] for a in rest), SKY))
    if unanswered:
        rows.append(Bar("no answer", unanswered, MUTED))
    if drawing:
        rows.append(Bar("still drawing", drawing, GREY))
    return rows


def votes(
    votes: Mapping[str, float], gold: str | None = None, unanswered: float = 0, title: str = "Votes"
) -> go.Figure:
    """Draw how many samples gave each answer.

    Args:
        votes: the votes of each canonical answer, as ``answers.tally`` counts them.
        gold: the gold answer, whose bar is marked; None marks none.
        unanswered: samples without an answer.
        title: should say which problem it is.
    """
    rows = bars(votes, canonical_gold(gold), unanswered)
    figure = go.Figure(
        go.Bar(
            x=[row.votes for row in rows],
            y=[row.label for row in rows],
            text=[f"{row.votes:g}" for row in rows],
            marker_color=[row.colour for row in rows],
            orientation="h",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x} votes<extra></extra>",
        )
    )
    figure.update_layout(
        template=TEMPLATE,
        height=150 + 34 * len(rows),
        bargap=0.25,
        showlegend=False,
    )
    figure.update_xaxes(title="votes (samples)", rangemode="tozero", tickformat="d")
    figure.update_yaxes(
        title="answer" + (" (✓ gold)" if gold is not None else ""),
        type="category",
        autorange="reversed",
        showgrid=False,
    )
    return headed(figure, title)


def canonical_gold(gold: str | None) -> tuple[str, ...]:
    """Return the canonical form of a gold answer, or nothing if there is none."""
    return () if gold is None else (canonical(gold),)


def picture(rows: Sequence[Bar], caption: str, width: int = _WIDTH) -> str:
    """Return bars as a small SVG image so many pixels wide, with the lines of a caption below."""
    most = max((row.votes for row in rows), default=1)
    longest = width - _LABEL - 50
    lines = caption.split("\n")
    below = _ROW * max(len(rows), 1) + 32  # where the first line of the caption stands
    height = below + 12 + 20 * (len(lines) - 1)
    parts = [
        f'<svg class="its-view" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" style="max-width: 100%; height: auto" font-family="{FONT}" '
        f'font-size="14" fill="{INK}"><rect width="100%" height="100%" fill="white"/>'
    ]
    for i, row in enumerate(rows):
        y, length = 8 + i * _ROW, max(longest * row.votes / most, 2)
        parts.append(
            f'<text x="{_LABEL - 10}" y="{y + 17}" text-anchor="end">{_escaped(row.label)}'
            f"{_tip(row)}</text>"
            f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.0f}" height="{_ROW - 6}" '
            f'fill="{row.colour}"/>'
            f'<text x="{_LABEL + length + 8:.0f}" y="{y + 17}">{row.votes:g}</text>'
        )
    parts += (
        f'<text x="10" y="{below + 20 * i}" fill="{MUTED}">{_escaped(line)}</text>'
        for i, line in enumerate(lines)
    )
    return "".join([*parts, "</svg>"])


def _escaped(text: str) -> str:
    """A text in a picture, which is XML: there are characters that it must not hold."""
    return html.escape(printable(text))


def _tip(row: Bar) -> str:
    """The whole of an answer that is cut, where the mouse rests on its label."""
    cut = row.whole and row.whole not in row.label
    return f"<title>{_escaped(row.whole[:2_000])}</title>" if cut else ""
