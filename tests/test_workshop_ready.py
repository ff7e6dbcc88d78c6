"""Whether a machine is ready: each part as it is here, and as it is where something is lacking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from itslab.doctor import Finding
from itslab.workshop import ready


def test_a_finding_is_a_line_and_a_fix_stands_below() -> None:
    lacking = Finding("lacking", "x", "no x", "get x")
    shown = ready.text([Finding("OK", "kernel", "starts"), lacking])
    assert shown.splitlines() == [
        "OK       kernel       starts",
        "lacking  x            no x",
        "                      -> get x",
    ]


def test_a_folder_must_be_there_and_be_written(tmp_path: Path) -> None:
    assert ready._folder(tmp_path).state == "OK"
    assert list(tmp_path.iterdir()) == []
    for folder in (tmp_path / "none", Path("/proc")):
        found = ready._folder(folder)
        assert (found.state, found.fix) == ("lacking", "go to a folder of your own")
        assert str(folder) in found.found


def test_a_browser_is_found_but_not_in_a_terminal_and_never_opened(tmp_path: Path) -> None:
    program = "from itslab.workshop.ready import _browser; print(*_browser()[:3])"
    for name, state in (("firefox", "OK browser"), ("w3m", "optional browser")):
        browser = tmp_path / name
        browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/opened\n")
        browser.chmod(0o755)
        environment = {**os.environ, "BROWSER": str(browser)}
        command = [sys.executable, "-c", program]
        said = subprocess.check_output(command, env=environment, text=True)
        assert said.startswith(state)
        assert name in said
    assert not (tmp_path / "opened").exists()


def test_packages_of_other_versions_are_named_with_what_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An older plotly is found first on the path."""
    old = tmp_path / "plotly-6.0.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: plotly\nVersion: 6.0.0\n")
    assert ready._packages().state == "OK"
    monkeypatch.syspath_prepend(tmp_path)
    found = ready._packages()
    assert found.state == "lacking"
    assert found.found == "itslab asked for plotly<8,>=7, 6.0.0 is here"
    assert found.fix == "pip install 'plotly<8,>=7'"


def notebook(folder: Path, *cells: str) -> Path:
    path = folder / "tried.ipynb"
    parameters = nbformat.v4.new_code_cell("mode: str = 'live'", metadata={"tags": ["parameters"]})
    code = [parameters, *map(nbformat.v4.new_code_cell, cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), path)
    return path


@pytest.mark.slow
def test_everything_is_looked_at_and_notebooks_run_in_replay_with_their_memory(
    tmp_path: Path,
) -> None:
    hungry = notebook(tmp_path, "assert mode == 'replay'; held = b'1' * 3 * 10**8", "len(held)")
    said: list[str] = []
    found = ready.check([hungry], tmp_path, said.append)
    parts = ["python", "memory", "folder", "browser", "packages", "loopback", "llama.cpp", "cache"]
    assert [one.part for one in found] == [*parts, "models", "kernel", "tried"]
    assert [one for one in found if one.state == "lacking"] == []
    seconds, memory = found[-1].found.split(", ")
    assert int(seconds.removesuffix(" s")) < 60
    assert 300 < int(memory.removesuffix(" MB at most").replace(",", "")) < 900
    assert said[1:] == ["starting a kernel", "running tried in replay"]
    assert list(tmp_path.iterdir()) == [hungry]


@pytest.mark.slow
def test_a_notebook_that_writes_beside_itself_leaves_nothing_where_it_came_from(
    tmp_path: Path,
) -> None:
    (tmp_path / "ten_questions.txt").write_text("{}")
    write = "open('mine.yaml', 'w').write(open('ten_questions.txt').read())"
    path = notebook(tmp_path, write)
    assert ready._notebook(path, lambda _: None).state == "OK"
    assert {one.name for one in tmp_path.iterdir()} == {path.name, "ten_questions.txt"}


@pytest.mark.slow
def test_a_notebook_that_fails_is_lacking_and_its_page_is_kept(tmp_path: Path) -> None:
    path = notebook(tmp_path, "1 / 0")
    found = ready._notebook(path, lambda _: None)
    assert found.state == "lacking"
    assert "failed with ZeroDivisionError" in found.found
    page = Path(found.found.rpartition("its page ")[2])
    assert page.is_file()
    assert f"itslab run {path}" in found.fix


@pytest.mark.slow
def test_a_kernel_of_another_environment_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody's who once installed one for the user."""
    assert ready._kernel().state == "OK"
    other, told = tmp_path / "python", tmp_path / "kernels" / "python3" / "kernel.json"
    other.symlink_to(sys.executable)
    told.parent.mkdir(parents=True)
    command = [str(other), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    path = os.pathsep.join(sys.path)
    spec = {"argv": command, "display_name": "other", "env": {"PYTHONPATH": path}}
    told.write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    found = ready._kernel()
    assert found.state == "lacking"
    assert found.found.startswith(f"python3 is that of {other}")
