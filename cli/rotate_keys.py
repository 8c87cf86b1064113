"""`branchline rotate-keys`: seals every sealed value with the newest key, so that older keys can be taken away.

It runs beside a system at work, a few hundred values a transaction, and may be stopped and run again at any time.
"""

from collections.abc import Callable

from cli.connections import connect
from cli.migrate import OWNER_SOURCE
from core.lifecycle import StartupError
from core.queries import load
from core.sealing import SealError, Seals, parse_keys, place_of
from core.settings import Settings

BATCH = 500

_queries = load("cli")


async def rotate(settings: Settings, *, progress: Callable[[str], None]) -> int:
    """Seal anew what an older key has sealed; how many values that were.

    Raises StartupError if a value's key is not among those that are set, or a value is not what was sealed there:
    everything before it is done then, and it is left as it is.
    """
    seals = Seals(parse_keys(settings.field_keys))
    connection = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    done = 0
    try:
        while True:
            async with connection.transaction():
                rows = await connection.fetch(_queries.fetch_sealed_with_other_keys, seals.key_id, BATCH)
                for row in rows:
                    client = None if row["client_id"] is None else str(row["client_id"])
                    organization_id = str(row["organization_id"])
                    place = place_of(organization_id, client, row["name"])
                    try:
                        value = seals.open(row["sealed"], row["key_id"], place)
                    except SealError as error:
                        raise StartupError(f"{place} cannot be opened: {error}.") from None
                    await connection.execute(
                        _queries.seal_again,
                        organization_id,
                        client,
                        row["name"],
                        seals.key_id,
                        seals.seal(value, place),
                    )
            done += len(rows)
            if not rows:
                break
            progress(f"{done} sealed anew …")
    finally:
        await connection.close()
    progress(f"{done} values were sealed anew; all are under the key {seals.key_id}, older keys can go.")
    return done
