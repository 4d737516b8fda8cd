"""Columns that a user names: in a list, or in one text with commas."""

from typing import Annotated, Any

from pydantic import BeforeValidator


def _listed(value: Any) -> Any:
    """One text of names between commas, as a list."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed)]
"""Names of columns: a list, or one text with commas."""
