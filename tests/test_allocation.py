"""One budget for many problems: who gets the next wave, and that nothing is overdrawn."""

import math
import random
from collections.abc import Sequence

import pytest

from itslab.core import (
    Budget,
    Completion,
    Cost,
    Node,
    OptionError,
    Problem,
    Prompt,
    Request,
    Sampling,
    as_messages,
)
from itslab.handle import start
from itslab.run import Run
from itslab.strategies import AdaptiveConsistency, FirstVerified
from itslab.strategies.stopping import BetaStop, DecidedStop
from itslab.study.allocation import PassValue, VoteValue, allocate
from itslab.tasks import Task
from itslab.testing import ScriptedModel

NEVER = BetaStop(0.9999)


def task(*prompts: str) -> Task:
    return Task("t", tuple(Problem(f"p{i}", prompt, "1") for i, prompt in enumerate(prompts)))


def model(answers: dict[str, str]) -> ScriptedModel:
    """Says the letters of a problem's script, one for each sample and round again."""

    def say(request: Request, index: int) -> str:
        script = next(v for k, v in answers.items() if k in request.messages[-1].content)
        return f"\\boxed{{{script[index % len(script)]}}}"

    return ScriptedModel(replies=say, batch_size=4)


def is_one(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [float("{1}" in node.text) for node in nodes]


ANSWERS = {"easy": "1", "hard": "2345", "split": "1212"}
TASK = task("easy", "hard", "split")


def votes(budget: Budget, wave: int = 1, **options: object):  # type: ignore[no-untyped-def]
    strategy = AdaptiveConsistency(NEVER, n=64, wave=wave)
    return allocate(TASK, strategy, model(ANSWERS), VoteValue(), budget, progress=False)


# -- what a wave is worth --------------------------------------------------------------------------


def test_a_sure_vote_is_worth_less_than_a_split_one() -> None:
    worth = {}
    for name, script in (("sure", "1111"), ("split", "1212")):
        strategy = AdaptiveConsistency(NEVER, n=4, wave=4)
        handle = start(name, strategy, model({name: script}))
        handle.result(10)
        worth[name] = VoteValue()(handle.run)
    assert 0 < worth["sure"] < worth["split"]


def test_a_problem_that_failed_often_is_worth_less_and_a_solved_one_nothing() -> None:
    def worth(script: str) -> float:
        handle = start("p", FirstVerified(is_one, n=len(script)), model({"p": script}))
        handle.result(10)
        return PassValue()(handle.run)

    assert worth("2") == pytest.approx(1 / 3)  # Laplace: (0 + 1) ÷ (1 + 2), of a token
    assert worth("222") == pytest.approx(1 / 5)
    assert worth("21") == 0


# -- who is let on ---------------------------------------------------------------------------------


def test_every_problem_gets_a_wave_and_the_split_one_the_most() -> None:
    easy, hard, split = votes(Budget(samples=30))
    drawn = [result.cost.calls for result in (easy, hard, split)]
    assert sum(drawn) == 30
    assert drawn[2] > drawn[0] >= 1
    assert easy.answer == "1"
    assert {result.stopped_by for result in (easy, hard, split)} == {"samples"}


def test_a_problem_that_is_solved_leaves() -> None:
    strategy = FirstVerified(is_one, n=64)
    results = allocate(
        TASK, strategy, model(ANSWERS), PassValue(), Budget(samples=20), progress=False
    )
    drawn = [result.cost.calls for result in results]
    assert drawn == [1, 18, 1]  # easy and split pass at once
    assert [result.answer for result in results][::2] == ["1", "1"]


def test_what_stops_by_itself_leaves_the_rest_of_the_budget_unspent() -> None:
    strategy = AdaptiveConsistency(DecidedStop(), n=4, wave=1)
    results = allocate(
        TASK, strategy, model(ANSWERS), VoteValue(), Budget(samples=99), progress=False
    )
    assert all(result.stopped_by is None for result in results)
    assert sum(result.cost.calls for result in results) <= 12


@pytest.mark.parametrize("wave", [1, 3])
@pytest.mark.parametrize("limit", ["tokens", "samples"])
@pytest.mark.parametrize("most", [3, 4, 7, 20, 41])
def test_a_budget_is_never_overdrawn(limit: str, most: int, wave: int) -> None:
    results = votes(Budget(**{limit: most}), wave)
    paid = [getattr(r.cost, {"tokens": "decoded", "samples": "calls"}[limit]) for r in results]
    assert sum(paid) <= most
    assert sum(paid) > most - 3 * wave


@pytest.mark.parametrize("budget", [Budget(samples=9), Budget(tokens=9), Budget(samples=3)])
def test_a_wave_larger_than_a_share_leaves_something_for_everybody(budget: Budget) -> None:
    results = votes(budget, wave=8)
    assert all(result.cost.calls >= 1 for result in results)
    assert all(result.answer is not None for result in results)


def test_a_verifier_that_asks_a_model_is_refused() -> None:
    def judge(run: Run, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        drawn = run.ask([Request(as_messages("Right?"))] * len(nodes), run.backend)
        return [float(len(each.completions)) for each in drawn]

    with pytest.raises(OptionError, match="one that asks no model"):
        allocate(
            TASK,
            FirstVerified(judge, n=8),
            ScriptedModel(replies=lambda request, index: "\\boxed{1}", batch_size=4),
            PassValue(9.0),
            Budget(samples=60),
            progress=False,
        )


def test_a_value_that_is_no_number_is_refused() -> None:
    strategy = AdaptiveConsistency(NEVER, n=8, wave=1)
    for worth in (math.nan, "much", None):
        with pytest.raises(OptionError, match="one that returns numbers"):
            allocate(
                TASK,
                strategy,
                model(ANSWERS),
                lambda run, worth=worth: worth,
                Budget(samples=20),
                progress=False,
            )


def test_samples_are_those_of_runs_on_their_own() -> None:
    rng = random.Random(0)
    scripts = {f"q{i}-": "".join(rng.choices("123", k=16)) for i in range(6)}
    problems = task(*scripts)
    strategy = AdaptiveConsistency(NEVER, n=16, wave=2)
    results = allocate(
        problems, strategy, model(scripts), VoteValue(), Budget(samples=50), progress=False
    )
    for (name, script), result in zip(scripts.items(), results, strict=True):
        drawn = [node.text for node in result.tree if node.completion]
        assert drawn == [f"\\boxed{{{letter}}}" for letter in script[: len(drawn)]], name


@pytest.mark.parametrize("budget", [Budget(samples=2), Budget(tokens=2)])
def test_a_budget_smaller_than_a_sample_each_is_refused(budget: Budget) -> None:
    with pytest.raises(OptionError, match="at least 3"):
        votes(budget)


@pytest.mark.parametrize("bad", [{"value": 3}, {"strategy": "x"}, {"budget": 3}])
def test_arguments_are_checked(bad: dict[str, object]) -> None:
    given = {
        "task": TASK,
        "strategy": AdaptiveConsistency(),
        "backend": model(ANSWERS),
        "value": VoteValue(),
        "budget": Budget(samples=9),
    }
    with pytest.raises(OptionError):
        allocate(**(given | bad))  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        PassValue(math.nan)
    with pytest.raises(OptionError):
        AdaptiveConsistency(sampling=Sampling(max_tokens=0))


def test_a_run_whose_server_ended_its_samples_says_so() -> None:
    def say(request: Request, index: int) -> Completion:
        refused = "hard" in request.messages[-1].content
        finish, why = ("cancelled", "content_filter") if refused else ("end", "")
        cost = Cost(decoded=2, calls=1)
        return Completion(f"\\boxed{{{index % 2}}}", cost=cost, finish=finish, refused=why)

    strategy = AdaptiveConsistency(NEVER, n=16, wave=4)
    results = allocate(
        TASK, strategy, ScriptedModel(replies=say), VoteValue(), Budget(tokens=60), progress=False
    )
    assert [result.stopped_by for result in results] == ["tokens", "server", "tokens"]
