"""What a study tries on what: tasks × models × strategies × budgets × seeds.

    Study(
        tasks={"words": tasks.load("gsm_symbolic", n=50)},
        models=("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b@Q4_0"),
        strategies={
            "chain": ChainOfThought(),
            "vote": tuple(SelfConsistency(n) for n in (1, 4, 16)),
        },
    )

A strategy at several sizes is a tuple. Models are named, so that a study can be written down, sent
to workers and read again years later; they are loaded by whoever conducts it. What a strategy needs
of a task or of another model stands in it as ``OwnVerifier()`` and ``Named(model)`` until then.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

from itslab.core import (
    Backend,
    BackendError,
    Budget,
    Completion,
    OnSample,
    OnText,
    OptionError,
    Request,
    Verdict,
    require,
)
from itslab.options import Options, Text, Whole, check
from itslab.run import Strategy
from itslab.spec import spec
from itslab.strategies import BestOfN, ProgramAided, SelfConsistency
from itslab.study.runner import Job
from itslab.tasks import Task
from itslab.verifiers import Agreement

Ladder = tuple[Strategy, ...]
DERIVED = ("coverage of ", "first of ")
"""How the names begin under which ``Outcome.results`` gives what it adds to a method."""


@dataclass(frozen=True)
class OwnVerifier:
    """Stands for the check that needs no gold answer of whichever task is asked: its verifier."""

    def __call__(self, *_: Any) -> list[Verdict]:
        """Refuse: it is no verifier."""
        raise OptionError("OwnVerifier() stands for a task's verifier in a Study, and nowhere else")

    def __repr__(self) -> str:
        return "task.verifier"


@dataclass(frozen=True)
class Named(Options):
    """Stands for a model, by its name, until a study is conducted."""

    name: Text
    digest: str = ""
    batch_size: int = 1

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Refuse: it is no model."""
        raise BackendError(f"{self!r} stands for a model in a Study: itslab.load({self.name!r})")

    def __repr__(self) -> str:
        return f"Named({self.name!r})"


class Cell(NamedTuple):
    """One choice of everything; of a study there is one run for each cell and problem.

    Args:
        task, model, method: their names.
        size: of the method, such as its number of samples; ``""`` where it has one size only.
        budget: as text, such as ``tokens=2000``; ``""`` for none.
        seed: of the run.
    """

    task: str
    model: str
    method: str
    size: float | str
    budget: str
    seed: int


