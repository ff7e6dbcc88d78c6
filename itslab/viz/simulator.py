"""A service with sliders: how often it is asked, for what, on how many machines, by which rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from itslab.core import require
from itslab.serving.capacity import Fleet, Scenario, simulate
from itslab.serving.lobby import Admission
from itslab.serving.mix import Mix, Query
from itslab.serving.summary import Simulation
from itslab.serving.traffic import Arrivals, Bursts, Diurnal, Poisson
from itslab.viz.controls import slider
from itslab.viz.figures import drawn_as
from itslab.viz.panels import FigurePanel
from itslab.viz.style import MARKS, MUTED, TEMPLATE, headed

RUNS = 3
"""Simulations of the same, with other random numbers."""
RULES: Mapping[str, Admission] = {
    "tiers first, refuse when full": Admission(order="tier", full="shed"),
    "tiers first, degrade when full": Admission(order="tier", full="degrade"),
    "shortest predicted first": Admission(order="shortest", full="shed"),
    "first come, first served": Admission(order="arrival", full="shed"),
}
"""The policies that can be chosen."""
TRAFFIC: Mapping[str, Callable[[float], Arrivals]] = {
    "steady (Poisson)": Poisson,
    "bursts": lambda rate: Bursts(rate / 3, rate * 3, 120, 60),
    "a day in an hour": lambda rate: Diurnal(rate, period=3600),
}
"""The kinds of arrivals that can be chosen: of a rate, requests a second."""


class Simulator(FigurePanel):
    """How long answers take, by tier, while load, mix, machines and rules are moved.

    Args:
        fleet: machines and the terms of tiers; how many machines and by which rules is moved.
        queries: what is asked, such as recorded runs.
        tiers: tier -> share of the requests; the last one's share is moved.
        rates: requests a minute that can be chosen.
        machines: numbers that can be chosen.
        seconds: that are simulated, some times over.
    """

    def __init__(
        self,
        fleet: Fleet,
        queries: Sequence[Query],
        tiers: Mapping[str, float],
        rates: Sequence[float] = (1, 2, 3, 4, 6, 8, 12, 16, 24),
        machines: Sequence[int] = (1, 2, 3, 4, 6, 8),
        seconds: float = 3600.0,
    ) -> None:
        import ipywidgets as widgets

        require(len(tiers) > 1, "tiers", tiers, "two or more")
        self._fleet, self._queries, self._seconds = fleet, tuple(queries), seconds
        *self._others, self._last = tiers
        self._tiers = dict(tiers)
        whole = sum(tiers.values())
        shares = sorted({0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, tiers[self._last] / whole})
        classes = sorted({query.difficulty for query in queries})
        self.rate = slider("requests/min", rates, rates[len(rates) // 3])
        self.machines = slider("machines", machines, machines[0])
        named = [(f"{share:.0%}", share) for share in shares]
        self.share = slider(f"share of {self._last}", named, tiers[self._last] / whole)
        hard = [(f"× {n:g}", n) for n in (0.25, 0.5, 1.0, 2.0, 4.0)]
        self._hard = max(classes, key=self._tokens) if len(classes) > 1 else None
        self.hard = slider(f"{self._hard} questions", hard, 1.0)
        self.rules = widgets.Dropdown(
            description="rules", options=[*RULES], layout={"width": "320px"}
        )
        self.traffic = widgets.Dropdown(description="arrivals", options=[*TRAFFIC])
        self._simulated = lru_cache(64)(self._simulate)
        controls = [self.rate, self.machines, self.share, self.rules, self.traffic]
        super().__init__(controls + ([self.hard] if self._hard else []))

    def _tokens(self, difficulty: str) -> float:
        """What a question of a class takes in the dearest tier."""
        return Mix(self._queries, self._tiers).tokens(self._last, difficulty)

    def _simulate(self, *chosen: Any) -> Simulation:
        rate, machines, share, hard, rules, traffic = chosen
        rest = sum(self._tiers[tier] for tier in self._others)
        tiers = {tier: (1 - share) * self._tiers[tier] / rest for tier in self._others}
        mix = Mix(
            self._queries,
            {**tiers, self._last: share},
            difficulty={self._hard: hard} if self._hard else {},
        )
        admission = replace(
            RULES[rules],
            at_once=self._fleet.admission.at_once,
            queue=self._fleet.admission.queue,
        )
        fleet = replace(self._fleet, machines=machines, admission=admission)
        arrivals = TRAFFIC[traffic](rate / 60)
        return simulate(Scenario(fleet, mix, arrivals), self._seconds, replications=RUNS)

    @property
    def simulation(self) -> Simulation:
        """What was simulated of the controls as they stand."""
        chosen = (self.rate, self.machines, self.share, self.hard, self.rules, self.traffic)
        return self._simulated(*(control.value for control in chosen))

    def figure(self) -> Any:
        """Return the share of answers by the seconds that they take, a line for each tier."""
        shown = self.simulation
        rows = shown.counted
        figure = go.Figure()
        for tier, mark in zip([*self._others, self._last], MARKS[1:], strict=False):
            asked = rows[rows.asked == tier]
            if len(asked):
                self._add(figure, tier, asked, drawn_as(mark)["line"])
        figure.add_hline(0.95, line={"color": MUTED, "width": 1, "dash": "dot"})
        p95 = shown.estimate("seconds", "p95")
        below_it = {"orientation": "h", "y": -0.24, "x": 0, "xanchor": "left"}
        figure.update_layout(template=TEMPLATE, height=470, legend=below_it)
        figure.update_xaxes(title="seconds until the answer (log)", type="log", dtick="D2")
        figure.update_yaxes(
            title="share of requests answered by then", range=[0, 1.02], tickformat=".0%"
        )
        busy, refused = shown.estimate("utilisation").value, shown.estimate("refused").value
        cut = shown.estimate("cut").value
        below = (
            f"p95 {p95.value:,.0f} s [{p95.low:,.0f}, {p95.high:,.0f}], machines busy {busy:.0%}, "
            f"{refused:.0%} refused, {cut:.0%} cut by their deadlines; {len(rows):,} requests in "
            f"{RUNS} × {self._seconds / 60:.0f} simulated minutes, interval of 95 %"
        )
        return headed(figure, shown.verdict[0].upper() + shown.verdict[1:], below, room=24)

    def _add(self, figure: go.Figure, tier: str, asked: Any, line: Any) -> None:
        took = np.sort((asked.end - asked.arrival).dropna().to_numpy())
        at = np.unique(np.linspace(0, len(took) - 1, min(len(took), 200)).astype(int))
        share = (at + 1) / len(asked)
        p95 = took[int(np.ceil(0.95 * len(asked))) - 1] if len(took) >= 0.95 * len(asked) else None
        late = f"p95 {p95:,.0f} s" if p95 is not None else "fewer than 95 % answered"
        figure.add_scatter(
            x=took[at],
            y=share,
            mode="lines",
            line={**line, "shape": "hv"},
            name=f"{tier}: {late} (n = {len(asked):,})",
            hovertemplate="%{y:.0%} within %{x:.3~g} s",
        )
