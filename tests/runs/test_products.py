"""`products` from files or the generator to a run folder: what it keeps, that it loads, predicts and goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data.product_shop import photo_ids, photos, room_ids, rooms, shop_frame, write_shop
from plait.core import signals
from plait.core.errors import ConfigError, DataError, FileError, PlaitError, Terminated
from plait.core.tokens import Batch
from plait.features.synthetic_products import bayes_smape
from plait.models.products import ProductsNet
from plait.runs.fit import fit
from plait.runs.run import Run, load_run
from runs.folders import trained, weights
from runs.product_runs import cheap, of_generator, of_shop, smape

NEW_FILES = {"photos": (photo_ids(), photos()), "rooms": (room_ids(), rooms())}


def new_files(folder: Path, ids: list[str], frame: pd.DataFrame | None = None, skip: tuple[str, ...] = ()) -> Path:
    """The rows of some products in files of their own, in this order, without prices; the table's path."""
    folder.mkdir()
    table = (shop_frame() if frame is None else frame).set_index("id").drop(columns="price")
    table.loc[ids].reset_index().to_csv(folder / "rows.csv", index=False)
    for name, (known, values) in NEW_FILES.items():
        having = [each for each in ids if each in known]
        if name not in skip:
            np.save(folder / f"{name}.npy", values[[known.index(each) for each in having]])
            (folder / f"{name}.ids.txt").write_text("\n".join(having) + "\n")
    return folder / "rows.csv"


def asked(run: Run, folder: Path, *given: Any, **more: Any) -> pd.DataFrame:
    """What a run says of new files, by id."""
    path = new_files(folder, *given, **more)
    return run.predict(table=str(path), sources=str(folder)).set_index("id")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("products")


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    """A fused run on the shop, with all its rivals."""
    return trained(place / "run", of_shop(place / "shop"))


# --- a run that is loaded


def test_a_loaded_run_scores_as_it_did_to_the_bit(run: Run) -> None:
    assert run.schema.streams.keys() == {"attributes", "photos", "rooms"}
    for split in ("val", "test"):
        assert run.evaluate(split) == run.metrics["metrics"][split]
    stored = load_file(run.folder / "scores.safetensors")
    assert all(
        np.array_equal(stored[f"final.test.{name}"].numpy(), values) for name, values in run.scores("test").items()
    )


def test_predictions_are_prices_and_score_to_the_metrics(run: Run) -> None:
    stored = pd.read_csv(run.folder / "predictions.csv")
    assert list(stored) == ["id", "price", "low", "high", "actual"]
    pd.testing.assert_frame_equal(stored, run.predict(split="test"), rtol=1e-6)
    true = shop_frame().set_index("id")["price"].astype(float)
    np.testing.assert_allclose(stored["actual"], true[stored["id"]], rtol=1e-6)
    found = run.metrics["metrics"]["test"]
    assert found["smape"] == pytest.approx(smape(stored["price"], stored["actual"]).mean(), rel=1e-6)
    assert found["mae"] == pytest.approx((stored["price"] - stored["actual"]).abs().mean(), rel=1e-5)
    logs = np.log1p(stored["price"]) - np.log1p(stored["actual"])
    assert found["rmsle"] == pytest.approx(np.sqrt((logs**2).mean()), rel=1e-5)


def test_an_interval_reaches_as_far_as_validation_rows_err(run: Run) -> None:
    val = run.predict(split="val")
    errors = np.sort(np.abs(np.log(val["price"] / val["actual"])))
    reach = errors[int(np.ceil(0.8 * (len(errors) + 1))) - 1]
    np.testing.assert_allclose(np.log(val["high"] / val["price"]), reach, rtol=1e-5)
    np.testing.assert_allclose(np.log(val["price"] / val["low"]), reach, rtol=1e-5)


def test_every_rival_is_there(run: Run) -> None:
    assert set(run.metrics["baselines"]) == {
        "constant", "ridge_attributes", "boosting_attributes", "net_attributes", "ridge_photos", "ridge_rooms",
        "concat_ridge", "late_equal", "late_fitted",
    }  # fmt: skip
    true, train = (run.data.prices(split) for split in ("test", "train"))
    constant = run.metrics["baselines"]["constant"]["smape"]
    assert constant == pytest.approx(smape(np.exp(np.median(np.log(train))), true).mean())
    assert "the median price of the training rows does as well" in " ".join(run.metrics["caveats"]) or (
        constant > run.metrics["metrics"]["test"]["smape"]
    )


# --- new rows


