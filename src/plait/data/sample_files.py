"""Text tables beside a feature table: sample metadata, taxonomy, distances; plain, gzipped or a QIIME 2 artefact."""

import csv
import gzip
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError, FileError, suggest, suggest_file

EXAMPLES = 5
"""How many ids an error or a finding names."""

SAMPLE_NAMES = ("sampleid", "samplename")
"""Names of a column of sample ids, without case, `#`, blanks, `_` and `-`: `sample_id`, `#SampleID`, `sample-id`."""

FEATURE_NAMES = ("featureid", "otuid", "asvid")
"""Names of a column of feature ids, written as those of samples: `#OTU ID`, `Feature ID`, `feature-id`."""

PLAIN_NAMES = ("id", "index")
"""Names of a column of ids of either, where no column says more."""

TAXON_NAMES = ("taxon", "taxonomy", "lineage", "consensuslineage")
"""Names of a column of taxa, written in the same way."""

MISSING_CELLS = frozenset(
    (
        *("", "na", "n/a", "#n/a", "nan", "null", "missing", "restricted access"),
        *("not applicable", "not available", "not collected", "not provided"),
    )
)
"""What stands for nothing in metadata, in any case, as does all that begins with `missing:`.

These are the blanks of common programs and the INSDC terms. `none`, `unknown` and `0` are values."""

GZIP, ZIP, HDF5, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"PAR1"
"""The first bytes of each format."""

_BOM = b"\xef\xbb\xbf"
_SHOWN = 12

Rows = Iterator[tuple[int, list[str]]]


class Distances(NamedTuple):
    """Distances between samples: `matrix` (n, n) float64, symmetric, 0 on the diagonal; `ids` names its rows."""

    ids: tuple[str, ...]
    matrix: NDArray[np.float64]


def listed(names: Sequence[str]) -> str:
    """The first five names, and whether there are more."""
    return ", ".join(map(str, names[:EXAMPLES])) + (", ..." if len(names) > EXAMPLES else "")


@contextmanager
def opened(path: str | Path, inside: str) -> Iterator[tuple[Any, str]]:
    """Open a file as bytes and say where they are from; what is packed is unpacked while it is read.

    A file that begins as gzip is unpacked. One that begins as a zip is a QIIME 2 artefact, of which `<uuid>/data/`
    followed by `inside` is read; nothing is written to disk.

    Errors: FileError for a file that is absent, a folder, unreadable or damaged; DataError for an empty one, and for
    an artefact that does not hold `inside` (what it does hold).
    """
    path, where = Path(path), str(path)
    try:
        with ExitStack() as stack:
            stream: Any = stack.enter_context(path.open("rb"))
            start = stream.peek(len(ZIP))
            if start.startswith(GZIP):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            elif start.startswith(ZIP):
                archive = stack.enter_context(zipfile.ZipFile(stream))
                member = _member(archive, inside, where)
                stream, where = stack.enter_context(archive.open(member)), f"{path}, {member}"
            if not stream.peek(1):
                raise DataError("the file is empty", where=where)
            yield stream, where
    except FileNotFoundError:
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except IsADirectoryError:
        raise FileError("is a folder, a file was expected", where=str(path)) from None
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise FileError(f"is damaged: {error}", where=where, fix="get the file anew") from None
    except OSError as error:
        raise FileError(f"can't be read: {error}", where=where) from None


def _member(archive: zipfile.ZipFile, inside: str, where: str) -> zipfile.ZipInfo:
    """The one data file of an artefact."""
    pattern = re.compile(rf"[^/\\]+/data/{re.escape(inside)}")
    found = [info for info in archive.infolist() if pattern.fullmatch(info.filename)]
    if len(found) != 1:
        names = [info.filename for info in archive.infolist()]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise DataError(
            f"the zip has {len(found) or 'no'} data/{inside} inside; it holds {', '.join(names[:_SHOWN])}{more}",
            where=where,
            fix=f"give the artefact of {inside}, or the file itself",
        )
    if found[0].flag_bits & 1:
        raise FileError("the zip has a password", where=where, fix="give the file itself")
    return found[0]


