"""Python in a browser has no threads and no processes: recorded samples are replayed all the same.

What is hidden here is what Pyodide 0.27 and 314 were seen to lack.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from itslab import background
from itslab.core import OptionError
from itslab.handle import start
from itslab.share import shared
from itslab.strategies import Direct
from itslab.testing import ScriptedModel

BROWSER = """
import _thread, importlib.util, os, signal, subprocess, sys, threading

ABSENT = {"fcntl", "grp", "pwd", "resource", "termios"}  # of Python's own
ABSENT |= {"llama_cpp", "psutil", "pycosat", "ipykernel", "tornado", "zmq"}  # compiled


class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ABSENT:
            return self.finder.find_spec(name, path, target)


def refuse(error):
    def call(*args, **kwargs):
        raise error

    return call


for name in ABSENT & set(sys.modules):
    del sys.modules[name]
sys.meta_path[:] = [*map(Hiding, sys.meta_path)]
for module in (_thread, threading):
    for name in ("start_new_thread", "start_joinable_thread"):
        for each in (name, "_" + name):
            if hasattr(module, each):
                setattr(module, each, refuse(RuntimeError("can't start new thread")))
subprocess.Popen.__init__ = refuse(OSError(138, "emscripten does not support processes."))
os.fork = refuse(OSError(52, "Function not implemented"))
for module, name in [(os, "link"), (os, "sched_getaffinity"), (signal, "pthread_kill")]:
    if hasattr(module, name):
        delattr(module, name)
"""
CELLS = """
import json

names = {"__name__": "__main__"}
for source in json.loads(sys.stdin.read()):
    exec(compile(source, "cell", "exec"), names)
"""
PRESSED = """
panel = names["panel"]
panel.n.value = 4
panel.run_button.click()
chains = panel.result.cost.calls
print(panel.state, chains, "chains", threading.active_count(), "thread")
"""


def test_a_notebook_is_replayed_to_its_end_and_its_panel_runs() -> None:
    notebook = json.loads(shared("notebooks/00_start_here.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    printed = ["".join(output["text"]) for output in outputs if output["output_type"] == "stream"]
    shown = run(BROWSER + CELLS + PRESSED, ["".join(cell["source"]) for cell in cells])
    assert printed
    assert all(text in shown for text in printed)
    assert shown.splitlines()[-1] == "done 4 chains 1 thread"


@pytest.mark.parametrize("name", ["session_1", "session_2", "session_3"])
def test_the_workshop_is_replayed_to_its_end(name: str) -> None:
    source = shared(f"notebooks/workshop/{name}.ipynb")
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    run(BROWSER + CELLS, ["".join(cell["source"]) for cell in cells], source.parent)


def run(program: str, cells: list[str], folder: Path = Path(__file__).parent) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_takes_a_compiled_solver_says_so() -> None:
    program = """
from itslab import tasks

assert len(tasks.load("countdown", 2)) == 2
try:
    tasks.load("reasoning_gym/zebra_puzzles", 2)
except tasks.TaskError as error:
    print(error)
"""
    assert "pip install pycosat" in run(BROWSER + program, [])


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "threads", lambda: False)


@pytest.mark.usefixtures("alone")
def test_a_run_is_at_its_end_when_it_has_begun_and_tells_its_errors_when_asked() -> None:
    run = start("2 + 2?", Direct(), ScriptedModel(replies=["4"]))
    assert run.state == "done"
    failing = start("2 + 2?", lambda run, prompt: 1 / 0, ScriptedModel())
    assert failing.state == "failed"
    with pytest.raises(ZeroDivisionError):
        failing.result()


@pytest.mark.usefixtures("alone")
def test_a_run_that_would_wait_for_its_caller_for_ever_is_refused() -> None:
    with pytest.raises(OptionError, match="Python has no threads"):
        start("2 + 2?", Direct(), ScriptedModel(), paused=True)


@pytest.mark.usefixtures("alone")
def test_work_for_a_pool_is_done_in_its_order_and_its_errors_are_kept() -> None:
    came: list[int] = []
    with background.pool(4) as pool:
        assert [*pool.map(came.append, range(3))] == [None] * 3
        failed = pool.submit(divmod, 1, 0)
    assert came == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_here_there_are_threads() -> None:
    assert background.threads()
