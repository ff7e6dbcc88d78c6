"""Take pictures of every notebook in JupyterLab, light and dark, wide and narrow.

A command, for people who look: ``python tests/screenshots.py FOLDER [NOTEBOOK ...]``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser import Lab, jupyterlab_in_browser, set_theme

from itslab import share

WIDTHS = (1300, 600)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
_HEIGHT = 30_000
"""Of a page, in pixels: JupyterLab draws what is in view."""


def take(lab: Lab, name: str, folder: Path) -> None:
    """Run a notebook, and photograph it."""
    with lab.opened(name) as page:
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": _HEIGHT})
            for look, theme in THEMES.items():
                set_theme(page, theme)
                page.wait_for_timeout(1500)
                page.locator(".jp-Notebook").first.screenshot(
                    path=folder / f"{name}-{width}-{look}.png",
                )


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
