"""The probe finds a direction that is there, and none that is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from itslab.backends.llama import Llama
from itslab.core import (
    Completion,
    ItslabError,
    OptionError,
    Request,
    Sampling,
    Signals,
    Tree,
    as_messages,
)
from itslab.study.statistics import auroc
from itslab.verifiers.probe import Probe, held_out

PROBLEMS, SAMPLES, WIDTH = 40, 8, 24


@pytest.fixture(scope="module")
def bank():
    """States that hold the truth in one direction, and each problem's own offset in all."""
    rng = np.random.default_rng(0)
    correct = rng.random((PROBLEMS, SAMPLES)) < 0.4
    states = rng.normal(size=(PROBLEMS, SAMPLES, WIDTH)) + rng.normal(size=(PROBLEMS, 1, WIDTH))
    states[:, :, 3] += 3 * correct
    problems = np.repeat(np.arange(PROBLEMS), SAMPLES)
    return states.reshape(-1, WIDTH), correct.ravel(), problems


def node(state):
    tree = Tree()
    made = tree.add(tree.add(None, "user", "?"), "assistant", "!")
    made.completion = Completion("!", signals=Signals(state=tuple(state)))
    return made


def test_what_is_there_is_found_on_problems_it_has_not_seen(bank):
    states, correct, problems = bank
    scores = held_out(states, correct, problems).reshape(PROBLEMS, SAMPLES)
    assert np.nanmean(auroc(scores, correct.reshape(PROBLEMS, SAMPLES))) > 0.9


def test_what_is_not_there_is_not_found(bank):
    states, correct, problems = bank
    shuffled = np.random.default_rng(1).permutation(correct)
    scores = held_out(states, shuffled, problems).reshape(PROBLEMS, SAMPLES)
    area = np.nanmean(auroc(scores, shuffled.reshape(PROBLEMS, SAMPLES)))
    assert 0.4 < area < 0.6


def test_a_saved_probe_says_the_same(bank, tmp_path):
    states, correct, problems = bank
    probe = Probe.fit(states, correct, problems)
    probe.save(tmp_path / "probe.npz")
    nodes = [node(state) for state in states[:5]]
    verdicts = probe("?", nodes)
    assert verdicts == Probe.load(tmp_path / "probe.npz")("?", nodes)
    assert all(0 < verdict.score < 1 for verdict in verdicts)
    with pytest.raises(ItslabError, match="holds no probe"):
        Probe.load(tmp_path / "absent.npz")


def test_a_sample_without_a_state_is_nan_and_one_of_another_model_an_error(bank):
    probe = Probe.fit(*bank)
    [verdict] = probe("?", [node(())])
    assert math.isnan(verdict.score)
    assert "signals=True" in verdict.note
    with pytest.raises(OptionError, match="3 wide"):
        probe("?", [node((1.0, 2.0, 3.0))])


def test_samples_that_teach_nothing_are_refused(bank):
    states, correct, problems = bank
    with pytest.raises(OptionError, match="right and wrong"):
        Probe.fit(states, np.ones_like(correct), problems)
    with pytest.raises(OptionError, match="at least 5"):
        Probe.fit(states, correct, problems % 3)


def test_states_of_a_real_model_fit(llm: Llama):
    """The probe of a real model's states scores its samples at no cost."""
    request = Request(
        as_messages("Say a word."), sampling=Sampling(max_tokens=4, signals=True), n=10
    )
    [drawn] = llm.generate([request])
    states = [sample.signals.state for sample in drawn]
    probe = Probe.fit(states, [i % 2 for i in range(10)], range(10))
    [verdict] = probe("Say a word.", [replace_state(states[0])])
    assert 0 < verdict.score < 1
    assert verdict.cost.decoded == 0


def replace_state(state):
    made = node(())
    assert made.completion is not None
    made.completion = replace(made.completion, signals=Signals(state=state))
    return made
