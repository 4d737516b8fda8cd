"""Starting a script in two processes."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def launch(script: Path, *arguments: Path, timeout: float) -> None:
    """Run a script in two processes of one thread each, and check that both end well."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    finally:
        process.terminate()  # the launcher ends what it started, where a kill would leave that behind
        process.wait()
    assert process.returncode == 0, said[-3000:]
