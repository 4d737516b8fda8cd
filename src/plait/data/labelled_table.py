"""The checked series of a train and a test file, or of new ones, in one array."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import DataError, suggest
from plait.data.table import Finding
from plait.data.ts_files import FloatArray, SeriesFile


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """Series with a class each; the first `trained` are of the train file.

    Shape: values (n, t, v), series that are shorter than the longest stand at its end; lengths (n,) steps of each;
    label (n,) codes of `classes`, -1 where not known; number (n,), from 1, the place of a case in its file.
    Mask: NaN = missing, or before the beginning of a series.
    """

    values: FloatArray
    lengths: NDArray[np.int64]
    label: NDArray[np.int64]
    number: NDArray[np.int64]
    classes: tuple[str, ...]
    trained: int
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of_files(cls, train: SeriesFile, test: SeriesFile) -> "LabelledTable":
        """The series of both files. Errors: DataError where they differ in dimensions or classes, and for a case
        without a known class.
        """
        for file in (train, test):
            if not file.classes:
                raise DataError("its cases have no class", where=file.where, fix="@classLabel true and the names")
            if None in file.labels:
                place = file.labels.index(None) + 1
                raise DataError(f"the class of case {place} is not known", where=file.where, fix="leave the case out")
        if test.dimensions != train.dimensions:
            raise DataError(
                f"{test.dimensions} dimensions, {train.where} has {train.dimensions}", where=test.where,
                fix="give two files of one problem",
            )  # fmt: skip
        return cls._of([train, test], train.classes, len(train.cases))

    @classmethod
    def of_new(cls, file: SeriesFile, classes: tuple[str, ...]) -> "LabelledTable":
        """New series, with the classes that are known. Errors: DataError for a class that is none of `classes`."""
        return cls._of([file], classes, 0)

    @classmethod
    def _of(cls, files: Sequence[SeriesFile], classes: tuple[str, ...], trained: int) -> "LabelledTable":
        for file in files:
            _check_classes(file, classes)
        cases = [case for file in files for case in file.cases]
        lengths = np.array([len(case) for case in cases], dtype=np.int64)
        values = np.full((len(cases), lengths.max(), cases[0].shape[1]), np.nan)
        for row, case in enumerate(cases):
            values[row, len(values[row]) - len(case) :] = case
        place = {name: code for code, name in enumerate(classes)}
        label = [-1 if name is None else place[name] for file in files for name in file.labels]
        number = np.concatenate([np.arange(1, len(file.cases) + 1) for file in files])
        found = _findings(cases, lengths)
        return cls(values, lengths, np.array(label, dtype=np.int64), number, classes, trained, found)

    def longer_than(self, steps: int) -> list[str]:
        """What to say of series of which only the last steps are seen."""
        count = int((self.lengths > steps).sum())
        return [f"{count} series are longer than {steps} steps: their last {steps} are read"] * bool(count)

    def fingerprint(self) -> str:
        """A digest of the series and their classes: whether data are still those a run began with."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        digest.update(np.array([*self.values.shape, self.trained]).tobytes() + self.values.tobytes())
        digest.update(self.lengths.tobytes() + self.label.tobytes())
        return digest.hexdigest()[:16]


def _check_classes(file: SeriesFile, classes: tuple[str, ...]) -> None:
    for name in file.classes:
        if name not in classes:
            raise DataError(
                f"{name!r} is no class of the train file", where=f"{file.where}, @classLabel",
                fix=suggest(name, classes),
            )  # fmt: skip


def _findings(cases: Sequence[FloatArray], lengths: NDArray[np.int64]) -> tuple[Finding, ...]:
    found = []
    shorter = int((lengths < lengths.max()).sum())
    if shorter:
        words = f"series are shorter than the longest ({lengths.min()} to {lengths.max()} steps), padded at the front"
        found.append(Finding(words, shorter))
    missing = sum(int(np.isnan(case).sum()) for case in cases)
    if missing:
        found.append(Finding("values are missing", missing))
    return tuple(found)
