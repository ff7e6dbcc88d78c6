"""Tasks and strategies of other packages are found by name once their package is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from itslab import plugins, strategies, tasks
from itslab.core import ItslabError, OptionError, TaskError
from itslab.study.runner import solve_all
from itslab.testing import ScriptedModel

CODE = """
from dataclasses import dataclass

from itslab.core import Problem
from itslab.options import Count, Options
from itslab.tasks import Task


def twice(n, seed, by=2):
    ask = "What is {} times {}?".format
    rows = [Problem(f"twice/{i}", ask(by, i), str(by * i)) for i in range(n)]
    return Task("twice", tuple(rows))


@dataclass(frozen=True)
class Again(Options):
    times: Count = 2

    def __call__(self, run, prompt):
        return run.extend(run.reply(None, prompt), n=self.times)[-1]


def rows(n, seed):
    return []


def one(n):
    return []


def loose(n, seed, **more):
    return twice(n, seed, **more)


nothing = 7
"""
REGISTERED = """
[itslab.tasks]
twice = more_methods:twice
broken = more_methods:absent
rows = more_methods:rows
constant = more_methods:nothing
gsm8k = more_methods:twice
one = more_methods:one
loose = more_methods:loose
leaves = leaving:all

[itslab.strategies]
Again = more_methods:Again
constant = more_methods:nothing
"""


def install(folder: Path, package: str, registered: str, code: str = "") -> None:
    """Put a package where ``pip install`` would, with its metadata."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    name = package.replace("_", "-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(registered)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path, "more_methods", REGISTERED, CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_what_is_installed_later_is_found_and_read_once(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    read = plugins._read.cache_info
    before = read().misses
    for _ in range(3):
        assert "Again" not in plugins.names("itslab.strategies")
    assert read().misses <= before + 1
    install(tmp_path, "more_methods", REGISTERED, CODE)
    assert "Again" in plugins.names("itslab.strategies")


@pytest.mark.usefixtures("installed")
def test_a_task_and_a_strategy_of_another_package_are_used_by_name() -> None:
    task = tasks.load("twice", n=3, by=5)
    assert [problem.answer for problem in task] == ["0", "5", "10"]
    again = strategies.find("Again")
    assert repr(again(times=3)) == "Again(times=3)"
    model = ScriptedModel(replies=["0", "1", "1", "5", "9", "10"])
    results = solve_all(task, {"again": again()}, model)["again"]
    assert [result.answer for result in results] == ["1", "5", "10"]


@pytest.mark.usefixtures("installed")
def test_names_of_the_package_itself_stay_its_own() -> None:
    assert strategies.find("BeamSearch") is strategies.BeamSearch
    with pytest.raises(OptionError, match="split='third' is not valid"):
        tasks.load("gsm8k", split="third")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twise", r"unknown task 'twise': did you mean 'twice'"),
        ("broken", r"'broken' of the package more-methods cannot be imported.*absent"),
        ("rows", r"the loader of 'rows' returned list, not a Task"),
        ("constant", r"the loader of 'constant' is int, not a function"),
    ],
)
def test_what_is_no_task_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ItslabError, match=message) as error:
        tasks.load(name, n=1)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Agan", r"unknown strategy 'Agan': did you mean Again"),
        ("PARAGRAPH", r"unknown strategy 'PARAGRAPH'"),
        ("constant", r"the strategy 'constant' is int, not a class"),
        ("", r"name='' is not valid"),
    ],
)
def test_what_is_no_strategy_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        strategies.find(name)


def test_two_packages_of_one_name_are_refused(installed: Path) -> None:
    install(installed, "other_methods", "[itslab.tasks]\ntwice = other_methods:twice\n")
    with pytest.raises(ItslabError, match="more-methods and other-methods both register 'twice'"):
        tasks.load("twice", n=1)


def test_an_option_that_the_loader_lacks_is_refused(installed: Path) -> None:
    with pytest.raises(OptionError, match="option='to' is not valid: option must be by"):
        tasks.load("twice", n=1, to=5)


def test_a_package_that_leaves_while_it_is_imported_is_an_error(installed: Path) -> None:
    (installed / "leaving.py").write_text("raise SystemExit")
    with pytest.raises(ItslabError, match="SystemExit"):
        tasks.load("leaves", n=1)


def test_a_loader_is_called_with_n_and_seed_and_its_own_options(installed: Path) -> None:
    with pytest.raises(TaskError, match=r"load\(n, seed\)"):
        tasks.load("one", n=1)
    assert tasks.load("loose", n=1, by=3).problems[0].prompt == "What is 3 times 0?"
