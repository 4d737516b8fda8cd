"""Errors say what, where and how to mend it, in one line, with the exit code of their kind."""

import copy
from pathlib import Path

import pytest

from plait.core.errors import (
    MOST_NAMES,
    ConfigError,
    DataError,
    FileError,
    NumericsError,
    PlaitError,
    Terminated,
    suggest,
    suggest_file,
)


@pytest.mark.parametrize(
    "error, code",
    [(PlaitError, 1), (ConfigError, 2), (DataError, 3), (NumericsError, 4), (FileError, 5), (Terminated, 143)],
)
def test_exit_codes(error: type[PlaitError], code: int) -> None:
    assert issubclass(error, PlaitError)
    assert error.exit_code == code


def test_words() -> None:
    assert str(PlaitError("it rains")) == "it rains"
    assert str(PlaitError("it rains", where="Rome")) == "Rome: it rains"
    assert str(PlaitError("it rains", fix="wait")) == "it rains (wait)"
    assert str(PlaitError("it rains", where="Rome", fix="wait")) == "Rome: it rains (wait)"


def test_an_error_survives_a_copy() -> None:
    # That is how a worker process hands its error over.
    twin = copy.copy(DataError("it rains", where="Rome", fix="wait"))
    assert isinstance(twin, DataError)
    assert (twin.what, twin.where, twin.fix) == ("it rains", "Rome", "wait")
    assert str(twin) == "Rome: it rains (wait)"


def test_the_nearest_name() -> None:
    assert suggest("sed", ["seed", "size", "device"]) == "did you mean seed?"
    assert suggest("Chimera", ["aam", "chimera"]) == "did you mean chimera?"
    assert suggest("itransformer", ["iTransformer", "linear"]) == "did you mean iTransformer?"
    assert suggest("film", ["concat", "add", "add"]) == "there is add, concat"
    assert suggest("film", []) == "there are none"


def test_a_long_list_of_names_is_cut() -> None:
    names = [f"{number:03d}" for number in range(100)]
    words = suggest("film", names)
    assert words.endswith(f"{MOST_NAMES - 1:03d} and {100 - MOST_NAMES} more")
    assert suggest("film", names[:MOST_NAMES]).endswith(f"{MOST_NAMES - 1:03d}")


def test_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "series.csv").touch()
    assert suggest_file(tmp_path / "serie.csv") == "did you mean series.csv?"
    assert suggest_file(tmp_path / "absent" / "series.csv") == f"there is no folder {tmp_path / 'absent'}"