@dataclass(frozen=True)
class Study(Options):
    """What is tried on what.

    Args:
        tasks: by name.
        models: names, as of ``itslab.load``; ``name@Q8_0`` is one quantized so, see ``quantize``.
        strategies: by name; one at several sizes is a tuple of them, the smallest first.
        budgets: the most to spend on each problem; each is tried.
        seeds: of the runs; each is tried.
        name: for people.

    Raises:
        OptionError: an option is not valid, or a strategy takes what a task has not.
    """

    tasks: Mapping[str, Task]
    models: tuple[Text, ...]
    strategies: Mapping[str, Strategy | Ladder]
    budgets: tuple[Budget, ...] = (Budget(),)
    seeds: tuple[Whole, ...] = (0,)
    name: Text = "study"

    def __post_init__(self) -> None:
        for name, ladder in self.strategies.items() if _is_mapping(self.strategies) else ():
            if isinstance(ladder, list):
                object.__setattr__(self, "strategies", {**self.strategies, name: tuple(ladder)})
        check(self)
        for option in ("tasks", "models", "strategies", "budgets", "seeds"):
            given = getattr(self, option)
            require(len(given) > 0, option, given, "at least one")
            once = len({*map(repr, given)}) == len(given)
            require(once, option, given, "all different")
        for name, task in self.tasks.items():
            require(len(task) > 0, f"tasks[{name!r}]", task, "a task with problems")
            twice = [one for one, count in Counter(p.id for p in task).items() if count > 1]
            require(not twice, f"tasks[{name!r}]", twice[:3], "of problems with ids of their own")
        for name, ladder in self.ladders.items():
            taken = name.startswith(DERIVED)
            valid = (
                f"another: {' and '.join(map(repr, DERIVED))} begin the names of what is derived"
            )
            require(not taken, "strategies", name, valid)
            sizes = _sizes(ladder)
            once = len({*sizes}) == len(sizes) > 0
            require(once, f"strategies[{name!r}]", ladder, "strategies that differ, one at least")
            for task in self.tasks.values():
                for strategy in ladder:
                    bound(strategy, task, {})

    @property
    def ladders(self) -> dict[str, Ladder]:
        """The strategies, each as a tuple of its sizes."""
        return {
            name: ladder if isinstance(ladder, tuple) else (ladder,)
            for name, ladder in self.strategies.items()
        }

    @property
    def named(self) -> list[str]:
        """The names of all models: those that are tried, and those that strategies ask besides."""
        return list(dict.fromkeys([*self.models, *self.asked]))

    @property
    def asked(self) -> list[str]:
        """The names of the models that strategies ask besides the one that is tried."""
        inside = [
            part.name
            for ladder in self.ladders.values()
            for strategy in ladder
            for part in _parts(strategy)
            if isinstance(part, Named)
        ]
        return list(dict.fromkeys(inside))

    @property
    def runs(self) -> int:
        """How many runs there are: one for each cell and problem."""
        return sum(
            len(task) * sum(1 for _ in self.cells(name, model))
            for name, task in self.tasks.items()
            for model in self.models
        )

    def cells(self, task: str, model: str) -> Iterator[tuple[Cell, Strategy, Budget]]:
        """Yield all choices for a task and a model, the largest size of each strategy first.

        Smaller sizes then find the samples of larger ones; where what they do can be averaged over
        all subsets of these (``pooled``), they are not run at all.
        """
        for budget in self.budgets:
            for seed in self.seeds:
                for method, ladder in self.ladders.items():
                    rungs = [*zip(_sizes(ladder), ladder, strict=True)]
                    if pooled(ladder) and budget == Budget():
                        rungs = [max(rungs, key=itemgetter(0))] if len(rungs) > 1 else rungs
                    for size, strategy in reversed(rungs):
                        cell = Cell(task, model, method, size, shown(budget), seed)
                        yield cell, strategy, budget

    def jobs(
        self, model: str, models: Mapping[str, Backend], problems: Mapping[str, Sequence[int]]
    ) -> dict[tuple[Cell, int], Job]:
        """Return the runs of one model, all those of a problem one after the other.

        Args:
            model: one of ``models``.
            models: all that are ``named``, loaded.
            problems: the name of a task -> the numbers of its problems that are asked.
        """
        jobs = {}
        for name, numbers in problems.items():
            task = self.tasks[name]
            ready = [
                (cell, bound(strategy, task, models), budget)
                for cell, strategy, budget in self.cells(name, model)
            ]
            for i in numbers:
                for cell, strategy, budget in ready:
                    label = f"{cell.method} {cell.size}".strip()
                    jobs[cell, i] = Job(
                        label, task, task.problems[i], strategy, models[model], budget, cell.seed
                    )
        return jobs


def shown(budget: Budget) -> str:
    """A budget as text: its limits."""
    limits = ((field.name, getattr(budget, field.name)) for field in fields(budget))
    return ", ".join(f"{name}={value:.15g}" for name, value in limits if value is not None)


def bound(strategy: Any, task: Task, models: Mapping[str, Backend]) -> Any:
    """Return a strategy with what it needs of a task and of other models in its place.

    Args:
        strategy: or a part of one.
        task: whose verifier stands for ``OwnVerifier()``.
        models: by name; a model that is not among them stays ``Named``.

    Raises:
        OptionError: the task has no verifier.
    """
    if isinstance(strategy, OwnVerifier):
        valid = "one with a verifier, which a strategy here asks for"
        require(task.verifier is not None, "task", task.name, valid)
        return task.verifier
    if isinstance(strategy, Named):
        return models.get(strategy.name, strategy)
    if isinstance(strategy, tuple):
        return tuple(bound(part, task, models) for part in strategy)
    if _is_part(strategy):
        held = {f.name: getattr(strategy, f.name) for f in fields(strategy) if f.init}
        fresh = {name: bound(value, task, models) for name, value in held.items()}
        changed = {name: value for name, value in fresh.items() if value is not held[name]}
        changed = {n: v for n, v in changed.items() if not _same(v, held[n])}
        return replace(strategy, **changed) if changed else strategy
    return strategy


