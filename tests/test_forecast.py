"""What requests are thought to cost: by hand, on recorded samples, and as a tier is learned."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import itslab as its
from itslab import tasks
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Node,
    OptionError,
    Problem,
    Prompt,
    Result,
    Sampling,
    Shape,
    Tree,
)
from itslab.run import Run
from itslab.serving.forecast import KEPT, Forecast, Ratio
from itslab.serving.lengths import Lengths, quality
from itslab.share import Recording
from itslab.study.runner import solve_all
from itslab.study.samples import Samples
from itslab.tasks import Task

VOTE = its.SelfConsistency(4, sampling=Sampling(max_tokens=100))
SHAPE = Shape(1_000, 100, 10)
LENGTHS = Lengths((1.0, 0.0), math.log(2), (0.0, 0.0), (9.0, 9.0), (1.5, 1.25), (10, 0.5))


def drawn(tokens: list[list[int]], questions: list[str]) -> Samples:
    """Samples of so many tokens each, for questions that are each a cluster."""
    problems = tuple(Problem(str(i), text, "x") for i, text in enumerate(questions))
    results = []
    for question, row in zip(questions, tokens, strict=True):
        tree = Tree()
        asked = tree.add(None, "user", question)
        for n in row:
            cost = Cost(prefilled=3 + 2 * len(question), decoded=n, calls=1)
            node = tree.add(asked, "assistant", status="open")
            tree.finish(node, Completion("x", cost=cost))
        results.append(Result(None, None, tree, Cost(), None, 0.0))
    return Samples(Task("made", problems, extract=str.strip, grade=lambda p, a: True), results)


@pytest.fixture(scope="module")
def recorded() -> Samples:
    """Sixteen chains for each of a hundred word problems, as data/ holds them."""
    llm = Recording("replay").backend("qwen2.5-coder-0.5b", "gsm_symbolic")
    words = tasks.load("gsm_symbolic", n=100, seed=0, difficulty=1.0)
    vote = {"vote": its.SelfConsistency(16, sampling=Sampling(signals=True))}
    return Samples(words, solve_all(words, vote, llm, progress=False)["vote"])


# -- lengths ---------------------------------------------------------------------------------------


def test_lengths_by_hand() -> None:
    assert LENGTHS.tokens("") == pytest.approx(2)
    assert LENGTHS.tokens("one two three") == pytest.approx(2 * 4)
    assert replace(LENGTHS, high=(1.0, 9.0)).tokens("one two three") == pytest.approx(2 * math.e)
    assert [LENGTHS.within(n) for n in (0, 1, 2, 99)] == [1.5, 1.5, 1.25, 1.25]


def test_what_questions_tell_is_found_again() -> None:
    """Of samples that are 6 × (1 + words) tokens long, give or take a chance of both alike."""
    rng = np.random.default_rng(0)
    questions = ["word " * n for n in rng.integers(3, 60, 80)]
    tokens = [
        [round(6 * (1 + len(q.split())) * f) for f in rng.choice([0.8, 1.2], 6)] for q in questions
    ]
    samples = drawn(tokens, questions)
    lengths = Lengths.fit(samples)
    assert lengths.slopes[0] == pytest.approx(1, abs=0.05)
    assert lengths.tokens("word " * 20) == pytest.approx(6 * 21, rel=0.1)
    assert lengths.prompt == pytest.approx((3, 2))
    assert lengths.spread[-1] < lengths.spread[0]
    found = quality(samples)
    assert found.r2 > 0.95 > found.r2_sample
    assert found.coverage == pytest.approx(0.8, abs=0.1)


def test_questions_that_tell_nothing_are_said_to() -> None:
    rng = np.random.default_rng(1)
    questions = ["word " * n for n in rng.integers(3, 60, 80)]
    samples = drawn(rng.integers(50, 300, (80, 4)).tolist(), questions)
    found = quality(samples)
    assert found.r2 < 0.1
    assert found.coverage == pytest.approx(0.8, abs=0.1)


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(OptionError, match="clusters=2 is not valid"):
        Lengths.fit(drawn([[5], [6]], ["a", "b"]))


def test_recorded_word_problems_are_told_in_part_and_covered_as_promised(recorded: Samples) -> None:
    found = quality(recorded)
    assert found.problems == 100
    assert 0.2 < found.r2 < 0.35  # a quarter of what differs between questions
    assert 0.0 < found.r2_sample < found.r2  # most of a single sample's length is chance
    assert found.error < found.plain
    assert found.coverage == pytest.approx(0.8, abs=0.03)
    told = [Lengths.fit(recorded).tokens(problem.prompt) for problem in recorded.task]
    assert sum(told) == pytest.approx(recorded.tokens.mean(axis=1).sum())
    assert quality(recorded, 0.95).coverage == pytest.approx(0.95, abs=0.02)


def test_a_vote_on_recorded_problems_is_foretold(recorded: Samples) -> None:
    """Fitted to the first half, asked about the second, and corrected as it goes."""
    samples = recorded
    half = Task("half", samples.task.problems[:50], samples.task.extract, samples.task.grade)
    forecast = Forecast.fit(Samples(half, samples.results[:50]))
    assert forecast.shape is not None
    thought, paid, below, flops = 0.0, 0, 0, []
    for problem, result in list(zip(samples.task, samples.results, strict=True))[50:]:
        expected = forecast.expect("vote", problem.prompt, its.SelfConsistency(16))
        thought, paid = thought + expected.tokens, paid + result.cost.decoded
        below += result.cost.decoded <= expected.high
        flops.append(expected.flops / result.cost.flops)
        forecast.learn("vote", expected, result.cost)
    assert thought == pytest.approx(paid, rel=0.1)
    assert 35 <= below <= 46  # of 50, 40 expected
    assert np.mean(flops) == pytest.approx(1, abs=0.1)


# -- requests --------------------------------------------------------------------------------------


def test_without_anything_known_it_is_the_most_that_the_tier_may_take() -> None:
    forecast = Forecast()
    expected = forecast.expect("vote", "How much is 2 + 2?" * 2, VOTE)
    assert expected[:4] == (400, 400, 400, 9)  # four characters a token
    assert expected.flops == 0
    assert math.isnan(expected.seconds)
    assert forecast.expect("vote", "?", VOTE, Budget(tokens=70)).tokens == 70
    assert forecast.expect("vote", "?", VOTE, Budget(samples=3)).tokens == 300


def test_by_hand_from_lengths_and_shape() -> None:
    forecast = Forecast(LENGTHS, SHAPE, speed=20)
    expected = forecast.expect("vote", "a b c", VOTE)
    assert expected.tokens == pytest.approx(4 * 8)
    assert expected.high == pytest.approx(4 * 8 * 1.25)
    assert expected.seconds == pytest.approx(1.6)
    assert expected.prefilled == 10 + 0.5 * 5
    prompt, sample = SHAPE.flops(0, 12, 1), SHAPE.flops(12, 12 + 7, 8)
    assert expected.flops == pytest.approx(prompt + 4 * sample)
    long = forecast.expect("vote", "word " * 200, VOTE)
    assert long.tokens == long.high == long.most == 400  # max_tokens of each


def test_a_tier_is_corrected_by_what_it_costs() -> None:
    """Requests take a third of the most, with a spread; others stay as they are."""
    rng = np.random.default_rng(0)
    forecast = Forecast()
    below = []
    for number in range(400):
        expected = forecast.expect("vote", "?", VOTE)
        paid = round(rng.uniform(100, 166))
        if number >= 20:
            below.append(paid <= expected.high)
        cost = Cost(prefilled=5, decoded=paid, calls=4, seconds=paid / 50, flops=paid * 1e9)
        forecast.learn("vote", expected, cost)
        assert expected.tokens <= expected.high <= expected.most
    assert expected.tokens == pytest.approx(133, rel=0.1)
    assert np.mean(below) == pytest.approx(0.8, abs=0.05)
    assert expected.seconds == pytest.approx(expected.tokens / 50)
    assert expected.flops == pytest.approx(expected.tokens * 1e9, rel=0.05)
    assert len(forecast.tiers["vote"].seen) == KEPT
    assert forecast.expect("other", "?", VOTE).tokens == 400


def test_a_tier_that_changes_is_followed() -> None:
    forecast = Forecast(LENGTHS)
    for paid in [20] * 50 + [60] * 100:
        expected = forecast.expect("vote", "a b c", VOTE)
        forecast.learn("vote", expected, Cost(decoded=paid))
    assert forecast.expect("vote", "a b c", VOTE).tokens == pytest.approx(60, rel=0.01)


def test_a_ratio_is_that_of_sums_and_begins_with_what_was_thought() -> None:
    ratio = Ratio(1.0)
    assert ratio.value == 1
    ratio.learn(50, 100)
    assert ratio.value == pytest.approx(0.75)
    unknown = Ratio()
    assert math.isnan(unknown.value)
    unknown.learn(50, 100)
    unknown.learn(30, 300)
    assert unknown.value == pytest.approx(80 / 400)


def test_a_strategy_of_which_nothing_is_known_needs_a_budget() -> None:
    def strange(run: Run, prompt: Prompt) -> Node:
        raise NotImplementedError

    with pytest.raises(OptionError, match=r"Budget\(tokens=…\)"):
        Forecast().expect("strange", "?", strange)
    assert Forecast().expect("strange", "?", strange, Budget(tokens=50)).tokens == 50


def test_options_are_checked() -> None:
    for quantile in (0, 1, math.nan):
        with pytest.raises(OptionError, match="quantile"):
            Forecast(quantile=quantile)
    with pytest.raises(OptionError, match="speed"):
        Forecast(speed=0)
