"""Train a larger model, or let a small one compute longer: which is cheaper, with sliders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from itslab.options import Positive, checked
from itslab.study import training
from itslab.viz.panels import FigurePanel
from itslab.viz.style import BLUE, INK, MUTED, ORANGE, TEMPLATE, headed

_USE = np.geomspace(1e-3, 1e3, 121).tolist()
_MOST = 2000
"""Times the inference of one pass, to which the figure reaches."""


class Exchange(FigurePanel):
    """How much inference a small model may spend for the FLOPs of a larger one, against its use.

    Snell et al. 2024 (arXiv:2408.03314): see ``study.training.exchange``. Losses are those of the
    published laws of Hoffmann et al. 2022 and Kaplan et al. 2020; neither says what a benchmark
    would show.

    Args:
        larger: how many times the parameters the larger model has, at first.
        spent: how many times one pass the smaller model spends, at first.
        n: parameters of the smaller model.
        d: training tokens of both; by default 20 for each parameter of the smaller one.

    Raises:
        OptionError: a number is not positive.
    """

    @checked
    def __init__(
        self,
        larger: Positive = 3.0,
        spent: Positive = 16.0,
        n: Positive = 5e8,
        d: Positive | None = None,
    ) -> None:
        import ipywidgets as widgets

        self._n, self._d = n, 20 * n if d is None else d
        look: dict[str, Any] = {"continuous_update": False, "readout_format": ".3r"}
        look |= {"style": {"description_width": "150px"}, "layout": {"width": "420px"}}

        def log_slider(value: float, high: float, said: str) -> widgets.FloatLogSlider:
            top = max(math.log10(high), math.log10(value))
            return widgets.FloatLogSlider(value, min=0, max=top, description=said, **look)

        self.larger = log_slider(max(larger, 1.0), 100, "times the parameters")
        self.spent = log_slider(max(spent, 1.0), 1000, "times the inference")
        super().__init__([self.larger, self.spent])

    def figure(self) -> go.Figure:
        """Return what may be spent against how much the models are used, and what is spent."""
        m, spent = self.larger.value, self.spent.value
        allowed = [training.exchange(m, r) for r in _USE]
        even = training.break_even(m, spent)
        figure = go.Figure()
        figure.add_scatter(
            x=_USE,
            y=allowed,
            mode="lines",
            line={"color": BLUE, "width": 2.5},
            fill="tozeroy",
            fillcolor="rgba(0, 114, 178, 0.08)",
            name="for as many FLOPs as the larger model",
            hovertemplate="R = %{x:.3g}: %{y:.3g} × one pass<extra></extra>",
        )
        figure.add_hline(spent, line={"color": ORANGE, "width": 2, "dash": "dash"})
        if _USE[0] <= even <= _USE[-1]:
            figure.add_scatter(
                x=[even],
                y=[spent],
                mode="markers+text",
                marker={"color": INK, "size": 10},
                text=[f"as dear at R = {even:.2g}"],
                textposition="top right",
                hoverinfo="skip",
                showlegend=False,
            )
        for x, y, said in ((-2.9, 0.15, "compute longer"), (2.9, 3.1, "train the larger model")):
            anchor = "left" if x < 0 else "right"
            figure.add_annotation(
                x=x, y=y, text=said, showarrow=False, xanchor=anchor, font={"color": MUTED}
            )
        figure.update_xaxes(
            type="log",
            title="R: tokens ever drawn ÷ tokens trained on (log scale)",
            tickformat="~g",
            dtick=1,
        )
        figure.update_yaxes(
            type="log",
            title="inference of the small model,<br>times one pass (log scale)",
            range=[0, math.log10(max(_MOST, spent * 1.5))],
            tickformat="~g",
            dtick=1,
        )
        figure.update_layout(
            template=TEMPLATE,
            showlegend=False,
            height=430,
        )
        return headed(figure, self._verdict(even), self._losses())

    def _verdict(self, even: float) -> str:
        m, spent = (f"{float(f'{x:.3g}'):,g}" for x in (self.larger.value, self.spent.value))
        if math.isinf(even):
            return f"{spent} × the inference is never dearer than a model {m} × larger"
        use = f"R\u00a0=\u00a0{even:.2g}"
        return f"{spent} × the inference is cheaper than a model {m} × larger below {use}"

    def _losses(self) -> str:
        m, n, d = self.larger.value, self._n, self._d
        laws = {"Hoffmann et al.": training.chinchilla, "Kaplan et al.": training.kaplan}
        told = (f"{law(n, d):.2f} → {law(m * n, d):.2f} ({name})" for name, law in laws.items())
        return (
            f"loss, nats per token, {n:.2g} → {m * n:.2g} parameters, {d:.2g} tokens: "
            + "; ".join(told)
        )
