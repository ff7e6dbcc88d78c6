"""How objects show themselves: in a notebook, in a few kilobytes; and in a terminal, in a line."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_vllm import FakeVLLM
from jupyter_client.manager import start_new_kernel

from itslab import models, share, tasks
from itslab.backends import Bank, Remote
from itslab.core import Budget, Completion, Cost, Problem, Result, Sampling, Tree
from itslab.handle import solve, start
from itslab.strategies import BeamSearch, ChainOfThought, SelfConsistency
from itslab.study.samples import Samples
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import Confidence
from itslab.viz import displays
from itslab.viz.sketch import sketch

EVIL = "<script>alert(1)</script>"


def said(*texts: str) -> ScriptedModel:
    """A model whose n-th sample of a request is the n-th text."""
    return ScriptedModel(replies=lambda request, index: texts[index % len(texts)])


def votes() -> Result:
    return solve(
        "2 + 2?", SelfConsistency(n=3), said("\\boxed{4}", f"\\boxed{{5}} {EVIL}", "\\boxed{4}")
    )


def small(show: Callable[[Any], str], thing: Any) -> str:
    """What is shown, which is small, soon there, and closes what it opens."""
    show(thing)  # what is imported at first does not count
    began = time.perf_counter()
    html = show(thing)
    assert time.perf_counter() - began < 0.05
    assert len(html) < 30_000
    assert EVIL not in html
    ElementTree.fromstring(html)
    return html


# -- runs ------------------------------------------------------------------------------------------


def test_a_result_shows_its_answer_its_cost_and_its_votes() -> None:
    result = votes()
    html = small(displays.result, result)
    for part in ("4</b>", "done", "scripted", "votes (samples)", "what the answer was read from"):
        assert part in html
    assert repr(result).startswith(f"Result('4', 3 samples, {result.cost.decoded} tokens, ")


def test_a_search_shows_its_tree_with_the_way_to_the_answer() -> None:
    search = BeamSearch(Confidence(), width=2, expand=2, depth=2)
    html = small(displays.result, solve("?", search, said("one\n\n", "\\boxed{2}")))
    assert "black: the way to the answer" in html
    assert "votes" not in html


def test_a_chain_alone_has_no_picture() -> None:
    assert "<svg" not in displays.result(solve("?", ChainOfThought(), said("\\boxed{2}")))


def large() -> Result:
    """2,000 nodes, 30 models, 50 outages, an answer and a text without end."""
    tree, rng = Tree(), random.Random(0)
    nodes = [tree.add(None, "user", "?")]
    for i in range(2000):
        nodes.append(tree.add(rng.choice(nodes[-40:]), "assistant", "", "open"))
        tree.finish(nodes[-1], Completion(f"{EVIL} " * 500, cost=Cost(decoded=1, calls=1)))
        if i % 3 == 0:
            tree.prune(nodes[-1])
    paid = {f"model {i} {EVIL}": Cost(1, 2, 3, 4, 5.0, 6e9) for i in range(30)}
    return Result(
        *("42 " * 5000, nodes[-1], tree, Cost(30, 60, 90, 120, 150.0, 180e9), "tokens", 1.5),
        costs=paid,
        unscored={EVIL * 100: 3},
        outages=(EVIL,) * 50,
        stages=({"stage": 0, "model": EVIL, "strategy": EVIL, "accepted": False, "why": EVIL},),
    )


def test_a_large_result_stays_small_and_what_models_say_is_text() -> None:
    result = large()
    html = small(displays.result, result)
    assert "22 others" in html
    assert "and 43 more" in html  # 51 remarks, of which 8 are shown
    assert "budget spent (90 tokens)" in html
    assert len(repr(result)) < 250
    assert len(repr(result.node)) < 200
    assert len(repr(result.node.completion)) < 200
    assert repr(result.tree) == "Tree(2,001 nodes, 4,668 events)"


def test_of_a_large_tree_the_way_to_the_answer_is_drawn_and_what_is_near_the_root() -> None:
    tree = Tree()
    root = tree.add(None, "user", "?")
    for _ in range(400):
        tree.add(root, "assistant", "")
    last = tree.add(tree.add(root, "assistant", ""), "assistant", "")
    drawn = sketch(tree, last)
    assert "403 nodes, 103 of them not drawn, black" in drawn
    assert drawn.count("h0") == 300
    assert "h0" not in sketch(Tree())


def test_a_handle_shows_its_state_and_the_best_so_far() -> None:
    handle = start(
        "?", SelfConsistency(n=2), said("\\boxed{7}"), budget=Budget(samples=4), paused=True
    )
    assert "no answer yet" in small(displays.handle, handle)
    assert repr(handle).startswith("RunHandle(paused, no answer yet, 0 samples")
    handle.resume()
    handle.result()
    html = small(displays.handle, handle)
    assert "7</b>" in html
    assert "50% of 4 samples" in html
    assert repr(handle).startswith("RunHandle(done, answer '7', 2 samples")


def test_a_handle_whose_run_failed_says_why() -> None:
    def bad(run, prompt):
        raise ValueError(EVIL)

    handle = start("?", bad, said(""))
    with pytest.raises(ValueError, match="script"):
        handle.result()
    assert "ValueError: &lt;script&gt;" in small(displays.handle, handle)
    assert repr(handle).startswith("RunHandle(failed, no answer")


def test_progress_counts_what_is_being_drawn() -> None:
    seen = []

    def watched(run, prompt):
        node = run.extend(run.reply(None, prompt), Sampling(), 1)[0]
        run.tree.add(node, "assistant", "x" * 35, "open")
        seen.append(displays.progress(run, 2.4))
        return node

    result = solve("?", watched, said("\\boxed{4}"), budget=Budget(samples=4))
    line = seen[0]["text/plain"]
    assert line.startswith("best so far: 4 · 1 sample · ")
    assert line.endswith(" · 2 s by the clock · 1 being drawn, about 10 tokens")
    assert "50% of 4 samples" in seen[0]["text/html"]
    run = SimpleNamespace(cost=result.cost)
    assert displays.summary(run, 3, result)["text/plain"].endswith("3 s by the clock · done")
    assert displays.summary(run, 3, None)["text/plain"].startswith("failed · ")


# -- what is measured on ---------------------------------------------------------------------------


def test_a_task_of_5000_problems_shows_a_few_with_their_answers_folded() -> None:
    task = tasks.load("gsm_symbolic", n=5000)
    html = small(displays.task, task)
    assert "5,000 problems" in html
    assert "and 4,997 more" in html
    inner = ElementTree.fromstring(html).findall(".//details/details")
    assert [one.find("summary").text for one in inner] == ["its answer"] * 3
    assert inner[0].find("pre").text == task.problems[0].answer
    assert str(task) == "gsm_symbolic/d1.0/s0: 5,000 problems"
    assert len(repr(task.problems[0])) < 300


def test_templates_that_cannot_be_counted_are_shown_all_the_same() -> None:
    problems = tuple(Problem(str(i), "?", "1", {"template": ["a", i // 2]}) for i in range(4))
    assert "2, which are the units" in small(displays.task, Task("odd", problems))


def test_a_task_says_what_checks_it() -> None:
    problem = Problem("1", EVIL * 1000, EVIL)
    own = Task("own", (problem,), verifier=Confidence())
    assert "Confidence(" in small(displays.task, own)
    assert str(own).startswith("own: 1 problem, checked by Confidence(")


def test_samples_show_how_often_they_are_right() -> None:
    """Of two problems with three samples each: 2 and 0 right, so majority 1/2, coverage 1/2."""
    task = Task("two", (Problem("a", "?", "1"), Problem("b", "??", "9")))
    results = [
        solve(p.prompt, SelfConsistency(n=3), said("\\boxed{1}", "\\boxed{2}", "\\boxed{1}"))
        for p in task
    ]
    samples = Samples(task, results)
    rows = [
        [cell.text for cell in row]
        for row in ElementTree.fromstring(small(displays.samples, samples)).findall(".//tr")
    ]
    assert [row[:2] for row in rows[1:4]] == [
        ["one sample is right", "33.3%"],
        ["the majority of 3 is right", "50.0%"],
        ["one of 3 is right (coverage)", "50.0%"],
    ]
    assert repr(samples) == "Samples('two', 2 problems × 3 samples, 33.3% right)"


# -- models and banks ------------------------------------------------------------------------------


def test_a_bank_shows_its_models_and_its_runs_by_task() -> None:
    with Bank(share.shared("data/refinement.sqlite.xz")) as bank:
        html = small(displays.bank, bank)
        for part in ("19 samples", "1,360: HumanEval 820, gsm_symbolic 540", "qwen2.5-coder-1.5b"):
            assert part in html
        replayed = bank.replay("qwen2.5-coder-0.5b")
        assert "replayed: nothing is drawn" in small(displays.banked, replayed)


def test_a_bank_of_20_mb_is_shown_as_soon() -> None:
    with Bank(share.shared("data/adaptive.sqlite.xz")) as bank:
        assert "4,619 samples" in small(displays.bank, bank)


def test_a_recording_names_its_model(tmp_path: Path) -> None:
    with Bank(tmp_path / "a.sqlite") as bank:
        assert "0 samples" in small(displays.bank, bank)
        assert "recorded from" in small(displays.banked, bank.record(said("")))


def test_a_local_model_shows_what_it_is_and_whether_it_is_closed(llm: Any) -> None:
    html = small(displays.llama, llm)
    for part in ("Q4_1 · 98.4 MB", "512 tokens", "8 samples", "llama-cpp-python"):
        assert part in html
    assert repr(llm) == "Llama('smollm2-135m', Q4_1, batch_size=8, context=512, threads=1)"


def test_a_file_shows_its_quantization(small_model: models.ModelFile) -> None:
    assert "Q4_1 · 98.4 MB" in small(displays.model_file, small_model)
    assert repr(small_model).startswith("ModelFile('smollm2-135m', Q4_1, 98 MB, ")


@pytest.mark.slow
def test_a_remote_model_shows_where_it_is_and_no_key(vllm: FakeVLLM) -> None:
    html = small(displays.remote, Remote(vllm.model, vllm.url, api_key="sesame"))
    assert vllm.url in html
    assert "sesame" not in html


# -- in a kernel -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Runs a cell in a real kernel, and returns what it put out."""
    folder = tmp_path_factory.mktemp("kernel")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(code: str, attended: bool = True, status: str = "ok") -> list[dict[str, Any]]:
        client.allow_stdin = attended
        outputs: list[dict[str, Any]] = []
        reply = client.execute_interactive(
            code, timeout=60, allow_stdin=attended, output_hook=outputs.append
        )
        assert reply["content"]["status"] == status, reply["content"]
        kinds = ("stream", "display_data", "update_display_data", "execute_result", "error")
        return [one["content"] for one in outputs if one["msg_type"] in kinds]

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


