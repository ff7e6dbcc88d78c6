"""Notebooks as committed, executed by papermill and by our command, and as a page."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from browser import browser_page, needs_browser

from itslab import notebooks, share
from itslab.core import ItslabError, OptionError
from itslab.page import does, write_page

NOTEBOOKS = sorted((share.root() / "notebooks").glob("*.ipynb"))


# -- as committed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_declares_typed_and_commented_parameters(path: Path) -> None:
    declared = notebooks.parameters(path)
    assert {"mode", "seed"} <= set(declared)
    for name, parameter in declared.items():
        assert parameter["inferred_type_name"] in ("int", "float", "str", "bool"), name
        assert parameter["help"], f"{name} has no comment"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_small_outputs_and_no_widget(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < 250_000
    for cell in notebook.cells:
        kept = {"keep_output", "keep_picture"} & {*cell.metadata.get("tags", [])}
        assert kept or not cell.get("outputs"), f"{cell.id} keeps an output without the tag"
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        assert all(notebooks.WIDGET not in data for data in shown)
        table = any("<table" in data.get("text/html", "") for data in shown)
        checked = "nbval-check-output" in cell.metadata.get("tags", [])
        assert checked or not table, f"{cell.id} keeps a table that nbval does not compute again"


@pytest.mark.parametrize("path", NOTEBOOKS[:-1], ids=lambda path: path.stem)
def test_a_page_that_runs_no_scripts_shows_its_main_figure_and_its_tree(path: Path) -> None:
    """See ``still_pictures.py``; the last notebook is about writing things, not about figures."""
    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell for cell in cells if "keep_picture" in cell.metadata.get("tags", [])]
    has_tree = path.stem in ("03_tree_search", "04_mcts", "06_adaptive_compute")
    assert len(tagged) >= 1 + has_tree
    for cell in tagged:
        shown = [output.get("data", {}) for output in cell.outputs]
        assert sum("image/png" in data for data in shown) == 1
        assert not any("text/html" in data for data in shown), "GitHub would show that instead"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_where_samples_come_from_is_said_once_in_a_notebook(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert code.count("share.Recording(mode)") == 1
    assert not re.search(r"mode (==|!=|in) *[('\"]+(record|live)|\bshare\.(?!Recording)", code)


# -- executed by our command -----------------------------------------------------------------------

ONE = {
    "02_best_of_n": {"n_problems": 1, "n_programs": 1, "n_compared": 1, "max_samples": 1},
    "03_tree_search": {"n_problems": 1, "n_puzzles": 1},
    "04_mcts": {"n_problems": 1, "n_programs": 1},
    "05_refinement": {"n_programs": 1, "n_problems": 1, "n_other": 1},
    "06_adaptive_compute": {"n_problems": 1, "n_programs": 1, "n_fresh": 1, "max_samples": 2},
    "07_scaling_study": {"n_problems": 1, "n_programs": 1, "n_stories": 1, "n_fresh": 1},
    "08_serving": {"n_problems": 1, "n_shown": 1},
}
FEW = {
    "00_start_here": {"n_problems": 1, "max_samples": 1},
    "01_chain_of_thought": {"n_problems": 1},
    "02_best_of_n": {"n_problems": 3, "n_programs": 2, "n_compared": 4, "max_samples": 3},
    "03_tree_search": {"n_problems": 2, "n_puzzles": 3},
    "04_mcts": {"n_problems": 2, "n_programs": 3},
    "05_refinement": {"n_programs": 3, "n_problems": 2, "n_other": 4},
    "06_adaptive_compute": {"n_problems": 6, "n_programs": 3, "n_fresh": 2, "max_samples": 6},
    "07_scaling_study": {"n_problems": 3, "n_programs": 2, "n_stories": 3, "n_fresh": 2},
    "08_serving": {"n_problems": 6, "n_shown": 2},
    "09_extending": {"n_problems": 1},
}
"""Of some, one problem tries both at once."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_few_problems_runs_under_plain_papermill_and_its_solutions_solve(
    path: Path, tmp_path: Path
) -> None:
    """As committed, all of its problems are nbval's, which computes the kept tables again."""
    notebook = nbformat.read(path, as_version=4)
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    solutions = iter(re.findall(r"<summary>Solution.*?```python\n(.*?)```", prose, re.DOTALL))
    exercises = [cell for cell in notebook.cells if "# your code" in cell.source]
    for cell in exercises:
        cell.source = next(solutions)
    source, executed = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, source)
    papermill.execute_notebook(str(source), str(executed), FEW[path.stem], progress_bar=False)
    assert executed.stat().st_size < 3_000_000
    printed = executed.read_text()
    assert exercises
    for number in range(1, len(exercises) + 1):
        assert f"exercise {number}: right" in printed


