"""Covariates: read up to the origin and no further, never forecast, and worth their while where they lead."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from plait.core.config import validate
from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.core.tokens import Output
from plait.data.hidden import HiddenCells
from plait.data.sources.csv import CsvConfig
from plait.data.sources.ett import EttConfig
from plait.data.sources.time_mmd import TimeMmdConfig
from plait.data.windows import ForecastData
from plait.evaluation.audit.columns import check_columns
from plait.evaluation.audit.run import audit
from plait.models.chimera import Chimera, ChimeraConfig
from plait.runs.config import RunConfig
from plait.runs.recipe import load_recipe, resolve
from plait.tasks.direction import DirectionTaskConfig
from plait.tasks.forecast import ForecastTaskConfig

ROWS, LEAD = 601, 5
LEG = {"kind": "itransformer", "dim": 32, "depth": 1, "heads": 4, "hidden": 64, "dropout": 0.0}


def frame(noise: float = 0.1, seed: int = 3) -> pd.DataFrame:
    """A target that is what a covariate without memory was five days before, plus noise, and two more columns."""
    rng = np.random.default_rng(seed)
    lead = rng.normal(size=ROWS + LEAD)
    return pd.DataFrame({
        "date": pd.date_range("2020-01-01", periods=ROWS, freq="D"),
        "sales": 7 + 2 * (lead[:ROWS] + noise * rng.normal(size=ROWS)),
        "orders": 300 + 50 * lead[LEAD:],
        "other": rng.normal(size=ROWS),
    })  # fmt: skip


def source(**fields: Any) -> CsvConfig:
    given = {"kind": "csv", "path": "", "lookback": 11, "horizon": LEAD, "targets": ["sales"], **fields}
    return validate(CsvConfig, given)


def windows(table: pd.DataFrame | None = None, question: Any = None, prior: bool = False, **fields: Any) -> Any:
    config = source(**fields)
    held = config.of_frames(frame() if table is None else table, None)
    return ForecastData(held, config, prior=prior, question=question)


def built(data: ForecastData, **fields: Any) -> Chimera:
    torch.manual_seed(5)
    return validate(ChimeraConfig, {"kind": "chimera", "series": LEG, **fields}).build(data.schema)


def trained(data: ForecastData, epochs: int = 20) -> float:
    """The test MSE of a small model after some epochs."""
    model, task = built(data), ForecastTaskConfig().build(data)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    rows = data.rows("train")
    for epoch in range(epochs):
        for part in np.array_split(np.random.default_rng(epoch).permutation(rows), 7):
            batch = data.batch("train", part)
            ((total, weight),) = task.losses(model(batch), batch).values()
            optimiser.zero_grad()
            (total / weight).backward()
            optimiser.step()
    model.eval()
    batch = data.batch("test", data.rows("test"))
    with torch.no_grad():
        point = model(batch).prediction.point
    return float((point - batch.targets["y"]).square().mean())


@pytest.mark.slow
def test_a_covariate_that_leads_the_target_is_worth_its_while() -> None:
    alone, beside = trained(windows()), trained(windows(covariates=["orders"]))
    assert alone > 0.8  # the target has no memory
    assert beside < 0.3 * alone


def test_a_covariate_is_an_input_and_nothing_else() -> None:
    data, alone = windows(covariates=["orders", "other"]), windows()
    batch, plain = data.batch("val", [3, 5]), alone.batch("val", [3, 5])
    assert data.schema.variates == ("sales",)
    assert data.schema.covariates == ("orders", "other")
    assert Schema.from_json(data.schema.to_json()) == data.schema
    assert batch.inputs["series"].shape == batch.inputs["series_mask"].shape == (2, 11, 3)
    train = frame()["orders"].to_numpy()[: data.borders.train]
    origin = int(batch.info["row"][0])
    expected = (frame()["orders"].to_numpy()[origin - 10 : origin + 1] - train.mean()) / train.std()
    np.testing.assert_allclose(batch.inputs["series"][0, :, 1], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(batch.inputs["series"][..., :1], plain.inputs["series"])
    torch.testing.assert_close(batch.targets, plain.targets)
    np.testing.assert_allclose(data.panel().z, alone.panel().z, rtol=1e-9)
    np.testing.assert_allclose(data.original_unit(np.ones((3, 1))), alone.original_unit(np.ones((3, 1))), rtol=1e-12)
    assert "covariates: orders, other" in data.describe()[0][-1]
    assert data.fingerprint() != windows(targets=["sales", "orders", "other"]).fingerprint()


def _said(model: Chimera, data: ForecastData, row: int) -> tuple[Output, Any]:
    batch = data.batch("test", [row])
    with torch.no_grad():
        return model.eval()(batch), batch


@pytest.mark.parametrize("fields", [{}, {"final": {"depth": 1}}, {"series": {**LEG, "prior": True, "scaling": "last"}}])
def test_nothing_after_the_origin_is_read_and_what_is_before_is(fields: dict[str, Any]) -> None:
    data = windows(covariates=["orders"], prior=True)
    model = built(data, **fields)
    row = 7
    origin = int(data.origins["test"][row])
    before, batch = _said(model, data, row)
    assert before.prediction.point.shape == (1, LEAD, 1)
    losses = ForecastTaskConfig().build(data).losses(before, batch)
    for change in (np.nan, 1e6):
        later = frame()
        later.loc[origin + 1 :, "orders"] = change
        after, changed = _said(model, windows(later, covariates=["orders"], prior=True), row)
        assert float((after.prediction.point - before.prediction.point).abs().max()) == 0.0
        assert all(torch.equal(one[0], losses[name][0]) for name, one in
                   ForecastTaskConfig().build(data).losses(after, changed).items())  # fmt: skip
    earlier = frame()
    earlier.loc[origin - 3, "orders"] += 50.0
    after, _ = _said(model, windows(earlier, covariates=["orders"], prior=True), row)
    assert float((after.prediction.point - before.prediction.point).abs().max()) > 0


def test_a_missing_covariate_is_masked() -> None:
    gap = frame()
    gap.loc[100:140, "orders"] = np.nan
    data = windows(gap, covariates=["orders"])
    place = int(np.flatnonzero(data.origins["train"] == 120)[0])
    batch = data.batch("train", [place])
    assert not batch.inputs["series_mask"][0, :, 1].any()
    assert batch.targets["mask"].all()
    said = built(data).eval()(batch).prediction.point
    assert torch.isfinite(said).all()


def test_residual_and_fused_forms_are_of_the_targets_alone() -> None:
    texts = pd.DataFrame({"date": frame()["date"], "text": [f"report {n % 13}" for n in range(ROWS)]})
    config = source(covariates=["orders"], text={"embedder": {"kind": "tfidf"}})
    data = ForecastData(config.of_frames(frame(), texts), config)
    batch = data.batch("test", [1, 2, 3])
    for fields in ({"residual": True}, {"fusion": {"kind": "token_transformer"}}, {"fusion": {"kind": "latent_gate"}}):
        out = built(data, **fields).eval()(batch, explain=True)
        assert out.prediction.point.shape == (3, LEAD, 1)


def test_rivals_and_tables_are_of_the_targets_alone() -> None:
    data, alone = windows(covariates=["orders"]), windows()
    task = ForecastTaskConfig().build(data)
    one, two = task.rivals(data), task.rivals(alone)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name]["test"]["se"], two[name]["test"]["se"], rtol=1e-9)
    table = task.table(data, built(data).eval(), "test", data.rows("test")[:3], 2, "cpu")
    assert list(table["variate"]) == ["sales"] * 3


def test_a_direction_is_asked_with_covariates() -> None:
    task = DirectionTaskConfig()
    data, alone = (windows(question=task.question, covariates=c) for c in (["orders"], []))
    model = built(data, head={"kind": "classification", "hidden": 0}).eval()
    assert model(data.batch("test", [1, 2])).prediction.point.shape == (2, 3)
    one, two = task.build(data).rivals(data), task.build(alone).rivals(alone)
    for name in one:
        np.testing.assert_allclose(one[name]["test"]["log_loss"], two[name]["test"]["log_loss"], rtol=1e-6)


def test_tasks_of_the_window_itself_refuse_covariates() -> None:
    with pytest.raises(ConfigError, match="no use for covariates"):
        windows(question=HiddenCells(0.25), covariates=["orders"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"covariates": ["sales"]}, "both a target and a covariate"),
        ({"covariates": ["orders", "orders"]}, "named twice"),
        ({"covariates": ["ordres"]}, "did you mean orders"),
    ],
)
def test_what_can_be_no_covariate_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        windows(**fields)
    assert "data.covariates" in str(caught.value)


def configured(recipe: str, *fields: tuple[str, Any]) -> RunConfig:
    data = [("data.kind", "csv"), ("data.path", "x.csv"), ("data.covariates", ["orders"])]
    return resolve(load_recipe(recipe), "tiny", [*data, *fields])


@pytest.mark.parametrize("leg", [("kind", "linear"), ("kind", "patch"), ("depth", 0)])
def test_a_leg_that_reads_each_column_by_itself_is_refused(leg: tuple[str, Any]) -> None:
    field = (f"model.series.{leg[0]}", leg[1])
    with pytest.raises(ConfigError, match=r"have no effect.*itransformer"):
        configured("chimera", field)
    configured("chimera", field, ("model.final.depth", 1))


def test_calf_refuses_covariates() -> None:
    with pytest.raises(ConfigError, match="have no effect"):
        configured("calf")


def test_the_audit_covers_covariates() -> None:
    made = frame()
    made["orders"] = made["sales"].shift(-3).fillna(7.0)
    leaked = audit(windows(made, covariates=["orders"]))
    assert leaked["leaks"] == 1
    assert leaked["findings"][0]["rows"] == ["orders"]
    other = frame()
    other["orders"], other["other"] = other["other"], other["other"].shift(-2).fillna(0.0)
    ((one,), clean) = check_columns(windows(other, covariates=["orders", "other"])), audit(windows(other))
    assert not one.findings  # what a covariate knows of another's future says nothing of the target
    assert "2 pairs" in one.did
    assert clean["leaks"] == 0


def test_new_data_are_read_by_the_names_of_a_run() -> None:
    data = windows(covariates=["orders"])
    shuffled = frame()[["other", "orders", "date", "sales"]]
    table = source().of_new(data.schema, data.fitted, frozenset({"series"}), frame=shuffled)
    assert table.columns == ("sales", "orders")
    np.testing.assert_array_equal(table.values, data.table.values)


def _columns(values: NDArray[np.float64], names: tuple[str, ...], cells: pd.DataFrame) -> bool:
    return all(np.allclose(values[:, n], cells[name], equal_nan=True) for n, name in enumerate(names))


def test_the_published_tables_take_covariates(shared: Path) -> None:
    root = shared / "data" / "ett"
    config = validate(EttConfig, {"kind": "ett", "root": str(root), "path": "ETTh1", "covariates": ["HUFL", "LULL"]})
    table = config.read()
    assert table.variates == ("HULL", "MUFL", "MULL", "LUFL", "OT")
    assert _columns(table.values, table.columns, pd.read_csv(root / "ETTh1.csv").iloc[: len(table.times)])
    mmd = {"kind": "time_mmd", "root": str(shared / "data" / "time_mmd"), "domain": "Energy"}
    every = validate(TimeMmdConfig, {**mmd, "targets": None}).read()
    other = next(name for name in every.variates if name != "OT")
    found = validate(TimeMmdConfig, {**mmd, "covariates": [other]}).read()
    assert (found.variates, found.covariates) == (("OT",), (other,))
    np.testing.assert_array_equal(found.values[:, 1], every.values[:, every.variates.index(other)])
