"""What packages ask of each other, and what stands in for pycosat."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from itslab.workshop.packages import Lack, Package, installed, lacking, wheels
from itslab.workshop.pycosat.pycosat import itersolve

SHOP = {
    "lab": Package("1.2", ("kernel>=2", "colours; sys_platform == 'win32'", "gpu; extra == 'gpu'")),
    "kernel": Package("2.1", ("lab<2", "Wire.Format[fast]==1.*")),
    "wire-format": Package("1.0", ("speed>=3; extra == 'fast'",)),
    "speed": Package("2.9", ()),
}


def lacks(root: str, **environment: str) -> list[str]:
    found = lacking(root, SHOP.get, environment)
    return sorted(f"{one.by}: {one.wanted} ({one.version})" for one in found)


def test_all_that_follows_from_a_requirement_is_looked_at() -> None:
    slow = 'wire-format: speed>=3; extra == "fast" (2.9)'
    assert lacks("lab", sys_platform="linux") == [slow]
    assert lacks("lab[gpu]", sys_platform="linux") == ['lab: gpu; extra == "gpu" (None)', slow]
    assert lacks("kernel>3") == [": kernel>3 (2.1)"]


def test_conditions_are_those_of_the_machine_that_is_asked_about() -> None:
    [missing, _] = lacks("lab", sys_platform="win32")
    assert missing.startswith("lab: colours")


def test_what_is_installed_here_is_complete_and_what_is_not_is_named() -> None:
    assert lacking("itslab[test]", installed) == []
    assert lacking("no-such-thing", installed) == [Lack(Requirement("no-such-thing"), "", None)]


def test_wheels_are_read_as_they_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Some_Thing-1.0.post1-py3-none-any.whl", "w") as wheel:
        header = "Name: Some.Thing\nRequires-Dist: lab\nRequires-Dist: x; extra == 'y'\n\ntext"
        wheel.writestr("Some_Thing-1.0.post1.dist-info/METADATA", header)
        wheel.writestr("some_thing/_vendor/other.dist-info/METADATA", "Name: other")
    assert wheels(tmp_path) == {"some-thing": Package("1.0.post1", ["lab", "x; extra == 'y'"])}


# -- in place of pycosat ---------------------------------------------------------------------------


def test_a_formula_by_hand() -> None:
    """Exactly one of three, and the first excludes the second: the third is left, or the others."""
    one = [(1, 2, 3), (-1, -2), (-1, -3), (-2, -3)]
    assert sorted(itersolve(one)) == [[-1, -2, 3], [-1, 2, -3], [1, -2, -3]]
    assert list(itersolve([*one, (-3,), (1, 3)])) == [[1, -2, -3]]
    assert list(itersolve([(1,), (-1, 2), (-2,)])) == []
    assert list(itersolve([])) == [[]]
    assert list(itersolve([()])) == []


LITERALS = st.integers(1, 5).flatmap(lambda n: st.sampled_from([n, -n]))


@given(st.lists(st.lists(LITERALS, max_size=4).map(tuple), max_size=12))
def test_the_solutions_are_those_of_trying_everything(clauses: list[tuple[int, ...]]) -> None:
    last = max((abs(literal) for clause in clauses for literal in clause), default=0)
    every = itertools.product(*((n, -n) for n in range(1, last + 1)))
    right = [list(s) for s in every if all(set(s) & set(clause) for clause in clauses)]
    assert sorted(itersolve(clauses)) == sorted(right)


@pytest.mark.slow
def test_zebra_puzzles_are_those_of_pycosat(tmp_path: Path) -> None:
    """Both in one order of sets, on which reasoning-gym depends."""
    stand_in = Path(sys.modules[itersolve.__module__].__file__ or "").parent
    program = """
import sys

sys.path.insert(0, sys.argv[1])
import pycosat
from reasoning_gym import create_dataset

puzzles = [*create_dataset("zebra_puzzles", size=3, seed=0)]
print([(one["question"], one["answer"]) for one in puzzles])
print(pycosat.__file__, file=sys.stderr)
"""
    told = []
    for path in (tmp_path, stand_in):
        command = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "0"}
        )
        assert (str(stand_in) in done.stderr) == (path == stand_in)
        told.append(done.stdout)
    assert told[0] == told[1]
