"""Doctor's look at PostgreSQL: the application's login, the owner's tables, the connection that listens."""

import asyncio
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import asyncpg

from cli.connections import connect, describe
from cli.findings import Finding, judge, ok, problem, skipped
from cli.migrate import (
    OWNER_SOURCE,
    OWNER_VARIABLE,
    fetch_applied,
    migrations_folder,
    pending_migrations,
    read_migrations,
)
from core.lifecycle import StartupError
from core.queries import load
from core.settings import Settings

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

ROLES = ("branchline_api", "branchline_gateway", "branchline_relay")
NOTIFY_SECONDS = 2.0
LARGEST_SKEW_MS = 1000.0
DAYS_AHEAD = 3
MONTHS_AHEAD = 2
_queries = load("cli", "doctor.sql")


async def check_database(settings: Settings) -> list[Finding]:
    """Everything that can be seen of the database with the URLs that are set."""
    try:
        login = await connect(
            settings.database_url, variable="DATABASE_URL", application_name="branchline doctor"
        )
    except StartupError as error:
        return [problem("the database cannot be used", str(error))]
    try:
        findings = await _check_login(login, settings)
        findings.append(await _check_listen(login, settings))
        findings.append(await _check_clock(login))
    finally:
        await login.close()
    return findings + await _check_as_owner(settings)


async def _check_login(login: "Connection", settings: Settings) -> list[Finding]:
    version = login.get_server_version()
    findings = [ok(f"PostgreSQL {version.major}.{version.micro} at {describe(settings.database_url)}")]
    who = await login.fetchrow(_queries.fetch_login)
    assert who is not None
    powerful = who["rolsuper"] or who["rolbypassrls"] or who["owned"] > 0
    findings.append(
        judge(
            not powerful,
            f"the login {who['login']} owns nothing and is no superuser",
            f"the login {who['login']} owns tables or is not held by row-level security",
            "set DATABASE_URL to branchline_app's, and keep the owner's for BRANCHLINE_OWNER_DATABASE_URL.",
        )
    )
    findings.append(
        judge(
            who["isolation"] == "read committed",
            "its transactions are READ COMMITTED",
            f"its transactions are {who['isolation'].upper()} by default, and writes are then refused",
            f"ALTER ROLE {who['login']} RESET default_transaction_isolation, and the same for the database.",
        )
    )
    for role in await login.fetch(_queries.fetch_roles, list(ROLES)):
        if not role["present"]:
            findings.append(problem(f"the role {role['name']} is missing", "run `branchline migrate`."))
        elif role["too_powerful"]:
            findings.append(
                problem(
                    f"row-level security does not hold {role['name']}",
                    f"ALTER ROLE {role['name']} NOSUPERUSER NOBYPASSRLS.",
                )
            )
        else:
            findings.append(
                judge(
                    role["open"],
                    f"it may act as {role['name']}",
                    f"the login may not act as {role['name']}",
                    f"GRANT {role['name']} TO {who['login']}.",
                )
            )
    return findings


async def _check_listen(login: "Connection", settings: Settings) -> Finding:
    url = settings.listen_database_url
    try:
        listener = await connect(url, variable="BRANCHLINE_LISTEN_DATABASE_URL")
    except StartupError as error:
        return problem("the connection for LISTEN cannot be had", str(error))
    channel, heard = f"branchline_doctor_{secrets.token_hex(4)}", asyncio.Event()
    try:
        await listener.add_listener(channel, lambda *_: heard.set())
        await login.execute("select pg_notify($1, '')", channel)
        async with asyncio.timeout(NOTIFY_SECONDS):
            await heard.wait()
        return ok("LISTEN hears what NOTIFY says")
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return problem(
            f"LISTEN on {describe(url)} hears nothing: it goes through a pooler, most likely",
            "set BRANCHLINE_LISTEN_DATABASE_URL to a direct connection to the server.",
        )
    finally:
        listener.terminate()


async def _check_clock(login: "Connection") -> Finding:
    before = time.time() * 1000
    theirs = await login.fetchval(_queries.fetch_clock)
    after = time.time() * 1000
    # The answer was made at some moment in between: what lies within is no skew.
    skew = theirs - min(max(theirs, before), after)
    return judge(
        abs(skew) <= LARGEST_SKEW_MS,
        f"the clocks of the database and of this machine agree within {max(abs(skew), after - before):.0f} "
        "ms",
        f"the database's clock is {abs(skew) / 1000:.1f} s {'ahead of' if skew > 0 else 'behind'} this "
        "machine's",
        "let NTP set both (`timedatectl set-ntp true`).",
    )


