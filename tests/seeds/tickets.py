"""`make tickets`: how many tests bear the mark of each ticket, beside the number that its design document asks for."""

import sys
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

ASKED = {
    "FUS-1": 15, "FUS-2": 20, "FUS-3": 15, "CLN-1": 10, "CLN-2": 15, "CLN-3": None, "CLN-4": None, "CLN-5": 5,
    "CLN-6": None,
}  # fmt: skip
"""Cases that the document of `aam` asks for; None where it names no number."""


class Marks:
    """Counts marked cases as pytest collects them: those that count, and those that are expected to fail."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.failing: Counter[str] = Counter()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the marks of what was collected."""
        for item in session.items:
            into = self.failing if item.get_closest_marker("xfail") else self.cases
            into.update({str(mark.args[0]) for mark in item.iter_markers("ticket")})


def main() -> int:
    """Print a line a ticket; 1 where a ticket has fewer cases than asked, or is none that the document has."""
    marks, tests = Marks(), Path(__file__).resolve().parents[1]
    with redirect_stdout(StringIO()) as said:
        code = pytest.main(["--collect-only", "-q", "-m", "ticket", str(tests)], plugins=[marks])
    if code != pytest.ExitCode.OK:
        print(said.getvalue(), f"the tests could not be collected: exit code {int(code)} of pytest", file=sys.stderr)
        return int(code)
    short = []
    print(f"{'ticket':<8}{'cases':>6}{'asked':>7}")
    for ticket in sorted({*ASKED, *marks.cases, *marks.failing}):
        asked, found, failing = ASKED.get(ticket, 0), marks.cases[ticket], marks.failing[ticket]
        beside = f"   and {failing} expected to fail" if failing else ""
        print(f"{ticket:<8}{found:>6}{'-' if asked is None else asked:>7}{beside}")
        if ticket not in ASKED or found < (1 if asked is None else asked):
            short.append(ticket)
    if short:
        print(f"too few cases, or no such ticket: {', '.join(short)}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
