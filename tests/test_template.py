"""Chat templates: filled as Hugging Face fills them, in bounds, in a process of their own."""

import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from tiny_reward import TEMPLATE, Tiny

from itslab import models
from itslab.backends.llama import Llama
from itslab.backends.native import Model
from itslab.backends.reward_model import RewardModel
from itslab.backends.template import ChatTemplate
from itslab.core import BackendError, Message, ModelError, OptionError, Request, as_messages

pytestmark = pytest.mark.slow  # each template is filled in a process of its own
HELLO = [Message("user", "Hello")]
ENDLESS = (
    "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}" * 1
)
ENDLESS += "{% endfor %}{% endfor %}"


def template(source: str, **options: object) -> ChatTemplate:
    return ChatTemplate(source, "<s>", "</s>", True, options)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itslab.backends.template.SECONDS", 1.5)


@pytest.fixture
def write(tmp_path: Path):
    def write(source: str) -> Path:
        return Tiny(templates={"": source}).write(tmp_path / "tiny.gguf")

    return write


def test_it_is_filled_as_llama_cpp_python_fills_it(small_model: models.ModelFile) -> None:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    model = Model(small_model.path)
    sources = [model.chat_template() or "", TEMPLATE]
    sources += [
        "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}{% continue %}{% endif %}\n"
        "{{ m | tojson }}{% generation %}{{ m['content'] | trim }}{% endgeneration %}{% endfor %}"
        "{{ eos_token if tools is none and functions is defined }}{{ x is defined }}",
    ]
    talk = [Message("system", "S é"), Message("user", " a <|im_end|>\n"), Message("assistant", "b")]
    turns = [{"role": m.role, "content": m.content} for m in talk]
    for source in sources:
        for open_turn in (True, False):
            theirs = Jinja2ChatFormatter(source, "</s>", "<s>", add_generation_prompt=open_turn)
            ours = ChatTemplate(source, "<s>", "</s>", open_turn, {})
            assert ours(talk) == theirs(messages=turns).prompt


@pytest.mark.parametrize(
    "source",
    [
        ENDLESS,
        "{{ 'a' * 3000000000 }}",
        "{{ '%3000000000d' % 1 }}",
        "{{ 'a'.center(3000000000) }}",
        "{{ 'a' | center(3000000000) }}",
        "{% set n = namespace(x='a') %}{% for i in range(40) %}"
        "{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% for i in range(90000) %}{{ 'a' * 1000 }}{% endfor %}",
        "{{ 10 ** (10 ** 9) }}",
    ],
)
def test_one_that_takes_too_much_is_refused_when_loading(write, source: str) -> None:
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(ModelError, match=r"seconds.*MiB of memory or.*of text|MemoryError"):
        Llama(write(source), batch_size=2, context=64, threads=1)
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - before < 200 * 2**20


