"""The events of a run as rows of JSON, from which a browser folds its tree at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from math import isfinite
from numbers import Integral, Real
from typing import Any

from itslab.core import Cost, Event, Extractor, Key, Node, Tree

IDLE = 1.0
"""Seconds: longer waits in which nothing is drawn, such as a pause, are cut to this."""


class Feed:
    """What a browser is told of a tree; grows with it.

    A row is ``[time, kind, node, data]`` as in ``Event``, without empty data. ``data`` also holds
    the ``text`` of a node, once it is whole, the ``answer`` of a chain that the model ended or that
    is the best so far, and the ``key`` that it shares with equal ones, if that is another string.
    It lacks a role that is the assistant's, the parent of a root, and costs and notes of nothing.

    Args:
        tree: of a run, which may still be drawing.
        extract: reads an answer from the model's turn.
        key: the form that equal answers share.
        gold: the gold answer; None if it is unknown.

    Attributes:
        rows: of all events read so far, in their order.
        gold: the key of the gold answer.
    """

    def __init__(self, tree: Tree, extract: Extractor, key: Key, gold: str | None = None) -> None:
        self.tree = tree
        self.gold = None if gold is None else key(gold)
        self.rows: list[list[Any]] = []
        self._extract, self._key = extract, key
        self._events = 0  # read so far
        self._drawing: dict[int, Node] = {}
        self._sent: dict[int, int] = {}  # of nodes that are drawn now: characters told
        self._answered: set[int] = set()
        self._best: int | None = None
        self._cut = self._last = 0.0  # seconds: left out so far, and the time of the last event
        self._computed = self._shown = 0.0  # seconds that models took, and of the last row

    def read(self) -> None:
        """Turn new events into rows."""
        for event in islice(self.tree.events, self._events, None):
            self._events += 1
            self._add(event)

    def close(self, answer: Node | None) -> None:
        """End with the node that answers, which a strategy may have chosen after its last event.

        Nodes of a run that failed are under way no more.
        """
        self.read()
        for node in list(self._drawing.values()):
            if node.status == "failed":
                self._add(Event(self._last, "done", node.id, {"finish": "failed"}))
        if answer is not None and answer.id != self._best:
            self._add(Event(self._last, "best", answer.id))

    def growth(self, whole: bool = False) -> dict[int, tuple[int, str]]:
        """Return what the nodes that are drawn now have come to say since the last call.

        Args:
            whole: return all that they say.

        Returns:
            Node -> the number of characters before, and those that follow.
        """
        grown = {}
        for number, node in self._drawing.items():
            text = node.text
            told = 0 if whole else self._sent.get(number, 0)
            if len(text) > told:
                grown[number] = told, text[told:]
            self._sent[number] = len(text)
        return grown

    def _add(self, event: Event) -> None:
        if isinstance(cost := event.data.get("cost"), Cost):
            self._computed += cost.seconds
        node, time = self.tree.nodes[event.node], self._time(event.time)
        there = (item for item in event.data.items() if item[1] not in (Cost(), ""))
        data = {name: plain(value) for name, value in there}
        if event.kind == "node":
            data = {name: data[name] for name in data if data[name] not in (None, "assistant")}
            if node.status == "open" or node.completion is not None:
                self._drawing[node.id] = node  # its text comes when it is done
            else:
                data["text"] = node.text
        elif event.kind == "done":
            del self._drawing[node.id]
            self._sent.pop(node.id, None)
            data["text"] = node.text
            if node.ended:
                data |= self._answer(node)
        elif event.kind == "best":
            self._best = node.id
            data |= self._answer(node)
        row = [time, event.kind, node.id]
        self.rows.append([*row, data] if data else row)

    def _answer(self, node: Node) -> dict[str, str]:
        if node.id in self._answered:
            return {}
        self._answered.add(node.id)
        answer = self._extract(node.turn_text)
        if answer is None:
            return {}
        form = self._key(answer)
        return {"answer": answer} if form == answer else {"answer": answer, "key": form}

    def _time(self, time: float) -> float:
        """Seconds since the first event, without long idle waits; never earlier than the last.

        Samples from a bank come at once: then it is the seconds that drawing them had taken.
        """
        if not self.rows:
            self._cut = self._last = time
        time = max(time, self._last)
        if not self._drawing:
            self._cut += max(time - self._last - IDLE, 0)
        self._last = time
        self._shown = max(time - self._cut, self._computed, self._shown)
        return round(self._shown, 3)


def plain(value: Any) -> Any:
    """Return a value as JSON has it; numbers to six digits, and those that it lacks by name.

    A cost becomes the list of its fields, with FLOPs in units of 10⁹.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return float(f"{number:.6g}") if isfinite(number) else str(number)
    if isinstance(value, Cost):
        counts = [value.prefilled, value.reused, value.decoded, value.calls]
        return [*counts, plain(float(value.seconds)), plain(value.flops / 1e9)]
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    return str(value)
