"""A .ts file is read as another parser reads it, or refused with the place of the fault."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.archive import archive
from plait.core.errors import DataError, FileError
from plait.data.ts_files import read_ts

HEAD = (
    "# a comment\n@problemName Odd\n@timeStamps false\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"
)
SUPPORTED = (
    "ACSF1", "ArrowHead", "BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels", "OSULeaf", "PLAID",
    "UnitTest",
)  # fmt: skip
LARGE = ("ACSF1", "OSULeaf", "PLAID")


def written(folder: Path, text: str) -> Path:
    path = folder / "odd.ts"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in SUPPORTED]
)
def test_real_files_are_as_a_plain_split_reads_them(name: str, part: str) -> None:
    path = archive() / name / f"{name}_{part}.ts"
    text = path.read_text(encoding="utf-8")
    body = re.split(r"(?im)^@data\s*$", text)[1].strip().splitlines()
    found = read_ts(path)
    assert len(found.cases) == len(body)
    assert found.classes == tuple(re.findall(r"(?im)^@classLabel\s+true\s+(.*)$", text)[0].split())
    for line, case, label in zip(body, found.cases, found.labels, strict=True):
        *parts, last = line.split(":")
        assert label == last.strip()
        assert case.shape == (len(parts[0].split(",")), len(parts))
        whole = np.stack([np.loadtxt(cells.split(","), ndmin=1) for cells in (parts[0], parts[-1])], axis=1)
        np.testing.assert_array_equal(case[:, [0, -1]], whole)


def test_targets_that_are_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="targets are numbers"):
        read_ts(archive() / "Covid3Month" / "Covid3Month_TRAIN.ts")


def test_missing_values_and_unknown_classes_and_lengths(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, HEAD + "1, ?,-.5e1:NaN,2.,+3:b\r\n\n% between\n7:8:?\n"))
    np.testing.assert_array_equal(found.cases[0], [[1, np.nan], [np.nan, 2], [-5, 3]])
    np.testing.assert_array_equal(found.cases[1], [[7, 8]])
    assert found.labels == ("b", None)


def test_a_file_without_classes_has_no_last_column(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, "@classLabel false\n@data\n1,2,3:4,5,6\n"))
    assert (found.classes, found.labels, found.cases[0].shape) == ((), (None,), (3, 2))


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5), min_size=1))
def test_every_finite_number_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    lines = "".join(",".join(map(repr, row)) + ":b\n" for row in rows)
    found = read_ts(written(tmp_path_factory.mktemp("ts"), f"@univariate true\n@classLabel true a b\n@data\n{lines}"))
    np.testing.assert_array_equal(np.stack(found.cases)[..., 0], rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "1,2:3,4:c\n", r"odd\.ts, line 8: no class 'c'.*there is a, b"),
        (HEAD + "1,2:3,4:a\n1:2:3:a\n", "line 9: 3 dimensions, 2 are expected"),
        (HEAD + "1,2:3,x:a\n", "line 8, dimension 2, value 2: 'x' is no number"),
        (HEAD + "1,2:3,1_0:a\n", "'1_0' is no number"),
        (HEAD + "1,2:3,:a\n", "'' is no number"),
        (HEAD + "1,-inf:3,4:a\n", "dimension 1, value 2: -inf is infinite"),
        (HEAD + "1,1e999:3,4:a\n", "1e999 is infinite"),
        (HEAD + "1,2:3:a\n", "dimension 2: 1 steps, dimension 1 has 2"),
        (HEAD + "1,2\n", "has no class"),
        (HEAD + "1,2:3,4:\n", "has no class"),
        (HEAD, "no case behind @data"),
        ("", "has no line @data"),
        ("1,2:a\n", "line 1: neither a comment nor a tag"),
        ("@timeStamps true\n@data\n", "time stamps are not read"),
        ("@data\n1,2:a\n", "does not say whether a case ends in its class"),
        ("@classLabel true\n@data\n1:a\n", "not two classes"),
        ("@classLabel maybe\n@data\n1:a\n", "'maybe' is neither true nor false"),
        ("@equalLength true\n@seriesLength 3\n" + HEAD + "1,2:3,4:a\n", "2 steps, @seriesLength has 3"),
        (HEAD.replace("@dimensions 2", "@dimensions two"), "'two' is no count"),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_ts(written(tmp_path, text))


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    written(tmp_path, HEAD)
    with pytest.raises(FileError, match=r"did you mean odd\.ts"):
        read_ts(tmp_path / "od.ts")
