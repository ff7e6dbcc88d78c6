"""The endpoint with a real model, asked by OpenAI's client, by curl and by our own ``Remote``."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import pytest

import itslab as its
import itslab.serving
from itslab import answers, serve
from itslab.backends.scheduler import current
from itslab.core import Completion, Cost, Message, OptionError, Piece, Request, Sampling
from itslab.run import Run
from itslab.serving import config, endpoint, load, wire
from itslab.serving.desk import Desk, Refused, ServerClosed, check_size
from itslab.serving.endpoint import NothingYet
from itslab.serving.limits import Limit, User, Users
from itslab.serving.lobby import Admission
from itslab.serving.narration import LINES, Narrator
from itslab.serving.order import Order
from itslab.serving.server import Server
from itslab.serving.tiers import Menu, Plain, Tier, adjusted, looked
from itslab.study.prices import Price
from itslab.testing import ScriptedModel

ASK = [{"role": "user", "content": "What is 17 + 25?"}]
TELL = [{"role": "user", "content": "Tell a very long story of a journey over the sea."}]
FEW = Sampling(max_tokens=24)
MANY = 1_000
"""Samples, more than any machine draws while a test looks on."""
LONG = 60.0
"""Seconds in which any machine does what a test waits for."""
TIERS = {
    "fast": Tier(its.SelfConsistency(1, sampling=FEW), priority=1),
    "balanced": Tier(looked(3), cheaper="fast"),
    "deep": Tier(looked(MANY), deadline=4.0, price=Price(output=2.0)),
}


@pytest.fixture(scope="module")
def served(llm) -> Iterator[Server]:
    """A server with three tiers."""
    with Server(Desk(Menu({"small": llm}, TIERS)), port=0) as server:
        yield server


@pytest.fixture
def client(served) -> openai.OpenAI:
    until(lambda: served.desk.load == (0, 0))  # for who draws alone draws the same again
    return openai.OpenAI(base_url=served.url, api_key="none", max_retries=0)


def until(there) -> None:
    """Wait for something."""
    end = time.monotonic() + LONG
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def settled(llm, work):
    """What the engine drew and evaluated while something was done."""
    drawn, evaluated = llm.stats.drawn, llm.stats.evaluated
    result = work()
    return result, llm.stats.drawn - drawn, llm.stats.evaluated - evaluated


# -- the model as it is ----------------------------------------------------------------------------


def test_models_tiers_and_strategies_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert names[:4] == ["small", "small@fast", "small@balanced", "small@deep"]
    assert {"small@best-of-n", "small@mcts", "small@beam-search"} <= set(names)
    deep, plain = (client.models.retrieve(name).itslab for name in ("small@deep", "small"))
    assert deep["deadline"] == 4.0
    assert deep["price"] == {**asdict(Price()), "output": 2.0}
    assert plain["price"] is None
    assert min(deep["predicted_tokens"], plain["predicted_tokens"]) > 0


def test_the_model_as_it_is_answers_and_is_billed_as_the_engine_counts(llm, client):
    answer, drawn, evaluated = settled(
        llm,
        lambda: client.chat.completions.create(
            model="small", messages=TELL, max_tokens=12, n=2, seed=0
        ),
    )
    assert {choice.finish_reason for choice in answer.choices} <= {"length", "stop"}
    assert answer.choices[0].message.content != answer.choices[1].message.content
    used, cost = answer.usage, answer.itslab["costs"]["smollm2-135m"]
    assert 0 < used.completion_tokens == drawn <= 24
    assert used.prompt_tokens == cost["prefilled"] + cost["reused"]
    assert cost["prefilled"] + cost["decoded"] - cost["calls"] == evaluated
    assert used.completion_tokens_details.reasoning_tokens == 0


def test_a_stream_says_the_same_as_a_whole_answer(client):
    options = {"model": "small", "messages": TELL, "max_tokens": 64, "temperature": 0}
    client.chat.completions.create(**options)  # from here on the prompt is known, and sums alike
    whole = client.chat.completions.create(**options)
    with client.chat.completions.create(
        **options, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = [*stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 1
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    ends = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert ends[-1] == whole.choices[0].finish_reason


def test_stop_strings_and_seeds_hold(client):
    def ask(**options):
        answer = client.chat.completions.create(
            model="small", messages=TELL, max_tokens=16, **options
        )
        return answer.choices[0]

    ask()  # from here on the prompt is known, and sums are alike
    assert ask(seed=3).message.content == ask(seed=3).message.content
    text = ask(temperature=0).message.content
    cut = ask(temperature=0, stop=[text[5:8]])
    assert cut.message.content == text[: text.index(text[5:8])]
    assert cut.finish_reason == "stop"


# -- strategies and tiers --------------------------------------------------------------------------


def test_a_tier_thinks_aloud_and_then_answers(llm, client):
    def ask():
        return [
            *client.chat.completions.create(
                model="small@balanced",
                messages=ASK,
                max_tokens=20,
                stream=True,
                stream_options={"include_usage": True},
            )
        ]

    chunks, drawn, _ = settled(llm, ask)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    said = [i for i, delta in enumerate(deltas) if delta.content]
    assert "\n1. " in thought
    assert "3. " in thought
    assert len(said) == 1
    assert thought.startswith(deltas[said[0]].content[:0])
    told = chunks[-1].itslab
    assert told["tier"] == "balanced"
    assert told["strategy"].startswith("Router(")
    assert chunks[-1].usage.completion_tokens == drawn
    details = chunks[-1].usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < drawn


def test_a_strategy_stands_in_the_name_or_in_the_body(client):
    named = client.chat.completions.create(
        model="small@self-consistency-3", messages=ASK, max_tokens=8, temperature=1.0
    )
    spec = {"use": "SelfConsistency", "n": 3, "sampling": {"max_tokens": 8, "temperature": 1.0}}
    written = client.chat.completions.create(
        model="small", messages=ASK, extra_body={"strategy": spec}
    )
    for answer in (named, written):
        assert answer.itslab["costs"]["smollm2-135m"]["calls"] == 3
        assert answer.usage.completion_tokens <= 24


def test_a_deadline_ends_with_the_best_so_far(client):
    for model, more in (("small@deep", {}), (f"small@best-of-{MANY}", {"deadline": 4})):
        began = time.monotonic()
        answer = client.chat.completions.create(messages=ASK, model=model, extra_body=more)
        assert 2 < time.monotonic() - began < LONG
        assert answer.itslab["seconds"] < LONG
        assert answer.itslab["ended_by"] == "deadline"
        assert answer.itslab["costs"]["smollm2-135m"]["decoded"] > 0


def test_who_hangs_up_is_worked_for_no_longer(llm, served):
    until(lambda: served.desk.load == (0, 0))
    body = {"model": f"small@self-consistency-{MANY}", "messages": ASK, "stream": True}
    with httpx.stream("POST", f"{served.url}/chat/completions", json=body) as answer:
        lines = answer.iter_lines()  # if it were forgotten, the answer would be closed
        next(lines)
        assert served.desk.load == (0, 1)
    until(lambda: served.desk.load == (0, 0))
    drawn = llm.stats.drawn
    time.sleep(0.5)
    assert llm.stats.drawn == drawn


TEXTS = {"choices": ["a"] * 99}
DEEP_TREE = {"use": "TreeOfThoughts", "order": "depth", "expand": 1, "depth": 10**10}


def nested(levels: int) -> dict:
    """A cascade within a cascade, so many times."""
    inner: dict = {"use": "Direct"}
    for _ in range(levels):
        inner = {"use": "Cascade", "stages": [{"strategy": inner}]}
    return inner


def test_all_that_is_listed_can_be_had(served):
    for model in httpx.get(f"{served.url}/models").json()["data"]:
        check_size(served.desk.menu.offer(model["id"]), 1)


def test_what_the_model_has_said_by_the_deadline_is_its_answer(client):
    def told_by(deadline):
        """What was cut then: a story may end of itself before, but eight hardly do."""
        try:
            answer = client.chat.completions.create(
                model="small",
                messages=TELL,
                n=8,
                extra_body={"deadline": deadline},
                temperature=1.5,
            )
        except openai.InternalServerError:  # a busy machine had nothing yet: 504
            return ""
        cut = [one.message.content for one in answer.choices if one.finish_reason == "length"]
        assert answer.itslab["ended_by"] == ("deadline" if cut else None)
        return max(cut, key=len, default="")

    assert any(len(told_by(deadline)) > 20 for deadline in (1.5, 4, 12, 36))


def test_who_hangs_up_does_not_hold_up_others(served):
    body = {"model": "small@self-consistency-16", "messages": ASK}
    url = f"{served.url}/chat/completions"

    def hang_up(_: int) -> None:
        with suppress(httpx.TimeoutException):
            httpx.post(url, json=body, timeout=0.5)

    with ThreadPoolExecutor(8) as pool:
        gone = [pool.submit(hang_up, i) for i in range(8)]
        slowest = 0.0
        for _ in range(15):
            began = time.monotonic()
            httpx.get(served.url.replace("/v1", "/health"))
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.1)
        for one in gone:
            one.result()
    assert slowest < 5
    until(lambda: served.desk.load == (0, 0))


def test_answers_differ_unless_a_seed_is_given(client):
    def said(**options):
        answer = client.chat.completions.create(
            model="small", messages=ASK, max_tokens=12, temperature=1.5, **options
        )
        return answer.choices[0].message.content

    assert len({said() for _ in range(3)}) > 1
    assert said(seed=1) == said(seed=1)


def test_a_server_of_openais_kind_may_stand_behind_it(served):
    behind = its.Remote("small", served.url, server="openai", logprobs=False)
    desk = Desk(Menu({"m": behind}, TIERS))
    order = desk.ask(wire.Body("m", (Message("user", "Count."),), max_tokens=4))
    assert order.over.wait(LONG)
    assert order.error is None
    assert order.choice(0).content
    desk.close()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"model": "none"}, 404, "small@fast"),
        ({"model": "small@dep"}, 400, "tiers are fast, balanced, deep"),
        ({"model": "small@FAST"}, 400, "tiers are fast, balanced, deep"),
        ({"model": "small@repair-with-tests"}, 400, "runs tests"),
        ({"model": "small@cascade"}, 400, "it needs stages"),
        ({"model": "small@fast", "strategy": "Direct"}, 400, "a model alone"),
        ({"model": "small", "strategy": {"use": "SelfConsistency", "n": 10**9}}, 400, "samples"),
        ({"model": "small", "strategy": DEEP_TREE}, 400, "samples"),
        ({"model": "small", "strategy": nested(300)}, 400, "nested too deeply"),
        (
            {"model": "small", "messages": [{"role": "user", "content": ""}] * 600},
            400,
            "at most 512",
        ),
        ({"model": "small", "add_generation_prompt": 7}, 400, "add_generation_prompt=7"),
        ({"model": "small@best-of-nothing"}, 400, "no tier and no strategy"),
        ({"model": "small", "tools": [{"type": "function"}]}, 400, "tools="),
        ({"model": "small", "logprobs": True}, 400, "logprobs="),
        ({"model": "small", "presence_penalty": 0.5}, 400, "presence_penalty="),
        ({"model": "small", "temperature": -1}, 400, "temperature=-1"),
        ({"model": "small", "top_p": 0}, 400, "top_p=0"),
        ({"model": "small", "n": 0}, 400, "n=0"),
        ({"model": "small", "max_tokens": 0}, 400, "max_tokens=0"),
        ({"model": "small", "odd": 1}, 400, "'odd'"),
        ({"model": None}, 400, "no model"),
        ({"model": "m" * 9000}, 404, "mmm is not served"),
        ({"model": "small", "deadline": -1}, 400, "past already"),
        ({"model": "small", "deadline": 1e-300}, 400, "its deadline passed"),
        ({"model": "small", "top_k": -2}, 400, "top_k=-2"),
        ({"model": "small", "stop": [f"{i}" for i in range(17)]}, 400, "at most 16 texts"),
        ({"model": "small", "stop": "a" * 257}, 400, "256 characters"),
        (
            {"model": "small", "strategy": {"use": "SelfConsistency", "sampling": TEXTS}},
            400,
            "texts",
        ),
        (
            {"model": "small", "strategy": {"use": "Direct", "instruction": "a" * 20_000}},
            400,
            "long",
        ),
        ({"model": "small", "stop": [""]}, 400, "stop="),
        ({"model": "small", "strategy": {"use": "FirstVerified", "verifier": "task"}}, 400, "task"),
        ({"model": "small", "strategy": {"use": "SelfConsistency", "m": 3}}, 400, "has no 'm'"),
        ({"model": "small", "messages": []}, 400, "messages="),
        (
            {"model": "small", "messages": [{"role": "tool", "content": ""}]},
            400,
            "messages[0].role",
        ),
        ({"model": "small", "messages": [{"role": "user", "content": "a " * 900}]}, 400, "context"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_refused_by_name(served, options, status, said, stream):
    answer = httpx.post(
        f"{served.url}/chat/completions", json={"messages": ASK, "stream": stream} | options
    )
    error = answer.json()["error"]
    assert (answer.status_code, said in error["message"]) == (status, True), error


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"n": NaN}', 400),
        (b'{"temperature": 1' + b"0" * 400 + b"}", 400),
        (b'{"model": "small@\\ud800"}', 400),
        (b"\xff", 400),
        (b"x" * 10_000_000, 413),
    ],
)
def test_a_body_that_is_no_request_is_refused(served, raw, status):
    answer = httpx.post(f"{served.url}/chat/completions", content=raw)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_path_that_is_none_is_answered_as_openais_clients_read_it(served):
    for method, path, status in (("GET", "/chat", 404), ("GET", "/v1/chat/completions", 405)):
        answer = httpx.request(method, served.url.removesuffix("/v1") + path)
        assert answer.status_code == status
        assert f"{method} {path} is not known here: POST /v1" in answer.json()["error"]["message"]


# -- other clients ---------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl_streams_it(served):
    body = {"model": "small@fast", "messages": ASK, "stream": True}
    command = ["curl", "-sN", f"{served.url}/chat/completions", "-d", json.dumps(body)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n\n")
    pieces = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert pieces[-1] == "[DONE]"
    assert json.loads(pieces[-2])["itslab"]["tier"] == "fast"


def test_our_own_remote_asks_it(llm, served):
    remote = its.Remote("small", served.url)
    assert remote.server == "itslab"
    [[drawn]] = remote.generate([Request((Message("user", "Count: 1 2 3"),), (), FEW)])
    assert drawn.cost.decoded <= 24
    begun = Request((Message("user", "Count."),), (Piece("1, 2, 3,"),), Sampling(0, max_tokens=4))
    assert remote.generate([begun])[0][0].text == llm.generate([begun])[0][0].text
    voted = its.solve("What is 17 + 25?", its.SelfConsistency(3, sampling=FEW), remote)
    assert voted.cost.calls == 3
    tier = its.Remote("small@balanced", served.url)
    asked = Request((Message("user", "What is 17 + 25?"),), (), FEW)
    [[answer]], drawn, _ = settled(llm, lambda: tier.generate([asked]))
    assert answer.text
    assert "<think>" not in answer.text
    assert answer.cost.decoded == drawn  # all that it took


# -- who may ask, and how much ---------------------------------------------------------------------


@pytest.fixture
def guarded(llm) -> Iterator[Server]:
    """A server for two users, one of them with little to spend."""
    few = (Limit(per_minute=6, burst=25),)
    users = Users([User("ann", "key-a"), User("bob", "key-b", limits=few)])
    with Server(Desk(Menu({"small": llm}, TIERS), users=users), port=0) as server:
        yield server


def test_a_wrong_key_is_refused(guarded):
    for key in ("", "key-c", "key-a "[:-2]):
        with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
            openai.OpenAI(base_url=guarded.url, api_key=key or "-").models.list()
    assert httpx.get(guarded.url.replace("/v1", "/health")).json()["status"] == "ok"


def test_who_has_spent_its_compute_is_told_when_to_come_back(guarded):
    bob = openai.OpenAI(base_url=guarded.url, api_key="key-b", max_retries=0)
    bob.chat.completions.create(model="small", messages=ASK, max_tokens=25)
    with pytest.raises(openai.RateLimitError) as refused:
        bob.chat.completions.create(model="small", messages=ASK, max_tokens=25)
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 250
    assert "6 tokens a minute" in refused.value.message
    ann = openai.OpenAI(base_url=guarded.url, api_key="key-a", max_retries=0)
    ann.chat.completions.create(model="small", messages=ASK, max_tokens=25)


def test_a_full_house_degrades_and_then_sheds():
    may = threading.Event()
    model = ScriptedModel(replies=lambda request, i: may.wait(LONG) and "4")
    desk = Desk(Menu({"m": model}, TIERS), Admission(at_once=2, queue=2, full="degrade"))
    body = {"model": "m@balanced", "messages": ASK}
    with Server(desk, port=0) as server, ThreadPoolExecutor(8) as pool:
        url = f"{server.url}/chat/completions"
        asked = [pool.submit(httpx.post, url, json=body, timeout=LONG) for _ in range(8)]
        until(lambda: sum(one.done() for one in asked) == 4)
        may.set()
        answers = [one.result() for one in asked]
    told = [one.json()["itslab"] for one in answers if one.status_code == 200]
    refused = [one for one in answers if one.status_code == 429]
    assert (len(told), len(refused)) == (4, 4)
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    tiers = Counter((one["tier"], one["degraded_from"]) for one in told)
    assert tiers == {("balanced", None): 3, ("fast", "balanced"): 1}


def test_metrics_and_log_count_what_the_engine_did(llm, guarded, caplog):
    ann = openai.OpenAI(base_url=guarded.url, api_key="key-a")
    with caplog.at_level(logging.INFO, "itslab.serving"):
        _, drawn, _ = settled(
            llm, lambda: ann.chat.completions.create(model="small@fast", messages=ASK)
        )
        until(lambda: caplog.messages)  # the last that is done for a request
    page = httpx.get(guarded.url.replace("/v1", "/metrics")).text
    [line] = [one for one in page.splitlines() if 'kind="decoded"' in one and "_total" in one]
    assert float(line.split()[-1]) == drawn
    entry = json.loads(caplog.messages[-1])
    assert (entry["user"], entry["tier"]) == ("ann", "fast")
    assert entry["costs"]["smollm2-135m"]["decoded"] == drawn
    assert "17" not in entry["strategy"]
    assert "answers" not in entry or entry["answers"] == 1


NONSENSE = {
    "a date to come back at": (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""),
    "no JSON": (200, {}, b"data: {nonsense\n\n"),
    "no choice": (200, {}, b'data: {"choices": [{}]}\n\n'),
    "a list": (200, {}, b"data: [1]\n\n"),
    "no gzip": (200, {"Content-Encoding": "gzip"}, b"zzz"),
    "no text": (500, {}, b"\xff"),
    "half an answer": (200, {"Content-Length": "99"}, b'data: {"choices": []}\n\n'),
}


@pytest.fixture
def odd(request) -> Iterator[str]:
    """The address of a server that answers every question in the same odd way."""
    status, headers, body = NONSENSE[request.param]

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize("odd", NONSENSE, indirect=True)
def test_a_load_counts_what_it_cannot_read_as_failed(odd):
    rows = load.measure(odd, ["?"], load.Load({"m": 1.0}, users=1, most=1))
    [(_, row)] = load.summary(rows).iterrows()
    assert (row.requests, row.answered, row.failed + row.refused) == (1, 0, 1)
    assert len(load.failures(rows)) == row.failed


@pytest.mark.parametrize(
    "models", [{}, {"": 1.0}, {"m": 0.0}, {"m": math.inf}, {"m": 1e308, "n": 1e308}]
)
def test_a_load_asks_for_something(models):
    with pytest.raises(OptionError, match="models"):
        load.Load(models)


@pytest.mark.parametrize("url", ["", "nonsense", "http://[::1", "http://127.0.0.1:99999/v1"])
def test_a_load_on_an_address_that_is_none_says_so(url):
    with pytest.raises(its.ItslabError, match="nothing answers at"):
        load.measure(url, ["?"], load.Load({"m": 1.0}, most=1))


# -- parts -----------------------------------------------------------------------------------------


def test_sampling_of_a_request_changes_samples_and_not_judges():
    judge = its.Critic(ScriptedModel(), sampling=Sampling(max_tokens=7))
    strategy = its.Cascade(
        (
            its.Stage(its.BestOfN(judge, sampling=Sampling(max_tokens=300)), None, judge, 0.5),
            its.Stage(its.ChainOfThought(sampling=Sampling(0, max_tokens=20))),
        )
    )
    made = adjusted(strategy, max_tokens=50, temperature=0.3)
    first, second = (stage.strategy for stage in made.stages)
    assert (first.sampling.max_tokens, first.sampling.temperature) == (50, 0.3)
    assert second.sampling.max_tokens == 20  # never longer
    assert first.verifier == judge == made.stages[0].accept
    assert adjusted(Plain(), max_tokens=5000).sampling.max_tokens == 5000


def test_a_desk_answers_without_a_network():
    model = ScriptedModel(replies=["so 4", "so 5", "so 4"])
    tiers = {"vote": Tier(its.SelfConsistency(3), cheaper="")}
    desk = Desk(Menu({"m": model}, tiers))
    order = desk.ask(wire.Body("m@vote", (Message("user", "2 + 2?"),)))
    assert order.over.wait(LONG)
    assert order.choice(0) == wire.Choice("so 4")
    assert order.news(0)[0].startswith("so 4\n1. 4\n2. 5 (so far 4 ×1, 5 ×1)\n3. 4 (so far 4 ×2")
    assert order.account["answers"] == ["4"]
    desk.close()
    with pytest.raises(its.ItslabError, match="shutting down"):
        desk.ask(wire.Body("m", (Message("user", "2 + 2?"),)))


def test_an_answer_has_the_price_of_the_tier_that_gave_it():
    tiers = {
        "fast": Tier(its.SelfConsistency(1), price=Price(output=1.0)),
        "deep": Tier(its.SelfConsistency(3), price=Price(output=2.0), cheaper="fast"),
    }
    entries = []
    desk = Desk(
        Menu({"m": ScriptedModel(replies=lambda request, i: "so 4")}, tiers),
        settled=lambda order: entries.append(order.entry),
    )
    for name in ("m@deep", "m@fast", "m"):
        order = desk.ask(wire.Body(name, (Message("user", "2 + 2?"),)))
        assert order.over.wait(LONG)
        assert entries[-1]["dollars"] == order.account["dollars"]
    assert [entry["dollars"] for entry in entries] == [pytest.approx(12e-6), 2e-6, None]
    desk.close()


def test_a_request_may_be_looked_at_while_it_begins():
    class Watched(list):
        def append(self, handle):
            super().append(handle)
            said.append(order.news(len(self) - 1))

    menu, said = Menu({"m": ScriptedModel(replies=["4", "5"])}), []
    body = wire.Body("m", (Message("user", "2 + 2?"),), n=2)
    order = Order(menu.offer("m"), body, User("ann", "k"), time.monotonic())
    order.handles = Watched()
    order.begin(menu.models["m"], time.monotonic(), apart=False)
    assert len(said) == 2
    assert {handle.result().node.text for handle in order.handles} == {"4", "5"}


def test_a_desk_that_is_full_refuses_and_lets_go():
    may = threading.Event()
    model = ScriptedModel(replies=lambda request, i: may.wait(LONG) and "4")
    desk = Desk(Menu({"m": model}), Admission(at_once=1, queue=1))
    body = wire.Body("m", (Message("user", "2 + 2?"),))
    first, second = desk.ask(body), desk.ask(body)
    with pytest.raises(Refused, match="wait"):
        desk.ask(body)
    desk.cancel(second)
    assert (second.over.is_set(), second.ended_by) == (True, "disconnect")
    may.set()
    assert first.over.wait(LONG)
    assert desk.load == (0, 0)


@pytest.mark.parametrize(
    ("why", "error", "said"),
    [("shutdown", ServerClosed, "shutting down"), ("deadline", NothingYet, "by the deadline")],
)
def test_who_is_ended_before_the_first_word_is_told_why(why, error, said):
    may = threading.Event()
    model = ScriptedModel(replies=lambda request, i: "" if may.wait(LONG) else "4")
    desk = Desk(Menu({"m": model}))
    order = desk.ask(wire.Body("m", (Message("user", "2 + 2?"),)))
    desk.cancel(order, why)
    may.set()
    assert order.over.wait(LONG)
    with pytest.raises(error, match=said):
        endpoint._check(order)
    desk.close()


def test_who_names_an_early_deadline_takes_nothing_from_other_users():
    asked = []
    model = ScriptedModel(replies=lambda request, i: asked.append(current()) or "4")
    ann = User("ann", "key-a", weight=2)
    for users in (Users([ann]), None):
        desk = Desk(Menu({"m": model}), users=users)
        order = desk.ask(wire.Body("m", (Message("user", "2 + 2?"),), deadline=30.0), ann)
        assert order.over.wait(LONG)
        desk.close()
    assert [one.caller for one in asked] == ["ann", "ann"]
    assert [one.deadline < math.inf for one in asked] == [False, True]


def test_a_degraded_request_has_the_time_of_the_tier_it_asked_for():
    may = threading.Event()
    model = ScriptedModel(replies=lambda request, i: may.wait(LONG) and "4")
    tiers = {
        "fast": Tier(its.SelfConsistency(1), deadline=0.1),
        "deep": Tier(its.SelfConsistency(2), deadline=60.0, cheaper="fast"),
    }
    desk = Desk(Menu({"m": model}, tiers), Admission(at_once=1, queue=2, full="degrade"))
    body = wire.Body("m@deep", (Message("user", "2 + 2?"),))
    orders = [desk.ask(body) for _ in range(3)]
    assert [order.visit.degraded_from for order in orders] == [None, None, "deep"]
    time.sleep(0.2)  # longer than it would have had
    may.set()
    last = orders[-1]
    assert last.over.wait(LONG)
    assert last.deadline == last.visit.deadline == pytest.approx(last.arrived + 60)
    assert (last.account["tier"], last.account["answers"]) == ("fast", ["4"])
    desk.close()


def test_who_cannot_be_let_in_is_forgotten(monkeypatch):
    desk = Desk(Menu({"m": ScriptedModel(replies=["4"])}))
    monkeypatch.setattr(desk.lobby, "arrive", lambda visit, now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        desk.ask(wire.Body("m", (Message("user", "2 + 2?"),)))
    desk.close()  # which would give it up
    assert desk.load == (0, 0)


def test_the_log_holds_nothing_that_was_said():
    entries = []
    desk = Desk(
        Menu({"m": ScriptedModel(replies=["4"])}), settled=lambda o: entries.append(o.entry)
    )
    said = (Message("user", "SECRET?"),)
    order = desk.ask(wire.Body("m", said, begun="SECRET is", stop=("SECRET",)))
    assert order.over.wait(LONG)
    spec = {"use": "Direct", "instruction": "SECRET"}
    assert desk.ask(wire.Body("m", said, strategy=spec)).over.wait(LONG)
    assert len(entries) == 2
    assert "SECRET" not in json.dumps(entries)
    desk.close()


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(its.ItslabError, match="cannot be written: Is a directory"):
        serve._log(tmp_path)


def test_what_is_learned_has_few_names_whatever_is_asked():
    desk = Desk(Menu({"m": ScriptedModel(replies=lambda request, i: "4")}, TIERS))
    for i in range(5):
        spec = {"use": "Direct", "instruction": f"as {i}"}
        assert desk.ask(wire.Body("m", (Message("user", "?"),), strategy=spec)).over.wait(LONG)
    assert desk.ask(wire.Body("m@fast", (Message("user", "?"),))).over.wait(LONG)
    assert set(desk.forecasts["m"].tiers) == {"Direct", "fast"}
    desk.close()


def test_how_long_it_takes_is_said_within_the_deadline():
    run = Run(ScriptedModel(), answers.extract)
    told = Narrator(run, samples=4, tokens=400.0, until=9.0)
    asked = run.tree.add(None, "user", "?")
    for text in ("so 4", "so 5"):
        node = run.tree.add(asked, "assistant", text, "open")
        run.drawn.append(node)
        done = Completion(text, cost=Cost(decoded=100))
        run.ledger.charge("m", done.cost)
        run.tree.finish(node, done)
        run.tree.events[-1] = replace(run.tree.events[-1], time=5.0)
    lines = told.news().splitlines()
    assert lines[1].endswith("about 4 s left")  # of 15 as fast as until now, no more than is left
    assert "left" in lines[2]


@pytest.mark.parametrize("top_k", [0, -1])
def test_all_tokens_can_be_asked_for(top_k):
    asked = {"model": "m", "messages": ASK, "top_k": top_k}
    desk = Desk(Menu({"m": (model := ScriptedModel(replies=["4"]))}))
    assert desk.ask(wire.read(json.dumps(asked).encode())).over.wait(LONG)
    assert model.asked[0].sampling.top_k == 0
    desk.close()


def test_deadlines_are_kept_beside_one_that_is_far_away():
    may = threading.Event()
    model = ScriptedModel(replies=lambda request, i: may.wait(LONG) and "4")
    far = Tier(Plain(), deadline=1e300)
    desk = Desk(Menu({"m": model}, {"far": far}), Admission(patience=1e300))
    asked = (Message("user", "2 + 2?"),)
    slow = desk.ask(wire.Body("m@far", asked))
    near = desk.ask(wire.Body("m", asked, deadline=0.5))
    until(lambda: near.answered)
    assert not slow.answered
    may.set()
    assert slow.over.wait(LONG)
    desk.close()


def test_the_address_of_a_server_can_be_asked(llm):
    with pytest.raises(its.ItslabError, match=r"a\.\.b:0 cannot be listened on"):
        Server(Desk(Menu({"small": llm})), "a..b", 0)
    try:
        server = Server(Desk(Menu({"small": llm})), "::1", 0)
    except its.ItslabError:
        pytest.skip("there is no IPv6 here")
    with server:
        assert httpx.get(f"{server.url}/models").status_code == 200


def test_a_fault_is_told_apart_from_the_log(served, monkeypatch, caplog):
    monkeypatch.setattr(served.desk, "ask", lambda body, user: 1 / 0)
    answer = httpx.post(f"{served.url}/chat/completions", json={"model": "small", "messages": ASK})
    assert (answer.status_code, "see its log" in answer.text) == (500, True)
    assert [one.name for one in caplog.records if one.exc_info] == ["itslab.faults"]


class Failing(ScriptedModel):
    """Begins to speak, and fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.may = error, threading.Event()

    def generate(self, requests, on_text=None, on_sample=None, cancel=None):
        on_text(0, 0, "so")
        self.may.wait(60)
        raise self.error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (its.ItslabError("the model is gone"), 503, "the model is gone"),
        (RuntimeError("SECRET"), 500, "an error of the server"),
        (SystemExit(), 500, "an error of the server"),
    ],
)
def test_a_model_that_fails_in_the_middle_is_an_error_to_its_client(stream, error, status, said):
    desk = Desk(Menu({"m": (model := Failing(error))}))
    body = {"model": "m", "messages": ASK, "stream": stream}
    with (
        Server(desk, port=0) as server,
        httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=60)
        if stream
        else nullcontext() as streamed,
    ):
        model.may.set()
        url = f"{server.url}/chat/completions"
        answer = streamed or httpx.post(url, json=body, timeout=60)
        text = answer.read().decode()
        assert said in text
        assert "SECRET" not in text
        assert answer.status_code == (200 if stream else status)
        assert httpx.get(f"{server.url}/models").status_code == 200
        assert desk.load == (0, 0)


