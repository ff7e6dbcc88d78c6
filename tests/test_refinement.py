"""Refinements: each followed on paper, then on bad input, on a real model and in the sandbox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from itslab.answers import extract
from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Message,
    Node,
    OptionError,
    Problem,
    Prompt,
    PromptTooLong,
    Request,
    Result,
    Sampling,
    Verdict,
)
from itslab.handle import solve
from itslab.strategies import CheckedRefine, MCTSr, Reflexion, RepairWithTests, SelfRefine
from itslab.strategies.mctsr import Version
from itslab.strategies.refinement import CRITIQUE, LONGEST_NOTE, remark
from itslab.tasks.programs import extract_program, visible_tests
from itslab.testing import ScriptedModel


@dataclass
class FakeTalker(ScriptedModel):
    """A model that answers by a rule.

    Args:
        says: the messages -> the reply.
        room: messages in the context at most.
    """

    says: Callable[[Sequence[Message]], str]
    room: int = 99

    def generate(self, requests: Sequence[Request], *watched: Any, **how: Any) -> Any:
        if any(len(request.messages) > self.room for request in requests):
            raise PromptTooLong("too many messages")
        return super().generate(requests, *watched, **how)

    def draw(self, request: Request, index: int) -> Completion:
        return Completion(self.says(request.messages), cost=Cost(decoded=10, calls=1), index=index)


def counting(*answers: str) -> FakeTalker:
    """A model that gives these answers one after the other, whatever is said."""
    left = list(answers)
    return FakeTalker(lambda messages: rf"\boxed{{{left.pop(0)}}}")


def near_ten(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    """1 for 10, less the further away; nan of what is no number."""
    verdicts = []
    for node in nodes:
        try:
            off = abs(10 - float(extract(node.turn_text) or ""))
            verdicts.append(Verdict(1 - off / 10, note=f"off by {off:g}" if off else ""))
        except ValueError:
            verdicts.append(Verdict(math.nan, note="no number"))
    return verdicts


def whys(result: Result) -> list[str]:
    return [event.data["why"] for event in result.tree.events if event.kind == "settled"]


def versions(result: Result) -> list[tuple[int, int | None]]:
    found = [event for event in result.tree.events if event.kind == "version"]
    return [(event.node, event.data["of"]) for event in found]


# -- checked refinement ----------------------------------------------------------------------------


def test_a_version_is_revised_by_what_is_noted_until_it_is_good_enough():
    talker = counting("4", "7", "10", "11")
    result = solve("Say ten.", CheckedRefine(near_ten, iterations=5), talker)
    assert (result.answer, whys(result)) == ("10", ["stop_score"])
    assert [m.role for m in talker.asked[2].messages] == ["user", "assistant"] * 2 + ["user"]
    assert "There is a mistake: off by 6" in talker.asked[1].messages[-1].content
    assert "off by 3" in talker.asked[2].messages[-1].content
    assert [of for _, of in versions(result)] == [None, *[node for node, _ in versions(result)[:2]]]


def test_the_best_version_is_kept_rather_than_the_last():
    result = solve("Say ten.", CheckedRefine(near_ten), counting("8", "9", "3", "2"))
    assert (result.answer, whys(result)) == ("9", [])
    assert result.cost.decoded == 40


def test_an_unchanged_answer_and_a_cycle_end_a_line():
    same = solve("Say ten.", CheckedRefine(near_ten), counting("8", "8.0"))
    assert (same.answer, whys(same)) == ("8", ["unchanged"])
    cycle = solve("Say ten.", CheckedRefine(near_ten), counting("8", "5", "8"))
    assert (cycle.answer, whys(cycle)) == ("8", ["cycle"])


def test_what_cannot_be_judged_is_not_revised():
    result = solve("Say ten.", CheckedRefine(near_ten), counting("a"))
    assert (result.answer, whys(result)) == ("a", ["unjudged"])


def test_a_critique_in_place_of_an_answer_is_no_better_version():
    def says(messages: Sequence[Message]) -> str:
        return r"\boxed{8}" if len(messages) == 1 else "The second step is doubtful."

    result = solve("Say ten.", CheckedRefine(near_ten), FakeTalker(says))
    assert (result.answer, whys(result)) == ("8", ["unjudged"])


def test_branches_go_on_side_by_side_until_one_is_good_enough():
    talker = counting("1", "2", "3", "10")
    result = solve("Say ten.", CheckedRefine(near_ten, branches=2, iterations=5), talker)
    assert (result.answer, whys(result)) == ("10", ["stop_score"])
    assert [request.n for request in talker.asked] == [2, 1, 1]  # the drafts, then both revisions


def test_versions_may_vote():
    strategy = CheckedRefine(near_ten, branches=3, iterations=0, selection="vote")
    assert solve("Say ten.", strategy, counting("4", "9", "4.0")).answer == "4"


def test_a_budget_ends_with_the_best_version_so_far():
    strategy = CheckedRefine(near_ten, iterations=9)
    result = solve("Say ten.", strategy, counting(*"8123456"), budget=Budget(tokens=35))
    assert (result.answer, result.stopped_by) == ("8", "tokens")


@pytest.mark.parametrize(("option", "value"), [("iterations", -1), ("branches", 0)])
def test_counts_out_of_range_are_refused(option, value):
    with pytest.raises(OptionError, match=f"{option}={value}"):
        CheckedRefine(near_ten, **{option: value})
    with pytest.raises(OptionError, match="selection='last'"):
        SelfRefine(near_ten, selection="last")


# -- by its own critique ---------------------------------------------------------------------------


def test_self_refine_by_hand():
    """4, criticised, becomes 9, with which the critique is content."""

    def says(messages: Sequence[Message]) -> str:
        if messages[-1].content == CRITIQUE:
            return "Too small." if "4" in messages[-2].content else "There is no mistake."
        return r"\boxed{4}" if len(messages) == 1 else r"\boxed{9}"

    talker = FakeTalker(says)
    result = solve("Say ten.", SelfRefine(near_ten), talker)
    assert (result.answer, whys(result)) == ("9", ["content"])
    roles = [message.role for message in talker.asked[2].messages]
    assert roles == ["user", "assistant"] * 2 + ["user"]
    assert talker.asked[2].messages[3].content == "Too small."
    assert len(versions(result)) == 2  # critiques are none


@pytest.mark.parametrize(
    ("critique", "content"),
    [
        ("No mistake.", True),
        ("Step 1 is right: 2*3 is 6.\n\n**No mistake**", True),
        ("So there is no mistake.", True),
        ("Verdict: No mistake.", True),
        ("Step 1: no mistake. Step 2 is wrong: 2*3 is 6", False),
        ("No mistake in step 1.\nStep 2 is wrong: 2*3 is 6.", False),
        ("No mistake.\nBut the answer is wrong.", False),
        ("Step 1: no mistake.", False),
        ("It is not so that there is no mistake.", False),
        ("", False),
    ],
)
def test_the_verdict_is_the_last_line_of_a_critique(critique, content):
    def says(messages: Sequence[Message]) -> str:
        return critique if messages[-1].content == CRITIQUE else rf"\boxed{{{len(messages)}}}"

    result = solve("Say ten.", SelfRefine(near_ten, iterations=1), FakeTalker(says))
    assert whys(result) == (["content"] if content else [])


# -- lessons ---------------------------------------------------------------------------------------


def test_reflexion_attempts_anew_with_the_last_lessons():
    attempts = iter("1234")

    def says(messages: Sequence[Message]) -> str:
        if "what went wrong" in messages[-1].content:
            return f"Lesson from\n{messages[-2].content[-2]}."
        return rf"\boxed{{{next(attempts)}}}"

    talker = FakeTalker(says)
    result = solve("Say ten.", Reflexion(near_ten, memory=2), talker)
    assert result.answer == "4"
    fourth = talker.asked[-1].messages
    assert len(fourth) == 1
    assert "- Lesson from 2.\n- Lesson from 3." in fourth[0].content
    assert "from 1" not in fourth[0].content
    assert fourth[0].content.startswith("Say ten.")
    assert "off by 9" in talker.asked[1].messages[-1].content


def test_reflexion_ends_where_nothing_can_be_judged():
    talker = counting("a", "b")
    result = solve("Say ten.", Reflexion(near_ten), talker)
    assert (result.answer, whys(result), len(talker.asked)) == ("a", ["unjudged"], 1)


# -- the tree --------------------------------------------------------------------------------------


def test_mctsr_by_hand():
    """Qualities and bounds after two revisions of one answer, in numbers.

    0.4 is revised to 0.6: its quality becomes (0.4 + 0.6) ÷ 2 = 0.5. Revised to 0.2 as well: the
    best revision is still 0.6, and so the quality 0.5.
    """
    node = Node(0, None, "assistant", "")
    root = Version(node)

    def version(parent: Version, quality: float) -> Version:
        made = Version(replace(node, verdict=Verdict(quality)), parent, score=quality)
        parent.add(made)
        return made

    first = version(root, 0.4)
    version(first, 0.6)
    assert first.quality == pytest.approx(0.5)
    worse = version(first, 0.2)
    assert first.quality == pytest.approx(0.5)
    assert (root.visits, first.visits, worse.visits) == (4, 3, 1)
    assert not first.open(2)  # two revisions, one of them better
    assert first.open(3)
    # The bounds of the two revisions: (0.6 − 0.2) ÷ 0.4 = 1 and 0, each + c √(ln 3 + 1).
    best, second = MCTSr(near_ten, width=2).select(root)
    assert [best.quality, second.quality] == [0.6, 0.2]


def test_mctsr_goes_back_to_the_better_version():
    answers = iter(["5", "2", "8", "10"])

    def says(messages: Sequence[Message]) -> str:
        if messages[-1].content == CRITIQUE:
            return "It is off."
        return rf"\boxed{{{next(answers)}}}"

    result = solve("Say ten.", MCTSr(near_ten, iterations=3, c=0.1), FakeTalker(says))
    assert result.answer == "10"
    of = dict(versions(result))
    first, worse, better, right = of
    assert [of[worse], of[better], of[right]] == [first, first, better]


def test_mctsr_goes_on_elsewhere_where_the_critique_is_content_and_ends_when_nothing_is_open():
    critiques = iter(["It is off.", "No mistake.", "No mistake."])

    def says(messages: Sequence[Message]) -> str:
        if messages[-1].content == CRITIQUE:
            return next(critiques)
        return r"\boxed{5}" if len(messages) == 1 else r"\boxed{8}"

    result = solve("Say ten.", MCTSr(near_ten, iterations=9), FakeTalker(says))
    assert (result.answer, whys(result)) == ("8", ["content", "content"])
    assert result.stopped_by is None


def test_a_quality_is_taken_afresh_from_the_own_score_and_the_best_revision():
    node = Node(0, None, "assistant", "")
    version = Version(node, score=0.2)
    for score in (0.9, 0.1, 0.1):
        version.add(Version(node, version, score=score))
        assert version.quality == pytest.approx(0.55)
    best = version.children[0]
    best.add(Version(node, best, score=0.1))
    assert best.quality == pytest.approx(0.5)
    assert version.quality == pytest.approx(0.35)


def test_mctsr_ends_with_a_version_that_is_good_enough():
    talker = counting("8", "10", "9", "9")
    strategy = MCTSr(near_ten, iterations=9, branches=2, stop_score=1.0)
    result = solve("Say ten.", strategy, talker)
    assert (result.answer, whys(result), len(talker.asked)) == ("10", ["stop_score"], 1)


def test_mctsr_counts_what_cannot_be_scored_as_the_least_score_also_afterwards():
    answers = iter(["a", "8", "2", "9"])

    def says(messages: Sequence[Message]) -> str:
        return "Wrong." if messages[-1].content == CRITIQUE else rf"\boxed{{{next(answers)}}}"

    result = solve("Say ten.", MCTSr(near_ten, iterations=1, branches=2), FakeTalker(says))
    values = {e.node: e.data["value"] for e in result.tree.events if e.kind == "value"}
    unscored = next(node for node in result.tree if node.text == r"\boxed{a}")
    assert values[unscored.id] == pytest.approx(0.2)  # of 0.8 and 0.2


# -- on a real model -------------------------------------------------------------------------------


def unique_tokens(result: Result, llm: Llama) -> int:
    """Distinct tokens of all conversations of a run, each with what was drawn, as a prefix tree."""
    tree: dict[int, Any] = {}
    count = 0
    for node in result.tree:
        if node.completion and node.parent:
            place = tree
            for token in (
                *llm.tokens(Request(*node.parent.conversation())),
                *node.completion.tokens,
            ):
                count += token not in place
                place = place.setdefault(token, {})
    return count


def never(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
    return [Verdict(0, note="This could be said better.")] * len(nodes)


BRIEF = Sampling(max_tokens=24)


@pytest.mark.parametrize(
    "strategy",
    [
        CheckedRefine(never, branches=2, sampling=BRIEF),
        SelfRefine(never, branches=2, content="never said", sampling=BRIEF, criticism=BRIEF),
    ],
)
def test_a_conversation_is_evaluated_once(llm: Llama, strategy: CheckedRefine) -> None:
    result = solve("Describe the sea in a few words.", strategy, llm)
    assert len(versions(result)) >= 2 * 2  # a line ends where it repeats itself, if it does
    assert result.cost.prefilled + result.cost.decoded <= 1.05 * unique_tokens(result, llm)


# -- bad input -------------------------------------------------------------------------------------


def test_of_a_long_note_the_end_is_kept():
    trace = "\n".join(f"line {i}" for i in range(10**5)) + "\nZeroDivisionError: division by zero"
    node = Node(0, None, "assistant", "", verdict=Verdict(0, note=trace))
    kept = remark(node)
    assert len(kept) <= LONGEST_NOTE + 2
    assert kept.startswith("…\nline ")
    assert kept.endswith("ZeroDivisionError: division by zero")


def test_a_conversation_that_outgrows_the_context_forgets_its_oldest_version():
    talker = counting(*"1234")
    talker.room = 5  # the question, two versions and what was said of them
    result = solve("Say ten.", CheckedRefine(near_ten), talker)
    assert (result.answer, result.stopped_by) == ("4", None)
    contents = [message.content for message in talker.asked[-1].messages]
    assert contents[0].startswith("Say ten.")
    assert contents[1] == r"\boxed{2}"
    assert [len(request.messages) for request in talker.asked] == [1, 3, 5, 5]
    assert [of for _, of in versions(result)][1:] == [node for node, _ in versions(result)[:-1]]
    judged = {event.node for event in result.tree.events if event.kind == "verdict"}
    assert judged == {node.id for node in result.tree if node.verdict is not None}


def test_where_nothing_is_left_to_forget_the_run_ends():
    talker = counting(*"1234")
    talker.room = 2
    result = solve("Say ten.", CheckedRefine(near_ten), talker)
    assert (result.answer, result.stopped_by) == ("1", "context")
    assert all(node.status != "open" for node in result.tree)


STUB = 'def half(x):\n    """Half of x.\n\n    >>> half(4)\n    2\n    """\n'
HALF = Problem(
    "half",
    "Complete half.",
    "",
    {"stub": STUB, "function": "half", "tests": ["assert half(4) == 2"]},
)


def repair(*bodies: str) -> tuple[Result, FakeTalker]:
    """Programs written down in advance, repaired by the real sandbox's reports."""
    left = iter(bodies)
    talker = FakeTalker(lambda _: f"```python\ndef half(x):\n    {next(left)}\n```")
    strategy = RepairWithTests(visible_tests(HALF))
    return solve(HALF.prompt, strategy, talker, extract=extract_program), talker


def test_a_program_is_repaired_by_the_test_that_fails():
    result, talker = repair("return x / 0", "return x // 4", "return x // 2")
    assert "x // 2" in str(result.answer)
    assert whys(result) == ["stop_score"]
    assert "ZeroDivisionError" in talker.asked[1].messages[-1].content
    assert "half(4) returned 1, expected 2" in talker.asked[2].messages[-1].content


def test_a_program_that_breaks_out_is_repaired_like_any_other():
    result, _ = repair("import os; os._exit(0)", "return x // 2")
    assert "x // 2" in str(result.answer)
