"""The roles api, gateway and relay as children of `branchline up`: started with their settings, waited for."""

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.home import Home
from cli.supervisor import Child, ChildSpec, Supervisor, show_role_line
from core.lifecycle import EXIT_USAGE, SUPERVISOR_VARIABLE, StartupError

POLL_SECONDS = 0.03
ANSWER_SECONDS = 2.0
READY_SECONDS = 60.0
MOST_FAILURES = 4
REMINDER_SECONDS = 2.0
# A gateway takes leave of its clients over several seconds.
STOP_STEPS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Role:
    """One process: what it is called, the command that runs it, where its /readyz is, its own settings.

    A relay that is ready may be a standby; `must_lead` says that there is nobody else whose standby it could be.
    """

    name: str
    command: str
    status_port: int
    settings: Mapping[str, str]
    must_lead: bool = False
    tls: bool = False


def list_roles(
    *, api_port: int, gateway_port: int, gateways: int, relay_port: int, alone: bool, tls: bool = False
) -> list[Role]:
    """The processes of one machine, the relay first, because it has the longest way to ready.

    `alone` says that the database is ours, so that no other relay can be at work on it.
    """
    roles = [
        Role("relay", "relay", relay_port, {}, must_lead=alone),
        Role("api", "api", api_port, {}, tls=tls),
    ]
    for index in range(1, gateways + 1):
        name = "gateway" if gateways == 1 else f"gateway-{index}"
        roles.append(Role(name, "gateway", gateway_port + index, {"BRANCHLINE_GATEWAY_INDEX": str(index)}))
    return roles


def start_role(supervisor: Supervisor, home: Home, role: Role, settings: Mapping[str, str]) -> Child:
    """Start a role with the settings of all and its own; it is not ready when this returns."""
    environment = {**os.environ, **settings, **role.settings, SUPERVISOR_VARIABLE: str(os.getpid())}
    root = Path(__file__).parent.parent
    if root.joinpath("pyproject.toml").exists():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return supervisor.start(
        ChildSpec(
            name=role.name,
            # -P: a folder `core` or `api` where somebody stands is not ours.
            arguments=[sys.executable, "-P", "-m", "cli.main", role.command],
            environment=environment,
            log_file=home.logs / f"{role.name}.log",
            stop_steps=STOP_STEPS,
            # A role has nothing that is not in PostgreSQL: it need not take leave when its supervisor is
            # gone.
            death_signal=signal.SIGKILL,
            worth_showing=show_role_line,
            hopeless_status=EXIT_USAGE,
            # Where we stand, so that the same .env is read.
            folder=os.getcwd(),
        )
    )


async def wait_ready(host: str, roles: Sequence[tuple[Role, Child]], say: Callable[[str], None]) -> None:
    """Wait until every role says that it is ready; say who is waited for if it takes long.

    Raises StartupError with a role's own line if one cannot start, and with what is missing after READY_SECONDS.
    """
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(_wait_role(host, role, child), name=role.name) for role, child in roles]
        while True:
            _, left = await asyncio.wait(waits, timeout=REMINDER_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            if not left or any(wait.done() and wait.exception() for wait in waits):
                break
            say(f"waiting for {', '.join(sorted(wait.get_name() for wait in left))} …")


async def _wait_role(host: str, role: Role, child: Child) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_SECONDS
    while True:
        if child.failure is not None:
            raise child.failure
        ready, answer = await fetch_readiness(host, role.status_port, tls=role.tls)
        # Another program's process may be at the port, and ready: ours will say that it cannot listen there.
        is_ours = child.identity is not None and answer.get("pid") == child.identity.pid
        if ready and is_ours and (answer.get("leader") or not role.must_lead):
            child.settled = True
            return
        if loop.time() > deadline or child.exits >= MOST_FAILURES:
            says = json.dumps(answer.get("dependencies", answer))
            reason = f"it says {says}" if answer else f"its last line is “{child.last_line}”"
            how = (
                f"ended {child.exits} times" if child.exits else f"was not ready within {READY_SECONDS:.0f} s"
            )
            raise StartupError(f"{role.name} {how} ({reason}): see {child.spec.log_file}.")
        await asyncio.sleep(POLL_SECONDS)


def _own_server() -> ssl.SSLContext:
    """TLS to a process that we have started on this machine, whatever name its certificate is for."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def fetch_readiness(host: str, port: int, *, tls: bool = False) -> tuple[bool, dict[str, Any]]:
    """Ask /readyz: whether the process is ready, and all of its answer; an empty one if there was none."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=_own_server() if tls else None)
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
        answer = json.loads(body)
    except (OSError, TimeoutError, ValueError):
        return False, {}
    return head.startswith(b"HTTP/1.1 200 "), answer if isinstance(answer, dict) else {}
