"""What is told of predicted prices: errors of rows, groups by price with intervals, the use of experts, intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core import signals
from plait.core.errors import DataError
from plait.data.products import ProductData
from plait.features.price_groups import SEED_BINS, SEED_RANGES, bins_of, grouped, quantile_edges
from plait.objectives.bootstrap import Bootstrap, RowScores, Scores, Units
from plait.objectives.conformal import conformal_reach
from plait.objectives.gathered import gather_rows, own_rows
from plait.objectives.smape import log_price, smape

FloatArray = NDArray[np.float64]

COLLAPSED = 0.02
"""An expert that is heard less than this has been left by the gate."""
GATE = "gate_"
"""What the names of scores begin with that hold how much a row hears an expert of a net."""


class Answers(NamedTuple):
    """What a model says of some rows. Shape: log_price (n,), gate (n, nets, experts), None of a model without one."""

    log_price: FloatArray
    gate: FloatArray | None


def answers(
    data: ProductData, model: nn.Module, split: str, rows: NDArray[np.int64], size: int, device: Any
) -> Answers:
    """The answers for some rows of a split, `size` of them at a time."""
    model.eval()
    points, gates = [np.zeros((0, 1))], []
    with torch.no_grad():
        for start in range(0, len(rows), size):
            signals.check("nothing is lost; run the same command again")
            said = model(data.batch(split, rows[start : start + size]).to(device)).prediction
            points.append(said.point.double().cpu().numpy())
            if "gate" in said.parts:
                gates.append(said.parts["gate"].double().cpu().numpy())
    return Answers(log_price(np.concatenate(points))[:, 0], np.concatenate(gates) if gates else None)


def row_scores(said: Tensor, price: Tensor) -> dict[str, Tensor]:
    """The errors of each row: SMAPE, absolute error of the price and of its logarithm, squared error of log1p; with the
    logarithms that they are of.

    A row of unknown price, NaN, is 0 in all errors. Shape: said (b,) log price, price (b,), float64 -> (b,) each.
    """
    known = torch.isfinite(price)
    truth = torch.where(known, price, 1.0).log()
    said = torch.where(known, said, truth)
    softplus = torch.nn.functional.softplus
    return {
        "smape": smape(said, truth),
        # Beyond what a float64 can hold the error stays its largest number.
        "ae": (said.clamp(max=709.0).exp() - truth.exp()).abs(),
        "ale": (said - truth).abs(),
        "sle": (softplus(said) - softplus(truth)).square(),
        "n": known.double(),
        "said": said,
        "truth": truth,
    }


def together(scores: Sequence[Scores], weights: FloatArray) -> Scores:
    """The scores of the weighted mean of several answers' log prices. Shape: `weights` (k,), sum 1."""
    said = sum(weight * each["said"] for weight, each in zip(weights, scores, strict=True))
    price = np.where(scores[0]["n"] > 0, np.exp(scores[0]["truth"]), np.nan)
    made = row_scores(torch.from_numpy(np.asarray(said)), torch.from_numpy(price))
    return {name: values.numpy() for name, values in made.items()}


def together_table(frames: Sequence[pd.DataFrame], weights: FloatArray) -> pd.DataFrame:
    """Tables of several models as one: the weighted mean of log prices, without intervals, which are of one model.

    Errors: DataError where the tables are not of the same rows.
    """
    first = frames[0]
    for frame in frames[1:]:
        if not frame["id"].equals(first["id"]):
            raise DataError("the runs do not predict the same rows", where="predict", fix="train them on one split")
    said = sum(weight * np.log(frame["price"]) for weight, frame in zip(weights, frames, strict=True))
    return first.drop(columns=["low", "high"], errors="ignore").assign(price=np.exp(said))


def balance(gate: Tensor) -> tuple[Tensor, Tensor]:
    """How unevenly the experts of a net are heard: experts * sum_i (mean of P_i over rows)^2 - 1, as (sum, weight).

    The square of a mean is a mean over pairs of rows, here of those that all processes give; each counts the pairs
    whose first row is its own. 0 where all experts are heard alike, experts - 1 where one is; nets are averaged.
    Shape: gate (b, nets, experts) -> (), the number of pairs.
    Source: Shazeer et al. 2017, equation 7: the squared variation of importance over experts is this number.
    """
    gate = gate.float()
    own = own_rows(len(gate), gate.device)
    whole = gather_rows(gate)
    pairs = torch.tensor(float(own.sum()) * len(whole), device=gate.device)
    both = torch.einsum("ne,ne->n", whole[own].sum(dim=0), whole.sum(dim=0)).mean()
    return gate.shape[-1] * both - pairs, pairs


