"""The names by which a user may call the fields of a config: whole paths, aliases, last names, keys of mappings."""

from dataclasses import dataclass, replace

from plait.core.errors import ConfigError, suggest
from plait.runs.fields import FieldInfo


@dataclass(frozen=True)
class Names:
    """All fields of a config by path, and every short name (alias or unique last name) with the path it stands for."""

    fields: dict[str, FieldInfo]
    short: dict[str, str]

    def find(self, name: str) -> str | None:
        """The path of a full path, an alias, a unique last name or a part (for its kind); `-` and `_` are the same."""
        wanted = name.replace("-", "_")
        places = (wanted, self.short.get(wanted, wanted), f"{wanted}.kind")
        return next((path for path in places if path in self.fields), None) or self._below_a_key(name)

    def _below_a_key(self, name: str) -> str | None:
        """The path of a name inside a mapping with keys of a user's: sources.clip.path -> data.sources.clip.path."""
        steps = name.split(".")
        for end in range(1, len(steps) - 1):
            above, key = ".".join(steps[:end]).replace("-", "_"), steps[end]
            path = self.short.get(above, above)
            if path in self.fields and self.fields[path].keyed:
                return ".".join([path, key, *(step.replace("-", "_") for step in steps[end + 1 :])])
        return None

    def field(self, path: str) -> FieldInfo:
        """The field at a path that `find` gave. Errors: ConfigError for a name that no key of a mapping has."""
        if path in self.fields:
            return self.fields[path]
        above = next(name for name, field in self.fields.items() if field.keyed and path.startswith(f"{name}."))
        rest = path.removeprefix(f"{above}.").split(".", 1)[1]
        items = {item.path: item for item in self.fields[above].items}
        if not items:
            return FieldInfo(path, "value", None, "")
        if rest not in items:
            raise ConfigError(f"no field --{path}", fix=suggest(rest, items))
        return replace(items[rest], path=path)

    def switches(self) -> set[str]:
        """The names that may stand without a value."""
        last = {field.leaf for field in self.fields.values() if field.boolean}
        every = {**{name: name for name in self.fields}, **self.short}
        known = {name: self.fields[path].boolean for name, path in every.items() if path in self.fields}
        return {name for name in {*last, *known} if known.get(name, True)}
