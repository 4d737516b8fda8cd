"""The price task: losses and scores by their formulas, the gate's terms, intervals, groups, caveats."""

import csv
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plait.core.errors import ConfigError, DataError
from plait.core.tokens import Batch, Output, Prediction
from plait.data.products import ProductData
from plait.data.sources.synthetic_products import SyntheticProductsConfig
from plait.tasks._prices import balance, conformal_spread, least_heard, pair_count, peakedness
from plait.tasks.price import PriceTask, PriceTaskConfig
from plait.training.evaluate import evaluate

NETS, EXPERTS = 3, 5
HERE = SimpleNamespace(process_index=0, num_processes=1, device="cpu")


@pytest.fixture(scope="module")
def data() -> ProductData:
    config = SyntheticProductsConfig(rows=401)
    return config.build(config.read())


class Model(nn.Module):
    """Says z from the first number of a source, and hears experts by the next."""

    def __init__(self, calibrated: bool = True) -> None:
        super().__init__()
        if calibrated:
            self.register_buffer("spread", torch.tensor(torch.nan))

    def forward(self, batch: Batch) -> Output:
        x = batch.inputs["image_a"][:, 0]
        points = 3.2 + 0.1 * x[:, :NETS, None]
        gate = torch.stack([torch.softmax(x[:, net : net + EXPERTS], dim=-1) for net in range(NETS)], dim=1)
        return Output(Prediction(points.mean(dim=1), {"points": points, "gate": gate}), {}, {})


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output(points: Tensor, gate: Tensor | None = None) -> Output:
    parts = {"points": points} | ({} if gate is None else {"gate": gate})
    return Output(Prediction(points.mean(dim=1), parts), {}, {})


def batch_of(prices: list[float]) -> Batch:
    price = torch.tensor(prices)[:, None]
    mask = torch.isfinite(price)
    y = torch.where(mask, torch.log1p(price), 0.0)
    return Batch({}, {"y": y, "mask": mask}, {"row": torch.arange(len(prices))})


PRICES = [1.5, 7.0, 12.0, float("nan"), 45.0, 150.0, 900.0]


def smape(said: float, true: float) -> float:
    return 200 * abs(said - true) / (said + true)


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({}, lambda z, p: smape(np.expm1(z), p)),
        ({"loss": "focal_smape", "gamma": 1.0}, lambda z, p: smape(np.expm1(z), p) ** 2 / 200),
        (
            {"loss": "hybrid_focal_smape", "gamma": 2.0, "share": 0.3},
            lambda z, p: 0.7 * smape(np.expm1(z), p) + 0.3 * smape(np.expm1(z), p) ** 3 / 200**2,
        ),
        ({"loss": "mse"}, lambda z, p: (z - np.log1p(p)) ** 2),
        ({"loss": "mae"}, lambda z, p: abs(z - np.log1p(p))),
        ({"loss": "quantile", "level": 0.8}, lambda z, p: max(0.2 * (z - np.log1p(p)), 0.8 * (np.log1p(p) - z))),
    ],
)
def test_losses_are_their_formulas_for_each_net(data: ProductData, fields: dict[str, Any], loss: Any) -> None:
    task, batch = PriceTaskConfig(balance=0.0, **fields).build(data), batch_of(PRICES)
    points = 3 + 0.7 * drawn(7, NETS, 1)
    ((name, (total, weight)),) = task.losses(output(points), batch).items()
    want = sum(loss(float(z), p) / NETS for zs, p in zip(points[..., 0], PRICES, strict=True) for z in zs if p == p)
    assert float(total) == pytest.approx(want, rel=1e-4)
    assert int(weight) == 6
    assert task.weights(batch) == {name: weight}


@pytest.mark.parametrize("tiers", ["seed", "quantiles"])
def test_cheap_tiers_weigh_more(data: ProductData, tiers: Any) -> None:
    task = PriceTaskConfig(loss="weighted_smape", tiers=tiers, balance=0.0).build(data)
    edges = [5, 10, 30, 60, 200] if tiers == "seed" else np.quantile(data.prices("train"), np.arange(1, 6) / 6)
    prices = [*(0.9 * float(edge) for edge in edges), 5 * float(edges[-1])]
    batch, z = batch_of(prices), 3 + 0.7 * drawn(6, 1, 1)
    weights = [[10, 8, 6, 4, 2, 1][sum(p >= edge for edge in edges)] for p in prices]
    want = sum(w * smape(float(np.expm1(s)), p) for w, s, p in zip(weights, z[:, 0, 0].tolist(), prices, strict=True))
    ((total, weight),) = task.losses(output(z), batch).values()
    assert float(total) == pytest.approx(want, rel=1e-4)
    assert float(weight) == sum(weights) == float(task.weights(batch)["weighted_smape"])