def text_lines(stream: Any, where: str) -> Iterator[tuple[int, str]]:
    """Number and decode the lines of a UTF-8 text, with or without a byte order mark; line ends are kept.

    Errors: DataError with the line for bytes that are not UTF-8, and for the binary formats by their name.
    """
    for magic, name in ((HDF5, "HDF5 (BIOM)"), (PARQUET, "Parquet")):
        if bytes(stream.peek(len(magic))).startswith(magic):
            raise DataError(f"is {name}, text was expected", where=where)
    for number, raw in enumerate(stream, 1):
        try:
            yield number, (raw.removeprefix(_BOM) if number == 1 else raw).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"is no UTF-8 text: {error.reason}", where=f"{where}, line {number}", fix="save it as UTF-8"
            ) from None


def plain_name(name: str) -> str:
    """A column name without case, `#`, blanks, `_` and `-`."""
    return re.sub(r"[#\s_-]", "", name).casefold()


def delimited(stream: Any, where: str) -> tuple[list[str], Rows]:
    """The header of a text table, and its rows with their line numbers; all cells are text without outer blanks.

    Cells are parted by tabs if the header has one, else by commas, else by semicolons; quotes work as in CSV files.
    Lines before the header that begin with # and have no tab are comments, save for a name of an id column. Skipped
    are comments of one cell after the header, blank lines, and cells beyond the header that are empty.

    Errors: DataError for no header, and with the line for a quote that does not close and a row that has not the
    header's number of cells.
    """
    lines = text_lines(stream, where)
    first, header = 0, ""
    for first, header in lines:  # noqa: B007
        name = plain_name(re.split(r"[,;]", header)[0].strip(' "\r\n'))
        comment = header.startswith("#") and "\t" not in header and name not in (*SAMPLE_NAMES, *FEATURE_NAMES, "id")
        if header.strip() and not comment:
            break
    else:
        raise DataError("there is no header line", where=where, fix="name the columns in the first line")
    delimiter = next((sign for sign in "\t,;" if sign in header), "\t")
    reader = csv.reader(chain([header], (line for _, line in lines)), delimiter=delimiter, strict=True)

    def rows() -> Rows:
        while True:
            start = first + reader.line_num
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"the row can't be read: {error}", where=f"{where}, line {start}", fix="close or remove its quote"
                ) from None
            if cells is None:
                return
            yield start, [cell.strip() for cell in cells]

    every = rows()
    names = next(every)[1]
    while names and not names[-1]:
        names.pop()
    return names, _even(every, len(names), where)


def _even(rows: Rows, width: int, where: str) -> Rows:
    """The rows that are neither blank nor a comment, each of one width."""
    for line, cells in rows:
        if not any(cells) or (len(cells) == 1 < width and cells[0].startswith("#")):
            continue
        if len(cells) < width or any(cells[width:]):
            by_r = "; R: write.table(..., col.names = NA)" if len(cells) == width + 1 else ""
            raise DataError(
                f"the row has {len(cells)} cells, the header {width}",
                where=f"{where}, line {line}",
                fix=f"give each row {width} cells, empty where nothing is known{by_r}",
            )
        yield line, cells[:width]


def refuse_repeats(names: Sequence[str], what: str, where: str) -> None:
    """Refuse ids or names that are empty or occur more than once; the first five are named."""
    if "" in names:
        raise DataError(f"{list(names).count('')} {what} are empty", where=where, fix="name every one")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"{len(twice)} {what} occur more than once: {listed(twice)}", where=where, fix="give each only once"
        )


def _id_column(header: list[str], names: Sequence[str], wanted: str, where: str) -> int:
    """The place of the id column: the first with a name of its own, else with a plain one."""
    plain = [plain_name(name) for name in header]
    for known in (names, PLAIN_NAMES):
        found = [place for place, name in enumerate(plain) if name in known]
        if found:
            return found[0]
    raise DataError(
        f"there is no column of ids named {wanted}",
        where=where,
        fix=f"rename it; {suggest(wanted, filter(None, header))}",
    )


def is_missing(cell: str) -> bool:
    """Whether a cell of metadata stands for nothing (`MISSING_CELLS`)."""
    folded = cell.casefold()
    return folded in MISSING_CELLS or folded.startswith("missing:")


