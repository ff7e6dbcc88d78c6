"""Estimators against enumeration, intervals by hand and beside scipy's; see test_coverage.py."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from itslab.answers import as_weights, vote
from itslab.core import OptionError
from itslab.study import statistics
from itslab.study.selection import best_at_k, first_passing, majority_at_k, pass_at_k, weighted_at_k
from itslab.study.statistics import Estimate, auroc, difference, holm, mean, proportion


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


def test_the_first_of_two_that_passes_by_hand():
    """Right and passing, wrong and passing, right and failing, wrong and failing: draw two.

    Of six pairs five hold one that passes, which of the two in half of all orders: 5/6 × 1/2. The
    last one ends on the better of the failing ones, which is right. Half of all first draws pass.
    """
    scores, correct = [[1.0, 1.0, 0.5, 0.0]], [[1, 0, 1, 0]]
    chance, drawn = first_passing(scores, correct, 1.0, 2)
    assert (chance[0], drawn[0]) == pytest.approx((5 / 12 + 1 / 6, 1 + 1 / 2))


def test_where_nothing_is_scored_one_sample_is_taken():
    chance, drawn = first_passing([[math.nan] * 4, [0.0] * 4], [[1, 0, 0, 0]] * 2, 1.0, 3)
    assert (list(chance), list(drawn)) == ([0.25, 0.25], [1, 3])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, -math.inf, math.nan]), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.data(),
)
def test_stopping_at_the_first_that_is_good_enough_equals_all_subsets_and_orders(samples, data):
    scores, correct = zip(*samples, strict=True)
    k = data.draw(st.integers(1, len(samples)))
    ended, drawn = [], []
    for order in itertools.permutations(range(len(samples)), k):
        stops = [place for place, i in enumerate(order) if scores[i] >= 1]
        drawn.append(stops[0] + 1 if stops else k if not np.isnan(scores).all() else 1)
        ranks = [(not math.isnan(scores[i]), scores[i]) for i in order]
        ended.append(correct[order[stops[0] if stops else ranks.index(max(ranks))]])
    chance, count = first_passing([scores], [correct], 1.0, k)
    assert (chance[0], count[0]) == pytest.approx((np.mean(ended), np.mean(drawn)))
    if k == len(samples):
        assert np.array_equal(first_passing([scores], [correct], 1.0), (chance, count))


def test_with_one_sample_there_is_nothing_to_stop():
    rng = np.random.default_rng(6)
    scores, correct = rng.random((9, 7)), rng.random((9, 7)) < 0.5
    chance, drawn = first_passing(scores, correct, 0.5, 1)
    assert np.allclose(chance, correct.mean(axis=1))
    assert np.array_equal(drawn, np.ones(9))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "odd",
    [None, True, "ab", 2.5, [None, 1], ["0.5", "1"], [[1], [1, 2]], [math.nan, 1], [], {1: 2}],
)
@pytest.mark.parametrize(
    "call",
    [
        mean,
        holm,
        lambda odd: auroc(odd, [[0, 1]]),
        lambda odd: auroc([[0, 1]], odd),
        lambda odd: proportion(odd, [1, 1]),
        lambda odd: proportion([0, 1], odd),
        lambda odd: difference([0, 1], odd),
        lambda odd: mean([0, 1], level=odd),
        lambda odd: difference([0, 1], [1, 0], level=odd),
        lambda odd: pass_at_k(odd, (1,)),
        lambda odd: best_at_k(odd, [[0, 1]], (1,)),
        lambda odd: majority_at_k([["a", "b"]], odd, (1,)),
        lambda odd: weighted_at_k([["a", "b"]], odd, [[0, 1]], (1,)),
        lambda odd: first_passing([[0, 1]], [[0, 1]], 1.0, odd or "none"),
        lambda odd: first_passing([[0, 1]], [[0, 1]], odd if odd != 2.5 else None),
    ],
)
def test_nonsense_is_refused_in_one_line(call, odd):
    with pytest.raises(OptionError) as error:
        call(odd)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mark", [-1, 2, math.nan])
def test_marks_are_between_wrong_and_right(mark):
    with pytest.raises(OptionError, match="marks, 0 or 1"):
        pass_at_k([[0, mark]], (1,))


@pytest.mark.parametrize("level", [-0.5, 0, 1, 1.5])
def test_a_level_is_between_none_and_all(level):
    with pytest.raises(OptionError, match="a number between 0 and 1"):
        mean([0, 1], level=level)


@pytest.mark.parametrize("odd", ["ab", 2, [0], [[], []]])
def test_clusters_are_names_one_per_problem(odd):
    with pytest.raises(OptionError, match=r"clusters=.*2 names"):
        mean([0, 1], clusters=odd)


# -- intervals -------------------------------------------------------------------------------------


def test_the_interval_of_plain_proportions_is_wilsons():
    # 5 of 10 right: the unbiased variance is 10/9 of p (1 − p), and with a tenth of a problem more,
    # of 2.5, the ratio is (25/9 + 0.1) / 2.6. Wilson by hand at 10 / ratio, with t = 2.262 for 9.
    estimate = mean([1, 0] * 5)
    size, t2 = 10 * 2.6 / (25 / 9 + 0.1), 2.2622**2
    half = math.sqrt(t2 / 4 / size + t2 * t2 / 4 / size**2) / (1 + t2 / size)
    assert estimate.value == 0.5
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert str(estimate) == f"0.500 [{0.5 - half:.3f}, {0.5 + half:.3f}]"


@pytest.mark.parametrize(("right", "n"), [(0, 20), (3, 20), (50, 100), (164, 164)])
def test_wilson_is_scipys(right, n):
    low, high = statistics._wilson(right / n, n, 1.959963984540054)
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_tangos_interval_is_the_published_one():
    """Fagerland, Lydersen & Laake 2014 (Statistics in Medicine 33): 1 to 7 of 21 children."""
    low, high = statistics._tango(1, 7, 21, 1.959964)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("won", "lost"), [(4, 0), (5, 0), (6, 0), (7, 1), (9, 2), (30, 12)])
@pytest.mark.parametrize("n", [50, 164])
def test_few_wins_are_judged_by_the_exact_sign_test(won, lost, n):
    a, b = np.zeros(n), np.zeros(n)
    a[:won], b[won : won + lost] = 1, 1
    told = difference(a, b)
    assert told.p == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert told.excludes_zero == (told.low > 0) == (told.p <= 0.05)
    assert difference(b, a).excludes_zero == told.excludes_zero


def test_four_and_five_to_nothing_exclude_nothing():
    for n, won in itertools.product((20, 100, 164), (4, 5)):
        told = difference(np.arange(n) < won, np.zeros(n))
        assert (told.low, told.p) == (0, 0.5 ** (won - 1))
        assert told.value < told.high


def test_the_signs_of_seven_differences_by_hand():
    """4.25 of 4.75 is reached with all signs alike or the smallest turned: 4 of 128."""
    a, b = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0], [0, 0, 0, 0, 0, 0, 0.25]
    assert difference(a, b).p == 4 / 128


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_few_unequal_differences_are_judged_by_all_their_signs(pairs):
    a, b = (np.round(side, 2) for side in zip(*pairs, strict=True))
    told = difference(a, b)
    exact = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert told.p >= exact.pvalue - 1e-9
    assert told.excludes_zero == (told.p <= 0.05)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_and_test_never_contradict_each_other(seed, n, level):
    rng = np.random.default_rng(seed)
    a, b = rng.binomial(rng.integers(1, 5), rng.beta(0.5, 0.5, (2, n))) / 4
    told = difference(a, b, level)
    assert told.low <= told.value <= told.high
    assert told.excludes_zero == (told.p <= 1 - level)


@pytest.mark.parametrize("last", [-0.01, -0.011])
def test_many_tiny_wins_may_be_outdone_by_one_large_loss(last):
    """Eleven to one by a hundredth: the signs alone would tell (p = 0.006), but not the mean."""
    gaps = np.array([*[0.01] * 11, last, *[0.0] * 8])
    told = difference(0.5 + gaps, np.full(20, 0.5))
    assert told.low < 0 < told.value
    assert told.p > 0.05


def test_holms_step_down_by_hand():
    # × 4, × 3, × 2, × 1, and never below the one before
    assert holm([0.03, 0.01, 0.04, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]


def test_alike_problems_do_not_say_that_all_are():
    """Three of 0.5 have the interval that three problems deserve, and so has a constant gain."""
    same = mean([0.5, 0.5, 0.5])
    # ratio: a tenth of a problem in 3/4 + 0.1; Wilson at 3 / ratio with t = 4.303 for 2
    size, t2 = 3 * 0.85 / 0.1, 4.30265**2
    half = math.sqrt(t2 / 4 / size + t2 * t2 / 4 / size**2) / (1 + t2 / size)
    assert (same.low, same.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    near = mean([0.5, 0.5, 0.51])
    assert near.high - near.low == pytest.approx(same.high - same.low, abs=0.01)
    gain = difference([0.6, 0.6, 0.6], [0.5, 0.5, 0.5])
    assert gain.low < 0 < 0.1 < gain.high < 0.9
    many = difference(np.full(100, 0.6), np.full(100, 0.5))
    assert 0 < many.low < 0.1 < many.high


def test_unequal_differences_are_so_many_of_one_size():
    """1/4, 1/4 and −1/2 of eight problems, and 0.03 of one that differs wholly."""
    told = difference([0.75, 0.75, 0, *[0.5] * 5], [0.5, 0.5, 0.5, *[0.5] * 5])
    size = (0.375 + 0.03) / (1 + 0.03)
    low, high = statistics._tango(0.5 / size, 0.5 / size, 8, 1.959963984540054)
    assert (told.low, told.high) == pytest.approx((size * low, size * high))


def test_unequal_differences_of_clusters_by_hand():
    """Clusters of 3, 1 and 2 problems, summing to +1, −1/2 and +1/2: 7/3 of one of typical size."""
    a, b = [0.5, 0.5, 0.5, 0, 0.25, 0.25], [0, 0, 0.5, 0.5, 0, 0]
    told = difference(a, b, clusters=list("aaabcc"))
    assert (told.n, told.value) == (3, pytest.approx(1 / 6))
    typical = 14 / 6
    size = (1.5 + 0.03 * typical**2) / (2 + 0.03 * typical)
    low, high = statistics._tango(1.5 / size, 0.5 / size, 3, 1.959963984540054)
    assert (told.low, told.high) == pytest.approx((size * low / 2, size * high / 2))


def test_an_interval_of_clusters_ends_where_differences_end():
    """Five wins of one template and a loss of another: the mean of others cannot pass 1."""
    told = difference([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], clusters=list("aaaaab"))
    assert told.high == 1
    assert told.low >= -1


def test_what_has_no_part_in_a_share_is_no_unit_of_it():
    assert proportion([1, 0, 1, 0], [1, 1, 1, 0]) == proportion([1, 0, 1], [1, 1, 1])


def test_problems_of_one_template_count_as_one():
    values, names = [1, 1, 0, 0, 1, 1], ["a", "a", "b", "b", "c", "c"]
    together, alone = mean(values, clusters=names), mean(values)
    assert together.value == alone.value
    assert together.n == 3
    assert together == mean([1, 0, 1])
    each = [str(i) for i in range(6)]
    assert mean(values, clusters=each) == alone
    assert difference(values, [0] * 6, clusters=each) == difference(values, [0] * 6)
    # four wins of two templates are two wins
    assert difference(values, [0] * 6, clusters=names).p == 0.5
    assert difference([1, 0, 1, 0], [0, 1, 0, 1], clusters=list("aabb")).p == 1


def test_clusters_of_unequal_size_by_hand():
    """2 of 3, 0 of 1: the ratio is 1/2; residuals 2 − 3/2 and 0 − 1/2, each over 1 − size/4."""
    told = proportion([2, 0], [3, 1])
    ratio = (0.25 / 0.25 + 0.25 / 0.75 + 0.1 * 10 / 2) / (0.25 * 10 + 0.1 * 10 / 2)
    low, high = statistics._wilson(0.5, 1.6 / ratio, float(stats.t(100 / 82 - 1).ppf(0.975)))
    assert (told.low, told.high) == pytest.approx((low, high))


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
    assert (same.value, same.low, same.high, same.p) == (0, -most, most, 1)
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


def test_points_show_on_which_side_of_zero_an_interval_ends():
    assert Estimate(-0.0151, -0.031, -0.0004, 100).points == "-1.51 [-3.10, -0.04]"
    assert Estimate(-0.0151, -0.031, -0.004, 100).points == "-1.5 [-3.1, -0.4]"
    assert Estimate(-0.0151, -0.031, 0.004, 100).points == "-2 [-3, +0]"
    assert Estimate(0.0, -0.031, 0.0, 100).points == "+0 [-3, +0]"
    assert Estimate(0.02, 1e-9, 0.04, 100).points == "+2.000 [+0.000, +4.000]"
