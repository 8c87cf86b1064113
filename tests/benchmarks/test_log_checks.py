"""What every benchmark checks afterwards is seen to fail."""

import orjson

from benchmarks.harness.log_checks import find_different, find_gaps, find_lost
from benchmarks.harness.people import Connection, create_organization
from benchmarks.harness.stack import Stack
from core.queries import load
from tests.tenants import new_id

_queries = load("benchmarks.harness")


async def test_a_gap_in_a_log_and_a_write_that_is_not_there_are_found(
    bench_stack: Stack, bench_owner: Connection
) -> None:
    organization = await create_organization(bench_owner, bench_stack.signing_key, 1)
    for _ in range(2):
        await bench_owner.execute(_queries.add_leads, organization.id, organization.branch_id, 3)
    ids = [str(row["id"]) for row in await bench_owner.fetch(_queries.fetch_record_ids, organization.id)]
    assert await find_gaps(bench_owner, [organization]) == []
    assert await find_lost(bench_owner, [organization], ids) == []
    assert await find_lost(bench_owner, [organization], [*ids, new_id()]) == [
        "1 acknowledged writes are not in PostgreSQL"
    ]
    first = "SELECT transaction_id FROM commits WHERE organization_id = $1 AND first_offset = 1"
    await bench_owner.execute(
        f"DELETE FROM changes WHERE organization_id = $1 AND transaction_id = ({first})", organization.id
    )
    (gap,) = await find_gaps(bench_owner, [organization])
    assert "(I1)" in gap
    await bench_owner.execute("DELETE FROM changes WHERE organization_id = $1", organization.id)
    (gap,) = await find_gaps(bench_owner, [organization])
    assert "0 changes" in gap


async def test_records_that_are_not_what_postgresql_has_are_counted(
    bench_stack: Stack, bench_owner: Connection
) -> None:
    organization = await create_organization(bench_owner, bench_stack.signing_key, 1)
    await bench_owner.execute(_queries.add_leads, organization.id, organization.branch_id, 3)
    rows = await bench_owner.fetch(_queries.fetch_records, organization.id)
    records = {str(row["id"]): orjson.loads(row["record"]) for row in rows}
    assert await find_different(bench_owner, organization, records) == []
    one, other, _ = records
    records[one] = records[one] | {"name": "altered"}
    del records[other]
    assert await find_different(bench_owner, organization, records) == [
        "2 of 3 records are not what the deltas add up to"
    ]
