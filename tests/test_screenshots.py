"""Pictures for people who look: pieces that can be opened, and figures that fit narrow windows."""

from __future__ import annotations

import json

import pandas as pd
from browser import browser_page, needs_browser
from plotly.offline import get_plotlyjs
from screenshots import pieces

from itslab import viz
from itslab.viz.figures import Bar, picture

NARROW = 480


@needs_browser
def test_a_notebook_is_photographed_in_pieces_to_the_end_of_its_last_cell() -> None:
    cells = "".join(f"<div class='jp-Cell' style='height: {tall}px'></div>" for tall in (3000, 900))
    with browser_page(height=9000) as page:
        page.set_content(f"<body style='margin: 0'><div class='jp-Notebook'>{cells}</div></body>")
        clips = [*pieces(page)]
    assert [(clip["y"], clip["height"]) for clip in clips] == [(0, 1600), (1600, 1600), (3200, 700)]


@needs_browser
def test_curves_and_votes_fit_a_narrow_window_with_all_their_words() -> None:
    names = [f"a method with a name, {i}" for i in range(7)]
    rows = [(name, n, 100 * n, 0.5, 0.4, 0.6) for name in names for n in (1, 2)]
    columns = ["method", "samples", "tokens", "accuracy", "low", "high"]
    title = "qwen2.5-coder-0.5b, 40 problems of gsm_symbolic, bands: 95 % intervals"
    figure = json.loads(viz.accuracy_against(pd.DataFrame(rows, columns=columns), title).to_json())
    draw = "f => Plotly.newPlot('plot', f.data, {...f.layout, width: document.body.clientWidth})"
    votes = picture([Bar("17", 8, "#0072b2")], "16 samples")
    with browser_page() as page:
        page.set_viewport_size({"width": NARROW, "height": 900})
        page.set_content(f"<body style='margin: 0'><div id='plot'></div>{votes}</body>")
        page.add_script_tag(content=get_plotlyjs())
        page.evaluate(draw, figure)
        below = page.locator(".legend").bounding_box()
        axis = page.locator(".xtitle").bounding_box()
        assert below is not None
        assert axis is not None
        assert below["y"] >= axis["y"] + axis["height"], "below the name of the axis"
        for part in (".legend", ".gtitle", ".xtitle", "svg.its-view"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["x"] >= 0, part
            assert box["x"] + box["width"] <= NARROW, part
        assert page.locator(".legendtext").all_text_contents() == names