def _same(a: object, b: object) -> bool:
    """Whether nothing was put in: tuples are made anew."""
    if not (isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b)):
        return False
    return all(x is y or _same(x, y) for x, y in zip(a, b, strict=True))


def _parts(part: Any) -> Iterator[Any]:
    """A strategy and all that it is made of."""
    yield part
    if isinstance(part, tuple):
        for item in part:
            yield from _parts(item)
    elif _is_part(part):
        for option in fields(part):
            yield from _parts(getattr(part, option.name))


def _is_part(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type | OwnVerifier | Named)


def pooled(ladder: Ladder) -> bool:
    """Whether a strategy's sizes are numbers of independent samples, among which it chooses.

    What it does with fewer of them is then averaged over all subsets of the most.
    """
    alike = len({rule(strategy) for strategy in ladder}) == 1 and rule(ladder[0]) != ""
    return alike and (len(ladder) == 1 or _differing(ladder) == ["n"])


def rule(strategy: Strategy) -> str:
    """Return by which rule a strategy chooses among independent samples.

    ``majority`` or ``best`` (by a verifier); "" for any other.
    """
    if type(strategy) is SelfConsistency and strategy.verifier is None:
        return "majority"
    if type(strategy) is ProgramAided and not strategy.repairs and strategy.fallback != "chain":
        return "majority"  # what programs print votes
    if type(strategy) is not BestOfN:
        return ""
    alone = not any(isinstance(part, Agreement) for part in _parts(strategy))
    return "best" if alone else ""  # how far samples agree is another matter among fewer


def kinds(ladder: Ladder) -> list[str]:
    """Return what each size of a ladder is known by, but for what tells the sizes apart."""
    differing = _differing(ladder) if isinstance(_sizes(ladder)[0], int | float) else []
    known = [spec(strategy) for strategy in ladder]
    return [
        hashlib.blake2b(
            repr(
                (
                    one.name,
                    {n: v for n, v in one.options.items() if n not in differing},
                    one.source,
                    one.shown if not one.options else "",
                )
            ).encode(errors="surrogatepass"),
            digest_size=8,
        ).hexdigest()
        for one in known
    ]


def sizes(study: Study) -> dict[str, list[int]]:
    """Return the sizes of each strategy that is ``pooled``."""
    return {
        name: sorted(strategy.n for strategy in ladder)  # type: ignore[attr-defined]
        for name, ladder in study.ladders.items()
        if pooled(ladder)
    }


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _sizes(ladder: Ladder) -> list[Any]:
    """What tells the strategies of a ladder apart: the one number in which they differ, or text."""
    if len(ladder) == 1:
        return [""]
    options, differing = [_options(strategy) for strategy in ladder], _differing(ladder)
    values = [[given.get(name) for name in differing] for given in options]
    numbers = len(differing) == 1 and all(type(v[0]) in (int, float) for v in values)
    if numbers and len({type(strategy) for strategy in ladder}) == 1:
        return [value[0] for value in values]
    return [
        ", ".join(f"{n}={v!r}" for n, v in zip(differing, value, strict=True)) or repr(strategy)
        for value, strategy in zip(values, ladder, strict=True)
    ]


def _differing(ladder: Ladder) -> list[str]:
    """The options in which strategies differ."""
    options = [_options(strategy) for strategy in ladder]
    names = dict.fromkeys(name for given in options for name in given)
    return [n for n in names if len({repr(given.get(n)) for given in options}) > 1]


def _options(strategy: Strategy) -> dict[str, Any]:
    if is_dataclass(strategy) and not isinstance(strategy, type):
        return {option.name: getattr(strategy, option.name) for option in fields(strategy)}
    return {"strategy": strategy}
