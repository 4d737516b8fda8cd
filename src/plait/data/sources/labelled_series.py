"""`labelled_series`: whole series with a class each, in the files of the UCR and UEA archives."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from plait.core.config import Config
from plait.core.errors import ConfigError, DataError, FileError, suggest
from plait.core.schema import Schema
from plait.data.labelled_fitted import LabelledFitted
from plait.data.labelled_table import LabelledTable
from plait.data.sources._series import find_file
from plait.data.ts_files import read_ts

if TYPE_CHECKING:
    from plait.data.labelled_series import LabelledSeriesData

ENDS = ("_TRAIN.ts", "_TEST.ts")


class LabelledSeriesConfig(Config):
    """A file of train and one of test series, as an archive publishes them; validation is a share of train."""

    kind: Literal["labelled_series"] = "labelled_series"
    root: str = "."
    """Folder of the problems, for `path`; or of one problem, without it."""
    path: str | None = None
    """Name of the problem: its files are <root>/<name>/<name>_TRAIN.ts and <name>_TEST.ts, or lie in <root> itself."""
    train: str | None = None
    """The file of train series, here or below data.root, where it is not found by `path`."""
    test: str | None = None
    """The file of test series."""
    lookback: int | None = Field(None, ge=1)
    """Steps the model sees, the last of each series; unset: as many as the longest series of the train file has."""
    validation: float = Field(0.25, gt=0, lt=1)
    """Share of the train file that is held out for validation, of each class alike."""
    split_seed: int = 0
    """Draws validation; the seed of a run does not move it."""

    rows_are: ClassVar[str] = "whole series"
    new_names: ClassVar[tuple[str, ...]] = ("frame",)
    """What new series are given by."""
    new_ends: ClassVar[str] = ".ts"
    """How a file of new series ends, which is read here."""
    dated: ClassVar[bool] = False
    """Steps have no dates: there is neither a calendar nor a season."""
    contexts: ClassVar[tuple[str, ...]] = ()
    """What stands beside the series."""

    def read(self) -> LabelledTable:
        """The checked series of both files."""
        train, test = (read_ts(path) for path in self._files())
        return LabelledTable.of_files(train, test)

    def _files(self) -> list[Path]:
        """The two files. Errors: ConfigError where one is not named; FileError where one is not there."""
        named = (self.train, self.test)
        if any(named):
            if not all(named) or self.path is not None:
                raise ConfigError("data.train and data.test go together, without data.path", where="data")
            return [find_file(str(name), self.root) for name in named]
        root = Path(self.root)
        if self.path is None:
            found = sorted(root.glob(f"*{ENDS[0]}"))
            if len(found) != 1:
                raise ConfigError(
                    f"{len(found)} files {root}/*{ENDS[0]}, one is expected", where="data.root",
                    fix="give data.path, the name of the problem, or data.train and data.test",
                )  # fmt: skip
            return [found[0].with_name(found[0].name.removesuffix(ENDS[0]) + end) for end in ENDS]
        name = Path(self.path).name
        places = [root / self.path / name, root / name]
        found = [place for place in places if place.with_name(name + ENDS[0]).is_file()]
        if not found:
            known = [each.name.removesuffix(ENDS[0]) for each in root.glob(f"**/*{ENDS[0]}")]
            raise FileError(f"no problem {self.path!r}", where=f"data.root {root}", fix=suggest(name, known))
        return [found[0].with_name(name + end) for end in ENDS]

    def of_new(self, schema: Schema, fitted: LabelledFitted, reads: frozenset[str], *, frame: Any) -> LabelledTable:
        """New series for a run, from a .ts file with or without classes.

        Errors: those of `read_ts`; DataError for another number of dimensions and a class that the run does not know;
        ConfigError for what is no such file.
        """
        if not str(frame).endswith(self.new_ends):
            raise ConfigError(
                "new series of a run of whole series are a .ts file", where="predict", fix="give --path FILE.ts"
            )
        table = LabelledTable.of_new(read_ts(Path(frame)), fitted.classes)
        variates = table.values.shape[2]
        if variates != len(schema.variates):
            raise DataError(
                f"{variates} dimensions, the run learned {len(schema.variates)}", where=str(frame),
                fix="give the dimensions of the train file",
            )  # fmt: skip
        for words in table.longer_than(schema.lookback):
            print(words, file=sys.stderr)
        return table

    def build(
        self,
        table: LabelledTable,
        seed: int = 0,
        fitted: LabelledFitted | None = None,
        reads: frozenset[str] = frozenset({"series"}),
        ahead: bool = False,
        progress: Callable[[int, int], None] | None = None,
        question: Any = None,
    ) -> "LabelledSeriesData":
        """The data of a run; see `LabelledSeriesData`. There is one question of a whole series: which class it is."""
        from plait.data.labelled_series import LabelledSeriesData

        return LabelledSeriesData(table, self, fitted, ahead)

    @staticmethod
    def read_fitted(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> LabelledFitted:
        """What a run of such data fitted on its train rows."""
        return LabelledFitted.read(tensors, record)

    def as_learned(self, schema: Schema) -> "LabelledSeriesConfig":
        """The same data with the length of a run."""
        return self.model_copy(update={"lookback": schema.lookback})
