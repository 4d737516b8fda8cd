"""Products as batches: sources by id, standards of train rows, attributes, the placebo, new rows, and memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from data.product_shop import PRODUCTS, SPLITS, photo_ids, photos, room_ids, rooms, shop_config, shop_data, shop_frame
from plait.core.errors import ConfigError, DataError
from plait.core.tokens import Batch
from plait.data import embedding_files, product_fitted
from plait.data.embedding_files import Embeddings, write_manifest
from plait.data.product_fitted import ProductFitted, SourceFit
from plait.data.product_sources import ProductSource
from plait.data.products import ProductData
from plait.data.sources.products import ProductsSourceConfig
from plait.features.attributes import AttributeFit, entered_numbers
from plait.objectives.smape import price_of


def whole(data: ProductData) -> Batch:
    """All rows of the splits in the order of the data set."""
    parts = [data.batch(split, data.rows(split)) for split in SPLITS]
    order = torch.argsort(torch.cat([part.info["row"] for part in parts]))
    inputs = {name: torch.cat([part.inputs[name] for part in parts])[order] for name in parts[0].inputs}
    targets = {name: torch.cat([part.targets[name] for part in parts])[order] for name in parts[0].targets}
    return Batch(inputs, targets, {"row": torch.arange(len(order))})


def raw(name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A source of the shop by product, and which tokens are present."""
    ids, values = (photo_ids(), photos()[:, None]) if name == "photos" else (room_ids(), rooms())
    found, there = np.zeros((101, *values.shape[1:])), np.zeros((101, values.shape[1]), dtype=bool)
    for row, product in enumerate(PRODUCTS):
        if product in ids:
            found[row] = values[ids.index(product)]
            there[row] = (found[row] != 0).any(axis=1)
    return found, there


def same(one: Batch, other: Batch) -> None:
    for part, twin in zip(one, other, strict=True):
        assert set(part) == set(twin)
        for name in part:
            assert torch.equal(part[name], twin[name]), name


def test_a_batch_holds_each_product_with_its_own(tmp_path: Path) -> None:
    data, frame = shop_data(tmp_path), shop_frame()
    assert sorted(row for split in SPLITS for row in data.rows_of[split]) == list(range(101))
    train = data.rows_of["train"]
    for name in ("photos", "rooms"):
        values, there = raw(name)
        seen = values[train][there[train]]
        sd = seen.std(axis=0)
        want = np.where(there[..., None], (values - seen.mean(axis=0)) / (sd + 0.05 * sd.mean()), 0)
        batch = whole(data)
        np.testing.assert_array_equal(batch.inputs[f"{name}_mask"], there)
        np.testing.assert_allclose(batch.inputs[name], want, rtol=1e-4, atol=1e-4)
    prices = frame["price"].astype(float).to_numpy()
    index = data.rows("val")[::-1]
    batch = data.batch("val", index)
    batch.check(["attributes"])
    row = data.rows_of["val"][index]
    assert batch.info["row"].tolist() == row.tolist()
    assert data.ids("val") == tuple(PRODUCTS[each] for each in data.rows_of["val"])
    np.testing.assert_allclose(price_of(batch.targets["y"])[:, 0], prices[row], rtol=1e-5)
    assert batch.targets["mask"].all()
    np.testing.assert_array_equal(data.truth(batch.info["row"])[:, 0], prices[row])
    np.testing.assert_array_equal(data.prices("val"), prices[data.rows_of["val"]])
    np.testing.assert_allclose(data.log_prices(), np.log(prices))
    same(data.training_batch([2, 0], "all", 3), data.batch("train", [2, 0]))
    assert {name: part.dtype for name, part in batch.inputs.items()} == {
        "attributes": torch.float32, "attributes_mask": torch.bool, "attributes_codes": torch.int64,
        "photos": torch.float32, "photos_mask": torch.bool, "rooms": torch.float32, "rooms_mask": torch.bool,
    }  # fmt: skip


