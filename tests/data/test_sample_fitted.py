"""What is fitted comes from train rows alone, is the same in any order of the files, and reads new samples."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sample_study import FEATURES, SAMPLES, SPLITS, Study, check_same, config_of, data_of, dense_of
from plait.core.errors import ConfigError, DataError
from plait.data.sample_fitted import SampleFitted
from plait.features.composition import clr
from plait.objectives.regression import thresholds_of


def test_what_is_fitted_has_its_definition(tmp_path: Path) -> None:
    data = data_of(tmp_path, transform="zscore")
    study, train = Study(), data.ids("train")
    counts = np.array([[study.counts[s, f] for f in sorted(FEATURES)] for s in train], dtype=float)
    share = (counts > 0).mean(axis=0)
    assert data.features == tuple(f for f, p in zip(sorted(FEATURES), share, strict=True) if p >= 0.4)
    assert len(data.features) < len(FEATURES)
    kept = counts[:, [sorted(FEATURES).index(f) for f in data.features]]
    np.testing.assert_allclose(data.tables["clr_mean"], clr(kept).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(data.fitted.prevalence, (kept > 0).mean(axis=0))
    ages = np.array([float(study.metadata[s]["age"]) for s in train])
    z = (ages - ages.mean()) / ages.std()
    np.testing.assert_allclose(data.tables["thresholds"], thresholds_of(z, 11), rtol=1e-6)
    np.testing.assert_allclose(data.batch("train", data.rows("train")).targets["y"][:, 0], z, rtol=1e-5)
    np.testing.assert_allclose(data.original_unit(z[:, None], "train", data.rows("train"))[:, 0], ages)
    sd = np.full((len(z), 1), 0.5)
    spread = data.spread_unit(z[:, None], sd, "train", data.rows("train"))
    np.testing.assert_allclose(spread, 0.5 * ages.std())
    assert data.taxa == tuple(f"k__{f}" if f != FEATURES[0] else f for f in data.features)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_the_order_of_the_rows_of_every_file_is_exactly_irrelevant(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    one = data_of(folder / "one", mixup=0.4, unifrac="weighted")
    other = data_of(folder / "other", Study(order=seed), mixup=0.4, unifrac="weighted")
    assert one.fingerprint() == other.fingerprint()
    assert one.notices() == other.notices()
    assert one.split_summary() == other.split_summary()
    for name, table in one.tables.items():
        assert torch.equal(table, other.tables[name]), name
    for split in SPLITS:
        assert one.ids(split) == other.ids(split)
        check_same(one.batch(split, one.rows(split)), other.batch(split, one.rows(split)))
    check_same(one.training_batch([3, 1], "a", 2), other.training_batch([3, 1], "a", 2))
    assert torch.equal(one.pairs([0, 5], [4]), other.pairs([0, 5], [4]))


@pytest.mark.parametrize("change", ["counts", "targets", "metadata"])
def test_validation_and_test_rows_shape_nothing_that_is_fitted(change: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"transform": "zscore-category", "normalize_by": "site"}
    before = data_of(tmp_path / "before", **fields)
    study = Study()
    for name in (*before.ids("val"), *before.ids("test")):
        if change == "counts":
            study.counts |= {(name, f): 3 * study.counts[name, f] + 1 for f in FEATURES}
        elif change == "targets":
            study = study.with_cell(name, "age", str(90 + float(study.metadata[name]["age"])))
        else:
            study = study.with_cell(name, "site", "other").with_cell(name, "ph", "14")
    after = data_of(tmp_path / "after", study, **fields)
    assert after.fingerprint() != before.fingerprint()
    assert after.fitted.record() == before.fitted.record()
    for name, tensor in before.fitted.tensors().items():
        assert torch.equal(tensor, after.fitted.tensors()[name]), name
    for name, table in before.tables.items():
        assert torch.equal(table, after.tables[name]), name
    check_same(before.batch("train", before.rows("train")), after.batch("train", after.rows("train")))
    rival = study.with_cell(before.ids("train")[0], "age", "77")
    rival.counts[before.ids("train")[0], FEATURES[-1]] = 500
    assert not torch.equal(data_of(tmp_path / "rival", rival, **fields).tables["clr_mean"], before.tables["clr_mean"])


def _read_again(fitted: SampleFitted, folder: Path) -> SampleFitted:
    """What a run fitted, through its files."""
    from safetensors.torch import load_file, save_file

    save_file(fitted.tensors(), folder / "fitted.safetensors")
    return SampleFitted.read(load_file(folder / "fitted.safetensors"), json.loads(json.dumps(fitted.record())))


@pytest.mark.parametrize(
    "fields", [{"transform": "log-zscore", "rarefy": 40}, {"target": "site", "categories": "sex", "classifier": True}]
)
def test_a_run_sees_its_own_samples_again_bit_for_bit(fields: dict[str, Any], tmp_path: Path) -> None:
    config = config_of(tmp_path, most_features=9, **fields)
    data = config.build(config.read(), 3)
    fitted = _read_again(data.fitted, tmp_path)
    assert fitted.record() == data.fitted.record()
    for name, tensor in data.fitted.tensors().items():
        assert tensor.dtype == fitted.tensors()[name].dtype
        assert torch.equal(tensor, fitted.tensors()[name]), name
    assert config.read_fitted(fitted.tensors(), fitted.record()).record() == fitted.record()
    again = config.build(config.read(), 3, fitted)
    check_same(again.batch("test", [2, 0]), data.batch("test", [2, 0]))
    ids = data.ids("val")
    part = Study(order=5).of_samples(list(ids)).write(tmp_path / "part")
    for files in (Study().write(tmp_path), part):
        new = config.of_new(data.schema, fitted, ("asv", "metadata"), **files)
        ahead = config.build(new, 3, fitted, ahead=True)
        rows = [ahead.ids("ahead").index(name) for name in ids]
        check_same(ahead.batch("ahead", rows), data.batch("val", data.rows("val")), leave=("row",))
        assert ahead.schema == data.schema
        for name, table in data.tables.items():
            assert torch.equal(table, ahead.tables[name]), name
    assert ahead.asked().tolist() == list(range(len(ids)))


def test_new_samples_without_metadata_have_masked_columns_and_targets(tmp_path: Path) -> None:
    config = config_of(tmp_path, transform="zscore-category", normalize_by="site")
    data = config.build(config.read(), 3)
    files = Study().of_samples(SAMPLES[:7]).write(tmp_path / "new")
    ahead = config.build(config.of_new(table=files["table"]), 3, data.fitted, ahead=True)
    batch = ahead.batch("ahead", ahead.rows("ahead"))
    assert not batch.inputs["metadata_mask"].any()
    assert not batch.targets["mask"].any()
    assert np.isnan(ahead.targets("ahead")).all()
    assert [words for words in ahead.notices() if "metadata" in words] == [
        *(f"7 samples have no column {name} in their metadata: it is masked" for name in ("site", "sex", "ph")),
        "7 samples have no column site in their metadata: the target goes by the statistics of all",
    ]
    centre = data.fitted.transform.overall.centre[0]  # type: ignore[union-attr]
    np.testing.assert_allclose(ahead.original_unit(np.zeros((7, 1)), "ahead", np.arange(7)), centre)
    with pytest.raises(ConfigError, match="need what a run fitted"):
        config.build(config.of_new(table=files["table"]), 3, ahead=True)


def test_a_category_of_no_train_sample_is_masked_and_told(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    data = config.build(config.read(), 3)
    name, rival = data.ids("val")[0], data.ids("test")[0]
    study = Study().with_cell(name, "site", "ear").with_cell(rival, "site", "UNKNOWN")
    ahead = config.build(config.of_new(**study.write(tmp_path / "new")), 3, data.fitted, ahead=True)
    for split, again in (("val", data_of(tmp_path / "own", study)), ("ahead", ahead)):
        assert again.categories == data.categories
        assert "1 cells of site are categories of no train sample and are masked: ear" in again.notices()
        assert "1 cells of site count as missing: UNKNOWN" in again.notices()
        batch = again.batch(split, [again.ids(split).index(name)])
        assert batch.inputs["metadata_mask"][0, 0].item() is False
        assert batch.inputs["metadata"][0, 0].item() == 0


def test_other_ids_meet_by_sequence_and_what_is_unknown_is_told(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    data = config.build(config.read(), 3)
    study = Study()
    other = {name: f"x{len(FEATURES) - number:02d}" for number, name in enumerate(FEATURES)}
    lost = data.features[-1]
    renamed = replace(
        study,
        features=[other[name] for name in FEATURES],
        counts={(s, other[f]): n for (s, f), n in study.counts.items()},
        letters={other[f]: ("A" * 23 if f == lost else text) for f, text in study.letters.items()},
    )
    files = renamed.write(tmp_path / "new")
    ahead = config.build(config.of_new(**files), 3, data.fitted, ahead=True)
    rows = [ahead.ids("ahead").index(name) for name in data.ids("train")]
    expected = dense_of(data.batch("train", data.rows("train")), len(data.features))
    expected[:, -1] = 0
    assert torch.equal(dense_of(ahead.batch("ahead", rows), len(data.features)), expected)
    total = sum(study.counts.values())
    rest = sum(n for (_, f), n in study.counts.items() if f not in data.features or f == lost)
    left_out = [other[f] for f in FEATURES if f not in data.features or f == lost]
    told = [words for words in ahead.notices() if "ASVs" in words]
    assert any(words.startswith(f"{len(data.features) - 1} ASVs are the run's by their sequence") for words in told)
    want = f"{len(left_out)} of 19 ASVs are not among the {len(data.features)} that the run reads"
    assert f"{want} ({100 * rest / total:.2g} % of all reads): {', '.join(sorted(left_out)[:5])}" in told
    with pytest.raises(DataError, match=r"none of the 19 ASVs \(x01, .*\) is among the \d+ of the run \(v0"):
        config.build(config.of_new(table=files["table"]), 3, data.fitted, ahead=True)
    swapped = replace(study, letters={**study.letters, lost: "C" * 23})
    changed = config.build(config.of_new(**swapped.write(tmp_path / "swapped")), 3, data.fitted, ahead=True)
    assert f"1 ASVs have an id of the run and another sequence: the sequence counts: {lost}" in changed.notices()
    assert not dense_of(changed.batch("ahead", changed.rows("ahead")), len(data.features))[:, -1].any()


def test_a_rare_asv_is_not_taken_for_another_of_the_same_sequence(tmp_path: Path) -> None:
    study = Study()
    rare, common = FEATURES[0], FEATURES[-1]
    study.letters[rare] = study.letters[common]
    config = config_of(tmp_path, study)
    data = config.build(config.read(), 3)
    assert rare not in data.features
    column = data.features.index(common)
    got = dense_of(data.batch("train", data.rows("train")), len(data.features))[:, column]
    np.testing.assert_array_equal(got, [study.counts[s, common] for s in data.ids("train")])
    assert any(study.counts[s, rare] for s in data.ids("train"))
    other = replace(study, features=[rare], letters={rare: study.letters[rare]})
    with pytest.raises(DataError, match="none of the 1 ASVs"):
        config.build(config.of_new(**_without_tree(other, tmp_path / "rare")), 3, data.fitted, ahead=True)
    other = replace(
        other, features=["new"], letters={"new": study.letters[rare]}, counts={(s, "new"): 2 for s in SAMPLES}
    )
    ahead = config.build(config.of_new(**_without_tree(other, tmp_path / "new")), 3, data.fitted, ahead=True)
    assert dense_of(ahead.batch("ahead", [0]), len(data.features)).nonzero().tolist() == [[0, column]]


def _without_tree(study: Study, folder: Path) -> dict[str, str]:
    files = study.write(folder)
    return {name: files[name] for name in ("table", "sequences", "metadata")}


def test_a_sample_without_a_known_asv_stays_with_an_empty_mask(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    data = config.build(config.read(), 3)
    study = Study(features=[*FEATURES, "new"])
    study.counts = {**study.counts, **{(SAMPLES[4], f): 0 for f in FEATURES}, (SAMPLES[4], "new"): 8}
    study.letters = {**study.letters, "new": "G" * 21}
    ahead = config.build(config.of_new(**study.write(tmp_path / "new")), 3, data.fitted, ahead=True)
    row = ahead.ids("ahead").index(SAMPLES[4])
    batch = ahead.batch("ahead", [row])
    assert batch.inputs["asv_mask"].tolist() == [[False]]
    assert f"1 samples have none of the ASVs that the run reads: {SAMPLES[4]}" in ahead.notices()
    assert len(ahead.rows("ahead")) == len(SAMPLES)


def test_a_column_that_no_train_sample_has_is_left_out(tmp_path: Path) -> None:
    study = Study()
    for name in SAMPLES:
        study = study.with_cell(name, "sex", "not applicable").with_cell(name, "ph", "7")
    data = data_of(tmp_path, study)
    assert data.schema.columns == {"site": 3, "ph": 0}
    assert "0 train samples have a value of sex: the column is left out" in data.notices()
    assert data.fitted.numbers == {"ph": (7.0, 1.0)}


def test_the_real_gut_microbiomes_in_folds_by_family(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "microbiome" / "global_gut"
    names = {"table": "table.biom", "sequences": "rep_seqs.fasta", "tree": "tree.nwk", "metadata": "metadata.tsv"}
    fields = {name: str(folder / file) for name, file in names.items()}
    config = config_of(
        tmp_path, taxonomy=None, **fields, target="age_years", target_max=18, categories="country,sex", numbers=None,
        group_by="family_derived", folds=5, prevalence=0.05, mixup=0.4, unifrac="unweighted",
    )  # fmt: skip
    table = config.read()
    data = config.build(table, 0)
    assert sum(len(data.rows(split)) for split in SPLITS) == 305
    assert 1200 < len(data.features) < 1500
    assert data.categories == {"country": ("Malawi", "USA", "Venezuela"), "sex": ("female", "male")}
    assert "12 cells of sex count as missing: unknown" in data.notices()
    batch = data.training_batch(data.rows("train")[:64], "fit", 0)
    batch.check(["asv"])
    dense_of(batch, len(data.features))
    ahead = config.build(table, 0, _read_again(data.fitted, tmp_path), ahead=True)
    rows = [ahead.ids("ahead").index(name) for name in data.ids("test")]
    check_same(ahead.batch("ahead", rows), data.batch("test", data.rows("test")), leave=("row",))
    assert data.pairs([0, 1], [2, 3, 4]).shape == (2, 3)
