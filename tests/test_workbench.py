"""The workbench: controls made from a strategy's options, runs, and what is kept of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipywidgets import Widget
from ipywidgets.widgets.widget import _instances

import itslab as its
import itslab.sandbox
from itslab import strategies, tasks
from itslab.core import (
    Completion,
    Cost,
    ItslabError,
    Node,
    OptionError,
    Problem,
    Prompt,
    Request,
    Verdict,
)
from itslab.options import Count, Options, declared, documented, fits
from itslab.strategies.refinement import CRITIQUE
from itslab.study.runner import solve_all
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.viz.fields import Plain, Written
from itslab.viz.form import Chosen, Form, Several, settable
from itslab.viz.lab import Lab
from itslab.viz.methods import CHECK, FAMILIES
from itslab.viz.panels import price
from itslab.viz.replay import OWN
from itslab.viz.style import CLOCK, COMPUTE, GREEN, HUES
from itslab.viz.written import written

KINDS = [name for names in FAMILIES.values() for name in names]


def reply(request: Request, index: int) -> Completion:
    """Every third sample says 41."""
    said = 42 if (request.seed + index) % 3 else 41
    return Completion(rf"so \boxed{{{said}}}", finish="end", cost=Cost(decoded=10, calls=1))


@pytest.fixture
def llm() -> ScriptedModel:
    return ScriptedModel(replies=reply)


@pytest.fixture
def lab(llm: ScriptedModel) -> Lab:
    return its.lab(llm, question="What is 6 * 7?")


def run(lab: Lab) -> None:
    """Press Run, and wait until the run stands in the table or failed."""
    lab.view.run()
    lab.view.wait(30)
    assert lab.view.state not in ("drawing", "paused")


# -- forms -----------------------------------------------------------------------------------------


def controls(form: Form, path: str = "") -> Iterator[tuple[str, Any]]:
    """All fields of a form, those of the forms within included."""
    for name, option in form.options.items():
        yield f"{path}{name}", option
        within = option if isinstance(option, Form) else getattr(option, "form", None)
        if within is not None:
            yield from controls(within, f"{path}{name}.")
        for i, one in enumerate(getattr(option, "forms", [])):
            yield from controls(one, f"{path}{name}[{i}].")


def operate(field: Any) -> bool:
    """Move a control as a person would; False where there is nothing to move it to."""
    if isinstance(field, Written):
        field._text.value = {"inf": "2.5", "-inf": "-2.5"}.get(field._text.value, "3.5")
        return True
    if isinstance(field, Chosen):
        others = [o for o in field.choice.options if o != field.choice.value]
        field.choice.value = others[0] if others else field.choice.value
        return bool(others)
    if isinstance(field, Several):
        field.more.click()
        return True
    widget = field.widget
    if hasattr(widget, "max"):
        step = widget.step if widget.value + widget.step <= widget.max else -widget.step
        widget.value += step
    elif hasattr(widget, "options"):
        widget.index = (widget.index + 1) % len(widget.options)
    else:
        widget.value = not widget.value if type(widget.value) is bool else f"{widget.value} more"
    return True


ODD = {"tags": "('<a>', '</a>')", "stop": "('x',)", "choices": "('Yes', 'No')", "edges": "(0.25,)"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_control_of_every_strategy_changes_its_option_alone(lab: Lab, kind: str) -> None:
    names = [name for name, _ in controls(_opened(lab, kind))]
    moved = 0
    for name in names:
        form = _opened(lab, kind)
        after = before = form.get()
        field = dict(controls(form))[name]
        if isinstance(field, Form):
            continue  # its own fields are moved
        if isinstance(field, Written) and name.split(".")[-1] in ODD:
            field._text.value = ODD[name.split(".")[-1]]
        elif not operate(field):
            continue
        with contextlib.suppress(OptionError):  # such as options that do not go together
            after = form.get()
        if after is before:
            continue
        top = name.split(".")[0].split("[")[0]
        changed = [f.name for f in settable(type(after)) if _differ(before, after, f.name)]
        assert changed == [top], name
        assert written(after, {}) != written(before, {})
        moved += 1
    assert moved > 0.8 * len([n for n in names if n])


def _differ(before: Any, after: Any, name: str) -> bool:
    return repr(getattr(before, name)) != repr(getattr(after, name))


def _opened(lab: Lab, kind: str) -> Form:
    lab.strategy.value = "Direct" if kind != "Direct" else "ChainOfThought"
    lab.strategy.value = kind
    lab.reset.click()
    return lab.form


@pytest.mark.parametrize("kind", KINDS)
def test_written_as_code_it_is_the_same(lab: Lab, llm: ScriptedModel, kind: str) -> None:
    form = _opened(lab, kind)
    for name, field in list(controls(form)):
        if name in ("n", "width", "temperature", "sampling.temperature", "sampling.max_tokens"):
            operate(field)
    made = form.get()
    known = {**lab._names, id(itslab.sandbox.execute): "itslab.sandbox.execute"}
    source = written(made, known)
    assert eval(source, {"its": its, "itslab": itslab, "llm": llm}) == made


def test_every_option_has_a_tip_from_the_docstring() -> None:
    for kind in KINDS:
        made = getattr(strategies, kind)
        known = documented(made)
        for option in settable(made):
            assert known.get(option.name), f"{kind}.{option.name}"


@dataclasses.dataclass(frozen=True)
class Strange(Options):
    """Of options that are rare.

    Args:
        table: of numbers.
        word: one of three.
        many: how many.
    """

    table: tuple[float, ...] = (1.0, 2.0)
    word: Literal["a", "b", "c"] = "b"
    many: Count | None = None


def test_what_no_control_draws_is_written_and_checked() -> None:
    form = Form(Strange)
    assert isinstance(form.options["table"], Written)
    assert form.get() == Strange()
    form.options["table"]._text.value = "(3, 4)"
    form.options["many"]._text.value = "5"
    assert form.get() == Strange((3, 4), "b", 5)
    form.options["table"]._text.value = "(3, 'x')"
    assert "must be" in form.options["table"]._told.value
    with pytest.raises(OptionError, match="table"):
        form.get()
    form.set(Strange())
    assert form.get() == Strange()


@given(st.text(max_size=40))
def test_no_text_breaks_a_form(text: str) -> None:
    field = Written("x", tuple[float, ...], (1.0,), "")
    field._text.value = text
    with contextlib.suppress(OptionError):
        assert fits(field.get(), tuple[float, ...])


def test_values_that_are_given_become_sliders_or_lists(llm: ScriptedModel) -> None:
    form = Form(strategies.MCTS, _judged())
    form.limit("c", [0.5, 2.0])
    form.limit("rule", ["puct", "uct"])
    form.limit("sampling.temperature", [0.4, 0.8])
    assert type(form.options["c"].widget).__name__ == "SelectionSlider"
    assert type(form.options["rule"].widget).__name__ == "Dropdown"  # no categories on sliders
    assert (form.get().c, form.get().rule, form.get().sampling.temperature) == (0.5, "uct", 0.8)
    first = form.box.children[0].children
    assert [widget.description for widget in first[:3]] == ["c", "rule", "temperature"]
    with pytest.raises(OptionError, match="options of MCTS"):
        form.limit("cc", [1])
    with pytest.raises(OptionError, match="c=-1"):
        form.limit("c", [-1])
    with pytest.raises(OptionError, match="form within"):
        form.limit("width.x", [1])
    with pytest.raises(OptionError, match="options of the strategies here"):
        its.lab(llm, choices={"ns": [1]})


def test_choices_of_several_strategies_are_all_that_is_recorded(llm: ScriptedModel) -> None:
    stages = (
        its.Stage(its.SelfConsistency(2), None, its.Agreement(), 0.5),
        its.Stage(its.Direct()),
    )
    methods = {"votes": its.SelfConsistency(2), "two": its.Cascade(stages), "mine": think}
    choices = {"n": [1, 2, 4], "stages.0.threshold": [0.5, 1.0], "tokens": [10, 100]}
    lab = its.lab(
        llm, question="?", strategy=methods, choices=choices, budget=its.Budget(tokens=100)
    )
    assert lab.form.get() == its.SelfConsistency(2)
    settings = lab.settings()
    assert len(settings) == 6 + 4 + 2
    assert {s.strategy.n for s in settings[:6]} == {1, 2, 4}
    assert {s.strategy.stages[0].threshold for s in settings[6:10]} == {0.5, 1.0}
    assert {s.budget.tokens for s in settings} == {10, 100}
    assert (lab.strategy.value, lab.form.get(), lab.tokens.value) == (
        "votes",
        its.SelfConsistency(2),
        100,
    )
    lab.strategy.value = "mine"
    run(lab)
    assert lab.history.runs[0].setting.label == "think"
    at_once = its.lab(llm, question="?", run=True)
    assert len(at_once.history.runs) == 1


def think(run: its.Run, prompt: Any) -> its.Node:
    """A strategy of one's own."""
    [node] = run.extend(run.reply(None, prompt))
    return node


