"""What is recorded is drawn again, where the build and the processor's features are the same."""

from __future__ import annotations

import pytest
from reproduce import STORE, deterministic, texts

import itslab as its
from itslab.models import ModelFile


@pytest.mark.slow
def test_a_sample_of_the_data_is_drawn_again_letter_by_letter(small_model: ModelFile) -> None:
    with its.Bank(STORE) as bank:
        [source] = bank.models
        recorded = texts(bank.replay())
    assert len({*recorded}) > 12, "samples of one problem differ"
    model = deterministic()
    if model.provenance != source.build:
        pytest.skip(f"this build is {model.provenance}, the sample was drawn by {source.build}")
    assert texts(model) == recorded
