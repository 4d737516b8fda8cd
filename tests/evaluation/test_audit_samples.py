"""Each leak that can be planted among samples is found, and honest data have none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data.sample_study import Study, data_of
from plait.core.errors import ConfigError
from plait.data.samples import SampleData
from plait.evaluation.audit.run import audit


def _leaks(data: SampleData) -> dict[str, list[str]]:
    found = audit(data)["findings"]
    return {each["check"]: each["rows"] for each in found if each["severity"] == "leak"}


@pytest.mark.parametrize(
    "fields", [{}, {"target": "site", "classifier": True, "categories": "sex", "numbers": "ph"}, {"tree": None}]
)
def test_honest_data_have_no_leak(tmp_path: Path, fields: dict[str, Any]) -> None:
    result = audit(data_of(tmp_path, **fields))
    assert result["leaks"] == 0
    assert [check["check"] for check in result["checks"]] == ["splits", "fitted", "recomputed", "columns"]


def test_a_fit_on_other_samples_is_a_leak(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    other = data_of(tmp_path / "other", split_seed=5)
    assert data.ids("train") != other.ids("train")
    rows = _leaks(SampleData(data.table, data.config, fitted=other.fitted))["fitted"]
    assert {"blocks", "clr_mean", "thresholds"} <= set(rows)


def test_a_copy_of_a_sample_in_another_split_is_a_leak(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    one, two = data.ids("train")[0], data.ids("test")[0]
    study = Study()
    study.counts = study.counts | {(two, f): study.counts[one, f] for f in study.features}
    rows = _leaks(data_of(tmp_path / "copied", study))["splits"]
    assert rows == [f"{two} (test) has the counts of {one} (train)"]


def test_a_group_on_both_sides_is_a_leak(tmp_path: Path) -> None:
    data = data_of(tmp_path, group_by=None)
    assert "splits" not in _leaks(data)
    grouped = data_of(tmp_path / "grouped")
    data._groups = grouped._groups
    assert all(row.startswith("the group of ") for row in _leaks(data)["splits"])


def test_a_given_column_that_is_the_target_is_a_leak(tmp_path: Path) -> None:
    study = Study()
    for sample, row in study.metadata.items():
        study = study.with_cell(sample, "months", f"{float(row['age']) * 12:.3f}" if row["age"] else "")
    leaks = _leaks(data_of(tmp_path, study, numbers="ph,months", bins=31))
    found = audit(data_of(tmp_path / "again", study, numbers="ph,months"))["findings"]
    assert [each["rows"] for each in found if each["check"] == "columns"] == [["months"]]
    assert set(leaks) <= {"columns"}


def test_inputs_that_depend_on_other_samples_are_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(tmp_path)
    honest = SampleData.batch

    def centred(self: SampleData, split: str, index: Any) -> Any:
        made = honest(self, split, index)
        whole = torch.tensor(float(len(self.table.samples)))
        return made._replace(inputs={**made.inputs, "asv_counts": made.inputs["asv_counts"] / whole})

    monkeypatch.setattr(SampleData, "batch", centred)
    assert len(_leaks(data)["recomputed"]) == len(data.ids("val")) + len(data.ids("test"))


def test_shuffled_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shuffled"):
        audit(data_of(tmp_path, placebo=True))
