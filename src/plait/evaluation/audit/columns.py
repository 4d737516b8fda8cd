"""Columns: none that a model sees is made of the future of another that it forecasts."""

import numpy as np
from numpy.typing import NDArray

from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked
from plait.features.seasonal_prior import carry_forward

GAIN, LEAK, SUSPECT = 0.01, 0.99, 0.9
REACH = 24
"""Most lags and leads a column is regressed on."""

Floats = NDArray[np.float64]


def check_columns(data: ForecastData) -> list[Checked]:
    """Each column is regressed on lags 0..k and leads 1..k of every other over the train rows, k = min(horizon, 24).

    Leads that add more than 0.01 to R2 make the column a leak where the total exceeds 0.99, a suspect where it
    exceeds 0.9: a column that knows the target's future better than its past does. The values are regressed and so
    are their changes from row to row: the level of a wandering series is nearly all in its past, whatever is mixed in.
    """
    names = data.table.variates
    reach = min(data.horizon, REACH)
    z = carry_forward(data.z[: data.borders.train])
    findings = []
    for target in range(len(names)):
        forms = {"": _shifted(z[:, target], reach), "changes of ": _shifted(np.diff(z[:, target]), reach)}
        for column in range(len(names)):
            if column == target:
                continue
            values = {"": z[reach:-reach, column], "changes of ": np.diff(z[:, column])[reach:-reach]}
            found = [_judge(form, names[column], names[target], values[form], *forms[form]) for form in forms]
            findings += sorted(filter(None, found), key=lambda finding: finding.severity)[:1]
    pairs = len(names) * (len(names) - 1)
    if not pairs:
        return [Checked("columns", "there is one column, the target")]
    did = f"{pairs} pairs of columns regressed on {reach + 1} lags and {reach} leads over {len(z)} train rows"
    return [Checked("columns", did, tuple(findings))]


def _shifted(values: Floats, reach: int) -> tuple[Floats, Floats]:
    """Values of a target at and before each row, and after it. Shape: (t - 2 k, k + 1), (t - 2 k, k)."""
    rows = np.arange(reach, len(values) - reach)
    return values[rows[:, None] - np.arange(reach + 1)], values[rows[:, None] + np.arange(1, reach + 1)]


def _judge(form: str, column: str, target: str, values: Floats, lags: Floats, leads: Floats) -> AuditFinding | None:
    before, total = _explained(values, lags), _explained(values, np.hstack([lags, leads]))
    if total - before <= GAIN or total <= SUSPECT:
        return None
    leak = total > LEAK
    holds = "holds" if leak else "may hold"
    words = (
        f"leads of {form}{target} add {total - before:.3f} to the R2 of {form}{column} over the train rows"
        f" ({before:.3f} by lags, {total:.3f} in all): the column {holds} values from after the origin"
    )
    return AuditFinding("leak" if leak else "suspect", "columns", words, (column,))


def _explained(values: Floats, regressors: Floats) -> float:
    """R2 of a least squares fit with an intercept; 0 for a constant column."""
    centred = values - values.mean()
    spread = float((centred**2).sum())
    if not spread:
        return 0.0
    x = regressors - regressors.mean(axis=0)
    coef = np.linalg.lstsq(x, centred, rcond=None)[0]
    return 1 - float(((centred - x @ coef) ** 2).sum()) / spread
