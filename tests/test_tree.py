"""The tree of a run is told completely and in order, drawn, replayed and steered."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
from browser import browser_page, jupyterlab, needs_browser

from itslab import answers, models
from itslab.backends import Bank
from itslab.backends.llama import Llama
from itslab.core import (
    Budget,
    Completion,
    Cost,
    Event,
    Node,
    OptionError,
    Result,
    Sampling,
    Tree,
    Verdict,
)
from itslab.handle import RunHandle, solve, start
from itslab.page import write_page
from itslab.run import Run
from itslab.strategies import MCTS, RepairWithTests
from itslab.testing import ScriptedModel
from itslab.verifiers import Confidence, Tests
from itslab.viz.feed import Feed, token_logprobs
from itslab.viz.tree import TreeView

with contextlib.suppress(ImportError):  # then there is no browser either, and nothing is expected
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

QUESTION = "How much is 2 + 3?"
STEP = Sampling(max_tokens=6, signals=True)


def search(iterations: int = 3, c: float = 1.0) -> MCTS:
    return MCTS(Confidence(), iterations=iterations, width=2, expand=2, depth=4, c=c, sampling=STEP)


def read(tree: Tree) -> Feed:
    feed = Feed(tree, str.strip, str.lower)
    feed.read()
    return feed


@pytest.fixture(scope="module")
def searched(llm: Llama) -> Result:
    return solve(QUESTION, search(), llm)


# -- events as rows --------------------------------------------------------------------------------


def test_every_event_becomes_a_row_in_order_and_survives_json(searched: Result) -> None:
    events, rows = searched.tree.events, read(searched.tree).rows
    assert [(event.kind, event.node) for event in events] == [(row[1], row[2]) for row in rows]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_each_text_is_told_once_and_costs_add_up(searched: Result) -> None:
    rows = [row for row in read(searched.tree).rows if len(row) == 4]
    texts = sorted((row[2], row[3]["text"]) for row in rows if "text" in row[3])
    assert texts == [(node.id, node.text) for node in searched.tree]
    paid = [row[3]["cost"] for row in rows if "cost" in row[3]]
    assert [sum(column) for column in zip(*paid, strict=True)][:4] == [
        searched.cost.prefilled,
        searched.cost.reused,
        searched.cost.decoded,
        searched.cost.calls,
    ]


def test_rows_read_while_a_run_goes_on_are_those_read_at_its_end(llm: Llama) -> None:
    started = start(QUESTION, search(), llm)
    feed = Feed(started.run.tree, str.strip, str.lower)
    while started.running:
        feed.read()
    feed.read()
    assert feed.rows == read(started.result().tree).rows


def test_numbers_that_json_lacks_are_told_by_name() -> None:
    tree = Tree()
    node = tree.add(None, "user", QUESTION)
    values = [math.nan, math.inf, -math.inf, np.float64(0.1234567), np.int64(3), None, "x", (1, 2)]
    tree.log("value", node, values=values, weights={1: math.nan}, kind=object)
    tree.judge(node, Verdict(math.nan, Cost(1, 2, 3, 4, 5.1234567, 6e9)))
    [_, value, verdict] = [row[3] for row in read(tree).rows]
    assert value["values"] == ["nan", "inf", "-inf", 0.123457, 3, None, "x", [1, 2]]
    assert value["weights"] == {"1": "nan"}
    assert value["kind"].startswith("<class")
    assert verdict == {"score": "nan", "cost": [1, 2, 3, 4, 5.12346, 6.0]}
    json.dumps(read(tree).rows, allow_nan=False)


def drawn(tree: Tree, parent: Node, text: str, finish: str = "end") -> Node:
    node = tree.add(parent, "assistant", "", "open")
    node.completion = Completion(text, finish=finish, cost=Cost(decoded=2, calls=1))
    node.text, node.status = text, "done"
    tree.log("done", node, finish=finish, cost=node.completion.cost)
    return node


def test_answers_are_read_where_a_chain_ends_or_is_the_best_and_only_once() -> None:
    tree = Tree()
    root = tree.add(None, "user", QUESTION)
    step = drawn(tree, root, "Five", "stop")
    end = drawn(tree, step, "!")
    for best in (step, end, step):
        tree.log("best", best)
    told = [row[1:] for row in read(tree).rows if len(row) == 4 and "answer" in row[3]]
    assert [(kind, node, data["answer"], data["key"]) for kind, node, data in told] == [
        ("done", end.id, "Five!", "five!"),
        ("best", step.id, "Five", "five"),
    ]


def test_what_a_strategy_chose_at_its_end_is_the_best() -> None:
    tree = Tree()
    answer = drawn(tree, tree.add(None, "user", QUESTION), "5")
    feed = Feed(tree, str.strip, str.lower)
    for _ in range(2):
        feed.close(answer)
    assert [row[1:3] for row in feed.rows].count(["best", answer.id]) == 1


def test_a_node_that_is_drawn_is_told_bit_by_bit_and_whole_to_who_comes_late() -> None:
    tree = Tree()
    node = tree.add(None, "assistant", "", "open")
    feed = read(tree)
    node.text = "Fi"
    assert feed.growth() == {0: (0, "Fi")}
    node.text += "ve"
    assert feed.growth() == {0: (2, "ve")}
    assert feed.growth() == {}
    assert feed.growth(whole=True) == {0: (0, "Five")}
    node.completion = Completion("Five")
    tree.log("done", node, finish="end")
    feed.read()
    assert feed.growth(whole=True) == {}
    assert feed.rows[-1][3]["text"] == "Five"


def test_a_sample_tells_its_mean_log_probability_and_its_tokens_when_they_are_asked_for() -> None:
    tree = Tree()
    node = tree.add(tree.add(None, "user", "?"), "assistant", "", "open")
    tree.finish(node, Completion("Five 🙂", (1, 2), (-0.5, -math.inf), (4, 6)))
    other = tree.add(node.parent, "assistant", "", "open")
    tree.finish(other, Completion("Six", (3,), (-0.2514,), (3,)))
    rows = {row[2]: row[3] for row in read(tree).rows if row[1] == "done"}
    assert rows[other.id]["logprob"] == -0.251
    assert "logprob" not in rows[node.id]  # no mean
    assert token_logprobs(node) == [[4, -0.5], [2, -99.0]]
    assert token_logprobs(node.parent) == []
    view = Heard(tree)
    view.press("tokens", node=node.id)
    assert view.heard == [{"tokens": {"1": [[4, -0.5], [2, -99.0]]}}]
    assert view._tokens() == {"tokens": {"1": [[4, -0.5], [2, -99.0]], "2": [[3, -0.25]]}}


def test_a_page_leaves_out_tokens_that_are_too_many() -> None:
    tree = Tree()
    node = tree.add(tree.add(None, "user", "?"), "assistant", "", "open")
    many = 10_000
    tree.finish(node, Completion("a" * many, (1,) * many, (-1.0,) * many, (*range(1, many + 1),)))
    assert TreeView(tree)._tokens() == {"leftOut": True}


def test_a_vote_tells_the_answers_that_a_program_gave_in_place_of_the_model() -> None:
    tree = Tree()
    root = tree.add(None, "user", QUESTION)
    said = drawn(tree, root, "print(2 + 3)")
    written = tree.add(said, "assistant", "FIVE")
    tree.log("vote", written, votes=["print(2 + 3)five"])
    assert read(tree).rows[-1][3]["leaves"] == {str(written.id): "print(2 + 3)five"}


def test_waits_in_which_nothing_is_drawn_are_cut_short() -> None:
    tree = Tree()
    tree.nodes = [Node(0, None, "user", "?"), Node(1, None, "assistant", status="open")]
    begun = {"parent": None, "role": "assistant"}
    tree.events = [Event(0.5, "node", 0, begun), Event(60.0, "node", 1, begun)]
    tree.events += [Event(90.0, "done", 1), Event(90.5, "best", 0), Event(90.4, "best", 0)]
    assert [row[0] for row in read(tree).rows] == [0, 1, 31, 31.5, 31.5]


def test_samples_that_were_recorded_take_as_long_as_drawing_them_took() -> None:
    """A bank hands them over at once; the slider and the cost tell the same seconds."""
    tree = Tree()
    tree.nodes = [Node(0, None, "user", "?"), Node(1, None, "assistant", status="open")]
    tree.events = [
        Event(0.0, "node", 0, {"parent": None, "role": "user"}),
        Event(0.001, "node", 1, {"parent": 0, "role": "assistant"}),
        Event(0.002, "done", 1, {"finish": "end", "cost": Cost(seconds=5.5)}),
        Event(0.003, "verdict", 1, {"score": 1.0, "cost": Cost(seconds=2.5)}),
        Event(0.004, "best", 1),
    ]
    assert [row[0] for row in read(tree).rows] == [0, 0.001, 5.5, 8.0, 8.0]


def test_nodes_of_a_run_that_failed_are_drawn_no_more() -> None:
    tree = Tree()
    node = tree.add(tree.add(None, "user", "?"), "assistant", "", "open")
    feed = read(tree)
    node.status = "failed"
    for _ in range(2):
        feed.close(None)
    assert [row[1:] for row in feed.rows[2:]] == [["done", 1, {"finish": "failed", "text": ""}]]


# -- what browsers hear ----------------------------------------------------------------------------


class Heard(TreeView):
    """Keeps what is sent to browsers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        super().__init__(*args, **options)

    def send(self, content: dict[str, Any], buffers: Any = None) -> None:
        self.heard.append(json.loads(json.dumps(content, allow_nan=False)))

    def press(self, verb: str, **more: Any) -> None:
        """As a button in a browser does."""
        self._handle_custom_msg({"do": verb, **more}, [])


