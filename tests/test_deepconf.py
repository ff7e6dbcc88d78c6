"""Chains are cut where the model is no longer confident: by hand, live, and in replay."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from itslab import Bank, models
from itslab.backends.llama import Llama
from itslab.core import (
    Completion,
    Cost,
    Cutoff,
    OptionError,
    Request,
    Sampling,
    Signals,
    as_messages,
)
from itslab.handle import solve
from itslab.strategies import DeepConf
from itslab.testing import ScriptedModel

TWO = Cutoff(2.0, window=2)


def chain(answer: str, *confidences: float, index: int = 0) -> Completion:
    """A token for each confidence, the last of which spells the answer."""
    words = [f"w{i} " for i in range(len(confidences) - 1)] + [f"\\boxed{{{answer}}}"]
    ends = [len("".join(words[: i + 1])) for i in range(len(words))]
    return Completion(
        "".join(words),
        offsets=tuple(ends),
        cost=Cost(decoded=len(words) + 1, calls=1),  # and the end of the turn
        signals=Signals(confidences=confidences),
        index=index,
    )


# -- where a sample is cut -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidences", "place"),
    [
        ((), None),
        ((0.0,), None),  # no whole group
        ((1.0, 2.0), 2),
        ((2.0, 2.0), None),  # not lower
        ((3.0, 1.0, 0.5, 9.0), 3),
        ((9.0, 9.0, 1.0, 2.0), 4),
        ((math.inf, 0.0), None),
        ((1e9, 0.0), None),
        ((math.nan, math.nan), None),
        ((-5.0, 1.0), 2),
    ],
)
def test_a_sample_is_cut_after_the_first_group_below_the_level(
    confidences: tuple[float, ...], place: int | None
) -> None:
    assert TWO.place(confidences) == place


def test_the_lowest_group_tells_whether_it_is_cut() -> None:
    assert TWO.lowest((3.0, 1.0, 0.5, 9.0)) == 0.75
    assert TWO.lowest((1.0,)) == math.inf


def test_a_level_means_the_same_for_what_a_bank_has_rounded() -> None:
    exact = (2.0004, 1.9999)  # at 16 bits both are 2
    assert TWO.place(exact) is None


def test_a_cut_sample_is_its_beginning() -> None:
    cut = chain("7", 9, 9, 1, 1, 9).cut(TWO)
    assert (cut.text, cut.finish, cut.cost.decoded) == ("w0 w1 w2 w3 ", "cut", 4)
    assert chain("7", 9, 9).cut(TWO) == chain("7", 9, 9)
    assert chain("7", 1, 1).cut(None).finish == "end"


def test_a_cutoff_takes_signals() -> None:
    with pytest.raises(OptionError, match="signals=True"):
        Request(as_messages("?"), cutoff=TWO)


@pytest.mark.parametrize("options", [{"confidence": -1}, {"confidence": 1, "window": 0}])
def test_a_cutoff_is_checked(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Cutoff(**options)  # type: ignore[arg-type]


# -- the strategy by hand --------------------------------------------------------------------------


def run(chains: list[Completion], **options: object):  # type: ignore[no-untyped-def]
    strategy = DeepConf(**{"window": 2, "wave": 1, **options})  # type: ignore[arg-type]
    return solve("?", strategy, ScriptedModel(replies=chains))


def test_the_warm_up_sets_the_level_and_chains_below_it_are_cut() -> None:
    # Lowest groups of the warm-up: 4, 8 and 8. Two thirds are to stay above the level: 6.7.
    warmup = [chain("1", 4, 4, 9), chain("2", 8, 8, 8), chain("3", 8, 8, 8)]
    more = [chain("1", 9, 9, 1, 9, 9, 9), chain("3", 7, 7, 7)]
    result = run([*warmup, *more], n=5, warmup=3, keep=2 / 3)
    drawn = [node for node in result.tree if node.completion]
    ends = [node.completion.finish for node in drawn if node.completion]
    assert ends == ["end", "end", "end", "cut", "end"]
    assert [node.status for node in drawn] == ["pruned", "done", "done", "pruned", "done"]
    assert drawn[3].text == "w0 w1 w2 "
    assert result.cost.decoded == 4 + 4 + 4 + 3 + 4  # of the one that was cut, too
    assert result.answer == "3"  # 8 + 7 against 8


def test_votes_weigh_by_confidence() -> None:
    chains = [chain("1", 3, 3), chain("1", 3, 3), chain("2", 7, 7)]
    assert run(chains, n=3, warmup=3, keep=1.0).answer == "2"


def test_a_consensus_ends_it() -> None:
    chains = [chain("1", 5, 5), chain("1", 5, 5), chain("2", 5, 5), chain("3", 5, 5)]
    assert run(chains[:2], n=4, warmup=2).cost.calls == 2
    assert run(chains, n=4, warmup=2, consensus=0.6, keep=1.0).cost.calls == 2
    result = run([chains[0], chains[2], chains[3], chains[1]], n=4, warmup=2, keep=1.0)
    assert (result.cost.calls, result.answer) == (4, "1")


def test_chains_without_a_whole_group_are_never_cut() -> None:
    short = [chain(str(i), 1) for i in range(3)]
    result = run(short, n=3, warmup=1, consensus=1.0, keep=0.1)
    assert result.cost.calls in (1, 3)
    assert result.answer == "0"


def test_where_nothing_answers_there_is_no_answer() -> None:
    silent = [Completion("Hm.", cost=Cost(decoded=1, calls=1)) for _ in range(4)]
    assert run(silent, n=4, warmup=2).answer is None


@pytest.mark.parametrize("options", [{"warmup": 17}, {"keep": 0}, {"consensus": 0.5}, {"wave": 0}])
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        DeepConf(**options)  # type: ignore[arg-type]


# -- on a real model -------------------------------------------------------------------------------

ASK = as_messages("Name five animals and say why you like each.")
LONG = Sampling(temperature=1, max_tokens=48, signals=True)


def test_a_model_stops_drawing_where_the_whole_sample_would_be_cut(llm: Llama) -> None:
    request = Request(ASK, sampling=LONG, n=6, seed=3)
    [whole] = llm.generate([request])
    levels = sorted(Cutoff(0, 8).lowest(sample.signals.confidences) for sample in whole)
    cutoff = Cutoff(levels[3], 8)
    [cut] = llm.generate([Request(ASK, sampling=LONG, n=6, seed=3, cutoff=cutoff)])
    expected = [sample.cut(cutoff) for sample in whole]
    assert [s.finish for s in expected].count("cut") == 3
    # Another batch may round otherwise in the last bits: what is compared is text and places.
    assert [(s.text, s.finish, s.cost.decoded) for s in cut] == [
        (s.text, s.finish, s.cost.decoded) for s in expected
    ]


def test_a_bank_serves_a_cut_sample_from_a_whole_one_and_keeps_what_was_cut(
    small_model: models.ModelFile, llm: Llama, tmp_path: Path
) -> None:
    whole, few = Bank(tmp_path / "whole.sqlite"), Bank(tmp_path / "few.sqlite")
    request = Request(ASK, sampling=LONG, n=4, seed=5)
    [samples] = whole.record(llm).generate([request])
    levels = sorted(Cutoff(0, 8).lowest(sample.signals.confidences) for sample in samples)
    asked = Request(ASK, sampling=LONG, n=4, seed=5, cutoff=Cutoff(levels[2], 8))
    [recorded] = few.record(llm).generate([asked])
    [replayed] = whole.replay().generate([asked])
    [again] = few.replay().generate([asked])
    assert [s.finish for s in recorded].count("cut") == 2
    assert [(s.text, s.finish) for s in recorded] == [(s.text, s.finish) for s in replayed]
    assert recorded == again
    # A cut sample is no whole one, nor one that is cut later.
    with pytest.raises(Exception, match="lacks sample"):
        few.replay().generate([request])
    with pytest.raises(Exception, match="lacks sample"):
        few.replay().generate([Request(ASK, sampling=LONG, n=4, seed=5, cutoff=Cutoff(0.01, 8))])
    assert few.samples == 4
    few.record(llm).generate([request])
    assert [len(row) for row in few.replay().generate([request])] == [4]


@pytest.mark.parametrize("confidences", [(), (math.nan,) * 3, (math.inf,) * 3])
def test_without_confidences_it_is_a_plain_vote(confidences: tuple[float, ...]) -> None:
    def say(request: Request, index: int) -> Completion:
        sample = chain("1222"[index], 0.0, index=index)
        return replace(sample, signals=Signals(confidences=confidences))

    assert solve("?", DeepConf(4, warmup=4), ScriptedModel(replies=say)).answer == "2"


def test_one_chain_that_is_left_of_the_warm_up_does_not_agree_with_itself() -> None:
    """A tenth of four is one chain: with its 9 it sets the level, and others are cut against it."""
    warmup = [chain("1", 4, 4), chain("2", 5, 5), chain("3", 6, 6), chain("4", 9, 9)]
    unsure, sure = chain("5", 1, 1, 1), chain("4", 9, 9)
    result = run([*warmup, unsure, sure, sure], n=7, warmup=4, keep=0.1)
    assert result.cost.calls == 6, "two that agree end it"
    assert [n.completion.finish for n in result.tree if n.completion][4:] == ["cut", "end"]
    assert result.answer == "4"