def test_one_that_takes_too_much_later_fails_that_conversation_only(write) -> None:
    source = "{% if 'loop' in messages[0].content %}" + ENDLESS + "{% endif %}" + TEMPLATE
    with Llama(write(source), batch_size=2, context=64, threads=1) as llm:
        with pytest.raises(BackendError, match=r"took more than 1.5 seconds"):
            llm.tokens(Request(as_messages("loop")))
        assert llm.tokens(Request(as_messages("Hi")))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for %}", "none: line 1"),
        ("{{ ''.__class__.__mro__ }}", "fails: SecurityError"),
        ("{{ nothing.at.all }}", "fails: UndefinedError"),
        ("{% include 'x' %}", "fails: TypeError"),
        ("{{ messages.append(1) }}", "fails: SecurityError"),
        ("{% for i in range(10 ** 6) %}{% endfor %}", "fails: OverflowError"),
    ],
)
def test_a_broken_or_nosy_one_is_refused_with_the_reason(source: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        template(source)


def test_what_it_refuses_is_said_in_its_own_words() -> None:
    source = "{% if messages[0].role != 'user' %}{{ raise_exception('User first') }}{% endif %}ok"
    filled = template(source)
    with pytest.raises(BackendError, match="refuses this conversation: User first"):
        filled([Message("assistant", "Hi")])
    assert filled(HELLO) == "ok"
    strict = template("{{ raise_exception('Never') }}")  # it may want another first turn
    with pytest.raises(BackendError, match="Never"):
        strict(HELLO)


def test_its_day_is_pinned_and_recorded(write) -> None:
    filled = template("{{ strftime_now('%d %b %Y, %H:%M') }}")
    assert filled(HELLO) == "26 Jul 2024, 00:00"
    dated = "{{ strftime_now('%Y') }}" + TEMPLATE
    with Llama(write(dated), batch_size=2, context=64, threads=1) as llm:
        assert "dated 2024-07-26" in llm.provenance
    with Llama(write(TEMPLATE), batch_size=2, context=64, threads=1) as llm:
        assert "dated" not in llm.provenance


def test_options_reach_the_template_and_the_digest(write) -> None:
    path = write(
        TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}!{% endif %}"
    )

    def loaded(**options: object) -> Llama:
        return Llama(path, None, "ab" * 32, batch_size=2, context=64, threads=1, **options)  # type: ignore[arg-type]

    with loaded() as plain, loaded(template_options={"enable_thinking": False}) as quiet:
        hello = Request(as_messages("Hello"))
        assert quiet.render(hello) == plain.render(hello) + "!"
        assert plain.digest == "ab" * 32
        assert len(quiet.digest) == 64
        assert quiet.digest != plain.digest
        assert "enable_thinking" in quiet.provenance
        with loaded(template_options={"enable_thinking": True}) as other:
            assert other.digest not in (plain.digest, quiet.digest)
        with loaded(template_options={}) as same:
            assert same.digest == plain.digest
    with pytest.raises(OptionError, match=r"enable_thinkin'.*enable_thinking"):
        loaded(template_options={"enable_thinkin": False})
    for nonsense in (
        True,
        ["enable_thinking"],
        {"enable_thinking": print},
        {3: 4},
        {"messages": []},
    ):
        with pytest.raises(OptionError, match=r"^template_options="):
            loaded(template_options=nonsense)


def test_its_process_ends_with_the_model(write) -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    before, path = children(), write(TEMPLATE)
    llm, reward = Llama(path, batch_size=2, context=64, threads=1), RewardModel(path, context=64)
    assert len(children() - before) == 2
    llm.close()
    reward.close()
    assert children() == before
    for _ in range(3):
        with pytest.raises(OptionError):
            Llama(path, batch_size=2, context=64, threads=1, template_options={"x": 1})
    assert children() == before


def test_a_process_that_was_killed_is_started_again() -> None:
    filled = template(TEMPLATE)
    expected = filled(HELLO)
    assert filled._process is not None
    os.kill(filled._process.pid, 9)
    with pytest.raises(BackendError):
        filled(HELLO)
    assert filled(HELLO) == expected


def test_closing_meets_threads_that_fill_it() -> None:
    for _ in range(10):
        filled, ends = template(TEMPLATE), []

        def fill(filled: ChatTemplate = filled, ends: list[str] = ends) -> None:
            try:
                while True:
                    filled(HELLO)
            except BackendError as error:
                ends.append(str(error))

        threads = [threading.Thread(target=fill) for _ in range(4)]
        for thread in threads:
            thread.start()
        filled.close()
        for thread in threads:
            thread.join(30)
        assert ends == ["this model is closed: load it again"] * 4
        assert filled._closing is not None
        assert not filled._closing.alive


def test_threads_share_it() -> None:
    filled, wrong = template(TEMPLATE), []

    def fill(name: str) -> None:
        wrong.extend(
            i for i in range(100) if f"{name}{i}" not in filled([Message("user", f"{name}{i}")])
        )

    threads = [threading.Thread(target=fill, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


@pytest.mark.parametrize("source", ["{{ range(99999) | random }}", "{{ lipsum() }}"])
def test_what_it_draws_at_random_is_the_same_each_time(source: str) -> None:
    first, second = template(source), template(source)
    assert first(HELLO) == first(HELLO) == second(HELLO)


def test_what_it_says_of_an_error_is_one_line() -> None:
    with pytest.raises(BackendError, match=r"conversation: first second$"):
        template("{{ raise_exception('first\n second') }}")(HELLO)
