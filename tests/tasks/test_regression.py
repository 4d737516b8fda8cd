"""Regression of samples: losses by their formulas, scores in the unit of the files, rivals, and what is told first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.sample_study import Study, data_of
from plait.baselines import samples
from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Output, Prediction
from plait.data.samples import SampleData
from plait.models.aam import Aam, AamConfig
from plait.tasks.regression import RegressionTask, RegressionTaskConfig
from plait.training.evaluate import evaluate

ROWS, NETS = 13, 3
HERE = SimpleNamespace(process_index=0, num_processes=1, device="cpu")
SMALL: dict[str, Any] = {
    "asv": {"kind": "asv", "dim": 12},
    "metadata": {"kind": "metadata", "dim": 5},
    "pool": {"heads": 2, "key": 3, "value": 5},
    "composition": {"kind": "composition", "dim": 7},
    "head": {"kind": "distribution", "hidden": 13},
}
NUMBER = {"head": {"kind": "regression", "hidden": 13}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    return data_of(tmp_path_factory.mktemp("study"), transform="zscore")


def model_of(data: SampleData, **fields: Any) -> Aam:
    torch.manual_seed(2)
    model = AamConfig.model_validate({**SMALL, **fields}).build(data.schema).eval()
    model.start(data)
    return model


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targets(mixed: bool = False) -> dict[str, Tensor]:
    """Targets within and beyond the thresholds; what is unknown is NaN."""
    found = {}
    for seed, end in ((1, ""), (2, "_other")):
        mask = torch.ones(ROWS, 1, dtype=torch.bool)
        mask[[3, 7]] = bool(end)
        found |= {f"y{end}": torch.where(mask, drawn(ROWS, 1, seed=seed) * 2, torch.nan), f"mask{end}": mask}
    share = 0.5 + 0.5 * torch.rand(ROWS, generator=torch.Generator().manual_seed(4))
    return {**found, "share": share} if mixed else {"y": found["y"], "mask": found["mask"]}


def told(task: RegressionTask, parts: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    """The sum of the task's loss, whose weight is the number of known targets."""
    batch = Batch({}, given, {"row": torch.arange(ROWS)})
    ((total, weight),) = task.losses(Output(Prediction(torch.empty(0), parts), {}, {}), batch).values()
    assert int(weight) == int(given["mask"].sum())
    assert {name: int(each) for name, each in task.weights(batch).items()} == {task.config.loss: int(weight)}
    return total


def cdf_of(logits: Tensor) -> NDArray[np.float64]:
    power = np.exp(logits.detach().double().numpy())
    return (power / power.sum(axis=-1, keepdims=True)).cumsum(axis=-1)


# --- losses


def test_crps_is_the_area_between_the_distribution_and_the_step_of_the_target(data: SampleData) -> None:
    task, given = RegressionTaskConfig().build(data), targets()
    edges = data.fitted.thresholds.astype(np.float64)
    logits = drawn(ROWS, NETS, len(edges))
    want = 0.0
    for row in np.flatnonzero(given["mask"][:, 0].numpy()):
        y = float(given["y"][row, 0])
        for cdf in cdf_of(logits)[row]:
            inside = sum((edges[j + 1] - edges[j]) * (cdf[j] - (y <= edges[j])) ** 2 for j in range(len(edges) - 1))
            want += (inside + max(edges[0] - y, 0) + max(y - edges[-1], 0)) / NETS
    assert float(told(task, {"logits": logits}, given)) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({"loss": "mse"}, lambda e: e**2),
        ({"loss": "mae"}, abs),
        ({"loss": "huber"}, lambda e: e**2 / 2 if abs(e) < 1 else abs(e) - 0.5),
        ({"loss": "quantile", "level": 0.8}, lambda e: 0.2 * e if e > 0 else -0.8 * e),
        ({"loss": "asymmetric", "over": 3.0, "under": 0.5}, lambda e: 3 * e if e > 0 else -0.5 * e),
    ],
)
def test_losses_of_a_number_are_their_formulas(data: SampleData, fields: dict[str, Any], loss: Any) -> None:
    task, given = RegressionTaskConfig(**fields).build(data), targets()
    points = drawn(ROWS, NETS, 1, seed=5) * 2
    rows = np.flatnonzero(given["mask"][:, 0].numpy())
    want = sum(loss(float(points[r, net, 0] - given["y"][r, 0])) / NETS for r in rows for net in range(NETS))
    assert float(told(task, {"points": points}, given)) == pytest.approx(want, rel=1e-5)


