"""Labelled series as a data set: splits, scaling by train rows, padding at the front, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.core.config import validate
from plait.core.errors import ConfigError, DataError, FileError
from plait.data.labelled_fitted import LabelledFitted
from plait.data.labelled_series import LabelledSeriesData
from plait.data.sources.labelled_series import LabelledSeriesConfig
from plait.evaluation.audit.run import audit

CLASSES = ("up", "down", "rare")


def case(rng: np.random.Generator, length: int, label: str) -> str:
    rows = [",".join(f"{value:.3f}" for value in rng.normal(dim, 1 + dim, length)) for dim in range(3)]
    return ":".join([*rows, label])


def problem(folder: Path, name: str = "Odd", longest: int = 11) -> Path:
    """13 cases of one class, 7 of another and a single one of a third; of 5 steps up to 11, in test up to 13."""
    rng = np.random.default_rng(7)
    labels = ["up"] * 13 + ["down"] * 7 + ["rare"]
    for part, top in (("TRAIN", longest), ("TEST", longest + 2)):
        lengths = np.append(rng.integers(5, top + 1, len(labels) - 1), top)
        lines = [case(rng, int(length), label) for length, label in zip(lengths, labels, strict=True)]
        head = f"@problemName {name}\n@univariate false\n@dimensions 3\n@classLabel true {' '.join(CLASSES)}\n@data\n"
        (folder / f"{name}_{part}.ts").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return folder


def source(folder: Path, **fields: Any) -> LabelledSeriesConfig:
    return validate(LabelledSeriesConfig, {"kind": "labelled_series", "root": str(folder), **fields})


@pytest.fixture
def data(tmp_path: Path) -> LabelledSeriesData:
    config = source(problem(tmp_path))
    return config.build(config.read())


def test_the_published_split_is_kept_and_validation_is_a_share_of_each_class(data: LabelledSeriesData) -> None:
    summary = data.split_summary()
    assert {split: facts["classes"] for split, facts in summary.items()} == {
        "train": {"up": 10, "down": 5, "rare": 1}, "val": {"up": 3, "down": 2, "rare": 0},
        "test": {"up": 13, "down": 7, "rare": 1},
    }  # fmt: skip
    rows = np.concatenate([data.rows_of[split] for split in ("train", "val", "test")])
    assert sorted(rows) == list(range(42))
    np.testing.assert_array_equal(data.rows_of["test"], np.arange(21, 42))


def test_the_seed_of_a_run_does_not_move_the_split_and_its_own_does(tmp_path: Path) -> None:
    config = source(problem(tmp_path))
    table = config.read()
    held = [config.build(table, seed).rows_of["val"] for seed in (0, 1)]
    np.testing.assert_array_equal(held[0], held[1])
    other = source(tmp_path, split_seed=5)
    assert not np.array_equal(other.build(table).rows_of["val"], held[0])


def test_a_window_ends_with_the_series_and_is_masked_before_it(data: LabelledSeriesData) -> None:
    assert data.lookback == 11
    for split in ("train", "test"):
        batch = data.batch(split, data.rows(split))
        mask = batch.inputs["series_mask"]
        lengths = data.table.lengths[data.rows_of[split]]
        np.testing.assert_array_equal(mask.sum(dim=1).numpy(), np.minimum(lengths, 11)[:, None].repeat(3, axis=1))
        assert bool(mask[:, -1].all())
        assert bool((mask.int().diff(dim=1) >= 0).all())
    assert any("longer than 11 steps: their last 11 are read" in words for words in data.notices())


def test_scaling_is_by_the_observed_cells_of_train_rows(data: LabelledSeriesData) -> None:
    batch = data.batch("train", data.rows("train"))
    for variate in range(3):
        seen = batch.inputs["series"][..., variate][batch.inputs["series_mask"][..., variate]].double()
        assert float(seen.mean()) == pytest.approx(0, abs=1e-6)
        assert float(seen.std(correction=0)) == pytest.approx(1, rel=1e-6)


def test_what_stands_under_a_false_mask_changes_no_panel_value(data: LabelledSeriesData) -> None:
    panel = data.panel()
    values, rows = panel.values["test"], data.rows_of["test"]
    short = int(np.argmin(data.table.lengths[rows]))
    length = int(data.table.lengths[rows[short]])
    np.testing.assert_array_equal(values[short, : 11 - length], np.tile(values[short, 11 - length], (11 - length, 1)))
    assert all(np.isfinite(each).all() for each in panel.values.values())


def test_shorter_windows_see_the_last_steps(tmp_path: Path) -> None:
    config = source(problem(tmp_path), lookback=5)
    data = config.build(config.read())
    assert data.schema.lookback == 5
    assert bool(data.batch("test", data.rows("test")).inputs["series_mask"].all())


def test_the_audit_passes_and_sees_a_copy(data: LabelledSeriesData) -> None:
    assert audit(data)["leaks"] == 0
    data.table.values[data.rows_of["test"][3]] = data.table.values[data.rows_of["train"][5]]
    found = audit(data)
    assert found["leaks"] > 0
    assert "case 4 (test) is case" in found["findings"][0]["rows"][0]


def test_the_audit_sees_a_fit_beyond_train(data: LabelledSeriesData) -> None:
    whole = LabelledFitted.of(data.values, data.table.label, data.table.classes)
    found = audit(data.config.build(data.table, fitted=whole))
    assert {finding["check"] for finding in found["findings"]} == {"fitted"}


def test_new_series_are_read_with_the_fit_of_the_run(tmp_path: Path, data: LabelledSeriesData) -> None:
    path = tmp_path / "new.ts"
    path.write_text("@classLabel false\n@data\n1,2,3:4,5,6:7,8,9\n", encoding="utf-8")
    config = data.config.as_learned(data.schema)
    table = config.of_new(data.schema, data.fitted, frozenset({"series"}), frame=str(path))
    batch = config.build(table, fitted=data.fitted, ahead=True).batch("ahead", [0])
    expected = (np.array([[1, 4, 7], [2, 5, 8], [3, 6, 9]]) - data.fitted.mean) / data.fitted.sd
    np.testing.assert_allclose(batch.inputs["series"][0, -3:].numpy(), expected, rtol=1e-6)
    assert not bool(batch.targets["mask"].any())
    assert int(batch.inputs["series_mask"].sum()) == 9


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("@classLabel false\n@data\n1:2\n", DataError, "2 dimensions, the run learned 3"),
        ("@classLabel true up odd\n@data\n1:2:3:up\n", DataError, "'odd' is no class of the train file"),
    ],
)
def test_new_series_of_another_problem_are_refused(
    tmp_path: Path, data: LabelledSeriesData, text: str, error: type[Exception], words: str
) -> None:
    path = tmp_path / "new.ts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=words):
        data.config.of_new(data.schema, data.fitted, frozenset(), frame=str(path))


def test_files_are_found_by_name_or_alone_or_by_both_paths(tmp_path: Path) -> None:
    (tmp_path / "Inner").mkdir()
    problem(tmp_path / "Inner", "Inner")
    tables = [
        source(tmp_path, path="Inner").read(), source(tmp_path / "Inner").read(),
        source(tmp_path / "Inner", path="Inner").read(),
        source(tmp_path, train="Inner/Inner_TRAIN.ts", test="Inner/Inner_TEST.ts").read(),
    ]  # fmt: skip
    assert len({table.fingerprint() for table in tables}) == 1
    with pytest.raises(FileError, match="did you mean Inner"):
        source(tmp_path, path="Iner").read()
    with pytest.raises(ConfigError, match="0 files"):
        source(tmp_path).read()
    with pytest.raises(ConfigError, match="go together"):
        source(tmp_path, train="Inner/Inner_TRAIN.ts").read()


def test_a_validation_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"One_{part}.ts").write_text("@classLabel true a b\n@data\n1,2:a\n2,1:b\n", encoding="utf-8")
    config = source(tmp_path)
    with pytest.raises(DataError, match="no class has two train series"):
        config.build(config.read())


def test_batches_are_plain_tensors(data: LabelledSeriesData) -> None:
    batch = data.training_batch([2, 0])
    assert batch.inputs["series"].shape == (2, 11, 3)
    assert batch.targets["y"].dtype == torch.int64
    batch.check(("series", "series_mask"))
