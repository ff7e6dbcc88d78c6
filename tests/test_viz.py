"""Figures say what they are given; panels run, stop, and show what goes wrong."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from plotly.colors import hex_to_rgb

from itslab import viz
from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    MissingSample,
    Node,
    OptionError,
    Problem,
    Prompt,
    Result,
    Sampling,
    Tree,
)
from itslab.handle import RunHandle, solve, start
from itslab.run import Run
from itslab.strategies import ExtendedThinking, SelfConsistency
from itslab.study.samples import Samples
from itslab.tasks import Task
from itslab.viz import (
    SampleBrowser,
    ThinkingPanel,
    Transcript,
    VotePanel,
    accuracy_against,
    forest,
    losses,
    reliability,
    votes,
)
from itslab.viz.figures import Bar, bars, picture
from itslab.viz.panels import Panel, ending, price, tokens_thought, turn_html, votes_so_far
from itslab.viz.readers import SCALE, Entry, listing, shade
from itslab.viz.style import GREEN, INK, MARKS

# -- bars ------------------------------------------------------------------------------------------


def test_bars_are_ordered_by_votes_and_the_gold_answer_is_marked() -> None:
    rows = bars({"7": 1, "12": 5, "9": 1}, right={"12"}, unanswered=2, drawing=3)
    assert [(row.label, row.votes) for row in rows] == [
        ("✓ 12", 5),
        ("7", 1),
        ("9", 1),
        ("no answer", 2),
        ("still drawing", 3),
    ]
    assert [row.colour == GREEN for row in rows] == [True, False, False, False, False]


def test_rare_answers_share_a_bar_that_tells_whether_the_gold_one_is_among_them() -> None:
    many = {str(answer): 10 - answer for answer in range(10)}
    assert bars(many, right={"9"})[-1].label == "2 others with ✓"
    assert bars(many, right={"0"})[-1][:2] == ("2 others", 3)
    assert [len(bars({str(i): 1 for i in range(n)})) for n in (8, 9, 10)] == [8, 9, 9]
    assert sum(row.votes for row in bars(many)) == sum(many.values())


def test_the_figure_of_votes_holds_the_bars() -> None:
    figure = votes({"3": 2, "4": 6}, gold="4", title="Who wins?")
    [bar] = figure.data
    assert list(bar.y) == ["✓ 4", "3"]
    assert list(bar.x) == [6, 2]
    assert figure.layout.xaxis.title.text == "votes (samples)"
    assert figure.layout.title.text == "Who wins?"


def test_the_picture_is_well_formed_whatever_an_answer_holds() -> None:
    svg = picture([Bar("<b>&", 3, GREEN), Bar("7", 0, GREEN)], "a < b\nc")
    texts = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]
    assert texts == ["<b>&", "3", "7", "0", "a < b", "c"]


# -- accuracy --------------------------------------------------------------------------------------


def test_accuracy_is_drawn_against_tokens_with_its_intervals() -> None:
    rows = [
        ("one greedy chain", 1, 200, 0.4, 0.3, 0.5),
        ("majority", 1, 210, 0.35, 0.25, 0.45),
        ("majority", 4, 840, 0.5, 0.4, 0.6),
    ]
    columns = ["method", "samples", "tokens", "accuracy", "low", "high"]
    figure = accuracy_against(pd.DataFrame(rows, columns=columns), "n = 40")
    band, single, line = figure.data
    assert single.name == "one greedy chain"
    assert (single.error_y.array[0], single.error_y.arrayminus[0]) == pytest.approx((0.1, 0.1))
    assert line.name == "majority"
    assert list(line.x) == [210, 840]
    assert list(band.y) == [0.45, 0.6, 0.4, 0.25]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "decoded tokens per problem (log scale)"
    assert "%" in figure.layout.yaxis.title.text


def test_no_two_series_look_alike() -> None:
    for looks in zip(*MARKS, strict=True):
        assert len(set(looks)) >= len(MARKS) - 1  # the first is a point: its dash is never drawn
    assert len(set(MARKS)) == len(MARKS)


METHODS = pd.DataFrame(
    [
        ("greedy", "one chain", 0.2, 0.1, 0.3, ""),
        ("majority", "16 chains", 0.31, 0.22, 0.41, ""),
        ("probe", "16 chains", 0.36, 0.27, 0.5, "AUROC 0.71"),
    ],
    columns=["method", "group", "accuracy", "low", "high", "note"],
)


def test_a_forest_groups_methods_and_gives_each_its_interval_and_note() -> None:
    figure = forest(METHODS, "n = 40", reference=(0.42, "1.5B, one chain"))
    labels = ["<b>one chain</b>", "greedy", "<b>16 chains</b>", "majority", "probe"]
    assert list(figure.layout.yaxis.ticktext) == labels
    first, second = figure.data
    assert [labels[y] for y in (*first.y, *second.y)] == ["greedy", "majority", "probe"]
    assert list(second.x) == [0.31, 0.36]
    assert list(second.error_x.array) == pytest.approx([0.1, 0.14])
    assert list(second.error_x.arrayminus) == pytest.approx([0.09, 0.09])
    assert first.marker.symbol != second.marker.symbol
    texts = {note.text: note for note in figure.layout.annotations}
    assert texts["AUROC 0.71"].y == labels.index("probe")
    assert texts["1.5B, one chain"].x == figure.layout.shapes[0].x0 == 0.42
    assert figure.layout.xaxis.title.text == "problems solved (%)"


def test_a_forest_needs_neither_groups_nor_notes_nor_a_reference() -> None:
    figure = forest(METHODS.drop(columns=["group", "note"]))
    [points] = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["greedy", "majority", "probe"]
    assert list(points.y) == [0, 1, 2]
    assert not figure.layout.annotations
    assert not figure.layout.shapes


# -- losses ----------------------------------------------------------------------------------------

LOSSES = pd.DataFrame(
    [(1, 0.2, 0, 0.03, 0.77), (16, 0.3, 0.2, 0.05, 0.45)],
    columns=["samples", "solved", "selection", "extraction", "coverage"],
)


def test_losses_are_stacked_on_what_is_solved_and_labelled_where_there_is_room() -> None:
    figure = losses(LOSSES, "n = 40")
    assert [bar.name.split(":")[0] for bar in figure.data] == [
        "solved",
        "lost in selection",
        "lost in extraction",
        "lost in coverage",
    ]
    assert [list(bar.text) for bar in figure.data] == [
        ["20%", "30%"],
        ["", "20%"],
        ["", "5%"],
        ["77%", "45%"],
    ]
    assert all(list(bar.x) == ["1", "16"] for bar in figure.data)
    assert len({bar.marker.color for bar in figure.data}) == 4
    assert len({bar.marker.pattern.shape for bar in figure.data}) == 4
    assert figure.layout.barmode == "stack"
    assert figure.layout.legend.traceorder == "reversed"
    assert figure.layout.yaxis.title.text == "problems (%)"


def test_losses_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(OptionError, match="fractions that add up to 1"):
        losses(LOSSES.assign(solved=0.5))


# -- reliability -----------------------------------------------------------------------------------


def test_reliability_of_nobody_is_an_empty_picture() -> None:
    columns = ["method", "predicted", "observed", "low", "high", "count"]
    assert reliability(pd.DataFrame(columns=columns), "n = 0").data == ()


def test_reliability_has_a_panel_a_method_with_points_intervals_and_counts() -> None:
    rows = [
        ("judge", 0.2, 0.1, 0.05, 0.2, 1530),
        ("judge", 0.8, 0.5, 0.3, 0.7, 41),
        ("probe", 0.5, 0.5, 0.4, 0.6, 90),
    ]
    columns = ["method", "predicted", "observed", "low", "high", "count"]
    figure = reliability(pd.DataFrame(rows, columns=columns), "n = 40")
    diagonal, points, _, others = figure.data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 1], [0, 1])
    assert (list(points.x), list(points.y)) == ([0.2, 0.8], [0.1, 0.5])
    assert list(points.error_y.array) == pytest.approx([0.1, 0.2])
    assert list(points.error_y.arrayminus) == pytest.approx([0.05, 0.2])
    assert [row[0] for row in points.customdata] == [1530, 41]
    assert others.xaxis != points.xaxis
    titles = {note.text for note in figure.layout.annotations}
    assert {"<b>judge</b>", "<b>probe</b>"} < titles


# -- transcript ------------------------------------------------------------------------------------


def test_a_transcript_joins_a_turn_and_escapes_what_was_said() -> None:
    tree = Tree()
    question = tree.add(None, "user", "Is 1 < 2?")
    thought = tree.add(tree.add(question, "assistant", "Hm. "), "assistant", "Yes.")
    shown = Transcript(thought)
    assert str(shown) == "user:\nIs 1 < 2?\n\nassistant:\nHm. Yes."
    assert "Is 1 &lt; 2?" in shown._repr_html_()


# -- votes as they come ----------------------------------------------------------------------------

PROMPT = "How much is 2 + 3? Answer with a number."
NOTHING = Result(None, None, Tree(), Cost(), None, 0)


def draw(llm: Llama, n: int, temperature: float, max_tokens: int = 12) -> RunHandle:
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return start(PROMPT, SelfConsistency(n, sampling=sampling), llm)


def shown(panel: Panel) -> str:
    return re.sub(r"<[^>]*>", " ", panel.view.value)


def test_run_draws_as_many_samples_as_the_slider_says(llm: Llama) -> None:
    panel = VotePanel(lambda n, t: draw(llm, n, t), NOTHING, n=(2, 4), temperatures=(1.0, 1.5))
    panel.n.value, panel.temperature.value = 2, 1.5
    panel.run_button.click()
    panel.wait()
    assert "2 samples" in shown(panel)
    assert "done" in shown(panel)
    assert panel.message.value == ""
    assert not panel.run_button.disabled
    assert panel.stop_button.disabled


def test_what_was_drawn_before_is_shown_until_run_is_pressed(llm: Llama) -> None:
    first = solve(PROMPT, SelfConsistency(2, sampling=Sampling(max_tokens=12)), llm)
    panel = VotePanel(lambda n, t: draw(llm, n, t), first)
    assert price(first.cost) in shown(panel)
    assert sum(row.votes for row in votes_so_far(first.tree, str.strip)) == 2


def test_stop_ends_a_run_at_once_and_another_can_begin(llm: Llama) -> None:
    panel = VotePanel(lambda n, t: draw(llm, n, t, max_tokens=400), NOTHING, n=(8,))
    panel.run_button.click()
    deadline = time.monotonic() + 20
    while "still drawing" not in shown(panel) and time.monotonic() < deadline:
        time.sleep(0.01)
    panel.stop_button.click()
    panel.wait(10)
    assert "stopped" in shown(panel)
    panel.run_button.click()
    panel.stop()
    panel.wait(10)
    assert not panel.run_button.disabled


def test_endings_are_told_in_words() -> None:
    cost = Cost(decoded=1200, calls=16, seconds=3.04, flops=2.5e12)
    budget = Budget(tokens=1200, samples=16, seconds=3, flops=2e12)
    told = ("tokens", "samples", "seconds", "flops", "stop", "context", None)
    assert [ending(stopped_by, cost, budget) for stopped_by in told] == [
        "budget spent (1,200 of 1,200 tokens)",
        "budget spent (16 of 16 samples)",
        "budget spent (3.0 of 3.0 s of compute)",
        "budget spent (2,500 of 2,000 GFLOPs)",
        "stopped",
        "context full",
        "done",
    ]
    assert ending("tokens", cost) == "budget spent (1,200 tokens)"


def test_clicks_from_many_threads_start_one_run(llm: Llama) -> None:
    begun: list[RunHandle] = []
    panel = VotePanel(lambda n, t: begun.append(draw(llm, n, t)) or begun[-1], NOTHING, n=(2,))
    threads = [threading.Thread(target=panel.run_button.click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    panel.wait()
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MissingSample("the bank lacks <it>"), "the bank lacks &lt;it&gt;"),
        (KeyError(1), "KeyError: 1"),
    ],
)
def test_an_error_is_shown_in_the_panel_and_the_next_run_works(
    llm: Llama, error: Exception, text: str
) -> None:
    failing = [True]

    def begin(n: int, temperature: float) -> RunHandle:
        if failing.pop() if failing else False:
            raise error
        return draw(llm, n, temperature)

    panel = VotePanel(begin, NOTHING, n=(1,))
    panel.run_button.click()
    panel.wait()
    assert text in panel.message.value
    panel.run_button.click()
    panel.wait()
    assert panel.message.value == ""
    assert "1 sample " in shown(panel)


def test_a_run_that_cannot_be_shown_is_told_and_leaves_the_buttons_ready(llm: Llama) -> None:
    def unreadable(text: str) -> str:
        raise ValueError("no answer in <it>")

    panel = VotePanel(lambda n, t: draw(llm, n, t), NOTHING, n=(1,), extract=unreadable)
    panel.run_button.click()
    panel.wait()
    assert "ValueError: no answer in &lt;it&gt;" in panel.message.value
    assert (panel.state, panel.run_button.disabled) == ("failed", False)


def test_a_panel_follows_a_run_that_was_begun_elsewhere(llm: Llama) -> None:
    panel = VotePanel(lambda n, t: draw(llm, n, t), NOTHING, n=(4,))
    handle = draw(llm, 2, 1.0)
    panel.follow(handle)
    panel.wait()
    assert panel.state == "done"
    assert panel.handle is handle
    assert panel.result is handle.result()
    assert "done: 2 samples" in shown(panel)


def test_a_panel_weighs_little_and_a_picture_can_stand_in_for_it() -> None:
    before = ipywidgets.Widget.get_manager_state()["state"].keys()
    panel = VotePanel(lambda n, t: start("", SelfConsistency(1), None), NOTHING)  # type: ignore[arg-type]
    state = ipywidgets.Widget.get_manager_state()["state"]
    own = {key: value for key, value in state.items() if key not in before}
    assert 0 < len(json.dumps(own)) < 30_000
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/svg+xml"].startswith("<svg")


# -- thinking as it grows --------------------------------------------------------------------------


def drawn(tree: Tree, parent: Node, text: str, tokens: int) -> Node:
    node = tree.add(parent, "assistant", text)
    node.completion = Completion(text, cost=Cost(decoded=tokens, calls=1))
    return node


def forced() -> Result:
    """A model that stops after 20 tokens, is made to go on, is cut at 50, and then answers."""
    tree = Tree()
    early = drawn(tree, tree.add(None, "user", "1 < 2?"), "Say $1 < $2.", 20)
    late = drawn(tree, tree.add(early, "assistant", "\n\nWait, <again>.\n"), "So it", 30)
    node = drawn(tree, tree.add(late, "assistant", "\n\nIt is \\boxed{"), "1/2}", 4)
    return Result("1/2", node, tree, Cost(decoded=54, calls=3), None, 1.0)


def think(llm: Llama, floor: int, ceiling: int) -> RunHandle:
    sampling = Sampling(temperature=0, max_tokens=6)
    return start(PROMPT, ExtendedThinking(floor, ceiling, sampling=sampling), llm)


def test_what_was_put_into_the_mouth_is_marked_by_a_word_and_all_is_escaped() -> None:
    turn = forced().node.turn()  # type: ignore[union-attr]
    page = ElementTree.fromstring(f"<pre>{turn_html(turn)}</pre>")
    words = [span.text for span in page.iter("span")]
    assert words == ["inserted", "Wait, <again>.", "inserted", "It is \\boxed{"]
    text = "".join(page.itertext()).replace("inserted", "")
    assert text == "".join(node.text for node in turn)


def test_thinking_ends_where_the_floor_is_reached_and_the_answer_begins() -> None:
    turn = forced().node.turn()  # type: ignore[union-attr]
    assert tokens_thought(turn, floor=0) == (20, True)
    assert tokens_thought(turn, floor=40) == (50, True)
    turn[2].completion, turn[2].status, turn[2].text = None, "open", "x" * 35
    assert tokens_thought(turn[:3], floor=40) == (30, False)  # about 3.5 characters per token


@pytest.mark.parametrize(("floor", "ceiling"), [(0, 8), (24, 40), (40, 40)])
def test_the_panel_counts_the_tokens_that_the_strategy_thought(
    llm: Llama, floor: int, ceiling: int
) -> None:
    result = think(llm, floor, ceiling).result()
    assert result.node is not None
    tokens, counted = tokens_thought(result.node.turn(), floor)
    assert counted
    assert floor <= tokens <= ceiling
    assert result.cost.decoded - tokens <= 6  # the answer


def test_the_text_grows_while_the_model_thinks_and_stop_keeps_it(llm: Llama) -> None:
    # The floor keeps the model from ending by itself before it was looked at four times.
    panel = ThinkingPanel(lambda a, b: think(llm, a, b), NOTHING, budgets=(400,), floors=(400,))
    sizes: set[int] = set()
    panel.view.observe(lambda change: sizes.add(len(change.new)), "value")
    panel.run_button.click()
    deadline = time.monotonic() + 20
    while len(sizes) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "drawing" in shown(panel)
    assert "thought about" in " ".join(shown(panel).split())
    panel.stop_button.click()
    panel.wait(10)
    assert len(sizes) >= 4
    assert re.search(r"stopped: \d completion", shown(panel))
    assert re.search(r"<pre[^>]*>[^<]{10}", panel.view.value)


def test_a_run_is_drawn_with_the_settings_that_it_was_begun_with(llm: Llama) -> None:
    panel = ThinkingPanel(lambda a, b: think(llm, a, b), forced(), budgets=(8, 16), floors=(0, 8))
    assert "at most 16" in shown(panel)
    panel.floor.value = panel.ceiling.value = 8
    assert "at most 16" in shown(panel)
    panel.run_button.click()
    panel.wait()
    assert panel.message.value == ""
    assert re.search(r"thought +8 +tokens of at most 8, at least 8", shown(panel))


def test_the_sliders_never_ask_for_more_than_the_most() -> None:
    panel = ThinkingPanel(lambda a, b: think(None, a, b), forced())  # type: ignore[arg-type]
    panel.ceiling.value = 64
    panel.floor.value = 256
    assert (panel.floor.value, panel.ceiling.value) == (256, 256)
    panel.ceiling.value = 128
    assert (panel.floor.value, panel.ceiling.value) == (0, 128)
    with pytest.raises(OptionError, match="from at most 32 to at most 64"):
        ThinkingPanel(lambda a, b: think(None, a, b), forced(), budgets=(32, 64))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gold", "verdict"), [("0.5", "✓ right"), ("2", "✗ wrong , the gold answer is 2"), (None, "")]
)
def test_the_answer_is_judged_by_a_word(gold: str | None, verdict: str) -> None:
    panel = ThinkingPanel(lambda a, b: think(None, a, b), forced(), gold=gold)  # type: ignore[arg-type]
    line = f"answer: 1/2 {verdict} as drawn above: {price(forced().cost, 'completion')}"
    assert " ".join(line.split()) in " ".join(shown(panel).split())


@pytest.mark.parametrize("kind", [VotePanel, ThinkingPanel])
def test_an_answer_that_was_read_from_a_chain_cut_short_is_told_as_such(
    llm: Llama, kind: type[VotePanel] | type[ThinkingPanel]
) -> None:
    note = "The answer was read from a chain that was cut short."
    one_token = SelfConsistency(1, sampling=Sampling(max_tokens=1))
    for unfinished in (True, False):
        first = replace(forced(), unfinished=unfinished)
        panel = kind(lambda *_: start(PROMPT, one_token, llm, extract=str), first)
        assert (note in shown(panel)) is unfinished
    panel.run()
    panel.wait()
    assert note in shown(panel)


COSTS = {"small": Cost(decoded=50, calls=2), "large": Cost(decoded=4, calls=1, flops=5e9)}


def test_where_several_models_were_paid_the_price_is_shown_by_model() -> None:
    total = price(forced().cost)
    each = ["small: 2 calls · 50 tokens decoded · 0.0 s of compute · 0 GFLOPs"]
    each += ["large: 1 call · 4 tokens decoded · 0.0 s of compute · 5 GFLOPs"]
    assert price(forced().cost, costs=COSTS) == "\n".join([total, *each])
    for few in ({}, {"small": forced().cost}, {"small": forced().cost, "free": Cost()}):
        assert price(forced().cost, costs=few) == total


def test_a_panel_shows_the_price_by_model_while_a_run_goes_on_and_at_its_end(llm: Llama) -> None:
    go_on = threading.Event()

    def two_models(run: Run, prompt: Prompt) -> Node:
        node, *_ = run.extend(run.reply(None, prompt), Sampling(max_tokens=1))
        run.ledger.charge(SimpleNamespace(name="<large>", digest="b"), COSTS["large"])
        go_on.wait(20)
        return node

    first = replace(forced(), costs=COSTS)
    panel = ThinkingPanel(lambda *_: start(PROMPT, two_models, llm), first)
    assert "small: 2 calls" in shown(panel)
    panel.run()
    deadline = time.monotonic() + 20
    while "drawing: 2 completions" not in shown(panel) and time.monotonic() < deadline:
        time.sleep(0.01)
    at_work = shown(panel)
    go_on.set()
    panel.wait()
    for text in (at_work, shown(panel)):
        assert f"{llm.name}: 1 call · 1 tokens" in text
        assert "&lt;large&gt;: 1 call · 4 tokens" in text
    assert "done: 2 completions" in shown(panel)


def test_the_thinking_stands_in_a_page_as_html_without_mathematics() -> None:
    panel = ThinkingPanel(lambda a, b: think(None, a, b), forced())  # type: ignore[arg-type]
    page = panel._repr_mimebundle_()["text/html"]
    assert page == panel.view.value
    root = ElementTree.fromstring(page)
    [pre] = root.iter("pre")  # where no browser looks for formulas
    assert "$1 < $2." in "".join(pre.itertext())
    assert "".join(root.itertext()).count("$") == 2


# -- samples to be read ----------------------------------------------------------------------------

NAN = float("nan")


SAID = {
    "Say <yes>.": "yes",
    "Say no.": "no",
    "f": "def f():\n    return 1\n" * 9,
    "g": "g",
    "h": "h",
}
TEXTS = [["Say <yes>.", "Say no.", "$"], ["f", "g", "h"]]
SCORES = {"judge": [[0.1, 0.9, NAN], [1, 1, 1]], "length": [[3, 1, 2], [NAN, NAN, NAN]]}
TASK = Task(
    "two",
    (Problem("a", "Is 1 < 2?", "yes"), Problem("b", "Write f.", "")),
    extract=SAID.get,
    grade=lambda problem, answer: answer in ("yes", "g", SAID["f"]),
    key=lambda answer: answer[:3],
    readings=lambda text: [],
)


def result(problem: Problem, texts: list[str]) -> Result:
    tree = Tree()
    root = tree.add(None, "user", problem.prompt)
    for text in texts:
        tree.add(root, "assistant", text).completion = Completion(text)
    return Result(None, None, tree, Cost(), None, 0)


def browser() -> SampleBrowser:
    results = [result(problem, texts) for problem, texts in zip(TASK, TEXTS, strict=True)]
    return SampleBrowser(Samples(TASK, results), SCORES)


def rows(page: str) -> list[list[str]]:
    """The cells of each row: rank, score, graded, answer."""
    summaries = ElementTree.fromstring(page).iter("summary")
    return [["".join(cell.itertext()) for cell in summary] for summary in summaries]


def test_samples_are_ordered_by_the_chosen_score_and_those_without_one_come_last() -> None:
    panel = browser()
    assert rows(panel.view.value) == [
        ["1", "0.900", "✗ wrong", "no"],
        ["2", "0.100", "✓ right", "yes"],
        ["3", "none", "✗ wrong", "no answer"],
    ]
    panel.selector.value = "length"
    assert [row[3] for row in rows(panel.view.value)] == ["yes", "no answer", "no"]
    assert "score by length: from this problem's lowest, 1.00" in shown(panel)


def test_problems_tell_how_many_of_their_samples_are_right() -> None:
    labels = [label for label, _ in browser().problem.options]
    assert labels == ["1: 1 of 3 right", "2: 2 of 3 right"]


def test_another_problem_shows_its_own_samples_and_a_long_answer_is_cut() -> None:
    panel = browser()
    panel.problem.value = 1
    assert "Write f." in shown(panel)
    assert "score by judge: all are 1.00" in shown(panel)
    assert rows(panel.view.value)[0][3] == "def f(): return 1 def f(): return 1 def f(): re…"
    panel.selector.value = "length"
    assert "score by length: no sample has one" in shown(panel)


def test_a_page_shows_the_first_problem_with_every_text_escaped_behind_its_fold() -> None:
    root = ElementTree.fromstring(browser()._repr_mimebundle_()["text/html"])
    prompt, *texts = ("".join(pre.itertext()) for pre in root.iter("pre"))
    assert prompt == "Is 1 < 2?"
    assert texts == ["Say no.", "Say <yes>.", "$"]
    assert len(list(root.iter("details"))) == 3


def test_a_negative_score_has_a_minus_and_three_digits() -> None:
    samples = [Entry("", "7", False, score) for score in (-0.25, -12.3456, 100)]
    assert [row[1] for row in rows(f"<p>{listing(samples, 's')}</p>")] == ["100", "−0.250", "−12.3"]


def test_shades_go_from_the_lowest_score_to_the_highest() -> None:
    low, middle, high, none = shade([-3, -2, -1, NAN])
    assert (low, high) == tuple(f"rgb{hex_to_rgb(c)}" for c in (SCALE[0], SCALE[-1]))
    assert middle == f"rgb{hex_to_rgb(SCALE[2])}"
    assert none == "white"
    assert shade([5, 5, NAN]) == [middle, middle, "white"]


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    c = np.array(hex_to_rgb(colour)) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_scale_has_equal_steps_of_lightness_and_text_on_it_is_readable() -> None:
    light = [luminance(colour) for colour in SCALE]
    steps = np.diff([116 * y ** (1 / 3) - 16 for y in light])  # CIELAB's L*
    assert steps == pytest.approx(steps.mean(), rel=0.05)
    assert min((y + 0.05) / (luminance(INK) + 0.05) for y in light) > 4.5


def test_a_table_of_another_shape_is_refused_by_name() -> None:
    samples = Samples(Task("one", TASK.problems[:1]), [result(TASK.problems[0], ["1", "2"])])
    with pytest.raises(OptionError, match=r"judge=\(1, 1\) is not valid: .*of shape \(1, 2\)"):
        SampleBrowser(samples, {"judge": [[0.5]]})
    with pytest.raises(OptionError, match="at least one"):
        SampleBrowser(samples, {})


def test_the_votes_of_the_problem_stand_above_its_samples() -> None:
    panel = browser()
    assert {"✓ yes", "no", "no answer"} <= set(pictured(panel))
    panel.problem.value = 1
    assert {"✓ def", "✓ g", "h"} <= set(pictured(panel))


def pictured(panel: SampleBrowser) -> list[str]:
    """The texts in the picture of votes."""
    page = ElementTree.fromstring(panel.view.value)
    return ["".join(text.itertext()) for text in page.iter("{http://www.w3.org/2000/svg}text")]


# -- dark pages ------------------------------------------------------------------------------------


def test_on_a_dark_page_nothing_is_black_or_white_paper() -> None:
    table = pd.DataFrame(
        [("a", 1, 10, 0.2, 0.1, 0.3), ("a", 2, 20, 0.4, 0.3, 0.5), ("b", 1, 12, 0.3, 0.2, 0.4)],
        columns=["method", "samples", "tokens", "accuracy", "low", "high"],
    ).assign(gflops=1.0, seconds=1.0, dollars=1.0)
    light = viz.accuracy_against(table, title="two methods")
    before = light.to_json()
    page = viz.dark(light)
    assert light.to_json() == before
    assert page.layout.template.layout.paper_bgcolor == "#111111"
    for colour in ("#1b1b1b", '"white"', "#e6e6e6"):
        assert colour in before
        assert colour not in page.to_json()
    assert len(page.data) == len(light.data)
    heat = viz.dark(viz.by_problem({"a": [0, 1]}, ["p", "q"]))
    assert heat.data[0].colorscale[0][1] == "#1f1f1f"
    with pytest.raises(OptionError, match="a plotly Figure"):
        viz.dark("figure")
