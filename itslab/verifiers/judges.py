"""Verifiers that ask a model: yes or no, A or B, which of several, or after a critique.

An opinion is read from one token, whose whole distribution is known: P(Yes) ÷ (P(Yes) + P(No)) is
P(True) of Kadavath et al. 2022 (arXiv:2207.05221, §4). A judge draws through the run, as samples
do, so that its tokens are paid for and a budget holds for it.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from itslab.core import (
    Account,
    Backend,
    Cost,
    Drawn,
    Message,
    Node,
    Prompt,
    Request,
    Sampling,
    Verdict,
    as_messages,
    require,
)
from itslab.options import Options


class Asking(Options):
    """Base of verifiers that ask a model: it is the first field, and the repr gives its name.

    Plots and archives know a verifier by its repr: two models are two verifiers.
    """

    def __repr__(self) -> str:
        asked, *options = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        named: Any = getattr(asked, "name", asked)
        return f"{type(self).__name__}({', '.join([str(named), *map(repr, options)])})"


class Opinion(NamedTuple):
    """What a model would choose.

    Args:
        shares: of each choice in the probability of all; nan where none is ever said.
        cost: of asking.
        note: the probabilities, or why there are none.
    """

    shares: tuple[float, ...]
    cost: Cost
    note: str


def opinions(
    run: Account, backend: Backend, requests: Sequence[Request], choices: Sequence[str]
) -> list[Opinion]:
    """Return which of the choices the model would say next, for each request, all in one batch.

    One token is drawn per opinion, whose whole distribution is read; the requests' own sampling is
    not.
    """
    brief = Sampling(temperature=0, max_tokens=1, choices=tuple(choices))
    drawn = run.ask([replace(request, sampling=brief) for request in requests], backend)
    return [_opinion(reply, choices) for reply in drawn]


def choose(
    run: Account, backend: Backend, requests: Sequence[Request], choices: tuple[str, str]
) -> list[Verdict]:
    """Return P(first choice) ÷ P(either) for the next token of each request, all in one batch."""
    return [
        Verdict(opinion.shares[0], opinion.cost, opinion.note)
        for opinion in opinions(run, backend, requests, choices)
    ]


def _opinion(reply: Drawn, choices: Sequence[str]) -> Opinion:
    logprobs = reply.completions[0].choices if reply.completions else ()
    if not logprobs:
        unknown = (math.nan,) * len(choices)
        return Opinion(unknown, reply.cost, reply.why or "the backend gives no log-probabilities")
    likeliest = max(logprobs)
    weights = [math.exp(logprob - likeliest) for logprob in logprobs]
    shares = tuple(weight / sum(weights) for weight in weights)
    pairs = zip(choices, logprobs, strict=True)
    note = ", ".join(f"P({choice}) {math.exp(logprob):.3f}" for choice, logprob in pairs)
    return Opinion(shares, reply.cost, note)


IS_ANSWER_RIGHT = "Is this solution correct? Answer with one word, Yes or No."
IS_STEP_RIGHT = "Is everything written so far correct? Answer with one word, Yes or No."
WHICH_IS_BETTER = (
    "{problem}\n\nTwo solutions are proposed.\n\nSolution A:\n{a}\n\nSolution B:\n{b}\n\n"
    "Which one is correct? Answer with one letter, A or B."
)


@dataclass(frozen=True, repr=False)
class Judge(Asking):
    """Score a node by P(Yes) ÷ (P(Yes) + P(No)) for the next token after a question about it.

    One token is drawn per verdict, whose whole distribution is read: P(True) of Kadavath et al.
    2022 (arXiv:2207.05221, §4). The question follows the conversation that it is about, so that a
    model that judges its own solution evaluates the few tokens of the question and nothing else.

    Args:
        backend: who judges: the model that wrote, or another.
        question: ``IS_ANSWER_RIGHT``, or ``IS_STEP_RIGHT`` of an unfinished turn.
    """

    backend: Backend
    question: str = IS_ANSWER_RIGHT

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Ask about what each node's turn says so far, all in one batch."""
        asked, said = Message("user", self.question), [node.turn_text for node in nodes]
        talks = [(*as_messages(prompt), Message("assistant", text), asked) for text in said]
        return choose(run, self.backend, [Request(talk) for talk in talks], ("Yes", "No"))


