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
from itslab.run import Run
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
    return states, correct


def node(state):
    tree = Tree()
    made = tree.add(tree.add(None, "user", "?"), "assistant", "!")
    made.completion = Completion("!", signals=Signals(state=tuple(state)))
    return made


def test_what_is_there_is_found_on_problems_it_has_not_seen(bank):
    assert np.nanmean(auroc(held_out(*bank), bank[1])) > 0.9


def test_what_is_not_there_is_not_found(bank):
    states, correct = bank
    shuffled = np.random.default_rng(1).permutation(correct.ravel()).reshape(correct.shape)
    assert 0.4 < np.nanmean(auroc(held_out(states, shuffled), shuffled)) < 0.6


@pytest.mark.slow
def test_a_template_is_learned_from_its_other_problems_unless_they_are_held_out_with_it(bank):
    """States that tell nothing but the template, whose problems are all right or all wrong."""
    rng = np.random.default_rng(2)
    templates = np.repeat(np.arange(PROBLEMS // 4), 4)
    of_template = rng.normal(size=(PROBLEMS // 4, 1, WIDTH))[templates]
    states = of_template + 0.01 * rng.normal(size=(PROBLEMS, SAMPLES, WIDTH))
    correct = np.repeat((templates % 2 == 0)[:, None], SAMPLES, axis=1)

    def told(clusters):
        return ((held_out(states, correct, clusters) > 0.5) == correct).mean()

    assert told(None) > 0.95
    assert told(templates.tolist()) < 0.7
    assert repr(Probe.fit(states, correct, templates.tolist())) == repr(
        Probe.fit(states, correct, [str(t) for t in templates])
    )
    with pytest.raises(OptionError, match="40 names"):
        held_out(states, correct, templates[:5].tolist())
    with pytest.raises(OptionError, match="at least 5"):
        held_out(states, correct, (templates // 3).tolist())


def test_samples_without_a_state_teach_nothing_and_get_no_score(bank):
    states, correct = bank
    lacking = states.copy()
    lacking[2, 1:3] = math.nan
    scores = held_out(lacking, correct)
    assert np.argwhere(np.isnan(scores)).tolist() == [[2, 1], [2, 2]]
    kept = np.delete(np.arange(PROBLEMS), 2)
    without = Probe.fit(states[kept], correct[kept])
    lacking[2] = math.nan
    assert np.allclose(Probe.fit(lacking, correct).weights, without.weights)


def test_a_saved_probe_says_the_same(bank, tmp_path):
    states, correct = bank
    probe = Probe.fit(states, correct)
    probe.save(tmp_path / "probe.npz")
    nodes = [node(state) for state in states[0, :5]]
    verdicts = probe("?", nodes)
    assert verdicts == Probe.load(tmp_path / "probe.npz")("?", nodes)
    assert all(0 < verdict.score < 1 for verdict in verdicts)
    with pytest.raises(ItslabError, match="holds no probe"):
        Probe.load(tmp_path / "absent.npz")


def test_another_training_makes_another_name():
    first, second = Probe(np.ones(3), 0.5), Probe(np.ones(3), 0.25)
    assert repr(first) == repr(Probe(np.ones(3), 0.5)) != repr(second)


@pytest.mark.parametrize(
    "odd", [None, True, "1", [1.0], math.nan, np.ones((2, 2)), np.array([math.nan])]
)
@pytest.mark.parametrize("option", ["weights", "bias"])
def test_options_of_another_type_are_refused(option, odd):
    with pytest.raises(OptionError, match=f"^{option}="):
        Probe(**{"weights": np.ones(3), "bias": 0.5, option: odd})


@pytest.mark.parametrize("odd", [None, "ab", [], [[1.0]]])
def test_states_that_are_none_are_refused(odd, bank):
    with pytest.raises(OptionError, match=r"^states="):
        held_out(odd, bank[1])


def test_a_sample_without_a_state_is_nan_and_one_of_another_model_an_error(bank):
    probe = Probe.fit(*bank)
    [verdict] = probe("?", [node(())])
    assert math.isnan(verdict.score)
    assert "signals=True" in verdict.note
    with pytest.raises(OptionError, match="3 wide"):
        probe("?", [node((1.0, 2.0, 3.0))])


def test_samples_that_teach_nothing_are_refused(bank):
    states, correct = bank
    with pytest.raises(OptionError, match="right and wrong"):
        Probe.fit(states, np.ones_like(correct))
    with pytest.raises(OptionError, match="at least 5"):
        Probe.fit(states[:3], correct[:3])
    with pytest.raises(OptionError, match=r"of shape \(40, 8\)"):
        Probe.fit(states, correct[:5])
    lucky = np.zeros_like(correct)
    lucky[7] = True  # of all problems one is ever solved, and the probe tested on it saw none
    with pytest.raises(OptionError, match=r"0 right of 256 in 32 problems.*record more problems"):
        held_out(states, lucky)


def test_states_of_a_real_model_fit(llm: Llama):
    """The probe of a real model's states scores its samples at no cost."""
    request = Request(
        as_messages("Say a word."), sampling=Sampling(max_tokens=4, signals=True), n=10
    )
    [drawn] = llm.generate([request])
    states = [[sample.signals.state] for sample in drawn]
    probe = Probe.fit(states, [[i % 2] for i in range(10)])
    [verdict] = probe("Say a word.", [replace_state(states[0][0])])
    assert 0 < verdict.score < 1
    assert verdict.cost.decoded == 0


def replace_state(state):
    made = node(())
    assert made.completion is not None
    made.completion = replace(made.completion, signals=Signals(state=state))
    return made


def test_each_step_of_a_chain_has_a_state_of_its_own_to_be_scored(llm: Llama):
    run = Run(llm, extract=str.strip)
    line = Sampling(max_tokens=12, stop=(" ",), include_stop=True, signals=True)
    [first] = run.extend(run.reply(None, "Count from one to ten."), line)
    [second] = run.extend(first, line)
    states = [step.completion.signals.state for step in (first, second)]
    assert states[0] != states[1]
    width, before = len(states[0]), run.cost
    run.score([first, second], Probe(np.arange(width) / width, 0.0))
    assert first.verdict.score != second.verdict.score
    assert run.cost == before
