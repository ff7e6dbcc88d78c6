"""What a search gains from prefix reuse."""

from __future__ import annotations

import statistics
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from itslab.backends.llama import Llama
from itslab.bench.rounds import PROMPT, Say, new_texts, quiet, ratios
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
class SearchReport:
    """How long a beam search takes, by how often the text of its tree is evaluated.

    The same search, with steps of a fixed number of tokens, takes turns with itself on a model that
    is made to forget: each of its calls begins with a number of its own, so that no token of it was
    ever seen before. It is asked in two ways: one call for all samples of a node, which share its
    text, and one call for each sample, as clients without prefix reuse do.

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
        return ratios(self.seconds[other], self.seconds[ONCE])

    def table(self) -> str:
        """The medians as text."""
        lines = [self.label, f"{'text of the tree is evaluated':<30}{'seconds':>9}{'ratio':>8}"]
        for who, seconds in self.seconds.items():
            ratio = statistics.median(self.gain(who))
            lines.append(f"{who:<30}{statistics.median(seconds):>9.1f}{ratio:>7.2f}×")
        most = max(ratios(self.evaluated, self.unique))
        lines.append(f"tokens evaluated ÷ unique tokens in the tree: {most:.3f}")
        lines.append(f"of the engine's batch in use on average: {statistics.median(self.full):.0%}")
        return "\n".join(lines)


class _Forgetful:
    """A model that never saw the text of a node before, or of a sample if ``per_sample``."""

    def __init__(self, llm: Llama, per_sample: bool) -> None:
        self.name, self.digest, self.batch_size = llm.name, llm.digest, llm.batch_size
        self._llm, self._per_sample, self._numbers = llm, per_sample, count()

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        """Draw samples; see ``Backend.generate``."""
        places = [(i, j) for i, request in enumerate(requests) for j in range(request.n)]
        numbers = [next(self._numbers) for _ in (places if self._per_sample else requests)]
        asked = []
        for k, (i, j) in enumerate(places):
            number = Message("system", f"Call {numbers[k if self._per_sample else i]}.")
            messages = (number, *requests[i].messages)
            asked.append(replace(requests[i], messages=messages, n=1, first=requests[i].first + j))

        def tell(k: int, _: int, sample: Completion) -> None:
            if on_sample:
                on_sample(*places[k], sample)

        drawn = iter(self._llm.generate(asked, on_sample=tell, cancel=cancel))
        return [[next(drawn)[0] for _ in range(request.n)] for request in requests]


def measure_search(
    file: ModelFile,
    *,
    width: int = 8,
    expand: int = 2,
    depth: int = 24,
    tokens: int = 16,
    rounds: int = 3,
    threads: int | None = None,
    prompt: str = PROMPT,
    say: Say = quiet,
) -> SearchReport:
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
    search = BeamSearch(_arbitrary, width, expand, depth, instruction="", sampling=step)
    label = f"{file.name}, beam search {width} × {expand}, {depth} steps of {tokens} tokens"
    report, texts, batch = SearchReport(label), new_texts(prompt), width * expand
    with Llama(file.path, file.name, batch_size=batch, threads=threads, ignore_eos=True) as llm:
        ways: dict[str, Backend] = {
            ONCE: llm,
            PER_NODE: _Forgetful(llm, per_sample=False),
            PER_SAMPLE: _Forgetful(llm, per_sample=True),
        }
        for _ in range(rounds):
            for who, backend in ways.items():
                live, steps = llm.stats.live, llm.stats.steps
                result = solve(next(texts), search, backend)
                report.seconds.setdefault(who, []).append(result.cost.seconds)
                say(f"{who}: {result.cost.seconds:.1f} s, {result.cost.decoded} tokens decoded")
                if who == ONCE:
                    _note_tokens(report, result)
                    report.full.append((llm.stats.live - live) / (llm.stats.steps - steps) / batch)
    return report


def _arbitrary(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    """Score nodes by nothing in particular, so that no time goes into scoring."""
    return [Verdict(zlib.crc32(node.text.encode()) % 997 / 997) for node in nodes]


def _note_tokens(report: SearchReport, result: Result) -> None:
    cost = result.cost
    first = next(node.completion.cost for node in result.tree if node.completion)
    report.unique.append(first.prefilled + first.reused + cost.decoded)
    report.evaluated.append(cost.prefilled + cost.decoded - cost.calls)
