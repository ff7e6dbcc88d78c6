"""What a picture says of its run: what was asked, of whom, how, and what the scores mean."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from itslab.core import Result, Tree
from itslab.handle import RunHandle
from itslab.options import settings
from itslab.run import SANDBOX


def title(run: RunHandle | Result | Tree, given: str | None = None) -> list[str]:
    """Return the title of a run's picture: what was asked, and who answers it how.

    Args:
        run: what is on view.
        given: what stands in place of the question.
    """
    tree = (
        run.run.tree if isinstance(run, RunHandle) else run if isinstance(run, Tree) else run.tree
    )
    asked = next((node.text for node in tree if node.role == "user"), "")
    strategy = _strategy(run)
    how = [", ".join(_models(run)), settings(strategy) if strategy else ""]
    for said in _instructions(strategy):
        asked = asked.removesuffix(said)
    shown = asked if given is None else given
    return [" ".join(shown.split())[:300], " · ".join(filter(None, how))]


def scale(run: RunHandle | Result | Tree) -> dict[str, Any]:
    """Return what the scores of a run's nodes are.

    Returns:
        The ``name`` of the verifier, what it is ``about``, and how many ``tests`` it runs if it
        does; empty if the strategy has none, or is not known.
    """
    strategy = _strategy(run)
    found = [] if strategy is None else list(_verifiers(strategy))
    if len(found) != 1:  # none, or several whose scores cannot be told apart
        return {}
    [verifier] = found
    told = {"name": settings(verifier), "about": _purpose(verifier)}
    tests = _tests(verifier, title(run)[0])
    return told if tests is None else {**told, "tests": tests}


def _strategy(run: RunHandle | Result | Tree) -> Any:
    return None if isinstance(run, Tree) else run.strategy


def _models(run: RunHandle | Result | Tree) -> Iterable[str]:
    if isinstance(run, RunHandle):
        return [run.run.backend.name]
    return [] if isinstance(run, Tree) else [name for name in run.costs if name != SANDBOX]


def _instructions(part: Any) -> Iterable[str]:
    """What a strategy, or those within it, say after the question."""
    if isinstance(part, tuple | list):
        for item in part:
            yield from _instructions(item)
    elif is_dataclass(part):
        yield from filter(None, [getattr(part, "instruction", "")])
        yield from _instructions([getattr(part, each.name) for each in fields(part)])


def _verifiers(strategy: Any) -> Iterable[Any]:
    """The verifiers among a strategy's own options."""
    options = fields(strategy) if is_dataclass(strategy) else ()
    held = (getattr(strategy, each.name) for each in options if each.name in ("verifier", "critic"))
    return (each for each in held if each is not None)


def _purpose(verifier: Any) -> str:
    """The first sentence of a verifier's docstring."""
    text = inspect.getdoc(verifier if inspect.isroutine(verifier) else type(verifier)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _tests(verifier: Any, asked: str) -> int | None:
    """How many tests a verifier runs; of one that has others for each problem, those of this."""
    prompts = getattr(verifier, "prompts", {})
    plain = {name: " ".join(prompt.split())[:300] for name, prompt in prompts.items()}
    own = next((name for name, prompt in plain.items() if prompt and prompt in asked), None)
    verifier = verifier if own is None else verifier.verifiers[own]
    tests = getattr(verifier, "tests", None)
    return len(tests) if isinstance(tests, list | tuple) and tests else None
