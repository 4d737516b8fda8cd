"""`tfidf`: the formula written out again, nothing of other texts in it, and a fit that comes back to the bit."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest

from plait.core.errors import DataError, FileError
from plait.embedders.tfidf import Tfidf, TfidfConfig

TRAIN = [
    "Orders rise, orders fall; the orders of May.",
    "Orders fall in May and stocks rise.",
    "The harvest was late, and the rain came.",
    "Rain again: stocks of wheat fall.",
    "A wheat harvest in MAY needs rain",
]
OTHER = ["Zebra orders of orders", "quagga zebra", "", " ", "May", "rain RAIN wheat x"]


def words(text: str) -> list[str]:
    return re.findall(r"\b\w\w+\b", text.lower())


def by_hand(train: list[str], texts: list[str], most: int, least: int) -> tuple[list[str], list[list[float]]]:
    holders = Counter(word for text in train for word in set(words(text)))
    often = Counter(word for text in train for word in words(text))
    known = sorted((w for w in holders if holders[w] >= least), key=lambda w: (-often[w], w))
    vocabulary = sorted(known[:most])
    rows = []
    for text in texts:
        count = Counter(words(text))
        row = [count[w] * (math.log((1 + len(train)) / (1 + holders[w])) + 1) for w in vocabulary]
        norm = math.sqrt(sum(x * x for x in row))
        rows.append([x / norm for x in row] if norm else row)
    return vocabulary, rows


@pytest.mark.parametrize("most, least", [(512, 1), (512, 2), (7, 2), (5, 1), (1, 1)])
def test_states_equal_the_formula(most: int, least: int) -> None:
    model = TfidfConfig(words=most, min_texts=least).build()
    model.fit(TRAIN)
    vocabulary, rows = by_hand(TRAIN, TRAIN + OTHER, most, least)
    assert model.fitted()[0] == vocabulary
    assert model.dim == len(vocabulary)
    states, mask = model.encode(TRAIN + OTHER, 3)
    assert states.shape == (11, 1, len(vocabulary))
    np.testing.assert_allclose(states[:, 0], rows, atol=1e-6)
    assert mask[:, 0].tolist() == [any(row) for row in rows]
    assert model.length(32) == 1


def test_of_words_as_frequent_the_first_of_the_alphabet_are_kept() -> None:
    names = [f"{a}{b}" for a in "qwertyuiop" for b in "asdfghjkl"]
    model = Tfidf(words=11, min_texts=1)
    model.fit([" ".join(names[::-1])])
    assert model.fitted()[0] == sorted(names)[:11]


def test_unknown_words_are_absent_and_enter_no_vocabulary() -> None:
    model = Tfidf(min_texts=1)
    model.fit(TRAIN)
    before = model.revision
    states, mask = model.encode(["quagga zebra", "", "zebra rain"], 5)
    assert mask[:, 0].tolist() == [False, False, True]
    assert not states[:2].any()
    np.testing.assert_array_equal(states[2], model.encode(["rain"], 5)[0][0])
    assert not {"quagga", "zebra"} & set(model.fitted()[0])
    assert model.revision == before


def test_a_fit_that_went_through_json_gives_the_same_bits() -> None:
    model, again = Tfidf(words=9), Tfidf()
    model.fit(TRAIN)
    vocabulary, idf = model.fitted()
    again.restore(*json.loads(json.dumps([vocabulary, idf.tolist()])))
    assert again.revision == model.revision
    assert (again.dim, again.fits) == (9, True)
    for one, other in zip(model.encode(TRAIN + OTHER, 1), again.encode(TRAIN + OTHER, 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_texts_give_another_revision() -> None:
    one, other = Tfidf(), Tfidf()
    one.fit(TRAIN)
    other.fit([*TRAIN, "Orders of rain"])
    assert one.fitted()[0] == other.fitted()[0]
    assert one.revision != other.revision


@pytest.mark.parametrize("texts, message", [([], "none of the 0"), (["", "? !"], "none of the 2"), (["ab"], "no word")])
def test_texts_without_words_say_what_to_do(texts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Tfidf().fit(texts)
    assert caught.value.fix


@pytest.mark.parametrize("vocabulary, weights", [([], 0), (["a", "b"], 3), (["a", "a"], 2)])
def test_a_damaged_fit_is_refused(vocabulary: list[str], weights: int) -> None:
    with pytest.raises(FileError, match="does not fit"):
        Tfidf().restore(vocabulary, np.ones(weights))


def test_use_before_the_fit_is_our_own_fault() -> None:
    for use in (lambda: Tfidf().dim, lambda: Tfidf().revision, lambda: Tfidf().encode(["a"], 1)):
        with pytest.raises(AssertionError, match="before it is fitted"):
            use()
