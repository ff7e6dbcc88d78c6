"""Exact tests against statsmodels and scipy; bands, fits and stopping by simulation and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference
from statsmodels.stats.multitest import multipletests

from itslab.core import Cost, ItslabError, OptionError
from itslab.study import training
from itslab.study.comparisons import band, design_effect, mcnemar, problems_needed, sign_test
from itslab.study.fits import LAWS, BetaBinomial, fit, forecast
from itslab.study.prices import Price, listed
from itslab.study.selection import pass_at_k
from itslab.study.sequential import sequence, wealth
from itslab.study.statistics import difference, holm, mean

MARKS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(MARKS)
def test_mcnemar_is_that_of_statsmodels(pairs) -> None:
    a, b = np.array(pairs, dtype=int).T
    table = [[sum((a == i) & (b == j)) for j in (1, 0)] for i in (1, 0)]
    ours = mcnemar(a, b)
    assert ours.p == pytest.approx(reference(table, exact=True).pvalue)
    assert (ours.wins, ours.losses) == (table[0][1], table[1][0])


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_that_of_scipy(wins: int, losses: int) -> None:
    if wins + losses:
        assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ps = rng.choice([0.0, 0.01, 0.01, 0.04, 1.0, rng.random()], rng.integers(1, 12))
    assert holm(list(ps)) == pytest.approx(multipletests(ps, method="holm")[1])


@pytest.mark.parametrize("marks", [[0, 2], [0.5, 1], [], [[0, 1]], "ab"])
def test_marks_that_are_none_are_refused(marks) -> None:
    with pytest.raises(OptionError, match="marks"):
        mcnemar(marks, marks)
    with pytest.raises(OptionError, match="shape"):
        mcnemar([0, 1], [1])


def test_so_many_problems_have_the_power_that_was_asked() -> None:
    """Of the interval that is shown in the end, whose exact test needs more than Connor's."""
    gain, differing, rng = 0.2, 0.5, np.random.default_rng(0)
    n = problems_needed(np.float64(gain), differing)
    assert n > 96, "which is Connor's number"
    seen = 0
    for _ in range(600):
        wins, losses, _same = rng.multinomial(n, [0.35, 0.15, 0.5])
        a, b = np.zeros(n), np.zeros(n)
        a[:wins] = b[wins : wins + losses] = 1
        seen += difference(a, b).excludes_zero
    assert 0.76 < seen / 600 < 0.85
    assert problems_needed(gain, differing, each=2) == 2 * n
    assert problems_needed(gain, differing, power=0.9) > n
    with pytest.raises(OptionError, match=r"from the gain, 0\.3, to 1"):
        problems_needed(0.3, 0.2)
    assert problems_needed(0.001, 0.3) == pytest.approx(2_354_662, rel=1e-3)
    with pytest.raises(OptionError, match="gain=1e-160 is not valid"):
        problems_needed(1e-160, 0.5)
    with pytest.raises(OptionError, match="wins"):
        sign_test(10**400, 1)


def test_problems_that_share_templates_count_for_less() -> None:
    a, b = np.array([1.0, 1, 0, 0] * 5), np.zeros(20)
    assert design_effect(a, b, range(20)) == pytest.approx(1)
    pairs = np.repeat(np.arange(10), 2)  # of which both are solved, or neither
    assert design_effect(a, b, pairs) == pytest.approx(2 * 10 / 9 * 19 / 20)
    assert design_effect(b, b, pairs) == 1