def until(happened: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_of_a_live_run_hold_each_row_once_in_order(llm: Llama) -> None:
    view = Heard(start(QUESTION, search(6), llm))
    view.wait()
    assert len(view.heard) > 2
    rows: list[Any] = []
    for message in view.heard:
        assert message["first"] == len(rows)
        rows += message["rows"]
    assert rows == view.feed.rows
    assert [view.heard[0]["state"], view.heard[-1]["state"]] == ["drawing", "done"]


def test_a_browser_that_comes_late_is_told_everything_and_the_others_nothing_twice(
    searched: Result,
) -> None:
    view = Heard(searched)
    view.press("ask", first=0)
    view.press("ask", first=7)
    everything, rest = view.heard
    assert everything["rows"][7:] == rest["rows"]
    assert (everything["first"], rest["first"]) == (0, 7)
    assert everything["rows"] == json.loads(json.dumps(view.feed.rows))


def test_a_picture_says_what_was_asked_of_whom_how_and_what_its_scores_are(
    searched: Result, llm: Llama
) -> None:
    how = "MCTS(Confidence(), iterations=3, width=2, expand=2, depth=4, "
    message = TreeView(searched)._message(0)
    assert message["title"][0] == QUESTION  # without what the strategy says after it
    assert message["title"][1].startswith(f"{llm.name} · {how}")
    assert message["scale"]["name"] == "Confidence()"
    assert message["scale"]["about"].startswith("Score a node by how sure the model was")
    started = start(QUESTION, search(1), llm)
    view = TreeView(started, title="Mine")
    view.wait()
    assert view._message(0)["title"][0] == "Mine"
    assert "MCTS" in view._message(0)["title"][1]
    alone = TreeView(searched.tree)._message(0)
    assert alone["title"][1] == ""  # a tree does not know
    assert alone["scale"] == {}


def test_a_vote_tells_of_no_node_that_comes_after_it() -> None:
    """A cascade's first stage votes; what the second one writes is in the tree when it is read."""
    model = ScriptedModel(replies=lambda request, index: Completion("1", finish="end"))
    run = Run(model, answers.extract)

    def stage() -> Node:
        [node] = run.extend(run.reply(None, "?"))
        return run.append(node, "\n\\boxed{1}")

    first = stage()
    run.tree.log("vote", first, votes=["1"])
    second = stage()
    rows = read(run.tree).rows
    [vote] = [row for row in rows if row[1] == "vote"]
    assert list(vote[3]["leaves"]) == [str(first.id)]
    run.tree.log("vote", second, votes=["1"])
    later = [row for row in read(run.tree).rows if row[1] == "vote"][-1]
    assert str(second.id) in later[3]["leaves"]


def test_a_run_is_taken_in_steps_paused_let_on_and_stopped(llm: Llama) -> None:
    view = Heard(start(QUESTION, search(10_000), llm, paused=True))

    def iterations() -> int:
        return sum(event.kind == "iteration" for event in view.feed.tree.events)

    until(lambda: view.state == "paused")
    for count in (1, 2):
        view.press("step")
        until(lambda: view.state == "paused")
        assert iterations() == count
    view.press("resume")
    until(lambda: iterations() > 3)
    view.press("pause")
    until(lambda: view.state == "paused")
    kept = iterations()
    time.sleep(0.3)
    assert iterations() == kept
    view.press("stop")
    view.wait(10)
    assert view.heard[-1]["state"] == "stopped"


def test_a_fork_goes_on_in_the_same_tree_from_the_chosen_node_and_ends_a_paused_run(
    llm: Llama,
) -> None:
    def fork(started: RunHandle, node: Node) -> RunHandle:
        return started.fork(node, search(2, c=2.0))

    view = Heard(start(QUESTION, search(10_000), llm, paused=True), fork=fork)
    until(lambda: view.state == "paused")
    view.press("step")
    until(lambda: view.state == "paused")
    tree, before = view.feed.tree, len(view.feed.tree)
    step = next(node for node in tree if node.completion)
    view.press("select", node=step.id)
    view.press("fork")
    view.wait(30)
    assert (view.state, view.error) == ("done", "")
    assert view.feed.tree is tree
    added = tree.nodes[before:]
    assert added
    assert all(step in node.path() for node in added)
    told = [row for message in view.heard for row in message["rows"]]
    assert told == json.loads(json.dumps(view.feed.rows))


def test_what_cannot_be_done_is_said_and_what_goes_wrong_is_shown(llm: Llama) -> None:
    view = Heard(start(QUESTION, search(1), llm))
    view.wait()
    view.press("fork")
    assert "a node of a run that was begun here clicked" in view.heard[-1]["error"]
    failing = Heard(view.feed.tree, begin=lambda: {}["no <such> key"])
    failing.press("run")
    failing.wait()
    assert failing.heard[-1]["error"] == "KeyError: 'no <such> key'"
    assert failing.state == "failed"


def test_a_budget_that_ended_a_run_is_told_with_what_was_spent(llm: Llama) -> None:
    view = Heard(start(QUESTION, search(50), llm, budget=Budget(tokens=40)))
    view.wait()
    assert view.heard[-1]["state"] == "budget spent (40 of 40 tokens)"
    result = solve(QUESTION, search(50), llm, budget=Budget(tokens=40))
    assert TreeView(result).state == "budget spent (40 tokens)"  # a result tells no limit


def test_in_replay_nothing_can_be_forked_and_the_reason_is_told(llm: Llama, tmp_path: Path) -> None:
    with Bank(tmp_path / "bank.sqlite") as bank:
        solve(QUESTION, search(1), bank.record(llm))
        started = start(QUESTION, search(1), bank.replay())
        view = Heard(started, fork=lambda started, node: started.fork(node, search(1)))
        view.wait()
        view.press("select", node=1)
        view.press("fork")
    assert "fork" in view.heard[-1]["can"]
    assert "Only recorded samples are here" in view.heard[-1]["unforkable"]
    assert view.error == view.heard[-1]["unforkable"]
    assert view.state == "done"
    assert "recorded" in Heard(started.result())._message(0)["unforkable"]
    assert Heard(start(QUESTION, search(1), llm))._message(0)["unforkable"] == ""


def test_clicks_from_many_threads_start_one_run(llm: Llama) -> None:
    begun: list[RunHandle] = []
    view = TreeView(Tree(), begin=lambda: begun.append(start(QUESTION, search(), llm)) or begun[-1])
    threads = [threading.Thread(target=view.run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view.wait()
    assert len(begun) == 1
    with pytest.raises(OptionError, match="given, to begin a run"):
        TreeView(Tree()).run()


def test_a_page_stands_for_a_panel_and_is_small(searched: Result) -> None:
    bundle, _ = TreeView(searched)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    page, data = bundle["text/html"], len(json.dumps(read(searched.tree).rows))
    source = sum(len(str(text)) for text in (TreeView._esm, TreeView._css))
    assert len(page) < source + 1.2 * data + 1_000
    assert "http" not in re.sub(r"http://www.w3.org/", "", page)


# -- in a page -------------------------------------------------------------------------------------

NASTY = "</script><b>$x$ &amp; 5"


def told() -> Tree:
    """A question, two steps with values, an ending below the better one, and a pruned one."""
    tree = Tree()
    root = tree.add(None, "user", f"Is it {NASTY}?")
    good, bad = drawn(tree, root, "First, add.", "stop"), drawn(tree, root, "Guess.", "stop")
    tree.log("value", good, visits=3, value=0.9, uct=math.inf)
    tree.log("value", bad, visits=1, value=math.nan)
    tree.log("verdict", bad, score=0.1, note="")
    tree.log("best", good)
    tree.log("iteration", good)
    end = drawn(tree, good, " So it is 5.")
    tree.log("pruned", bad)
    tree.log("best", end)
    tree.log("iteration", end)
    tree.events = [Event(float(i), e.kind, e.node, e.data) for i, e in enumerate(tree.events)]
    return tree


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page() as page:
        page.set_default_timeout(20_000)
        yield page


def dots(where: Locator | Page) -> Locator:
    return where.locator(".node:visible")


@needs_browser
def test_a_saved_page_is_read_replayed_and_folded(page: Page, tmp_path: Path) -> None:
    view = TreeView(told(), extract=lambda text: text[-2:-1], gold="5")
    problems: list[Any] = []
    page.on("pageerror", lambda error: problems.append(error))
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    assert dots(page).count() == 4
    assert page.locator(".side .best").text_content() == "5 ✓"
    assert page.locator(".node.dim").count() == 1
    assert page.locator(".edge.onPath").count() == 2
    page.locator("[data-node='3'] circle").click()
    expect(page.locator(".reader pre")).to_have_text("First, add. So it is 5.")
    expect(page.locator(".reader mark")).to_have_text(" So it is 5.")
    page.locator("[data-node='1'] circle").click()
    expect(page.locator(".facts")).to_contain_text("uct∞")
    page.locator("[data-node='0'] rect").click()
    expect(page.locator(".reader mark")).to_have_text(f"Is it {NASTY}?")
    slider = page.locator("input[type=range]")
    slider.press("Home")
    expect(dots(page)).to_have_count(1)
    for count in (2, 2, 3):  # the second event says that the node is done
        slider.press("ArrowRight")
        expect(dots(page)).to_have_count(count)
    slider.press("End")
    expect(dots(page)).to_have_count(4)
    page.locator("[data-node='1'] circle").dblclick()
    expect(dots(page)).to_have_count(3)
    expect(page.locator("[data-node='1'] text")).to_contain_text("+1")
    assert page.get_by_role("button", name="Stop").count() == 0
    assert problems == []


@needs_browser
def test_an_answer_that_was_read_from_a_chain_cut_short_is_told_as_such(
    page: Page, tmp_path: Path
) -> None:
    tree = told()
    result = Result("5", tree.nodes[3], tree, Cost(decoded=6), "tokens", 1.0, unfinished=True)
    page.goto(TreeView(result).save(tmp_path / "tree.html").as_uri())
    state, note = page.locator(".state"), "answer read from a chain that was cut short"
    expect(state).to_have_text(f"budget spent (6 tokens) · 4 nodes · 2 iterations · {note}")
    page.locator("input[type=range]").press("Home")
    expect(state).not_to_contain_text(note)  # that is of the end
    page.goto(TreeView(tree).save(tmp_path / "whole.html").as_uri())
    expect(state).not_to_contain_text(note)


@needs_browser
def test_what_each_of_several_models_was_paid_is_told_at_the_end(
    page: Page, tmp_path: Path
) -> None:
    tree = told()
    costs = {"small": Cost(decoded=5, calls=2, seconds=1.5), "large": Cost(decoded=1, calls=1)}
    result = Result("5", tree.nodes[3], tree, Cost(decoded=6, calls=3), None, 1.0, costs=costs)
    page.goto(TreeView(result).save(tmp_path / "tree.html").as_uri())
    cost = page.locator(".side .cost")
    expect(cost).to_contain_text("This run: smalltokens decoded5compute, s1.5")
    expect(cost).to_contain_text("This run: largetokens decoded1compute, s0")
    page.locator("input[type=range]").press("Home")
    expect(cost).not_to_contain_text("This run")
    one = Result("5", tree.nodes[3], tree, Cost(), None, 1.0, costs={"small": Cost(decoded=6)})
    page.goto(TreeView(one).save(tmp_path / "one.html").as_uri())
    expect(cost).to_contain_text("tokens decoded")
    expect(cost).not_to_contain_text("This run")


def test_while_a_run_goes_on_its_price_by_model_is_that_so_far(llm: Llama) -> None:
    view = Heard(start(QUESTION, search(1), llm))
    view.wait()
    assert list(view.heard[-1]["costs"]) == [llm.name]
    assert view.heard[-1]["costs"][llm.name][2] == view.result.cost.decoded


@needs_browser
def test_an_exported_notebook_shows_two_trees(page: Page, tmp_path: Path) -> None:
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": TreeView(told()).html()})
        for _ in range(2)
    ]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    path = write_page(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "page.html")
    page.goto(path.as_uri())
    page.wait_for_selector(".node")
    assert dots(page).count() == 8
    page.locator("[data-node='1'] circle").last.click()
    expect(page.locator(".reader pre")).to_have_text("First, add.")


def voted() -> Tree:
    """Five chains below one question, three of which answer 5, and a pruned step."""
    tree = Tree()
    root = tree.add(None, "user", QUESTION)
    for said in ("2 + 3 = 5", "Two and three are 5", "2 + 3 = 6", "It is 5", "Maybe 7"):
        node = tree.add(root, "assistant", "", "open")
        words = said.split()
        ends = [len(" ".join(words[: i + 1])) for i in range(len(words))]
        logprobs = (-0.5,) * len(ends)
        tree.finish(node, Completion(said, (1,) * len(ends), logprobs, tuple(ends)))
    tree.prune(drawn(tree, root, "Let us see.", "stop"))
    tree.log("best", tree.nodes[1])
    return tree


@needs_browser
def test_an_answer_has_one_hue_and_its_bar_lights_the_paths_to_it(
    page: Page, tmp_path: Path
) -> None:
    view = TreeView(voted(), extract=lambda text: text[-1], gold="5")
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    bars = page.locator("button.bar")
    expect(bars).to_have_text(["✓ 53", "✗ 61", "✗ 71"])
    fills = [page.locator(f"[data-node='{i}'] circle").get_attribute("fill") for i in range(1, 6)]
    assert fills[0] == fills[1] == fills[3] == "#009e73"
    assert len({fills[0], fills[2], fills[4]}) == 3
    expect(bars.first.locator("i")).to_have_css("background-color", "rgb(0, 158, 115)")
    bars.first.focus()
    page.keyboard.press("Enter")
    expect(bars.first).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".node.lit")).to_have_count(4)  # with the question
    expect(page.locator(".node.unlit")).to_have_count(3)
    page.keyboard.press("Space")
    expect(page.locator(".lit, .unlit")).to_have_count(0)
    bars.last.click()
    page.keyboard.press("Escape")
    expect(page.locator(".lit, .unlit")).to_have_count(0)
    page.get_by_label("hide pruned").check()
    expect(dots(page)).to_have_count(6)
    page.get_by_label("only the way to the best").check()
    expect(dots(page)).to_have_count(2)


