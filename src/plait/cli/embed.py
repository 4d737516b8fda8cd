"""`plait embed`: photos or texts to arrays that a recipe reads, or the texts of a recipe's data to the store."""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import COMMON, config_of, count_of, only_options
from plait.core import signals
from plait.core.console import Progress, say
from plait.core.errors import ConfigError, DataError, suggest
from plait.core.processes import cores

if TYPE_CHECKING:
    from plait.data.embedding_writer import EmbeddingWriter
    from plait.data.photo_files import Photos
    from plait.data.row_texts import RowTexts

PHOTOS = f"""usage: plait embed photos FOLDER --out FOLDER [--names PATTERN] [--encoder NAME|FOLDER|HUB_ID]
                          [--tokens pooled|patches] [--batch-size N] [--device auto|cpu|cuda]

Turns photos into arrays, one for each source (room, view), which a recipe reads. A photo that can't be read and an id
without a photo have a row of zeros, which counts as missing. Stopped or killed at any moment, the same command goes on.

--out         folder to write SOURCE.npy, SOURCE.ids.txt and SOURCE.json to
--names       what the names of photos say, without ending, default {{id}}_{{source}}; {{id}} alone is the one source
              photos
--encoder     default efficientnet_lite0; or a folder or Hub id of CLIP, SigLIP, ViT or the like (safetensors only)
--tokens      one state a photo (default), or one a patch
--batch-size  photos at a time, default 32

Everywhere: {COMMON}"""

TEXTS = f"""usage: plait embed texts TABLE.csv --out FOLDER --id COLUMN --text 'A house with {{bedrooms}} bedrooms.'
                          [--source NAME] [--embedder NAME|FOLDER|HUB_ID] [--pool mean|none] [--max-tokens N]

Fills a template with the columns of each row and turns the sentences into an array, which a recipe reads. Each distinct
sentence is encoded once, also over several commands. A missing cell is left out of its sentence; a row whose named
cells are all missing has a row of zeros, which counts as missing.

--source      name of the array, default text
--embedder    default minilm; wordllama, or a folder or Hub id of a language model (safetensors only)
--pool        mean of the states of a sentence (default), or each state
--max-tokens  tokens read of a sentence, default 64

Everywhere: {COMMON}"""

RECIPE = f"""usage: plait embed photos FOLDER --out FOLDER [...]
       plait embed texts TABLE.csv --out FOLDER --id COLUMN --text TEMPLATE [...]
       plait embed RECIPE [fields]

The first two make arrays that a recipe reads (plait embed photos --help says more); the third encodes the texts of a
recipe's data into the store.

Everywhere: {COMMON}"""

KEPT = "what is finished is kept; run the same command again"
PHOTO_OPTIONS = ("out", "names", "encoder", "tokens", "batch-size", "device")
TEXT_OPTIONS = ("out", "id", "text", "source", "embedder", "pool", "max-tokens")
SHOWN = 5
ROWS = 1024
"""Rows of texts that are written at a time."""


def embed(tokens: list[str]) -> dict[str, Any]:
    """Embed photos, the rows of a table, or the texts of a recipe's data."""
    asked = "--help" in tokens or "-h" in tokens
    what = {"photos": (PHOTOS, embed_photos), "texts": (TEXTS, embed_texts)}.get(tokens[0]) if tokens else None
    page, action = what or (RECIPE, embed_recipe)
    if asked:
        say(page)
        return {}
    return action(tokens[1:] if what else tokens)


def embed_recipe(tokens: list[str]) -> dict[str, Any]:
    """Encode the texts of a recipe's data into the store."""
    from plait.runs.assemble import build_data

    _, _, config = config_of(tokens)
    data = build_data(config)
    if getattr(data, "text", None) is None:
        raise DataError("these data have no text", where="data", fix="give data.text.path")
    total = data.text.states.shape[0]
    say(f"{total} distinct texts in the store, {data.encoded} of them encoded now")
    return {"texts": total, "encoded": data.encoded}


