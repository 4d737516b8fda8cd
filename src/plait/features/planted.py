"""A seeded generator of weekly demand whose coming level shifts are announced in plain-word bulletins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
DateArray = npt.NDArray[np.datetime64]

YEAR_WEEKS = 365.2425 / 7
"""Weeks of a calendar year: the season follows the calendar, as marks and real data do."""

_FIRST_SUNDAY = np.datetime64("1964-01-05", "D")
_NOISE_SD = 0.4
_NOISE_PHI = 0.4
_START_PROBABILITY = 0.25
_LEADS = (2, 6)
_SIZE_JITTER = 0.1
_LEVEL_LIMIT = 4.0
_REST_WEEKS = 4

_ANNOUNCEMENTS = (
    "the sales desk expects {subject} to {verb} {size} {when}.",
    "{when}, {subject} will {verb} {size}.",
    "according to the planning team, {subject} will {verb} {size} {when}.",
    "our biggest buyers have told us that {subject} will {verb} {size} {when}.",
    "{subject} will {verb} {size} {when}, the branch managers report.",
    "please prepare for {subject} to {verb} {size} {when}.",
    "changes in our contracts mean that {when} {subject} will {verb} {size}.",
)
_SUBJECTS = (
    "weekly demand",
    "the order volume",
    "purchases by customers",
    "unit sales",
    "shipments to shops",
    "the number of orders",
)
_VERBS = {
    1: ("rise", "climb", "grow", "increase", "go up"),
    -1: ("fall", "drop", "shrink", "decrease", "go down"),
}
_SIZES = {
    1: ("slightly", "a little"),
    2: ("moderately", "noticeably"),
    3: ("sharply", "dramatically"),
}
_WHEN = {
    1: ("next week", "in one week", "one week from now", "in the coming week"),
    2: ("in two weeks", "two weeks from now", "the week after next", "in a fortnight"),
    3: ("in three weeks", "three weeks from now", "in three weeks' time", "three weeks from today"),
    4: ("in four weeks", "four weeks from now", "in four weeks' time", "four weeks from today"),
    5: ("in five weeks", "five weeks from now", "in five weeks' time", "five weeks from today"),
    6: ("in six weeks", "six weeks from now", "in six weeks' time", "six weeks from today"),
}

# No word that carries a sign, a size or a countdown occurs below, and no month or date does either: a reader
# that takes dates out of texts would hold such a bulletin back.
_DISTRACTORS = (
    "{place} has a new front door.",
    "the roof of {place} is being repaired.",
    "a choir sang at {place}.",
    "{place} held an open day for families.",
    "volunteers planted lime trees beside {place}.",
    "a lost cat was found behind {place}.",
    "{place} is collecting old books for a charity fair.",
    "the bicycle racks of {place} now stand in the back yard.",
    "a photograph of {place} won a local prize.",
    "painters are at work inside {place}.",
    "{place} has changed its opening hours.",
    "the clock above {place} is working again.",
    "a film crew spent a day at {place}.",
    "the car park of {place} has fresh white lines.",
    "{place} is looking for a caretaker.",
    "a chess evening took place at {place}.",
    "the heating in {place} has been serviced.",
    "pupils interviewed the staff of {place} for their school paper.",
)
_PLACES = (
    "library",
    "town hall",
    "railway station",
    "fire station",
    "swimming pool",
    "post office",
    "museum",
    "theatre",
    "music school",
    "sports hall",
)
_TOWNS = (
    "Bremen",
    "Leeds",
    "Porto",
    "Ghent",
    "Turku",
    "Graz",
    "Aarhus",
    "Cork",
    "Lyon",
    "Brno",
    "Bergen",
    "Utrecht",
)


@dataclass(frozen=True)
class Event:
    """One announced, permanent shift of the level; weeks are row numbers.

    `announced` is the first row whose bulletin names the shift, `shift` the first row at the new level,
    `sign` the direction (-1 or 1) and `size` the class (1, 2 or 3), whose mean step is `size` units of the
    values.
    """

    announced: int
    shift: int
    sign: int
    size: int


@dataclass(frozen=True, eq=False)
class Planted:
    """A weekly series of T rows, one bulletin a row, and the events that moved the series.

    `times` (T,) holds each week's last day (a Sunday), `values` (T,) the demand, `bulletins` T texts, of
    which the one in row o is written at the end of week o, and `events` the shifts in order. In the no-signal
    control the bulletins speak of other events than `events`.
    """

    times: DateArray
    values: FloatArray
    bulletins: tuple[str, ...]
    events: tuple[Event, ...]


def generate(weeks: int = 3000, seed: int = 0, signal: bool = True) -> Planted:
    """Draw a weekly series whose level shifts are announced 2 to 6 weeks ahead, and a bulletin for each week.

    Row t has the value `10 + 0.002 t + 2 sin(2 pi t / w) + 0.8 cos(4 pi t / w) + level + noise` with
    `w` the weeks of a calendar year. The noise
    is a stationary AR(1) with phi 0.4 and a *marginal* sd of 0.4 (its innovations have sd 0.367). In a free
    week an event starts with probability 0.25: a lead of 2 to 6 weeks, a step of 1, 2 or 3 units times
    `1 + 0.1 N(0, 1)`, up or down at random, but back towards 0 when |level| > 4. The step stays for good, and
    the next event is announced 4 weeks after it at the earliest. An event that would begin beyond the last
    row is left out.

    Every bulletin has 1 or 2 sentences about unrelated things. From the week of the announcement until the
    week before the shift one more sentence, in a random position and in words drawn anew each week, states
    the sign, the size class and the countdown: "next week" in row o means a shift in row o + 1. No two
    bulletins are equal.

    Noise, events and words have random streams of their own: with `signal=False` the values are bit-equal to
    those of the same seed with `signal=True`, and the bulletins announce the events of an independent stream.

    Shape: `times` (weeks,), `values` (weeks,), one bulletin a week. The same arguments give the same result.
    Errors: ValueError if `weeks` < 1 or `seed` < 0.
    """
    if weeks < 1:
        raise ValueError(f"weeks must be at least 1, got {weeks}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
    noise_stream, event_stream, word_stream, control_stream = streams
    events, level = _draw_events(event_stream, weeks)
    spoken = events if signal else _draw_events(control_stream, weeks)[0]
    week = np.arange(weeks)
    season = 2.0 * np.sin(2.0 * np.pi * week / YEAR_WEEKS) + 0.8 * np.cos(4.0 * np.pi * week / YEAR_WEEKS)
    return Planted(
        times=_FIRST_SUNDAY + 7 * week.astype("timedelta64[D]"),
        values=10.0 + 0.002 * week + season + level + _draw_noise(noise_stream, weeks),
        bulletins=_write_bulletins(word_stream, weeks, spoken),
        events=events,
    )


def announced_steps(planted: Planted, horizon: int) -> FloatArray:
    """Sum, for every origin and step, the level steps that are announced by the origin and begin by the step.

    Entry [o, j - 1] is the sum of `size * sign` (the class mean, in units of the values) over the events with
    `announced <= o < shift <= o + j`. What has begun at the origin is in the series already; what is
    announced later nobody can know. This is the input of an oracle that reads every announcement of `events`
    perfectly.

    Shape: (T, horizon). Errors: ValueError if `horizon` < 1.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    rows = len(planted.values)
    steps = np.zeros((rows, horizon))
    for event in planted.events:
        for origin in range(max(event.announced, 0), min(event.shift, rows)):
            steps[origin, event.shift - origin - 1 :] += event.size * event.sign
    return steps


