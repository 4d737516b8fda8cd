"""The cheap imputations against the slowest way to say what they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.baselines.imputation import IMPUTATIONS, MEANINGS

Window = list[float]


def slow(name: str, window: Window, period: int) -> Window:
    seen = [t for t, value in enumerate(window) if not np.isnan(value)]
    if not seen:
        return [0.0] * len(window)
    line = [float(value) for value in np.interp(range(len(window)), seen, [window[t] for t in seen])]
    out = []
    for t, value in enumerate(window):
        before = [s for s in seen if s <= t]
        choices = {
            "carried_forward": window[before[-1] if before else seen[0]],
            "linear_interpolation": line[t],
            "window_mean": sum(window[s] for s in seen) / len(seen),
            "last_season": window[t - period] if t - period in seen else line[t],
        }
        out.append(choices[name] if np.isnan(value) else value)
    return out


@pytest.mark.parametrize("name", IMPUTATIONS)
@given(seed=st.integers(0, 9999), missing=st.sampled_from([0.0, 0.3, 0.7, 0.95]))
def test_each_is_what_it_says(name: str, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    window = rng.normal(size=(5, 17, 3))
    window[rng.random(window.shape) < missing] = np.nan
    got = IMPUTATIONS[name](window, 7)
    for n in range(5):
        for v in range(3):
            np.testing.assert_allclose(got[n, :, v], slow(name, list(window[n, :, v]), 7), rtol=1e-12, atol=1e-12)


def test_each_has_words() -> None:
    assert set(MEANINGS) == set(IMPUTATIONS)
