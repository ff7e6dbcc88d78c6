"""Make the moving picture of README: a tree that grows, from a recorded search.

A command, for whoever changed how trees look:

    python tests/moving_picture.py notebooks/tree.gif

The search is the one that notebook 03 shows: of the first word problem that beam search solves. The
page is driven by its slider of time only, and its picture photographed below a heading of ours.
"""

from __future__ import annotations

import html
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from browser import chromium
from PIL import Image

import itslab as its
from itslab import share, tasks, viz
from itslab.study.runner import solve_all

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODEL = "qwen2.5-coder-0.5b"
WIDTH = 800
"""Of the picture, in pixels."""
_NARROW = 640
"""Of the page, in its own pixels: so letters are a quarter larger in the picture."""
_COLOURS = 128
_FRAME, _LAST = 450, 5000
"""Milliseconds that a frame stands, and the last one."""
_SETTLED = 350
"""Milliseconds after which nodes have glided to their places."""
_GO = """(input, time) => {
    input.value = time;
    input.dispatchEvent(new Event('input', { bubbles: true }));
}"""
_STYLE = """
body { margin: 0; background: white; }
header { font: 15px/1.4 Helvetica, Arial, sans-serif; color: #1b1b1b; padding: 12px 14px 8px;
  margin-bottom: 8px; }
header small { display: block; font-size: 13px; color: #555; }
header b { display: block; margin-top: 4px; color: #a84a00; }
"""


class Moment(NamedTuple):
    """What is said at a time of a search, in seconds."""

    time: float
    said: str


def recorded() -> tuple[str, viz.TreeView, list[Moment]]:
    """A heading, the view of a search, and the moments at which something happens in it."""
    problems = tasks.load("gsm_symbolic", n=40, seed=0, difficulty=1.0)
    recording = share.Recording("replay")
    llm = recording.backend(MODEL, bank="gsm_symbolic", keep=False)
    step = replace(its.PARAGRAPH, signals=False)
    search = its.BeamSearch(its.Confidence(), width=2, expand=2, depth=16, sampling=step)
    results = solve_all(
        problems,
        {"search": search},
        llm,
        budget=its.Budget(tokens=1600),
        archive=recording.archive("tree_search"),
    )["search"]
    asked, result = next(
        (problem, result)
        for problem, result in zip(problems, results, strict=True)
        if problems.grade(problem, result.answer)
    )
    view = viz.TreeView(result, extract=problems.extract, gold=asked.answer)
    about = "The darker a step, the surer the model was of it. A recorded run, replayed."
    return f"<small>{html.escape(about)}</small><b></b>", view, moments(view)


def moments(view: viz.TreeView) -> list[Moment]:
    """The tokens that were spent and the best answer, at each time of a row of the view's feed."""
    told: dict[float, str] = {}
    answers: dict[int, str] = {}
    tokens, best = 0, None
    for time, kind, node, *rest in view.feed.rows:
        data = rest[0] if rest else {}
        tokens += data.get("cost", [0, 0, 0])[2]
        answers |= {node: data["answer"]} if "answer" in data else {}
        best = node if kind == "best" else best
        answer = answers.get(-1 if best is None else best)
        mark = "\N{CHECK MARK}" if answer == view.feed.gold else "\N{BALLOT X}"
        so_far = "no answer yet" if answer is None else f"best answer so far: {answer} {mark}"
        told[time] = f"{tokens:,} tokens, {so_far}"
    return [Moment(*pair) for pair in told.items()]


def photograph(heading: str, view: viz.TreeView, when: list[Moment]) -> list[Image.Image]:
    """The frames, each with the heading above the tree."""
    page_text = f'<meta charset="utf-8"><style>{_STYLE}</style><header>{heading}</header>'
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder, "tree.html")
        file.write_text(page_text + view.html(), encoding="utf-8")
        size = {"width": _NARROW, "height": 1000}
        page = browser.new_page(viewport=size, device_scale_factor=2)
        page.goto(file.as_uri())
        page.wait_for_selector(".picture [data-node]")
        frames = [_frame(page, *moment) for moment in when]
        browser.close()
    return frames


def _frame(page: Page, time: float, said: str) -> Image.Image:
    page.locator("header b").evaluate("(line, said) => { line.textContent = said; }", said)
    page.locator("input[type=range]").first.evaluate(_GO, time)
    page.wait_for_timeout(_SETTLED)
    above, below = (_shot(page, selector) for selector in ("header", ".picture"))
    both = Image.new("RGB", (WIDTH, above.height + below.height), "white")
    both.paste(above, (0, 0))
    both.paste(below, (0, above.height))
    return both


def _shot(page: Page, selector: str) -> Image.Image:
    picture = Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    return picture.resize((WIDTH, height), Image.Resampling.LANCZOS)


def write(frames: list[Image.Image], path: Path) -> None:
    """Keep the frames that differ, in colours of their own, as one picture without an end."""
    kept = [
        frame
        for i, frame in enumerate(frames)
        if i == 0 or frame.tobytes() != frames[i - 1].tobytes()
    ]
    palette = kept[-1].quantize(_COLOURS, Image.Quantize.MAXCOVERAGE)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in kept]
    waits = [_FRAME] * (len(drawn) - 1) + [_LAST]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=waits, loop=0)
    print(f"{path}: {len(drawn)} frames, {path.stat().st_size / 1e3:,.0f} kB")


def main() -> None:
    [path] = map(Path, sys.argv[1:])
    write(photograph(*recorded()), path)


if __name__ == "__main__":
    main()
