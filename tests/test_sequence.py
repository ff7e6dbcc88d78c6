"""Text of a sample: characters stay whole, stop strings hold across token borders."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from itslab.backends.sequence import TextStream, spelled


def pushed(pieces: list[bytes], *stop: str, include_stop: bool = False) -> TextStream:
    stream = TextStream(stop, include_stop)
    for token, piece in enumerate(pieces):
        if not stream.stopped:
            stream.push(token, piece)
    return stream


def split(text: str, cuts: list[int]) -> list[bytes]:
    """The bytes of a text, cut anywhere, also within characters."""
    data = text.encode()
    borders = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(borders)]


@given(st.text(), st.lists(st.integers(0, 200)))
def test_text_does_not_depend_on_where_tokens_end(text: str, cuts: list[int]) -> None:
    assert pushed(split(text, cuts)).text == text


def test_a_character_split_over_tokens_appears_whole_and_once() -> None:
    stream = TextStream()
    shown = []
    for token, piece in enumerate([b"a\xe2", b"\x82", b"\xac", b"b"]):
        stream.push(token, piece)
        shown.append(stream.fresh(final=False))
    assert shown == ["a", "", "€", "b"]
    assert stream.offsets == [1, 1, 2, 3]


def test_a_character_begun_before_the_sample_is_finished_in_it() -> None:
    stream = TextStream(before=b"x\xe2\x82")
    stream.push(0, b"\xac!")
    assert stream.text == "€!"


def test_a_stop_string_within_a_token_cuts_text_and_tokens() -> None:
    stream = pushed([b"one", b" two. Th", b"ree"], ". ")
    assert (stream.text, stream.tokens, stream.stopped) == ("one two", [0], True)


def test_a_stop_string_over_several_tokens_is_found() -> None:
    assert pushed([b"ab", b"\n", b"\n", b"cd"], "\n\n").text == "ab"


def test_an_included_stop_string_keeps_its_last_token_whole() -> None:
    stream = pushed([b"ab", b".\n\nC", b"d"], "\n\n", include_stop=True)
    assert (stream.text, stream.tokens) == ("ab.\n\nC", [0, 1])


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert pushed([b"a-b+c"], "+", "-").text == "a"


@given(
    st.text("ab<>", max_size=30),
    st.lists(st.integers(0, 40)),
    st.lists(st.text("ab<>", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_streamed_text_is_the_text_and_never_shows_a_stop_string(
    text: str, cuts: list[int], stop: list[str]
) -> None:
    stream = TextStream(tuple(stop))
    shown = ""
    for token, piece in enumerate(split(text, cuts)):
        stream.push(token, piece)
        if stream.stopped:
            break
        shown += stream.fresh(final=False)
    shown += stream.fresh(final=True)
    assert shown == stream.text
    assert not any(s in shown for s in stop)
    assert text.startswith(shown)


def test_spelled_leaves_out_a_character_that_is_not_finished() -> None:
    assert spelled([b"a", b"\xe2\x82"]) == "a"
