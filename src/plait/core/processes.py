"""Which of a run's processes speaks and writes for all of them."""

import os


def leads() -> bool:
    """Whether this process is the first of its run, or the only one; torchrun and its like set RANK."""
    return os.environ.get("RANK", "0") == "0"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
