"""What shows only over time: memory, and a kernel that is interrupted."""

import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
from jupyter_client.manager import start_new_kernel

from itslab import models
from itslab.backends.llama import Llama
from itslab.core import Request, Sampling, as_messages


def resident(model: Path) -> tuple[int, int]:
    """Resident bytes after 500 requests, which fill the prefix cache, and after 2,000."""
    brief = Sampling(temperature=1, max_tokens=2, signals=True)
    process = psutil.Process()
    with Llama(model, batch_size=16, context=256, threads=1, prefix_cache=2**26) as llm:

        def serve(first: int, count: int) -> int:
            for seed in range(first, first + count, 50):
                llm.generate(
                    [Request(as_messages(f"{i}?"), (), brief, seed=seed) for i in range(50)]
                )
            return process.memory_info().rss

        return serve(0, 500), serve(500, 1500)


def test_memory_does_not_grow_over_2000_requests(small_model: models.ModelFile) -> None:
    """In a process of its own: what other tests left behind grows and shrinks as it likes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        before, after = alone.submit(resident, small_model.path).result()
    assert after < 1.02 * before


def test_loading_again_takes_under_two_seconds() -> None:
    file = models.resolve("qwen2.5-coder-0.5b", progress=False)
    Llama(file.path).close()

    def seconds() -> float:
        began = time.perf_counter()
        with Llama(models.resolve("qwen2.5-coder-0.5b", progress=False).path):
            return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 2  # other tests share the machine


def test_interrupting_a_cell_returns_promptly_and_the_next_cell_works(
    small_model: models.ModelFile, tmp_path: Path
) -> None:
    """In a real kernel, with the interrupt that JupyterLab sends."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:

        def run(code: str) -> str:
            client.execute(code)
            reply = client.get_shell_msg(timeout=60)["content"]
            return reply.get("ename", reply["status"])

        load = f"import itslab as its; llm = its.load({str(small_model.path)!r}, threads=1)"
        assert run(load) == "ok"
        client.execute(
            "its.solve('Write a novel.', its.SelfConsistency("
            "n=16, sampling=its.Sampling(temperature=1, max_tokens=1500)), llm)",
            stop_on_error=False,  # or what is asked right afterwards is turned away
        )
        time.sleep(2)
        began = time.perf_counter()
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=10)["content"]
        assert reply["ename"] == "Interrupted"
        drawn = r"16 samples and [\d,]+ tokens were drawn by then; they are kept as Out\[2\]"
        assert re.fullmatch(drawn, reply["evalue"])
        assert time.perf_counter() - began < 2
        assert run("r = Out[2]; assert r.stopped_by == 'stop' and r.tree.nodes[1].text") == "ok"
        # All that was drawn is paid for, and nothing is left open.
        assert (
            run("assert r.cost.calls == 16 and all(n.status == 'failed' for n in r.tree.nodes[1:])")
            == "ok"
        )
        assert run("assert its.solve('Hi', its.Direct(), llm).node.completion.tokens") == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
