"""Objectives without labels: each against a computation of its own, what they hide, and that no score is a batch's."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data.sample_study import data_of
from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Tokens
from plait.data.samples import SampleData
from plait.models.aam import Aam, AamConfig, AamNet
from plait.nn.masked_letters import BASES, chosen, fixed_draw, hidden_letters
from plait.objectives.auxiliary import NAMES, AuxiliaryConfig
from plait.objectives.pairs import ROUND
from plait.runs.config import RunConfig
from plait.tasks.pretrain import PARTNERS, TRAIN_MEANS, PretrainTask, PretrainTaskConfig
from plait.tasks.regression import RegressionTaskConfig

WEIGHTS = {"unifrac": 3.0, "faith": 0.5, "counts": 0.25, "nucleotides": 2.0}
MODEL: dict[str, Any] = {
    "asv": {
        "kind": "asv", "dim": 6, "dropout": 0.0,
        "nucleotides": {"dim": 6, "depth": 1, "heads": 3, "hidden": 7, "dropout": 0.0, "chunk": 5},
    },
    "sample": {"depth": 1, "heads": 3, "hidden": 7, "dropout": 0.0},
    "pool": {"heads": 2, "key": 3, "value": 5},
    "composition": None, "fusion": "none", "head": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    """Samples without a target; those without a tip or a letter are none."""
    fields: dict[str, Any] = {"target": None, "group_by": None, "categories": None, "numbers": None}
    return data_of(tmp_path_factory.mktemp("study"), unifrac="unweighted", most_features=11, **fields)


def task_of(data: SampleData, **fields: Any) -> PretrainTask:
    return PretrainTaskConfig(auxiliary=AuxiliaryConfig.model_validate({**WEIGHTS, **fields})).build(data)


def model_of(data: SampleData, auxiliary: AuxiliaryConfig, **fields: Any) -> Aam:
    torch.manual_seed(5)
    model = AamConfig.model_validate({**MODEL, **fields}).build(data.schema, auxiliary)
    model.start(data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def task(data: SampleData) -> PretrainTask:
    return task_of(data)


@pytest.fixture(scope="module")
def model(data: SampleData, task: PretrainTask) -> Aam:
    return model_of(data, task.config.auxiliary)


def split_scores(task: PretrainTask, model: Aam, split: str, size: int) -> dict[str, Any]:
    """The scores of a split, `size` rows at a time."""
    rows, found = task.data.rows(split), []
    with torch.no_grad():
        for start in range(0, len(rows), size):
            batch = task.data.batch(split, rows[start : start + size])
            found.append(task.scores(model(batch), batch))
    return task.of_split({name: torch.cat([part[name] for part in found]).double().numpy() for name in found[0]})


def net_of(model: Aam) -> Any:
    (net,) = model.nets
    assert isinstance(net, AamNet)
    return net


def present(batch: Batch, row: int) -> Tensor:
    """The ASVs of a row."""
    return batch.inputs["asv"][row][batch.inputs["asv_mask"][row]]


def test_scores_do_not_depend_on_the_batch(task: PretrainTask, model: Aam) -> None:
    one, all_at_once = (split_scores(task, model, "train", size) for size in (1, 64))
    assert set(one) == {*NAMES, "loss", "n"}
    for name in one:
        np.testing.assert_allclose(one[name], all_at_once[name], rtol=2e-5, atol=1e-6, err_msg=name)
    again = split_scores(task, model, "train", 64)
    assert all(np.array_equal(again[name], all_at_once[name]) for name in again)


def test_surprise_at_hidden_letters_one_sequence_at_a_time(task: PretrainTask, model: Aam, data: SampleData) -> None:
    net, letters = net_of(model), data.tables["letters"]
    encoder, read = net.asv.nucleotides, net.objectives.nucleotides.read
    draw = fixed_draw(*letters.shape)

    def surprise(asv: int) -> float:
        spelled = letters[asv].tolist()
        bases = [place for place, letter in enumerate(spelled) if 1 <= letter <= BASES]
        under = {place for place in bases if float(draw[asv, place]) < 0.15}
        under |= {min(bases, key=lambda place: float(draw[asv, place]))}
        shown = torch.tensor([[6 if place in under else letter for place, letter in enumerate(spelled)]])
        said = read(encoder.tokens(shown).x)[0]
        return sum(float(F.cross_entropy(said[place], torch.tensor(spelled[place] - 1))) for place in under) / len(
            under
        )

    batch = data.batch("train", data.rows("train")[:3])
    with torch.no_grad():
        found = model(batch).prediction.parts["nucleotides"]
        wanted = [np.mean([surprise(int(asv)) for asv in present(batch, row)]) for row in range(3)]
    assert found.shape == (3, 1)
    assert found[:, 0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_hidden_counts_by_hand(task: PretrainTask, model: Aam, data: SampleData) -> None:
    net = net_of(model)
    draw = fixed_draw(data.schema.features, 1)[:, 0]
    batch = data.batch("train", data.rows("train")[:5])
    with torch.no_grad():
        found = model(batch).prediction.parts["counts"][:, 0]
        for row in range(5):
            asvs, counts = present(batch, row), batch.inputs["asv_counts"][row][batch.inputs["asv_mask"][row]]
            under = (draw[asvs] < 0.15) | (draw[asvs] == draw[asvs].min())
            amount = torch.log1p(counts)[:, None] / 3 * net.asv.amount.weight[:, 0]
            tokens = net.asv.describe(asvs) + torch.where(under[:, None], net.objectives.unknown, amount)
            said = net.objectives.counts(net.sample(Tokens.full(tokens[None])).x)[0, :, 0]
            error = (said - torch.log1p(counts))[under]
            assert float(found[row]) == pytest.approx(float((error**2).mean()), rel=1e-4)
            assert 1 <= int(under.sum()) < len(asvs)


def test_what_is_hidden_of_counts_is_not_read(task: PretrainTask, model: Aam, data: SampleData) -> None:
    batch = data.batch("train", data.rows("train")[:5])
    draw = fixed_draw(data.schema.features, 1)[:, 0]
    under = chosen(batch.inputs["asv_mask"], draw[batch.inputs["asv"]], 0.15)
    net, fields = (
        net_of(model),
        {k.removeprefix("asv_"): v for k, v in batch.inputs.items()} | {"values": batch.inputs["asv"]},
    )
    with torch.no_grad():
        said = net.asv.named(fields)
        one = net.asv.weighed(said, fields, under, net.objectives.unknown).x
        more = {**fields, "counts": torch.where(under, 1e6, fields["counts"])}
        assert torch.equal(one, net.asv.weighed(said, more, under, net.objectives.unknown).x)
        assert not torch.equal(net.asv.weighed(said, fields).x, net.asv.weighed(said, more).x)


def test_distances_and_diversity_by_hand(task: PretrainTask, model: Aam, data: SampleData) -> None:
    batch = data.batch("train", data.rows("train"))
    rows, count = batch.info["row"], len(batch.info["row"])
    assert count < PARTNERS
    with torch.no_grad():
        output = model(batch)
        named, weights = task.losses(output, batch), task.weights(batch)
    own, truth = output.prediction.parts["unifrac"][:, 0].double(), data.pairs(rows, rows).double()
    length = ((own[:, None] - own[None]).square().sum(dim=-1) + ROUND**2).sqrt() - ROUND
    error = (length / (1 + length) - truth).square().fill_diagonal_(0)
    assert float(named["unifrac"][0]) == pytest.approx(3 * float(error.sum()) / 2, rel=1e-5)
    scores = split_scores(task, model, "train", 7)
    np.testing.assert_allclose(scores["unifrac"], error.sum(dim=1) / (count - 1), rtol=1e-5)
    diversity = data.faith(rows).double()
    z = (diversity - diversity.mean()) / diversity.std(correction=0)
    square = (output.prediction.parts["faith"][:, 0] - z).square()
    np.testing.assert_allclose(scores["faith"], square, rtol=1e-4)
    assert float(named["faith"][0]) == pytest.approx(float(square.sum()) / 2, rel=1e-4)
    assert {name: float(value) for name, value in weights.items()} == {
        "unifrac": count * (count - 1) / 2, "faith": count, "counts": count, "nucleotides": count,
    }  # fmt: skip
    assert all(float(named[name][1]) == float(weights[name]) for name in named)
    total = sum(WEIGHTS[name] * scores[name] for name in NAMES)
    np.testing.assert_allclose(scores["loss"], total, rtol=1e-12)
    assert task.selection(scores) == pytest.approx(float(np.mean(total)))
    assert list(task.metrics(scores)) == ["loss", *NAMES]


def test_the_rival_says_what_train_samples_say(task: PretrainTask, data: SampleData) -> None:
    found = task.rivals(data)[TRAIN_MEANS]
    train, val = (data.batch(split, data.rows(split)) for split in ("train", "val"))
    rows = val.info["row"]
    within = data.pairs(train.info["row"], train.info["row"]).double()
    mean = float(within.sum()) / (len(within) * (len(within) - 1))
    error = (data.pairs(rows, rows).double() - mean).square().fill_diagonal_(0).sum(dim=1) / (len(rows) - 1)
    np.testing.assert_allclose(found["val"]["unifrac"], error, rtol=1e-5)
    letters, draw = data.tables["letters"], fixed_draw(*data.tables["letters"].shape)
    sums = np.zeros(BASES)
    for row in range(len(train.info["row"])):
        for asv in present(train, row):
            sums += [int((letters[asv] == base).sum()) for base in range(1, BASES + 1)]
    under = hidden_letters(letters, draw, 0.15)
    each = [
        np.mean([-math.log(sums[int(letter) - 1] / sums.sum()) for letter in letters[asv][under[asv]]])
        for asv in present(val, 0)
    ]
    assert found["val"]["nucleotides"][0] == pytest.approx(np.mean(each))
    logs = torch.log1p(train.inputs["asv_counts"][train.inputs["asv_mask"]].double()).mean()
    under = chosen(val.inputs["asv_mask"], fixed_draw(data.schema.features, 1)[:, 0][val.inputs["asv"]], 0.15)
    wrong = (torch.log1p(val.inputs["asv_counts"].double()) - logs).square()
    assert found["val"]["counts"][1] == pytest.approx(float(wrong[1][under[1]].mean()))
    assert set(found["test"]) == {*NAMES, "loss", "n"}


@pytest.mark.parametrize("span", [1, 4])
def test_letters_are_hidden_at_the_share_in_spans_and_never_none(span: int) -> None:
    generator = torch.Generator().manual_seed(2)
    letters = torch.randint(1, 6, (997, 61), generator=generator).to(torch.uint8)
    letters[:, 53:] = 0
    letters[-1, :] = 5
    letters[-2, 1:] = 0
    letters[-2, 0] = 3
    hidden = hidden_letters(letters, torch.rand(letters.shape, generator=generator), 0.2, span)
    bases = (letters >= 1) & (letters <= BASES)
    assert not hidden[~bases].any()
    assert torch.equal(hidden.any(dim=1), bases.any(dim=1))
    assert hidden[-2, 0]
    assert float(hidden[:, span:53].sum() / bases[:, span:53].sum()) == pytest.approx(0.2, abs=0.01)
    if span > 1:
        # A hidden base stands within a span of a start, and what lies in one span is hidden together.
        whole = torch.full((1, 31), 2, dtype=torch.uint8)
        draw = torch.ones(1, 31)
        draw[0, 7], draw[0, 29] = 0.0, 0.01
        assert hidden_letters(whole, draw, 0.2, span)[0].nonzero()[:, 0].tolist() == [7, 8, 9, 10, 29, 30]


def test_training_hides_anew_and_evaluation_does_not(data: SampleData, model: Aam) -> None:
    batch = data.batch("train", data.rows("train"))
    parts = [{name: model(batch).prediction.parts[name] for name in NAMES} for _ in range(2)]
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in NAMES)
    model.train()
    parts = [{name: model(batch).prediction.parts[name] for name in NAMES} for _ in range(2)]
    model.eval()
    assert not torch.equal(parts[0]["counts"], parts[1]["counts"])
    assert not torch.equal(parts[0]["nucleotides"], parts[1]["nucleotides"])
    # Dropout is 0 here: what is hidden for an objective is hidden from no other.
    assert torch.equal(parts[0]["unifrac"], parts[1]["unifrac"])


@pytest.mark.parametrize("fields", [{}, {"masking": "span"}, {"counts": 0.0}, {"unifrac": 0.0, "nucleotides": 0.0}])
def test_no_parameter_is_dead(data: SampleData, fields: dict[str, Any]) -> None:
    task = task_of(data, **fields)
    model = model_of(data, task.config.auxiliary).train()
    batch = data.training_batch(data.rows("train"), "s", 0)
    named = task.losses(model(batch), batch)
    assert set(named) == set(task.given)
    sum(total for total, _ in named.values()).backward()  # type: ignore[union-attr]
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    heads = {name.split(".")[3] for name, _ in model.named_parameters() if ".objectives." in name}
    assert heads - {"unknown"} == set(task.given)
    assert ("unknown" in heads) == ("counts" in task.given)


def test_a_target_is_learned_beside_objectives_and_chosen_without_them(tmp_path: Path) -> None:
    data = data_of(tmp_path, unifrac="unweighted")
    auxiliary = AuxiliaryConfig.model_validate(WEIGHTS)
    task = RegressionTaskConfig(auxiliary=auxiliary).build(data)
    plain = RegressionTaskConfig().build(data)
    model = model_of(data, auxiliary, head={"kind": "distribution", "hidden": 5}).train()
    batch = data.training_batch(data.rows("train"), "s", 0)
    output = model(batch)
    named = task.losses(output, batch)
    assert list(named) == ["crps", *NAMES]
    assert set(task.weights(batch)) == set(named)
    torch.testing.assert_close(named["crps"], plain.losses(output, batch)["crps"])
    model.eval()
    with torch.no_grad():
        seen = data.batch("val", data.rows("val"))
        assert set(model(seen).prediction.parts) == {"logits", "pooled"}
        scores = task.scores(model(seen), seen)
    assert set(scores) == {"se", "ae", "n"}
    names = [name for name, _ in model_of(data, AuxiliaryConfig(), head={"kind": "regression"}).named_parameters()]
    assert not [name for name in names if "objectives" in name]


def config_of(data: dict[str, Any], task: dict[str, Any], **training: Any) -> RunConfig:
    model = {"kind": "aam", **MODEL, "head": None if task["kind"] == "pretrain" else {"kind": "distribution"}}
    given = {"kind": "asv", "table": "t", "tree": "t", "unifrac": "unweighted", **data}
    return validate(RunConfig, {"recipe": "aam", "data": given, "model": model, "task": task, "training": training})


@pytest.mark.parametrize(
    ("data", "task", "training", "words"),
    [
        ({}, {"unifrac": 1.0}, {"accumulate": 2}, "pairs are those of a whole batch, and accumulate 2"),
        ({"mixup": 0.4}, {"unifrac": 1.0}, {}, "task.auxiliary.unifrac: a mixed sample has no known distances"),
        ({"mixup": 0.4}, {"faith": 1.0}, {}, "task.auxiliary.faith: a mixed sample has no known"),
        ({"unifrac": "none"}, {"unifrac": 1.0}, {}, "no distance between samples is chosen"),
        ({"unifrac": "weighted"}, {"unifrac": 1.0}, {}, "weighted UniFrac has no bound"),
        ({"tree": None, "distances": "d"}, {"faith": 1.0}, {}, "there is no tree"),
        ({}, {"nucleotides": 1.0}, {}, ""),
        ({"mixup": 0.4}, {"counts": 1.0, "nucleotides": 1.0}, {"accumulate": 3}, ""),
    ],
)
def test_objectives_that_would_mean_nothing_are_refused(
    data: dict[str, Any], task: dict[str, Any], training: dict[str, Any], words: str
) -> None:
    asked = {"kind": "regression", "auxiliary": task}
    if not words:
        config_of(data, asked, **training)
        return
    with pytest.raises(ConfigError) as caught:
        config_of(data, asked, **training)
    assert words in str(caught.value)
    assert caught.value.fix


def test_a_pretraining_asks_of_samples_and_has_no_head() -> None:
    with pytest.raises(ConfigError, match="nothing else trains the vector of a sample"):
        config_of({}, {"kind": "pretrain", "auxiliary": {"nucleotides": 1.0}})
    config = config_of({}, {"kind": "pretrain"})
    raw = config.model_dump(mode="json")
    raw["model"]["head"] = {"kind": "regression"}
    with pytest.raises(ConfigError, match="no target to answer"):
        validate(RunConfig, raw)


def test_letters_need_an_encoder_that_learns(data: SampleData) -> None:
    auxiliary = AuxiliaryConfig(unifrac=1.0, nucleotides=1.0)
    with pytest.raises(ConfigError, match="no part of the model reads letters"):
        model_of(data, auxiliary, asv={"kind": "asv", "dim": 6})
    frozen = {**MODEL["asv"], "nucleotides": {**MODEL["asv"]["nucleotides"], "frozen": True}}
    with pytest.raises(ConfigError, match="frozen"):
        model_of(data, auxiliary, asv=frozen)


def test_given_distances_beyond_one_are_refused(tmp_path: Path, data: SampleData) -> None:
    twin = object.__new__(SampleData)
    twin.__dict__ |= data.__dict__
    twin.table = replace(data.table, distances=np.full((3, 3), 1.5))
    with pytest.raises(ConfigError, match=r"reach 1\.5"):
        task_of(twin)
