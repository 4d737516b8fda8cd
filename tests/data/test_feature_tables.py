"""A feature table reads the same from every format and stays sparse; what is wrong is named with file and place."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import biom
import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from data.written_files import written, zipped
from plait.core.errors import DataError, FileError
from plait.data.feature_tables import FeatureTable, read_feature_table

COUNTS = np.array([[0, 5, 0], [7, 0, 2], [1, 0, 0], [0, 0, 3], [4, 1, 0]], dtype=np.float64)
"""5 features by 3 samples."""
FEATURES = ["10", "f2", "007", "f11", "f3"]
SAMPLES = ["s10", "1.0", "s2"]
TAXA = ["k__A; p__B", "k__A; p__C", "k__A", "k__D", "k__E; p__F"]


def _line(name: str, counts: NDArray[np.float64]) -> str:
    return "\t".join([name, *(f"{count:g}" for count in counts)]) + "\n"


TSV = "".join(_line(name, row) for name, row in zip(FEATURES, COUNTS, strict=True))
HEADER = "\t" + "\t".join(SAMPLES) + "\n"


def _biom(taxonomy: bool = False) -> biom.Table:
    facts = [{"taxonomy": taxon.split("; ")} for taxon in TAXA] if taxonomy else None
    return biom.Table(COUNTS, FEATURES, SAMPLES, observation_metadata=facts)


def _hdf5(path: Path, table: biom.Table) -> Path:
    with h5py.File(path, "w") as file:
        table.to_hdf5(file, "test")
    return path


def _is_the_table(table: FeatureTable) -> None:
    assert table.samples == tuple(SAMPLES)
    assert table.features == tuple(FEATURES)
    assert sparse.issparse(table.counts)
    assert table.counts.dtype == np.float64
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS.T)


def _json(path: Path) -> Path:
    return written(path, _biom().to_json("test"))


TABLES: dict[str, Callable[[Path], Path]] = {
    "hdf5": lambda folder: _hdf5(folder / "table.biom", _biom()),
    "hdf5 by another suffix": lambda folder: _hdf5(folder / "table.tsv", _biom()),
    "hdf5, gzip": lambda folder: written(
        folder / "t.biom.gz", gzip.compress(_hdf5(folder / "t.biom", _biom()).read_bytes())
    ),
    "json": lambda folder: _json(folder / "table.biom"),
    "json after a byte order mark": lambda folder: written(
        folder / "table.json", b"\xef\xbb\xbf\n" + _biom().to_json("test").encode()
    ),
    "tsv of biom convert": lambda folder: written(
        folder / "t.txt", f"# Constructed from biom file\n#OTU ID{HEADER}{TSV}"
    ),
    "tsv by biom itself": lambda folder: written(folder / "t.txt", _biom().to_tsv()),
    "tsv of features": lambda folder: written(folder / "t.tsv", f"feature-id{HEADER}{TSV}"),
    "tsv, no name": lambda folder: written(folder / "t.tsv", HEADER + TSV),
    "tsv, windows": lambda folder: written(
        folder / "t.tsv", b"\xef\xbb\xbf" + f"Feature ID{HEADER}{TSV}\n\n".replace("\n", "\r\n").encode()
    ),
    "tsv, gzip": lambda folder: written(folder / "t.tsv.gz", gzip.compress(f"#OTU ID{HEADER}{TSV}".encode())),
    "csv, quoted": lambda folder: written(
        folder / "t.csv", f'"#OTU ID"{HEADER}{TSV}'.replace("\t", ",").replace("f11", '"f11"')
    ),
    "qza": lambda folder: zipped(
        folder / "table.qza",
        {
            "0a/VERSION": b"QIIME 2",
            "0a/provenance/artifacts/1b/data/feature-table.biom": b"not this one",
            "0a/data/feature-table.biom": _hdf5(folder / "inner", _biom()).read_bytes(),
        },
    ),
}


@pytest.mark.parametrize("form", TABLES)
def test_every_form_of_a_feature_table_reads_the_same(form: str, tmp_path: Path) -> None:
    _is_the_table(read_feature_table(TABLES[form](tmp_path)))


@pytest.mark.parametrize("form", ["hdf5", "json", "tsv"])
def test_taxonomy_of_a_table_is_kept(form: str, tmp_path: Path) -> None:
    if form == "hdf5":
        path = _hdf5(tmp_path / "t.biom", _biom(taxonomy=True))
    elif form == "json":
        path = written(tmp_path / "t.biom", _biom(taxonomy=True).to_json("test"))
    else:
        lines = [f"{line}\t{taxon}" for line, taxon in zip(TSV.splitlines(), TAXA, strict=True)]
        path = written(tmp_path / "t.tsv", "\n".join([f"#OTU ID{HEADER.rstrip()}\ttaxonomy", *lines]))
    table = read_feature_table(path)
    _is_the_table(table)
    assert table.taxonomy == tuple(TAXA)


def _sideways(corner: str) -> str:
    lines = [_line(name, column) for name, column in zip(SAMPLES, COUNTS.T, strict=True)]
    return "\t".join([corner, *FEATURES]) + "\n" + "".join(lines)


def test_samples_in_the_rows_when_named_told_or_seen_from_the_ids(tmp_path: Path) -> None:
    _is_the_table(read_feature_table(written(tmp_path / "named.tsv", _sideways("#SampleID"))))
    path = written(tmp_path / "plain.tsv", _sideways(""))
    _is_the_table(read_feature_table(path, rows="samples"))
    _is_the_table(read_feature_table(path, sample_ids={"s2", "else"}))
    assert read_feature_table(path).features == tuple(SAMPLES)
    assert read_feature_table(path, sample_ids={"s2", "f2"}).features == tuple(SAMPLES)
    named = written(tmp_path / "features.tsv", _sideways("#OTU ID"))
    assert read_feature_table(named, sample_ids={"s2"}).features == tuple(SAMPLES)
    upright = written(tmp_path / "upright.tsv", f"#OTU ID{HEADER}{TSV}")
    assert read_feature_table(upright, rows="samples").samples == tuple(FEATURES)


def test_a_sparse_table_is_never_made_dense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(7)
    shape = (2003, 307)
    counts = sparse.random(*shape, density=0.01, random_state=generator, format="csr")
    counts.data = np.ceil(10 * counts.data)
    table = biom.Table(counts, [f"f{n}" for n in range(shape[0])], [f"s{n}" for n in range(shape[1])])
    paths = [_hdf5(tmp_path / "h", table), written(tmp_path / "j", table.to_json("test"))]
    paths.append(written(tmp_path / "t", table.to_tsv()))

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a sparse table was made dense")

    forms = {kind for name in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia") for kind in _kinds(name)}
    for kind in forms:
        for name in ("toarray", "todense", "__array__"):
            monkeypatch.setattr(kind, name, refused, raising=False)
    with pytest.raises(AssertionError, match="dense"):
        counts.toarray()
    read = [read_feature_table(path) for path in paths]
    monkeypatch.undo()
    for one in read:
        assert one.counts.nnz == counts.nnz
        assert (one.counts != counts.T).nnz == 0


def _kinds(name: str) -> list[type]:
    return [getattr(sparse, f"{name}_matrix"), getattr(sparse, f"{name}_array")]


def test_parquet_by_its_first_column_or_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "t.parquet", b"PAR1....")
    frame = pd.DataFrame(COUNTS, columns=SAMPLES)
    with_ids = frame.assign(taxonomy=[*TAXA[:4], None])
    with_ids.insert(0, "#OTU ID", FEATURES)
    monkeypatch.setattr(pd, "read_parquet", lambda _: with_ids)
    table = read_feature_table(path)
    _is_the_table(table)
    assert table.taxonomy == (*TAXA[:4], "")
    monkeypatch.setattr(pd, "read_parquet", lambda _: frame.set_axis(pd.Index(FEATURES), axis=0))
    _is_the_table(read_feature_table(path))
    monkeypatch.setattr(pd, "read_parquet", lambda _: with_ids.assign(s2="many"))
    with pytest.raises(DataError, match=r"column s2: a cell is no number"):
        read_feature_table(path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: io.BytesIO) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(FileError, match=r"pip install plait\[parquet\]"):
        read_feature_table(written(tmp_path / "t", b"PAR1...."))


BAD_TABLES = {
    "a cell that is no number": ("#OTU ID\ta\tb\nf1\t1\t2\nf2\tmany\t2\n", r"line 3, column a: 'many' is no number"),
    "an empty cell": ("#OTU ID\ta\tb\nf1\t1\t\n", r"line 2, column b: '' is no number .*0 where there is none"),
    "a negative count": ("#OTU ID\ta\tb\nf1\t1\t-2\n", r"1 counts are negative or not finite: sample b feature f1 -2"),
    "an infinite count": ("#OTU ID\ta\tb\nf1\tinf\tnan\n", r"2 counts .*sample a feature f1 inf, sample b"),
    "a short row": ("#OTU ID\ta\tb\n\nf1\t1\n", r"line 3: the row has 2 cells, the header 3"),
    "a table of R": ("a\tb\nf1\t1\t2\n", r"line 2: the row has 3 cells, the header 2 .*col\.names = NA"),
    "repeated samples": ("#OTU ID\ta\ta\nf1\t1\t2\n", r"1 sample ids occur more than once: a"),
    "repeated features": ("#OTU ID\ta\nf\t1\nf\t1\ng\t1\ng\t2\n", r"2 feature ids occur more than once: f, g"),
    "no feature": ("#OTU ID\ta\tb\n", r"the table has 2 samples and 0 features"),
    "no column": ("ids\nf1\nf2\n", r"there is no column of counts"),
    "nothing": ("", r"the file is empty"),
    "comments": ("# one\n# two\n", r"there is no header line"),
    "json that breaks off": ('{"rows": [', r"is no BIOM table: .*line 1 column"),
    "json of something else": ('{"rows": []}', r"is no BIOM table: there is no 'columns'"),
    "an open quote": ('#OTU ID\ta\nf1\t1\nf2\t"1\nf3\t1\n', r"line 3: the row can't be read: .*close or remove"),
    "latin-1": (b"#OTU ID\tJos\xe9\nf1\t1\n", r"line 1: is no UTF-8 text: .*save it as UTF-8"),
}


@pytest.mark.parametrize("fault", BAD_TABLES)
def test_what_is_wrong_with_a_table_is_named(fault: str, tmp_path: Path) -> None:
    text, message = BAD_TABLES[fault]
    with pytest.raises(DataError, match=message) as caught:
        read_feature_table(written(tmp_path / "table.tsv", text))
    assert str(tmp_path / "table.tsv") in str(caught.value)


def test_biom_files_that_are_damaged_or_repeat_ids(tmp_path: Path) -> None:
    whole = _hdf5(tmp_path / "whole", _biom())
    with pytest.raises(DataError, match="is no BIOM table"):
        read_feature_table(written(tmp_path / "half", whole.read_bytes()[:1500]))
    with h5py.File(tmp_path / "else", "w") as file:
        file["numbers"] = [1, 2]
    with pytest.raises(DataError, match=r"is no BIOM table: .*sample"):
        read_feature_table(tmp_path / "else")
    with h5py.File(whole, "a") as file:
        file["sample/ids"][0] = "s2"
    with pytest.raises(DataError, match="1 sample ids occur more than once: s2"):
        read_feature_table(whole)
    text = _biom().to_json("test").replace('"f2"', '"f3"')
    with pytest.raises(DataError, match="1 observation ids occur more than once: f3"):
        read_feature_table(written(tmp_path / "json", text))
