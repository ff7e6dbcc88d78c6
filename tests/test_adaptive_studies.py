"""Cascades, difficulty and policies on recorded samples: the same as running them, by hand and by
simulation."""

import copy
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from itslab.core import (
    Completion,
    Cost,
    Node,
    OptionError,
    Output,
    Problem,
    Prompt,
    Result,
    Shape,
    Signals,
    Tree,
)
from itslab.handle import solve
from itslab.run import Run
from itslab.strategies import (
    Cascade,
    ChainOfThought,
    FirstVerified,
    ProgramAided,
    SelfConsistency,
    Stage,
)
from itslab.study import cascades, difficulty, policy
from itslab.study.cascades import Offer, cascade
from itslab.study.knapsack import best_of_each, relaxed
from itslab.study.methods import MethodResult
from itslab.study.policy import ComputeOptimal
from itslab.study.samples import Samples
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import Agreement

ONE = ChainOfThought()


def drawn(texts: list[list[str]], lengths: tuple[int, ...] = (), seed: int = 0) -> Samples:
    """Samples of problems whose answer is 1."""
    problems = tuple(Problem(str(i), f"Say {i}.", "1") for i in range(len(texts)))
    rng = np.random.default_rng(seed)
    results = []
    for problem, row in zip(problems, texts, strict=True):
        tree = Tree()
        root = tree.add(None, "user", problem.prompt)
        for i, text in enumerate(row):
            node = tree.add(root, "assistant", f"\\boxed{{{text}}}" if text else "?")
            cost = Cost(prefilled=5, decoded=lengths[i] if lengths else 10, calls=1)
            state = tuple(rng.normal(size=3) + (text == "1"))
            measured = Signals((0.5,), (1.0,), (2.0,), state)
            node.completion = Completion(
                node.text, logprobs=(-0.1,), cost=cost, signals=measured, shape=Shape(100, 10, 1)
            )
        results.append(Result(None, None, tree, Cost(), None, 0))
    return Samples(Task("ones", problems), results)


def visible(samples: Samples) -> np.ndarray:
    """A test that 1 and 2 pass, and nothing else."""
    return np.array([[float(key in ("1", "2")) for key in row] for row in samples.keys])


def test_a_cascade_is_what_the_strategy_does_over_all_orders() -> None:
    """Each problem: one greedy sample, four more of which the first that passes, then the large."""
    greedy = drawn([["3"], ["2"], ["3"]])
    more = drawn([["1", "2", "3", "3"], ["1", "1", "1", "1"], ["3", "4", "", "3"]])
    large = drawn([["1"], ["1"], ["1"]])
    for k in (1, 2, 4):
        found = cascade(
            [
                cascades.one("small", greedy, visible(greedy)),
                cascades.first_passing("small", more, visible(more), k),
                cascades.one("large", large, visible(large)),
            ]
        )
        for p in range(3):
            ends, calls = [], []
            for order in itertools.permutations(more.keys[p]):
                small = ScriptedModel(
                    replies=[f"\\boxed{{{key}}}" for key in (greedy.keys[p][0], *order)]
                )
                big = ScriptedModel(replies=["\\boxed{1}"], name="large", digest="large")

                def passes(prompt, nodes):  # type: ignore[no-untyped-def]
                    return [float(node.text in ("\\boxed{1}", "\\boxed{2}")) for node in nodes]

                stages = (
                    Stage(ONE, accept=passes),
                    Stage(FirstVerified(passes, n=k), accept=passes),
                    Stage(ONE, big),
                )
                result = solve("?", Cascade(stages), small)
                ends.append(result.answer == "1")
                calls.append((result.costs["scripted"].calls, len(big.asked)))
            assert found.result.success[p] == pytest.approx(np.mean(ends))
            own, others = np.mean(calls, axis=0) * 10
            assert found.tokens["small"][p] == pytest.approx(own)
            assert found.tokens["large"][p] == pytest.approx(others)
            assert found.result.tokens[p] == pytest.approx(own + others)
    assert found.answers.sum(axis=0) == pytest.approx(1)
    assert found.answers[:, 1].tolist() == [1, 0, 0], "a wrong one that passes"


