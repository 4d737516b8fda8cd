"""An explanation: maps on disk are the model's, checks see faults, faithfulness tells true attention from any."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from embedders.tiny_models import tiny_bert, tiny_gpt2, tiny_llama
from plait.core import signals
from plait.core.errors import ConfigError, FileError, NumericsError, Terminated
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Notes, Output, Prediction, Tokens
from plait.embedders.minilm import MiniLmConfig
from plait.embedders.pretrained import PretrainedConfig
from plait.embedders.tfidf import Tfidf
from plait.embedders.wordllama import WordLlama
from plait.evaluation.explain import maps as maps_on_disk
from plait.evaluation.explain.checks import ABSENT, GATES, NAMED, SUMS, faults
from plait.evaluation.explain.contribution import leaning, partners
from plait.evaluation.explain.faithfulness import picked
from plait.evaluation.explain.folder import whole_folder
from plait.evaluation.explain.look import Lens
from plait.evaluation.explain.run import explain, explained
from plait.evaluation.explain.streams import present_tokens, without_tokens
from plait.evaluation.explain.texts import text_samples
from plait.evaluation.explain.weights import gate_share, present_queries, token_weights
from plait.objectives.bootstrap import Units
from plait.report.page import write_report
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from plait.tasks.forecast import ForecastTask
from plait.training.checkpoint import read_folder
from plait.training.evaluate import evaluate

KEYS = [
    "run", "recipe", "split", "windows", "raw", "accepted", "fusion", "metric", "unit", "maps", "checks", "agreement",
    "faithfulness", "no_faithfulness", "contributions", "over_time", "samples",
]  # fmt: skip
SMALL: list[tuple[str, Any]] = [
    ("data.weeks", 560), ("train-epochs", 1), ("batch-size", 64), ("trackers", []), ("device", "cpu"),
]  # fmt: skip
PLAIN = SimpleNamespace(num_processes=1, process_index=0, device="cpu")


def _run(folder: Path, *fields: tuple[str, Any]) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe("chimera"), "tiny", [*SMALL, *fields]), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Runs of several fusions, each trained when it is asked for: over pooled sentences and over word pieces."""
    made: dict[str, Run] = {}
    fields: dict[str, list[tuple[str, Any]]] = {
        "latent_gate": [("data.text.pool", "none"), ("data.text.max_tokens", 5)],
        "cross_attention": [("lr", 0.01)],
        "add": [],
        "perceiver": [],
    }

    def get(fusion: str) -> Run:
        if fusion not in made:
            folder = tmp_path_factory.mktemp("runs") / fusion
            made[fusion] = _run(folder, ("fusion", fusion), ("accept", "always"), *fields[fusion])
        return made[fusion]

    return get


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose texts have nothing to say."""
    return _run(tmp_path_factory.mktemp("runs") / "control", ("data.signal", False), ("data.weeks", 420))


# --- a made-up model, of which everything is known

SCHEMA = Schema("series", {"series": 1, "notes": 1}, ("y",), 4, 2)


class Notebook:
    """400 windows of a series, with up to five notes each: a note is a number."""

    def __init__(self, places: int = 5, windows: int = 400) -> None:
        rng = np.random.default_rng(5)
        self.schema = SCHEMA
        self.values = torch.from_numpy(rng.normal(size=(windows, places, 1))).float()
        self.mask = torch.from_numpy(rng.random((windows, places)) < 0.7)
        self.mask[::7] = False
        self.mask[1::7] = True
        self.series = torch.from_numpy(rng.normal(size=(windows, 4, 1))).float()

    def rows(self, split: str) -> np.ndarray:
        return np.arange(len(self.values))

    def units(self, split: str) -> Units:
        return Units(len(self.values), 2 * self.schema.horizon)

    def batch(self, split: str, index: Any) -> Batch:
        i = torch.as_tensor(np.asarray(index))
        own = torch.where(self.mask, worth(self.values), 0.0).sum(dim=1)
        inputs = {
            "series": self.series[i], "series_mask": torch.ones_like(self.series[i], dtype=torch.bool),
            "notes": self.values[i], "notes_mask": self.mask[i], "notes_length": self.mask[i].sum(dim=1),
        }  # fmt: skip
        targets = {"y": own[i, None, None].expand(-1, 2, 1) + 0.1 * self.series[i, :2]}
        return Batch(inputs, targets | {"mask": torch.ones_like(targets["y"], dtype=torch.bool)}, {"row": i})


def worth(values: Tensor) -> Tensor:
    """What a note adds to the forecast. Shape: (b, n, 1) -> (b, n)."""
    return torch.sigmoid(3 * values[..., 0])


class Adder(nn.Module):
    """Forecast = sum of what the present notes are worth; the attention it shows is that, or anything."""

    def __init__(self, true: bool) -> None:
        super().__init__()
        self.true = true

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        shape = batch.inputs["series"].shape[0], 2, 1
        if "notes" not in batch.inputs:
            return Output(Prediction(torch.zeros(shape)), {}, {})
        values, mask = batch.inputs["notes"], batch.inputs["notes_mask"]
        added = torch.where(mask, worth(values), 0.0)
        shown = added if self.true else torch.where(mask, (1e4 * values[..., 0]).sin() + 1.1, 0.0)
        weights = shown / shown.sum(dim=1, keepdim=True).clamp(min=1e-9)
        found = Map(weights[:, None, None], ("row", "head", "series token", "notes token"), (("notes", 5),))
        gate = Map(mask.any(dim=1)[:, None, None] * 0.25, ("row", "series token", "feature"))
        maps = {"attention": found, "gate": gate} if explain else {}
        return Output(Prediction(added.sum(dim=1)[:, None, None].expand(shape)), {}, maps)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def _explained(data: Any, model: nn.Module, folder: Path, size: int = 150) -> dict[str, Any]:
    folder.mkdir()
    return explained(Lens(model, data, "test", "cpu"), ForecastTask(), "sum", size, 0, folder)


# --- maps


@pytest.mark.parametrize("fusion", ["cross_attention", "latent_gate", "add"])
def test_maps_on_disk_are_those_of_the_model(runs: Any, fusion: str, tmp_path: Path, monkeypatch: Any) -> None:
    run = runs(fusion)
    result = explain(run, "test", tmp_path / "whole")
    assert list(result) == KEYS
    assert result == json.loads((tmp_path / "whole" / "explain.json").read_text())
    size = sum(4 * np.prod(about["shape"][1:]) for about in result["maps"].values())
    monkeypatch.setattr(maps_on_disk, "MOST_BYTES", 17 * max(size, 1))
    parts = explain(run, "test", tmp_path / "parts")
    tensors, records = read_folder(tmp_path / "parts")
    windows = len(run.data.rows("test"))
    index = records["index"]
    assert (index["split"], index["windows"], index["maps"]) == ("test", windows, result["maps"])
    assert len(index["chunks"]) == -(-windows // 17)
    assert [c["first"] for c in index["chunks"]] == list(np.cumsum([0, *(c["count"] for c in index["chunks"][:-1])]))
    chunks = [tensors[c["file"].removesuffix(".safetensors")] for c in index["chunks"]]
    assert torch.cat([chunk["row"] for chunk in chunks]).tolist() == list(range(windows))
    batch = run.data.batch("test", run.data.rows("test"))
    with torch.no_grad():
        output = run.model(batch, explain=True)
    assert set(output.maps) == set(result["maps"]) == set(chunks[0]) - {"row"}
    for name, found in output.maps.items():
        torch.testing.assert_close(torch.cat([chunk[name] for chunk in chunks]), found.values, atol=1e-6, rtol=0)
        assert result["maps"][name]["shape"] == list(found.values.shape)
        assert (result["maps"][name]["axes"], result["maps"][name]["keys"]) == (
            list(found.axes), [list(key) for key in found.keys]
        )  # fmt: skip
    _nearly(parts, result)
    assert all(check["holds"] and check["rows"] == windows for check in result["checks"])
    assert {check["map"] for check in result["checks"]} == set(output.maps)
    assert result["agreement"]["holds"]


def _nearly(one: Any, other: Any, at: str = "") -> None:
    """Plain data that differ by rounding alone: movements are differences of forecasts, and differ the most."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"largest", "text"}:
            _nearly(one[key], other[key], f"{at}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other)
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            _nearly(a, b, f"{at}[{number}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=0.02, abs=1e-5), at
    else:
        assert one == other, at


def test_memory_does_not_grow_with_the_split(notebook: Notebook, tmp_path: Path) -> None:
    _explained(notebook, Adder(True), tmp_path / "e", 90)
    counts = [len(load_file(path)["row"]) for path in sorted((tmp_path / "e").glob("maps-*"))]
    assert counts == [90, 90, 90, 90, 40]


# --- checks


def _inputs() -> dict[str, Tensor]:
    mask = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    return {"notes": torch.zeros(3, 3, 1), "notes_mask": mask, "series_mask": torch.ones(3, 4, 2, dtype=torch.bool)}


def _attention() -> Map:
    """Weights that hold: (3 rows, 2 heads, 2 queries, null and 3 notes)."""
    mask = torch.cat([_inputs()["notes_mask"].any(dim=1, keepdim=True), _inputs()["notes_mask"]], dim=1)
    weights = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    values = weights[:, None, None].expand(-1, 2, 2, -1).clone()
    return Map(values, ("row", "head", "series token", "null + notes token"), (("null", 1), ("notes", 3)))


def _faults(**maps: Map) -> dict[str, float]:
    schema = Schema("series", {"series": 2, "notes": 1}, ("a", "b"), 4, 2)
    return {what: largest for _, what, largest in faults(maps, _inputs(), schema)}


def test_maps_that_hold_have_no_fault() -> None:
    gate = Map(torch.rand(3, 2, 5), ("row", "series token", "feature"))
    found = _faults(attention=_attention(), gate=gate)
    assert found.keys() == {SUMS, ABSENT, GATES}
    assert found[SUMS] < 1e-6
    assert found[ABSENT] == found[GATES] == 0


@pytest.mark.parametrize(
    ("place", "value", "what", "largest"),
    [
        ((0, 1, 1, 1), 0.5, SUMS, 1 / 6),
        ((2, 0, 0, slice(None)), 0.0, SUMS, 1.0),
        ((1, 0, 1, 0), 0.5, SUMS, 0.5),
        ((0, 0, 0, 3), 1e-20, ABSENT, 1e-20),
        ((1, 1, 1, 2), 1.0, ABSENT, 1.0),
        ((2, 1, 0, 3), float("nan"), SUMS, float("inf")),
    ],
)
def test_a_tampered_weight_is_seen(place: Any, value: float, what: str, largest: float) -> None:
    found = _attention()
    found.values[place] = value
    assert _faults(attention=found)[what] == pytest.approx(largest)


def test_a_row_without_any_key_may_be_nothing_or_all_on_null() -> None:
    found = _attention()
    found.values[1, :, :, 0] = 1.0
    assert _faults(attention=found)[SUMS] < 1e-6


def test_gates_outside_and_keys_without_names_are_seen() -> None:
    gates = torch.tensor([0.5, 1.25, -0.5])[:, None, None]
    assert _faults(gate=Map(gates, ("row", "series token", "feature"))) == {GATES: 0.5}
    found = _attention()
    assert _faults(attention=found._replace(keys=(("null", 1), ("notes", 2))))[NAMED] == 1
    assert _faults(attention=found._replace(keys=(("notes", 4),)))[NAMED] == 1


class Tampered(nn.Module):
    """A model that shows other weights than it used, and says something else when it is asked to show them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        output: Output = self.model(batch, explain=explain)
        if not explain:
            return output
        maps = {name: each._replace(values=each.values * 1.01) for name, each in output.maps.items()}
        return output._replace(maps=maps, prediction=Prediction(output.prediction.point + 1e-3))


def test_a_failed_check_is_an_error_after_everything_is_written(runs: Any, tmp_path: Path) -> None:
    run = runs("cross_attention")
    words = "attention: the weights of each query sum to 1.*; the forecast with maps is that of the fast path"
    with pytest.raises(NumericsError, match=f"2 checks do not hold: {words}"):
        explain(replace(run, model=Tampered(run.model)), "test", tmp_path / "test")
    _, records = read_folder(tmp_path / "test")
    found = {check["what"]: check for check in records["explain"]["checks"]}
    assert not found[SUMS]["holds"]
    assert found[SUMS]["largest"] == pytest.approx(0.01, rel=1e-3)
    assert found[ABSENT]["holds"]
    assert records["explain"]["agreement"]["largest"] == pytest.approx(1e-3, rel=0.01)
    assert not records["explain"]["agreement"]["holds"]


# --- faithfulness


def test_attention_that_is_the_contribution_is_faithful(notebook: Notebook, tmp_path: Path) -> None:
    found = _explained(notebook, Adder(True), tmp_path / "true")["faithfulness"]
    several = notebook.mask.sum(dim=1) >= 2
    kept = torch.where(notebook.mask, worth(notebook.values), torch.nan)[several].numpy()
    assert found["windows"] == int(several.sum())
    assert found["most"] == pytest.approx(float(np.nanmax(kept, axis=1).mean()), rel=1e-5)
    assert found["least"] == pytest.approx(float(np.nanmin(kept, axis=1).mean()), rel=1e-4)
    assert found["most"] > found["random"] > found["least"]
    assert found["faithful"] is True
    assert found["stream"] == "notes"
    assert found["text"].startswith("the attention is faithful: ")
    for name in ("most_against_random", "most_against_least", "random_against_least"):
        one, two = name.split("_against_")
        assert found[name]["value"] == pytest.approx(found[one] / found[two] - 1)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_attention_that_is_anything_is_not_faithful(notebook: Notebook, tmp_path: Path) -> None:
    found = _explained(notebook, Adder(False), tmp_path / "any")["faithfulness"]
    assert found["faithful"] is False
    assert found["most_against_random"]["low"] < 0
    assert "not shown to be faithful" in found["text"]


def test_few_windows_have_no_interval(tmp_path: Path) -> None:
    result = _explained(Notebook(windows=15), Adder(True), tmp_path / "few")
    assert result["faithfulness"]["faithful"] is None
    assert "not enough data" in result["faithfulness"]["text"]
    assert result["faithfulness"]["most_against_random"]["low"] is None
    (found,) = result["contributions"]
    assert found["drop"]["value"] > 0
    assert found["drop"]["low"] is found["permute"]["high"] is found["gate"]["low"] is None
    assert "not enough data" in found["text"]


def test_what_no_fusion_moves_has_no_relative_change(notebook: Notebook, tmp_path: Path) -> None:
    class Deaf(Adder):
        def forward(self, batch: Batch, explain: bool = False) -> Output:
            output = super().forward(batch, explain)
            return output._replace(prediction=Prediction(torch.zeros_like(output.prediction.point)))

    result = _explained(notebook, Deaf(True), tmp_path / "deaf")
    found = result["faithfulness"]
    assert found["most"] == 0
    assert found["most_against_random"] == {"value": None, "low": None, "high": None}
    assert found["faithful"] is None
    assert result["contributions"][0]["drop"]["value"] == 0
    json.dumps(result, allow_nan=False)


def test_a_fusion_without_attention_says_so(runs: Any, tmp_path: Path) -> None:
    result = explain(runs("add"), "val", tmp_path / "add")
    assert result["faithfulness"] is None
    assert result["no_faithfulness"] == "the fusion add has no attention on tokens of a context"
    assert (result["maps"], result["checks"], result["samples"]) == ({}, [], [])
    assert result["contributions"][0]["gate"] is None
    assert all(point["gate"] is point["attention"] is None for point in result["over_time"])


def test_the_three_tokens_are_chosen_among_those_present() -> None:
    score = torch.tensor([[0.9, 0.1, 0.5, 0.4], [0.3, 0.3, 0.3, 0.3], [0.2, 0.9, 0.0, 0.1]])
    present = torch.tensor([[False, True, True, True], [True, True, False, True], [True, False, False, True]])
    for drawn, random in ((0.0, [1, 1, 3]), (0.6, [3, 3, 3]), (1.0, [3, 3, 3])):
        found = picked(score, present, torch.full((3,), drawn))
        assert found["most"].tolist() == [2, 0, 0]
        assert found["least"].tolist() == [1, 1, 3]
        assert found["random"].tolist() == random


def test_a_token_is_removed_with_its_whole_group() -> None:
    schema = Schema("series", {"series": 1, "notes": 1}, grouped={"notes": 2})
    mask = torch.tensor([[True, False, False, False, True, True]])
    batch = Batch({"notes_mask": mask, "series_mask": torch.ones(1, 3, 2, dtype=torch.bool)}, {}, {})
    assert present_tokens(batch.inputs, schema, "notes").tolist() == [[True, False, True]]  # type: ignore[union-attr]
    left = without_tokens(batch, schema, "notes", torch.tensor([[False, False, True]]))
    assert left.inputs["notes_mask"].tolist() == [[True, False, False, False, False, False]]
    assert batch.inputs["notes_mask"] is mask
    left = without_tokens(batch, schema, "series", torch.tensor([[True, False]]))
    assert left.inputs["series_mask"].tolist() == [[[False, True]] * 3]
    assert present_tokens(left.inputs, schema, "series").tolist() == [[False, True]]  # type: ignore[union-attr]


# --- what maps say


def test_weights_are_means_over_heads_present_queries_and_maps() -> None:
    schema = Schema("series", {"series": 2, "notes": 1})
    inputs = {**_inputs(), "series_mask": torch.tensor([[[True, False]], [[True, True]], [[False, False]]])}
    one, two = torch.rand(3, 2, 2, 4), torch.rand(3, 2, 5, 3)
    axes = ("row", "head", "series token", "null + notes token")
    maps = {
        "attention": Map(one, axes, (("null", 1), ("notes", 3))),
        "attention.latent": Map(two, ("row", "head", "latent token", "notes token"), (("notes", 3),)),
        "other": Map(one, axes, (("null", 1), ("notes", 3))),
    }
    found = token_weights(maps, inputs, schema, "notes")
    assert found is not None
    first = one[..., 1:].mean(dim=1)
    queries = torch.stack([first[0, 0], first[1].mean(dim=0), torch.zeros(3)])
    torch.testing.assert_close(found, (queries + two.mean(dim=(1, 2))) / 2)
    assert token_weights(maps, inputs, schema, "series") is None


def test_only_the_anchors_queries_count_where_there_are_some() -> None:
    schema = Schema("series", {"series": 2, "notes": 1})
    keys = (("cls", 1), ("notes", 3), ("series", 2))
    joint = Map(torch.zeros(3, 1, 6, 6), ("row", "head", "cls + notes + series token", ""), keys)
    expected = [[False] * 4 + [True, True]] * 3
    assert present_queries(joint, 2, _inputs(), schema).tolist() == expected
    own = Map(torch.zeros(3, 1, 5, 5), ("row", "head", "notes + shared token", ""), (("notes", 3), ("shared", 2)))
    assert present_queries(own, 2, _inputs(), schema)[0].tolist() == [True, True, False, True, True]


def test_gates_of_a_stream_are_told_apart() -> None:
    schema = Schema("series", {"series": 2, "notes": 1, "sound": 1})
    axes = ("row", "series token", "feature")
    maps = {name: Map(torch.full((3, 2, 5), value), axes) for name, value in (("gate.notes", 0.2), ("gate.sound", 0.4))}
    for stream, share in (("notes", 0.2), ("sound", 0.4), (None, 0.3)):
        found = gate_share(maps, _inputs(), schema, stream)
        assert found is not None
        torch.testing.assert_close(found, torch.full((3,), share))
    assert gate_share({"attention": _attention()}, _inputs(), schema) is None


def test_of_a_tree_the_gates_into_the_anchor_count() -> None:
    schema = Schema("series", {"series": 8, "notes": 8})
    tokens = {name: Tokens.full(torch.randn(3, count, 8)) for name, count in (("series", 2), ("notes", 3))}
    notes = Notes(explain=True)
    config_class("fusion", "hierarchical")(node={"kind": "latent_gate"}).build(schema)(tokens, notes)  # type: ignore[attr-defined]
    into = {"gate.series+notes.series": 0.9, "gate.series+notes.notes": 0.1}
    maps = {name: notes.maps[name]._replace(values=torch.full((3, 2, 8), value)) for name, value in into.items()}
    found = gate_share(maps, _inputs(), schema, "notes")
    assert found is not None
    torch.testing.assert_close(found, torch.full((3,), 0.9))


@pytest.mark.parametrize(
    "drop, permute, words",
    [
        ((0.1, 0.2), (0.1, 0.2), "leans on what it says"),
        ((-0.1, 0.2), (0.1, 0.2), "leans on what it says"),
        ((0.1, 0.2), (-0.1, 0.2), "leans on its presence, not on what it says"),
        ((-0.1, 0.2), (-0.1, 0.2), "not shown to lean"),
        ((-0.2, -0.1), (-0.1, 0.2), "errs less without it"),
        ((None, None), (0.1, 0.2), "not enough data"),
    ],
)
def test_a_model_leans_on_what_a_modality_says_or_on_its_presence(drop: Any, permute: Any, words: str) -> None:
    assert words in leaning(*({"value": 0.0, "low": low, "high": high} for low, high in (drop, permute)))


# --- contribution


def test_the_permutation_has_no_fixed_point_and_keeps_presence() -> None:
    for seed in range(20):
        has = np.random.default_rng(seed).random(53) < 0.6
        partner = partners(has, seed, "notes")
        assert (has[partner] == has).all()
        assert (partner[has] != np.flatnonzero(has)).all()
        assert (partner[~has] == np.flatnonzero(~has)).all()
        assert sorted(partner) == list(range(53))
    assert partners(np.array([False, True]), 0, "notes").tolist() == [0, 1]
    assert not np.array_equal(partners(np.ones(50, dtype=bool), 0, "a"), partners(np.ones(50, dtype=bool), 1, "a"))


def test_drop_and_permute_are_scores_of_the_changed_batches(notebook: Notebook, tmp_path: Path) -> None:
    model, task = Adder(True), ForecastTask()
    (found,) = _explained(notebook, model, tmp_path / "e")["contributions"]
    has = notebook.mask.any(dim=1).numpy()
    partner = partners(has, 0, "notes")

    def permuted(batch: Batch) -> Batch:
        theirs = notebook.batch("test", partner[batch.info["row"].numpy()]).inputs
        own = {"series": batch.inputs["series"], "series_mask": batch.inputs["series_mask"]}
        return batch._replace(inputs={**theirs, **own})

    def error(prepare: Any = None) -> float:
        scores = evaluate(model, task, notebook, "test", 77, PLAIN, prepare)  # type: ignore[arg-type]
        return float(scores["se"].sum())

    assert found["drop"]["value"] == pytest.approx(error(lambda b: b.without(["notes"])) / error() - 1, rel=1e-6)
    assert found["permute"]["value"] == pytest.approx(error(permuted) / error() - 1, rel=1e-6)
    assert found["drop"]["low"] > 0
    assert found["text"].startswith("notes: the model leans on what it says; mse changes by +")
    assert found["present"] == has.mean()
    assert found["gate"] == {"value": pytest.approx(0.25), "low": pytest.approx(0.25), "high": pytest.approx(0.25)}


def test_drop_of_a_run_is_its_score_without_the_modality(runs: Any, tmp_path: Path) -> None:
    run = runs("latent_gate")
    result = explain(run, "test", tmp_path / "test")
    task = run.config.task.build()
    errors = [
        task.metrics(evaluate(run.model, task, run.data, "test", 64, PLAIN, prepare))[task.metric]  # type: ignore[arg-type]
        for prepare in (lambda b: b.without(["text"]), None)
    ]
    (found,) = result["contributions"]
    assert found["drop"]["value"] == pytest.approx(errors[0] / errors[1] - 1, abs=1e-6)
    assert errors[1] == pytest.approx(run.metrics["metrics"]["test"]["mse"], rel=1e-6)
    assert 0 < found["gate"]["low"] <= found["gate"]["value"] <= found["gate"]["high"] < 1


# --- over time and samples


def test_over_time_is_a_point_a_window_evenly_spaced(notebook: Notebook, runs: Any, tmp_path: Path) -> None:
    large = Notebook(windows=1201)
    points = _explained(large, Adder(True), tmp_path / "large")["over_time"]
    assert len(points) == 400
    assert (points[0]["origin"], points[-1]["origin"]) == ("0", "1200")
    assert [point["gate"] for point in points[:2]] == [0.0, 0.25]  # every seventh window has no notes
    run = runs("latent_gate")
    points = explain(run, "test", tmp_path / "run")["over_time"]
    rows = run.data.rows("test")
    assert [p["origin"] for p in points] == [str(run.data.table.times[o]) for o in run.data.origins["test"]]
    with torch.no_grad():
        maps = run.model(run.data.batch("test", rows), explain=True).maps
    null = maps["attention"].values[..., 0].mean(dim=(1, 2))
    assert [p["attention"] for p in points] == pytest.approx((1 - null).tolist(), abs=1e-5)
    assert [p["gate"] for p in points] == pytest.approx(maps["gate"].values.mean(dim=(1, 2)).tolist(), abs=1e-5)


def test_queries_that_are_no_variates_are_one_row_on_the_page_too(runs: Any) -> None:
    run = runs("perceiver")
    heat = explain(run, "test", run.folder / "explain" / "test")["samples"][0]["heat"]
    assert heat["rows"] == ["all queries"]
    assert "null" not in heat["columns"]
    page = write_report(run.folder).read_text()
    assert "One row for all queries" in page
    assert "null is the share" not in page
    assert "the rest of each row is on other tokens" in page


@pytest.mark.parametrize("fusion", ["cross_attention", "latent_gate"])
def test_samples_show_each_piece_with_its_weight(runs: Any, fusion: str, tmp_path: Path) -> None:
    run = runs(fusion)
    data = run.data
    samples = explain(run, "test", tmp_path / fusion)["samples"]
    assert len(samples) == 6
    for sample in samples:
        origin = data.origins["test"][sample["row"]]
        assert sample["origin"] == str(data.table.times[origin])
        assert sample["variates"] == sample["heat"]["rows"] == ["demand"]
        seen = data.texts_at(origin)
        assert [item["date"] for item in sample["items"]] == [date for date, _ in seen]
        assert sample["heat"]["columns"] == ["null", *(item["place"] for item in sample["items"])]
        (heat,) = sample["heat"]["values"]
        sums = [sum(weight for _, weight in item["pieces"]) for item in sample["items"]]
        assert heat[1:] == pytest.approx(sums, abs=1e-6)
        assert sum(heat) == pytest.approx(1, abs=1e-5)
        for item, (_, text) in zip(sample["items"], seen, strict=True):
            words = "".join(piece for piece, _ in item["pieces"])
            assert all(piece.strip() in text for piece, _ in item["pieces"])
            assert words.startswith(text[:8])
            assert (len(item["pieces"]) > 3) == (fusion == "latent_gate")
    batch = data.batch("test", [samples[0]["row"]])
    with torch.no_grad():
        weights = run.model(batch, explain=True).maps["attention"].values.mean(dim=(0, 1, 2))[1:]
    shown = [weight for item in samples[0]["items"] for _, weight in item["pieces"]]
    assert shown == pytest.approx(weights[batch.inputs["text_mask"][0]].tolist(), abs=1e-6)


def test_groups_that_a_model_pools_are_one_piece(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", ("accept", "always"), ("data.text.pool", "attention"), ("data.weeks", 420))
    sample = text_samples(Lens(run.model, run.data, "test", "cpu"), np.array([3]))[0]
    assert [len(item["pieces"]) for item in sample["items"]] == [2, 2]
    assert sum(w for item in sample["items"] for _, w in item["pieces"]) + sample["heat"]["values"][0][0] == (
        pytest.approx(1, abs=1e-5)
    )


TEXTS = [
    "Orders will rise sharply, by 3.5 percent.", "", " \n", "naïve \ud800 🙂🙂 x", "  two   spaces", "orders",
    "stocks of wheat fall again within the next fortnight while orders rise sharply " * 3,
]  # fmt: skip
EMBEDDERS: dict[str, Callable[[Path], Any]] = {
    "wordllama": lambda folder: WordLlama(),
    "minilm": lambda folder: MiniLmConfig().build(),
    "bert": lambda folder: PretrainedConfig(path=str(tiny_bert(folder).folder)).build(),
    "gpt2": lambda folder: PretrainedConfig(path=str(tiny_gpt2(folder).folder)).build(),
    "llama": lambda folder: PretrainedConfig(path=str(tiny_llama(folder).folder)).build(),
    "tfidf": lambda folder: Tfidf(9, 1),
}


@pytest.mark.parametrize("name", EMBEDDERS)
@pytest.mark.parametrize("cut", [4, 13])
def test_an_embedder_has_a_piece_for_each_present_state(name: str, cut: int, tmp_path: Path) -> None:
    embedder = EMBEDDERS[name](tmp_path)
    if embedder.fits:
        embedder.fit(TEXTS[-2:])
    mask = embedder.encode(TEXTS, cut)[1]
    pieces = embedder.pieces(TEXTS, cut)
    assert [len(found) for found in pieces] == mask.sum(axis=1).tolist()
    assert all(piece for found in pieces for piece in found)
    own = "".join(piece for piece in pieces[-1] if not piece.startswith(("[", "<")))
    assert TEXTS[-1].startswith(own.removesuffix(" "))
    assert own


# --- what can't be explained


def test_a_modality_that_was_not_accepted_is_explained_raw(rejected: Run, tmp_path: Path) -> None:
    assert rejected.metrics["accepted"] is False
    with pytest.raises(ConfigError, match=r"text was not accepted.*nothing to explain.*add --raw") as caught:
        explain(rejected, "test", tmp_path / "test")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "test").exists()
    raw = load_run(rejected.folder, raw=True)
    assert raw.config.model.fusion.kind == "latent_gate"
    assert raw.evaluate("test")["mse"] == pytest.approx(rejected.metrics["raw"]["test"]["mse"], rel=1e-6)
    result = explain(raw, "test", tmp_path / "raw")
    assert (result["raw"], result["accepted"], result["fusion"]) == (True, False, "latent_gate")
    (rejected.folder / "raw").rename(tmp_path / "hidden")
    try:
        with pytest.raises(FileError, match=r"holds no raw/.*older version"):
            load_run(rejected.folder, raw=True)
    finally:
        (tmp_path / "hidden").rename(rejected.folder / "raw")


def test_raw_of_an_accepted_run_is_its_kept_model(runs: Any) -> None:
    run = runs("cross_attention")
    assert not (run.folder / "raw").exists()
    raw = load_run(run.folder, raw=True)
    assert (raw.raw, run.raw) == (True, False)
    own, other = run.model.state_dict(), raw.model.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_a_model_of_one_stream_says_so(rejected: Run, tmp_path: Path) -> None:
    run = replace(rejected)
    run.__dict__["metrics"] = {**rejected.metrics, "accepted": None}  # as of a training of the series alone
    with pytest.raises(ConfigError, match="the model is of series alone: there is no other modality"):
        explain(run, "test", tmp_path / "test")


# --- whole or not at all


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "explain" / "test"
    with pytest.raises(KeyError), whole_folder(target) as aside:
        (aside / "half.json").write_text("{}")
        raise KeyError
    assert list((tmp_path / "explain").iterdir()) == []
    for content in ("[1]", "[2]"):
        stale = target.with_name(".test.0.part")
        stale.mkdir()
        (stale / "left by a killed one.json").write_text("")
        with whole_folder(target) as aside:
            (aside / "a.json").write_text(content)
        assert [path.name for path in (tmp_path / "explain").iterdir()] == ["test"]
        assert read_folder(target)[1] == {"a": json.loads(content)}
    running = target.with_name(f".test.{os.getppid()}.part")
    running.mkdir()
    with pytest.raises(KeyError), whole_folder(target):
        raise KeyError
    assert running.is_dir(), "another process writes there now"
    assert read_folder(target)[1] == {"a": [2]}
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="can't be written"), whole_folder(tmp_path / "file" / "test"):
        pass


def test_an_orderly_end_leaves_what_was_there(runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "explain" / "test"
    explain(runs("add"), "test", target)
    before = (target / "explain.json").read_bytes()
    monkeypatch.setattr(signals, "_asked", [True])
    with pytest.raises(Terminated):
        explain(runs("add"), "test", target)
    assert [path.name for path in target.parent.iterdir()] == ["test"]
    assert (target / "explain.json").read_bytes() == before
