"""Who may import whom, what importing costs, and that the files for pip and conda agree."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BASE = {"core", "answers", "background", "options"}
MAY_IMPORT = {
    "background": set(),
    "options": set(),
    "cutoff": {"options"},
    "core": {"cutoff", "options"},
    "answers": {"core", "options"},
    "models": {"core", "options"},
    "ledger": {"core", "options"},
    "spec": {"core", "options"},
    "syntax": set(),
    "printable": set(),
    "code": {"answers", "syntax"},
    "testing": {"core"},
    "parameters": {"core"},
    "plugins": {"core"},
    "run": {"ledger", *BASE},
    "attended": {"core"},
    "handle": {"attended", "run", *BASE},
    "backends": {"core", "models", "options"},
    "strategies": {"code", "plugins", "run", *BASE},
    "sandbox": {"core", "options", "syntax"},
    "verifiers": {"sandbox", "syntax", *BASE},
    "tasks": {"code", "models", "plugins", "sandbox", "syntax", "verifiers", *BASE},
    "study": {"run", "sandbox", "strategies", "handle", "spec", "tasks", "verifiers", *BASE},
    "serving": {"backends", "handle", "run", "spec", "strategies", "study", "verifiers", *BASE},
    "viz": {
        "attended",
        "code",
        "handle",
        "printable",
        "run",
        "sandbox",
        "serving",
        "strategies",
        "study",
        "tasks",
        "verifiers",
        *BASE,
    },
}
ANYTHING = {"bench", "cli", "conductor", "doctor", "ipython", "notebooks", "page"}
ANYTHING |= {"quickstart", "report", "serve", "share", "teach", "workshop", "__init__", "__main__"}


def modules() -> list[Path]:
    return sorted((ROOT / "itslab").rglob("*.py"))


def part(path: Path) -> str:
    inside = path.relative_to(ROOT / "itslab")
    return inside.parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of the package that a module imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "itslab":
            names += [f"itslab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return {name.split(".")[1] for name in names if name.startswith("itslab.")}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_in_one_direction(path: Path) -> None:
    here = part(path)
    if here not in ANYTHING:
        assert imported(path) - {here} <= MAY_IMPORT[here]


def test_serving_takes_the_scheduler_alone_from_the_backends() -> None:
    taken = [from_backends(path) for path in modules() if part(path) == "serving"]
    assert set().union(*taken) <= {"itslab.backends.scheduler"}


def from_backends(path: Path) -> set[str]:
    """The modules of the backends that a module imports from."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name.startswith("itslab.backends")}


def test_importing_the_package_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import itslab; itslab.Sampling;"
        "print(time.perf_counter() - began);"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds = min(float(run.stdout.splitlines()[0]) for run in runs)
    assert seconds < 0.3
    loaded = set(runs[0].stdout.splitlines()[1].split())
    assert not loaded & {"llama_cpp", "pandas", "plotly", "sympy", "openai", "numpy", "IPython"}


def test_every_public_name_exists() -> None:
    import itslab

    assert [name for name in itslab.__all__ if not hasattr(itslab, name)] == []
    assert set(itslab.__all__) <= set(dir(itslab))


def test_conda_and_pip_ask_for_the_same_packages() -> None:
    """The names and bounds of environment.yml are those of pyproject.toml, llama.cpp included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    llama = project["optional-dependencies"]["llama"]
    wanted = [*project["dependencies"], *llama, f"python{project['requires-python']}", "pip"]
    [by_pip] = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    named = [entry for entry in conda if isinstance(entry, str)]
    assert sorted(map(_plain, wanted)) == sorted(map(_plain, named + by_pip))


def _plain(requirement: str) -> str:
    return re.sub(r"\s", "", requirement)