def _judged() -> dict[Any, dict[str, Any]]:
    return {its.Verifier: {"Confidence": its.Confidence}}


def test_no_category_is_on_a_slider() -> None:
    for kind in KINDS:
        hints = declared(getattr(strategies, kind))
        form_kinds = {
            name for name, hint in hints.items() if str(hint).startswith("typing.Literal")
        }
        lab = its.lab(ScriptedModel(replies=reply), strategy=kind)
        for name in form_kinds & {*lab.form.options}:
            field = lab.form.options[name]
            assert isinstance(field, Plain)
            assert type(field.widget).__name__ == "Dropdown"


# -- runs ------------------------------------------------------------------------------------------


def test_runs_are_kept_compared_and_marked(lab: Lab) -> None:
    lab.asked.gold_text.value = "42"
    run(lab)
    assert lab._told.value == ""
    assert lab.history.runs[0].result.answer == "42"
    assert "right" in lab.history.runs[0].mark
    lab.form.options["n"].set(1)
    assert "Settings changed" in lab._told.value
    run(lab)
    first, second = lab.history.runs
    assert (first.result.cost.calls, second.result.cost.calls) == (8, 1)
    assert "SelfConsistency(n=1)" in second.setting.label
    assert "run 1" in lab.history._pair.value
    assert "run 2" in lab.history._pair.value
    assert lab.history.again.value is second
    lab.history.again.value = first  # its tree is on view, and the settings are others
    assert len(lab.view.feed.tree) == 9
    assert "Settings changed" in lab._told.value
    lab.form.options["n"].set(8)
    assert lab._told.value == ""


