"""Finished runs as a bank keeps them: every tree with all that happened in it.

Samples are kept as a model drew them, for other strategies to use. Of a run is kept what came of
it, in a tenth of the space: the text of its nodes and the events that made them, without token ids,
log-probabilities and hidden states. As with samples, the problem itself is not stored, so that a
bank does not publish other people's problems.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, Protocol

from itslab.core import (
    Backend,
    Budget,
    Cost,
    Event,
    ItslabError,
    Problem,
    Result,
    Shape,
    Tree,
    require,
)
from itslab.run import Strategy
from itslab.spec import spec
from itslab.tasks import Task


class Runs(Protocol):
    """Where finished runs are kept as text: a ``Bank``."""

    def find_run(self, key: str) -> str | None:
        """Return the run that is kept under a key; None if there is none."""
        ...

    def keep_run(self, key: str, strategy: str, problem: str, text: str) -> None:
        """Keep a run."""
        ...


@dataclass(frozen=True)
class Facts:
    """What a run was made with, as far as its record tells.

    Args:
        how: its settings by name, for people; empty where they were not kept.
        asked: the digest of the text that was asked, see ``text_digest``; None if it was not kept.
        model: the digest of the model that was asked; None if it was not kept.
    """

    how: Mapping[str, str]
    asked: str | None
    model: str | None


def text_digest(prompt: str) -> str:
    """Return what tells the text of a problem from all others; the text does not follow from it."""
    return hashlib.blake2b(prompt.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def find(runs: Runs, key: str, problem: Problem) -> Result | None:
    """Return the run of this key, on this problem; None if there is none.

    Raises:
        ItslabError: what is kept is damaged.
    """
    text = runs.find_run(key)
    if text is None:
        return None
    with _undamaged(runs, key):
        return _restored(json.loads(text), problem)


def facts(runs: Runs, key: str) -> Facts:
    """Return what a run was made with.

    Raises:
        ItslabError: what is kept is damaged.
    """
    text = runs.find_run(key)
    if text is None:
        return Facts({}, None, None)
    with _undamaged(runs, key):
        kept = json.loads(text)
        found = Facts(dict(kept.get("how", {})), kept.get("asked"), kept.get("model"))
        texts = [*found.how, *found.how.values()]
        texts += [one for one in (found.asked, found.model) if one is not None]
        if not all(isinstance(one, str) for one in texts):
            raise TypeError("settings that are no text")
        return found


@contextmanager
def _undamaged(runs: Runs, key: str) -> Iterator[None]:
    """Say of what cannot be read which run it is, and what to do."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ItslabError(
            f"run {key} in {runs!r} is damaged ({type(error).__name__}: {error}): delete it there, "
            "and draw it again"
        ) from error


def keep(
    runs: Runs,
    key: str,
    label: str,
    problem: Problem,
    result: Result,
    how: Mapping[str, str] = {},
    model: str = "",
) -> None:
    """Keep a finished run; not one that would be another if all had been asked (``outages``).

    Args:
        runs: where.
        key: as of ``run_key``.
        label: the strategy's name, for people.
        problem: that was asked.
        result: how it ended.
        how: what it was made with, by name, for people.
        model: the digest of the model that was asked.
    """
    if result.outages:
        return
    stored = {**_stored(result, problem), "asked": text_digest(problem.prompt)}
    stored |= {**({"how": dict(how)} if how else {}), **({"model": model} if model else {})}
    text = json.dumps(stored, separators=(",", ":"))
    runs.keep_run(key, label, problem.id, text)


def run_key(
    strategy: Strategy, task: Task, problem: Problem, backend: Backend, budget: Budget, seed: int
) -> str:
    """Name a run by all that it depends on; see ``spec.spec``.

    Raises:
        OptionError: the strategy, a part of it, or how the task reads answers cannot be
            identified.
    """
    read = [reading(reader) for reader in (task.extract, task.key)]
    asked = problem.id, problem.prompt, read
    named = (backend.digest, spec(strategy).text, asked, repr(budget), seed)
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=12).hexdigest()


# -- runs and events as JSON, and back -------------------------------------------------------------


HOLE = "\ufffc"
"""Stands for the problem's text where a message holds it."""


