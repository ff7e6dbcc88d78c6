"""Where problems are lost on the way from samples to an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go

from itslab.core import require
from itslab.viz.style import AMBER, CYAN, GREEN, GREY, INK, TEMPLATE

if TYPE_CHECKING:
    import pandas as pd

ROOM = 0.04
"""The smallest share that is labelled, as a fraction of all problems."""


_PATTERN = {"fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.5, "size": 8}


class Part(NamedTuple):
    """What becomes of some problems, and how they are drawn."""

    column: str
    label: str
    colour: str
    pattern: str


PARTS = [
    Part("solved", "solved", GREEN, ""),
    Part("selection", "lost in selection:<br>a right answer was not chosen", AMBER, "/"),
    Part("extraction", "lost in extraction:<br>a right answer was not read", CYAN, "x"),
    Part("coverage", "lost in coverage:<br>no sample is right", GREY, "."),
]
"""From the bottom of the stack to its top."""


def losses(table: pd.DataFrame, title: str = "Where problems are lost") -> go.Figure:
    """Draw for each number of samples which share of the problems is solved, or lost and where.

    Args:
        table: columns ``samples`` (per problem), ``solved``, ``selection``, ``extraction`` and
            ``coverage`` (fractions of the problems, which add up to 1).
        title: should say how many problems there are.

    Raises:
        OptionError: fractions do not add up to 1.
    """
    totals = table[[part.column for part in PARTS]].sum(axis=1)
    require(bool(np.allclose(totals, 1)), "table", list(totals), "of fractions that add up to 1")
    figure = go.Figure()
    for part in PARTS:
        shares = table[part.column]
        figure.add_bar(
            x=table.samples.astype(str),
            y=shares,
            name=part.label,
            text=[f"{share:.0%}" if share >= ROOM else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": INK, "size": 13},
            marker={
                "color": part.colour,
                "line": {"color": "white", "width": 1},
                "pattern": {"shape": part.pattern, **_PATTERN},
            },
            hovertemplate="%{x} samples: %{y:.1%}",
        )
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=470,
        barmode="stack",
        bargap=0.3,
        legend={"traceorder": "reversed", "itemsizing": "constant"},
    )
    figure.update_xaxes(title="samples per problem", type="category", showgrid=False, ticks="")
    figure.update_yaxes(title="problems (%)", tickformat=".0%", range=[0, 1])
    return figure
