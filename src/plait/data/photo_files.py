"""Photos of a folder: which item and room or view each file shows, and its pixels as a square of RGB."""

import re
import string
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError, FileError, suggest, suggest_file

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What Pillow may take a file for; some of its other formats run programs."""
MOST_PIXELS = 2**27
"""A photo of more pixels is refused before it is unpacked; a hundred megapixels are below."""
ONE_SOURCE = "photos"
"""The name of the source where file names tell none."""


AHEAD = 2
"""Batches that are read while one is with the encoder."""


class BrokenPhoto(ValueError):
    """A file that is no whole photo, and why."""


Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class Photos:
    """The photos of a folder: the sorted ids, and for each source the file of every id that has one.

    `left_out` are the names of files that are no photos or do not match the pattern.
    """

    ids: tuple[str, ...]
    sources: dict[str, dict[str, Path]]
    left_out: tuple[str, ...]


def find_photos(folder: str | Path, names: str = "{id}_{source}") -> Photos:
    """The photos right in a folder whose names without ending match a pattern.

    `{id}` takes as much as it can, `{source}` as little: of `front_12_kitchen`, `{id}_{source}` makes the id `front_12`
    and the source `kitchen`. Without `{source}` the one source is `photos`. Hidden files are passed over.

    Errors: ConfigError for a pattern without `{id}` or with other placeholders; FileError for an absent folder;
    DataError where no photo matches (examples), and where two files are of one id and source (both).
    """
    root, pattern = Path(folder), _pattern(names)
    try:
        files = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    except FileNotFoundError:
        raise FileError("no such folder", where=str(root), fix=suggest_file(root)) from None
    except OSError as error:
        raise FileError(f"can't be read: {error.strerror}", where=str(root), fix="give a folder of photos") from None
    sources: dict[str, dict[str, Path]] = {}
    left_out = []
    for path in files:
        found = pattern.fullmatch(path.stem) if path.suffix.lower() in ENDINGS else None
        if found is None:
            left_out.append(path.name)
            continue
        source, item = found.groupdict().get("source", ONE_SOURCE), found["id"]
        other = sources.setdefault(source, {}).setdefault(item, path)
        if other is not path:
            raise DataError(
                f"{other.name} and {path.name} are both {source} of {item}", where=str(root), fix="keep one of the two"
            )
    if not sources:
        shown = ", ".join(left_out[:3]) or "nothing"
        raise DataError(
            f"no photo is named as {names!r}; the folder holds {shown}", where=str(root),
            fix=f"give --names; photos end in {', '.join(ENDINGS)}",
        )  # fmt: skip
    ids = tuple(sorted({item for of_id in sources.values() for item in of_id}))
    return Photos(ids, dict(sorted(sources.items())), tuple(left_out))


def _pattern(names: str) -> re.Pattern[str]:
    """The stems that a pattern of `--names` stands for. Ids begin and end with no space; sources are file names."""
    groups = {"id": r"(?P<id>\S(?:.*\S)?)", "source": r"(?P<source>\w[\w.-]*?)"}
    written, fields = "", []
    for text, field in placeholders(names, "--names"):
        written += re.escape(text)
        if field is not None:
            if field not in groups:
                raise ConfigError(f"{names!r} has {{{field}}}", where="--names", fix=suggest(field, groups))
            written += groups[field]
            fields.append(field)
    if fields.count("id") != 1 or fields.count("source") > 1:
        raise ConfigError(f"{names!r} has not {{id}} once", where="--names", fix="give a pattern such as {id}_{source}")
    return re.compile(written)


def placeholders(text: str, where: str) -> list[tuple[str, str | None]]:
    """A text with `{names}` as pairs: what stands before, and the name, None at the end. `{{` stands for a brace.

    Errors: ConfigError for braces that do not pair, for a name with `!` or `:` behind it and for an empty one.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}", where=where, fix="write {{ for a brace") from None
    for _, name, form, conversion in parts:
        if name == "" or form or conversion:
            raise ConfigError(f"{text!r} has a placeholder with more or less than a name", where=where)
    return [(before, name) for before, name, _, _ in parts]


def read_photo(path: Path, side: int) -> Photo:
    """The middle square of a photo in RGB, upright, resized (bicubic).

    The turn that EXIF states is done, what is transparent lies on white, sixteen bits become their upper eight, and of
    several pictures in a file the first is read. A photo of that size already stays as it is.

    Shape: (side, side, 3). Units: 0 to 255.
    Errors: BrokenPhoto for a file that is no photo, cut off, damaged, or of more than 2^27 pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise BrokenPhoto(f"it unpacks to {opened.width} x {opened.height} pixels")
            image = _rgb(ImageOps.exif_transpose(opened))
    except (BrokenPhoto, MemoryError):
        raise
    except Exception as error:  # damaged files fail in many ways
        reason = "it is no photo" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BrokenPhoto(reason or type(error).__name__) from None
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def _rgb(image: Any) -> Any:
    """A picture of any mode in RGB."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BrokenPhoto(f"its pixels are of Pillow's mode {image.mode}, whose range is not known")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def read_ahead(batches: Iterable[Sequence[Path]], side: int, threads: int) -> Iterator[list[Photo | BrokenPhoto]]:
    """The photos of each batch in order, read by threads a little before they are asked for."""
    waiting: deque[list[Future[Photo | BrokenPhoto]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            waiting.append([pool.submit(_photo_or_fault, path, side) for path in batch])
            if len(waiting) > AHEAD:
                yield [photo.result() for photo in waiting.popleft()]
        while waiting:
            yield [photo.result() for photo in waiting.popleft()]


def _photo_or_fault(path: Path, side: int) -> Photo | BrokenPhoto:
    try:
        return read_photo(path, side)
    except BrokenPhoto as fault:
        return fault
