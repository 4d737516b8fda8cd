"""`tfidf`: one state a text, its weighted word counts over a vocabulary fitted on train texts."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plait.core.config import Config
from plait.core.errors import DataError, FileError


class TfidfConfig(Config):
    """Weighted word counts; the only embedder that learns, from train texts."""

    kind: Literal["tfidf"] = "tfidf"
    words: int = Field(512, ge=1)
    """How many of the most frequent words are kept."""
    min_texts: int = Field(2, ge=1)
    """A word that stands in fewer train texts is left out."""

    def build(self) -> "Tfidf":
        """The embedder, not fitted yet."""
        return Tfidf(self.words, self.min_texts)


class Tfidf:
    """The tf-idf vector of a whole text, of length 1.

    x_w = count_w * (ln((1 + n) / (1 + n_w)) + 1), divided by its Euclidean norm, with n train texts, n_w of them with
    the word w. A word is two or more letters or digits, in lower case. Of two words as frequent, the first of the
    alphabet is kept.
    """

    fits: ClassVar[bool] = True

    def __init__(self, words: int = 512, min_texts: int = 2) -> None:
        self.words, self.min_texts = words, min_texts
        self._vectorizer: Any = None

    def fit(self, texts: Sequence[str]) -> None:
        """Learn vocabulary and weights from train texts; DataError where no word is frequent enough."""
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        try:
            counter = CountVectorizer()
            counts = counter.fit_transform(texts)
        except ValueError:  # no text has a word
            raise DataError(
                f"none of the {len(texts)} train texts has a word", where="data.text.embedder",
                fix="check the text column, or choose another embedder",
            ) from None  # fmt: skip
        names = counter.get_feature_names_out()
        texts_with = (counts > 0).sum(axis=0).A1
        known = np.flatnonzero(texts_with >= self.min_texts)
        if not len(known):
            raise DataError(
                f"no word stands in {self.min_texts} of the {len(texts)} train texts", where="data.text.embedder",
                fix="lower min_texts of the embedder, or give more texts",
            )  # fmt: skip
        frequency = counts.sum(axis=0).A1[known]
        kept = known[np.argsort(-frequency, kind="stable")[: self.words]]
        self._vectorizer = TfidfVectorizer(vocabulary=names[np.sort(kept)].tolist()).fit(texts)

    def fitted(self) -> tuple[list[str], NDArray[np.float64]]:
        """The vocabulary in the order of the columns, and the weight of each word."""
        assert self._vectorizer is not None, "tfidf is used before it is fitted"
        idf: NDArray[np.float64] = self._vectorizer.idf_.copy()
        return self._vectorizer.get_feature_names_out().tolist(), idf

    def restore(self, vocabulary: Sequence[str], idf: NDArray[np.float64]) -> None:
        """Be as `fitted` said."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        weights = np.array(idf, dtype=np.float64)
        if not len(vocabulary) or len(set(vocabulary)) != len(vocabulary) or weights.shape != (len(vocabulary),):
            raise FileError(
                f"a tfidf vocabulary of {len(set(vocabulary))} words does not fit {weights.size} weights",
                fix="the file is damaged: fit it again",
            )
        vectorizer = TfidfVectorizer(vocabulary=list(vocabulary))
        vectorizer.idf_ = weights
        self._vectorizer = vectorizer

    @property
    def dim(self) -> int:
        """The size of the vocabulary."""
        return len(self.fitted()[0])

    @property
    def revision(self) -> str:
        """The sha256 of vocabulary and weights, shortened."""
        vocabulary, idf = self.fitted()
        content = json.dumps(vocabulary).encode() + idf.tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def length(self, max_tokens: int) -> int:
        """One state a text."""
        return 1

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vector of each whole text; `max_tokens` cuts nothing.

        Shape: states (n, 1, e), mask (n, 1). Mask: a text without a known word is absent.
        """
        assert self._vectorizer is not None, "tfidf is used before it is fitted"
        states = np.zeros((len(texts), 1, self.dim), dtype=np.float32)
        if len(texts):
            states[:, 0] = self._vectorizer.transform(texts).toarray()
        return states, np.any(states, axis=2)

    def pieces(self, texts: Sequence[str], max_tokens: int) -> list[list[str]]:
        """Each whole text as one piece; none for a text without a known word."""
        known = self.encode(texts, max_tokens)[1][:, 0]
        return [[text] if some else [] for text, some in zip(texts, known, strict=True)]
