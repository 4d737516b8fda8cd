"""Embeddings from files: every format, ids, manifests, and what is refused by name."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from plait.core.errors import DataError, FileError
from plait.data import embedding_files
from plait.data.embedding_files import Embeddings, read_embeddings, write_manifest

IDS = [f"p{n}" for n in (7, 3, 11, 2, 5)]


def numbers(tokens: int = 1, width: int = 7, dtype: Any = np.float32) -> NDArray[Any]:
    values = np.random.default_rng(tokens).normal(0, 1, (5, tokens, width)).astype(dtype)
    return values[:, 0] if tokens == 1 else values


def saved(folder: Path, values: NDArray[Any], ids: list[str] = IDS, name: str = "photos") -> Path:
    np.save(folder / f"{name}.npy", values)
    (folder / f"{name}.ids.txt").write_text("".join(f"{each}\n" for each in ids))
    return folder / f"{name}.npy"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_mapped_and_comes_as_float32(tmp_path: Path, dtype: Any, tokens: int, order: Any) -> None:
    values = numbers(tokens, dtype=dtype)
    made = read_embeddings("photos", saved(tmp_path, np.asarray(values, order=order)))
    assert (made.name, made.ids, made.tokens, made.width) == ("photos", tuple(IDS), tokens, 7)
    assert isinstance(made.values, np.memmap)
    found, present = made.gather(np.array([4, 0, 4]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.reshape(5, tokens, 7)[[4, 0, 4]].astype(np.float32))
    assert present.shape == (3, tokens)
    assert present.all()
    assert made.manifest is None
    assert made.findings == ()


def test_ids_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = saved(tmp_path, numbers())
    (tmp_path / "names").write_bytes("\ufeffä\r\n b \r\nc\r\nd\r\ne".encode())
    assert read_embeddings("x", path, tmp_path / "names").ids == ("ä", "b", "c", "d", "e")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ids", [np.array(IDS), np.array([b"p7", b"p3", b"p11", b"p2", b"p5"]), np.arange(5)])
def test_npz_is_mapped_where_it_lies_plain(tmp_path: Path, packed: bool, ids: NDArray[Any]) -> None:
    save: Any = np.savez_compressed if packed else np.savez
    save(tmp_path / "a.npz", ids=ids, embeddings=numbers(3))
    made = read_embeddings("x", tmp_path / "a.npz")
    assert isinstance(made.values, np.memmap) != packed
    assert made.ids == (tuple("01234") if ids.dtype.kind == "i" else tuple(IDS))
    np.testing.assert_array_equal(made.values, numbers(3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_safetensors_are_mapped_at_their_place(tmp_path: Path, dtype: Any) -> None:
    tensors = {"ids": np.array([13, 5, 3, 2, 7]), "embeddings": numbers(3, dtype=dtype), "a": numbers(1, 3)}
    save_file(tensors, tmp_path / "a.safetensors", {"made": "by hand"})
    made = read_embeddings("x", tmp_path / "a.safetensors")
    assert isinstance(made.values, np.memmap)
    assert made.ids == ("13", "5", "3", "2", "7")
    np.testing.assert_array_equal(made.values, tensors["embeddings"])
    save_file({"embeddings": numbers()}, tmp_path / "b.safetensors")
    (tmp_path / "b.ids.txt").write_text("\n".join(IDS))
    assert read_embeddings("x", tmp_path / "b.safetensors").ids == tuple(IDS)


def test_parquet_by_a_column_of_lists_or_by_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = pd.DataFrame({"id": IDS, "vector": list(numbers())})
    many = pd.concat([pd.DataFrame({"id": IDS}), pd.DataFrame(numbers())], axis=1)
    for frame in (lists, many):
        monkeypatch.setattr(pd, "read_parquet", lambda _, frame=frame: frame)
        made = read_embeddings("x", tmp_path / "a.parquet")
        assert made.ids == tuple(IDS)
        np.testing.assert_array_equal(made.values[:, 0], numbers())
    for frame, message in (
        (lists.drop(columns="id"), "has no column 'id', it holds vector"),
        (lists.assign(vector=[[1.0], [2.0, 3.0], [1.0], [1.0], [1.0]]), "lists are not of one length"),
        (many.assign(word="w"), "cells that are no numbers"),
    ):
        monkeypatch.setattr(pd, "read_parquet", lambda _, frame=frame: frame)
        with pytest.raises(DataError, match=message):
            read_embeddings("x", tmp_path / "a.parquet")

    def absent(_: Path) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(FileError, match=r"Parquet needs pyarrow \(pip install plait\[parquet\]\)"):
        read_embeddings("x", tmp_path / "a.parquet")


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.pt", "a.pth", "a.bin", "a.npy", "b.npy", "a.npz", "b.npz"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, name: str) -> None:
    path, sprung = tmp_path / name, tmp_path / "sprung"
    trap = np.array([Trap(sprung)] * 5, dtype=object)
    if name == "b.npy":
        np.save(path, trap, allow_pickle=True)
    elif name == "a.npz":
        np.savez(path, ids=np.array(IDS), embeddings=trap)
    elif name == "b.npz":
        np.savez(path, ids=trap, embeddings=numbers())
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(DataError, match=r"a pickle may run code") as caught:
        read_embeddings("x", path)
    # A zip is nothing that the converter takes.
    plain, converter = "save ids and embeddings as plain arrays", f"plait data convert {path} --out"
    assert str(caught.value.fix).startswith(plain if path.suffix == ".npz" else converter)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda folder: (folder / "photos.ids.txt").unlink(), r"photos\.ids\.txt: there is no file of ids"),
        (lambda folder: (folder / "photos.ids.txt").write_text("a\nb\n"), "2 ids for 5 rows"),
        (lambda folder: (folder / "photos.ids.txt").write_text("a\nb\n\nd\ne\n"), "row 3 has an empty id"),
        (lambda folder: (folder / "photos.ids.txt").write_text("a\nb\na\nb\ne\n"), "2 ids stand more than once: a, b"),
        (lambda folder: (folder / "photos.npy").write_bytes(b"\x93NUMPY\x01\x00"), "is damaged"),
        (lambda folder: (folder / "photos.npy").write_bytes((folder / "photos.npy").read_bytes()[:-3]), "is damaged"),
        (lambda folder: (folder / "photos.npy").unlink(), "no such file"),
        (lambda folder: np.save(folder / "photos.npy", np.arange(5)), r"embeddings are int64 \(5,\)"),
        (lambda folder: np.save(folder / "photos.npy", np.zeros((5, 0))), r"there are no numbers: the array is"),
        (lambda folder: np.save(folder / "photos.npy", np.zeros((5, 2), complex)), "embeddings are complex128"),
    ],
)
def test_files_that_do_not_hold_embeddings(tmp_path: Path, change: Any, message: str) -> None:
    path = saved(tmp_path, numbers())
    change(tmp_path)
    with pytest.raises((DataError, FileError), match=message):
        read_embeddings("photos", path)


def test_other_files_are_refused_by_what_is_wrong(tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises((DataError, FileError), match=message):
            read_embeddings("x", tmp_path / name)

    (tmp_path / "a.csv").write_text("1,2")
    refused("a.csv", r"embeddings can't be read from \.csv \(give \.npy")
    np.savez(tmp_path / "a.npz", ids=np.array(IDS), vectors=numbers())
    refused("a.npz", "has no array 'embeddings', it holds ids, vectors")
    np.savez(tmp_path / "b.npz", ids=np.zeros((5, 2)), embeddings=numbers())
    refused("b.npz", "ids are float64")
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:70])
    refused("c.npz", "is damaged")
    header = np.lib.format.header_data_from_array_1_0(np.zeros((50, 7), np.float32))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        for each, rows in (("embeddings", 5), ("ids", 50)):
            stream = io.BytesIO()
            if each == "ids":
                np.save(stream, np.arange(rows))
            else:
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(bytes(4 * 7 * rows))
            archive.writestr(f"{each}.npy", stream.getvalue())
        archive.writestr("more", bytes(4000))
    refused("d.npz", "the array is longer than its place in the file")
    save_file({"vectors": numbers()}, tmp_path / "a.safetensors")
    refused("a.safetensors", "has no tensor 'embeddings', it holds vectors")
    for header, message in (
        ({"embeddings": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}, "numbers of the type BF16"),
        ({"embeddings": {"dtype": "F32", "shape": [5, 2], "data_offsets": [0, 4]}}, "more or less room"),
        ({"embeddings": {"dtype": "F32", "shape": [5, 9], "data_offsets": [0, 180]}}, "is damaged"),
        ({"embeddings": {"dtype": "F32"}}, "does not say where a tensor lies"),
    ):
        text = json.dumps(header).encode()
        (tmp_path / "b.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 40)
        refused("b.safetensors", message)
    (tmp_path / "b.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}")
    refused("b.safetensors", "header is longer than the file")
    torch.save(torch.zeros(3), tmp_path / "x.npy")
    refused("x.npy", "is damaged")


@pytest.mark.parametrize("chunk", [2**22, 60])
def test_numbers_that_are_not_finite_are_named_by_id(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_files, "CHUNK_BYTES", chunk)
    values = numbers(3).astype(np.float64)
    values[1, 2, 4], values[3, 0, 0], values[4, 1, 1] = np.nan, -np.inf, 1e300
    with pytest.raises(DataError, match=r"3 of 5 rows have numbers that are not finite as float32: p3, p2, p5"):
        read_embeddings("x", saved(tmp_path, values))


@pytest.mark.parametrize("chunk", [2**22, 60])
def test_zero_rows_and_tokens_are_missing_and_told(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_files, "CHUNK_BYTES", chunk)
    values = numbers(3)
    values[1], values[3, 2], values[4, 0] = 0, -0.0, 0
    values[0, 0, 1:] = 0
    made = Embeddings.of("photos", IDS, values)
    want = np.ones((5, 3), dtype=bool)
    want[1], want[3, 2], want[4, 0] = False, False, False
    np.testing.assert_array_equal(made.present, want)
    assert [str(finding) for finding in made.findings] == [
        "1 rows of photos are all zero and count as missing: p3",
        "2 tokens of photos are all zero and count as missing: p2, p5",
    ]
    rows = np.array([4, 1, 1, 0])
    parts = list(made.chunks(rows))
    assert len(parts) == (1 if chunk > 60 else 4)
    for part, (number, _, mask) in enumerate(parts):
        np.testing.assert_array_equal(mask, want[number], err_msg=str(part))
    np.testing.assert_array_equal(np.concatenate([each[0] for each in parts]), rows)
    np.testing.assert_array_equal(np.concatenate([each[1] for each in parts]), values[rows])
    assert len(np.concatenate([each[0] for each in made.chunks()])) == 5


def test_a_manifest_is_of_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path, numbers(3))
    said = write_manifest(path, encoder="e", revision="r", fine_tuned_on=["p3", "p11"])
    assert (said["rows"], said["tokens"], said["width"]) == (5, 3, 7)
    made = read_embeddings("x", path)
    assert made.manifest == said
    assert made.fine_tuned_on == {"p3", "p11"}
    place = tmp_path / "photos.json"

    def refused(change: dict[str, Any], message: str) -> None:
        place.write_text(json.dumps({**said, **change}))
        with pytest.raises((DataError, FileError), match=message):
            read_embeddings("x", path)

    refused({"rows": 6}, "the manifest says 6 rows, photos.npy has 5")
    refused({"width": 3}, "the manifest says 3 width, photos.npy has 7")
    refused({"tokens": 7}, "the manifest says 7 tokens, photos.npy has 3")
    refused({"fine_tuned_on": {"p3": 1}}, "fine_tuned_on is no list of ids")
    refused({"fine_tuned_on": "absent.txt"}, "there is no file of ids")
    place.write_text("[1]")
    with pytest.raises(FileError, match="no JSON object"):
        read_embeddings("x", path)
    (tmp_path / "seen.txt").write_text("p2\np7\n")
    place.write_text(
        json.dumps({**said, "fine_tuned_on": "seen.txt", "fine_tuned": ["p5"], "broken": [], "made_from": "x"})
    )
    made = read_embeddings("x", path)
    assert made.fine_tuned_on == {"p2", "p7"}
    assert [str(each).rpartition(": ")[2] for each in made.findings] == ["fine_tuned"]
    place.write_text(json.dumps(said))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(FileError, match="its sha256 is another"):
        read_embeddings("x", path)


def test_the_digest_is_of_the_numbers(tmp_path: Path) -> None:
    one, other = Embeddings.of("a", IDS, numbers(3)), numbers(3)
    assert read_embeddings("b", saved(tmp_path, numbers(3))).digest == one.digest
    other[4, 2, 6] = np.nextafter(other[4, 2, 6], 9)
    assert Embeddings.of("a", IDS, other).digest != one.digest
    assert Embeddings.of("a", IDS, numbers(3).reshape(5, 21)).digest != one.digest
