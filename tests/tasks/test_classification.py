"""Classification of samples: cross-entropy with weights and shares, scores without them, rivals and tables."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.sample_study import Study, data_of
from plait.baselines import samples
from plait.core.tokens import Batch, Output, Prediction
from plait.data.samples import SampleData
from plait.models.aam import Aam, AamConfig
from plait.tasks.classification import ClassificationTask, ClassificationTaskConfig
from plait.training.evaluate import evaluate

ROWS, NETS, CLASSES = 13, 2, 3
HERE = SimpleNamespace(process_index=0, num_processes=1, device="cpu")
OF_SITE: dict[str, Any] = {"target": "site", "classifier": True, "categories": "sex", "bins": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    return data_of(tmp_path_factory.mktemp("study"), **OF_SITE)


def model_of(data: SampleData) -> Aam:
    torch.manual_seed(2)
    model = AamConfig.model_validate({
        "asv": {"kind": "asv", "dim": 12}, "metadata": {"kind": "metadata", "dim": 5},
        "pool": {"heads": 2, "key": 3, "value": 5}, "composition": {"kind": "composition", "dim": 7},
        "head": {"kind": "classification", "hidden": 13}, "nets": NETS,
    }).build(data.schema).eval()  # fmt: skip
    model.start(data)
    return model


def targets(mixed: bool = False) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(0)
    found = {}
    for end in ("", "_other"):
        mask = torch.ones(ROWS, 1, dtype=torch.bool)
        mask[[3, 7]] = mixed
        y = torch.randint(CLASSES, (ROWS, 1), generator=maker)
        found |= {f"y{end}": torch.where(mask, y, -(10**9)), f"mask{end}": mask}
    share = 0.5 + 0.5 * torch.rand(ROWS, generator=maker)
    return {**found, "share": share} if mixed else {"y": found["y"], "mask": found["mask"]}


def told(task: ClassificationTask, logits: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    batch = Batch({}, given, {"row": torch.arange(ROWS)})
    total, weight = task.losses(Output(Prediction(torch.empty(0), {"logits": logits}), {}, {}), batch)["cross_entropy"]
    assert torch.equal(task.weights(batch)["cross_entropy"], weight)
    return total, weight


def weights_of(data: SampleData) -> Any:
    """The weight of each class by the cells of the train samples: all classes weigh the same over them."""
    sites = [Study().metadata[name]["site"] for name in data.ids("train")]
    return np.array([len(sites) / (CLASSES * sites.count(name)) for name in ("gut", "mouth", "skin")])


@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_is_the_weighted_surprise_of_each_net(data: SampleData, balanced: bool) -> None:
    task = ClassificationTaskConfig(class_weights="balanced" if balanced else "none").build(data)
    given, logits = targets(), torch.randn(ROWS, NETS, CLASSES, generator=torch.Generator().manual_seed(1))
    of_class = weights_of(data) if balanced else np.ones(CLASSES)
    shares = np.exp(logits.double().numpy())
    shares /= shares.sum(axis=-1, keepdims=True)
    rows = [row for row in range(ROWS) if given["mask"][row, 0]]
    label = {row: int(given["y"][row, 0]) for row in rows}
    want = -sum(
        of_class[label[row]] * np.log(shares[row, net, label[row]]) / NETS for row in rows for net in range(NETS)
    )
    total, weight = told(task, logits, given)
    assert float(total) == pytest.approx(want, rel=1e-5)
    assert float(weight) == pytest.approx(sum(of_class[label[row]] for row in rows), rel=1e-6)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_mixed_row_has_the_gradient_of_the_mixed_class(data: SampleData, balanced: bool) -> None:
    task = ClassificationTaskConfig(class_weights="balanced" if balanced else "none").build(data)
    given = targets(mixed=True)
    logits = torch.randn(ROWS, NETS, CLASSES, generator=torch.Generator().manual_seed(1)).requires_grad_()
    of_class = torch.from_numpy(weights_of(data)) if balanced else torch.ones(CLASSES, dtype=torch.float64)
    share = given["share"].double()[:, None]
    one, other = (torch.eye(CLASSES, dtype=torch.float64)[given[name][:, 0]] for name in ("y", "y_other"))
    mixed = (share * one + (1 - share) * other) * of_class
    total, weight = told(task, logits, given)
    (got,) = torch.autograd.grad(total, logits)
    (want,) = torch.autograd.grad(-(mixed[:, None] * logits.double().log_softmax(-1)).sum() / NETS, logits)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert float(weight) == pytest.approx(float(mixed.sum()), rel=1e-6)


def test_scores_are_of_the_mean_of_the_nets_without_weights_and_at_any_batch_size(data: SampleData) -> None:
    task, model = ClassificationTaskConfig(class_weights="balanced").build(data), model_of(data)
    with torch.no_grad():
        parts = model(data.batch("val", data.rows("val"))).prediction.parts["logits"]
    shares = parts.double().softmax(dim=-1).mean(dim=1).numpy()
    names = ["gut", "mouth", "skin"]
    label = np.array([names.index(Study().metadata[name]["site"]) for name in data.ids("val")])
    whole = evaluate(model, task, data, "val", 256, HERE)
    np.testing.assert_allclose(whole["log_loss"], -np.log(shares[np.arange(len(label)), label]), rtol=1e-5)
    assert whole["errors"].tolist() == (shares.argmax(axis=1) != label).astype(float).tolist()
    assert task.metrics(whole) == pytest.approx(task.metrics(evaluate(model, task, data, "val", 1, HERE)), rel=1e-5)
    by_error = ClassificationTaskConfig(metric="error_rate").build(data)
    assert (by_error.score, list(by_error.metrics(whole))) == ("errors", ["error_rate", "log_loss"])
    assert by_error.selection(whole) == (shares.argmax(axis=1) != label).mean()


def test_the_table_names_the_likeliest_class_and_what_is_known(data: SampleData) -> None:
    task, model = ClassificationTaskConfig().build(data), model_of(data)
    table = task.table(data, model, "test", data.rows("test"), 2, "cpu")
    shares = [f"probability_{name}" for name in ("gut", "mouth", "skin")]
    assert list(table) == ["sample_id", "prediction", *shares, "actual"]
    np.testing.assert_allclose(table[shares].sum(axis=1), 1)
    assert table["prediction"].tolist() == table[shares].idxmax(axis=1).str.removeprefix("probability_").tolist()
    assert table["actual"].tolist() == [Study().metadata[name]["site"] for name in table["sample_id"]]
    new = SampleData(data.config.of_new(table=data.config.table), data.config, 0, data.fitted, ahead=True)
    assert "actual" not in ClassificationTaskConfig().build(new).table(new, model, "ahead", new.asked(), 7, "cpu")


def test_the_page_counts_every_test_sample_once(data: SampleData) -> None:
    model = model_of(data)
    page = ClassificationTaskConfig().build(data).page(data, model, "cpu")
    table = ClassificationTaskConfig().build(data).table(data, model, "test", data.rows("test"), 256, "cpu")
    for row, actual in enumerate(page["classes"]):
        for column, named in enumerate(page["classes"]):
            both = (table["actual"] == actual) & (table["prediction"] == named)
            assert page["confusion"][row][column] == both.sum()


def test_rivals_and_a_column_that_names_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: SampleData
) -> None:
    monkeypatch.setattr(samples, "FOREST", 3)
    study = Study()
    for cells in study.metadata.values():
        cells["clinic"] = {"gut": "A", "skin": "B", "mouth": "C"}[cells["site"]]
    known = data_of(tmp_path, study, **OF_SITE)
    task = ClassificationTaskConfig().build(known)
    rivals = task.rivals(known)
    train = [study.metadata[name]["site"] for name in known.ids("train")]
    shares = {name: train.count(name) / len(train) for name in set(train)}
    test = [study.metadata[name]["site"] for name in known.ids("test")]
    np.testing.assert_allclose(
        rivals["majority"]["test"]["log_loss"], [-np.log(shares[name]) for name in test], rtol=0.1
    )
    most = max(shares, key=lambda name: shares[name])
    assert rivals["majority"]["test"]["errors"].tolist() == [float(name != most) for name in test]
    assert not rivals["column:clinic"]["test"]["errors"].any()
    assert not any(name.startswith("column:") for name in task.candidates(rivals))
    tests = {name: task.metrics(scores["test"]) for name, scores in rivals.items()}
    first = task.caveats({"metric": "log_loss", "baselines": tests, "raw": {"test": {"log_loss": 0.9}}})[0]
    assert first.startswith("clinic alone tells site")
    assert "a copy of the target" in first