def test_thousands_of_samples_are_told_in_some_hundred_lines():
    read = []
    run = Run(ScriptedModel(), lambda text: read.append(text) or text)
    told = Narrator(run, samples=10_000)
    asked = run.tree.add(None, "user", "?")
    for i in range(1_000):
        node = run.tree.add(asked, "assistant", f"so {i}", "open")
        run.drawn.append(node)
        run.tree.finish(node, Completion(node.text, cost=Cost(decoded=1)))
    assert len(told.news().splitlines()) <= LINES + 1
    assert len(read) <= LINES
    assert told.news() == ""


def test_tiers_must_fit_together(llm):
    with pytest.raises(OptionError, match="cheaper"):
        Menu({"m": llm}, {"a": Tier(Plain(), cheaper="b")})
    with pytest.raises(OptionError, match="without @"):
        Menu({"m@x": llm})
    with pytest.raises(OptionError, match="may draw 100,000"):
        Desk(Menu({"m": llm}, {"all": Tier(its.SelfConsistency(100_000))}))


# -- as a command ----------------------------------------------------------------------------------

CONFIG = """
tiers:
  quick: {strategy: {use: SelfConsistency, n: 2, sampling: {max_tokens: 8}}, deadline: 20}
users: [{name: ann, key: key-a, weight: 2}]
admission: {at_once: 2, queue: 4, full: degrade}
"""


