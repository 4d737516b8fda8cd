"""Recipes: a YAML file each, with sizes and aliases, and the overrides a user lays over them."""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from plait.core import yaml
from plait.core.config import validate
from plait.core.errors import ConfigError, suggest
from plait.core.kinds import kind_named, same_kind
from plait.core.yaml import Written
from plait.runs.config import RunConfig
from plait.runs.fields import FieldInfo, walk
from plait.runs.names import Names

Overrides = list[tuple[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file says: the config, its sizes, the demo's settings, aliases, names taken without effect, and
    the arms of its comparison with the modality they judge.
    """

    name: str
    about: str
    config: dict[str, Any]
    sizes: dict[str, dict[str, Any]]
    demo: dict[str, Any]
    aliases: dict[str, str]
    ignored: tuple[str, ...]
    told: dict[str, str]
    """Names of other toolkits that no field has, and what to give instead."""
    words: dict[str, dict[str, dict[str, Any]]]
    """Of `kind` fields: what other toolkits call a choice, and the fields that make it."""
    kinds: dict[str, dict[str, dict[str, Any]]]
    """Of `kind` fields: the fields of a chosen kind that have another default in this recipe."""
    implies: dict[str, dict[str, Any]]
    """What naming a field, `path`, or giving it a value, `path=value`, brings with it, below all that is named."""
    written_as: dict[str, dict[str, Any]]
    """Names that stand for several fields; `/` is the value given."""
    old: tuple[str, ...]
    """Names of an older toolkit that are taken with a warning: see `old_flags`."""
    guides: dict[str, str]
    """Switches, named `...-help`, that print a text and do nothing else."""
    anchor: str
    """The leg of the model that is the residual stream."""
    usual: dict[str, dict[str, Any]]
    """What is laid over the config for a kind of data, where no size is asked for."""
    modality: str
    """What the comparison judges, `*` for all that stands beside the anchor; empty where it sets parts of the model
    side by side."""
    arms: dict[str, dict[str, Any]]
    """What each lays over the config; where `*` is judged, `$anchor` stands for the name of the data's anchor."""
    meanings: dict[str, str]
    """What each arm of the comparison is."""
    given_by: str
    """The option that gives the modality which a comparison judges."""
    folds: int
    """Folds of the comparison; 0: the config's own splits."""
    late: tuple[str, ...]
    """Arms whose answers are averaged in two more lines of the comparison."""
    source: str
    """The name or file the config came from."""
    pretraining: dict[str, Any]
    """What a pretraining lays over `config`, and over each of the `sizes`; empty where there is none."""
    seed_yaml: dict[str, Any]
    """How the YAML of the design document is read: see `seed_yaml`; empty where it has none."""

    def for_pretraining(self) -> "Recipe":
        """The recipe of a pretraining; a config from a file stays as it is. Errors: ConfigError where there is none."""
        if not self.pretraining:
            raise ConfigError(f"{self.name} has no pretraining", where="plait pretrain", fix="plait train it as it is")
        every, sizes = self.pretraining["config"], self.pretraining.get("sizes", {})
        laid = {name: merge(merge(size, every), sizes.get(name, {})) for name, size in self.sizes.items()}
        own = self.source == self.name
        return replace(self, config=merge(self.config, every) if own else self.config, sizes=laid, usual={})


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    return sorted(p.name.removesuffix(".yaml") for p in files("plait.recipes").iterdir() if p.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """A recipe by name, or a config file by path (`run.yaml`), which is its recipe with another config."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        config = yaml.read(Path(name))
        base = config.get("recipe")
        if base not in recipe_names():
            what = "field 'recipe' must be given" if base is None else f"no recipe {base!r}"
            raise ConfigError(what, where=f"{name}, recipe", fix=suggest(str(base), recipe_names()))
        return replace(load_recipe(str(base)), config=config, source=name)
    if name not in recipe_names():
        files_here = [path.name for path in Path().glob("*.yaml")]
        raise ConfigError(f"no recipe {name!r}", fix=suggest(name, [*recipe_names(), *files_here]))
    data = yaml.parse(files("plait.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
    judged = data["compare"]
    return Recipe(
        name, data["about"], {"recipe": name, **data["config"]}, data["sizes"], data.get("demo", {}),
        data["aliases"], tuple(data.get("ignored", ())), data.get("told", {}), data.get("words", {}),
        data.get("kinds", {}), data.get("implies", {}), data.get("written_as", {}), tuple(data.get("old", ())),
        data.get("guides", {}),
        data["anchor"], data.get("usual", {}),
        judged.get("modality", ""), judged["arms"], judged["meanings"], judged.get("given_by", ""),
        judged.get("folds", 0), tuple(judged.get("late", ())), name, data.get("pretrain", {}),
        data.get("seed_yaml", {}),
    )  # fmt: skip


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree over another; a part whose `kind` changes is replaced, lists are replaced whole."""
    out = dict(copy.deepcopy(dict(base)))
    if "kind" in over and not _same(over, out):
        out = {}
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), str):
            out[key] = {"kind": out[key]}
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def raw_config(recipe: Recipe, size: str | None = None) -> dict[str, Any]:
    """The recipe's config at a size, as plain data."""
    if size is None:
        return merge(recipe.config, {})
    if size not in recipe.sizes:
        raise ConfigError(f"no size {size!r}", where="--size", fix=suggest(size, recipe.sizes))
    return merge(recipe.config, recipe.sizes[size])


def start_config(recipe: Recipe, size: str | None, overrides: Overrides) -> dict[str, Any]:
    """The config that overrides are laid over: at a size, or what is usual for the kind of data that they name."""
    raw = raw_config(recipe, size)
    if size is not None or recipe.source != recipe.name:
        return raw
    trial = merge(raw, {})
    choose_kinds(trial, recipe, overrides)
    usual = recipe.usual.get((trial.get("data") or {}).get("kind", ""), {})
    # What is usual goes with its own anchor: its stages may lean on how that leg starts.
    laid = merge(raw, usual)
    trial = merge(laid, {})
    choose_kinds(trial, recipe, overrides)
    leg = usual.get("model", {}).get(recipe.anchor)
    return laid if leg is None or _same(trial["model"][recipe.anchor], leg) else raw


def _same(part: Any, other: Any) -> bool:
    """Whether two parts, or names of kinds, are of one kind."""
    one, two = (str(p.get("kind") if isinstance(p, Mapping) else p) for p in (part, other))
    return same_kind(one, two)


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path; a changed `kind` replaces its part, and the kind null leaves the part out."""
    *parents, leaf = path.split(".")
    if leaf == "kind" and value is None:
        return put(raw, ".".join(parents), None)
    node = raw
    for step in parents:
        inner = node.get(step)
        if isinstance(inner, str):
            inner = {"kind": inner}
        if not isinstance(inner, dict):
            inner = {}
        node[step] = inner
        node = inner
    if leaf == "kind" and not _same(node, value):
        node.clear()
    node[leaf] = value


def names_of(raw: Mapping[str, Any], recipe: Recipe) -> Names:
    """The names of the fields that a config has with the kinds it chooses."""
    fields = {field.path: field for field in walk(RunConfig, raw)}
    count = Counter(field.leaf for field in fields.values())
    short = {field.leaf: path for path, field in fields.items() if count[field.leaf] == 1}
    return Names(fields, short | {alias.replace("-", "_"): path for alias, path in recipe.aliases.items()})


def needs(path: str, raw: Mapping[str, Any], last: str = "") -> list[str]:
    """Which kinds have the field that these have not: `data.root needs --data.kind ett`; also by its last name.

    Another model is another recipe, and none is told.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for part in [f for f in walk(RunConfig, raw) if f.path.endswith(".kind") and f.path != "model.kind"]:
        for kind in part.choices:
            trial = merge(raw, {})
            put(trial, part.path, kind)
            try:
                fields = [f for f in walk(RunConfig, trial) if f.path.startswith(part.path.removesuffix("kind"))]
            except ConfigError:  # a kind whose package is not installed
                continue
            for field in fields:
                if field.path == path or field.leaf == last:
                    found.setdefault((field.path, part.path), []).append(kind)
    return [f"{field} needs --{part} {' or '.join(some)}" for (field, part), some in found.items()]


def choose_kinds(raw: dict[str, Any], recipe: Recipe, overrides: Overrides) -> Overrides:
    """Lay the named kinds over a config, the outermost part first, whose kind decides which parts it has; returns the
    other overrides.
    """
    waiting = [*implied(raw, recipe, overrides), *overrides]
    while True:
        names = names_of(raw, recipe)
        paths = [names.find(name) or "" for name, _ in waiting]
        chosen = [(path.count("."), number) for number, path in enumerate(paths) if path.endswith(".kind")]
        if not chosen:
            return waiting
        number = min(chosen)[1]
        path, kind = paths[number], _as_typed(names.fields[paths[number]], waiting.pop(number)[1])
        choices = names.fields[path].choices
        if kind is not None:
            kind = kind_named(kind, choices)
        if kind is not None and (kind not in choices or kind in recipe.words.get(path, {})):
            # What follows on the command line stands above what a word means.
            waiting = [*_meant(recipe, path, kind, choices), *waiting]
        else:
            changed = not _same(_at(raw, path), kind)
            put(raw, path, kind)
            for leaf, value in recipe.kinds.get(path, {}).get(str(kind), {}).items() if changed else ():
                put(raw, f"{path.removesuffix('kind')}{leaf}", value)


def implied(raw: Mapping[str, Any], recipe: Recipe, overrides: Overrides) -> Overrides:
    """What the named fields bring with them, as overrides that stand below all that is named."""
    names = names_of(raw, recipe)
    found: dict[str, Any] = {}
    for name, value in overrides:
        wanted = name.replace("-", "_")
        path = names.find(name) or names.short.get(wanted, wanted)
        for key in (path, f"{path}={str(value).lower()}"):
            found |= recipe.implies.get(key, {})
    return list(found.items())


def spread(recipe: Recipe, overrides: Overrides) -> Overrides:
    """The overrides with each name that stands for several fields written out."""
    out: Overrides = []
    for name, value in overrides:
        for pattern, fields in recipe.written_as.items():
            key = _key_in(pattern, name)
            if key is not None:
                out += [(path.replace("*", key), _given(form, value)) for path, form in fields.items()]
                break
        else:
            out.append((name, value))
    return out


def _key_in(pattern: str, name: str) -> str | None:
    """What the `*` of a pattern stands for in a name, "" in a pattern without one; None where it does not fit."""
    before, star, after = pattern.replace("-", "_").partition("*")
    plain = name.replace("-", "_")
    if not star:
        return "" if plain == before else None
    fits = plain.startswith(before) and plain.endswith(after) and len(plain) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else None


def _given(form: Any, value: Any) -> Any:
    """A form with the value in the place of `/`."""
    if isinstance(form, Mapping):
        return {name: _given(inner, value) for name, inner in form.items()}
    if form != "/":
        return form
    return yaml.parse(str(value), "value") if isinstance(value, Written) else value


def _at(raw: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    node: Any = raw
    for step in path.split("."):
        node = (
            node if isinstance(node, str) and step == "kind" else node.get(step) if isinstance(node, Mapping) else None
        )
    return node


def _meant(recipe: Recipe, path: str, word: str, choices: tuple[str, ...]) -> Overrides:
    """The fields that another toolkit's word for a kind stands for; of a folder or address, those of `/`."""
    words = recipe.words.get(path, {})
    found = next((fields for name, fields in words.items() if name.lower() == word.lower()), None)
    if found is None and "/" in words and ("/" in word or Path(word).is_dir()):
        found = {name: word if value == "/" else value for name, value in words["/"].items()}
    if found is None:
        raise ConfigError(
            f"no kind {word!r}", where=path, fix=suggest(word, [*choices, *(w for w in words if w != "/")])
        )
    return list(found.items())


def apply(raw: dict[str, Any], recipe: Recipe, overrides: Overrides) -> dict[str, Any]:
    """Lay named values over a config: kinds first, so that the fields of a chosen part can be named in any order."""
    brought = {name for name, _ in implied(raw, recipe, overrides)} - {name for name, _ in overrides}
    others = choose_kinds(raw, recipe, overrides)
    names = names_of(raw, recipe)
    for name, value in others:
        path = names.find(name)
        if path is None and name in brought:
            continue  # the kinds that were named lack it: what was named itself tells what is wrong
        if path is None:
            raise _unknown(name, names, raw, recipe)
        typed = _as_typed(names.field(path), value)
        if path == "recipe" and typed != recipe.name:
            raise ConfigError(f"this is a config of {recipe.name}", where="--recipe", fix="name another recipe instead")
        _fill_kinds(raw, path, names)
        put(raw, path, typed)
    return raw


def _fill_kinds(raw: dict[str, Any], path: str, names: Names) -> None:
    """Give the parts above a field the kind they have when none is named."""
    steps = path.split(".")
    for end in range(1, len(steps)):
        field = names.fields.get(".".join([*steps[:end], "kind"]))
        node: Any = raw
        for step in steps[:end]:
            node = node.get(step) if isinstance(node, Mapping) else None
        if field is not None and field.usual and not (isinstance(node, str) or (node and "kind" in node)):
            put(raw, field.path, field.usual)


def _unknown(name: str, names: Names, raw: Mapping[str, Any], recipe: Recipe) -> ConfigError:
    wanted = name.replace("-", "_")
    instead = recipe.told.get(wanted.replace("_", "-"))
    if instead is not None:
        return ConfigError(f"no field --{name}", fix=instead)
    shared = sorted(path for path, field in names.fields.items() if field.leaf == wanted)
    if len(shared) > 1:
        return ConfigError(f"--{name} could be any of {', '.join(shared)}", fix="write the whole name")
    elsewhere = needs(names.short.get(wanted, wanted), raw, wanted)
    leaves = {field.leaf for field in names.fields.values()}
    taken = {each.replace("-", "_") for each in (*recipe.old, *recipe.ignored, *recipe.guides, *recipe.written_as)}
    fix = "; ".join(elsewhere) or suggest(wanted, {*names.fields, *names.short, *leaves, *taken})
    return ConfigError(f"no field --{name}", fix=fix)


def _as_typed(field: FieldInfo, value: Any) -> Any:
    # A path may look like a number or a mapping: a text field takes what is written as it stands, all others read YAML.
    if not isinstance(value, Written):
        if value is True and not field.boolean:
            raise ConfigError(f"--{field.path} needs a value")
        return value
    if field.type == "text":
        return str(value)
    if field.type == "text or null" or field.path.endswith(".kind"):
        return None if value == "null" else str(value)
    if not value:
        raise ConfigError(f"--{field.path} needs a value")
    return yaml.parse(str(value), f"--{field.path}")


def resolve(recipe: Recipe, size: str | None = None, overrides: Overrides | None = None) -> RunConfig:
    """The checked config of a run."""
    overrides = overrides or []
    raw = apply(start_config(recipe, size, overrides), recipe, overrides)
    return validate(RunConfig, raw, recipe.source)
