"""Calibration: what is said to be likely happens that often."""

from __future__ import annotations

import math

import numpy as np
import pytest

from itslab.core import OptionError, Tree, Verdict
from itslab.run import judged
from itslab.study.calibration import (
    calibration_error,
    calibration_errors,
    held_out_errors,
    readouts,
    reliability,
    spread,
)
from itslab.study.statistics import proportion
from itslab.verifiers.confidence import Calibrated, logits

RNG = np.random.default_rng(0)
TRUTH = RNG.beta(1, 2, (200, 16))
CORRECT = RNG.random((200, 16)) < TRUTH
OVERSURE = 1 / (1 + np.exp(-(3 * np.log(TRUTH / (1 - TRUTH)) + 2)))  # logits × 3 + 2


def says(scores):
    return lambda prompt, nodes: [Verdict(score, note="said") for score in scores]


def test_a_fitted_curve_undoes_what_bent_the_probabilities():
    fitted = Calibrated.fit(says([]), OVERSURE.ravel(), CORRECT.ravel())
    assert fitted.slope == pytest.approx(1 / 3, abs=0.03)
    assert fitted.intercept == pytest.approx(-2 / 3, abs=0.1)
    node = Tree().add(None, "assistant", "?")
    scores = OVERSURE[0, :4].tolist()
    curve = Calibrated(says([*scores, math.nan]), fitted.slope, fitted.intercept)
    verdicts = judged(curve, "?", [node] * 5)
    assert [v.score for v in verdicts[:4]] == pytest.approx(TRUTH[0, :4].tolist(), abs=0.05)
    assert math.isnan(verdicts[4].score)
    assert verdicts[0].note == "said"


def test_untouched_a_score_stays_as_it_is():
    [verdict] = judged(Calibrated(says([0.3])), "?", [Tree().add(None, "assistant", "?")])
    assert verdict.score == pytest.approx(0.3)


def test_a_few_samples_that_are_separable_make_no_step():
    """Platt's targets of two right and two wrong are 3/4 and 1/4: the curve goes through them."""
    scores = [0.2, 0.2, 0.8, 0.8]
    fitted = Calibrated.fit(says([]), scores, [0, 0, 1, 1])
    assert fitted.slope == pytest.approx(np.log(3) / np.log(4), rel=5e-3)
    assert fitted.intercept == pytest.approx(0, abs=1e-3)
    one = Calibrated.fit(says([]), [0.5, *[0.5] * 8], [1, *[0] * 8])
    # targets 2/3 once and 1/10 eight times
    assert one.intercept == pytest.approx(np.log(1.4667 / 7.5333), rel=5e-3)


@pytest.mark.parametrize("odd", [None, True, "1", [1.0], math.nan, math.inf, np.float64(1)])
@pytest.mark.parametrize("option", ["slope", "intercept", "verifier"])
def test_options_of_another_type_are_refused(option, odd):
    with pytest.raises(OptionError, match=f"^{option}="):
        Calibrated(**{"verifier": says([]), option: odd})


def test_calibration_shrinks_the_error_and_leaves_the_order():
    fitted = Calibrated.fit(says([]), OVERSURE[:100].ravel(), CORRECT[:100].ravel())
    tamed = 1 / (1 + np.exp(-(fitted.slope * logits(OVERSURE[100:].ravel()) + fitted.intercept)))
    tamed = tamed.reshape(100, 16)
    assert calibration_error(OVERSURE[100:], CORRECT[100:]) > 0.15
    assert calibration_error(tamed, CORRECT[100:]) < 0.03
    assert np.array_equal(np.argsort(tamed, axis=1), np.argsort(OVERSURE[100:], axis=1))


@pytest.mark.filterwarnings("error")
def test_without_any_score_there_is_no_error_to_tell():
    unknown = np.full((2, 3), math.nan)
    assert math.isnan(calibration_error(unknown, np.ones((2, 3), bool)))
    assert reliability(unknown, np.ones((2, 3), bool)).empty


def test_reliability_by_hand():
    scores = [[0.1, 0.1, 0.9, 0.9], [0.1, 0.9, 0.9, math.nan]]
    table = reliability(scores, [[0, 1, 1, 1], [0, 1, 0, 1]], bins=2)
    assert table["count"].tolist() == [3, 4]
    assert table["predicted"].tolist() == pytest.approx([0.1, 0.9])
    assert table["observed"].tolist() == pytest.approx([1 / 3, 3 / 4])
    low = proportion([1, 0], [2, 1])
    assert (table["low"][0], table["high"][0]) == (low.low, low.high)


def test_readouts_stand_below_each_other_and_are_named_with_their_errors():
    """Of four samples at 0.5 one is right: an error of 0.25. The other verifier says so."""
    right = [[1, 0, 0, 0]]
    table = readouts({"half": [[0.5] * 4], "quarter": [[0.25] * 4]}, right, bins=2)
    assert table.method.tolist() == ["half: error 0.250", "quarter: error 0.000"]
    assert table.observed.tolist() == [0.25, 0.25]


def test_errors_are_told_with_their_range():
    assert spread([0.1, 0.2, 0.6]) == "0.300 (0.100–0.600)"


@pytest.mark.slow
def test_calibration_is_measured_on_each_split_and_unknown_where_nothing_can_be_learned():
    rng = np.random.default_rng(0)
    truth = rng.random((20, 8, 1))
    correct = rng.random((20, 8)) < truth[:, :, 0]
    errors = calibration_errors(truth, correct, range(20), splits=3, bins=4)
    assert errors.shape == (3,)
    assert len(set(errors)) == 3  # other problems in each part
    assert (errors < 0.25).all()
    assert np.isnan(calibration_errors(truth, correct, [0] * 20, splits=2)).all()
    table = held_out_errors({"truth": (truth, 3)}, correct, [0] * 20, bins=4)
    assert table.loc["truth"].tolist() == [spread(errors), "nan (nan–nan)"]


def test_equal_scores_share_a_bin():
    assert reliability([[0.5] * 10], [[1, 0] * 5])["count"].tolist() == [10]


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        ([0.5, 1.5], [1, 0], "probabilities"),
        ([0.5, 0.6], [1, 1], "right and wrong samples"),
        ([0.5], [1, 0], "of shape"),
        (None, [1, 0], "scores="),
        ("ab", [1, 0], "scores="),
        ([], [], "scores="),
    ],
)
def test_what_cannot_be_fitted_is_named(scores, correct, message):
    with pytest.raises(OptionError, match=message):
        Calibrated.fit(says([]), scores, correct)


def test_a_share_is_a_ratio_of_sums_and_its_interval_counts_problems():
    assert proportion([1, 3], [2, 10]).value == pytest.approx(4 / 12)
    assert proportion([1, 0, 1], [1, 1, 1]) == proportion([1, 0, 1, 0], [1, 1, 1, 0])
    rng = np.random.default_rng(1)
    skill, whole = rng.beta(1, 1, (1000, 100)), rng.integers(1, 17, (1000, 100))
    estimates = [proportion(y, w) for y, w in zip(rng.binomial(whole, skill), whole, strict=True)]
    assert 0.93 <= np.mean([e.low <= 0.5 <= e.high for e in estimates]) <= 0.97
