"""`price`: what a product costs, scored by the symmetric relative error."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from plait.baselines.prices import meanings_of, price_rivals
from plait.core import signals
from plait.core.config import Config
from plait.core.errors import ConfigError, DataError
from plait.core.schema import SCORED
from plait.core.tokens import Batch, Output
from plait.data.products import ProductData
from plait.objectives import smape
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.pointwise import pointwise
from plait.objectives.regression import asymmetric
from plait.tasks import _prices

LARGEST = 200.0
"""The largest SMAPE, which the terms of the gate count beside."""


class PriceTaskConfig(Config):
    """A price, trained by a loss on a number near its logarithm, scored by SMAPE."""

    rows_are: ClassVar[str] = "products"
    kind: Literal["price"] = "price"
    loss: Literal["smape", "weighted_smape", "focal_smape", "hybrid_focal_smape", "huber", "mse", "mae", "quantile"] = (
        "smape"
    )
    """The metric itself, the metric by tiers of the price, with large errors counting more, a mix of both, or an error
    of log1p of the price."""
    gamma: float = Field(2.0, ge=0)
    """With a focal loss: how much more large errors count."""
    share: float = Field(0.5, ge=0, le=1)
    """With loss hybrid_focal_smape: the share of the focal one."""
    tiers: Literal["quantiles", "seed"] = "quantiles"
    """With loss weighted_smape: six tiers of equally many train rows, or below 5, 10, 30, 60, 200 and above; they weigh
    10, 8, 6, 4, 2 and 1."""
    level: float = Field(0.5, gt=0, lt=1)
    """With loss quantile: the level that is predicted."""
    balance: float = Field(0.01, ge=0)
    """Weight of hearing all experts alike over the rows of a batch; beside a SMAPE it counts as a share of 200."""
    entropy: float = Field(0.0, ge=0)
    """Weight of hearing all experts alike in each row; beside a SMAPE it counts as a share of 200."""
    coverage: float | None = Field(0.8, gt=0, lt=1)
    """Chance with which an interval of a prediction holds the price; unset: no intervals."""

    def build(self, data: ProductData) -> "PriceTask":
        """The task on these data."""
        return PriceTask(self, data)

    @staticmethod
    def together_table(frames: Sequence[pd.DataFrame], weights: Any) -> pd.DataFrame:
        """The tables of several models as one; see `_prices.together_table`."""
        return _prices.together_table(frames, weights)


class PriceTask:
    """Loss on z (`objectives.smape`), scores of the price. Shape: targets (b, 1), answers (b, 1).

    Intervals are split conformal: their reach, in the logarithm of the price and the same for all rows, is set on
    validation rows after the training. A product like those holds its price within with the chance `coverage`, less a
    little where the same rows also chose the epoch.
    """

    metric = "smape"
    score = "smape"
    unit = "SMAPE, 0 to 200; mae in the unit of the files"
    row_name = "products"

    def __init__(self, config: PriceTaskConfig, data: ProductData) -> None:
        self.config, self.data = config, data
        self.meanings = meanings_of(data.schema.streams)

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """The prices that part the tiers, those of the train rows where they go by quantiles."""
        if self.config.tiers == "seed":
            return smape.SEED_EDGES
        prices = self.data.prices("train")
        parts = len(smape.TIER_WEIGHTS)
        return tuple(np.unique(np.quantile(prices[np.isfinite(prices)], np.arange(1, parts) / parts)).tolist())

    @property
    def _tiers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.edges, smape.TIER_WEIGHTS[: len(self.edges) + 1]

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The mean loss of the nets, each by itself, what the gate adds, and the model's own."""
        config, parts = self.config, output.prediction.parts
        if "points" not in parts:
            raise ConfigError(
                "prices need a head of one number a row", where="model.head", fix="--head mixture_of_experts"
            )
        points = parts["points"][..., 0].float()
        y, mask = (batch.targets[name].expand_as(points) for name in ("y", "mask"))
        rows = self._rows(points, y, mask).mean(dim=1)
        made: dict[str, tuple[Tensor, Tensor]] = {config.loss: (rows.sum(), self._weight(batch))}
        unit = LARGEST if config.loss.endswith("smape") else 1.0
        terms = (("balance", config.balance, _prices.balance), ("entropy", config.entropy, _prices.peakedness))
        for name, weight, term in terms:
            if weight and "gate" in parts:
                total, count = term(parts["gate"])
                made[name] = (unit * weight * total, count)
        return {**made, **output.losses}

    def _rows(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """The loss of each row and net, 0 where the price is not known. Shape: all (b, nets) -> the same."""
        config = self.config
        match config.loss:
            case "smape":
                return smape.smape_rows(z, y, mask)
            case "weighted_smape":
                return smape.weighted_smape_rows(z, y, mask, *self._tiers)
            case "focal_smape":
                return smape.focal_smape_rows(z, y, mask, config.gamma)
            case "hybrid_focal_smape":
                return smape.hybrid_focal_smape_rows(z, y, mask, config.gamma, config.share)
            case "quantile":
                return asymmetric(z, y, mask, 1 - config.level, config.level)
            case _:
                return pointwise(z, y, mask, config.loss)

    def _weight(self, batch: Batch) -> Tensor:
        """What the loss is divided by: the known rows, by the weight of their tier where they have one."""
        y, mask = batch.targets["y"], batch.targets["mask"]
        if self.config.loss == "weighted_smape":
            return smape.weights_of_rows(y, mask, *self._tiers).sum()
        return mask.sum()

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """The weight of the known rows of the batch, its pairs of rows and its rows."""
        y, found = batch.targets["y"], {str(self.config.loss): self._weight(batch)}
        if self.config.balance:
            found["balance"] = _prices.pair_count(len(y), y.device)
        if self.config.entropy:
            found["entropy"] = torch.tensor(float(len(y)))
        return found

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Of each row SMAPE, absolute errors of the price and its logarithm, and how much it hears each expert."""
        said = smape.log_price(output.prediction.point.double())[:, 0]
        price = self.data.truth(batch.info["row"]).to(said)[:, 0]
        gate = output.prediction.parts.get("gate")
        return _prices.row_scores(said, price) | ({} if gate is None else _prices.heard(gate))

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The SMAPE, by which validation chooses."""
        return self.metrics(scores)["smape"]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """SMAPE, MAE in the unit of the files and RMSLE over rows of known price.

        Of a mixture of experts `least_expert` is the mean share of the one that is heard least.
        """
        count = float(np.sum(scores["n"]))
        found = {"smape": float(np.sum(scores["smape"])) / count, "mae": float(np.sum(scores["ae"])) / count}
        found["rmsle"] = float(np.sqrt(np.sum(scores["sle"]) / count))
        least = _prices.least_heard(scores)
        return found if least is None else {**found, "least_expert": least}

    def calibrate(self, model: Any, scores: Scores) -> None:
        """Set how far intervals reach, by the errors of these (validation) rows, in the model's buffer `spread`."""
        if self.config.coverage is not None and isinstance(getattr(model, "spread", None), Tensor):
            model.spread.fill_(_prices.conformal_spread(scores["ale"][scores["n"] > 0], self.config.coverage))

    together = staticmethod(_prices.together)

    def rivals(self, data: ProductData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test."""
        made = price_rivals(data.panel(), lambda: signals.check("nothing is lost; run the same command again"))
        return {
            name: {split: self._of_rival(data, split, said[split]) for split in SCORED} for name, said in made.items()
        }

    @staticmethod
    def _of_rival(data: ProductData, split: str, said: Any) -> Scores:
        scores = _prices.row_scores(torch.from_numpy(said), torch.from_numpy(data.prices(split)))
        return {name: values.numpy() for name, values in scores.items()}

    def context_rivals(self, data: ProductData) -> Rivals:
        """None more: each source alone is among the rivals of every run."""
        return {}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return list(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """That one price for all does as well, and that an expert is not heard, where that is so."""
        kept, found = (result["metrics"] if "metrics" in result else result["raw"])["test"], []
        constant = result["baselines"].get("constant", {}).get("smape")
        if constant is not None and constant <= kept["smape"]:
            found.append(
                f"the median price of the training rows does as well: SMAPE {constant:.2f} against {kept['smape']:.2f}"
            )
        least = kept.get("least_expert")
        if least is not None and least < _prices.COLLAPSED:
            found.append(
                f"the gate has collapsed: over test rows an expert is heard with a share of {least:.1%}"
                " (raise task.balance, or take fewer experts)"
            )
        return found

    def table(self, data: ProductData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> pd.DataFrame:
        """Predictions in the unit of the files: id, price, low and high of a calibrated model, actual if known."""
        rows = np.asarray(rows, dtype=np.int64)
        return self._frame(data, model, split, rows, _prices.answers(data, model, split, rows, size, device))

    def _frame(self, data: ProductData, model: nn.Module, split: str, rows: Any, said: _prices.Answers) -> pd.DataFrame:
        ids = data.ids(split)
        price = np.exp(said.log_price)
        frame = pd.DataFrame({"id": [ids[row] for row in rows], "price": price})
        spread = getattr(model, "spread", None)
        if self.config.coverage is not None and spread is not None and bool(torch.isfinite(spread)):
            reach = np.exp(float(spread))
            frame = frame.assign(low=price / reach, high=price * reach)
        actual = data.prices(split)[rows]
        return frame.assign(actual=actual) if np.isfinite(actual).any() else frame

    def groups(
        self, data: ProductData, model: nn.Module, split: str, size: int, device: Any, bins: str = "quantiles"
    ) -> list[dict[str, Any]]:
        """Errors by the true price of held-out rows, in tenths of the train prices or in the `seed` bins and ranges.

        Errors: DataError for train rows, which the model has seen, and where no price is known; ConfigError for other
        bins.
        """
        if split not in SCORED:
            raise DataError(f"{split} rows are not held out", where="groups", fix=f"take {' or '.join(SCORED)}")
        if bins not in ("quantiles", "seed"):
            raise ConfigError(f"there are no bins {bins!r}", where="bins", fix="quantiles or seed")
        said = _prices.answers(data, model, split, data.rows(split), size, device)
        return _prices.price_groups(data.prices(split), said, data.units(split), _prices.edges_of(bins, data))

    def page(self, data: ProductData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: test predictions beside their prices, and errors by price."""
        rows = data.rows("test")
        said = _prices.answers(data, model, "test", rows, 1024, device)
        frame = self._frame(data, model, "test", rows, said).rename(columns={"price": "prediction"})
        points = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
        edges = _prices.edges_of("quantiles", data)
        return {
            "kind": "prices", "title": "Predictions of test products", "coverage": self.config.coverage,
            "points": points, "groups": _prices.price_groups(data.prices("test"), said, data.units("test"), edges),
        }  # fmt: skip

    def files(
        self, result: Mapping[str, Any], page: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
    ) -> dict[str, bytes]:
        """More files of a finished run, by name: the errors of test rows by price."""
        return {"groups.csv": _prices.group_table(page["groups"])}