def test_a_stage_that_could_only_be_refused_is_not_paid_unless_it_is_the_last() -> None:
    small, large = drawn([["1"], ["1"]]), drawn([["3"], ["1"]])
    unseen = [False, True]
    first = cascades.one("s", small, [[1.0], [np.nan]], blind=unseen)
    tries = cascades.first_passing("s", small, [[1.0], [np.nan]], 1, blind=unseen)
    for stage in (first, tries):
        found = cascade([stage, cascades.one("l", large, [[0.0], [0.0]])])
        assert found.tokens["s"].tolist() == [10, 0]
        assert found.tokens["l"].tolist() == [0, 10]
        assert found.answers.tolist() == [[1, 0], [0, 1]]
        assert found.result.success.tolist() == [1, 1]
        alone = cascade([stage])
        assert alone.tokens["s"].tolist() == [10, 10]
        assert alone.result.success.tolist() == [1, 1]


def test_flops_are_those_of_the_stages_that_were_asked() -> None:
    small, large = drawn([["1"], ["3"]]), drawn([["1"], ["1"]])
    found = cascade(
        [cascades.one("s", small, visible(small)), cascades.one("l", large, visible(large))]
    )
    each = MethodResult.of_samples(large, [1, 1], 1).flops
    assert found.result.flops.tolist() == [each[0], 2 * each[1]]
    assert each[0] > 0


def test_a_vote_is_accepted_where_enough_agree() -> None:
    samples = drawn([["1", "1", "2", "1"], ["2", "2", "3", ""], ["", "", "", ""]])
    offer = cascades.agreeing("m", samples, 3, 2 / 3)
    for p, row in enumerate(samples.keys):
        seen = []
        for order in itertools.permutations(row, 3):
            replies = [f"\\boxed{{{key}}}" if key else "?" for key in order]
            stages = (Stage(SelfConsistency(3), None, Agreement(), 2 / 3), Stage(ONE))
            small = ScriptedModel(replies=[*replies, "?"])
            result = solve("?", Cascade(stages), small)
            good = result.answer == "1"
            seen.append((len(small.asked) == 1, len(small.asked) == 1 and good))
        accepted, right = np.mean(seen, axis=0)
        assert offer.accepted[p] == pytest.approx(accepted)
        assert offer.right[p] == pytest.approx(right)
    assert offer.alone.success[0] == pytest.approx(1.0)
    assert offer.alone.tokens.tolist() == [30, 30, 30]


def test_a_problem_without_tests_goes_to_the_last_stage_after_one_sample() -> None:
    samples, large = drawn([["3", "1"]]), drawn([["1"]])
    unscored = np.full((1, 2), np.nan)
    offer = cascades.first_passing("s", samples, unscored, 2)
    assert (offer.accepted[0], offer.alone.tokens[0]) == (0, 10)
    found = cascade([offer, cascades.one("l", large, visible(large))])
    assert (found.result.success[0], found.result.tokens[0]) == (1, 20)


def test_where_the_last_has_no_answer_the_refused_one_stands() -> None:
    first, last = drawn([["1", "3"], ["1", "1"]]), drawn([["", "1"], ["", "2"]])
    refusing = cascades.one("s", first, [[0.0, 0.0], [0.0, 0.0]])
    found = cascade([refusing, cascades.one("l", last, [[0.0, 0.0], [0.0, 0.0]])])
    assert found.result.success.tolist() == [0.5 + 0.5 * 0.5, 0.5]
    assert found.answers.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    three = cascade([refusing, cascades.one("m", last, [[0.0, 0.0]] * 2), refusing])
    assert three.result.success.tolist() == [0.5, 1.0]
    nobody = cascades.one("m", drawn([["", ""], ["", ""]]), [[1.0, 1.0], [1.0, 1.0]])
    assert nobody.accepted.tolist() == [0, 0]
    assert cascade([nobody, nobody]).answers.tolist() == [[0, 0], [1, 1]]
    assert cascade([refusing, nobody, nobody]).result.success.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("texts", "scores", "k", "threshold", "blind"),
    [
        (["", "1", "2"], [np.nan, np.nan, 1.0], 2, 1.0, False),
        (["", ""], [np.nan, np.nan], 2, 1.0, False),
        (["", "3"], [1.0, 0.5], 2, 0.0, False),
        (["1", ""], [0.5, 0.5], 2, 0.5, False),
        (["", "1", "2"], [np.nan] * 3, 2, 1.0, True),
        (["1", "2", "3"], [0.2, 0.1, 0.9], 3, 0.9, False),
    ],
)
def test_drawing_until_one_passes_is_what_the_strategy_does(
    texts: list[str], scores: list[float], k: int, threshold: float, blind: bool
) -> None:
    class Scored:
        def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
            return [self.given[len(node.text)] for node in nodes]

        def blind(self, run: Run, prompt: Prompt) -> str:
            return "nothing to see" if blind else ""

    samples, seen = drawn([texts]), []
    offer = cascades.first_passing("m", samples, [scores], k, threshold, blind=[blind])
    for order in itertools.permutations(range(len(texts))):
        verifier = Scored()
        replies = [
            (f"\\boxed{{{texts[i]}}}" if texts[i] else "?") + " " * (20 * (i + 1)) for i in order
        ]
        verifier.given = {  # type: ignore[attr-defined]  # by length, which tells samples apart
            len(reply): scores[i] for i, reply in zip(order, replies, strict=True)
        }
        model = ScriptedModel(replies=replies)
        result = solve("?", FirstVerified(verifier, threshold, n=k), model)
        seen.append((result.answer == "1", result.cost.calls, result.answer is None))
    success, calls, silent = np.mean(seen, axis=0)
    assert offer.alone.success[0] == pytest.approx(success)
    assert offer.alone.tokens[0] == pytest.approx(10 * calls)
    assert offer.silent[0] == pytest.approx(silent)


