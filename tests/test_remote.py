"""Faults and vLLM's own fields, against a server of ours; the contract suite runs a real one."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fake_vllm import FakeVLLM, Fault

from itslab.backends.remote import Remote
from itslab.core import (
    BackendError,
    Completion,
    Message,
    OptionError,
    Piece,
    PromptRefused,
    PromptTooLong,
    Request,
    Sampling,
    Shape,
)
from itslab.handle import solve
from itslab.run import Run
from itslab.strategies import ChainOfThought
from itslab.viz.panels import ending

pytestmark = pytest.mark.slow

ASK = (Message("user", "Name a colour"),)
SHORT = Sampling(max_tokens=5)


def remote(vllm: FakeVLLM, **options) -> Remote:
    return Remote(vllm.model, vllm.url, **{"patience": 3, "timeout": 5, **options})


def draw(backend: Remote, sampling: Sampling = SHORT, **options) -> Completion:
    [[sample]] = backend.generate([Request(ASK, sampling=sampling)], **options)
    return sample


def saying(*tokens: str):
    """Speak these tokens and end the turn."""
    return lambda body: [(token, -0.25) for token in tokens]


# -- what is sent ----------------------------------------------------------------------------------


def test_sampling_reaches_the_server_whole_and_its_own_defaults_are_switched_off(vllm):
    draw(remote(vllm), Sampling(temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, max_tokens=3))
    [sent] = vllm.calls
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "max_tokens": 3}
    assert wanted.items() <= sent.items()
    assert sent["repetition_penalty"] == 1.0
    assert "stop" not in sent


def test_keeping_all_tokens_is_spelled_as_the_server_spells_it(vllm):
    draw(remote(vllm), Sampling(top_k=0, max_tokens=3))
    draw(remote(vllm, server="llama-server"), Sampling(top_k=0, max_tokens=3))
    assert [sent["top_k"] for sent in vllm.calls] == [-1, 0]


def test_a_server_of_openais_kind_is_sent_nothing_that_openai_does_not_define(vllm):
    backend = remote(vllm, server="openai")
    draw(backend, Sampling(top_k=0, max_tokens=3))
    assert set(vllm.calls[0]) == {
        *("model", "messages", "temperature", "top_p", "max_tokens", "seed", "stream"),
        *("stream_options", "logprobs", "top_logprobs"),
    }
    with pytest.raises(OptionError, match=r"top_k=40 is not valid: top_k must be 0 .* openai"):
        draw(backend)


def test_every_sample_has_a_seed_of_its_own_that_never_changes(vllm):
    backend = remote(vllm, batch_size=1)
    other = (Message("user", "Name a metal"),)
    backend.generate([Request(ASK, seed=1, n=2), Request(ASK, seed=2), Request(other, seed=1)])
    backend.generate([Request(ASK, seed=1, first=1)])
    seeds = [sent["seed"] for sent in vllm.calls]
    assert len(set(seeds[:4])) == 4
    assert seeds[4] == seeds[1]
    assert seeds[0] == 702789370
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_models_own_turn_is_sent_as_a_message_to_continue(vllm):
    request = Request(ASK, prefix=(Piece("I say"), Piece(" red")), sampling=SHORT)
    remote(vllm).generate([request])
    [sent] = vllm.calls
    assert sent["messages"][-1] == {"role": "assistant", "content": "I say red"}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("server", ["openai", "llama-cpp-python"])
def test_a_server_that_cannot_continue_a_turn_is_not_asked_to(vllm, server):
    request = Request(ASK, prefix=(Piece("I say"),), sampling=Sampling(top_k=0))
    with pytest.raises(BackendError, match=f"cannot continue .* {server}: use one of vllm"):
        remote(vllm, server=server).generate([request])
    assert not vllm.calls


def test_what_no_server_tells_is_refused(vllm):
    with pytest.raises(OptionError, match="signals=True"):
        draw(remote(vllm), Sampling(signals=True))


# -- what comes back -------------------------------------------------------------------------------


def test_text_and_logprobs_come_back_token_by_token(vllm):
    vllm.speak = saying("red", " ×", " 17")
    sample = draw(remote(vllm))
    assert sample.text == "red × 17"
    assert sample.offsets == (3, 5, 8)
    assert sample.logprobs == (-0.25,) * 3  # the token that ends the turn is not part of it
    assert sample.tokens == ()
    assert sample.finish == "end"


@pytest.mark.parametrize("stop", [(), (" so",), ("n b", "×")])
def test_chunks_of_several_tokens_make_no_difference(vllm, stop):
    request = Request(ASK, sampling=Sampling(max_tokens=40, stop=stop), n=8)
    [one_by_one] = remote(vllm).generate([request])
    vllm.tokens_per_chunk = 3
    [in_threes] = remote(vllm).generate([request])
    for a, b in zip(one_by_one, in_threes, strict=True):
        assert (a.text, a.offsets, a.logprobs, a.finish) == (
            *(b.text, b.offsets, b.logprobs, b.finish),
        )


@pytest.mark.parametrize("server", ["vllm", "llama-server"])
def test_a_stop_string_is_told_from_the_end_of_the_turn_and_the_limit(vllm, server):
    vllm.speak = saying("red", ".", "\n", "\n", "blue")
    backend = remote(vllm, server=server)
    ended = draw(backend, Sampling(stop=("green",)))
    assert (ended.text, ended.finish) == ("red.\n\nblue", "end")
    stopped = draw(backend, Sampling(stop=("\n\n",)))
    assert (stopped.text, stopped.finish, stopped.offsets) == ("red.", "stop", (3, 4))
    kept = draw(backend, Sampling(stop=("\n\n",), include_stop=True))
    assert (kept.text, kept.finish, kept.offsets) == ("red.\n\n", "stop", (3, 4, 5, 6))
    short = draw(backend, Sampling(stop=("\n\n",), max_tokens=2))
    assert (short.text, short.finish) == ("red.", "length")


def test_text_that_may_become_a_stop_string_is_not_shown_before_it_is_clear(vllm):
    vllm.speak = saying("a", "\n", "b", "\n", "\n", "c")
    pieces = []
    draw(
        remote(vllm),
        Sampling(stop=("\n\n",)),
        on_text=lambda i, j, piece: pieces.append(piece),
    )
    assert pieces == ["a", "\nb"]


def test_the_cost_is_what_the_server_says(vllm):
    vllm.cached_tokens = 2
    cost = draw(remote(vllm, shape=Shape(100, 10, 1))).cost
    assert (cost.prefilled, cost.reused, cost.decoded, cost.calls) == (1, 2, 5, 1)
    # the last token is drawn but not evaluated: positions 2 to 6, each followed by a drawn one
    assert cost.flops == 2 * (5 * 100 + 5 * 10 + (3 + 4 + 5 + 6 + 7) * 1)
    assert draw(remote(vllm)).cost.flops == 0


def test_the_seconds_of_samples_drawn_at_once_add_up_to_the_time_it_took(vllm):
    vllm.delay = 0.02
    began = time.monotonic()
    [samples] = remote(vllm).generate([Request(ASK, sampling=SHORT, n=8)])
    elapsed = time.monotonic() - began
    spent = sum(sample.cost.seconds for sample in samples)
    assert 0.02 * 7 <= spent <= elapsed


def test_a_parted_reasoning_is_kept_and_priced(vllm):
    vllm.reasons = True
    sample = draw(remote(vllm))
    assert sample.text.startswith("<think>")
    assert sample.cost.decoded == len(sample.offsets) == 5


def chunk(delta, finish=None, **fields):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "", "object": "chat.completion.chunk", "choices": [choice], **fields}


def test_reasoning_stands_before_the_answer_and_each_is_counted(vllm):
    vllm.script = [
        chunk({"reasoning_content": "2 and 2"}),
        chunk({"reasoning_content": " is 4"}),
        chunk({"content": "4"}),
        chunk({}, "stop"),
    ]
    sample = draw(remote(vllm))
    assert (sample.text, sample.finish) == ("<think>2 and 2 is 4</think>4", "end")
    assert sample.cost.decoded == 3


def test_a_server_that_ignores_the_limit_is_cut_off_there(vllm):
    vllm.deaf = True
    sample = draw(remote(vllm))
    assert (sample.finish, len(sample.offsets)) == ("length", 5)
    assert sample.cost.decoded <= 6
    wait_until(lambda: vllm.busy == 0)


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", "odd"])
def test_a_sample_that_the_server_ends_fails_alone(vllm, reason):
    vllm.script = [chunk({"content": "red"}), chunk({}, reason)]
    backend = remote(vllm, batch_size=1)
    with pytest.warns(UserWarning, match=f"ended sample 0 for '{reason}'"):
        [samples] = backend.generate([Request(ASK, sampling=SHORT, n=2)])
    assert (samples[0].text, samples[0].finish, samples[0].refused) == ("red", "cancelled", reason)
    assert samples[0].cost.decoded == 1
    assert (samples[1].finish, samples[1].refused) == ("length", "")


@pytest.mark.filterwarnings("ignore:.*ended sample 0")
def test_why_a_server_ended_a_sample_is_told_by_the_run(vllm):
    vllm.script = [chunk({"content": "red"}), chunk({}, "content_filter")]
    strategy = ChainOfThought(instruction="", sampling=SHORT)
    result = solve("Which colour?", strategy, remote(vllm))
    assert result.stopped_by == "server"
    assert ending(result.stopped_by, result.cost) == "ended by the server"
    [done] = [event for event in result.tree.events if event.kind == "done"]
    assert (done.data["finish"], done.data["refused"]) == ("cancelled", "content_filter")
    vllm.script = [chunk({"content": "Yes"}), chunk({}, "content_filter")]
    run = Run(remote(vllm), str.strip)
    with pytest.warns(UserWarning, match="ended sample 0"):
        [drawn] = run.ask([Request(ASK, sampling=SHORT)], run.backend)
    assert (drawn.completions, drawn.why) == ((), "the server ended a sample: content_filter")


@pytest.mark.parametrize(
    ("fields", "prefilled"),
    [
        ({"timings": {"prompt_n": 3, "predicted_n": 2}}, 3),
        ({"timings": {"prompt_n": None}}, 0),
        ({"usage": {"prompt_tokens": None, "completion_tokens": None}}, 0),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 2}}, 7),
        ({"usage": None}, 0),
    ],
)
def test_what_a_server_leaves_out_of_its_figures_is_not_missed(vllm, fields, prefilled):
    entry = {"token": "red", "logprob": None, "bytes": None, "top_logprobs": None}
    first = chunk({"content": "red"})
    first["choices"][0]["logprobs"] = {"content": [entry]}
    vllm.script = [first, chunk({"content": " it is"}), chunk({}, "stop", **fields)]
    vllm.script.append({"id": "", "choices": None})
    sample = draw(remote(vllm))
    assert (sample.text, sample.logprobs, sample.offsets) == ("red it is", (), ())
    assert (sample.cost.prefilled, sample.cost.decoded) == (prefilled, 2)


def test_a_limit_under_its_newer_name_is_asked_for_once(vllm):
    vllm.faults = [Fault(400, "'max_tokens' is not supported: use 'max_completion_tokens'")]
    backend = remote(vllm, batch_size=1)
    vllm.script = [chunk({"content": "red"}), chunk({}, "stop")]
    assert draw(backend).text == "red"
    vllm.script = [chunk({"content": "red"}), chunk({}, "stop")]
    draw(backend)
    names = [[name for name in sent if name.startswith("max")] for sent in vllm.calls]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


# -- faults that pass ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(503),
        Fault(408),
        Fault(cut=0),
        Fault(cut=2),
        Fault(cut=2, politely=True),
        Fault(silence=1),
    ],
    ids=str,
)
def test_a_passing_fault_is_tried_again(vllm, fault):
    expected = draw(remote(vllm))
    vllm.faults = [fault]
    sample = draw(remote(vllm, timeout=0.5))
    assert sample.text == expected.text
    assert len(vllm.calls) == 3


def test_tokens_of_a_lost_try_are_charged(vllm):
    vllm.faults = [Fault(cut=3)]  # a role, two tokens
    assert draw(remote(vllm)).cost.decoded == 2 + 5


@pytest.mark.parametrize("dated", [False, True])
def test_the_server_may_say_when_to_come_back(vllm, dated):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    vllm.faults = [Fault(429, headers={"Retry-After": date if dated else "1"})]
    began = time.monotonic()
    draw(remote(vllm))
    assert time.monotonic() - began >= (0.9 if dated else 1)  # a date has whole seconds


def test_a_wait_beyond_patience_is_not_begun(vllm):
    vllm.faults = [Fault(429, "slow down", {"Retry-After": "3600"})]
    began = time.monotonic()
    with pytest.raises(
        BackendError, match=f"{vllm.url} failed: .*429.*slow down.*lower batch_size="
    ):
        draw(remote(vllm))
    assert time.monotonic() - began < 2


def test_after_some_tries_the_error_names_the_server_and_the_fault(vllm):
    vllm.faults = [Fault(500, "out of memory")] * 20
    with pytest.raises(BackendError, match=rf"{vllm.url} failed: .*500.*out of memory.*\d tries"):
        draw(remote(vllm, patience=1))
    assert 2 <= len(vllm.calls) <= 8


def test_silence_is_named(vllm):
    vllm.faults = [Fault(silence=1)]
    with pytest.raises(BackendError, match=f"{vllm.url} took more than 0.2 s: raise timeout="):
        draw(remote(vllm, timeout=0.2, patience=0))


def test_samples_finished_before_an_error_have_been_handed_over(vllm):
    vllm.faults = [Fault(), Fault(), Fault(400, "no such option")]
    finished = []
    with pytest.raises(BackendError, match=r"no such option.*server="):
        remote(vllm, batch_size=1).generate(
            [Request(ASK, sampling=SHORT, n=4)], on_sample=lambda i, j, sample: finished.append(j)
        )
    assert finished == [0, 1]


# -- faults that stay ------------------------------------------------------------------------------


def test_a_wrong_key_is_named_at_once_and_never_shown():
    with FakeVLLM() as vllm:
        vllm.key = "right"
        with pytest.raises(BackendError, match=f"{vllm.url} failed: .*401.*api_key=") as error:
            remote(vllm, api_key="wr0ng")
        assert "wr0ng" not in str(error.value)
        with pytest.raises(BackendError, match="401"):
            draw(remote(vllm, api_key="wr0ng", server="vllm"))
        assert len(vllm.calls) == 1
        assert "right" not in repr(remote(vllm, api_key="right"))


@pytest.mark.parametrize("drip", [": wait\n\n", "data: {}\n\n"], ids=["comments", "chunks"])
def test_the_timeout_is_total(vllm, drip):
    vllm.drip = drip
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"took more than 0\.3 s: raise timeout="):
        draw(remote(vllm, timeout=0.3, patience=0))
    assert time.monotonic() - began < 2


def test_few_redirects_are_followed(vllm):
    here = {"Location": f"{vllm.url}/chat/completions"}
    vllm.faults = [Fault(307, headers=here)] * 50
    with pytest.raises(BackendError, match="redirects more than 3 times: name the final address"):
        draw(remote(vllm))
    assert len(vllm.calls) == 4


def test_secrets_are_shown_nowhere(vllm):
    vllm.faults = [Fault(400, "<html>\nbad key s3cret-key" + " of p@ss" * 200)] * 2
    url = vllm.url.replace("//", "//me:p%40ss@")
    backend = remote(vllm, api_key="s3cret-key", server="vllm")
    backend = Remote(vllm.model, url, "s3cret-key", server="vllm", patience=0)
    with pytest.raises(BackendError) as caught:
        draw(backend)
    text = "".join(traceback.format_exception(caught.value)) + repr(backend)
    assert "***" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    for secret in ("s3cret-key", "p@ss", "p%40ss"):
        assert secret not in text


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://me:s3cret@x/v1", "http://[s3cret", "http://x:s3cret/"]
)
def test_an_address_that_is_none_is_refused_and_not_shown(url):
    with pytest.raises(OptionError, match="base_url is not valid") as caught:
        Remote("m", url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", None, "s3cret\n", "s3crét", 7])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key):
    with pytest.raises(OptionError, match="api_key must be printable ASCII") as caught:
        Remote("m", "http://127.0.0.1:9/v1", key)
    assert "s3cr" not in str(caught.value)


def test_an_unknown_model_is_named_at_once(vllm):
    with pytest.raises(BackendError, match="does not serve 'some/modle', but some/model"):
        Remote("some/modle", vllm.url)
    with pytest.raises(BackendError, match=r"404.*check the model's name"):
        draw(Remote("some/modle", vllm.url, server="vllm"))
    assert len(vllm.calls) == 1


def test_a_server_that_is_down_is_named_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    began = time.monotonic()
    with pytest.raises(BackendError, match=f"{url} cannot be reached .*is the server running"):
        Remote("some/model", url)
    assert time.monotonic() - began < 5
    with pytest.raises(BackendError, match=r"cannot be reached .* tries"):
        draw(Remote("some/model", url, server="vllm", patience=0.5))


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 2048 tokens. However, your request has 3000",
        "request (6031 tokens) exceeds the available context size (1024 tokens)",
    ],
)
def test_a_prompt_that_is_too_long_is_an_error_of_its_own(vllm, message):
    vllm.faults = [Fault(400, message)]
    with pytest.raises(PromptTooLong, match=r"\d+ tokens"):
        draw(remote(vllm))
    assert len(vllm.calls) == 1


def test_a_prompt_that_a_filter_refuses_is_an_error_of_its_own(vllm):
    filtered = "The response was filtered: prompt triggering content management policy"
    vllm.faults = [Fault(400, filtered)]
    with pytest.raises(PromptRefused, match="refuses the prompt"):
        draw(remote(vllm))
    assert len(vllm.calls) == 1


def test_options_are_checked():
    with pytest.raises(OptionError, match=r"server='vlmm' is not valid: .* one of vllm, sglang"):
        Remote("m", "http://127.0.0.1:9/v1", server="vlmm")
    with pytest.raises(OptionError, match="batch_size=0"):
        Remote("m", "http://127.0.0.1:9/v1", batch_size=0)
    for option, value in (("timeout", "5"), ("patience", float("nan")), ("shape", 10**9)):
        with pytest.raises(OptionError, match=f"{option}="):
            Remote("m", "http://127.0.0.1:9/v1", **{option: value})


# -- threads and cancelling ------------------------------------------------------------------------


def test_calls_of_all_threads_together_stay_within_the_width(vllm):
    vllm.delay = 0.01
    backend = remote(vllm, batch_size=3)
    request = Request(ASK, sampling=SHORT, n=4)
    threads = [threading.Thread(target=backend.generate, args=([request],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(vllm.calls) == 12
    assert vllm.busiest == 3


def wait_until(condition, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_cancelling_closes_the_streams_and_charges_what_came(vllm):
    vllm.delay = 0.01
    cancel = threading.Event()
    request = Request(ASK, sampling=Sampling(max_tokens=10_000), n=3)
    begun = set()

    def on_text(i: int, j: int, piece: str) -> None:
        begun.add(j)
        if len(begun) == 2:
            cancel.set()

    [samples] = remote(vllm, batch_size=2).generate([request], on_text, cancel=cancel)
    assert [sample.finish for sample in samples] == ["cancelled"] * 3
    first, _, never_begun = samples
    assert first.cost.decoded == len(first.offsets) > 0
    assert first.cost.prefilled == 3
    assert first.cost.seconds > 0
    assert (never_begun.text, never_begun.cost.calls) == ("", 0)
    wait_until(lambda: vllm.abandoned == 2)


def test_cancelling_does_not_wait_for_a_silent_server(vllm):
    vllm.faults = [Fault(silence=30)]
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    began = time.monotonic()
    assert draw(remote(vllm, timeout=60), cancel=cancel).finish == "cancelled"
    assert time.monotonic() - began < 2


def test_an_error_in_a_callback_ends_the_calls(vllm):
    vllm.delay = 0.01

    def interrupt(i: int, j: int, piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(remote(vllm), Sampling(max_tokens=10_000), on_text=interrupt)
    wait_until(lambda: vllm.abandoned == 1)


def test_where_the_stream_is_searched_here_a_stop_string_closes_it(vllm):
    vllm.delay = 0.01
    sample = draw(remote(vllm, server="llama-server"), Sampling(max_tokens=10_000, stop=("17",)))
    assert sample.finish == "stop"
    assert sample.cost.decoded == len(sample.offsets) + 1
    wait_until(lambda: vllm.abandoned == 1)
