"""What a search gains from evaluating the text of its tree once.

The same beam search, with steps of a fixed number of tokens, takes turns with itself on a model
that is made to forget: each of its calls begins with a number of its own, so that no token of it
was ever seen before. It is asked in two ways: one call for all samples of a node, which share its
text, and one call for each sample, as clients without prefix reuse do.
"""

from __future__ import annotations

import statistics
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from itslab.backends.llama import Llama
from itslab.bench.speed import PROMPT
from itslab.core import (
    Backend,
    Completion,
    Message,
    Node,
    OnSample,
    OnText,
    Prompt,
    Request,
    Result,
    Sampling,
    Verdict,
)
from itslab.handle import solve
from itslab.models import ModelFile
from itslab.strategies import BeamSearch

ONCE, PER_NODE, PER_SAMPLE = "once", "again for each node", "again for each sample"


@dataclass
class Report:
    """What was measured.

    Args:
        label: the model and the search.
        seconds: of compute for the whole search, by how often text is evaluated, one per round.
        unique: tokens of the prompt and of all nodes, by round.
        evaluated: tokens evaluated for them, by round.
        full: share of the engine's batch in use on average, by round.
    """

    label: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    unique: list[int] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    full: list[float] = field(default_factory=list)

    def gain(self, other: str) -> list[float]:
        """How many times as long another takes, round by round."""
        return [b / a for a, b in zip(self.seconds[ONCE], self.seconds[other], strict=True)]

    def table(self) -> str:
        """The medians as text."""
        lines = [self.label, f"{'text of the tree is evaluated':<30}{'seconds':>9}{'ratio':>8}"]
        for who, seconds in self.seconds.items():
            ratio = statistics.median(self.gain(who))
            lines.append(f"{who:<30}{statistics.median(seconds):>9.1f}{ratio:>7.2f}×")
        shares = [a / b for a, b in zip(self.evaluated, self.unique, strict=True)]
        lines.append(f"tokens evaluated ÷ unique tokens in the tree: {max(shares):.3f}")
        lines.append(f"of the engine's batch in use on average: {statistics.median(self.full):.0%}")
        return "\n".join(lines)


class Forgetful:
    """A model to which every call is new.

    Args:
        llm: the model.
        split: one call for each sample.
    """

    def __init__(self, llm: Llama, split: bool) -> None:
        self.name, self.digest, self.width = llm.name, llm.digest, llm.width
        self._llm, self._split, self._numbers = llm, split, count()

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Draw samples; see ``Backend.generate``."""
        places = [
            (i, j, replace(request, n=1, first=request.first + j) if self._split else request)
            for i, request in enumerate(requests)
            for j in range(request.n if self._split else 1)
        ]
        asked = [self._new(request) for *_, request in places]

        def tell(order: int, position: int, sample: Completion) -> None:
            if on_sample:
                i, j, _ = places[order]
                on_sample(i, j + position, sample)

        drawn = self._llm.generate(asked, on_sample=tell, cancel=cancel)
        rows: list[list[Completion]] = [[] for _ in requests]
        for (i, *_), row in zip(places, drawn, strict=True):
            rows[i] += row
        return rows

    def _new(self, request: Request) -> Request:
        number = Message("system", f"Call {next(self._numbers)}.")
        return replace(request, messages=(number, *request.messages))


def run(
    file: ModelFile,
    *,
    width: int = 8,
    expand: int = 2,
    depth: int = 24,
    tokens: int = 16,
    rounds: int = 3,
    threads: int | None = None,
    prompt: str = PROMPT,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Time a beam search in three ways.

    Args:
        file: the model.
        width, expand, depth: of the search; see ``BeamSearch``.
        tokens: of a step.
        rounds: repetitions.
        threads: of llama.cpp; physical cores by default.
        prompt: what is asked, with ``{who}`` where a number makes each round's a new one.
        say: gets a line on each measurement.
    """
    step = Sampling(max_tokens=tokens)
    search = BeamSearch(by_chance, width, expand, depth, instruction="", sampling=step)
    label = f"{file.name}, beam search {width} × {expand}, {depth} steps of {tokens} tokens"
    report = Report(label)
    batch = width * expand
    with Llama(file.path, file.name, file.digest, width=batch, threads=threads) as llm:
        llm._model.ends = lambda token: False  # type: ignore[method-assign]
        ways: dict[str, Backend] = {
            ONCE: llm,
            PER_NODE: Forgetful(llm, False),
            PER_SAMPLE: Forgetful(llm, True),
        }
        prompts = (prompt.format(who=who) for who in count(1))
        for _ in range(rounds):
            for who, backend in ways.items():
                live, steps = llm.stats.live, llm.stats.steps
                result = solve(next(prompts), search, backend)
                report.seconds.setdefault(who, []).append(result.cost.seconds)
                say(f"{who}: {result.cost.seconds:.1f} s, {result.cost.decoded} tokens decoded")
                if who == ONCE:
                    _note(report, result)
                    full = (llm.stats.live - live) / (llm.stats.steps - steps) / batch
                    report.full.append(full)
    return report


def by_chance(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    """Score nodes by nothing in particular, so that no time goes into scoring."""
    return [Verdict(zlib.crc32(node.text.encode()) % 997 / 997) for node in nodes]


def _note(report: Report, result: Result) -> None:
    cost = result.cost
    first = next(node.completion.cost for node in result.tree if node.completion)
    report.unique.append(first.prefilled + first.reused + cost.decoded)
    report.evaluated.append(cost.prefilled + cost.decoded - cost.calls)