def _stored(result: Result, problem: Problem) -> dict[str, Any]:
    lost = [node.id for node in result.tree if node.status == "failed" and not node.completion]
    return {
        "answer": result.answer,
        "node": None if result.node is None else result.node.id,
        "cost": astuple(result.cost),
        "costs": {model: astuple(cost) for model, cost in result.costs.items()},
        "stopped_by": result.stopped_by,
        "elapsed": round(result.elapsed, 3),
        "unscored": dict(result.unscored),
        **({"shape": shape} if (shape := _shape(result.tree)) else {}),
        **({"failed": result.failed} if result.failed else {}),
        **({"lost": lost} if lost else {}),
        **({"unfinished": True} if result.unfinished else {}),
        "texts": [
            node.text if node.completion else _without(problem.prompt, node.text)
            for node in result.tree
        ],
        "events": [encode(event) for event in result.tree.events],
    }


def _shape(tree: Tree) -> tuple[Any, ...] | None:
    """The shape of the model that drew the nodes, if it is known."""
    shapes = (node.completion.shape for node in tree if node.completion)
    return next((astuple(shape) for shape in shapes if shape), None)


def _without(prompt: str, text: str) -> str | list[str]:
    """A text without the problem; in parts, where it holds the sign of a hole itself."""
    return text.split(prompt) if prompt and HOLE in text else text.replace(prompt, HOLE)


def _within(prompt: str, text: str | list[str]) -> str:
    return text.replace(HOLE, prompt) if isinstance(text, str) else prompt.join(text)


def reading(reader: Callable[..., Any]) -> tuple[str, str]:
    """Return what a task's reader, or grader, is known by.

    Of the package's own that is its name, for what it holds is the task's own.
    """
    known, read = spec(reader), reader.func if isinstance(reader, partial) else reader
    ours = getattr(read, "__module__", "").split(".")[0] == "itslab"
    return known.name, known.source if ours else known.text


def encode(event: Event) -> list[Any]:
    """Return an event as a row of plain data: time in seconds, kind, node, data.

    Data lacks costs and texts of nothing. A cost is the list of its fields; other numbers that are
    not whole have six digits.
    """
    there = {name: v for name, v in event.data.items() if not _empty(v)}
    data = {n: [*astuple(v)] if isinstance(v, Cost) else _number(v) for n, v in there.items()}
    return [round(event.time, 3), event.kind, event.node, data]


def decode(row: Sequence[Any]) -> Event:
    """Return the event that ``encode`` made a row of."""
    time, kind, node, data = row
    cost = {"cost": Cost(*data["cost"])} if "cost" in data else {}
    return Event(time, kind, node, data | cost)


def _empty(value: Any) -> bool:
    return isinstance(value, Cost | str) and value in (Cost(), "")


def _number(value: Any) -> Any:
    """Plain data of any depth, with six digits of what is no whole number."""
    if isinstance(value, Mapping):
        return {str(name): _number(item) for name, item in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, str):
        return [_number(item) for item in value]
    if hasattr(value, "tolist"):
        return _number(value.tolist())
    if value is None or isinstance(value, str | int):
        return value
    try:
        return float(f"{float(value):.6g}")
    except (TypeError, ValueError):
        return repr(value)


def _restored(run: dict[str, Any], problem: Problem) -> Result:
    tree = Tree()
    ends = run["node"] is None or 0 <= run["node"] < len(run["texts"])
    require(ends, "node", run["node"], "one of its nodes")
    tree.events = [decode(row) for row in run["events"]]
    drawn = {event.node for event in tree.events if event.kind == "done"}
    shape = Shape(*run["shape"]) if "shape" in run else None
    for event in tree.events:
        text = run["texts"][event.node] if event.kind == "node" else ""
        text = text if event.node in drawn else _within(problem.prompt, text)
        tree.apply(event, text, shape=shape)
    for place in run.get("lost", ()):  # of whom nothing came, by an error
        tree.nodes[place].status = "failed"
    return Result(
        answer=run["answer"],
        node=None if run["node"] is None else tree.nodes[run["node"]],
        tree=tree,
        cost=Cost(*run["cost"]),
        stopped_by=run["stopped_by"],
        elapsed=run["elapsed"],
        unscored=run["unscored"],
        failed=run.get("failed", ""),
        unfinished=run.get("unfinished", False),
        stages=tuple({**e.data, "node": e.node} for e in tree.events if e.kind == "stage"),
        costs={model: Cost(*cost) for model, cost in run.get("costs", {}).items()},
    )