@dataclass(frozen=True, repr=False)
class PairwiseJudge(Asking):
    """Score nodes in pairs, the first with the second and so on: how likely each is the better one.

    For ``Knockout``.

    Args:
        backend: who judges.
        question: with places for ``{problem}``, ``{a}`` and ``{b}``.
        both_orders: show every pair in both orders and average the two opinions, since judges
            prefer a place (Zheng et al. 2023, arXiv:2306.05685, §3.3; §3.4 takes two that differ
            for a tie). Otherwise the earlier one is A, for half the price.
    """

    backend: Backend
    question: str = WHICH_IS_BETTER
    both_orders: bool = True

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Compare each even node with the odd one after it, all in one batch."""
        require(len(nodes) % 2 == 0, "nodes", len(nodes), "an even number of nodes")
        problem = as_messages(prompt)[-1].content
        texts = [node.turn_text for node in nodes]
        shown = range(0, len(texts), 1 if self.both_orders else 2)  # each of these once as A
        asked = [self.question.format(problem=problem, a=texts[i], b=texts[i ^ 1]) for i in shown]
        verdicts = choose(
            run, self.backend, [Request(as_messages(text)) for text in asked], ("A", "B")
        )
        if not self.both_orders:
            return [v for a in verdicts for v in (a, Verdict(1 - a.score, note=a.note))]
        scores = [(verdicts[i].score + 1 - verdicts[i ^ 1].score) / 2 for i in shown]
        return [
            replace(verdict, score=score) for verdict, score in zip(verdicts, scores, strict=True)
        ]


MOST_PROMISING = (
    "{problem}\n\nSeveral solutions were begun.\n\n{options}\n\n"
    "Which one is the most promising? Answer with one letter, {letters}."
)


@dataclass(frozen=True, repr=False)
class Ballot(Asking):
    """Score nodes by a vote on the most promising one: probability × number of options.

    Yao et al. 2023 (arXiv:2305.10601, §3, "Vote across states"), who let a model vote five times;
    here the probability of each letter is read from one token, which is the expectation of any
    number of votes. The options are shown in both orders and the two opinions averaged.

    A vote ranks the options of one ballot. Where a search compares options of several ballots,
    probabilities alone would favour the smaller ballot. So the score is how many times likelier an
    option was chosen than by a uniform choice: 1 where nothing speaks for or against it, as for a
    lone option, and at most the number of options.

    Args:
        backend: who votes.
        question: with places for ``{problem}``, ``{options}`` and ``{letters}``.
    """

    backend: Backend
    question: str = MOST_PROMISING

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the model vote on up to 26 nodes; the first verdict carries the cost of all."""
        require(len(nodes) <= 26, "nodes", len(nodes), "at most 26, one per letter")
        if len(nodes) == 1:
            return [Verdict(1.0, note="nothing to choose from")]
        problem, letters = as_messages(prompt)[-1].content, string.ascii_uppercase[: len(nodes)]
        said = [node.turn_text for node in nodes]
        asked = [self._ask(problem, order, letters) for order in (said, said[::-1])]
        there, back = opinions(run, self.backend, asked, letters)
        both = zip(there.shares, back.shares[::-1], strict=True)
        scores = [len(nodes) * (a + b) / 2 for a, b in both]
        costs = [there.cost + back.cost] + [Cost()] * (len(nodes) - 1)
        return [Verdict(score, cost) for score, cost in zip(scores, costs, strict=True)]

    def _ask(self, problem: str, said: Sequence[str], letters: str) -> Request:
        pairs = zip(letters, said, strict=True)
        options = "\n\n".join(f"Option {letter}:\n{text}" for letter, text in pairs)
        listed = f"{', '.join(letters[:-1])} or {letters[-1]}"
        text = self.question.format(problem=problem, options=options, letters=listed)
        return Request(as_messages(text))


CRITICISE = "Check this solution step by step, briefly. Which step, if any, is wrong, and why?"


@dataclass(frozen=True, repr=False)
class Critic(Asking):
    """Score a node by P(Yes) after a critique of it, which is the verdict's note.

    A generative verifier: GenRM-CoT (Zhang et al. 2024, arXiv:2408.15240), which is trained for it,
    and averages over several critiques. With a larger model as backend, a small one learns what is
    wrong from one that can see it.

    Args:
        backend: who criticises.
        request: asks for the critique.
        question: asked after it.
        sampling: of the critique.
    """

    backend: Backend
    request: str = CRITICISE
    question: str = IS_ANSWER_RIGHT
    sampling: Sampling = Sampling(temperature=0, max_tokens=256)

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Criticise what each node's turn says so far, all in one batch.

        Of a budget that may not last for all, as many are criticised as can also be judged.
        """
        asked = Message("user", self.request)
        talks = [
            (*as_messages(prompt), Message("assistant", node.turn_text), asked) for node in nodes
        ]
        drawn = run.ask([Request(talk, (), self.sampling) for talk in talks], self.backend, spare=1)
        said = [reply.completions[0].text if reply.completions else None for reply in drawn]
        asked = Message("user", self.question)
        questions = [
            Request((*talk, Message("assistant", critique), asked))
            for talk, critique in zip(talks, said, strict=True)
            if critique is not None
        ]
        judged = iter(choose(run, self.backend, questions, ("Yes", "No")))
        return [
            Verdict(math.nan, reply.cost, reply.why)
            if critique is None
            else _noted(next(judged), reply.cost, critique)
            for reply, critique in zip(drawn, said, strict=True)
        ]


def _noted(verdict: Verdict, cost: Cost, critique: str) -> Verdict:
    """A verdict after a critique; where there is none, its own note says why."""
    note = verdict.note if math.isnan(verdict.score) else critique.strip()
    return replace(verdict, cost=verdict.cost + cost, note=note)