def test_no_votes_do_not_agree() -> None:
    offer = cascades.agreeing("m", drawn([["", ""]]), 2, 1e-9)
    assert (offer.accepted[0], offer.silent[0]) == (0, 1)


def test_the_same_stage_twice_is_two_stages() -> None:
    alone = cascades.one("m", drawn([["1"]]), [[1]]).alone
    offer = Offer(
        "m",
        np.array([0.5]),
        np.array([0.25]),
        alone,
        np.array([0.0]),
        np.array([False]),
        np.array([4.0]),
        "?",
    )
    found = cascade([offer, offer])
    assert found.result.success.tolist() == [0.25 + 0.5]
    assert found.answers.tolist() == [[0.5], [0.5]]
    [flops] = offer.alone.flops
    assert found.result.flops.tolist() == [flops + 0.5 * (flops - 4)], "its prompt is there"
    other = offer._replace(asked="otherwise")
    assert cascade([offer, other]).result.flops.tolist() == [1.5 * flops]
    assert cascade([offer, offer._replace(model="n")]).result.flops.tolist() == [1.5 * flops]


def test_where_nothing_can_be_judged_and_no_other_model_is_left_the_first_answer_stands() -> None:
    greedy, more = drawn([["1"], ["1"]]), drawn([["3", "3"], ["3", "3"]])
    unseen = [False, True]
    nobody = [[0.0], [np.nan]]
    first = cascades.one("m", greedy, nobody, blind=unseen)
    found = cascade([first, cascades.first_passing("m", more, [[0.0] * 2, [np.nan] * 2], 2)])
    assert found.result.success.tolist() == [0, 1]
    assert found.result.tokens.tolist() == [30, 10]
    assert found.answers.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: cascade([]),
        lambda s: cascades.agreeing("m", s, 3, 0.5),
        lambda s: cascades.first_passing("m", s, visible(s), 3),
        lambda s: cascades.one("m", s, [[1.0]]),
        lambda s: cascades.one("m", s, visible(s), threshold="x"),
        lambda s: cascades.agreeing("m", s, 2, 0.0),
        lambda s: cascades.agreeing("m", s, 2, np.float64(1.5)),
        lambda s: cascades.one("m", s, visible(s), threshold=np.float64("nan")),
        lambda s: cascades.one("m", s, visible(s), blind=[0.5]),
        lambda s: cascades.first_passing("m", s, visible(s), 1, blind=[True] * 99),
        lambda s: cascade(
            [cascades.one("m", s, visible(s)), cascades.one("m", drawn([["1"]]), [[1.0]])]
        ),
    ],
)
def test_nonsense_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError):
        wrong(drawn([["1", "2"], ["1", "2"]]))


def test_a_turn_that_ends_in_what_a_program_printed_is_a_sample() -> None:
    problems = (Problem("0", "How much?", "4"),)
    replies = ["```python\nprint(2 + 2)\n```", "```python\nprint(5)\n```", "It is \\boxed{4}"]
    runs = ProgramAided(
        lambda program: Output("4" if "2" in program else "5"), n=3, fallback="text"
    )
    result = solve("How much?", runs, ScriptedModel(replies=replies))
    samples = Samples(Task("one", problems), [result])
    assert sorted(map(str, samples.keys[0])) == ["4", "4", "5"]
    assert samples.tokens.sum() == result.cost.decoded
    assert samples.correct.sum() == 2


