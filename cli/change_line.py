"""PURE. A change as one line of a terminal."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from branchline_client import Change

SIGNS = {"insert": "+", "update": "~", "delete": "-", "enter": "+", "leave": "-"}
_COLOURS = {"+": "\x1b[32m", "~": "\x1b[33m", "-": "\x1b[31m"}
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
# Set by the system at every write, so that showing them says nothing.
_SYSTEM_FIELDS = frozenset({"id", "organization_id", "version", "created_at", "updated_at", "updated_by"})
_LABELS = ("name", "title", "subject", "slug")
_LONGEST_VALUE = 40
_MOST_FIELDS = 6


def change_line(change: Change, *, colours: bool) -> str:
    """`09:30:00.123 #42 ~ leads …0a1b2c3d v7 status=won value=100.00  Ana`, in UTC; control characters shown."""
    sign = SIGNS.get(change.operation, "?")
    paint, dim, bold, plain = (_COLOURS.get(sign, ""), _DIM, _BOLD, _PLAIN) if colours else ("",) * 4
    at = datetime.fromtimestamp(change.committed_at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    label = next((str(change.fields[name]) for name in _LABELS if change.fields.get(name)), "")
    parts = [
        f"{dim}{at} #{change.offset}{plain}",
        f"{paint}{sign} {change.collection}{plain}",
        f"{dim}…{change.id[-8:]} v{change.version}{plain}",
    ]
    if label and sign == "+":
        parts.append(f"{bold}{_short(label)}{plain}")
    if sign == "~":
        parts.append(_describe(change.fields))
    if change.operation in ("enter", "leave"):
        parts.append(f"({change.operation}s the view)")
    if change.overwrote:
        names = ", ".join(sorted({str(entry["field"]) for entry in change.overwrote}))
        parts.append(f"(overwrote {names})")
    parts.append(
        f" {dim}{_short(change.actor['name']) if change.actor else 'somebody in the database'}{plain}"
    )
    return " ".join(part for part in parts if part)


def _describe(fields: Mapping[str, Any]) -> str:
    shown = [(name, value) for name, value in fields.items() if name not in _SYSTEM_FIELDS]
    text = " ".join(f"{name}={_short(_text(value))}" for name, value in shown[:_MOST_FIELDS])
    more = len(shown) - _MOST_FIELDS
    return f"{text} and {more} more" if more > 0 else text


def _text(value: object) -> str:
    if value is None:
        return "~"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _short(text: str) -> str:
    # What people typed goes to a terminal: no escape sequence of theirs may act on it.
    clean = "".join(c if c.isprintable() else "·" for c in text)
    return clean if len(clean) <= _LONGEST_VALUE else clean[: _LONGEST_VALUE - 1] + "…"
