"""SIGTERM and SIGINT set a flag that every loop reads between two units of work."""

import signal
from types import FrameType

from plait.core.errors import Terminated

_asked = [False]


def install() -> None:
    """Let SIGTERM and SIGINT ask for an orderly end; a second SIGINT interrupts at once."""
    _asked[0] = False

    def ask(number: int, frame: FrameType | None) -> None:
        if _asked[0] and number == signal.SIGINT:
            raise KeyboardInterrupt
        _asked[0] = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def asked() -> bool:
    """Whether an orderly end was asked for."""
    return _asked[0]


def check(saved: str) -> None:
    """Raise Terminated if an end was asked for; `saved` tells what there is to go on with."""
    if _asked[0]:
        raise Terminated(f"stopped as asked; {saved}")
