"""An explanation of samples: maps of ragged ASVs, taxa beside columns, and what the model says of other values."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import plait
from data.sample_study import Study, config_of, data_of
from plait.core.errors import NumericsError
from plait.core.kinds import kinds
from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Output, Prediction
from plait.data.samples import SampleData
from plait.evaluation.explain.board import heat_image, write_board
from plait.evaluation.explain.checks import ABSENT, faults
from plait.evaluation.explain.counterfactuals import changed, settings
from plait.evaluation.explain.look import Lens, Look, padded
from plait.evaluation.explain.run import explained, refuse_failed
from plait.evaluation.explain.taxa import NAMELESS, Taxa, column_weights, family, label, pool_weights
from plait.models.aam import Aam, AamConfig
from plait.objectives.transforms import TargetTransform
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.tasks.classification import ClassificationTaskConfig
from plait.tasks.regression import RegressionTaskConfig
from typed_command import Command, typed

SMALL: dict[str, Any] = {
    "asv": {"kind": "asv", "dim": 8}, "metadata": {"kind": "metadata", "dim": 8},
    "pool": {"heads": 2, "key": 3, "value": 4}, "composition": {"kind": "composition", "dim": 8},
}  # fmt: skip
DISTRIBUTION, NUMBER = {"kind": "distribution", "hidden": 8}, {"kind": "regression", "hidden": 0}
FUSIONS = sorted(name for name in kinds("fusion") if not name.startswith("_"))


def aam(data: SampleData, **fields: Any) -> Aam:
    """A small model of these data whose parameters are all away from their start."""
    torch.manual_seed(0)
    model = AamConfig.model_validate({**SMALL, "head": DISTRIBUTION, **fields}).build(data.schema)
    model.start(data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def explain_split(model: nn.Module, data: Any, task: Any, folder: Path, size: int = 7) -> dict[str, Any]:
    folder.mkdir()
    result = explained(Lens(model, data, "train", "cpu"), task, "the kind", size, 0, folder)
    json.dumps(result, allow_nan=False)
    return result


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    return data_of(tmp_path_factory.mktemp("study"))


# --- maps of ragged samples


@pytest.mark.parametrize("at", ["tokens", "pooled"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_every_fusion_is_explained_and_its_maps_hold(study: SampleData, kind: str, at: str, tmp_path: Path) -> None:
    nets = 3 if (kind, at) in (("cross_attention", "tokens"), ("gmu", "pooled")) else 1
    model = aam(study, fusion={"kind": kind}, fuse_at=at, nets=nets)
    result = explain_split(model, study, RegressionTaskConfig().build(study), tmp_path / "e", 10)
    refuse_failed(result, tmp_path)
    assert all(check["rows"] == len(study.rows("train")) for check in result["checks"])
    assert {check["map"] for check in result["checks"]} == set(result["maps"])
    assert {name.rpartition(".net")[2] for name in result["maps"]} >= ({"0", "2"} if nets == 3 else set())
    assert (result["over_time"], result["samples"], result["row_name"]) == ([], [], "samples")
    chunks = [load_file(path) for path in sorted((tmp_path / "e").glob("maps-*"))]
    assert len(chunks) == 2
    for name, about in result["maps"].items():
        whole = torch.cat([chunk[name] for chunk in chunks])
        assert list(whole.shape) == about["shape"]
        assert about["shape"][0] == len(study.rows("train"))


def test_maps_on_disk_are_those_of_each_batch_and_0_beyond(study: SampleData, tmp_path: Path) -> None:
    model = aam(study, fusion={"kind": "cross_attention"})
    explain_split(model, study, RegressionTaskConfig().build(study), tmp_path / "e")
    widths = set()
    for chunk in json.loads((tmp_path / "e" / "index.json").read_text())["chunks"]:
        rows = np.arange(chunk["first"], chunk["first"] + chunk["count"])
        batch = study.batch("train", rows)
        with torch.no_grad():
            maps = model(batch, explain=True).maps
        found, places = load_file(tmp_path / "e" / chunk["file"]), batch.inputs["asv"].shape[1]
        widths.add(places)
        ids = torch.where(batch.inputs["asv_mask"], batch.inputs["asv"], -1)
        assert torch.equal(found["asv"][:, :places], ids)
        assert (found["asv"][:, places:] == -1).all()
        pool, there = found["attention.pool"], batch.inputs["asv_mask"][:, None, :, None]
        torch.testing.assert_close(pool[..., :places], maps["attention.pool"].values, atol=1e-6, rtol=0)
        assert not pool[..., places:].any()
        own = torch.where(there, found["attention"][:, :, :places], 0.0)
        torch.testing.assert_close(own, torch.where(there, maps["attention"].values, 0.0), atol=1e-6, rtol=0)
    # The batches differ in width: without the padding their maps could not be joined.
    assert len(widths) > 1


def test_nothing_depends_on_the_batches(study: SampleData, tmp_path: Path) -> None:
    model, task = aam(study, fusion={"kind": "latent_gate"}), RegressionTaskConfig().build(study)
    one, other = (explain_split(model, study, task, tmp_path / str(size), size) for size in (3, 19))
    for key in ("taxa", "counterfactuals", "contributions", "faithfulness"):
        _close(one[key], other[key])
    assert [m["shape"] for m in one["maps"].values()] == [m["shape"] for m in other["maps"].values()]


def _close(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"text"}:
            _close(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _close(a, b)
    else:
        assert one == (pytest.approx(other, rel=2e-3, abs=1e-5) if isinstance(one, float) else other)


def test_padding_is_absent_and_behind() -> None:
    inputs = {
        "asv": torch.tensor([[3, 7]]), "asv_mask": torch.ones(1, 2, dtype=torch.bool),
        "asv_counts": torch.tensor([[2.0, 5.0]]), "metadata": torch.tensor([[1, 0, 2]]),
        "metadata_mask": torch.ones(1, 3, dtype=torch.bool),
    }  # fmt: skip
    batch = Batch(inputs, {}, {})
    wide = padded(batch, "asv", 5).inputs
    assert wide["asv"].tolist() == [[3, 7, 0, 0, 0]]
    assert wide["asv_mask"].tolist() == [[True, True, False, False, False]]
    assert wide["asv_counts"].tolist() == [[2, 5, 0, 0, 0]]
    assert wide["metadata"] is inputs["metadata"]
    assert padded(batch, "asv", 0) is padded(batch, "asv", 2) is batch


@pytest.mark.parametrize(("places", "axis"), [(3, "asv token"), (1, "asv token")])
def test_a_weight_on_an_absent_asv_is_seen(places: int, axis: str) -> None:
    schema = Schema("asv", {"asv": 1, "metadata": 1}, features=9, columns={"site": 2})
    inputs = {"asv_mask": torch.tensor([[True, False, True], [False] * 3]), "metadata_mask": torch.ones(2, 1).bool()}
    values = torch.zeros(2, 1, 1, places)
    values[0] = torch.tensor([0.5, 0.0, 0.5]) if places == 3 else 1.0
    whole = Map(values, ("row", "head", "pooled token", axis), (("asv", places),))
    assert {what: fault for _, what, fault in faults({"attention.pool": whole}, inputs, schema)}[ABSENT] == 0
    values[1, ..., 0] = 0.25
    assert {what: fault for _, what, fault in faults({"attention.pool": whole}, inputs, schema)}[ABSENT] == 0.25


class Tampered(nn.Module):
    """A model whose pool shows weight on places where no ASV is."""

    def __init__(self, model: Aam) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        output: Output = self.model(batch, explain=explain)
        for name, each in output.maps.items():
            if "pool" in name:
                output.maps[name] = each._replace(values=each.values.flip(-1))
        return output


def test_a_pool_that_weighs_padding_fails(study: SampleData, tmp_path: Path) -> None:
    model = Tampered(aam(study, fusion={"kind": "add"}))
    result = explain_split(model, study, RegressionTaskConfig().build(study), tmp_path / "e")
    with pytest.raises(NumericsError, match=r"1 check does not hold: attention\.pool: absent tokens weigh exactly 0"):
        refuse_failed(result, tmp_path)


def test_samples_are_called_samples(study: SampleData, tmp_path: Path) -> None:
    result = explain_split(
        aam(study, fusion={"kind": "cross_attention"}), study, RegressionTaskConfig().build(study), tmp_path / "e"
    )
    said = json.dumps([result["faithfulness"]["text"], *(each["text"] for each in result["contributions"])])
    assert "the prediction moves by" in said
    assert "with that of another sample" in said
    assert "window" not in said
    assert "forecast" not in said


# --- taxa

COLUMNS = {"site": 3, "ph": 0}
TAXA = (
    "k__Bacteria; p__P; c__C; o__O; f__Blue; g__Genus; s__",
    "k__Bacteria; p__P; c__C; o__O; f__Blue; g__Genus; s__species",
    "k__Bacteria; p__P; c__C; o__O; f__; g__; s__",
    "k__Bacteria; p__P; c__C; o__O; f__Red; g__; s__",
)


class ByHand:
    """Seven samples of four ASVs, 9 places each, and the maps that a test sets."""

    def __init__(self) -> None:
        self.schema = Schema("asv", {"asv": 2, "metadata": 2}, features=4, columns=COLUMNS)
        self.features, self.taxa = ("v0", "v1", "v2", "v3"), TAXA
        have = [[0, 1, 2], [0, 1], [0, 1, 3], [0, 1], [1, 0], [0, 3], [1]]
        self.ids = torch.zeros(7, 3, dtype=torch.int64)
        self.mask = torch.zeros(7, 3, dtype=torch.bool)
        for row, asvs in enumerate(have):
            self.ids[row, : len(asvs)], self.mask[row, : len(asvs)] = torch.tensor(asvs), True
        # Nothing is known of the metadata of the last sample but one.
        self.known = torch.ones(7, 2, dtype=torch.bool)
        self.known[5] = False
        generator = torch.Generator().manual_seed(1)
        self.weights = [torch.rand(7, 2, 3, 3, generator=generator) for _ in range(2)]
        self.pool = [torch.rand(7, 4, 1, 3, generator=generator) for _ in range(2)]

    def maps(self) -> dict[str, Map]:
        axes, keys = ("row", "head", "asv token", "null + metadata token"), (("null", 1), ("metadata", 2))
        pooled = ("row", "head", "pooled token", "asv token")
        found = {f"attention.net{n}": Map(each, axes, keys) for n, each in enumerate(self.weights)}
        return found | {f"attention.pool.net{n}": Map(each, pooled, (("asv", 3),)) for n, each in enumerate(self.pool)}

    def look(self, rows: list[int], maps: dict[str, Map]) -> Look:
        inputs = {"asv": self.ids[rows], "asv_mask": self.mask[rows], "metadata_mask": self.known[rows]}
        some = {name: each._replace(values=each.values[rows]) for name, each in maps.items()}
        output = Output(Prediction(torch.zeros(len(rows), 1)), {}, some)
        return Look(np.array(rows), Batch(inputs, {}, {}), output, output)

    def each(self, values: Tensor, asv: int, metadata: bool) -> np.ndarray[Any, Any]:
        """The values (7, 3, ...) of an ASV in every sample that has it."""
        found = [
            values[row, place].numpy() for row in range(7) for place in range(3)
            if self.mask[row, place] and self.ids[row, place] == asv and (self.known[row].any() or not metadata)
        ]  # fmt: skip
        return np.array(found)


@pytest.fixture
def by_hand() -> ByHand:
    return ByHand()


def _result(by_hand: ByHand, maps: dict[str, Map]) -> dict[str, Any]:
    taxa = Taxa(Lens(None, by_hand, "test", "cpu"))
    for rows in ([0, 1, 2], [3, 4, 5, 6]):
        taxa.add(by_hand.look(rows, maps))
    return taxa.result()


def test_taxa_are_means_over_the_samples_that_have_them(by_hand: ByHand) -> None:
    result = _result(by_hand, by_hand.maps())
    mean = torch.stack(by_hand.weights).mean(dim=(0, 2))
    expected = {asv: by_hand.each(mean, asv, True).mean(axis=0) for asv in (0, 1)}
    # v2 and v3 are in fewer than 5 samples; v0 is in 6, of one of which no column is known.
    order = sorted((0, 1), key=lambda asv: -expected[asv][1:].sum())
    assert [row["id"] for row in result["attention"]] == [f"v{asv}" for asv in order]
    for row, asv in zip(result["attention"], order, strict=True):
        assert row["samples"] == {0: 5, 1: 6}[asv]
        assert row["null"] == pytest.approx(float(expected[asv][0]))
        assert row["weights"] == pytest.approx(expected[asv][1:].tolist())
        assert row["taxon"] == TAXA[asv]
    assert (result["columns"], result["known"], result["least"]) == (["site", "ph"], 2, 5)
    every = np.concatenate([by_hand.each(mean, asv, True) for asv in range(4)])
    assert [result["mean"]["null"], *result["mean"]["weights"]] == pytest.approx(every.mean(axis=0).tolist())


def test_families_are_means_over_every_asv_in_every_sample(by_hand: ByHand) -> None:
    (row,) = _result(by_hand, by_hand.maps())["families"]
    mean = torch.stack(by_hand.weights).mean(dim=(0, 2))
    blue = np.concatenate([by_hand.each(mean, asv, True) for asv in (0, 1)])
    assert (row["family"], row["asvs"], row["samples"]) == ("Blue", 2, 6)
    assert row["weights"] == pytest.approx(blue.mean(axis=0)[1:].tolist())
    assert row["null"] == pytest.approx(float(blue.mean(axis=0)[0]))


def test_the_pool_is_told_beside_an_even_share(by_hand: ByHand) -> None:
    pool = {row["id"]: row for row in _result(by_hand, by_hand.maps())["pool"]}
    mean = torch.stack(by_hand.pool).mean(dim=(0, 2, 3))
    even = (1 / by_hand.mask.sum(dim=1, keepdim=True)).expand(7, 3)
    assert list(pool) == sorted(pool, key=lambda name: -pool[name]["weight"])
    for asv in (0, 1):
        assert pool[f"v{asv}"]["samples"] == 6
        assert pool[f"v{asv}"]["weight"] == pytest.approx(float(by_hand.each(mean, asv, False).mean()))
        assert pool[f"v{asv}"]["even"] == pytest.approx(float(by_hand.each(even, asv, False).mean()))


def test_maps_without_columns_or_of_other_tokens_say_nothing_of_taxa(by_hand: ByHand) -> None:
    fused = Map(torch.rand(7, 1, 1, 4), ("row", "head", "pooled token", "fused token"), (("fused", 4),))
    one = Map(torch.rand(7, 1, 1, 3), ("row", "head", "asv token", ""), (("null", 1), ("metadata", 2)))
    result = _result(by_hand, {"attention.pool": fused, "attention": one})
    assert (result["attention"], result["families"], result["pool"], result["mean"]) == ([], [], [], None)


def test_queries_among_others_are_found_by_their_place(by_hand: ByHand) -> None:
    joint = Map(torch.rand(7, 2, 6, 6), ("row", "head", "cls + asv + metadata token", ""),
                (("cls", 1), ("asv", 3), ("metadata", 2)))  # fmt: skip
    inputs = by_hand.look(list(range(7)), {}).batch.inputs
    found = column_weights({"attention.block0": joint}, inputs, by_hand.schema)
    assert found is not None
    assert found.null is None
    torch.testing.assert_close(found.columns, joint.values[:, :, 1:4, 4:].mean(dim=1))
    assert pool_weights({"attention.block0": joint}, inputs, by_hand.schema) is None


def test_names_of_taxa() -> None:
    assert label(TAXA[0], "v0") == "Genus v0"
    assert label(TAXA[1], "v1") == "Genus species v1"
    assert label("k__B; p__P; c__C; o__O; f__F; g__Genus; s__Genus species", "x") == "Genus species x"
    assert label(TAXA[2], "v2") == "o__O v2"
    assert label(TAXA[3], "0123456789abcdef") == "f__Red 0123456789a…"
    assert label("v9", "v9") == "v9"
    assert label("D_0__Bacteria;D_1__P;D_2__C;D_3__O;D_4__Fam", "x") == "f__Fam x"
    assert label("Bacteria;P;C;O;Fam;Genus", "x") == "Genus x"
    names = [family(taxon) for taxon in (*TAXA, "D_0__B;D_1__P;D_2__C;D_3__O;D_4__Fam", "B;P;C;O;Fam;G", "v9", "")]
    assert names == ["Blue", "Blue", NAMELESS, "Red", "Fam", "Fam", NAMELESS, NAMELESS]


# --- counterfactuals


class Known(nn.Module):
    """Answer = a number of the sample, scaled and shifted by its site, and 3 times its ph."""

    scale, shift, unknown = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, 4.0, 1.0]), 0.25

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        own = batch.inputs["asv_counts"].sum(dim=1)
        point = own
        if "metadata" in batch.inputs:
            codes, numbers, mask = (batch.inputs[f"metadata{part}"] for part in ("", "_numbers", "_mask"))
            by = torch.where(mask[:, 0], self.scale[codes[:, 0]], self.unknown)
            point = own * by + torch.where(mask[:, 0], self.shift[codes[:, 0]], 0.0) + 3 * numbers[:, 2]
        return Output(Prediction(point[:, None], {"points": point[:, None, None]}), {}, {})


def _asked(data: SampleData, model: nn.Module, folder: Path, task: Any = None) -> list[dict[str, Any]]:
    task = task or RegressionTaskConfig(loss="mae").build(data)
    found: list[dict[str, Any]] = explain_split(model, data, task, folder)["counterfactuals"]
    return found


@pytest.mark.parametrize("transform", ["none", "zscore"])
def test_a_counterfactual_is_its_closed_form(transform: str, tmp_path: Path) -> None:
    study = Study().with_cell("b03", "site", "")
    data = data_of(tmp_path / "s", study, transform=transform, splits=[0.84, 0.08, 0.08], group_by=None)
    found = _asked(data, Known(), tmp_path / "e")
    batch = data.batch("train", data.rows("train"))
    codes, mask = batch.inputs["metadata"][:, 0], batch.inputs["metadata_mask"]
    own, unit = batch.inputs["asv_counts"].sum(dim=1), 1.0
    if transform == "zscore":
        assert data.fitted.transform is not None
        unit = float(np.diff(data.fitted.transform.inverse(np.array([0.0, 1.0]))).item())
    before = torch.where(mask[:, 0], own * Known.scale[codes] + Known.shift[codes], own * Known.unknown)
    names = [(each["column"], each["value"]) for each in found]
    assert names == [("site", "gut"), ("site", "mouth"), ("site", "skin"), ("sex", "female"), ("sex", "male"),
                     ("ph", "+1 sd"), ("ph", "-1 sd")]  # fmt: skip
    for code, each in enumerate(found[:3]):
        expected = unit * (own * Known.scale[code] + Known.shift[code] - before)
        assert each["change"]["value"] == pytest.approx(float(expected.mean()), rel=1e-5)
        assert each["change"]["low"] < each["change"]["value"] < each["change"]["high"]
        assert each["samples_that_have_it"] == int((mask[:, 0] & (codes == code)).sum())
        assert (each["unit"], each["class"], each["step"]) == ("age", None, None)
    assert sum(each["samples_that_have_it"] for each in found[:3]) < len(own)
    for each, sign in zip(found[5:], (1, -1), strict=True):
        # Where the number is not known it is not moved, and the sample not counted.
        assert each["change"]["value"] == pytest.approx(sign * 3 * unit, rel=1e-4)
        assert each["samples_that_have_it"] == int(mask[:, 2].sum()) < len(own)
        assert each["step"] == data.fitted.numbers["ph"][1]
    assert found[3]["change"]["value"] == 0


def test_output_scaling_of_a_model_is_its_closed_form(study: SampleData, tmp_path: Path) -> None:
    model = aam(study, fusion={"kind": "none"}, output_scaling=["site"], head=NUMBER)
    found = _asked(study, model, tmp_path / "e")
    scaling: Any = model.nets[0].scaling
    scale, shift = scaling.scale[0][:, 0], scaling.shift[0][:, 0]
    batch = study.batch("train", study.rows("train"))
    with torch.no_grad():
        now, codes = model(batch).prediction.point[:, 0], batch.inputs["metadata"][:, 0]
        bare = (now - shift[codes]) / scale[codes]
        for code in range(3):
            expected = float((bare * scale[code] + shift[code] - now).mean())
            assert found[code]["change"]["value"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert all(each["change"]["value"] == 0 for each in found[3:])


def test_a_target_scaled_by_the_column_is_scaled_back_by_the_value_it_is_set_to(tmp_path: Path) -> None:
    data = data_of(tmp_path / "s", transform="zscore-category", normalize_by=["site"])
    model = aam(data, fusion={"kind": "none"}, output_scaling=["sex"], head=NUMBER)
    found = _asked(data, model, tmp_path / "e")
    rows = data.rows("train")
    batch = data.batch("train", rows)
    with torch.no_grad():
        z = model(batch).prediction.point
    now = data.in_unit(z, batch.info["row"])
    transform = data.fitted.transform
    assert isinstance(transform, TargetTransform)
    for each in found[:3]:
        # The model does not read the site: all that changes is the unit.
        then = transform.inverse(z.double(), [(each["value"],)] * len(rows))
        assert each["change"]["value"] == pytest.approx(float((then - now).mean()), rel=1e-6)
        assert abs(each["change"]["value"]) > 1e-3


def test_classes_change_in_probability(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"target": "site", "classifier": True, "categories": "sex", "prevalence": 0.2}
    data = data_of(tmp_path / "s", **fields)
    model = aam(data, head={"kind": "classification", "hidden": 8}, fusion={"kind": "film"})
    found = _asked(data, model, tmp_path / "e", ClassificationTaskConfig().build(data))
    assert [each["class"] for each in found[:3]] == list(data.fitted.classes)
    assert {each["unit"] for each in found} == {"probability"}
    changes = np.array([each["change"]["value"] for each in found]).reshape(-1, 3)
    assert np.abs(changes.sum(axis=1)).max() < 1e-6
    assert np.abs(changes).min() > 0
    batch = data.batch("train", data.rows("train"))
    with torch.no_grad():
        before, after = (
            model(each).prediction.point.softmax(dim=-1)
            for each in (batch, changed(batch, settings(Lens(model, data, "train", "cpu"))[1]))
        )
    assert found[3]["value"] == "male"
    assert changes[1].tolist() == pytest.approx((after - before).mean(dim=0).tolist(), abs=1e-6)


def test_of_two_classes_one_is_told(tmp_path: Path) -> None:
    data = data_of(tmp_path / "s", target="sex", classifier=True, categories="site", prevalence=0.2)
    model = aam(data, head={"kind": "classification", "hidden": 8}, fusion={"kind": "film"})
    found = _asked(data, model, tmp_path / "e", ClassificationTaskConfig().build(data))
    assert {each["class"] for each in found} == {data.fitted.classes[1]}


def test_a_setting_leaves_the_batch_and_the_other_columns(study: SampleData) -> None:
    lens = Lens(None, study, "train", "cpu")
    batch = study.batch("train", study.rows("train"))
    for setting in settings(lens):
        before = {name: each.clone() for name, each in batch.inputs.items()}
        after = changed(batch, setting).inputs
        assert all(torch.equal(batch.inputs[name], each) for name, each in before.items())
        others = [place for place in range(3) if place != setting.place]
        for name in ("metadata", "metadata_numbers", "metadata_mask"):
            assert torch.equal(after[name][:, others], before[name][:, others])
        if setting.code is not None:
            assert (after["metadata"][:, setting.place] == setting.code).all()
            assert after["metadata_mask"][:, setting.place].all()


# --- a whole run

FIELDS: list[tuple[str, Any]] = [("train-epochs", 1), ("accept", "always"), ("device", "cpu")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose fusion has gates and attention on columns."""
    folder = tmp_path_factory.mktemp("runs")
    config = config_of(folder / "files", target="age", categories="site, sex", numbers="ph", prevalence=0.2)
    given = [(f"data.{name}", value) for name, value in config.model_dump(mode="json").items() if value is not None]
    (folder / "run").mkdir()
    fusion = [("model.fusion.kind", "latent_gate"), ("model.fuse_at", "tokens")]
    chosen = resolve(load_recipe("aam"), "tiny", [*given, *fusion, *FIELDS])
    data = config.build(config.read(), chosen.seed)
    # What the rivals say is no matter here, and forests take their time.
    scores = {split: dict.fromkeys(("ae", "se", "n"), np.ones(len(data.rows(split)))) for split in ("val", "test")}
    fit(chosen, folder / "run", rivals={"median": scores})
    return folder / "run"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with typed(monkeypatch, capsys) as typed_command:
        yield typed_command


