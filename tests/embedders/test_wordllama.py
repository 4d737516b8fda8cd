"""`wordllama`: a table of token vectors, cut and masked by tokens; what has no content has no state."""

import numpy as np

from plait.embedders.wordllama import WordLlama


def test_tokens_are_looked_up_and_empty_texts_are_absent() -> None:
    states, mask = WordLlama().encode(["Orders will rise.", "", "Orders"], 6)
    assert states.shape == (3, 6, 256)
    assert mask.sum(axis=1).tolist()[1] == 0
    assert 0 < mask.sum(axis=1).tolist()[2] < mask.sum(axis=1).tolist()[0] <= 6
    np.testing.assert_array_equal(states[0, 0], states[2, 0])
    assert not states[1].any()


def test_white_space_is_absent_and_lone_surrogates_are_read() -> None:
    states, mask = WordLlama().encode([" ", "\n\t ", "\ud800"], 3)
    assert mask.any(axis=1).tolist() == [False, False, True]
    assert not states[:2].any()


def test_a_longer_cut_only_adds_states() -> None:
    model, texts = WordLlama(), ["Orders will rise sharply within the next fortnight.", "Stocks fall."]
    short, short_mask = model.encode(texts, 3)
    long, long_mask = model.encode(texts, 11)
    np.testing.assert_array_equal(long[:, :3], short)
    np.testing.assert_array_equal(long_mask[:, :3], short_mask)
    assert long_mask[0].sum() > 3 == short_mask[0].sum()
    assert (model.length(3), model.length(11), model.fits) == (3, 11, False)