# -- difficulty ------------------------------------------------------------------------------------


def world(p: int = 60, n: int = 12, seed: int = 0) -> Samples:
    """Problems of any difficulty: wrong answers are many."""
    rng = random.Random(seed)
    rates = [rng.random() for _ in range(p)]
    return drawn(
        [["1" if rng.random() < r else str(rng.randint(2, 9)) for _ in range(n)] for r in rates]
    )


def test_agreement_tells_difficulty_and_the_oracle_is_the_other_samples() -> None:
    samples = world()
    found = difficulty.estimates(samples, 4)
    assert found[difficulty.ORACLE].tolist() == samples.correct[:, 4:].mean(axis=1).tolist()
    true = found[difficulty.ORACLE]
    told = {name: np.corrcoef(found[name], true)[0, 1] for name in ("agreement", "question")}
    assert told["agreement"] > 0.6
    assert abs(told["question"]) < 0.5
    assert all((rates >= 0).all() and (rates <= 1).all() for rates in found.values())
    seen = difficulty.signals(samples, 4)
    first = samples.keys[0][:4]
    assert seen["agreement"][0, 0] == max(map(first.count, first)) / 4
    assert seen["probe"].shape == (60, 3)
    assert seen["question"].shape == (60, 2)


def test_what_is_looked_at_is_not_what_is_predicted() -> None:
    """An estimate of noise is no better than the mean: the first samples do not count twice."""
    rng = random.Random(1)
    same = drawn([[rng.choice("12") for _ in range(12)] for _ in range(80)])
    found = difficulty.estimates(same, 4)
    assert abs(np.corrcoef(found["agreement"], found[difficulty.ORACLE])[0, 1]) < 0.35


def test_too_few_samples_or_problems_of_one_kind() -> None:
    with pytest.raises(OptionError, match="less than the 4"):
        difficulty.estimates(drawn([["1"] * 4]), 4)
    alike = difficulty.estimates(drawn([["1"] * 6] * 8), 2)
    assert np.isnan(alike["agreement"]).all(), "nothing can be learned where all are right"
    assert (alike[difficulty.ORACLE] == 1).all()


def test_without_signals_nothing_is_estimated_from_states() -> None:
    samples = world()
    for node in itertools.chain.from_iterable(samples.nodes):
        assert node.completion is not None
        node.completion = replace(node.completion, signals=Signals())
    found = difficulty.estimates(samples, 4)
    assert np.isnan(found["probe"]).all()
    assert not np.isnan(found["agreement"]).any()


def test_no_answer_ever_is_no_agreement() -> None:
    mute = difficulty.signals(drawn([[""] * 6] * 3), 4)
    assert mute["agreement"].tolist() == [[0.0]] * 3
    assert mute["entropy"][:, 0] == pytest.approx(np.log(4))


# -- policies --------------------------------------------------------------------------------------


def did(success: list[float], tokens: list[float]) -> MethodResult:
    return MethodResult(np.array(success), np.array(tokens, float), np.array(tokens) * 1e9)


CHEAP = did([1, 1, 0, 0], [10, 10, 10, 10])
DEAR = did([1, 1, 1, 0], [40, 40, 40, 40])


def test_the_budget_goes_where_it_helps() -> None:
    easy = [0.9, 0.8, 0.2, 0.1]
    results = {"cheap": CHEAP, "dear": DEAR}
    fitted = ComputeOptimal.fit(easy, results, tokens=25, bins=2)
    assert fitted.choices == ("dear", "cheap"), "the hard half gets it"
    assert fitted.edges == (0.5,)
    applied = fitted.applied(easy, results)
    assert applied.success.tolist() == [1, 1, 1, 0]
    assert applied.tokens.tolist() == [10, 10, 40, 40]
    assert ComputeOptimal.fit(easy, results, tokens=24.9, bins=2).choices == ("cheap", "cheap")
    best = policy.oracle(results, tokens=17.5)
    assert best.success.sum() == 3
    assert sorted(best.tokens) == [10, 10, 10, 40]
    halfway = policy.oracle(results, tokens=13.75)
    assert (halfway.success.sum(), halfway.tokens.mean()) == (2.5, 13.75)


