"""The engine with a real small model: batching, prefixes, cancelling, determinism, bad input."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tiny_reward import Tiny

from itslab import models
from itslab.backends.engine import Engine
from itslab.backends.llama import Llama
from itslab.backends.native import Context
from itslab.backends.scheduler import Service
from itslab.backends.sequence import Distribution
from itslab.core import (
    BackendError,
    Completion,
    Cost,
    ModelError,
    OptionError,
    Piece,
    PromptTooLong,
    Request,
    Sampling,
    Signals,
    as_messages,
)

GREEDY = Sampling(temperature=0, max_tokens=12)
WARM = Sampling(temperature=1, top_p=1, top_k=0, max_tokens=12)

Load = Callable[..., Llama]


@pytest.fixture
def load(small_model: models.ModelFile) -> Iterator[Load]:
    """Load the small model with some options; closed after the test."""
    opened: list[Llama] = []

    def load(**options: object) -> Llama:
        options = {"batch_size": 4, "context": 256, "threads": 1, **options}
        opened.append(Llama(small_model.path, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield load
    for llm in opened:
        llm.close()


def ask(text: str, sampling: Sampling = WARM, n: int = 1, **more: object) -> Request:
    return Request(as_messages(text), sampling=sampling, n=n, **more)  # type: ignore[arg-type]


def total(rows: list[list[Completion]]) -> Cost:
    return sum((c.cost for row in rows for c in row), Cost())


def wait_until(is_so: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- prefixes --------------------------------------------------------------------------------------


def test_n_samples_evaluate_their_prompt_once(load: Load) -> None:
    llm = load()
    request = ask("Name a river in Africa.", n=10)  # more samples than streams
    prompt = len(llm.tokens(request))
    cost = total(llm.generate([request]))
    assert (cost.prefilled, cost.reused, cost.calls) == (prompt, 9 * prompt, 10)
    assert total(llm.generate([request])).prefilled == 0


def test_every_fork_draws_its_own_first_token(load: Load) -> None:
    [row] = load(batch_size=16).generate([ask("Write any word.", n=16)])
    assert len({c.tokens[0] for c in row}) > 3


def test_requests_that_begin_alike_share_the_beginning(load: Load) -> None:
    llm = load()
    shared = "Here is a long introduction that both of the questions below have in common. " * 3
    requests = [ask(shared + end, GREEDY) for end in ("What is it about?", "How long is it?")]
    a, b = (llm.tokens(r) for r in requests)
    common = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    assert total(llm.generate(requests)).prefilled == len(a) + len(b) - common


def test_a_tree_of_200_nodes_evaluates_each_token_once(load: Load) -> None:
    """Prefilled and decoded rows over the distinct tokens of the tree: at most 1.02."""
    llm = load(batch_size=8, context=512)
    root = ask("Tell me a story about a fox.", Sampling(max_tokens=5, temperature=1))
    rng = np.random.default_rng(0)
    open_nodes: list[tuple[Piece, ...]] = [()]
    distinct = {llm.tokens(root)[: i + 1] for i in range(len(llm.tokens(root)))}
    nodes = 0
    while nodes < 200:
        chosen = rng.choice(len(open_nodes), min(4, len(open_nodes)), replace=False)
        parents = [open_nodes[i] for i in chosen]
        requests = [
            Request(root.messages, parent, root.sampling, n=2, seed=nodes + i)
            for i, parent in enumerate(parents)
        ]
        for request, row in zip(requests, llm.generate(requests), strict=True):
            for c in row:
                nodes += 1
                path = (*request.prefix, Piece(c.text, c.tokens))
                tokens = llm.tokens(Request(root.messages, path))
                distinct |= {tokens[: i + 1] for i in range(len(tokens))}
                if c.finish == "length" and len(path) < 12:
                    open_nodes.append(path)
    assert llm.stats.evaluated / len(distinct) <= 1.02


def test_a_continued_sample_is_on_its_own_token_ids(load: Load) -> None:
    """Greedy text drawn in two parts is the text drawn at once, token by token."""
    llm = load()
    [[whole]] = llm.generate([ask("Count from one to ten.", GREEDY)])
    [[start]] = llm.generate([ask("Count from one to ten.", Sampling(temperature=0, max_tokens=5))])
    rest = ask("Count from one to ten.", GREEDY, prefix=(Piece(start.text, start.tokens),))
    [[end]] = llm.generate([rest])
    assert (start.tokens + end.tokens)[:12] == whole.tokens
    assert (start.text + end.text).startswith(whole.text)
    assert end.cost.prefilled <= 1  # the last token had been drawn, not evaluated


def test_appended_text_is_continued(load: Load) -> None:
    request = ask("What is the capital of France?", GREEDY, prefix=(Piece("The capital is Par"),))
    [[completion]] = load().generate([request])
    assert completion.text.startswith("is")


def test_without_a_prefix_cache_everything_still_comes_out_the_same(load: Load) -> None:
    requests = [ask(f"Say {word}.", GREEDY) for word in ("yes", "no", "perhaps", "never", "so")]
    texts = [[c.text for [c] in load(prefix_cache=p).generate(requests)] for p in (0, 10**8)]
    assert texts[0] == texts[1]


# -- batching --------------------------------------------------------------------------------------


def test_threads_share_one_batch(load: Load) -> None:
    llm = load(batch_size=8)
    requests = [ask(f"Tell me something about the number {i}.") for i in range(8)]
    threads = [threading.Thread(target=llm.generate, args=([r],)) for r in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert llm.stats.live / llm.stats.steps > 4


def test_same_seed_same_samples_other_seed_or_index_other_samples(load: Load) -> None:
    llm = load()

    def draw(**more: int) -> list[str]:
        return [c.text for c in llm.generate([ask("Invent a name.", **more)])[0]]

    four = draw(n=4)
    assert draw(n=4) == four
    assert draw(n=2, first=2) == four[2:]
    assert draw(n=4, seed=1) != four


def test_log_probabilities_are_those_of_the_model(load: Load) -> None:
    """The same tokens, evaluated alone through the context, have the same log-probabilities."""
    llm = load(batch_size=1)
    choices = ("The", "A")
    request = ask("Describe the sea.", Sampling(max_tokens=8, signals=True, choices=choices))
    [[drawn]] = llm.generate([request])
    prompt = llm.tokens(request)
    llm.close()

    again = load(batch_size=1)
    model = again._model
    context = model.context(1, 256, 128, 1)
    tokens = (*prompt, *drawn.tokens)
    outputs = [False] * (len(prompt) - 1) + [True] * (len(drawn.tokens) + 1)
    context.decode(tokens, range(len(tokens)), [0] * len(tokens), outputs)
    rows = range(len(prompt) - 1, len(tokens) - 1)
    logits = np.stack([context.logits(row) for row in rows]).astype(np.float64)
    context.close()
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    chosen = np.log(p[np.arange(len(drawn.tokens)), list(drawn.tokens)])
    assert drawn.logprobs == pytest.approx(chosen, abs=0.15)  # the batch shapes differ
    assert drawn.signals.entropies == pytest.approx(-(p * np.log(p)).sum(1), abs=0.15)
    uniform = -np.log(p * p.shape[1])
    assert drawn.signals.certainties == pytest.approx(uniform.mean(1), abs=0.15)
    assert drawn.signals.confidences == pytest.approx(
        -np.log(np.sort(p)[:, -20:]).mean(1), abs=0.15
    )
    first = [model.tokenize(text)[0] for text in choices]
    assert drawn.choices == pytest.approx(np.log(p[0, first]), abs=0.15)


def test_the_state_is_the_one_the_last_token_was_drawn_from(load: Load) -> None:
    llm = load()
    request = ask("Describe the sea.", Sampling(max_tokens=8, signals=True), n=2)
    plain = replace(request, sampling=Sampling(max_tokens=8))
    [drawn] = llm.generate([request])
    [without] = llm.generate([plain])
    assert [c.tokens for c in drawn] == [c.tokens for c in without]  # measuring changes nothing
    assert without[0].signals == Signals()

    model = llm._model
    for sample in drawn:
        assert len(sample.signals.entropies) == len(sample.tokens)
        context = model.context(1, 256, 128, 1)
        tokens = (*llm.tokens(request), *sample.tokens[:-1])
        outputs = [False] * (len(tokens) - 1) + [True]
        context.decode(tokens, range(len(tokens)), [0] * len(tokens), outputs, states=True)
        assert sample.signals.state == pytest.approx(context.state(len(tokens) - 1), abs=0.3)
        context.close()


def test_costs_add_up(load: Load) -> None:
    llm = load()
    rows = llm.generate([ask("Why is the sky blue?", n=3), ask("Why is grass green?", n=3)])
    cost = total(rows)
    assert cost.decoded == llm.stats.drawn
    assert cost.seconds == pytest.approx(llm.stats.busy, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"batch_size": 8, "deterministic": True}])
def test_flops_are_those_of_what_was_evaluated_once(load: Load, options: dict) -> None:
    llm = load(**options)
    request = ask("Tell me about the sea.", Sampling(max_tokens=12, signals=True), n=3)
    [row] = llm.generate([request])
    [[cut]] = llm.generate([replace(request, n=1, first=3, sampling=Sampling(max_tokens=1))])
    prompt = llm.tokens(request)
    ends = [len(prompt) + c.cost.decoded - 1 for c in row]  # the last token is only drawn
    attended = [*range(1, len(prompt) + 1)]
    for end in ends:
        attended += range(len(prompt) + 1, end + 1)
    outputs = 1 + sum(c.cost.decoded - 1 for c in row)  # forks draw from the same first logits
    shape = llm.shape
    weights = shape.matrices * len(attended) + shape.head * outputs
    assert total([row]).flops == 2 * (weights + shape.attention * sum(attended))
    assert (cut.cost.prefilled, cut.cost.reused, cut.cost.flops) == (0, len(prompt), 0)


def test_a_step_that_failed_is_not_charged_twice(load: Load, monkeypatch) -> None:
    llm = load()
    [[plain]] = llm.generate([ask("Tell me a joke.", GREEDY)])
    llm.close()
    decode = Context.decode
    monkeypatch.setattr("itslab.backends.engine.PREFILL_ROWS", 16)
    for failing in (2, 6):  # while it reads its prompt, and while it draws
        again = load()
        steps = count(1)

        def fail(self: Context, *args, steps=steps, failing=failing, **options) -> None:
            if next(steps) == failing:
                raise BackendError("out of luck")
            decode(self, *args, **options)

        monkeypatch.setattr(Context, "decode", fail)
        [[sample]] = again.generate([ask("Tell me a joke.", GREEDY)])
        assert sample.tokens == plain.tokens
        assert replace(sample.cost, seconds=0) == replace(plain.cost, seconds=0)


def test_streaming_ends_with_the_whole_text(load: Load) -> None:
    llm = load()
    pieces = list(llm.stream(ask("Tell me a joke.", GREEDY)))
    [[completion]] = llm.generate([ask("Tell me a joke.", GREEDY)])
    assert len(pieces) > 3
    assert "".join(pieces) == completion.text


def test_a_full_context_ends_a_sample(load: Load) -> None:
    llm = load(context=64)
    [[c]] = llm.generate([ask("Count as far as you can.", Sampling(max_tokens=500))])
    assert c.finish in ("length", "end")
    assert c.cost.decoded <= 64


# -- determinism -----------------------------------------------------------------------------------


def test_deterministic_mode_does_not_depend_on_what_else_runs(load: Load) -> None:
    llm = load(batch_size=8, deterministic=True)
    request = ask("Tell me about rain.", Sampling(max_tokens=24), n=3)
    others = [ask(f"Tell me about {x}.", n=2) for x in ("snow", "wind", "clouds and much more")]
    [alone] = llm.generate([request])
    [together, *_] = llm.generate([request, *others])
    *_, last = llm.generate([*others, request])
    for row in (together, last):
        assert [c.tokens for c in row] == [c.tokens for c in alone]
        assert [c.logprobs for c in row] == [c.logprobs for c in alone]


# -- leaving early ---------------------------------------------------------------------------------


def test_cancelling_takes_effect_within_a_step_and_charges_what_was_drawn(load: Load) -> None:
    llm = load()
    cancel, seen = threading.Event(), []

    def stop_early(i: int, j: int, text: str) -> None:
        seen.append(text)
        if len(seen) == 6:
            cancel.set()

    long = Sampling(temperature=1, max_tokens=200)
    [row] = llm.generate([ask("Write a long poem.", long, n=6)], on_text=stop_early, cancel=cancel)
    assert {c.finish for c in row} == {"cancelled"}
    assert 0 < total([row]).decoded < 40
    assert [c.cost.calls for c in row][4:] == [0, 0]  # these two had no place yet


def test_an_error_in_a_callback_drops_the_samples_and_the_engine_goes_on(load: Load) -> None:
    llm = load()

    def fail(i: int, j: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llm.generate([ask("Write a long poem.", Sampling(max_tokens=200), n=4)], on_text=fail)
    began = time.perf_counter()
    llm.generate([ask("Hi.", GREEDY)])
    assert time.perf_counter() - began < 10
    assert llm.stats.drawn < 100


def test_closing_fails_what_is_under_way_and_later_requests(load: Load) -> None:
    llm = load()
    threading.Timer(0.3, llm.close).start()
    with pytest.raises(BackendError, match="closed"):
        llm.generate([ask("Write a novel.", Sampling(max_tokens=240, temperature=1), n=4)])
    with pytest.raises(BackendError, match="load it again"):
        llm.generate([ask("Hi.")])


def test_a_failed_step_is_repeated_from_the_tokens(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, decode, calls = load(), Context.decode, []

    def failing(self: Context, *args: object) -> None:
        calls.append(args)
        if len(calls) == 5:
            raise BackendError("llama_decode returned -3")
        decode(self, *args)  # type: ignore[arg-type]

    [whole] = llm.generate([ask("Count to ten.", GREEDY, n=2)])
    monkeypatch.setattr(Context, "decode", failing)
    [row] = llm.generate([ask("Count to ten.", GREEDY, n=2)])
    assert [c.text for c in row] == [c.text for c in whole]


def test_a_step_that_always_fails_fails_its_samples_only(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = load()

    def failing(self: Context, *args: object) -> None:
        raise BackendError("llama_decode returned -3")

    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", failing)
        with pytest.raises(BackendError, match="-3"):
            llm.generate([ask("Hi.", n=2)])
    assert llm.generate([ask("Hi.", GREEDY)])[0][0].tokens


# -- what llama.cpp would abort on -----------------------------------------------------------------


def test_a_prompt_longer_than_the_context_is_refused(load: Load) -> None:
    llm = load(context=64)
    with pytest.raises(PromptTooLong, match=r"the context holds 64.*larger context"):
        llm.generate([ask("word " * 100)])


def test_a_prompt_longer_than_a_batch_is_evaluated_in_parts(load: Load) -> None:
    llm = load(context=1024, batch_size=2)
    request = ask("many words " * 300, GREEDY, n=2)
    assert len(llm.tokens(request)) > 600
    assert all(c.cost.decoded for c in llm.generate([request])[0])


def test_more_streams_than_rows_of_a_chunk_make_a_larger_batch(load: Load) -> None:
    llm = load(batch_size=200, context=32)
    [row] = llm.generate([ask("Hi", Sampling(max_tokens=2), n=200)])
    assert len(row) == 200


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 257),
        ("context", 1),
        ("context", 10**7),
        ("threads", -1),
        ("prefix_cache", -1),
        ("device", "gpu"),
    ],
)
def test_bad_options_name_the_value_and_the_valid_ones(
    load: Load, option: str, value: object
) -> None:
    with pytest.raises(OptionError, match=rf"{option}={value!r}.*must be"):
        load(**{option: value})


def test_a_device_the_build_lacks_is_refused_with_the_reinstall_line(load: Load) -> None:
    with pytest.raises(OptionError, match=r"CMAKE_ARGS=.-DGGML_CUDA=on"):
        load(device="cuda")


def test_a_context_larger_than_memory_is_refused(load: Load) -> None:
    with pytest.raises(BackendError, match="GiB are free: choose a smaller"):
        load(batch_size=256, context=8192)


def test_a_file_that_llama_cpp_cannot_load_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"bad\.gguf"):
        Llama(file)


def test_impossible_batches_are_refused_before_llama_cpp_sees_them(load: Load) -> None:
    engine: Engine = load()._engine
    context = engine._context
    too_many = context.batch + 1
    with pytest.raises(BackendError):
        context.decode([1] * too_many, range(too_many), [0] * too_many, [False] * too_many)
    with pytest.raises(BackendError):
        context.decode([1], [0], [context.streams], [True])
    sampler = _sampler()
    context.decode([1, 2], [0, 1], [0, 0], [False, True])
    with pytest.raises(BackendError, match="row 0"):
        context.sample(sampler, 0)
    sampler.close()


def _sampler():  # type: ignore[no-untyped-def]
    from itslab.backends.native import Sampler

    return Sampler(Sampling(), 1)


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"n": -1}, {"max_tokens": 0}, {"max_tokens": -1}, {"temperature": -1}]
)
def test_counts_below_one_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(bad))}="):
        Request(as_messages("x"), n=bad["n"]) if "n" in bad else Sampling(**bad)  # type: ignore[arg-type]


def test_who_continues_what_is_at_hand_goes_before_who_is_new(load: Load) -> None:
    llm = load(batch_size=1)
    story = ask("Tell a story about the sea and a ship. " * 3, Sampling(max_tokens=24))
    [[told]] = llm.generate([story])
    goes_on = replace(story, prefix=(Piece(told.text, told.tokens),), sampling=GREEDY)
    new = [ask(f"{animal} and what they eat: write a poem. " * 4) for animal in ("Cats", "Owls")]
    order: list[int] = []
    llm.generate([*new, goes_on], on_sample=lambda i, j, sample: order.append(i))
    assert order == [2, 0, 1]


def test_a_higher_priority_is_drawn_first_and_a_deadline_before_those_without(load: Load) -> None:
    llm = load(batch_size=1)
    order: list[str] = []

    def draw(name: str, tokens: int, service: Service) -> None:
        llm.generate([ask(f"{name}: go on.", Sampling(max_tokens=tokens))], service=service)
        order.append(name)

    asked = {
        "first": (150, Service()),
        "plain": (2, Service()),
        "soon": (2, Service(deadline=time.monotonic() + 60)),
        "urgent": (2, Service(priority=1)),
    }
    threads = []
    for i, (name, options) in enumerate(asked.items()):
        threads.append(threading.Thread(target=draw, args=(name, *options)))
        threads[-1].start()
        wait_until(lambda expected=i + 1: len(llm._engine._everyone()) == expected)
    for thread in threads:
        thread.join(60)
    assert order == ["first", "urgent", "soon", "plain"]


def test_callers_take_turns_in_the_batch(load: Load) -> None:
    llm = load(batch_size=2)
    order: list[str] = []

    def draw(name: str, n: int) -> None:
        llm.generate(
            [ask(f"{name}: go on.", Sampling(max_tokens=8), n=n)],
            on_sample=lambda i, j, sample: order.append(name),
            service=Service(caller=name),
        )

    many = threading.Thread(target=draw, args=("many", 12))
    many.start()
    wait_until(llm._engine._everyone)
    draw("few", 3)
    many.join(60)
    assert order[10:] == ["many"] * 5


def test_past_the_end_of_the_turn_a_sample_goes_on_if_it_shall(load: Load) -> None:
    request = ask("Say yes.", Sampling(temperature=0, max_tokens=100))
    [[ends]] = load().generate([request])
    ignoring = load(ignore_eos=True, digest="ab")
    [[goes_on]] = ignoring.generate([request])
    assert ends.finish == "end"
    assert (goes_on.finish, len(goes_on.tokens), goes_on.cost.decoded) == ("length", 100, 100)
    assert goes_on.tokens[: len(ends.tokens)] == ends.tokens
    assert ignoring.digest != load(digest="ab").digest
    assert "end of turn ignored" in ignoring.provenance


def test_prompts_beside_samples_with_signals_are_evaluated_in_steps_of_their_own(
    load: Load,
) -> None:
    llm = load(batch_size=4)
    measured = ask("Describe the sea.", Sampling(max_tokens=40, signals=True), n=2)
    late = [ask(f"{word} " * 60, GREEDY) for word in ("sea", "ship")]
    together = llm.generate([measured, *late])
    assert all(len(c.signals.state) == llm._model.n_embd for c in together[0])
    assert all(len(c.signals.entropies) == len(c.tokens) for c in together[0])
    for request, [sample] in zip(late, together[1:], strict=True):
        assert sample.cost.prefilled + sample.cost.reused == len(llm.tokens(request))
        assert sample.signals == Signals()


# -- nonsense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {option: value}
        for option in (
            "batch_size",
            "context",
            "threads",
            "prefix_cache",
            "device",
            "deterministic",
        )
        for value in (2.5, "4", [8], np.int64(8), float("nan"), float("inf"), -1)
    ]
    + [
        {"threads": 100_000},
        {"threads": True},
        {"batch_size": None},
        {"name": 3},
        {"digest": None},
    ],
)
def test_nonsense_is_refused_when_loading(load: Load, options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(options))}=[^\n]*must be[^\n]*$"):
        load(**options)


@pytest.mark.parametrize(
    "arguments",
    [
        {"cancel": True},
        {"cancel": threading.Event},
        {"on_text": "print"},
        {"on_sample": 1},
        {"requests": None},
        {"requests": "Hi"},
        {"requests": ["Hi"]},
        {"requests": ask("Hi")},
        {"service": "high"},
    ],
)
def test_nonsense_in_a_call_is_refused_and_the_engine_goes_on(
    load: Load, arguments: dict[str, object]
) -> None:
    llm = load()
    with pytest.raises(OptionError, match=f"^{next(iter(arguments))}="):
        llm.generate(**{"requests": [ask("Hi", GREEDY)]} | arguments)  # type: ignore[arg-type]
    assert llm.generate([ask("Hi", GREEDY)])[0][0].tokens


def test_a_cancel_that_raises_ends_its_own_samples_only(load: Load) -> None:
    class Odd(threading.Event):
        def is_set(self) -> bool:
            raise RuntimeError("odd")

    llm = load(batch_size=2)
    with pytest.raises(RuntimeError, match="odd"):
        llm.generate([ask("Hi", GREEDY, n=4)], cancel=Odd())
    assert llm.generate([ask("Hi", GREEDY)])[0][0].tokens


def test_logits_that_are_no_numbers_end_their_own_sample_only(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, read, rows = load(), Distribution.read, []
    [[alone]] = llm.generate([ask("Count to ten.", GREEDY)])

    def broken(self: Distribution, logits: np.ndarray) -> None:
        rows.append(logits)  # each is drawn from; which call this is depends on who came first
        read(self, np.full_like(logits, np.nan) if len(rows) == 5 else logits)

    monkeypatch.setattr(Distribution, "read", broken)
    ends: dict[str, object] = {}

    def draw(text: str) -> None:
        try:
            [[ends[text]]] = llm.generate([ask(text, GREEDY)])
        except BackendError as error:
            ends[text] = error

    threads = [threading.Thread(target=draw, args=(t,)) for t in ("Count to ten.", "Hello.")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [failed] = [end for end in ends.values() if isinstance(end, BackendError)]
    assert "no numbers" in str(failed)
    assert llm.generate([ask("Count to ten.", GREEDY)])[0][0].tokens == alone.tokens


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_file_of_nans_fails_each_request_and_nothing_else(tmp_path: Path, value: float) -> None:
    tiny = Tiny()
    tiny.weights["output_norm.weight"][:] = value
    with Llama(tiny.write(tmp_path / "nan.gguf"), batch_size=4, context=256, threads=1) as llm:
        for _ in range(2):
            with pytest.raises(BackendError, match="logits that are no numbers"):
                llm.generate([ask("Hi", n=6)])
        assert llm._engine._thread.is_alive()


@pytest.mark.parametrize(
    "odd",
    [
        {"temperature": 1e-40},
        {"temperature": 1e30},
        {"top_k": 2**40},
        {"min_p": 1.0},
        {"top_p": 1e-12},
        {"max_tokens": 10**12},
        {"stop": ("\0",)},
    ],
)
def test_odd_options_are_sampled_by(load: Load, odd: dict[str, object]) -> None:
    sampling = replace(Sampling(max_tokens=6, top_k=0), **odd)  # type: ignore[arg-type]
    [[sample]] = load(context=64).generate([ask("Count to ten.", sampling)])
    assert sample.tokens
    if odd.get("temperature") == 1e-40:
        [[greedy]] = load(context=64).generate(
            [ask("Count to ten.", replace(GREEDY, max_tokens=6))]
        )
        assert sample.tokens == greedy.tokens