def test_a_fit_of_few_problems_says_how_little_it_knows() -> None:
    ks, rng = np.array([1.0, 2, 4, 8]), np.random.default_rng(0)
    rates = 1 - (1 - rng.beta(1, 1, (12, 1))) ** ks
    one = fit("power law", ks, rates, ["t"] * 12)
    assert one.ranges()["a"] == (-np.inf, np.inf)
    assert [*one.interval([16.0])] == [0, 1]
    six = fit("power law", ks, rates, np.repeat(np.arange(6), 2))
    low, high = six.interval([16.0])
    plain = np.quantile(
        [LAWS["power law"].value(row, np.array([16.0]))[0] for row in six.draws], [0.025, 0.975]
    )
    assert low < plain[0]
    assert plain[1] < high
    with pytest.raises(OptionError, match="level"):
        six.ranges(level=2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fit("power law", [1, 2, np.inf], np.full((3, 3), 0.5)), "finite numbers"),
        (lambda: fit("power law", ["a", "b", "c"], np.full((3, 3), 0.5)), "finite numbers"),
        (lambda: fit("power law", [1, 2, 4], np.full((3, 3), 0.5), draws=0), "draws=0"),
        (lambda: fit("power law", [1, 2, 4], np.full((3, 3), 0.5), seed=-1), "seed=-1"),
        (lambda: fit(["power law"], [1, 2, 4], np.full((3, 3), 0.5)), "law"),
        (lambda: fit("power law", [1, 2, 4], np.full((3, 3), 2.0)), "success rates"),
        (lambda: BetaBinomial.of([1, 2], np.inf), "finite numbers"),
        (lambda: BetaBinomial.of([1, 2], [2, 3, 4]), "of the shape of right"),
        (lambda: BetaBinomial(-1, 2), "alpha=-1"),
        (lambda: forecast(np.eye(4), 4, [8], repeats=0), "repeats=0"),
        (lambda: forecast(np.eye(4), 4, []), "ks"),
        (lambda: sequence([0.1], level=2), "level=2"),
        (lambda: band(np.eye(3), seed=-1), "seed=-1"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(call, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        call()


# -- bands -----------------------------------------------------------------------------------------


def test_a_band_is_wider_than_points_and_of_one_point_as_wide() -> None:
    rng = np.random.default_rng(1)
    rates = rng.random((50, 5))
    for whole, column in zip(band(rates), rates.T, strict=True):
        one = mean(column)
        assert whole.low < one.low < one.value == whole.value < one.high < whole.high
    [alone] = band(rates[:, :1])
    assert alone.low == pytest.approx(mean(rates[:, 0]).low, abs=0.003)
    same = band(np.repeat(rates[:, :1], 4, axis=1))  # points that move together are one
    assert same[0].low == pytest.approx(alone.low, abs=0.003)
    assert band(np.zeros((4, 3)))[0].value == 0


@pytest.mark.slow
def test_whole_curves_lie_within_their_band_as_often_as_said() -> None:
    rng = np.random.default_rng(2)
    ks = [1, 2, 4, 8, 16]
    truth = BetaBinomial(0.8, 1.2).coverage(ks)
    inside = pointwise = 0
    for _ in range(400):
        p = rng.beta(0.8, 1.2, 100)
        curve = pass_at_k(rng.random((100, 16)) < p[:, None], ks)
        whole = band(curve, seed=0)
        inside += all(e.low <= t <= e.high for e, t in zip(whole, truth, strict=True))
        points = [mean(column) for column in curve.T]
        pointwise += all(e.low <= t <= e.high for e, t in zip(points, truth, strict=True))
    assert 0.93 <= inside / 400 <= 0.985
    assert pointwise < inside


# -- looking after every problem -------------------------------------------------------------------


def test_the_capital_is_worked_out_by_hand() -> None:
    """The first bet is 0; after one win of 1 the mean is ½ and the variance (¼ + ¼) / 2."""
    capital = wealth([1.0, 1.0])[:, 0]
    assert capital[0] == 1
    stake = min(0.5 / (0.625 + 0.25), 0.5)  # mean 1/2 of {0, 1}; squares (1/4 + 1) / 2
    assert capital[1] == pytest.approx((1 + stake + 1) / 2)


@pytest.mark.slow
def test_looking_after_every_problem_claims_nothing_false() -> None:
    rng = np.random.default_rng(3)
    false = naive = 0
    for _ in range(400):
        gaps = rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2], size=300)
        false += bool((wealth(gaps).max()) >= 20)
        sums, n = np.cumsum(gaps), np.arange(1, 301)
        spread = np.sqrt(np.maximum(np.cumsum(gaps**2) - sums**2 / n, 1e-9))
        naive += bool((np.abs(sums) / spread > 1.96)[20:].any())
    assert false / 400 <= 0.05
    assert naive / 400 > 0.2  # as whoever looks at plain intervals


def test_an_interval_for_any_time_holds_the_mean_and_agrees_with_its_p_value() -> None:
    rng = np.random.default_rng(4)
    for share in (0.5, 0.6, 0.9):
        gaps = rng.choice([-1, 1], p=[1 - share, share], size=200)
        found = sequence(gaps)
        assert found.low <= 2 * share - 1 <= found.high
        assert found.excludes_zero == (found.p <= 0.05)
    with pytest.raises(OptionError, match="gaps"):
        wealth([2.0])
    with pytest.raises(OptionError, match="one difference"):
        sequence([])


# -- fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "parameters"),
    [
        ("power law", (0.4, 0.5)),
        ("logistic", (-3.0, 0.6)),
        ("logistic with a ceiling", (-4.0, 1.2, 0.8)),
    ],
)
def test_a_fit_recovers_what_was_planted(law: str, parameters) -> None:
    x = np.geomspace(1, 300, 10)
    y = LAWS[law].value(np.array(parameters), x)
    found = fit(law, x, y[None, :], draws=1)
    assert [*found.parameters.values()] == pytest.approx(parameters, abs=1e-3)
    assert np.abs(found.residuals).max() < 1e-6


