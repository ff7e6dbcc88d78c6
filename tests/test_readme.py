"""The examples of README and of the packages run as they stand, one after the other."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from itslab import backends, notebooks, strategies, study, verifiers
from itslab.study.reading import parse

README = Path(__file__).parent.parent / "README.md"


def examples(package: object) -> list[str]:
    """The blocks of code in a package's docstring."""
    found = re.findall(r"::\n\n((?:(?: {4}.*)?\n)+)", f"{package.__doc__}\n")
    return [textwrap.dedent(block) for block in found]


def test_the_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    [_, conducted] = examples(study)
    blocks += [*examples(strategies), *examples(backends), *examples(verifiers), conducted]
    assert len(blocks) == 8
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["again"].cost.calls == 3  # type: ignore[attr-defined]
    names["llm"].close()  # type: ignore[attr-defined]


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_written_study_is_one() -> None:
    declared = parse(yaml.safe_load(examples(study)[0]))
    assert declared.named == ["qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b@Q4_0"]
    assert declared.runs == 50 * 2 * 3


def test_its_table_of_notebooks_has_the_minutes_that_they_say_themselves() -> None:
    row = r"\| \[`\w+`\]\(notebooks/(?:workshop/)?(\w+)\.ipynb\) \| .+? \| (\S+) \| (\S+) \|"
    table = {name: took for name, *took in re.findall(row, README.read_text())}
    listed = notebooks.listed(README.parent / "notebooks")
    assert table == {one.name: [one.minutes["replay"], one.minutes["live"]] for one in listed}


def test_the_messages_that_it_cures_are_said_by_the_package() -> None:
    cures = README.read_text().partition("### Trouble")[2].partition("\n## ")[0]
    said = re.findall(r"^- \*(.+?)\*:", cures, re.MULTILINE)
    ours = [message for message in said if not message.startswith("Failed building wheel")]
    assert len(ours) == 4
    sources = (README.parent / "itslab").rglob("*.py")
    lines = re.sub(r'"\s*f?"', "", "".join(path.read_text() for path in sources))
    assert [p for message in ours for p in message.split(" … ") if p not in lines] == []


def test_it_is_short_and_its_moving_picture_light() -> None:
    assert len(README.read_text().split()) < 1500
    picture = README.parent / "notebooks" / "tree.gif"
    assert picture.name in README.read_text()
    assert picture.stat().st_size < 2_000_000
