"""Columns: none that a model sees, a covariate neither, is made of the future of another that it forecasts."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked
from plait.features.seasonal_prior import carry_forward

GAIN, LEAK, SUSPECT = 0.01, 0.99, 0.9
REACH = 24
"""Most lags and leads a column is regressed on."""

TRAIN = "the train rows"
ROWS_A_REGRESSOR = 5
"""Rows that a regressor needs; a span with fewer says nothing."""

Floats = NDArray[np.float64]


def check_columns(data: ForecastData) -> list[Checked]:
    """Each column is regressed on lags 0..k and leads 1..k of every other variate, k = min(horizon, 24), over the train
    rows; covariates are columns of which no other is asked whether it tells their future.

    Leads that add more than 0.01 to R2 make the column a leak where the total exceeds 0.99, a suspect where it
    exceeds 0.9: a column that knows the target's future better than its past does. The values are regressed and so
    are their changes from row to row: the level of a wandering series is nearly all in its past, whatever is mixed in.
    The rows after train, too few to suspect anything by, are looked at for leaks alone.
    """
    names = data.table.columns
    reach = min(data.horizon, REACH)
    z, train = carry_forward(data.z), data.borders.train
    spans = {TRAIN: z[:train], "the rows after train": z[train:]}
    spans = {span: rows for span, rows in spans.items() if len(rows) > ROWS_A_REGRESSOR * (2 * reach + 1)}
    targets = range(len(data.table.variates))
    pairs = [(column, target) for target in targets for column in range(len(names)) if column != target]
    if not pairs:
        return [Checked("columns", "there is one column, the target")]
    findings = []
    for column, target in pairs:
        found = [f for span, rows in spans.items() for f in _of_pair(rows, names, column, target, reach, span)]
        findings += sorted(found, key=lambda finding: finding.severity)[:1]
    counts = " and ".join(f"{len(rows)} of {span}" for span, rows in spans.items()) or "no rows, which are too few"
    did = f"{len(pairs)} pairs of columns regressed on {reach + 1} lags and {reach} leads over {counts}"
    return [Checked("columns", did, tuple(findings))]


def _of_pair(
    rows: Floats, names: tuple[str, ...], column: int, target: int, reach: int, span: str
) -> Iterator[AuditFinding]:
    for form, values in (("", rows), ("changes of ", np.diff(rows, axis=0))):
        lags, leads = _shifted(values[:, target], reach)
        found = _judge(form, names[column], names[target], values[reach:-reach, column], lags, leads, span)
        if found is not None and (found.severity == "leak" or span == TRAIN):
            yield found


def _shifted(values: Floats, reach: int) -> tuple[Floats, Floats]:
    """Values of a target at and before each row, and after it. Shape: (t - 2 k, k + 1), (t - 2 k, k)."""
    rows = np.arange(reach, len(values) - reach)
    return values[rows[:, None] - np.arange(reach + 1)], values[rows[:, None] + np.arange(1, reach + 1)]


def _judge(
    form: str, column: str, target: str, values: Floats, lags: Floats, leads: Floats, span: str
) -> AuditFinding | None:
    before, total = _explained(values, lags), _explained(values, np.hstack([lags, leads]))
    if total - before <= GAIN or total <= SUSPECT:
        return None
    leak = total > LEAK
    words = (
        f"leads of {form}{target} add {total - before:.3f} to the R2 of {form}{column} over {span} ({before:.3f} by"
        f" lags, {total:.3f} in all): {column} {'holds' if leak else 'may hold'} what {target} is later, or {target} is"
        f" made of the past of {column}; drop the one that is made of the other"
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
