"""`plait data convert`: embeddings out of a legacy pickle into an .npz, with nothing of the pickle run."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import COMMON, only_options
from plait.core import signals
from plait.core.console import Progress, say
from plait.core.errors import ConfigError

PAGE = f"""usage: plait data convert OLD.pkl --out NEW.npz [--ids FILE]

Reads embeddings out of a pickle (also a .npy of Python objects) and writes them as `ids` and `embeddings`. Loading a
pickle may run code; this reader runs none, and refuses every name in it that is no plain data. Read are a dict
{{id: vector}}, a dict of `ids` and `embeddings`, a list of (id, vector), and an array.

--out  file to write; one that is there is not overwritten
--ids  text file with one id a line, for an array without ids

Everywhere: {COMMON}"""


def data_convert(tokens: list[str]) -> dict[str, Any]:
    """Convert a pickle of embeddings."""
    if "--help" in tokens or "-h" in tokens:
        say(PAGE)
        return {}
    parsed = only_options(tokens, ("FILE",), ("out", "ids"))
    path = Path(parsed.words[0])
    if "out" not in parsed.options:
        raise ConfigError("--out is not given", fix=f"--out {path.with_suffix('.npz')}")
    from plait.data.embedding_arrays import read_ids
    from plait.data.legacy_embeddings import check_new, embeddings_of, write_npz
    from plait.data.legacy_pickle import read_legacy

    out = Path(parsed.options["out"])
    check_new(out)
    ids = read_ids(Path(parsed.options["ids"])) if "ids" in parsed.options else None
    say("warning: a pickle may run code when it is loaded; this reader runs none and takes plain data alone")
    progress = Progress(path.name, 100, "percent")

    def told(place: int, size: int) -> None:
        progress.update(100 * place // size)
        signals.check("nothing was written")

    try:
        found = read_legacy(path, told)
    finally:
        progress.close()
    names, embeddings = embeddings_of(found, path.stat().st_size, str(path), ids)
    write_npz(out, names, embeddings)
    say(f"{len(names)} ids with embeddings of {' x '.join(map(str, embeddings.shape[1:]))}: {out}")
    return {"path": str(out), "rows": len(names), "shape": list(embeddings.shape)}
