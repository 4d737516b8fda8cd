"""Public data fetched by a catalogue: resumed, checked by size and sha256, and never laid over a file of yours."""

import fcntl
import hashlib
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from importlib.resources import files
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from plait.core import signals, yaml
from plait.core.console import Progress, say
from plait.core.errors import ConfigError, DataError, FileError, suggest
from plait.core.files import sync_folder

SCHEMES = ("http", "https")
CHUNK = 1 << 16
TIMEOUT_S = 30.0
PAUSES_S = (1.0, 2.0, 4.0)
PASSING = (408, 425, 429, 500, 502, 503, 504)
KEPT = "the same command goes on where this one stopped"

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as it must be: its path under the root, its size in bytes, its digest."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RemoteSet:
    """Files under one address, and what to know before they are downloaded."""

    name: str
    title: str
    address: str
    note: str
    files: tuple[RemoteFile, ...]


def catalogue() -> dict[str, RemoteSet]:
    """Read what can be fetched, by name."""
    text = files("plait.data").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    raw = yaml.parse(text, "catalogue.yaml")
    return {
        name: RemoteSet(**{**entry, "name": name, "files": tuple(RemoteFile(**file) for file in entry["files"])})
        for name, entry in raw.items()
    }


def find(name: str) -> RemoteSet:
    """One set of the catalogue; `-` and `_` are the same."""
    sets = catalogue()
    if (plain := name.replace("_", "-")) not in sets:
        raise ConfigError(f"nothing to fetch has the name {name!r}", fix=suggest(plain, sets))
    return sets[plain]


def select(remote: RemoteSet, patterns: str) -> list[RemoteFile]:
    """The files whose path matches one of several globs, parted by commas; `*` matches `/` too."""
    paths = [file.path for file in remote.files]
    found: set[str] = set()
    for glob in (pattern.strip() for pattern in patterns.split(",")):
        matches = {path for path in paths if fnmatchcase(path, glob)}
        if not matches:
            fix = f"there is {', '.join(paths)}"
            raise ConfigError(f"no file of {remote.name} matches {glob!r}", where="--only", fix=fix)
        found |= matches
    return [file for file in remote.files if file.path in found]


def check_mirror(address: str) -> str:
    """An address that paths can be put behind, without its last `/`."""
    fault = ""
    try:
        parts = urlsplit(address)
        if parts.scheme not in SCHEMES:
            fault = "an address begins with http:// or https://"
        elif not parts.hostname or parts.port == 0 or parts.username is not None:
            fault = "it names no server, or more than a server"
        elif parts.query or parts.fragment or not address.isascii() or not address.isprintable() or " " in address:
            fault = "paths can't be put behind it"
    except ValueError as error:
        fault = str(error)
    if fault:
        raise ConfigError(f"{address!r} is no address to fetch from: {fault}", where="--mirror")
    return address.rstrip("/")


def megabytes(size: int) -> str:
    """A size as people write it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def nap(seconds: float) -> None:
    """Sleep, and wake up when an orderly end is asked for."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        signals.check(KEPT)
        time.sleep(min(left, 0.2))


def fetch(
    remote: RemoteSet, root: Path, only: str = "*", mirror: str | None = None, sleep: Sleep | None = None
) -> dict[str, Any]:
    """Download the files of a set that are not under `root` yet; each appears there whole and checked, or not at all.

    `only`: globs, parted by commas; `mirror`: an address instead of the set's; `sleep`: how to wait before a new try.

    Errors: FileError where a file of that name with other bytes is there, and where the network or the disk fails;
    DataError where other bytes come than the catalogue says.
    """
    wanted = select(remote, only)
    base = check_mirror(mirror) if mirror else remote.address
    with _disk(root):
        missing = [file for file in wanted if not _is_there(root / file.path, file)]
    if missing:
        total = sum(file.bytes for file in missing)
        say(f"{remote.name}: {len(missing)} of {len(wanted)} files to fetch, {megabytes(total)}, from {base} to {root}")
        say(remote.note)
        with _folders(root, [(root / file.path).parent for file in missing]):
            _fetch_all(base, root, missing, sleep or nap)
    states = [
        {"path": file.path, "bytes": file.bytes, "state": "fetched" if file in missing else "there"} for file in wanted
    ]
    say(f"{len(missing)} fetched, {len(wanted) - len(missing)} there already: {root}")
    return {"name": remote.name, "root": str(root), "files": states, "note": remote.note}