@pytest.mark.parametrize("seed", range(5))
def test_sharing_out_is_the_best_of_all_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gained, spent = rng.random((5, 3)), rng.integers(1, 20, (5, 3)).astype(float)
    every = [list(pick) for pick in itertools.product(range(3), repeat=5)]
    for budget in (spent.min(axis=1).sum(), 40.0, 100.0):
        sums = [(gained[range(5), pick].sum(), spent[range(5), pick].sum()) for pick in every]
        best = max(gain for gain, price in sums if price <= budget)
        pick = best_of_each(gained, spent, budget)
        assert spent[range(5), pick].sum() <= budget
        assert gained[range(5), pick].sum() == pytest.approx(best)


@pytest.mark.parametrize("groups", [1, 7, 300])
def test_with_one_mixed_nothing_is_left_that_a_linear_program_would_find(groups: int) -> None:
    rng = np.random.default_rng(groups)
    gained = rng.integers(0, 5, (groups, 4)) / 4
    spent = rng.integers(1, 30, (groups, 4)).astype(float)
    for budget in (spent.min(axis=1).sum(), 12.0 * groups, 40.0 * groups):
        every = np.kron(np.eye(groups), np.ones(4))
        found = linprog(
            -gained.ravel(), spent.reshape(1, -1), [budget], every, np.ones(groups), method="highs"
        )
        pick, (group, other, part) = relaxed(gained, spent, budget)
        rows = np.arange(groups)
        gain, price = gained[rows, pick].sum(), spent[rows, pick].sum()
        gain += part * (gained[group, other] - gained[group, pick[group]])
        price += part * (spent[group, other] - spent[group, pick[group]])
        assert gain == pytest.approx(-found.fun)
        assert price <= budget * (1 + 1e-9)


def test_many_groups_are_shared_out_in_a_moment_and_spend_what_there_is() -> None:
    rng = np.random.default_rng(0)
    gained, spent = rng.random((1000, 5)), rng.random((1000, 5))
    pick = best_of_each(gained[:60], spent[:60], 20.0)
    best, (group, other, part) = relaxed(gained[:60], spent[:60], 20.0)
    rows = np.arange(60)
    bound = gained[rows, best].sum() + part * (gained[group, other] - gained[group, best[group]])
    assert bound - 0.05 < gained[rows, pick].sum() <= bound + 1e-9
    results = {i: did(list(gained[:, i]), list(spent[:, i])) for i in range(5)}
    assert policy.oracle(results, tokens=0.3).tokens.mean() == pytest.approx(0.3)


def test_a_budget_below_the_cheapest_method_is_refused() -> None:
    with pytest.raises(OptionError, match="the cheapest methods take 40"):
        ComputeOptimal.fit([1, 2, 3, 4], {"cheap": CHEAP, "dear": DEAR}, tokens=9.9)
    exactly = ComputeOptimal.fit([1, 2, 3, 4], {"cheap": CHEAP, "dear": DEAR}, tokens=10)
    assert set(exactly.choices) == {"cheap"}


def test_a_policy_is_judged_on_problems_that_it_has_not_seen() -> None:
    """Where success is noise, fitting gains on the problems it saw and nothing on others."""
    rng = np.random.default_rng(3)
    results = {i: did(list(rng.integers(0, 2, 60)), [10.0] * 60) for i in range(12)}
    noise = list(rng.random(60))
    seen = ComputeOptimal.fit(noise, results, tokens=10, bins=6).applied(noise, results)
    unseen = policy.cross_fitted(noise, results, tokens=10, bins=6)
    assert seen.success.mean() > 0.65
    assert abs(unseen.success.mean() - 0.5) < 0.15
    assert policy.oracle(results, tokens=10).success.mean() == 1


