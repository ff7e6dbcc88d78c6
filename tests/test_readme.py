"""The README's examples run as they stand, one after the other, with the model they name."""

import re
from pathlib import Path

import pytest
import yaml

from itslab.study.reading import parse

README = Path(__file__).parent.parent / "README.md"


def test_the_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["again"].cost.calls == 3  # type: ignore[attr-defined]
    names["llm"].close()  # type: ignore[attr-defined]


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_study_in_it_is_one() -> None:
    [written] = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    study = parse(yaml.safe_load(written))
    assert study.named == ["qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b@Q4_0"]
    assert study.runs == 50 * 2 * 3