def _fetch_all(base: str, root: Path, missing: list[RemoteFile], sleep: Sleep) -> None:
    progress = Progress("fetch", -(-sum(file.bytes for file in missing) // 1000), "kilobyte")
    before = 0
    try:
        for file in missing:

            def tell(have: int, before: int = before, name: str = Path(file.path).name) -> None:
                progress.update((before + have) // 1000, name)

            _fetch_file(f"{base}/{quote(file.path)}", root / file.path, file, tell, sleep)
            say(f"fetched {file.path}, {megabytes(file.bytes)}")
            before += file.bytes
    finally:
        progress.close()


def _is_there(target: Path, file: RemoteFile) -> bool:
    if not os.path.lexists(target):
        return False
    if target.is_file() and not _difference(target, file):
        return True
    fix = "move it away, or give another --root"
    raise FileError("is there already and is not the file of the catalogue", where=str(target), fix=fix)


def _difference(path: Path, file: RemoteFile) -> str:
    size = path.stat().st_size
    if size != file.bytes:
        return f"has {'more' if size > file.bytes else 'fewer'} than the {file.bytes} bytes of the catalogue"
    with open(path, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return "" if digest == file.sha256 else f"has the sha256 {digest[:12]}..., not {file.sha256[:12]}..."


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Say of a fault of the disk where it is."""
    try:
        yield
    except OSError as error:
        fix = "free disk space or mend the rights, then run it again"
        where = str(error.filename or path)
        raise FileError(f"can't be read or written: {error.strerror}", where=where, fix=fix) from None


@contextmanager
def _folders(root: Path, inner: Iterable[Path]) -> Iterator[None]:
    """Make the folders, keep a second fetch out of the root, and take away those that stay empty."""
    every = {parent for folder in (root, *inner) for parent in (folder, *folder.parents)}
    new: list[Path] = []
    handle = -1
    try:
        with _disk(root):
            for folder in sorted(every, key=lambda folder: len(folder.parts)):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    new.append(folder)
            handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        _lock(handle, root)
        yield
    finally:
        if handle >= 0:
            os.close(handle)
        for folder in reversed(new):
            with suppress(OSError):
                folder.rmdir()


def _lock(handle: int, root: Path) -> None:
    # Two writers of one .part file would spoil it, even after the first has checked and renamed it.
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fix = "wait for it, or give another --root"
        raise FileError("another fetch writes into this folder", where=str(root), fix=fix) from None
    except OSError:
        return  # a file system without locks


class _Fault(Exception):
    """A try that failed; the next one may not if the fault is `passing`."""

    def __init__(self, what: str, passing: bool = True, code: int = 0) -> None:
        super().__init__(what)
        self.passing, self.code = passing, code


def _fetch_file(address: str, target: Path, file: RemoteFile, tell: Callable[[int], None], sleep: Sleep) -> None:
    part = target.with_name(f"{target.name}.part")
    pauses = iter(PAUSES_S)
    pieced, ranges = False, True
    while True:
        with _disk(part):
            held = part.stat().st_size if part.exists() else 0
        pieced = pieced or held > 0
        try:
            if held < file.bytes:
                _receive(address, part, held if ranges else 0, file, tell)
        except _Fault as fault:
            if fault.code in (206, 416) and ranges and held:
                ranges = False  # the server does not go on from here: once more, from the beginning
                continue
            pause = next(pauses, None)
            if pause is None or not fault.passing:
                fix = KEPT if fault.passing else "a --mirror that has the file can be given"
                raise FileError(f"can't be fetched: {fault}", where=address, fix=fix) from None
            sleep(pause)
            continue
        with _disk(part):
            wrong = _difference(part, file)
            if not wrong:
                os.replace(part, target)
                return sync_folder(target.parent)
            part.unlink()
        if not pieced:
            fix = "nothing of it was kept: run it again, and if it stays so, give a --mirror that has the file"
            raise DataError(f"what {address} answered {wrong}", where=str(target), fix=fix)
        pieced = False  # the pieces may be of different files: once more, from the beginning


def _receive(address: str, part: Path, held: int, file: RemoteFile, tell: Callable[[int], None]) -> None:
    with _open(address, held) as response:
        have = _starts_at(response, held, file, address)
        tell(have)
        with _disk(part), open(part, "ab" if have else "wb") as out:
            # One byte more than the file has, so that a body that is too long is seen and its rest never read.
            while have <= file.bytes:
                signals.check(KEPT)
                with _network():
                    chunk = response.read1(min(CHUNK, file.bytes + 1 - have))
                if not chunk:
                    break
                out.write(chunk)
                have += len(chunk)
                tell(min(have, file.bytes))
            out.flush()
            os.fsync(out.fileno())
    if have < file.bytes:
        raise _Fault(f"the connection ended after {have} of {file.bytes} bytes")


def _starts_at(response: HTTPResponse, held: int, file: RemoteFile, address: str) -> int:
    """The offset at which an answer begins; other sizes than the catalogue's are refused before anything is read."""
    stated: int | None = None
    start = 0
    if response.status == 206:
        place = re.fullmatch(
            r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers["Content-Range"] or ""
        )
        if not held or place is None or int(place[1]) != held:
            raise _Fault("the server answers another range than was asked for", passing=False, code=206)
        start, stated = held, None if place[2] == "*" else int(place[2])
    elif response.status == 200:
        stated = response.length
    else:
        raise _Fault(f"the server answers {response.status}", passing=False)
    if stated not in (None, file.bytes):
        fix = "nothing of it was read: give a --mirror that has the file of the catalogue"
        raise DataError(f"{address} has {stated} bytes, not {file.bytes}", where=file.path, fix=fix)
    return start


class _Redirect(HTTPRedirectHandler):
    """Follows an answer to another http or https address only."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> Any:
        fp.close()  # else the standard library reads its body to the end, however long
        to = headers.get("Location") or headers.get("URI") or ""
        try:
            scheme = urlsplit(urljoin(req.full_url, to)).scheme
        except ValueError:
            scheme = ""
        if scheme not in SCHEMES:
            raise _Fault(f"the server redirects to {to!r}, which is no http or https address", passing=False)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _open(address: str, offset: int) -> HTTPResponse:
    # Built by hand: the opener of the standard library also reads file:, ftp: and data: addresses.
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), _Redirect(), HTTPErrorProcessor(),
        UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    headers = {"User-Agent": "plait", **({"Range": f"bytes={offset}-"} if offset else {})}
    with _network():
        response: HTTPResponse = opener.open(Request(address, headers=headers), timeout=TIMEOUT_S)
        return response


@contextmanager
def _network() -> Iterator[None]:
    """Turn what can go wrong between here and the server into a fault, passing or not."""
    try:
        yield
    except HTTPError as error:
        error.close()
        reason = " ".join(str(error.reason).split())
        raise _Fault(f"the server answers {error.code} {reason}", error.code in PASSING, error.code) from None
    except (OSError, HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        lasting = isinstance(cause, ssl.SSLCertVerificationError | InvalidURL | ValueError)
        words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise _Fault(" ".join(str(words).split()), passing=not lasting) from None