@pytest.fixture(scope="module")
def said(run: Path) -> dict[str, Any]:
    """What the API says of its train split, the second time it is asked."""
    write_board(run / "tensorboard", "train", {}, SimpleNamespace(batches=[9.0], cells={}))  # type: ignore[arg-type]
    return plait.explain(run, "train")


def test_the_command_and_the_api_say_the_same(run: Path, said: dict[str, Any], command: Command) -> None:
    (run / "tensorboard").rename(run / "elsewhere")
    code, out, _ = command("explain", run, "--split", "train")
    # A run without a board gets none.
    assert not (run / "tensorboard").exists()
    (run / "elsewhere").rename(run / "tensorboard")
    assert code == 0
    assert "19 train samples, fusion latent_gate" in out
    assert "the prediction with maps is that of the fast path" in out
    assert "ASVs that look most at the metadata:" in out
    assert "this is what the model says, not an effect" in out
    assert "window" not in out
    assert json.loads((run / "explain" / "train" / "explain.json").read_text()) == said
    page = (run / "report.html").read_text()
    assert "Which taxa look at which column" in page
    assert "Training samples" in page


def test_the_board_has_heat_maps_and_a_gate_a_batch(run: Path, said: dict[str, Any]) -> None:
    # What was written before is replaced.
    (path,) = (run / "tensorboard").glob("*.explain-train")
    events = EventAccumulator(str(path), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"explain-train/taxa", "explain-train/families", "explain-train/gate"}
    (gate,) = events.Scalars("explain-train/gate")
    open_share = said["contributions"][0]["gate"]["value"]
    assert gate.step == 0
    assert gate.value == pytest.approx(open_share * said["contributions"][0]["present"], rel=1e-4)


def test_drawing_leaves_the_settings_of_matplotlib() -> None:
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    image = heat_image(np.array([[0.1, 0.3], [0.0, 0.2], [0.3, 0.1]]), ["a $x_$", "b", "c"], ["one", "two"], "title")
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == (before, backend)


def test_asvs_alone_have_a_pool_and_no_columns(study: SampleData, tmp_path: Path) -> None:
    data = replace_reads(tmp_path)
    model = aam(data, fusion={"kind": "none"})
    result = explain_split(model, data, RegressionTaskConfig().build(data), tmp_path / "e")
    assert (result["counterfactuals"], result["contributions"], result["taxa"]["columns"]) == ([], [], [])
    assert result["taxa"]["pool"]


def replace_reads(folder: Path) -> SampleData:
    """The data as a model of the ASVs alone reads them."""
    config = config_of(folder / "alone", categories=None, numbers=None)
    return config.build(config.read(), 3)
