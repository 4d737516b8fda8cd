"""CPU seconds of `plait --help`, `import plait` and `plait data list`: the best of five processes each."""

import os
import platform
import resource
import subprocess
import sys

RUNS = 5
LIMITS = {"plait --help": 0.3}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import plait": ["-c", "import plait"],
    "plait --help": ["-m", "plait.cli.main", "--help"],
    "plait data list": ["-m", "plait.cli.main", "data", "list"],
}


def cpu_seconds(tokens: list[str]) -> float:
    """User and system time of one process, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *tokens], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the table; 1 if a limit is passed."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, best of {RUNS}")
    best = {name: min(cpu_seconds(tokens) for _ in range(RUNS)) for name, tokens in COMMANDS.items()}
    bare = best["python -c pass"]
    for name, seconds in best.items():
        limit = f", limit {LIMITS[name]} s" if name in LIMITS else ""
        print(f"{name:<16} {seconds:.3f} s CPU, {seconds / bare:.1f} x bare Python{limit}")
    return int(any(best[name] >= limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
