"""A collection with a field of every type that can be filtered by, and chance: rows, filters, and who looks at them.

A filter is made twice: as a topic, in one of its spellings, and as SQL, put together here without a look at the
product's own. The two must mean the same.
"""

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from core.principal import Principal, Role

TABLE = """
CREATE DOMAIN sum_of_money AS numeric(12, 2);
CREATE DOMAIN moment AS timestamptz CHECK (value > '1900-01-01');
CREATE TABLE gadgets (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE, id uuid NOT NULL, branch_id uuid,
  title text, code char(4), kind lead_status, amount numeric, price numeric(10, 2), number integer, small smallint,
  big bigint, flag boolean, due date, at timestamptz, noted timestamp, owner_id uuid, secret text, remark text,
  cost sum_of_money, made moment,
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id)
);
SELECT track('gadgets');
"""
COMMENT = "COMMENT ON COLUMN gadgets.{} IS '@filterable {}'"
FOR_SOME = "@readable(owner, admin, manager)"


@dataclass(frozen=True, slots=True)
class Kind:
    """A field: its SQL type and, for each value that it may have, the ways in which a topic may write it.

    Values without a way occur in rows only: no topic can name them.
    """

    name: str
    type: str
    spellings: dict[str, tuple[str, ...]]


KINDS = (
    Kind(
        "title",
        "text",
        {text: (text,) for text in ("a", "A", "ä", "b,c", "x&y=z", "~", "", " ", "a%2Fb", "1.50", "null")},
    ),
    Kind("code", "char(4)", {"ab": ("ab",), "abcd": ("abcd",), "": ("",)}),
    Kind("kind", "lead_status", {text: (text,) for text in ("new", "won", "lost")}),
    Kind(
        "amount",
        "numeric",
        {
            "1.50": ("1.5", "1.50", "+1.500", "15e-1"),
            "1.5": ("1.50",),
            "0": ("0", "-0", "0.00"),
            "100": ("1E2", "100"),
            "NaN": (),
            "Infinity": (),
        },
    ),
    Kind("price", "numeric(10, 2)", {"1.50": ("1.5", "1.50"), "7": ("7", "7.00"), "-0.01": ("-0.01",)}),
    Kind(
        "number", "integer", {"0": ("0", "-0", "00"), "7": ("07", "7", "+7"), "-2147483648": ("-2147483648",)}
    ),
    Kind("small", "smallint", {"1": ("1", "01"), "-32768": ("-32768",)}),
    Kind("big", "bigint", {"9007199254740993": ("9007199254740993",), "1": ("1",)}),
    Kind("flag", "boolean", {"true": ("true",), "false": ("false",)}),
    Kind("due", "date", {"2026-02-28": ("2026-02-28",), "0001-01-01": ("0001-01-01",), "infinity": ()}),
    Kind(
        "at",
        "timestamptz",
        {
            "2026-03-29 01:30:00.5+00": ("2026-03-29T01:30:00.5Z", "2026-03-29T03:30:00.500000+02:00"),
            "1969-12-31 23:59:59.999999+00": ("1969-12-31T23:59:59.999999+00:00",),
            "infinity": (),
        },
    ),
    Kind(
        "noted", "timestamp", {"2026-03-29 01:30:00": ("2026-03-29T01:30:00Z", "2026-03-29T02:30:00+01:00")}
    ),
    Kind(
        "owner_id",
        "uuid",
        {
            "0198c0de-0000-7000-8000-00000000000a": (
                "0198c0de-0000-7000-8000-00000000000a",
                "0198C0DE-0000-7000-8000-00000000000A",
            ),
            "0198c0de-0000-7000-8000-00000000000b": ("0198c0de-0000-7000-8000-00000000000b",),
        },
    ),
    Kind("secret", "text", {"x": ("x",), "y": ("y",)}),
    Kind("cost", "sum_of_money", {"1.5": ("1.5", "1.50"), "70": ("70",)}),
    Kind("made", "moment", {"2026-03-29 01:30:00+05:45": ("2026-03-28T19:45:00Z",), "infinity": ()}),
)
BY_NAME = {kind.name: kind for kind in KINDS}
REMARKS = ("", "remark", "ä\n\u2028", "x" * 300)