def embed_photos(tokens: list[str]) -> dict[str, Any]:
    """Turn a folder of photos into one array a source."""
    parsed = only_options(tokens, ("FOLDER",), PHOTO_OPTIONS)
    options = parsed.options
    out, batch = Path(_needed(options, "out")), count_of(options.get("batch-size", "32"), "--batch-size")
    kept = _one_of(options.get("tokens", "pooled"), ("pooled", "patches"), "--tokens")
    device = _one_of(options.get("device", "auto"), ("auto", "cpu", "cuda"), "--device")
    from plait.data.embedding_writer import EmbeddingWriter, Origin
    from plait.data.photo_files import find_photos

    photos = find_photos(parsed.words[0], options.get("names", "{id}_{source}"))
    say(f"{len(photos.ids)} ids with photos of {', '.join(photos.sources)}")
    if photos.left_out:
        say(f"{_counted(len(photos.left_out), 'file')} left out, by name or ending: {_few(photos.left_out)}")
    name, encoder = _part("image_embedders", options.get("encoder", "efficientnet_lite0"), "--encoder")
    writers = {
        source: EmbeddingWriter(
            out, source, photos.ids, Origin(name, encoder.revision, _photos_digest(photos, source, kept))
        )
        for source in photos.sources
    }
    computed = {}
    for source, writer in writers.items():
        computed[source] = _write_photos(writer, list(photos.sources[source].items()), encoder, kept, device, batch)
    broken = {source: writer.broken for source, writer in writers.items()}
    masked = [name for names in broken.values() for name in names]
    if masked:
        verb = "is" if len(masked) == 1 else "are"
        say(f"{_counted(len(masked), 'photo')} could not be decoded and {verb} masked: {_few(masked)}")
    if all(writer.empty for writer in writers.values()):
        raise DataError("none of the photos could be decoded", where=parsed.words[0], fix="see the names above")
    found = {source: _told(writer, computed[source]) for source, writer in writers.items()}
    for source, files in photos.sources.items():
        found[source] |= {"broken": broken[source], "absent": len(photos.ids) - len(files)}
        if found[source]["absent"]:
            say(f"{source}: {_counted(found[source]['absent'], 'id')} without a photo, masked")
    if not any(computed.values()):
        say("all was done already, nothing was computed")
    return {
        "folder": str(out), "encoder": name, "revision": encoder.revision, "left_out": list(photos.left_out),
        "sources": found,
    }  # fmt: skip


def _write_photos(
    writer: "EmbeddingWriter", files: list[tuple[str, Path]], encoder: Any, tokens: str, device: str, batch: int
) -> int:
    """Embed the photos of a source that are not yet in; returns how many were read."""
    if writer.finished:
        return 0
    import numpy as np
    from PIL import Image

    from plait.data.photo_files import BrokenPhoto, read_ahead

    row_of = {each: row for row, each in enumerate(writer.ids)}
    start = writer.done
    batches = [files[begin : begin + batch] for begin in range(start, len(files), batch)]
    progress = Progress(writer.source, len(files), "photo")
    progress.update(start)
    try:
        with warnings.catch_warnings():
            # A photo of too many pixels is refused; Pillow's warning before that tells nothing more.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            read = read_ahead([[path for _, path in part] for part in batches], encoder.side, cores())
            for part, photos in zip(batches, read, strict=True):
                rows, whole, broken = list[int](), [], list[str]()
                for (each, path), photo in zip(part, photos, strict=True):
                    if isinstance(photo, BrokenPhoto):
                        broken.append(path.name)
                    else:
                        rows.append(row_of[each])
                        whole.append(photo)
                states = encoder.encode(np.stack(whole), tokens, device) if whole else None
                writer.add(rows, states, len(part), broken)
                progress.update(writer.done)
                signals.check(KEPT)
    finally:
        progress.close()
    if not writer.empty:
        writer.finish()
    return len(files) - start


def embed_texts(tokens: list[str]) -> dict[str, Any]:
    """Turn the rows of a table into one array, by a sentence each."""
    parsed = only_options(tokens, ("TABLE",), TEXT_OPTIONS)
    options = parsed.options
    out, source = Path(_needed(options, "out")), options.get("source", "text")
    pool = _one_of(options.get("pool", "mean"), ("mean", "none"), "--pool")
    most = count_of(options.get("max-tokens", "64"), "--max-tokens")
    if not re.fullmatch(r"\w[\w.-]*", source):
        raise ConfigError(f"{source!r} is no name for a file", where="--source", fix="use letters, digits, _ and -")
    from plait.data.embedding_writer import EmbeddingWriter, Origin
    from plait.data.row_texts import row_texts
    from plait.data.store import EmbeddingStore

    rows = row_texts(Path(parsed.words[0]), _needed(options, "id"), _needed(options, "text"))
    name, embedder = _part("embedders", options.get("embedder", "minilm"), "--embedder")
    made_from = _digest([list(rows.ids), list(rows.texts), pool, most])
    writer = EmbeddingWriter(out, source, rows.ids, Origin(name, embedder.revision, made_from))
    without = rows.texts.count("")
    if rows.partly:
        say(f"{_counted(rows.partly, 'sentence')} with a missing cell left out")
    if without:
        say(f"{_counted(without, 'row')} without a text, masked")
    distinct = list(dict.fromkeys(filter(None, rows.texts)))
    if not distinct:
        raise DataError("no row has a text", where=parsed.words[0], fix="name other columns in --text")
    encoded = 0
    if not writer.finished:
        store = EmbeddingStore(embedder, name if name in _kinds("embedders") else "pretrained", most, pool)
        encoded = _fill_store(store, distinct)
        _write_texts(writer, rows, store)
    found = {source: _told(writer, encoded) | {"distinct": len(distinct), "absent": without}}
    if not encoded:
        say("all sentences were encoded already")
    return {"folder": str(out), "encoder": name, "revision": embedder.revision, "sources": found}


