"""Pushes are scored by what PostgreSQL has: a run whose log, answers or rows differ has no figure."""

from dataclasses import replace

import pytest

from benchmarks.harness.child import Child
from benchmarks.harness.offline_work import Mix
from benchmarks.harness.people import Connection, Organization, create_organization
from benchmarks.harness.pushers import Pushed, run_pushers
from benchmarks.harness.pushing import Pushing, find_faults, plan_pushes, run_pushing
from benchmarks.harness.stack import Stack

SHORT = Pushing(1, 0, 1.0, batch=20, mix=Mix(bad_each=25), connections=4, warm_up_seconds=0.5)


async def test_a_run_counts_every_kind_of_result_and_finds_postgresql_as_the_answers_say(
    bench_stack: Stack,
) -> None:
    outcome = await run_pushing(bench_stack, replace(SHORT, organizations=3))
    assert outcome.invalid == []
    assert set(outcome.results) == {"applied", "merged", "duplicate", "rejected"}
    bad = sum(folded.refused_as_expected for folded in outcome.pushed.folded)
    assert bad == outcome.results["rejected"]
    assert outcome.mutations_per_second > 0
    assert outcome.commits > 0
    assert outcome.usage.by_process["postgresql"] > 0


async def test_at_a_rate_single_writes_go_beside_it(bench_stack: Stack) -> None:
    work = replace(SHORT, per_second=200, writes_per_second=10)
    outcome = await run_pushing(bench_stack, work)
    assert outcome.invalid == []
    assert outcome.pushed.pushes == 15
    assert outcome.write.count == 10


async def push(stack: Stack, owner: Connection) -> tuple[Organization, Pushed]:
    organization = await create_organization(owner, stack.signing_key, 2)
    child = Child("test: pushers", run_pushers, None)
    try:
        pushed = await child.ask("push", plan_pushes(stack, SHORT, [organization]))
    finally:
        child.stop()
    return organization, pushed


ONE_RECORD = "(SELECT id FROM leads WHERE organization_id = $1 LIMIT 1)"
ONE_LOGGED = "(SELECT max(mutation_id::text)::uuid FROM changes WHERE organization_id = $1)"
ONE_REMEMBERED = "(SELECT mutation_id FROM mutations WHERE organization_id = $1 LIMIT 1)"
FIRST_COMMIT = "(SELECT transaction_id FROM commits WHERE organization_id = $1 AND first_offset = 1)"


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        ("UPDATE leads SET phone = 'other' WHERE organization_id = $1 AND phone IS NOT NULL", "I7"),
        (f"DELETE FROM leads WHERE organization_id = $1 AND id = {ONE_RECORD}", "records"),
        (f"DELETE FROM changes WHERE organization_id = $1 AND mutation_id = {ONE_LOGGED}", "I6"),
        (
            f"DELETE FROM mutations WHERE organization_id = $1 AND mutation_id = {ONE_REMEMBERED}",
            "remembered",
        ),
        (f"DELETE FROM changes WHERE organization_id = $1 AND transaction_id = {FIRST_COMMIT}", "I1"),
    ],
    ids=["field", "record", "log", "answer", "gap"],
)
async def test_what_is_not_as_the_answers_say_is_found(
    bench_stack: Stack, bench_owner: Connection, harm: str, complaint: str
) -> None:
    organization, pushed = await push(bench_stack, bench_owner)
    assert await find_faults(bench_owner, [organization], pushed) == []
    await bench_owner.execute(harm, organization.id)
    faults = await find_faults(bench_owner, [organization], pushed)
    assert any(complaint in fault for fault in faults), faults
