"""Samples as batches: counts, metadata, targets, groups, distances, and what the cheap rivals see."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.sample_study import FEATURES, SAMPLES, SPLITS, Study, check_same, config_of, data_of, dense_of
from plait.core.errors import ConfigError, DataError
from plait.data.sample_columns import Columns, permuted
from plait.features.composition import clr
from plait.features.unifrac import UniFrac


def test_a_batch_holds_the_counts_and_facts_of_its_samples(tmp_path: Path) -> None:
    study = Study()
    data = data_of(tmp_path, study)
    data.schema.to_json()
    known = [s for s in sorted(SAMPLES) if study.metadata[s]["age"]]
    assert sorted(name for split in SPLITS for name in data.ids(split)) == known
    for split in SPLITS:
        index = data.rows(split)[::-1]
        batch = data.batch(split, index)
        batch.check(["asv"])
        ids = [data.ids(split)[row] for row in index]
        dense = dense_of(batch, len(data.features))
        np.testing.assert_array_equal(dense, [[study.counts[s, f] for f in data.features] for s in ids])
        assert [known[row] for row in batch.info["row"].tolist()] == ids
        ages = [float(study.metadata[s]["age"]) for s in ids]
        np.testing.assert_array_equal(batch.targets["y"][:, 0], np.float32(ages))
        assert batch.targets["mask"].all()
        np.testing.assert_array_equal(data.targets(split)[index], ages)
        mask = batch.inputs["metadata_mask"]
        for row, name in enumerate(ids):
            facts = study.metadata[name]
            codes = batch.inputs["metadata"][row].tolist()
            assert mask[row].tolist() == [True, facts["sex"] in ("male", "female"), facts["ph"] != "NA"]
            assert data.categories["site"][codes[0]] == facts["site"]
            assert not mask[row, 1] or data.categories["sex"][codes[1]] == facts["sex"]
            mean, sd = data.fitted.numbers["ph"]
            if mask[row, 2]:
                assert float(batch.inputs["metadata_numbers"][row, 2]) * sd + mean == pytest.approx(float(facts["ph"]))
        assert not batch.inputs["metadata"][~mask].any()
        assert not batch.inputs["metadata_numbers"][~mask].any()
        assert not batch.inputs["metadata_numbers"][:, :2].any()
    assert any(words.endswith("cells of sex count as missing: Unknown") for words in data.notices())


def test_the_schema_says_what_the_tables_are(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    schema, tables = data.schema, data.tables
    assert schema.anchor == "asv"
    assert schema.streams == {"asv": 15, "metadata": 3}
    assert schema.columns == {"site": 3, "sex": 2, "ph": 0}
    assert list(schema.blocks.items()) == [("kmers", 5), ("tree", 3), ("cooccurrence", 7)]
    assert schema.features == len(data.features) == len(data.taxa)
    assert (schema.outputs, schema.letters, schema.bins) == (1, 25, len(tables["thresholds"]))
    assert tables["blocks"].shape == (schema.features, 15)
    assert tables["letters"].shape == (schema.features, 25)
    assert (tables["blocks"].dtype, tables["letters"].dtype) == (torch.float32, torch.uint8)
    bare = data_of(tmp_path, sequences=None, tree=None, cooccurrence=0, categories=None, numbers=None)
    assert (bare.schema.blocks, bare.schema.letters, bare.schema.streams) == ({}, 0, {"asv": 0})
    assert set(bare.batch("val", [0]).inputs) == {"asv", "asv_mask", "asv_counts"}
    config = config_of(tmp_path)
    unread = config.build(config.read(), 3, reads=("asv",))
    assert unread.schema.streams == {"asv": 15}
    assert unread.schema.columns == {}
    check_same(unread.batch("val", [1]), data.batch("val", [1]).without(["metadata"]))


def test_predictions_come_back_by_the_category_of_their_row(tmp_path: Path) -> None:
    data = data_of(tmp_path, transform="zscore-category", normalize_by="site")
    centres = {name: of.centre[0] for (name,), of in data.fitted.transform.categories.items()}  # type: ignore[union-attr]
    assert len(set(centres.values())) == 3
    index = data.rows("val")[::-1]
    back = data.original_unit(np.zeros((len(index), 1)), "val", index)
    expected = [centres[Study().metadata[data.ids("val")[row]]["site"]] for row in index]
    np.testing.assert_allclose(back[:, 0], expected)
    z = data.batch("val", index).targets["y"].numpy()
    np.testing.assert_allclose(data.original_unit(z, "val", index)[:, 0], data.targets("val")[index], rtol=1e-5)


def test_the_placebo_moves_every_row_that_knows_something_within_its_split(tmp_path: Path) -> None:
    n = 23
    mask = np.ones((n, 2), dtype=np.bool_)
    mask[[0, 5, 6]], mask[3, 1] = False, False
    codes = np.stack([np.arange(n), np.arange(n)], axis=1) * mask
    columns = Columns(codes, codes.astype(np.float32), mask)
    splits = {
        "train": np.arange(14),
        "val": np.arange(14, 19),
        "two": np.arange(19, 21),
        "test": np.arange(21, 22),
        "more": np.arange(22, 23),
    }
    moved = permuted(columns, splits, 5)
    known = mask.any(axis=1)
    np.testing.assert_array_equal(moved.mask.any(axis=1), known)
    for name, rows in splits.items():
        there = rows[known[rows]]
        np.testing.assert_array_equal(np.sort(moved.codes[there, 0]), np.sort(codes[there, 0]))
        assert (len(there) == 1) == (moved.codes[there, 0] == codes[there, 0]).any(), name
    np.testing.assert_array_equal(moved.mask.sum(axis=0), mask.sum(axis=0))
    assert (moved.numbers == moved.codes).all()
    data, true = data_of(tmp_path, placebo=True), data_of(tmp_path)
    rows = true.rows("train")
    assert not torch.equal(data.batch("train", rows).inputs["metadata"], true.batch("train", rows).inputs["metadata"])
    assert torch.equal(data.batch("train", rows).inputs["asv"], true.batch("train", rows).inputs["asv"])
    fields: dict[str, Any] = {"transform": "zscore-category", "normalize_by": "site"}
    one, other = (data_of(tmp_path, placebo=placebo, **fields) for placebo in (True, False))
    assert one.fitted.transform == other.fitted.transform
    assert torch.equal(one.batch("val", [0, 1]).targets["y"], other.batch("val", [0, 1]).targets["y"])


def test_pairs_are_unifrac_over_all_asvs_or_the_matrix(tmp_path: Path) -> None:
    for metric in ("unweighted", "weighted", "weighted_normalized"):
        data = data_of(tmp_path, unifrac=metric)
        table = data.table
        assert table.tree is not None
        rows = [table.samples.index(name) for split in SPLITS for name in data.ids(split)]
        place = np.concatenate([data.batch(s, data.rows(s)).info["row"].numpy() for s in SPLITS])
        unifrac = UniFrac(table.tree, table.features, metric)  # type: ignore[arg-type]
        whole = unifrac.matrix(table.counts)[np.ix_(rows, rows)]
        np.testing.assert_allclose(data.pairs(place, torch.from_numpy(place)), whole, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(data.pairs(place[3:6], place[1:]), whole[3:6, 1:], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(data.faith(place), unifrac.faith_pd(table.counts[rows]), rtol=1e-6)
    names = sorted(SAMPLES)
    apart = np.abs(np.subtract.outer(np.arange(31), np.arange(31)) / 4)
    lines = [["", *names], *([name, *map(str, row)] for name, row in zip(names, apart, strict=True))]
    (tmp_path / "distances").write_text("\n".join("\t".join(line) for line in lines))
    data = data_of(tmp_path, distances=str(tmp_path / "distances"), tree=None, unifrac="weighted")
    row = data.batch("val", [0, 2]).info["row"]
    at = [names.index(data.ids("val")[0]), names.index(data.ids("val")[2])]
    np.testing.assert_array_equal(data.pairs(row, row), apart[np.ix_(at, at)])
    with pytest.raises(DataError, match="there is no tree"):
        data.faith(row)
    with pytest.raises(ConfigError, match="no distance is chosen"):
        data_of(tmp_path).pairs([0], [1])


def test_groups_stay_whole_and_keep_their_codes_over_folds(tmp_path: Path) -> None:
    codes: dict[str, int] = {}
    tested: list[str] = []
    for fold in range(3):
        data = data_of(tmp_path, folds=3, fold=fold, seed=fold)
        seen: list[set[int]] = []
        for split in SPLITS:
            for name, code in zip(data.ids(split), data.groups_of(split).tolist(), strict=True):
                assert codes.setdefault(name, code) == code
            seen.append(set(data.groups_of(split).tolist()))
        assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
        tested += data.ids("test")
        assert data.units("test").groups is not None
        np.testing.assert_array_equal(data.units("test").groups, data.groups_of("test"))
    assert sorted(tested) == sorted(codes)
    study = Study()
    pairs = [(one, other) for one in codes for other in codes if one < other]
    for one, other in pairs:
        family = study.metadata[one]["family"]
        assert (codes[one] == codes[other]) == (family != "" and family == study.metadata[other]["family"])
    gone = [s for s in sorted(codes) if not study.metadata[s]["family"]]
    assert f"{len(gone)} samples have no family and are groups of their own: {', '.join(gone)}" in data.notices()
    alone = data_of(tmp_path, group_by=None)
    every = np.concatenate([alone.groups_of(split) for split in SPLITS])
    assert len(np.unique(every)) == len(every)


def test_the_splits_follow_their_own_seed(tmp_path: Path) -> None:
    one, other = data_of(tmp_path, seed=1), data_of(tmp_path, seed=2)
    assert [one.ids(split) for split in SPLITS] == [other.ids(split) for split in SPLITS]
    third = data_of(tmp_path, seed=1, split_seed=1)
    assert third.ids("train") != one.ids("train")
    summary = one.split_summary()
    for split in SPLITS:
        ages = one.targets(split)
        assert summary[split] == {
            "samples": len(ages), "groups": len(np.unique(one.groups_of(split))), "known": len(ages),
            "median": float(np.median(ages)), "min": ages.min(), "max": ages.max(),
        }  # fmt: skip
    json.dumps(summary)
    lines, facts = one.describe()
    assert len(lines) == 4
    assert facts["read"] == len(one.features)
    json.dumps(facts)


def test_samples_out_of_range_are_left_out_and_told(tmp_path: Path) -> None:
    data = data_of(tmp_path, target_min=5.0, target_max=30)
    ages = {s: float(row["age"]) for s, row in Study().metadata.items() if row["age"]}
    beyond = sorted(s for s, age in ages.items() if not 5 <= age <= 30)
    assert sorted(n for split in SPLITS for n in data.ids(split)) == sorted(set(ages) - set(beyond))
    shown = ", ".join(f"{s} {ages[s]:g}" for s in beyond[:5])
    assert (
        f"{len(beyond)} samples have age below 5 or above 30 and are left out of every split: {shown}" in data.notices()
    )
    assert any("have no value of age" in words for words in data.notices())
    with pytest.raises(DataError, match=r"no sample is left of 31: 4 have no age, of 27 it is out of range"):
        data_of(tmp_path, target_min=1000.0)


def test_classes_have_sorted_labels_and_counts(tmp_path: Path) -> None:
    data = data_of(tmp_path, target="sex", categories="site", classifier=True, stratify=True, group_by=None)
    assert data.fitted.classes == ("female", "male")
    assert (data.schema.outputs, data.schema.bins) == (2, 0)
    assert "thresholds" not in data.tables
    study = Study()
    known = [s for s in SAMPLES if study.metadata[s]["sex"] in ("female", "male")]
    assert sorted(n for split in SPLITS for n in data.ids(split)) == sorted(known)
    for split in SPLITS:
        batch = data.batch(split, data.rows(split))
        assert batch.targets["y"].dtype == torch.int64
        names = [data.fitted.classes[label] for label in batch.targets["y"][:, 0].tolist()]
        assert names == [study.metadata[s]["sex"] for s in data.ids(split)] == data.targets(split).tolist()
        assert sum(data.split_summary()[split]["classes"].values()) == len(names)
    train = [study.metadata[s]["sex"] for s in data.ids("train")]
    assert data.fitted.class_counts == (train.count("female"), train.count("male"))
    panel = data.panel()
    assert panel.classes == 2
    new = study.with_cell(data.ids("val")[0], "sex", "neither")
    table = data.config.of_new(**new.write(tmp_path / "new"))
    ahead = data.config.build(table, 3, data.fitted, ahead=True)
    row = ahead.ids("ahead").index(data.ids("val")[0])
    assert not ahead.batch("ahead", [row]).targets["mask"].any()
    assert "1 samples have a class of sex that the run does not know: neither" in ahead.notices()


def test_without_a_target_every_sample_is_a_row(tmp_path: Path) -> None:
    data = data_of(tmp_path, target=None)
    assert sorted(n for split in SPLITS for n in data.ids(split)) == sorted(SAMPLES)
    assert not data.batch("train", [0, 1]).targets["mask"].any()
    assert (data.schema.outputs, data.schema.bins) == (0, 0)
    assert np.isnan(data.targets("val")).all()


def test_the_rivals_see_the_same_samples(tmp_path: Path) -> None:
    data = data_of(tmp_path, placebo=True)
    panel = data.panel()
    whole = np.concatenate([dense_of(data.batch(s, data.rows(s)), len(data.features)) for s in SPLITS])
    rows = np.concatenate([panel.rows[split] for split in SPLITS])
    np.testing.assert_allclose(panel.log_counts.toarray()[rows], np.log1p(whole.astype(np.float64)))
    np.testing.assert_allclose(panel.clr[rows], clr(whole.astype(np.float64)), atol=1e-12)
    for split in SPLITS:
        np.testing.assert_array_equal(panel.y[panel.rows[split]], data.targets(split))
        ids = data.ids(split)
        assert list(panel.metadata.index[panel.rows[split]]) == list(ids)
        assert [panel.prefix[row] for row in panel.rows[split]] == [name[0] for name in ids]
        sites = [Study().metadata[name]["site"] for name in ids]
        assert list(panel.metadata["site"].iloc[panel.rows[split]]) == sites
    assert "age" not in panel.metadata.columns
    assert (panel.inputs, panel.numbers, panel.classes) == (("site", "sex", "ph"), ("ph",), 0)


def test_targets_and_columns_that_can_not_be_are_refused(tmp_path: Path) -> None:
    negative = Study().with_cell(SAMPLES[1], "age", "-2")
    with pytest.raises(DataError, match=rf"row {SAMPLES[1]}: a target is negative"):
        data_of(tmp_path, negative, transform="log-minmax")
    with pytest.raises(DataError, match=rf"column ph: 1 of \d+ cells are no numbers: {SAMPLES[1]} 'sour'"):
        data_of(tmp_path, Study().with_cell(SAMPLES[1], "ph", "sour"))
    sparse_study = Study(counts={(s, f): int(s == SAMPLES[n % 31]) for n, f in enumerate(FEATURES * 2) for s in SAMPLES}
                         | {(s, f"w{s}"): 1 for s in SAMPLES})  # fmt: skip
    sparse_study.features = [*FEATURES, *(f"w{s}" for s in SAMPLES)]
    sparse_study.letters = {f: "ACGT" for f in sparse_study.features}
    with pytest.raises(DataError, match=r"no ASV is in 0\.9 of the \d+ train samples; the commonest is in 1"):
        data_of(tmp_path, sparse_study, prevalence=0.9)
