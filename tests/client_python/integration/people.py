"""What the tests of this folder share: the demo's people, waiting, and what PostgreSQL holds."""

import asyncio
import json
from typing import Any

from tests.stack import Stack

ANA, BEN, CARLA, RITA, VERA, OLGA = (
    "ana@demo.test",
    "ben@demo.test",
    "carla@demo.test",
    "rita@demo.test",
    "vera@demo.test",
    "olga@other.test",
)
WAIT_SECONDS = 20.0


def within(seconds: float = WAIT_SECONDS) -> asyncio.Timeout:
    """A limit for a whole test's waiting."""
    return asyncio.timeout(seconds)


def rows(system: Stack, condition: str = "true", table: str = "leads") -> dict[str, dict[str, Any]]:
    """What PostgreSQL holds of the demo organisation, as the one encoding of a record."""
    lines = system.psql(
        f"SELECT encode_record(t)::text FROM {table} t JOIN organizations o ON o.id = t.organization_id"
        f" WHERE o.slug = 'demo' AND {condition}"
    ).splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


def row(system: Stack, record_id: str, table: str = "leads") -> dict[str, Any] | None:
    """One record, as PostgreSQL holds it."""
    return rows(system, f"t.id = '{record_id}'", table).get(record_id)


def effects(system: Stack, mutation_ids: list[str]) -> dict[str, int]:
    """How often each mutation is in the log."""
    names = ", ".join(f"'{each}'" for each in mutation_ids)
    lines = system.psql(
        f"SELECT mutation_id, count(*) FROM changes WHERE mutation_id IN ({names}) GROUP BY 1"
    ).splitlines()
    return {name: int(count) for name, _, count in (line.partition("|") for line in lines)}
