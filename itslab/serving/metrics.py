"""What a server did, for Prometheus: requests, waiting, tokens, FLOPs, seconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from itslab.serving.desk import Desk
from itslab.serving.order import Order

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
"""Edges of the histograms."""


class Metrics:
    """Counters of a desk, in a registry of their own."""

    def __init__(self, desk: Desk) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.process_collector import ProcessCollector

        self._tiers = set(desk.menu.tiers)
        self.registry: CollectorRegistry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        own: Any = {"namespace": "itslab", "registry": self.registry}
        self._requests = Counter("requests", "Requests that are over.", ["tier", "ended_by"], **own)
        self._tokens = Counter("tokens", "Tokens, by what was done.", ["model", "kind"], **own)
        self._flops = Counter("flops", "Floating point operations.", ["model"], **own)
        self._compute = Counter("compute_seconds", "Seconds of compute.", ["model"], **own)
        self._answered = Histogram(
            "answer_seconds", "From arrival to answer.", ["tier"], buckets=SECONDS, **own
        )
        self._waited = Histogram(
            "waiting_seconds", "From arrival to start.", ["tier"], buckets=SECONDS, **own
        )
        waiting = Gauge("waiting", "Requests that wait.", **own)
        running = Gauge("running", "Requests that are served.", **own)
        waiting.set_function(lambda: desk.load[0])
        running.set_function(lambda: desk.load[1])
        engine = Gauge("engine", "What an engine counts itself.", ["model", "what"], **own)
        for model in desk.menu.models.values():
            stats = getattr(model, "stats", None)
            for what in ("drawn", "evaluated", "busy") if stats is not None else ():
                engine.labels(model.name, what).set_function(partial(getattr, stats, what))

    def observe(self, order: Order) -> None:
        """Count a request that is over."""
        asked = order.visit.tier  # by its name, of which there are few
        known = asked in self._tiers
        tier = asked if known else type(order.offer.tier.strategy).__name__
        self._requests.labels(tier, order.entry["ended_by"] or "itself").inc()
        for model, cost in order.costs.items():
            for kind in ("prefilled", "reused", "decoded"):
                self._tokens.labels(model, kind).inc(getattr(cost, kind))
            self._flops.labels(model).inc(cost.flops)
            self._compute.labels(model).inc(cost.seconds)
        if order.started is not None and order.ended is not None:
            self._waited.labels(tier).observe(order.started - order.arrived)
            self._answered.labels(tier).observe(min(order.ended, order.deadline) - order.arrived)

    def page(self) -> tuple[bytes, str]:
        """Return the metrics as text, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
