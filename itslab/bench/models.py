"""Which of several models, or quantizations of one, solves more in the same seconds here.

What they solve comes from a study, how fast they draw is measured: a study's own seconds were those
of another machine, or of one that was busy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from itslab.backends.llama import Llama, default_threads
from itslab.bench.rounds import Say, new_texts, quiet, ratios
from itslab.bench.speed import CONTEXT, SAMPLING, draw
from itslab.core import Request, Sampling, as_messages, require
from itslab.models import ModelFile
from itslab.study.methods import MethodResult, at_budget
from itslab.study.outcome import Outcome
from itslab.study.statistics import Estimate


@dataclass
class ModelsReport:
    """How fast models draw, and what they solve for as many samples and in the same seconds.

    Args:
        outcome: of the study that says what they solve; it has one budget.
        speed: tokens per second, by model, one per round. All others are held against the first.
    """

    outcome: Outcome
    speed: dict[str, list[float]] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The model that others are held against."""
        return next(iter(self.speed))

    def ratio(self, model: str) -> float:
        """How many times as fast as the first one a model draws; the median of the rounds."""
        return statistics.median(ratios(self.speed[model], self.speed[self.first]))

    def gains(self, model: str) -> Iterator[tuple[str, Estimate, Estimate]]:
        """Yield what a model solves more than the first one does.

        That is taken at its largest size whose seconds the other one can spend, with all of the
        samples that the study has of it.

        Yields:
            Task, method and size; the difference for as many samples; that in the same seconds.
        """
        for task in self.outcome.runs.task.unique():
            ours, theirs = (self._ladders(str(task), name) for name in (model, self.first))
            for method, reference in theirs.items():
                sizes = ours.get(method, {})
                most = max((_seconds(result) for result in sizes.values()), default=0.0)
                fitting = [n for n in reference if n in sizes and _seconds(reference[n]) <= most]
                if not fitting:
                    continue
                result = reference[fitting[-1]]
                same = at_budget(sizes.values(), _seconds(result), "seconds")
                alike = sizes[fitting[-1]].gain(result)
                yield f"{task}, {method} {fitting[-1]}", alike, same.gain(result)

    def _ladders(self, task: str, model: str) -> dict[str, dict[int, MethodResult]]:
        """Methods by size, with the seconds that their tokens take here."""
        budget = str(self.outcome.runs.budget.iloc[0])
        ladders: dict[str, dict[int, MethodResult]] = {}
        speed = statistics.median(self.speed[self.first]) * self.ratio(model)
        for (name, size), result in self.outcome.results(task, model, budget).items():
            timed = replace(result, seconds=result.tokens / speed)
            ladders.setdefault(name, {})[size] = timed
        return ladders

    def table(self) -> str:
        """All of it as text, and what to take."""
        wide = max(map(len, self.speed))
        lines = [f"{'model':<{wide}}{'tokens/s':>10}{'ratio':>8}"]
        for name, speeds in self.speed.items():
            lines.append(
                f"{name:<{wide}}{statistics.median(speeds):>10.1f}{self.ratio(name):>7.2f}×"
            )
        better: dict[str, list[str]] = {}
        for name in [*self.speed][1:]:
            lines.append(f"\n{name} against {self.first}, points with 95 % intervals:")
            for label, alike, timed in self.gains(name):
                lines.append(
                    f"  {label}: {alike.points} for as many samples, {timed.points} in the same "
                    "seconds"
                )
                if timed.low > 0:
                    better.setdefault(name, []).append(label)
        said = "; ".join(f"{name} for {', '.join(labels)}" for name, labels in better.items())
        keep = f"{self.first}: none of the others solves clearly more in the same seconds"
        return "\n".join([*lines, f"\ntake {said or keep}"])


def _seconds(result: MethodResult) -> float:
    return 0.0 if result.seconds is None else float(result.seconds.mean())


def measure_models(
    outcome: Outcome,
    files: Mapping[str, ModelFile],
    *,
    samples: int = 16,
    tokens: int = 96,
    rounds: int = 3,
    threads: int | None = None,
    say: Say = quiet,
) -> ModelsReport:
    """Time models, in turns, each with samples of a prompt that is new to it.

    Args:
        outcome: of a study of these models.
        files: by the names that they have in the study; the first is what others are held against.
        samples: drawn at once.
        tokens: decoded in each.
        rounds: repetitions.
        threads: of llama.cpp; physical cores by default.
        say: gets a line on each measurement.

    Raises:
        OptionError: the study does not hold one of the models.
    """
    known = list(outcome.runs.model.unique())
    for name in files:
        require(name in known, "models", name, f"of the study: {', '.join(known)}")
    report, texts = ModelsReport(outcome), new_texts()
    options = {"context": CONTEXT, "threads": threads or default_threads(), "ignore_eos": True}
    sampling = Sampling(max_tokens=tokens, **SAMPLING)  # type: ignore[arg-type]
    with ExitStack() as stack:
        drawers = {
            name: stack.enter_context(
                Llama(file.path, name, file.digest, batch_size=samples, **options)  # type: ignore[arg-type]
            )
            for name, file in files.items()
        }
        for number in range(rounds + 1):
            for name, llm in drawers.items():
                request = Request(as_messages(next(texts)), sampling=sampling, n=samples)
                speed = samples * tokens / draw(llm, [request])
                if number:  # the first one warms it up
                    report.speed.setdefault(name, []).append(speed)
                    say(f"{name}: {speed:.1f} tokens/s")
    return report
