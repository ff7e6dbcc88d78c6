"""Estimators against enumeration, intervals against simulation."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itslab.answers import as_weights, vote
from itslab.core import OptionError
from itslab.study.selection import best_at_k, majority_at_k, pass_at_k, until, weighted_at_k
from itslab.study.statistics import auroc, difference, mean


def enumerate_orders(n, select):
    """Mean over all orders of n samples of what ``select`` makes of the first k, for k = 1 … n."""
    orders = list(itertools.permutations(range(n)))
    return [sum(select(order[:k]) for order in orders) / len(orders) for k in range(1, n + 1)]


# -- coverage --------------------------------------------------------------------------------------


def test_pass_at_k_by_hand():
    # 1 of 4 right: k samples miss it with chance 3/4, 2/4, 1/4, 0
    assert pass_at_k([[1, 0, 0, 0]], (1, 2, 3, 4)).tolist() == [[0.25, 0.5, 0.75, 1.0]]


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_pass_at_k_equals_enumeration(correct):
    n = len(correct)
    expected = enumerate_orders(n, lambda drawn: any(correct[i] for i in drawn))
    assert np.allclose(pass_at_k([correct], range(1, n + 1))[0], expected)


def test_pass_at_k_stays_exact_where_a_float_product_overflows():
    correct = np.arange(1000) < 1
    assert np.allclose(pass_at_k([correct], (1, 500, 999))[0], [0.001, 0.5, 0.999], rtol=1e-12)


# -- stopping early --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.booleans()), min_size=1, max_size=5
    )
)
def test_stopping_at_the_first_that_is_good_enough_equals_enumeration(samples):
    scores, correct = zip(*samples, strict=True)
    ended, drawn = [], []
    for order in itertools.permutations(range(len(samples))):
        stops = [place for place, i in enumerate(order) if scores[i] >= 1]
        drawn.append(stops[0] + 1 if stops else len(order))
        best = max(order, key=lambda i: -math.inf if math.isnan(scores[i]) else scores[i])
        ended.append(correct[order[stops[0]] if stops else best])
    chance, count = until([scores], [correct], 1.0)
    assert (chance[0], count[0]) == pytest.approx((np.mean(ended), np.mean(drawn)))


# -- majority --------------------------------------------------------------------------------------

SAMPLES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1, max_size=6
)


def test_majority_by_hand():
    # votes a, a, b with a right: any two hold an a, and a tie falls either way
    chance = majority_at_k([["a", "a", "b"]], [[1, 1, 0]], (1, 2, 3))
    assert np.allclose(chance, [[2 / 3, 1 / 3 + 2 / 3 / 2, 1]])


def test_a_tie_is_won_by_the_earliest_so_by_each_with_equal_chance():
    assert np.allclose(majority_at_k([["a", "b", "c", "d"]], [[1, 0, 0, 0]], (4,)), 0.25)


def test_abstentions_lose_only_when_alone():
    chance = majority_at_k([[None, None, "a"]], [[0, 0, 1]], (1, 2, 3))
    assert np.allclose(chance, [[1 / 3, 2 / 3, 1]])


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_majority_equals_the_vote_over_all_orders(samples):
    keys, correct = [key for key, _ in samples], [mark for _, mark in samples]

    def right(drawn):
        winner = vote([keys[i] for i in drawn])
        return winner is not None and correct[drawn[winner]]

    n = len(samples)
    chance = majority_at_k([keys], [correct], range(1, n + 1))[0]
    assert np.allclose(chance, enumerate_orders(n, right))


def test_problems_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    keys = [[str(k) for k in row] for row in rng.integers(0, 5, (20, 12))]
    correct = [[key == "0" for key in row] for row in keys]
    together = majority_at_k(keys, correct, (1, 3, 8))
    alone = [majority_at_k([k], [c], (1, 3, 8))[0] for k, c in zip(keys, correct, strict=True)]
    assert np.allclose(together, alone)


def test_one_sample_is_the_same_for_every_selector():
    rng = np.random.default_rng(1)
    correct = rng.random((10, 8)) < 0.4
    keys = [["right" if c else f"wrong{i}" for i, c in enumerate(row)] for row in correct]
    for chance in (
        pass_at_k(correct, (1,)),
        majority_at_k(keys, correct, (1,)),
        best_at_k(rng.random((10, 8)), correct, (1,)),
    ):
        assert np.allclose(chance[:, 0], correct.mean(axis=1))


def test_all_counts_of_a_hundred_problems_take_under_a_second():
    rng = np.random.default_rng(2)
    keys = [[str(k) for k in row] for row in rng.integers(0, 40, (100, 16))]
    correct = np.array([[key == "0" for key in row] for row in keys])
    began = time.thread_time()
    majority_at_k(keys, correct, (1, 2, 4, 8, 16))
    best_at_k(rng.random((100, 16)), correct, (1, 2, 4, 8, 16))
    assert time.thread_time() - began < 1


# -- weighted majority -----------------------------------------------------------------------------


def test_weighted_majority_by_hand():
    # one sure right sample against two unsure wrong ones: it wins whenever it is drawn
    keys, correct = [["a", "b", "b"]], [[1, 0, 0]]
    chance = weighted_at_k(keys, [[0.9, 0.2, 0.2]], correct, (1, 2, 3))
    assert np.allclose(chance, [[1 / 3, 2 / 3, 1]])


def test_equal_weights_are_a_plain_vote():
    rng = np.random.default_rng(3)
    keys = [[str(k) for k in row] for row in rng.integers(0, 5, (20, 10))]
    correct = [[key == "0" for key in row] for row in keys]
    weighted = weighted_at_k(keys, np.full((20, 10), 0.7), correct, (1, 2, 5, 10))
    assert np.allclose(weighted, majority_at_k(keys, correct, (1, 2, 5, 10)))


@pytest.mark.parametrize("weigh", ["score", "exp", "rank"])
@settings(max_examples=40, deadline=None)
@given(SAMPLES, st.permutations([0.125, 0.25, 0.375, 0.5, 0.5, 0.875]), st.sets(st.integers(0, 5)))
def test_weighted_majority_equals_the_vote_over_all_orders(weigh, samples, scores, unscored):
    n = len(samples)
    keys, correct = [key for key, _ in samples], [mark for _, mark in samples]
    scores = [math.nan if i in unscored else score for i, score in enumerate(scores[:n])]

    def right(drawn):
        # what has no answer has no rank either
        said = [math.nan if keys[i] is None else scores[i] for i in drawn]
        winner = vote([keys[i] for i in drawn], as_weights(said, weigh))
        return winner is not None and correct[drawn[winner]]

    chance = weighted_at_k([keys], [scores], [correct], range(1, n + 1), weigh)[0]
    assert np.allclose(chance, enumerate_orders(n, right))


def test_random_subsets_come_close_to_all_of_them():
    rng = np.random.default_rng(4)
    keys = [[str(k) for k in row] for row in rng.integers(0, 4, (30, 20))]
    correct = [[key == "0" for key in row] for row in keys]
    scores = np.full((30, 20), 1.0)
    drawn = weighted_at_k(keys, scores, correct, (10,)).mean()
    assert drawn == pytest.approx(majority_at_k(keys, correct, (10,)).mean(), abs=0.01)


def test_a_negative_score_is_no_weight():
    with pytest.raises(OptionError, match="'exp' or 'rank'"):
        weighted_at_k([["a"]], [[-1.0]], [[1]], (1,))


# -- best of k -------------------------------------------------------------------------------------


def test_best_of_k_by_hand():
    # the right one is second best: it wins unless the best is drawn
    chance = best_at_k([[0.9, 0.8, 0.1]], [[0, 1, 0]], (1, 2, 3))
    assert np.allclose(chance, [[1 / 3, 1 / 3, 0]])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, -math.inf, math.nan]), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_best_of_k_equals_enumeration(samples):
    scores = [(not math.isnan(score), score) for score, _ in samples]
    correct = [mark for _, mark in samples]
    expected = enumerate_orders(
        len(samples), lambda drawn: correct[max(drawn, key=scores.__getitem__)]
    )
    chance = best_at_k([[score for score, _ in samples]], [correct], range(1, len(samples) + 1))
    assert np.allclose(chance[0], expected)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ks", [(0,), (4,), (-1,), (1, 9)])
def test_more_samples_than_there_are_is_an_error(ks):
    with pytest.raises(OptionError, match="from 1 to the 3 samples there are"):
        pass_at_k([[1, 0, 0]], ks)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match="scores"):
        best_at_k([[1.0, 2.0]], [[1, 0, 0]], (1,))
    with pytest.raises(OptionError, match="keys"):
        majority_at_k([["a"]], [[1, 0, 0]], (1,))
    with pytest.raises(OptionError, match="keys"):
        majority_at_k([["a"], ["b"]], [[1]], (1,))
    with pytest.raises(OptionError, match="correct"):
        pass_at_k([1, 0], (1,))
    with pytest.raises(OptionError, match="values"):
        mean([0.2, 1.2])
    with pytest.raises(OptionError, match="values"):
        mean([])
    with pytest.raises(OptionError, match="values"):
        mean([0.2, math.nan])
    with pytest.raises(OptionError, match="b="):
        difference([0.1, 0.2], [0.1])


# -- intervals -------------------------------------------------------------------------------------


def test_the_interval_of_plain_proportions_is_wilsons():
    # 5 of 10 right; Wilson by hand with t = 2.262 and n = 10 × 9/10, the variance being unbiased
    estimate = mean([1, 0] * 5)
    t2 = 2.2622**2
    half = math.sqrt(t2 / 4 / 9 + t2 * t2 / 4 / 81) / (1 + t2 / 9)
    assert estimate.value == 0.5
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)
    assert str(estimate) == f"0.500 [{0.5 - half:.3f}, {0.5 + half:.3f}]"


def test_the_interval_stays_inside_and_is_never_empty():
    for values in ([0.0] * 20, [1.0] * 20, [0.0] * 19 + [1.0], [0.01, 0.02, 0.0]):
        estimate = mean(values)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert estimate.low < estimate.high


def test_one_problem_says_nothing_of_others():
    assert (mean([0.5]).low, mean([0.5]).high) == (0, 1)


def test_the_interval_narrows_with_the_root_of_the_number_of_problems():
    values = np.tile([0.0, 0.25, 0.5, 1.0], 25)
    few, many = mean(values), mean(np.tile(values, 4))
    assert (many.high - many.low) / (few.high - few.low) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("samples", [1, 16])
@pytest.mark.parametrize(("accuracy", "spread"), [(0.3, 0.6), (0.5, 1.0), (0.8, 2.0)])
def test_95_percent_intervals_cover_the_mean_of_all_problems(samples, accuracy, spread):
    rng = np.random.default_rng(3)
    skill = rng.beta(accuracy * spread, (1 - accuracy) * spread, (2000, 100))
    estimates = [mean(y) for y in rng.binomial(samples, skill) / samples]
    covered = np.mean([e.low <= accuracy <= e.high for e in estimates])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("samples", [1, 16])
def test_95_percent_intervals_cover_the_difference(samples):
    rng = np.random.default_rng(4)
    skill = rng.beta(0.6, 0.9, (2000, 100))
    better = skill + 0.4 * skill * (1 - skill)
    grid = rng.beta(0.6, 0.9, 1_000_000)
    gain = np.mean(0.4 * grid * (1 - grid))
    a, b = rng.binomial(samples, better) / samples, rng.binomial(samples, skill) / samples
    estimates = [difference(x, y) for x, y in zip(a, b, strict=True)]
    covered = np.mean([e.low <= gain <= e.high for e in estimates])
    assert 0.93 <= covered <= 0.97


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(5)
    skill = rng.beta(0.5, 0.5, 100)
    a, b = np.clip(skill + 0.05, 0, 1), skill
    paired = difference(a, b)
    assert paired.value == pytest.approx(np.mean(a - b))
    assert paired.low > 0
    assert mean(a).low < mean(b).high  # unpaired, the two cannot be told apart


def test_what_never_differed_may_differ_on_other_problems():
    same = difference([0.2, 0.8, 0.4], [0.2, 0.8, 0.4])
    most = mean([0, 0, 0]).high
    assert (same.value, same.low, same.high) == (0, -most, most)
    assert most > 0.5


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
def test_the_difference_changes_sign_with_its_sides(pairs):
    a, b = zip(*pairs, strict=True)
    one, other = difference(a, b), difference(b, a)
    assert one.value == pytest.approx(-other.value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


# -- discrimination --------------------------------------------------------------------------------


def test_auroc_by_hand():
    scores = [[0.9, 0.8, 0.1], [0.5, 0.5, 0.5], [0.3, 0.2, math.nan], [0.1, 0.2, 0.3]]
    correct = [[1, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert auroc(scores, correct)[:3].tolist() == [1.0, 0.5, 0.0]
    assert math.isnan(auroc(scores, correct)[3])


def test_estimates_are_told_in_percent_and_in_points():
    assert mean([1, 0, 1, 0]).percent.startswith("50% [")
    assert difference([0.2, 0.4, 0.3], [0.2, 0.404, 0.3]).points.startswith("+0 [")
    assert difference([0.1, 0.0], [0.4, 0.2]).points.startswith("-25 [")
