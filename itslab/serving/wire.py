"""OpenAI's chat completions as they go over the wire: what a body asks, and what is sent back.

https://platform.openai.com/docs/api-reference/chat. Beyond it a body may hold ``strategy`` (a name,
or a specification as studies write it), ``deadline`` (seconds), ``top_k`` (0 or -1 keeps all
tokens), ``min_p`` and ``continue_final_message``, and an answer holds ``itslab``: what it cost by
model and in dollars, what ended it. Reasoning stands in ``reasoning_content``, where DeepSeek's and
vLLM's clients look for it.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from itslab.core import BadPrompt, Cost, ItslabError, Message, OptionError, Role, require
from itslab.options import Count, NotNegative, Options, Positive, Text, UnitInterval, Whole
from itslab.serving.tiers import UnknownModel

MOST = 1_000_000
"""Bytes of a body; what is longer would fit no context."""
DIGITS = 18
"""Of a whole number."""
TURNS = 512
"""Messages of a conversation."""
CHOICES = 16
"""Answers that one request may ask for."""
WRITTEN = 20_000
"""Characters of a strategy that is written down."""
_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "store": (None, False),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}
"""Options of OpenAI's that cannot be honoured -> the values with which they ask for nothing."""
_IGNORED = {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "user"}
"""Options that change no answer."""
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class BadBody(OptionError):
    """A body that is no request; ``status`` is the HTTP status that says so."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Body(Options):
    """What a body asks, checked.

    Args:
        model: as of ``Menu.offer``.
        messages: the conversation.
        begun: what the model's own turn already says (``continue_final_message``).
        strategy: a specification; None where the model's name says all.
        deadline: seconds from now; None leaves it to the tier.
        sampling: options of ``Sampling`` that it sets.
        stop: strings at which the answer ends.
        max_tokens: most tokens of the answer.
        n: answers.
        seed: of the first; the others have the following ones.
        stream, usage: whether the answer is streamed, and with its usage in the end.
    """

    model: Text
    messages: tuple[Message, ...]
    begun: str = ""
    strategy: str | Mapping[str, Any] | None = None
    deadline: Positive | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[Text, ...] = ()
    max_tokens: Count | None = None
    n: Count = 1
    seed: Whole | None = None
    stream: bool = False
    usage: bool = False


@dataclass(frozen=True)
class _Sampled(Options):
    """The options of ``Sampling`` that a body may set, and what each may be."""

    temperature: NotNegative | None = None
    top_p: UnitInterval | None = None
    top_k: Whole | None = None
    min_p: UnitInterval | None = None


def read(raw: bytes) -> Body:
    """Read a request's body.

    Raises:
        BadBody: it is no JSON object.
        OptionError: an option is unknown, cannot be honoured or is not valid; the text names it.
    """
    if len(raw) > MOST:
        raise BadBody(f"the body has {len(raw):,} bytes, and may have {MOST:,}", 413)
    try:
        given = json.loads(raw, parse_constant=_refuse_constant, parse_int=_whole)
        json.dumps(given, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise BadBody(f"the body is no JSON that can be read: {error}") from error
    if not isinstance(given, dict):
        raise BadBody(f"the body is a JSON {type(given).__name__}, and must be an object")
    given = {name: value for name, value in given.items() if name not in _IGNORED}
    for name, values in _NEUTRAL.items():
        if name in given:
            value = given.pop(name)
            valid = f"left out, or {' or '.join(json.dumps(v) for v in values)}: not supported here"
            require(
                any(value == one and type(value) is type(one) for one in values)
                or (value == 0 and 0 in values and not isinstance(value, bool)),
                name,
                value,
                valid,
            )
    return _body(given)


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_KNOWN = (
    "model",
    "messages",
    "strategy",
    "deadline",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "seed",
    "stream",
    "stream_options",
    "continue_final_message",
    "add_generation_prompt",
)


def _body(given: dict[str, Any]) -> Body:
    for name in given:
        require(name in _KNOWN, "option", name, f"one of {', '.join(_KNOWN)}")
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("model", "messages"):
        if name not in given:
            raise BadBody(f"the body has no {name}: it takes model and messages")
    messages, begun = _messages(given["messages"], given.get("continue_final_message", False))
    deadline = given.get("deadline")
    if isinstance(deadline, int | float) and not isinstance(deadline, bool):
        past = "a number of seconds > 0: this one is past already"
        require(deadline > 0, "deadline", deadline, past)
    n = given.get("n", 1)
    require(type(n) is int and 1 <= n <= CHOICES, "n", n, f"a whole number from 1 to {CHOICES}")
    prompted = given.get("add_generation_prompt", False)
    require(isinstance(prompted, bool), "add_generation_prompt", prompted, "true or false")
    options = given.get("stream_options", {})
    require(isinstance(options, dict), "stream_options", options, "an object")
    sampled: dict[str, Any] = {
        f: given[f] for f in ("temperature", "top_p", "top_k", "min_p") if f in given
    }
    if sampled.get("top_k") == -1:  # vLLM's word for all
        sampled["top_k"] = 0
    if "top_p" in sampled:
        valid = "a number in (0, 1]"
        require(sampled["top_p"] != 0, "top_p", sampled["top_p"], valid)
    _Sampled(**sampled)
    written = len(json.dumps(given.get("strategy")))
    valid = f"at most {WRITTEN:,} characters long"
    require(written <= WRITTEN, "strategy", f"{written:,} characters", valid)
    stop = given.get("stop", [])
    stop = [stop] if isinstance(stop, str) else stop
    texts = isinstance(stop, list) and all(isinstance(one, str) and one for one in stop)
    require(texts, "stop", stop, "text, or a list of texts, none of them empty")
    return Body(
        model=given["model"],
        messages=messages,
        begun=begun,
        strategy=given.get("strategy"),
        deadline=deadline,
        sampling=sampled,
        stop=tuple(stop),
        max_tokens=given.get("max_completion_tokens", given.get("max_tokens")),
        n=n,
        seed=given.get("seed"),
        stream=given.get("stream", False),
        usage=options.get("include_usage", False) is True,
    )


def _messages(given: Any, continues: Any) -> tuple[tuple[Message, ...], str]:
    """The conversation, and what the model's own turn already says."""
    require(isinstance(given, list) and bool(given), "messages", given, "a list of at least one")
    require(len(given) <= TURNS, "messages", f"{len(given):,} messages", f"at most {TURNS}")
    read = [_message(i, one) for i, one in enumerate(given)]
    require(isinstance(continues, bool), "continue_final_message", continues, "true or false")
    if not continues:
        return tuple(read), ""
    last = read.pop()
    ours = last.role == "assistant" and bool(read)
    require(ours, "continue_final_message", True, "false, unless the last message is assistant's")
    return tuple(read), last.content


