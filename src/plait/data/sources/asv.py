"""`asv`: samples as counts of sequence variants, with sequences, a tree, and metadata that hold the target."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import sparse
from torch import Tensor

from plait.core.config import Config
from plait.core.errors import ConfigError, DataError, suggest
from plait.core.schema import Schema
from plait.core.seeding import generator
from plait.data.feature_tables import RowsAre
from plait.data.sample_files import EXAMPLES
from plait.data.sample_fitted import SampleFitted
from plait.data.sample_table import SampleTable, Unmatched, read_samples
from plait.data.sources._names import Names
from plait.data.table import Finding, columns_named
from plait.features.composition import rarefy
from plait.objectives.transforms import TransformKind

if TYPE_CHECKING:
    from plait.data.samples import SampleData


class AsvSourceConfig(Config):
    """A table of counts of sequence variants (ASVs), and what is known of the samples and the variants."""

    kind: Literal["asv"] = "asv"
    table: str
    """Counts of ASVs a sample: BIOM, TSV, CSV, Parquet, or an artefact of QIIME 2."""
    sequences: str | None = None
    """FASTA file of the ASVs; unset: ids that are sequences stand for themselves."""
    tree: str | None = None
    """Newick tree with the ASVs as tips."""
    distances: str | None = None
    """Square matrix of distances between samples, in place of those that the tree gives."""
    taxonomy: str | None = None
    """Table of the taxon of each ASV, for reports."""
    metadata: str | None = None
    """Table of what is known of each sample."""
    target: str | None = None
    """Column of the metadata to predict; unset: none, for a pretraining."""
    classifier: bool = False
    """The target is a class, not a number."""
    table_rows: RowsAre | None = None
    """What a row of a table in text is; unset: seen from the table."""
    unmatched: Unmatched = "error"
    """ASVs without a sequence or a tip, where others have one: refuse, or leave them out."""
    target_min: float | None = None
    """Samples with a smaller target are left out of every split."""
    target_max: float | None = None
    """Samples with a greater target are left out of every split."""
    categories: Names = []
    """Columns of categories that the model reads, in a list or with commas."""
    numbers: Names = []
    """Columns of numbers that the model reads, in a list or with commas."""
    group_by: str | None = None
    """Column whose samples of one value stay in one split: families, sites, studies."""
    stratify: bool = False
    """Give each split the shares of the classes of the whole."""
    splits: list[float] = Field([0.7, 0.15, 0.15], min_length=3, max_length=3)
    """Shares of the samples for train, validation and test."""
    split_seed: int = 0
    """Draws the splits, and rarefaction; the seed of a run does not move them."""
    folds: int | None = Field(None, ge=2)
    """Split into this many folds in place of shares; `fold` is the test split."""
    fold: int = Field(0, ge=0)
    """Which of the folds is the test split, from 0."""
    prevalence: float = Field(0.05, ge=0, le=1)
    """ASVs that a smaller share of the train samples has are left out."""
    rarefy: int | None = Field(None, ge=1)
    """Draw this many reads of each sample, once; samples with fewer are left out. Unset: all reads."""
    transform: TransformKind = "none"
    """What the target is turned into for learning; predictions are turned back."""
    normalize_by: Names = []
    """Columns whose categories have their own statistics under the transform zscore-category."""
    bins: int = Field(40, ge=2)
    """Thresholds of a predicted distribution, at quantiles of the train targets."""
    kmers: int = Field(48, ge=0)
    """Width of what an ASV's k-mers say of it; 0 leaves it out."""
    tree_width: int = Field(48, ge=0)
    """Width of what an ASV's place in the tree says of it; 0 leaves it out."""
    cooccurrence: int = Field(48, ge=0)
    """Width of what the train samples say of an ASV; 0 leaves it out."""
    mixup: float = Field(0.0, ge=0)
    """Mix each train sample with another by a share drawn from Beta(mixup, mixup); 0: none."""
    unifrac: Literal["none", "unweighted", "weighted", "weighted_normalized"] = "none"
    """Distance between samples that an objective learns; needs a tree, where no distances are given."""
    placebo: bool = False
    """Permute the metadata among the samples of each split, without a fixed point, before anything reads them."""
    most_features: int | None = Field(None, ge=1)
    """Only this many most abundant ASVs of a sample enter; unset: all."""

    rows_are: ClassVar[str] = "samples"
    new_names: ClassVar[tuple[str, ...]] = ("table", "sequences", "tree", "distances", "taxonomy", "metadata")
    """Files by which a user's new samples are given."""

    def read(self) -> SampleTable:
        """The checked table of the study, rarefied where asked.

        Errors: ConfigError for fields that exclude each other; those of `read_samples`; DataError for a column that
        the metadata lack (the nearest), and where no sample has the reads to rarefy (the depths).
        """
        self.check()
        table = read_samples(
            **{name: getattr(self, name) for name in self.new_names},
            target=self.target,
            classifier=self.classifier,
            categories=self.categories,
            rows=self.table_rows,
            unmatched=self.unmatched,
        )
        self.check_columns(table.metadata)
        return self._rarefied(table)

    def of_new(
        self,
        schema: Schema | None = None,
        fitted: SampleFitted | None = None,
        reads: Collection[str] = (),
        **paths: str | None,
    ) -> SampleTable:
        """The checked table of other files, by the names of `new_names`, for a trained run.

        What the run learned is not asked here: `build` brings the table to its ASVs and columns. Neither the target
        nor a column of the run need be there, nor metadata at all; what is not given is not taken from the run's own
        files.
        Errors: as `read`; ConfigError for a file of another name, and without a table.
        """
        for name in paths:
            if name not in self.new_names:
                raise ConfigError(f"new samples have no {name!r}", where="predict", fix=suggest(name, self.new_names))
        files: dict[str, Any] = {name: path for name, path in paths.items() if path is not None}
        if "table" not in files:
            raise ConfigError("new samples need a table", where="predict", fix="give --table FILE")
        return self._rarefied(read_samples(**files, rows=self.table_rows, unmatched=self.unmatched))

    def build(
        self,
        table: SampleTable,
        seed: int,
        fitted: SampleFitted | None = None,
        reads: Collection[str] | None = None,
        ahead: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> "SampleData":
        """The data of a run; see `SampleData`."""
        from plait.data.samples import SampleData

        return SampleData(table, self, seed, fitted, reads, ahead)

    @staticmethod
    def read_fitted(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> SampleFitted:
        """What a run fitted, from its files."""
        return SampleFitted.read(tensors, record)

    def as_learned(self, schema: Schema) -> "AsvSourceConfig":
        """The same data: nothing of them is usual for a table."""
        return self

    def check(self) -> None:
        """Refuse fields that exclude each other. Errors: ConfigError."""
        inputs = [*self.categories, *self.numbers]
        twice = sorted({name for name in inputs if inputs.count(name) > 1})
        ranged = self.target_min is not None or self.target_max is not None
        low, high = (
            -np.inf if self.target_min is None else self.target_min,
            np.inf if self.target_max is None else self.target_max,
        )
        faults = (
            (self.classifier and self.transform != "none", "transform", "classes have no target transform",
             "leave out the transform, or the classifier"),
            (self.classifier and ranged, "target_min", "classes have no range", "leave out target_min and target_max"),
            (low > high, "target_min", f"no target lies between {low:g} and {high:g}", "give a smaller target_min"),
            (self.target is None and (self.classifier or ranged), "target", "there is no target",
             "name a column of the metadata"),
            (self.stratify and not self.classifier, "stratify", "only classes can be stratified",
             "leave it out, or ask for a classifier"),
            (self.target is not None and self.target in (*inputs, *self.normalize_by), "categories",
             f"the target {self.target!r} is among what the model is told", "take it out"),
            (bool(twice), "categories", f"columns are named more than once: {', '.join(twice)}", "name each once"),
            (self.unifrac != "none" and self.tree is None and self.distances is None, "unifrac",
             "there is neither a tree nor a matrix of distances", "give --tree or --distances, or unifrac none"),
        )  # fmt: skip
        for wrong, field, what, fix in faults:
            if wrong:
                raise ConfigError(what, where=f"data.{field}", fix=fix)

    def check_columns(self, metadata: pd.DataFrame) -> None:
        """Refuse columns that the metadata lack. Errors: DataError with the nearest name."""
        wanted = {
            "target": [self.target] if self.target is not None else [],
            "categories": self.categories,
            "numbers": self.numbers,
            "group_by": [self.group_by] if self.group_by is not None else [],
            "normalize_by": self.normalize_by,
        }
        for field, names in wanted.items():
            if names and self.metadata is None and not len(metadata.columns):
                raise DataError(
                    f"there is no column {names[0]!r} without metadata", where=f"data.{field}", fix="give metadata"
                )
            columns_named(metadata, names, self.metadata or "metadata", f"data.{field}")

    def _rarefied(self, table: SampleTable) -> SampleTable:
        """As many reads of every sample; those with fewer, and ASVs that no read is left of, are left out.

        Each sample has a generator of its own, so that its reads are the same whichever samples stand beside it.
        """
        if self.rarefy is None:
            return table
        counts, depth = table.counts, self.rarefy
        enough = np.asarray(counts.sum(axis=1)).ravel() >= depth
        if not enough.any() or (counts.data != np.floor(counts.data)).any():
            rarefy(counts, depth, generator(self.split_seed, "rarefy"), table.samples, self.table)
        rows = np.flatnonzero(enough)
        drawn = [
            rarefy(counts[[row]], depth, generator(self.split_seed, "rarefy", table.samples[row])).counts
            for row in rows
        ]
        found = list(table.findings)
        below = [table.samples[row] for row in np.flatnonzero(~enough)]
        if below:
            shown = tuple(below[:EXAMPLES])
            found.append(Finding(f"samples have fewer than {depth} reads and are left out", len(below), shown))
        return _part(table, sparse.csr_array(sparse.vstack(drawn, format="csr")), rows, tuple(found))


def _part(table: SampleTable, counts: Any, rows: Any, findings: tuple[Finding, ...]) -> SampleTable:
    """Some samples of a table with new counts, and the ASVs that they have."""
    columns = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]))
    features = tuple(table.features[column] for column in columns)
    samples = tuple(table.samples[row] for row in rows)

    def kept(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if texts is None else tuple(texts[column] for column in columns)

    return replace(
        table,
        samples=samples,
        features=features,
        counts=counts[:, columns],
        metadata=table.metadata.iloc[rows],
        sequences=kept(table.sequences),
        tree=None if table.tree is None else table.tree.keep(features),
        distances=None if table.distances is None else table.distances[np.ix_(rows, rows)],
        taxonomy=kept(table.taxonomy),
        findings=findings,
    )
