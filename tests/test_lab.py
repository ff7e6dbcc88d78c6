"""Notebooks as people meet them: in JupyterLab, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import operated
import pytest
from browser import Lab, jupyterlab_in_browser, needs_browser, set_theme

from itslab import models
from itslab.workshop.journal import read


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab_in_browser(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@needs_browser
def test_notebook_00_runs_in_jupyterlab_and_its_panel_votes(lab: Lab) -> None:
    with lab.opened("00_start_here") as page:
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 2")
        panel = page.locator(".its-panel")
        assert "as drawn above:" in panel.locator("svg").text_content()
        panel.locator(".noUi-handle").nth(1).press("ArrowRight")  # a higher temperature
        panel.get_by_role("button", name="Run").click()
        panel.get_by_text(re.compile("^done: ")).wait_for()
        assert "16 samples" in panel.locator("svg").text_content()


@needs_browser
def test_notebook_01_runs_in_jupyterlab_and_its_panel_thinks(lab: Lab) -> None:
    with lab.opened("01_chain_of_thought") as page:
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 1")
        panel = page.locator(".its-panel")
        assert panel.get_by_text("inserted").count() == 0
        budget = panel.locator(".noUi-handle").nth(1)
        for _ in range(5):  # from 1,024 tokens to 32
            budget.press("ArrowLeft")
        panel.get_by_role("button", name="Run").click()
        panel.get_by_text(re.compile("^done: ")).wait_for()  # what is thought may say it, too
        assert "32 tokens of at most 32" in panel.text_content()
        assert panel.get_by_text("inserted").count() == 1


@needs_browser
def test_notebook_02_runs_in_jupyterlab_and_its_samples_can_be_read(lab: Lab) -> None:
    few = {"n_problems": 20, "n_programs": 20, "n_compared": 20}
    with lab.opened("02_best_of_n", **few) as page:
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 4")
        assert "<|im_start|>assistant" in page.text_content("body")  # the prompt as it is read
        panel = page.locator(".its-panel")
        problem, selector = panel.locator("select").nth(0), panel.locator("select").nth(1)
        prompt = panel.locator("pre").first.text_content()
        problem.select_option(index=1)
        page.wait_for_function("old => !document.body.textContent.includes(old)", arg=prompt)
        assert panel.locator("details").count() == 16
        selector.select_option("length")
        panel.get_by_text("score by length").wait_for()
        panel.locator("summary").first.click()
        assert panel.locator("details pre").first.is_visible()


@needs_browser
def test_notebook_05_runs_in_jupyterlab_and_its_versions_stand_side_by_side(lab: Lab) -> None:
    with lab.opened("05_refinement", n_programs=40, n_problems=20, n_other=40) as page:
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 3")
        panel = page.locator(".its-panel")
        panel.get_by_text("as drawn above: ").wait_for()
        assert panel.get_by_text("✓ right").count() == 1  # a repaired program beside a wrong one
        panel.locator("select").first.select_option("itself")  # whose critique
        panel.get_by_role("button", name="Run").click()
        panel.get_by_text(re.compile("^done: ")).wait_for()


@needs_browser
@pytest.mark.timeout(900)
def test_a_search_is_watched_live_read_and_stopped(lab: Lab, small_model: models.ModelFile) -> None:
    few = {"n_problems": 1, "n_programs": 1, "max_tokens": 12}
    with lab.opened("04_mcts", model=small_model.name, mode="live", **few) as page:
        panel = page.locator(".its-panel").first
        panel.get_by_role("button", name="Run", exact=True).click()
        state = panel.locator(".state")
        state.get_by_text(re.compile(r"^drawing · ([4-9]|\d\d+) nodes")).wait_for()
        panel.get_by_role("button", name="Pause").click()  # or it may be over before it is read
        state.get_by_text(re.compile("^paused · ")).wait_for()
        panel.locator("[data-node='1'] circle").click()
        panel.locator(".reader mark", has_text=re.compile(r"\S")).wait_for()
        panel.get_by_role("button", name="Stop").click()
        state.get_by_text(re.compile("^stopped · ")).wait_for()


@needs_browser
@pytest.mark.timeout(900)
def test_a_refinement_is_watched_live_and_stopped(lab: Lab, small_model: models.ModelFile) -> None:
    name, few = small_model.name, {"n_programs": 1, "n_problems": 1, "n_other": 1, "max_tokens": 40}
    with lab.opened("05_refinement", mode="live", model=name, larger=name, **few) as page:
        panel = page.locator(".its-panel").first
        panel.get_by_role("button", name="Run").click()
        panel.get_by_text("being drawn").first.wait_for()
        panel.get_by_role("button", name="Stop").click()
        panel.get_by_text(re.compile("^stopped: ")).wait_for()


@needs_browser
def test_notebook_06_runs_in_jupyterlab_and_problems_change_their_route(lab: Lab) -> None:
    few = {"n_problems": 20, "n_programs": 10, "n_fresh": 10}
    with lab.opened("06_adaptive_compute", **few) as page:
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 2")
        panel = page.locator(".its-panel").first
        before = panel.locator("svg").text_content()
        panel.locator(".noUi-handle").press("ArrowRight")
        page.wait_for_function(
            "old => document.querySelector('.its-panel svg').textContent !== old", arg=before
        )
        cascade = page.locator(".its-panel").last
        cascade.get_by_role("button", name="Run", exact=True).click()
        stage = cascade.locator(".reader .facts").get_by_text("the last stage").first
        for _ in range(60):  # the run that was on view before is done as well, and gives way
            cascade.locator("[data-node]").last.click()
            page.wait_for_timeout(500)
            if stage.is_visible():
                break
        stage.wait_for()
        # What the one program printed, not the last number in its text.
        assert cascade.locator(".votes").text_content() == "✓ 51"


def test_notebook_07_runs_in_jupyterlab_and_its_explorer_follows(lab: Lab) -> None:
    with lab.opened("07_scaling_study", n_problems=20, n_programs=10) as page:
        panel = page.locator(".its-panel").first
        panel.get_by_text("functions, all: 10 problems").wait_for()
        panel.get_by_role("button", name="GFLOPs").click()
        panel.get_by_text("GFLOPs (log scale)").first.wait_for()
        panel.locator("select").first.select_option("word problems")
        panel.get_by_text("word problems, all: 20 problems").wait_for()
        panel.locator("select").nth(1).select_option("hardest third")
        panel.get_by_text("word problems, hardest third: 7 problems").wait_for()
        look = "getComputedStyle(document.querySelector('.js-plotly-plot')).filter"
        assert page.evaluate(look) == "none"
        set_theme(page, "JupyterLab Dark")
        page.wait_for_function(f"{look}.startsWith('invert')")  # of the first one, in another cell
        set_theme(page, "JupyterLab Light")


@needs_browser
@pytest.mark.timeout(900)
def test_three_lines_make_a_workbench(lab: Lab, small_model: models.ModelFile) -> None:
    """Run, tune by a click, run again, lay both side by side, and see it in replay too."""
    load = f"llm = its.load({small_model.name!r}, threads=1)"
    more = "question='What is 17 * 23?', budget=its.Budget(tokens=120)"
    with lab.running(f"import itslab as its\n{load}\nits.lab(llm, {more})") as page:
        panel = page.locator(".its-panel").first
        press = panel.get_by_role("button", name="Run", exact=True)
        press.click()
        panel.locator(".state").get_by_text(re.compile("^(done|budget spent).*nodes")).wait_for()
        panel.get_by_text(re.compile("of 120 tokens spent")).wait_for()
        panel.locator(".noUi-handle").first.press("ArrowRight")
        panel.get_by_text("Settings changed").wait_for()
        press.click()
        panel.get_by_text("run 2", exact=True).wait_for()
        assert panel.get_by_text("run 1", exact=True).count() == 1
        trouble = panel.locator(".trouble")
        page.evaluate(IN_KERNEL, "llm.close()")  # under the open panel
        press.click()
        trouble.get_by_text("The run failed: this model is closed").wait_for()
        panel.get_by_text("failed: this model is closed").first.wait_for()  # in the table
        page.evaluate(IN_KERNEL.replace("requestExecute({code}).done", "restart()"), "")
        trouble.get_by_text("The kernel that made this run is gone").wait_for()
        assert press.is_disabled()


@needs_browser
def test_controls_of_all_strategies_are_moved_in_a_browser(lab: Lab) -> None:
    """Every slider by its keys; what it did stands in the code."""
    scripted = (
        "import itslab as its\nfrom itslab.testing import ScriptedModel\n"
        "its.lab(ScriptedModel(), question='What is 6 * 7?')"
    )
    with lab.running(scripted) as page:
        panel = page.locator(".its-panel").first
        chosen = panel.locator(".widget-dropdown", has_text="strategy").locator("select").first
        names = [text.split()[-1] for text in chosen.locator("option").all_text_contents()]
        assert len(names) == 23
        code = panel.locator(".widget-accordion pre").last
        moved = 0
        for i, name in reversed([*enumerate(names)]):
            chosen.select_option(index=i)
            page.wait_for_function(f"{SHOWN}.includes('strategy = its.{name}(')")
            for handle in panel.locator(".noUi-handle:visible").all():
                before = code.text_content()
                most = handle.get_attribute("aria-valuemax") == handle.get_attribute(
                    "aria-valuenow"
                )
                there, back = ("ArrowLeft", "ArrowRight") if most else ("ArrowRight", "ArrowLeft")
                handle.press(there)
                page.wait_for_function(f"old => {SHOWN} !== old", arg=before)
                handle.press(back)  # for the next one: not all values go together
                page.wait_for_function(f"old => {SHOWN} === old", arg=before)
                moved += 1
        assert moved > 60


IN_KERNEL = (
    "code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    ".requestExecute({code}).done"
)
"""Runs code in the kernel of the notebook."""
SHOWN = "[...document.querySelectorAll('.widget-accordion pre')].at(-1).textContent"
"""The lines of Python under the panel."""


@needs_browser
def test_notebook_08_runs_in_jupyterlab_and_its_panels_follow(lab: Lab) -> None:
    with lab.opened("08_serving", n_problems=12, n_shown=2, simulated=10) as page:
        replay, simulator = page.locator(".its-panel").first, page.locator(".its-panel").nth(1)
        replay.get_by_text("answered after").first.wait_for()
        replay.locator(".noUi-handle").last.press("Home")  # the question was just asked
        replay.get_by_text("no answer yet").first.wait_for()
        replay.locator("select").select_option(index=1)
        replay.get_by_text("answered after").first.wait_for()
        simulator.get_by_text("load 0.", exact=False).first.wait_for()
        before = simulator.locator(".gtitle").text_content()
        simulator.locator(".noUi-handle").first.press("End")  # the most requests a minute
        page.wait_for_function(
            "old => [...document.querySelectorAll('.its-panel .gtitle')]"
            ".some(({textContent}) => textContent.includes('Unstable'))",
            arg=before,
        )


@needs_browser
def test_a_session_of_the_workshop_is_worked_through_in_jupyterlab(lab: Lab) -> None:
    with lab.opened("workshop/session_1", name="ann") as page:
        operated.session_1(page)
    [expected, came] = read(lab.folder / "journal.txt")
    assert (expected.by, expected.value, came.value) == ("ann", 40, 21)


@needs_browser
def test_session_2_runs_in_jupyterlab_and_searches_stories(lab: Lab) -> None:
    with lab.opened("workshop/session_2") as page:
        operated.session_2(page)


@needs_browser
def test_session_3_runs_in_jupyterlab_and_its_service_follows(lab: Lab) -> None:
    with lab.opened("workshop/session_3") as page:
        operated.session_3(page)
    assert "mine:" in (lab.folder / "mine.yaml").read_text()


@needs_browser
def test_notebook_03_runs_in_jupyterlab_and_its_tree_is_read(lab: Lab) -> None:
    with lab.opened("03_tree_search", n_puzzles=3) as page:
        panel = page.locator(".its-panel").first
        panel.locator("[data-node='1'] circle").click()
        panel.locator(".reader mark", has_text=re.compile(r"\S")).first.wait_for()
        panel.get_by_role("button", name="Run", exact=True).click()
        panel.get_by_text("run 2", exact=True).wait_for()
