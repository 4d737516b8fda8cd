"""Texts: each one a window receives was there at its origin, by the tensors themselves."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from plait.core.schema import SPLITS
from plait.data.dated_texts import latest_stated
from plait.data.table import Texts
from plait.data.texts import encode, standardised, text_units
from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked, batches
from plait.features.calendar import Times
from plait.features.stated_dates import stated_dates

_DAY = np.timedelta64(86_400, "s")
UNKNOWN = -1


def check_texts(data: ForecastData) -> list[Checked]:
    """No window receives a text before the latest of its own dates and of the full dates that it states.

    The states that every window receives are traced back to the texts they are the states of, whatever the join
    believed. Equal states (equal beginnings of texts) count as available from the first of their texts on.
    """
    if data.text is None:
        return [Checked("text availability", "the model receives no text")]
    texts = data.text.texts
    stated = _stated(texts)
    moments = _moments(data, texts, stated)
    owners = _owners(data, texts, moments)
    early: dict[int, int] = {}
    seen: set[int] = set()
    strange, windows, slots = [], 0, 0
    for origin, found in _received_texts(data, owners):
        windows += 1
        slots += len(found)
        for text in found:
            if text == UNKNOWN:
                strange.append(f"origin {_day(data.table.times[origin])}")
                continue
            seen.add(text)
            if moments[text] > data.table.times[origin]:
                early.setdefault(text, origin)
    findings = [*_early(data, texts, stated, moments, early), *_later_stated(texts, sorted(seen))]
    if strange:
        words = "windows receive a text state that is of no text of the table"
        findings.append(AuditFinding("leak", "text availability", words, tuple(strange)))
    did = f"{slots} text states of {windows} windows traced back to {len(seen)} texts and held against their dates"
    return [Checked("text availability", did, tuple(findings))]


def _moments(data: ForecastData, texts: Texts, stated: Times) -> Times:
    """From when each text may be known: its own latest date or a later full date that it states, and the lag.

    Where steps are shorter than a day, a date without a time of day is over at its end.
    """
    short = 0 < data.table.step.seconds < 86_400
    own = texts.dated + (texts.whole_day & short) * _DAY
    later = stated > texts.dated.astype("datetime64[D]")
    latest: Times = np.where(later, np.maximum(own, stated + _DAY * int(short)), own)
    return latest + np.timedelta64(round(data.config.text.lag_days * 86_400), "s")


def _stated(texts: Texts) -> Times:
    """The latest full date that each text states, read table by table as each writes its dates."""
    latest = np.empty_like(texts.dated)
    sources = np.array(texts.sources, dtype=object)
    for source in set(texts.sources):
        rows = np.flatnonzero(sources == source)
        latest[rows] = latest_stated([texts.contents[row] for row in rows])
    return latest


def _owners(data: ForecastData, texts: Texts, moments: Times) -> dict[bytes, int]:
    """Which text each state is of: of those that share it, the first that was there."""
    units = text_units(texts, data.config.text)
    states, mask, _ = encode(units.distinct, data.config.text, data.embedder, None, None)
    kept = standardised(states, mask, data.fitted.text_centre, data.fitted.text_sd)
    holders: dict[int, list[int]] = defaultdict(list)
    for text, row in enumerate(units.of_text[:-1]):
        for unit in row[row >= 0]:
            holders[int(unit)].append(text)
    owners: dict[bytes, int] = {}
    for unit, of in holders.items():
        first = min(of, key=lambda text: moments[text])
        key = _key(kept[unit], mask[unit])
        if key not in owners or moments[first] < moments[owners[key]]:
            owners[key] = first
    return owners


def _received_texts(data: ForecastData, owners: dict[bytes, int]) -> Iterator[tuple[int, list[int]]]:
    """For every window of every split: its origin, and the texts whose states it receives."""
    assert data.text is not None
    length = data.text.states.shape[1]
    for split in SPLITS:
        for batch in batches(data, split):
            states = batch.inputs["text"].unflatten(1, (-1, length))
            masks = batch.inputs["text_mask"].unflatten(1, (-1, length))
            states = torch.where(masks[..., None], states, 0.0)
            some = masks.any(dim=2).numpy()
            for window, origin in enumerate(batch.info["row"].tolist()):
                found = [
                    owners.get(_key(states[window, slot].numpy(), masks[window, slot].numpy()), UNKNOWN)
                    for slot in np.flatnonzero(some[window])
                ]
                yield origin, found


def _key(states: NDArray[np.float32], mask: NDArray[np.bool_]) -> bytes:
    return mask.tobytes() + states.tobytes()


def _early(
    data: ForecastData, texts: Texts, stated: Times, moments: Times, early: dict[int, int]
) -> Iterator[AuditFinding]:
    """A finding for texts that state a later date themselves, and one for those before their own date."""
    by_statement, by_date = [], []
    for text in sorted(early, key=lambda text: (texts.dated[text], text)):
        origin = _day(data.table.times[early[text]])
        if stated[text] > texts.dated[text].astype("datetime64[D]"):
            by_statement.append(
                f"{texts.places[text]} states {_day(stated[text])} and is used from the origin {origin}"
            )
        else:
            by_date.append(
                f"{texts.places[text]} is available {_day(moments[text])} and is used from the origin {origin}"
            )
    if by_statement:
        words = "texts are used before a full date that they state themselves"
        yield AuditFinding("leak", "text availability", words, tuple(by_statement))
    if by_date:
        yield AuditFinding("leak", "text availability", "texts are used before their own date", tuple(by_date))


def _later_stated(texts: Texts, seen: list[int]) -> Iterator[AuditFinding]:
    """Texts that state a later month, or a later year in a sentence that does not look ahead."""
    rows = []
    for text in seen:
        own = texts.dated[text]
        later = [
            date.written
            for date in stated_dates(texts.contents[text])
            if date.level != "day" and date.day.astype("datetime64[s]") > own
            and (date.level == "month" or not date.forward)
        ]  # fmt: skip
        if later:
            rows.append(f"{texts.places[text]} states {', '.join(later)}")
    if rows:
        words = "texts state a month or year after their own date"
        yield AuditFinding("suspect", "text availability", words, tuple(rows))


def _day(moment: np.datetime64) -> str:
    text = str(moment)
    return text[:10] if text.endswith("T00:00:00") else text