def test_a_server_is_started_loaded_and_ended_by_commands(small_model, tmp_path):
    file, log = tmp_path / "serve.yaml", tmp_path / "log.jsonl"
    file.write_text(CONFIG)
    itslab = [sys.executable, "-m", "itslab"]
    options = ["--config", file, "--port", "0", "--context", "512", "--log", log]
    server = subprocess.Popen(
        [*itslab, "serve", small_model.name, *options], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        url = next(line.split()[-1] for line in server.stderr if "serving at" in line)
        model = f"{small_model.name}@quick"
        asked = [*itslab, "load", url, "--model", model, "--users", "3", "--seconds", "2"]
        told = subprocess.run(
            [*asked, "--key", "key-a"], capture_output=True, text=True, check=True
        )
        *_, row = told.stdout.splitlines()
        name, requests, answered, *_ = row.split()
        assert name == model
        assert float(requests) >= float(answered) > 0
        wrong = subprocess.run(
            [*asked, "--key", "none"], capture_output=True, text=True, check=True
        )
        assert float(wrong.stdout.splitlines()[-1].split()[2]) == 0
        assert "the key is missing or wrong" in wrong.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {entry["user"] for entry in entries} == {"ann"}
    assert {entry["tier"] for entry in entries} == {"quick"}


def drawn(page: str) -> float:
    """Tokens that the engine has drawn, as metrics tell it."""
    lines = (line for line in page.splitlines() if 'what="drawn"' in line)
    return sum(float(line.split()[-1]) for line in lines)


def test_a_server_that_is_ended_answers_at_once(small_model):
    itslab = [sys.executable, "-m", "itslab", "serve", small_model.name, "--port", "0"]
    server = subprocess.Popen([*itslab, "--context", "512"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    url = next(line.split()[-1] for line in server.stderr if "serving at" in line)
    body = {"model": f"{small_model.name}@self-consistency-{MANY}", "messages": ASK}
    page = url.replace("/v1", "/metrics")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/chat/completions", json=body, timeout=LONG)
        until(lambda: drawn(httpx.get(page).text) > 100)
        server.send_signal(signal.SIGTERM)
        answer = asked.result()
    server.wait(30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["itslab"]["ended_by"] == "shutdown"
    assert answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {key: secret}", "limits is a dict"),
        ("admission: [{key: secret}]", "admission is a list"),
        ("tiers: {a: secret}", "tiers.a is a str"),
        ("users: [{name: ann, key: schlüssel}]", "printable ASCII"),
        ("tiers: {a: {strategy: Direct, cheaper: b}, b: {strategy: Direct, cheaper: a}}", "order"),
        ("tiers: {a: {strategy: SelfConsistency, deadlin: 3}}", "tiers.a: Tier has no 'deadlin'"),
        ("tiers: {a: {strategy: {use: Nothing}}}", "unknown strategy 'Nothing'"),
        ("tiers: {a: {strategy: SelfConsistency, deadline: -1}}", "deadline=-1"),
        ("users: [{name: ann}]", "user 1 is not valid"),
        ("users: [5]", "user 1 is not valid"),
        ("users:", "at least one"),
        ("users: []", "at least one"),
        ("users: [{name: ann, key: ' secret'}]", "no space around it"),
        ("users: [{name: ann, key: secret}]\nusers: [{name: bob, key: secret}]", "in line 1"),
        ("limits: [{5: secret}]", "has no 5"),
        ("tiers: {a: {strategy: {use: SelfConsistency, 5: 3}}}", "has no 5"),
        ("limits: [{per_minute: 0}]", "limits.0: per_minute=0"),
        ("guests: -1", "guests=-1"),
        ("guests: many", "guests='many'"),
        ("{guests: 3, users: {secret: 1}}", "must be a list"),
        ("admission: {at_once: 0}", "admission: at_once=0"),
        ("tears: {}", "the service='tears'"),
        ("users: [{name: ann, key: {secret", "is no YAML in line 1"),
    ],
)
def test_a_service_that_is_none_is_named_and_no_key_is_shown(tmp_path, text, said):
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    with pytest.raises(its.ItslabError) as error:
        config.read(path)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_guests_are_told_apart_as_named_users_are():
    made = config.parse({"guests": 3})
    assert made.users.find("bo").name == "bo"
    assert made.admission.per_user == config.SHARE
    both = config.parse({"guests": 1, "users": [{"name": "ann", "key": "k"}]}).users
    assert (both.find("k").name, both.find("ann"), both.seats) == ("ann", None, 1)
    assert config.parse({}).users is None


def test_the_service_that_is_shown_can_be_read(tmp_path):
    for module in (itslab.serving, config):
        shown = (module.__doc__ or "").split("::\n\n" if module is itslab.serving else "YAML.\n\n")
        [text] = [one.split("\n\n")[0] for one in shown if one.lstrip().startswith("tiers:")]
        path = tmp_path / "serve.yaml"
        path.write_text(textwrap.dedent(text))
        made = config.read(path)
        assert set(made.tiers) == {"fast", "deep"}
        assert made.users is not None
        assert made.admission.per_user == config.SHARE