def pair_count(rows: int, device: torch.device) -> Tensor:
    """The weight of `balance` before the gate is known: the pairs that this process counts."""
    own = own_rows(rows, device)
    return torch.tensor(float(own.sum()) * len(own))


def peakedness(gate: Tensor) -> tuple[Tensor, Tensor]:
    """How far each row is from hearing all experts alike: sum_i P_i ln P_i + ln(experts), as (sum, rows).

    0 for a uniform gate, ln(experts) where one expert is heard; nets are averaged. Shape: gate (b, nets, experts).
    """
    gate = gate.float()
    inner = (gate * gate.clamp(min=torch.finfo(gate.dtype).tiny).log()).sum(dim=-1)
    rows = (inner + float(np.log(gate.shape[-1]))).mean(dim=1)
    return rows.sum(), torch.ones_like(rows).sum()


def heard(gate: Tensor) -> dict[str, Tensor]:
    """How much each row hears each expert of each net, as scores by name; none of a net of one expert."""
    nets, experts = gate.shape[1:] if gate.shape[-1] > 1 else (0, 0)
    return {f"{GATE}{net}_{i}": gate[:, net, i].double() for net in range(nets) for i in range(experts)}


def least_heard(scores: Mapping[str, Any]) -> float | None:
    """The mean share of the expert that is heard least, None where there is no gate."""
    shares = [float(np.mean(values)) for name, values in scores.items() if name.startswith(GATE)]
    return min(shares) if shares else None


def conformal_spread(errors: FloatArray, coverage: float) -> float:
    """How far an interval reaches to either side: the `conformal_reach` of absolute errors.

    NaN where there are too few rows to say so. Shape: (n,). Units: of the errors.
    """
    reach = float(conformal_reach(errors, coverage))
    return reach if np.isfinite(reach) else float("nan")


def edges_of(bins: str, data: ProductData) -> dict[str, tuple[float, ...]]:
    """The edges of the bins of a name: tenths of the train prices, or those of the design document."""
    if bins == "seed":
        return {"bins": SEED_BINS, "ranges": SEED_RANGES}
    return {"quantiles": quantile_edges(data.prices("train"))}


def price_groups(
    prices: FloatArray, said: Answers, units: Units, edges: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Number of rows, SMAPE, MAE with 95 % intervals, and use of the experts in each bin of the true prices.

    Intervals, by the bootstrap, where a bin has rows enough, else None. `gate` holds the mean share of each expert of
    each net. Errors: DataError where no price is known.
    """
    if not np.isfinite(prices).any():
        raise DataError("no row has a known price", where="groups", fix="give rows with prices")
    errors = {
        name: values.numpy()
        for name, values in row_scores(torch.from_numpy(said.log_price), torch.from_numpy(prices)).items()
    }
    rows = []
    for by, some in edges.items():
        codes = bins_of(prices, some)
        for number, row in enumerate(grouped(prices, some, {"smape": errors["smape"], "mae": errors["ae"]})):
            inside = codes == number
            ends = _ends(errors, units, inside)
            gate = None if said.gate is None or not inside.any() else said.gate[inside].mean(axis=0).tolist()
            rows.append({"by": by, **row, **ends, "gate": gate})
    return rows


def _ends(errors: Scores, units: Units, inside: NDArray[np.bool_]) -> dict[str, float | None]:
    """The ends of the intervals of SMAPE and MAE over some rows."""
    own = units.of(inside)
    if not inside.any() or not own.enough:
        return dict.fromkeys(("smape_low", "smape_high", "mae_low", "mae_high"))
    bootstrap, count = Bootstrap(own, 1), np.ones(int(inside.sum()))
    made: dict[str, float | None] = {}
    for name, score in (("smape", "smape"), ("mae", "ae")):
        found = bootstrap.error(RowScores(errors[score][inside][None], count))
        made |= {f"{name}_low": found.low, f"{name}_high": found.high}
    return made


def group_table(groups: Sequence[Mapping[str, Any]]) -> bytes:
    """Groups as CSV, a line each; the share of each expert of each net in a column `gate_<net>_<expert>`."""
    lines = []
    for group in groups:
        shares = enumerate(group["gate"] or ())
        gate = {f"{GATE}{net}_{i}": share for net, some in shares for i, share in enumerate(some)}
        lines.append({name: value for name, value in group.items() if name != "gate"} | gate)
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.7g").encode()
