"""Finished runs in a file: every tree with all that happened in it, to be read, drawn and counted.

A bank keeps samples as a model drew them, for other strategies to use. An archive keeps what came
of whole runs, in a tenth of the space: the text of their nodes and the events that made them,
without token ids, log-probabilities and hidden states. One line of JSON for each run. As in a bank,
the problem itself is not stored, so that an archive does not publish other people's problems.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import astuple
from pathlib import Path
from typing import Any

from itslab.core import (
    Backend,
    Budget,
    Completion,
    Cost,
    Event,
    ItslabError,
    Node,
    Problem,
    Result,
    Shape,
    Tree,
    Verdict,
    require,
)
from itslab.run import Strategy
from itslab.study.spec import identity


class Archive:
    """A file of runs, to which finished ones are appended.

    Args:
        path: of JSON lines, made with the first run; or packed (``….jsonl.xz``), to be read only.

    Raises:
        ItslabError: the file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.packed = self.path.suffix == ".xz"
        self._lines: dict[str, str] = {}
        if self.packed or self.path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, key: str, problem: Problem) -> Result | None:
        """Return the run of this key, on this problem; None if there is none.

        Raises:
            ItslabError: its line is damaged.
        """
        line = self._lines.get(key)
        if line is None:
            return None
        try:
            return _restored(json.loads(line), problem)
        except (LookupError, TypeError, ValueError) as error:
            raise ItslabError(
                f"run {key} in the archive {self.path} is damaged ({type(error).__name__}: "
                f"{error}): take its line out, and draw it again"
            ) from error

    def keep(self, key: str, label: str, problem: Problem, result: Result) -> None:
        """Append a finished run; in a packed archive nothing can be kept.

        Raises:
            ItslabError: the file cannot be written.
        """
        if self.packed:
            return
        told = _told(result, problem)
        line = json.dumps({"key": key, "strategy": label, "problem": problem.id, **told})
        self._lines[key] = line
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise ItslabError(
                f"no run can be kept in the archive {self.path}: {error.strerror}"
            ) from error

    def pack(self, path: str | Path) -> Path:
        """Write everything into one compressed file (``….xz``)."""
        target = Path(path)
        require(target.suffix == ".xz", "path", str(path), "a file name that ends in .xz")
        lines = "".join(f"{self._lines[key]}\n" for key in sorted(self._lines))
        target.write_bytes(lzma.compress(lines.encode(), preset=9))
        return target

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
            text = (lzma.decompress(data) if self.packed else data).decode()
            *lines, unfinished = text.split("\n")
            self._lines = {json.loads(line)["key"]: line for line in lines}
            writable = not self.packed and os.access(self.path, os.W_OK)
            if unfinished and writable:  # whoever wrote it was interrupted
                self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
            raise ItslabError(f"the archive of runs {self.path} cannot be read: {error}") from error


def run_key(
    strategy: Strategy, problem: Problem, backend: Backend, budget: Budget, seed: int
) -> str:
    """Name a run by all that it depends on; see ``spec.identity``.

    Raises:
        OptionError: the strategy, or a part of it, cannot be told from others.
    """
    named = (backend.digest, identity(strategy), problem.id, problem.prompt, repr(budget), seed)
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=12).hexdigest()


# -- a run as JSON, and back -----------------------------------------------------------------------


HOLE = "\ufffc"
"""Stands for the problem's text where a message holds it."""


def _told(result: Result, problem: Problem) -> dict[str, Any]:
    lost = [node.id for node in result.tree if node.status == "failed" and not node.completion]
    return {
        "answer": result.answer,
        "node": None if result.node is None else result.node.id,
        "cost": astuple(result.cost),
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
        "events": [
            [round(event.time, 3), event.kind, event.node, _plain(event.data)]
            for event in result.tree.events
        ],
    }


def _shape(tree: Tree) -> tuple[Any, ...] | None:
    """The shape of the model that drew the nodes, if it is known."""
    shapes = (node.completion.shape for node in tree if node.completion)
    return next((astuple(shape) for shape in shapes if shape), None)


def _without(prompt: str, text: str) -> str | list[str]:
    """A text without the problem; in parts, where it holds the sign of a hole itself."""
    return text.split(prompt) if prompt and HOLE in text else text.replace(prompt, HOLE)


def _within(prompt: str, told: str | list[str]) -> str:
    return told.replace(HOLE, prompt) if isinstance(told, str) else prompt.join(told)


def _plain(data: Any) -> dict[str, Any]:
    values = ((name, value) for name, value in data.items() if not _empty(value))
    return {name: astuple(v) if isinstance(v, Cost) else _number(v) for name, v in values}


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
    tree.events = [Event(time, kind, node, _data(data)) for time, kind, node, data in run["events"]]
    drawn = {event.node for event in tree.events if event.kind == "done"}
    texts = [
        text if i in drawn else _within(problem.prompt, text) for i, text in enumerate(run["texts"])
    ]
    shape = Shape(*run["shape"]) if "shape" in run else None
    for event in tree.events:
        _replay(tree, event, texts, shape)
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
    )


def _data(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"cost": Cost(*data["cost"])} if "cost" in data else data


def _replay(tree: Tree, event: Event, texts: Sequence[str], shape: Shape | None) -> None:
    """Let an event happen to a tree."""
    data = event.data
    if event.kind == "node":
        parent = None if data["parent"] is None else tree.nodes[data["parent"]]
        tree.nodes.append(Node(event.node, parent, data["role"], texts[event.node]))
        return
    node = tree.nodes[event.node]
    if event.kind == "done":
        node.completion = Completion(
            node.text,
            finish=data["finish"],
            cost=data.get("cost", Cost()),
            refused=data.get("refused", ""),
            shape=shape,
        )
        node.status = "failed" if data["finish"] == "cancelled" else "done"
    elif event.kind == "verdict":
        node.verdict = Verdict(data["score"], data.get("cost", Cost()), data.get("note", ""))
    elif event.kind == "pruned":
        node.status = "pruned"