@pytest.mark.slow
def test_intervals_of_a_fit_hold_the_planted_curve() -> None:
    rng = np.random.default_rng(5)
    ks, held = [1, 2, 4, 8], 0
    truth = BetaBinomial(0.5, 1.0)
    for seed in range(150):
        p = rng.beta(0.5, 1.0, 120)
        marks = rng.random((120, 16)) < p[:, None]
        found = fit("power law", ks, pass_at_k(marks, ks), seed=seed)
        low, high = found.interval([4])
        held += bool(low[0] <= truth.coverage([4])[0] <= high[0])
    assert 0.88 <= held / 150 <= 0.99


def test_the_beta_binomial_recovers_its_distribution_and_covers_by_its_formula() -> None:
    rng = np.random.default_rng(6)
    right = rng.binomial(32, rng.beta(0.6, 2.0, 4000))
    found = BetaBinomial.of(right, 32)
    assert (found.alpha, found.beta) == pytest.approx((0.6, 2.0), rel=0.1)
    uniform = BetaBinomial(1.0, 1.0)  # of k samples all fail with probability 1 / (k + 1)
    assert uniform.coverage([1, 2, 9]) == pytest.approx([1 / 2, 2 / 3, 9 / 10])


def test_a_forecast_is_worst_where_little_was_seen() -> None:
    rng = np.random.default_rng(7)
    marks = rng.random((100, 32)) < rng.beta(0.5, 1.5, 100)[:, None]
    few, many = (forecast(marks, seen, [32], repeats=30) for seen in (4, 16))
    assert (many.error.to_numpy() < few.error.to_numpy()).all()
    assert set(few.law) == {"power law", "beta-binomial"}
    assert (few.noise > 0).all()


@pytest.mark.parametrize(
    ("x", "rates", "said"),
    [
        ([1.0], [[0.5]], "budgets at least"),
        ([1, 2, 4], [[0, 0, 0]], "nothing is solved"),
        ([1, 2, 4], [[1, 1, 1]], "all is solved"),
        ([2, 1, 4], [[0.1, 0.2, 0.3]], "rising"),
        ([0, 1, 4], [[0.1, 0.2, 0.3]], "rising"),
    ],
)
def test_where_there_is_no_fit_it_is_said_why(x, rates, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        fit("power law", x, rates)


def test_no_distribution_is_likeliest_where_all_are_alike() -> None:
    for right in ([0, 0], [4, 4]):
        with pytest.raises(OptionError, match="some right and some wrong"):
            BetaBinomial.of(right, 4)


# -- training, and prices --------------------------------------------------------------------------


def test_published_laws_give_published_losses() -> None:
    # Hoffmann et al.: Chinchilla, 70 B parameters on 1.4 T tokens
    assert training.chinchilla(70e9, 1.4e12) == pytest.approx(1.94, abs=0.01)
    # Kaplan et al., Table 2, each size without bound in turn
    assert training.kaplan(1e30, 1.8e13) == pytest.approx(1.0, abs=0.001)
    assert training.kaplan(6.4e13, 1e30) == pytest.approx(1.0, abs=0.001)
    assert training.kaplan(6.4e12, 1e30) == pytest.approx(10**0.076, abs=0.001)
    assert training.kaplan(1e30, 1.8e12) == pytest.approx(10**0.103, abs=0.001)
    # X + k Y = M (X + Y) with X = 6 N D and Y = 2 N R D
    for m, r in ((3.0, 0.1), (14.0, 1.0), (1.0, 5.0)):
        x, y = 6.0, 2.0 * r
        k = training.exchange(m, r)
        assert x + k * y == pytest.approx(m * (x + y))
        if m > 1:
            assert training.break_even(m, k) == pytest.approx(r)
    assert training.break_even(3.0, 2.0) == math.inf


def test_what_a_cost_comes_to() -> None:
    cost = Cost(prefilled=1000, reused=2000, decoded=500, seconds=36)
    api = Price(input=1.0, cached=0.1, output=4.0)
    assert api.dollars(cost) == pytest.approx((1000 + 200 + 2000) / 1e6)
    own = Price(hourly=2.0, watts=300, energy=0.2)
    assert own.kilowatt_hours(cost) == pytest.approx(0.003)
    assert own.dollars(cost) == pytest.approx(0.02 + 0.0006)


def test_prices_of_providers_are_listed_apart() -> None:
    price = listed("gpt-4o-mini", "openai")
    assert 0 < price.cached < price.input < price.output
    tiered = listed("gemini-2.5-pro")  # beyond 200,000 tokens in a prompt it takes twice as much
    assert (tiered.input, tiered.output) == pytest.approx((1.25, 10.0))
    with pytest.raises(ItslabError, match="does not know 'no-such-model'"):
        listed("no-such-model")
