"""The seconds that a method takes for many problems: what stopping early and cascades save here.

Seen on two cores, one round of each: 24 problems of HumanEval took the 1.5B alone 119 s, a cascade
that asks the 0.5B first 132 s, and one with up to 4 samples of it 149 s, since a small model takes
longer over a FLOP there. Of 24 functions the 0.5B solved 15 with 8 programs each in 575 s, and the
same 15 in 146 s by drawing until one passes its visible tests.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from itslab import tasks
from itslab.backends.llama import Llama
from itslab.bench.rounds import Say, quiet, ratios
from itslab.core import Backend, Result, Sampling
from itslab.models import ModelFile
from itslab.run import Strategy
from itslab.strategies import (
    AdaptiveConsistency,
    BestOfN,
    Cascade,
    ChainOfThought,
    DeepConf,
    FirstVerified,
    SelfConsistency,
    Stage,
)
from itslab.strategies.stopping import DecidedStop
from itslab.study.runner import solve_all
from itslab.tasks import Task

Method = Callable[..., tuple[Strategy, Backend]]
"""Of the models: how to answer, and which of them is the one of the run."""


@dataclass
class MethodsReport:
    """How long methods take for the same problems, in turns; the first is what others are held to.

    The clock runs from the first problem to the last answer, programs that are run included. Models
    are loaded anew for each, outside the clock, so that nobody finds a prompt evaluated already.

    Args:
        label: the models and the problems.
        seconds: by method, one per round.
        solved: how many problems, by method and round.
        tokens: decoded, by method, model and round; what was cut counts as far as it was drawn.
    """

    label: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    solved: dict[str, list[int]] = field(default_factory=dict)
    tokens: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def ratio(self, method: str) -> list[float]:
        """What part of the first one's seconds a method takes, round by round."""
        return ratios(self.seconds[method], next(iter(self.seconds.values())))

    def table(self) -> str:
        """The medians as text."""
        models = list(dict.fromkeys(name for paid in self.tokens.values() for name in paid))
        heads = [f"tokens {name}" for name in models]
        wide = max(len(method) for method in self.seconds)
        columns = "".join(f"{head:>{len(head) + 2}}" for head in heads)
        lines = [self.label, f"{'method':<{wide}}{'solved':>8}{columns}{'seconds':>9}{'ratio':>8}"]
        for method, seconds in self.seconds.items():
            paid = [
                f"{statistics.median(self.tokens[method].get(name, [0])):>{len(head) + 2},.0f}"
                for name, head in zip(models, heads, strict=True)
            ]
            solved = statistics.median(self.solved[method])
            ratio = statistics.median(self.ratio(method))
            lines.append(
                f"{method:<{wide}}{solved:>8.0f}{''.join(paid)}"
                f"{statistics.median(seconds):>9.1f}{ratio:>7.2f}×"
            )
        return "\n".join(lines)

    def note(self, method: str, task: Task, results: Sequence[Result], seconds: float) -> None:
        """Keep what a method did in a round."""
        right = [task.grade(p, r.answer) for p, r in zip(task, results, strict=True)]
        self.seconds.setdefault(method, []).append(seconds)
        self.solved.setdefault(method, []).append(sum(right))
        paid: dict[str, int] = {}
        for result in results:
            for model, cost in result.costs.items():
                if cost.decoded:  # a verifier that draws nothing is no model
                    paid[model] = paid.get(model, 0) + cost.decoded
        kept, before = self.tokens.setdefault(method, {}), len(self.seconds[method]) - 1
        for model in {**kept, **paid}:  # in some rounds a model may not be asked
            kept.setdefault(model, [0] * before).append(paid.get(model, 0))


def measure_stopping(
    file: ModelFile,
    *,
    kind: Kind = "words",
    problems: int = 12,
    n: int = 16,
    max_tokens: int = 512,
    rounds: int = 2,
    threads: int | None = None,
    say: Say = quiet,
) -> MethodsReport:
    """Time a fixed number of samples beside methods that stop early, or cut samples.

    Args:
        file: the model.
        kind: of the problems: ``words`` of gsm_symbolic, on which chains vote, or ``functions`` of
            HumanEval, whose visible tests accept a program.
        problems: how many, all under way at once.
        n: most samples for each.
        max_tokens: of a sample.
        rounds: repetitions, each with samples of its own.
        threads: of llama.cpp; physical cores by default.
        say: gets a line on each measurement.
    """
    task, strategies = _SETTINGS[kind](problems, n, Sampling(max_tokens=max_tokens))
    methods: dict[str, Method] = {
        name: lambda model, strategy=strategy: (strategy, model)
        for name, strategy in strategies.items()
    }
    return _measure(task, [file], methods, rounds=rounds, threads=threads, say=say)