@pytest.mark.parametrize("name", ONE)
def test_one_problem_of_those_recorded_is_replayed(name: str, tmp_path: Path) -> None:
    source = share.shared(f"notebooks/{name}.ipynb")
    counts = {p for p in notebooks.parameters(source) if p.startswith(("n_", "max_samples"))}
    assert set(ONE[name]) == set(FEW[name]) == counts
    given = [f"{key}={value}" for key, value in ONE[name].items()]
    executed = notebooks.execute(source, notebooks.parse(source, given), tmp_path)
    assert notebooks.summary(executed)
    # Where a panel's own run was not recorded, one that was is on view.
    assert '"state":"failed"' not in executed.with_suffix(".html").read_text()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("00_start_here", {"difficulty": 2.0}),
        ("03_tree_search", {"seed": 1}),
        ("05_refinement", {"seed": 1}),
    ],
)
def test_of_what_was_not_recorded_one_line_says_what_was(
    name: str, other: dict[str, float], tmp_path: Path
) -> None:
    source = share.shared(f"notebooks/{name}.ipynb")
    with pytest.raises(ItslabError, match=r"seed=0, difficulty=1\.0.*mode=live") as error:
        notebooks.execute(source, other, tmp_path)
    assert len(str(error.value).splitlines()) == 1


def write(path: Path, *cells: str) -> Path:
    """A notebook of code cells; the first one holds the parameters."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.cells[-1].metadata["tags"] = ["summary", "keep_output"]
    nbformat.write(notebook, path)
    return path


PARAMETERS = "n: int = 1  # how many\nx: float = 0.5  # where\nname: str = 'a'  # who"
PANEL = """
import sys, ipywidgets, plotly.graph_objects as go
from IPython.display import display

class Shown:
    def _repr_mimebundle_(self, **options):
        slider = ipywidgets.IntSlider()._repr_mimebundle_()
        return {**slider, "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"}

display(Shown(), go.Figure(go.Bar(y=[1, 2])))
print("\\r1/2", end=""); print("\\r2/2")
sys.executable"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook with a widget, a figure, a progress bar and a result, executed."""
    folder = tmp_path_factory.mktemp("notebook")
    source = write(folder / "small.ipynb", PARAMETERS, PANEL, "n * 2")
    return notebooks.execute(source, {"n": 21}, folder / "runs")


def test_parameters_reach_the_notebook_and_the_summary_is_read_back(executed: Path) -> None:
    assert notebooks.summary(executed) == ["42"]


def test_the_kernel_is_this_very_python(executed: Path) -> None:
    outputs = nbformat.read(executed, 4).cells[2].outputs
    assert outputs[-1].data["text/plain"] == repr(sys.executable)


def test_of_a_widget_only_its_picture_is_left_and_of_a_progress_bar_its_end(executed: Path) -> None:
    shown, figure, progress, _ = nbformat.read(executed, 4).cells[2].outputs
    assert "image/svg+xml" in shown.data
    assert notebooks.WIDGET not in shown.data
    assert "application/vnd.plotly.v1+json" in figure.data
    assert progress.text == "2/2\n"


def test_outputs_that_teach_are_written_back_and_nothing_else(
    executed: Path, tmp_path: Path
) -> None:
    source = tmp_path / "small.ipynb"
    shutil.copy(executed.parents[2] / "small.ipynb", source)
    before = nbformat.read(source, 4)
    notebooks.keep_outputs(executed, source)
    after = nbformat.read(source, 4)
    assert after.cells[-1].outputs[0].data["text/plain"] == "42"
    after.cells[-1].outputs, after.cells[-1].execution_count = [], None
    assert after == before


@needs_browser
def test_the_page_is_alive_and_fetches_nothing(executed: Path) -> None:
    with browser_page() as page:
        fetched: list[str] = []
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(executed.with_suffix(".html").as_uri())
        page.wait_for_selector(".js-plotly-plot .bars path")
        assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []


