"""The audit holds where a task hides a part of the window, and sees a leak there."""

from typing import Any

import pytest

from plait.evaluation.audit.run import audit
from plait.runs.assemble import build_data
from plait.runs.recipe import load_recipe, resolve


def data(task: str) -> Any:
    fields = [("task", task), ("data.kind", "planted"), ("data.weeks", 257), ("seq-len", 13)]
    return build_data(resolve(load_recipe("chimera"), "tiny", fields))


@pytest.mark.parametrize("task", ["imputation", "direction", "anomaly"])
def test_the_windows_of_a_task_hold(task: str) -> None:
    assert audit(data(task))["leaks"] == 0


def test_windows_that_reach_into_another_split_are_seen() -> None:
    windows = data("imputation")
    windows.origins["train"] = windows.origins["train"] + 5
    found = [finding["what"] for finding in audit(windows)["findings"] if finding["severity"] == "leak"]
    assert any("rows are targets of both train and val" in words for words in found)


def test_a_hidden_value_that_is_carried_in_from_outside_is_seen() -> None:
    windows = data("imputation")
    inner = windows._batch

    def leaking(split: str, index: Any, key: tuple[object, ...]) -> Any:
        batch = inner(split, index, key)
        following = windows.at(batch.info["row"] + 1)[0]
        return batch._replace(inputs={**batch.inputs, "series": batch.inputs["series"] + following[:, None]})

    windows._batch = leaking
    checks = {each["check"]: each["leaks"] for each in audit(windows)["checks"]}
    assert checks["recomputed features"] == 1