def test_problems_that_cost_more_than_all_of_them_are_given_the_cheapest_method() -> None:
    """10 tokens buy the cheap method for all five problems on average, but not for any last four
    without the one of 2."""
    cheap, dear = did([1] * 5, [2, 12, 12, 12, 12]), did([1] * 5, [40] * 5)
    both = {"cheap": cheap, "dear": dear}
    assert policy.cross_fitted([1, 2, 3, 4, 5], both, tokens=10).tokens.tolist() == [2, *[12] * 4]
    with pytest.raises(OptionError, match="the cheapest methods take"):
        policy.cross_fitted([1, 2, 3, 4, 5], both, tokens=9.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agreement", "question"])
def test_what_a_problem_is_answered_by_does_not_depend_on_its_own_gold_answer(name: str) -> None:
    """With all marks of a problem turned round, it is still asked in the same way."""
    samples = world(p=40)
    cheap, dear = (np.full(40, tokens) for tokens in (1.0, 4.0))

    def chosen(marks: np.ndarray) -> np.ndarray:
        seen = replace_marks(samples, marks)
        rates = seen.correct[:, 4:].mean(axis=1)
        results = {"one": did(rates * 0.8, cheap), "four": did(np.minimum(rates + 0.1, 1), dear)}
        by = difficulty.estimators(seen, 4)[name]
        return policy.cross_fitted(by, results, tokens=2.5, bins=3).tokens

    plain = chosen(samples.correct)
    for i in (0, 16, 32):
        turned = samples.correct.copy()
        turned[i] = ~turned[i]
        assert chosen(turned)[i] == plain[i]


def replace_marks(samples: Samples, marks: np.ndarray) -> Samples:
    other = copy.copy(samples)
    other.correct = marks
    return other


def test_no_bin_is_empty() -> None:
    easy = [1, 1, 2, 2, 9, 9, 9, 9]
    dear, cheap = did([1] * 8, [100] * 8), did([0] * 8, [10] * 8)
    for results in ({"dear": dear, "cheap": cheap}, {"cheap": cheap, "dear": dear}):
        fitted = ComputeOptimal.fit(easy, results, tokens=11)
        assert fitted.edges == (1.5, 5.5)
        assert set(fitted.choices) == {"cheap"}


def test_bins_without_problems_and_estimates_that_are_missing() -> None:
    alike = ComputeOptimal.fit([0.5] * 4, {"dear": DEAR}, tokens=50, bins=4)
    assert (alike.edges, alike.choices) == ((), ("dear",))
    fitted = ComputeOptimal.fit([0.9, 0.8, np.nan, 0.1], {"a": CHEAP, "b": DEAR}, 25, bins=2)
    assert fitted.choose([np.nan, 0.95]) == list(fitted.choices)
    endless = ComputeOptimal.fit([np.inf, 0.8, -np.inf, 0.1], {"a": CHEAP, "b": DEAR}, 25, bins=4)
    assert np.isfinite(endless.edges).all()


def test_its_router_runs_and_refuses_another_model() -> None:
    fitted = ComputeOptimal((0.6,), (4, 2), digest="abc")
    router = fitted.router(Agreement(), {2: None, 4: SelfConsistency(4)}, SelfConsistency(2))
    split = ScriptedModel(replies=[f"\\boxed{{{key}}}" for key in "1233"], digest="abc")
    assert solve("?", router, split).answer == "3"
    with pytest.raises(OptionError, match="fitted on the model abc"):
        solve("?", router, ScriptedModel(replies=["\\boxed{1}"] * 4, digest="def"))
    with pytest.raises(OptionError, match="with one for 4"):
        fitted.router(Agreement(), {2: None})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ComputeOptimal((0.5,), ("a",)),
        lambda: ComputeOptimal((0.5, 0.5), ("a", "b", "c")),
        lambda: ComputeOptimal.fit([1, 2], {"a": CHEAP}, tokens=10),
        lambda: ComputeOptimal.fit([1, 2, 3, 4], {}, tokens=10),
        lambda: ComputeOptimal.fit([1, 2, 3, 4], {"a": CHEAP}, tokens=0),
        lambda: policy.cross_fitted([1, 2, 3, 4], {"a": CHEAP}, tokens=10),
        lambda: policy.oracle({}, tokens=10),
        lambda: policy.oracle({"a": did([np.nan], [1])}, tokens=10),
        lambda: ComputeOptimal.fit([], {"a": did([], [])}, tokens=10),
        lambda: ComputeOptimal.fit("abcd", {"a": CHEAP}, tokens=10),
        lambda: ComputeOptimal.fit(0.3, {"a": CHEAP}, tokens=10),
        lambda: ComputeOptimal((0.5,), ("a", "b")).choose(0.3),
        lambda: ComputeOptimal((0.5,), ("a", "b")).choose(["x"]),
        lambda: ComputeOptimal((0.5,), ("a", "b")).applied([1, 2, 3, 4], {"a": CHEAP}),
        lambda: policy.oracle({"a": CHEAP, "b": did([1], [1])}, tokens=10),
    ],
)
def test_what_is_no_policy_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError):
        wrong()