def test_attributes_are_those_of_the_table_and_train_rows_leave_themselves_out(tmp_path: Path) -> None:
    data, frame = shop_data(tmp_path), shop_frame()
    plain = {name: pd.to_numeric(frame[name]).to_numpy(dtype=float) for name in ("size", "rooms")}
    numbers = entered_numbers(plain, ["size"], ["size/rooms"])
    cells = {name: list(frame[name]) for name in ("place", "make")}
    train, logs = data.rows_of["train"], np.log(frame["price"].astype(float).to_numpy())
    own = (
        {name: values[train] for name, values in numbers.items()},
        {n: [c[r] for r in train] for n, c in cells.items()},
    )
    fit = AttributeFit.fit(*own, logs[train], 3, 3.0, 1)
    want = fit.encode(numbers, cells)
    want[train] = fit.encode_train(*own, logs[train])
    made = whole(data).inputs
    np.testing.assert_array_equal(made["attributes"][:, 0], want)
    np.testing.assert_array_equal(made["attributes_codes"], fit.codes(cells))
    assert made["attributes_mask"].all()
    assert data.attribute_names == (
        "log size", "rooms", "size/rooms", "log size missing", "size/rooms missing",
        "place price", "place residual", "place count", "make price", "make residual", "make count",
    )  # fmt: skip
    assert made["attributes"].abs().max() <= 4


def test_the_price_of_a_row_changes_nothing_that_the_row_is_told(tmp_path: Path) -> None:
    data = shop_data(tmp_path / "one")
    for split, moves in (("train", True), ("test", False)):
        frame, place = shop_frame(), int(data.rows_of[split][7])
        price = float(frame.loc[place, "price"])
        frame.loc[place, "price"] = str(price * 1.02)
        frame.to_csv(tmp_path / "one" / "shop.csv", index=False)
        other = data.config.build(data.config.read(), 3)
        assert all(np.array_equal(data.rows_of[each], other.rows_of[each]) for each in SPLITS)
        first, second = whole(data).inputs["attributes"][:, 0], whole(other).inputs["attributes"][:, 0]
        torch.testing.assert_close(first[place], second[place], rtol=1e-5, atol=1e-5)
        assert ((first - second).abs().max() > 1e-4) == moves


