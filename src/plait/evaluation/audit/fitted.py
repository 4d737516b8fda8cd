"""Statistics: what scales the inputs was fitted on train rows alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plait.core.schema import SPLITS
from plait.data.texts import encode, text_statistics, text_units
from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked, received

TOLERANCE = 1e-4
"""Relative: the received values are float32."""


def check_fitted(data: ForecastData) -> list[Checked]:
    """The scale of the received series is that of the observed train rows; so are the statistics of the text states
    and the vocabulary, where there is one, those of what train windows see.
    """
    scaler = tuple(_scaler(data))
    did = f"mean and sd of {len(data.table.columns)} variates recovered from the received series"
    checked = [Checked("scaler", did + f" and held against the {data.borders.train} train rows", scaler)]
    if data.text is not None:
        rows = len(np.unique(data.text.rows[data.origins["train"]]))
        did = f"statistics of the text states recomputed from the {rows} texts that train windows see"
        checked.append(Checked("text statistics", did, tuple(_text_statistics(data))))
    return checked


def _scaler(data: ForecastData) -> Iterator[AuditFinding]:
    raw, got = _pairs(data)
    train = data.table.values[: data.borders.train]
    for column, name in enumerate(data.table.columns):
        known = ~np.isnan(raw[:, column])
        if not known.any() or not np.ptp(raw[known, column]):
            continue  # a column that stands still in every window shows no scale
        mean, sd = _recovered(raw[known, column], got[known, column])
        right = (float(np.nanmean(train[:, column])), float(np.nanstd(train[:, column])) or 1.0)
        if _same((mean, sd), right):
            continue
        every = data.table.values[:, column]
        whole = (float(np.nanmean(every)), float(np.nanstd(every)) or 1.0)
        rows = data.borders.train
        guess = f", but those of all {len(every)} rows" if _same((mean, sd), whole) else ""
        yield AuditFinding(
            "leak", "scaler",
            f"the scaler of {name} has mean {mean:.6g} and sd {sd:.6g}, which are not those of the {rows} train rows"
            f" ({right[0]:.6g}, {right[1]:.6g}){guess}",
            (name,),
        )  # fmt: skip


def _pairs(data: ForecastData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw values and what windows receive in their place: at the last row of every window, and in the whole of each
    split's first; NaN where a raw value is not received. Shape: two of (n, v).
    """
    raw, got, seen = [], [], []
    for split in SPLITS:
        first = data.origins[split][0]
        raw += [data.table.values[data.origins[split]], data.table.values[first + 1 - data.lookback : first + 1]]
        series, mask = received(data, split, "series").double().numpy(), received(data, split, "series_mask").numpy()
        got += [series[:, -1], series[0]]
        seen += [mask[:, -1], mask[0]]
    return np.where(np.concatenate(seen), np.concatenate(raw), np.nan), np.concatenate(got)


def _recovered(raw: NDArray[np.float64], got: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and sd of the scaling (raw - mean) / sd that made `got`, by least squares."""
    centre = raw.mean()
    spread = float(((raw - centre) ** 2).sum())
    slope = float(((raw - centre) * got).sum()) / spread
    return (float(centre - got.mean() / slope), 1 / slope) if slope else (float("nan"), float("nan"))


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    # Means are compared in sds: a mean near 0 has no relative error of its own.
    return abs(one[1] / other[1] - 1) < TOLERANCE and abs(one[0] - other[0]) < TOLERANCE * other[1]


def _text_statistics(data: ForecastData) -> Iterator[AuditFinding]:
    assert data.text is not None
    fitted, config = data.fitted, data.config.text
    units = text_units(data.text.texts, config)
    seen = np.unique(units.of_text[data.text.rows[data.origins["train"]]])
    seen = seen[seen >= 0]
    fresh = config.embedder.build()
    if fresh.fits:
        fresh.fit([units.distinct[i] for i in seen])
        vocabulary, idf = fresh.fitted()
        same = fitted.idf is not None and np.array_equal(idf, fitted.idf)
        if list(fitted.vocabulary) != vocabulary or not same:
            more = sorted(set(fitted.vocabulary) - set(vocabulary))
            words = "the vocabulary is not that of the texts which train windows see"
            yield AuditFinding("leak", "vocabulary", words, tuple(more))
    states, mask, _ = encode(units.distinct, config, data.embedder, None, None)
    centre, sd = text_statistics(states, mask, seen)
    own = np.zeros_like(centre) if fitted.text_centre is None else fitted.text_centre
    if abs(sd / fitted.text_sd - 1) > TOLERANCE or np.abs(centre - own).max() > TOLERANCE * sd:
        words = "centre and size of the text states are not those of the texts which train windows see"
        yield AuditFinding("leak", "text statistics", words)
