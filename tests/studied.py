"""A small study for tests, and models that draw it without weights, here or in workers."""

from __future__ import annotations

import dataclasses
import time
from multiprocessing import parent_process
from pathlib import Path

import itslab as its
from itslab.core import ItslabError, Problem
from itslab.study.outcome import Outcome
from itslab.study.plan import Study
from itslab.tasks import Task
from itslab.testing import ScriptedModel

SHORT = its.Sampling(max_tokens=20)


def sums(n: int = 6) -> Task:
    """Problems i + i, of two templates."""
    problems = (
        Problem(f"sum/{i}", f"{i} + {i}?", str(2 * i), {"template": f"t{i % 2}"}) for i in range(n)
    )
    return Task("sums", tuple(problems))


def number(request) -> int:
    """Which problem is asked."""
    return int(request.messages[-1].content.split(" + ")[0].split("\n")[-1])


def says(request, index: int) -> str:
    """Two of three samples are right, those of problem 0 never."""
    i = number(request)
    right = i > 0 and index % 3 < 2
    return f"The answer is {2 * i if right else 2 * i + 1}."


def scripted(name: str = "small") -> ScriptedModel:
    return ScriptedModel(replies=says, name=name, digest=f"digest of {name}")


@dataclasses.dataclass(kw_only=True)
class Built(ScriptedModel):
    """A model of a build that has a name."""

    provenance: str = "old build"


def votes(**options) -> Study:
    chains = tuple(its.SelfConsistency(n, instruction="", sampling=SHORT) for n in (1, 2, 4))
    greedy = its.ChainOfThought(instruction="", sampling=dataclasses.replace(SHORT, temperature=0))
    settings = {
        "tasks": {"sums": sums()},
        "models": ("small",),
        "strategies": {"chain": greedy, "vote": chains},
    }
    return Study(**(settings | options))


def loads(name: str) -> ScriptedModel:
    """A model for workers, whose processes import this module."""
    return scripted(name)


def slowly(name: str, seconds: float = 0.02) -> ScriptedModel:
    """A model that takes its time for each sample."""

    def waits(request, index: int) -> str:
        time.sleep(seconds)
        return says(request, index)

    return ScriptedModel(replies=waits, name=name, digest=f"digest of {name}")


def slower(name: str) -> ScriptedModel:
    """A model that cannot be done before somebody looks."""
    return slowly(name, 0.15)


def broken(name: str) -> ScriptedModel:
    if parent_process() is None:  # here, not in a worker
        return scripted(name)
    raise ItslabError(f"{name} is not on this machine")


def same(a: Outcome, b: Outcome) -> None:
    """All but times."""
    drop = ["elapsed", "seconds"]
    assert a.runs.drop(columns=drop).equals(b.runs.drop(columns=drop))
    assert a.samples.drop(columns="seconds").equals(b.samples.drop(columns="seconds"))


def samples(store: Path) -> int:
    if not store.exists():
        return 0
    with its.Bank(store) as bank:
        return bank.samples
