"""Put pictures into the notebooks, for pages that run no scripts, such as a repository's own.

A command, for whoever changed a figure or the look of trees:

    python tests/still_pictures.py [03_tree_search ...]

Cells tagged ``keep_picture`` keep a picture of their figure or tree in place of it, until they are
run. Figures of README are written beside the notebooks as well.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from browser import browser_page
from PIL import Image
from plotly.offline import get_plotlyjs

from itslab import notebooks, share
from itslab.page import PLOTLY

if TYPE_CHECKING:
    from playwright.sync_api import Page

TAG = "keep_picture"
README = {"00_start_here": 0, "07_scaling_study": -1}
"""Notebooks of whose pictures README shows one, and which."""
_WIDTH = 960
"""Of a picture, in pixels of the page; it has half as many again of its own."""
_SCALE, _COLOURS = 1.5, 256
_DRAW = """figure => {
    document.body.innerHTML = '<div class="shot"></div>';
    const layout = { ...figure.layout, width: document.body.clientWidth };
    return Plotly.newPlot(document.querySelector('.shot'), figure.data, layout,
        { staticPlot: true });
}"""


def picture(page: Page, data: dict[str, Any]) -> bytes | None:
    """A PNG of what a cell shows; None if that is no figure and no tree."""
    if PLOTLY in data:
        page.set_content("<body style='margin:0'></body>")
        page.add_script_tag(content=get_plotlyjs())
        page.evaluate(_DRAW, data[PLOTLY])
        return small(page.locator(".shot .svg-container").screenshot())
    if "data-tree" in data.get("text/html", ""):
        page.set_content(f"<body style='margin:0'>{data['text/html']}</body>")
        page.wait_for_selector(".its-tree .picture [data-node]")
        page.wait_for_timeout(1000)  # nodes glide to their places
        return small(page.locator(".its-tree").first.screenshot())
    return None


def small(png: bytes) -> bytes:
    """The same picture in few colours."""
    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()


def keep(source: Path, executed: Path, page: Page) -> list[bytes]:
    """Put the pictures of a notebook that ran into its source; return them in their order."""
    notebook = nbformat.read(source, as_version=4)
    ran = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells}
    made = []
    for cell in notebook.cells:
        if TAG not in cell.metadata.get("tags", []):
            continue
        cell.outputs, cell.execution_count = [], ran[cell.id].execution_count
        for output in ran[cell.id].outputs:
            png = picture(page, output.get("data", {}))
            if png is not None:
                made.append(png)
                written = {"image/png": base64.b64encode(png).decode(), "text/plain": "a picture"}
                output = nbformat.v4.new_output("display_data", written)
            cell.outputs.append(output)
        assert any("image/png" in each.get("data", {}) for each in cell.outputs), cell.id
    nbformat.write(notebook, source)
    return made


def main() -> None:
    folder = share.root() / "notebooks"
    names = sys.argv[1:] or sorted(path.stem for path in folder.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as runs, browser_page() as page:
        context = page.context.browser.new_context(  # type: ignore[union-attr]
            viewport={"width": _WIDTH, "height": 800}, device_scale_factor=_SCALE
        )
        for name in names:
            source = notebooks.find(name, folder)
            executed = notebooks.execute(source, {}, Path(runs))
            made = keep(source, executed, context.new_page())
            if source.stem in README:
                source.with_suffix(".png").write_bytes(made[README[source.stem]])
            sizes = ", ".join(f"{len(png) / 1e3:.0f} kB" for png in made)
            print(f"{source.stem}: {sizes or 'no pictures'}", flush=True)


if __name__ == "__main__":
    main()