def _fill_store(store: Any, distinct: list[str]) -> int:
    """Encode the sentences that the store lacks; returns how many."""
    progress = Progress("sentences", len(distinct), "text")

    def told(done: int, total: int) -> None:
        progress.update(done)
        signals.check(KEPT)

    try:
        return int(store.add(distinct, told))
    finally:
        progress.close()


def _write_texts(writer: "EmbeddingWriter", rows: "RowTexts", store: Any) -> None:
    """Lay the stored states of each row's sentence into the array, cut to the longest sentence."""
    texts = [(row, text) for row, text in enumerate(rows.texts) if text]
    parts = [texts[begin : begin + ROWS] for begin in range(0, len(texts), ROWS)]
    longest = max(int(store.load([text for _, text in part])[1].sum(axis=1).max()) for part in parts)
    if longest == 0:
        raise DataError("no sentence has a token that the embedder knows", where="--text", fix="write other words")
    start = writer.done // ROWS
    for part in parts[start:]:
        states, _ = store.load([text for _, text in part])
        writer.add([row for row, _ in part], states[:, :longest], len(part), [])
        signals.check(KEPT)
    writer.finish()


def _told(writer: "EmbeddingWriter", computed: int) -> dict[str, Any]:
    """Say where a source lies, and return the same as plain data."""
    if writer.empty:
        say(f"{writer.source}: no photo could be decoded, no file is written")
        return {"path": None, "rows": 0, "computed": computed}
    done = f"{computed} computed" if computed else "was there already"
    say(f"{writer.source}: {writer.path}, {len(writer.ids)} rows, {done}")
    return {"path": str(writer.path), "rows": len(writer.ids), "computed": computed}


def _kinds(room: str) -> dict[str, str]:
    from plait.core.kinds import kinds

    return kinds(room)


def _part(room: str, named: str, option: str) -> tuple[str, Any]:
    """The frozen model of a name, a folder or a Hub id, and what to call it."""
    from plait.core.kinds import config_class, kind_named

    able = [kind for kind in _kinds(room) if kind != "pretrained"]
    kind = kind_named(named, able)
    if kind in able:
        usual: Any = config_class(room, kind)
        model = usual().build()
        if getattr(model, "fits", False):
            raise ConfigError(
                f"{kind} learns from train rows, and here there is no split", where=option,
                fix=f"use {', '.join(each for each in able if each != kind)} or the folder of a model",
            )  # fmt: skip
        return kind, model
    near = suggest(named, able)
    if "/" not in named and near.startswith("did you mean") and not Path(named).exists():
        raise ConfigError(f"no encoder {named!r}", where=option, fix=near)
    pretrained: Any = config_class(room, "pretrained")
    return named, pretrained(path=named).build()


def _photos_digest(photos: "Photos", source: str, tokens: str) -> str:
    """A digest of the ids, and of name, size and time of change of a source's files."""
    files = []
    for each, path in photos.sources[source].items():
        about = path.stat()
        files.append([each, path.name, about.st_size, about.st_mtime_ns])
    return _digest([list(photos.ids), files, tokens])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _needed(options: dict[str, str], name: str) -> str:
    if name not in options:
        raise ConfigError(
            f"--{name} is not given", fix="plait embed photos --help and plait embed texts --help say more"
        )
    return options[name]


def _one_of(value: str, known: Sequence[str], option: str) -> str:
    if value not in known:
        raise ConfigError(f"no {option.removeprefix('--')} {value!r}", where=option, fix=suggest(value, known))
    return value


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
