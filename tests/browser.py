"""A real browser, and a real JupyterLab with the notebooks."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from itslab import notebooks, share
from itslab.doctor import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

needs_browser = pytest.mark.skipif(
    BROWSER is None and "CI" not in os.environ, reason="no Chromium: apt install chromium"
)

RUN_ALL = """async () => {
    await window.jupyterapp.shell.currentWidget.sessionContext.ready;
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""


class Lab:
    """A JupyterLab in a browser, where one notebook after the other is opened.

    Args:
        url: of the server.
        folder: that it shows.
        browser: whose pages are tall, for JupyterLab draws only what is in view.
    """

    def __init__(self, url: str, folder: Path, browser: Browser) -> None:
        self.url, self.folder, self.browser = url, folder, browser

    @contextlib.contextmanager
    def running(self, code: str) -> Iterator[Page]:
        """A notebook of one cell, which runs."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, self.folder / "cell.ipynb")
        with page_of(self.browser, height=3000) as page:
            page.goto(f"{self.url}/lab/tree/cell.ipynb?reset")
            page.wait_for_selector(".jp-Notebook")
            page.evaluate(RUN_ALL)
            try:
                yield page
            finally:
                page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")

    @contextlib.contextmanager
    def opened(self, book: str, **parameters: object) -> Iterator[Page]:
        """A committed notebook, after all of its cells have run without any error."""
        source = share.shared(f"notebooks/{book}.ipynb")
        copy = self.folder / source.name  # a copy: JupyterLab saves what it opens
        notebook = nbformat.read(source, as_version=4)
        notebooks.copy(source.parent, self.folder, [notebooks.QUESTIONS])
        [declared] = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        declared.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
        nbformat.write(notebook, copy)
        with page_of(self.browser, height=30_000) as page:
            page.goto(f"{self.url}/lab/tree/{copy.name}?reset")
            page.wait_for_selector(".jp-Notebook")
            page.evaluate(RUN_ALL)  # returns when the last cell has run
            page.get_by_text(": not written yet").last.wait_for()
            failed = page.locator("[data-mime-type$='jupyter.error'], [data-mime-type$='stderr']")
            assert failed.count() == 0
            try:
                yield page
                if shot := os.environ.get("ITSLAB_SCREENSHOT"):
                    page.screenshot(path=shot, full_page=True)
            finally:  # what it still draws would hold up the next one
                page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")


def set_theme(page: Page, theme: str) -> None:
    """Change JupyterLab's theme, such as to ``JupyterLab Dark``."""
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(change, theme)


@contextlib.contextmanager
def jupyterlab_in_browser(folder: Path) -> Iterator[Lab]:
    """One server and one browser, for several notebooks."""
    with jupyterlab(folder) as url, chromium() as browser:
        yield Lab(url, folder, browser)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser: Browser, height: int = 1000) -> Iterator[Page]:
    """A page without the cookies and settings of any other."""
    page = browser.new_page(viewport={"width": 1300, "height": height})
    page.set_default_timeout(120_000)
    yield page
    page.close()


@contextlib.contextmanager
def browser_page(height: int = 1000) -> Iterator[Page]:
    """A page of a browser of its own."""
    with chromium() as browser, page_of(browser, height) as page:
        yield page


@contextlib.contextmanager
def jupyterlab(root: Path) -> Iterator[str]:
    """A JupyterLab of this environment on loopback, without the user's settings and kernels."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, home = f"http://127.0.0.1:{port}", root / ".jupyter"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"]
    folders = {"JUPYTER_CONFIG_DIR": f"{home}/config", "JUPYTER_DATA_DIR": f"{home}/data"}
    log = root / "jupyterlab.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=os.environ | folders, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/api", timeout=5).close()
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")
        yield url
    finally:
        server.terminate()
        server.wait(30)