def statements() -> list[str]:
    """The SQL that makes the collection."""
    comments = [COMMENT.format(k.name, FOR_SOME if k.name == "secret" else "") for k in KINDS]
    return [*TABLE.strip().split(";\n"), COMMENT.format("branch_id", ""), *comments]


def random_values(dice: random.Random, names: list[str]) -> dict[str, str | None]:
    """Values for some fields, as texts that PostgreSQL reads; a quarter of them null."""
    return {
        name: None if dice.random() < 0.25 else dice.choice(list(BY_NAME[name].spellings)) for name in names
    }


@dataclass(frozen=True, slots=True)
class Chosen:
    """A filter: its topic, and the condition on a row `g` that means the same. `fields` are those that it looks at."""

    topic: str
    condition: str
    fields: frozenset[str]
    has_null: bool


def random_filter(dice: random.Random, branches: list[str], *, may_see_secrets: bool) -> Chosen:
    """A filter of one to three fields, each with one to three values, null among them now and then."""
    names = [k.name for k in KINDS if may_see_secrets or k.name != "secret"] + ["branch_id"] * 3
    chosen = list(dict.fromkeys(dice.choices(names, k=dice.choice([1, 1, 2, 3]))))
    parts, conditions, has_null = [], [], False
    for name in chosen:
        kind = (
            Kind("branch_id", "uuid", {b: (b, b.upper()) for b in branches})
            if name == "branch_id"
            else BY_NAME[name]
        )
        values = [value for value, ways in kind.spellings.items() if ways]
        values = dice.sample(values, min(len(values), dice.choice([1, 2, 2, 3])))
        written = [_write(dice, dice.choice(kind.spellings[value])) for value in values]
        typed = ", ".join(f"{_literal(value)}::{kind.type}" for value in values)
        condition = f"g.{name} IN ({typed})"
        if dice.random() < 0.4:
            has_null = True
            written.append("~")
            condition = f"({condition} OR g.{name} IS NULL)"
        dice.shuffle(written)
        parts.append(f"{name}={','.join(written)}")
        conditions.append(condition)
    return Chosen(f"gadgets?{'&'.join(parts)}", " AND ".join(conditions), frozenset(chosen), has_null)


def _write(dice: random.Random, text: str) -> str:
    """Percent-encoded: as little as it may be, or all of it."""
    if text == "~" or dice.random() < 0.3:
        return "".join(f"%{byte:02X}" for byte in text.encode())
    return quote(text, safe="~:+" if "+" in text else "~:")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def random_reader(dice: random.Random, organization_id: str, branches: list[str]) -> Principal:
    """Somebody of any role who reads everything, or some branches only."""
    role: Role = dice.choice(["manager", "agent", "viewer"])
    own = frozenset(dice.sample(branches, dice.randint(1, len(branches) - 1)))
    reads: Any = dice.choice(["all", "own", "own"])
    return Principal(
        user_id="0198c0de-0000-7000-8000-0000000000ff",
        name="R",
        organization_id=organization_id,
        role=role,
        branch_ids=own if reads == "own" else None,
        reads=reads,
        session_id="0198c0de-0000-7000-8000-0000000000fe",
    )


def narrowing(reader: Principal) -> str:
    """What of the gadgets a reader may see, as a condition on a row `g`."""
    if reader.readable_branches is None:
        return "true"
    listed = ", ".join(f"{_literal(branch)}::uuid" for branch in sorted(reader.readable_branches))
    return f"(g.branch_id IS NULL OR g.branch_id IN ({listed}))"
