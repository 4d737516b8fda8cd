"""Flags of an older toolkit, with the fields that say the same here and a warning."""

from typing import Any

from plait.core.errors import ConfigError
from plait.objectives.choice import Renewed, renew_constraint, renew_transform
from plait.objectives.constraints import CONSTRAINTS, ConstraintKind
from plait.runs.recipe import Overrides, Recipe

SWITCHES = frozenset({
    "bounded_targets", "learnable_output_scale", "normalize_targets", "log_transform_targets", "film_conditioning",
})  # fmt: skip
"""Those that stand without a value."""


def renewed(recipe: Recipe, overrides: Overrides) -> tuple[Overrides, list[str]]:
    """The overrides with old flags in their new form, and a warning for each.

    `--output-constraint` and `--target-transform` beside old flags of the same matter are refused.
    Errors: ConfigError as `renew_constraint` and `renew_transform`.
    """
    old = {name.replace("-", "_"): value for name, value in overrides if name.replace("_", "-") in recipe.old}
    if not old:
        return overrides, []
    kept = [(name, value) for name, value in overrides if name.replace("-", "_") not in old]
    named = {name.replace("-", "_").rsplit(".", 1)[-1]: value for name, value in kept}
    constraint = renew_constraint(
        _on(old, "bounded_targets"), _text(old, "output_activation"), _on(old, "learnable_output_scale")
    )
    _refuse_both(constraint, {"output_constraint", "constraint"} & set(named))
    chosen = str(named.get("output_constraint", named.get("constraint", "none")))
    if constraint is not None:
        chosen = str(constraint.fields["output_constraint"])
    kind: ConstraintKind = next((each for each in CONSTRAINTS if each == chosen), "none")
    transform = renew_transform(
        _on(old, "normalize_targets") if "normalize_targets" in old else None,
        (_text(old, "normalize_targets_by") or "").split(",") if "normalize_targets_by" in old else (),
        _on(old, "log_transform_targets"),
        kind,
    )
    _refuse_both(transform, {"target_transform", "transform"} & set(named))
    film = _film(old)
    if film is not None and "data.categories" in film.fields:
        _refuse_both(film, {"categorical_columns", "categories"} & set(named))
    found = [each for each in (constraint, transform, film) if each is not None]
    fields = [(name, value) for each in found for name, value in each.fields.items()]
    return [*fields, *kept], [each.warning for each in found]


def _film(old: dict[str, Any]) -> Renewed | None:
    """`--film-conditioning`, alone or with its columns."""
    if "film_conditioning" not in old:
        return None
    value = old["film_conditioning"]
    switch = str(value).lower() in ("true", "false")
    fields: dict[str, object] = {"model.head.film": not switch or _on(old, "film_conditioning")}
    form = "--model.head.film" if fields["model.head.film"] else "--no-model.head.film"
    if not switch:
        fields["data.categories"] = [name.strip() for name in str(value).split(",")]
        form = f"--categorical-columns {value} {form}"
    return Renewed(fields, f"--film-conditioning is now {form}; the old flags go in the next major version")


def _on(old: dict[str, Any], name: str) -> bool:
    return str(old.get(name, False)).lower() == "true"


def _text(old: dict[str, Any], name: str) -> str | None:
    if name in old and isinstance(old[name], bool):
        raise ConfigError(f"--{name.replace('_', '-')} needs a value")
    return None if name not in old else str(old[name])


def _refuse_both(renewal: Renewed | None, named: set[str]) -> None:
    if renewal is not None and named:
        raise ConfigError(
            f"--{sorted(named)[0].replace('_', '-')} is given beside old flags that say the same",
            fix=renewal.warning,
        )  # fmt: skip
