"""`plait data fetch`: the catalogue, or one of its sets downloaded and checked."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import COMMON, only_options
from plait.cli.grammar import parse
from plait.core.console import say
from plait.core.errors import ConfigError

VALUED = ("root", "only", "mirror")
PAGE = f"""usage: plait data fetch [NAME] [--root FOLDER] [--only GLOB] [--mirror URL]

Without NAME: what can be fetched. A file that is there already is not fetched again; one that was cut off goes on.

--root    folder to write to, default data/NAME
--only    files whose path matches, as in --only "*/Energy/*"; several are parted by commas
--mirror  http or https address that the files lie under, instead of the catalogue's

Everywhere: {COMMON}"""


def data_fetch(tokens: list[str]) -> Any:
    """Download public data by the catalogue, or list it."""
    if "--help" in tokens or "-h" in tokens:
        say(PAGE)
        return {}
    for name in VALUED:
        if sum(token.partition("=")[0] == f"--{name}" for token in tokens) > 1:
            raise ConfigError(f"--{name} stands twice", fix="part globs by commas" if name == "only" else "give one")
    words = parse(tokens, VALUED).words
    options = only_options(tokens, ("NAME",) if words else (), VALUED).options
    from plait.data.fetch import catalogue, fetch, find

    if words:
        remote = find(words[0])
        root = Path(options.get("root", f"data/{remote.name}"))
        return fetch(remote, root, options.get("only", "*"), options.get("mirror"))
    if options:
        given = ", ".join(f"--{name}" for name in options)
        raise ConfigError(f"{given} without the name of what to fetch", fix=f"there is {', '.join(catalogue())}")
    return _listing()


def _listing() -> Any:
    from plait.data.fetch import catalogue, megabytes

    found = []
    for remote in catalogue().values():
        size, number = sum(file.bytes for file in remote.files), len(remote.files)
        say(f"{remote.name:<9} {number} {'file' if number == 1 else 'files'}, {megabytes(size)}: {remote.title}")
        say(f"{'':<9} {remote.note}")
        found.append(
            {
                "name": remote.name, "title": remote.title, "note": remote.note, "address": remote.address,
                "bytes": size, "files": [vars(file) for file in remote.files],
            }
        )  # fmt: skip
    return {"sets": found}
