"""What a participant does in the sessions of the workshop, wherever these are open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def session_1(page: Page) -> None:
    """Write down what one expects, look, and vote with other samples."""
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length == 2")
    assert page.get_by_text("or look all the same").count() > 3  # nothing is given away
    asked = page.locator(".its-panel", has_text="does one chain get right?")
    asked.get_by_placeholder("0 to 100").fill("40")
    asked.get_by_role("button", name="write it down").click()
    asked.get_by_text("you wrote 40: go on").wait_for()
    cell = page.locator(".jp-CodeCell", has_text='session.came("one chain"')
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    cell.get_by_text("You expected 40.").wait_for()
    votes = page.locator(".its-panel", has=page.get_by_role("button", name="Run"))
    votes.locator(".noUi-handle").first.press("Home")  # the fewest samples
    votes.get_by_role("button", name="Run").click()
    votes.get_by_text(re.compile("^done: ")).wait_for()
    votes.locator("svg", has_text=re.compile(r"\b1 sample\b")).wait_for()


def session_2(page: Page) -> None:
    """Read a step of a tree, and search a story."""
    tree = page.locator(".its-tree").first
    tree.locator("[data-node='1'] circle").click()
    tree.locator(".reader mark", has_text=re.compile(r"\S")).first.wait_for()
    panel = page.locator(".its-panel", has=page.get_by_role("button", name="Run", exact=True))
    panel.locator("[data-node='1'] circle").wait_for()
    panel.get_by_role("button", name="Run", exact=True).click()
    panel.get_by_text("run 2", exact=True).wait_for()


def session_3(page: Page) -> None:
    """Look at how a tier answered, and ask a service for more than it can bear."""
    replay = page.locator(".its-panel", has_text="balanced").first
    replay.get_by_text("answered after").first.wait_for()
    replay.locator(".noUi-handle").last.press("Home")  # the question was just asked
    replay.get_by_text("no answer yet").first.wait_for()
    simulator = page.locator(".its-panel", has_text="requests/min")
    simulator.get_by_text("load 0.", exact=False).first.wait_for()
    simulator.locator(".noUi-handle").first.press("End")  # the most requests a minute
    simulator.locator(".gtitle", has_text="Unstable").first.wait_for()