async def _check_as_owner(settings: Settings) -> list[Finding]:
    if not settings.owner_database_url:
        return [skipped(f"tables, triggers and partitions: {OWNER_VARIABLE} is not set")]
    try:
        owner = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    except StartupError as error:
        return [problem("the owner's connection cannot be had", str(error))]
    try:
        schema = await _check_schema(owner)
        if schema.verdict != "ok":
            return [schema]
        return [schema, *await _check_tables(owner), *await _check_server(owner)]
    except asyncpg.InsufficientPrivilegeError as error:
        return [
            problem(
                f"the owner's login may not look: {error.args[0]}",
                f"give the tables' owner in {OWNER_VARIABLE}.",
            )
        ]
    finally:
        await owner.close()


async def _check_schema(owner: "Connection") -> Finding:
    try:
        known = read_migrations(migrations_folder())
        pending = pending_migrations(known, await fetch_applied(owner))
    except StartupError as error:
        return problem("the schema does not fit this program", str(error))
    return judge(
        not pending,
        f"the schema is up to date ({known[-1]})",
        f"{len(pending)} migrations are to be applied",
        "run `branchline migrate`.",
    )


async def _check_tables(owner: "Connection") -> list[Finding]:
    grants = await owner.fetch(_queries.fetch_missing_grants)
    disabled = await owner.fetch(_queries.fetch_disabled_triggers)
    missing = await owner.fetch(_queries.fetch_missing_triggers)
    stale = await owner.fetch(_queries.fetch_stale_collections)
    unguarded = await owner.fetch(_queries.fetch_open_tables)
    torn = await owner.fetch(_queries.fetch_torn_commits)
    partitions = await owner.fetchrow(_queries.fetch_partitions)
    assert partitions is not None
    first = disabled[0] if disabled else {"table_name": "", "trigger_name": ""}
    return [
        judge(
            not grants,
            "the roles may read and write every tracked table",
            f"rights are missing: {_join(f'{r[1]} {r[2]} on {r[0]}' for r in grants)}",
            "GRANT them, or SELECT track('table') again.",
        ),
        judge(
            not torn,
            "the newest transactions have as many changes as offsets",
            f"changes and offsets differ: {_join(f'{r[0]} at {r[1]}' for r in torn)}; clients may show what is not so",
            "SELECT renew_epoch('repaired') makes every client read anew.",
        ),
        judge(
            not disabled,
            "no trigger of a tracked table is switched off",
            f"switched off: {_join(f'{r[1]} on {r[0]}' for r in disabled)}; such changes reach nobody",
            f"ALTER TABLE {first['table_name']} ENABLE TRIGGER {first['trigger_name']}.",
        ),
        judge(
            not missing,
            "every tracked table and partition has its triggers",
            f"missing: {_join(f'{r[1]} on {r[0]}' for r in missing)}; such changes reach nobody",
            "SELECT track('table') again.",
        ),
        judge(
            not stale,
            "the code that was generated for tracked tables fits their columns",
            f"columns have changed since the code was generated: {_join(r[0] for r in stale)}",
            "SELECT track('table') again for each.",
        ),
        judge(
            not unguarded,
            "row-level security is on for every tracked table",
            f"row-level security is off: {_join(r[0] for r in unguarded)}",
            "ALTER TABLE … ENABLE ROW LEVEL SECURITY.",
        ),
        judge(
            partitions["days"] >= DAYS_AHEAD and partitions["months"] >= MONTHS_AHEAD,
            "partitions of the coming days and months are there",
            "partitions of the coming days or months are missing; writes fail when the last one ends",
            "run `branchline migrate`, and keep a relay running.",
        ),
    ]


async def _check_server(owner: "Connection") -> list[Finding]:
    durability = {row["name"]: row["setting"] for row in await owner.fetch(_queries.fetch_durability)}
    off = [name for name, value in durability.items() if value == "off"]
    old = await owner.fetch(_queries.fetch_old_transactions)
    return [
        judge(
            not off,
            "an acknowledged write survives a power cut (fsync, synchronous_commit, full_page_writes)",
            f"{', '.join(off)} is off: an acknowledged write can be lost",
            "ALTER SYSTEM RESET it, and restart PostgreSQL.",
        ),
        judge(
            not old,
            "no transaction is older than ten minutes",
            f"open for long: {_join(f'process {r[0]} of {r[1]}, {r[2]} min' for r in old)}",
            "end it: SELECT pg_terminate_backend(process).",
        ),
    ]


def _join(parts: Iterable[str]) -> str:
    words = list(parts)
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")
