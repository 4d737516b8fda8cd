"""A Hub id is read from the local cache, else downloaded whole and only what is needed, else refused soon."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from embedders.tiny_models import Tiny, tiny_bert
from plait.embedders._folder import folder_revision

NAME = "google-bert/bert-base-uncased"
COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"
CLOSED = "http://127.0.0.1:9"

# The Hub's client reads its settings when it is imported.
READER = """
import json, sys
import plait.embedders._folder as folder
from plait.core.errors import FileError
from plait.embedders.pretrained import PretrainedConfig
folder.SECONDS = 1.0
for what, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        model = PretrainedConfig(path=name).build()
        if what == "revision":
            print(model.revision)
        else:
            states, mask = model.encode(["orders will rise"], 7)
            print(json.dumps(states[0, mask[0]].tolist()))
    except FileError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def read(home: Path, endpoint: str, *asked: str, **settings: str) -> list[str]:
    """What a fresh process with its cache in `home` says; asked are pairs of "revision" or "states" and a Hub id."""
    dropped = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_")
    environment = {key: value for key, value in os.environ.items() if not key.upper().startswith(dropped)}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", **settings}
    command = [sys.executable, "-c", READER, *asked]
    done = subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def cache(home: Path, folder: Path, name: str = NAME, lost: str = "") -> None:
    """Lay a model into a Hub cache as the Hub's client does, without the files of the pattern `lost`."""
    place = home / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    snapshot = Path(shutil.copytree(folder, place / "snapshots" / COMMIT))
    for path in snapshot.glob(lost) if lost else ():
        path.unlink()


def test_a_cached_model_is_read_offline(tmp_path: Path, tiny: Tiny) -> None:
    cache(tmp_path / "home", tiny.folder)
    (answer,) = read(tmp_path / "home", CLOSED, "states", NAME, HF_HUB_OFFLINE="1")
    np.testing.assert_allclose(json.loads(answer), tiny.states("orders will rise", 7), atol=1e-5)


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "unreachable"])
def test_without_the_network_whole_cached_models_are_read_and_others_are_refused(
    tmp_path: Path, tiny: Tiny, settings: dict[str, str]
) -> None:
    home = tmp_path / "home"
    cache(home, tiny.folder)
    cache(home, tiny.folder, "some/weightless", "model.safetensors")
    cache(home, tiny.folder, "some/wordless", "tokenizer*")
    names = ["some/weightless", "some/wordless", "some/absent", NAME]
    *refused, whole = read(home, CLOSED, *(word for name in names for word in ("revision", name)), **settings)
    assert whole == folder_revision(tiny.folder)
    for name, answer in zip(names[:3], refused, strict=True):
        assert answer.startswith(f"{name}: is neither a folder, nor whole in the local cache of the Hub, nor reachable")
        assert "wordllama and minilm need no network" in answer


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (answer,) = read(tmp_path / "home", f"http://127.0.0.1:{silent.getsockname()[1]}", "states", NAME)
    assert "neither a folder" in answer


@contextmanager
def hub(repositories: dict[str, dict[str, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve repositories as the Hub does; yields its address and the names of the files it gave away."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].removeprefix("/api/models").strip("/").split("/", 4)
            files = repositories.get("/".join(path[:2]))
            if files is None or (path[2:3] == ["resolve"] and path[4] not in files):
                self.send_error(404)
            elif path[2:3] == ["tree"]:
                tree = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()]
                self.answer(json.dumps(tree).encode())
            elif path[2:3] == ["resolve"]:
                given.extend([path[4]] if self.command == "GET" else [])
                self.answer(files[path[4]], path[4])
            else:
                about = {"id": "/".join(path[:2]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                self.answer(json.dumps(about).encode())

        do_HEAD = do_GET

        def answer(self, content: bytes, name: str = "") -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{name.encode().hex()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", given
        server.shutdown()


def test_a_download_takes_what_is_needed_once_and_no_pickle(tmp_path: Path, tiny: Tiny) -> None:
    files = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    others = {"pytorch_model.bin": b"code", "onnx/model.onnx": b"o", "onnx/config.json": b"{}", "tf_model.h5": b"h"}
    pickled = {"config.json": b"{}", "pytorch_model.bin": b"code", "tokenizer.json": b"{}"}
    asked = [word for name in (NAME, NAME, "some/pickled", "some/unknown") for word in ("revision", name)]
    with hub({NAME: files | others, "some/pickled": pickled}) as (address, given):
        first, again, refused, unknown = read(tmp_path / "home", address, *asked)
    assert sorted(given) == sorted(files)
    assert refused.startswith("some/pickled: has no weights in safetensors")
    assert "nor reachable there: " in unknown
    later = read(tmp_path / "home", CLOSED, "revision", NAME)
    assert [first] == [again] == later == [folder_revision(tiny.folder)]
