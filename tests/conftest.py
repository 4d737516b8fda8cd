"""Fixtures that every test may ask for."""

import os
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
