"""Take pictures of every notebook in JupyterLab, light and dark, wide and narrow.

A command, for people who look: ``python tests/screenshots.py FOLDER [NOTEBOOK ...]``. A notebook is
photographed in pieces, for few programs open a picture that is 30,000 pixels tall.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from browser import Lab, jupyterlab_in_browser, set_theme

from itslab import share

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

WIDTHS = (1300, 600)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
_HEIGHT = 30_000
"""Of a page, in pixels: JupyterLab draws what is in view."""
_PIECE = 1_600
"""Of a picture, in pixels."""


def take(lab: Lab, name: str, folder: Path) -> None:
    """Run a notebook, and photograph it."""
    with lab.opened(name) as page:
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": _HEIGHT})
            for look, theme in THEMES.items():
                set_theme(page, theme)
                page.wait_for_timeout(1500)
                for number, clip in enumerate(pieces(page)):
                    path = folder / f"{name}-{look}-{width}-{number:02}.png"
                    page.screenshot(path=path, clip=clip)


def pieces(page: Page, height: float = _PIECE) -> Iterator[FloatRect]:
    """Where a notebook's pieces are on its page, from its top to the end of its last cell."""
    whole = page.locator(".jp-Notebook").first.bounding_box()
    last = page.locator(".jp-Notebook .jp-Cell").last.bounding_box()
    assert whole is not None
    assert last is not None
    end = min(last["y"] + last["height"], whole["y"] + whole["height"])
    for top in np.arange(whole["y"], end, height):
        yield {**whole, "y": float(top), "height": min(height, end - top)}


def main() -> None:
    folder, *names = sys.argv[1:]
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = names or sorted(path.stem for path in (share.root() / "notebooks").glob("0*.ipynb"))
    with (
        tempfile.TemporaryDirectory() as root,
        jupyterlab_in_browser(Path(root)) as lab,
    ):
        for name in names:
            take(lab, name, target)
            print(name, flush=True)


if __name__ == "__main__":
    main()