def test_each_strategy_keeps_its_options_until_they_are_reset(lab: Lab) -> None:
    lab.form.options["n"].set(3)
    lab.strategy.value = "Cascade"
    lab.form.options["stages"].more.click()
    lab.strategy.value = "SelfConsistency"
    assert lab.form.get().n == 3
    lab.reset.click()
    assert lab.form.get() == its.SelfConsistency()
    lab.strategy.value = "Cascade"
    assert len(lab.form.get().stages) == 3
    lab.reset.click()
    assert len(lab.form.get().stages) == 2


def test_answers_have_the_same_hues_in_both_runs_and_in_the_tree(lab: Lab) -> None:
    lab.asked.gold_text.value = "41"
    run(lab)
    lab.form.options["n"].set(3)
    run(lab)
    hues = lab.history.hues(lab.asked.problem)
    assert hues == {"42": HUES[0]}  # green is for the right one
    assert lab.view._message(0)["hues"] == hues
    for part in (f'fill="{HUES[0]}"', f'fill="{GREEN}"'):
        assert lab.history._pair.value.count(part) == 2
    script = Path("itslab/viz/script/colours.js")
    assert ", ".join(f'"{hue}"' for hue in HUES) in script.read_text()


def test_critiques_and_lessons_are_no_votes() -> None:
    """332, revised to 23 and 23 again; what is said of them names 332, 23 and 34."""

    def said(request: Request, index: int) -> Completion:
        last, before = request.messages[-1].content, len(request.messages)
        if last == CRITIQUE:
            text = "No mistake: it is 34." if "23" in request.messages[-2].content else "No, 23."
        elif "what went wrong" in last:
            text = r"It was not \boxed{332}."
        else:
            text = rf"\boxed{{{332 if before == 1 and 'Lessons' not in last else 23}}}"
        return Completion(text, finish="end", cost=Cost(decoded=9, calls=1))

    def half(prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        return [Verdict(0.5) for _ in nodes]

    for strategy, calls in ((its.SelfRefine(half, 2), 5), (its.Reflexion(half, 1), 3)):
        lab = its.lab(ScriptedModel(replies=said), question="What is 17 * 23?", strategy=strategy)
        run(lab)
        [past] = lab.history.runs
        assert past.result.cost.calls == calls
        assert past.votes == {"332": 1, "23": calls // 2}


def test_hues_go_to_the_answers_with_most_votes_on_view() -> None:
    """Seven runs of other answers each: none is grey, also beside an earlier one."""
    llm = ScriptedModel(replies=lambda request, index: Completion(rf"\boxed{{{request.seed}}}"))
    lab = its.lab(llm, question="?", strategy=its.SelfConsistency(1))
    for seed in range(8):
        lab.seed.value = seed
        run(lab)
    first, *_, last = lab.history.runs
    assert len({past.result.answer for past in lab.history.runs}) == 8
    palette = lab.history._palette
    assert {*palette.of(lab.asked.problem).values()} == {*HUES}
    assert {bar.colour for past in (first, last) for bar in palette.bars(past, first, last)} <= {
        *HUES
    }


def test_seconds_are_called_by_the_same_names(lab: Lab) -> None:
    run(lab)
    for name in (COMPUTE, CLOCK):
        assert f">{name}</th>" in lab.history._table.value
    assert "s of compute" in price(Cost(seconds=2.0))
    assert f'COMPUTE = "{COMPUTE}"' in Path("itslab/viz/script/words.js").read_text()


def test_every_control_of_the_panel_has_a_tip(lab: Lab) -> None:
    every = [lab.model, lab.strategy, lab.tokens, lab.seed, lab.recorded, lab.reset]
    every += [lab.asked.source, lab.asked.number, lab.asked.text, lab.asked.gold_text]
    every += [lab.history.again, lab.history.one, lab.history.other]
    assert all(control.tooltip for control in every)


def test_no_widget_holds_a_whole_number_that_a_browser_does_not_know() -> None:
    """Pyodide hands a larger one on as a BigInt, which no JSON can hold: nothing is shown then."""
    Widget.close_all()
    its.lab(ScriptedModel(replies=reply), question="What is 6 * 7?")
    states = [widget.get_state() for widget in [*_instances.values()]]
    assert len(states) > 100
    whole = re.findall(r"(?<![\d.\w])\d{16,}(?![\d.])", json.dumps(states, default=str))
    assert not [number for number in whole if int(number) > 2**53 - 2]


def test_where_choices_were_recorded_nothing_else_can_be_moved(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        its.solve("What is 6 * 7?", its.BestOfN(its.Confidence(), n=4), bank.record(llm))
        given = {"strategy": "BestOfN", "choices": {"n": [2, 4]}, "question": "What is 6 * 7?"}
        lab = its.lab(bank.replay(), **given)
        assert lab.seed.disabled
        assert lab.tokens.disabled
        assert lab.form.options["verifier"].choice.disabled
        assert not lab.form.options["n"].widget.disabled
        assert "what is grey was not" in lab._options.children[-1].value
        run(lab)
        assert lab.history.runs[0].result.answer
        live = its.lab(bank.record(llm), **given)
        assert not live.form.options["verifier"].choice.disabled
        nothing = its.lab(bank.replay(), tasks.load("puzzle24", n=1))
        assert "nothing was recorded of this problem" in nothing._options.children[0].value
        assert nothing.strategy.layout.display == "none"


def test_the_code_does_the_same(lab: Lab, llm: ScriptedModel) -> None:
    lab.strategy.value = "BestOfN"
    lab.form.options["n"].set(5)
    lab.tokens.value, lab.seed.value = 30, 4
    run(lab)
    [past] = lab.history.runs
    known: dict[str, Any] = {"llm": llm}
    exec(past.setting.code, known)
    assert known["result"].answer == past.result.answer
    assert known["result"].cost.decoded == past.result.cost.decoded == 30
    assert past.state.startswith("budget spent")
    assert "30 of 30 tokens" in lab._bar.value


def test_a_tasks_problem_is_asked_with_its_own_check(llm: ScriptedModel) -> None:
    puzzles = tasks.load("puzzle24", n=3)
    lab = its.lab(llm, puzzles, strategy="FirstVerified")
    assert lab.form.options["verifier"].choice.value == CHECK
    lab.asked.number.value = 2
    assert lab.asked.problem is puzzles.problems[1]
    run(lab)
    [past] = lab.history.runs
    assert past.result.cost.calls == 8  # 42 never passes
    assert "wrong" in past.mark
    known: dict[str, Any] = {"llm": llm, "task": puzzles}
    exec(past.setting.code, known)
    assert known["problem"].prompt == puzzles.problems[1].prompt
    assert known["result"].cost == past.result.cost
    lab.asked.source.value = "sums"  # which is loaded by its name
    exec(lab.setting().code.rpartition("result = ")[0], known)
    assert known["problem"] == lab.asked.problem
    lab.asked.source.value = lab.asked.source.options[1]  # one's own question has no check
    assert lab.form.options["verifier"].choice.value == "Confidence"


def test_a_task_of_5000_problems_has_a_number_for_its_list() -> None:
    many = Task(
        "many", tuple(Problem(str(i), f"What is {i} + 1?", str(i + 1)) for i in range(5000))
    )
    began = time.perf_counter()
    lab = its.lab(ScriptedModel(replies=reply), many)
    lab.asked.number.value = 5000
    assert time.perf_counter() - began < 2
    assert lab.asked.problem.id == "4999"
    assert len(str(lab.box.get_state())) < 20_000


def test_what_goes_wrong_is_said_and_the_tree_stays(lab: Lab) -> None:
    lab.asked.text.value = " "
    assert "Write a question" in lab._told.value
    run(lab)
    assert "question=" in lab.view.error
    lab.asked.text.value = "What?"
    calls = []

    def failing(request: Request, index: int) -> Completion:
        calls.append(index)
        if len(calls) > 2:
            raise its.ItslabError("the server is down")
        return reply(request, index)

    broken = its.lab(ScriptedModel(replies=failing), question="What?", strategy="FirstVerified")
    run(broken)
    assert broken.view.error == "the server is down"
    assert len(broken.view.feed.tree) > 1
    [past] = broken.history.runs
    assert (past.state, past.answer, past.mark) == ("failed", "failed", "")
    assert "failed: the server is down" in broken.history._table.value
    assert past.result.tree is broken.view.feed.tree


def test_a_node_is_gone_on_from_with_the_settings_of_the_panel() -> None:
    def draw(request: Request, index: int) -> Completion:
        return Completion(f"{request.seed}", finish="end", cost=Cost(decoded=1, calls=1))

    lab = its.lab(ScriptedModel(replies=draw), question="?", run=True)
    assert len(lab.view.feed.tree) == 9
    lab.form.options["n"].set(2)
    lab.view._handle_custom_msg({"do": "select", "node": 0}, [])
    lab.view.fork()
    lab.view.wait(30)
    assert lab.view.error == ""
    assert len(lab.view.feed.tree) == 11
    assert lab.history.runs[1].result.cost.calls == 2


def test_where_the_first_run_fails_another_is_on_view_under_the_reason(llm: ScriptedModel) -> None:
    def fails(run: its.Run, prompt: Any) -> None:
        raise its.ItslabError("only this was recorded")

    other = its.solve("?", its.SelfConsistency(3), llm)
    lab = its.lab(llm, question="?", strategy={"none": fails}, run=True, instead=other)
    assert lab.view.error == "only this was recorded"
    assert lab.view.feed.tree is other.tree


def test_several_models_and_verifiers_of_ones_own(llm: ScriptedModel) -> None:
    other = ScriptedModel(replies=lambda request, index: Completion(r"\boxed{7}", finish="end"))

    def longest(prompt: Any, nodes: Any) -> list[float]:
        return [float(len(node.text)) for node in nodes]

    lab = its.lab({"a": llm, "b": other}, question="?", strategy="BestOfN", more={"long": longest})
    assert lab.form.options["verifier"].choice.value == "long"
    lab.model.value = "b"
    run(lab)
    [past] = lab.history.runs
    assert past.result.answer == "7"
    assert "models['b']" in past.setting.code
    assert "more['long']" in past.setting.code
    lab.strategy.value = "Cascade"
    stage = lab.form.options["stages"].forms[1]
    stage.options["model"].choice.value = "a"
    assert lab.form.get().stages[1].model is llm
    with pytest.raises(OptionError, match="different names"):
        its.lab([llm, ScriptedModel(replies=reply)])
    with pytest.raises(OptionError, match="unknown strategy"):
        its.lab(llm, strategy="Beem")


def test_in_replay_what_was_recorded_can_be_put_on_view(tmp_path: Path, llm: ScriptedModel) -> None:
    from itslab.study.runner import solve_all

    puzzles = tasks.load("puzzle24", n=2)
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        made = {"votes": its.SelfConsistency(4), "chain": its.ChainOfThought()}
        solve_all(puzzles, made, bank.record(llm), archive=bank)
        lab = its.lab(bank.replay(), puzzles)
        names = [label for label, _ in lab.recorded.options]
        assert names == [OWN, "chain · 10 tokens · 41 ✗", "votes · 40 tokens · 41 ✗"]
        lab.recorded.value = lab.recorded.options[2][1]
        assert len(lab.view.feed.tree) == 5
        [record] = lab._options.children  # in the place of the form
        for known in ("SelfConsistency(n=4)", "none", "40 tokens decoded", "seed", "scripted"):
            assert known in record.value
        assert "on view" in lab.view.unrunnable
        lab.recorded.value = ""
        offered = [name for _, name in lab.strategy.options]
        assert {"ChainOfThought", "SelfConsistency"} <= {*offered}
        assert "BeamSearch" not in offered
        assert "only strategies whose samples" in lab._options.children[-1].value
        lab.strategy.value = "SelfConsistency"
        assert (lab.form.get().n, lab.view.unrunnable) == (4, "")  # of 8 there are 4
        lab.form.options["n"].set(3)
        run(lab)  # samples that are there
        assert lab.history.runs[0].result.cost.calls == 3
        lab.form.options["n"].set(9)
        assert "No samples were recorded for these settings" in lab.view.unrunnable
        assert "No samples were recorded" in lab._told.value
        assert lab.asked.source.options == ("puzzle24",)  # nothing else was
        run(lab)
        assert "lacks" in lab.view.error


def test_a_record_without_its_settings_says_so_unless_its_strategy_is_given(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    from itslab.study import record
    from itslab.study.runner import Job

    puzzles, voting = tasks.load("puzzle24", n=1), its.SelfConsistency(4)
    [problem] = puzzles.problems
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        job = Job("votes", puzzles, problem, voting, bank.record(llm))
        record.keep(bank, job.key, "votes", problem, job.start().result())
        plain = its.lab(bank.replay(), puzzles)
        given = its.lab(bank.replay(), puzzles, strategy={"mine": voting})
        told = [lab._options.children[0].value for lab in (plain, given)]
    assert "options, budget and seed were not kept" in told[0]
    assert "SelfConsistency(n=4)" in told[1]
    assert "not kept" not in told[1]


def test_a_page_shows_its_tree(lab: Lab) -> None:
    run(lab)
    bundle = lab._repr_mimebundle_()
    assert "its-tree" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_task_that_cannot_be_loaded_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, **options: Any) -> Task:
        raise ItslabError(f"{name} cannot be had")

    monkeypatch.setattr(tasks, "load", broken)
    lab.asked.source.value = "humaneval"
    assert "cannot be had" in lab.asked._prompt.value
    run(lab)
    assert "cannot be had" in lab.view.error


# -- what was broken once --------------------------------------------------------------------------


def press(lab: Lab, node: int = 0) -> None:
    """Go on from a node, and wait."""
    lab.view._handle_custom_msg({"do": "select", "node": node}, [])
    lab.view.fork()
    lab.view.wait(30)


def test_every_run_can_be_forked_and_its_fork_is_of_its_own_problem(llm: ScriptedModel) -> None:
    two = Task("two", (Problem("a", "What is 6 * 7?", "42"), Problem("b", "What is 1 + 1?", "2")))
    other = ScriptedModel(replies=lambda request, index: Completion(r"\boxed{2}", finish="end"))
    lab = its.lab({"m": llm, "n": other}, two)
    for _ in range(4):  # a table of several runs does not put another one on view
        run(lab)
        assert lab.view.handle is not None
    lab.asked.number.value, lab.model.value = 2, "n"
    press(lab)
    past = lab.history.runs[-1]
    assert (past.setting.problem.id, past.setting.model) == ("a", llm)
    assert past.result.answer == "42"
    assert "right" in past.mark
    assert "from node 0" in past.setting.label
    assert "handle.fork(\n    handle.run.tree.nodes[0]," in past.setting.code


def test_an_earlier_run_is_marked_by_its_own_gold_answer_and_never_during_a_run() -> None:
    two = Task("two", (Problem("a", "6 * 7?", "42"), Problem("b", "1 + 1?", "2")))
    free = threading.Event()

    def waits(request: Request, index: int) -> Completion:
        free.wait(5)
        return reply(request, index)

    free.set()
    lab = its.lab(ScriptedModel(replies=waits), two)
    run(lab)
    lab.asked.number.value = 2
    run(lab)
    lab.history.again.value = lab.history.runs[0]
    assert lab.view.feed.gold == "42"
    free.clear()
    lab.view.run()
    time.sleep(0.1)
    assert lab.history.again.disabled
    lab.history.again.value = lab.history.runs[1]
    assert lab.view.state == "drawing"
    free.set()
    lab.view.wait(30)
    assert len(lab.history.runs) == 3
    assert not lab.history.again.disabled


def test_a_bar_is_of_its_own_run_and_a_pause_at_once_holds(lab: Lab) -> None:
    lab.tokens.value = 100
    run(lab)
    assert "of 100" in lab._bar.value
    lab.tokens.value = 0
    run(lab)
    assert "of 100" not in lab._bar.value

    def slowly(request: Request, index: int) -> Completion:
        time.sleep(0.05)
        return reply(request, index)

    lab = its.lab(ScriptedModel(replies=slowly), question="?", strategy="MCTS")
    lab.view.run()
    lab.view.pause()
    for _ in range(100):
        if lab.view.state == "paused":
            break
        time.sleep(0.05)
    assert lab.view.state == "paused"
    lab.view.stop()
    lab.view.wait(30)


def test_a_grader_that_raises_costs_its_mark_alone(llm: ScriptedModel) -> None:
    def broken(problem: Problem, answer: str | None) -> bool:
        raise ValueError("no idea")

    lab = its.lab(llm, Task("odd", (Problem("a", "?", "1"),), grade=broken))
    run(lab)
    run(lab)
    assert len(lab.history.runs) == 2
    assert "not graded: ValueError: no idea" in lab.history._table.value


@dataclasses.dataclass(frozen=True)
class Own:
    """A strategy of somebody's own.

    Args:
        small: a number.
        made: what no control draws.
        none: nothing.
        inner: nothing either.
        pair: of two kinds.
    """

    small: float = 1e-12
    made: Any = print
    none: int = None  # type: ignore[assignment]
    inner: its.Sampling = None  # type: ignore[assignment]
    pair: tuple[its.Sampling, its.Budget] = (its.Sampling(), its.Budget())

    def __call__(self, run: its.Run, prompt: Any) -> its.Node:
        return think(run, prompt)


def test_options_that_nobody_touched_are_what_they_were(llm: ScriptedModel) -> None:
    lab = its.lab(llm, question="?", strategy=Own())
    assert lab.form.get() == Own()
    run(lab)
    assert lab.view.error == ""
    assert "strategy = Own()" in lab.history.runs[0].setting.code
    lambdas = its.lab(llm, question="?", strategy={"mine": lambda run, prompt: think(run, prompt)})
    run(lambdas)
    compile(lambdas.history.runs[0].setting.code, "code", "exec")


def test_words_in_an_instruction_do_not_become_code(lab: Lab) -> None:
    lab.form.options["instruction"].set("Use itslab.nothing.run and its.OwnVerifier().")
    code = lab.setting().code
    assert "import itslab.nothing" not in code
    assert "its.OwnVerifier()" in code


def test_what_cannot_be_offered_is_refused(llm: ScriptedModel) -> None:
    for call, match in (
        (lambda: its.lab(llm, Task("none", ())), "with problems"),
        (lambda: its.lab({}), "a model at least"),
        (lambda: its.lab(llm, choices={"tokens": [None, 10]}), "whole numbers"),
        (lambda: its.lab(llm, budget=its.Budget(samples=1)), "one of tokens"),
    ):
        with pytest.raises(OptionError, match=match):
            call()
    mine = its.Confidence("entropy")
    lab = its.lab(llm, question="?", strategy="BestOfN", more={"Confidence": mine}, seed=2**40)
    assert lab.form.get().verifier is mine
    assert lab.setting().seed == 2**40


def test_a_page_of_broken_text_is_kept(tmp_path: Path) -> None:
    broken = Completion("\ud800 \\boxed{1}", finish="end")
    lab = its.lab(ScriptedModel(replies=lambda request, index: broken), question="?", run=True)
    assert lab.view.save(tmp_path / "tree.html").stat().st_size > 1000


def test_whatever_a_model_or_a_reader_raises_the_panel_lives(llm: ScriptedModel) -> None:
    def leaves(request: Request, index: int) -> Completion:
        raise SystemExit("bye")

    lab = its.lab({"bad": ScriptedModel(replies=leaves), "good": llm}, question="?")
    run(lab)
    assert "bye" in lab.view.error
    lab.model.value = "good"
    run(lab)
    assert lab.view.error == ""
    assert [past.state for past in lab.history.runs] == ["failed", "done"]

    def unreadable(text: str) -> str:
        raise ValueError("not mine")

    odd = its.lab(llm, Task("odd", (Problem("a", "?", "1"),), extract=unreadable))
    run(odd)
    assert "not mine" in odd.view.error
    assert len(odd.view.feed.tree) > 1


def test_numbers_that_json_lacks_do_not_break_a_picture() -> None:
    cost = Cost(decoded=1, calls=1, seconds=float("inf"), flops=float("nan"))
    said = Completion(r"\boxed{1}", finish="end", logprobs=(float("nan"),), cost=cost)
    lab = its.lab(ScriptedModel(replies=lambda request, index: said), question="?", run=True)
    assert "its-tree" in lab.picture()


# -- how it looks ----------------------------------------------------------------------------------


def test_what_is_not_read_cannot_be_moved_and_no_limit_is_said(lab: Lab) -> None:
    weigh, verifier = lab.form.options["weigh"], lab.form.options["verifier"]
    assert isinstance(verifier, Chosen)
    assert weigh.widget.disabled
    assert weigh.widget.tooltip.startswith("not read without a verifier: ")
    verifier.choice.value = "Confidence"
    assert not weigh.widget.disabled
    assert lab._unlimited.layout.display == ""
    run(lab)
    assert "80 tokens spent, no limit" in lab._bar.value
    lab.tokens.value = 200
    assert lab._unlimited.layout.display == "none"
    verifier.choice.value = "none"
    run(lab)
    assert "80 of 200 tokens spent" in lab._bar.value


def test_figures_stand_first_in_the_table_and_answers_are_plain() -> None:
    said = r"\boxed{\textbf{82}}"
    lab = its.lab(ScriptedModel(replies=[said]), question="?", strategy=its.ChainOfThought())
    assert lab.model in lab.box.children[1].children  # who is asked is seen
    run(lab)
    [past] = lab.history.runs
    assert (past.result.answer, past.answer) == (r"\textbf{82}", "82")
    heads = re.findall("<th[^>]*>([^<]*)</th>", lab.history._table.value)
    assert heads[:6] == ["run", "answer", "", "tokens", COMPUTE, CLOCK]


# -- recorded runs: of this text, this model, and whole --------------------------------------------

ASKED = Task("two", (Problem("two/0", "What is 6 * 7?", "42"), Problem("two/1", "1 + 1?", "2")))


def recorded(bank: its.Bank, model: Any, task: Task = ASKED) -> None:
    """Keep a vote of four on each problem."""
    solve_all(task, {"votes": its.SelfConsistency(4)}, bank.record(model), archive=bank)


def named(name: str, said: str) -> ScriptedModel:
    """A model of this name that always says the same."""
    model = ScriptedModel(replies=lambda request, index: Completion(said, finish="end"))
    model.name = model.digest = name
    return model


def without(bank: its.Bank, *names: str) -> None:
    """Take from the bank's runs what they did not hold once."""
    for key, text in bank._query("SELECT key, value FROM runs"):
        stored = {name: value for name, value in json.loads(text).items() if name not in names}
        bank._query("UPDATE runs SET value = ? WHERE key = ?", (json.dumps(stored), key))


def test_a_run_is_offered_for_the_text_that_was_asked_alone(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    edited = Task("two", (Problem("two/0", "What is the capital of Italy?", "Rome"),))
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        assert len(its.lab(bank.replay(), ASKED).recorded.options) == 2
        for model in (bank.replay(), bank.record(llm)):
            assert len(its.lab(model, edited).recorded.options) == 1
        without(bank, "asked")  # as runs were kept before
        old = its.lab(bank.replay(), edited)
        [_, (label, key)] = old.recorded.options
        assert label.endswith("text not kept")
        assert len(old.view.feed.tree) == 0
        old.recorded.value = key
        assert "Italy" not in old.view.feed.tree.nodes[0].text
        assert "does not tell which text was asked" in old._options.children[0].value
        puzzles = tasks.load("puzzle24", n=1)  # whose ids name their texts
        recorded(bank, llm, puzzles)
        without(bank, "asked")
        assert len(its.lab(bank.replay(), puzzles).view.feed.tree) == 5


def test_the_ids_of_countdown_hold_how_many_numbers_there_are() -> None:
    four, three = (tasks.load("countdown", n=2, numbers=numbers) for numbers in (4, 3))
    assert not {p.id for p in four} & {p.id for p in three}


def test_only_runs_of_the_chosen_model_are_offered(tmp_path: Path) -> None:
    models = [named("A", r"\boxed{42}"), named("B", r"\boxed{7}")]
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        for model in models:
            recorded(bank, model)
        for _ in range(2):
            lab = its.lab([bank.replay("A"), bank.replay("B")], ASKED)
            seen = [lab.recorded.label]
            lab.model.value = "B"
            assert len(lab.recorded.options) == 2
            seen.append(lab.recorded.options[1][0])
            assert ["· 42" in seen[0], "· 7" in seen[1]] == [True, True]
            without(bank, "model")  # as runs were kept before


@pytest.mark.parametrize(
    "damage", ["", "null", "[]", '{"how": []}', '{"how": null}', '{"how": "x"}', b"\xff\xfe", "{"]
)
def test_a_damaged_run_is_left_out_and_said(
    tmp_path: Path, llm: ScriptedModel, damage: Any
) -> None:
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        [(key, _)] = bank.runs_of("two/0")
        bank._query("UPDATE runs SET value = ? WHERE key = ?", (damage, key))
        lab = its.lab(bank.replay(), ASKED)
        assert len(lab.recorded.options) == 1
        assert "1 recorded run of this problem cannot be read" in lab._options.children[-1].value
        lab.asked.number.value = 2
        assert len(lab.recorded.options) == 2


def test_another_problem_takes_the_recorded_run_of_the_last_one_off_the_view(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    third = dataclasses.replace(ASKED, problems=(*ASKED.problems, Problem("two/2", "2?", "2")))
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        lab = its.lab(bank.replay(), third)
        assert "6 * 7" in lab.view.feed.tree.nodes[0].text
        lab.asked.number.value = 2
        assert "1 + 1" in lab.view.feed.tree.nodes[0].text
        assert (lab.view.feed.gold, lab._emptied) == ("2", "")
        lab.asked.number.value = 3
        assert (len(lab.view.feed.tree), lab.view._message(0)["title"]) == (0, ["", ""])
        assert "put away" in lab._told.value
        lab.asked.number.value = 1  # nobody asks for a run by then
        lab.recorded.value = lab.recorded.options[1][1]
        assert (len(lab.view.feed.tree), "put away" in lab._told.value) == (5, False)


def test_a_run_of_ones_own_comes_back_after_a_recorded_one(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        lab = its.lab(bank.replay(), ASKED)
        lab.recorded.value = ""
        lab.form.options["n"].set(2)
        run(lab)
        [past] = lab.history.runs
        lab.recorded.value = lab.recorded.options[1][1]
        assert (len(lab.view.feed.tree), lab.history.again.value) == (5, None)
        lab.history.again.value = past
        assert len(lab.view.feed.tree) == 3


def test_replay_sets_no_option_that_somebody_has_set(tmp_path: Path, llm: ScriptedModel) -> None:
    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        lab = its.lab(bank.replay(), ASKED)
        lab.recorded.value = ""
        assert (lab.strategy.value, lab.form.get().n) == ("SelfConsistency", 4)
        lab.form.options["n"].set(9)
        lab.asked.number.value = 2
        assert lab.form.get().n == 9
        assert "No samples were recorded" in lab.view.unrunnable


def test_replay_runs_nothing_that_somebody_wrote_until_it_is_asked_for(
    tmp_path: Path, llm: ScriptedModel
) -> None:
    calls = []

    def mine(run: its.Run, prompt: Any) -> its.Node:
        calls.append(run)
        raise SystemExit("bye")

    def judge(prompt: Any, nodes: Any) -> list[float]:
        calls.append(nodes)
        return [1.0] * len(nodes)

    with its.Bank(tmp_path / "bank.sqlite") as bank:
        recorded(bank, llm)
        held = its.Cascade((its.Stage(mine),))
        lab = its.lab(bank.replay(), ASKED, strategy={"mine": mine, "held": held})
        others = its.lab(bank.replay(), ASKED, strategy="BestOfN", more={"mine": judge})
        lab.recorded.value = others.recorded.value = ""
        assert [name for _, name in lab.strategy.options] == ["mine", "held"]
        assert "BestOfN" in [name for _, name in others.strategy.options]
        assert (calls, lab.view.unrunnable) == ([], "")
        run(lab)
        assert (len(calls), lab.view.error) == (1, "SystemExit: bye")


def test_a_task_without_a_check_costs_the_verifier_alone(llm: ScriptedModel) -> None:
    lab = its.lab(llm, {"p": tasks.load("puzzle24", n=1), "q": ASKED}, strategy="BestOfN")
    lab.form.options["verifier"].choice.value = CHECK
    lab.form.options["n"].set(3)
    lab.form.options["instruction"].set("Mine")
    lab.asked.source.value = "q"
    made = lab.form.get()
    assert (made.n, made.instruction, made.verifier) == (3, "Mine", its.Confidence())
    assert "verifier is what it was at first" in lab._told.value
    run(lab)
    assert lab._told.value == ""


def test_a_run_has_the_settings_of_the_moment_when_run_was_pressed(llm: ScriptedModel) -> None:
    lab = its.lab(llm, ASKED)
    begin = lab.view._begin
    free = threading.Event()

    def late() -> its.RunHandle:
        free.wait(5)
        return begin()

    lab.view._begin = late
    lab.form.options["n"].set(1)
    lab.view.run()
    lab.asked.number.value = 2
    lab.form.options["n"].set(3)
    free.set()
    lab.view.wait(30)
    [past] = lab.history.runs
    assert (past.setting.problem.id, past.setting.strategy.n) == ("two/0", 1)


def test_an_answer_of_a_chain_that_was_cut_is_not_told_as_finished() -> None:
    cut = Completion(r"So \boxed{4", finish="length", cost=Cost(decoded=12, calls=1))
    lab = its.lab(ScriptedModel(replies=lambda request, index: cut), ASKED, strategy="Direct")
    run(lab)
    assert lab.history.runs[0].state.startswith("unfinished")
    assert "unfinished" in lab.history._table.value


def test_an_interrupt_stops_the_first_run_and_leaves_the_panel() -> None:
    interrupts = []

    def slowly(request: Request, index: int) -> Completion:
        time.sleep(0.03)
        if not interrupts:
            interrupts.append(signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
        return reply(request, index)

    lab = its.lab(ScriptedModel(replies=slowly), question="?", strategy="MCTS", run=True)
    assert "Interrupted" in lab.view.error
    assert [past.state for past in lab.history.runs] == ["stopped"]


def test_choices_that_lack_what_is_set_are_refused(llm: ScriptedModel) -> None:
    five = its.Cascade((its.Stage(its.SelfConsistency(5), None, its.Agreement(), 0.5),))
    for options, match in (
        ({"budget": its.Budget(tokens=77), "choices": {"tokens": [10, 100]}}, "hold 77"),
        ({"choices": {"tokens": []}}, "one value at least"),
        ({"strategy": its.SelfConsistency(5), "choices": {"n": [2, 4]}}, "hold 5"),
        ({"strategy": {"c": five}, "choices": {"stages.0.threshold": [0.75]}}, "hold 0.5"),
    ):
        with pytest.raises(OptionError, match=match):
            its.lab(llm, **options)
