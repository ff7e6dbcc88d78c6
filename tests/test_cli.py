"""The command line: results on standard output, an error of ours in one red line."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
from typer.testing import CliRunner

from itslab import __version__, cli, models, notebooks, quickstart, share
from itslab.backends import Bank
from itslab.cli import app
from itslab.core import (
    Completion,
    Cost,
    ItslabError,
    Message,
    OptionError,
    Problem,
    Request,
    Sampling,
)
from itslab.doctor import diagnose
from itslab.handle import solve
from itslab.strategies import ChainOfThought
from itslab.study.runner import solve_all
from itslab.tasks import Task
from itslab.testing import ScriptedModel

START = str(share.root() / "notebooks" / "00_start_here.ipynb")


def itslab(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "itslab", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "quickstart" in shown


def test_help_names_every_command_and_starts_fast() -> None:
    code, out, _ = itslab("--help")
    assert code == 0
    for command in ("quickstart", "run", "record", "pull", "models", "quantize", "doctor"):
        assert command in out
    loaded = subprocess.run(
        [sys.executable, "-c", "import itslab.cli, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"llama_cpp", "pandas", "plotly", "papermill", "nbconvert"} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pull", "qwen2.5-coder-0.5"), "did you mean qwen2.5-coder-0.5b"),
        (("quantize", "smollm2-135m", "Q9"), "type='Q9' is not valid"),
        (("run", "nowhere.ipynb"), "there is no notebook nowhere.ipynb"),
        (("run", "0"), "notebooks are called 0: name one of 00_start_here"),
        (("run", ""), "there is no notebook"),
        (("lab", "13"), "there is no notebook 13"),
        (("lab", "--folder", "/proc/none"), "cannot be copied to /proc/none"),
        (("ask", "2 + 2?", "--strategy", "best-of"), "unknown strategy 'best-of': did you mean"),
        (("ask", "2 + 2?", "-o", "n"), "option='n' is not valid"),
        (("ask", "2 + 2?", "-o", "m=3"), "SelfConsistency has no 'm'"),
        (("ask", "2 + 2?", "-n", "4", "-o", "n=2"), "given once, not as n=4 as well"),
        (("ask", "2 + 2?", "--strategy", "nope"), "did you mean Router?"),
        (
            ("ask", "2 + 2?", "-n", "100001"),
            "n=100001 is not valid: n must be a whole number in [1, 1",
        ),
        (("ask", "2 + 2?", "--model", "qwen2.5-coder-0.5"), "did you mean qwen2.5-coder-0.5b"),
        (("run", START, "-p", "n_problem=3"), "unknown parameter 'n_problem'"),
        (("run", START, "--runs", "/dev/null"), "name another with --runs"),
        (("run", START, "--runs", "/proc/none"), "name another with --runs"),
        (("bench", "--batch-sizes", "²"), "batch_sizes='²' is not valid"),
        (("bench", "--batch-sizes", "0"), "batch_sizes='0' is not valid"),
        (("bench", "--server", "/nonexistent"), "server='/nonexistent' is not valid"),
        (("bench", "--batched-bench", "/"), "batched_bench='/' is not valid"),
        (("run", START, "-p", "seed=one"), "seed='one' is not valid: seed must be a whole number"),
    ],
)
def test_an_error_of_ours_is_one_line_and_exit_status_1(
    arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = itslab(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("itslab: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_notebook_keeps_no_outputs_of_other_parameters(tmp_path: Path) -> None:
    before = Path(START).read_bytes()
    code, _, err = itslab("run", START, "--keep-outputs", "-p", "seed=1", "--runs", str(tmp_path))
    assert code == 1
    assert "without -p" in err
    assert Path(START).read_bytes() == before
    assert not list(tmp_path.iterdir())  # refused before anything ran


def test_parameters_may_be_written_as_papermill_does() -> None:
    assert cli._paired(["n=3", "mode", "seed"], ["live", "7"]) == ["n=3", "mode=live", "seed=7"]
    assert cli._paired(None, None) == []
    with pytest.raises(OptionError, match="NAME=VALUE"):
        cli._paired(["n=3"], ["4"])


def test_models_lists_the_catalogue_and_tells_what_is_on_disk(
    small_model: models.ModelFile,
) -> None:
    _, out, _ = itslab("models")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(models.CATALOGUE) <= set(lines)
    assert "on disk" in lines[small_model.name]
    assert "98 MB" in lines[small_model.name]


def test_models_lists_nothing_on_disk_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path))
    assert "on disk" not in itslab("models")[1]


def test_pull_prints_where_the_model_is(small_model: models.ModelFile) -> None:
    assert itslab("pull", small_model.name)[1] == f"{small_model.path}\n"


def test_the_version_is_said() -> None:
    assert itslab("--version")[1].strip() == __version__


def test_notebooks_are_listed_and_found_by_short_names(tmp_path: Path) -> None:
    _, out, _ = itslab("notebooks")
    assert "03_tree_search              ¼     90  Search over steps" in out
    listed = {one["name"]: one for one in json.loads(itslab("notebooks", "--json")[1])}
    assert listed["00_start_here"]["parameters"][0] == "model"
    folder = share.root() / "notebooks"
    for name in ("03", "tree_search", "03_tree_search", "03_tree_search.ipynb", "03_tree"):
        assert notebooks.find(name, folder).stem == "03_tree_search"
    own = tmp_path / "03"
    own.write_text("{}")
    assert notebooks.find(own, folder) == own, "a path is a path"


def test_copies_of_the_notebooks_keep_what_was_written_in_them(tmp_path: Path) -> None:
    folder, source = tmp_path / "mine", share.root() / "notebooks"
    count = notebooks.copy(source, folder)
    assert count == len([*source.glob("*.ipynb")]) == len(notebooks.listed(folder))
    (folder / "00_start_here.ipynb").write_text("mine")
    (folder / "04_mcts.ipynb").unlink()
    assert notebooks.copy(source, folder) == 1
    assert (folder / "00_start_here.ipynb").read_text() == "mine"


def test_what_a_script_reads_is_json(small_model: models.ModelFile) -> None:
    known = {one["name"]: one for one in json.loads(itslab("models", "--json")[1])}
    assert known[small_model.name]["on disk"]
    assert {*models.CATALOGUE} <= {*known}


@pytest.mark.slow
def test_doctor_tells_a_script_the_same() -> None:
    code, out, _ = itslab("doctor", "--json")
    assert code == 0
    assert {"python", "cores", "memory"} <= {finding["part"] for finding in json.loads(out)}


@pytest.mark.slow
def test_a_question_is_answered_on_standard_output(small_model: models.ModelFile) -> None:
    asked = ("ask", "Say a number.", "--model", small_model.name, "--strategy", "best-of-n")
    brief = ("-n", "2", "-o", "sampling={max_tokens: 24}")
    code, out, err = itslab(*asked, *brief)
    assert code == 0, err
    assert len(out.splitlines()) == 1, "the answer and nothing else"
    assert "BestOfN(Confidence(), n=2, sampling(max_tokens=24)): 2 samples, " in err
    cut = "unfinished: the answer was read from a chain that was cut short"
    assert err.endswith((" s, done\n", f" s, {cut}\n"))
    code, out, _ = itslab(*asked, *brief, "--budget-tokens", "8", "--json")
    told = json.loads(out)
    assert told["cost"]["decoded"] == 8
    assert told["stopped_by"] == "tokens"


@pytest.mark.slow
def test_doctor_finds_what_the_tests_run_on() -> None:
    code, out, _ = itslab("doctor")
    assert code == 0
    for part in ("python", "cores", "memory", "llama.cpp", "devices", "cache", "models"):
        assert part in out


@pytest.mark.slow
def test_doctor_tells_how_to_mend_a_cache_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = {finding.part: finding for finding in diagnose()}
    assert found["cache"].state == "lacking"
    assert "ITSLAB_HOME" in found["cache"].fix
    assert found["models"].fix == f"itslab pull {models.DEFAULT}"


def test_a_checkout_and_a_wheel_both_find_their_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, wheel = tmp_path / "checkout", tmp_path / "site-packages"
    for folder in (checkout / "notebooks", wheel / "itslab" / "_share" / "notebooks"):
        folder.mkdir(parents=True)
        (folder / "a.ipynb").touch()
    for place, found in ((checkout, checkout), (wheel, wheel / "itslab" / "_share")):
        monkeypatch.setattr(share, "__file__", str(place / "itslab" / "share.py"))
        assert share.shared("notebooks/a.ipynb") == found / "notebooks" / "a.ipynb"
        with pytest.raises(ItslabError, match=r"there is no .*b\.ipynb: .* holds a\.ipynb"):
            share.shared("notebooks/b.ipynb")


def test_what_is_recorded_is_replayed(
    small_model: models.ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "root", lambda: tmp_path)
    brief = ChainOfThought(sampling=Sampling(temperature=0, max_tokens=8))
    recorded = solve("Hello?", brief, share.Recording("record").backend(small_model.name, "x"))
    Bank(tmp_path / "data" / "x.sqlite").pack(tmp_path / "data" / "x.sqlite.xz")
    replayed = solve("Hello?", brief, share.Recording("replay").backend(small_model.name, "x"))
    assert replayed.node
    assert recorded.node
    assert replayed.node.text == recorded.node.text
    assert replayed.cost == recorded.cost
    drawn = share.Recording("record").backend(small_model.name, "y", keep=False)
    assert drawn is share.Recording("live").backend(small_model.name, "y")
    assert not (tmp_path / "data" / "y.sqlite").exists()


def test_a_prompt_that_was_recorded_is_read_without_a_model(
    small_model: models.ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "root", lambda: tmp_path)
    ask, other = (Request((Message("user", text),)) for text in ("Hello?", "Who is there?"))
    recording = share.Recording("record")
    llm = recording.backend(small_model.name, "x")
    assert llm.model is not None  # type: ignore[attr-defined]
    pieces = recording.prompt(llm, ask)
    assert "".join(pieces) == llm.model.render(ask)  # type: ignore[attr-defined]
    assert pieces[0] == "<|im_start|>"
    assert share.Recording("live").prompt(llm, ask) == pieces
    solve("Hello?", ChainOfThought(sampling=Sampling(max_tokens=1)), llm)
    for name in ("x", "prompts"):
        Bank(tmp_path / "data" / f"{name}.sqlite").pack(tmp_path / "data" / f"{name}.sqlite.xz")
    replay = share.Recording("replay")
    banked = replay.backend(small_model.name, "x")
    assert replay.prompt(banked, ask) == pieces
    with pytest.raises(ItslabError, match=r"prompts\.sqlite\.xz lacks this prompt: .*mode=live"):
        replay.prompt(banked, other)


def test_a_recording_goes_on_where_the_packed_one_ended(
    small_model: models.ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "root", lambda: tmp_path)
    brief = ChainOfThought(sampling=Sampling(temperature=0, max_tokens=4))
    task = Task("greetings", (Problem("0", "Hello?", ""), Problem("1", "Who is there?", "")))
    llm = share.Recording("record").backend(small_model.name, "x")
    for count in (1, 2):  # the second time, with nothing but the packed files
        some = replace(task, problems=task.problems[:count])
        kept = share.Recording("record").archive("x")
        solve_all(some, {"brief": brief}, llm, archive=kept, progress=False)
        assert kept is not None
        assert kept.runs == count
        kept.pack(tmp_path / "data" / "x.sqlite.xz")
        kept.close()
        kept.path.unlink()
    kept = share.Recording("replay").archive("x")
    again = solve_all(task, {"brief": brief}, llm, archive=kept, progress=False)["brief"]
    assert all(result.node and result.node.text for result in again)
    assert share.Recording("live").archive("x") is None


def test_quickstart_shows_what_was_recorded_and_draws_nothing() -> None:
    code, out, err = itslab("quickstart", "--replay")
    assert (code, err) == (0, "")
    assert re.search(r"one story, greedy +8 of 60 +13% \[7%, 25%\]", out)
    assert re.search(r"up to 16 tries +53 of 60 +88% \[77%, 94%\]", out)
    assert "+75 [+60, +85] points" in out
    assert "What to try next" in out
    assert "Now here" not in out


@pytest.mark.slow
def test_quickstart_draws_and_prints_a_table_of_its_own(small_model: models.ModelFile) -> None:
    options = ("--model", small_model.name, "--n-problems", "2", "--tries", "3")
    code, out, _ = itslab("quickstart", *options)
    assert code == 0
    here = out.partition("Now here")[2]
    for words in ("story  1: ", "story  2: ", "of 2 ", "up to 2 tries", "up to 3 tries", "points"):
        assert words in here
    assert "What to try next" in here


def test_the_time_that_is_left_at_most_follows_the_pace() -> None:
    paid = Cost(decoded=1_000, calls=10)  # in 20 s: 50 tokens a second, 100 each
    assert quickstart.at_most(5, paid, 20.0) == pytest.approx(10.0)
    assert quickstart.at_most(5, Cost(), 20.0) is None, "nothing is known yet"


def test_what_a_model_says_gives_a_terminal_no_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\x1b]52;c;ZXZpbA==\x07two\nlines\t\x9b2J \\boxed{\x1b[31m6\ud800\x7f}\r\n"

    def cut(request: Request, index: int) -> Completion:
        return Completion(said, finish="length", cost=Cost(decoded=10, calls=1))

    monkeypatch.setattr("itslab.load", lambda name: ScriptedModel(replies=cut), raising=False)
    code, out, err = itslab("ask", "2 + 4?", "-n", "1")
    assert (code, out) == (0, "␛[31m6�␡\n")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", click.unstyle(out + err))
    assert "␛]52;c;ZXZpbA==␇two\nlines\t" in err
    assert "unfinished" in err
    told = itslab("ask", "2 + 4?", "-n", "1", "--json")[1]
    assert json.loads(told)["unfinished"] is True
    assert json.loads(told)["answer"] == "\x1b[31m6\ud800\x7f"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)
    line = io.StringIO()
    monkeypatch.setattr(line, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", line)
    cli._Told().show(said)
    assert line.getvalue().count("\x1b") == 1
