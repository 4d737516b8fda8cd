"""The checked table every source of samples ends in: counts and what is known of the same ids, in one order."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.data.feature_tables import FeatureTable, RowsAre, read_feature_table
from plait.data.sample_files import EXAMPLES, Distances, listed, read_distances, read_metadata, read_taxonomy
from plait.data.sequence_files import letters_beyond_acgt, read_sequences, read_tree, sequences_of_ids
from plait.data.table import Finding, columns_named
from plait.features.tree import Tree

Unmatched = Literal["error", "drop"]
"""Features without a sequence or a tip, where others have one: refuse, or leave them out."""


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Samples with counts of features, and what is known of either; all in the order of the sorted ids.

    `counts` is a CSR array of float64 without explicit zeros; every sample and every feature has a count. `sequences`
    and `taxonomy` name those of each feature, "" where a taxon is not given. `tree` has the features as tips.
    `metadata` is a frame of text, NA where missing, with the sample ids as index; without metadata it has no column.

    Shape: counts (n, f), distances (n, n). Units: those of the files.
    """

    samples: tuple[str, ...]
    features: tuple[str, ...]
    counts: Any
    metadata: pd.DataFrame
    sequences: tuple[str, ...] | None = None
    tree: Tree | None = None
    distances: NDArray[np.float64] | None = None
    taxonomy: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()

    def fingerprint(self) -> str:
        """A digest of ids, counts, sequences, tree, distances, taxonomy and metadata: whether data are still those."""
        digest = hashlib.sha256()
        cells = self.metadata.astype(object).where(self.metadata.notna(), "").to_numpy().ravel()
        names = ((self.samples, self.features, self.sequences, self.taxonomy), (self.metadata.columns, cells))
        for texts in (text for group in names for text in group):
            digest.update(("\0".join(texts) if texts is not None else "\1").encode() + b"\2")
        arrays = [self.counts.indptr.astype(np.int64), self.counts.indices.astype(np.int64), self.counts.data]
        if self.tree is not None:
            arrays += [self.tree.parent, self.tree.length, np.array(list(self.tree.tips.values()), dtype=np.int64)]
        if self.distances is not None:
            arrays.append(self.distances)
        for values in arrays:
            digest.update(np.ascontiguousarray(values).tobytes() + b"\2")
        return digest.hexdigest()[:16]


def read_samples(
    table: str | Path,
    *,
    sequences: str | Path | None = None,
    tree: str | Path | None = None,
    distances: str | Path | None = None,
    taxonomy: str | Path | None = None,
    metadata: str | Path | None = None,
    target: str | None = None,
    classifier: bool = False,
    categories: Sequence[str] = (),
    rows: RowsAre | None = None,
    unmatched: Unmatched = "error",
) -> SampleTable:
    """Read the files of a study, bring them to the samples and features they share, and tell what was found.

    Samples that only the table or only the metadata have, samples without any count and features without any are
    left out. Feature ids that are sequences stand in for a FASTA file. `target` is a column of the metadata: numbers,
    or with `classifier` classes; samples without a value stay. `categories` are further columns of classes. `rows`
    says what a row of a table in text is. Features without a sequence or a tip are left out; unless `unmatched` is
    `drop`, the finding names the field `data.unmatched`, and `refuse` raises on it.

    Errors: those of the readers; DataError for a column that the metadata lack (the nearest), no sample in common (five
    of each side), no feature with a sequence or a tip, samples without distances, a target that is not of numbers
    (the samples), or without values, or with one class.
    """
    facts = _facts(metadata, target, categories, str(table))
    held = read_feature_table(table, rows, () if facts is None else facts.index)
    found: list[Finding] = []
    held = _in_common(held, facts, str(table), str(metadata), found)
    held = _with_counts(held, "features", str(table), found)
    of_feature = _sequences(held.features, sequences)
    if of_feature is not None:
        held = _matched(held, of_feature, "sequence", str(sequences), unmatched, found)
    whole = None if tree is None else read_tree(tree)
    if whole is not None:
        held = _matched(held, whole.tips, "tree tip", str(tree), unmatched, found)
    held = _with_counts(held, "samples", str(table), found)
    letters = None if of_feature is None else tuple(of_feature[name] for name in held.features)
    found += [] if letters is None else letters_beyond_acgt(held.features, letters)
    found += _not_whole(held)
    kept = pd.DataFrame(index=pd.Index(held.samples, dtype="str", name="sample_id"))
    kept = kept if facts is None else facts.loc[list(held.samples)]
    if target is not None:
        found += _target(kept, target, classifier, str(metadata))
    for name in dict.fromkeys([*([target] if target and classifier else []), *categories]):
        found += _seen_once(kept, name)
    return SampleTable(
        samples=held.samples,
        features=held.features,
        counts=held.counts,
        metadata=kept,
        sequences=letters,
        tree=None if whole is None else whole.keep(held.features),
        distances=None if distances is None else _distances(read_distances(distances), held, str(distances), found),
        taxonomy=_taxa(held, taxonomy, found),
        findings=tuple(found),
    )


