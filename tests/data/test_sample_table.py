"""Counts, sequences, tree, distances and metadata end in one order, whatever the files' own; what differs is told."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait.core.errors import DataError
from plait.data.sample_table import SampleTable, number_column, read_samples
from plait.data.table import refuse

SAMPLES = ["s3", "s1", "s2", "007", "1.0"]
FEATURES = ["g", "10", "9", "f", "e", "d", "c"]
BASES = ["ACGTA", "CCGTA", "GCGTA", "TCGTA", "AAGTA", "ACCTA", "ACGCA"]


def _counts() -> dict[tuple[str, str], float]:
    generator = np.random.default_rng(11)
    values = generator.integers(0, 4, size=(len(FEATURES), len(SAMPLES)))
    values[0], values[:, 0] = values[0] + 1, values[:, 0] + 1
    return {(f, s): float(values[i, j]) for i, f in enumerate(FEATURES) for j, s in enumerate(SAMPLES)}


@dataclass
class Study:
    """The contents of a study's files, written in any order."""

    samples: list[str] = field(default_factory=lambda: list(SAMPLES))
    features: list[str] = field(default_factory=lambda: list(FEATURES))
    counts: dict[tuple[str, str], float] = field(default_factory=_counts)
    described: list[str] = field(default_factory=lambda: list(SAMPLES))
    ages: dict[str, str] = field(default_factory=lambda: dict(zip(SAMPLES, "12345", strict=True)))
    sites: dict[str, str] = field(default_factory=lambda: dict(zip(SAMPLES, "aabba", strict=True)))
    sequences: dict[str, str] = field(default_factory=lambda: dict(zip(FEATURES, BASES, strict=True)))
    tips: list[str] = field(default_factory=lambda: [*FEATURES, "beyond"])
    apart: list[str] = field(default_factory=lambda: list(SAMPLES))

    def shuffled(self, seed: int) -> "Study":
        """The same study with the rows of every file in another order."""
        chance = random.Random(seed)
        mixed = {
            name: chance.sample(there, len(there)) for name, there in vars(self).items() if isinstance(there, list)
        }
        letters = dict(chance.sample(list(self.sequences.items()), len(self.sequences)))
        return replace(self, **{**mixed, "tips": self.tips, "sequences": letters})

    def write(self, folder: Path) -> dict[str, Path]:
        """Write all files of the study, and say which is which."""
        folder.mkdir(exist_ok=True)
        order = sorted(SAMPLES)

        def apart(one: str, other: str) -> str:
            return str(abs((order.index(one) if one in order else 9) - (order.index(other) if other in order else 9)))

        texts = {
            "table": [["#OTU ID", *self.samples]]
            + [[f, *(f"{self.counts.get((f, s), 0):g}" for s in self.samples)] for f in self.features],
            "metadata": [["#SampleID", "age", "site"]]
            + [[s, self.ages.get(s, ""), self.sites.get(s, "")] for s in self.described],
            "sequences": [[f">{name}\n{letters}"] for name, letters in self.sequences.items()],
            "taxonomy": [["feature_id", "taxon"], *([f, f"k__{f}"] for f in self.features)],
            "distances": [
                ["", *self.apart],
                *([one, *(apart(one, other) for other in self.apart)] for one in self.apart),
            ],
            "tree": [["(" + ",".join(f"{name}:{n + 1}" for n, name in enumerate(self.tips)) + ");"]],
        }
        for name, rows in texts.items():
            (folder / name).write_text("\n".join("\t".join(row) for row in rows) + "\n")
        return {name: folder / name for name in texts}


def _read(folder: Path, study: Study, leave: tuple[str, ...] = (), **options: Any) -> SampleTable:
    files = {name: path for name, path in study.write(folder).items() if name not in leave}
    return read_samples(files.pop("table"), **files, **options)


def _found(table: SampleTable) -> list[str]:
    return list(map(str, table.findings))


