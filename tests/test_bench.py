"""The benchmark measures what it says, with a small model and few tokens."""

import json
from pathlib import Path

import pytest

from itslab import bench, models
from itslab.core import BackendError


def test_everyone_is_timed_and_the_table_says_so(small_model: models.ModelFile) -> None:
    said: list[str] = []
    report = bench.measure_speed(
        small_model, batch_sizes=(1, 2), tokens=8, rounds=2, threads=1, say=said.append
    )
    assert len(report.speed[bench.ENGINE][2]) == 2
    assert len(said) == 2 * 4  # twice our engine and plain Llama(), for one sample and for two
    assert all(0 < share < 1 for share in report.python_share.values())
    assert report.best_n == 2
    head, _, columns, one, two, *_ = report.table().splitlines()
    assert small_model.name in head
    assert "Llama()" in columns
    assert (one.split()[0], two.split()[0]) == ("1", "2")
    assert json.loads(report.json())["speed"][bench.ENGINE]["2"] == report.speed[bench.ENGINE][2]


def test_ratios_are_taken_round_by_round() -> None:
    report = bench.SpeedReport("m", "b", 8)
    report.speed = {bench.ENGINE: {16: [30.0, 60.0]}, bench.PLAIN: {16: [10.0, 30.0]}}
    assert report.ratios(bench.PLAIN, 16) == [3.0, 2.0]


def test_a_binary_that_measures_nothing_is_an_error(
    small_model: models.ModelFile, tmp_path: Path
) -> None:
    binary = tmp_path / "silent"
    binary.write_text("#!/bin/sh\nexit 0\n")
    binary.chmod(0o755)
    with pytest.raises(BackendError, match="printed no time"):
        bench.measure_speed(
            small_model, batch_sizes=(1,), tokens=2, rounds=1, threads=1, batched_bench=binary
        )


def test_a_search_is_timed_with_and_without_evaluating_its_tree_again(
    small_model: models.ModelFile,
) -> None:
    prompt = "{who}?"
    options = {"width": 2, "expand": 2, "depth": 2, "tokens": 4, "rounds": 1, "threads": 1}
    report = bench.measure_search(small_model, prompt=prompt, **options)
    assert list(report.seconds) == [bench.ONCE, bench.PER_NODE, bench.PER_SAMPLE]
    assert report.evaluated[0] <= 1.02 * report.unique[0]
    assert 0 < report.full[0] <= 1
    assert report.gain(bench.PER_SAMPLE)[0] > 1
    assert "again for each sample" in report.table()
