"""All checks over the data of a config or of a finished run."""

from typing import Any

from plait.core.errors import ConfigError
from plait.data.candles import CandleData
from plait.data.labelled_series import LabelledSeriesData
from plait.data.products import ProductData
from plait.data.samples import SampleData
from plait.data.windows import ForecastData
from plait.evaluation.audit.candles import check_candles
from plait.evaluation.audit.columns import check_columns
from plait.evaluation.audit.fitted import check_fitted
from plait.evaluation.audit.labelled_series import check_labelled_series
from plait.evaluation.audit.products import check_products
from plait.evaluation.audit.recomputed import check_recomputed
from plait.evaluation.audit.samples import check_samples
from plait.evaluation.audit.splits import check_splits
from plait.evaluation.audit.texts import check_texts

CHECKS = (check_texts, check_fitted, check_recomputed, check_splits, check_columns)


def audit(data: ForecastData | SampleData | CandleData | ProductData | LabelledSeriesData) -> dict[str, Any]:
    """What every check did and found, as plain data; `leaks` and `suspects` count their rows."""
    if isinstance(data, SampleData):
        if data.config.placebo:
            raise ConfigError("shuffled metadata are of other samples", where="data.placebo", fix="audit the data")
        checked = check_samples(data)
    elif isinstance(data, CandleData):
        if data.config.placebo:
            raise ConfigError("shuffled features have no bars of their own", where="data.placebo", fix="audit the data")
        checked = check_candles(data)
    elif isinstance(data, ProductData):
        if data.config.placebo:
            raise ConfigError("shuffled sources are of other rows", where="data.placebo", fix="audit the data")
        checked = check_products(data)
    elif isinstance(data, LabelledSeriesData):
        checked = check_labelled_series(data)
    elif data.config.text.placebo:
        raise ConfigError("shuffled texts have no dates of their own", where="data.text.placebo", fix="audit the data")
    else:
        checked = [found for check in CHECKS for found in check(data)]
    findings = [finding.to_json() for each in checked for finding in each.findings]
    count = {level: sum(f["count"] for f in findings if f["severity"] == level) for level in ("leak", "suspect")}
    return {
        "leaks": count["leak"],
        "suspects": count["suspect"],
        "checks": [
            {"check": each.check, "did": each.did, "leaks": sum(f.severity == "leak" for f in each.findings)}
            for each in checked
        ],
        "findings": findings,
    }
