"""The source of samples: fields that exclude each other, columns by name, rarefaction, and files of new samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.sample_study import SAMPLES, Study, config_of
from plait.core.config import validate
from plait.core.errors import ConfigError, DataError, FileError
from plait.core.kinds import config_class
from plait.data.sources.asv import AsvSourceConfig


def test_columns_come_as_a_list_or_with_commas() -> None:
    assert config_class("data.sources", "asv") is AsvSourceConfig
    one = validate(AsvSourceConfig, {"table": "t", "categories": "site,  sex ,", "numbers": "ph", "normalize_by": ""})
    assert (one.categories, one.numbers, one.normalize_by) == (["site", "sex"], ["ph"], [])
    other = AsvSourceConfig(table="t", categories=["site", "sex"], numbers=["ph"])
    assert one == other
    assert AsvSourceConfig.model_validate(one.model_dump()) == one
    with pytest.raises(ConfigError, match="categories"):
        validate(AsvSourceConfig, {"table": "t", "categories": 3})


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"classifier": True, "transform": "minmax"}, r"data\.transform: classes have no target transform"),
        ({"classifier": True, "target_max": 3.0}, "classes have no range"),
        ({"target_min": 3.0, "target_max": 2.0}, "no target lies between 3 and 2"),
        ({"target": None, "target_min": 3.0}, "there is no target"),
        ({"target": None, "classifier": True}, "there is no target"),
        ({"stratify": True}, "only classes can be stratified"),
        ({"target": "site"}, "the target 'site' is among what the model is told"),
        ({"target": "site", "categories": None, "normalize_by": ["site"]}, "the target 'site' is among"),
        ({"numbers": "ph,site"}, "columns are named more than once: site"),
        ({"unifrac": "weighted", "tree": None}, "neither a tree nor a matrix"),
    ],
)
def test_fields_that_exclude_each_other(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = config_of(tmp_path, **fields)
    with pytest.raises(ConfigError, match=message):
        config.read()


@pytest.mark.parametrize("field", ["target", "categories", "numbers", "group_by", "normalize_by"])
def test_a_column_that_the_metadata_lack_has_the_nearest_name(field: str, tmp_path: Path) -> None:
    name: Any = "famly" if field in ("target", "group_by") else ["famly"]
    with pytest.raises(DataError, match=rf"no column 'famly' \(did you mean family\? set data\.{field}\)"):
        config_of(tmp_path, **{field: name}).read()


def test_columns_without_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'age' without metadata"):
        config_of(tmp_path, metadata=None).read()
    bare = {"metadata": None, "target": None, "categories": None, "numbers": None}
    with pytest.raises(DataError, match=r"data\.group_by: there is no column 'family' without metadata"):
        config_of(tmp_path, **bare).read()
    assert config_of(tmp_path, **bare, group_by=None).read().samples == tuple(sorted(SAMPLES))


def test_rarefied_samples_have_the_depth_and_their_reads_do_not_depend_on_their_neighbours(tmp_path: Path) -> None:
    whole = config_of(tmp_path).read()
    reads = whole.counts.sum(axis=1)
    depth = int(np.sort(reads)[4])
    table = config_of(tmp_path, rarefy=depth).read()
    assert table.samples == tuple(s for s, n in zip(whole.samples, reads, strict=True) if n >= depth)
    below = len(SAMPLES) - len(table.samples)
    assert below >= 3
    assert any(str(f).startswith(f"{below} samples have fewer than {depth} reads") for f in table.findings)
    np.testing.assert_array_equal(table.counts.sum(axis=1), depth)
    columns = [whole.features.index(name) for name in table.features]
    rows = [whole.samples.index(name) for name in table.samples]
    assert (table.counts.toarray() <= whole.counts.toarray()[np.ix_(rows, columns)]).all()
    assert (table.counts.sum(axis=0) > 0).all()
    assert list(table.metadata.index) == list(table.samples)
    assert table.tree is not None
    assert tuple(table.tree.tips) == table.features
    some = list(table.samples[3:9])
    part = config_of(tmp_path / "part", Study().of_samples(some), rarefy=depth).read()
    taken = {(s, f): n for s, row in zip(part.samples, part.counts.toarray(), strict=True)
             for f, n in zip(part.features, row, strict=True)}  # fmt: skip
    for name in some:
        row = table.counts.toarray()[table.samples.index(name)]
        assert [taken.get((name, f), 0) for f in table.features] == row.tolist()
    other = config_of(tmp_path, rarefy=depth, split_seed=1).read()
    assert other.fingerprint() != table.fingerprint()
    assert config_of(tmp_path / "other", Study(order=4), rarefy=depth).read().fingerprint() == table.fingerprint()


def test_no_sample_with_the_depth_tells_the_depths(tmp_path: Path) -> None:
    whole = config_of(tmp_path).read()
    reads = whole.counts.sum(axis=1)
    most = f"{whole.samples[int(reads.argmax())]} {reads.max():.0f}"
    with pytest.raises(DataError, match=rf"no sample of 31 has 9999 reads; most have {most}"):
        config_of(tmp_path, rarefy=9999).read()


def test_new_samples_need_neither_target_nor_columns_nor_metadata(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    study = Study().of_samples(SAMPLES[:5])
    study.metadata = {name: {"site": row["site"]} for name, row in study.metadata.items()}
    files = study.write(tmp_path / "new")
    table = config.of_new(table=files["table"], metadata=files["metadata"])
    assert table.samples == tuple(sorted(SAMPLES[:5]))
    assert list(table.metadata.columns) == ["site"]
    assert table.tree is None
    assert config.of_new(table=files["table"], metadata=None).metadata.shape == (5, 0)
    with pytest.raises(ConfigError, match=r"new samples have no 'tabel' \(did you mean table\?\)"):
        config.of_new(tabel=files["table"])
    with pytest.raises(ConfigError, match="need a table"):
        config.of_new(metadata=files["metadata"])
    with pytest.raises(FileError, match=r"no such file \(did you mean metadata\?\)"):
        config.of_new(table=files["table"], metadata=files["metadata"] + "s")
