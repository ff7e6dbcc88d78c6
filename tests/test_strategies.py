"""Strategies: one contract for all of them, and a worked example by hand for each."""

import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, astuple, dataclass, field
from pathlib import Path
from threading import Event

import pytest

from itslab import answers
from itslab.backends.bank import Bank
from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Node,
    OnSample,
    OnText,
    OptionError,
    Prompt,
    Request,
    Sampling,
    Verdict,
)
from itslab.run import Run, Strategy, solve, start
from itslab.strategies import BestOfN, ChainOfThought, Direct, SelfConsistency

SHORT = Sampling(temperature=1, max_tokens=16)
PROMPT = "What is 2 + 3?"


def by_length(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    return [Verdict(float(len(node.text))) for node in nodes]


EVERY: list[Strategy] = [
    Direct(sampling=SHORT),
    ChainOfThought(sampling=SHORT),
    SelfConsistency(n=5, sampling=SHORT),
    BestOfN(by_length, n=5, sampling=SHORT),
]
every = pytest.mark.parametrize("strategy", EVERY, ids=lambda s: type(s).__name__)


# -- the contract ----------------------------------------------------------------------------------


@every
def test_the_cost_is_that_of_all_completions(llm: Llama, strategy: Strategy) -> None:
    result = solve(PROMPT, strategy, llm)
    drawn = [node.completion.cost for node in result.tree if node.completion]
    assert astuple(result.cost) == pytest.approx(astuple(sum(drawn, Cost())))
    assert result.cost.decoded > 0


@every
def test_the_tree_is_well_formed(llm: Llama, strategy: Strategy) -> None:
    result = solve(PROMPT, strategy, llm)
    assert [node.id for node in result.tree] == list(range(len(result.tree)))
    assert all(node.parent is None or node.parent.id < node.id for node in result.tree)
    assert all(node.status != "open" for node in result.tree)
    assert result.node is None or result.node in list(result.tree)


@every
@pytest.mark.parametrize("tokens", [1, 17, 40])
def test_a_budget_is_kept_and_named(llm: Llama, strategy: Strategy, tokens: int) -> None:
    result = solve(PROMPT, strategy, llm, budget=Budget(tokens=tokens))
    assert result.cost.decoded <= tokens
    assert result.stopped_by in (None, "tokens")


@every
def test_stopping_at_once_is_an_ordinary_ending(llm: Llama, strategy: Strategy) -> None:
    started = start(PROMPT, strategy, llm)
    started.stop()
    assert started.result(timeout=10).stopped_by in (None, "stop")


@every
def test_a_replay_equals_what_was_recorded(llm: Llama, strategy: Strategy, tmp_path: Path) -> None:
    with Bank(tmp_path / "bank.sqlite") as bank:
        live = solve(PROMPT, strategy, bank.record(llm))
        replayed = solve(PROMPT, strategy, bank.replay())
    assert replayed.answer == live.answer
    assert [node.text for node in replayed.tree] == [node.text for node in live.tree]
    assert astuple(replayed.cost) == pytest.approx(astuple(live.cost))


@every
def test_a_strategy_is_frozen_and_shows_its_options(strategy: Strategy) -> None:
    with pytest.raises(FrozenInstanceError):
        strategy.sampling = SHORT  # type: ignore[attr-defined]
    assert repr(strategy).startswith(type(strategy).__name__ + "(")


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(n: int) -> None:
    with pytest.raises(OptionError, match=f"n={n}"):
        SelfConsistency(n=n)
    with pytest.raises(OptionError, match=f"n={n}"):
        BestOfN(by_length, n=n)


# -- by hand ---------------------------------------------------------------------------------------


@dataclass
class FakeScript:
    """Samples written down in advance, so that a vote can be followed on paper."""

    texts: list[str]
    name: str = "script"
    digest: str = "script"
    width: int = 8
    asked: list[Request] = field(default_factory=list)

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: Event | None = None,
    ) -> list[list[Completion]]:
        self.asked += requests
        rows = [
            [Completion(self.texts[r.first + j], index=r.first + j) for j in range(r.n)]
            for r in requests
        ]
        for i, row in enumerate(rows):
            for j, completion in enumerate(row):
                if on_sample:
                    on_sample(i, j, completion)
        return rows


def test_self_consistency_counts_canonical_answers() -> None:
    texts = [
        "It is 7.",
        "So \\boxed{1,000}",
        "No idea",
        "The answer is 1000.0",
        "7",
        "\\boxed{1000}",
    ]
    result = solve(PROMPT, SelfConsistency(n=6), FakeScript(texts))
    assert result.answer is not None
    assert answers.equal(result.answer, "1000")  # three votes for 1000, two for 7
    assert result.node is not None
    assert result.node.text == texts[1]  # the first sample that says so


def test_self_consistency_settles_a_tie_for_the_answer_seen_first() -> None:
    assert solve(PROMPT, SelfConsistency(n=4), FakeScript(["8", "9", "9", "8"])).answer == "8"


def test_self_consistency_without_any_answer_has_none() -> None:
    result = solve(PROMPT, SelfConsistency(n=2), FakeScript(["?", "!"]))
    assert (result.answer, result.node) == (None, None)


def test_best_of_n_takes_the_highest_score_among_those_with_an_answer() -> None:
    texts = ["1", "no answer, but very long", "some words, then 22", "3"]
    assert solve(PROMPT, BestOfN(by_length, n=4), FakeScript(texts)).answer == "22"


def test_best_of_n_passes_over_what_cannot_be_scored() -> None:
    def scores(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(s) for s in (math.nan, -5.0, -7.0)]

    assert solve(PROMPT, BestOfN(scores, n=3), FakeScript(["1", "2", "3"])).answer == "2"


def test_the_instruction_ends_the_last_message_and_is_all_that_is_added() -> None:
    script = FakeScript(["5"])
    solve(PROMPT, Direct(instruction="Only the number."), script)
    [request] = script.asked
    assert [m.content for m in request.messages] == [f"{PROMPT}\n\nOnly the number."]


def test_a_run_knows_nothing_of_a_gold_answer() -> None:
    """A strategy gets a run and a prompt; neither has a way to a problem."""
    seen: list[object] = []

    def spy(run: Run, prompt: Prompt) -> Node:
        seen.extend([prompt, *vars(run).values()])
        return run.extend(run.reply(None, prompt), SHORT)[0]

    solve(PROMPT, spy, FakeScript(["5"]))
    assert not any(hasattr(value, "answer") for value in seen)
