"""How many samples gave each answer: as a figure, and as a picture of some kilobytes."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from itslab.answers import canonical
from itslab.viz.style import BLUE, FONT, GREEN, GREY, INK, MUTED, SKY, TEMPLATE, short

SHOWN = 9
"""Bars for answers; rarer answers share the last one."""

_ROW, _LABEL, _WIDTH = 28, 150, 640  # pixels


class Bar(NamedTuple):
    """One bar of a picture of votes."""

    label: str
    votes: float
    colour: str


def bars(
    votes: Mapping[str, float],
    right: Collection[str] = (),
    silent: float = 0,
    drawing: float = 0,
) -> list[Bar]:
    """Return the bars of a picture of votes, the most frequent answer first.

    Args:
        votes: for each canonical answer, as ``answers.tally`` counts them.
        right: canonical answers whose bars are marked.
        silent: samples without an answer.
        drawing: samples that are not finished yet.
    """
    order = sorted(votes, key=lambda answer: -votes[answer])  # stable: first seen, first shown
    cut = SHOWN if len(order) <= SHOWN else SHOWN - 1
    rows = [
        Bar(f"✓ {short(a)}" if a in right else short(a), votes[a], GREEN if a in right else BLUE)
        for a in order[:cut]
    ]
    if rest := order[cut:]:
        here = "with ✓ " if not set(rest).isdisjoint(right) else ""
        rows.append(Bar(f"{len(rest)} others {here}".strip(), sum(votes[a] for a in rest), SKY))
    if silent:
        rows.append(Bar("no answer", silent, MUTED))
    if drawing:
        rows.append(Bar("still drawing", drawing, GREY))
    return rows


def votes(
    votes: Mapping[str, float], gold: str | None = None, silent: float = 0, title: str = "Votes"
) -> go.Figure:
    """Draw how many samples gave each answer; that of ``gold`` is marked. See ``bars``."""
    rows = bars(votes, marked(gold), silent)
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
        template=TEMPLATE, title=title, height=150 + 34 * len(rows), bargap=0.25, showlegend=False
    )
    figure.update_xaxes(title="votes (samples)", rangemode="tozero", tickformat="d")
    figure.update_yaxes(
        title="answer" + (" (✓ gold)" if gold is not None else ""),
        type="category",
        autorange="reversed",
        showgrid=False,
    )
    return figure


def marked(gold: str | None) -> tuple[str, ...]:
    """The answers that a gold answer marks: its canonical form, or none."""
    return () if gold is None else (canonical(gold),)


def picture(rows: Sequence[Bar], caption: str) -> str:
    """Draw bars as an SVG image with a line of text below."""
    most = max((row.votes for row in rows), default=1)
    longest = _WIDTH - _LABEL - 50
    height = _ROW * max(len(rows), 1) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="{FONT}" '
        f'font-size="14" fill="{INK}"><rect width="100%" height="100%" fill="white"/>'
    ]
    for i, row in enumerate(rows):
        y, length = 8 + i * _ROW, max(longest * row.votes / most, 2)
        parts.append(
            f'<text x="{_LABEL - 10}" y="{y + 17}" text-anchor="end">{html.escape(row.label)}'
            f"</text>"
            f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.0f}" height="{_ROW - 6}" '
            f'fill="{row.colour}"/>'
            f'<text x="{_LABEL + length + 8:.0f}" y="{y + 17}">{row.votes:g}</text>'
        )
    text = html.escape(caption)
    parts.append(f'<text x="10" y="{height - 12}" fill="{MUTED}">{text}</text></svg>')
    return "".join(parts)
