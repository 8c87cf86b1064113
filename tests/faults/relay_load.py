"""Writers for fault tests of the relay: many organisations, psql's way and the API's, with pauses and rollbacks."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg

from tests.relays import Reader
from tests.servers import Database
from tests.tenants import new_id

WRITERS = 4
PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Load:
    """What was written so far: when each record was committed, at the latest."""

    organizations: list[str]
    seed: int
    committed_at: dict[tuple[str, str, int], float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def latencies_ms(self, reader: Reader) -> list[float]:
        """From the commit's return to the reader, sorted. A publication may be quicker than the answer: 0 then."""
        return sorted(
            max(0.0, 1000 * (reader.seen_at[key] - at))
            for key, at in self.committed_at.items()
            if key in reader.seen_at
        )


@contextlib.asynccontextmanager
async def writing(
    database: Database, organizations: int = 8, *, seed: int = 1, rate: float = 1.0
) -> AsyncIterator[Load]:
    """Write until the end of the block: about 150 commits a second times `rate`. The seed is printed."""
    print(f"seed {seed}")
    setup = await asyncpg.connect(database.owner_url)
    load = Load([new_id() for _ in range(organizations)], seed)
    for number, organization in enumerate(load.organizations):
        await setup.execute(
            "INSERT INTO organizations (id, slug, name) VALUES ($1, $2::text, $2::text)",
            organization,
            f"load-{number}",
        )
    await setup.close()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(_write(database, load, random.Random(f"{seed}.{number}"), stop, rate))
        try:
            yield load
        finally:
            stop.set()


async def _write(
    database: Database, load: Load, dice: random.Random, stop: asyncio.Event, rate: float
) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        while not stop.is_set():
            organization, lead = dice.choice(load.organizations), new_id()
            transaction = connection.transaction()
            await transaction.start()
            rows = dice.choice([1, 1, 1, 2, 5])
            # Sometimes nobody is told, as after the API's writes: the poll must find those.
            await connection.execute(
                "SELECT set_config('branchline.wakes', $1, true)", dice.choice(["on", "off"])
            )
            await connection.execute(
                "INSERT INTO leads (organization_id, id, name, notes) VALUES ($1, $2, 'lead', $3)",
                organization,
                lead,
                "n" * dice.randrange(1000),
            )
            for _ in range(rows - 1):
                await connection.execute(
                    "UPDATE leads SET score = $3 WHERE organization_id = $1 AND id = $2",
                    organization,
                    lead,
                    dice.randrange(100),
                )
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * PAUSE_SECONDS)
            if dice.random() < 0.1:
                await transaction.rollback()
                continue
            await transaction.commit()
            load.committed_at["leads", lead, rows] = time.monotonic()
            await asyncio.sleep(dice.random() * 2 * PAUSE_SECONDS / rate)
    finally:
        connection.terminate()