def test_a_mixed_row_has_the_gradient_of_the_mixed_distribution(data: SampleData) -> None:
    task, given = RegressionTaskConfig().build(data), targets(mixed=True)
    given["mask"][:], given["y"] = True, torch.nan_to_num(given["y"])
    edges = torch.from_numpy(data.fitted.thresholds).double()
    logits = drawn(ROWS, NETS, len(edges)).requires_grad_()
    (got,) = torch.autograd.grad(told(task, {"logits": logits}, given), logits)
    share = given["share"].double()[:, None]
    steps = [(given[name].double() <= edges).double() for name in ("y", "y_other")]
    step = share * steps[0] + (1 - share) * steps[1]
    cdf = logits.double().softmax(-1).cumsum(-1)
    area = (edges.diff() * (cdf - step[:, None])[..., :-1] ** 2).sum() / NETS
    (want,) = torch.autograd.grad(area, logits)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_a_mixed_row_has_the_gradient_of_the_mixed_number(data: SampleData) -> None:
    task, given = RegressionTaskConfig(loss="mse").build(data), targets(mixed=True)
    given["mask"][:], given["y"] = True, torch.nan_to_num(given["y"])
    points = drawn(ROWS, NETS, 1).requires_grad_()
    (got,) = torch.autograd.grad(told(task, {"points": points}, given), points)
    share = given["share"][:, None]
    mixed = share * given["y"] + (1 - share) * given["y_other"]
    torch.testing.assert_close(got, 2 * (points.detach() - mixed[:, None]) / NETS)


def test_a_loss_that_the_head_does_not_give_is_refused(data: SampleData) -> None:
    with pytest.raises(ConfigError, match=r"crps needs the head distribution.*--head distribution"):
        told(RegressionTaskConfig().build(data), {"points": drawn(ROWS, 1, 1)}, targets())
    with pytest.raises(ConfigError, match=r"mse needs the head regression.*--loss crps"):
        told(RegressionTaskConfig(loss="mse").build(data), {"logits": drawn(ROWS, 1, 5)}, targets())


# --- scores


def natural(data: SampleData, z: NDArray[np.float64], split: str) -> NDArray[np.float64]:
    """Answers in the unit of the files, by the formulas of the transforms and the cells of the study."""
    study, kind = Study(), data.config.transform
    ages = {name: float(cells["age"]) for name, cells in study.metadata.items() if cells["age"]}
    log = kind.startswith("log-")
    seen = {name: np.log1p(ages[name]) if log else ages[name] for name in data.ids("train")}
    all_of = np.array(list(seen.values()))
    if kind == "none":
        return z
    if kind == "zscore-category":
        out = []
        for name, value in zip(data.ids(split), z, strict=True):
            site = study.metadata[name]["site"]
            own = np.array([y for other, y in seen.items() if study.metadata[other]["site"] == site])
            w = len(own) / (len(own) + 10)
            centre = w * own.mean() + (1 - w) * all_of.mean()
            out.append(value * np.sqrt(w * own.var() + (1 - w) * all_of.var()) + centre)
        return np.array(out)
    if kind.endswith("minmax"):
        x = z * (all_of.max() - all_of.min()) + all_of.min()
    else:
        x = z * all_of.std() + all_of.mean()
    return np.expm1(x) if log else x