def number_column(metadata: pd.DataFrame, name: str, where: str, fix: str) -> NDArray[np.float64]:
    """A column of metadata as numbers, NaN where missing.

    Shape: (n,).
    Errors: DataError for cells that are no finite numbers (how many, and the first five samples).
    """
    cells = metadata[name]
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    odd = cells[cells.notna().to_numpy() & ~np.isfinite(numbers)]
    if len(odd):
        shown = listed([f"{sample} {cell!r}" for sample, cell in odd.items()])
        raise DataError(
            f"{len(odd)} of {len(cells)} cells are no numbers: {shown}", where=f"{where}, column {name}", fix=fix
        )
    return numbers


def _facts(
    metadata: str | Path | None, target: str | None, categories: Sequence[str], table: str
) -> pd.DataFrame | None:
    """The metadata, if there are any, with the columns that are asked for."""
    columns = [(name, "data.target") for name in [target] if name is not None]
    columns += [(name, "data.categories") for name in categories]
    facts = None if metadata is None else read_metadata(metadata)
    for name, field in columns:
        if facts is None:
            raise DataError(f"there is no column {name!r} without metadata", where=table, fix="give metadata")
        columns_named(facts, [name], str(metadata), field)
    return facts


def _in_order(held: FeatureTable, samples: Sequence[str], features: Sequence[str]) -> FeatureTable:
    """The samples and features asked for, in that order."""
    counts = held.counts
    if tuple(samples) != held.samples:
        place = {name: number for number, name in enumerate(held.samples)}
        counts = counts[[place[name] for name in samples]]
    taxa = held.taxonomy
    if tuple(features) != held.features:
        place = {name: number for number, name in enumerate(held.features)}
        chosen = [place[name] for name in features]
        counts = counts[:, chosen]
        taxa = None if taxa is None else tuple(taxa[number] for number in chosen)
    return FeatureTable(counts, tuple(samples), tuple(features), taxa)


def _in_common(
    held: FeatureTable, facts: pd.DataFrame | None, table: str, metadata: str, found: list[Finding]
) -> FeatureTable:
    """The samples that both sides have, and the features, sorted; the counts in canonical form."""
    counted = set(held.samples)
    described = counted if facts is None else set(facts.index)
    if counted.isdisjoint(described):
        raise DataError(
            f"no sample in common: the table has {listed(sorted(counted))} and"
            f" {metadata} has {listed(sorted(described))}",
            where=table,
            fix=_why_apart(held, described),
        )
    for names, what in (
        (counted - described, "samples of the table are not in the metadata and are left out"),
        (described - counted, "samples of the metadata are not in the table and are left out"),
    ):
        if names:
            found.append(_finding(what, sorted(names)))
    held = _in_order(held, sorted(counted & described), sorted(held.features))
    # A copy, for what is read over may share its arrays with the reader's table.
    counts = held.counts.copy()
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return held._replace(counts=counts)


def _why_apart(held: FeatureTable, described: set[str]) -> str:
    """What to do about ids that do not meet, by what would make them meet."""
    if not described.isdisjoint(held.features):
        return "the features of the table are samples of the metadata; give the table turned, or say what its rows are"

    def plain(names: Sequence[str] | set[str]) -> set[str]:
        return {name.casefold().removesuffix(".0").lstrip("0") for name in names}

    if not plain(held.samples).isdisjoint(plain(described)):
        return "they would meet without case, leading zeros and a final .0: write the ids of both as text"
    return "give the metadata of these samples"


def _finding(what: str, names: Sequence[str], decide: str = "") -> Finding:
    return Finding(what, len(names), tuple(names[:EXAMPLES]), decide)


def _with_counts(held: FeatureTable, axis: RowsAre, where: str, found: list[Finding]) -> FeatureTable:
    """Leave out the samples, or the features, that are zero everywhere."""
    names = held.samples if axis == "samples" else held.features
    there = np.diff(held.counts.indptr) > 0
    if axis == "features":
        there = np.bincount(held.counts.indices, minlength=len(names)) > 0
    if there.all():
        return held
    if not there.any():
        raise DataError(f"all {len(names)} {axis} are empty: no count is above 0", where=where, fix="give counts")
    empty = [name for name, full in zip(names, there, strict=True) if not full]
    found.append(_finding(f"{axis} are empty (no count above 0) and are left out", empty))
    kept = [name for name, full in zip(names, there, strict=True) if full]
    if axis == "samples":
        return _in_order(held, kept, held.features)
    return _in_order(held, held.samples, kept)