@needs_browser
def test_nodes_are_found_compared_coloured_and_told_to_who_does_not_see_them(
    page: Page, tmp_path: Path
) -> None:
    view = TreeView(voted(), extract=lambda text: text[-1])
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    spoken = page.locator(".spoken")
    expect(spoken).to_have_text(
        "A tree of 7 nodes, 5 finished chains with an answer: 5 (3), 6 (1), 7 (1)."
    )
    page.get_by_role("searchbox").fill("2 + 3 =")
    expect(page.locator(".node.found")).to_have_count(2)
    expect(page.locator(".tally")).to_have_text("2 found")
    expect(page.locator(".node.chosen")).to_have_count(0)  # to look for something moves nothing
    for _ in range(2):
        page.get_by_role("searchbox").press("Enter")
    expect(page.locator(".tally")).to_have_text("2 of 2")
    expect(page.locator(".reader mark.tokens span")).to_have_text(["2", " +", " 3", " =", " 6"])
    page.get_by_role("searchbox").press("Escape")
    expect(page.locator(".node.found")).to_have_count(0)
    picture = page.get_by_role("tree")
    picture.press("p")
    for _ in range(2):
        picture.press("ArrowUp")
    expect(spoken).to_have_text("Node 1, the best so far, 0 children, answer 5, 2 + 3 = 5")
    expect(page.locator(".reader ins")).to_have_text(["6", "5"])
    page.get_by_label("Colour by").select_option("logprob")
    expect(page.locator(".legend")).to_contain_text("nats per token")
    picture.press("+")
    picture.press("+")
    expect(page.locator(".map")).to_be_visible()
    picture.press("0")
    expect(page.locator(".map")).not_to_be_visible()


