"""The events of a run as rows of JSON, for browsers that draw its tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import isfinite
from typing import Any

from itslab.core import Completion, Cost, Event, Extractor, Key, Node, Tree
from itslab.study.record import encode

IDLE = 1.0
"""Seconds to which longer waits in which nothing is drawn, such as a pause, are cut."""


class Feed:
    """The events of a tree as rows for a browser; grows with the tree.

    A row is ``[time, kind, node, data]`` as in ``Event``, without empty data. ``data`` also holds
    the ``text`` of a node, once it is whole, with its mean ``logprob`` (nats per token) if that is
    known; the ``answer`` of a chain that the model ended or that is the best so far, and the
    ``key`` that it shares with equal ones, if that is another string; with a vote the keys of the
    ``leaves`` whose answer voted though the model did not end their turn: something else wrote it,
    such as a program, or it was cut at its length. Left out are the
    role of the assistant, the parent of a root, and empty costs and notes.

    Args:
        tree: the tree of a run, which may still be drawing.
        extract: reads an answer from the model's turn.
        key: the form that equal answers share.
        gold: the gold answer; None if it is unknown.

    Attributes:
        rows: all events read so far, in their order.
        gold: the key of the gold answer.
    """

    def __init__(self, tree: Tree, extract: Extractor, key: Key, gold: str | None = None) -> None:
        self.tree = tree
        self.gold = None if gold is None else key(gold)
        self.rows: list[list[Any]] = []
        self._extract, self._key = extract, key
        self._events = 0  # read so far
        self._drawing: dict[int, Node] = {}
        self._sent: dict[int, int] = {}  # of nodes that are drawn now: characters sent so far
        self._answered: set[int] = set()
        self._voted: set[int] = set()  # leaves whose key was told with a vote
        self._added: set[int] = set()  # nodes that the rows so far tell of
        self._best: int | None = None
        self._cut = self._last = 0.0  # seconds: left out so far, and the time of the last event
        self._computed = self._shown = 0.0  # seconds that models took, and of the last row

    def read(self) -> None:
        """Turn new events into rows."""
        for event in islice(self.tree.events, self._events, None):
            self._events += 1
            self._add(event)

    def close(self, answer: Node | None) -> None:
        """Add what the events do not say: the answer that was chosen last, and nodes that failed.

        A strategy may choose its answer after its last event, and a run that failed leaves nodes
        that look as if they were being drawn.
        """
        self.read()
        for node in list(self._drawing.values()):
            if node.status == "failed":
                self._add(Event(self._last, "done", node.id, {"finish": "failed"}))
        if answer is not None and answer.id != self._best:
            self._add(Event(self._last, "best", answer.id))

    def growth(self, whole: bool = False) -> dict[int, tuple[int, str]]:
        """Return the text that the nodes being drawn have gained since the last call.

        Args:
            whole: return all of their text.

        Returns:
            Node -> the number of characters before, and those that follow.
        """
        grown = {}
        for number, node in self._drawing.items():
            text = node.text
            sent = 0 if whole else self._sent.get(number, 0)
            if len(text) > sent:
                grown[number] = sent, text[sent:]
            self._sent[number] = len(text)
        return grown

    def _add(self, event: Event) -> None:
        if isinstance(cost := event.data.get("cost"), Cost):
            self._computed += cost.seconds
        node, time = self.tree.nodes[event.node], self._time(event.time)
        *_, fields = encode(event)
        data = {name: shown(value) for name, value in fields.items()}
        if "cost" in data:
            data["cost"] = paid(fields["cost"])
        if event.kind == "node":
            self._added.add(node.id)
            data = {name: data[name] for name in data if data[name] not in (None, "assistant")}
            if node.status in ("open", "failed") or node.completion is not None:
                self._drawing[node.id] = node  # its text comes when it is done
            else:
                data["text"] = node.text
        elif event.kind == "done":
            del self._drawing[node.id]
            self._sent.pop(node.id, None)
            data["text"] = node.text
            if (logprob := _mean_logprob(node.completion)) is not None:
                data["logprob"] = logprob
            if node.ended:
                data |= self._answer(node)
        elif event.kind == "vote":
            data |= self._leaves(event.data["votes"])
        elif event.kind == "best":
            self._best = node.id
            data |= self._answer(node)
        row = [time, event.kind, node.id]
        self.rows.append([*row, data] if data else row)

    def _answer(self, node: Node) -> dict[str, str]:
        if node.id in self._answered:
            return {}
        self._answered.add(node.id)
        if (read := self._form(node)) is None:
            return {}
        answer, form = read
        return {"answer": answer} if form == answer else {"answer": answer, "key": form}

    def _form(self, node: Node) -> tuple[str, str] | None:
        """A chain's answer and the form that equal ones share; None if it has none."""
        try:
            answer = self._extract(node.turn_text)
            return None if answer is None else (answer, self._key(answer))
        except Exception:  # the run itself tells of it, and its tree is seen up to there
            return None

    def _leaves(self, votes: Sequence[str | None]) -> dict[str, dict[str, str]]:
        """The keys of what voted and was not ended by the model: written, or cut at its length."""
        told = self._added - self._voted  # the tree itself may have grown since the vote
        leaves = (node for node in self.tree.leaves() if node.id in told)
        keys = {}
        for node in leaves:
            if node.role == "assistant" and node.status == "done" and not node.ended:
                self._voted.add(node.id)
                form = self._form(node)
                if form is not None and (node.completion is None or form[1] in votes):
                    keys[str(node.id)] = form[1]
        return {"leaves": keys} if keys else {}

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


def _mean_logprob(completion: Completion | None) -> float | None:
    """The mean log-probability of a sample's tokens, in nats; None where it is not known."""
    if completion is None or not completion.logprobs:
        return None
    mean = sum(completion.logprobs) / len(completion.logprobs)
    return round(mean, 3) if isfinite(mean) else None


def token_logprobs(node: Node) -> list[list[float]]:
    """Return how many characters each token of a node spells, and its log-probability in nats.

    Empty where that is not known.
    """
    drawn = node.completion
    if drawn is None or len(drawn.offsets) != len(drawn.logprobs):
        return []
    starts = (0, *drawn.offsets)
    spelled = zip(starts, drawn.offsets, drawn.logprobs, strict=False)
    return [[end - start, round(max(logprob, -99.0), 2)] for start, end, logprob in spelled]


def paid(cost: Sequence[float]) -> list[float]:
    """Return the fields of a cost to six digits, with FLOPs in units of 10⁹."""
    *counts, seconds, flops = cost
    return [*counts, float(f"{seconds:.6g}"), float(f"{flops / 1e9:.6g}")]


def shown(value: Any) -> Any:
    """Return plain data with the names of the numbers that JSON lacks, such as nan."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    return [shown(each) for each in value] if isinstance(value, list) else value