def test_the_schema_says_what_enters(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    schema = data.schema
    assert (schema.anchor, schema.outputs) == ("attributes", 1)
    assert schema.streams == {"attributes": 11, "photos": 11, "rooms": 5}
    assert schema.stream_tokens == {"attributes": 1, "photos": 1, "rooms": 3}
    assert schema.columns == {"place": 4, "make": 3}
    assert data.config.contexts == schema.contexts == ("photos", "rooms")
    bare = shop_data(tmp_path, numbers=None, categories=None, log=None, ratios=None, pca=7)
    assert (bare.schema.anchor, bare.schema.columns) == ("photos", {})
    assert bare.schema.streams == {"photos": 7, "rooms": 5}
    assert set(bare.batch("val", [0]).inputs) == {"photos", "photos_mask", "rooms", "rooms_mask"}
    plain = shop_data(tmp_path, categories=None)
    assert "attributes_codes" not in plain.batch("val", [0]).inputs
    with pytest.raises(ConfigError, match="there is nothing to read but the price"):
        shop_data(tmp_path, numbers=None, categories=None, log=None, ratios=None, sources=None)


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    one, other = shop_data(tmp_path / "one"), shop_data(tmp_path / "other", shuffle=5)
    for split in SPLITS:
        assert one.ids(split) == other.ids(split)
        first, second = (each.batch(split, each.rows(split)) for each in (one, other))
        for name in first.inputs:
            torch.testing.assert_close(first.inputs[name], second.inputs[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(first.targets["y"], second.targets["y"])


def test_splits_have_their_share_of_every_price_and_keep_groups_whole(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    tenth = np.searchsorted(np.quantile(data.log_prices(), np.linspace(0.1, 0.9, 9)), data.log_prices(), side="right")
    for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        counts = np.bincount(tenth[data.rows_of[split]], minlength=10)
        assert np.abs(counts - share * np.bincount(tenth)).max() <= 1
        assert data.units(split).groups is not None
        assert len(np.unique(data.units(split).groups)) == data.units(split).rows == len(data.rows(split))
    grouped = shop_data(tmp_path, group_by="owner")
    owners = [set(shop_frame()["owner"][grouped.rows_of[split]]) - {""} for split in SPLITS]
    assert not owners[0] & owners[1]
    assert not (owners[0] | owners[1]) & owners[2]
    assert len(np.unique(grouped.units("train").groups)) < grouped.units("train").rows
    tests = [set(shop_data(tmp_path, folds=3, fold=fold).ids("test")) for fold in range(3)]
    assert sorted(set.union(*tests)) == PRODUCTS
    assert sum(map(len, tests)) == 101


@pytest.mark.parametrize("tokens", [1, 3])
def test_components_are_principal_axes_of_train_tokens(tmp_path: Path, tokens: int) -> None:
    name, width = ("photos", 11) if tokens == 1 else ("rooms", 5)
    data = shop_data(tmp_path, sources={name: {"path": f"{name}.npy", "pca": 3}})
    train = data.rows_of["train"]
    values, there = raw(name)
    seen = values[train][there[train]]
    sd = seen.std(axis=0)
    inner = (values - seen.mean(axis=0)) / (sd + 0.05 * sd.mean())
    _, strength, axes = np.linalg.svd(inner[train][there[train]], full_matrices=False)
    want = inner @ axes[:3].T / np.sqrt((strength[:3] ** 2).mean() / len(seen))
    made = whole(data).inputs[name].numpy()
    sign = np.sign((made * want)[there].sum(axis=0))
    np.testing.assert_allclose(made[there], (want * sign)[there], rtol=1e-3, atol=1e-3)
    assert not made[~there].any()
    assert (made[train][there[train]] ** 2).mean() == pytest.approx(1, rel=1e-4)
    assert data.schema.streams[name] == 3
    with pytest.raises(DataError, match=f"{width + 1} components of {name} can't be had of"):
        shop_data(tmp_path, sources={name: {"path": f"{name}.npy", "pca": width + 1}})


def test_components_of_few_rows_are_those_of_the_covariance() -> None:
    """More numbers than rows: inner products of rows give the axes that the covariance of the numbers has."""
    values = np.random.default_rng(3).normal(0, 1, (31, 1, 37)) * np.linspace(1, 3, 37)
    source = ProductSource(Embeddings.of("x", [str(n) for n in range(31)], values), np.arange(31))
    rows = np.arange(31)
    fit = SourceFit.of(source, rows, 5)
    inner = (values[:, 0] - fit.mean) / fit.sd
    strength, axes = np.linalg.eigh(inner.T @ inner / 31)
    assert fit.components is not None
    cosines = np.abs((fit.components / np.linalg.norm(fit.components, axis=1, keepdims=True)) @ axes[:, :-6:-1])
    np.testing.assert_allclose(cosines, np.eye(5), atol=1e-4)
    made = fit.apply(*source.read(rows))[:, 0]
    np.testing.assert_allclose((made**2).mean(axis=0), strength[:-6:-1] / strength[-5:].mean(), rtol=1e-4)


@pytest.mark.parametrize("pca", [None, 3])
def test_what_is_learned_does_not_depend_on_the_pieces(pca: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(0, 1, (53, 3, 7)) * np.arange(1, 8) + np.linspace(0, 90, 53)[:, None, None]
    values[5], values[7, 1] = 0, 0
    source = ProductSource(Embeddings.of("x", [str(n) for n in range(53)], values), np.arange(53))
    rows = np.arange(0, 53, 2)
    whole = SourceFit.of(source, rows, pca)
    monkeypatch.setattr(embedding_files, "CHUNK_BYTES", 4 * 21 * 5)
    assert len(list(source.chunks(rows))) == 6
    parts = SourceFit.of(source, rows, pca)
    seen = values[rows][source.embeddings.present[rows]]
    np.testing.assert_allclose(parts.mean, seen.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(parts.sd, seen.std(axis=0) + 0.05 * seen.std(axis=0).mean(), rtol=1e-6)
    for one, other in ((whole.sd, parts.sd), (whole.components, parts.components)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_components_of_very_wide_sources_are_those_of_some_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that lie in a plane, whichever are read: its axes are found, and nothing beside them."""
    monkeypatch.setattr(product_fitted, "EXACT", 16)
    chance = np.random.default_rng(3)
    values = chance.normal(0, 1, (211, 2)) @ np.linalg.qr(chance.normal(0, 1, (23, 2)))[0].T + 5
    source = ProductSource(Embeddings.of("x", [str(n) for n in range(211)], values), np.arange(211))
    fit = SourceFit.of(source, np.arange(211), 2)
    assert fit.components is not None
    inner = (values - fit.mean) / fit.sd
    axes = fit.components / np.linalg.norm(fit.components, axis=1, keepdims=True)
    np.testing.assert_allclose(inner @ axes.T @ axes, inner, atol=1e-3)


def test_the_mean_of_present_tokens_may_enter(tmp_path: Path) -> None:
    data = shop_data(tmp_path, sources={"rooms": {"path": "rooms.npy", "mean": True}})
    values, there = raw("rooms")
    mean = np.array([v[t].mean(axis=0) if t.any() else np.zeros(5) for v, t in zip(values, there, strict=True)])
    seen = mean[data.rows_of["train"]][there[data.rows_of["train"]].any(axis=1)]
    want = (mean - seen.mean(axis=0)) / (seen.std(axis=0) + 0.05 * seen.std(axis=0).mean())
    made = whole(data).inputs
    np.testing.assert_array_equal(made["rooms_mask"][:, 0], there.any(axis=1))
    np.testing.assert_allclose(made["rooms"][:, 0], np.where(there.any(axis=1)[:, None], want, 0), rtol=1e-3, atol=1e-3)
    assert data.schema.stream_tokens["rooms"] == 1
    averaged, present = shop_data(tmp_path).sources["rooms"].averaged(np.arange(101))
    np.testing.assert_allclose(averaged, mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(present, there.any(axis=1))


def test_the_placebo_moves_sources_together_within_each_split(tmp_path: Path) -> None:
    true, placebo = shop_data(tmp_path), shop_data(tmp_path, placebo=True)
    moved = {name: placebo.sources[name].place for name in ("photos", "rooms")}
    both = np.logical_and(true.sources["photos"].there, true.sources["rooms"].there)
    together = 0
    for split in SPLITS:
        rows = true.rows_of[split]
        one, other = true.batch(split, true.rows(split)), placebo.batch(split, placebo.rows(split))
        assert torch.equal(one.inputs["attributes"], other.inputs["attributes"])
        assert torch.equal(one.targets["y"], other.targets["y"])
        for name in ("photos", "rooms"):
            there = true.sources[name].there[rows]
            np.testing.assert_array_equal(placebo.sources[name].there[rows], there)
            was, now = true.sources[name].place[rows[there]], moved[name][rows[there]]
            assert not (was == now).any()
            assert sorted(was) == sorted(now)
        kept = rows[both[rows]]
        together += int((moved["photos"][kept] - moved["rooms"][kept] == 10).sum())
    assert together > 0.6 * both.sum()  # the file of rooms begins ten products later
    for name, fit in true.fitted.sources.items():  # the same train tokens, in another order
        np.testing.assert_allclose(placebo.fitted.sources[name].mean, fit.mean, rtol=1e-5, atol=1e-6)
    again = shop_data(tmp_path, placebo=True)
    assert all(np.array_equal(again.sources[name].place, moved[name]) for name in moved)


def test_what_was_fitted_comes_back_from_its_files(tmp_path: Path) -> None:
    data = shop_data(tmp_path, pca=3)
    record = json.loads(json.dumps(data.fitted.record(), sort_keys=True))
    again = ProductFitted.read(data.fitted.tensors(), record)
    logs = data.log_prices()[data.rows_of["train"]]
    assert again.median == np.median(logs) == data.fitted.median
    np.testing.assert_allclose(again.quantiles, np.quantile(np.exp(logs), np.linspace(0.1, 0.9, 9)))
    same(whole(data), whole(data.config.build(data.table, 3, again)))
    bare = shop_data(tmp_path, numbers=None, categories=None, log=None, ratios=None)
    assert ProductFitted.read(bare.fitted.tensors(), bare.fitted.record()).attributes is None
    wordless = shop_data(tmp_path, categories=None, sources=None)
    back = ProductFitted.read(wordless.fitted.tensors(), wordless.fitted.record())
    same(whole(wordless), whole(wordless.config.build(wordless.table, 3, back)))


def new_data(data: ProductData, **given: Any) -> ProductData:
    return data.config.build(data.config.of_new(data.schema, data.fitted, **given), 0, data.fitted, ahead=True)


def test_new_rows_are_read_as_the_run_learned(tmp_path: Path) -> None:
    data = shop_data(tmp_path, pca=4)
    frame = shop_frame().loc[data.rows_of["test"]].drop(columns=["price", "owner"])
    files = {name: tmp_path / f"{name}.npy" for name in ("photos", "rooms")}
    made = new_data(data, table=frame, sources=files)
    assert made.ids("ahead") == data.ids("test")
    own, found = data.batch("test", data.rows("test")), made.batch("ahead", made.asked())
    for name in own.inputs:
        assert torch.equal(own.inputs[name], found.inputs[name]), name
    assert made.schema == data.schema
    assert not found.targets["mask"].any()
    assert not found.targets["y"].any()
    assert np.isnan(made.prices("ahead")).all()


def test_a_source_that_new_rows_are_not_given_is_absent(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    frame = shop_frame().drop(columns=["rooms", "place"])
    made = new_data(data, table=frame, sources={"photos": tmp_path / "photos.npy"})
    batch = made.batch("ahead", made.asked())
    assert batch.inputs["rooms"].shape == (101, 3, 5)
    assert not batch.inputs["rooms_mask"].any()
    assert not batch.inputs["rooms"].any()
    assert batch.inputs["photos_mask"].any()
    assert not batch.inputs["attributes_codes"][:, 0].any()
    assert not batch.inputs["attributes"][:, 0, 1].any()
    assert "101 rows have no source rooms: it is not given" in made.notices()
    assert "101 rows have no column place: it is missing in all" in made.notices()
    frame.to_csv(tmp_path / "new.csv", index=False)
    again = new_data(data, table=str(tmp_path / "new.csv"))
    assert not again.batch("ahead", again.asked()).inputs["photos_mask"].any()


def test_new_sources_of_another_shape_are_refused(tmp_path: Path) -> None:
    data, frame = shop_data(tmp_path), shop_frame()

    def given(shape: tuple[int, ...], name: str = "rooms") -> ProductData:
        made = Embeddings.of("any", PRODUCTS, np.random.default_rng(3).normal(0, 1, (101, *shape)))
        return new_data(data, table=frame, sources={name: made})

    with pytest.raises(DataError, match="source rooms has width 7, the run learned width 5"):
        given((3, 7))
    with pytest.raises(DataError, match="source rooms has tokens 4, the run learned tokens 3"):
        given((4, 5))
    batch = given((2, 5)).batch("ahead", [0, 5])
    assert batch.inputs["rooms_mask"].tolist() == [[True, True, False]] * 2
    assert not batch.inputs["rooms"][:, 2].any()
    with pytest.raises(ConfigError, match=r"the run has no source 'room' \(did you mean rooms\?\)"):
        given((3, 5), "room")
    with pytest.raises(ConfigError, match="new rows need a table"):
        data.config.of_new(data.schema, data.fitted)
    with pytest.raises(ConfigError, match="new rows need what a run fitted"):
        data.config.build(data.table, 3, ahead=True)


def test_an_encoder_that_was_fine_tuned_on_scored_rows_is_refused(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    photo = set(photo_ids())
    train, test = ([name for name in data.ids(split) if name in photo] for split in ("train", "test"))
    write_manifest(tmp_path / "photos.npy", encoder="e", fine_tuned_on=train)
    same(whole(data.config.build(data.config.read(), 3)), whole(data))
    write_manifest(tmp_path / "photos.npy", encoder="e", fine_tuned_on=[*train, test[4], test[2]])
    with pytest.raises(DataError, match=f"source photos was fine-tuned on 2 of .*: {test[2]}, {test[4]}"):
        data.config.build(data.config.read(), 3)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sources": {"attributes": {"path": "photos.npy"}}}, "attributes are the table's own columns"),
        ({"sources": {"a b": {"path": "photos.npy"}}}, "is no name of a source"),
        ({"numbers": "size,rooms,place"}, "columns are named more than once: place"),
        ({"log": "price"}, "price is not among the numbers"),
        ({"ratios": "size/make"}, "size/make is no ratio of two columns"),
        ({"ratios": "size"}, "size is no ratio"),
        ({"sources": {"p": {"path": "photos.npy"}, "p_b": {"path": "rooms.npy"}}}, "begins with the name of 'p'"),
    ],
)
def test_fields_that_exclude_each_other(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        shop_data(tmp_path, **fields)


def test_what_is_found_and_said(tmp_path: Path) -> None:
    frame = shop_frame()
    frame.loc[3, "size"] = "-2"
    config = shop_config(tmp_path)
    frame.to_csv(tmp_path / "shop.csv", index=False)
    data = config.build(config.read(), 3)
    said = data.notices()
    assert "1 cells of size have no logarithm and count as missing: k003 -2" in said
    assert any(each.startswith("1 rows of photos are all zero") for each in said)
    lines, facts = data.describe()
    assert facts["rows"] == 101
    counts = [data.split_summary()[split]["sources"]["photos"] for split in SPLITS]
    assert sum(counts) == 96
    assert lines[0].startswith(f"train  {len(data.rows('train'))} rows in")
    assert f"{counts[0]} with photos" in lines[0]
    assert data.fingerprint() == config.build(config.read(), 5).fingerprint()


def test_the_panel_sees_the_files(tmp_path: Path) -> None:
    pytest.importorskip("plait.baselines.prices")
    data, frame = shop_data(tmp_path), shop_frame()
    panel = data.panel()
    np.testing.assert_array_equal(panel.log_price, data.log_prices())
    assert panel.number_names == ("size", "rooms")
    np.testing.assert_array_equal(panel.numbers[:, 0], pd.to_numeric(frame["size"]))
    assert list(panel.categories["place"]) == list(frame["place"])
    values, present = panel.sources["photos"](np.array([100, 3, 50]))
    np.testing.assert_array_equal(values[2], photos()[50])
    assert present.tolist() == [False, False, True]
    assert not values[:2].any()
    assert set(panel.rows) == set(SPLITS)


def test_houses_of_a_study(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "houses"
    frame = pd.read_csv(folder / "houses.csv", dtype=str)
    values = np.random.default_rng(3).normal(0, 1, (428, 4, 131)).astype(np.float32)
    np.save(tmp_path / "photos.npy", values)
    (tmp_path / "photos.ids.txt").write_text("\n".join(frame["house_id"]))
    config = ProductsSourceConfig(
        root=str(folder), path="houses.csv", numbers=["bedrooms", "bathrooms", "area_sqft"], categories=["zip_code"],
        log=["area_sqft"], ratios=["area_sqft/bedrooms", "bathrooms/bedrooms"], prefix=3, pca=48, folds=5, fold=2,
        sources={"photos": {"path": str(tmp_path / "photos.npy")}},
    )  # fmt: skip
    data = config.build(config.read(), 0)
    assert data.schema.streams == {"attributes": 8, "photos": 48}
    assert [len(data.rows(split)) for split in SPLITS] == pytest.approx([305, 38, 85], abs=3)
    made = data.batch("test", data.rows("test"))
    assert made.inputs["photos_mask"].all()
    logs = data.log_prices()
    place = data.attribute_names.index("zip_code price")
    for split, least in (("train", 0.6), ("test", 0.6)):
        told = data.batch(split, data.rows(split)).inputs["attributes"][:, 0, place]
        assert np.corrcoef(told, logs[data.rows_of[split]])[0, 1] > least
    assert data.schema.columns["zip_code"] < frame["zip_code"].nunique()
    # Random embeddings: what ridge on the attributes alone gets of the price is there for test rows too.
    x = np.column_stack([np.ones(428), whole(data).inputs["attributes"][:, 0]])
    train, test = data.rows_of["train"], data.rows_of["test"]
    weights = np.linalg.lstsq(x[train], logs[train], rcond=None)[0]
    error = 200 * np.tanh(np.abs(x[test] @ weights - logs[test]) / 2)
    assert error.mean() < 30


GATHER = """
import re, sys
from pathlib import Path
import numpy as np
from plait.data.sources.products import ProductsSourceConfig

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

import plait.data.products, scipy.linalg
config = ProductsSourceConfig(root=sys.argv[1], path="t.csv", numbers=["x"], sources={"e": {"path": "e.npy"}})
before = anonymous()
data = config.build(config.read(), 0)
most = anonymous() - before
rows = np.random.default_rng(0).permutation(data.rows("train"))
for start in range(0, len(rows), 256):
    data.batch("train", rows[start : start + 256])
    most = max(most, anonymous() - before)
print(most)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or "RssAnon" not in Path("/proc/self/status").read_text(),
    reason="the system does not tell anonymous memory",
)
def test_sources_stay_on_disk(tmp_path: Path) -> None:
    values = np.lib.format.open_memmap(tmp_path / "e.npy", "w+", np.float32, (20_000, 1_000))
    for start in range(0, 20_000, 2_000):
        values[start : start + 2_000] = np.random.default_rng(start).standard_normal((2_000, 1_000), dtype=np.float32)
    values.flush()
    del values
    (tmp_path / "e.ids.txt").write_text("\n".join(map(str, range(20_000))))
    lines = "\n".join(f"{n},{n % 7},{1 + n % 97}" for n in range(20_000))
    (tmp_path / "t.csv").write_text(f"id,x,price\n{lines}\n")
    done = subprocess.run(
        [sys.executable, "-c", GATHER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60, f"{done.stdout} MB of 80"
