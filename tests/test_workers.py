"""Studies on many workers: real processes, threads and a Dask cluster, some of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path

import psutil
import pytest
from studied import Built, broken, loads, same, samples, says, slowly, sums, votes

import itslab as its
from itslab.conductor import conduct, executing, loading, workers
from itslab.conductor.folder import folder
from itslab.core import ItslabError
from itslab.study.outcome import Outcome
from itslab.testing import ScriptedModel


@pytest.fixture
def alone(tmp_path: Path) -> Outcome:
    """What an uninterrupted study comes to."""
    return conduct(
        votes(tasks={"sums": sums(20)}), tmp_path / "alone.sqlite", load=loads, progress=False
    )


@pytest.mark.slow
def test_worker_processes_draw_the_same_and_leave_nothing_behind(tmp_path, alone) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        outcome = conduct(study, store, executor=pool, chunk=3, load=loads, progress=False)
    same(outcome, alone)
    assert not (tmp_path / "s.sqlite.parts").exists()
    same(conduct(study, store, mode="replay"), alone)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_problems_only(tmp_path, alone) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    pool = ProcessPoolExecutor(2, get_context("spawn"))

    def kill() -> None:
        while not list((tmp_path / "s.sqlite.parts").rglob("*.sqlite")):
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ItslabError, match=r"not finished: .* of 20 .*conduct the study again"):
        conduct(study, store, executor=pool, chunk=2, load=slowly, progress=False)
    killer.join()
    with its.Bank(store) as bank:
        kept = bank.samples
    assert kept > 0
    model = slowly("small")
    outcome = conduct(study, store, load=lambda name: model, progress=False)
    same(outcome, alone)
    assert sum(request.n for request in model.asked) < 20 * 5  # the rest was there


def crashing(name: str) -> ScriptedModel:
    """A model that no worker survives which is asked sum/3."""

    def dies(request, index: int) -> str:
        if "3 + 3?" in request.messages[-1].content and parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return says(request, index)

    return ScriptedModel(replies=dies, name=name, digest=f"digest of {name}")


@pytest.mark.slow
def test_a_worker_that_dies_is_begun_anew(tmp_path, alone) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    with executing(workers=2) as pool:

        def kill() -> None:
            while not list((tmp_path / "s.sqlite.parts").rglob("*.sqlite")):
                time.sleep(0.01)
            time.sleep(0.1)
            os.kill(next(iter(pool._pool._processes)), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        outcome = conduct(study, store, executor=pool, chunk=2, load=slowly, progress=False)
        killer.join()
    same(outcome, alone)


@pytest.mark.slow
def test_a_problem_that_no_worker_survives_costs_no_other(tmp_path) -> None:
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(12)})
    said = r"not finished: 1 of 12 problems, sum/3 \(BrokenProcessPool"
    with executing(workers=2) as pool, pytest.raises(ItslabError, match=said):
        conduct(study, store, executor=pool, chunk=4, load=crashing, progress=False)
    there = conduct(study, store, mode="replay")
    assert {problem.id for problem in study.tasks["sums"]} - {*there.runs.problem} == {"sum/3"}


def test_threads_load_a_model_once(tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str) -> ScriptedModel:
        loaded.append(name)
        time.sleep(0.1)
        return loads(name)

    with ThreadPoolExecutor(4) as pool:
        assert len({*map(id, pool.map(lambda _: loading.loaded("small", load), range(4)))}) == 1
        study = votes(tasks={"sums": sums(8)})
        conduct(study, tmp_path / "s.sqlite", executor=pool, chunk=2, load=load, progress=False)
    assert loaded == ["small"]


def test_studies_with_executors_share_a_store(tmp_path: Path) -> None:
    """Each has a folder of its own: neither removes what the other's workers are drawing."""
    store, begun = tmp_path / "s.sqlite", threading.Event()
    one, other = votes(tasks={"sums": sums(8)}), votes(tasks={"sums": sums(8)}, seeds=(1,))

    def waits(name: str) -> ScriptedModel:
        def reply(request, index: int) -> str:
            begun.set()
            time.sleep(0.02)
            return says(request, index)

        return ScriptedModel(replies=reply, name=name, digest=f"digest of {name}")

    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as second:
        drawn = second.submit(
            conduct, one, store, executor=pool, chunk=2, load=waits, progress=False
        )
        begun.wait()
        conduct(other, store, executor=second, chunk=2, load=loads, progress=False)
        assert drawn.result().lacking == 0
    assert samples(store) == 2 * 8 * 5


@pytest.mark.slow
def test_an_interrupt_costs_no_sample_and_begins_no_further_chunk(tmp_path, alone) -> None:
    store = tmp_path / "s.sqlite"
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from studied import *\nfrom itslab.conductor import conduct\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        f"    conduct(votes(tasks={{'sums': sums(20)}}), {str(store)!r}, load=slower, chunk=2,\n"
        "            executor=pool, progress=False)\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.PIPE
    )
    while samples(store) < 20 and driver.poll() is None:
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in driver.communicate(timeout=60)[1]
    model = slowly("small")
    study = votes(tasks={"sums": sums(20)})
    same(conduct(study, store, load=lambda name: model, progress=False), alone)
    assert sum(request.n for request in model.asked) > 20, "the rest was not drawn for nothing"
    assert samples(store) == 20 * 5, "each was drawn once"