SLOW = """
import time
import itslab as its
from itslab.testing import ScriptedModel

def slowly(run, prompt):
    node = run.extend(run.reply(None, prompt), its.Sampling(), 1)[0]
    time.sleep(1.5)
    return node

model = ScriptedModel(replies=lambda request, index: "It is 4.")
"""


def test_in_a_notebook_objects_show_themselves_and_nothing_is_imported_before(cell: Any) -> None:
    [heavy] = cell(
        "import sys, itslab as its; print({'plotly', 'numpy', 'pandas'} & {*sys.modules})"
    )
    assert heavy["text"] == "set()\n"
    cell(SLOW)
    [shown] = cell("its.solve('2 + 2?', its.SelfConsistency(n=2), model)")
    assert shown["data"]["text/plain"].startswith("Result('4', 2 samples")
    assert "votes (samples)" in shown["data"]["text/html"]


def test_a_run_of_some_seconds_is_watched_and_ends_in_one_line(cell: Any) -> None:
    cell(SLOW)
    first, *updates = cell("a = its.solve('?', slowly, model); b = its.solve('?', slowly, model)")
    name = first["transient"]["display_id"]
    assert {one["transient"]["display_id"] for one in updates} == {name}  # one line for both
    lines = [one["data"]["text/plain"] for one in updates]
    assert any(line.startswith("best so far: 4 · 1 sample") for line in lines)
    assert lines[-1].startswith("4 · 1 sample")
    assert lines[-1].endswith("done")


