"""`branchline doctor`: look at the surroundings, say what is wrong and how to mend it; nothing is changed."""

import asyncio
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain

from cli.database_checks import check_database
from cli.findings import Finding, judge, ok, problem, skipped
from cli.home import Home
from cli.placement import choose_user, find_postgresql, find_valkey, place, run_as
from cli.ports import is_free
from cli.redis_checks import check_redis
from core.lifecycle import EXIT_FAILURE, EXIT_OK, StartupError
from core.settings import Settings, unknown_variables

OLDEST_PYTHON = (3, 11)
FEWEST_FILES = 4096
FEWEST_FREE_BYTES = 512 * 1024 * 1024
_COLOURS = {"ok": "\x1b[32m", "problem": "\x1b[31m", "skipped": "\x1b[2m"}


def run(settings: Settings) -> int:
    """Print a line for each thing that was looked at; 1 if one is a problem, else 0."""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    problems = 0
    for finding in chain(_check_machine(settings), asyncio.run(_check_services(settings))):
        problems += finding.verdict == "problem"
        mark = f"{finding.verdict:<8}"
        if colours:
            mark = f"{_COLOURS[finding.verdict]}{mark}\x1b[0m"
        print(f"{mark} {finding.what}", flush=True)
        if finding.mend:
            print(f"         → {finding.mend}", flush=True)
    print("\neverything is well." if not problems else f"\n{problems} to mend.")
    return EXIT_FAILURE if problems else EXIT_OK


def _check_machine(settings: Settings) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield judge(
        sys.version_info >= OLDEST_PYTHON,
        f"Python {version}",
        f"Python {version} is too old",
        "make the environment with Python 3.11 or later: `make setup PYTHON=python3.11`.",
    )
    home = Home(settings.home)
    running = home.path.exists() and home.is_locked()
    yield from _check_programs(settings, home, running)
    yield from _check_home(home, running)
    yield from _check_ports(settings, running)
    yield _check_files()
    for name in unknown_variables():
        yield problem(
            f"{name} is set and means nothing", "`branchline settings` lists the names; unset this one."
        )
    if settings.production and not settings.allowed_origins:
        yield problem("no origin is allowed", "set BRANCHLINE_ALLOWED_ORIGINS to the origins of your pages.")


def _check_programs(settings: Settings, home: Home, running: bool) -> Iterator[Finding]:
    if not running and settings.database_url and settings.redis_url:
        yield skipped("the embedded servers: DATABASE_URL and REDIS_URL are set")
        return
    try:
        user = choose_user()
        programs = [find_postgresql() / "postgres", find_valkey()]
        if home.path.exists() and running:
            placement = place(home, user)
            programs = [placement.postgresql / "postgres", placement.valkey]
    except StartupError as error:
        yield problem("the embedded servers cannot be run", str(error))
        return
    for program in programs:
        try:
            answer = subprocess.run(
                [str(program), "--version"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
                cwd="/",
                **run_as(None),  # type: ignore[call-overload]
            )
            yield ok(answer.stdout.strip().splitlines()[0])
        except (OSError, subprocess.SubprocessError) as error:
            yield problem(
                f"{program} does not run ({error})",
                "run `make setup` again, or set DATABASE_URL and REDIS_URL to servers of your own.",
            )


def _check_home(home: Home, running: bool) -> Iterator[Finding]:
    if not home.path.exists():
        yield skipped(f"the home {home.path}: `branchline up` has not run here")
        return
    state = "`branchline up` is running in it" if running else "nothing runs in it"
    mode = stat.S_IMODE(home.path.stat().st_mode)
    yield judge(
        mode & 0o067 == 0,
        f"the home {home.path}: {state}",
        f"the home {home.path} is open to others (mode {mode:o})",
        f"close it: `chmod 700 {home.path}`.",
    )
    free = shutil.disk_usage(home.path).free
    yield judge(
        free >= FEWEST_FREE_BYTES,
        f"{free // 2**20:,} MiB are free on its disk",
        f"only {free // 2**20:,} MiB are free on the disk of {home.path}",
        "make room: PostgreSQL stops when a disk is full.",
    )


def _check_ports(settings: Settings, running: bool) -> Iterator[Finding]:
    uses = (
        (settings.api_port, "the API", "BRANCHLINE_API_PORT"),
        (settings.gateway_port, "the gateways", "BRANCHLINE_GATEWAY_PORT"),
    )
    for port, use, variable in uses:
        free = is_free(settings.host, port)
        if running:
            yield judge(
                not free,
                f"port {port} is served ({use})",
                f"nobody listens on port {port} for {use}, though `branchline up` runs",
                "look into the logs in its home.",
            )
        else:
            yield judge(
                free,
                f"port {port} is free for {use}",
                f"port {port} on {settings.host}, for {use}, is in use",
                f"end what uses it, or set {variable}.",
            )


def _check_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = "no limit of" if hard == resource.RLIM_INFINITY else f"up to {hard:,}"
    return judge(
        hard == resource.RLIM_INFINITY or hard >= FEWEST_FILES,
        f"{limit} open files, a socket each",
        f"only {hard:,} open files, so fewer sockets than that",
        f"raise the hard limit to {FEWEST_FILES:,} or more (`ulimit -Hn`, LimitNOFILE in systemd).",
    )


async def _check_services(settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    if settings.database_url:
        findings += await check_database(settings)
    else:
        findings.append(skipped("the database: DATABASE_URL is not set and no `branchline up` runs here"))
    if settings.redis_url:
        findings += await check_redis(settings.redis_url)
    else:
        findings.append(skipped("Redis: REDIS_URL is not set and no `branchline up` runs here"))
    return findings
