"""What has to hold in PostgreSQL after any run: a log without a gap, and every write that was acknowledged."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from benchmarks.harness.people import Connection, Organization
from core.queries import load

_queries = load("benchmarks.harness")


async def find_gaps(owner: Connection, organizations: Iterable[Organization]) -> list[str]:
    """A line for each log whose offsets are not 1 to n (I1). An empty one counts: each begins with an organisation."""
    faults = []
    for organization in organizations:
        bounds = await owner.fetchrow(_queries.fetch_log_bounds, organization.id)
        assert bounds is not None
        if (bounds["lowest"], bounds["highest"]) != (1, bounds["changes"]):
            faults.append(
                f"a log has {bounds['changes']} changes from {bounds['lowest']} to {bounds['highest']} (I1)"
            )
    return faults


async def find_lost(
    owner: Connection, organizations: Iterable[Organization], record_ids: Iterable[str]
) -> list[str]:
    """A line if leads whose insert was acknowledged are not there."""
    missing = set(record_ids)
    for organization in organizations:
        missing -= {str(row["id"]) for row in await owner.fetch(_queries.fetch_record_ids, organization.id)}
    return [f"{len(missing)} acknowledged writes are not in PostgreSQL"] if missing else []


async def find_different(
    owner: Connection, organization: Organization, records: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """A line if the leads to which an organisation's deltas add up, by id, are not those that are there (I4)."""
    rows = await owner.fetch(_queries.fetch_records, organization.id)
    stored = {str(row["id"]): orjson.loads(row["record"]) for row in rows}
    different = sum(1 for key in {*records, *stored} if records.get(key) != stored.get(key))
    return [f"{different} of {len(stored)} records are not what the deltas add up to"] if different else []
