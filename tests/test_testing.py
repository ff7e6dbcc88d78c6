"""Scripted models behave as a real one would: stop strings, limits, budgets, the whole protocol."""

from __future__ import annotations

import textwrap

import pytest

import itslab as its
from itslab import testing
from itslab.core import BackendError, Completion, Request, Sampling, as_messages
from itslab.testing import ScriptedModel, ScriptedSteps

PLAIN = its.SelfConsistency(n=2, instruction="")


def test_the_example_of_the_module_runs_as_it_stands() -> None:
    assert testing.__doc__ is not None
    example = textwrap.dedent(testing.__doc__.partition("milliseconds:\n")[2])
    names = {**vars(its), **vars(testing), "solve": its.solve, "BeamSearch": its.BeamSearch}
    exec(example, names)


def test_replies_are_given_in_their_order_and_one_too_few_is_named() -> None:
    model = ScriptedModel(replies=[r"\boxed{4}", r"\boxed{5}", "6"])
    result = its.solve("?", PLAIN, model)
    assert [node.text for node in result.tree if node.completion] == [r"\boxed{4}", r"\boxed{5}"]
    assert model.asked == [Request(as_messages("?"), (), Sampling(), 2)]
    with pytest.raises(BackendError, match="the script has 3 replies, and one more was asked for"):
        its.solve("?", PLAIN, model)


def test_a_rule_sees_the_request_and_the_index() -> None:
    model = ScriptedModel(replies=lambda request, index: f"{request.messages[-1].content}{index}")
    result = its.solve("1", PLAIN, model)
    assert [node.text for node in result.tree if node.completion] == ["10", "11"]
    whole = Completion("It is 3.", logprobs=(-0.5,))
    assert its.solve("?", PLAIN, ScriptedModel(replies=[whole] * 2)).node.completion is whole  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sampling", "text", "finish", "tokens"),
    [
        (Sampling(), "One.\n\nTwo three. ", "end", 3),
        (Sampling(max_tokens=2), "One.\n\nTwo ", "length", 2),
        (Sampling(stop=("three", "\n\n")), "One.", "stop", 1),
        (Sampling(stop=("\n\n",), include_stop=True), "One.\n\n", "stop", 1),
        (Sampling(stop=("four",)), "One.\n\nTwo three. ", "end", 3),
    ],
)
def test_a_reply_ends_as_a_models_would(
    sampling: Sampling, text: str, finish: str, tokens: int
) -> None:
    model = ScriptedModel(replies=["One.\n\nTwo three. "])
    [[sample]] = model.generate([Request(as_messages("?"), (), sampling)])
    assert (sample.text, sample.finish, sample.cost.decoded) == (text, finish, tokens)
    assert sample.offsets[-1] == len(text)


def test_a_budget_holds() -> None:
    model = ScriptedModel(replies=lambda request, index: "one two three four")
    result = its.solve("?", its.SelfConsistency(n=8), model, budget=its.Budget(tokens=10))
    assert (result.cost.decoded, result.stopped_by) == (10, "tokens")


def test_steps_go_round_and_where_the_script_is_silent_the_turn_is_closed() -> None:
    model = ScriptedSteps({"": ["so ", "if "], "so ": ["done"]}, ends=["done"])
    [three] = model.generate([Request(as_messages("?"), (), n=3)])
    assert [(step.text, step.finish) for step in three] == [
        ("so ", "stop"),
        ("if ", "stop"),
        ("so ", "stop"),
    ]
    piece = its.Piece("if ")
    [[last]] = model.generate([Request(as_messages("?"), (piece,))])
    assert (last.text, last.finish) == ("", "end")
