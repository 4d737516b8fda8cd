"""The command's entry point run in this process, as tests type it."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from plait.cli import main as command
from plait.core import console


class Said(NamedTuple):
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The one object of `--json`."""
        assert len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)


Command = Callable[..., Said]


@contextmanager
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], first: tuple[str, ...] = ()
) -> Iterator[Command]:
    """Runs `plait <first> <tokens>`: torch is imported once for all. Signals and streams are put back at the end."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*tokens: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["plait", *first, *map(str, tokens)])
        capsys.readouterr()
        code = 0
        try:
            command.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    yield run
    console.speak_on(None)
    for number, handler in handlers.items():
        signal.signal(number, handler)