def test_everything_stands_in_the_order_of_the_sorted_ids(tmp_path: Path) -> None:
    study = Study()
    table = _read(tmp_path / "study", study, target="age", categories=["site"])
    assert table.samples == ("007", "1.0", "s1", "s2", "s3")
    assert table.features == ("10", "9", "c", "d", "e", "f", "g")
    expected = [[study.counts[f, s] for f in table.features] for s in table.samples]
    np.testing.assert_array_equal(table.counts.toarray(), expected)
    assert table.counts.format == "csr"
    assert table.counts.has_canonical_format
    assert table.sequences == tuple(study.sequences[f] for f in table.features)
    assert table.taxonomy == tuple(f"k__{f}" for f in table.features)
    assert list(table.metadata.index) == list(table.samples)
    assert list(table.metadata.age) == [study.ages[s] for s in table.samples]
    assert table.tree is not None
    assert tuple(table.tree.tips) == table.features
    lengths = [table.tree.length[table.tree.tips[f]] for f in table.features]
    np.testing.assert_array_equal(lengths, [study.tips.index(f) + 1 for f in table.features])
    np.testing.assert_array_equal(table.distances, np.abs(np.subtract.outer(np.arange(5), np.arange(5))))
    assert table.findings == ()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_the_rows_of_every_file_is_exactly_irrelevant(seed: int, tmp_path: Path) -> None:
    study = Study(samples=[*SAMPLES, "only"], described=[*SAMPLES, "x", "y"], features=[*FEATURES, "none", "void"])
    study.counts[FEATURES[2], "s1"] = 0.25
    study.sequences[FEATURES[1]] = "ACGTN"
    one = _read(tmp_path / "one", study)
    other = _read(tmp_path / "other", study.shuffled(seed))
    assert one.fingerprint() == other.fingerprint()
    assert _found(one) == _found(other)
    assert (one.samples, one.features, one.sequences) == (other.samples, other.features, other.sequences)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one.counts, name), getattr(other.counts, name))
    assert one.metadata.equals(other.metadata)
    np.testing.assert_array_equal(one.distances, other.distances)


@pytest.mark.parametrize("change", ["counts", "ages", "sequences", "described", "tips", "apart"])
def test_the_fingerprint_sees_each_file(change: str, tmp_path: Path) -> None:
    study = Study()
    before = _read(tmp_path / "study", study).fingerprint()
    changes: dict[str, Any] = {
        "counts": {**study.counts, ("g", "s1"): 99.0},
        "ages": {**study.ages, "s1": ""},
        "sequences": {**study.sequences, "g": "AAAAA"},
        "described": study.described[1:],
        "tips": study.tips[::-1],
    }
    if change == "apart":
        after = _read(tmp_path / "study", study, leave=("distances",))
    else:
        after = _read(tmp_path / "study", replace(study, **{change: changes[change]}))
    assert after.fingerprint() != before


def test_samples_of_one_side_only_are_left_out_and_told(tmp_path: Path) -> None:
    study = Study(samples=[*SAMPLES, "t2", "t1"], described=[*SAMPLES, *"mnopqr"])
    table = _read(tmp_path, study)
    assert table.samples == tuple(sorted(SAMPLES))
    assert _found(table) == [
        "2 samples of the table are not in the metadata and are left out: t1, t2",
        "6 samples of the metadata are not in the table and are left out: m, n, o, p, q",
    ]


def test_no_sample_in_common_shows_five_ids_of_each_side(tmp_path: Path) -> None:
    study = Study(described=list("zyxwvutsrq"))
    with pytest.raises(DataError, match=r"table has 007, 1\.0, s1, s2, s3 and .*metadata has q, r, s, t, u, \.\.\."):
        _read(tmp_path, study)
    with pytest.raises(DataError, match="give the table turned"):
        _read(tmp_path, replace(study, described=["g", "c"]))
    for ids in (["7", "S5"], ["1"], ["S3"]):
        with pytest.raises(DataError, match=r"without case, leading zeros and a final \.0"):
            _read(tmp_path, replace(study, described=ids))


def test_a_table_of_samples_in_rows_is_seen_from_the_metadata(tmp_path: Path) -> None:
    study = Study()
    files = study.write(tmp_path)
    upright = _read(tmp_path, study, leave=("distances",))
    lines = [line.split("\t") for line in files["table"].read_text().removeprefix("#OTU ID").splitlines()]
    turned = ["\t".join(column) for column in zip(*lines, strict=True)]
    files["table"].write_text("\n".join(turned))
    del files["distances"]
    assert read_samples(files.pop("table"), **files).fingerprint() == upright.fingerprint()


