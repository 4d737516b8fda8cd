"""The run folders of a comparison's arms: which there are, and what a reader of their results must know first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plait.report.finite import finite_json

NAMED = re.compile(r"(?P<arm>.+?)(?:-fold(?P<fold>\d+))?-seed(?P<seed>\d+)", re.DOTALL)


@dataclass(frozen=True)
class Training:
    """One training of an arm; `fold` is None where a comparison has none."""

    seed: int
    fold: int | None
    folder: Path

    @property
    def words(self) -> str:
        """Its seed, and its fold where it has one."""
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


def trainings(folder: Path, arm: str) -> list[Training]:
    """Those of an arm, by seed and then by fold."""
    named = [(path, NAMED.fullmatch(path.name)) for path in (folder / "arms").glob("*")]
    found = [
        Training(int(match["seed"]), None if match["fold"] is None else int(match["fold"]), path)
        for path, match in named
        if match and match["arm"] == arm
    ]
    return sorted(found, key=lambda each: (each.seed, -1 if each.fold is None else each.fold))


def of_first_seed(folder: Path, arm: str) -> list[Training]:
    """Those of an arm's first seed, one a fold."""
    found = trainings(folder, arm)
    return [each for each in found if each.seed == found[0].seed]


def caveats(found: Sequence[Training]) -> list[str]:
    """The caveats of some trainings, each once, with the folds that it is of unless it is of all."""
    said: dict[str, list[Training]] = {}
    for each in found:
        for words in (finite_json(each.folder / "metrics.json", optional=True) or {}).get("caveats") or []:
            said.setdefault(str(words), []).append(each)
    return [words if len(of) == len(found) else f"{_folds(of)}: {words}" for words, of in said.items()]


def _folds(found: Sequence[Training]) -> str:
    numbers = [str(each.fold) for each in found]
    return f"Fold{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