def _message(i: int, given: Any) -> Message:
    place = f"messages[{i}]"
    require(isinstance(given, dict), place, given, "an object with role and content")
    role = given.get("role")
    require(
        isinstance(role, str) and role in _ROLES,
        f"{place}.role",
        role,
        f"one of {', '.join(_ROLES)}",
    )
    for name in ("tool_calls", "function_call", "audio", "refusal"):
        require(not given.get(name), f"{place}.{name}", given.get(name), "left out")
    content = given.get("content")
    if isinstance(content, list):
        content = "".join(_part(f"{place}.content[{j}]", part) for j, part in enumerate(content))
    require(isinstance(content, str), f"{place}.content", content, "text, or parts of type text")
    try:
        content.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        require(False, f"{place}.content", content, "text that is valid Unicode")
    return Message(_ROLES[role], content)


def _part(place: str, given: Any) -> str:
    shaped = isinstance(given, dict) and given.get("type") == "text"
    require(
        shaped and isinstance(given.get("text"), str),
        place,
        given,
        '{"type": "text", "text": …}: nothing else can be read here',
    )
    return str(given["text"])


# -- what is sent back -----------------------------------------------------------------------------

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Choice:
    """One answer.

    Args:
        content: the text in which the answer stands.
        reasoning: what was tried on the way, in lines.
        finish: ``length`` where it was cut short.
    """

    content: str
    reasoning: str = ""
    finish: Finish = "stop"


def new_id() -> str:
    """Return a name for a request."""
    return f"chatcmpl-{uuid.uuid4().hex[:24]}"


def usage(cost: Cost, answer: int) -> dict[str, Any]:
    """Return a cost as OpenAI counts it.

    Args:
        cost: everything that was paid.
        answer: tokens of the answer itself; all others that were decoded are reasoning.
    """
    prompt = cost.prefilled + cost.reused
    return {
        "prompt_tokens": prompt,
        "completion_tokens": cost.decoded,
        "total_tokens": prompt + cost.decoded,
        "prompt_tokens_details": {"cached_tokens": cost.reused},
        "completion_tokens_details": {"reasoning_tokens": max(cost.decoded - answer, 0)},
    }


def completion(
    name: str,
    model: str,
    choices: Sequence[Choice],
    used: Mapping[str, Any],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a whole answer."""
    return {
        "id": name,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": i,
                "message": {
                    "role": "assistant",
                    "content": one.content,
                    **({"reasoning_content": one.reasoning} if one.reasoning else {}),
                },
                "finish_reason": one.finish,
                "logprobs": None,
            }
            for i, one in enumerate(choices)
        ],
        "usage": used,
        "itslab": more,
    }


def chunk(
    name: str,
    model: str,
    created: int,
    index: int,
    delta: Mapping[str, Any],
    finish: Finish | None = None,
) -> dict[str, Any]:
    """Return a piece of a streamed answer."""
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return _chunk(name, model, created, [choice])


def last(
    name: str, model: str, created: int, used: Mapping[str, Any] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what follows the pieces of a streamed answer: no choice, but what it cost."""
    return {**_chunk(name, model, created, []), "usage": used, "itslab": more}


def _chunk(name: str, model: str, created: int, choices: list[Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices,
    }


def error(reason: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return an error as OpenAI writes it: the status, the body, the headers."""
    after = getattr(reason, "retry_after", None)
    headers = {} if after is None or math.isinf(after) else {"Retry-After": f"{math.ceil(after)}"}
    status, kind, code = _kind(reason)
    text = str(reason) if isinstance(reason, ItslabError) else "an error of the server: see its log"
    if isinstance(reason, RecursionError | OverflowError):
        text = "the request is nested too deeply, or a number in it is too large"
    return status, {"error": {"message": text, "type": kind, "param": None, "code": code}}, headers


def _kind(reason: Exception) -> tuple[int, str, str | None]:
    status = getattr(reason, "status", None)
    if status is not None:
        kinds = {401: "authentication_error", 413: "request_too_large", 429: "rate_limit_error"}
        return status, kinds.get(status, "invalid_request_error"), getattr(reason, "code", None)
    if isinstance(reason, UnknownModel):
        return 404, "invalid_request_error", "model_not_found"
    if isinstance(reason, BadPrompt):
        return 400, "invalid_request_error", "context_length_exceeded"
    if isinstance(reason, OptionError | RecursionError | OverflowError):
        return 400, "invalid_request_error", None
    if isinstance(reason, ItslabError):
        return 503, "server_error", None
    return 500, "server_error", None


def bill(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return what was paid by model, as JSON writes it."""
    return {model: asdict(cost) for model, cost in costs.items()}
