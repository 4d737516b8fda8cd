"""Metadata, taxonomy, distances, sequences and trees read from every usual form; faults are named with their line."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from data.written_files import written, zipped
from plait.core.errors import DataError, FileError, PlaitError
from plait.data.feature_tables import read_feature_table
from plait.data.sample_files import read_distances, read_metadata, read_taxonomy
from plait.data.sequence_files import letters_beyond_acgt, read_sequences, read_tree, sequences_of_ids


def test_files_that_are_absent_folders_or_damaged(tmp_path: Path) -> None:
    written(tmp_path / "table.tsv", "x")
    with pytest.raises(FileError, match=r"no such file \(did you mean table\.tsv\?\)"):
        read_feature_table(tmp_path / "tabel.tsv")
    with pytest.raises(FileError, match="is a folder"):
        read_metadata(tmp_path)
    packed = gzip.compress(b"sample_id\tage\n" + b"".join(b"s%d\t%d\n" % (n, n * n) for n in range(999)))
    with pytest.raises(FileError, match="is damaged"):
        read_metadata(written(tmp_path / "half.gz", packed[: len(packed) // 2]))
    with pytest.raises(FileError, match="is damaged"):
        read_metadata(written(tmp_path / "half.zip", b"PK\x03\x04" + b"0" * 99))
    with pytest.raises(DataError, match=r"is HDF5 \(BIOM\), text was expected"):
        read_metadata(written(tmp_path / "t.biom", b"\x89HDF\r\n\x1a\n\0"))


def test_artefacts_hold_every_kind_of_file_and_nothing_iswritten(tmp_path: Path) -> None:
    folder = tmp_path / "qza"
    folder.mkdir()
    matrix = "\ta\tb\na\t0\t1\nb\t1\t0\n"
    zipped(folder / "tree", {"u/data/tree.nwk": b"(a:1,b:2);"})
    zipped(folder / "seqs", {"u/data/dna-sequences.fasta": b">a\nACGT\n"})
    zipped(folder / "taxa", {"u/data/taxonomy.tsv": b"Feature ID\tTaxon\tConfidence\na\tk__A\t0.9\n"})
    zipped(folder / "distances", {"u/data/distance-matrix.tsv": matrix.encode()})
    assert set(read_tree(folder / "tree").tips) == {"a", "b"}
    assert read_sequences(folder / "seqs") == {"a": "ACGT"}
    assert read_taxonomy(folder / "taxa") == {"a": "k__A"}
    assert read_distances(folder / "distances").ids == ("a", "b")
    with pytest.raises(DataError, match=r"no data/feature-table\.biom inside; it holds u/data/tree\.nwk"):
        read_feature_table(folder / "tree")
    outside = zipped(folder / "slip", {"../data/tree.nwk": b"(a:1,b:2);", "u/../../evil/data/tree.nwk": b"x"})
    before = sorted(path for path in tmp_path.rglob("*"))
    read_tree(outside)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    with pytest.raises(DataError, match="2 data/tree"):
        read_tree(zipped(folder / "two", {"u/data/tree.nwk": b"x", "v/data/tree.nwk": b"y"}))


def test_fasta_is_joined_raised_and_read_by_its_first_word(tmp_path: Path) -> None:
    text = ">a first of all\nacg\nTNa\n\n> b\nRRYu\n>c\r\nAC GT\r\n>a again\nACGTNA"
    expected = {"a": "ACGTNA", "b": "RRYT", "c": "ACGT"}
    assert read_sequences(written(tmp_path / "s.fasta", text)) == expected
    assert read_sequences(written(tmp_path / "s.fasta.gz", gzip.compress(text.encode()))) == expected
    found = letters_beyond_acgt(tuple(expected), tuple(expected.values()))
    assert list(map(str, found)) == [
        "2 sequences have letters other than A, C, G and T: a 1 of 6 (N), b 3 of 4 (RY)",
    ]
    assert letters_beyond_acgt(("c",), ("ACGT",)) == []


@pytest.mark.parametrize(
    "text, message",
    [
        (">a\nACGT\n>b\nA\n>a\nACGA\n>b\nC\n", r"2 ids have two sequences: a, b"),
        (">a\nAC\n>b\n>c\nA\n", r"line 3: b has no sequence"),
        (">a\nAC-GT.\n", r"line 1: a has what is no nucleotide letter: '-\.' \(give sequences that are not aligned\)"),
        (">a\nMKVLF\n", r"a has what is no nucleotide letter: 'FL'"),
        ("ACGT\n>a\nA\n", r"line 1: text stands before the first >"),
        (">a\nA\n>\nA\n", r"line 3: a record has no id"),
        ("\n\n", r"there is no record"),
    ],
)
def test_what_is_wrong_with_a_fasta_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_sequences(written(tmp_path / "s.fasta", text))


def test_ids_are_sequences_only_if_all_of_them_are() -> None:
    assert sequences_of_ids(("ACGT", "ggca")) == ("ACGT", "GGCA")
    assert sequences_of_ids(("ACGT", "f1")) is None
    assert sequences_of_ids(()) is None


@pytest.mark.parametrize(
    "name", ["sample_id", "#SampleID", "#Sample ID", "sample-id", "sampleid", "SAMPLEID", "id", "index", "sample_name"]
)
@pytest.mark.parametrize("sign", ["\t", ",", ";"])
def test_ids_of_metadata_are_text_under_every_name(name: str, sign: str, tmp_path: Path) -> None:
    text = f"age,{name},code\n3,007,010\n4,1.0,1e3\n5,1,\n".replace(",", sign)
    frame = read_metadata(written(tmp_path / "m", text))
    assert list(frame.index) == ["007", "1.0", "1"]
    assert list(frame.columns) == ["age", "code"]
    assert list(frame.code[:2]) == ["010", "1e3"]
    assert frame.code.isna().tolist() == [False, False, True]


def test_metadata_of_qiime_2_and_of_windows(tmp_path: Path) -> None:
    text = '# a comment, of one cell\n#SampleID\tage\tnote\n#q2:types\tnumeric\tcategorical\n\na \t 3\t"two\nlines"\n'
    frame = read_metadata(written(tmp_path / "m", b"\xef\xbb\xbf" + f"{text}# later\t\t\nb\t4\tx\t\t\n".encode()))
    assert frame.to_dict("index") == {"a": {"age": "3", "note": "two\nlines"}, "b": {"age": "4", "note": "x"}}
    coloured = read_metadata(written(tmp_path / "c", "colour\tid\n#ff0000\ta\n# a comment\n#00ff00\tb\n"))
    assert list(coloured.colour) == ["#ff0000", "#00ff00"]
    windows = read_metadata(written(tmp_path / "w", b"\xef\xbb\xbfid,age\r\na,3\r\nb,\r\n"))
    assert list(windows.index) == ["a", "b"]
    assert windows.age.isna().tolist() == [False, True]


def test_a_column_named_for_samples_goes_before_a_plain_one(tmp_path: Path) -> None:
    frame = read_metadata(written(tmp_path / "m", "index\tsample_id\tage\n0\ta\t1\n1\tb\t2\n"))
    assert list(frame.index) == ["a", "b"]
    assert list(frame["index"]) == ["0", "1"]


def test_the_missing_cells_of_metadata(tmp_path: Path) -> None:
    gone = ["", "NA", "NaN", "N/A", "null", "Not Applicable", "missing: not collected", "Missing", "restricted access"]
    kept = ["none", "unknown", "0", "False", "nano"]
    lines = [f"s{n}\t{cell}" for n, cell in enumerate(gone + kept)]
    frame = read_metadata(written(tmp_path / "m", "\n".join(["id\tx", *lines])))
    assert frame.x.isna().tolist() == [True] * len(gone) + [False] * len(kept)
    assert frame.x.dropna().tolist() == kept


@pytest.mark.parametrize(
    "text, message",
    [
        ("sampl_id\tage\na\t1\n", r"no column of ids named sample_id \(rename it; did you mean sampl_id\?\)"),
        ("id\tage\na\t1\nb\n", r"line 3: the row has 1 cells, the header 2"),
        ("id\tage\na\t1\nb\t2\t3\n", r"line 3: the row has 3 cells"),
        ("id\tage\tage\na\t1\t2\n", r"1 column names occur more than once: age"),
        ("id\t\tage\na\t1\t2\n", r"1 column names are empty"),
        ("id\tage\n\t1\n\t2\na\t3\n", r"2 sample ids are empty"),
        ("id\tx\n" + "".join(f"{c}\t1\n" for c in "ggffeeddccbba"), r"6 sample ids .*once: b, c, d, e, f, \.\.\."),
        ("id\tage\n#q2:types\tnumeric\n", r"there is a header and no row"),
        ("\n \n", r"there is no header line"),
        (b"id\tage\na\t1\nb\t\xff\n", r"line 3: is no UTF-8 text"),
    ],
)
def test_what_is_wrong_with_metadata_is_named(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_metadata(written(tmp_path / "meta.tsv", text))
    assert str(caught.value).startswith(str(tmp_path / "meta.tsv"))


@pytest.mark.parametrize("header", ["feature_id\ttaxon", "Feature ID\tTaxon", "#OTU ID\ttaxonomy", "#OTUID\tLineage"])
def test_taxonomy_by_its_usual_headers(header: str, tmp_path: Path) -> None:
    text = f"{header}\tConfidence\n007\tk__A; p__B\t1\nb\t\t0.5\n"
    assert read_taxonomy(written(tmp_path / "t", text)) == {"007": "k__A; p__B", "b": ""}


@pytest.mark.parametrize(
    "text, message",
    [
        ("feature_id\ttaxons\na\tk\n", r"no column named taxon \(rename it; did you mean taxons\?\)"),
        ("feature\ttaxon\na\tk\n", r"no column of ids named feature_id \(rename it; did you mean feature\?\)"),
        ("id\ttaxon\na\tk\na\tl\n", r"1 feature ids occur more than once: a"),
    ],
)
def test_what_is_wrong_with_a_taxonomy_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_taxonomy(written(tmp_path / "t", text))


def test_the_order_of_rows_and_columns_of_distances_is_irrelevant(tmp_path: Path) -> None:
    names = ["007", "1.0", "c", "d", "e"]
    half = np.triu(np.random.default_rng(3).random((5, 5)), 1)
    matrix = half + half.T
    for seed in range(5):
        rows, columns = (random.Random(seed + n).sample(range(5), 5) for n in (0, 50))
        lines = ["\t".join([names[r], *(repr(float(matrix[r, c])) for c in columns)]) for r in rows]
        text = "\n".join(["\t".join(["", *(names[c] for c in columns)]), *lines])
        found = read_distances(written(tmp_path / "d", text))
        assert found.ids == tuple(names[r] for r in rows)
        np.testing.assert_array_equal(found.matrix, matrix[np.ix_(rows, rows)])


@pytest.mark.parametrize(
    "text, message",
    [
        ("\ta\tb\na\t0\t1\nb\t1.0000001\t0\n", r"not symmetric: a to b differs by 1e-07"),
        ("\ta\tb\na\t0\t1\nb\t1\t0.5\n", r"1 samples have a distance to themselves: b 0\.5"),
        ("\ta\tb\na\t0\t1\n", r"1 rows \(\) and 2 columns \(b\) do not have the same ids"),
        ("\ta\tb\na\t0\t1\nc\t1\t0\n", r"2 rows \(c\) and 2 columns \(b\)"),
        ("\ta\ta\na\t0\t1\nc\t1\t0\n", r"1 ids of columns occur more than once: a"),
        ("\ta\tb\na\t0\tx\nb\t1\t0\n", r"line 2, column b: 'x' is no distance"),
        ("\ta\tb\na\t0\t-1\nb\t-1\t0\n", r"line 2, column b: '-1' is no distance"),
        ("ids\n", r"the first line has no ids"),
    ],
)
def test_what_is_wrong_with_distances_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_distances(written(tmp_path / "d", text))


def test_distances_within_rounding_of_symmetry_are_read(tmp_path: Path) -> None:
    found = read_distances(written(tmp_path / "d", "\ta\tb\na\t0\t0.5\nb\t0.500000001\t0\n"))
    np.testing.assert_allclose(found.matrix, [[0, 0.5], [0.5, 0]], atol=1e-8)


def test_trees_are_read_and_their_faults_have_file_and_line(tmp_path: Path) -> None:
    assert set(read_tree(written(tmp_path / "t.nwk", "(a:1,\n(b:1,c:2):1);\n")).tips) == {"a", "b", "c"}
    with pytest.raises(PlaitError, match=r"t\.nwk, line 2, column \d+: the length 'x' is not a number"):
        read_tree(written(tmp_path / "t.nwk", "(a:1,\nb:x);"))