@needs_browser
def test_a_picture_is_kept_as_svg_png_and_page(page: Page, tmp_path: Path) -> None:
    view = TreeView(voted(), extract=lambda text: text[-1], gold="5")
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    kept = {}
    page.get_by_label("Colour by").select_option("logprob")
    page.get_by_role("searchbox").fill("2 + 3 =")
    page.get_by_label("hide pruned").check()
    for name in ("SVG", "PNG", "Page"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        kept[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(kept[name])
    assert kept["PNG"].name == "how-much-is-2-3.png"
    assert kept["PNG"].read_bytes().startswith(b"\x89PNG")
    svg = kept["SVG"].read_text()
    assert QUESTION in svg
    assert "✓ 5 ×3" in svg  # the legend names the answers
    assert svg.count("<circle") == 5
    page.goto(kept["Page"].as_uri())  # it opens as it was
    expect(dots(page)).to_have_count(6)
    expect(page.get_by_label("hide pruned")).to_be_checked()
    expect(page.get_by_label("Colour by")).to_have_value("logprob")
    expect(page.get_by_role("searchbox")).to_have_value("2 + 3 =")
    expect(page.locator(".node.found")).to_have_count(2)
    expect(page.locator("button.bar").first).to_have_text("✓ 53")
    assert "http" not in kept["Page"].read_text().replace("http://www.w3.org/", "")


@needs_browser
def test_colours_of_a_program_do_not_break_a_saved_picture(page: Page, tmp_path: Path) -> None:
    tree = Tree()
    drawn(tree, tree.add(None, "user", QUESTION), "\x1b[31m5\x1b[0m\x00\x9b\uffff")
    page.goto(TreeView(tree, extract=lambda text: text).save(tmp_path / "tree.html").as_uri())
    for name in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        download.value.save_as(tmp_path / name)
    svg = ElementTree.parse(tmp_path / "SVG").getroot()  # which is XML
    assert "␛[31m5␛[0m␀��" in "".join(svg.itertext())
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")


@needs_browser
def test_versions_stages_and_tests_are_drawn_as_what_they_are(page: Page, tmp_path: Path) -> None:
    tree = Tree()
    root = tree.add(None, "user", QUESTION)
    first = drawn(tree, root, "def f(): return 1")
    tree.log("version", first, of=None)
    asked = tree.add(first, "user", "That is wrong.")
    second = drawn(tree, asked, "def f(): return 5")
    tree.log("version", second, of=first.id)
    tree.log("settled", second, why="stop_score")
    stage = {"stage": 1, "model": "large", "strategy": "s", "accepted": True, "why": "tests"}
    tree.log("stage", second, **stage)
    for node, score in ((first, 0.5), (second, 1.0)):
        tree.log("verdict", node, score=score, note="")
    strategy = RepairWithTests(Tests("f", ["assert f()", "assert f() == 5"], str.strip))
    result = Result("5", second, tree, Cost(), None, 0.0, strategy=strategy)
    page.goto(TreeView(result).save(tmp_path / "tree.html").as_uri())
    names = page.locator(".node text")
    expect(names.nth(1)).to_have_text("v1 · 1/2 · 1")
    page.locator("[data-node='3'] circle").click()
    facts = page.locator(".facts")
    for told in ("passes 2 of 2 tests", "version2", "its score is good enough", "2, large"):
        expect(facts).to_contain_text(told)
    expect(page.locator(".title")).to_contain_text("RepairWithTests(Tests('f'))")


@needs_browser
def test_only_versions_of_an_answer_vote_and_have_hues(page: Page, tmp_path: Path) -> None:
    tree = Tree()
    first = drawn(tree, tree.add(None, "user", QUESTION), "It is \\textbf{6}")
    tree.log("version", first, of=None)
    critique = drawn(tree, tree.add(first, "user", "Check it."), "No, it is 4")
    second = drawn(tree, tree.add(critique, "user", "Correct it."), "It is 5")
    tree.log("version", second, of=first.id)
    tree.log("best", first)
    view = TreeView(tree, extract=lambda text: text.split()[-1], gold="5")
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    bars = page.locator("button.bar")
    expect(bars).to_have_text(["✗ 61", "✓ 51"])
    expect(page.locator(".side .best")).to_have_text("6 ✗")  # as its bar has it
    node = page.locator(f"[data-node='{critique.id}']")
    expect(node.locator("text")).to_have_text(re.compile("No, it is"))
    node.locator("circle").click()
    expect(page.locator(".facts")).not_to_contain_text("answer")


@needs_browser
def test_while_a_run_goes_on_a_step_is_no_answer_and_an_error_has_its_line(
    page: Page, tmp_path: Path
) -> None:
    tree = told()  # the best so far is the first step, then the end below it
    view = TreeView(tree, extract=lambda text: text[-2:-1], begin=lambda: None)
    page.goto(view.save(tmp_path / "tree.html").as_uri())
    best, slider = page.locator(".side .best"), page.locator("input[type=range]")
    expect(best).to_have_text("5")
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    expect(best).to_have_text("none yet")
    expect(page.locator(".trouble")).not_to_be_visible()
    view.error, view._end = "the server is down", "failed"
    page.goto(view.save(tmp_path / "failed.html").as_uri())
    trouble = page.locator(".trouble")
    expect(trouble).to_have_text("The run failed: the server is down")
    tools = page.locator(".its-tree > .tools").bounding_box()
    assert trouble.bounding_box()["width"] > tools["width"] - 2
    for name in ("Save the picture as PNG", "Show the whole tree", "By what nodes", "Light the"):
        assert page.locator(f"[title^='{name}']").count() == 1


@needs_browser
def test_labels_of_pruned_nodes_are_read_in_the_dark_too(page: Page, tmp_path: Path) -> None:
    """By WCAG's contrast of what the browser draws: 4.5 at least."""
    image = pytest.importorskip("PIL.Image")
    page.emulate_media(color_scheme="dark")
    page.goto(TreeView(voted()).save(tmp_path / "tree.html").as_uri())
    label = page.locator(".node.dim text")
    expect(label).to_have_text(re.compile("Let us see"))
    shot = image.open(io.BytesIO(label.screenshot(scale="device"))).convert("RGB")
    light = sorted(_luminance(pixel) for pixel in np.asarray(shot).reshape(-1, 3))
    assert (light[-1] + 0.05) / (light[0] + 0.05) > 4.5


def _luminance(pixel: Any) -> float:
    """Relative, as WCAG 2.1 defines it."""
    share = pixel / 255
    parts = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(parts @ (0.2126, 0.7152, 0.0722))


@needs_browser
def test_a_tree_of_2000_nodes_opens_and_is_moved(page: Page, tmp_path: Path) -> None:
    tree = Tree()
    root = tree.add(None, "user", QUESTION)
    for i in range(1999):
        parent = tree.nodes[(i // 3)]
        tree.log("value", drawn(tree, parent, f"Step {i}", "stop"), visits=1 + i % 5, value=i % 7)
    path = TreeView(tree).save(tmp_path / "large.html")
    assert path.stat().st_size < 500_000
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.node').length == 2000")
    box = page.locator(".picture").bounding_box()
    before = page.locator(".picture > .world").get_attribute("transform")
    x, y = box["x"] + 300, box["y"] + 12
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=5)
    page.mouse.up()
    assert page.locator(".picture > .world").get_attribute("transform") != before
    page.get_by_role("button", name="Fit").click()
    page.locator(f"[data-node='{root.id}'] rect").dblclick()
    expect(dots(page)).to_have_count(1)
    expect(page.locator(".node text").first).to_contain_text("+1999")


# -- in JupyterLab ---------------------------------------------------------------------------------

CELL = """
from itslab import Llama, Sampling, start
from itslab.strategies import MCTS
from itslab.verifiers import Confidence
from itslab.viz.tree import TreeView

def search(iterations, c=1.0):
    few = dict(width=2, expand=2, depth=60, sampling=Sampling(max_tokens=6, signals=True))
    return MCTS(Confidence(), iterations=iterations, c=c, **few)

llm = Llama({path!r}, {name!r}, {digest!r}, batch_size=8, context=512, threads=1)
started = start("How much is 2 + 3?", search(10_000), llm, paused=True)
TreeView(started, fork=lambda started, node: started.fork(node, search(2)))"""


@contextlib.contextmanager
def live(folder: Path, model: models.ModelFile) -> Iterator[Page]:
    """A notebook in JupyterLab with the view of a run that waits for its first step."""
    source = CELL.format(path=str(model.path), name=model.name, digest=model.digest)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, folder / "tree.ipynb")
    with jupyterlab(folder) as url, browser_page(height=1600) as page:
        page.goto(f"{url}/lab/tree/tree.ipynb?reset")
        page.wait_for_selector(".jp-Notebook")
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.set_default_timeout(40_000)
        page.locator(".state").get_by_text("paused ·").wait_for()
        yield page


@needs_browser
def test_in_jupyterlab_a_run_is_stepped_read_stopped_forked_and_outlives_its_kernel(
    tmp_path: Path, small_model: models.ModelFile
) -> None:
    with live(tmp_path, small_model) as page:

        def button(name: str) -> Locator:
            return page.locator(".its-tree").get_by_role("button", name=name, exact=True)

        def state(text: str) -> None:
            page.locator(".state").get_by_text(re.compile(text)).wait_for()

        button("Step").click()
        state("paused · .* · 1 iteration$")
        button("Step").click()
        state("paused · .* · 2 iterations$")
        stepped = dots(page).count()
        assert stepped > 3

        button("Continue").click()
        state("drawing")
        page.wait_for_function(
            "n => document.querySelectorAll('.node').length > n + 4", arg=stepped
        )
        page.locator("[data-node='1'] circle").click()
        expect(page.locator(".reader mark")).to_have_text(re.compile(r"\S"))
        expect(page.locator(".reader pre")).to_have_css("word-break", "normal")  # words stay whole
        expect(page.locator(".facts")).to_contain_text("visits")
        slider = page.locator(".its-tree input[type=range]")
        slider.press("Home")
        state(r"drawing · \d nodes?$")  # in no iteration yet
        assert dots(page).count() < stepped
        slider.press("End")
        button("Stop").click()
        state("stopped")

        grown = dots(page).count()
        button("Fork from here").click()
        state("done")
        assert dots(page).count() > grown
        page.locator("[data-node='1'] circle").dblclick()
        page.locator(".node text").get_by_text(re.compile(r"^\+\d+")).wait_for()

        before = page.locator(".node").count()
        page.evaluate(
            "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
        )
        page.locator(".trouble").get_by_text("kernel that made this run is gone").wait_for()
        assert page.locator(".node").count() == before
        assert button("Fork from here").is_disabled()
