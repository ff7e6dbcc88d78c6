"""Where llama.cpp is not installed, everything works but drawing from a local model."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from itslab.core import extra

WITHOUT = """
import sys


class Hiding:
    asked = []

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "llama_cpp":
            return self.finder.find_spec(name, path, target)
        self.asked.append(name)


sys.meta_path[:] = [*map(Hiding, sys.meta_path)]
"""


def run(program: str, *arguments: object) -> str:
    """What a program prints in an environment without llama.cpp."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_strategies_run_are_recorded_and_replayed_and_llama_cpp_is_never_imported(
    tmp_path: Path,
) -> None:
    program = """
import itslab as its
from itslab.testing import ScriptedModel


class Script(ScriptedModel):
    def draw(self, request, index):
        text = f"First, 2 + {index} = {2 + index}.\\n\\nThe answer is {index % 2}."
        cost = its.Cost(prefilled=3, decoded=3, calls=1)
        ends = (5, 10, len(text))
        return its.Completion(text, (1, 2, 3), (-0.5,) * 3, ends, cost=cost, index=index)


judge = its.Confidence()
strategies = [
    its.Direct(),
    its.ChainOfThought(),
    its.SelfConsistency(n=3),
    its.BestOfN(its.Arithmetic(), n=3),
    its.BeamSearch(judge, width=2, expand=2, depth=2),
    its.DVTS(judge, width=2, expand=2, depth=2),
    its.ParticleFilter(its.Arithmetic()),
    its.MCTS(judge, iterations=3),
    its.CheckedRefine(its.Arithmetic()),
]
with its.Bank(sys.argv[1]) as bank:
    for strategy in strategies:
        drawn = its.solve("2 + 2?", strategy, bank.record(Script()))
        again = its.solve("2 + 2?", strategy, bank.replay())
        assert (drawn.answer, drawn.cost.decoded) == (again.answer, again.cost.decoded)
        print(drawn.answer)
assert its.Llama.__name__ == "Llama" and its.RewardModel.__name__ == "RewardModel"
assert Hiding.asked == [], Hiding.asked
assert "llama_cpp" not in sys.modules
"""
    assert len(run(program, tmp_path / "bank.sqlite").split()) == 9


def test_loading_a_model_names_the_fix_before_anything_is_pulled(tmp_path: Path) -> None:
    program = """
import os

os.environ["ITSLAB_HOME"] = sys.argv[1]
import itslab as its

for load in (
    lambda: its.load("smollm2-135m"),
    lambda: its.Llama("some.gguf"),
    lambda: its.quantize("smollm2-135m", "Q8_0"),
):
    try:
        load()
    except its.ItslabError as error:
        print(error)
"""
    lines = run(program, tmp_path).splitlines()
    assert len(lines) == 3
    assert all("llama.cpp" in line and extra("llama") in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_quickstart_shows_what_was_recorded_and_says_how_to_go_on(tmp_path: Path) -> None:
    program = """
import os

os.environ["ITSLAB_HOME"] = sys.argv.pop()
sys.argv[1:] = ["quickstart"]
from itslab.cli import app

app()
"""
    shown = run(program, tmp_path)
    assert "53 of 60" in shown
    assert f"{extra('llama')}\n  itslab quickstart" in shown
    assert "Now here" not in shown
    assert not list(tmp_path.rglob("*.gguf"))


@pytest.mark.slow
def test_the_doctor_says_what_is_missing_and_goes_on() -> None:
    program = """
from itslab.doctor import diagnose

for finding in diagnose():
    print(finding.state, finding.part, finding.found, finding.fix, sep=" | ")
"""
    lines = run(program).splitlines()
    [line] = [line for line in lines if " | llama.cpp | " in line]
    assert line.startswith("lacking")
    assert "No module named 'llama_cpp'" in line
    assert extra("llama") in line
    assert any(" | models | " in other for other in lines)


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="the extra is not installed")
def test_the_line_that_installs_an_extra_asks_no_index_for_itslab() -> None:
    command = [*shlex.split(extra("llama")), "--dry-run", "--no-index", "--no-build-isolation"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Requirement already satisfied: llama-cpp-python" in done.stdout
