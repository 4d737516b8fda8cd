"""Target transforms by name: fitted on training rows, exactly invertible, saved with a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError, DataError, FileError, suggest

TransformKind = Literal["none", "minmax", "zscore", "zscore-category", "log-minmax", "log-zscore"]
TRANSFORMS: tuple[TransformKind, ...] = get_args(TransformKind)

SHRINKAGE = 10.0
ROWS_NAMED = 5

FloatArray = NDArray[np.float64]
Values = TypeVar("Values", FloatArray, Tensor)
Category = str | tuple[str | None, ...] | None
"""What a row has in the column, or in the columns, of `--normalize-by`; None where it is missing."""


@dataclass(frozen=True)
class Centring:
    """What is taken off a target, and what it is then divided by: one number an output each, in its unit (or log)."""

    centre: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class TargetTransform:
    """z = (g(y) - centre) / scale, with g(y) = log(1 + y) for the log kinds and g(y) = y for the others.

    ===============  =========================  ===============================================
    kind             centre                     scale
    ===============  =========================  ===============================================
    none             0                          1
    minmax           min y                      max y - min y
    zscore           mean y                     sd y (population)
    zscore-category  w mean_c + (1 - w) mean y  sqrt(w var_c + (1 - w) var y), w = n_c / (n_c + k)
    log-minmax       min g(y)                   max g(y) - min g(y)
    log-zscore       mean g(y)                  sd g(y)
    ===============  =========================  ===============================================

    n_c, mean_c and var_c are those of the training rows of category c, and k = 10: a category of ten rows counts half.
    A category that training rows did not have, and a missing one, has w = 0. `zscore-category` alone reads categories.

    Shape: y (n,), (n, outputs) or (n, outputs, ...), statistics (outputs,); one output also takes (n, anything).
    Categories have a row each. NumPy arrays give float64 arrays, tensors a tensor of their dtype and device, float32 at
    least. Units: y in the unit of the files, z without one.
    Source: the weight w is Bühlmann's credibility (1967) with k fixed.
    """

    kind: TransformKind
    overall: Centring
    categories: Mapping[tuple[str, ...], Centring] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        kind: TransformKind,
        y: FloatArray | Tensor,
        categories: Sequence[Category] | None = None,
        *,
        mask: NDArray[np.bool_] | Tensor | None = None,
        shrinkage: float = SHRINKAGE,
    ) -> "TargetTransform":
        """Fit the statistics; give it training rows only.

        Shape: y (n,) or (n, outputs), mask the same.  Mask: what a False target holds is never read.
        Errors: ConfigError for an unknown kind and for `zscore-category` without categories; DataError for a target
        that is not finite, negative under a log kind, the same in all rows, or known in none.
        """
        if kind not in TRANSFORMS:
            raise ConfigError(
                f"no target transform {kind!r}", where="--target-transform", fix=suggest(kind, TRANSFORMS)
            )
        table, known = _table(y), _known(y, mask)
        check_targets(kind, table, known)
        table = _logged(kind, table, known)
        columns = [table[known[:, o], o] for o in range(table.shape[1])]
        places = [f"output {o}" for o in range(len(columns))] if len(columns) > 1 else [""]
        overall = [_centring(kind, column, place) for column, place in zip(columns, places, strict=True)]
        if kind != "zscore-category":
            return cls(kind, _join(overall))
        if categories is None:
            raise ConfigError("zscore-category is fitted on a category for each row", fix="give --normalize-by COLUMN")
        keys = _keys(categories, len(table))
        groups = {}
        for key in sorted({key for key in keys if key is not None}):
            rows = np.array([other == key for other in keys])
            groups[key] = _join(
                [_shrunk(table[rows & known[:, o], o], *whole, shrinkage) for o, whole in enumerate(overall)]
            )
        return cls(kind, _join(overall), groups)

    def forward(self, y: Values, categories: Sequence[Category] | None = None) -> Values:
        """Turn targets into what the model learns; an unknown target (NaN) stays NaN.

        Errors: DataError for a negative target under a log kind, and for categories that are not one a row.
        """
        y = _floating(y)
        centre, scale = self._aligned(y, categories)
        if self._log:
            _check_sign(_floating(y.detach().cpu().numpy() if isinstance(y, Tensor) else y))
            y = torch.log1p(y) if isinstance(y, Tensor) else np.log1p(y)
        return (y - centre) / scale

    def inverse(self, z: Values, categories: Sequence[Category] | None = None) -> Values:
        """Turn predictions into the unit of the files: g^-1(scale z + centre), with g^-1(x) = exp(x) - 1 for log kinds.

        It is increasing in z, so a quantile of z becomes that quantile of y; a mean or an sd does not become one under
        a log kind, which is why spreads go through quantiles (`inverse_spread`). Differentiable for tensors. Under a
        log kind a prediction can be as low as -1, and is infinite where log(1 + y) > 88 in float32 (709 in float64).
        """
        z = _floating(z)
        centre, scale = self._aligned(z, categories)
        x = z * scale + centre
        if self._log:
            with np.errstate(over="ignore"):
                x = torch.expm1(x) if isinstance(x, Tensor) else np.expm1(x)
        return x

    def inverse_spread(self, z: Values, sd: Values, categories: Sequence[Category] | None = None) -> Values:
        """Turn the spread of a prediction into the unit of the files: (inverse(z + sd) - inverse(z - sd)) / 2.

        Half the distance of the quantiles 0.159 and 0.841 of a normal z; scale times sd where there is no log.
        """
        return (self.inverse(z + sd, categories) - self.inverse(z - sd, categories)) / 2

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; floats keep every bit."""
        return {
            "kind": self.kind,
            "centre": list(self.overall.centre),
            "scale": list(self.overall.scale),
            "categories": [
                {"category": list(key), "centre": list(of.centre), "scale": list(of.scale)}
                for key, of in self.categories.items()
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TargetTransform":
        """What `to_json` wrote. Errors: FileError where it did not write it."""
        try:
            if data["kind"] not in TRANSFORMS:
                raise ValueError(f"no target transform {data['kind']!r}")
            groups = {tuple(item["category"]): _read(item) for item in data["categories"]}
            return cls(data["kind"], _read(data), groups)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"not a saved target transform: {error!r}") from None

    @property
    def _log(self) -> bool:
        return self.kind.startswith("log-")

    def _aligned(self, y: Values, categories: Sequence[Category] | None) -> tuple[Values, Values]:
        """Centre and scale, shaped to broadcast with y."""
        rows = [self.overall]
        if self.kind == "zscore-category" and categories is not None:
            keys = _keys(categories, len(y))
            rows = [self.overall if key is None else self.categories.get(key, self.overall) for key in keys]
        outputs = len(self.overall.centre)
        if outputs > 1 and (y.ndim < 2 or y.shape[1] != outputs):
            raise DataError(f"targets of shape {tuple(y.shape)}, but the transform was fitted on {outputs} outputs")
        shape = (len(rows),) if y.ndim == 1 else (len(rows), outputs, *(1,) * (y.ndim - 2))
        centre = np.array([row.centre for row in rows], dtype=np.float64).reshape(shape)
        scale = np.array([row.scale for row in rows], dtype=np.float64).reshape(shape)
        if isinstance(y, Tensor):
            return torch.from_numpy(centre).to(y), torch.from_numpy(scale).to(y)
        return centre, scale


def check_targets(
    kind: TransformKind,
    y: FloatArray | Tensor,
    mask: NDArray[np.bool_] | Tensor | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Refuse known targets that are not finite, and negative ones under a log kind; rows are named, or numbered from 0.

    Shape: y and mask (n,) or (n, outputs), names (n,).  Mask: what a False target holds is never read.
    Errors: DataError.
    """
    table, known = _table(y), _known(y, mask)
    odd = known & ~np.isfinite(table)
    if odd.any():
        raise DataError("the target is not a finite number", where=name_rows(odd, names))
    if kind.startswith("log-"):
        _check_sign(np.where(known, table, 0.0), names)


def name_rows(chosen: NDArray[np.bool_], names: Sequence[str] | None = None) -> str:
    """The first five rows of those chosen, by name or by number from 0, and how many more.

    Shape: chosen (n,) or (n, outputs), where any output will do; names (n,).
    """
    at = np.flatnonzero(chosen.reshape(len(chosen), -1).any(axis=1))
    rows = [names[int(row)] if names is not None else str(row) for row in at]
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"{'rows' if len(rows) > 1 else 'row'} {', '.join(rows[:ROWS_NAMED])}{more}"


def _check_sign(y: FloatArray, names: Sequence[str] | None = None) -> None:
    if (y < 0).any():
        raise DataError(
            "a target is negative, and the transform takes log(1 + y) of counts and amounts",
            where=name_rows(y < 0, names),
            fix="take minmax or zscore",
        )


def _floating(y: Values) -> Values:
    if isinstance(y, Tensor):
        return y.to(torch.promote_types(y.dtype, torch.float32))
    return np.asarray(y, dtype=np.float64)


def _table(y: FloatArray | Tensor) -> FloatArray:
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    return array.reshape(len(array), -1).astype(np.float64)


def _known(y: FloatArray | Tensor, mask: NDArray[np.bool_] | Tensor | None) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(_table(y).shape, dtype=np.bool_)
    array = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    return array.reshape(len(array), -1).astype(np.bool_)


def _logged(kind: TransformKind, table: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    return np.log1p(np.where(known, table, 0.0)) if kind.startswith("log-") else table


def _keys(categories: Sequence[Category], rows: int) -> list[tuple[str, ...] | None]:
    """One key a row; None where a part of it is missing."""
    if len(categories) != rows:
        raise DataError(f"{len(categories)} categories for {rows} targets", where="--normalize-by")
    keys: list[tuple[str, ...] | None] = []
    for category in categories:
        parts = category if isinstance(category, tuple) else (category,)
        texts = tuple(part for part in parts if isinstance(part, str))
        if any(part is not None and not isinstance(part, str) for part in parts):
            raise DataError(f"a category is text or None, not {category!r}", where="--normalize-by")
        keys.append(texts if len(texts) == len(parts) else None)
    return keys


def _centring(kind: TransformKind, column: FloatArray, place: str) -> tuple[float, float]:
    if not len(column):
        raise DataError("no training row has a target", where=place)
    if kind == "none":
        return 0.0, 1.0
    low, high = float(column.min()), float(column.max())
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = (low, high - low) if kind.endswith("minmax") else (float(column.mean()), float(column.std()))
    if low == high or not 0 < scale < np.inf:
        raise DataError(
            f"the target has no spread that {kind} could divide by: {low:g} to {high:g} over {len(column)} rows",
            where=place,
            fix="a constant cannot be learned: choose another target",
        )
    return centre, scale


def _shrunk(column: FloatArray, mean: float, sd: float, shrinkage: float) -> tuple[float, float]:
    if not len(column):
        return mean, sd
    w = len(column) / (len(column) + shrinkage)
    centre, variance = w * column.mean() + (1 - w) * mean, w * column.var() + (1 - w) * sd**2
    return float(centre), float(np.sqrt(variance))


def _join(outputs: Sequence[tuple[float, float]]) -> Centring:
    return Centring(tuple(centre for centre, _ in outputs), tuple(scale for _, scale in outputs))


def _read(data: Mapping[str, Any]) -> Centring:
    centre, scale = (tuple(float(value) for value in data[name]) for name in ("centre", "scale"))
    if not centre or len(centre) != len(scale) or not all(0 < value < np.inf for value in scale):
        raise ValueError("a centre and a positive scale for each output")
    return Centring(centre, scale)