def _of_words(problems: int, n: int, chain: Sampling) -> tuple[Task, dict[str, Strategy]]:
    """Votes that stop early, and chains that are cut."""
    return tasks.load("gsm_symbolic", n=problems, difficulty=1.0), {
        f"{n} chains": SelfConsistency(n, sampling=chain),
        "until the vote is decided": AdaptiveConsistency(DecidedStop(), n, sampling=chain),
        "adaptive consistency": AdaptiveConsistency(n=n, sampling=chain),
        "DeepConf-high": DeepConf(n, min(4, n), sampling=chain),
        "DeepConf-low": DeepConf(n, min(4, n), keep=0.1, sampling=chain),
    }


def _of_functions(problems: int, n: int, program: Sampling) -> tuple[Task, dict[str, Strategy]]:
    """Programs until one passes the visible tests, one at a time or in waves."""
    task = tasks.load("humaneval", n=problems)
    tests = task.verifier
    assert tests is not None
    plain: dict[str, Any] = {"instruction": "", "sampling": program}
    return task, {
        f"{n} programs": BestOfN(tests, n, **plain),
        "until one passes": FirstVerified(tests, n=n, **plain),
        "until one passes, in waves of 4": FirstVerified(tests, n=n, wave=min(4, n), **plain),
    }


Kind = Literal["words", "functions"]
_SETTINGS = {"words": _of_words, "functions": _of_functions}


def measure_cascade(
    file: ModelFile,
    larger: ModelFile,
    *,
    problems: int = 24,
    tries: int = 4,
    max_tokens: int = 512,
    rounds: int = 2,
    threads: int | None = None,
    say: Say = quiet,
) -> MethodsReport:
    """Time a larger model beside cascades that ask it only where a smaller one's program fails.

    Args:
        file: the smaller model.
        larger: the model of the last stage.
        problems: functions of HumanEval, the first ones; their visible tests accept.
        tries: samples of the smaller model in the cascade that has them.
        max_tokens: of a program.
        rounds: repetitions, each with samples of its own.
        threads: of llama.cpp; physical cores by default.
        say: gets a line on each measurement.
    """
    task = tasks.load("humaneval", n=problems)
    tests = task.verifier
    assert tests is not None
    greedy = ChainOfThought(instruction="", sampling=Sampling(0, max_tokens=max_tokens))
    sampled = Sampling(max_tokens=max_tokens)
    several = FirstVerified(tests, n=tries, instruction="", sampling=sampled)
    first, second = Stage(greedy, accept=tests), Stage(several, accept=tests)
    methods: dict[str, Method] = {
        f"{larger.name}, greedy": lambda small, large: (greedy, large),
        f"{file.name}, greedy": lambda small, large: (greedy, small),
        "cascade": lambda small, large: (Cascade((first, Stage(greedy, large))), small),
        f"cascade with up to {tries} samples": lambda small, large: (
            Cascade((first, second, Stage(greedy, large))),
            small,
        ),
    }
    return _measure(task, [file, larger], methods, rounds=rounds, threads=threads, say=say)


def _measure(
    task: Task,
    files: Sequence[ModelFile],
    methods: Mapping[str, Method],
    *,
    rounds: int,
    threads: int | None,
    say: Say,
) -> MethodsReport:
    """Let methods take turns at a task, with all models in memory."""
    names = " and ".join(file.name for file in files)
    report = MethodsReport(f"{names}, {len(task)} problems of {task.name}, median of {rounds}")
    for seed in range(rounds):
        for name, method in methods.items():
            with ExitStack() as stack:
                models = [
                    stack.enter_context(Llama(file.path, file.name, file.digest, threads=threads))
                    for file in files
                ]
                strategy, model = method(*models)
                began = time.perf_counter()
                drawn = solve_all(task, {name: strategy}, model, seed=seed, progress=False)
                report.note(name, task, drawn[name], time.perf_counter() - began)
            say(f"{name}: {report.seconds[name][-1]:.0f} s, {report.solved[name][-1]} solved")
    return report
