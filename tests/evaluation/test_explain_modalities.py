"""Attention between modalities, and the explanation of rows that are bars."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from candle_series import random_candles
from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Output, Prediction
from plait.data.candles import CandleData
from plait.data.sources.candles import CandlesConfig
from plait.evaluation.explain.checks import NAMED, faults
from plait.evaluation.explain.look import Lens, Look
from plait.evaluation.explain.modalities import Modalities, between
from plait.evaluation.explain.run import explained
from plait.evaluation.explain.streams import places_of
from plait.models.market import MarketConfig
from plait.tasks.range_move import RangeMoveTaskConfig

KEYS = (("candles", 3), ("topology", 2))
AXES = ("row", "head", "candles + topology token", "candles + topology token")
SCHEMA = Schema("candles", {"candles": 5, "topology": 7}, ("a", "b", "c", "d", "e"), lookback=11, outputs=2)


def weights(seed: int, rows: int = 7, heads: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(rows, heads, 5, 5).softmax(dim=-1)


def look(values: Tensor, topology: Tensor) -> Look:
    rows = len(values)
    inputs = {
        "candles": torch.zeros(rows, 11, 5), "candles_mask": torch.ones(rows, 11, 5, dtype=torch.bool),
        "topology": torch.zeros(rows, 2, 7), "topology_mask": topology,
    }  # fmt: skip
    shown = Output(Prediction(torch.zeros(rows, 2)), {}, {"attention.block0": Map(values, AXES, KEYS)})
    return Look(np.arange(rows), Batch(inputs, {}, {}), shown, shown)


def test_a_matrix_is_the_mean_over_rows_heads_and_tokens() -> None:
    values = weights(1)
    given, received, rows = between(Map(values, AXES, KEYS), torch.ones(7, 5, dtype=torch.bool))
    by_hand = np.zeros((2, 2))
    parts = (slice(0, 3), slice(3, 5))
    for one, queries in enumerate(parts):
        for other, keys in enumerate(parts):
            by_hand[one, other] = np.mean([
                sum(values[row, head, query, key].item() for key in range(5)[keys])
                for row in range(7) for head in range(3) for query in range(5)[queries]
            ])  # fmt: skip
    assert np.allclose(given / 7, by_hand, atol=1e-6)
    assert np.allclose(received / 7, (3 * by_hand[0] + 2 * by_hand[1]) / 5, atol=1e-6)
    assert rows.tolist() == [7, 7, 7]


def test_absent_queries_say_nothing_and_batches_add_up() -> None:
    values = weights(2)
    topology = torch.ones(7, 2, dtype=torch.bool)
    topology[0] = False
    topology[1, 1] = False
    values[0, :, 3:] = float("nan")
    values[1, :, 4] = float("nan")
    whole, parts = Modalities(SCHEMA), Modalities(SCHEMA)
    whole.add(look(values, topology))
    parts.add(look(values[:3], topology[:3]))
    parts.add(look(values[3:], topology[3:]))
    found, same = whole.result(), parts.result()
    assert found is not None
    assert same is not None
    assert np.allclose(found["mean"], same["mean"])
    assert np.allclose(found["received"], same["received"])
    rows = [values[row].mean(dim=0) for row in range(7)]
    of_topology = [rows[1][3], *(row[3:].mean(dim=0) for row in rows[2:])]
    assert np.allclose(found["mean"][1][0], torch.stack(of_topology)[:, :3].sum(dim=1).mean(), atol=1e-6)
    assert np.allclose(np.sum(found["mean"], axis=1), 1)
    assert found["even"] == [0.6, 0.4]
    assert (found["names"], found["tokens"]) == (["candles", "topology"], [3, 2])


def test_maps_of_other_queries_are_no_matrix() -> None:
    found = Modalities(SCHEMA)
    made = look(weights(3), torch.ones(7, 2, dtype=torch.bool))
    made.maps["attention.block0"] = made.maps["attention.block0"]._replace(axes=(*AXES[:2], "latent", AXES[3]))
    found.add(made)
    assert found.result() is None


def test_tokens_that_an_encoder_makes_of_a_window_are_its_own() -> None:
    made = look(weights(4), torch.ones(7, 2, dtype=torch.bool))
    made.batch.inputs["candles_mask"][2] = False
    mask = places_of(made.batch.inputs, SCHEMA, "candles", 3)
    assert mask is not None
    assert mask.tolist() == [[row != 2] * 3 for row in range(7)]
    assert NAMED not in {what for _, what, _ in faults(made.maps, made.batch.inputs, SCHEMA)}
    # Where variates are forecast, each has its token: three of five are too few.
    forecasting = Schema("candles", SCHEMA.streams, SCHEMA.variates, 11, horizon=2)
    assert (NAMED, 2.0) in {(what, size) for _, what, size in faults(made.maps, made.batch.inputs, forecasting)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CandleData:
    folder = tmp_path_factory.mktemp("candles")
    frame = pd.DataFrame(random_candles(1103, seed=11)).rename(columns={"buy": "buy_volume", "sell": "sell_volume"})
    frame.to_csv(folder / "candles.csv", index=False)
    config = CandlesConfig(
        root=str(folder), path="candles.csv", horizon=5, lead=3, threshold=0.05, lookback=23, channels=5, jobs=1,
        cache=str(folder), topology={"window": 41, "delay": 3, "bins": 7, "layers": 2}, splits=[0.5, 0.2, 0.3],
    )  # fmt: skip
    return config.build(config.read())


def market(data: CandleData, **fusion: Any) -> nn.Module:
    torch.manual_seed(0)
    return MarketConfig(
        candles={"kind": "nbeats", "hidden": 7, "dim": 8, "stacks": ["trend", "generic", "generic"]},
        topology={"kind": "vector", "modality": "topology", "hidden": [7], "dim": 8},
        complexity={"kind": "vector", "modality": "complexity", "hidden": [7], "dim": 8}, fusion=fusion,
    ).build(data.schema)  # fmt: skip


def test_bars_are_explained_with_every_modality_taken_away(data: CandleData, tmp_path: Path) -> None:
    task = RangeMoveTaskConfig().build(data)
    model = market(data, kind="token_transformer", dim=8, heads=2, depth=2, hidden=11)
    result = explained(Lens(model, data, "test", "cpu"), task, "token_transformer", 31, 0, tmp_path)
    assert json.loads(json.dumps(result))["row_name"] == "bars"
    assert all(check["holds"] for check in result["checks"])
    assert result["agreement"]["holds"]
    assert [each["modality"] for each in result["contributions"]] == ["candles", "topology", "complexity"]
    found = result["between"]
    assert (found["names"], found["tokens"]) == (["candles", "complexity", "topology"], [3, 1, 1])
    assert set(found["maps"]) == {"attention.block0", "attention.block1"}
    assert np.allclose(np.sum(found["mean"], axis=1), 1)
    # What the error is without candles, by hand: the model on batches that lack them.
    error = {}
    for left_out in ((), ("candles",)):
        batch = data.batch("test", data.rows("test")).without(left_out)
        with torch.no_grad():
            chance = torch.sigmoid(model.eval()(batch).prediction.point[:, 0].double())
        error[left_out] = float(((chance - batch.targets["trigger"]) ** 2).mean())
    change = error["candles",] / error[()] - 1
    assert result["contributions"][0]["drop"]["value"] == pytest.approx(change, abs=1e-6)


def test_an_anchored_fusion_keeps_its_anchor(data: CandleData, tmp_path: Path) -> None:
    task, model = RangeMoveTaskConfig().build(data), market(data, kind="cross_attention")
    result = explained(Lens(model, data, "test", "cpu"), task, "cross_attention", 101, 0, tmp_path)
    assert [each["modality"] for each in result["contributions"]] == ["topology", "complexity"]
    assert "between" not in result
    assert all(check["holds"] for check in result["checks"])


def test_a_task_may_say_what_its_answer_is(data: CandleData) -> None:
    model = market(data, kind="token_transformer", dim=8, heads=2, hidden=11)
    lens = Lens(model, data, "test", "cpu", said=lambda output: torch.sigmoid(output.prediction.point[:, :1]))
    output = lens.forward(lens.batch(np.arange(3)))
    assert torch.equal(lens.answer(output), torch.sigmoid(output.prediction.point[:, :1]))
    assert Lens(model, data, "test", "cpu").answer(output).shape == (3, 2)