def test_an_error_that_passes_fails_its_run_with_workers_too(tmp_path: Path) -> None:
    def full(run, prompt):
        if run.problem == "sum/3":
            raise OSError(28, "No space left on device")
        return run.append(run.reply(None, prompt), "The answer is 4.")

    study, store = votes(strategies={"writes": full}), tmp_path / "s.sqlite"
    for _ in range(2):  # it is tried again
        with ThreadPoolExecutor(2) as pool:
            outcome = conduct(study, store, executor=pool, chunk=2, load=loads, progress=False)
        assert outcome.lacking == 0
        assert [*outcome.failed.problem] == ["sum/3"]
        assert "No space left" in outcome.failed.failed.iloc[0]


def test_a_damaged_part_is_put_aside(tmp_path: Path) -> None:
    store, study = tmp_path / "s.sqlite", votes()
    place = folder(study, store)
    place.mkdir(parents=True)
    (place / "0123.sqlite").write_bytes(b"junk")
    (place / "4567.sqlite").touch()
    with pytest.warns(UserWarning, match=r"put aside as 0123\.damaged"):
        assert conduct(study, store, load=loads, progress=False).lacking == 0


@pytest.mark.slow
def test_workers_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    """They do not hold its output open, and take no further chunk."""
    store = tmp_path / "s.sqlite"
    code = (
        "from studied import *\nfrom itslab.conductor import conduct, executing\n"
        "if __name__ == '__main__':\n"
        "    with executing(workers=2) as pool:\n"
        f"        conduct(votes(tasks={{'sums': sums(60)}}), {str(store)!r}, load=slower,\n"
        "                chunk=2, executor=pool, progress=False)\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while samples(store) < 20 and driver.poll() is None:
        time.sleep(0.05)
    workers_of = psutil.Process(driver.pid).children()
    assert len(workers_of) >= 2
    driver.kill()
    driver.communicate(timeout=20)  # until nobody holds its output
    assert not psutil.wait_procs(workers_of, timeout=20)[1]


def test_an_executor_that_is_shut_down_is_said(tmp_path: Path) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ItslabError, match="cannot schedule new futures after shutdown"):
        conduct(votes(), tmp_path / "s.sqlite", executor=pool, load=loads, progress=False)


def test_builds_that_workers_mix_are_told(tmp_path: Path) -> None:
    def built(build: str):
        return lambda name: Built(
            replies=says, name="small", digest="d", provenance=build, batch_size=1
        )

    store = tmp_path / "s.sqlite"
    conduct(votes(), store, load=built("old build"), progress=False)
    study, told = votes(seeds=(0, 1)), pytest.warns(UserWarning, match=r"old build.*new build")
    with ThreadPoolExecutor(1) as pool, told:
        conduct(study, store, executor=pool, load=built("new build"), progress=False)


def test_workers_that_share_no_folder_send_their_parts(tmp_path, alone, monkeypatch) -> None:
    """The token is not there, as on another machine."""
    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    monkeypatch.setattr(workers, "_shares", lambda token: False)
    monkeypatch.setattr(workers, "_is_gone", lambda token: False)
    with ThreadPoolExecutor(2) as pool:
        outcome = conduct(study, store, executor=pool, chunk=5, load=loads, progress=False)
    same(outcome, alone)


@pytest.mark.slow
def test_a_worker_without_the_model_says_which_and_where(tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(ItslabError, match=r"worker .*, process .*small is not on this machine"),
    ):
        conduct(votes(), tmp_path / "s.sqlite", executor=pool, load=broken, progress=False)


@pytest.mark.slow
def test_dask_workers_that_are_killed_again_and_again_lose_no_finished_sample(
    tmp_path, alone
) -> None:
    from distributed import Client, LocalCluster

    store, study = tmp_path / "s.sqlite", votes(tasks={"sums": sums(20)})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        done = threading.Event()

        def kill() -> None:
            for turn in range(6):
                pids = [w["pid"] for w in client.run(lambda: {"pid": os.getpid()}).values()]
                os.kill(pids[turn % len(pids)], signal.SIGKILL)
                client.wait_for_workers(2, timeout=30)
                if done.wait(0.5):
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        for _ in range(12):
            try:
                with client.get_executor(pure=False, retries=10) as pool:
                    outcome = conduct(
                        study, store, executor=pool, chunk=2, load=slowly, progress=False
                    )
                break
            except ItslabError:
                continue
        done.set()
        killer.join()
    same(outcome, alone)


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again_loses_no_finished_sample(tmp_path, alone) -> None:
    store = tmp_path / "s.sqlite"
    code = (
        "from studied import *\nfrom itslab.conductor import conduct\n"
        f"study = votes(tasks={{'sums': sums(20)}})\n"
        f"conduct(study, {str(store)!r}, load=slowly, progress=False)\n"
    )
    paths, kept, kills = [str(Path(__file__).parent), *sys.path], 0, 0
    for _ in range(40):
        driver = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        before, began = kept, time.monotonic()
        while driver.poll() is None and kept < before + 25 and time.monotonic() - began < 60:
            time.sleep(0.02)
            kept = samples(store)
        if driver.poll() is None:
            driver.kill()
            kills += 1
        driver.wait()
        assert samples(store) >= before
        if driver.returncode == 0:
            break
    assert kills >= 3
    same(conduct(votes(tasks={"sums": sums(20)}), store, load=loads, progress=False), alone)
    assert samples(store) == 20 * 5, "each was drawn once"
