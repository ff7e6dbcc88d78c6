"""A run that is interrupted in the main thread, by the signal that Ctrl-C and Jupyter send."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from itslab import attended
from itslab.core import Budget, Request, Sampling
from itslab.handle import solve, start
from itslab.strategies import Direct, SelfConsistency
from itslab.testing import ScriptedModel


def interrupting(after: int) -> ScriptedModel:
    """A model in the middle of whose replies the interrupt comes."""

    def reply(request: Request, index: int) -> str:
        if index == after:
            os.kill(os.getpid(), signal.SIGINT)
        return f"The answer is {index}."

    return ScriptedModel(replies=reply)


def test_an_interrupt_ends_a_run_as_stop_does_and_its_result_is_kept() -> None:
    def two_rounds(run, prompt):
        asked = run.reply(None, prompt)
        run.best = run.extend(asked, Sampling(), 2)[0]
        return run.extend(asked, Sampling(), 2)[0]

    with pytest.raises(attended.Interrupted, match="2 samples and 8 tokens") as stopped:
        solve("?", two_rounds, interrupting(1))
    result = stopped.value.result
    assert (result.answer, result.stopped_by, len(result.tree)) == ("0", "stop", 3)
    assert isinstance(stopped.value, KeyboardInterrupt)
    [line] = stopped.value._render_traceback_()
    assert "stopped.result" in line
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("times", [1, 2])
def test_a_strategy_that_computes_by_itself_is_broken_off(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, or at once by a second interrupt."""
    monkeypatch.setattr(attended, "PATIENCE", 0.3 if times == 1 else 60)

    def slow(run, prompt):
        run.best = run.extend(run.reply(None, prompt), Sampling(), 1)[0]
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    began = time.monotonic()
    with pytest.raises(attended.Interrupted) as stopped:
        solve("?", slow, ScriptedModel(replies=["The answer is 5."]))
    assert time.monotonic() - began < 5
    assert (stopped.value.result.answer, stopped.value.result.stopped_by) == ("5", "stop")


def test_an_interrupt_within_a_backend_that_does_not_listen_leaves_no_open_node() -> None:
    class Deaf(ScriptedModel):
        def generate(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(attended.Interrupted) as stopped:
        solve("?", Direct(), Deaf(replies=[]))
    assert [node.status for node in stopped.value.result.tree][-1] == "failed"


def test_who_waits_for_a_run_and_interrupts_is_told_that_it_goes_on() -> None:
    free = threading.Event()

    def waits(request: Request, index: int) -> str:
        time.sleep(0.3)  # until somebody waits for it
        os.kill(os.getpid(), signal.SIGINT)
        free.wait(5)
        return "The answer is 1."

    run = start("?", Direct(), ScriptedModel(replies=waits))
    with pytest.raises(attended.StillRunning, match="the run goes on"):
        run.result()
    free.set()
    assert run.result().answer == "1"


def test_a_program_that_handles_the_signal_itself_keeps_it() -> None:
    heard: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        result = solve("?", SelfConsistency(n=2), interrupting(0))
    finally:
        signal.signal(signal.SIGINT, usual)
    assert (heard, result.cost.calls) == ([signal.SIGINT], 2)


def test_a_run_in_another_thread_leaves_signals_alone() -> None:
    came = []

    def work() -> None:
        replies = ["The answer is 1."]
        came.append(solve("?", Direct(), ScriptedModel(replies=replies), budget=Budget(samples=1)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert came[0].answer == "1"
