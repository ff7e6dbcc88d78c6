"""What README and the notebooks' text cite was computed: it stands in an output that is kept.

A figure is known by its interval, such as 35 % [22, 49]; of README's tables every number counts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURE = re.compile(r"([-−+]?[\d.]+) ?%? \[([-−+]?[\d.]+) ?%?, ?([-−+]?[\d.]+) ?%?\]")


def figures(text: str) -> set[tuple[str, ...]]:
    """Values with their intervals, without signs of plus and percent."""
    plain = text.replace("−", "-").replace("+", "").replace("\n", " ")
    return {match.groups() for match in FIGURE.finditer(plain)}


def outputs(notebook: Path) -> str:
    """All text and tables that a notebook's cells have kept."""
    said = []
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            said += [*output.get("text", []), *data.get("text/html", data.get("text/plain", []))]
    return "".join(said)


def prose(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


KEPT = {notebook.name: outputs(notebook) for notebook in NOTEBOOKS}


@pytest.mark.parametrize("text", [ROOT / "README.md", *NOTEBOOKS], ids=lambda path: path.name)
def test_every_figure_that_is_cited_stands_in_an_output(text: Path) -> None:
    cited = figures(text.read_text() if text.suffix == ".md" else prose(text))
    missing = cited - figures("\n".join(KEPT.values()))
    assert sorted(missing) == []
    assert cited or text.suffix != ".md"


def test_every_price_in_readmes_first_table_stands_in_notebook_06() -> None:
    table = (ROOT / "README.md").read_text().partition("| who answers")[2].partition("\n\n")[0]
    prices = [row.split("|")[3].strip(" *").replace(",", "") for row in table.splitlines()[2:]]
    assert len(prices) == 5
    for price in prices:
        assert re.search(rf"(?<![\d.]){price}(?![\d.])", KEPT["06_adaptive_compute.ipynb"])


def test_figures_are_read_whatever_their_signs() -> None:
    assert figures("35 % [26, 44] and\n−10 [−15, −4], 0.43 [0.38, 0.49]") == {
        ("35", "26", "44"),
        ("-10", "-15", "-4"),
        ("0.43", "0.38", "0.49"),
    }
    assert figures("<td>35% [26%, 44%]</td> -10 [-15, -4] +1.5 [+0.2, +3.0]") == {
        ("35", "26", "44"),
        ("-10", "-15", "-4"),
        ("1.5", "0.2", "3.0"),
    }
