"""`branchline settings`: every setting, from the model that reads them."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import PydanticUndefined

from core.settings import Settings, variable_name

_HEAD = """\
# Settings

<!-- Made by `branchline settings --markdown`; a test holds it to the code. -->

Settings are environment variables. A file `.env` in the current folder may hold them too; the environment wins.
An unknown variable that begins with `BRANCHLINE_` is reported when a process starts. A limit of 0 means no limit.

| variable | default | meaning |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting as people see it."""

    variable: str
    default: str
    description: str


def setting_lines() -> Iterator[SettingLine]:
    """All settings, in the order of the model."""
    for name, field in Settings.model_fields.items():
        default = field.default
        text = "" if default is PydanticUndefined or default in ("", ()) else str(default)
        yield SettingLine(variable_name(name), text, field.description or "")


def markdown() -> str:
    """The page `docs/settings.md`."""
    rows = (
        f"| `{line.variable}` | {f'`{line.default}`' if line.default else 'not set'} | {line.description} |\n"
        for line in setting_lines()
    )
    return _HEAD + "".join(rows)


def listing() -> str:
    """The settings for a terminal."""
    parts = []
    for line in setting_lines():
        default = f" (default: {line.default})" if line.default else ""
        meaning = textwrap.fill(
            line.description.replace("`", ""), 100, initial_indent="    ", subsequent_indent="    "
        )
        parts.append(f"{line.variable}{default}\n{meaning}\n")
    return "\n".join(parts)
