"""Where the real labelled series lie: in the wheel of sktime, of which nothing but these files is used."""

import importlib.util
import os
from pathlib import Path

import pytest


def archive() -> Path:
    """The folder of problems; without it a test is skipped, and fails with PLAIT_CI=1."""
    spec = importlib.util.find_spec("sktime")
    places = (
        [] if spec is None else [Path(place) / "datasets" / "data" for place in spec.submodule_search_locations or ()]
    )
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        message = "sktime is not installed, whose wheel has labelled series (extra: test)"
        if os.environ.get("PLAIT_CI") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found
