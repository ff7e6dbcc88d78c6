"""How much of a model's speed a live tree takes: ``python tests/watched_speed.py [MODEL]``.

A search draws in a real kernel, watched by a tree and not, in turns; a client reads what the kernel
sends as JupyterLab's server does, but no browser draws it.
"""

from __future__ import annotations

import statistics
import sys

from jupyter_client.manager import start_new_kernel

CODE = """
import time
import itslab as its
llm = its.load({model!r}, ignore_eos=True)
sampling = its.Sampling(max_tokens=32)
def drawn(watched, seed):
    strategy = its.BeamSearch(its.Confidence(), width=4, expand=4, depth=6, sampling=sampling)
    handle = its.start("Tell of a journey.", strategy, llm, seed=seed, paused=True)
    if watched:
        from IPython.display import display
        view = its.view(handle)
        display(view)
    drawn, began = llm.stats.drawn, time.perf_counter()
    handle.resume()
    handle.result()
    speed = (llm.stats.drawn - drawn) / (time.perf_counter() - began)
    if watched:
        view.wait()
    return speed
drawn(False, 0)
speeds = [(drawn(False, 2 * i + 1), drawn(True, 2 * i + 2)) for i in range({rounds})]
for plain, watched in speeds:
    print(f"{{plain:.2f}} {{watched:.2f}}", flush=True)
"""


def main(model: str = "qwen2.5-coder-0.5b", rounds: int = 5) -> None:
    """Measure it and print the ratio, round by round."""
    manager, client = start_new_kernel()
    lines: list[str] = []

    def hear(message: dict) -> None:
        if message["msg_type"] == "stream":
            lines.append(message["content"]["text"])
        elif message["msg_type"] == "error":
            print("\n".join(message["content"]["traceback"]))

    try:
        code = CODE.format(model=model, rounds=rounds)
        client.execute_interactive(code, output_hook=hear, timeout=1200)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    pairs = [tuple(map(float, line.split())) for line in "".join(lines).splitlines()]
    ratios = [watched / plain for plain, watched in pairs]
    for (plain, watched), ratio in zip(pairs, ratios, strict=True):
        print(f"{plain:6.1f} tokens/s alone, {watched:6.1f} watched: {ratio:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
