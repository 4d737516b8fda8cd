"""`plait data fetch` against a server of our own that cuts off, lies, moves and refuses."""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from plait.core import signals
from plait.core.errors import FileError, Terminated
from plait.data import fetch as fetching
from plait.data.fetch import RemoteFile, RemoteSet, catalogue
from typed_command import Command, Said, typed

ONE, TWO = os.urandom(200_003), b"date,a\n2020-01-01,1\n"
TOY = {"numbers/One/One.csv": ONE, "texts/Two/Two file.csv": TWO}
FIRST = "numbers/One/One.csv"


class Server:
    """Serves `files` under /base; `answers[path]` is how the next requests for a path are answered instead."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.answers: dict[str, list[Any]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.half, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.base = f"{self.address}/base"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.removeprefix("/base/").replace("%20", " ")
        wanted = handler.headers.get("Range")
        self.asked.append((path, wanted))
        waiting = self.answers.get(path, [])
        how = waiting.pop(0) if waiting else "serve"
        body = self.files.get(path)
        if isinstance(how, int) or body is None:
            return self.send(handler, how if isinstance(how, int) else 404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and how not in ("whole", "cut whole") else 0
        place = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        length = {"Content-Length": str(len(body) - start)}
        rest = body[start:]
        if how.startswith("redirect "):
            self.endless(handler, 302, {"Location": how.removeprefix("redirect ")})
        elif how.startswith("range "):
            self.send(handler, 206, {"Content-Range": how.removeprefix("range "), **length}, rest)
        elif how == "wrong":
            self.send(handler, 206 if start else 200, {**place, **length}, bytes(len(rest)))
        elif how == "stated longer":
            self.send(handler, 200, {"Content-Length": str(len(body) + 7)}, body + b"1234567")
        elif how == "endless":
            self.endless(handler)
        elif how.startswith("cut"):
            self.send(handler, 206 if start else 200, {**place, **length}, rest[: len(rest) // 2])
        elif how == "unstated cut":
            self.send(handler, 200, {}, body[:-1])
        elif how in ("pause", "stall"):
            half = 0 if start else len(body) // 2
            self.send(handler, 206 if start else 200, {**place, **length}, rest[:half])
            self.half.set()
            self.go_on.wait(60)
            if how == "pause":
                handler.wfile.write(rest[half:])
        else:
            self.send(handler, 206 if start else 200, {**place, **length}, rest)

    def send(
        self, handler: BaseHTTPRequestHandler, code: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()

    def endless(self, handler: BaseHTTPRequestHandler, code: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(handler, code, headers)
        try:
            while True:
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            self.half.set()  # the reader has gone


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], Server]]:
    servers: list[Server] = []

    def start(files: dict[str, bytes]) -> Server:
        servers.append(Server(files))
        return servers[-1]

    yield start
    for server in servers:
        server.go_on.set()
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture
def server(serve: Callable[[dict[str, bytes]], Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server of the toy set, which the catalogue then holds beside the real ones."""
    files = tuple(RemoteFile(path, len(body), sha256(body).hexdigest()) for path, body in TOY.items())
    toy = RemoteSet("toy", "two files", "http://127.0.0.1:1", "Made of random bytes.", files)
    real = catalogue()
    monkeypatch.setattr(fetching, "catalogue", lambda: {**real, "toy": toy})
    return serve(dict(TOY))


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were slept, in no time."""
    slept: list[float] = []
    monkeypatch.setattr(fetching, "nap", slept.append)
    return slept


@pytest.fixture
def plait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `plait data fetch` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with typed(monkeypatch, capsys, ("data", "fetch")) as run:
        yield run


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def line(said: Said, code: int) -> str:
    """The one line of a command that failed."""
    assert said.code == code, said
    assert len(said.err.splitlines()) == 1
    return said.err


# --- the catalogue


REAL = {"time-mmd": "time_mmd", "ett": "ett"}


@pytest.mark.parametrize("name", REAL)
def test_the_catalogue_is_of_the_real_files(name: str, shared: Path) -> None:
    found = {file.path: (file.bytes, file.sha256) for file in catalogue()[name].files}
    real = {path: (len(body), sha256(body).hexdigest()) for path, body in tree(shared / "data" / REAL[name]).items()}
    assert found == real


def test_the_catalogue_is_pinned_and_stays_under_its_root() -> None:
    sets = catalogue()
    assert set(sets) == set(REAL)
    assert len(sets["time-mmd"].files) == 18
    for name, remote in sets.items():
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/\w+/[\w-]+/[0-9a-f]{40}(/[\w-]+)?", remote.address)
        assert remote.name == name
        assert "arXiv" in remote.note
        for file in remote.files:
            path = PurePosixPath(file.path)
            assert path.as_posix() == file.path
            assert not path.is_absolute()
            assert not {"..", "."} & set(path.parts)
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.bytes > 0


def test_without_a_name_the_sets_are_listed(plait: Command, tmp_path: Path) -> None:
    said = plait("--json")
    assert said.code == 0
    for found, remote in zip(said.data["sets"], catalogue().values(), strict=True):
        total = sum(file.bytes for file in remote.files)
        assert (found["name"], found["bytes"], found["note"]) == (remote.name, total, remote.note)
        assert [file["path"] for file in found["files"]] == [file.path for file in remote.files]
        assert f"{total / 1e6:.1f} MB" in said.err
        assert remote.note in said.err
    assert plait().out == said.err
    assert tree(tmp_path) == {}


def test_help_imports_nothing_heavy() -> None:
    line = [sys.executable, "-X", "importtime", "-m", "plait.cli.main", "data", "fetch", "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    imported = {row.rsplit("|", 1)[-1].strip() for row in done.stderr.splitlines()}
    assert done.stdout.startswith("usage: plait data fetch [NAME]")
    assert "plait.cli.fetch" in imported
    assert not {name for name in imported if name.split(".")[0] in ("torch", "pandas", "pydantic", "numpy")}


# --- what arrives


@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_arrive_in_their_layout(
    name: str, shared: Path, serve: Callable[[dict[str, bytes]], Server], plait: Command, tmp_path: Path
) -> None:
    real = tree(shared / "data" / REAL[name])
    server = serve(real)
    said = plait(name, "--mirror", server.base + "/", "--json")
    assert said.code == 0, said
    assert tree(tmp_path / "data" / name) == real
    assert catalogue()[name].note in said.err.splitlines()[1]
    assert sorted(server.asked) == [(path, None) for path in sorted(real)]


def test_json_says_what_was_fetched_and_what_was_there(server: Server, plait: Command, tmp_path: Path) -> None:
    first = plait("toy", "--root", "a/b", "--only", "*/One/*", "--mirror", server.base, "--json")
    files = [{"path": path, "bytes": len(body), "state": "fetched"} for path, body in TOY.items()]
    assert first.data == {"name": "toy", "root": "a/b", "files": files[:1], "note": "Made of random bytes."}
    second = plait("toy", "--root", "a/b", "--mirror", server.base, "--json")
    assert second.data["files"] == [{**files[0], "state": "there"}, files[1]]
    assert tree(tmp_path / "a" / "b") == TOY
    third = plait("toy", "--root", "a/b", "--mirror", server.base)
    assert (third.code, third.out, third.err) == (0, "0 fetched, 2 there already: a/b\n", "")
    assert server.asked == [(path, None) for path in TOY], "nothing is fetched twice"


def test_only_takes_several_globs(server: Server, plait: Command, tmp_path: Path) -> None:
    assert plait("toy", "--only", "*/Two/*, numbers/*", "--mirror", server.base).code == 0
    assert tree(tmp_path / "data" / "toy") == TOY


def test_a_redirect_to_http_is_followed(server: Server, plait: Command, tmp_path: Path) -> None:
    server.files["elsewhere"] = ONE
    server.answers[FIRST] = [f"redirect {server.base}/elsewhere"]
    assert plait("toy", "--mirror", server.base).code == 0
    assert tree(tmp_path / "data" / "toy") == TOY


# --- going on


def test_a_body_that_is_cut_off_is_gone_on_with(
    server: Server, plait: Command, naps: list[float], tmp_path: Path
) -> None:
    server.answers[FIRST] = ["cut", 503, "cut"]
    said = plait("toy", "--mirror", server.base)
    assert said.code == 0, said
    half = len(ONE) // 2
    more = half + (len(ONE) - half) // 2
    asked = [None, f"bytes={half}-", f"bytes={half}-", f"bytes={more}-"]
    assert [wanted for path, wanted in server.asked if path == FIRST] == asked
    assert naps == list(fetching.PAUSES_S)
    assert tree(tmp_path / "data" / "toy") == TOY


@pytest.mark.parametrize("held", [1, 70_001, len(ONE) - 1])
def test_the_part_of_an_earlier_command_is_gone_on_with(
    server: Server, plait: Command, tmp_path: Path, held: int
) -> None:
    part = tmp_path / "data" / "toy" / f"{FIRST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(ONE[:held])
    assert plait("toy", "--mirror", server.base).code == 0
    assert server.asked[0] == (FIRST, f"bytes={held}-")
    assert tree(tmp_path / "data" / "toy") == TOY


def test_a_part_that_is_whole_needs_no_server(server: Server, plait: Command, tmp_path: Path) -> None:
    for path, body in TOY.items():
        part = tmp_path / "data" / "toy" / f"{path}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(body)
    assert plait("toy", "--mirror", server.base).code == 0
    assert server.asked == []
    assert tree(tmp_path / "data" / "toy") == TOY


@pytest.mark.parametrize("answer", ["whole", "range bytes 5-9/10", "range nonsense", 416])
def test_a_server_that_does_not_go_on_is_asked_for_the_whole(
    server: Server, plait: Command, tmp_path: Path, answer: str | int
) -> None:
    part = tmp_path / "data" / "toy" / f"{FIRST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    server.answers[FIRST] = [answer]
    assert plait("toy", "--mirror", server.base).code == 0
    asked = [wanted for path, wanted in server.asked if path == FIRST]
    assert asked == (["bytes=1000-"] if answer == "whole" else ["bytes=1000-", None])
    assert tree(tmp_path / "data" / "toy") == TOY


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(ONE), b"x" * (len(ONE) + 5)])
def test_a_part_of_something_else_costs_a_second_download_only(
    server: Server, plait: Command, tmp_path: Path, stale: bytes
) -> None:
    part = tmp_path / "data" / "toy" / f"{FIRST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(stale)
    assert plait("toy", "--mirror", server.base).code == 0
    assert [wanted for path, wanted in server.asked if path == FIRST][-1] is None
    assert tree(tmp_path / "data" / "toy") == TOY


def test_a_signal_stops_between_chunks_and_the_next_command_goes_on(
    shared: Path, serve: Callable[[dict[str, bytes]], Server], tmp_path: Path
) -> None:
    real = tree(shared / "data" / "ett")
    server = serve(real)
    server.answers["ETTh1.csv"] = ["pause"]
    line = [sys.executable, "-m", "plait.cli.main", "data", "fetch", "ett", "--root", ".", "--mirror", server.base]
    running = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert server.half.wait(60)
    part = tmp_path / "ETTh1.csv.part"
    while running.poll() is None and not (part.exists() and part.stat().st_size > fetching.CHUNK):
        time.sleep(0.01)
    running.terminate()
    server.go_on.set()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143
    assert err == f"plait: stopped as asked; {fetching.KEPT}\n"
    body = part.read_bytes()
    assert tree(tmp_path) == {part.name: body}
    assert real["ETTh1.csv"].startswith(body)
    assert fetching.CHUNK < len(body) < len(real["ETTh1.csv"])
    again = subprocess.run([*line, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["files"] == [{"path": "ETTh1.csv", "bytes": 2_589_657, "state": "fetched"}]
    assert tree(tmp_path) == real
    assert server.asked[1:] == [("ETTh1.csv", f"bytes={len(body)}-")]


def test_a_signal_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_asked", [True])
    with pytest.raises(Terminated):
        fetching.nap(1e9)


# --- other bytes than the catalogue's


def test_a_wrong_digest_leaves_nothing_behind(
    server: Server, plait: Command, naps: list[float], tmp_path: Path
) -> None:
    server.answers[FIRST] = ["wrong"]
    said = line(plait("toy", "--mirror", server.base), 3)
    assert said.startswith(f"plait: data/toy/{FIRST}: what {server.base}/{FIRST} answered has the sha256 ")
    for digest in (sha256(bytes(len(ONE))), sha256(ONE)):
        assert f"{digest.hexdigest()[:12]}..." in said
    assert "run it again" in said
    assert list(tmp_path.iterdir()) == []
    assert (len(server.asked), naps) == (1, [])


def test_a_wrong_rest_leaves_nothing_behind(server: Server, plait: Command, naps: list[float], tmp_path: Path) -> None:
    server.answers[FIRST] = ["cut", "wrong", "wrong"]
    line(plait("toy", "--mirror", server.base), 3)
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={len(ONE) // 2}-", None]
    assert list(tmp_path.iterdir()) == []


def test_a_body_without_end_is_left_after_the_size_of_the_catalogue(
    server: Server, plait: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read1 = HTTPResponse.read1

    def counted(response: HTTPResponse, most: int) -> bytes:
        chunk = read1(response, most)
        read.append(len(chunk))
        return chunk

    monkeypatch.setattr(HTTPResponse, "read1", counted)
    server.answers[FIRST] = ["endless"]
    said = line(plait("toy", "--mirror", server.base), 3)
    assert f"has more than the {len(ONE)} bytes of the catalogue" in said
    assert sum(read) == len(ONE) + 1
    assert server.half.wait(60), "the connection is closed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held, answer", [(0, "stated longer"), (9, f"range bytes 9-{len(ONE) + 6}/{len(ONE) + 7}")])
def test_a_size_that_is_stated_wrong_is_not_read(
    server: Server, plait: Command, tmp_path: Path, held: int, answer: str
) -> None:
    part = tmp_path / "data" / "toy" / f"{FIRST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(ONE[:held])
    server.answers[FIRST] = [answer]
    said = line(plait("toy", "--mirror", server.base), 3)
    assert f"{FIRST} has {len(ONE) + 7} bytes, not {len(ONE)}" in said
    assert tree(tmp_path / "data" / "toy") == {f"{FIRST}.part": ONE[:held]}


def test_what_came_before_the_fault_stays(server: Server, plait: Command, tmp_path: Path) -> None:
    server.answers["texts/Two/Two file.csv"] = ["wrong"]
    line(plait("toy", "--mirror", server.base), 3)
    assert tree(tmp_path) == {f"data/toy/{FIRST}": ONE}
    assert not (tmp_path / "data" / "toy" / "texts").exists()


# --- files in the way


@pytest.mark.parametrize("own", [b"mine", ONE[:-1] + b"?", b""])
def test_a_changed_file_is_never_overwritten(server: Server, plait: Command, tmp_path: Path, own: bytes) -> None:
    path = tmp_path / "data" / "toy" / "texts" / "Two" / "Two file.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(own)
    said = line(plait("toy", "--mirror", server.base), 5)
    assert said.startswith("plait: data/toy/texts/Two/Two file.csv: is there already")
    assert "move it away" in said
    assert tree(tmp_path / "data" / "toy") == {"texts/Two/Two file.csv": own}
    assert server.asked == [], "it is seen before anything is fetched"


def test_a_folder_or_a_link_in_the_way_is_left(server: Server, plait: Command, tmp_path: Path) -> None:
    path = tmp_path / "data" / "toy" / FIRST
    path.mkdir(parents=True)
    assert FIRST in line(plait("toy", "--mirror", server.base), 5)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    assert FIRST in line(plait("toy", "--mirror", server.base), 5)
    assert path.is_symlink()


def test_a_root_that_is_a_file(server: Server, plait: Command, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    assert line(plait("toy", "--mirror", server.base), 5).startswith("plait: data/toy: can't be read or written: ")
    assert tree(tmp_path) == {"data": b"mine"}


def test_two_commands_do_not_write_the_same_folder(server: Server, plait: Command, tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another fetch writes into this folder" in line(plait("toy", "--root", ".", "--mirror", server.base), 5)
    os.close(handle)
    assert (server.asked, list(tmp_path.iterdir())) == ([], [])
    assert plait("toy", "--root", ".", "--mirror", server.base).code == 0


# --- a network that fails


def test_a_passing_fault_is_tried_again(server: Server, plait: Command, naps: list[float], tmp_path: Path) -> None:
    server.answers[FIRST] = [503, 429]
    assert plait("toy", "--mirror", server.base).code == 0
    assert naps == list(fetching.PAUSES_S[:2])
    assert tree(tmp_path / "data" / "toy") == TOY


@pytest.mark.parametrize("code, words", [(404, "404 Not Found"), (403, "403 Forbidden"), (204, "answers 204")])
def test_a_lasting_fault_is_not_tried_again(
    server: Server, plait: Command, naps: list[float], tmp_path: Path, code: int, words: str
) -> None:
    server.answers[FIRST] = [code] * 9
    said = line(plait("toy", "--mirror", server.base), 5)
    assert said.startswith(f"plait: {server.base}/{FIRST}: can't be fetched: the server answers")
    assert words in said
    assert (len(server.asked), naps, list(tmp_path.iterdir())) == (1, [], [])


@pytest.mark.parametrize("answer", ["cut whole", "unstated cut", 503])
def test_tries_end_and_what_came_is_kept(
    server: Server, plait: Command, naps: list[float], tmp_path: Path, answer: str | int
) -> None:
    server.answers[FIRST] = [answer] * 9
    said = line(plait("toy", "--mirror", server.base), 5)
    assert fetching.KEPT in said
    assert naps == list(fetching.PAUSES_S)
    kept = {"cut whole": ONE[: len(ONE) // 2], "unstated cut": ONE[:-1]}.get(str(answer))
    if kept is None:
        return
    assert f"the connection ended after {len(kept)} of {len(ONE)} bytes" in said
    assert tree(tmp_path) == {f"data/toy/{FIRST}.part": kept}
    server.answers[FIRST] = []
    assert plait("toy", "--mirror", server.base).code == 0
    assert tree(tmp_path / "data" / "toy") == TOY


def test_a_server_that_says_nothing_more_times_out(
    server: Server, plait: Command, naps: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.5)
    server.answers[FIRST] = ["stall"] * 9
    assert "timed out" in line(plait("toy", "--mirror", server.base), 5)
    assert tree(tmp_path) == {f"data/toy/{FIRST}.part": ONE[: len(ONE) // 2]}
    assert len(server.asked) == 1 + len(fetching.PAUSES_S)


def test_no_server_there(server: Server, plait: Command, naps: list[float], tmp_path: Path) -> None:
    said = line(plait("toy"), 5)
    assert said.startswith(f"plait: http://127.0.0.1:1/{FIRST}: can't be fetched: Connection refused")
    assert len(naps) == len(fetching.PAUSES_S)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "//[/x"])
def test_a_redirect_to_anything_else_is_refused(
    server: Server, plait: Command, naps: list[float], tmp_path: Path, to: str
) -> None:
    server.answers[FIRST] = [f"redirect {to}"] * 9
    said = line(plait("toy", "--mirror", server.base), 5)
    assert f"the server redirects to {to!r}, which is no http or https address" in said
    assert (len(server.asked), naps, list(tmp_path.iterdir())) == (1, [], [])


def test_a_circle_of_redirects_ends(server: Server, plait: Command, naps: list[float]) -> None:
    server.answers[FIRST] = [f"redirect {server.base}/{FIRST}"] * 99
    assert "answers 302" in line(plait("toy", "--mirror", server.base), 5)
    assert (len(server.asked) < 20, naps) == (True, [])


def test_the_opener_knows_no_other_scheme(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("mine")
    file = RemoteFile("own", 4, sha256(b"mine").hexdigest())
    remote = RemoteSet("own", "", tmp_path.as_uri(), "", (file,))
    with pytest.raises(FileError, match="unknown url type: file"):
        fetching.fetch(remote, tmp_path / "new", sleep=lambda seconds: None)


# --- everything that can be typed wrong


WRONG = {
    "toi": "nothing to fetch has the name 'toi' (did you mean toy?)",
    "time_mdm": "nothing to fetch has the name 'time_mdm' (did you mean time-mmd?)",
    "toy ett": "expects NAME, got toy ett",
    "toy --only */Three/*": f"--only: no file of toy matches '*/Three/*' (there is {', '.join(TOY)})",
    "toy --only */One/*,*/Tow/*": "--only: no file of toy matches '*/Tow/*' (there is ",
    "toy --only a --only b": "--only stands twice (part globs by commas)",
    "toy --root": "--root needs a value",
    "toy --rot x": "no option --rot (did you mean root?)",
    "--only */One/*": "--only without the name of what to fetch (there is time-mmd, ett, toy)",
    "toy --mirror file:///etc": "--mirror: 'file:///etc' is no address to fetch from: an address begins with http:",
    "toy --mirror 127.0.0.1:80": "--mirror: '127.0.0.1:80' is no address to fetch from: ",
    "toy --mirror http://": "--mirror: 'http://' is no address to fetch from: it names no server",
    "toy --mirror http://a:b@c/": "--mirror: 'http://a:b@c/' is no address to fetch from: it names no server, or more",
    "toy --mirror http://c:99999": "--mirror: 'http://c:99999' is no address to fetch from: Port out of range",
    "toy --mirror http://c/?a=b": "--mirror: 'http://c/?a=b' is no address to fetch from: paths can't be put behind it",
    "toy --mirror http://ö": "--mirror: 'http://ö' is no address to fetch from: paths can't be put behind it",
}


@pytest.mark.parametrize("tokens", WRONG)
def test_a_wrong_command_says_one_clear_line(server: Server, plait: Command, tmp_path: Path, tokens: str) -> None:
    said = plait(*tokens.split(" "))
    assert line(said, 2).startswith(f"plait: {WRONG[tokens]}")
    assert (said.out, server.asked, list(tmp_path.iterdir())) == ("", [], [])