def _sequences(features: tuple[str, ...], path: str | Path | None) -> dict[str, str] | None:
    """The sequences by feature id: those of the file, or the ids."""
    if path is not None:
        return read_sequences(path)
    letters = sequences_of_ids(features)
    return None if letters is None else dict(zip(features, letters, strict=True))


def _matched(
    held: FeatureTable, known: Mapping[str, Any], what: str, where: str, unmatched: Unmatched, found: list[Finding]
) -> FeatureTable:
    """Leave out the features that have no sequence or no tip."""
    absent = [name for name in held.features if name not in known]
    if not absent:
        return held
    if len(absent) == len(held.features):
        raise DataError(
            f"none of the {len(absent)} features ({listed(absent)}) has a {what}; the file has {listed(sorted(known))}",
            where=where,
            fix="give the file of these features",
        )
    kept = [name for name in held.features if name in known]
    rest = _in_order(held, held.samples, kept)
    share = 100 * (1 - rest.counts.sum() / held.counts.sum())
    decide = "data.unmatched" if unmatched == "error" else ""
    found.append(_finding(f"features have no {what} and are left out ({share:.2g} % of all counts)", absent, decide))
    return rest


def _not_whole(held: FeatureTable) -> list[Finding]:
    """Counts that are no whole numbers, the first five by sample and feature."""
    counts = held.counts
    odd = np.flatnonzero(counts.data != np.floor(counts.data))
    if not len(odd):
        return []
    rows = np.searchsorted(counts.indptr, odd[:EXAMPLES], side="right") - 1
    shown = [
        f"{held.samples[row]} {held.features[counts.indices[at]]} {counts.data[at]:g}"
        for row, at in zip(rows, odd, strict=False)
    ]
    what = "counts are no whole numbers (relative abundances can't be rarefied)"
    return [Finding(what, len(odd), tuple(shown))]


def _target(metadata: pd.DataFrame, name: str, classifier: bool, where: str) -> list[Finding]:
    """Check the values to learn, and tell how many are missing."""
    if not classifier:
        fix = "mend or empty them, or ask for a classifier if these are classes"
        number_column(metadata, name, where, fix)
    known = metadata[name].dropna()
    if known.empty:
        raise DataError(f"none of the {len(metadata)} samples has a value", where=f"{where}, column {name}")
    if classifier and known.nunique() < 2:
        raise DataError(
            f"every sample has the class {known.iloc[0]!r}",
            where=f"{where}, column {name}",
            fix="give two classes or more",
        )
    missing = [str(sample) for sample in metadata.index[metadata[name].isna()]]
    if not missing:
        return []
    return [_finding(f"samples have no value of {name} and are left out of training", missing)]


def _seen_once(metadata: pd.DataFrame, name: str) -> list[Finding]:
    """Categories of a column that one sample has."""
    once = sorted(str(value) for value, count in Counter(metadata[name].dropna()).items() if count == 1)
    return [_finding(f"categories of {name} are seen once", once)] if once else []


def _distances(given: Distances, held: FeatureTable, where: str, found: list[Finding]) -> NDArray[np.float64]:
    """The matrix of the samples, in their order."""
    place = {name: number for number, name in enumerate(given.ids)}
    absent = [name for name in held.samples if name not in place]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(held.samples)} samples ({listed(absent)}) are not in the matrix, which has"
            f" {listed(sorted(place))}",
            where=where,
            fix="give the distances of all samples",
        )
    beyond = sorted(set(given.ids) - set(held.samples))
    if beyond:
        found.append(_finding("samples of the distances are not in the table and are left out", beyond))
    chosen = [place[name] for name in held.samples]
    return given.matrix[np.ix_(chosen, chosen)]


def _taxa(held: FeatureTable, path: str | Path | None, found: list[Finding]) -> tuple[str, ...] | None:
    """The taxa of the file, else those of the table, in the order of the features."""
    if path is not None:
        known = read_taxonomy(path)
        taxa = tuple(known.get(name, "") for name in held.features)
    elif held.taxonomy is not None:
        taxa = held.taxonomy
    else:
        return None
    bare = [name for name, taxon in zip(held.features, taxa, strict=True) if not taxon]
    if bare:
        found.append(_finding("features have no taxon", bare))
    return taxa