def test_without_metadata_all_samples_stay(tmp_path: Path) -> None:
    table = _read(
        tmp_path, Study(samples=[*SAMPLES, "t"], counts={**_counts(), ("g", "t"): 1.0}), ("metadata", "distances")
    )
    assert table.samples == ("007", "1.0", "s1", "s2", "s3", "t")
    assert table.metadata.shape == (6, 0)
    assert list(table.metadata.index) == list(table.samples)
    with pytest.raises(DataError, match=r"no column 'age' without metadata"):
        _read(tmp_path, Study(), ("metadata",), target="age")


def test_empty_samples_and_features_are_left_out_and_told(tmp_path: Path) -> None:
    study = Study(features=[*FEATURES, "z2", "z1"], samples=[*SAMPLES, "only"])
    study.counts.update({("z1", "only"): 5.0, **{(f, "s2"): 0.0 for f in FEATURES}})
    table = _read(tmp_path, study)
    assert table.samples == ("007", "1.0", "s1", "s3")
    assert set(table.features) == set(FEATURES)
    assert "2 features are empty (no count above 0) and are left out: z1, z2" in _found(table)
    assert "1 samples are empty (no count above 0) and are left out: s2" in _found(table)
    assert "1 samples of the distances are not in the table and are left out: s2" in _found(table)
    with pytest.raises(DataError, match="all 7 features are empty"):
        _read(tmp_path, Study(counts={}))


@pytest.mark.parametrize("part, what", [("sequences", "sequence"), ("tips", "tree tip")])
def test_features_without_sequence_or_tip_wait_for_a_decision(part: str, what: str, tmp_path: Path) -> None:
    study = Study()
    if part == "sequences":
        study.sequences = {name: study.sequences[name] for name in FEATURES[:4]}
    else:
        study.tips = FEATURES[:4]
    table = _read(tmp_path, study)
    assert table.features == tuple(sorted(FEATURES[:4]))
    total = sum(study.counts.values())
    lost = 100 * sum(count for (f, _), count in study.counts.items() if f not in FEATURES[:4]) / total
    assert _found(table) == [f"3 features have no {what} and are left out ({lost:.2g} % of all counts): c, d, e"]
    with pytest.raises(DataError, match=rf"no {what}.*decide by data\.unmatched"):
        refuse(table.findings, "study")
    dropped = _read(tmp_path, study, unmatched="drop")
    refuse(dropped.findings, "study")
    assert dropped.fingerprint() == table.fingerprint()
    if part == "sequences":
        study.sequences = {"x": "A", "y": "C"}
    else:
        study.tips = ["x", "y"]
    with pytest.raises(DataError, match=rf"none of the 7 features \(10, 9, c, d, e, \.\.\.\) has a {what}.* x, y"):
        _read(tmp_path, study, unmatched="drop")


def test_ids_that_are_sequences_need_no_fasta_file(tmp_path: Path) -> None:
    study = Study(features=BASES, counts={(b, s): 1.0 for b in BASES for s in SAMPLES})
    table = _read(tmp_path, study, ("sequences", "tree"))
    assert table.sequences == table.features == tuple(sorted(BASES))
    assert _read(tmp_path, Study(), ("sequences",)).sequences is None


def test_letters_beyond_acgt_are_told_for_the_features_of_the_table(tmp_path: Path) -> None:
    study = Study()
    study.sequences.update({"c": "ACGNN", "beyond": "NNN"})
    assert _found(_read(tmp_path, study)) == [
        "1 sequences have letters other than A, C, G and T: c 2 of 5 (N)",
    ]


def test_relative_abundances_are_told(tmp_path: Path) -> None:
    study = Study()
    study.counts[("g", "007")] = 0.125
    table = _read(tmp_path, study)
    assert _found(table) == ["1 counts are no whole numbers (relative abundances can't be rarefied): 007 g 0.125"]
    assert table.counts.toarray()[0, table.features.index("g")] == 0.125


def test_a_target_of_text_names_its_samples_and_values(tmp_path: Path) -> None:
    study = Study(ages={"s1": "old", "s2": "3", "s3": "inf", "007": "1,5"})
    message = r"metadata, column age: 3 of 5 cells are no numbers: 007 '1,5', s1 'old', s3 'inf' .*classifier"
    with pytest.raises(DataError, match=message):
        _read(tmp_path, study, target="age")
    assert _found(_read(tmp_path, study, target="age", classifier=True)) == [
        "1 samples have no value of age and are left out of training: 1.0",
        "4 categories of age are seen once: 1,5, 3, inf, old",
    ]