def test_the_terms_of_the_gate_are_their_formulas(data: ProductData) -> None:
    gate = torch.softmax(2 * drawn(7, NETS, EXPERTS), dim=-1).requires_grad_()
    for name, config in (("balance", {"balance": 0.3}), ("entropy", {"balance": 0.0, "entropy": 0.3})):
        for loss, unit in (("smape", 200.0), ("mse", 1.0)):
            task, batch = PriceTaskConfig(loss=loss, **config).build(data), batch_of(PRICES)  # type: ignore[arg-type]
            total, weight = task.losses(output(drawn(7, NETS, 1), gate), batch)[name]
            p = gate.detach().double().numpy()
            want = {
                "balance": EXPERTS * (p.mean(axis=0) ** 2).sum(axis=-1).mean() - 1,
                "entropy": (p * np.log(p)).sum(axis=-1).mean() + np.log(EXPERTS),
            }[name]
            assert float(total.detach() / weight) == pytest.approx(0.3 * unit * want, rel=1e-4)
            assert float(weight) == float(task.weights(batch)[name])
    (slope,) = torch.autograd.grad(balance(gate)[0] / balance(gate)[1], gate)
    torch.testing.assert_close(slope, (2 * EXPERTS * gate.mean(dim=0) / 7 / NETS).expand_as(gate))


def test_the_ends_of_the_terms_of_the_gate() -> None:
    one, even = torch.zeros(11, 2, EXPERTS), torch.full((11, 2, EXPERTS), 1 / EXPERTS)
    one[..., 3] = 1
    turns = torch.eye(EXPERTS).repeat(3, 1)[:, None]
    for gate, want in ((one, EXPERTS - 1), (even, 0.0), (turns, 0.0)):
        total, weight = balance(gate)
        assert float(total / weight) == pytest.approx(want, abs=1e-5)
        assert weight == pair_count(len(gate), torch.device("cpu")) == len(gate) ** 2
    for gate, want in ((one, np.log(EXPERTS)), (even, 0.0), (turns, np.log(EXPERTS))):
        total, weight = peakedness(gate)
        assert float(total / weight) == pytest.approx(want, abs=1e-5)
    gate = one.requires_grad_()
    assert torch.isfinite(torch.autograd.grad(peakedness(gate)[0], gate)[0]).all()


def test_scores_are_of_the_price_in_the_unit_of_the_files(data: ProductData) -> None:
    task, model = PriceTaskConfig().build(data), Model()
    scores = evaluate(model, task, data, "test", 7, HERE)
    batch = data.batch("test", data.rows("test"))
    said, true = np.expm1(model(batch).prediction.point.double().numpy()[:, 0]), data.prices("test")
    np.testing.assert_allclose(scores["smape"], smape_rows := 200 * np.abs(said - true) / (said + true), rtol=1e-5)
    np.testing.assert_allclose(scores["ae"], np.abs(said - true), rtol=1e-4)
    np.testing.assert_allclose(scores["ale"], np.abs(np.log(said / true)), rtol=1e-4, atol=1e-6)
    found = task.metrics(scores)
    assert found["smape"] == task.selection(scores) == pytest.approx(smape_rows.mean(), rel=1e-5)
    assert found["rmsle"] == pytest.approx(np.sqrt(((np.log1p(said) - np.log1p(true)) ** 2).mean()), rel=1e-5)
    shares = model(batch).prediction.parts["gate"].mean(dim=0)
    assert found["least_expert"] == pytest.approx(float(shares.min()), rel=1e-5) == least_heard(scores)


def test_a_number_beyond_all_prices_has_a_score(data: ProductData) -> None:
    task, batch = PriceTaskConfig().build(data), data.batch("test", [0, 1])
    scores = task.scores(output(torch.tensor([[[1e4]], [[-1e4]]])), batch)
    assert all(torch.isfinite(values).all() for values in scores.values())
    np.testing.assert_allclose(scores["smape"], [200, 200])


def test_a_head_without_a_number_is_refused(data: ProductData) -> None:
    said = Output(Prediction(drawn(7, 3), {"logits": drawn(7, 1, 3)}), {}, {})
    with pytest.raises(ConfigError, match="head of one number"):
        PriceTaskConfig().build(data).losses(said, batch_of(PRICES))


# --- intervals


def test_the_reach_is_the_rank_that_split_conformal_asks_for() -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert conformal_spread(errors, 0.8) == 16.0  # ceil(20 * 0.8) of 19
    assert conformal_spread(np.arange(1.0, 5.0), 0.8) == 4.0
    assert np.isnan(conformal_spread(np.arange(1.0, 4.0), 0.8))
    assert np.isnan(conformal_spread(np.zeros(0), 0.8))


