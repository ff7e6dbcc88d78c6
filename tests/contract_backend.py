"""What every backend promises, whatever draws its samples."""

from __future__ import annotations

import threading

import pytest

from itslab.core import (
    Backend,
    BackendError,
    Completion,
    Cost,
    Message,
    Piece,
    PromptTooLong,
    Request,
    Sampling,
)

COLOURS = (Message("user", "Name three colours."),)
METALS = (Message("system", "You are brief."), Message("user", "Name a metal."))
WILD = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=12)
GREEDY = Sampling(temperature=0.0, max_tokens=12)


class BackendContract:
    """Tests of a ``backend`` fixture. A backend that promises less says so in these attributes."""

    repeats = True  # the same seed and index give the same sample
    tells_tokens = True
    tells_logprobs = True
    tells_prompt = True  # counts the prompt's tokens
    continues = True
    refuses_long_prompts = True
    takes_time = True  # so that there is something to cancel

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    def test_it_has_a_name_a_digest_and_a_width(self, backend):
        assert backend.name
        assert len(backend.digest) == 64
        assert backend.batch_size >= 1

    def test_samples_come_in_the_order_of_their_index(self, backend):
        [samples] = backend.generate([Request(COLOURS, sampling=WILD, n=4, first=2)])
        assert [sample.index for sample in samples] == [2, 3, 4, 5]

    def test_samples_have_text_within_the_limit(self, backend):
        [samples] = backend.generate([Request(COLOURS, sampling=WILD, n=4)])
        for sample in samples:
            assert sample.text
            assert 0 < sample.cost.decoded <= 12
            assert sample.finish in ("end", "length")
            assert sample.finish == "end" or not self.tells_tokens or len(sample.tokens) == 12

    def test_tokens_logprobs_and_offsets_belong_together(self, backend):
        [samples] = backend.generate([Request(COLOURS, sampling=WILD, n=4)])
        for sample in samples:
            assert len(sample.logprobs) == len(sample.offsets)
            assert bool(sample.logprobs) == self.tells_logprobs
            assert all(logprob <= 0 for logprob in sample.logprobs)
            assert list(sample.offsets) == sorted(sample.offsets)
            assert sample.offsets[-1:] in ((), (len(sample.text),))
            if self.tells_tokens:
                assert len(sample.tokens) == len(sample.offsets)
                assert sample.cost.decoded >= len(sample.tokens)

    def test_samples_of_a_request_differ(self, backend):
        [samples] = backend.generate([Request(COLOURS, sampling=WILD, n=3)])
        [further] = backend.generate([Request(COLOURS, sampling=WILD, n=3, first=3)])
        assert len({sample.text for sample in samples + further}) == 6

    def test_greedy_samples_are_equal(self, backend):
        [samples] = backend.generate([Request(COLOURS, sampling=GREEDY, n=3)])
        assert len({sample.text for sample in samples}) == 1

    def test_the_same_seed_and_index_give_the_same_sample(self, backend):
        if not self.repeats:
            pytest.skip("not promised")
        request = Request(COLOURS, sampling=WILD, n=3, seed=5)
        [once], [again] = backend.generate([request]), backend.generate([request])
        assert [sample.text for sample in once] == [sample.text for sample in again]

    def test_another_seed_gives_other_samples(self, backend):
        requests = [Request(COLOURS, sampling=WILD, seed=seed) for seed in (1, 2)]
        [[one], [other]] = backend.generate(requests)
        assert one.text != other.text

    def test_several_requests_are_served_in_their_order(self, backend):
        requests = [
            Request(COLOURS, sampling=WILD, n=2),
            Request(METALS, sampling=Sampling(max_tokens=3), n=3, first=1),
            Request(COLOURS, sampling=Sampling(temperature=0, max_tokens=5)),
        ]
        rows = backend.generate(requests)
        assert [[sample.index for sample in row] for row in rows] == [[0, 1], [1, 2, 3], [0]]
        assert all(sample.cost.decoded <= 3 for sample in rows[1])
        assert backend.generate([]) == []

    def test_a_stop_string_ends_a_sample_and_is_cut_off(self, backend):
        sampling = Sampling(temperature=0.0, max_tokens=40, stop=("zzz", " "))
        [samples] = backend.generate([Request(COLOURS, sampling=sampling, n=2)])
        for sample in samples:
            assert sample.finish == "stop"
            assert " " not in sample.text
            assert all(offset <= len(sample.text) for offset in sample.offsets)

    def test_a_stop_string_can_be_kept(self, backend):
        sampling = Sampling(temperature=0.0, max_tokens=40, stop=(" ",), include_stop=True)
        [[sample]] = backend.generate([Request(COLOURS, sampling=sampling)])
        assert sample.finish == "stop"
        assert sample.text.count(" ") == 1

    def test_pieces_of_text_add_up_and_come_in_the_callers_thread(self, backend):
        pieces: dict[tuple[int, int], str] = {}
        finished: dict[tuple[int, int], Completion] = {}
        threads = set()

        def on_text(i: int, j: int, piece: str) -> None:
            threads.add(threading.get_ident())
            pieces[i, j] = pieces.get((i, j), "") + piece

        def on_sample(i: int, j: int, sample: Completion) -> None:
            threads.add(threading.get_ident())
            assert (i, j) not in finished
            finished[i, j] = sample

        sampling = Sampling(max_tokens=20, stop=("\n\n", ", "))
        requests = [Request(COLOURS, sampling=sampling, n=3), Request(METALS, sampling=WILD, n=2)]
        rows = backend.generate(requests, on_text, on_sample)
        for (i, j), sample in finished.items():
            assert rows[i][j] == sample
            assert pieces.get((i, j), "") == sample.text
        assert len(finished) == 5
        assert threads == {threading.get_ident()}

    def test_the_cost_is_complete(self, backend):
        requests = [Request(COLOURS, sampling=WILD, n=3), Request(METALS, sampling=WILD, n=2)]
        samples = [sample for row in backend.generate(requests) for sample in row]
        total = sum((sample.cost for sample in samples), Cost())
        assert total.calls == 5
        assert total.seconds > 0
        for sample in samples:
            assert (sample.cost.prefilled + sample.cost.reused > 0) == self.tells_prompt

    def test_several_threads_may_draw_at_once(self, backend):
        drawn: dict[int, list[Completion]] = {}

        def draw(seed: int) -> None:
            request = Request(COLOURS, sampling=WILD, n=2, seed=seed)
            [drawn[seed]] = backend.generate([request])

        threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(100, 104)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(drawn) == [100, 101, 102, 103]
        assert all([sample.index for sample in row] == [0, 1] for row in drawn.values())

    def test_the_models_own_turn_is_continued(self, backend):
        count = (Message("user", "Count from 1 to 9."),)
        prefix = (Piece("1, 2, 3,"), Piece(" 4,"))
        request = Request(count, prefix=prefix, sampling=GREEDY)
        if self.continues:
            [[sample]] = backend.generate([request])
            assert sample.text.lstrip().startswith("5")
        else:
            with pytest.raises(BackendError, match="cannot continue the model's own turn"):
                backend.generate([request])

    def test_cancelling_ends_all_samples_with_what_there_is(self, backend):
        story = (Message("user", "Write a very long story about the sea."),)
        sampling = Sampling(temperature=1.0, top_k=0, max_tokens=100)
        cancel = threading.Event()
        pieces: list[str] = []

        def on_text(i: int, j: int, piece: str) -> None:
            pieces.append(piece)
            cancel.set()

        request = Request(story, sampling=sampling, n=2)
        [samples] = backend.generate([request], on_text, cancel=cancel)
        assert {sample.finish == "cancelled" for sample in samples} == {self.takes_time}
        assert sum(len(sample.text) for sample in samples) >= len("".join(pieces)) > 0
        assert sum(sample.cost.decoded for sample in samples) > 0

    def test_a_call_cancelled_beforehand_draws_next_to_nothing(self, backend):
        cancel = threading.Event()
        cancel.set()
        request = Request(METALS, sampling=Sampling(max_tokens=100), n=2, seed=77)
        [samples] = backend.generate([request], cancel=cancel)
        assert {sample.finish == "cancelled" for sample in samples} == {self.takes_time}

    def test_a_prompt_that_is_too_long_is_an_error(self, backend):
        if not self.refuses_long_prompts:
            pytest.skip("not promised")
        with pytest.raises(PromptTooLong):
            backend.generate([Request((Message("user", "word " * 3000),), sampling=WILD)])
