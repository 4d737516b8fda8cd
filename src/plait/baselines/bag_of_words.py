"""A bag-of-words ridge: what word counts of the newest texts add to the linear forecast."""

from collections.abc import Sequence

import numpy as np

from plait.baselines.panel import Panel
from plait.baselines.ridge import features, fit_ridge
from plait.core.schema import SPLITS
from plait.features.seasonal_prior import FloatArray, IntArray

MIN_TEXTS = 5
MAX_WORDS = 2000


def bag_of_words_ridge(panel: Panel, contents: Sequence[str], rows: IntArray) -> dict[str, FloatArray]:
    """Forecast z[o] plus a ridge map of the lookback and of which words the newest texts hold.

    Words are those of at least 5 texts that train windows see, at most the 2,000 most frequent; each of the K newest
    texts of an origin has its own columns. The strength is chosen on validation.

    Shape: `rows` (t, k) row numbers of the texts each row of the panel sees as an origin, -1 = none; per split
    (n, p, v).
    Units: those of panel.z.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    seen = np.unique(rows[panel.origins["train"]])
    seen = seen[seen >= 0]
    words = CountVectorizer(binary=True, min_df=min(MIN_TEXTS, max(1, len(seen))), max_features=MAX_WORDS)
    words.fit([contents[row] for row in seen])
    counts = words.transform(contents)
    bag = np.vstack([counts.toarray().astype(np.float64), np.zeros((1, counts.shape[1]))])

    def inputs(split: str) -> FloatArray:
        at = panel.origins[split]
        text = bag[rows[at]].reshape(len(at), 1, -1)
        series = features(panel, split)
        return np.concatenate([series, np.broadcast_to(text, (*series.shape[:2], text.shape[2]))], axis=2)

    def changes(split: str) -> FloatArray:
        return (panel.targets(split) - panel.lookbacks(split)[:, -1:]).transpose(0, 2, 1).reshape(-1, panel.horizon)

    x, x_val = (part.reshape(-1, part.shape[2]) for part in (inputs("train"), inputs("val")))
    fit = fit_ridge(x, changes("train"), x_val, changes("val"), shared_strength=True)
    return {s: panel.lookbacks(s)[:, -1:] + fit.predict(inputs(s)).transpose(0, 2, 1) for s in SPLITS}