def test_a_run_at_the_end_of_a_cell_is_followed_while_it_goes_on(cell: Any) -> None:
    cell(SLOW)
    [shown] = cell("run = its.start('?', slowly, model); run")
    assert "application/vnd.jupyter.widget-view+json" in shown["data"]
    assert shown["data"]["text/plain"].startswith("RunHandle(running")
    [shown] = cell("run.result(); run")
    assert "the answer" in shown["data"]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" not in shown["data"]


def test_what_cannot_be_shown_says_why_in_its_place(cell: Any) -> None:
    cell(SLOW)
    [shown] = cell(
        "odd = its.Problem('a', '?', '1'); object.__setattr__(odd, 'prompt', 3)\n"
        "from itslab.tasks import Task; Task('t', (odd,))"
    )
    assert "cannot be shown" in shown["data"]["text/html"]


STOPPED = """
import os, signal
def reply(request, index):
    if index == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return f"The answer is {index}."
its.solve("?", its.SelfConsistency(n=4), ScriptedModel(replies=reply))
"""


def test_an_interrupt_is_one_line_that_says_where_all_is_kept(cell: Any) -> None:
    cell(SLOW)
    [*_, error] = cell(STOPPED, status="error")
    [line] = error["traceback"]
    said = r"Interrupted: \d samples and \d+ tokens were drawn by then; "
    assert re.fullmatch(said + r"they are kept as Out\[\d+\]", line)
    [kept] = cell(f"{line.split()[-1]}.cost.calls")
    assert int(kept["data"]["text/plain"]) > 0


def test_nobody_is_shown_progress_where_a_program_executes_cells(cell: Any) -> None:
    cell(SLOW, attended=False)
    assert cell("its.solve('?', slowly, model);", attended=False) == []
