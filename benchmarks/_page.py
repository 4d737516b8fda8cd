"""What the results pages have in common: where they were made, what was held, and the lines of a verdict."""

from pathlib import Path
from typing import Any

from plait.core.files import write_file
from plait.evaluation.verdict import percent
from plait.objectives.bootstrap import Interval
from plait.runs.folder import environment


def about() -> str:
    """The machine and the versions of the page's own run, which are those of its trainings."""
    facts = environment()
    return f"Python {facts['python']}, torch {facts['packages']['torch']}, {facts['cores']} cores, {facts['machine']}."


def held(whether: bool) -> str:
    """What became of a goal."""
    return "held" if whether else "missed"


def verdict_lines(result: dict[str, Any]) -> list[str]:
    """The verdict of a compare.json, how often the modality was accepted, the best baseline, the caveats."""
    verdict, best = result["verdicts"][0], result["best_baseline"]
    kept, of = sum(verdict["accepted"]), len(verdict["accepted"])
    against = percent(Interval(best["change"], best["low"], best["high"]))
    return [
        "", f"Verdict: {verdict['text']}.", "",
        f"Accepted on validation: fused {kept} of {of}, placebo {sum(verdict['placebo_accepted'])} of {of}.", "",
        f"Fused against the best baseline (chosen on validation), {best['name']}: {against}.", "",
        *(f"**{words}.**\n" for words in result["caveats"]),
    ]  # fmt: skip


def write_page(page: Path, lines: list[str]) -> None:
    """Write the lines, end with the machine, and print the page."""
    text = "\n".join(lines).rstrip("\n")
    write_file(page, f"{text}\n\n{about()}\n".encode())
    print(page.read_text(encoding="utf-8"))
