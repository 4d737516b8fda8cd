"""Tests of the page of a comparison of parts, and of attention by distance on the page of a run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole, rows_of
from plait.core.errors import FileError
from plait.report.attention import fading
from plait.report.page import write_report


def arm(name: str, mean: float, change: tuple[float, float, float] | None = None, **more: Any) -> dict[str, Any]:
    """An arm as ablation.json has it; with its change against the anchor it is a trained one."""
    made = {"name": name, "mean": mean, "low": mean - 0.1, "high": mean + 0.1, "seeds": 3, "meaning": f"what {name} is"}
    if change is None:
        return {**made, "parameters": 0, **more}
    against = dict(zip(("value", "low", "high"), change, strict=True))
    return {**made, "kind": name, "parameters": 1234, "against_anchor": against, **more}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "metric": "mse", "unit": "standardised", "row_name": "windows", "recipe": "calf", "seeds": [0, 1, 2],
        "folds": 1, "windows": 97, "block": 24, "drawn": "blocks of 24 rows", "lacking": "", "anchor": "anchor",
        "arms": [
            arm("anchor", 0.5, (0.0, 0.0, 0.0)), arm("causal", 0.55, (0.1, -0.02, 0.2)),
            arm("fading", 0.45, (-0.1, -0.15, -0.05)),
        ],
        "rivals": [arm("last_value", 0.9), arm("ridge", 0.47)],
        "best_baseline": {"name": "ridge", "chosen_on": "val"}, "left_out": {},
        **changes,
    }  # fmt: skip


def page_of(folder: Path, data: Any) -> tuple[str, str]:
    """The page's text with plain spaces, and its source."""
    (folder / "ablation.json").write_text(json.dumps(data), encoding="utf-8")
    html = write_report(folder).read_text(encoding="utf-8")
    check_whole(html)
    return Page(re.sub(r"(</(?:td|th|li|p)>)", r"\1 ", html)).text.replace("\u00a0", " "), html


def test_the_arms_stand_by_error_with_the_baselines_among_them(tmp_path: Path) -> None:
    text, html = page_of(tmp_path, result())
    names = [row.split()[0] for row in rows_of(html)]
    assert names == ["fading", "ridge", "anchor", "causal", "last_value"]
    assert "Of 3 arms, fading has the lowest test MSE, 0.4500." in text
    assert "10.0 % lower than anchor (95 % interval −15.0 % to −5.0 %)." in text
    assert "so its lead is a little too good" in text


def test_the_changes_are_those_of_the_other_arms(tmp_path: Path) -> None:
    _, html = page_of(tmp_path, result())
    (listed,) = re.findall(r'<ul class="effects">.*?</ul>', html, re.DOTALL)
    words = Page(listed).text.replace("\u00a0", " ")
    assert words == ("fading less error −10.0 % −15.0 % to −5.0 % causal no difference shown +10.0 % −2.0 % to +20.0 %")


def test_a_lead_that_is_not_shown_is_said_so(tmp_path: Path) -> None:
    arms = [arm("anchor", 0.5, (0.0, 0.0, 0.0)), arm("fading", 0.49, (-0.02, -0.05, 0.01))]
    text, _ = page_of(tmp_path, result(arms=arms))
    assert "2.0 % lower than anchor (95 % interval −5.0 % to +1.0 %): no difference is shown." in text


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds no comparison of parts"):
        page_of(tmp_path, {"metric": "mse"})


def test_attention_by_distance_is_drawn_beside_the_bias(tmp_path: Path) -> None:
    assert fading(tmp_path) is None
    found = {
        "blocks": [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]],
        "bias": [0.5, 0.3, 0.2],
        "step": 8,
        "name": "power_law, alpha 1",
    }
    (tmp_path / "page.json").write_text(json.dumps({"attention": found}), encoding="utf-8")
    drawn = fading(tmp_path)
    assert drawn is not None
    assert (drawn["nearest"], drawn["blocks"], drawn["name"]) == (1, 2, "power_law, alpha 1")
    assert "the bias alone" in drawn["figure"]
    (tmp_path / "page.json").write_text(json.dumps({"attention": {"blocks": []}}), encoding="utf-8")
    with pytest.raises(FileError, match="holds no page data"):
        fading(tmp_path)
