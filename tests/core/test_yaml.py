"""YAML reads decimal numbers, true, false and null, leaves all else text, and reads back what it writes."""

import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core import yaml
from plait.core.errors import ConfigError, FileError

SCALARS: dict[str, Any] = {
    "1e-3": 1e-3,
    "1E5": 1e5,
    "-1.5e+2": -150.0,
    "0.1": 0.1,
    "1.": 1.0,
    "-.5": -0.5,
    "-0.0": -0.0,
    "0": 0,
    "-3": -3,
    "+3": 3,
    "1e400": math.inf,
    ".inf": math.inf,
    "-.INF": -math.inf,
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "on": "on",
    "off": "off",
    "yes": "yes",
    "no": "no",
    "y": "y",
    "1:30": "1:30",
    "012": "012",
    "0x1f": "0x1f",
    "0o17": "0o17",
    "1_000": "1_000",
    "2024_01": "2024_01",
    "2024-01-31": "2024-01-31",
    "2024-01-31 13:00:00": "2024-01-31 13:00:00",
    "nan": "nan",
    "inf": "inf",
    "1e": "1e",
    ".": ".",
    "=": "=",
    "<<": "<<",
    "'3'": "3",
    '"true"': "true",
}


@pytest.mark.parametrize("text", SCALARS)
def test_scalars(text: str) -> None:
    read = yaml.parse(text)
    assert repr(read) == repr(SCALARS[text])
    assert repr(yaml.parse(f"a:\n  - {text}\n  - x")) == repr({"a": [SCALARS[text], "x"]})
    assert repr(yaml.parse(f"{{a: {text} , b: x}}")) == repr({"a": SCALARS[text], "b": "x"})


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(yaml.parse(".nan"))


REFUSED: dict[str, str] = {
    "a: 1\nb: 2\na: 3": "line 3, column 1: .*'a' stands twice",
    "x:\n  - {b: 1, b: 1}": "line 2, column 12: .*'b' stands twice",
    "1: x": "line 1, column 1: .*the key 1 is no text",
    "true: x": "the key True is no text",
    "? [a]\n: 1": "the key \\['a'\\] is no text",
    "a: !!python/object/apply:os.system [id]": "line 1, column 4: .*the tag .*os.system is not taken",
    "!!int 3": "the tag .*int is not taken",
    "a: ! b": "the tag ! is not taken",
    "%TAG ! tag:x,2000:\n---\n!thing 3": "the tag tag:x,2000:thing is not taken",
    "a: &x [1]\nb: *x": "line 2, column 4: .*alias \\*x",
    "&x [*x]": "alias \\*x",
    "[" * 65 + "]" * 65: "more than 64 levels",
    "[" * 300_000: "more than 64 levels",
    "- " * 5_000 + "1": "more than 64 levels",
    "9" * 5_000: "too many digits",
    "[1,": "line 2, column 1: .*did not find",
    "a: b: c": "line 1, column 5: .*mapping values are not allowed",
    "---\na\n---\nb": "line 3, column 1: .*single document",
    "a: \x00": "control characters",
    "a: \udcff": "no UTF-8",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_refused_with_the_place(text: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[text]) as caught:
        yaml.parse(text, "run.yaml")
    assert caught.value.where.startswith("run.yaml")
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_ends_at_the_first() -> None:
    levels = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(ConfigError, match=r"line 2, column 8: .*alias"):
        yaml.parse("a: &a [lol]\n" + levels)


def test_a_merge_key_is_a_key_like_any_other() -> None:
    assert yaml.parse("a: {<<: {b: 1}}") == {"a": {"<<": {"b": 1}}}


SPECIAL = st.text(string.ascii_letters + " :,[]{}#\n\t\r'\"-?&*!|>%@`~01e._=<\x85\u2028\ufeff\xa0\x07")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | SPECIAL,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | SPECIAL, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(PLAIN)
def test_dump_reads_back(data: Any) -> None:
    assert repr(yaml.parse(yaml.dump(data))) == repr(data)


@settings(deadline=None)
@given(PLAIN)
def test_inline_is_one_line_that_reads_back(data: Any) -> None:
    line = yaml.inline(data)
    assert len(line.splitlines()) <= 1
    assert repr(yaml.parse(line)) == repr(data)
    assert repr(yaml.parse(f"a:\n  b: {line}  # a note\n  c: [x, {line}]")) == repr(
        {"a": {"b": data, "c": ["x", data]}}
    )


@pytest.mark.parametrize("text", [t for t, value in SCALARS.items() if not isinstance(value, str)])
def test_texts_that_look_like_something_else_are_quoted(text: str) -> None:
    assert yaml.parse(yaml.dump({"a": text})) == {"a": text}


def test_dump_writes_no_aliases() -> None:
    shared = [1, 2]
    assert yaml.parse(yaml.dump({"a": shared, "b": shared})) == {"a": [1, 2], "b": [1, 2]}


def test_read_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("\ufeffseed: 3\n", encoding="utf-8")
    assert yaml.read(tmp_path / "run.yaml") == {"seed": 3}
    with pytest.raises(FileError, match=r"run\.yml: no such file \(did you mean run\.yaml\?\)"):
        yaml.read(tmp_path / "run.yml")
    with pytest.raises(FileError, match=r"there is no folder .*absent"):
        yaml.read(tmp_path / "absent" / "run.yaml")
    with pytest.raises(FileError, match="no such file"):
        yaml.read(tmp_path / "run.yaml" / "x.yaml")
    with pytest.raises(FileError, match="is a folder"):
        yaml.read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(FileError, match="no text in UTF-8"):
        yaml.read(tmp_path / "latin.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="holds no mapping"):
        yaml.read(tmp_path / "list.yaml")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml, line 2, column 1: "):
        yaml.read(tmp_path / "twice.yaml")