def test_a_page_holds_plotly_once_however_many_figures(tmp_path: Path) -> None:
    figure = {"application/vnd.plotly.v1+json": {"data": [{"type": "bar", "y": [1]}], "layout": {}}}
    output = nbformat.v4.new_output("display_data", figure)
    cells = [nbformat.v4.new_code_cell("", outputs=[output]) for _ in range(3)]
    page = write_page(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.html").read_text()
    assert page.count("plotly.js v") == 1
    assert page.count("Plotly.newPlot(") == 3
    assert "<script src=" not in page


def test_a_page_says_what_made_it_and_what_it_holds(tmp_path: Path) -> None:
    first = nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# All\n\n## One"), first]
    cells += [nbformat.v4.new_code_cell("m = 2"), nbformat.v4.new_markdown_cell("## Two & three")]
    page = write_page(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.html").read_text()
    [made] = re.findall(r"<p>(Executed .*?)</p>", page)
    assert re.fullmatch(r"Executed \d{4}-\d\d-\d\d .* by itslab [\d.]+ on Python [\d.]+, .*", made)
    contents = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page)
    assert [title for _, title in contents] == ["One", "Two &amp; three"]
    assert all(f'id="{name}"' in page for name, _ in contents)
    assert page.count('<details class="code" open') == 1  # the parameters
    assert page.count('<details class="code"') == 2


def test_folded_code_is_titled_by_what_it_does(tmp_path: Path) -> None:
    [executed] = [path for path in NOTEBOOKS if path.stem == "00_start_here"]
    page = write_page(nbformat.read(executed, as_version=4), tmp_path / "page.html").read_text()
    titles = re.findall(r"<summary>(.*?)</summary>", page)
    assert titles[0] == "parameters"
    assert titles[1] == "imports; makes options, problems, recording and llm"
    assert "defines vote; makes chains; shows text" in titles
    assert "defines poll; makes counts, tries and columns; shows a table" in titles
    assert does(nbformat.v4.new_code_cell("%matplotlib inline\nx = 1")) == "%matplotlib inline"
    assert does(nbformat.v4.new_code_cell("a = b = c = d = e[0] = 1")) == "makes a, b, c and d"


def test_a_failing_cell_is_named_and_the_notebook_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "bad.ipynb", PARAMETERS, "1 / 0")
    said = (
        r"cell 2 of bad\.ipynb failed with ZeroDivisionError: .*/bad\.ipynb, its page .*bad\.html"
    )
    with pytest.raises(ItslabError, match=said):
        notebooks.execute(source, {}, tmp_path / "runs")
    [kept] = (tmp_path / "runs").rglob("bad.ipynb")
    page = kept.with_suffix(".html").read_text()
    assert "ZeroDivisionError" in page
    assert "division by zero" in page


def test_values_are_read_by_the_declared_types(tmp_path: Path) -> None:
    source = write(tmp_path / "typed.ipynb", PARAMETERS + "\nflag: bool = False  # whether", "")
    given = ["n=3", "x=2", "name=7", "flag=true"]
    assert notebooks.parse(source, given) == {"n": 3, "x": 2.0, "name": "7", "flag": True}


def test_values_are_read_by_type_or_by_the_default(tmp_path: Path) -> None:
    source = write(
        tmp_path / "typed.ipynb",
        "a: str = 'x=1'  # such as x=2\nn = 3\nmany: int | None = None\nrow: list[int] = [1]\n"
        "rows = [\n    1,\n]  # of a=b\nword = 'w'\nmaybe: float | None = 1.0",
        "",
    )
    given = ["a=y=2", "n=4", "many=5", "row=[2, 3]", "rows=[4]", "word=7", "maybe=None"]
    assert notebooks.parse(source, given) == {
        "a": "y=2",
        "n": 4,
        "many": 5,
        "row": [2, 3],
        "rows": [4],
        "word": "7",
        "maybe": None,
    }
    assert notebooks.parse(source, ["many=None", "maybe=2"]) == {"many": None, "maybe": 2.0}
    assert notebooks.parameters(source)["a"]["help"] == "such as x=2"
    assert notebooks.parse(source, ["rows=x"]) == {"rows": ["x"]}  # it may hold anything
    for wrong in ("n=x", "many=2.5", "row=x"):
        with pytest.raises(OptionError, match=wrong.partition("=")[0]):
            notebooks.parse(source, [wrong])


def test_runs_of_one_second_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    made = [notebooks._place(tmp_path, "a").name for _ in range(3)]
    assert made == ["a-now", "a-now-2", "a-now-3"]


def test_an_unknown_kernel_and_one_that_dies_are_named(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", PARAMETERS, "import os; os._exit(1)")
    with pytest.raises(ItslabError, match=r"a\.ipynb could not be executed: DeadKernelError"):
        notebooks.execute(source, {}, tmp_path / "runs")
    book = nbformat.read(source, 4)
    book.metadata.kernelspec.name = "absent"
    nbformat.write(book, source)
    with pytest.raises(ItslabError, match=r"a\.ipynb could not be executed: NoSuchKernel"):
        notebooks.execute(source, {}, tmp_path / "runs")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nam=3", r"unknown parameter 'nam': did you mean name"),
        ("n=three", r"n='three' is not valid: n must be a whole number"),
        ("x=", r"x='' is not valid: x must be a number"),
        ("n", r"parameter='n' is not valid: parameter must be written as name=value"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(tmp_path: Path, given: str, message: str) -> None:
    source = write(tmp_path / "typed.ipynb", PARAMETERS, "")
    with pytest.raises(ItslabError, match=message):
        notebooks.parse(source, [given])


def test_an_unknown_mode_names_the_valid_ones() -> None:
    with pytest.raises(OptionError, match=r"mode='dead' is not valid.*replay, live, record"):
        share.Recording("dead")


def test_what_a_panel_can_begin_is_drawn_where_it_is_recorded_and_only_there() -> None:
    class Begun:
        def __init__(self, *settings: object) -> None:
            self.settings = settings

        def result(self) -> None:
            finished.append(self.settings)

    finished: list[tuple[object, ...]] = []
    for mode in ("replay", "live", "record"):
        share.Recording(mode).record_panel(Begun, [(1, 0.5), (2, 0.5)])  # type: ignore[arg-type]
    assert finished == [(1, 0.5), (2, 0.5)]
