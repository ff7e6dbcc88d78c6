"""Models and verifiers that follow a script, so that a strategy can be worked through by hand.

A test writes down what the model says, works out on paper what the strategy should make of it, and
compares. No weights are needed, and a run takes milliseconds:

    model = ScriptedSteps({"": "ab", "a": ".", "b": "."})
    scores = ScriptedVerifier({"a": 0.9, "b": 0.1, "a.": 0.3, "b.": 0.8})
    strategy = BeamSearch(scores, width=1, expand=2, sampling=Sampling(max_tokens=1))
    result = solve("?", strategy, model, extract=str)
    assert result.answer == "a."  # a beam of one never sees that b leads further
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from threading import Event

from itslab.core import (
    BackendError,
    Completion,
    Cost,
    Finish,
    Node,
    OnSample,
    OnText,
    Prompt,
    Request,
    Sampling,
    Verdict,
)

Reply = str | Completion


@dataclass(kw_only=True)
class ScriptedModel:
    """A backend whose samples are written down in advance, or follow a rule.

    A reply ends at a stop string, and after ``max_tokens`` words, as a model's would; every word is
    a token. A rule may also return a whole ``Completion``, which stays as it is but for its index.
    A subclass may override ``draw`` instead.

    Args:
        replies: the replies, one after the other, whatever is asked; or a function of the request
            and of the sample's index that returns the reply.
        name, batch_size: as of every backend.
        digest: as of every backend; where samples are kept in a bank, another script needs another.

    Attributes:
        asked: the requests so far.
    """

    replies: Sequence[Reply] | Callable[[Request, int], Reply] = ()
    name: str = "scripted"
    digest: str = "scripted"
    batch_size: int = 8
    asked: list[Request] = field(default_factory=list, init=False, repr=False)
    _left: Iterator[Reply] | None = field(default=None, init=False, repr=False)

    def draw(self, request: Request, index: int) -> Completion:
        """Return a sample.

        Args:
            request: what is asked.
            index: which of its samples.

        Raises:
            BackendError: there are no replies left.
        """
        reply = self._next() if not callable(self.replies) else self.replies(request, index)
        if isinstance(reply, str):
            return _completion(reply, request.sampling, index)
        return reply if reply.index == index else replace(reply, index=index)

    def _next(self) -> Reply:
        assert not callable(self.replies)
        if self._left is None:
            self._left = iter(self.replies)
        for reply in self._left:
            return reply
        raise BackendError(
            f"the script has {len(self.replies)} replies, and one more was asked for: write it down"
        )

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: Event | None = None,
    ) -> list[list[Completion]]:
        """Draw all samples at once, in the order of the requests; see ``Backend``."""
        self.asked += requests
        rows = [[self.draw(r, r.first + j).cut(r.cutoff) for j in range(r.n)] for r in requests]
        for i, row in enumerate(rows):
            for j, completion in enumerate(row):
                if on_text:
                    on_text(i, j, completion.text)
                if on_sample:
                    on_sample(i, j, completion)
        return rows


def _completion(reply: str, sampling: Sampling, index: int) -> Completion:
    """A reply as this sampling would end it."""
    said, finish = _until_stop(reply, sampling)
    words = re.findall(r"\s*\S+\s*", said) or [said]
    if len(words) > sampling.max_tokens:
        words, finish = words[: sampling.max_tokens], "length"
    offsets = tuple(accumulate(map(len, words)))
    cost = Cost(decoded=len(words), calls=1)
    return Completion("".join(words), offsets=offsets, finish=finish, cost=cost, index=index)


def _until_stop(reply: str, sampling: Sampling) -> tuple[str, Finish]:
    found = [(reply.index(stop), stop) for stop in sampling.stop if stop in reply]
    if not found:
        return reply, "end"
    place, stop = min(found)
    return reply[: place + len(stop) * sampling.include_stop], "stop"


@dataclass
class ScriptedSteps(ScriptedModel):
    """A model that writes one step at a time, for searches: which one, its script says.

    Every step is a token, whatever the sampling. A text of steps is read letter by letter.

    Args:
        steps: that are drawn one after the other and round again, the same everywhere; or by what
            was written before. Where that is not in the script, the turn is closed.
        ends: steps that close the turn.
        logprobs: log-probability (nats) of a step; −1 of those not named here.
    """

    steps: Sequence[str] | Mapping[str, Sequence[str]]
    ends: Collection[str] = (".",)
    logprobs: Mapping[str, float] = field(default_factory=dict)
    _drawn: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def draw(self, request: Request, index: int) -> Completion:
        """Return the next step after what the turn holds."""
        written = request.prefix_text
        steps = self.steps.get(written) if isinstance(self.steps, Mapping) else self.steps
        cost = Cost(decoded=1, calls=1)
        if not steps:
            return Completion("", cost=cost, index=index)
        place = self._drawn[written] = self._drawn.get(written, -1) + 1
        step = steps[place % len(steps)]
        token = (sum(ord(letter) << 8 * i for i, letter in enumerate(step)),)
        likely = (self.logprobs.get(step, -1.0),)
        finish: Finish = "end" if step in self.ends else "stop"
        return Completion(step, token, likely, (len(step),), finish, cost, index)


@dataclass(frozen=True)
class ScriptedVerifier:
    """Score what a turn says so far by a table.

    Args:
        scores: what was said -> its score.
        default: of everything else.
    """

    scores: Mapping[str, float]
    default: float = 0.0

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Look each node's turn up."""
        return [Verdict(self.scores.get(node.turn_text, self.default)) for node in nodes]