def read_metadata(path: str | Path) -> pd.DataFrame:
    """Sample metadata, TSV or CSV: a frame of text whose index are the sample ids, in the order of the file.

    The ids stand in a column with one of the `SAMPLE_NAMES`, else of the `PLAIN_NAMES`. Ids and cells are text, as
    they stand, without outer blanks ("007" and "1.0" stay so); a missing cell (`MISSING_CELLS`) is NA for pandas. Rows
    whose id begins with # and rows of QIIME 2 (`#q2:types`) are skipped.

    Errors: FileError and DataError as `opened` and `delimited`; DataError for no id column (the nearest name),
    columns or ids that are empty or repeated (the first five), and a table without rows.
    """
    with opened(path, "metadata.tsv") as (stream, where):
        header, rows = delimited(stream, where)
        refuse_repeats(header, "column names", where)
        place = _id_column(header, SAMPLE_NAMES, "sample_id", where)
        kept = [cells for _, cells in rows if not cells[place].startswith("#") and not cells[0].startswith("#q2:")]
    ids = [cells[place] for cells in kept]
    if not ids:
        raise DataError("there is a header and no row", where=where, fix="give one row a sample")
    refuse_repeats(ids, "sample ids", where)
    columns = {
        name: [None if is_missing(cells[number]) else cells[number] for cells in kept]
        for number, name in enumerate(header)
        if number != place
    }
    return pd.DataFrame(columns, index=pd.Index(ids, dtype="str", name="sample_id"), dtype="str")


def read_taxonomy(path: str | Path) -> dict[str, str]:
    """The taxon of each feature id, from a TSV or CSV file; columns beside the id and the taxon are not read.

    Errors: as `read_metadata`, with `FEATURE_NAMES` and `TAXON_NAMES`.
    """
    with opened(path, "taxonomy.tsv") as (stream, where):
        header, rows = delimited(stream, where)
        place = _id_column(header, FEATURE_NAMES, "feature_id", where)
        column = next((n for n, name in enumerate(header) if plain_name(name) in TAXON_NAMES), None)
        if column is None:
            near = suggest("taxon", filter(None, header))
            raise DataError("there is no column named taxon", where=where, fix=f"rename it; {near}")
        pairs = [(cells[place], cells[column]) for _, cells in rows if not cells[0].startswith("#q2:")]
    refuse_repeats([name for name, _ in pairs], "feature ids", where)
    return dict(pairs)


def read_distances(path: str | Path) -> Distances:
    """A square matrix of distances between samples, with ids in the first line and the first column.

    The columns are brought to the order of the rows.

    Shape: matrix (n, n). Units: those of the file.
    Errors: as `opened` and `delimited`; DataError for ids that are repeated or differ between rows and columns, a
    cell that is no finite number of at least 0, a diagonal that is not 0, and two halves that differ by more than
    1e-8 (the pair).
    """
    with opened(path, "distance-matrix.tsv") as (stream, where):
        header, rows = delimited(stream, where)
        columns, ids, values = header[1:], [], []
        for line, cells in rows:
            ids.append(cells[0])
            values.append(_numbers(cells[1:], columns, f"{where}, line {line}"))
    if not columns:
        raise DataError("the first line has no ids", where=where, fix="give a square matrix with ids on two sides")
    refuse_repeats(columns, "ids of columns", where)
    refuse_repeats(ids, "ids of rows", where)
    if set(ids) != set(columns):
        raise DataError(
            f"{len(ids)} rows ({listed(sorted(set(ids) - set(columns)))}) and {len(columns)} columns"
            f" ({listed(sorted(set(columns) - set(ids)))}) do not have the same ids",
            where=where,
            fix="give a square matrix",
        )
    place = {name: number for number, name in enumerate(columns)}
    matrix = np.array(values, dtype=np.float64)[:, [place[name] for name in ids]]
    apart = np.abs(matrix - matrix.T)
    if (worst := apart.max()) > 1e-8:
        row, column = np.unravel_index(int(apart.argmax()), apart.shape)
        raise DataError(
            f"the matrix is not symmetric: {ids[row]} to {ids[column]} differs by {worst:g} from the way back",
            where=where,
            fix="give distances that are the same both ways",
        )
    odd = np.flatnonzero(np.diag(matrix))
    if len(odd):
        names = listed([f"{ids[n]} {matrix[n, n]:g}" for n in odd])
        raise DataError(
            f"{len(odd)} samples have a distance to themselves: {names}",
            where=where,
            fix="the diagonal of distances is 0",
        )
    return Distances(tuple(ids), matrix)


def _numbers(cells: list[str], columns: list[str], where: str) -> NDArray[np.float64]:
    """A row of distances."""
    numbers = np.array([_number(cell) for cell in cells], dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(wrong):
        place = int(wrong[0])
        raise DataError(
            f"{cells[place]!r} is no distance",
            where=f"{where}, column {columns[place]}",
            fix="give numbers of at least 0",
        )
    return numbers


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
