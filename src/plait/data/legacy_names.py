"""The names that a legacy pickle may ask for, and what stands for each: arrays, scalars, sets and bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

PLAIN = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1|\?|[US][1-9]\d*|O8?)")
"""The types of arrays that are read."""


class ForbiddenError(Exception):
    """What the file asks for is not on the list."""


@dataclass(frozen=True)
class Name:
    """A name that the file asks for and that is known here; it stands for itself alone and is never looked up."""

    dotted: str


@dataclass
class Type:
    """A type of arrays, complete after its state has come."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        """NumPy's type."""
        found = np.dtype(self.code)
        return found if self.order in "|=" else found.newbyteorder("<" if self.order == "<" else ">")


@dataclass
class Unfilled:
    """The place of an array until its state comes, and the numbers by which it is remembered."""

    places: list[int] = field(default_factory=list)


def array_of(content: Any, kind: Any, shape: Any, order: Any) -> Any:
    """An array of the bytes, or of the list of objects, that the file has for it, never of more."""
    sizes = type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)
    if not (isinstance(kind, Type) and sizes and order in ("C", "F")):
        raise ValueError("an array's state is not whole")
    dtype, count = kind.numpy(), prod(shape)
    if dtype.hasobject:
        if type(content) is not list or len(content) != count:
            raise ValueError("an array has more or fewer objects than its shape")
        objects = np.empty(count, dtype=object)
        for place, each in enumerate(content):
            objects[place] = each
        return objects.reshape(shape, order=order)
    raw = content.encode("latin-1") if isinstance(content, str) else content
    if not isinstance(raw, bytes | bytearray) or len(raw) != count * dtype.itemsize:
        raise ValueError("an array has more or fewer bytes than its shape and type")
    return np.frombuffer(raw, dtype).reshape(shape, order=order)


def _empty_array(kind: Any, shape: Any = None, code: Any = None) -> Unfilled:
    if kind != Name("numpy.ndarray"):
        raise ForbiddenError("has an array of a class of its own")
    return Unfilled()


def _type(code: Any, align: Any = False, copy: Any = False) -> Type:
    if not (isinstance(code, str) and PLAIN.fullmatch(code)):
        raise ForbiddenError(f"has an array of the type {str(code)[:40]!r}, which is not read")
    return Type(code)


def _scalar(kind: Any, content: Any) -> Any:
    return array_of(content, kind, (1,), "C")[0]


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> Any:
    return array_of(content, kind, shape, order)


def _encoded(text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ForbiddenError(f"calls _codecs.encode with {str(encoding)[:40]!r}")
    return text.encode("latin-1")


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {key_of(key): value for key, value in pairs}


def set_of(items: Any = ()) -> set[Any]:
    """A set of what may be a key."""
    return {key_of(each) for each in items}


def _bytearray(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    return content if isinstance(content, bytes) else _encoded(content, encoding)


def _no_bytes() -> bytes:
    return b""


def key_of(value: Any) -> Any:
    """The value, if it may be a key: a text, bytes or a number."""
    # The hash of a tuple of tuples goes as deep as the file says, beyond the end of C's stack.
    if not isinstance(value, str | bytes | int | float | np.generic | None):
        raise ForbiddenError(f"has a key that is {kind_of(value)}")
    return value


def kind_of(value: Any) -> str:
    """What a value is, in a word."""
    return value.dotted if isinstance(value, Name) else type(value).__name__.strip("_").lower()


KNOWN: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _type,
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encoded,
}
for _core in ("numpy.core", "numpy._core"):
    KNOWN[f"{_core}.multiarray", "_reconstruct"] = _empty_array
    KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer
for _builtins in ("builtins", "__builtin__"):
    KNOWN |= {(_builtins, "set"): set_of, (_builtins, "frozenset"): set_of}
    KNOWN |= {(_builtins, "bytearray"): _bytearray, (_builtins, "bytes"): _no_bytes}
"""Every name that a file may ask for, and what stands for it here; None may only be spoken of."""
