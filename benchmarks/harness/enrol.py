"""`python -m benchmarks.harness.enrol`: an organisation, people and skewed data for locust, printed as JSON.

A process of its own, because locust's world of green threads and asyncio do not mix.
"""

import argparse
import asyncio
import json
from typing import Any

import asyncpg
import uuid_utils

from benchmarks.harness.people import Connection, Organization, create_organization
from cli.home import settings_with_home
from cli.seed_data.draw import Draw

STATUSES = {"new": 0.35, "contacted": 0.3, "qualified": 0.2, "won": 0.05, "lost": 0.1}


async def enrol(database_url: str, signing_key: str, *, people: int, leads: int, seed: int) -> dict[str, Any]:
    """What a load test needs to know: the organisation, a token a person, and the leads, the busiest first."""
    owner: Connection = await asyncpg.connect(database_url)
    try:
        organization = await create_organization(owner, signing_key, people)
        return {
            "organization_id": organization.id,
            "branch_id": organization.branch_id,
            "tokens": [person.token for person in organization.people],
            "leads": await _copy_leads(owner, organization, leads, Draw(seed)),
        }
    finally:
        await owner.close()


async def _copy_leads(owner: Connection, organization: Organization, count: int, draw: Draw) -> list[str]:
    rows = []
    for _ in range(count):
        (first, last), (company, _) = draw.person(), draw.company()
        status, record_id = draw.weighted(STATUSES), str(uuid_utils.uuid7())
        rows.append((organization.id, record_id, organization.branch_id, f"{first} {last}", company, status))
    columns = ["organization_id", "id", "branch_id", "name", "company", "status"]
    await owner.copy_records_to_table("leads", records=rows, columns=columns)
    return [row[1] for row in rows]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--leads", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    settings = settings_with_home()
    settings.require("owner_database_url", "token_key")
    found = asyncio.run(
        enrol(
            settings.owner_database_url,
            settings.token_key,
            people=asked.people,
            leads=asked.leads,
            seed=asked.seed,
        )
    )
    gateway_url = settings.gateway_url or f"ws://{settings.host}:{settings.gateway_port}/ws"
    print(json.dumps(found | {"gateway_url": gateway_url}))


if __name__ == "__main__":
    main()
