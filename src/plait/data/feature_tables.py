"""Feature tables, samples by features and sparse throughout: BIOM (HDF5, JSON), TSV, CSV and Parquet."""

import io
import json
from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from plait.core.errors import DataError, FileError
from plait.data.sample_files import (
    EXAMPLES,
    FEATURE_NAMES,
    HDF5,
    PARQUET,
    SAMPLE_NAMES,
    TAXON_NAMES,
    delimited,
    opened,
    plain_name,
    refuse_repeats,
    text_lines,
)

RowsAre = Literal["features", "samples"]
"""What one row of a table in text or Parquet is."""

_UNFIT = (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError)
"""What the biom package raises on content that is none of its own."""

_ZEROS = frozenset(["0", "0.0", "0.00", "0.000"])


class FeatureTable(NamedTuple):
    """A table as its file has it.

    `counts` is a CSR array of finite float64 of at least 0, `samples` names its rows, `features` its columns, and
    `taxonomy` gives each feature's taxon, where the file does ("" for none).

    Shape: counts (n, f).
    """

    counts: Any
    samples: tuple[str, ...]
    features: tuple[str, ...]
    taxonomy: tuple[str, ...] | None = None


class _Grid(NamedTuple):
    """A table before it is known what its rows are: `corner` is the name of the column of row ids."""

    counts: Any
    rows: list[str]
    columns: list[str]
    taxa: list[str] | None
    corner: str


def read_feature_table(path: str | Path, rows: RowsAre | None = None, sample_ids: Collection[str] = ()) -> FeatureTable:
    """A feature table of any known format; which one it is, its first bytes say.

    BIOM says itself which axis are the samples. For text and Parquet `rows` does; unset, the name of the first column
    (`SAMPLE_NAMES`, `FEATURE_NAMES`); where that says neither, rows are samples if only they have ids among
    `sample_ids`, else features. A last column of taxa (`TAXON_NAMES`) is no sample. Nothing dense is made from a
    sparse file.

    Errors: FileError and DataError as `opened` (`feature-table.biom` of an artefact) and `delimited`; FileError where
    Parquet needs pyarrow; DataError for a file that is no such table, ids that are empty or repeated (the first
    five), a cell that is no number (line and column), counts that are negative or not finite (sample and feature).
    """
    with opened(path, "feature-table.biom") as (stream, where):
        start = bytes(stream.peek(64))
        if start.startswith(HDF5):
            table = _hdf5(stream, where)
        elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            table = _json(stream, where)
        else:
            grid = _parquet(stream, where) if start.startswith(PARQUET) else _text(stream, where)
            table = _turned(grid, rows, sample_ids)
    return _checked(table, where)


def _hdf5(stream: Any, where: str) -> FeatureTable:
    """BIOM 2."""
    import biom
    import h5py

    # A plain file is read piece by piece; what is packed can't be sought in quickly, so it is unpacked whole.
    source = stream if isinstance(stream, io.BufferedReader) else io.BytesIO(stream.read())
    try:
        with h5py.File(source, "r") as file:
            for axis in ("sample", "observation"):
                refuse_repeats([_text_of(name) for name in file[axis]["ids"][:]], f"{axis} ids", where)
            return _of_biom(biom.Table.from_hdf5(file))
    except (*_UNFIT, OSError, biom.exception.BiomException) as error:
        raise _no_biom(error, where) from None


def _json(stream: Any, where: str) -> FeatureTable:
    """BIOM 1."""
    import biom

    text = "".join(line for _, line in text_lines(stream, where))
    try:
        content = json.loads(text)
        for axis, name in (("columns", "sample ids"), ("rows", "observation ids")):
            for entry in content[axis]:
                entry["id"] = str(entry["id"])
                entry.setdefault("metadata", None)
            refuse_repeats([entry["id"] for entry in content[axis]], name, where)
        return _of_biom(biom.Table.from_json(content))
    except (*_UNFIT, biom.exception.BiomException) as error:
        raise _no_biom(error, where) from None


def _no_biom(error: Exception, where: str) -> DataError:
    reason = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, KeyError) and " " not in reason:
        reason = f"there is no {reason!r}"
    return DataError(f"is no BIOM table: {reason}", where=where, fix="check it with `biom validate-table`")


def _text_of(name: Any) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)


def _of_biom(table: Any) -> FeatureTable:
    """The table of the biom package, turned, with the taxonomy of its observations."""
    features = tuple(str(name) for name in table.ids(axis="observation"))
    samples = tuple(str(name) for name in table.ids(axis="sample"))
    facts = table.metadata(axis="observation")
    taxa: tuple[str, ...] | None = None
    if facts is not None:
        keys = [key for key in facts[0] if plain_name(str(key)) in TAXON_NAMES]
        taxa = tuple(_taxon(entry.get(keys[0])) for entry in facts) if keys else None
    return FeatureTable(sparse.csr_array(table.matrix_data.T), samples, features, taxa)


