"""Photos of a folder: which file is of which id and source, and the pixels of every kind of file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from plait.core.errors import ConfigError, DataError, FileError
from plait.data.photo_files import BrokenPhoto, find_photos, read_ahead, read_photo

SIDE = 35


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def colours(height: int, width: int) -> np.ndarray:
    """A smooth picture whose corners differ."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.stack([255 * y, 255 * x, 128 + 60 * np.sin(9 * (x + y))], axis=2).astype(np.uint8)


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **how: Any) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **how)
    return path


def test_names_give_ids_and_sources(tmp_path: Path) -> None:
    touch(
        tmp_path, "2_kitchen.jpg", "10_kitchen.JPG", "10_bed.png", "a_b_bed.webp", "plan.jpg", "notes_x.txt", ".h_x.jpg"
    )
    (tmp_path / "3_folder.jpg").mkdir()
    found = find_photos(tmp_path)
    assert found.ids == ("10", "2", "a_b")
    named = {source: {each: path.name for each, path in files.items()} for source, files in found.sources.items()}
    assert named == {
        "bed": {"10": "10_bed.png", "a_b": "a_b_bed.webp"}, "kitchen": {"2": "2_kitchen.jpg", "10": "10_kitchen.JPG"},
    }  # fmt: skip
    assert found.left_out == ("notes_x.txt", "plan.jpg")


def test_other_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "front-12_a.jpg", "front-7.jpg", "x[1].jpg")
    assert list(find_photos(tmp_path, "{id}").sources) == ["photos"]
    first = find_photos(tmp_path, "{source}-{id}")
    assert (first.ids, list(first.sources), first.left_out) == (("12_a", "7"), ["front"], ("x[1].jpg",))
    assert find_photos(tmp_path, "x[{id}]").ids == ("1",)


def test_a_wrong_pattern_or_folder_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "1_a.jpg", "1_a.png", "plan.jpg")
    for names, words in (("{source}", "has not {id} once"), ("{id}_{id}", "has not {id} once"), ("{id}{", "brace")):
        with pytest.raises(ConfigError, match=words):
            find_photos(tmp_path, names)
    with pytest.raises(ConfigError, match=r"has \{sorce\}") as caught:
        find_photos(tmp_path, "{id}_{sorce}")
    assert caught.value.fix == "did you mean source?"
    for names in ("{}", "{id:3}", "{id!r}"):
        with pytest.raises(ConfigError, match="more or less than a name"):
            find_photos(tmp_path, names)
    with pytest.raises(DataError, match=r"1_a\.jpg and 1_a\.png are both a of 1"):
        find_photos(tmp_path)
    with pytest.raises(DataError, match=r"no photo is named as 'view{id}'; the folder holds 1_a\.jpg, 1_a\.png"):
        find_photos(tmp_path, "view{id}")
    with pytest.raises(FileError, match="no such folder"):
        find_photos(tmp_path / "absent")


@pytest.mark.parametrize("height, width", [(70, 70), (70, 210), (210, 70)])
def test_the_middle_square_of_the_resized_photo(tmp_path: Path, height: int, width: int) -> None:
    path = saved(tmp_path / "a.png", colours(height, width))
    whole = Image.open(path).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    left, top = (whole.width - SIDE) // 2, (whole.height - SIDE) // 2
    wanted = np.asarray(whole.crop((left, top, left + SIDE, top + SIDE)))
    assert np.abs(read_photo(path, SIDE).astype(int) - wanted).max() <= 1


def test_a_photo_of_that_size_stays_as_it_is(tmp_path: Path, shared: Path) -> None:
    path = shared / "data" / "houses" / "photos" / "1_kitchen.jpg"
    np.testing.assert_array_equal(read_photo(path, 224), np.asarray(Image.open(path)))
    pixels = colours(SIDE, 53)
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "a.png", pixels), SIDE), pixels[:, 9:44])


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    pixels = colours(SIDE, SIDE)
    gray = pixels[:, :, 0]
    three = np.repeat(gray[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "l.png", gray), SIDE), three)
    deep = gray.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "i.png", deep), SIDE), three)
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "i.tif", deep), SIDE), three)
    few = pixels // 128 * 255
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "p.png", few, "P"), SIDE), few)
    back = read_photo(
        saved(tmp_path / "c.jpg", np.full((SIDE, SIDE, 3), (200, 90, 30), np.uint8), "CMYK", quality=95), SIDE
    )
    assert np.abs(back.astype(int) - (200, 90, 30)).max() <= 3
    seen = np.dstack([pixels, np.full((SIDE, SIDE), 255, np.uint8)])
    seen[:7, :, 3] = 0
    clear = read_photo(saved(tmp_path / "a.png", seen), SIDE)
    assert (clear[:7] == 255).all()
    np.testing.assert_array_equal(clear[7:], pixels[7:])


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_turn_that_exif_states_is_done(tmp_path: Path, turn: int) -> None:
    upright = colours(SIDE, SIDE)
    # How a camera stores the upright picture under each tag, by the definition of the tag's first row and column.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: np.rot90(upright.transpose(1, 0, 2), 2), 8: np.rot90(upright, -1),
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    path = saved(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(read_photo(path, SIDE), upright)


def broken(folder: Path) -> dict[str, Path]:
    """Files that are no whole photo."""
    whole = saved(folder / "whole.jpg", colours(97, 97)).read_bytes()
    files = {
        "cut": whole[: len(whole) // 2], "empty": b"", "text": b"no photo at all", "head alone": whole[:30],
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }  # fmt: skip
    for name, content in files.items():
        (folder / f"{name}.jpg").write_bytes(content)
    found = {name: folder / f"{name}.jpg" for name in files} | {"absent": folder / "absent.jpg"}
    found["float"] = saved(folder / "float.tif", np.zeros((5, 5), np.float32))
    return found


def test_what_is_no_whole_photo_is_broken(tmp_path: Path) -> None:
    for name, path in broken(tmp_path).items():
        with pytest.raises(BrokenPhoto) as caught:
            read_photo(path, SIDE)
        assert str(caught.value), name


def test_a_photo_of_too_many_pixels_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", colours(11, 13))
    monkeypatch.setattr("plait.data.photo_files.MOST_PIXELS", 11 * 13)
    assert read_photo(path, SIDE).shape == (SIDE, SIDE, 3)
    monkeypatch.setattr("plait.data.photo_files.MOST_PIXELS", 11 * 13 - 1)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was unpacked"))
    with pytest.raises(BrokenPhoto, match="it unpacks to 13 x 11 pixels"):
        read_photo(path, SIDE)


def test_photos_are_read_ahead_in_order(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.png", np.full((SIDE, SIDE, 3), n, np.uint8)) for n in range(17)]
    paths[11].write_bytes(b"")
    batches = [paths[begin : begin + 3] for begin in range(0, 17, 3)]
    found = list(read_ahead(batches, SIDE, 2))
    assert [len(batch) for batch in found] == [3, 3, 3, 3, 3, 2]
    flat = [photo for batch in found for photo in batch]
    assert isinstance(flat.pop(11), BrokenPhoto)
    assert [int(photo[0, 0, 0]) for photo in flat if not isinstance(photo, BrokenPhoto)] == [*range(11), *range(12, 17)]
