"""Tests of the planted generator: bulletins come true in the series, and in the control they do not."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from plait.features.planted import YEAR_WEEKS, Event, Planted, announced_steps, generate

LOOKBACK, HORIZON = 36, 12

# The reader of these tests, written apart from the generator's word lists.
UP = re.compile(r"\b(rise|climb|grow|increase|go up)\b")
DOWN = re.compile(r"\b(fall|drop|shrink|decrease|go down)\b")
SIZES = {1: r"\b(slightly|a little)\b", 2: r"\b(moderately|noticeably)\b", 3: r"\b(sharply|dramatically)\b"}
COUNTDOWNS = {
    1: r"\b(next week|one week|coming week)\b",
    2: r"\b(two weeks|week after next|fortnight)\b",
    3: r"\bthree weeks\b",
    4: r"\bfour weeks\b",
    5: r"\bfive weeks\b",
    6: r"\bsix weeks\b",
}


@cache
def planted(seed: int, signal: bool = True) -> Planted:
    return generate(seed=seed, signal=signal)


@cache
def read(bulletin: str) -> tuple[int, int, int] | None:
    """Return (sign, size, countdown) as a person reads them, or None if the bulletin announces nothing."""
    text = bulletin.lower()
    ups, downs = len(UP.findall(text)), len(DOWN.findall(text))
    sizes = [size for size, pattern in SIZES.items() if re.search(pattern, text)]
    countdowns = [weeks for weeks, pattern in COUNTDOWNS.items() if re.search(pattern, text)]
    if not (ups or downs or sizes or countdowns):
        return None
    assert (ups + downs, len(sizes), len(countdowns)) == (1, 1, 1), bulletin
    return ups - downs, sizes[0], countdowns[0]


def read_events(bulletins: tuple[str, ...]) -> tuple[Event, ...]:
    """Rebuild the announced events from the words alone, first announcement first."""
    first: dict[int, Event] = {}
    for row, bulletin in enumerate(bulletins):
        found = read(bulletin)
        if found is not None:
            sign, size, countdown = found
            first.setdefault(row + countdown, Event(row, row + countdown, sign, size))
    return tuple(first.values())


def ridge_mse(values: np.ndarray, extra: np.ndarray | None) -> float:
    """Test MSE (train-standardised) of a ridge on 36 values, season marks and extra inputs."""
    cut = int(0.7 * len(values))
    mean, sd = values[:cut].mean(), values[:cut].std()
    z = (values - mean) / sd
    origins = np.arange(LOOKBACK - 1, len(z) - HORIZON)
    last = z[origins, None]
    angle = 2 * np.pi * origins[:, None] / YEAR_WEEKS
    # Without the marks of the origin both ridges spend half their error on the season.
    marks = [np.ones_like(last), np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    steps = [] if extra is None else [extra[origins] / sd]
    inputs = np.hstack([z[origins[:, None] + np.arange(1 - LOOKBACK, 1)] - last, *marks, *steps])
    targets = z[origins[:, None] + np.arange(1, HORIZON + 1)] - last
    train, test = origins + HORIZON < cut, origins + 1 >= cut
    gram = inputs[train].T @ inputs[train] + 1.0 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs[train].T @ targets[train])
    return float(np.mean((inputs[test] @ weights - targets[test]) ** 2))


def test_the_seed_decides_everything() -> None:
    one, again, other = generate(211, seed=5), generate(211, seed=5), generate(211, seed=6)
    assert np.array_equal(one.values, again.values)
    assert one.bulletins == again.bulletins
    assert one.events == again.events
    assert not np.array_equal(one.values, other.values)
    assert one.bulletins != other.bulletins
    assert one.events != other.events


def test_times_are_the_sundays_of_consecutive_weeks() -> None:
    times = planted(0).times
    assert times.dtype == np.dtype("datetime64[D]")
    assert times.shape == planted(0).values.shape == (3000,)
    assert {day.astype(object).isoweekday() for day in times} == {7}
    assert set(np.diff(times).astype(int)) == {7}
    assert np.datetime64("1960-01-01") <= times[0] < np.datetime64("1970-01-01")
    assert times[-1] < np.datetime64("2024-01-01")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_events_keep_the_calendar(seed: int) -> None:
    events = planted(seed).events
    leads = [event.shift - event.announced for event in events]
    assert 240 <= len(events) <= 305
    assert set(leads) == {2, 3, 4, 5, 6}
    assert {event.size for event in events} == {1, 2, 3}
    assert {event.sign for event in events} == {-1, 1}
    assert all(later.announced >= earlier.shift + 4 for earlier, later in pairwise(events))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_far_level_is_forced_back(seed: int) -> None:
    series = planted(seed)
    week = np.arange(3000)
    angle = 2 * np.pi * week / YEAR_WEEKS
    level = series.values - (10 + 0.002 * week + 2 * np.sin(angle) + 0.8 * np.cos(2 * angle))
    between = [(level[one.shift : two.shift].mean(), two.sign) for one, two in pairwise(series.events)]
    far = [(mean, sign) for mean, sign in between if abs(mean) > 5]
    near = [np.sign(mean) * sign for mean, sign in between if abs(mean) < 3]
    assert len(far) > 20
    assert all(mean * sign < 0 for mean, sign in far)
    assert len(near) > 80
    assert abs(np.mean(near)) < 4 / np.sqrt(len(near))
    assert np.abs(level).max() < 10


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_announced_steps_happen(seed: int) -> None:
    series = planted(seed)
    shifts = np.array([event.shift for event in series.events])
    steps = np.array([event.sign * event.size for event in series.events])
    change = series.values[shifts] - series.values[shifts - 1]
    assert np.corrcoef(change, steps)[0, 1] > 0.95
    assert np.polyfit(steps, change, 1)[0] == pytest.approx(1.0, abs=0.05)
    week_before = series.values[shifts - 1] - series.values[shifts - 2]
    assert abs(np.corrcoef(week_before, steps)[0, 1]) < 0.25


def test_between_shifts_only_trend_season_and_ar_noise_move_the_series() -> None:
    week = np.arange(3000)
    angle = 2 * np.pi * week / YEAR_WEEKS
    known = 10 + 0.002 * week + 2 * np.sin(angle) + 0.8 * np.cos(2 * angle)
    one, two = [], []
    for seed in range(3):
        series = planted(seed)
        change = np.diff(series.values - known)
        change[[event.shift - 1 for event in series.events]] = np.nan
        one.append(np.nanmean(change**2))
        two.append(np.nanmean(change[1:] * change[:-1]))
    # Differences of AR(1) noise of marginal variance s2: variance 2 s2 (1-phi), neighbours -s2 (1-phi)^2.
    assert np.mean(one) == pytest.approx(2 * 0.16 * 0.6, abs=0.012)
    assert np.mean(two) == pytest.approx(-0.16 * 0.36, abs=0.012)
    before = (series.values - known)[: series.events[0].shift]
    assert abs(before.mean()) < 1.0


@pytest.mark.parametrize("signal", [True, False])
def test_no_bulletin_occurs_twice(signal: bool) -> None:
    bulletins = planted(0, signal).bulletins
    assert len(bulletins) == 3000 == len(set(bulletins))
    assert {len(re.findall(r"\.(?: |$)", text)) for text in bulletins} == {1, 2, 3}
    for text in bulletins:
        assert re.fullmatch(r"([A-Z][A-Za-z ,']+\.)( [A-Z][A-Za-z ,']+\.)*", text), text


@pytest.mark.parametrize("seed", [0, 1])
def test_every_week_until_the_shift_says_sign_size_and_countdown(seed: int) -> None:
    series = planted(seed)
    expected = {
        row: (event.sign, event.size, event.shift - row)
        for event in series.events
        for row in range(event.announced, event.shift)
    }
    for row, text in enumerate(series.bulletins):
        assert read(text) == expected.get(row), (row, text)
    assert 0.3 < len(expected) / 3000 < 0.45


def test_announcements_stand_anywhere_in_new_words() -> None:
    sentences = []
    places = set()
    for text in planted(0).bulletins:
        parts = re.split(r"(?<=\.) ", text)
        told = [number for number, part in enumerate(parts) if read(part) is not None]
        assert len(told) <= 1
        if told:
            places.add((told[0], len(parts)))
            sentences.append(parts[told[0]])
    assert places == {(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)}
    assert len(set(sentences)) > 0.9 * len(sentences)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distractors_do_not_depend_on_the_direction(seed: int) -> None:
    series = planted(seed)
    signs: dict[str, list[int]] = {}
    for text in series.bulletins:
        found = read(text)
        if found is not None:
            for town in set(re.findall(r" in ([A-Z][a-z]+)", text)):
                signs.setdefault(town, []).append(found[0])
    assert len(signs) >= 10
    for town, told in signs.items():
        assert abs(np.mean(told)) < 4.5 / np.sqrt(len(told)), town


def test_announced_steps_against_the_definition() -> None:
    rows, horizon = 23, 7
    # Overlapping events, one announced in the week before its shift, one that begins beyond the last row.
    drawn = [(0, 5, 1, 2), (3, 6, -1, 3), (9, 10, 1, 1), (11, 22, 1, 3), (19, 25, -1, 2)]
    events = tuple(Event(*fields) for fields in drawn)
    small = replace(generate(rows), events=events)
    expected = np.zeros((rows, horizon))
    for origin in range(rows):
        for step in range(1, horizon + 1):
            for event in events:
                known, future = event.announced <= origin, event.shift > origin
                if known and future and event.shift <= origin + step:
                    expected[origin, step - 1] += event.size * event.sign
    assert np.array_equal(announced_steps(small, horizon), expected)
    assert np.abs(expected).sum() > 0


def test_a_reader_of_the_words_gets_the_oracles_inputs() -> None:
    series = planted(1)
    assert read_events(series.bulletins) == series.events
    reader = replace(series, events=read_events(series.bulletins))
    assert np.array_equal(announced_steps(reader, HORIZON), announced_steps(series, HORIZON))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_oracle_halves_the_error_of_the_series_alone(seed: int) -> None:
    series = planted(seed)
    alone = ridge_mse(series.values, None)
    oracle = ridge_mse(series.values, announced_steps(series, HORIZON))
    assert oracle < 0.6 * alone
    assert 0.15 < alone < 0.35


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_control_has_the_same_values_and_words_without_meaning(seed: int) -> None:
    series, control = planted(seed), planted(seed, signal=False)
    assert series.values.tobytes() == control.values.tobytes()
    assert series.events == control.events
    assert np.array_equal(series.times, control.times)
    spoken = read_events(control.bulletins)
    assert 240 <= len(spoken) <= 305
    shifts = np.array([event.shift for event in spoken])
    steps = np.array([event.sign * event.size for event in spoken])
    change = control.values[shifts] - control.values[shifts - 1]
    assert abs(np.corrcoef(change, steps)[0, 1]) < 3.5 / np.sqrt(len(spoken))
    told = announced_steps(replace(control, events=spoken), HORIZON)
    assert ridge_mse(control.values, told) > 0.97 * ridge_mse(control.values, None)


@pytest.mark.parametrize("weeks", [1, 2, 5, 53])
def test_short_series_hold_only_what_fits(weeks: int) -> None:
    for seed in range(7):
        series = generate(weeks, seed)
        assert len(series.times) == len(series.values) == len(series.bulletins) == weeks
        assert all(event.shift < weeks for event in series.events)
        assert np.array_equal(series.values, generate(weeks, seed, signal=False).values)


def test_bad_arguments_say_which() -> None:
    with pytest.raises(ValueError, match="weeks"):
        generate(0)
    with pytest.raises(ValueError, match="seed"):
        generate(3, seed=-1)
    with pytest.raises(ValueError, match="horizon"):
        announced_steps(generate(3), 0)
