"""Reward models: a real llama.cpp against the same model in numpy, and tags asked of a real one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_judge import FakeOpinion, said
from tiny_reward import Tiny, ids

from itslab.backends.llama import Llama
from itslab.backends.reward_model import RewardModel
from itslab.core import (
    BackendError,
    Cost,
    Message,
    ModelError,
    OptionError,
    Piece,
    Request,
    Sampling,
    Verdict,
)
from itslab.handle import solve
from itslab.run import judged
from itslab.strategies import BestOfN
from itslab.verifiers.reward import Reward, StepReward

PROBLEM = "What is 2 + 3?"
SAID = ["5", "It is 6, or so.", "2 + 3 = 5. " * 20, "5", ""]


def tokens(said: str, problem: str = PROBLEM) -> list[int]:
    """A conversation as the tiny model reads it: no turn is open at its end."""
    return ids(f"<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n")


def talk(said: str, problem: str = PROBLEM) -> list[Message]:
    return [Message("user", problem), Message("assistant", said)]


def scores(verdicts: Sequence[Verdict]) -> list[float]:
    return [verdict.score for verdict in verdicts]


@pytest.fixture
def write(tmp_path: Path):
    def write(tiny: Tiny) -> Path:
        return tiny.write(tmp_path / "tiny.gguf")

    return write


@pytest.fixture
def model(write):
    with RewardModel(write(Tiny()), context=512, threads=1) as model:
        yield model


# -- outcome reward --------------------------------------------------------------------------------


def test_llama_cpp_and_numpy_agree(model: RewardModel):
    expected = [Tiny().score(tokens(text)) for text in SAID]
    assert scores(judged(Reward(model), PROBLEM, said(*SAID))) == pytest.approx(expected, abs=0.003)
    assert max(expected) - min(expected) > 0.2  # so that agreeing is worth something


def test_company_does_not_change_a_score(model: RewardModel):
    texts = [f"{'It is ' * (i % 7)}{i}." for i in range(40)]  # in three groups or more
    alone = [model.score([talk(text)])[0].score for text in texts]
    assert scores(model.score([talk(text) for text in texts])) == pytest.approx(alone, abs=1e-3)


def test_problems_that_begin_differently_are_scored_together(model: RewardModel):
    asked = ["2 + 3?", "What is 7 * 8?", "2 + 33?"]
    verdicts = model.score([talk("5", problem) for problem in asked])
    expected = [Tiny().score(tokens("5", problem)) for problem in asked]
    assert scores(verdicts) == pytest.approx(expected, abs=0.003)


def test_a_head_twice_as_large_gives_twice_the_log_odds(write):
    tiny = Tiny()
    tiny.weights["cls.output.weight"] *= 2
    with RewardModel(write(Tiny()), threads=1, context=512) as model:
        single = np.array(scores(model.score(list(map(talk, SAID)))))
    with RewardModel(write(tiny), threads=1, context=512) as model:
        double = np.array(scores(model.score(list(map(talk, SAID)))))
    assert np.log(double / (1 - double)) == pytest.approx(2 * np.log(single / (1 - single)), 1e-3)


def test_a_row_of_zeros_makes_the_logistic_function_of_a_reward(write):
    row = -Tiny().weights["cls.output.weight"][0]
    tiny = Tiny()
    tiny.weights["cls.output.weight"] = 20 * np.stack([row, 0 * row])
    expected = [tiny.logit(tokens(text)) for text in SAID]
    with RewardModel(write(tiny), context=512, threads=1) as model:
        p = np.array(scores(model.score(list(map(talk, SAID)))))
    # even the best is not rounded to 1, as it is in single precision
    assert 20 < max(expected) < 33
    assert np.log(p / (1 - p)) == pytest.approx(expected, abs=0.2)


def test_the_label_names_the_good_output(write):
    path = write(Tiny(labels=("bad", "good")))
    with RewardModel(path, context=512, threads=1) as model:
        [first] = model.score([talk("5")])
    with RewardModel(path, "good", context=512, threads=1) as model:
        [second] = model.score([talk("5")])
    assert first.score + second.score == pytest.approx(1)
    with pytest.raises(OptionError, match=r"label='fine' is not valid.*bad, good"):
        RewardModel(path, "fine", context=512)


def test_a_conversation_too_long_is_not_scored_and_costs_nothing(model: RewardModel):
    short, long, other = model.score([talk("5"), talk("5" * 600), talk("6")])
    assert math.isnan(long.score)
    assert (
        long.note == f"the conversation has {len(tokens('5' * 600))} tokens, the context holds 512"
    )
    assert long.cost == Cost()
    assert not math.isnan(short.score + other.score)
    exact = "5" * (512 - len(tokens("")))
    assert [math.isnan(v.score) for v in model.score([talk(exact), talk(exact + "5")])] == [0, 1]


def test_what_conversations_share_is_paid_for_once(model: RewardModel):
    first, second = model.score([talk("5"), talk("6, or so")])
    shared = len(tokens("")) - 2  # "<|im_end|>\n" closes the turn
    assert (first.cost.prefilled, first.cost.reused) == (len(tokens("5")), 0)
    assert (second.cost.prefilled, second.cost.reused) == (len(tokens("6, or so")) - shared, shared)
    assert first.cost.calls == second.cost.calls == 1
    assert first.cost.decoded == 0
    assert first.cost.seconds > second.cost.seconds > 0
    # each token meets the layer's matrices and those before it (4 × width 64 each), the last the
    # head, none the vocabulary
    layer = sum(w.size for name, w in Tiny().weights.items() if "blk" in name and w.ndim == 2)
    n, k = len(tokens("5")), len(tokens("6, or so"))
    assert first.cost.flops == 2 * layer * n + 2 * 2 * 64 + 4 * 64 * n * (n + 1) / 2
    attended = (k * (k + 1) - shared * (shared + 1)) / 2
    assert second.cost.flops == 2 * layer * (k - shared) + 2 * 2 * 64 + 4 * 64 * attended


def test_the_same_conversation_twice_costs_one_token_more(model: RewardModel):
    first, again = model.score([talk("5"), talk("5")])
    assert again.score == pytest.approx(first.score, abs=1e-3)
    assert (again.cost.prefilled, again.cost.reused) == (1, len(tokens("5")) - 1)


def test_a_run_pays_for_its_reward_model(llm: Llama, model: RewardModel):
    result = solve(PROBLEM, BestOfN(Reward(model), n=2, sampling=Sampling(max_tokens=24)), llm)
    verdicts = [node.verdict for node in result.tree if node.verdict]
    assert len(verdicts) == 2
    drawn = [node.completion.cost for node in result.tree if node.completion]
    paid = sum(drawn, Cost()) + sum((verdict.cost for verdict in verdicts), Cost())
    assert replace(result.cost, seconds=0) == replace(paid, seconds=0)
    assert result.cost.calls == 4


def test_threads_may_share_a_reward_model(model: RewardModel):
    expected = scores(model.score(list(map(talk, SAID))))
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: scores(model.score(list(map(talk, SAID)))), range(24)))
    assert many == [expected] * 24


def test_a_template_named_rerank_takes_what_was_asked_and_the_reply(write):
    path = write(Tiny(templates={"": "unused", "rerank": "Q {query} D {document}"}))
    with RewardModel(path, context=512, threads=1) as model:
        turns = [Message("system", "Sum."), *talk("5 {query}", "2 + {document}?")]
        [verdict] = model.score([turns])
    # what a text says in braces stays as it is
    expected = Tiny().score(ids("Q Sum.\n\n2 + {document}? D 5 {query}"))
    assert verdict.score == pytest.approx(expected, abs=0.003)


def test_a_chat_model_is_refused(small_model, write):
    with pytest.raises(ModelError, match=r"has no classification head.*not a reward model.*Judge"):
        RewardModel(small_model.path)
    headless = Tiny()
    del headless.weights["cls.output.weight"]
    with pytest.raises(ModelError, match="no classification head"):
        RewardModel(write(headless))


def test_a_head_that_llama_cpp_cannot_run_is_refused(write):
    with pytest.raises(ModelError, match=r"no head on the architecture 'llama'.*qwen3"):
        RewardModel(write(Tiny(architecture="llama")))
    one = Tiny(labels=())
    one.weights["cls.output.weight"] = one.weights["cls.output.weight"][:1]
    with pytest.raises(ModelError, match=r"one output.*would score everything 1.*two rows"):
        RewardModel(write(one))
    narrow = Tiny(labels=("a", "b", "c"))  # of a head that has two rows
    with pytest.raises(ModelError, match="cannot load"):
        RewardModel(write(narrow))


def test_other_files_and_options_are_refused(write, tmp_path: Path):
    with pytest.raises(ModelError, match="no chat template"):
        RewardModel(write(Tiny(templates={})), context=512)
    (tmp_path / "x.gguf").write_bytes(b"hello")
    with pytest.raises(ModelError, match="not a whole GGUF"):
        RewardModel(tmp_path / "x.gguf")
    with pytest.raises(OptionError, match=r"context=2048.*at most 1024"):
        RewardModel(write(Tiny()))
    with pytest.raises(OptionError, match="context=1"):
        RewardModel(write(Tiny()), context=1)
    with pytest.raises(OptionError, match="threads=0"):
        RewardModel(write(Tiny()), threads=0)


def test_a_closed_model_says_so(write):
    model = RewardModel(write(Tiny()), context=512)
    model.close()
    model.close()
    with pytest.raises(BackendError, match="closed"):
        model.score([talk("5")])


# -- step reward -----------------------------------------------------------------------------------

STEPS = "Add 2 and 3.\n\nThat is 6.\n\nSo the answer is 6."
SURE, UNSURE, DOUBTFUL = ((math.log(p), math.log(1 - p)) for p in (0.9, 0.8, 0.3))


@pytest.mark.parametrize(("combine", "score"), [("min", 0.3), ("product", 0.9 * 0.8 * 0.3)])
def test_steps_by_hand(combine: str, score: float):
    backend = FakeOpinion(SURE, DOUBTFUL, UNSURE)
    [verdict] = judged(StepReward(backend, " ки", combine=combine), PROBLEM, said(STEPS))
    assert verdict.score == pytest.approx(score)
    assert verdict.note == "steps 0.90, 0.30, 0.80"
    assert verdict.cost == Cost(decoded=3, calls=3)


def test_the_last_step_is_asked_alone():
    backend = FakeOpinion(DOUBTFUL)
    [verdict] = judged(StepReward(backend, " ки", combine="last"), PROBLEM, said(STEPS))
    assert verdict.score == pytest.approx(0.3)
    assert verdict.cost.calls == 1
    assert len(backend.asked[0].prefix) == 3


def test_a_tag_follows_every_step():
    backend = FakeOpinion(SURE, SURE, SURE, SURE)
    verifier = StepReward(backend, " ки", split="\n")
    two, one = judged(verifier, PROBLEM, said("a\nb\n", "c"))
    assert [request.prefix_text for request in backend.asked] == ["a ки", "a ки\nb ки", "c ки"]
    assert backend.asked[1].prefix == (Piece("a ки"), Piece("\nb ки"))
    assert backend.asked[0].messages == (Message("user", PROBLEM),)
    assert (two.note, one.note) == ("steps 0.90, 0.90", "steps 0.90")


def test_a_step_that_cannot_be_scored_makes_nan_and_is_paid_for():
    [silent] = judged(StepReward(FakeOpinion((), ()), "?"), PROBLEM, said("a\n\nb"))
    assert math.isnan(silent.score)
    assert "no log-probabilities" in silent.note
    assert silent.cost.calls == 2
    [empty] = judged(StepReward(FakeOpinion(), "?"), PROBLEM, said(" \n\n"))
    assert (math.isnan(empty.score), empty.note) == (True, "there are no steps")


def test_a_real_model_evaluates_each_token_once(llm: Llama):
    text = "\n\n".join(f"Step {i}: {i} + {i} = {2 * i}, so we go on with that." for i in range(6))
    rows: list[Cost] = []

    class Watched(FakeOpinion):
        def generate(self, requests, **heard):
            replies = llm.generate(requests, **heard)
            self.asked += requests
            rows.extend(reply.cost for [reply] in replies)
            return replies

    backend = Watched()
    [verdict] = judged(StepReward(backend, " ?", choices=(" yes", " no")), PROBLEM, said(text))
    lengths = [len(llm.tokens(request)) for request in backend.asked]
    assert len(lengths) == 6
    assert [cost.prefilled for cost in rows[1:]] == list(np.diff(lengths))
    assert rows[0].prefilled + rows[0].reused == lengths[0]
    assert verdict.cost.prefilled <= lengths[-1]
    assert verdict.cost.decoded == verdict.cost.calls == 6


def test_a_tag_within_a_turn_reads_as_it_does_at_its_end(llm: Llama):
    verifier = StepReward(llm, " Correct?", choices=(" Yes", " No"))
    [all_steps] = judged(verifier, PROBLEM, said(STEPS))
    starts = ["Add 2 and 3.", "Add 2 and 3.\n\nThat is 6.", STEPS]
    each = judged(replace(verifier, combine="last"), PROBLEM, said(*starts))
    told = [float(p) for p in all_steps.note.removeprefix("steps ").split(", ")]
    assert told == pytest.approx(scores(each), abs=0.03)
    # the same number, read from the sample that the engine draws
    request = Request((Message("user", PROBLEM),), (Piece("Add 2 and 3. Correct?"),))
    brief = replace(request.sampling, temperature=0, max_tokens=1, choices=(" Yes", " No"))
    [[reply]] = llm.generate([replace(request, sampling=brief)])
    yes, no = np.exp(reply.choices)
    assert each[0].score == pytest.approx(yes / (yes + no), abs=0.03)


def test_of_solutions_the_one_longer_than_the_context_is_not_scored(llm: Llama):
    steps = StepReward(llm, "?", choices=(" Yes", " No"), combine="last")
    long, short = judged(steps, PROBLEM, said("one two " * 600, "one two"))
    assert math.isnan(long.score)
    assert "PromptTooLong" in long.note
    assert 0 <= short.score <= 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"combine": "mean"}, "combine='mean'.*'min' or 'last' or 'product'"),
        ({"choices": ("+", "+")}, "choices="),
        ({"choices": ("+",)}, "choices="),
        ({"choices": "+-"}, "choices='\\+-'"),
        ({"tag": ""}, "tag=''"),
        ({"split": ""}, "split=''"),
    ],
)
def test_step_options_are_checked(options: dict, named: str):
    with pytest.raises(OptionError, match=named):
        StepReward(**{"backend": FakeOpinion(), "tag": "?"} | options)