@pytest.mark.parametrize("kind", ["none", "minmax", "zscore", "zscore-category", "log-minmax", "log-zscore"])
def test_scores_and_the_table_are_in_the_unit_of_the_files(kind: str, tmp_path: Path) -> None:
    data = data_of(tmp_path, transform=kind, normalize_by="site" if kind == "zscore-category" else None)
    task, model = RegressionTaskConfig().build(data), model_of(data)
    rows = data.rows("test")
    with torch.no_grad():
        z = model(data.batch("test", rows)).prediction.point[:, 0].double().numpy()
    answer = natural(data, z, "test")
    truth = np.array([float(Study().metadata[name]["age"]) for name in data.ids("test")])
    scores = evaluate(model, task, data, "test", 256, HERE)
    np.testing.assert_allclose(scores["ae"], np.abs(answer - truth), rtol=1e-10)
    np.testing.assert_allclose(scores["se"], (answer - truth) ** 2, rtol=1e-10)
    assert scores["n"].tolist() == [1.0] * len(rows)
    metrics = task.metrics(scores)
    assert list(metrics) == ["mae", "mse"]
    assert metrics["mse"] == pytest.approx(((answer - truth) ** 2).mean())
    assert task.selection(scores) == metrics["mae"]
    table = task.table(data, model, "test", rows, 3, "cpu")
    assert list(table) == ["sample_id", "prediction", "prediction_std", "low", "high", "actual"]
    assert tuple(table["sample_id"]) == data.ids("test")
    np.testing.assert_allclose(table["prediction"], answer, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(table["actual"], truth)
    assert (table["prediction_std"] > 0).all()
    assert ((table["low"] < table["prediction"]) & (table["prediction"] < table["high"])).all()


def test_no_metric_depends_on_the_size_of_a_batch(data: SampleData) -> None:
    task, model = RegressionTaskConfig(metric="mse").build(data), model_of(data, fusion={"kind": "cross_attention"})
    whole = evaluate(model, task, data, "train", 256, HERE)
    for size in (1, 5):
        parts = evaluate(model, task, data, "train", size, HERE)
        assert task.metrics(parts) == pytest.approx(task.metrics(whole), rel=1e-5)
        np.testing.assert_allclose(parts["se"], whole["se"], rtol=1e-4, atol=1e-4)
    assert (task.score, next(iter(task.metrics(whole)))) == ("se", "mse")


def test_the_spread_of_a_distribution_is_that_of_its_mean_distribution_function(data: SampleData) -> None:
    model, task = model_of(data, nets=2), RegressionTaskConfig().build(data)
    table = task.table(data, model, "val", data.rows("val"), 256, "cpu")
    with torch.no_grad():
        logits = model(data.batch("val", data.rows("val"))).prediction.parts["logits"]
    edges, cdf = data.fitted.thresholds.astype(np.float64), cdf_of(logits).mean(axis=1)
    for level, name in ((0.1, "low"), (0.9, "high")):
        z = np.array([np.interp(level, each, edges) for each in cdf])
        np.testing.assert_allclose(table[name], natural(data, z, "val"), rtol=1e-5)
    ends = [np.array([np.interp(level, each, edges) for each in cdf]) for level in (0.16, 0.84)]
    spread = (natural(data, ends[1], "val") - natural(data, ends[0], "val")) / 2
    np.testing.assert_allclose(table["prediction_std"], spread, rtol=1e-5)


def test_the_spread_of_a_number_is_that_of_passes_with_dropout_and_the_same_each_time(data: SampleData) -> None:
    task, rows = RegressionTaskConfig(loss="mse", passes=7).build(data), data.rows("test")
    model = model_of(data, **NUMBER)
    torch.manual_seed(5)
    first = task.table(data, model, "test", rows, 256, "cpu")
    torch.manual_seed(6)
    pd.testing.assert_frame_equal(task.table(data, model, "test", rows, 256, "cpu"), first)
    assert not model.training
    assert (first["prediction_std"] > 0).all()
    still = model_of(data, head={**NUMBER["head"], "dropout": 0.0}, asv={**SMALL["asv"], "dropout": 0.0})
    certain = task.table(data, still, "test", rows, 256, "cpu")
    np.testing.assert_allclose(certain["prediction_std"], 0, atol=1e-5)


def test_actual_stands_only_where_it_is_known(data: SampleData) -> None:
    new = SampleData(data.table, data.config, 0, data.fitted, ahead=True)
    table = RegressionTaskConfig().build(new).table(new, model_of(data), "ahead", new.asked(), 256, "cpu")
    known = {name for name, cells in Study().metadata.items() if cells["age"]}
    assert set(table["sample_id"][table["actual"].notna()]) == known
    assert len(table) == 31
    blind = data.config.model_copy(update={"target": None})
    new = SampleData(blind.of_new(table=data.config.table), data.config, 0, data.fitted, ahead=True)
    assert "actual" not in RegressionTaskConfig().build(new).table(new, model_of(data), "ahead", [2, 0], 1, "cpu")


# --- rivals


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "FOREST", 3)
    monkeypatch.setattr(samples, "EXTRA", 3)


def test_rivals_are_scored_in_the_unit_of_the_files(data: SampleData, few_trees: None) -> None:
    task = RegressionTaskConfig().build(data)
    rivals, cells = task.rivals(data), Study().metadata
    ages = {split: np.array([float(cells[name]["age"]) for name in data.ids(split)]) for split in ("train", "test")}
    error = np.abs(ages["test"] - np.median(ages["train"]))
    np.testing.assert_allclose(rivals["median"]["test"]["ae"], error)
    np.testing.assert_allclose(rivals["median"]["test"]["se"], error**2)
    sites = {s: np.array([cells[name]["site"] for name in data.ids(s)]) for s in ("train", "test")}
    alone = np.array([np.median(ages["train"][sites["train"] == site]) for site in sites["test"]])
    np.testing.assert_allclose(rivals["column:site"]["test"]["ae"], np.abs(ages["test"] - alone))
    assert set(task.candidates(rivals)) == {name for name in rivals if not name.startswith("column:")}
    assert set(task.meanings) >= set(rivals)
    assert task.context_rivals(data) == {}


def test_a_planted_confounder_is_named_first_and_only_where_it_tells_as_much(tmp_path: Path, few_trees: None) -> None:
    study = Study()
    for cells in study.metadata.values():
        cells["run"] = f"lane{int(float(cells['age']) // 5)}" if cells["age"] else "none"
    data = data_of(tmp_path, study)
    task = RegressionTaskConfig().build(data)
    tests = {name: task.metrics(scores["test"]) for name, scores in task.rivals(data).items()}
    alone = tests["column:run"]["mae"]
    assert alone < 3 < tests["median"]["mae"]
    for own, found in ((alone, ["run"]), (alone / 1.05, ["run"]), (alone / 1.2, [])):
        told = task.caveats({"metric": "mae", "baselines": tests, "raw": {"test": {"mae": own}}})
        assert [words.split(":")[1].split()[0] for words in told] == found
        assert all("alone predicts age with mae" in words for words in told)


def test_the_page_has_a_point_a_test_sample(data: SampleData) -> None:
    page = RegressionTaskConfig().build(data).page(data, model_of(data), "cpu")
    assert [point["id"] for point in page["points"]] == list(data.ids("test"))
    assert page["unit"] == "age"
    assert all(point["low"] <= point["prediction"] <= point["high"] for point in page["points"])
