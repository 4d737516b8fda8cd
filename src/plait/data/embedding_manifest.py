"""The manifest beside a file of embeddings: which encoder made it, and which rows that encoder was fine-tuned on."""

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from plait.core.errors import DataError, FileError
from plait.core.files import write_json
from plait.data.embedding_arrays import read_ids
from plait.data.table import Finding

FIELDS = ("encoder", "revision", "rows", "width", "tokens", "sha256", "fine_tuned_on")
"""What a manifest says; rows, width, tokens and sha256 are of the file beside it."""


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file of embeddings lies: `<stem>.json` beside it."""
    return path.with_suffix(".json")


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path, shape: tuple[int, int, int]) -> tuple[dict[str, Any] | None, list[Finding]]:
    """What the manifest of a file of embeddings says, checked against the file; None where there is none.

    `fine_tuned_on` comes as a list of ids: those it lists, or those of the file it names, one a line.
    Shape: `shape` is (n, t, w) of the file.
    Errors: FileError for a manifest that is no JSON object, and where the sha256 of the file is another; DataError
    where its rows, width or tokens are others (both numbers), and where `fine_tuned_on` is no list of ids and no path.
    """
    place = manifest_path(path)
    if not place.is_file():
        return None, []
    try:
        said = json.loads(place.read_bytes())
    except (OSError, ValueError) as error:
        raise FileError(f"is no manifest: {error}", where=str(place), fix="mend it or delete it") from None
    if not isinstance(said, dict):
        raise FileError("is no manifest: no JSON object", where=str(place), fix="mend it or delete it")
    for name, filed in zip(("rows", "tokens", "width"), shape, strict=True):
        if said.get(name, filed) != filed:
            raise DataError(
                f"the manifest says {said[name]} {name}, {path.name} has {filed}", where=str(place),
                fix="give the file that the manifest is of",
            )  # fmt: skip
    if said.get("sha256") is not None and said["sha256"] != file_digest(path):
        raise FileError(
            f"is not the file that {place.name} was written for: its sha256 is another", where=str(path),
            fix=f"make the file anew, or write its manifest anew if it was changed on purpose ({place})",
        )  # fmt: skip
    # More may stand in it, but a misspelt `fine_tuned_on` would let a leak through.
    near = tuple(sorted(name for name in said.keys() - set(FIELDS) if get_close_matches(name, FIELDS, n=1, cutoff=0.7)))
    found = [Finding(f"fields of the manifest {place} are not read, misspelt?", len(near), near)] if near else []
    return {**said, "fine_tuned_on": _fine_tuned_on(said.get("fine_tuned_on"), place)}, found


def _fine_tuned_on(said: Any, place: Path) -> list[str]:
    if said is None:
        return []
    if isinstance(said, str):
        return read_ids(place.parent / said)
    if isinstance(said, list) and all(isinstance(each, str | int) for each in said):
        return [str(each).strip() for each in said]
    fix = "give a list of ids, the path of a file of ids, or null"
    raise DataError("fine_tuned_on is no list of ids", where=str(place), fix=fix)


def write_manifest_of(
    path: Path, shape: tuple[int, int, int], encoder: str, revision: str, fine_tuned_on: list[str] | str | None
) -> dict[str, Any]:
    """Write the manifest of a file of embeddings beside it. Shape: `shape` is (n, t, w) of the file."""
    rows, tokens, width = shape
    said = {
        "encoder": encoder, "revision": revision, "rows": rows, "width": width, "tokens": tokens,
        "sha256": file_digest(path), "fine_tuned_on": fine_tuned_on,
    }  # fmt: skip
    write_json(manifest_path(path), said)
    return said
