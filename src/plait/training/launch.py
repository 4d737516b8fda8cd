"""What several processes of one run do together before the training; nothing here loads torch for a single one."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from plait.core.errors import PlaitError

T = TypeVar("T")


def from_main(make: Callable[[], T], cpu: bool = False) -> T:
    """What the main process makes, such as a folder, given to all processes, which must all call; so are its errors."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return make()
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [None, None]
    if PartialState(cpu=cpu).is_main_process:
        try:
            found = [make(), None]
        except PlaitError as error:
            found = [None, error]
    made, fault = broadcast_object_list(found)
    if fault is not None:
        raise fault
    return cast(T, made)
