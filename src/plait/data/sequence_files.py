"""Sequences and trees of features: FASTA, ids that are sequences, Newick."""

import re
from collections.abc import Sequence
from pathlib import Path

from plait.core.errors import DataError
from plait.data.sample_files import EXAMPLES, listed, opened, text_lines
from plait.data.table import Finding
from plait.features.tree import Tree, read_newick

_LETTERS = re.compile(r"[ACGTRYSWKMBDHVN]+")
_ACGT = re.compile(r"[ACGT]+", re.IGNORECASE)
_BEYOND = re.compile(r"[^ACGT]")


def read_sequences(path: str | Path) -> dict[str, str]:
    """The sequence of each id of a FASTA file; the id is the first word after `>`.

    Lines of one record are joined; letters become upper case and U becomes T. IUPAC letters for several nucleotides
    are kept. A record that repeats an id with the same sequence is skipped.

    Errors: FileError and DataError as `opened` (`dna-sequences.fasta` of an artefact); DataError with the line for
    text before the first record, a record without id or sequence, a letter that IUPAC does not have, and an id with
    two sequences (the first five).
    """
    records: list[tuple[int, str, list[str]]] = []
    with opened(path, "dna-sequences.fasta") as (stream, where):
        for line, text in text_lines(stream, where):
            words = text.split()
            if text.startswith(">"):
                header = text[1:].split()
                if not header:
                    raise DataError("a record has no id", where=f"{where}, line {line}", fix="write >id")
                records.append((line, header[0], []))
            elif words and not records:
                raise DataError(
                    "text stands before the first >", where=f"{where}, line {line}", fix="give a FASTA file"
                )
            elif words:
                records[-1][2].extend(words)
    found: dict[str, str] = {}
    apart: set[str] = set()
    for line, name, pieces in records:
        sequence = "".join(pieces).upper().replace("U", "T")
        _check(sequence, name, f"{where}, line {line}")
        if found.setdefault(name, sequence) != sequence:
            apart.add(name)
    if apart:
        raise DataError(
            f"{len(apart)} ids have two sequences: {listed(sorted(apart))}",
            where=where,
            fix="give each id one sequence",
        )
    if not found:
        raise DataError("there is no record", where=where, fix="give a FASTA file")
    return found


def _check(sequence: str, name: str, where: str) -> None:
    """Refuse a record that is no nucleotide sequence."""
    if not sequence:
        raise DataError(f"{name} has no sequence", where=where, fix="remove the record or complete it")
    if not _LETTERS.fullmatch(sequence):
        odd = "".join(sorted(set(_LETTERS.sub("", sequence))))
        fix = "give sequences that are not aligned" if set(odd) <= set("-.") else "give nucleotides"
        raise DataError(f"{name} has what is no nucleotide letter: {odd[:EXAMPLES]!r}", where=where, fix=fix)


def sequences_of_ids(features: Sequence[str]) -> tuple[str, ...] | None:
    """The feature ids as sequences, in upper case, where every id consists of A, C, G and T; else None."""
    if features and all(_ACGT.fullmatch(name) for name in features):
        return tuple(name.upper() for name in features)
    return None


def letters_beyond_acgt(features: Sequence[str], sequences: Sequence[str]) -> list[Finding]:
    """Count the sequences with letters other than A, C, G and T; the first five say how many letters and which."""
    odd = [(name, _BEYOND.findall(sequence), len(sequence)) for name, sequence in zip(features, sequences, strict=True)]
    shown = [f"{name} {len(there)} of {length} ({''.join(sorted(set(there)))})" for name, there, length in odd if there]
    if not shown:
        return []
    return [Finding("sequences have letters other than A, C, G and T", len(shown), tuple(shown[:EXAMPLES]))]


def read_tree(path: str | Path) -> Tree:
    """The tree of a Newick file, with all its tips.

    Errors: FileError and DataError as `opened` (`tree.nwk` of an artefact) and `read_newick`.
    """
    with opened(path, "tree.nwk") as (stream, where):
        text = "".join(line for _, line in text_lines(stream, where))
    return read_newick(text, where)