def test_new_rows_are_answered_as_the_test_rows_they_are(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = list(run.data.ids("test"))
    for known, values in NEW_FILES.values():
        there = [name for name in ids if name in known and values[known.index(name)].any()]
        assert 0 < len(there) < len(ids)  # rows with the source and rows that lack it
    found = asked(run, tmp_path / "new", ids[::-1])
    said = capsys.readouterr()
    assert "rows of the table have no row of source rooms" in said.err
    assert said.out == ""
    assert found.index.tolist() == sorted(ids)
    assert "actual" not in found
    own = run.predict(split="test").set_index("id").drop(columns="actual")
    pd.testing.assert_frame_equal(found, own, rtol=1e-5)


def test_neither_order_nor_company_nor_batch_size_changes_an_answer(run: Run, tmp_path: Path) -> None:
    ids = list(shop_frame()["id"])
    whole = asked(run, tmp_path / "whole", ids)
    pd.testing.assert_frame_equal(asked(run, tmp_path / "turned", ids[::-1]), whole, check_exact=True)
    small = replace(run, config=run.config.model_copy(
        update={"training": run.config.training.model_copy(update={"eval_batch_size": 7})}
    ))  # fmt: skip
    pd.testing.assert_frame_equal(asked(small, tmp_path / "small", ids), whole, rtol=1e-5)
    pd.testing.assert_frame_equal(asked(run, tmp_path / "one", ids[17:18]), whole.iloc[17:18], rtol=1e-5)


def test_a_source_that_is_not_given_is_masked_and_never_read(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = list(run.data.ids("test"))
    found = asked(run, tmp_path / "new", ids, skip=("rooms",))
    assert f"{len(ids)} rows have no source rooms: it is not given" in capsys.readouterr().err
    batch = run.data.batch("test", run.data.rows("test"))
    inputs = {**batch.inputs, "rooms_mask": torch.zeros_like(batch.inputs["rooms_mask"])}
    inputs["rooms"] = torch.full_like(inputs["rooms"], torch.nan)
    with torch.no_grad():
        z = run.model(Batch(inputs, batch.targets, batch.info)).prediction.point[:, 0]
    np.testing.assert_allclose(found["price"], np.expm1(z.double().numpy()), rtol=1e-5)
    assert not np.allclose(found["price"], run.predict(split="test")["price"], rtol=1e-5)


def test_a_category_of_no_train_row_is_read_as_unknown(run: Run, tmp_path: Path) -> None:
    ids = list(run.data.ids("test"))
    told = {}
    for cell in ("n1", "s1", "q7", "x3"):  # places begin with n and s, prefixes that encodings back off to
        frame = shop_frame()
        frame.loc[frame["id"] == ids[2], "place"] = cell
        told[cell] = asked(run, tmp_path / cell, ids, frame)["price"]
    assert np.isfinite(told["q7"]).all()
    pd.testing.assert_series_equal(told["q7"], told["x3"], check_exact=True)
    assert told["n1"][ids[2]] != told["s1"][ids[2]] != told["q7"][ids[2]] != told["n1"][ids[2]]
    rest = told["q7"].index != ids[2]
    pd.testing.assert_series_equal(told["q7"][rest], told["n1"][rest], rtol=1e-6)


def test_from_python_sources_are_given_by_name(run: Run, tmp_path: Path) -> None:
    ids = list(run.data.ids("val"))
    folder = tmp_path / "new"
    want = asked(run, folder, ids)
    for name in NEW_FILES:
        (folder / f"{name}.npy").rename(folder / f"of_{name}.npy")
        (folder / f"{name}.ids.txt").rename(folder / f"of_{name}.ids.txt")
    frame = pd.read_csv(folder / "rows.csv", dtype=str, keep_default_na=False)
    found = run.predict(table=frame, sources={name: folder / f"of_{name}.npy" for name in NEW_FILES})
    pd.testing.assert_frame_equal(found.set_index("id"), want, check_exact=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"frame": pd.DataFrame()}, "run of products is not asked by 'frame'.*give table"),
        ({"sources": "here"}, "'sources' alone.*give table"),
        ({"table": "shop.csv", "sources": {"fotos": "x.npy"}}, r"has no source 'fotos' \(did you mean photos\?"),
    ],
)
def test_what_a_run_of_products_is_not_asked_by_is_refused(run: Run, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run.predict(**given)


@pytest.mark.parametrize("columns, words", [(10, "width 10, the run learned width 11"), (12, "width 12, the run")])
def test_a_source_of_another_width_is_refused(run: Run, tmp_path: Path, columns: int, words: str) -> None:
    path = new_files(tmp_path / "new", list(run.data.ids("test")))
    values = np.load(tmp_path / "new" / "photos.npy")
    np.save(tmp_path / "new" / "photos.npy", np.resize(values, (len(values), columns)))
    with pytest.raises(DataError, match=rf"sources\.photos: source photos has {words}.*the run's encoder"):
        run.predict(table=str(path), sources=str(tmp_path / "new"))


def test_new_arrays_are_found_by_the_run_s_names_and_never_one_for_two(tmp_path: Path) -> None:
    """Two encoders often write files of one name into folders of their own."""
    shop = tmp_path / "shop"
    write_shop(shop)
    chance = np.random.default_rng(0)
    for name in ("clip", "siglip"):
        (shop / name).mkdir()
        np.save(shop / name / "train.npy", chance.normal(size=(97, 11)).astype(np.float32))
        (shop / name / "names.txt").write_text("\n".join(photo_ids()) + "\n")
    sources = {name: {"path": f"{name}/train.npy", "ids": f"{name}/names.txt"} for name in ("clip", "siglip")}
    config = of_shop(shop, **{"data.sources": sources, "data.numbers": [], "data.categories": [], "data.log": [],
                              "data.ratios": [], "data.prefix": None})  # fmt: skip
    found = trained(tmp_path / "run", config, cheap(config))
    want = found.predict(split="test")
    table = str(shop / "shop.csv")

    def said(folder: Path) -> pd.DataFrame:
        made = found.predict(table=table, sources=str(folder))
        return made[made["id"].isin(want["id"])].reset_index(drop=True)

    pd.testing.assert_frame_equal(said(shop), want, rtol=1e-5)
    flat = tmp_path / "flat"
    flat.mkdir()
    (shop / "clip" / "train.npy").rename(flat / "train.npy")
    with pytest.raises(
        FileError, match=r"train\.npy: would be read for clip and for siglip \(name the files clip\.npy"
    ):
        said(flat)
    (flat / "train.npy").rename(flat / "clip.npy")
    (shop / "siglip" / "train.npy").rename(flat / "siglip.npy")
    for name in sources:
        (shop / name / "names.txt").rename(flat / f"{name}.ids.txt")
    pd.testing.assert_frame_equal(said(flat), want, rtol=1e-5)


# --- what a training depends on


def test_the_order_of_rows_in_the_files_changes_nothing(run: Run, tmp_path: Path) -> None:
    config = of_shop(tmp_path / "shop", shuffle=3)
    assert (tmp_path / "shop" / "shop.csv").read_text() != (Path(run.config.data.root) / "shop.csv").read_text()
    again = trained(tmp_path / "run", config, cheap(config))
    own, other = weights(run.folder), weights(again.folder)
    assert own.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    assert again.metrics["metrics"] == run.metrics["metrics"]


def told_of(folder: Path) -> list[dict[str, Any]]:
    """What was written of each epoch, but for times."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    keep = ("stage", "epoch", "step", "val", "train", "best", "lr", "selection")
    return [{k: v for k, v in line.items() if k in keep} for line in lines if line.get("event") == "epoch"]


@pytest.mark.parametrize("at", [2, 6])
def test_a_training_that_is_asked_to_stop_goes_on_to_the_same_weights(
    run: Run, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGTERM asks, in the first epoch and in the second; sources are dropped at random in every step."""
    config = of_shop(tmp_path / "shop", **{"training.checkpoint_steps": 3})
    assert config.training.modality_dropout > 0
    folder, forward, passes = tmp_path / "run", ProductsNet.forward, [0]
    folder.mkdir()
    monkeypatch.setattr(signals, "_asked", [False])

    def asks(self: ProductsNet, *given: Any) -> Any:
        passes[0] += self.training
        signals._asked[0] = passes[0] == at
        return forward(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ProductsNet, "forward", asks)
        with pytest.raises(Terminated):
            fit(config, folder, rivals=cheap(config))
    assert not (folder / "model").exists()
    signals._asked[0] = False
    fit(config, folder, rivals=cheap(config))
    own, other = weights(run.folder), weights(folder)
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    assert load_run(folder).metrics["metrics"] == run.metrics["metrics"]
    assert told_of(folder) == told_of(run.folder)
    assert len(told_of(folder)) == 2


def test_sources_that_are_not_shown_to_help_are_closed_and_what_is_left_is_the_attributes_alone(tmp_path: Path) -> None:
    config = of_shop(tmp_path / "shop", accept="validation", epochs=1)
    found = trained(tmp_path / "fused", config, cheap(config))
    assert found.metrics["accepted"] is False
    assert found.metrics["modality"] == "photos and rooms"
    assert found.config.model.fusion.kind == "none"
    alone = of_shop(tmp_path / "shop", epochs=1, fusion="none")
    anchor = trained(tmp_path / "anchor", alone, cheap(alone))
    own, other = weights(found.folder), weights(anchor.folder)
    assert own.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    raw = load_run(found.folder, raw=True)
    assert raw.config.model.fusion.kind == "cross_attention"
    assert raw.evaluate("test") == found.metrics["raw"]["test"]


# --- errors by price


@pytest.mark.parametrize("bins", ["quantiles", "seed"])
def test_groups_hold_every_known_row_once_and_average_to_the_metric(run: Run, bins: str) -> None:
    for split in ("val", "test"):
        groups = run.groups(split, bins)
        prices = run.data.prices(split)
        metrics = run.metrics["metrics"][split]
        for by in {group["by"] for group in groups}:
            some = [group for group in groups if group["by"] == by]
            counts = [group["count"] for group in some]
            assert sum(counts) == len(prices)
            for group in some:
                low, high = (np.inf if group[end] is None else group[end] for end in ("low", "high"))
                assert group["count"] == ((prices >= low) & (prices < high)).sum()
            for name in ("smape", "mae"):
                whole = sum(group[name] * group["count"] for group in some if group["count"])
                assert whole / sum(counts) == pytest.approx(metrics[name])


def test_train_rows_are_not_grouped(run: Run) -> None:
    with pytest.raises(DataError, match="train rows are not held out"):
        run.groups("train", "quantiles")


# --- the generator


@pytest.mark.parametrize("fusion", ["hierarchical", "token_transformer"])
def test_the_generator_trains_without_files(tmp_path: Path, fusion: str) -> None:
    config = of_generator(fusion=fusion)
    found = trained(tmp_path / "run", config)
    assert found.schema.anchor == "image_a"
    assert found.config.model.fusion.kind == fusion
    assert found.evaluate("test") == found.metrics["metrics"]["test"]
    sources = ("image_a", "image_b", "text_a", "text_b")
    alone = {f"ridge_{name}" for name in sources}
    assert alone | {"constant", "concat_ridge"} <= set(found.metrics["baselines"])
    stored = pd.read_csv(found.folder / "predictions.csv")
    pd.testing.assert_frame_equal(stored, found.predict(split="test"), rtol=1e-6)
    data = found.data
    given = {name: data.table.sources[name].embeddings for name in sources}
    new = found.predict(table=stored[["id"]].astype(str).iloc[::-1], sources=given)
    pd.testing.assert_frame_equal(new, stored.drop(columns="actual"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_planted_interaction_is_found_and_side_by_side_it_is_not(tmp_path: Path) -> None:
    """The usual size on 4,000 rows, against the least error that there is."""
    config = of_generator("base", **{"data.rows": 4000, "data.missing": 0.0, "epochs": None})
    found = trained(tmp_path / "run", config)
    least = bayes_smape(0.3)
    assert found.metrics["metrics"]["test"]["smape"] <= 1.10 * least
    assert found.metrics["baselines"]["concat_ridge"]["smape"] >= 1.5 * least


# --- what can't be trained


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fusion": "hierarchical", "model.fusion.tree": [["photos", "rums"], "attributes"]},
         r"model\.fusion\.tree: the tree names no stream: rums; it misses rooms \(each of attributes, photos, rooms"),
        ({"fusion": "hierarchical", "model.fusion.tree": ["photos", "attributes"]},
         r"model\.fusion\.tree: the tree misses rooms"),
        ({"model.without": ["rums"]}, r"model\.without: there is no source 'rums' \(did you mean rooms\?"),
        ({"model.branches": {"fotos": {"hidden": [7]}}}, r"model\.branches: there is no source 'fotos'"),
        ({"model.without": ["attributes", "photos", "rooms"]}, r"every source is left out.*keep one of attributes"),
        ({"data.pca": 48, "data.sources.photos.pca": 11, "data.splits": [0.1, 0.45, 0.45]},
         r"11 components of photos can't be had of \d+ train tokens of width 11"),
    ],
)  # fmt: skip
def test_a_fault_of_names_is_told_before_any_training(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    config = of_shop(tmp_path / "shop", **fields)
    (tmp_path / "run").mkdir()
    with pytest.raises(PlaitError, match=words):
        fit(config, tmp_path / "run", rivals={})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
