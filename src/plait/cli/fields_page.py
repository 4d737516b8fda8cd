"""The page of all fields for `plait train RECIPE --help`, and commented YAML for `plait init`."""

from collections.abc import Mapping
from typing import Any

from plait.core import yaml
from plait.runs.config import RunConfig
from plait.runs.fields import FieldInfo, walk
from plait.runs.recipe import Recipe, needs


def fields_page(recipe: Recipe, raw: Mapping[str, Any]) -> str:
    """Every field, grouped by part, with type, default, meaning and aliases."""
    groups: dict[str, list[FieldInfo]] = {}
    for field in walk(RunConfig, raw):
        groups.setdefault(field.path.rpartition(".")[0], []).append(field)
    shown_paths = {field.path for fields in groups.values() for field in fields}
    names: dict[str, list[str]] = {}
    for alias, path in recipe.aliases.items():
        names.setdefault(path, []).append(f"--{alias}")
    lines = [f"{recipe.name}: {recipe.about}. Sizes: {', '.join(recipe.sizes) or 'as the file says'}"]
    for group, fields in groups.items():
        lines.append(f"\n{group or 'run'}")
        for field in fields:
            also = f" (alias {', '.join(names[field.path])})" if field.path in names else ""
            default = "must be given" if field.required else f"default {shown(field.default)}"
            lines.append(f"  --{field.path}  {field.type}, {default}{also}")
            if field.meaning:
                lines.append(f"      {field.meaning}")
            for item in field.items:
                default = "must be given" if item.required else f"default {shown(item.default)}"
                name = f"--{field.path}.NAME.{item.path}" if field.keyed else item.path
                lines.append(f"      {name}: {item.type}, {default}. {item.meaning}")
    others = [(path, some) for path, some in names.items() if path not in shown_paths]
    if others:
        lines.append("\naliases of fields that other kinds have")
        lines += [f"  {', '.join(some)}  {'; '.join(needs(path, raw))}" for path, some in others]
    if recipe.seed_yaml:
        lines.append(f"\n--seed-yaml FILE  the design document's YAML, laid over --size {recipe.seed_yaml['size']}")
    if recipe.ignored:
        lines.append(f"\nTaken without effect: {', '.join(f'--{name}' for name in recipe.ignored)}")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A default as YAML in one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} of them"
    return yaml.inline(value)


def commented_yaml(config: RunConfig) -> str:
    """A config as YAML with each field's meaning beside it; it reads back as the same config."""
    meanings = {field.path: field for field in walk(RunConfig, config.model_dump(mode="json"))}
    lines: list[str] = []
    _write(config.model_dump(mode="json"), "", 0, meanings, lines)
    return "\n".join(lines) + "\n"


def _write(
    node: Mapping[str, Any], prefix: str, depth: int, meanings: Mapping[str, FieldInfo], lines: list[str]
) -> None:
    pad = "  " * depth
    for name, value in node.items():
        path = f"{prefix}{name}"
        field = meanings.get(path) or meanings.get(f"{path}.kind")
        note = f"  # {field.meaning} ({field.type})" if field and field.meaning else ""
        if isinstance(value, dict) and value:
            about = meanings.get(path) or meanings.get(f"{path}.kind")
            lines.append(f"{pad}{name}:" + (f"  # {about.meaning}" if about and about.meaning else ""))
            _write(value, f"{path}.", depth + 1, meanings, lines)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{pad}{name}:{note}")
            text = yaml.dump(value)
            lines.extend(f"{pad}  {line}" for line in text.rstrip().split("\n"))
        else:
            lines.append(f"{pad}{name}: {shown(value)}{note}")