def test_intervals_hold_new_errors_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    inside = [abs(rng.standard_cauchy()) <= conformal_spread(np.abs(rng.standard_cauchy(29)), 0.8) for _ in range(3000)]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03)


def test_the_table_has_intervals_of_a_calibrated_model(data: ProductData) -> None:
    task, model = PriceTaskConfig().build(data), Model()
    rows = np.array([5, 2, 3])
    assert list(task.table(data, model, "test", rows, 2, "cpu")) == ["id", "price", "actual"]
    scores = evaluate(model, task, data, "val", 64, HERE)
    task.calibrate(model, scores)
    table = task.table(data, model, "test", rows, 2, "cpu")
    reach = conformal_spread(scores["ale"], 0.8)
    np.testing.assert_allclose(table["high"] / table["price"], np.exp(reach), rtol=1e-6)
    np.testing.assert_allclose(table["price"] / table["low"], np.exp(reach), rtol=1e-6)
    assert table["id"].tolist() == [data.ids("test")[row] for row in rows]
    np.testing.assert_array_equal(table["actual"], data.prices("test")[rows])
    plain = PriceTaskConfig(coverage=None).build(data)
    assert "low" not in plain.table(data, model, "test", rows, 2, "cpu")
    task.calibrate(Model(calibrated=False), scores)


# --- groups, page, caveats


def test_groups_are_of_held_out_rows(data: ProductData) -> None:
    task, model = PriceTaskConfig().build(data), Model()
    groups = task.groups(data, model, "test", 7, "cpu", "seed")
    assert [sum(g["count"] for g in groups if g["by"] == by) for by in ("bins", "ranges")] == [
        len(data.rows("test"))
    ] * 2
    scores, prices = evaluate(model, task, data, "test", 64, HERE), data.prices("test")
    wide = next(g for g in groups if g["label"] == "10-30")
    inside = (prices >= 10) & (prices < 30)
    assert wide["smape"] == pytest.approx(scores["smape"][inside].mean(), rel=1e-6)
    assert wide["mae"] == pytest.approx(scores["ae"][inside].mean(), rel=1e-6)
    assert wide["smape_low"] < wide["smape"] < wide["smape_high"]
    assert wide["gate"][2][4] == pytest.approx(scores["gate_2_4"][inside].mean(), rel=1e-6)
    assert any(g["smape_low"] is None for g in groups if g["count"] < 20)
    with pytest.raises(DataError, match="train rows are not held out"):
        task.groups(data, model, "train", 7, "cpu")
    with pytest.raises(ConfigError, match="no bins 'deciles'"):
        task.groups(data, model, "test", 7, "cpu", "deciles")


def test_the_page_and_the_file_of_groups(data: ProductData) -> None:
    task = PriceTaskConfig().build(data)
    page = task.page(data, Model(), "cpu")
    assert (page["kind"], len(page["points"]), len(page["groups"])) == ("prices", len(data.rows("test")), 10)
    rows = list(csv.DictReader(io.StringIO(task.files({}, page, [])["groups.csv"].decode())))
    assert [row["label"] for row in rows] == [group["label"] for group in page["groups"]]
    assert sum(float(rows[0][f"gate_1_{i}"]) for i in range(EXPERTS)) == pytest.approx(1, abs=1e-5)


def test_caveats_name_the_constant_and_a_collapsed_gate(data: ProductData) -> None:
    task: PriceTask = PriceTaskConfig().build(data)
    good = {"metrics": {"test": {"smape": 20.0, "least_expert": 0.2}}, "baselines": {"constant": {"smape": 50.0}}}
    assert task.caveats(good) == []
    bad = {"metrics": {"test": {"smape": 51.0, "least_expert": 0.013}}, "baselines": {"constant": {"smape": 50.0}}}
    constant, gate = task.caveats(bad)
    assert "SMAPE 50.00 against 51.00" in constant
    assert "share of 1.3%" in gate


def test_rivals_are_scored_as_the_model_is(data: ProductData) -> None:
    task = PriceTaskConfig().build(data)
    rivals = task.rivals(data)
    median, true = np.median(data.prices("train")), data.prices("test")
    np.testing.assert_allclose(rivals["constant"]["test"]["smape"], 200 * np.abs(median - true) / (median + true))
    np.testing.assert_allclose(rivals["constant"]["test"]["ae"], np.abs(median - true))
    assert set(rivals) <= set(task.meanings)
    assert task.candidates(rivals) == list(rivals)
