"""Tiers side by side: what a picture says at a time, and panels that are operated."""

from __future__ import annotations

import re
import time

import itslab as its
from itslab.core import Completion, Cost, Output, Result
from itslab.serving.desk import Desk
from itslab.serving.tiers import Menu, Tier, looked
from itslab.testing import ScriptedModel
from itslab.viz.style import GREEN
from itslab.viz.tiers import Course, Sampled, TierPanel, TierReplay, course, picture, recorded

FAST = Course("fast", [Sampled(2.0, "17", "17", 90)], 2.0, 5.0)
DEEP = Course(
    "deep",
    [Sampled(2.0, "17", "17", 90), Sampled(4.0, "42", "17", 200), Sampled(6.0, "42", "42", 310)],
    6.0,
    8.0,
)


def test_a_picture_says_what_would_be_answered_at_a_time():
    early = picture([FAST, DEEP], 1.0, "42")
    assert early.count("no answer yet") == 4  # two rows, and the words for those who do not see
    middle = picture([FAST, DEEP], 5.0, "42")
    assert "answered after 2.0 s · 1 sample · 90 tokens" in middle
    assert "so far · 2 samples · 200 tokens" in middle
    assert middle.count("✗") == 2
    late = picture([FAST, DEEP], 7.0, "42")
    assert (late.count("✗"), late.count("✓")) == (1, 1)
    assert late.count("<title>deadline") == 1  # the other is beyond the end of the axis
    assert "deadline 8 s" in late  # but it is told
    assert "after 7.0 seconds: fast: 17; deep: 42" in late


def test_an_answer_has_one_hue_and_every_dot_a_place_and_a_name():
    at_once = [Sampled(2.0, said, "17", 90) for said in ("17", "42", None, "9", "17")]
    shown = picture([Course("deep", at_once, 2.0)], 3.0, "42", question="What? " * 60)
    dots = re.findall(r'cx="[\d.]+%" cy="(\d+)"', shown)
    assert dots == ["24", "34", "44", "54", "64"]
    legend = re.findall(r'<circle cx="5" cy="5" r="4" (.+?)/></svg>([^<]+)', shown)
    hues = {text: look for look, text in legend}
    assert [*hues] == ["42", "17", "other answers", "no answer"]
    assert GREEN in hues["42"]
    assert shown.count(hues["17"]) == 5 + 2 + 2  # bars, samples, and the row and legend
    assert shown.count("What?") < 30


def test_nothing_that_a_model_says_is_markup():
    nasty = "<script>alert(1)</script>"
    shown = picture([Course("<b>", [Sampled(1.0, nasty, nasty, 5)], 1.0)], 2.0, "1")
    assert "<script" not in shown
    assert "<b>" not in shown


def test_what_leads_at_the_end_is_the_answer_of_a_cascade_and_no_vote():
    small = ScriptedModel(replies=["so 4", "so 5"], name="small", digest="s")
    large = ScriptedModel(replies=["so 6.0"], name="large", digest="l")
    agreed = its.Stage(its.SelfConsistency(2), accept=its.Agreement())
    cascade = its.Cascade((agreed, its.Stage(its.ChainOfThought(), large)))
    result = its.solve("?", cascade, small)
    assert (result.answer, recorded("both", result).samples[-1].leads) == ("6.0", "6.0")
    assert [sample.leads for sample in recorded("both", result).samples] == ["4", "4", "6.0"]
    assert recorded("both", result).end == recorded("both", result).samples[-1].time


def test_a_course_is_read_from_a_run():
    model = ScriptedModel(replies=["so 4", "nothing", "so 5", "so 5"])
    result = its.solve("?", its.SelfConsistency(4), model)
    made = recorded("vote", result, 9.0)
    assert [s.answer for s in made.samples] == ["4", None, "5", "5"]
    assert [s.leads for s in made.samples] == ["4", "4", "4", "5"]
    assert made.end == made.samples[-1].time
    assert course("vote", result.tree, waited=3.0).samples[0].time >= 3.0


def test_a_program_answers_with_what_it_prints():
    replies = ["```python\nprint(6 * 7) # 17\n```", "```python\nprint(1 / 0) # 17\n```", "so 9"]
    model = ScriptedModel(replies=replies)
    programs = its.ProgramAided(lambda code: Output("42" if "6" in code else "", ""), 2)
    result = its.solve("?", programs, model)
    made = recorded("programs", result)
    assert sorted(s.answer or "none" for s in made.samples) == ["42", "9", "none"]
    assert "17" not in {s.leads for s in made.samples}
    assert made.samples[-1].leads == result.answer


def paid(n: int, seconds: float) -> Result:
    cost = Cost(decoded=2, calls=1, seconds=seconds)
    replies = [Completion(said, cost=cost) for said in ("so 4", "so 5", "so 5", "so 5")]
    return its.solve("?", its.SelfConsistency(n), ScriptedModel(replies=replies))


def test_samples_found_in_a_bank_are_there_after_the_seconds_that_were_paid():
    made = recorded("vote", paid(4, 10.0))
    assert [s.time for s in made.samples] == [10.0, 20.0, 30.0, 40.0]
    assert made.end == 40.0
    shown = picture([made], 50.0)
    assert "answered after 40.0 s" in shown


def test_what_is_not_finished_at_the_deadline_is_cut():
    made = recorded("vote", paid(4, 10.0), 25.0)
    assert (len(made.samples), made.samples[-1].leads, made.end) == (2, "4", 25.0)
    shown = picture([made], 50.0)
    assert "cut at the deadline, 25.0 s · 2 samples" in shown
    assert "no answer</span>" in picture([recorded("vote", paid(1, 10.0), 5.0)], 6.0)


def test_time_is_moved_by_hand_and_a_problem_is_chosen():
    asked = {"one": "How many " + "very " * 20 + "much?"}
    panel = TierReplay({"one": [FAST, DEEP], "two": [FAST]}, {"one": "42"}, asked)
    labels = [label for label, _ in panel.problem.options]
    assert labels[0].startswith("1. How many very")
    assert labels[1] == "2. two"
    assert "How many very" in panel.view.value
    assert panel.seconds.value == panel.seconds.max == 6.1
    assert "✓" in panel.view.value
    panel.seconds.value = 3.0
    assert "so far · 1 sample" in panel.view.value
    panel.problem.value = "two"
    assert panel.seconds.value == 2.1
    assert "deep" not in panel.view.value
    assert "✗" not in panel.view.value  # its gold answer is not known


def test_all_tiers_answer_a_question_live():
    model = ScriptedModel(replies=lambda request, i: time.sleep(0.02) or f"so {4 + i % 2}")
    tiers = {"fast": Tier(its.SelfConsistency(1)), "deep": Tier(looked(5))}
    desk = Desk(Menu({"m": model}, tiers))
    panel = TierPanel(desk, "2 + 2?", gold="4")
    assert "Press Ask" in panel.view.value
    panel.ask_button.click()
    panel.wait(5)
    assert "5 samples" in panel.view.value
    assert panel.view.value.count("✓") == 2
    desk.close()
    panel.ask_button.click()
    assert "shutting down" in panel.message.value
