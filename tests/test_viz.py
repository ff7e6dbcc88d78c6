"""Figures say what they are given; the panel votes, stops, and shows what goes wrong."""

from __future__ import annotations

import json
import re
import threading
import time
from xml.etree import ElementTree

import ipywidgets
import pandas as pd
import pytest

from itslab.backends.llama import Llama
from itslab.core import Cost, MissingSample, Result, Sampling, Tree
from itslab.run import Started, solve, start
from itslab.strategies import SelfConsistency
from itslab.viz import Transcript, VotePanel, accuracy_against_tokens, votes
from itslab.viz.panels import picture, price, votes_so_far
from itslab.viz.plots import GREEN, Bar, bars

# -- bars ------------------------------------------------------------------------------------------


def test_bars_are_ordered_by_votes_and_the_gold_answer_is_marked() -> None:
    rows = bars({"7": 1, "12": 5, "9": 1}, gold="12.0", silent=2, drawing=3)
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
    assert bars(many, gold="9")[-1].label == "2 others with ✓"
    assert bars(many, gold="0")[-1][:2] == ("2 others", 3)
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
    svg = picture([Bar("<b>&", 3, GREEN), Bar("7", 0, GREEN)], "a < b")
    texts = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]
    assert texts == ["<b>&", "3", "7", "0", "a < b"]


# -- accuracy --------------------------------------------------------------------------------------


def test_accuracy_is_drawn_against_tokens_with_its_intervals() -> None:
    rows = [
        ("one greedy chain", 1, 200, 0.4, 0.3, 0.5),
        ("majority", 1, 210, 0.35, 0.25, 0.45),
        ("majority", 4, 840, 0.5, 0.4, 0.6),
    ]
    columns = ["method", "samples", "tokens", "accuracy", "low", "high"]
    figure = accuracy_against_tokens(pd.DataFrame(rows, columns=columns), "n = 40")
    band, single, line = figure.data
    assert single.name == "one greedy chain"
    assert (single.error_y.array[0], single.error_y.arrayminus[0]) == pytest.approx((0.1, 0.1))
    assert line.name == "majority"
    assert list(line.x) == [210, 840]
    assert list(band.y) == [0.45, 0.6, 0.4, 0.25]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "decoded tokens per problem (log scale)"
    assert "%" in figure.layout.yaxis.title.text


# -- transcript ------------------------------------------------------------------------------------


def test_a_transcript_joins_a_turn_and_escapes_what_was_said() -> None:
    tree = Tree()
    question = tree.add(None, "user", "Is 1 < 2?")
    thought = tree.add(tree.add(question, "assistant", "Hm. "), "assistant", "Yes.")
    shown = Transcript(thought)
    assert str(shown) == "user:\nIs 1 < 2?\n\nassistant:\nHm. Yes."
    assert "Is 1 &lt; 2?" in shown._repr_html_()


# -- the panel -------------------------------------------------------------------------------------

PROMPT = "How much is 2 + 3? Answer with a number."
NOTHING = Result(None, None, Tree(), Cost(), None, 0)


def draw(llm: Llama, n: int, temperature: float, max_tokens: int = 12) -> Started:
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return start(PROMPT, SelfConsistency(n, sampling=sampling), llm)


def shown(panel: VotePanel) -> str:
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


def test_clicks_from_many_threads_start_one_run(llm: Llama) -> None:
    begun: list[Started] = []
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

    def begin(n: int, temperature: float) -> Started:
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


def test_a_panel_weighs_little_and_a_picture_can_stand_in_for_it() -> None:
    before = ipywidgets.Widget.get_manager_state()["state"].keys()
    panel = VotePanel(lambda n, t: start("", SelfConsistency(1), None), NOTHING)  # type: ignore[arg-type]
    state = ipywidgets.Widget.get_manager_state()["state"]
    own = {key: value for key, value in state.items() if key not in before}
    assert 0 < len(json.dumps(own)) < 30_000
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/svg+xml"].startswith("<svg")
