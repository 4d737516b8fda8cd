"""`plait audit`: the proof in words, row by row, and the exit code."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import config_of, only_options
from plait.cli.grammar import parse
from plait.core.console import say

SHOWN = {"leak": 500, "suspect": 10}
"""Rows of a finding that are printed; --output and --json give all."""


def audit_verb(tokens: list[str]) -> dict[str, Any]:
    """Audit a recipe's data, or a run with the preprocessing it kept; a leak ends with exit code 3."""
    import pandas as pd

    from plait.core.files import write_file, write_json
    from plait.evaluation.audit.run import audit
    from plait.report.page import write_report
    from plait.runs.recipe import recipe_names

    # A recipe has a name; what has a slash or is a folder, and is no YAML file, is a run.
    named = next(iter(parse(tokens, ("output",)).words), "")
    known = not named or named in recipe_names() or named.endswith((".yaml", ".yml"))
    is_run = not known and ("/" in named or Path(named).is_dir())
    folder = Path(named) if is_run else None
    if folder is not None:
        parsed = only_options(tokens, ("RUN",), valued=("output",))
        data = _data_of_run(folder)
    else:
        from plait.runs.assemble import build_data

        parsed, _, config = config_of(tokens, valued=("output",))
        data = build_data(config)
    result = audit(data)
    result = {"of": str(folder) if folder else parsed.words[0], **result, "exit_code": 3 if result["leaks"] else 0}
    _tell(result)
    if folder is not None:
        write_json(folder / "audit.json", result)
        if (folder / "report.html").is_file():
            say(f"report: {write_report(folder)}")
    if "output" in parsed.options:
        lines = [
            {"severity": f["severity"], "check": f["check"], "what": f["what"], "row": row}
            for f in result["findings"] for row in f["rows"] or [""]
        ]  # fmt: skip
        table = pd.DataFrame(lines, columns=["severity", "check", "what", "row"])
        write_file(Path(parsed.options["output"]), table.to_csv(index=False).encode())
        say(f"all rows: {parsed.options['output']}")
    return result


def _data_of_run(folder: Path) -> Any:
    from plait.runs.assemble import build_data
    from plait.runs.folder import read_config
    from plait.runs.run import load_run

    if (folder / "arms").is_dir():  # a comparison: its arms read one set of data
        return build_data(read_config(folder))
    return load_run(folder).data


def _tell(result: dict[str, Any]) -> None:
    for check in result["checks"]:
        say(f"{'LEAK' if check['leaks'] else 'ok':<5} {check['check']}: {check['did']}")
    for finding in result["findings"]:
        count = f"{len(finding['rows'])} " if len(finding["rows"]) > 1 else ""
        say(f"\n{finding['severity'].upper()}, {finding['check']}: {count}{finding['what']}")
        shown = SHOWN[finding["severity"]]
        for row in finding["rows"][:shown]:
            say(f"  {row}")
        if len(finding["rows"]) > shown:
            say(f"  ... and {len(finding['rows']) - shown} more (--output FILE.csv lists all)")
    say(f"\n{summary(result)}")


def summary(result: dict[str, Any]) -> str:
    """The outcome in a line."""
    leaks, suspects = result["leaks"], result["suspects"]
    words = f"{leaks} leak{'' if leaks == 1 else 's'}, {suspects} suspect{'' if suspects == 1 else 's'}"
    if leaks:
        return words
    return f"{words}: no check found a leak" + (", the suspects are for you to judge" if suspects else "")