def _draw_events(rng: np.random.Generator, weeks: int) -> tuple[tuple[Event, ...], FloatArray]:
    """Draw the events of `weeks` rows and the level (weeks,) that they lead to."""
    events: list[Event] = []
    steps = np.zeros(weeks)
    level = 0.0
    week = 0
    while week < weeks:
        if rng.random() >= _START_PROBABILITY:
            week += 1
            continue
        shift = week + int(rng.integers(_LEADS[0], _LEADS[1] + 1))
        size = int(rng.integers(1, 4))
        sign = 1 if rng.random() < 0.5 else -1
        if abs(level) > _LEVEL_LIMIT:
            sign = -1 if level > 0 else 1
        step = sign * size * (1.0 + _SIZE_JITTER * float(rng.standard_normal()))
        if shift >= weeks:
            break
        events.append(Event(announced=week, shift=shift, sign=sign, size=size))
        steps[shift] = step
        level += step
        week = shift + _REST_WEEKS
    return tuple(events), np.cumsum(steps)


def _draw_noise(rng: np.random.Generator, weeks: int) -> FloatArray:
    """Draw stationary AR(1) noise (weeks,) with the marginal sd `_NOISE_SD`."""
    noise = _NOISE_SD * rng.standard_normal(weeks)
    innovation_share = np.sqrt(1.0 - _NOISE_PHI**2)
    for week in range(1, weeks):
        noise[week] = _NOISE_PHI * noise[week - 1] + innovation_share * noise[week]
    return noise


def _write_bulletins(rng: np.random.Generator, weeks: int, events: Sequence[Event]) -> tuple[str, ...]:
    """Write one bulletin a week, each new, with the event that is announced and not yet begun, if any."""
    pending = {week: event for event in events for week in range(event.announced, event.shift)}
    # A dict is a set that keeps the order.
    written: dict[str, None] = {}
    for week in range(weeks):
        event = pending.get(week)
        text = _compose(rng, week, event)
        while text in written:
            text = _compose(rng, week, event)
        written[text] = None
    return tuple(written)


def _compose(rng: np.random.Generator, week: int, event: Event | None) -> str:
    """Compose one week's bulletin from 1 or 2 distractors and, if an event is pending, its announcement."""
    chosen = rng.choice(len(_DISTRACTORS), size=int(rng.integers(1, 3)), replace=False)
    sentences = [
        _DISTRACTORS[number].format(place=f"the {_pick(rng, _PLACES)} in {_pick(rng, _TOWNS)}") for number in chosen
    ]
    if event is not None:
        announcement = _pick(rng, _ANNOUNCEMENTS).format(
            subject=_pick(rng, _SUBJECTS),
            verb=_pick(rng, _VERBS[event.sign]),
            size=_pick(rng, _SIZES[event.size]),
            when=_pick(rng, _WHEN[event.shift - week]),
        )
        sentences.insert(int(rng.integers(len(sentences) + 1)), announcement)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Return one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]