def test_missing_values_of_the_target_are_counted_and_stay(tmp_path: Path) -> None:
    table = _read(tmp_path, Study(ages={"s1": "2.50", "s2": "NA", "s3": "1e1"}), target="age")
    assert _found(table) == ["3 samples have no value of age and are left out of training: 007, 1.0, s2"]
    assert len(table.samples) == 5
    assert table.metadata.age["s1"] == "2.50"
    np.testing.assert_array_equal(number_column(table.metadata, "age", "m", ""), [np.nan, np.nan, 2.5, np.nan, 10])
    with pytest.raises(DataError, match="none of the 5 samples has a value"):
        _read(tmp_path, Study(ages={}), target="age")
    with pytest.raises(DataError, match="every sample has the class 'a'"):
        _read(tmp_path, Study(sites={"s1": "a", "s2": "a"}), target="site", classifier=True)


def test_categories_seen_once_are_told(tmp_path: Path) -> None:
    study = Study(sites=dict(zip(SAMPLES, "abbcc", strict=True)))
    assert _found(_read(tmp_path, study, categories=["site"])) == ["1 categories of site are seen once: a"]
    assert _found(_read(tmp_path, study, target="site", classifier=True)) == ["1 categories of site are seen once: a"]
    assert _found(_read(tmp_path, study)) == []


def test_unknown_columns_have_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata: no column 'aeg' \(did you mean age\? set data\.target\)"):
        _read(tmp_path, Study(), target="aeg")
    with pytest.raises(DataError, match=r"no column 'sites' \(did you mean site\? set data\.categories\)"):
        _read(tmp_path, Study(), target="age", categories=["sites"])


def test_distances_of_other_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 5 samples \(s1, s3\) are not in the matrix, which has 007, 1\.0, q, s2"):
        _read(tmp_path, Study(apart=["007", "1.0", "s2", "q"]))
    table = _read(tmp_path, Study(apart=[*SAMPLES, "q"]))
    assert _found(table) == ["1 samples of the distances are not in the table and are left out: q"]
    assert table.distances is not None
    assert table.distances.shape == (5, 5)


def test_features_without_a_taxon_are_told(tmp_path: Path) -> None:
    files = Study().write(tmp_path)
    files["taxonomy"].write_text("feature_id\ttaxon\ng\tk__g\n")
    table = read_samples(files["table"], taxonomy=files["taxonomy"])
    assert table.taxonomy == ("", "", "", "", "", "", "k__g")
    assert _found(table) == ["6 features have no taxon: 10, 9, c, d, e"]


def test_the_real_gut_microbiomes_read_whole(shared: Path) -> None:
    folder = shared / "data" / "microbiome" / "global_gut"
    names = {"sequences": "rep_seqs.fasta", "tree": "tree.nwk", "taxonomy": "taxonomy.tsv", "metadata": "metadata.tsv"}
    files: dict[str, Any] = {name: folder / file for name, file in names.items()}
    table = read_samples(folder / "table.biom", **files, target="age_years", categories=["country", "sex"])
    assert table.counts.shape == (528, 4040)
    assert table.samples == tuple(sorted(table.samples))
    assert table.features == tuple(sorted(table.features))
    assert table.sequences is not None
    assert {len(letters) for letters in table.sequences} == {150}
    assert 3990 < len(set(table.sequences)) < 4040
    assert table.tree is not None
    assert len(table.tree.tips) == 4040
    assert table.taxonomy is not None
    assert all(taxon.startswith("k__") for taxon in table.taxonomy)
    ages = number_column(table.metadata, "age_years", "metadata.tsv", "")
    assert int(np.isfinite(ages).sum()) == 488
    assert np.nanmin(ages) == pytest.approx(0.03)
    assert np.nanmax(ages) == pytest.approx(83.2)
    assert table.metadata.country.value_counts().to_dict() == {"USA": 315, "Malawi": 114, "Venezuela": 99}
    assert [(finding.what, finding.count) for finding in table.findings] == [
        ("samples have no value of age_years and are left out of training", 40)
    ]
    assert read_samples(folder / "table.biom").taxonomy == table.taxonomy
    depths = table.counts.sum(axis=1)
    assert 9000 < np.median(depths) < 10000
