"""Parts of a model side by side: arms that differ in one part, each against the anchor, on the same rows and seeds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from plait.core.files import write_json
from plait.evaluation.compare import Plan, Trainings
from plait.evaluation.verdict import Arm, change


class Ablation:
    """Trains the arms of a plan that judges no modality, and says of each what it changes against the anchor.

    The first arm of the plan is the anchor. A finished training is not done again. Nothing is accepted or rejected, and
    there is no verdict: the arms differ in what they are built of, and not in what they read.
    """

    def __init__(self, plan: Plan, folder: Path, table: Any = None) -> None:
        self.folder = folder
        self.plan, self.left_out = without_repeats(plan)
        self.trainings = Trainings(self.plan, folder, table)

    def run(self) -> dict[str, Any]:
        """Train what is not trained yet, score everything, write ablation.json and return it."""
        raw = self.trainings.run(self.plan)
        shared = self.trainings
        bootstrap = shared.bootstrap(len(self.plan.seeds))
        arms = [shared.arm(name, splits["test"]) for name, splits in raw.items()]
        anchor = arms[0]
        meanings = shared.task.meanings
        cheap = [Arm(n, shared.rows([[s["test"]]]), 1, meanings.get(n, "")) for n, s in shared.rivals.items()]
        validation = {n: shared.task.metrics(shared.rivals[n]["val"])[shared.task.metric] for n in shared.rivals}
        best = min(shared.task.candidates(validation), key=lambda name: validation[name])
        result = {
            **shared.facts(self.plan.seeds),
            "anchor": anchor.name,
            "arms": [
                {**arm.to_json(bootstrap), "kind": arm.name, "against_anchor": change(arm, anchor, bootstrap)}
                for arm in arms
            ],
            "left_out": self.left_out,
            "rivals": [arm.to_json(bootstrap) for arm in cheap],
            "best_baseline": {"name": best, "chosen_on": "val"},
        }
        write_json(self.folder / "ablation.json", result)
        return result


def without_repeats(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan without arms that are, with these fields, what an earlier arm is, and why each is left out."""
    first: dict[str, str] = {}
    repeats = {}
    for arm in plan.arms:
        made = plan.of(arm, plan.seeds[0]).model_dump_json()
        if made in first:
            repeats[arm] = f"with these fields it is the same as {first[made]}"
        else:
            first[made] = arm
    return replace(plan, arms={arm: tree for arm, tree in plan.arms.items() if arm not in repeats}), repeats