def _taxon(value: Any) -> str:
    """A taxon in one text; ranks that stand apart are joined."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else "; ".join(map(_text_of, value))


def _text(stream: Any, where: str) -> _Grid:
    """A table of text, row by row: only what is not 0 is kept."""
    header, rows = delimited(stream, where)
    with_taxa = len(header) > 2 and plain_name(header[-1]) in TAXON_NAMES
    columns = header[1:-1] if with_taxa else header[1:]
    if not columns:
        raise DataError("there is no column of counts", where=where, fix="give a table of samples and features")
    ids: list[str] = []
    taxa: list[str] = []
    values, places, ends = array("d"), array("q"), array("q", [0])
    for line, cells in rows:
        ids.append(cells[0])
        if with_taxa:
            taxa.append(cells[-1])
        for place, cell in enumerate(cells[1 : len(columns) + 1]):
            if cell in _ZEROS:
                continue
            try:
                values.append(float(cell))
            except ValueError:
                raise DataError(
                    f"{cell!r} is no number",
                    where=f"{where}, line {line}, column {columns[place]}",
                    fix="give counts, 0 where there is none",
                ) from None
            places.append(place)
        ends.append(len(values))
    arrays = (np.frombuffer(values or array("d")), np.array(places, dtype=np.int64), np.array(ends, dtype=np.int64))
    counts = sparse.csr_array(arrays, shape=(len(ids), len(columns)))
    return _Grid(counts, ids, columns, taxa if with_taxa else None, header[0])


def _parquet(stream: Any, where: str) -> _Grid:
    """A wide Parquet table, column by column; the ids are its index, or its first column where it has none."""
    try:
        frame = pd.read_parquet(io.BytesIO(stream.read()))
    except ImportError:
        raise FileError("Parquet needs pyarrow", where=where, fix="pip install plait[parquet]") from None
    except (ValueError, OSError) as error:
        raise DataError(f"is no Parquet table: {str(error).strip()}", where=where) from None
    if isinstance(frame.index, pd.RangeIndex) and len(frame.columns):
        frame = frame.set_index(frame.columns[0])
    names = [str(name) for name in frame.columns]
    taxa = None
    if len(names) > 1 and plain_name(names[-1]) in TAXON_NAMES:
        taxa = ["" if pd.isna(taxon) else str(taxon) for taxon in frame.iloc[:, -1]]
        names = names[:-1]
    pieces = []
    for place, name in enumerate(names):
        try:
            cells = np.asarray(frame.iloc[:, place], dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"a cell is no number: {error}", where=f"{where}, column {name}", fix="give counts"
            ) from None
        pieces.append(sparse.csc_array(cells[:, None]))
    if not pieces:
        raise DataError("there is no column of counts", where=where, fix="give a table of samples and features")
    ids = [str(name).strip() for name in frame.index]
    return _Grid(sparse.hstack(pieces, format="csr"), ids, names, taxa, str(frame.index.name or ""))


def _turned(grid: _Grid, rows: RowsAre | None, sample_ids: Collection[str]) -> FeatureTable:
    """A table with its samples in the rows."""
    corner, known = plain_name(grid.corner), set(sample_ids)
    if rows is None and corner in (*SAMPLE_NAMES, *FEATURE_NAMES):
        rows = "samples" if corner in SAMPLE_NAMES else "features"
    elif rows is None:
        met = not known.isdisjoint(grid.rows) and known.isdisjoint(grid.columns)
        rows = "samples" if met else "features"
    if rows == "samples":
        return FeatureTable(grid.counts, tuple(grid.rows), tuple(grid.columns))
    taxa = None if grid.taxa is None else tuple(grid.taxa)
    return FeatureTable(sparse.csr_array(grid.counts.T), tuple(grid.columns), tuple(grid.rows), taxa)


def _checked(table: FeatureTable, where: str) -> FeatureTable:
    """A table whose ids name one row or column each and whose counts can be counts."""
    counts, samples, features, taxa = table
    if not samples or not features:
        raise DataError(f"the table has {len(samples)} samples and {len(features)} features", where=where)
    refuse_repeats(samples, "sample ids", where)
    refuse_repeats(features, "feature ids", where)
    counts = counts.astype(np.float64, copy=False)
    bad = np.flatnonzero(~(np.isfinite(counts.data) & (counts.data >= 0)))
    if len(bad):
        rows = np.searchsorted(counts.indptr, bad[:EXAMPLES], side="right") - 1
        shown = ", ".join(
            f"sample {samples[row]} feature {features[counts.indices[at]]} {counts.data[at]:g}"
            for row, at in zip(rows, bad, strict=False)
        )
        raise DataError(
            f"{len(bad)} counts are negative or not finite: {shown}",
            where=where,
            fix="give finite counts of at least 0",
        )
    return FeatureTable(counts, samples, features, taxa)
