"""Fixtures that every test may ask for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Find the folder of `data/` and `reference/`: PLAIT_DATA names its `data`, else it is ../shared/data."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("PLAIT_DATA", beside)).resolve()
    absent = [str(folder) for folder in (data, data.parent / "reference") if not folder.is_dir()]
    if absent:
        message = f"no folder {' and no folder '.join(absent)}: set PLAIT_DATA to the folder of the real data"
        if os.environ.get("PLAIT_CI") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return data.parent


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With PLAIT_CI=1 a skipped test is a failure, tests marked `gpu` aside."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("PLAIT_CI") == "1" and "gpu" not in item.keywords:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"skipped, which PLAIT_CI=1 does not allow: {reason}"
