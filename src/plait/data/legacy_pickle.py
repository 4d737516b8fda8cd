"""Plain data out of a pickle without running anything of it: numbers, texts, containers and NumPy arrays."""

import mmap
import pickletools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from plait.core.errors import DataError, FileError, suggest_file
from plait.data.legacy_names import KNOWN, ForbiddenError, Name, Type, Unfilled, array_of, key_of, kind_of, set_of

ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that files of torch.save begin with where they are no zip."""
LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
"""Instructions that put their argument on the stack."""
COPIES = 8
"""How many times the size of the file what is copied out of it may take: one text may stand for many arrays."""
LONGEST_NAME = 200
STEP = 2**18
"""Instructions between two words of progress."""


def read_legacy(path: Path, progress: Callable[[int, int], None] | None = None) -> Any:
    """What a pickle holds, of plain data: containers, numbers, texts, bytes and NumPy arrays of plain types.

    The pickle's instructions are read one by one by a machine of plait's own that imports and calls nothing: a name is
    compared with a short list, and those on it stand for a few lines here. Also read is a `.npy` of Python objects.
    What is copied is counted, so that memory stays in proportion to the file.

    Errors: FileError for a file that is absent or damaged; DataError for a name that is not on the list (which), for a
    zip file as torch writes it, and for what is no plain data.
    """
    with _mapped(path) as stream:
        start = stream[:8]
        if start.startswith(ZIP):
            raise DataError(
                "is a zip file, as torch.save and np.savez write it, and torch's hold pickles that may run code",
                where=str(path), fix="load it where you trust it, and save np.savez(file, ids=..., embeddings=...)",
            )  # fmt: skip
        try:
            if start.startswith(NPY):
                _skip_header(stream)
            found = _Machine(str(path), COPIES * len(stream)).run(stream, progress)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            reason = str(error) or type(error).__name__
            raise FileError(f"is no whole pickle: {reason}", where=str(path), fix="get the file anew") from None
    if type(found) is int and found == TORCH_MAGIC:
        raise DataError(
            "is a file of torch.save, which may run code", where=str(path),
            fix="load it where you trust it, and save np.savez(file, ids=..., embeddings=...)",
        )  # fmt: skip
    return found


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file by memory map: a length that it states beyond its end takes no memory."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            yield stream
    except FileNotFoundError:
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except OSError as error:
        raise FileError(f"can't be read: {error.strerror}", where=str(path)) from None
    except ValueError:  # a map needs a byte
        raise FileError("is empty", where=str(path)) from None


def _skip_header(stream: mmap.mmap) -> None:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    header = BytesIO(stream[: 2**16])
    version = np.lib.format.read_magic(header)
    if version not in readers or not readers[version](header)[2].hasobject:
        raise ValueError("it is a .npy file without Python objects, which is read as it is")
    stream.seek(header.tell())


@dataclass
class _Machine:
    """The stack of a pickle, the stacks below its marks, and what it remembers by number."""

    where: str
    room: int
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def run(self, stream: mmap.mmap, progress: Callable[[int, int], None] | None) -> Any:
        """Follow the instructions to the end."""
        size = len(stream)
        for number, (opcode, argument, place) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
            name = opcode.name
            if name in LITERALS:
                self.stack.append(argument)
            elif name == "STOP":
                return self.stack.pop()
            else:
                act = _ACTS.get(name)
                if act is None:
                    raise self.refused(f"asks for {_asked(name, argument)}", place)
                try:
                    act(self, argument)
                except ForbiddenError as forbidden:
                    raise self.refused(str(forbidden), place) from None
            if progress is not None and number % STEP == STEP - 1:
                progress(place or 0, size)
        raise ValueError("it has no end")

    def refused(self, what: str, place: int | None) -> DataError:
        """The error for what is no plain data."""
        fix = (
            "nothing of the file was run; where you trust it, load it and save np.savez(file, ids=..., embeddings=...)"
        )
        return DataError(f"the pickle {what}", where=f"{self.where}, byte {place}", fix=fix)

    def spend(self, content: Any) -> None:
        """Count what is about to be copied."""
        self.room -= len(content) if isinstance(content, str | bytes | bytearray | list | set | dict) else 0
        if self.room < 0:
            raise ValueError("it makes more of its bytes than it has")

    def since_mark(self) -> list[Any]:
        """What came after the last mark; the stack is then what it was at the mark."""
        found, self.stack = self.stack, self.below.pop()
        return found


def _asked(opcode: str, argument: Any) -> str:
    return str(argument).replace(" ", ".", 1) if opcode == "INST" else f"the instruction {opcode}"


def _name(machine: _Machine, module: Any, name: Any) -> None:
    dotted = f"{module}.{name}"[:LONGEST_NAME]
    if not (isinstance(module, str) and isinstance(name, str) and (module, name) in KNOWN):
        raise ForbiddenError(f"asks for {dotted}, which is no plain data")
    machine.stack.append(Name(dotted))


def _global(machine: _Machine, argument: str) -> None:
    _name(machine, *argument.split(" ", 1))


def _stack_global(machine: _Machine, argument: None) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    _name(machine, module, name)


def _reduce(machine: _Machine, argument: None) -> None:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    if not (isinstance(name, Name) and type(arguments) is tuple):
        raise ForbiddenError("calls what is no name")
    module, _, last = name.dotted.rpartition(".")
    make = KNOWN[module, last]
    if make is None:
        raise ForbiddenError(f"calls {name.dotted}")
    for each in arguments:
        machine.spend(each)
    machine.stack.append(make(*arguments))


def _build(machine: _Machine, argument: None) -> None:
    state, made = machine.stack.pop(), machine.stack[-1]
    if isinstance(made, Type) and type(state) is tuple and len(state) >= 5:
        made.order = str(state[1])
        if made.order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ForbiddenError("has an array of records, of which none are read")
    elif isinstance(made, Unfilled) and type(state) is tuple and len(state) in (4, 5):
        shape, kind, fortran, content = state[-4:]
        machine.spend(content)
        machine.stack[-1] = array_of(content, kind, shape, "F" if fortran else "C")
        for place in made.places:
            machine.memory[place] = machine.stack[-1]
    else:
        raise ForbiddenError(f"gives a state to {kind_of(made)}")


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make())


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, argument: None) -> None:
        if len(machine.stack) < count:
            raise ValueError("its stack is too short")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return act


def _of_mark(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, argument: None) -> None:
        items = machine.since_mark()
        machine.stack.append(make(items))

    return act


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {key_of(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _mark(machine: _Machine, argument: None) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, argument: None) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.since_mark()


def _top(machine: _Machine, kind: type) -> Any:
    if type(machine.stack[-1]) is not kind:
        raise ForbiddenError(f"adds to {kind_of(machine.stack[-1])}")
    return machine.stack[-1]


def _append(machine: _Machine, argument: None) -> None:
    item = machine.stack.pop()
    _top(machine, list).append(item)


def _appends(machine: _Machine, argument: None) -> None:
    items = machine.since_mark()
    _top(machine, list).extend(items)


def _set_item(machine: _Machine, argument: None) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _top(machine, dict)[key_of(key)] = value


def _set_items(machine: _Machine, argument: None) -> None:
    items = machine.since_mark()
    _top(machine, dict).update(_pairs(items))


def _add_items(machine: _Machine, argument: None) -> None:
    items = machine.since_mark()
    _top(machine, set).update(set_of(items))


def _put(machine: _Machine, place: int) -> None:
    machine.memory[place] = machine.stack[-1]
    if isinstance(machine.stack[-1], Unfilled):
        machine.stack[-1].places.append(place)


def _get(machine: _Machine, place: int) -> None:
    machine.stack.append(machine.memory[place])


def _nothing(machine: _Machine, argument: Any) -> None:
    pass


_ACTS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    "NONE": _push(lambda: None), "NEWTRUE": _push(lambda: True), "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list), "EMPTY_DICT": _push(dict), "EMPTY_TUPLE": _push(tuple), "EMPTY_SET": _push(set),
    "MARK": _mark, "LIST": _of_mark(list), "DICT": _of_mark(_pairs), "TUPLE": _of_mark(tuple),
    "FROZENSET": _of_mark(set_of), "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "POP": _pop,
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _set_item, "SETITEMS": _set_items, "ADDITEMS": _add_items,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memory)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "BUILD": _build,
}  # fmt: skip
"""The instructions that are followed."""
